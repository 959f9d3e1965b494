//! `batch open`: at the line, from a batch to the files that are flashed. It needs no home.

use std::path::PathBuf;

use pki_core::encoding::{Pfx, PfxEncryption};
use pki_core::handout::seal::KeySealer;
use pki_core::handout::{DeviceFiles, KeyForm};
use pki_core::secret::Passphrase;

use super::super::opening::{Keys, Opening};
use crate::batch_file::BatchFile;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};
use crate::secret_word::{SecretWord, SecretWordParser};

/// Write a batch that arrived as the files of its devices
///
/// The batch is NDJSON or an archive, sealed or not, as dps-pki issue, sign and renew write it. All of it is
/// judged before anything is written: that it is whole, and that keys, certificates and chains belong
/// together. Whether it is the batch that an authority made is told by dps-pki batch verify. Keys go
/// out as the batch has them, in files that are their owner's alone; a run that is cut short leaves a folder
/// PATH.opening with keys, which the same command removes.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki batch open line-7.ndjson --format c-header --out headers
  dps-pki batch open line-7.ndjson --out line-7")]
pub(super) struct OpenArgs {
    /// The batch; - for standard input
    file: PathBuf,

    /// The file with the age identity that opens it, as age-keygen writes it; of a sealed batch only
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,

    /// The form of the devices' files
    #[arg(long, value_enum, default_value = "dir")]
    format: Format,

    /// The folder to write, which must not exist yet
    #[arg(long, value_name = "PATH")]
    out: PathBuf,

    /// Encrypt each device's key under the passphrase from file:PATH, env:NAME, fd:N, stdin or prompt
    #[arg(long, value_name = "WHERE", value_parser = SecretWordParser)]
    key_passphrase_from: Option<SecretWord>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Key, certificate, and certificate with its chain in PEM
    Dir,
    /// One PKCS#12 file a device
    Pfx,
    /// One C header a device, for firmware images
    CHeader,
    /// The rows of one NVS partition a device, for ESP-IDF
    Nvs,
}

impl OpenArgs {
    pub(super) fn run(&self, context: &Context) -> CommandResult {
        self.check_usage()?;
        let batch = BatchFile::new(context, &self.file, self.identity.as_deref())?;
        let files = self.files(context)?;
        let keys = match files {
            DeviceFiles::Pem(KeyForm::Plain) => Keys::AsTheyAre,
            _ => Keys::Opened,
        };
        Opening {
            context,
            batch: &batch,
            files,
            keys,
            out: &self.out,
        }
        .run()
    }

    fn check_usage(&self) -> Result<(), CommandError> {
        let is_plain = matches!(self.format, Format::CHeader | Format::Nvs);
        if is_plain && self.key_passphrase_from.is_some() {
            let message =
                "a private key in this form is not encrypted; leave --key-passphrase-from out";
            return Err(CommandError::new(ErrorKind::Usage, message));
        }
        Ok(())
    }

    fn files(&self, context: &Context) -> Result<DeviceFiles, CommandError> {
        Ok(match self.format {
            Format::Dir => DeviceFiles::Pem(self.key_form(context)?),
            Format::Pfx => DeviceFiles::Pfx(Pfx {
                passphrase: self.passphrase(context)?.ok_or_else(|| {
                    let message = "a PKCS#12 file needs a passphrase: --key-passphrase-from";
                    CommandError::new(ErrorKind::Usage, message)
                })?,
                encryption: PfxEncryption::Modern,
            }),
            Format::CHeader => DeviceFiles::CHeader,
            Format::Nvs => DeviceFiles::Nvs,
        })
    }

    fn key_form(&self, context: &Context) -> Result<KeyForm, CommandError> {
        let Some(passphrase) = self.passphrase(context)? else {
            return Ok(KeyForm::Plain);
        };
        KeySealer::new(&passphrase, context.entropy.as_ref())
            .map(KeyForm::Encrypted)
            .map_err(|error| CommandError::failed(error.to_string()))
    }

    fn passphrase(&self, context: &Context) -> Result<Option<Passphrase>, CommandError> {
        let question = "Passphrase of the devices' keys: ";
        let word = self.key_passphrase_from.as_ref();
        let secret = word.map(|word| context.secrets.read(word, question));
        Ok(secret.transpose()?.map(Passphrase::read))
    }
}
