//! Batches, of `issue --devices`, `issue --prefix` and `sign`: identities for a whole line.
//!
//! The whole input is checked first. Then chunks go through [`pki_core::bulk`]; this file chooses the
//! input, the output and the form of the keys; [`run`] does the rest.

mod judge;
mod run;

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::{fmt, thread};

use pki_core::bulk::input::{Checked, Counter, ListEncoding, REQUEST_COLUMN, Separator};
use pki_core::csr::IdFrom;
use pki_core::encoding::{Pfx, PfxEncryption};
use pki_core::handout::seal::{KeySealer, Recipient};
use pki_core::handout::{DeviceFiles, Form, KeyForm, Renderer, Shards};
use pki_core::inventory::{BatchRecord, BatchState, Inventory as _, Label, NamedLabel};
use pki_core::secret::Passphrase;
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::counted;
use serde::Serialize;

use self::run::BatchRun;
use super::issue::Target;
use crate::batch_input::{Input, ListArgs, Source};
use crate::batch_output::beside;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::files::{Access, Files};
use crate::inputs::Inputs;
use crate::issuance::OpenAuthority;
use crate::render::ui::Ui;
use crate::request_input::{Item, Judge};
use crate::secret_word::{SecretWord, SecretWordParser};

/// As many devices as a counter makes for one batch: their claim is a gigabyte and a half of digests.
const MOST_COUNTED: u64 = 100_000_000;

// A batch of devices, and what becomes of their keys.
#[derive(clap::Args)]
#[command(next_help_heading = "Batches")]
pub(super) struct BatchArgs {
    /// A list of devices: CSV with a header (registration_id; optional profile, validity, san, and
    /// csr for devices that made their own keys: a file beside the list, or PEM; other columns become
    /// labels), or one registration ID a line; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ids", "prefix"])]
    devices: Option<PathBuf>,

    /// Registration IDs from a counter: what each begins with
    #[arg(long, value_name = "TEXT", requires = "count", conflicts_with = "ids")]
    prefix: Option<String>,

    /// How many IDs the counter makes, at most 100 million
    #[arg(
        long,
        value_name = "N",
        requires = "prefix",
        value_parser = clap::value_parser!(u64).range(1..=MOST_COUNTED)
    )]
    count: Option<u64>,

    /// The counter's first number
    #[arg(long, value_name = "K", requires = "prefix", default_value_t = 1)]
    start: u64,

    /// How many digits each number has, with zeros before it [default: as many as the last one needs]
    #[arg(
        long,
        value_name = "N",
        requires = "prefix",
        conflicts_with_all = ["ids", "devices"],
        value_parser = clap::value_parser!(u8).range(1..=64)
    )]
    digits: Option<u8>,

    #[command(flatten)]
    list: ListArgs,

    #[command(flatten)]
    options: BatchOptions,

    #[command(flatten)]
    keys: KeyArgs,
}

// What becomes of keys that are made here.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Batches")]
pub(super) struct KeyArgs {
    /// Write the devices' keys in the clear: the output itself is the secret
    #[arg(long, conflicts_with_all = ["key_passphrase_from", "recipients"])]
    plain_keys: bool,

    /// Encrypt each device's key under the passphrase from file:PATH, env:NAME, fd:N, stdin or prompt
    #[arg(long, value_name = "WHERE", value_parser = SecretWordParser, conflicts_with = "recipients")]
    key_passphrase_from: Option<SecretWord>,
}

// How a batch is written.
#[derive(clap::Args)]
#[command(next_help_heading = "Batches")]
pub(super) struct BatchOptions {
    /// The form of the output [default: ndjson; dir for requests in files]
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// The batch's name [default: the authority and a digest of the input]
    #[arg(long = "batch", value_name = "NAME")]
    name: Option<Label>,

    /// Seal the whole output to an age recipient (age1…); once for each
    #[arg(long = "recipient", value_name = "AGE")]
    recipients: Vec<Recipient>,

    /// How many workers [default: one a core]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,

    /// Where the manifest goes [default: beside the output; with standard output to the inventory alone]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,

    /// Have the authority sign the manifest
    #[arg(long)]
    sign_manifest: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
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
        let format = self.options.format.unwrap_or(Format::Ndjson);
        let batch = Batch {
            context,
            target,
            options: &self.options,
            keys: &self.keys,
            format,
        };
        batch.check_usage()?;
        let source = self.source(&context.inputs, &context.files)?;
        let declaration = context.home.declaration()?;
        if !self.brings_requests(&context.ui, &source, target)? {
            return batch.run(|| Input::listed(&context.home, &context.ui, source));
        }
        let judge = Judge::new(context, declaration, &target.profile, IdFrom::CommonName);
        let beside = self.devices.as_deref().and_then(Path::parent);
        let folder = beside.unwrap_or_else(|| Path::new("")).to_owned();
        let listed = source.devices()?;
        let items = listed.map(|device| Item::Listed(device, folder.clone()));
        batch.run(|| judge.judge(items, source.to_string(), self.options.jobs()))
    }

    fn source(&self, inputs: &Inputs, files: &Files) -> Result<Source, CommandError> {
        match (&self.devices, &self.prefix) {
            (Some(path), _) => Source::list(inputs, files, path, &self.list),
            (None, Some(prefix)) => self.counter(prefix).map(Source::counter),
            (None, None) => Err(CommandError::new(ErrorKind::Usage, "no devices are given")),
        }
    }

    fn counter(&self, prefix: &str) -> Result<Counter, CommandError> {
        let counter = Counter {
            prefix: prefix.to_owned(),
            start: self.start,
            count: self.count.unwrap_or_default(),
            digits: self.digits.map(usize::from),
        };
        let Some(last) = counter.last() else {
            let message = format!(
                "--start {} and --count {} lead past {}, the last number there is",
                counter.start,
                counter.count,
                u64::MAX
            );
            return Err(CommandError::new(ErrorKind::Usage, message));
        };
        let needed = last.to_string().len();
        if let Some(digits) = counter.digits.filter(|digits| *digits < needed) {
            let message = format!(
                "--digits {digits} is too few: the last number is {last}, which has {needed}"
            );
            return Err(CommandError::new(ErrorKind::Usage, message));
        }
        Ok(counter)
    }

    /// Whether devices of the list bring requests. What was found out about the list is said.
    fn brings_requests(
        &self,
        ui: &Ui,
        source: &Source,
        target: &Target,
    ) -> Result<bool, CommandError> {
        let Some(list) = source.as_list()? else {
            return Ok(false);
        };
        let (encoding, separator) = (list.encoding(), list.separator());
        let heads = list.into_heads();
        if encoding != ListEncoding::Utf8 || (heads.len() > 1 && separator != Separator::Comma) {
            ui.note(format!(
                "{source}: read as {encoding}, with {separator} between the columns"
            ));
        }
        let mut labels = target.labels.iter().map(NamedLabel::name);
        if let Some(name) = labels.find(|name| heads.iter().any(|head| head == name)) {
            let message = format!("--label {name}: {source} has a column of that name");
            return Err(CommandError::new(ErrorKind::Usage, message));
        }
        Ok(heads.iter().any(|head| head == REQUEST_COLUMN))
    }
}

impl BatchOptions {
    /// Whether any of them was given: then a batch is meant.
    pub(super) fn are_given(&self) -> bool {
        self.format.is_some()
            || self.name.is_some()
            || !self.recipients.is_empty()
            || self.jobs.is_some()
            || self.manifest.is_some()
            || self.sign_manifest
    }

    /// The form of the output, or the one that fits the input.
    pub(super) fn format_or(&self, fitting: Format) -> Format {
        self.format.unwrap_or(fitting)
    }

    /// How many workers there are to be.
    pub(super) fn jobs(&self) -> usize {
        let cores = || thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        self.jobs.unwrap_or_else(cores)
    }
}

/// A batch that is to be issued: everything but its devices.
pub(super) struct Batch<'a> {
    pub(super) context: &'a Context,
    pub(super) target: &'a Target,
    pub(super) options: &'a BatchOptions,
    pub(super) keys: &'a KeyArgs,
    pub(super) format: Format,
}

impl Batch<'_> {
    /// Refuses what cannot be meant, before anything is read.
    pub(super) fn check_usage(&self) -> Result<(), CommandError> {
        let usage = |message| Err(CommandError::new(ErrorKind::Usage, message));
        if !self.options.recipients.is_empty() && self.format.is_folder() {
            return usage("--recipient seals one stream; choose --format ndjson or tar");
        }
        if self.target.out == Path::new(".") {
            return usage("a batch goes to a file or a folder; name one with --out");
        }
        if self.to_stdout() && self.format.is_folder() {
            return usage("standard output is one stream; choose --format ndjson or tar");
        }
        Ok(())
    }

    /// Whether it goes to standard output.
    fn to_stdout(&self) -> bool {
        self.target.out == Path::new("-")
    }

    /// Where the manifest goes, if it goes to a file: the inventory keeps it anyway.
    fn manifest_path(&self) -> Option<PathBuf> {
        let beside_output =
            || (!self.to_stdout()).then(|| beside(&self.target.out, ".manifest.json"));
        self.options.manifest.clone().or_else(beside_output)
    }

    /// Tells what became of the batch: as the result, unless that is the batch itself.
    fn tell(
        &self,
        batch: &BatchRecord,
        dropped: BTreeMap<String, u64>,
    ) -> Result<(), CommandError> {
        let summary = Summary {
            batch: batch.name.clone(),
            devices: batch.delivered,
            status: batch.state.to_string(),
            output: self.target.out.clone(),
            manifest: self.manifest_path(),
            dropped_extensions: dropped,
        };
        if self.to_stdout() {
            self.context.ui.note(&summary);
            Ok(())
        } else {
            self.context.ui.result(&summary)
        }
    }

    /// Issues the batch that `read` reads, or what is left of it.
    pub(super) fn run(
        &self,
        read: impl FnOnce() -> Result<Input, CommandError> + Send,
    ) -> CommandResult {
        let context = self.context;
        let target = self.target;
        target.check_labels()?;
        let profile = target.profile(context)?;
        // Beside each other: a list of 200,000 takes about as long as the stretching of a passphrase.
        let (input, opened) = thread::scope(|scope| {
            let reading = scope.spawn(read);
            let opened = self.open();
            let input = reading.join().unwrap_or_else(|panic| resume_unwind(panic));
            (input, opened)
        });
        let Input {
            source,
            mut checked,
            asked,
        } = input?;
        let source = source.labelled(&target.labels);
        let total = checked.devices;
        if total == 0 {
            let message = format!("{source} names no device");
            return Err(CommandError::invalid_input(message));
        }
        let form = self.form(&checked)?;
        let (mut inventory, authority) = opened?;
        authority.warn_of_chain(&context.home, &context.ui)?;
        note_dropped(&context.ui, &asked);
        let run = BatchRun::new(self, &authority, profile, &source)?;
        run.keep_off_homes()?;
        if context.settings.dry_run {
            return self.rehearse(&run, &mut inventory, &checked);
        }
        let _lock = run.lock()?;
        let found = match run.find(&inventory)? {
            Some(batch) if batch.state == BatchState::Complete => {
                run.check_output_is_here(&inventory, &batch)?;
                context
                    .ui
                    .note(format!("batch {} is complete already", batch.name));
                self.tell(&batch, asked)?;
                return Ok(Outcome::Done);
            }
            found => found,
        };
        // Nobody else issues to one of its devices until this run ends.
        let _claim = run.claim(std::mem::take(&mut checked.digests))?;
        let batch = match found {
            Some(batch) => {
                run.judge_rest(&mut inventory, &batch, &checked)?;
                batch
            }
            None => {
                run.judge_new(&mut inventory, &checked)?;
                run.open(&mut inventory, &checked)?
            }
        };
        let renderer = Renderer::new(form, &authority.chain());
        let manifest = run.issue(&mut inventory, &batch, &renderer)?;
        let text = run.manifest_text(manifest)?;
        if let Some(path) = self.manifest_path() {
            // A run that was cut short right after may have written it.
            let is_ours = |kept: &[u8]| is_manifest_of(kept, &batch.name);
            let files = &context.files;
            files.write_generated(&path, text.as_bytes(), Access::Public, is_ours)?;
        }
        let batch = inventory.complete_batch(&batch.name, &text, context.now())?;
        run.forget_note();
        self.tell(&batch, asked)?;
        Ok(Outcome::Done)
    }

    /// Judges all that a run would, and says what it would do.
    fn rehearse(
        &self,
        run: &BatchRun<'_>,
        inventory: &mut SqliteInventory,
        checked: &Checked,
    ) -> CommandResult {
        let found = run.find(inventory)?;
        let left = match &found {
            Some(batch) if batch.state == BatchState::Complete => {
                run.check_output_is_here(inventory, batch)?;
                let name = &batch.name;
                self.context
                    .ui
                    .note(format!("batch {name} is complete already"));
                return Ok(Outcome::Done);
            }
            Some(batch) => {
                run.judge_rest(inventory, batch, checked)?;
                batch.total - batch.delivered
            }
            None => {
                run.judge_new(inventory, checked)?;
                checked.devices
            }
        };
        self.context.ui.note(format!(
            "would issue {} to {}",
            counted(left, "leaf", "leaves"),
            self.target.out.display()
        ));
        Ok(Outcome::Done)
    }

    fn open(&self) -> Result<(SqliteInventory, OpenAuthority), CommandError> {
        let inventory = self.context.home.inventory()?;
        let name = &self.target.authority;
        let authority = OpenAuthority::open_or_stand_in(self.context, &inventory, name)?;
        Ok((inventory, authority))
    }

    fn form(&self, checked: &Checked) -> Result<Form, CommandError> {
        let shards = Shards::of(checked.devices);
        if self.format == Format::Pfx {
            return Ok(Form::Folder(DeviceFiles::Pfx(self.pfx(checked)?), shards));
        }
        let keys = match checked.new_keys {
            0 => KeyForm::Plain,
            _ => self.key_form()?,
        };
        Ok(match self.format {
            Format::Ndjson => Form::Ndjson(keys),
            Format::Tar => Form::Tar(DeviceFiles::Pem(keys)),
            Format::Dir | Format::Pfx => Form::Folder(DeviceFiles::Pem(keys), shards),
        })
    }

    fn pfx(&self, checked: &Checked) -> Result<Pfx, CommandError> {
        let own = checked.devices - checked.new_keys;
        if own > 0 {
            let keep = counted(own, "device keeps its own", "devices keep their own");
            let message = format!("a PKCS#12 file holds the device's key, and {keep}");
            return Err(CommandError::refused(message).hint("choose --format dir"));
        }
        let passphrase = self.key_passphrase()?.ok_or_else(|| {
            CommandError::refused("PKCS#12 files need a passphrase")
                .hint("give it with --key-passphrase-from file:PATH or env:NAME")
        })?;
        let encryption = PfxEncryption::Modern;
        Ok(Pfx {
            passphrase,
            encryption,
        })
    }

    fn key_form(&self) -> Result<KeyForm, CommandError> {
        if let Some(passphrase) = self.key_passphrase()? {
            let sealer = KeySealer::new(&passphrase, self.context.entropy.as_ref());
            let sealer = sealer.map_err(|error| CommandError::failed(error.to_string()))?;
            return Ok(KeyForm::Encrypted(sealer));
        }
        if self.keys.plain_keys || !self.options.recipients.is_empty() {
            return Ok(KeyForm::Plain);
        }
        Err(CommandError::refused("the devices' keys would be written in the clear").hint(
            "choose: --recipient age1… seals the output, --key-passphrase-from WHERE encrypts each key, --plain-keys writes them as they are",
        ))
    }

    fn key_passphrase(&self) -> Result<Option<Passphrase>, CommandError> {
        let question = "Passphrase of the devices' keys: ";
        let word = self.keys.key_passphrase_from.as_ref();
        let secret = word.map(|word| self.context.secrets.read(word, question));
        Ok(secret.transpose()?.map(Passphrase::read))
    }
}

/// Whether a file is the manifest of a batch.
fn is_manifest_of(content: &[u8], name: &Label) -> bool {
    let read: Option<serde_json::Value> = serde_json::from_slice(content).ok();
    read.is_some_and(|manifest| manifest["batch"] == name.to_string())
}

/// Says what requests ask for and do not get.
fn note_dropped(ui: &Ui, asked: &BTreeMap<String, u64>) {
    for (extension, requests) in asked {
        let ask = counted(*requests, "request asks", "requests ask");
        ui.note(format!(
            "{ask} for {extension}; the profile decides instead"
        ));
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    batch: Label,
    devices: u64,
    status: String,
    output: PathBuf,
    /// Its file, if there is one.
    manifest: Option<PathBuf>,
    /// The extensions that requests asked for and did not get, and how many asked.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    dropped_extensions: BTreeMap<String, u64>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let output = match self.output.to_str() {
            Some("-") => "standard output".into(),
            _ => self.output.to_string_lossy(),
        };
        write!(
            f,
            "batch {}: {} in {output}",
            self.batch,
            counted(self.devices, "device", "devices")
        )?;
        match &self.manifest {
            Some(manifest) => write!(f, "\nmanifest: {}", manifest.display()),
            None => Ok(()),
        }
    }
}
