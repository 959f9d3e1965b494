//! Where a batch goes: a file, a sealed file, a folder, or standard output.
//!
//! A file or folder is written under its name with `.part` behind it and renamed when it is finished,
//! so that what has its right name is whole. A part that a run left behind is cut back to what the
//! inventory knows as delivered, and gone on with; a lock sees to it that only one run does.

mod lock;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use pki_core::bulk::Outlet;
use pki_core::handout::digest::{HashingWriter, OutputDigest, OutputHash};
use pki_core::handout::seal::{Recipient, SealedWriter};
use pki_core::handout::{Entry, Released};

use serde::{Deserialize, Serialize};

pub(crate) use self::lock::OutputLock;
use crate::error::CommandError;
use crate::files::already_there;
use crate::files::own::{OpenFolder, Taken};
use crate::render::ui::Stdout;

/// What a finished output is, for the manifest.
#[derive(Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) digest: OutputDigest,
    pub(crate) octets: u64,
}

/// The name under which an output is written until it is finished.
pub(crate) fn part_of(path: &Path) -> PathBuf {
    beside(path, PART)
}

/// A name beside an output, which may be a folder that was given with a slash behind it.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.components().collect::<PathBuf>().into_os_string();
    name.push(ending);
    PathBuf::from(name)
}

/// What lies beside an output while it is written, or is left there by a run that was cut short.
const BESIDE: [&str; 3] = [LOCK, PART, OPENING];
const LOCK: &str = ".lock";
const PART: &str = ".part";
const OPENING: &str = ".opening";

/// The ending of a manifest that lies beside its output.
pub(crate) const MANIFEST: &str = ".manifest.json";

/// Refuses the name of an output that is made for what lies beside another one: that would be cut back,
/// replaced or removed with it.
pub(crate) fn check_name(out: &Path) -> Result<(), CommandError> {
    refuse_endings(out, BESIDE.into_iter().chain([MANIFEST]))
}

/// As [`check_name`], of a manifest.
pub(crate) fn check_manifest_name(manifest: &Path) -> Result<(), CommandError> {
    refuse_endings(manifest, BESIDE.into_iter())
}

fn refuse_endings(
    path: &Path,
    mut endings: impl Iterator<Item = &'static str>,
) -> Result<(), CommandError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase();
    let Some(ending) = endings.find(|ending| name.ends_with(ending)) else {
        return Ok(());
    };
    let path = path.display();
    let message = format!("{path}: names that end in {ending} are those of files beside outputs");
    Err(CommandError::refused(message).hint("choose another name"))
}

/// Refuses to begin an output whose part holds something: of a batch that was cut short, or somebody's own.
pub(crate) fn check_no_part(path: &Path, called: &Path) -> Result<(), CommandError> {
    let part = part_of(path);
    let Ok(found) = std::fs::symlink_metadata(&part) else {
        return Ok(());
    };
    let is_in_use = if found.is_dir() {
        std::fs::read_dir(&part).is_ok_and(|mut inside| inside.next().is_some())
    } else {
        found.is_file() && found.len() > 0
    };
    if !is_in_use {
        return Ok(());
    }
    let message = format!(
        "{} exists already, and is not of this batch",
        part_of(called).display()
    );
    Err(CommandError::refused(message)
        .hint("if a batch was cut short, the command that began it goes on with it")
        .hint("else move it away, or choose another place for the output"))
}

/// The place of an output: the folder that it lies in, and its names there.
struct Place {
    folder: OpenFolder,
    /// What it is called when it is finished.
    name: OsString,
    part: OsString,
    path: PathBuf,
    taken: Taken,
}

impl Place {
    /// The place of an output, which takes that of a file only if it is told to.
    fn of(path: &Path, taken: Taken) -> Result<Self, CommandError> {
        Self::with_part(path, part_of(path), taken)
    }

    fn with_part(path: &Path, part: PathBuf, taken: Taken) -> Result<Self, CommandError> {
        let (folder, part) = OpenFolder::of(&part).map_err(|error| cannot_write(&part, error))?;
        let name = path.file_name().unwrap_or_default().to_owned();
        Ok(Self {
            folder,
            name,
            part,
            path: path.to_owned(),
            taken,
        })
    }

    /// Gives the finished output its name.
    fn publish(&self) -> Result<(), CommandError> {
        let renamed = self.folder.rename(&self.part, &self.name, self.taken);
        renamed.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => already_there(
                &self.path,
            )
            .hint("the output is finished; once its place is free, the same command puts it there"),
            _ => self.cannot_write(error),
        })
    }

    /// Refuses to publish what somebody put under the name of the part since it was opened.
    fn check_part(&self, opened: impl std::os::fd::AsFd) -> Result<(), CommandError> {
        if self.folder.leads_to(&self.part, opened) {
            return Ok(());
        }
        let part = self.folder.path_of(&self.part);
        Err(CommandError::refused(format!(
            "{} is not what was written: somebody else took its place",
            part.display()
        )))
    }

    fn cannot_write(&self, error: io::Error) -> CommandError {
        cannot_write(&self.folder.path_of(&self.part), error)
    }
}

fn cannot_write(path: &Path, error: io::Error) -> CommandError {
    CommandError::failed(format!("cannot write {}", path.display())).because(error)
}

/// Gives an output its name that was finished by a run which was cut right after; or finds it named.
pub(crate) fn publish_finished(
    path: &Path,
    is_folder: bool,
    taken: Taken,
) -> Result<Written, CommandError> {
    let place = Place::of(path, taken)?;
    let is_part = place.folder.holds(&place.part);
    let list = OsStr::new(LIST);
    let digest = match (is_part, is_folder) {
        (true, true) => {
            let part = place.folder.own_folder(&place.part)?;
            part.open_file(list).and_then(OutputHash::of)
        }
        (true, false) => OutputHash::of(place.folder.open_own(&place.part)?),
        // It has its name already, and whoever it belongs to may have done with it what they like.
        (false, true) => OpenFolder::of(&path.join(list))
            .and_then(|(folder, list)| folder.open_file(&list))
            .and_then(OutputHash::of),
        (false, false) => place.folder.open_file(&place.name).and_then(OutputHash::of),
    };
    let digest = digest.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let path = path.display();
            CommandError::not_found(format!("all of it was delivered, but {path} is not here"))
                .hint("its keys cannot be made again: put it back, and the same command completes the batch")
        }
        _ => place.cannot_write(error),
    })?;
    if is_part {
        place.publish()?;
    }
    Ok(written(&digest))
}

/// The next stretch of a stream; files do not go into one.
fn stream_of(released: &Released) -> io::Result<&[u8]> {
    if released.files.is_empty() {
        Ok(&released.stream)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// A stream in one file.
pub(crate) struct StreamFile {
    writer: HashingWriter<File>,
    place: Place,
    ending: &'static [u8],
}

impl StreamFile {
    /// Opens the part of an output, cut back to the octets that are delivered.
    pub(crate) fn open(
        path: &Path,
        taken: Taken,
        delivered: u64,
        ending: &'static [u8],
    ) -> Result<Self, CommandError> {
        let place = Place::of(path, taken)?;
        let (file, hash) = cut_back(&place.folder, &place.part, delivered)?;
        Ok(Self {
            writer: HashingWriter::new(file, hash),
            place,
            ending,
        })
    }

    /// Gives the finished output its name.
    pub(crate) fn publish(self) -> Result<Written, CommandError> {
        self.place.check_part(self.writer.get_ref())?;
        self.place.publish()?;
        Ok(written(self.writer.hash()))
    }
}

impl Outlet for StreamFile {
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
    place: Place,
    part: OpenFolder,
    /// The folder inside that was written to last, and its name.
    shard: Option<(OsString, OpenFolder)>,
}

/// The list of a folder's files.
pub(crate) const LIST: &str = "SHA256SUMS";

impl Folder {
    /// Opens the part of an output folder; its list is cut back to what is delivered.
    pub(crate) fn open(path: &Path, delivered: u64) -> Result<Self, CommandError> {
        // A folder takes the place of nothing.
        let place = Place::of(path, Taken::Stays)?;
        let part = place.folder.own_folder(&place.part)?;
        Self::over(place, part, delivered)
    }

    /// Begins the part of a folder whose content can be made again: what a run left that was cut short is
    /// removed. It has a name of its own, since parts of batches that are issued hold keys that cannot.
    pub(crate) fn begin_anew(path: &Path) -> Result<Self, CommandError> {
        let place = Place::with_part(path, beside(path, OPENING), Taken::Stays)?;
        let part = place.folder.own_folder(&place.part)?;
        let is_ours = part.holds(OsStr::new(LIST)) || part.is_empty();
        if !is_ours {
            let path = place.folder.path_of(&place.part);
            let message = format!("{} exists already, and no run left it", path.display());
            return Err(CommandError::refused(message)
                .hint("move it away, or choose another place for the output"));
        }
        part.clear(OsStr::new(LIST))
            .map_err(|error| place.cannot_write(error))?;
        Self::over(place, part, 0)
    }

    fn over(place: Place, part: OpenFolder, delivered: u64) -> Result<Self, CommandError> {
        let (file, hash) = cut_back(&part, OsStr::new(LIST), delivered)?;
        Ok(Self {
            list: HashingWriter::new(BufWriter::new(file), hash),
            place,
            part,
            shard: None,
        })
    }

    /// Gives the finished folder its name.
    pub(crate) fn publish(&self) -> Result<Written, CommandError> {
        self.place.check_part(&self.part)?;
        self.place.publish()?;
        Ok(written(self.list.hash()))
    }

    /// Removes what was written and has not got its name; the next run would.
    pub(crate) fn discard(self) {
        if !self.place.folder.leads_to(&self.place.part, &self.part) {
            return;
        }
        let _ = self.part.clear(OsStr::new(LIST));
        let _ = self.place.folder.remove_folder(&self.place.part);
    }

    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let path = Path::new(&entry.path);
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        let folder = match above {
            None => &self.part,
            Some(shard) => self.enter(shard.as_os_str())?,
        };
        // A file that a run left beyond what was delivered belongs to a voided certificate.
        let mut file = folder.create_anew(name, entry.access.mode())?;
        file.write_all(&entry.content)?;
        let hash = OutputHash::of(&entry.content[..])?;
        writeln!(self.list, "{}  {}", hash.digest(), entry.path)
    }

    /// The folder of this name inside, made if it is not there.
    fn enter(&mut self, name: &OsStr) -> io::Result<&OpenFolder> {
        let entered = match self.shard.take() {
            Some((entered, folder)) if entered == name => (entered, folder),
            _ => {
                let folder = self
                    .part
                    .own_folder(name)
                    .map_err(|error| io::Error::other(error.to_string()))?;
                (name.to_owned(), folder)
            }
        };
        Ok(&self.shard.insert(entered).1)
    }
}

impl Outlet for Folder {
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
    place: Place,
    /// The same file as the writer's, to be told from others at the end.
    file: File,
    ending: &'static [u8],
}

impl SealedFile {
    /// Begins the part of a sealed output.
    pub(crate) fn open(
        path: &Path,
        taken: Taken,
        recipients: &[Recipient],
        ending: &'static [u8],
    ) -> Result<Self, CommandError> {
        let place = Place::of(path, taken)?;
        let (file, hash) = cut_back(&place.folder, &place.part, 0)?;
        let same = file
            .try_clone()
            .map_err(|error| place.cannot_write(error))?;
        let hashing = HashingWriter::new(BufWriter::with_capacity(1 << 18, file), hash);
        let writer = SealedWriter::new(hashing, recipients)
            .map_err(|error| place.cannot_write(io::Error::other(error)))?;
        Ok(Self {
            writer: Some(writer),
            finished: None,
            place,
            file: same,
            ending,
        })
    }

    /// Gives the finished output its name.
    pub(crate) fn publish(self) -> Result<Written, CommandError> {
        self.place.check_part(&self.file)?;
        self.place.publish()?;
        self.finished
            .ok_or_else(|| CommandError::failed("the output was not finished"))
    }

    fn writer(&mut self) -> io::Result<&mut SealedWriter<HashingWriter<BufWriter<File>>>> {
        self.writer
            .as_mut()
            .ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Outlet for SealedFile {
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

impl Outlet for Pipe<'_> {
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
fn cut_back(
    folder: &OpenFolder,
    name: &OsStr,
    length: u64,
) -> Result<(File, OutputHash), CommandError> {
    let mut file = folder.open_own(name)?;
    let cut = |file: &mut File| {
        if file.metadata()?.len() < length {
            let problem = "it is shorter than what was delivered to it";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
        }
        file.set_len(length)?;
        let hash = OutputHash::of(file.take(length))?;
        file.seek(SeekFrom::Start(length))?;
        Ok(hash)
    };
    match cut(&mut file) {
        Ok(hash) => Ok((file, hash)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(cannot_write(&folder.path_of(name), error).hint(
                "the keys in what is missing cannot be made again: put it back, and the same command goes on",
            ))
        }
        Err(error) => Err(cannot_write(&folder.path_of(name), error)),
    }
}
