//! A list in parts: a batch for each value of one of its columns, with an output and recipients of its
//! own.
//!
//! The list is judged as a whole, then each part, then the first part is issued. Said again after a cut,
//! parts that are complete are told as such and the others go on.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use pki_core::bulk::input::{BadLine, Place, is_label_column};
use pki_core::handout::seal::Recipient;
use pki_core::inventory::Label;
use serde::Serialize;

use super::{Batch, BatchOptions, Summary, Target, note_dropped};
use crate::bad_lines::BadLines;
use crate::batch_input::{Input, Source, rejected};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::inputs::{Inputs, input_name};

/// What stands for the value in the name of the outputs.
const PLACEHOLDER: &str = "{}";

/// Parts of one list: a column that has more values tells devices apart, not lines or customers.
const MOST_PARTS: usize = 1000;

// How a list is split.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Batches")]
pub(super) struct SplitArgs {
    /// Make one batch of each value of this column of the list; {} in --out stands for the value, and
    /// --batch NAME names them NAME-VALUE
    #[arg(
        long,
        value_name = "COLUMN",
        requires = "devices",
        conflicts_with_all = ["ids", "prefix", "manifest"]
    )]
    split_by: Option<String>,

    /// Seal each part to recipients of its own, from a file with a line "VALUE: age1… age1…" for each
    /// value; lines that begin with # are comments
    #[arg(
        long,
        value_name = "FILE",
        requires = "split_by",
        conflicts_with_all = ["recipients", "plain_keys", "key_passphrase_from"]
    )]
    recipients_file: Option<PathBuf>,
}

/// The recipients of each value.
struct Recipients {
    by_value: BTreeMap<String, Vec<Recipient>>,
    /// The file that they stand in.
    name: String,
}

/// One part of the list, and how it is written.
struct Part {
    input: Input,
    target: Target,
    options: BatchOptions,
}

impl SplitArgs {
    /// The column, if the list is to be split.
    pub(super) fn column(&self) -> Option<&str> {
        self.split_by.as_deref()
    }

    /// Issues one batch after the other, once all are judged.
    pub(super) fn run(&self, whole: &Batch<'_>, column: &str, input: Input) -> CommandResult {
        let context = whole.context;
        let parts = self.parts(whole, column, &input)?;
        let batches: Vec<Batch<'_>> = parts.iter().map(|part| part.batch(whole)).collect();
        let mut forms = Vec::with_capacity(parts.len());
        for (batch, part) in batches.iter().zip(&parts) {
            batch.check_usage()?;
            forms.push(batch.known_form(&part.input)?);
        }
        let (mut inventory, authority) = whole.open()?;
        authority.warn_of_chain(&context.home, &context.ui)?;
        note_dropped(&context.ui, &input.asked);
        for (batch, part) in batches.iter().zip(&parts) {
            let would = batch.rehearse(&mut inventory, &authority, &part.input)?;
            if context.settings.dry_run {
                context.ui.note(would);
            }
        }
        if context.settings.dry_run {
            return Ok(Outcome::Done);
        }
        let mut issued = Vec::with_capacity(parts.len());
        for ((batch, part), form) in batches.iter().zip(&parts).zip(forms) {
            let input = part.input.clone();
            let record = batch.serve(&mut inventory, &authority, input, form)?;
            issued.push(batch.summary(&record));
        }
        context.ui.result(&Summaries { batches: issued })?;
        Ok(Outcome::Done)
    }

    fn parts(
        &self,
        whole: &Batch<'_>,
        column: &str,
        input: &Input,
    ) -> Result<Vec<Part>, CommandError> {
        let target = whole.target;
        target.check_labels()?;
        let out = out_pattern(&target.out)?;
        let recipients = self.recipients(&whole.context.inputs)?;
        let source = &input.source;
        check_column(source, column)?;
        let values = values(whole.context, source, column, recipients.as_ref())?;
        let part = |value: String| {
            let recipients = recipients.as_ref();
            let own = recipients.and_then(|recipients| recipients.by_value.get(&value));
            let options = &whole.options;
            Ok(Part {
                input: input.part(column, &value)?.labelled(&target.labels),
                options: BatchOptions {
                    name: options
                        .name
                        .as_ref()
                        .map(|name| named(name, &value))
                        .transpose()?,
                    recipients: own.unwrap_or(&options.recipients).clone(),
                    ..(*options).clone()
                },
                target: Target {
                    out: PathBuf::from(out.replace(PLACEHOLDER, &value)),
                    ..target.clone()
                },
            })
        };
        values.into_iter().map(part).collect()
    }

    fn recipients(&self, inputs: &Inputs) -> Result<Option<Recipients>, CommandError> {
        let path = self.recipients_file.as_deref();
        path.map(|path| Recipients::read(inputs, path)).transpose()
    }
}

impl Part {
    fn batch<'a>(&'a self, whole: &Batch<'a>) -> Batch<'a> {
        Batch {
            target: &self.target,
            options: &self.options,
            ..*whole
        }
    }
}

impl Recipients {
    fn read(inputs: &Inputs, path: &Path) -> Result<Self, CommandError> {
        let name = input_name(path);
        let content = inputs.read(path)?;
        let text = std::str::from_utf8(&content);
        let text = text.map_err(|error| CommandError::in_file(path, &error))?;
        let mut by_value = BTreeMap::new();
        let mut bad = Vec::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match recipients_line(line) {
                Ok((value, recipients)) => {
                    if by_value.insert(value.to_owned(), recipients).is_some() {
                        bad.push(bad_line(number, line, "its value stands there twice"));
                    }
                }
                Err(reason) => bad.push(bad_line(number, line, &reason)),
            }
        }
        if bad.is_empty() {
            return Ok(Self { by_value, name });
        }
        let message =
            format!("{name}: it does not name the recipients of each value; nothing was issued");
        Err(CommandError::invalid_input(message)
            .lines(&bad)
            .hint("each line is: VALUE: age1… age1…"))
    }
}

fn recipients_line(line: &str) -> Result<(&str, Vec<Recipient>), String> {
    // No recipient has a colon, and a value may.
    let parts = line.rsplit_once(':');
    let (value, recipients) = parts.ok_or("there is no colon behind the value")?;
    let recipients: Result<Vec<Recipient>, _> =
        recipients.split_whitespace().map(str::parse).collect();
    let recipients =
        recipients.map_err(|error: pki_core::handout::seal::SealError| error.to_string())?;
    if recipients.is_empty() {
        return Err("it names no recipient".to_owned());
    }
    Ok((value.trim(), recipients))
}

fn bad_line(number: u64, line: &str, reason: &str) -> BadLine {
    // What stands behind the value may be a secret key by mistake.
    let value = line.rsplit_once(':').map_or("", |(value, _)| value);
    BadLine {
        place: Place::Line(number),
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}

fn out_pattern(out: &Path) -> Result<&str, CommandError> {
    let out = out.to_str().filter(|out| out.contains(PLACEHOLDER));
    out.ok_or_else(|| {
        let message = "--split-by makes several outputs: {} in --out stands for the value, as in order-{}.age";
        CommandError::new(ErrorKind::Usage, message)
    })
}

fn check_column(source: &Source, column: &str) -> Result<(), CommandError> {
    if is_label_column(column) {
        return Ok(());
    }
    let message = format!("{source}: --split-by {column}: a list is split by a column of labels");
    Err(CommandError::new(ErrorKind::Usage, message))
}

/// The values of a column, if each can be part of a file's name and has recipients where they stand in
/// a file.
fn values(
    context: &Context,
    source: &Source,
    column: &str,
    recipients: Option<&Recipients>,
) -> Result<Vec<String>, CommandError> {
    let mut bad = BadLines::new(context.ui.is_json())?;
    let others = BadLines::new(context.ui.is_json())?;
    // By what a file system may take for the same name.
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for device in source.devices()?.flatten() {
        let label = device.labels.iter().find(|(name, _)| name == column);
        let Some((_, value)) = label else {
            let reason = format!("it has no value in the column {column:?}");
            bad.push(bad_device(device.place, &device.id.to_string(), reason));
            continue;
        };
        let folded = value.to_lowercase();
        let problem = match found.get(&folded) {
            None => unsafe_name(value).or_else(|| lacks_recipients(value, recipients)),
            Some(known) if known != value => {
                Some(format!("it differs from {known:?} in case alone"))
            }
            Some(_) => None,
        };
        found.entry(folded).or_insert_with(|| value.clone());
        if let Some(reason) = problem {
            bad.push(bad_device(device.place, value, reason));
        }
        if found.len() > MOST_PARTS {
            let message =
                format!("{source}: the column {column:?} has more than {MOST_PARTS} values");
            return Err(CommandError::invalid_input(message));
        }
    }
    if bad.count() == 0 {
        Ok(found.into_values().collect())
    } else {
        Err(rejected(source, bad, others))
    }
}

fn bad_device(place: Place, value: &str, reason: String) -> BadLine {
    BadLine {
        place,
        value: value.to_owned(),
        reason,
    }
}

/// Why a value is not put into the name of a file.
fn unsafe_name(value: &str) -> Option<String> {
    const LONGEST: usize = 100;
    let is_forbidden = |c: char| c.is_control() || "/\\:*?\"<>|{}".contains(c);
    if let Some(character) = value.chars().find(|c| is_forbidden(*c)) {
        Some(format!("no file's name can hold its {character:?}"))
    } else if value.starts_with('.') || value.ends_with('.') {
        Some("a name that begins or ends with a dot is no plain file's".to_owned())
    } else if value.len() > LONGEST {
        Some(format!(
            "it is longer than {LONGEST} bytes, too long for a file's name"
        ))
    } else {
        None
    }
}

fn lacks_recipients(value: &str, recipients: Option<&Recipients>) -> Option<String> {
    let recipients = recipients?;
    let is_named = recipients.by_value.contains_key(value);
    (!is_named).then(|| format!("{} names no recipient for it", recipients.name))
}

fn named(name: &Label, value: &str) -> Result<Label, CommandError> {
    let text = format!("{name}-{value}");
    text.parse()
        .map_err(|error| CommandError::invalid_input(format!("batch name {text:?}: {error}")))
}

/// What became of all parts.
#[derive(Serialize)]
struct Summaries {
    batches: Vec<Summary>,
}

impl fmt::Display for Summaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, batch) in self.batches.iter().enumerate() {
            let line_feed = if index == 0 { "" } else { "\n" };
            write!(f, "{line_feed}{batch}")?;
        }
        Ok(())
    }
}
