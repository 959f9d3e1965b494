//! `csr`: keys and signing requests, as devices make them, for scripts and tests.

use std::fmt;
use std::path::PathBuf;

use pki_core::csr::SigningRequest;
use pki_core::ids::RegistrationId;
use pki_core::key::software::{SoftwareKeyGenerator, SoftwareSigner};
use pki_core::key::{KeyAlgorithm, KeyGenerator as _};
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::files::{Access, Files, NewFile, ending, file_name};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Create(CreateArgs),
}

/// Make a key and a signing request for it
///
/// For scripts and tests: a device's own key is best made in the device. The key is written
/// unencrypted and for its owner alone. An ID whose key is there already keeps it, unless --force is given.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki csr create sensor-8
  dps-pki csr create sensor-8 sensor-9 --key rsa-2048 --out requests")]
struct CreateArgs {
    /// Registration IDs: the CNs of the requests
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,

    /// The kind of key: ecdsa-p256, ecdsa-p384, ed25519, rsa-2048, rsa-3072, rsa-4096
    #[arg(long, value_name = "ALGORITHM", default_value = "ecdsa-p256")]
    key: KeyAlgorithm,

    /// The folder to write them to, made if it does not exist
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        match &self.command {
            Command::Create(args) => args.run(context),
        }
    }
}

impl CreateArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let ids: Result<Vec<RegistrationId>, _> = self.ids.iter().map(|id| id.parse()).collect();
        let ids = ids?;
        for path in ids.iter().flat_map(|id| self.paths(id)) {
            context.files.check_output(&path)?;
        }
        context.files.create_folder(&self.out, Access::Secret)?;
        let made: Result<Vec<Made>, CommandError> =
            ids.iter().map(|id| self.make(&context.files, id)).collect();
        context.ui.result(&MadeAll(made?))?;
        Ok(Outcome::Done)
    }

    fn make(&self, files: &Files, id: &RegistrationId) -> Result<Made, CommandError> {
        let key = SoftwareKeyGenerator.generate(self.key)?;
        let request = SigningRequest::make(id, &SoftwareSigner::new(&key)?)
            .map_err(|error| CommandError::invalid_input(format!("{id}: {error}")))?;
        let [key_file, request_file] = self.paths(id);
        let key = key.expose_pkcs8_pem();
        let pem = request.to_pem();
        let key_pem = NewFile {
            path: key_file.clone(),
            content: key.as_bytes(),
            access: Access::Secret,
        };
        let request_pem = NewFile {
            path: request_file.clone(),
            content: pem.as_bytes(),
            access: Access::Public,
        };
        files.write_outputs(&[key_pem, request_pem])?;
        Ok(Made {
            registration_id: id.clone(),
            request: request_file,
            key: key_file,
        })
    }

    /// Where key and request go.
    fn paths(&self, id: &RegistrationId) -> [PathBuf; 2] {
        [ending::KEY, ending::REQUEST].map(|ending| self.out.join(file_name(id.as_str(), ending)))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct MadeAll(Vec<Made>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    registration_id: RegistrationId,
    request: PathBuf,
    /// The file of the key.
    key: PathBuf,
}

impl fmt::Display for MadeAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, made) in self.0.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            let request = made.request.display();
            let key = made.key.display();
            write!(f, "{line_end}{}: {request} {key}", made.registration_id)?;
        }
        Ok(())
    }
}
