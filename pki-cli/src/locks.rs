//! Locks of the home: who works on what, so that two commands at once do not work on the same.
//!
//! The inventory decides what holds; a lock only keeps a second command from beginning what it could not
//! finish, and tells a run that is alive from what one that was cut short has left. All of them are
//! files in `locks/` that a process has locked for as long as it lives (`flock`), whatever ends it. The
//! files may stay: one that nobody has locked keeps nobody out.
//!
//! - [`HomeLock`]: one command at a time, the others wait.
//! - [`Claim`]: the devices that a run is issuing to, a few or a whole list; whoever wants one of them is
//!   refused. What a device has in the inventory that is recorded and not delivered belongs to the run that
//!   has claimed it; whoever gets the claim knows that no such run is alive, and finishes or voids it.
//! - [`prove`]: a proof of possession; what others left of theirs is voided only while nobody proves.

#![expect(
    clippy::disallowed_methods,
    reason = "the locks of the home lie in a folder that is its owner's alone"
)]

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use pki_core::ids::RegistrationId;
use pki_core::inventory::InventoryError;
use pki_core::wording::counted;

use crate::context::Context;
use crate::error::CommandError;
use crate::home::Home;
use crate::neighbour;
use crate::render::ui::Ui;

/// A lock that its process holds until it is dropped, or the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct HomeLock {
    _file: File,
}

impl HomeLock {
    /// Waits for a lock; a wait that takes longer than moments is told, with what the holder does.
    pub(crate) fn wait(home: &Home, ui: &Ui, name: &str, does: &str) -> Result<Self, CommandError> {
        /// Nobody is told of shorter waits.
        const LOOKS: u32 = 50;
        const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
        let path = folder(home)?.join(name);
        let failed = |error| cannot_lock(home, &path, error);
        let mut file = open(&path).map_err(failed)?;
        let mut looks = 0;
        while let Err(error) = file.try_lock() {
            match error {
                TryLockError::WouldBlock if looks < LOOKS => {}
                TryLockError::WouldBlock => {
                    ui.note(format!("waiting for {}, which {does}", holder(&mut file)));
                    wait_for(&file).map_err(failed)?;
                    break;
                }
                TryLockError::Error(error) => return Err(failed(error)),
            }
            looks += 1;
            thread::sleep(BETWEEN_LOOKS);
        }
        sign(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// The devices that a run is issuing to, for as long as it is alive.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    _file: File,
}

/// Some of the devices belong to another run.
struct Claimed {
    /// The digest of the first of them.
    digest: u128,
    /// How many more.
    more: usize,
    /// Who has claimed them.
    holder: String,
}

const CLAIM: &str = "claim-";
const DIGEST_OCTETS: usize = 16;

impl Claim {
    /// Claims devices, by the digests of their registration IDs: all, or none if another run that is alive
    /// has one of them, which `id_of` names.
    pub(crate) fn take(
        context: &Context,
        mut digests: Vec<u128>,
        id_of: impl FnOnce(u128) -> Option<RegistrationId>,
    ) -> Result<Self, CommandError> {
        digests.sort_unstable();
        let folder = folder(&context.home)?;
        // One after the other: of two that claim the same, exactly one gets it.
        let _turn = HomeLock::wait(&context.home, &context.ui, "claims", "claims devices")?;
        for path in context.files.list(&folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with(CLAIM) {
                continue;
            }
            let taken = conflict(&path, &digests)
                .map_err(|error| cannot_lock(&context.home, &path, error))?;
            if let Some(claimed) = taken {
                return Err(claimed.refusal(id_of(claimed.digest)));
            }
        }
        let mut random = [0; 8];
        context.entropy.fill(&mut random)?;
        let name = format!(
            "{CLAIM}{}-{:016x}",
            std::process::id(),
            u64::from_be_bytes(random)
        );
        let path = folder.join(name);
        Self::write(&path, &digests).map_err(|error| cannot_lock(&context.home, &path, error))
    }

    fn write(path: &Path, digests: &[u128]) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let claim = Self {
            path: path.to_owned(),
            _file: file.try_clone()?,
        };
        wait_for(&file)?;
        let mut writer = io::BufWriter::with_capacity(1 << 16, file);
        writer.write_all(&u128::from(std::process::id()).to_be_bytes())?;
        for digest in digests {
            writer.write_all(&digest.to_be_bytes())?;
        }
        writer.flush()?;
        Ok(claim)
    }
}

impl Claimed {
    /// Another run is issuing to some devices, of which one is named.
    fn refusal(&self, first: Option<RegistrationId>) -> CommandError {
        let first = first.map_or_else(|| "a device".to_owned(), |id| id.to_string());
        let devices = if self.more == 0 {
            first
        } else {
            let more = counted(self.more, "more device", "more devices");
            format!("{first} and {more}")
        };
        let holder = &self.holder;
        CommandError::refused(format!(
            "{holder} is issuing to {devices} right now; nothing was issued"
        ))
        .hint("wait for it to end, and see: dps-pki inventory show ID")
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // What is left of it claims nothing: the lock ends with the process.
        let _ = fs::remove_file(&self.path);
    }
}

/// Which of these devices, sorted, the claim in a file has; none if nobody is alive who made it.
fn conflict(path: &Path, digests: &[u128]) -> io::Result<Option<Claimed>> {
    let file = match open_existing(path) {
        // Its run has ended in between.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match file.try_lock() {
        Ok(()) => {
            let _ = fs::remove_file(path);
            return Ok(None);
        }
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut content = Vec::new();
    io::BufReader::new(file).read_to_end(&mut content)?;
    let (numbers, _) = content.as_chunks::<DIGEST_OCTETS>();
    let mut numbers = numbers.iter().map(|octets| u128::from_be_bytes(*octets));
    let process = numbers.next().and_then(|number| u32::try_from(number).ok());
    let mut others = numbers.peekable();
    let mut common = digests.iter().filter(|digest| {
        while others.next_if(|other| other < *digest).is_some() {}
        others.peek() == Some(digest)
    });
    let Some(digest) = common.next() else {
        return Ok(None);
    };
    Ok(Some(Claimed {
        digest: *digest,
        more: common.count(),
        holder: process.map_or_else(|| "another process".to_owned(), neighbour::named),
    }))
}

/// Held while a proof of possession is recorded and on its way, by as many as like.
#[derive(Debug)]
pub(crate) struct Proving {
    _file: File,
}

/// Begins a proof. `alone` voids what runs left of theirs that were cut short, unless somebody proves just
/// now, whose proof it might be.
pub(crate) fn prove(
    home: &Home,
    alone: &mut dyn FnMut() -> Result<(), InventoryError>,
) -> Result<Proving, CommandError> {
    let path = folder(home)?.join("proofs");
    let failed = |error| cannot_lock(home, &path, error);
    let file = open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            alone()?;
            file.unlock().map_err(failed)?;
        }
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    again_if_interrupted(|| file.lock_shared()).map_err(failed)?;
    Ok(Proving { _file: file })
}

fn folder(home: &Home) -> Result<PathBuf, CommandError> {
    let folder = home.layout.locks();
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder);
    made.map_err(|error| cannot_lock(home, &folder, error))?;
    Ok(folder)
}

fn open(path: &Path) -> io::Result<File> {
    options().create(true).truncate(false).open(path)
}

fn open_existing(path: &Path) -> io::Result<File> {
    options().open(path)
}

/// A lock is a file of its own: a link in its place leads nowhere.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    // The flags of open(2) are a C int.
    let no_links = rustix::fs::OFlags::NOFOLLOW.bits();
    options.custom_flags(i32::try_from(no_links).unwrap_or_default());
    options
}

fn wait_for(file: &File) -> io::Result<()> {
    again_if_interrupted(|| file.lock())
}

fn again_if_interrupted(mut lock: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Writes down who holds it, always in as many octets: ext4 frees what is truncated at once, and syncs what is
/// written in its place, which takes a twentieth of the time of one certificate.
fn sign(file: &mut File) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{:>10}", std::process::id())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_string(&mut text));
    let process = read.ok().and_then(|_| text.trim().parse().ok());
    process.map_or_else(|| "another process".to_owned(), neighbour::named)
}

fn cannot_lock(home: &Home, path: &Path, error: io::Error) -> CommandError {
    match error.kind() {
        // The locks are beside the inventory, which is what matters to whoever wants to change it.
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            let path = home.layout.inventory_file();
            InventoryError::WriteProtected { path }.into()
        }
        _ => CommandError::failed(format!("cannot lock {}", path.display())).because(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(folder: &Path, name: &str, digests: &[u128]) -> Claim {
        Claim::write(&folder.join(name), digests).expect("claimed")
    }

    #[test]
    fn what_a_living_run_has_claimed_is_refused_and_named() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("claim-1");
        let held = claim(folder.path(), "claim-1", &[3, 5, 9]);
        for (asked, first, more) in [(vec![5], 5, 0), (vec![1, 3, 4, 9, 11], 3, 1)] {
            let claimed = conflict(&path, &asked).expect("read").expect("claimed");
            assert_eq!((claimed.digest, claimed.more), (first, more));
            let own = format!("process {}", std::process::id());
            assert!(claimed.holder.starts_with(&own), "{}", claimed.holder);
        }
        assert!(conflict(&path, &[1, 4, 10]).expect("read").is_none());
        drop(held);
        assert!(conflict(&path, &[5]).expect("read").is_none());
    }

    /// A process that was killed holds no lock.
    #[test]
    fn what_is_left_of_a_claim_claims_nothing_and_goes() {
        let folder = tempfile::tempdir().expect("folder");
        let held = claim(folder.path(), "claim-1", &[5]);
        let left = folder.path().join("claim-2");
        fs::copy(&held.path, &left).expect("copied");
        assert!(conflict(&left, &[5]).expect("read").is_none());
        assert!(!left.exists());
        assert!(held.path.exists());
    }

    #[test]
    fn a_link_in_the_place_of_a_lock_is_not_followed() {
        let folder = tempfile::tempdir().expect("folder");
        let precious = folder.path().join("precious");
        fs::write(&precious, "kept").expect("written");
        let link = folder.path().join("claims");
        std::os::unix::fs::symlink(&precious, &link).expect("linked");
        assert!(open(&link).is_err());
        assert_eq!(fs::read_to_string(&precious).expect("read"), "kept");
    }
}
