//! The devices of a batch: a file, standard input, or a counter; read as often as it takes.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};

use pki_core::bulk::input::{BadLine, Counter, Device, DeviceList};
use pki_core::format::digest::OutputHash;
use tempfile::NamedTempFile;

use crate::context::Context;
use crate::error::CommandError;

/// Where the devices come from.
pub(crate) enum Source {
    File {
        path: PathBuf,
        name: String,
    },
    /// Standard input, copied so that it can be read again.
    Copied {
        file: NamedTempFile,
    },
    Counter(Counter),
}

/// The devices, each or what is wrong with it.
pub(crate) type Devices = Box<dyn Iterator<Item = Result<Device, BadLine>> + Send>;

impl Source {
    /// A list in a file, or on standard input for `-`.
    pub(crate) fn file(context: &Context, path: &Path) -> Result<Self, CommandError> {
        if path != Path::new("-") {
            let name = path.display().to_string();
            context.files.check_streamable(path)?;
            return Ok(Self::File {
                path: context.files.resolve(path),
                name,
            });
        }
        let failed =
            |error| CommandError::failed("cannot keep a copy of standard input").because(error);
        let mut file = NamedTempFile::new().map_err(failed)?;
        let content = context.read(path)?;
        file.write_all(&content).map_err(failed)?;
        Ok(Self::Copied { file })
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
            _ => Box::new(DeviceList::new(BufReader::with_capacity(
                1 << 16,
                self.open()?,
            ))),
        })
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

    fn open(&self) -> Result<File, CommandError> {
        let opened = match self {
            Self::File { path, .. } => File::open(path),
            Self::Copied { file } => file.reopen(),
            Self::Counter(_) => Err(std::io::ErrorKind::Unsupported.into()),
        };
        opened.map_err(|error| self.unreadable(error))
    }

    fn unreadable(&self, error: std::io::Error) -> CommandError {
        CommandError::failed(format!("cannot read {self}")).because(error)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, .. } => f.write_str(name),
            Self::Copied { .. } => f.write_str("standard input"),
            Self::Counter(_) => f.write_str("the counter"),
        }
    }
}
