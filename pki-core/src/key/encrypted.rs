//! Authority keys at rest: encrypted PKCS#8 (RFC 5958 §3) under PBES2 (RFC 8018 §6.2).
//!
//! Written with PBKDF2-HMAC-SHA-256 and AES-256-CBC, which every OpenSSL since 1.0 opens; how often a
//! passphrase is hashed depends on who made it: `docs/decisions/0008-opening-authority-keys.md`. Read
//! in whatever form other tools keep keys; [`super::foreign`] has those that are not ours.
//! Invariant: how much work a file may ask for is bounded before it is done.

use pkcs8::pkcs5::pbes2::Parameters;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::{KeyError, PrivateKey, foreign, stretching};
use crate::pem::{self, InputError};
use crate::ports::{Entropy, EntropyError};
use crate::secret::Passphrase;

/// Why a key file was not opened or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The input is no key file.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The key is encrypted and no passphrase was given.
    #[error("the key is encrypted and needs a passphrase")]
    PassphraseNeeded,
    /// The passphrase does not open the key, or the file was damaged.
    #[error("the passphrase does not open the key")]
    WrongPassphrase,
    /// The encryption is one that we do not read.
    #[error(
        "the key is encrypted in a way that is not supported; rewrite it with: openssl pkcs8 -topk8 -v2 aes-256-cbc"
    )]
    Encryption,
    /// Opening it would take more time or memory than a key file may.
    #[error(
        "the key's encryption asks for too much work ({cost}); rewrite it with: openssl pkcs8 -topk8 -v2 aes-256-cbc"
    )]
    TooCostly {
        /// What it asks for.
        cost: String,
    },
    /// The key is of a form that nothing here reads.
    #[error("the key is in the form {label}; rewrite it with: openssl pkcs8 -topk8")]
    Form {
        /// The PEM label.
        label: String,
    },
    /// The key is of no kind that we handle.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There was no randomness for salt and initialisation vector.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// Encrypts a key under a passphrase, as PEM. One of the form that [`Passphrase::random`] makes is
/// hashed 1 000 times, any other 600 000 times.
///
/// # Errors
/// [`KeyFileError::Entropy`]; [`KeyFileError::Key`] if the key cannot be encoded.
pub fn to_encrypted_pem(
    key: &PrivateKey,
    passphrase: &SecretString,
    entropy: &dyn Entropy,
) -> Result<String, KeyFileError> {
    let failed = |_| KeyError::Backend {
        action: "encrypt the key",
    };
    let mut salt = [0; 16];
    let mut vector = [0; 16];
    entropy.fill(&mut salt)?;
    entropy.fill(&mut vector)?;
    let rounds = Passphrase::read(passphrase.clone()).rounds();
    let parameters =
        Parameters::generate_pbkdf2_sha256_aes256cbc(rounds, &salt, vector).map_err(|_| {
            KeyError::Backend {
                action: "encrypt the key",
            }
        })?;
    let info = PrivateKeyInfoRef::try_from(key.expose_pkcs8_der()).map_err(failed)?;
    let document = info
        .encrypt_with_params(parameters, passphrase.expose_secret())
        .map_err(|_| KeyError::Backend {
            action: "encrypt the key",
        })?;
    Ok(pem::block("ENCRYPTED PRIVATE KEY", document.as_bytes()))
}

/// Reads a private key, encrypted or not, in PEM or DER: PKCS#8, PKCS#1, SEC1, or PEM that is
/// encrypted itself as OpenSSL did it before PKCS#8.
///
/// # Errors
/// [`KeyFileError`]: not a key, no or a wrong passphrase, or a kind that we do not handle.
pub fn read_private_key(
    input: &[u8],
    passphrase: Option<&SecretString>,
) -> Result<PrivateKey, KeyFileError> {
    const WANTED: &str = "a private key";
    let input = &pem::plain(input);
    let Some(blocks) = pem::blocks(input)? else {
        return from_der(input, passphrase);
    };
    let Some(block) = blocks
        .iter()
        .find(|block| block.label.ends_with("PRIVATE KEY"))
    else {
        return Err(pem::wrong_kind(&blocks, WANTED).into());
    };
    match block.label.as_str() {
        "PRIVATE KEY" => Ok(PrivateKey::from_pkcs8_der(&block.der)?),
        "ENCRYPTED PRIVATE KEY" => decrypted(&block.der, passphrase),
        label => foreign::from_pem(input, label, passphrase),
    }
}

fn from_der(der: &[u8], passphrase: Option<&SecretString>) -> Result<PrivateKey, KeyFileError> {
    if stretching::is_encrypted(der) {
        return decrypted(der, passphrase);
    }
    if PrivateKeyInfoRef::try_from(der).is_ok() {
        return Ok(PrivateKey::from_pkcs8_der(der)?);
    }
    foreign::from_der(der).unwrap_or_else(|| {
        Err(InputError::NeitherPemNorDer {
            wanted: "a private key",
        }
        .into())
    })
}

fn decrypted(der: &[u8], passphrase: Option<&SecretString>) -> Result<PrivateKey, KeyFileError> {
    stretching::check(der)?;
    let passphrase = passphrase.ok_or(KeyFileError::PassphraseNeeded)?;
    let Ok(info) = EncryptedPrivateKeyInfoRef::try_from(der) else {
        return foreign::from_encrypted_pkcs8(der, passphrase);
    };
    let plain = info
        .encryption_algorithm
        .decrypt(passphrase.expose_secret(), info.encrypted_data.as_bytes());
    match plain {
        Ok(plain) => from_decrypted(&Zeroizing::new(plain)),
        Err(pkcs8::pkcs5::Error::DecryptFailed) => Err(KeyFileError::WrongPassphrase),
        Err(_) => foreign::from_encrypted_pkcs8(der, passphrase),
    }
}

/// A wrong passphrase leaves padding that looks right once in 256 times, but no structure.
fn from_decrypted(plain: &[u8]) -> Result<PrivateKey, KeyFileError> {
    match PrivateKeyInfoRef::try_from(plain) {
        Ok(_) => Ok(PrivateKey::from_pkcs8_der(plain)?),
        Err(_) => Err(KeyFileError::WrongPassphrase),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::software::SoftwareKeyGenerator;
    use crate::key::{KeyAlgorithm, KeyGenerator as _};
    use crate::testing::SeededEntropy;

    #[test]
    fn a_key_comes_back_under_its_passphrase_and_no_other() {
        let key = SoftwareKeyGenerator
            .generate(KeyAlgorithm::EcdsaP256)
            .expect("key");
        let right = SecretString::from("correct horse");
        let pem = to_encrypted_pem(&key, &right, &SeededEntropy::new(1)).expect("pem");
        let back = read_private_key(pem.as_bytes(), Some(&right)).expect("opens");
        assert_eq!(back.expose_pkcs8_der(), key.expose_pkcs8_der());
        let wrong = SecretString::from("battery staple");
        let refused = |passphrase| read_private_key(pem.as_bytes(), passphrase).err();
        assert_eq!(refused(Some(&wrong)), Some(KeyFileError::WrongPassphrase));
        assert_eq!(refused(None), Some(KeyFileError::PassphraseNeeded));
    }

    #[test]
    fn a_certificate_is_no_key() {
        let error = read_private_key(
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            None,
        );
        assert!(
            error
                .err()
                .expect("refused")
                .to_string()
                .contains("CERTIFICATE where a private key")
        );
    }
}
