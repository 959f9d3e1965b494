//! The devices of a batch: a list, a counter, or requests; read as often as it takes.
//!
//! What brings requests is judged first, and goes on as a copy of what was found sound.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use pki_core::bulk::input::{BadLine, Counter, Device, DeviceList};
use pki_core::bulk::requests::Spool;
use pki_core::format::digest::OutputHash;

use crate::context::Context;
use crate::error::CommandError;
use crate::spool::PrivateCopy;

/// Where the devices come from.
pub(crate) enum Source {
    File {
        path: PathBuf,
        name: String,
    },
    /// Standard input.
    Copied(PrivateCopy),
    /// What was found sound of an input that brings requests.
    Judged {
        sound: PrivateCopy,
        name: String,
    },
    Counter(Counter),
}

/// The devices, each or what is wrong with it.
pub(crate) type Devices = Box<dyn Iterator<Item = Result<Device, BadLine>> + Send>;

impl Source {
    /// A list in a file, or on standard input for `-`.
    pub(crate) fn file(context: &Context, path: &Path) -> Result<Self, CommandError> {
        if path == Path::new("-") {
            return Ok(Self::Copied(context.copy_stdin()?));
        }
        context.files.check_streamable(path)?;
        Ok(Self::File {
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
        let hash = match self {
            Self::Counter(counter) => {
                let mut hash = OutputHash::new();
                hash.update(format!("{counter:?}").as_bytes());
                hash
            }
            _ => OutputHash::of(self.open()?).map_err(|error| self.unreadable(error))?,
        };
        Ok(hash.digest().to_string())
    }

    fn open(&self) -> Result<Box<dyn Read + Send>, CommandError> {
        match self {
            Self::File { path, .. } => {
                let file = File::open(path).map_err(|error| self.unreadable(error))?;
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
