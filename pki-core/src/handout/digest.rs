//! SHA-256 of an output, kept while it is written.
//!
//! A run that goes on where another was cut short reads what is there once more: hash states are not
//! kept between runs, and what is on the disk is what counts.

use std::fmt::{self, Write as _};
use std::io::{self, Read, Write};
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};

use crate::text::serde_as_text;

/// The SHA-256 of an output, printed as `sha256sum` prints it: lower-case hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputDigest([u8; 32]);

/// The text is no SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest is 64 hexadecimal digits")]
pub struct OutputDigestError;

impl OutputDigest {
    /// The digest's octets.
    pub fn as_octets(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for OutputDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(64);
        for octet in self.0 {
            write!(text, "{octet:02x}")?;
        }
        f.pad(&text)
    }
}

impl FromStr for OutputDigest {
    type Err = OutputDigestError;

    fn from_str(text: &str) -> Result<Self, OutputDigestError> {
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(OutputDigestError);
        }
        let mut digest = [0; 32];
        for (octet, place) in digest.iter_mut().zip((0..).step_by(2)) {
            *octet =
                u8::from_str_radix(&text[place..place + 2], 16).map_err(|_| OutputDigestError)?;
        }
        Ok(Self(digest))
    }
}

serde_as_text!(OutputDigest);

/// What is known of an output so far: its length and a hash that goes on.
#[derive(Clone)]
pub struct OutputHash {
    context: Context,
    octets: u64,
}

impl OutputHash {
    /// The hash of nothing.
    #[expect(
        clippy::new_without_default,
        reason = "an empty output is no default for anything"
    )]
    pub fn new() -> Self {
        Self {
            context: Context::new(&SHA256),
            octets: 0,
        }
    }

    /// The hash of all that can be read.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn of(mut output: impl Read) -> io::Result<Self> {
        let mut hash = Self::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match output.read(&mut buffer) {
                Ok(0) => return Ok(hash),
                Ok(length) => hash.update(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes on with what comes next in the output.
    pub fn update(&mut self, octets: &[u8]) {
        self.context.update(octets);
        self.octets += u64::try_from(octets.len()).unwrap_or_default();
    }

    /// How many octets were hashed.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The digest of what was hashed.
    pub fn digest(&self) -> OutputDigest {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.context.clone().finish().as_ref());
        OutputDigest(digest)
    }
}

/// A writer that hashes what its inner writer has taken.
pub struct HashingWriter<W> {
    inner: W,
    hash: OutputHash,
}

impl<W: Write> HashingWriter<W> {
    /// A writer that goes on after what `hash` knows: [`OutputHash::new`] for a new output.
    pub fn new(inner: W, hash: OutputHash) -> Self {
        Self { inner, hash }
    }

    /// What was written so far.
    pub fn hash(&self) -> &OutputHash {
        &self.hash
    }

    /// The inner writer, to sync it.
    pub fn get_ref(&self) -> &W {
        &self.inner
    }

    /// The inner writer and what was written to it.
    pub fn into_parts(self) -> (W, OutputHash) {
        (self.inner, self.hash)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        /// What fits into a core's own cache twice: it is read for the writer and for the hash.
        const MOST: usize = 1 << 16;
        let octets = &octets[..octets.len().min(MOST)];
        let written = self.inner.write(octets)?;
        self.hash.update(&octets[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
