//! A snapshot: what an instance holds and its keys, as one JSON file.
//!
//! It holds secrets, so it is readable by its owner only; it is written beside its place and renamed,
//! so that a reader finds the old state or the new one. Operations that devices poll are not in it:
//! they register again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use pki_core::admission::ViewError;
use pki_core::ids::HubHostName;
use serde::{Deserialize, Serialize};

use super::Tables;
use crate::policy::Policy;

const VERSION: u32 = 1;

/// What is read back at a start.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Snapshot {
    version: u32,
    pub(crate) policies: Vec<Policy>,
    pub(crate) hub_policies: Vec<(HubHostName, Policy)>,
    pub(crate) tables: Tables,
}

/// What is written at an end.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    version: u32,
    policies: &'a [Policy],
    hub_policies: Vec<(&'a HubHostName, &'a Policy)>,
    tables: &'a Tables,
}

/// Why a snapshot was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no snapshot.
    #[error("{} is no snapshot of an emulator", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The file was written by another version.
    #[error("{} has version {version}, this emulator reads {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// A record in it cannot be used.
    #[error("{} holds a record that cannot be used", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ViewError,
    },
}

/// Reads a snapshot, or `None` if there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Snapshot>, SnapshotError> {
    let path = path.to_owned();
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SnapshotError::Read { path, source }),
    };
    match serde_json::from_slice::<Snapshot>(&text) {
        Ok(snapshot) if snapshot.version == VERSION => Ok(Some(snapshot)),
        Ok(Snapshot { version, .. }) => Err(SnapshotError::Version { path, version }),
        Err(source) => Err(SnapshotError::Content { path, source }),
    }
}

/// Writes a snapshot in place of the one before.
pub(crate) fn write(
    path: &Path,
    policies: &[Policy],
    hub_policies: Vec<(&HubHostName, &Policy)>,
    tables: &Tables,
) -> Result<(), SnapshotError> {
    let failed = |source| SnapshotError::Write {
        path: path.to_owned(),
        source,
    };
    let written = Written {
        version: VERSION,
        policies,
        hub_policies,
        tables,
    };
    let text = serde_json::to_vec_pretty(&written).map_err(|error| failed(error.into()))?;
    replace(path, &text).map_err(failed)
}

/// A file made by `tempfile` is readable by its owner only.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}
