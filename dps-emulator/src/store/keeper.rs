//! Where an instance's records are kept between two processes: the port.
//!
//! A keeper knows rows of text and no rule. It is handed what requests changed, as one transaction,
//! before they are answered ([`super::writer`]).

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use pki_core::admission::ViewError;

/// One kept record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// What kind of record it is.
    pub(crate) space: String,
    pub(crate) key: String,
    /// The record as JSON.
    pub(crate) value: String,
}

/// Which record: its kind and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RecordKey {
    pub(crate) space: String,
    pub(crate) key: String,
}

/// What is to be kept: records as JSON, and `None` for those that are to be forgotten. Of several changes
/// of one record the last one counts.
pub(crate) type Changes = BTreeMap<RecordKey, Option<String>>;

/// Keeps records beyond the process.
pub(crate) trait Keeper: Send {
    /// Everything that is kept.
    fn load(&mut self) -> Result<Vec<Row>, StateError>;

    /// Keeps these changes, all or none. When it returns they survive the end of the process, however
    /// sudden.
    fn keep(&mut self, changes: &Changes) -> Result<(), StateError>;
}

/// Why the state of an instance was not read or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file cannot be made, or its permissions not be set.
    #[error("{} cannot be opened", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be read or written as a database.
    #[error("{} cannot be used as the state of an emulator", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The file belongs to another program.
    #[error("{} is no state of an emulator", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by another version.
    #[error("{} has version {version}, this emulator reads {}", path.display(), super::sqlite::VERSION)]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i32,
    },
    /// Another emulator uses the file.
    #[error("{} is in use by another emulator", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A record cannot be read.
    #[error("{space} {key:?} in the state cannot be read")]
    Row {
        /// What kind of record it is.
        space: String,
        /// Its name.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A record's name or kind is none.
    #[error("{space} {key:?} in the state is none")]
    Key {
        /// What kind of record it is said to be.
        space: String,
        /// Its name.
        key: String,
    },
    /// A record cannot be used.
    #[error("the state holds a record that cannot be used")]
    View(#[from] ViewError),
    /// The emulator has ended.
    #[error("the emulator has ended")]
    Ended,
    /// A record cannot be written down.
    #[error("a record cannot be written down")]
    Write(#[source] serde_json::Error),
    /// There can be no thread that writes.
    #[error("the thread that keeps the state cannot be started")]
    Thread(#[source] io::Error),
    /// What several requests changed was not kept, for one reason.
    #[error(transparent)]
    NotKept(#[from] Arc<Self>),
}

impl StateError {
    /// A row whose name or kind is not understood.
    pub(crate) fn key(row: &Row) -> Self {
        Self::Key {
            space: row.space.clone(),
            key: row.key.clone(),
        }
    }
}
