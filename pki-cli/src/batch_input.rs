//! The devices of a batch: a list, a counter, or requests; read as often as it takes.
//!
//! What brings requests is judged first, and goes on as a copy of what was found sound.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use pki_core::bulk::input::{BadLine, Checked, Counter, Device, DeviceList, check};
use pki_core::bulk::requests::{Judgement, Spool};
use pki_core::handout::digest::{OutputDigest, OutputHash};
use pki_core::ids::ProfileName;
use pki_core::wording::counted;

use crate::bad_lines::{BadLines, ToldLines};
use crate::context::Context;
use crate::error::CommandError;
use crate::files::Files;
use crate::spool::PrivateCopy;

/// Where the devices come from.
pub(crate) enum Source {
    File {
        files: Files,
        path: PathBuf,
        name: String,
    },
    /// Standard input.
    Copied(PrivateCopy),
    /// What was found sound of an input that brings requests.
    Judged {
        sound: PrivateCopy,
        digest: OutputDigest,
        name: String,
    },
    Counter(Counter),
}

/// What a batch is made of, found sound as a whole.
pub(crate) struct Input {
    pub(crate) source: Source,
    pub(crate) checked: Checked,
    /// The extensions that requests ask for and do not get, and how many ask.
    pub(crate) asked: BTreeMap<String, u64>,
}

impl Input {
    /// A list or a counter without requests: goes through it, before anything is made.
    pub(crate) fn listed(context: &Context, source: Source) -> Result<Self, CommandError> {
        let declaration = context.declaration()?;
        let known = |name: &ProfileName| declaration.profiles.contains_key(name);
        drop(source.devices()?);
        let devices = || source.devices().into_iter().flatten();
        let mut bad = BadLines::new(context.ui.is_json())?;
        let mut duplicates = BadLines::new(context.ui.is_json())?;
        // Duplicates are told last, in an order of their own.
        let mut refuse = |line: BadLine| {
            if bad.last_is_before(&line) {
                bad.push(line)
            } else {
                duplicates.push(line)
            }
        };
        let checked = match &source {
            Source::Counter(counter) => counter.check(&mut refuse),
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

    /// What was judged already, if all of it is sound.
    pub(crate) fn judged(
        context: &Context,
        source: Source,
        judgement: Judgement,
        bad: BadLines,
    ) -> Result<Self, CommandError> {
        let mut duplicates = BadLines::new(context.ui.is_json())?;
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
    /// A list in a file, or on standard input for `-`.
    pub(crate) fn file(context: &Context, path: &Path) -> Result<Self, CommandError> {
        if path == Path::new("-") {
            return Ok(Self::Copied(context.copy_stdin()?));
        }
        drop(context.files.open_stream(path)?);
        Ok(Self::File {
            files: context.files.clone(),
            path: context.files.resolve(path),
            name: path.display().to_string(),
        })
    }

    /// IDs made from a counter.
    pub(crate) fn counter(prefix: &str, start: u64, count: u64) -> Self {
        Self::Counter(Counter {
            prefix: prefix.to_owned(),
            start,
            count,
        })
    }

    /// The devices from the first one on.
    pub(crate) fn devices(&self) -> Result<Devices, CommandError> {
        Ok(match self {
            Self::Counter(counter) => Box::new(counter.clone().devices()),
            Self::Judged { sound, .. } => Box::new(Spool::new(sound.reader())),
            Self::File { .. } | Self::Copied(_) => Box::new(self.list()?),
        })
    }

    /// The list that the devices stand in.
    pub(crate) fn list(&self) -> Result<DeviceList<Box<dyn Read + Send>>, CommandError> {
        Ok(DeviceList::new(self.open()?))
    }

    /// What tells this input from any other.
    pub(crate) fn digest(&self) -> Result<String, CommandError> {
        let digest = match self {
            Self::Judged { digest, .. } => *digest,
            Self::Counter(counter) => {
                let mut hash = OutputHash::new();
                hash.update(format!("{counter:?}").as_bytes());
                hash.digest()
            }
            Self::File { .. } | Self::Copied(_) => {
                let hash = OutputHash::of(self.open()?);
                hash.map_err(|error| self.unreadable(error))?.digest()
            }
        };
        Ok(digest.to_string())
    }

    fn open(&self) -> Result<Box<dyn Read + Send>, CommandError> {
        match self {
            Self::File { files, path, .. } => {
                let file = files.open_stream(path)?;
                Ok(Box::new(BufReader::with_capacity(1 << 16, file)))
            }
            Self::Copied(copy) | Self::Judged { sound: copy, .. } => Ok(Box::new(copy.reader())),
            Self::Counter(_) => Ok(Box::new(std::io::empty())),
        }
    }

    fn unreadable(&self, error: std::io::Error) -> CommandError {
        CommandError::failed(format!("cannot read {self}")).because(error)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, .. } | Self::Judged { name, .. } => f.write_str(name),
            Self::Copied(_) => f.write_str("standard input"),
            Self::Counter(_) => f.write_str("the counter"),
        }
    }
}
