//! The envelope that certificates, CSRs and CRLs share: what was signed, how, and the signature
//! (RFC 5280 §4.1.1, §5.1.1; RFC 2986 §4.2).
//!
//! Invariant: what was signed is kept as the bytes that were read, never encoded anew.

use der::asn1::{AnyRef, BitStringRef};
use der::referenced::OwnedToRef as _;
use der::{Decode as _, Encode as _, Reader as _, Sequence, SliceReader};
use spki::{AlgorithmIdentifierOwned, AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use crate::key::{SignatureError, verify_identified};

/// A signed structure, taken apart but not interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed<'a> {
    content: &'a [u8],
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

#[derive(Sequence)]
struct Envelope<'a> {
    content: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

impl<'a> Signed<'a> {
    /// Takes DER apart.
    pub(crate) fn from_der(der: &'a [u8]) -> Result<Self, der::Error> {
        let mut reader = SliceReader::new(der)?;
        let signed = reader.sequence(|parts| {
            Ok::<_, der::Error>(Self {
                content: parts.tlv_bytes()?,
                algorithm: parts.decode()?,
                signature: parts.decode()?,
            })
        })?;
        reader.finish()?;
        Ok(signed)
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
    pub(crate) fn content(&self) -> &'a [u8] {
        self.content
    }

    /// Checks the signature with a public key (SubjectPublicKeyInfo DER).
    pub(crate) fn verify(&self, public_key: &[u8]) -> Result<(), SignatureError> {
        let public_key = SubjectPublicKeyInfoRef::from_der(public_key);
        self.verify_with(&public_key.map_err(|_| SignatureError::PublicKey)?)
    }

    /// As [`Self::verify`], with a key that was taken apart.
    pub(crate) fn verify_with(
        &self,
        public_key: &SubjectPublicKeyInfoRef<'_>,
    ) -> Result<(), SignatureError> {
        let signature = self.signature.as_bytes().ok_or(SignatureError::Mismatch)?;
        verify_identified(public_key, &self.algorithm, self.content, signature)
    }
}
