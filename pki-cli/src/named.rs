//! What a word on the command line names: a device or a certificate of the inventory, or a file.
//!
//! Whoever may write into the working folder could put a file there that has the name of a device; what is
//! shut out then must not be what that file says.

use std::path::Path;

use pki_core::ids::{RegistrationId, SerialNumber, Sha1Thumbprint, Sha256Thumbprint};
use pki_core::inventory::{Inventory, InventoryError};

use crate::error::CommandError;
use crate::files::Files;

/// Whether a word names a file. A folder of that name means nothing.
///
/// # Errors
/// `Refused` if the inventory knows the word as well: nobody can tell which of the two is meant.
pub(crate) fn is_file(
    files: &Files,
    inventory: &dyn Inventory,
    word: &str,
) -> Result<bool, CommandError> {
    let path = Path::new(word);
    if word == "-" {
        return Ok(true);
    }
    if !files.exists(path) {
        return Ok(false);
    }
    if word.contains('/') {
        return Ok(true);
    }
    let is_known = knows(inventory, word)?;
    if files.is_folder(path) {
        return Ok(!is_known);
    }
    if is_known {
        let message = format!("{word} is in the inventory, and a file of that name is here");
        let hint = format!("for the file write ./{word}, else move it away");
        return Err(CommandError::refused(message).hint(hint));
    }
    Ok(true)
}

/// Whether it is a registration ID, serial number or thumbprint of a certificate of the inventory.
fn knows(inventory: &dyn Inventory, word: &str) -> Result<bool, InventoryError> {
    if let Ok(id) = word.parse::<RegistrationId>()
        && !inventory.certificates_of(&id)?.is_empty()
    {
        return Ok(true);
    }
    if let Ok(thumbprint) = word.parse::<Sha256Thumbprint>() {
        return Ok(inventory.by_sha256_thumbprint(&thumbprint)?.is_some());
    }
    if let Ok(thumbprint) = word.parse::<Sha1Thumbprint>()
        && !inventory.by_sha1_thumbprint(&thumbprint)?.is_empty()
    {
        return Ok(true);
    }
    match word.parse::<SerialNumber>() {
        Ok(serial) => Ok(!inventory.by_serial_number(&serial)?.is_empty()),
        Err(_) => Ok(false),
    }
}
