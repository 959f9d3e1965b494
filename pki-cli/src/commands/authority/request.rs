//! `authority request`: a key of ours, whose certificate somebody else is to sign.

use std::fmt;
use std::path::PathBuf;

use pki_core::authority::request_certificate;
use pki_core::csr::SigningRequest;
use pki_core::declaration::AuthorityDeclaration;
use pki_core::ids::{AuthorityName, Generation};
use pki_core::inventory::{AuthorityRecord, Inventory as _, NewGeneration};
use pki_core::key::Signer;
use pki_core::pem;
use pki_core::sqlite::SqliteInventory;
use serde::Serialize;

use super::takeover;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::files::Access;

/// Make a key and a signing request for an authority whose issuer is elsewhere
///
/// The key stays here, or in its token. The request goes to whoever holds the issuer: an offline root,
/// a vendor's CA. The certificate that comes back is taken into use with: authority adopt. Run again,
/// the command gives a request for the same key.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki authority request factory --out factory.csr.pem
  dps-pki authority request factory > factory.csr.pem")]
pub(super) struct Args {
    /// The authority, as pki.toml declares it
    name: AuthorityName,

    /// Write the request into this file instead of to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(&self, context: &Context) -> CommandResult {
        let declared = takeover::declared(context, &self.name)?;
        if context.settings.dry_run {
            context.ui.note(format!(
                "a key for authority {} would be made, and a request for its certificate",
                self.name
            ));
            return Ok(Outcome::Done);
        }
        if let Some(out) = &self.out {
            context
                .files
                .check_generated(out, |kept| SigningRequest::read(kept).is_ok())?;
        }
        let mut inventory = context.home.inventory()?;
        let (generation, signer) = requested(context, &mut inventory, declared)?;
        let request = request_certificate(
            &declared.subject,
            declared.path_length,
            declared.digital_signature,
            signer.as_ref(),
        )
        .map_err(|error| CommandError::failed(error.to_string()))?;
        let request = pem::block("CERTIFICATE REQUEST", &request);
        let Some(out) = &self.out else {
            context.ui.raw(request.as_bytes())?;
            return Ok(Outcome::Done);
        };
        // Run again, it is the same request with another signature.
        let is_same = |kept: &[u8]| is_request_for(kept, signer.as_ref());
        let request = request.as_bytes();
        let files = &context.files;
        files.write_generated(out, request, Access::Public, is_same)?;
        context.ui.result(&Requested {
            authority: self.name.clone(),
            generation,
            subject: declared.subject.to_string(),
            request: out.clone(),
        })?;
        Ok(Outcome::Done)
    }
}

/// Whether a file holds a request for this key.
fn is_request_for(content: &[u8], signer: &dyn Signer) -> bool {
    SigningRequest::read(content).is_ok_and(|request| request.public_key() == signer.public_key())
}

/// The generation that waits for its certificate, and its key: the one of an earlier run, or a new one.
/// The key is stored before the generation is recorded, and no request has left before that.
fn requested(
    context: &Context,
    inventory: &mut SqliteInventory,
    declared: &AuthorityDeclaration,
) -> Result<(Generation, Box<dyn Signer>), CommandError> {
    let name = &declared.name;
    let _lock = takeover::lock(&context.home, &context.ui, name)?;
    let record = inventory.authority(name)?;
    let record = record.as_ref();
    match record.and_then(AuthorityRecord::pending) {
        Some(pending) if pending.certificate.is_none() => {
            let signer = context.keys.open(&pending.key_reference)?;
            return Ok((pending.generation, signer));
        }
        Some(pending) => {
            let message = format!(
                "authority {name}: generation {} has its certificate and was cut short",
                pending.generation
            );
            return Err(CommandError::refused(message)
                .hint(format!("finish it with: dps-pki authority create {name}")));
        }
        None => {}
    }
    let generation = takeover::next_generation(record);
    let key = context.keys.make(declared, generation)?;
    takeover::tell_strays(context, inventory, name)?;
    context.keys.store(&key)?;
    let new = NewGeneration {
        authority: name.clone(),
        generation,
        subject: declared.subject.clone(),
        key_reference: key.reference.clone(),
    };
    if let Err(error) = inventory.record_request(new, context.now()) {
        context.keys.discard(&key, inventory);
        return Err(error.into());
    }
    Ok((generation, key.signer))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Requested {
    authority: AuthorityName,
    generation: Generation,
    subject: String,
    request: PathBuf,
}

impl fmt::Display for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.authority;
        let generation = self.generation;
        let file = self.request.display();
        writeln!(
            f,
            "authority {name}: generation {generation} waits for the certificate of {file}"
        )?;
        write!(
            f,
            "once it is signed: dps-pki authority adopt {name} --cert FILE"
        )
    }
}
