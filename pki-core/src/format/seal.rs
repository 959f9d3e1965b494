//! Sealing: device keys under a passphrase, or a whole output to its recipients.
//!
//! A [`KeySealer`] writes PKCS#8 under PBES2 (RFC 8018 §6.2) and stretches the passphrase once for the
//! whole batch; [`SealedWriter`], behind the feature `age`, encrypts a stream to public keys.
//! The reasons are in `docs/decisions/0005-sealing-batches.md`.

#[cfg(feature = "age")]
mod recipient;

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{AES_256, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use der::Encode as _;
use der::asn1::OctetStringRef;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::pbes2::Parameters;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

#[cfg(feature = "age")]
pub use recipient::{Recipient, SealError, SealedWriter};

use crate::key::{KeyError, PrivateKey};
use crate::ports::{Entropy, EntropyError};

/// A passphrase, with what is known of its strength.
pub enum Passphrase {
    /// Somebody chose it: it may be guessed, so that each guess is made to cost 600 000 rounds of
    /// PBKDF2 (about 0.2 s), and opening a key costs the same.
    Chosen(SecretString),
    /// [`Passphrase::random`] made it: 125 bits are not guessed however cheap a guess is, and 1 000
    /// rounds do, the fewest that RFC 8018 §4.2 names.
    Random(SecretString),
}

impl Passphrase {
    /// 32 characters that are not mistaken for one another.
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    const GROUPS: usize = 5;
    const GROUP: usize = 5;

    /// Makes a passphrase of 25 random characters in five groups: 125 bits.
    ///
    /// # Errors
    /// [`EntropyError`].
    pub fn random(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut octets = Zeroizing::new([0; Self::GROUPS * Self::GROUP]);
        entropy.fill(&mut *octets)?;
        let mut text = String::with_capacity(octets.len() + Self::GROUPS);
        for (place, octet) in octets.iter().enumerate() {
            if place > 0 && place % Self::GROUP == 0 {
                text.push('-');
            }
            text.push(char::from(Self::ALPHABET[usize::from(octet & 31)]));
        }
        Ok(Self::Random(SecretString::from(text)))
    }

    /// Takes a passphrase that was handed in: one of the exact form that [`Passphrase::random`]
    /// makes is taken for random, so that a run that goes on treats it like the run that made it.
    pub fn read(secret: SecretString) -> Self {
        let groups = secret.expose_secret().split('-');
        let of_ours = |group: &str| {
            group.len() == Self::GROUP && group.bytes().all(|c| Self::ALPHABET.contains(&c))
        };
        if groups.clone().count() == Self::GROUPS && groups.clone().all(of_ours) {
            Self::Random(secret)
        } else {
            Self::Chosen(secret)
        }
    }

    /// The passphrase itself.
    pub fn secret(&self) -> &SecretString {
        match self {
            Self::Chosen(secret) | Self::Random(secret) => secret,
        }
    }

    /// How often it is hashed before it is a key.
    pub(crate) fn rounds(&self) -> u32 {
        match self {
            Self::Chosen(_) => 600_000,
            Self::Random(_) => 1_000,
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededEntropy;

    #[test]
    fn a_random_passphrase_is_known_again_and_a_chosen_one_never_taken_for_it() {
        let random = Passphrase::random(&SeededEntropy::new(1)).expect("entropy");
        let text = random.secret().expose_secret().to_owned();
        assert_eq!(text.len(), 29, "{text}");
        assert_eq!(Passphrase::read(text.clone().into()).rounds(), 1_000);
        for chosen in [
            "",
            "----",
            "correct horse",
            &text[1..],
            &text.to_uppercase(),
        ] {
            assert_eq!(
                Passphrase::read(chosen.into()).rounds(),
                600_000,
                "{chosen}"
            );
        }
    }
}
