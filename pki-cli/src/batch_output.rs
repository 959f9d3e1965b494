//! Where a batch goes: a file, a sealed file, a folder, or standard output.
//!
//! A file or folder is written under its name with `.part` behind it and renamed when it is finished,
//! so that what has its right name is whole. A part that a run left behind is cut back to what the
//! inventory knows as delivered, and gone on with; a lock sees to it that only one run does.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use pki_core::bulk::BatchOutput;
use pki_core::format::digest::{HashingWriter, OutputDigest, OutputHash};
use pki_core::format::seal::{Recipient, SealedWriter};
use pki_core::format::{Entry, Released};

use serde::{Deserialize, Serialize};

use crate::error::CommandError;
use crate::render::ui::Stdout;

/// What a finished output is, for the manifest.
#[derive(Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) digest: OutputDigest,
    pub(crate) octets: u64,
}

/// The name under which an output is written until it is finished.
pub(crate) fn part_of(path: &Path) -> PathBuf {
    beside(path, ".part")
}

/// A name beside an output, which may be a folder that was given with a slash behind it.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.components().collect::<PathBuf>().into_os_string();
    name.push(ending);
    PathBuf::from(name)
}

/// Held while an output is written: two runs that write one part would tear it.
pub(crate) struct OutputLock {
    path: PathBuf,
    /// The lock lasts as long as the file is open.
    file: File,
}

impl OutputLock {
    /// Takes the lock of an output, or says who has it; errors call the output as the user does.
    pub(crate) fn take(out: &Path, called: &Path) -> Result<Self, CommandError> {
        let path = beside(out, ".lock");
        let failed = |error| {
            CommandError::failed(format!("cannot write {}", called.display())).because(error)
        };
        loop {
            let mut file = open_own(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(held(called, &mut file)),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Who held it may have removed it since it was opened; then it keeps nobody out.
            if file.metadata().map_err(failed)?.nlink() > 0 {
                let mut lock = Self { path, file };
                lock.sign().map_err(failed)?;
                return Ok(lock);
            }
        }
    }

    /// Writes down who holds it.
    fn sign(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        write!(self.file, "{}", std::process::id())
    }
}

impl Drop for OutputLock {
    fn drop(&mut self) {
        // What is left of it locks nobody out.
        let _ = fs::remove_file(&self.path);
    }
}

fn held(called: &Path, lock: &mut File) -> CommandError {
    let mut process = String::new();
    let holder = match lock.read_to_string(&mut process) {
        Ok(1..) => format!("process {process}"),
        _ => "another process".to_owned(),
    };
    CommandError::refused(format!("{holder} is writing {}", called.display()))
        .hint("wait for it to end; if it was cut short, the same command goes on")
}

/// Gives an output its name that was finished by a run which was cut right after; or finds it named.
pub(crate) fn publish_finished(path: &Path, is_folder: bool) -> io::Result<Written> {
    let stream = |folder: &Path| {
        if is_folder {
            folder.join(LIST)
        } else {
            folder.to_owned()
        }
    };
    let part = part_of(path);
    if part.exists() {
        fs::rename(&part, path)?;
        sync_folder_of(path)?;
    }
    Ok(written(&OutputHash::of(File::open(stream(path))?)?))
}

/// The next stretch of a stream; files do not go into one.
fn stream_of(released: &Released) -> io::Result<&[u8]> {
    match released.files.is_empty() {
        true => Ok(&released.stream),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// A stream in one file.
pub(crate) struct StreamFile {
    writer: HashingWriter<File>,
    path: PathBuf,
    ending: &'static [u8],
}

impl StreamFile {
    /// Opens the part of an output, cut back to the octets that are delivered.
    pub(crate) fn open(path: &Path, delivered: u64, ending: &'static [u8]) -> io::Result<Self> {
        let (file, hash) = cut_back(&part_of(path), delivered)?;
        Ok(Self {
            writer: HashingWriter::new(file, hash),
            path: path.to_owned(),
            ending,
        })
    }

    /// Gives the finished output its name.
    pub(crate) fn publish(self) -> io::Result<Written> {
        fs::rename(part_of(&self.path), &self.path)?;
        sync_folder_of(&self.path)?;
        Ok(written(self.writer.hash()))
    }
}

impl BatchOutput for StreamFile {
    fn append(&mut self, released: &Released) -> io::Result<()> {
        self.writer.write_all(stream_of(released)?)
    }

    fn sync(&mut self) -> io::Result<u64> {
        self.writer.get_ref().sync_data()?;
        Ok(self.writer.hash().octets())
    }

    fn finish(&mut self) -> io::Result<u64> {
        self.writer.write_all(self.ending)?;
        self.sync()
    }
}

/// Files in folders, and a list of their digests as `sha256sum` reads it.
pub(crate) struct Folder {
    list: HashingWriter<BufWriter<File>>,
    path: PathBuf,
    shard: Option<PathBuf>,
}

/// The list of a folder's files.
const LIST: &str = "SHA256SUMS";

impl Folder {
    /// Opens the part of an output folder; its list is cut back to what is delivered.
    pub(crate) fn open(path: &Path, delivered: u64) -> io::Result<Self> {
        let part = part_of(path);
        make_folder(&part)?;
        let (file, hash) = cut_back(&part.join(LIST), delivered)?;
        let list = HashingWriter::new(BufWriter::new(file), hash);
        Ok(Self {
            list,
            path: path.to_owned(),
            shard: None,
        })
    }

    /// Gives the finished folder its name.
    pub(crate) fn publish(self) -> io::Result<Written> {
        fs::rename(part_of(&self.path), &self.path)?;
        sync_folder_of(&self.path)?;
        Ok(written(self.list.hash()))
    }

    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let path = part_of(&self.path).join(&entry.path);
        let folder = path.parent().map(Path::to_owned);
        if folder != self.shard {
            make_folder(folder.as_deref().unwrap_or(&path))?;
            self.shard = folder;
        }
        // A file that a run left beyond what was delivered belongs to a voided certificate.
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(entry.access.mode())
            .open(&path)?;
        file.write_all(&entry.content)?;
        let hash = OutputHash::of(&entry.content[..])?;
        writeln!(self.list, "{}  {}", hash.digest(), entry.path)
    }
}

impl BatchOutput for Folder {
    fn append(&mut self, released: &Released) -> io::Result<()> {
        if !released.stream.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        released.files.iter().try_for_each(|file| self.write(file))
    }

    /// One sync of the whole file system for a chunk: a sync for each file takes fifty times as long.
    fn sync(&mut self) -> io::Result<u64> {
        self.list.flush()?;
        rustix::fs::syncfs(self.list.get_ref().get_ref())?;
        Ok(self.list.hash().octets())
    }

    fn finish(&mut self) -> io::Result<u64> {
        self.sync()
    }
}

/// A stream sealed to recipients. It cannot be gone on with: every run begins it anew.
pub(crate) struct SealedFile {
    /// `None` once it is finished.
    writer: Option<SealedWriter<HashingWriter<BufWriter<File>>>>,
    finished: Option<Written>,
    path: PathBuf,
    ending: &'static [u8],
}

impl SealedFile {
    /// Begins the part of a sealed output.
    pub(crate) fn open(
        path: &Path,
        recipients: &[Recipient],
        ending: &'static [u8],
    ) -> Result<Self, CommandError> {
        let part = part_of(path);
        let failed = |error: &dyn std::fmt::Display| {
            CommandError::failed(format!("cannot write {}: {error}", part.display()))
        };
        let (file, hash) = cut_back(&part, 0).map_err(|error| failed(&error))?;
        let hashing = HashingWriter::new(BufWriter::with_capacity(1 << 18, file), hash);
        let writer = SealedWriter::new(hashing, recipients).map_err(|error| failed(&error))?;
        Ok(Self {
            writer: Some(writer),
            finished: None,
            path: path.to_owned(),
            ending,
        })
    }

    /// Gives the finished output its name.
    pub(crate) fn publish(self) -> io::Result<Written> {
        fs::rename(part_of(&self.path), &self.path)?;
        sync_folder_of(&self.path)?;
        self.finished
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn writer(&mut self) -> io::Result<&mut SealedWriter<HashingWriter<BufWriter<File>>>> {
        self.writer
            .as_mut()
            .ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl BatchOutput for SealedFile {
    fn append(&mut self, released: &Released) -> io::Result<()> {
        self.writer()?.write_all(stream_of(released)?)
    }

    /// Nothing of it is of use before its end, so nothing is synced before.
    fn sync(&mut self) -> io::Result<u64> {
        Ok(0)
    }

    fn finish(&mut self) -> io::Result<u64> {
        let ending = self.ending;
        self.writer()?.write_all(ending)?;
        let writer = self.writer.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut hashing = writer.finish()?;
        hashing.flush()?;
        hashing.get_ref().get_ref().sync_data()?;
        let octets = hashing.hash().octets();
        self.finished = Some(written(hashing.hash()));
        Ok(octets)
    }
}

/// Standard output. Nobody knows what became of the first part of a stream whose reader went, so it
/// is whole or nothing: every run begins it anew.
pub(crate) struct Pipe<'a> {
    stream: PipeStream<'a>,
    ending: &'static [u8],
    /// Told what was written, once the reader has all of it and before anything counts as delivered.
    keep: &'a dyn Fn(&Written) -> io::Result<()>,
}

enum PipeStream<'a> {
    Plain(HashingWriter<BufWriter<Stdout<'a>>>),
    Sealed(SealedWriter<HashingWriter<BufWriter<Stdout<'a>>>>),
    Finished(Written),
}

impl<'a> Pipe<'a> {
    /// Begins a stream, sealed if there are recipients.
    pub(crate) fn open(
        stdout: Stdout<'a>,
        recipients: &[Recipient],
        ending: &'static [u8],
        keep: &'a dyn Fn(&Written) -> io::Result<()>,
    ) -> Result<Self, CommandError> {
        let writer = BufWriter::with_capacity(1 << 18, stdout);
        let hashing = HashingWriter::new(writer, OutputHash::new());
        let stream = match recipients {
            [] => PipeStream::Plain(hashing),
            _ => PipeStream::Sealed(SealedWriter::new(hashing, recipients).map_err(|error| {
                CommandError::failed(format!("cannot write standard output: {error}"))
            })?),
        };
        Ok(Self {
            stream,
            ending,
            keep,
        })
    }

    /// What was written, once it is finished.
    pub(crate) fn written(self) -> io::Result<Written> {
        match self.stream {
            PipeStream::Finished(written) => Ok(written),
            PipeStream::Plain(_) | PipeStream::Sealed(_) => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            PipeStream::Plain(writer) => writer.write_all(octets),
            PipeStream::Sealed(writer) => writer.write_all(octets),
            PipeStream::Finished(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl BatchOutput for Pipe<'_> {
    fn append(&mut self, released: &Released) -> io::Result<()> {
        self.write(stream_of(released)?)
    }

    /// Nothing of it counts before its end.
    fn sync(&mut self) -> io::Result<u64> {
        Ok(0)
    }

    fn finish(&mut self) -> io::Result<u64> {
        self.write(self.ending)?;
        let nothing = PipeStream::Finished(written(&OutputHash::new()));
        let mut hashing = match std::mem::replace(&mut self.stream, nothing) {
            PipeStream::Plain(writer) => writer,
            PipeStream::Sealed(writer) => writer.finish()?,
            PipeStream::Finished(_) => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        hashing.flush()?;
        hashing.get_ref().get_ref().await_reader()?;
        let written = written(hashing.hash());
        (self.keep)(&written)?;
        let octets = written.octets;
        self.stream = PipeStream::Finished(written);
        Ok(octets)
    }
}

fn written(hash: &OutputHash) -> Written {
    Written {
        digest: hash.digest(),
        octets: hash.octets(),
    }
}

/// Opens a file, cuts it to a length, and hashes what stays.
fn cut_back(path: &Path, length: u64) -> io::Result<(File, OutputHash)> {
    let mut file = open_own(path)?;
    if file.metadata()?.len() < length {
        let problem = format!(
            "{} is shorter than what was delivered to it",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
    }
    file.set_len(length)?;
    let hash = OutputHash::of((&mut file).take(length))?;
    file.seek(SeekFrom::Start(length))?;
    Ok((file, hash))
}

/// Opens a file for its owner alone, and makes it if it is not there.
fn open_own(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(path)
}

fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As on a full disk: the lock can be made, and nothing written into it.
    #[test]
    fn a_lock_that_cannot_be_written_is_not_left_behind() {
        let folder = tempfile::tempdir().expect("folder");
        let (out, lock) = (folder.path().join("out"), folder.path().join("out.lock"));
        std::os::unix::fs::symlink("/dev/full", &lock).expect("symlink");
        assert!(OutputLock::take(&out, &out).is_err());
        assert!(lock.symlink_metadata().is_err());
        drop(OutputLock::take(&out, &out).expect("free again"));
    }
}
