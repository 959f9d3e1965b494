//! The envelope that certificates, CSRs and CRLs share: what was signed, how, and the signature
//! (RFC 5280 §4.1.1, §5.1.1; RFC 2986 §4.2).
//!
//! Invariant: what was signed is kept as the bytes that were read, never encoded anew.

use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, BitString, BitStringRef};
use der::referenced::{OwnedToRef as _, RefToOwned as _};
use der::{Decode as _, Encode as _, Sequence};
use spki::{AlgorithmIdentifierOwned, AlgorithmIdentifierRef};

use crate::key::{SignatureError, verify};

/// A signed structure, taken apart but not interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    content: Vec<u8>,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

#[derive(Sequence)]
struct Envelope<'a> {
    content: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

impl Signed {
    /// Takes DER apart.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, der::Error> {
        let envelope = Envelope::from_der(der)?;
        Ok(Self {
            content: envelope.content.to_der()?,
            algorithm: envelope.algorithm.ref_to_owned(),
            signature: envelope.signature.ref_to_owned(),
        })
    }

    /// Puts content, algorithm and signature together as DER.
    pub(crate) fn assemble(
        content: &[u8],
        algorithm: AlgorithmIdentifierOwned,
        signature: &[u8],
    ) -> Result<Vec<u8>, der::Error> {
        let content = AnyRef::from_der(content)?;
        Envelope {
            content,
            algorithm: algorithm.owned_to_ref(),
            signature: BitStringRef::from_bytes(signature)?,
        }
        .to_der()
    }

    /// What was signed, as it was read.
    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }

    /// The object identifier of the algorithm outside of the signed content.
    pub(crate) fn algorithm(&self) -> ObjectIdentifier {
        self.algorithm.oid
    }

    /// Checks the signature with a public key (SubjectPublicKeyInfo DER).
    pub(crate) fn verify(&self, public_key: &[u8]) -> Result<(), SignatureError> {
        let signature = self.signature.as_bytes().ok_or(SignatureError::Mismatch)?;
        verify(public_key, self.algorithm(), &self.content, signature)
    }
}
