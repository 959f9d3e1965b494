//! The lock beside an output that is written.
//!
//! Invariant: what is written over or removed is empty, or a lock that a run of ours left.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

use super::{LOCK, beside};
use crate::error::CommandError;
use crate::files::own::OpenFolder;

/// What a lock says before the process that holds it.
const HELD_BY: &str = "dps-pki ";

/// Held while an output is written: two runs that write one part would tear it.
pub(crate) struct OutputLock {
    folder: OpenFolder,
    name: OsString,
    /// The lock lasts as long as the file is open.
    file: File,
}

impl OutputLock {
    /// Takes the lock of an output, or says who has it; errors call the output as the user does.
    pub(crate) fn take(out: &Path, called: &Path) -> Result<Self, CommandError> {
        let failed = |error| {
            CommandError::failed(format!("cannot write {}", called.display())).because(error)
        };
        let (folder, name) = OpenFolder::of(&beside(out, LOCK)).map_err(failed)?;
        loop {
            let mut file = folder.open_own(&name)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(held(called, &mut file)),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Who held it may have removed it since it was opened; then it keeps nobody out.
            if folder.leads_to(&name, &file) {
                refuse_foreign(&beside(called, LOCK), &mut file)?;
                let mut lock = Self { folder, name, file };
                lock.sign().map_err(failed)?;
                return Ok(lock);
            }
        }
    }

    /// Writes down who holds it.
    fn sign(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        // In one call, so that no run that is cut leaves half of it.
        let holder = format!("{HELD_BY}{}", std::process::id());
        self.file.write_all(holder.as_bytes())
    }
}

impl Drop for OutputLock {
    fn drop(&mut self) {
        // What is left of it locks nobody out.
        if self.folder.leads_to(&self.name, &self.file) {
            let _ = self.folder.remove(&self.name);
        }
    }
}

/// Refuses a file under the name of a lock that no run of ours left: it would be written over and removed.
fn refuse_foreign(lock: &Path, file: &mut File) -> Result<(), CommandError> {
    const LONGEST: u64 = 64;
    let lock = lock.display();
    let mut content = Vec::new();
    let read = file.take(LONGEST).read_to_end(&mut content);
    read.map_err(|error| CommandError::failed(format!("cannot read {lock}")).because(error))?;
    if content.is_empty() || content.starts_with(HELD_BY.as_bytes()) {
        return Ok(());
    }
    let message = format!("{lock} exists already, and is no lock of dps-pki");
    Err(CommandError::refused(message).hint("move it away, or choose another place for the output"))
}

fn held(called: &Path, lock: &mut File) -> CommandError {
    let mut content = String::new();
    let read = lock.read_to_string(&mut content);
    let process = read.ok().and_then(|_| content.strip_prefix(HELD_BY));
    let holder = match process {
        Some(process) => format!("process {process}"),
        None => "another process".to_owned(),
    };
    CommandError::refused(format!("{holder} is writing {}", called.display()))
        .hint("wait for it to end; if it was cut short, the same command goes on")
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests make files as anybody does"
)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    /// Its name can be guessed, and whatever it leads to would be cut to nothing.
    #[test]
    fn a_lock_is_not_taken_through_a_link() {
        let folder = tempfile::tempdir().expect("folder");
        let out = folder.path().join("out");
        let precious = folder.path().join("precious");
        std::fs::write(&precious, "precious").expect("written");
        let lock = folder.path().join("out.lock");
        std::os::unix::fs::symlink(&precious, &lock).expect("link");
        let refused = OutputLock::take(&out, &out).err().expect("refused");
        assert_eq!(refused.kind, ErrorKind::Refused);
        let kept = std::fs::read_to_string(&precious).expect("read");
        assert_eq!(kept, "precious");
        assert!(lock.is_symlink());
    }

    #[test]
    fn a_lock_is_free_again_when_it_is_dropped() {
        let folder = tempfile::tempdir().expect("folder");
        let out = folder.path().join("out");
        let lock = OutputLock::take(&out, &out).expect("free");
        let held = OutputLock::take(&out, &out).err().expect("held");
        assert!(held.to_string().contains("is writing"), "{held}");
        drop(lock);
        assert!(!folder.path().join("out.lock").exists());
        drop(OutputLock::take(&out, &out).expect("free again"));
    }
}
