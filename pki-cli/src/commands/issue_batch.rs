//! `issue --devices` and `issue --prefix`: identities for a whole line.
//!
//! The whole input is checked first. Then chunks go through [`pki_core::bulk`]; this file chooses the
//! input, the output and the form of the keys; [`run`] does the rest.

mod run;

use std::fmt;
use std::path::{Path, PathBuf};

use pki_core::bulk::input::{BadLine, check};
use pki_core::declaration::Declaration;
use pki_core::format::seal::{KeySealer, Passphrase, Recipient};
use pki_core::format::{DeviceFiles, Form, KeyForm, Pfx, PfxEncryption, Renderer, Shards};
use pki_core::ids::ProfileName;
use pki_core::inventory::{BatchRecord, BatchState, Inventory as _, Label};
use serde::Serialize;

use self::run::BatchRun;
use super::issue::Target;
use crate::batch_input::Source;
use crate::batch_output::{OutputLock, beside};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::files::{Access, Existing};
use crate::issuance::OpenAuthority;
use crate::secret::{SecretWord, SecretWordParser};

/// How a batch is written.
#[derive(clap::Args)]
#[command(next_help_heading = "Batches")]
pub(super) struct BatchArgs {
    /// A list of devices: CSV with a header (registration_id, optional profile and validity; other
    /// columns become labels), or one registration ID a line; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ids", "prefix"])]
    devices: Option<PathBuf>,

    /// Registration IDs from a counter: what each begins with
    #[arg(long, value_name = "TEXT", requires = "count", conflicts_with = "ids")]
    prefix: Option<String>,

    /// How many IDs the counter makes
    #[arg(long, value_name = "N", requires = "prefix")]
    count: Option<u64>,

    /// The counter's first number
    #[arg(long, value_name = "K", requires = "prefix", default_value_t = 1)]
    start: u64,

    /// The form of the output
    #[arg(long, value_enum, default_value = "ndjson")]
    format: Format,

    /// The batch's name [default: the authority and a digest of the input]
    #[arg(long = "batch", value_name = "NAME")]
    name: Option<Label>,

    /// Write the devices' keys in the clear: the output itself is the secret
    #[arg(long, conflicts_with_all = ["key_passphrase_from", "recipients"])]
    plain_keys: bool,

    /// Encrypt each device's key under the passphrase from file:PATH, env:NAME, fd:N, stdin or prompt
    #[arg(long, value_name = "WHERE", value_parser = SecretWordParser, conflicts_with = "recipients")]
    key_passphrase_from: Option<SecretWord>,

    /// Seal the whole output to an age recipient (age1…); once for each
    #[arg(long = "recipient", value_name = "AGE")]
    recipients: Vec<Recipient>,

    /// How many workers [default: one a core]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,

    /// Have the authority sign the manifest
    #[arg(long)]
    sign_manifest: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One JSON object a line and device
    Ndjson,
    /// An archive of all devices' files
    Tar,
    /// A folder with the devices' files, in folders of 1000 above 10 000
    Dir,
    /// A folder with one PKCS#12 file a device
    Pfx,
}

impl Format {
    fn word(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Tar => "tar",
            Self::Dir => "dir",
            Self::Pfx => "pfx",
        }
    }

    fn is_folder(self) -> bool {
        matches!(self, Self::Dir | Self::Pfx)
    }
}

impl BatchArgs {
    /// Whether a batch is asked for at all.
    pub(super) fn is_given(&self) -> bool {
        self.devices.is_some() || self.prefix.is_some()
    }

    /// Issues the batch, or what is left of it.
    pub(super) fn run(&self, context: &Context, target: &Target) -> CommandResult {
        if !self.recipients.is_empty() && self.format.is_folder() {
            return Err(CommandError::new(
                ErrorKind::Usage,
                "--recipient seals one stream; choose --format ndjson or tar",
            ));
        }
        if target.out == Path::new("-") {
            let message = "a batch goes to a file or a folder; name one with --out";
            return Err(CommandError::new(ErrorKind::Usage, message));
        }
        let source = self.source(context)?;
        let declaration = context.declaration()?;
        let profile = target.profile(context)?;
        let total = checked(&source, declaration)?;
        if total == 0 {
            let message = format!("{source} names no device");
            return Err(CommandError::invalid_input(message));
        }
        let form = self.form(context, total)?;
        let mut inventory = context.inventory()?;
        let authority = OpenAuthority::open(context, &inventory, &target.authority)?;
        if context.settings.dry_run {
            context.ui.note(format!(
                "would issue {total} leaves to {}",
                target.out.display()
            ));
            return Ok(Outcome::Done);
        }
        let _lock = OutputLock::take(&context.files.resolve(&target.out), &target.out)?;
        let run = BatchRun {
            args: self,
            context,
            target,
            authority: &authority,
            profile,
            source: &source,
        };
        let batch = run.open(&mut inventory, total)?;
        if batch.state == BatchState::Complete {
            context
                .ui
                .note(format!("batch {} is complete already", batch.name));
            context.ui.result(&Summary::of(&batch, target))?;
            return Ok(Outcome::Done);
        }
        let renderer = Renderer::new(form, &authority.chain());
        let manifest = run.issue(&mut inventory, &batch, &renderer)?;
        let text = run.manifest_text(manifest)?;
        let path = manifest_path(&target.out);
        context
            .files
            .write(&path, text.as_bytes(), Access::Public, Existing::Replace)?;
        let batch = inventory.complete_batch(&batch.name, &text, context.now())?;
        context.ui.result(&Summary::of(&batch, target))?;
        Ok(Outcome::Done)
    }

    fn source(&self, context: &Context) -> Result<Source, CommandError> {
        match (&self.devices, &self.prefix) {
            (Some(path), _) => Source::file(context, path),
            (None, Some(prefix)) => Ok(Source::counter(
                prefix,
                self.start,
                self.count.unwrap_or_default(),
            )),
            (None, None) => Err(CommandError::new(ErrorKind::Usage, "no devices are given")),
        }
    }

    fn form(&self, context: &Context, total: u64) -> Result<Form, CommandError> {
        let shards = Shards::of(total);
        if self.format == Format::Pfx {
            let passphrase = self.key_passphrase(context)?.ok_or_else(|| {
                CommandError::refused("PKCS#12 files need a passphrase")
                    .hint("give it with --key-passphrase-from file:PATH or env:NAME")
            })?;
            let pfx = Pfx {
                passphrase,
                encryption: PfxEncryption::Modern,
            };
            return Ok(Form::Folder(DeviceFiles::Pfx(pfx), shards));
        }
        let keys = self.key_form(context)?;
        Ok(match self.format {
            Format::Ndjson => Form::Ndjson(keys),
            Format::Tar => Form::Tar(DeviceFiles::Pem(keys)),
            Format::Dir | Format::Pfx => Form::Folder(DeviceFiles::Pem(keys), shards),
        })
    }

    fn key_form(&self, context: &Context) -> Result<KeyForm, CommandError> {
        if let Some(passphrase) = self.key_passphrase(context)? {
            let sealer = KeySealer::new(&passphrase, context.entropy.as_ref());
            let sealer = sealer.map_err(|error| CommandError::failed(error.to_string()))?;
            return Ok(KeyForm::Encrypted(sealer));
        }
        if self.plain_keys || !self.recipients.is_empty() {
            return Ok(KeyForm::Plain);
        }
        Err(CommandError::refused("the devices' keys would be written in the clear").hint(
            "choose: --recipient age1… seals the output, --key-passphrase-from WHERE encrypts each key, --plain-keys writes them as they are",
        ))
    }

    fn key_passphrase(&self, context: &Context) -> Result<Option<Passphrase>, CommandError> {
        let word = self.key_passphrase_from.as_ref();
        let secret = word.map(|word| context.secret(word, "Passphrase of the devices' keys: "));
        Ok(secret.transpose()?.map(Passphrase::read))
    }
}

/// Goes through the whole input before anything is made.
fn checked(source: &Source, declaration: &Declaration) -> Result<u64, CommandError> {
    let known = |name: &ProfileName| declaration.profiles.contains_key(name);
    drop(source.devices()?);
    let devices = || source.devices().into_iter().flatten();
    check(devices, known).map_err(|bad| rejected(source, &bad))
}

/// One sentence, and every bad line: the first hundred for people, all of them in JSON.
fn rejected(source: &Source, bad: &[BadLine]) -> CommandError {
    let message = format!(
        "{source}: {} of its lines cannot be used; nothing was issued",
        bad.len()
    );
    CommandError::invalid_input(message).lines(bad)
}

fn manifest_path(out: &Path) -> PathBuf {
    beside(out, ".manifest.json")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    batch: Label,
    devices: u64,
    status: String,
    output: PathBuf,
    manifest: PathBuf,
}

impl Summary {
    fn of(batch: &BatchRecord, target: &Target) -> Self {
        Self {
            batch: batch.name.clone(),
            devices: batch.delivered,
            status: batch.state.to_string(),
            output: target.out.clone(),
            manifest: manifest_path(&target.out),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "batch {}: {} devices in {}",
            self.batch,
            self.devices,
            self.output.display()
        )?;
        write!(f, "manifest: {}", self.manifest.display())
    }
}
