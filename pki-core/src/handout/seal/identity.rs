//! What opens sealed outputs: the secret halves of age recipients, as `age-keygen` writes them.

use std::io::{self, BufRead, Read};

use age::stream::StreamReader;
use age::{DecryptError, Decryptor, x25519};

/// What every age file begins with.
pub const SEALED: &[u8] = b"age-encryption.org/";

/// The identities of a key file; any of them may open an output.
pub struct Identities(Vec<x25519::Identity>);

/// Why a file holds no identities. None of its text is told: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentitiesError {
    /// It is sealed itself.
    #[error("the identities in it are encrypted; take them out with: age --decrypt")]
    Encrypted,
    /// A line is the public half.
    #[error("line {line}: that is a recipient; an identity is its secret half, AGE-SECRET-KEY-1…")]
    Recipient {
        /// Which line, counted from 1.
        line: usize,
    },
    /// A line is something else.
    #[error("line {line}: that is no age identity; one looks like AGE-SECRET-KEY-1…")]
    Line {
        /// Which line, counted from 1.
        line: usize,
    },
    /// There is none.
    #[error("there is no age identity in it")]
    None,
}

impl Identities {
    /// Reads a key file: an identity a line; lines that begin with `#` say something to people.
    ///
    /// # Errors
    /// [`IdentitiesError`].
    pub fn read(file: &[u8]) -> Result<Self, IdentitiesError> {
        if file.starts_with(SEALED) || file.starts_with(b"-----BEGIN AGE ") {
            return Err(IdentitiesError::Encrypted);
        }
        let mut identities = Vec::new();
        for (index, octets) in file.split(|octet| *octet == b'\n').enumerate() {
            let line = index + 1;
            let text = std::str::from_utf8(octets).map_err(|_| IdentitiesError::Line { line })?;
            match text.trim() {
                "" => {}
                comment if comment.starts_with('#') => {}
                recipient if recipient.starts_with("age1") => {
                    return Err(IdentitiesError::Recipient { line });
                }
                identity => {
                    let read = identity.parse();
                    identities.push(read.map_err(|_| IdentitiesError::Line { line })?);
                }
            }
        }
        if identities.is_empty() {
            Err(IdentitiesError::None)
        } else {
            Ok(Self(identities))
        }
    }
}

/// Why a sealed output does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnsealError {
    /// None of the identities is that of a recipient.
    #[error("it was sealed to other recipients: none of the identities opens it")]
    NotForUs,
    /// A passphrase opens it, which no batch has.
    #[error("it was sealed under a passphrase, not to a recipient")]
    Passphrase,
    /// Its beginning is broken.
    #[error("it was changed or cut short after it was sealed")]
    Changed,
    /// It could not be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
}

/// Opens a sealed output. What is read from it is what was sealed, piece by piece; only its end tells
/// that it was all of it.
pub struct UnsealingReader<R>(StreamReader<R>);

impl<R: BufRead> UnsealingReader<R> {
    /// Begins to open an output.
    ///
    /// # Errors
    /// [`UnsealError`].
    pub fn new(sealed: R, identities: &Identities) -> Result<Self, UnsealError> {
        let decryptor = Decryptor::new_buffered(sealed).map_err(not_opened)?;
        if decryptor.is_scrypt() {
            return Err(UnsealError::Passphrase);
        }
        let each = identities
            .0
            .iter()
            .map(|identity| -> &dyn age::Identity { identity });
        decryptor.decrypt(each).map(Self).map_err(not_opened)
    }
}

fn not_opened(error: DecryptError) -> UnsealError {
    match error {
        DecryptError::NoMatchingKeys => UnsealError::NotForUs,
        DecryptError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            UnsealError::Read(error)
        }
        _ => UnsealError::Changed,
    }
}

impl<R: Read> Read for UnsealingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                io::Error::new(error.kind(), UnsealError::Changed)
            }
            _ => error,
        })
    }
}
