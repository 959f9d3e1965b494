//! What a worker made of one certificate, shut until the certificate is recorded.

use std::ops::{Deref, Range};

use zeroize::Zeroize as _;

use super::entry::Entry;
use crate::certificate::Certificate;
use crate::ids::{SerialNumber, Sha256Thumbprint};
use crate::inventory::Recorded;

/// A stretch of an output. If it holds a key in the clear, that part of it is wiped when it is
/// dropped: wiping all of it would take as long as making it.
pub struct Piece {
    octets: Vec<u8>,
    secret: Range<usize>,
}

impl Piece {
    /// Nothing in it is secret.
    pub(super) fn public(octets: Vec<u8>) -> Self {
        Self {
            octets,
            secret: 0..0,
        }
    }

    /// A part of it is secret.
    pub(super) fn with_secret(octets: Vec<u8>, secret: Range<usize>) -> Self {
        Self { octets, secret }
    }

    /// Which part of it is secret; empty if none is.
    pub(super) fn secret_range(&self) -> Range<usize> {
        self.secret.clone()
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
        if let Some(secret) = self.octets.get_mut(self.secret.clone()) {
            secret.zeroize();
        }
    }
}

/// What was rendered for one certificate, bound to that certificate and shut.
pub struct Rendered {
    certificate: Certificate,
    content: Released,
}

/// What may be written out.
pub enum Released {
    /// The next stretch of a stream.
    Stream(Piece),
    /// Files for a folder.
    Files(Vec<Entry>),
}

/// What was recorded is not what this was rendered for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the output of certificate {rendered} was to be released for certificate {recorded} (SHA-256 {thumbprint})"
)]
pub struct UnrecordedError {
    /// The certificate that was rendered.
    pub rendered: SerialNumber,
    /// The certificate that was recorded.
    pub recorded: SerialNumber,
    /// The thumbprint of the recorded one, for two of the same number.
    pub thumbprint: Sha256Thumbprint,
}

impl Rendered {
    pub(super) fn new(certificate: &Certificate, content: Released) -> Self {
        Self {
            certificate: certificate.clone(),
            content,
        }
    }

    /// Gives out what was rendered, once the very certificate is recorded.
    ///
    /// # Errors
    /// [`UnrecordedError`] for another certificate; what was rendered is wiped then.
    pub fn release(self, recorded: &Recorded) -> Result<Released, UnrecordedError> {
        let certificate = recorded.certificate();
        if self.certificate == *certificate {
            return Ok(self.content);
        }
        Err(UnrecordedError {
            rendered: self.certificate.serial_number().clone(),
            recorded: certificate.serial_number().clone(),
            thumbprint: certificate.sha256_thumbprint(),
        })
    }
}
