//! What the command line says of a batch: its devices, its output, and what becomes of keys.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

use pki_core::bulk::input::{Counter, ListEncoding, REQUEST_COLUMN, Separator};
use pki_core::csr::IdFrom;
use pki_core::handout::seal::Recipient;
use pki_core::inventory::{Label, NamedLabel};
use secrecy::SecretString;

use super::super::issue::Target;
use super::split::SplitArgs;
use super::{Batch, Purpose};
use crate::batch_input::{Input, ListArgs, Source};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};
use crate::render::ui::Ui;
use crate::request_input::{Item, Judge};
use crate::secret_word::{SecretWord, SecretWordParser};

/// As many devices as a counter makes for one batch: their claim is a gigabyte and a half of digests.
const MOST_COUNTED: u64 = 100_000_000;

// A batch of devices, and what becomes of their keys.
#[derive(clap::Args)]
#[command(next_help_heading = "Batches")]
pub(in super::super) struct BatchArgs {
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
    split: SplitArgs,

    #[command(flatten)]
    options: BatchOptions,

    #[command(flatten)]
    keys: KeyArgs,
}

// What becomes of keys that are made here.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Batches")]
pub(in super::super) struct KeyArgs {
    /// Write the devices' keys in the clear: the output itself is the secret
    #[arg(long, conflicts_with_all = ["key_passphrase_from", "recipients"])]
    pub(super) plain_keys: bool,

    /// Encrypt each device's key under the passphrase from file:PATH, env:NAME, fd:N, stdin or prompt
    #[arg(long, value_name = "WHERE", value_parser = SecretWordParser, conflicts_with = "recipients")]
    pub(super) key_passphrase_from: Option<SecretWord>,

    /// What was read there.
    #[arg(skip)]
    pub(super) passphrase: OnceLock<SecretString>,
}

// How a batch is written.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Batches")]
pub(in super::super) struct BatchOptions {
    /// The form of the output [default: ndjson; dir for requests in files]
    #[arg(long, value_enum)]
    pub(super) format: Option<Format>,

    /// The batch's name [default: the authority and a digest of the input]
    #[arg(long = "batch", value_name = "NAME")]
    pub(super) name: Option<Label>,

    /// Seal the whole output to an age recipient (age1…); once for each
    #[arg(long = "recipient", value_name = "AGE")]
    pub(super) recipients: Vec<Recipient>,

    /// How many workers [default: one a core]
    #[arg(long, value_name = "N")]
    pub(super) jobs: Option<usize>,

    /// Where the manifest goes [default: beside the output; with standard output to the inventory alone]
    #[arg(long, value_name = "FILE")]
    pub(super) manifest: Option<PathBuf>,

    /// Have the authority sign the manifest
    #[arg(long)]
    pub(super) sign_manifest: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in super::super) enum Format {
    /// One JSON object a line and device
    Ndjson,
    /// An archive of all devices' files
    Tar,
    /// A folder with the devices' files, in folders of 1000 above 10 000
    Dir,
    /// A folder with one PKCS#12 file a device
    Pfx,
    /// A folder with one C header a device, for firmware images
    CHeader,
    /// A folder with the rows of one NVS partition a device, for ESP-IDF
    Nvs,
}

impl Format {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Tar => "tar",
            Self::Dir => "dir",
            Self::Pfx => "pfx",
            Self::CHeader => "c-header",
            Self::Nvs => "nvs",
        }
    }

    pub(super) fn is_folder(self) -> bool {
        match self {
            Self::Ndjson | Self::Tar => false,
            Self::Dir | Self::Pfx | Self::CHeader | Self::Nvs => true,
        }
    }

    /// Whether it holds keys in the clear only.
    pub(super) fn takes_plain_keys_only(self) -> bool {
        matches!(self, Self::CHeader | Self::Nvs)
    }
}

impl BatchArgs {
    /// Whether a batch is asked for at all.
    pub(in super::super) fn is_given(&self) -> bool {
        self.devices.is_some() || self.prefix.is_some()
    }

    /// Whether anything is said of how a batch is written: then one is meant.
    pub(in super::super) fn says_how_it_is_written(&self) -> bool {
        self.options.are_given() || self.keys.key_passphrase_from.is_some()
    }

    /// Issues the batch, or what is left of it.
    pub(in super::super) fn run(&self, context: &Context, target: &Target) -> CommandResult {
        self.check_usage(context, target)?;
        let devices = self.listed(context)?;
        self.issue(context, target, devices, &Purpose::Issue)
    }

    /// Refuses what no batch can mean.
    pub(in super::super) fn check_usage(
        &self,
        context: &Context,
        target: &Target,
    ) -> Result<(), CommandError> {
        self.batch(context, target, &Purpose::Issue).check_usage()
    }

    fn batch<'a>(
        &'a self,
        context: &'a Context,
        target: &'a Target,
        purpose: &'a Purpose<'a>,
    ) -> Batch<'a> {
        Batch {
            context,
            target,
            options: &self.options,
            keys: &self.keys,
            format: self.options.format_or(Format::Ndjson),
            purpose,
        }
    }

    /// Issues to devices, or renews them; or what is left of that.
    pub(in super::super) fn issue(
        &self,
        context: &Context,
        target: &Target,
        devices: Listed,
        purpose: &Purpose<'_>,
    ) -> CommandResult {
        let Listed { source, folder } = devices;
        let brings_requests = brings_requests(&context.ui, &source, target)?;
        let declaration = context.home.declaration()?;
        let judge = Judge::new(context, declaration, &target.profile, IdFrom::CommonName);
        let read = || {
            if !brings_requests {
                return Input::listed(&context.home, &context.ui, source);
            }
            let listed = source.devices()?;
            let items = listed.map(|device| Item::Listed(device, folder.clone()));
            judge.judge(items, source.to_string(), self.options.jobs())
        };
        let batch = self.batch(context, target, purpose);
        match self.split.column() {
            None => batch.run(read),
            Some(column) => self.split.run(&batch, column, read()?),
        }
    }

    /// The devices that the options name.
    pub(in super::super) fn listed(&self, context: &Context) -> Result<Listed, CommandError> {
        match (&self.devices, &self.prefix) {
            (Some(path), _) => self.list(context, path),
            (None, Some(prefix)) => self.counter(prefix).map(Source::counter).map(Listed::of),
            (None, None) => Err(CommandError::new(ErrorKind::Usage, "no devices are given")),
        }
    }

    /// The devices of a list.
    pub(in super::super) fn list(
        &self,
        context: &Context,
        path: &Path,
    ) -> Result<Listed, CommandError> {
        Ok(Listed {
            source: Source::list(&context.inputs, path, self.list.form())?,
            folder: path.parent().unwrap_or_else(|| Path::new("")).to_owned(),
        })
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
}

/// Devices that are named together.
pub(in super::super) struct Listed {
    pub(in super::super) source: Source,
    /// Where the files lie that a list names.
    folder: PathBuf,
}

impl Listed {
    /// Devices that name no files.
    pub(in super::super) fn of(source: Source) -> Self {
        let folder = PathBuf::new();
        Self { source, folder }
    }
}

/// Whether devices of the list bring requests. What was found out about the list is said.
fn brings_requests(ui: &Ui, source: &Source, target: &Target) -> Result<bool, CommandError> {
    let Some(list) = source.as_list()? else {
        return Ok(false);
    };
    let encoding = list.encoding();
    let separator = list.separator();
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

impl BatchOptions {
    /// Whether any of them was given: then a batch is meant.
    pub(in super::super) fn are_given(&self) -> bool {
        self.format.is_some()
            || self.name.is_some()
            || !self.recipients.is_empty()
            || self.jobs.is_some()
            || self.manifest.is_some()
            || self.sign_manifest
    }

    /// Whether a batch is named.
    pub(in super::super) fn names_a_batch(&self) -> bool {
        self.name.is_some()
    }

    /// The form of the output, or the one that fits the input.
    pub(in super::super) fn format_or(&self, fitting: Format) -> Format {
        self.format.unwrap_or(fitting)
    }

    /// How many workers there are to be.
    pub(in super::super) fn jobs(&self) -> usize {
        let cores = || thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        self.jobs.unwrap_or_else(cores)
    }
}
