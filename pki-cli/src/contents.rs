//! Reads a file of any form that the core knows, and opens what is locked in it.
//!
//! A passphrase is only looked for where something is encrypted.

use std::path::Path;

use pki_core::encoding::contents::{Contents, ContentsError, LockedKey};
use pki_core::key::{KeyFileError, PrivateKey};

use crate::error::{CommandError, in_contents, in_key_file};
use crate::inputs::Inputs;
use crate::secrets::Secrets;

/// Reads what a file holds; a PKCS#12 file is opened with the passphrase that was given.
pub(crate) fn read(
    secrets: &Secrets,
    inputs: &Inputs,
    path: &Path,
) -> Result<Contents, CommandError> {
    let input = inputs.read(path)?;
    let sealed = match Contents::read(&input, None) {
        Err(error @ ContentsError::Passphrase { .. }) => error,
        contents => return contents.map_err(|error| in_contents(path, &error)),
    };
    let Some(passphrase) = secrets.given_passphrase()? else {
        return Err(in_contents(path, &sealed)
            .hint("give its passphrase with --passphrase-file or --passphrase-from"));
    };
    Contents::read(&input, Some(passphrase)).map_err(|error| in_contents(path, &error))
}

/// A private key, opened if there is a passphrase for it.
pub(crate) enum Key {
    /// It was not encrypted.
    Plain(PrivateKey),
    /// It was, and the passphrase opened it.
    Opened(PrivateKey),
    /// It is encrypted, and no passphrase was given.
    Locked,
}

/// Opens a private key of a file.
pub(crate) fn open(secrets: &Secrets, path: &Path, key: &LockedKey) -> Result<Key, CommandError> {
    match key.open(None) {
        Err(KeyFileError::PassphraseNeeded) => {}
        key => {
            return key
                .map(Key::Plain)
                .map_err(|error| in_key_file(path, &error));
        }
    }
    let Some(passphrase) = secrets.given_passphrase()? else {
        return Ok(Key::Locked);
    };
    let key = key.open(Some(passphrase));
    key.map(Key::Opened)
        .map_err(|error| in_key_file(path, &error))
}
