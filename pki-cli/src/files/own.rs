//! Files and folders of our own in places that others may write: partial outputs and locks.
//!
//! Their names can be guessed, so whoever may write the folder can put something there first: a file
//! of theirs that gets our keys, or a link to a file of ours. The folder is opened once, and everything
//! in it is reached from there.
//! Invariant: what is opened here is new, or a regular file with one name that belongs to us and is
//! open to nobody else; a folder likewise. No link is followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Stat, fstat, fsync, mkdirat, open, openat,
    renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::CommandError;

/// A folder that is held open.
#[derive(Debug)]
pub(crate) struct OpenFolder {
    descriptor: OwnedFd,
    path: PathBuf,
}

/// Whether something is to take the place of what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is left alone, and the renaming fails.
    Stays,
    /// It is replaced if it is a file.
    IsReplaced,
}

impl OpenFolder {
    /// The folder that a path lies in, and the path's name there. Links above it are its user's choice.
    pub(crate) fn of(path: &Path) -> io::Result<(Self, OsString)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = path
            .parent()
            .filter(|above| !above.as_os_str().is_empty())
            .unwrap_or_else(|| Path::new("."));
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = Self {
            descriptor: open(folder, flags, Mode::empty())?,
            path: folder.to_owned(),
        };
        Ok((folder, name.to_owned()))
    }

    /// The path of a name in it, for people.
    pub(crate) fn path_of(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a file to be read and written that an earlier run of ours left, or makes it.
    ///
    /// # Errors
    /// `Refused` if what is there may be somebody else's doing; `Failed` if the system does not let it
    /// be opened.
    pub(crate) fn open_own(&self, name: &OsStr) -> Result<File, CommandError> {
        let failed = |error: Errno| cannot_write(&self.path_of(name), error.into());
        loop {
            match self.create(name, 0o600) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => {
                    return created.map_err(|error| cannot_write(&self.path_of(name), error));
                }
            }
            // What is there is not made by this call, so that it is judged before a single octet is
            // written. A named pipe would block without the last flag.
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let file = match openat(&self.descriptor, name, flags, Mode::empty()) {
                Ok(file) => File::from(file),
                // Another run was done with it in between.
                Err(Errno::NOENT) => continue,
                Err(Errno::LOOP) => return Err(self.foreign(name, "it is a link")),
                Err(Errno::ISDIR) => return Err(self.foreign(name, "it is a folder")),
                Err(Errno::NXIO) => return Err(self.foreign(name, "it is not a regular file")),
                Err(error) => {
                    // Somebody else's that we may not even open is told as such.
                    self.check_owner(name)?;
                    return Err(failed(error));
                }
            };
            let stat = fstat(&file).map_err(failed)?;
            // Whoever holds a lock file removes it at the end; then it is made anew.
            if stat.st_nlink == 0 {
                continue;
            }
            if let Some(problem) = problem(&stat, FileType::RegularFile) {
                return Err(self.foreign(name, &problem));
            }
            return Ok(file);
        }
    }

    /// Opens a folder inside that an earlier run of ours left, or makes it.
    ///
    /// # Errors
    /// As [`Self::open_own`].
    pub(crate) fn own_folder(&self, name: &OsStr) -> Result<Self, CommandError> {
        let path = self.path_of(name);
        match mkdirat(&self.descriptor, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(cannot_write(&path, error.into())),
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = match openat(&self.descriptor, name, flags, Mode::empty()) {
            Ok(descriptor) => descriptor,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(self.foreign(name, "it is not a folder"));
            }
            Err(error) => {
                self.check_owner(name)?;
                return Err(cannot_write(&path, error.into()));
            }
        };
        let stat = fstat(&descriptor).map_err(|error| cannot_write(&path, error.into()))?;
        match problem(&stat, FileType::Directory) {
            Some(problem) => Err(self.foreign(name, &problem)),
            None => Ok(Self { descriptor, path }),
        }
    }

    /// Makes a file that is not there yet.
    pub(crate) fn create(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        Ok(File::from(openat(&self.descriptor, name, flags, mode)?))
    }

    /// Makes a file, in place of one that an earlier run left. For folders of our own only.
    pub(crate) fn create_anew(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        match self.create(name, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove(name)?;
                self.create(name, mode)
            }
            created => created,
        }
    }

    /// Opens a file to be read, unless its name is a link.
    pub(crate) fn open_file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(&self.descriptor, name, flags, Mode::empty())?;
        Ok(File::from(file))
    }

    /// Whether there is something of this name.
    pub(crate) fn holds(&self, name: &OsStr) -> bool {
        self.stat(name).is_some()
    }

    /// Whether a name still leads to what was opened under it.
    pub(crate) fn leads_to(&self, name: &OsStr, opened: impl AsFd) -> bool {
        let identity = |stat: Stat| (stat.st_dev, stat.st_ino);
        let opened = fstat(opened).ok().map(identity);
        opened.is_some() && self.stat(name).map(identity) == opened
    }

    /// Gives something another name in the same folder, durably.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr, taken: Taken) -> io::Result<()> {
        let folder = &self.descriptor;
        match taken {
            Taken::IsReplaced => renameat(folder, from, folder, to)?,
            Taken::Stays => match renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
                // A file system that knows no such flag: looked at beforehand, which is the best there is.
                Err(Errno::INVAL | Errno::NOSYS) if !self.holds(to) => {
                    renameat(folder, from, folder, to)?;
                }
                Err(Errno::INVAL | Errno::NOSYS) => return Err(Errno::EXIST.into()),
                renamed => renamed?,
            },
        }
        self.sync()
    }

    /// Removes a file.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.descriptor, name, AtFlags::empty())?)
    }

    /// Removes an empty folder.
    pub(crate) fn remove_folder(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.descriptor, name, AtFlags::REMOVEDIR)?)
    }

    /// Removes all that is in it, the file by which it is known as ours at the end. For folders of our own
    /// only.
    pub(crate) fn clear(&self, last: &OsStr) -> io::Result<()> {
        let mut names = self.names()?;
        names.sort_by_key(|name| name == last);
        for name in names {
            match self.remove(&name) {
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                    let inside = self.own_folder(&name);
                    inside.map_err(io::Error::other)?.clear(last)?;
                    self.remove_folder(&name)?;
                }
                removed => removed?,
            }
        }
        Ok(())
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.names().is_ok_and(|names| names.is_empty())
    }

    fn names(&self) -> io::Result<Vec<OsString>> {
        let entries: Result<Vec<_>, Errno> = Dir::read_from(&self.descriptor)?.collect();
        let names = entries?
            .into_iter()
            .map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned());
        Ok(names.filter(|name| name != "." && name != "..").collect())
    }

    /// Makes the names in it durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(fsync(&self.descriptor)?)
    }

    fn stat(&self, name: &OsStr) -> Option<Stat> {
        statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    fn check_owner(&self, name: &OsStr) -> Result<(), CommandError> {
        match self.stat(name) {
            Some(stat) if stat.st_uid != geteuid().as_raw() => {
                Err(self.foreign(name, BELONGS_TO_ANOTHER))
            }
            _ => Ok(()),
        }
    }

    fn foreign(&self, name: &OsStr, problem: &str) -> CommandError {
        let path = self.path_of(name);
        CommandError::refused(format!("{} cannot be trusted: {problem}", path.display()))
            .hint("find out who made it, then remove it; or choose another place for the output")
    }
}

impl AsFd for OpenFolder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

const BELONGS_TO_ANOTHER: &str = "it belongs to another user";

/// Why something may be another's doing, or another's to read.
fn problem(stat: &Stat, wanted: FileType) -> Option<String> {
    let mode = Mode::from_raw_mode(stat.st_mode);
    let others = Mode::RWXG | Mode::RWXO;
    if FileType::from_raw_mode(stat.st_mode) != wanted {
        return Some("it is not a regular file".to_owned());
    }
    if stat.st_uid != geteuid().as_raw() {
        return Some(BELONGS_TO_ANOTHER.to_owned());
    }
    if wanted == FileType::RegularFile && stat.st_nlink > 1 {
        return Some("it is a hard link to another file".to_owned());
    }
    mode.intersects(others).then(|| {
        let mode = mode.as_raw_mode() & 0o777;
        format!("it is open to others (mode {mode:04o})")
    })
}

fn cannot_write(path: &Path, error: io::Error) -> CommandError {
    CommandError::failed(format!("cannot write {}", path.display())).because(error)
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests make files as anybody does"
)]
mod tests {
    use std::fs::{self, Permissions};
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::error::ErrorKind;

    fn folder() -> (tempfile::TempDir, OpenFolder) {
        let folder = tempfile::tempdir().expect("folder");
        let (open, _) = OpenFolder::of(&folder.path().join("o")).expect("opened");
        (folder, open)
    }

    fn refused<T: std::fmt::Debug>(result: Result<T, CommandError>, problem: &str) {
        let error = result.expect_err(problem);
        assert_eq!(error.kind, ErrorKind::Refused, "{error:?}");
        assert!(error.to_string().contains(problem), "{error}");
    }

    #[test]
    fn a_leftover_of_ours_is_gone_on_with() {
        let (_folder, open) = folder();
        let mut first = open.open_own(OsStr::new("o.part")).expect("new");
        assert_eq!(
            first.metadata().expect("mode").permissions().mode() & 0o777,
            0o600
        );
        first.write_all(b"half").expect("written");
        let mut content = String::new();
        let mut again = open.open_own(OsStr::new("o.part")).expect("left");
        again.read_to_string(&mut content).expect("read");
        assert_eq!(content, "half");
        open.own_folder(OsStr::new("d.part")).expect("new");
        open.own_folder(OsStr::new("d.part")).expect("left");
    }

    #[test]
    fn what_others_may_have_put_there_is_refused_and_left_as_it_is() {
        let (folder, open) = folder();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("precious"), "precious").expect("written");
        symlink(path("precious"), path("link")).expect("link");
        symlink(path("nowhere"), path("dangling")).expect("link");
        fs::set_permissions(path("precious"), Permissions::from_mode(0o600)).expect("mode");
        fs::hard_link(path("precious"), path("hard")).expect("hard link");
        fs::write(path("open"), "").expect("written");
        fs::set_permissions(path("open"), Permissions::from_mode(0o666)).expect("mode");
        fs::create_dir(path("folder")).expect("folder");
        fs::set_permissions(path("folder"), Permissions::from_mode(0o755)).expect("mode");
        symlink(path("folder"), path("to-folder")).expect("link");
        let made = std::process::Command::new("mkfifo")
            .arg(path("pipe"))
            .status();
        assert!(made.expect("mkfifo").success());
        for (name, problem) in [
            ("link", "it is a link"),
            ("dangling", "it is a link"),
            ("hard", "it is a hard link to another file"),
            ("open", "it is open to others (mode 0666)"),
            ("folder", "it is a folder"),
            ("pipe", "it is not a regular file"),
        ] {
            refused(open.open_own(OsStr::new(name)), problem);
        }
        for (name, problem) in [
            ("folder", "it is open to others (mode 0755)"),
            ("to-folder", "it is not a folder"),
            ("open", "it is not a folder"),
        ] {
            refused(open.own_folder(OsStr::new(name)), problem);
        }
        assert_eq!(
            fs::read_to_string(path("precious")).expect("read"),
            "precious"
        );
        assert!(!path("nowhere").exists());
    }

    /// Only root can give a file away, and then it is no more refused to be opened than written.
    #[test]
    fn what_belongs_to_another_user_is_refused() {
        let (folder, open) = folder();
        let path = folder.path().join("theirs");
        fs::write(&path, "").expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("mode");
        if std::os::unix::fs::chown(&path, Some(12345), None).is_err() {
            return;
        }
        refused(open.open_own(OsStr::new("theirs")), BELONGS_TO_ANOTHER);
    }

    /// What a link leads to is not in the folder.
    #[test]
    fn a_folder_is_cleared_and_nothing_that_links_in_it_lead_to() {
        let (folder, open) = folder();
        fs::create_dir(folder.path().join("kept")).expect("folder");
        fs::write(folder.path().join("kept/precious"), "precious").expect("written");
        let part = open.own_folder(OsStr::new("o.part")).expect("new");
        let inside = part.own_folder(OsStr::new("000")).expect("new");
        inside.create(OsStr::new("a.key.pem"), 0o600).expect("new");
        let path = folder.path().join("o.part");
        symlink(folder.path().join("kept"), path.join("link")).expect("link");
        part.clear(OsStr::new("000")).expect("cleared");
        assert_eq!(fs::read_dir(&path).expect("there").count(), 0);
        assert!(folder.path().join("kept/precious").exists());
    }

    #[test]
    fn nothing_is_renamed_over_what_came_between() {
        let (folder, open) = folder();
        fs::write(folder.path().join("new"), "new").expect("written");
        fs::write(folder.path().join("old"), "old").expect("written");
        let new = OsStr::new("new");
        let old = OsStr::new("old");
        let error = open.rename(new, old, Taken::Stays).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        open.rename(new, old, Taken::IsReplaced).expect("replaced");
        assert_eq!(
            fs::read_to_string(folder.path().join("old")).expect("read"),
            "new"
        );
    }
}
