//! Files that are written beside their place, and put there when they are whole.
//!
//! What a run leaves that is cut short holds no lock, and the next run removes it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::geteuid;
use tempfile::NamedTempFile;

use super::{Existing, NewFile};

const PREFIX: &str = ".dps-pki-";
const SUFFIX: &str = ".tmp";

/// Writes what is to be at a path into a file beside it.
pub(super) fn write_beside(path: &Path, file: &NewFile<'_>) -> io::Result<NamedTempFile> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = begin_beside(folder, file.access.mode())?;
    beside.write_all(file.content)?;
    Ok(beside)
}

/// Gives a file its name.
pub(super) fn put_in_place(
    beside: NamedTempFile,
    path: &Path,
    existing: Existing,
) -> io::Result<()> {
    let file = match existing {
        Existing::Keep => beside.persist_noclobber(path)?,
        Existing::Replace => beside.persist(path)?,
    };
    // Whoever may write the folder can put another file under the passing name just before.
    let written = file.metadata()?;
    let placed = fs::symlink_metadata(path)?;
    if (written.dev(), written.ino()) == (placed.dev(), placed.ino()) {
        Ok(())
    } else {
        Err(io::Error::other("somebody else put another file there"))
    }
}

/// A new file beside its place, locked for as long as somebody writes it.
pub(super) fn begin_beside(folder: &Path, mode: u32) -> io::Result<NamedTempFile> {
    loop {
        let beside = tempfile::Builder::new()
            .prefix(PREFIX)
            .suffix(SUFFIX)
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(folder)?;
        // Another process that sweeps may have come between; then it is gone, and a new one is made.
        if beside.as_file().try_lock().is_ok() && beside.as_file().metadata()?.nlink() > 0 {
            return Ok(beside);
        }
    }
}

/// Removes what runs left beside their files that were cut short: what is ours and nobody holds a lock on.
#[expect(
    clippy::disallowed_methods,
    reason = "this is where such files are removed"
)]
pub(super) fn sweep(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_named_so = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
    for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(is_named_so)) {
        if let Some(left) = lock_left(&entry.path()) {
            // Best effort: the next run tries again.
            let _ = fs::remove_file(entry.path());
            drop(left);
        }
    }
}

/// Takes the lock of what a run of ours left, if nobody has it. Whoever removes it gives the lock up
/// afterwards: a run that has just made this file, and locks it in between, would write one without a name.
fn lock_left(path: &Path) -> Option<File> {
    let left = open_left(path).ok()?;
    left.try_lock().ok()?;
    Some(left)
}

/// Opens what may be left of a run of ours. A named pipe that somebody put there must not block us.
#[expect(clippy::disallowed_methods, reason = "it is opened to be looked at")]
fn open_left(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.uid() == geteuid().as_raw() {
        Ok(file)
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests make files as anybody does"
)]
mod tests {
    use super::*;

    /// A run that has just made its file, and takes its lock while another sweeps, must not get it for a
    /// file that is about to be removed.
    #[test]
    fn what_is_to_be_removed_is_locked_until_it_is_gone() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(format!("{PREFIX}abc123{SUFFIX}"));
        let begun = File::create(&path).expect("begun, and not locked yet");
        let left = lock_left(&path).expect("it is taken for one that was left");
        assert!(begun.try_lock().is_err());
        fs::remove_file(&path).expect("removed");
        drop(left);
        begun.try_lock().expect("given up");
        assert_eq!(begun.metadata().expect("metadata").nlink(), 0);
    }

    #[test]
    fn what_somebody_writes_is_not_taken_for_left() {
        let folder = tempfile::tempdir().expect("folder");
        let beside = begin_beside(folder.path(), 0o600).expect("begun");
        assert!(lock_left(beside.path()).is_none());
        sweep(folder.path());
        assert!(beside.path().exists());
    }
}
