//! The devices of a batch: a list, a counter, or requests; read as often as it takes.
//!
//! What brings requests is judged first, and goes on as a copy of what was found sound.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, Write as _};
use std::path::Path;
use std::sync::Arc;

use pki_core::bulk::input::{
    BadLine, Counter, Device, DeviceList, ListEncoding, ListForm, Separator, SoundInput, Tally,
    check,
};
use pki_core::bulk::requests::{Judgement, Spool};
use pki_core::handout::digest::{OutputDigest, OutputHash};
use pki_core::ids::ProfileName;
use pki_core::inventory::NamedLabel;
use pki_core::wording::counted;

use crate::bad_lines::{BadLines, ToldLines};
use crate::error::CommandError;
use crate::home::Home;
use crate::inputs::{Inputs, Rereadable};
use crate::render::ui::Ui;
use crate::spool::{CopyError, PrivateCopy};

/// Where the devices come from, and the labels that all of them get.
#[derive(Clone)]
pub(crate) struct Source {
    origin: Arc<Origin>,
    /// Only the devices that have this label there, by name and value.
    part: Option<(String, String)>,
    labels: Vec<NamedLabel>,
}

enum Origin {
    List(Rereadable, ListForm),
    /// What was found sound of an input that brings requests.
    Judged {
        sound: PrivateCopy,
        digest: OutputDigest,
        name: String,
    },
    Counter(Counter),
}

// How a list is written.
#[derive(clap::Args, Default)]
pub(crate) struct ListArgs {
    /// What stands between the columns of the list: comma, semicolon or tab [default: what its header
    /// has]
    #[arg(long, value_name = "WHICH", requires = "devices", conflicts_with_all = ["ids", "prefix"])]
    separator: Option<Separator>,

    /// The list's column of registration IDs [default: registration_id]
    #[arg(long, value_name = "NAME", requires = "devices", conflicts_with_all = ["ids", "prefix"])]
    id_column: Option<String>,

    /// What the list is written in: utf-8, utf-16, utf-16be or windows-1252 [default: utf-8, or what its
    /// byte-order mark says]
    #[arg(long, value_name = "ENCODING", requires = "devices", conflicts_with_all = ["ids", "prefix"])]
    encoding: Option<ListEncoding>,
}

impl ListArgs {
    pub(crate) fn form(&self) -> ListForm {
        ListForm {
            separator: self.separator,
            id_column: self.id_column.clone(),
            encoding: self.encoding,
        }
    }
}

/// What a batch is made of, found sound as a whole.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) source: Source,
    pub(crate) checked: SoundInput,
    /// The extensions that requests ask for and do not get, and how many ask.
    pub(crate) asked: BTreeMap<String, u64>,
}

impl Input {
    /// A list or a counter without requests: goes through it, before anything is made.
    pub(crate) fn listed(home: &Home, ui: &Ui, source: Source) -> Result<Self, CommandError> {
        let declaration = home.declaration()?;
        let known = |name: &ProfileName| declaration.profiles.contains_key(name);
        drop(source.devices()?);
        let devices = || source.devices().into_iter().flatten();
        let mut bad = BadLines::new(ui.is_json())?;
        let mut duplicates = BadLines::new(ui.is_json())?;
        // Duplicates are told last, in an order of their own.
        let mut refuse = |line: BadLine| {
            if bad.last_is_before(&line) {
                bad.push(line)
            } else {
                duplicates.push(line)
            }
        };
        let checked = match &*source.origin {
            Origin::Counter(counter) => counter.check(&mut refuse),
            _ => check(devices, known, &mut refuse),
        };
        match checked {
            Some(checked) => Ok(Self {
                source,
                checked,
                asked: BTreeMap::new(),
            }),
            None => Err(rejected(&source, bad, duplicates)),
        }
    }

    /// The same, whose devices get these labels besides those of their own.
    pub(crate) fn labelled(self, labels: &[NamedLabel]) -> Self {
        Self {
            source: self.source.labelled(labels),
            ..self
        }
    }

    /// The devices of it that have this label there.
    ///
    /// # Errors
    /// If it cannot be read again.
    pub(crate) fn part(&self, name: &str, value: &str) -> Result<Self, CommandError> {
        let source = self.source.part(name, value);
        let mut tally = Tally::default();
        for device in source.devices()?.flatten() {
            tally.count(&device);
        }
        let devices = || source.devices().into_iter().flatten();
        // Nothing of what was found sound as a whole is twice in a part of it.
        let checked = tally.end(devices, &mut |_| {}).unwrap_or_default();
        Ok(Self {
            source,
            checked,
            asked: BTreeMap::new(),
        })
    }

    /// What was judged already, if all of it is sound.
    pub(crate) fn judged(
        ui: &Ui,
        source: Source,
        judgement: Judgement,
        bad: BadLines,
    ) -> Result<Self, CommandError> {
        let mut duplicates = BadLines::new(ui.is_json())?;
        let devices = || source.devices().into_iter().flatten();
        let checked = judgement
            .sound
            .end(devices, &mut |line| duplicates.push(line));
        match checked {
            Some(checked) if judgement.bad == 0 => Ok(Self {
                source,
                checked,
                asked: judgement.asked,
            }),
            _ => Err(rejected(&source, bad, duplicates)),
        }
    }
}

/// One sentence, and every bad line or request: the first hundred for people, all of them in JSON.
pub(crate) fn rejected(source: &Source, bad: BadLines, others: BadLines) -> CommandError {
    let count = bad.count() + others.count();
    let what = if bad.are_lines() && others.are_lines() {
        counted(count, "line", "lines")
    } else {
        counted(count, "request", "requests")
    };
    let message = format!("{source}: {what} cannot be used; nothing was issued");
    match ToldLines::of(bad, others) {
        Ok(lines) => CommandError::invalid_input(message).bad_lines(lines),
        Err(error) => error.into(),
    }
}

/// The devices, each or what is wrong with it.
pub(crate) type Devices = Box<dyn Iterator<Item = Result<Device, BadLine>> + Send>;

impl Source {
    /// A list in a file or a pipe, or on standard input for `-`.
    pub(crate) fn list(inputs: &Inputs, path: &Path, form: ListForm) -> Result<Self, CommandError> {
        let content = inputs.rereadable(path)?;
        Ok(Self::of(Origin::List(content, form)))
    }

    /// Devices that are named on the command line.
    pub(crate) fn named(ids: &[String]) -> Result<Self, CommandError> {
        let (copy, ()) = PrivateCopy::make(|copy| {
            let list = ids.join("\n");
            copy.write_all(list.as_bytes()).map_err(CopyError)
        })?;
        let content = Rereadable::copied(copy, "the command line".to_owned());
        Ok(Self::of(Origin::List(content, ListForm::default())))
    }

    /// What was found sound of an input that brings requests.
    pub(crate) fn judged(sound: PrivateCopy, digest: OutputDigest, name: String) -> Self {
        Self::of(Origin::Judged {
            sound,
            digest,
            name,
        })
    }

    /// IDs made from a counter.
    pub(crate) fn counter(counter: Counter) -> Self {
        Self::of(Origin::Counter(counter))
    }

    fn of(origin: Origin) -> Self {
        Self {
            origin: Arc::new(origin),
            part: None,
            labels: Vec::new(),
        }
    }

    /// The devices of it that have this label there.
    pub(crate) fn part(&self, name: &str, value: &str) -> Self {
        Self {
            part: Some((name.to_owned(), value.to_owned())),
            ..self.clone()
        }
    }

    /// The same, with labels that each device gets besides those of its own.
    pub(crate) fn labelled(self, labels: &[NamedLabel]) -> Self {
        Self {
            labels: labels.to_vec(),
            ..self
        }
    }

    /// The devices from the first one on.
    pub(crate) fn devices(&self) -> Result<Devices, CommandError> {
        let mut devices: Devices = match &*self.origin {
            Origin::Counter(counter) => Box::new(counter.clone().devices()),
            Origin::Judged { sound, .. } => Box::new(Spool::new(sound.reader())),
            Origin::List(content, form) => Box::new(self.device_list(content, form)?),
        };
        if let Some(label) = self.part.clone() {
            let is_of_it = move |device: &Result<Device, BadLine>| {
                device
                    .as_ref()
                    .is_ok_and(|device| device.labels.contains(&label))
            };
            devices = Box::new(devices.filter(is_of_it));
        }
        if self.labels.is_empty() {
            return Ok(devices);
        }
        let labels = self.labels.clone();
        Ok(Box::new(devices.map(move |device| {
            let mut device = device?;
            device.label(&labels);
            Ok(device)
        })))
    }

    /// The list that the devices stand in, if they stand in one.
    pub(crate) fn as_list(
        &self,
    ) -> Result<Option<DeviceList<Box<dyn BufRead + Send>>>, CommandError> {
        match &*self.origin {
            Origin::List(content, form) => self.device_list(content, form).map(Some),
            Origin::Judged { .. } | Origin::Counter(_) => Ok(None),
        }
    }

    fn device_list(
        &self,
        content: &Rereadable,
        form: &ListForm,
    ) -> Result<DeviceList<Box<dyn BufRead + Send>>, CommandError> {
        DeviceList::open(content.open()?, form).map_err(|error| self.unreadable(error))
    }

    /// What tells this input from any other, but for [`Self::said_of_it`].
    pub(crate) fn digest(&self) -> Result<String, CommandError> {
        let digest = match &*self.origin {
            Origin::Judged { digest, .. } => *digest,
            Origin::Counter(Counter {
                prefix,
                start,
                count,
                ..
            }) => {
                // A batch that another version began goes on: this is how a counter has always been told.
                let told =
                    format!("Counter {{ prefix: {prefix:?}, start: {start}, count: {count} }}");
                let mut hash = OutputHash::new();
                hash.update(told.as_bytes());
                hash.digest()
            }
            Origin::List(content, _) => {
                let hash = OutputHash::of(content.open()?);
                hash.map_err(|error| self.unreadable(error))?.digest()
            }
        };
        Ok(digest.to_string())
    }

    /// What was said of the input that makes other devices, or others' labels, of the same content.
    pub(crate) fn said_of_it(&self) -> Vec<String> {
        let mut said: Vec<String> = self.labels.iter().map(NamedLabel::to_string).collect();
        let part = self.part.as_ref();
        said.extend(part.map(|(name, value)| format!("the part {name}={value}")));
        match &*self.origin {
            Origin::Counter(counter) => {
                said.extend(counter.digits.map(|digits| format!("{digits} digits")));
            }
            Origin::List(_, form) if *form != ListForm::default() => said.push(format!("{form:?}")),
            Origin::List(..) | Origin::Judged { .. } => {}
        }
        said
    }

    fn unreadable(&self, error: std::io::Error) -> CommandError {
        CommandError::failed(format!("cannot read {self}")).because(error)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.origin {
            Origin::List(content, _) => f.write_str(content.name()),
            Origin::Judged { name, .. } => f.write_str(name),
            Origin::Counter(_) => f.write_str("the counter"),
        }
    }
}
