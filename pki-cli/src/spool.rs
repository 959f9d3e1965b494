//! Private copies of inputs: files without a name that only this process can open.
//!
//! An input that can be read once, or that may change while it is worked on, is copied before it is
//! judged. Nothing is left of a copy when the process ends, however it ends.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// A copy was not made, or not all of it.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep a copy of the input")]
pub(crate) struct CopyError(#[source] pub(crate) io::Error);

/// A copy that can be read as often as it takes, from several places at once.
#[derive(Clone)]
pub(crate) struct PrivateCopy {
    file: Arc<File>,
}

impl PrivateCopy {
    /// Makes a copy of what `fill` writes.
    pub(crate) fn make<T, E: From<CopyError>>(
        fill: impl FnOnce(&mut File) -> Result<T, E>,
    ) -> Result<(Self, T), E> {
        let mut file = tempfile::tempfile().map_err(CopyError)?;
        let value = fill(&mut file)?;
        Ok((Self::of(file), value))
    }

    /// What a file without a name holds that is written.
    pub(crate) fn of(file: File) -> Self {
        let file = Arc::new(file);
        Self { file }
    }

    /// Reads it from its beginning.
    pub(crate) fn reader(&self) -> BufReader<CopyReader> {
        let file = Arc::clone(&self.file);
        BufReader::with_capacity(1 << 16, CopyReader { file, offset: 0 })
    }
}

/// One reader of a copy; it has a place of its own.
pub(crate) struct CopyReader {
    file: Arc<File>,
    offset: u64,
}

impl Read for CopyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += u64::try_from(count).unwrap_or_default();
        Ok(count)
    }
}
