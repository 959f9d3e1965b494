//! What to say of a name that nobody knows: the names that are near.

use pki_core::declaration::nearest;
use pki_core::ids::RegistrationId;
use pki_core::inventory::{Filter, Inventory};

use crate::error::CommandError;

/// Hexadecimal names of fewer digits are rather names.
const SHORTEST_SERIAL: usize = 16;

/// The error for a device of which neither the inventory nor DPS knows anything.
pub(crate) fn unknown_device(
    inventory: &dyn Inventory,
    id: &RegistrationId,
) -> Result<CommandError, CommandError> {
    let is_hex = id
        .as_str()
        .chars()
        .all(|c| c.is_ascii_hexdigit() || c == ':');
    // As a thumbprint or a serial number is written; a registration ID may look so as well.
    let message = if is_hex && id.as_str().len() >= SHORTEST_SERIAL {
        format!(
            "no certificate has the thumbprint or serial number {id}, and no device that registration ID"
        )
    } else {
        format!("there is no device {id}: neither the inventory nor DPS knows it")
    };
    let error = CommandError::not_found(message);
    Ok(match near(inventory, id)? {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint("see them with: dps-pki inventory list"),
    })
}

/// The error of a name that is not among those that are known, with the one that looks most like it.
pub(crate) fn with_nearest(error: CommandError, name: &str, known: &[&str]) -> CommandError {
    match nearest(name, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error,
    }
}

/// The ID that looks most like another, of those that begin alike: reading a whole fleet would take
/// too long.
pub(crate) fn near(
    inventory: &dyn Inventory,
    id: &RegistrationId,
) -> Result<Option<RegistrationId>, CommandError> {
    const MOST: usize = 1000;
    let beginning: String = id.as_str().chars().take(id.as_str().len() / 2).collect();
    let filter = Filter {
        registration_id: format!("{beginning}*").parse().ok(),
        ..Filter::default()
    };
    let page = inventory.list(&filter, None, MOST)?;
    let known: Vec<&str> = page
        .entries
        .iter()
        .filter_map(|entry| entry.recorded.registration_id())
        .map(RegistrationId::as_str)
        .collect();
    let found = nearest(id.as_str(), known.iter().copied());
    Ok(found.and_then(|found| found.parse().ok()))
}
