//! Sealing: device keys under a passphrase, or a whole output to its recipients.
//!
//! A [`KeySealer`] writes PKCS#8 under PBES2 (RFC 8018 §6.2) and stretches the passphrase once for the
//! whole batch; [`SealedWriter`], behind the feature `age`, encrypts a stream to public keys, and
//! [`UnsealingReader`] opens it again.
//! The reasons are in `docs/decisions/0005-sealing-batches.md`.

#[cfg(feature = "age")]
mod identity;
#[cfg(feature = "age")]
mod recipient;

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{AES_256, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use der::Encode as _;
use der::asn1::OctetStringRef;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::pbes2::Parameters;
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

#[cfg(feature = "age")]
pub use identity::{Identities, IdentitiesError, SEALED, UnsealError, UnsealingReader};
#[cfg(feature = "age")]
pub use recipient::{Recipient, SealError, SealedWriter};

use crate::key::{KeyError, PrivateKey};
use crate::ports::{Entropy, EntropyError};
use crate::secret::Passphrase;

/// Encrypts the private keys of a batch: PBKDF2-HMAC-SHA-256 and AES-256-CBC, one salt for all, a new
/// initialisation vector for each. What it writes is what any PKCS#8 reader opens.
pub struct KeySealer {
    key: Box<PaddedBlockEncryptingKey>,
    salt: [u8; 16],
    rounds: u32,
}

impl KeySealer {
    /// The most that padding adds to a key.
    const BLOCK: usize = 16;

    /// Stretches a passphrase, once.
    ///
    /// # Errors
    /// [`KeySealerError`]: no randomness for the salt, or the backend failed.
    pub fn new(passphrase: &Passphrase, entropy: &dyn Entropy) -> Result<Self, KeySealerError> {
        let mut salt = [0; 16];
        entropy.fill(&mut salt)?;
        let rounds = NonZeroU32::new(passphrase.rounds()).unwrap_or(NonZeroU32::MIN);
        let mut key = Zeroizing::new([0; 32]);
        let secret = passphrase.secret().expose_secret().as_bytes();
        pbkdf2::derive(PBKDF2_HMAC_SHA256, rounds, &salt, secret, &mut *key);
        let failed = |_| KeySealerError::Key(ENCRYPT);
        let key = UnboundCipherKey::new(&AES_256, &*key).map_err(failed)?;
        Ok(Self {
            key: Box::new(PaddedBlockEncryptingKey::cbc_pkcs7(key).map_err(failed)?),
            salt,
            rounds: rounds.get(),
        })
    }

    /// Encrypts one key, as `EncryptedPrivateKeyInfo` DER (RFC 5958 §3). The backend makes the
    /// initialisation vector.
    ///
    /// # Errors
    /// [`KeyError::Backend`].
    pub fn seal(&self, key: &PrivateKey) -> Result<Vec<u8>, KeyError> {
        let plain = key.expose_pkcs8_der();
        // Room for the padding from the start: a vector that grows leaves the key behind.
        let mut octets = Vec::with_capacity(plain.len() + Self::BLOCK);
        octets.extend_from_slice(plain);
        let context = self.key.encrypt(&mut octets).map_err(|_| ENCRYPT)?;
        debug_assert!(octets.len() <= plain.len() + Self::BLOCK);
        let vector = <&[u8]>::try_from(&context).map_err(|_| ENCRYPT)?;
        let vector = vector.try_into().map_err(|_| ENCRYPT)?;
        let parameters =
            Parameters::generate_pbkdf2_sha256_aes256cbc(self.rounds, &self.salt, vector)
                .map_err(|_| ENCRYPT)?;
        EncryptedPrivateKeyInfoRef {
            encryption_algorithm: parameters.into(),
            encrypted_data: OctetStringRef::new(&octets).map_err(|_| ENCRYPT)?,
        }
        .to_der()
        .map_err(|_| ENCRYPT)
    }
}

const ENCRYPT: KeyError = KeyError::Backend {
    action: "encrypt the key",
};

/// Why a passphrase was not taken into use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySealerError {
    /// There was no randomness for the salt.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The backend failed.
    #[error(transparent)]
    Key(KeyError),
}
