//! What a worker made of a chunk of certificates, shut until they are recorded.

use std::ops::{Deref, Range};

use zeroize::Zeroize as _;

use super::entry::Entry;
use crate::certificate::Certificate;
use crate::ids::{SerialNumber, Sha256Thumbprint};
use crate::inventory::Recorded;

/// A stretch of an output. The parts of it that hold keys in the clear are wiped when it is dropped or
/// moves: wiping all of it would take as long as making it.
#[derive(Default)]
pub struct Piece {
    octets: Vec<u8>,
    secrets: Vec<Range<usize>>,
}

impl Piece {
    /// Nothing in it is secret.
    pub(super) fn public(octets: Vec<u8>) -> Self {
        Self {
            octets,
            secrets: Vec::new(),
        }
    }

    /// Has `write` append `most` octets or fewer, and say which part of all is secret.
    pub(super) fn push(&mut self, most: usize, write: impl FnOnce(&mut Vec<u8>) -> Range<usize>) {
        let end = self.octets.len() + most;
        self.make_room(end);
        let secret = write(&mut self.octets);
        debug_assert!(self.octets.len() <= end, "more than {most} bytes");
        if !secret.is_empty() {
            self.secrets.push(secret);
        }
    }

    /// A vector that grows by itself leaves a copy of the keys behind.
    fn make_room(&mut self, length: usize) {
        if length <= self.octets.capacity() {
            return;
        }
        let mut larger = Vec::with_capacity(length.max(2 * self.octets.capacity()));
        larger.extend_from_slice(&self.octets);
        self.wipe();
        self.octets = larger;
    }

    fn wipe(&mut self) {
        for secret in &self.secrets {
            if let Some(secret) = self.octets.get_mut(secret.clone()) {
                secret.zeroize();
            }
        }
    }

    /// Takes everything out, and keeps the memory.
    fn clear(&mut self) {
        self.wipe();
        self.octets.clear();
        self.secrets.clear();
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.octets
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// What was rendered for a chunk of certificates, bound to them and shut.
#[derive(Default)]
pub struct Rendered {
    pub(super) certificates: Vec<Certificate>,
    pub(super) content: Released,
}

/// What may be written out: the next stretch of a stream, or files for a folder. The other is empty.
#[derive(Default)]
pub struct Released {
    /// The next stretch of a stream.
    pub stream: Piece,
    /// Files for a folder.
    pub files: Vec<Entry>,
}

/// What was recorded is not what this was rendered for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnrecordedError {
    /// Another certificate was recorded.
    #[error(
        "the output of certificate {rendered} was to be released for certificate {recorded} (SHA-256 {thumbprint})"
    )]
    Another {
        /// The certificate that was rendered.
        rendered: SerialNumber,
        /// The certificate that was recorded.
        recorded: SerialNumber,
        /// The thumbprint of the recorded one, for two of the same number.
        thumbprint: Sha256Thumbprint,
    },
    /// Fewer or more certificates were recorded.
    #[error("the output of {rendered} certificates was to be released for {recorded}")]
    Count {
        /// How many were rendered.
        rendered: usize,
        /// How many were recorded.
        recorded: usize,
    },
}

impl Rendered {
    /// Nothing yet, in the memory of what was written out.
    pub fn reusing(mut spent: Released) -> Self {
        spent.stream.clear();
        spent.files.clear();
        Self {
            certificates: Vec::new(),
            content: spent,
        }
    }

    /// Gives out what was rendered, once the very certificates are recorded, in their order.
    ///
    /// # Errors
    /// [`UnrecordedError`] for others; what was rendered is wiped then.
    pub fn release(self, recorded: &[Recorded]) -> Result<Released, UnrecordedError> {
        if self.certificates.len() != recorded.len() {
            return Err(UnrecordedError::Count {
                rendered: self.certificates.len(),
                recorded: recorded.len(),
            });
        }
        let pairs = self.certificates.iter().zip(recorded);
        let other = pairs.map(|(rendered, recorded)| (rendered, recorded.certificate()));
        match other
            .into_iter()
            .find(|(rendered, recorded)| rendered != recorded)
        {
            None => Ok(self.content),
            Some((rendered, recorded)) => Err(UnrecordedError::Another {
                rendered: rendered.serial_number().clone(),
                recorded: recorded.serial_number().clone(),
                thumbprint: recorded.sha256_thumbprint(),
            }),
        }
    }
}
