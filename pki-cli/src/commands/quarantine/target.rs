//! Which devices are meant: by certificate, thumbprint, serial number or registration ID, one by one or
//! in lists.

use std::collections::HashSet;
use std::path::Path;

use pki_core::certificate::{Certificate, pem};
use pki_core::ids::{RegistrationId, SerialNumber, Sha1Thumbprint, Sha256Thumbprint};
use pki_core::inventory::{Inventory as _, InventoryEntry, Status};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::counted;

use crate::context::Context;
use crate::error::{CommandError, ErrorKind};
use crate::named::is_file;

/// A device to shut out, and its leaf if it is at hand.
pub(in crate::commands) struct Target {
    pub(in crate::commands) id: RegistrationId,
    pub(in crate::commands) leaf: Option<Certificate>,
    pub(in crate::commands) entry: Option<InventoryEntry>,
}

impl Target {
    /// A device of which no leaf is at hand.
    pub(in crate::commands) fn without_leaf(id: RegistrationId) -> Self {
        Self {
            id,
            leaf: None,
            entry: None,
        }
    }
}

/// Finds out what was named: certificate files, lists of names, and names; each device once.
pub(in crate::commands) fn targets(
    context: &Context,
    inventory: &SqliteInventory,
    words: &[String],
) -> Result<Vec<Target>, CommandError> {
    let mut found = Vec::new();
    for what in words {
        let path = Path::new(what);
        if !is_file(context, inventory, what)? {
            found.push(named(context, inventory, what)?);
            continue;
        }
        let content = context.read(path)?;
        match list(&content) {
            Some(text) => found.extend(listed(context, inventory, path, text)?),
            None => found.push(of_file(inventory, path, &content)?),
        }
    }
    let mut seen = HashSet::new();
    found.retain(|target| seen.insert(target.id.clone()));
    Ok(found)
}

/// The text of a list; a file with a certificate or a key is none.
fn list(content: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(content).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    (!text.contains("-----BEGIN") && !text.trim().is_empty()).then_some(text)
}

/// The devices of a list, one a line; every bad line is told.
fn listed(
    context: &Context,
    inventory: &SqliteInventory,
    path: &Path,
    text: &str,
) -> Result<Vec<Target>, CommandError> {
    let mut found = Vec::new();
    let mut bad = Vec::new();
    for (number, line) in (1_usize..).zip(text.lines()) {
        let what = line.trim();
        if what.is_empty() || what.starts_with('#') {
            continue;
        }
        match line_of_list(context, inventory, what) {
            Ok(target) => found.push(target),
            Err(error) if error.kind == ErrorKind::Failed => return Err(error),
            Err(error) => bad.push(format!("line {number}: {}", error.message)),
        }
    }
    if bad.is_empty() {
        Ok(found)
    } else {
        let lines = counted(bad.len(), "line is", "lines are");
        let message = format!("{}: {lines} wrong", path.display());
        Err(CommandError::invalid_input(message).lines(&bad))
    }
}

/// A certificate file, or what [`named`] takes.
fn line_of_list(
    context: &Context,
    inventory: &SqliteInventory,
    what: &str,
) -> Result<Target, CommandError> {
    let path = Path::new(what);
    if !is_file(context, inventory, what)? {
        return named(context, inventory, what);
    }
    let content = context.read(path)?;
    if list(&content).is_some() {
        let message = format!("{what} is a list; a list in a list is not read");
        return Err(CommandError::invalid_input(message));
    }
    of_file(inventory, path, &content)
}

/// The device of a certificate file.
fn of_file(
    inventory: &SqliteInventory,
    path: &Path,
    content: &[u8],
) -> Result<Target, CommandError> {
    let leaf = pem::certificate(content);
    let leaf = leaf.map_err(|error| CommandError::in_file(path, &error))?;
    let entry = inventory.by_sha256_thumbprint(&leaf.sha256_thumbprint())?;
    of_leaf(leaf, entry)
}

/// A thumbprint, a serial number or a registration ID.
fn named(
    context: &Context,
    inventory: &SqliteInventory,
    what: &str,
) -> Result<Target, CommandError> {
    if let Some(entry) = by_identity(inventory, what)? {
        return of_leaf(entry.recorded.certificate().clone(), Some(entry));
    }
    let id: RegistrationId = what.parse()?;
    match newest(context, inventory, &id)? {
        Some(entry) => of_leaf(entry.recorded.certificate().clone(), Some(entry)),
        None => Ok(Target::without_leaf(id)),
    }
}

/// The newest valid leaf of a device; where all are revoked the newest of those, since DPS reads no CRL.
fn newest(
    context: &Context,
    inventory: &SqliteInventory,
    id: &RegistrationId,
) -> Result<Option<InventoryEntry>, CommandError> {
    let now = context.now();
    let live = inventory.live_leaves(id, now)?.into_iter().next();
    if live.is_some() {
        return Ok(live);
    }
    let is_revoked = |entry: &InventoryEntry| {
        entry.recorded.role() == Role::Leaf
            && entry.state.status() == Status::Revoked
            && entry.recorded.certificate().validity().not_after() >= now
    };
    let known = inventory.certificates_of(id)?;
    Ok(known.into_iter().find(is_revoked))
}

fn by_identity(
    inventory: &SqliteInventory,
    what: &str,
) -> Result<Option<InventoryEntry>, CommandError> {
    if let Ok(thumbprint) = what.parse::<Sha256Thumbprint>() {
        return Ok(inventory.by_sha256_thumbprint(&thumbprint)?);
    }
    if let Ok(thumbprint) = what.parse::<Sha1Thumbprint>() {
        return Ok(inventory
            .by_sha1_thumbprint(&thumbprint)?
            .into_iter()
            .next());
    }
    let Ok(serial) = what.parse::<SerialNumber>() else {
        return Ok(None);
    };
    let mut found = inventory.by_serial_number(&serial)?;
    match found.len() {
        0 | 1 => Ok(found.pop()),
        count => Err(CommandError::refused(format!(
            "{count} certificates of different issuers have the serial number {serial}; name the thumbprint"
        ))),
    }
}

fn of_leaf(leaf: Certificate, entry: Option<InventoryEntry>) -> Result<Target, CommandError> {
    let subject = leaf.subject();
    if leaf.is_ca() {
        let message = format!("{subject} is a CA, not a device");
        return Err(CommandError::refused(message)
            .hint("to shut out everything below it: dps-pki quarantine --authority NAME"));
    }
    let name = leaf.common_name().ok_or_else(|| {
        CommandError::invalid_input(format!(
            "the subject {subject} has no single CN to be the registration ID"
        ))
    })?;
    Ok(Target {
        id: name.parse()?,
        leaf: Some(leaf),
        entry,
    })
}
