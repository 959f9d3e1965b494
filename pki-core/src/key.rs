//! Keys and signatures: what we generate, sign with and accept.
//!
//! Signing and generation stand behind [`Signer`] and [`KeyGenerator`], so that a backend can change
//! (an HSM, a faster library) without anything else noticing. [`software`] is the in-memory backend,
//! `pkcs11` the one for tokens.
//! Invariant: private key bytes live in [`PrivateKey`] only, which wipes itself and never prints.

mod algorithm;
mod encrypted;
pub(crate) mod foreign;
mod identity;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
mod pss;
pub mod software;
pub(crate) mod stretching;
mod uri;
mod verify;

pub use algorithm::{KeyAlgorithm, SignatureAlgorithm, UnknownKeyAlgorithm};
pub use encrypted::{KeyFileError, read_private_key, to_encrypted_pem};
pub use identity::KeyIdentity;
pub use uri::{Pkcs11Uri, Pkcs11UriError};
pub(crate) use verify::verify_identified;
pub use verify::{SignatureError, verify};

use zeroize::Zeroizing;

/// A private key as PKCS#8 DER (RFC 5958), wiped when dropped. It has no `Debug`, `Clone` or serde.
pub struct PrivateKey {
    algorithm: KeyAlgorithm,
    pkcs8: Zeroizing<Vec<u8>>,
    public_key: Vec<u8>,
}

impl PrivateKey {
    /// The kind of key.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The public key as SubjectPublicKeyInfo DER (RFC 5280 §4.1.2.7).
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The key as PKCS#8 DER.
    pub fn expose_pkcs8_der(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The key as unencrypted PKCS#8 PEM, for the one output that a device key goes to.
    pub fn expose_pkcs8_pem(&self) -> Zeroizing<String> {
        crate::pem::secret_block("PRIVATE KEY", &self.pkcs8)
    }
}

/// Why a key could not be made, read or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The backend failed; it says no more than that.
    #[error("the key backend could not {action}")]
    Backend {
        /// What it was asked to do.
        action: &'static str,
    },
    /// The token that holds the key failed.
    #[error("the token that holds the key could not {action}: {reason}")]
    Token {
        /// What it was asked to do.
        action: &'static str,
        /// The name of its answer, as the PKCS#11 pages spell it.
        reason: String,
    },
    /// Nobody takes a curve whose name has to be guessed (RFC 5480 §2.1.1).
    #[error(
        "the private key has the parameters of its curve written out; rewrite it with: openssl ec -param_enc named_curve"
    )]
    ExplicitCurve,
    /// The bytes are no key of a kind that we handle.
    #[error(
        "the private key is not an ECDSA P-256 or P-384, Ed25519, or RSA key of 2048 to 4096 bits"
    )]
    Unsupported,
}

/// Something that signs: a key in memory, or one in a hardware module.
pub trait Signer: Send + Sync {
    /// The kind of key behind it.
    fn key_algorithm(&self) -> KeyAlgorithm;

    /// The public key as SubjectPublicKeyInfo DER (RFC 5280 §4.1.2.7).
    fn public_key(&self) -> &[u8];

    /// Signs a message; the digest is part of [`Self::signature_algorithm`].
    ///
    /// # Errors
    /// [`KeyError::Backend`] if the backend fails, [`KeyError::Token`] if it is a token.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError>;

    /// How it signs.
    fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.key_algorithm().signature_algorithm()
    }
}

/// Something that makes private keys.
pub trait KeyGenerator: Send + Sync {
    /// Makes a key.
    ///
    /// # Errors
    /// [`KeyError::Backend`] if the backend fails.
    fn generate(&self, algorithm: KeyAlgorithm) -> Result<PrivateKey, KeyError>;
}
