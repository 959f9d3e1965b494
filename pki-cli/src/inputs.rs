//! What a command reads: files, or standard input where `-` is given.

use std::io::Read;
use std::path::Path;
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

/// Copies all of a stream, whatever its size.
fn copy(stream: &mut dyn Read) -> Result<PrivateCopy, CommandError> {
    let (copy, _) = PrivateCopy::make(|file| std::io::copy(stream, file).map_err(CopyError))?;
    Ok(copy)
}
