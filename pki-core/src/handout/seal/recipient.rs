//! A whole output sealed to public keys, as an age file ([age-encryption.org/v1]).
//!
//! An age file is one stream under one file key that nobody keeps: it cannot be appended to, and what
//! was written of it is of no use before it is finished. A sealed batch that is cut short is begun
//! anew, and none of it counts as delivered until [`SealedWriter::finish`].
//!
//! [age-encryption.org/v1]: https://age-encryption.org/v1

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use age::stream::StreamWriter;
use age::{EncryptError, Encryptor, x25519};

/// Who can open a sealed output: the public key of an age identity, `age1…`.
#[derive(Clone)]
pub struct Recipient(x25519::Recipient);

/// Why an output cannot be sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The text is a secret key.
    #[error(
        "that is a secret age identity; a recipient is its public half, which age-keygen -y prints"
    )]
    Identity,
    /// The text is no recipient.
    #[error("{text:?} is not an age recipient: {problem}; one looks like age1…, 62 characters")]
    Recipient {
        /// The text.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There are no recipients, so that nobody could open it.
    #[error("a sealed output needs at least one recipient")]
    Nobody,
    /// The library refused.
    #[error("the output cannot be sealed")]
    Seal(#[source] Box<EncryptError>),
    /// The writer failed.
    #[error("the head of the sealed output cannot be written")]
    Write(#[from] io::Error),
}

impl FromStr for Recipient {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, SealError> {
        if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            return Err(SealError::Identity);
        }
        text.parse()
            .map(Self)
            .map_err(|problem| SealError::Recipient {
                text: text.to_owned(),
                problem,
            })
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

/// Encrypts what is written to it. It holds back up to 64 KiB, which flushing does not change.
pub struct SealedWriter<W: Write>(StreamWriter<W>);

impl<W: Write> SealedWriter<W> {
    /// Begins a sealed output; any of the recipients will open it.
    ///
    /// # Errors
    /// [`SealError`]: nobody to seal it to, or the head cannot be written.
    pub fn new(output: W, recipients: &[Recipient]) -> Result<Self, SealError> {
        let each = recipients
            .iter()
            .map(|recipient| -> &dyn age::Recipient { &recipient.0 });
        let encryptor = Encryptor::with_recipients(each).map_err(|error| match error {
            EncryptError::MissingRecipients => SealError::Nobody,
            other => SealError::Seal(Box::new(other)),
        })?;
        Ok(Self(encryptor.wrap_output(output)?))
    }

    /// Writes the end, without which nobody accepts the output, and gives the writer back.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

impl<W: Write> Write for SealedWriter<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
