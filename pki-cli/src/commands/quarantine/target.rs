//! Which devices are meant: by certificate, thumbprint, serial number or registration ID, one by one or
//! in lists.

use std::collections::HashSet;
use std::path::Path;

use dps_operations::target::Target;
use pki_core::certificate::pem;
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::counted;

use crate::context::Context;
use crate::error::{CommandError, ErrorKind};
use crate::named::is_file;

/// Finds out what was named: certificate files, lists of names, and names; each device once.
pub(in crate::commands) fn targets(
    context: &Context,
    inventory: &SqliteInventory,
    words: &[String],
) -> Result<Vec<Target>, CommandError> {
    let mut found = Vec::new();
    for what in words {
        let path = Path::new(what);
        if !is_file(&context.files, inventory, what)? {
            found.push(Target::named(inventory, what, context.now())?);
            continue;
        }
        let content = context.inputs.read(path)?;
        match list(&content) {
            Some(text) => found.extend(listed(context, inventory, path, text)?),
            None => found.push(of_file(inventory, path, &content)?),
        }
    }
    let mut seen = HashSet::new();
    found.retain(|target| seen.insert(target.id.clone()));
    Ok(found)
}

/// Who they are, with a verb: `sensor-2 is`.
pub(in crate::commands) fn who(targets: &[Target]) -> String {
    match targets {
        [only] => format!("{} is", only.id),
        many => format!("{} are", counted(many.len(), "device", "devices")),
    }
}

/// The text of a list; a file with a certificate or a key is none.
fn list(content: &[u8]) -> Option<&str> {
    if pem::certificate(content).is_ok() {
        return None;
    }
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

/// A certificate file, or what [`Target::named`] takes.
fn line_of_list(
    context: &Context,
    inventory: &SqliteInventory,
    what: &str,
) -> Result<Target, CommandError> {
    let path = Path::new(what);
    if !is_file(&context.files, inventory, what)? {
        return Ok(Target::named(inventory, what, context.now())?);
    }
    let content = context.inputs.read(path)?;
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
    let leaf = pem::certificate(content).map_err(|error| CommandError::in_file(path, &error))?;
    Ok(Target::of_certificate(inventory, leaf)?)
}
