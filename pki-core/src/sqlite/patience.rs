//! Waiting for other processes that write: for as long as they get on with it.
//!
//! SQLite itself waits for a short while, looking often, so that a lock which many take in turn is not
//! idle for long. Whoever gets none by then looks at the files: as long as they change, somebody works,
//! and there is no reason to give up, however long it takes.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, ErrorCode};

use super::Failure;

/// How long SQLite waits by itself: so many times, so long each.
const LOOKS: i32 = 100;
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Nobody is told of shorter waits.
const WORTH_TELLING: Duration = Duration::from_secs(2);

/// How long to wait for other processes that write to an inventory, and whom to tell of it.
///
/// ```
/// use pki_core::sqlite::{Patience, SqliteInventory};
/// let patience = Patience::default().telling(|path| eprintln!("waiting for {}", path.display()));
/// let folder = tempfile::tempdir()?;
/// let inventory = SqliteInventory::open_or_create_with(&folder.path().join("i.db"), patience)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Patience {
    idle: Duration,
    tell: Option<Tell>,
    tell_upgrade: Option<TellUpgrade>,
}

/// Is told the path of an inventory.
type Tell = Box<dyn Fn(&Path) + Send>;

/// Is told the path of an inventory, and how many certificates it has.
type TellUpgrade = Box<dyn Fn(&Path, u64) + Send>;

impl Default for Patience {
    /// Gives up once nobody has written for five minutes, and tells nobody.
    fn default() -> Self {
        Self::ending_after(Duration::from_secs(5 * 60))
    }
}

impl Patience {
    /// Gives up once whoever has the inventory has not written for this long.
    pub fn ending_after(idle: Duration) -> Self {
        Self {
            idle,
            tell: None,
            tell_upgrade: None,
        }
    }

    /// Tells of each wait that takes longer than moments, with the path of the inventory.
    #[must_use]
    pub fn telling(self, tell: impl Fn(&Path) + Send + 'static) -> Self {
        Self {
            tell: Some(Box::new(tell)),
            ..self
        }
    }

    /// Tells when an inventory of so many certificates is brought up to date that it takes more than moments,
    /// with its path and their number.
    #[must_use]
    pub fn telling_of_upgrades(self, tell: impl Fn(&Path, u64) + Send + 'static) -> Self {
        Self {
            tell_upgrade: Some(Box::new(tell)),
            ..self
        }
    }

    pub(super) fn tell_upgrade(&self, path: &Path, certificates: u64) {
        if let Some(tell) = &self.tell_upgrade {
            tell(path, certificates);
        }
    }

    /// Does something that another process may keep from being done, as often as it takes.
    pub(super) fn wait<T>(
        &self,
        path: &Path,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut waited = Duration::ZERO;
        let mut idle = Duration::ZERO;
        let mut seen = None;
        loop {
            let busy = match attempt() {
                Err(Failure::Sqlite(error)) if is_busy(&error) => error,
                done => return done,
            };
            // One that SQLite did not wait for is not asked for again at once.
            thread::sleep(BETWEEN_LOOKS);
            let spent = BETWEEN_LOOKS * LOOKS.unsigned_abs();
            let found = Traces::of(path);
            idle = if seen == Some(found) {
                idle + spent
            } else {
                Duration::ZERO
            };
            seen = Some(found);
            if idle >= self.idle {
                return Err(busy.into());
            }
            let is_news = waited < WORTH_TELLING && waited + spent >= WORTH_TELLING;
            if let Some(tell) = self.tell.as_ref().filter(|_| is_news) {
                tell(path);
            }
            waited += spent;
        }
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience")
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

/// Has SQLite look often for a while before it gives up.
pub(super) fn set(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    connection.busy_handler(Some(|looks| {
        thread::sleep(BETWEEN_LOOKS);
        looks < LOOKS
    }))
}

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// What whoever writes leaves: every change goes to the log, and is brought into the file later.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Traces([Option<(u64, SystemTime)>; 3]);

impl Traces {
    fn of(path: &Path) -> Self {
        Self(["", "-wal", "-journal"].map(|ending| {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            let metadata = fs::metadata(PathBuf::from(name)).ok()?;
            Some((metadata.len(), metadata.modified().ok()?))
        }))
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "the test writes as another process would"
)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn busy() -> Failure {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        Failure::Sqlite(rusqlite::Error::SqliteFailure(code, None))
    }

    /// However long it takes, as long as something is written.
    #[test]
    fn whoever_gets_on_is_waited_for() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("inventory.db");
        let log = folder.path().join("inventory.db-wal");
        let patience = Patience::ending_after(BETWEEN_LOOKS * LOOKS.unsigned_abs());
        let attempts = Cell::new(0_usize);
        let done = patience.wait(&path, || {
            attempts.set(attempts.get() + 1);
            fs::write(&log, vec![0; attempts.get()]).expect("written");
            if attempts.get() < 20 {
                Err(busy())
            } else {
                Ok(())
            }
        });
        assert!(done.is_ok());
        attempts.set(0);
        let given_up = patience.wait::<()>(&path, || {
            attempts.set(attempts.get() + 1);
            Err(busy())
        });
        assert!(given_up.is_err());
        assert_eq!(attempts.get(), 2, "nothing was written between the two");
    }

    #[test]
    fn a_long_wait_is_told_once() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("inventory.db");
        let told = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = std::sync::Arc::clone(&told);
        let patience = Patience::ending_after(WORTH_TELLING * 3).telling(move |_| {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(patience.wait::<()>(&path, || Err(busy())).is_err());
        assert_eq!(told.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}
