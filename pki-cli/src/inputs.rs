//! What a command reads: files, or standard input where `-` is given.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use zeroize::Zeroizing;

use crate::error::CommandError;
use crate::files::{Files, read_stream};
use crate::spool::{CopyError, PrivateCopy};

/// The inputs of one command.
pub struct Inputs {
    files: Arc<Files>,
    stdin: Mutex<Box<dyn Read + Send>>,
}

impl Inputs {
    /// The files that a command sees, and its standard input.
    pub(crate) fn new(files: Arc<Files>, stdin: Box<dyn Read + Send>) -> Self {
        let stdin = Mutex::new(stdin);
        Self { files, stdin }
    }

    /// Reads an input: a file, or standard input for `-`.
    ///
    /// # Errors
    /// As [`Files::read`].
    pub fn read(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, CommandError> {
        if path == Path::new("-") {
            self.read_stdin()
        } else {
            self.files.read(path)
        }
    }

    /// Reads standard input.
    ///
    /// # Errors
    /// As [`read_stream`].
    pub(crate) fn read_stdin(&self) -> Result<Zeroizing<Vec<u8>>, CommandError> {
        read_stream(&mut **self.stdin()?, "standard input")
    }

    /// An input that is to be read as often as it takes, whatever its size.
    ///
    /// # Errors
    /// As [`Self::copy_of_stream`].
    pub(crate) fn rereadable(&self, path: &Path) -> Result<Rereadable, CommandError> {
        let name = input_name(path);
        Ok(match self.copy_of_stream(path)? {
            Some(copy) => Rereadable::copied(copy, name),
            None => Rereadable {
                origin: Origin::File {
                    files: Arc::clone(&self.files),
                    path: self.files.resolve(path),
                },
                name,
            },
        })
    }

    /// Keeps a copy of an input that can be read once only: standard input, for `-`, or a pipe. Others
    /// are read where they are.
    ///
    /// # Errors
    /// `Failed` if it cannot be read or there is no room for the copy, and those of opening a file.
    pub(crate) fn copy_of_stream(&self, path: &Path) -> Result<Option<PrivateCopy>, CommandError> {
        if path == Path::new("-") {
            return copy(&mut **self.stdin()?).map(Some);
        }
        let mut stream = self.files.open_stream(path)?;
        if stream.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Ok(None);
        }
        copy(&mut stream).map(Some)
    }

    fn stdin(&self) -> Result<MutexGuard<'_, Box<dyn Read + Send>>, CommandError> {
        let stdin = self.stdin.lock();
        stdin.map_err(|_| CommandError::failed("standard input is in use"))
    }
}

/// What an input is called in messages.
pub(crate) fn input_name(path: &Path) -> String {
    match path.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => path.display().to_string(),
    }
}

/// An input that can be read from its beginning again and again.
pub(crate) struct Rereadable {
    origin: Origin,
    name: String,
}

enum Origin {
    File {
        files: Arc<Files>,
        path: PathBuf,
    },
    /// Of standard input or a pipe, which can be read once.
    Copied(PrivateCopy),
}

impl Rereadable {
    /// What was copied.
    pub(crate) fn copied(copy: PrivateCopy, name: String) -> Self {
        let origin = Origin::Copied(copy);
        Self { origin, name }
    }

    /// What it is called in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Reads it from its beginning.
    ///
    /// # Errors
    /// As [`Files::open_stream`].
    pub(crate) fn open(&self) -> Result<Box<dyn BufRead + Send>, CommandError> {
        Ok(match &self.origin {
            Origin::File { files, path } => {
                let file = files.open_stream(path)?;
                Box::new(BufReader::with_capacity(1 << 16, file))
            }
            Origin::Copied(copy) => Box::new(copy.reader()),
        })
    }
}

/// Copies all of a stream, whatever its size.
fn copy(stream: &mut dyn Read) -> Result<PrivateCopy, CommandError> {
    let (copy, _) = PrivateCopy::make(|file| std::io::copy(stream, file).map_err(CopyError))?;
    Ok(copy)
}
