//! Files in and out: the only code that writes them, and the one way to read an input.
//!
//! Clippy refuses whatever else would make, open to write, rename or remove one. What a command is told
//! to write goes by the rule of `output`; what lies beside it under a name that can be guessed, by
//! that of `own`.
//! Invariant: a file appears under its name complete and durable, or not at all; a secret one is 0600
//! from its creation on. It is written beside its place, synced, renamed, and the folder synced.

mod beside;
mod output;
pub(crate) mod own;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use pki_core::handout::{Access, ending, file_name};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use self::beside::{put_in_place, sweep, write_beside};
use self::output::HomePlaces;
pub(crate) use self::output::already_there;
use self::own::OpenFolder;
use crate::error::{CommandError, ErrorKind};

/// The files that a command may touch; relative paths start at its working directory.
#[derive(Debug, Clone)]
pub struct Files {
    directory: PathBuf,
    /// Whether outputs take the place of files that are there.
    replaces: bool,
    /// The home of the command, whose files no output may touch.
    home: Option<PathBuf>,
    /// Files that the command was told to read secrets from, which no output may replace.
    read_by_command: Vec<PathBuf>,
    /// The files that the declarations of homes name, by home, as they were when first asked for: each
    /// output asks several times.
    named: Arc<Mutex<BTreeMap<PathBuf, Vec<PathBuf>>>>,
    /// The homes that folders lie in, by folder, likewise.
    homes: Arc<Mutex<BTreeMap<PathBuf, Arc<[HomePlaces]>>>>,
    /// Folders in which what earlier runs left was looked for.
    swept: Arc<Mutex<BTreeSet<PathBuf>>>,
}

/// A file that is to be written whole.
pub struct NewFile<'a> {
    /// Where it goes.
    pub path: PathBuf,
    /// What is in it.
    pub content: &'a [u8],
    /// Who may read it.
    pub access: Access,
}

/// What to do if the file is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it and fail.
    Keep,
    /// Put the new one in its place.
    Replace,
}

impl Files {
    /// The most that is read of one input, unless a command says otherwise.
    pub const LARGEST_INPUT: u64 = 16 * 1024 * 1024;

    /// Files as seen from a working directory.
    pub fn seen_from(directory: PathBuf) -> Self {
        Self {
            directory,
            replaces: false,
            home: None,
            read_by_command: Vec::new(),
            named: Arc::default(),
            homes: Arc::default(),
            swept: Arc::default(),
        }
    }

    /// The same files for a command with this home; with `replaces`, its outputs take the place of
    /// files that are there.
    #[must_use]
    pub fn of_command(self, home: &Path, replaces: bool) -> Self {
        Self {
            home: Some(home.to_owned()),
            replaces,
            ..self
        }
    }

    /// The same files for a command that reads these.
    #[must_use]
    pub(crate) fn keeping(self, read: impl IntoIterator<Item = PathBuf>) -> Self {
        let read = read.into_iter().map(|path| self.resolve(&path)).collect();
        Self {
            read_by_command: read,
            ..self
        }
    }

    /// Takes a lock, or `None` if another process holds it. Its file is empty.
    ///
    /// # Errors
    /// `Failed` if the file cannot be made.
    pub fn lock(&self, path: &Path) -> Result<Option<Lock>, CommandError> {
        let path = self.resolve(path);
        let opened = OpenFolder::of(&path);
        let (folder, name) = opened.map_err(|error| cannot("write", &path, error))?;
        let file = folder.open_own(&name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file, path })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(cannot("lock", &path, error)),
        }
    }

    /// A path as given, made absolute.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// Whether there is something at a path.
    pub fn exists(&self, path: &Path) -> bool {
        fs::symlink_metadata(self.resolve(path)).is_ok()
    }

    /// Whether there is a folder at a path.
    pub fn is_folder(&self, path: &Path) -> bool {
        self.resolve(path).is_dir()
    }

    /// Reads an input of at most [`Self::LARGEST_INPUT`] octets. It is wiped when dropped, since any
    /// file may turn out to hold a key.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for folders, devices, pipes that may never end and files that are
    /// too large; `Failed` if the system does not let it be read.
    pub fn read(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, CommandError> {
        let file = self.open_input(path)?;
        let metadata = file.metadata();
        check_readable(
            path,
            &metadata.map_err(|error| cannot("read", path, error))?,
        )?;
        let mut content = Zeroizing::new(Vec::new());
        file.take(Self::LARGEST_INPUT + 1)
            .read_to_end(&mut content)
            .map_err(|error| cannot("read", path, error))?;
        check_size(&path.display().to_string(), content.len())?;
        Ok(content)
    }

    /// Opens an input that is read as a stream, whatever its size.
    ///
    /// # Errors
    /// As [`Self::read`], but for the size.
    pub fn open_stream(&self, path: &Path) -> Result<File, CommandError> {
        let file = self.open_input(path)?;
        let metadata = file
            .metadata()
            .map_err(|error| cannot("read", path, error))?;
        if !metadata.is_file() {
            check_readable(path, &metadata)?;
        }
        Ok(file)
    }

    /// Opens an input without waiting for anybody, so that what it is can be asked of what was opened
    /// and not of what had its name a moment before.
    #[expect(clippy::disallowed_methods, reason = "it is opened to be read")]
    fn open_input(&self, path: &Path) -> Result<File, CommandError> {
        let resolved = self.resolve(path);
        let metadata = fs::metadata(&resolved).map_err(|error| cannot("read", path, error))?;
        // A device may do something when it is opened.
        if !metadata.is_file() {
            check_readable(path, &metadata)?;
        }
        let mut options = OpenOptions::new();
        options.read(true);
        if metadata.is_file() {
            let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
            options.custom_flags(flags);
        }
        options
            .open(&resolved)
            .map_err(|error| cannot("read", path, error))
    }

    /// Reads a text input, as [`Self::read`].
    ///
    /// # Errors
    /// As [`Self::read`]; `InvalidInput` if it is not UTF-8.
    pub fn read_text(&self, path: &Path) -> Result<String, CommandError> {
        let content = self.read(path)?;
        String::from_utf8(content.to_vec())
            .map_err(|error| CommandError::in_file(path, &error.utf8_error()))
    }

    /// The names of what is in a folder, sorted; none if there is no such folder.
    ///
    /// # Errors
    /// `Failed` if the system does not let it be read.
    pub fn list(&self, folder: &Path) -> Result<Vec<PathBuf>, CommandError> {
        let entries = match fs::read_dir(self.resolve(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(cannot("read", folder, error)),
        };
        let paths: Result<Vec<PathBuf>, io::Error> = entries
            .map(|entry| Ok(folder.join(entry?.file_name())))
            .collect();
        let mut paths = paths.map_err(|error| cannot("read", folder, error))?;
        paths.sort();
        Ok(paths)
    }

    /// Makes a folder, with those above it, unless it is there; a secret one is its owner's alone.
    ///
    /// # Errors
    /// `Failed` if the system does not let it be made.
    #[expect(clippy::disallowed_methods, reason = "folders are made here")]
    pub fn create_folder(&self, folder: &Path, access: Access) -> Result<(), CommandError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(match access {
            Access::Secret => 0o700,
            Access::Public => 0o777,
        });
        builder
            .create(self.resolve(folder))
            .map_err(|error| cannot("create", folder, error))
    }

    /// Makes a folder that is its owner's alone, where there is nothing yet; those above it are made if
    /// they are not there.
    ///
    /// # Errors
    /// `Refused` if something came between; `Failed` if the system does not let it be made.
    #[expect(clippy::disallowed_methods, reason = "folders are made here")]
    pub(crate) fn create_new_folder(&self, folder: &Path) -> Result<(), CommandError> {
        let resolved = self.resolve(folder);
        if let Some(above) = resolved.parent() {
            self.create_folder(above, Access::Secret)?;
        }
        let made = DirBuilder::new().mode(0o700).create(&resolved);
        made.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => already_there(folder),
            _ => cannot("create", folder, error),
        })
    }

    /// Writes a file whole, into a folder that exists.
    ///
    /// # Errors
    /// `Refused` if it is there and is to be kept; `Failed` if the system does not let it be written.
    pub fn write(
        &self,
        path: &Path,
        content: &[u8],
        access: Access,
        existing: Existing,
    ) -> Result<(), CommandError> {
        let path = path.to_owned();
        let file = NewFile {
            path,
            content,
            access,
        };
        self.write_all(&[file], existing)
    }

    /// Writes files whole, one after the other, into folders that exist. All are durable on return;
    /// after a power cut before that, any of them may be missing.
    ///
    /// # Errors
    /// As [`Self::write`]: of none if one is there that is to be kept, or cannot be written; else those
    /// before the one that could not be put in its place are there.
    pub fn write_all(&self, files: &[NewFile<'_>], existing: Existing) -> Result<(), CommandError> {
        let mut folders = BTreeSet::new();
        for NewFile { path, .. } in files {
            // Asked first for the sentence, and again by the rename for the truth.
            if existing == Existing::Keep && self.exists(path) {
                return Err(already_there(path));
            }
        }
        let mut begun = Vec::with_capacity(files.len());
        for file in files {
            let path = self.resolve(&file.path);
            self.sweep_once(path.parent());
            let beside =
                write_beside(&path, file).map_err(|error| cannot("write", &file.path, error))?;
            begun.push((file, path, beside));
        }
        // All are written by now, so that the first sync is most of the others' work.
        for (file, _, beside) in &begun {
            let synced = beside.as_file().sync_all();
            synced.map_err(|error| cannot("write", &file.path, error))?;
        }
        for (file, path, beside) in begun {
            match put_in_place(beside, &path, existing) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(already_there(&file.path));
                }
                result => result.map_err(|error| cannot("write", &file.path, error))?,
            }
            folders.extend(path.parent().map(Path::to_owned));
        }
        for folder in folders {
            let synced = File::open(&folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| cannot("write", &folder, error))?;
        }
        Ok(())
    }

    /// Removes a file of the home, if it is there; one that cannot be removed stays.
    #[expect(clippy::disallowed_methods, reason = "files are removed here")]
    pub(crate) fn remove(&self, path: &Path) {
        let _ = fs::remove_file(self.resolve(path));
    }

    /// Sweeps a folder before the first file that goes there; a folder may hold millions.
    fn sweep_once(&self, folder: Option<&Path>) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = folder.filter(|folder| swept.insert(folder.to_path_buf())) {
            sweep(folder);
        }
    }
}

/// Reads at most [`Files::LARGEST_INPUT`] octets of a stream that is called `name` in errors.
///
/// # Errors
/// `InvalidInput` if there is more; `Failed` if reading fails.
pub fn read_stream(stream: &mut dyn Read, name: &str) -> Result<Zeroizing<Vec<u8>>, CommandError> {
    let mut content = Zeroizing::new(Vec::new());
    stream
        .take(Files::LARGEST_INPUT + 1)
        .read_to_end(&mut content)
        .map_err(|error| CommandError::failed(format!("cannot read {name}")).because(error))?;
    check_size(name, content.len())?;
    Ok(content)
}

fn check_size(name: &str, length: usize) -> Result<(), CommandError> {
    let fits = u64::try_from(length).is_ok_and(|length| length <= Files::LARGEST_INPUT);
    if fits {
        return Ok(());
    }
    let most = Files::LARGEST_INPUT / (1024 * 1024);
    Err(CommandError::invalid_input(format!(
        "{name}: it is larger than {most} MiB"
    )))
}

fn check_readable(path: &Path, metadata: &Metadata) -> Result<(), CommandError> {
    let kind = metadata.file_type();
    // A shell's <(command) is a pipe under one of these, and ends with the command.
    let from_shell = ["/dev/fd", "/dev/stdin", "/proc"];
    let problem = if kind.is_dir() {
        "it is a folder, not a file"
    } else if kind.is_fifo() && !from_shell.iter().any(|prefix| path.starts_with(prefix)) {
        "it is a named pipe, which may never end"
    } else if kind.is_char_device() || kind.is_block_device() {
        "it is a device, not a file"
    } else if kind.is_socket() {
        "it is a socket, not a file"
    } else if metadata.len() > Files::LARGEST_INPUT {
        return check_size(&path.display().to_string(), usize::MAX);
    } else {
        return Ok(());
    };
    Err(CommandError::invalid_input(format!(
        "{}: {problem}",
        path.display()
    )))
}

/// A lock that its process holds until it is dropped, or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// Gives the lock up for good, and removes its file.
    #[expect(clippy::disallowed_methods, reason = "its own file is removed")]
    pub fn remove(self) {
        // Best effort: an empty file that nobody holds is taken again by whoever wants it.
        let _ = fs::remove_file(&self.path);
    }
}

fn cannot(action: &str, path: &Path, error: io::Error) -> CommandError {
    if error.kind() == io::ErrorKind::NotFound {
        let missing = match action {
            "read" => format!("{} does not exist", path.display()),
            _ => format!(
                "cannot {action} {}: its folder does not exist",
                path.display()
            ),
        };
        return CommandError::not_found(missing);
    }
    let message = format!("cannot {action} {}", path.display());
    // An input that is not allowed, or leads in circles, is a wrong input; a broken disk is not.
    let kind = match (action, error.kind()) {
        ("read", io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory) => {
            ErrorKind::InvalidInput
        }
        ("read", _) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            ErrorKind::InvalidInput
        }
        _ => ErrorKind::Failed,
    };
    CommandError::new(kind, message).because(error)
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests make files as anybody does"
)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::beside::begin_beside;
    use super::*;

    fn folder() -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().expect("folder");
        let files = Files::seen_from(folder.path().to_owned());
        (folder, files)
    }

    fn new(path: &str) -> NewFile<'static> {
        NewFile {
            path: path.into(),
            content: b"x",
            access: Access::Secret,
        }
    }

    fn mode(files: &Files, path: &str) -> u32 {
        let metadata = fs::metadata(files.resolve(Path::new(path))).expect(path);
        metadata.permissions().mode() & 0o777
    }

    #[test]
    fn secret_files_belong_to_their_owner_alone() {
        let (_folder, files) = folder();
        let write = |path: &str, access| {
            let written = files.write(Path::new(path), b"x", access, Existing::Keep);
            written.expect(path);
        };
        write("a.key.pem", Access::Secret);
        write("a.cert.pem", Access::Public);
        assert_eq!(mode(&files, "a.key.pem"), 0o600);
        assert_eq!(mode(&files, "a.cert.pem") & 0o133, 0);
        files
            .create_folder(Path::new("b/c"), Access::Secret)
            .expect("folder");
        assert_eq!(mode(&files, "b/c"), 0o700);
    }

    #[test]
    fn nothing_is_overwritten_or_left_behind_unless_told() {
        let (folder, files) = folder();
        let path = Path::new("a");
        let write = |content: &[u8], existing| files.write(path, content, Access::Secret, existing);
        write(b"first", Existing::Keep).expect("new");
        let refused = write(b"second", Existing::Keep).expect_err("exists");
        assert_eq!(refused.kind, ErrorKind::Refused);
        assert_eq!(&files.read(path).expect("read")[..], b"first");
        write(b"third", Existing::Replace).expect("replaced");
        assert_eq!(&files.read(path).expect("read")[..], b"third");
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
        // The rename itself refuses too, whoever came between.
        let file = new("a");
        let place = files.resolve(path);
        let beside = write_beside(&place, &file).expect("written");
        let raced = put_in_place(beside, &place, Existing::Keep);
        assert_eq!(
            raced.expect_err("exists").kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
    }

    #[test]
    fn of_several_files_none_is_written_if_one_is_there() {
        let (folder, files) = folder();
        fs::create_dir(folder.path().join("b")).expect("folder");
        let both = [new("a"), new("b/a")];
        files.write_all(&both, Existing::Keep).expect("new");
        assert_eq!(mode(&files, "b/a"), 0o600);
        let nowhere = files.write_all(&[new("c"), new("none/a")], Existing::Keep);
        assert_eq!(nowhere.expect_err("no folder").kind, ErrorKind::NotFound);
        assert!(!files.exists(Path::new("c")));
        let refused = files
            .write_all(&[new("c"), new("b/a")], Existing::Keep)
            .expect_err("exists");
        assert!(refused.to_string().contains("b/a"), "{refused}");
        assert!(!files.exists(Path::new("c")));
    }

    /// A run that was killed leaves its file beside; one that still writes holds a lock on it.
    #[test]
    fn what_a_cut_run_left_is_removed_and_what_another_writes_is_not() {
        let (folder, _) = folder();
        let left = folder.path().join(".dps-pki-abc123.tmp");
        fs::write(&left, "half a key").expect("left");
        let writing = begin_beside(folder.path(), 0o600).expect("writing");
        let files = Files::seen_from(folder.path().to_owned());
        let written = files.write(Path::new("a"), b"x", Access::Secret, Existing::Keep);
        written.expect("written");
        assert!(!left.exists());
        assert!(writing.path().exists());
    }

    #[test]
    fn what_is_no_file_is_refused_by_name() {
        let (folder, files) = folder();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo").success());
        let large = File::create(folder.path().join("large")).expect("large");
        large.set_len(Files::LARGEST_INPUT + 1).expect("sparse");
        for (path, sentence) in [
            (".", ".: it is a folder, not a file"),
            ("pipe", "pipe: it is a named pipe, which may never end"),
            ("/dev/zero", "/dev/zero: it is a device, not a file"),
            ("large", "large: it is larger than 16 MiB"),
            ("none", "none does not exist"),
        ] {
            assert_eq!(
                files.read(Path::new(path)).expect_err(path).to_string(),
                sentence
            );
        }
    }

    #[test]
    fn a_stream_without_end_is_cut() {
        let error = read_stream(&mut io::repeat(b'x'), "standard input").expect_err("endless");
        assert_eq!(
            error.to_string(),
            "standard input: it is larger than 16 MiB"
        );
    }

    #[test]
    fn ids_become_file_names() {
        assert_eq!(
            file_name("Line-7:0042", ending::KEY),
            "Line-7%3A0042.key.pem"
        );
        assert_eq!(
            file_name("a.b_c", ending::FULL_CHAIN),
            "a.b_c-full-chain.cert.pem"
        );
    }
}
