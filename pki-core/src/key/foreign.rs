//! Keys as other tools keep them, read by OpenSSL: PKCS#1 and SEC1 (RFC 8017 appendix A.1.2, RFC 5915),
//! PEM with its own encryption (`Proc-Type: 4,ENCRYPTED`, RFC 1421), and PKCS#8 under schemes that are
//! older than PBES2 (RFC 8018 §6.1, RFC 7292 appendix C).
//!
//! Reading only, and only what [`super::encrypted`] does not read itself; nothing is written so.

use std::cell::Cell;

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::provider::Provider;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::encrypted::KeyFileError;
use super::{KeyError, PrivateKey};

/// Reads the first private key of a PEM file in any form that OpenSSL knows; `label` is that of its
/// block.
pub(super) fn from_pem(
    input: &[u8],
    label: &str,
    passphrase: Option<&SecretString>,
) -> Result<PrivateKey, KeyFileError> {
    let asked = Cell::new(false);
    let read = || {
        PKey::private_key_from_pem_callback(input, |buffer| {
            asked.set(true);
            Ok(answer(buffer, passphrase))
        })
    };
    match with_legacy_ciphers(read) {
        Ok(key) => taken(&key),
        Err(_) if asked.get() && passphrase.is_none() => Err(KeyFileError::PassphraseNeeded),
        Err(error) if asked.get() => Err(not_opened(&error)),
        Err(error) if is_unsupported_cipher(&error) => Err(KeyFileError::Encryption),
        Err(_) => Err(KeyFileError::Form {
            label: label.to_owned(),
        }),
    }
}

/// Reads PKCS#1 or SEC1 DER; `None` if it is neither.
pub(super) fn from_der(der: &[u8]) -> Option<Result<PrivateKey, KeyFileError>> {
    let key = PKey::private_key_from_der(der).ok()?;
    Some(taken(&key))
}

/// Opens encrypted PKCS#8 DER under a scheme that only OpenSSL reads.
pub(super) fn from_encrypted_pkcs8(
    der: &[u8],
    passphrase: &SecretString,
) -> Result<PrivateKey, KeyFileError> {
    let read = || {
        PKey::private_key_from_pkcs8_callback(der, |buffer| Ok(answer(buffer, Some(passphrase))))
    };
    match with_legacy_ciphers(read) {
        Ok(key) => taken(&key),
        Err(error) => Err(not_opened(&error)),
    }
}

/// Takes over a key that OpenSSL has read.
fn taken(key: &PKey<Private>) -> Result<PrivateKey, KeyFileError> {
    let der = key
        .private_key_to_pkcs8()
        .map_err(|_| KeyError::Unsupported)?;
    Ok(PrivateKey::from_pkcs8_der(&Zeroizing::new(der))?)
}

/// Reads once more with OpenSSL's legacy provider if it lacks a cipher without it: single DES, RC2 and
/// RC4 are there, which OpenSSL wrote by default until 1.1.
pub(crate) fn with_legacy_ciphers<T>(
    read: impl Fn() -> Result<T, ErrorStack>,
) -> Result<T, ErrorStack> {
    match read() {
        Err(error) if is_unsupported_cipher(&error) => {
            // Unloaded again at the end: nothing else is to find these ciphers.
            let _legacy = Provider::try_load(None, "legacy", true).map_err(|_| error)?;
            read()
        }
        result => result,
    }
}

/// Puts the passphrase where OpenSSL wants it; one that does not fit opens nothing.
fn answer(buffer: &mut [u8], passphrase: Option<&SecretString>) -> usize {
    let octets = passphrase.map_or(&[][..], |secret| secret.expose_secret().as_bytes());
    match buffer.get_mut(..octets.len()) {
        Some(place) => {
            place.copy_from_slice(octets);
            octets.len()
        }
        None => 0,
    }
}

fn not_opened(error: &ErrorStack) -> KeyFileError {
    if is_unsupported_cipher(error) {
        KeyFileError::Encryption
    } else {
        KeyFileError::WrongPassphrase
    }
}

/// Whether OpenSSL says that it does not have the cipher. Its decoders say `unsupported` of every
/// input that none of them reads, so that the bare word does not count from there.
fn is_unsupported_cipher(error: &ErrorStack) -> bool {
    const REASONS: [&str; 5] = [
        "unsupported",
        "unsupported algorithm",
        "unsupported cipher",
        "unsupported encryption",
        "unknown pbe algorithm",
    ];
    error.errors().iter().any(|error| {
        let from_decoder = error.library().is_some_and(|name| name.contains("DECODER"));
        !from_decoder
            && error
                .reason()
                .is_some_and(|reason| REASONS.contains(&reason))
    })
}
