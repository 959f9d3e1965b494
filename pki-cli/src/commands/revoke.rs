//! `revoke`: mark certificates as revoked in the inventory, for the next CRL.

use std::fmt;
use std::path::Path;

use pki_core::certificate::pem;
use pki_core::crl::RevocationReason;
use pki_core::ids::{RegistrationId, SerialNumber, Sha1Thumbprint, Sha256Thumbprint};
use pki_core::inventory::{Inventory, InventoryEntry, RowKey, Status};
use pki_core::sqlite::SqliteInventory;
use pki_core::time::Time;
use pki_core::wording::counted;
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::files::Files;
use crate::inputs::Inputs;
use crate::named::is_file;
use crate::render::table::Table;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki revoke sensor-1 --reason keyCompromise --yes
  dps-pki revoke sensor-2 --dry-run")]
pub(crate) struct Args {
    /// Registration ID, serial number, SHA-1 or SHA-256 thumbprint, certificate file, or a file of
    /// these, one a line; - for standard input
    #[arg(value_name = "WHAT", required = true)]
    what: Vec<String>,

    /// Why: keyCompromise, superseded, cessationOfOperation, … (RFC 5280 §5.3.1)
    #[arg(long, value_parser = reason, default_value = "unspecified")]
    reason: RevocationReason,
}

/// Reads a reason whatever its case and dashes.
fn reason(text: &str) -> Result<RevocationReason, String> {
    let plain = |word: &str| word.replace('-', "").to_ascii_lowercase();
    let found = RevocationReason::ALL
        .iter()
        .find(|reason| plain(reason.as_str()) == plain(text));
    found.copied().ok_or_else(|| {
        let known: Vec<&str> = RevocationReason::ALL
            .iter()
            .map(|one| one.as_str())
            .collect();
        format!("known reasons are {}", known.join(", "))
    })
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let mut inventory = context.home.inventory()?;
        let mut found = Vec::new();
        for what in names(&context.inputs, &context.files, &inventory, &self.what)? {
            found.extend(certificates(context.now(), &inventory, &what)?);
        }
        found.sort_by_key(|entry| entry.recorded.row());
        found.dedup_by_key(|entry| entry.recorded.row());
        let (done, to_do): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|entry| entry.state.status() == Status::Revoked && !self.overrides(entry));
        let mut report = Report::new(self.reason, &done, &to_do);
        if to_do.is_empty() || context.settings.dry_run {
            context.ui.result(&report)?;
            return Ok(Outcome::Done);
        }
        context.ui.note(&report);
        let certificates = counted(to_do.len(), "certificate", "certificates");
        context
            .dialog
            .confirm(&format!("revoke {certificates} for good?"))?;
        let rows: Vec<RowKey> = to_do.iter().map(|entry| entry.recorded.row()).collect();
        inventory.revoke(&rows, self.reason, context.now())?;
        report.done = true;
        context.ui.result(&report)?;
        context.ui.note(
            "DPS and IoT Hub consult no CRL: shut devices out of them with dps-pki quarantine",
        );
        Ok(Outcome::Done)
    }

    /// What is on hold may be revoked for another reason.
    fn overrides(&self, entry: &InventoryEntry) -> bool {
        use pki_core::inventory::CertificateState::Revoked;
        let hold = RevocationReason::CertificateHold;
        matches!(entry.state, Revoked { reason, .. } if reason == hold) && self.reason != hold
    }
}

/// What was named, the lines of files in their place.
fn names(
    inputs: &Inputs,
    files: &Files,
    inventory: &dyn Inventory,
    given: &[String],
) -> Result<Vec<String>, CommandError> {
    let mut names = Vec::new();
    for what in given {
        let path = Path::new(what);
        if !is_file(files, inventory, what)? {
            names.push(what.clone());
            continue;
        }
        let content = inputs.read(path)?;
        let no_certificate = match pem::certificate(&content) {
            Ok(certificate) => {
                names.push(certificate.sha256_thumbprint().to_string());
                continue;
            }
            Err(error) => CommandError::in_file(path, &error),
        };
        let Ok(text) = std::str::from_utf8(&content) else {
            return Err(no_certificate);
        };
        if text.contains("-----BEGIN ") {
            return Err(no_certificate);
        }
        let lines = text.lines().map(str::trim);
        names.extend(lines.filter(|line| !line.is_empty()).map(str::to_owned));
    }
    if names.is_empty() {
        Err(CommandError::invalid_input(
            "nothing is named that could be revoked",
        ))
    } else {
        Ok(names)
    }
}

/// The certificates that a name stands for, one at least. Hex may be an ID as well: an ID that is
/// known comes first.
fn certificates(
    now: Time,
    inventory: &SqliteInventory,
    what: &str,
) -> Result<Vec<InventoryEntry>, CommandError> {
    if let Ok(id) = what.parse::<RegistrationId>() {
        let of_device = inventory.certificates_of(&id)?;
        if !of_device.is_empty() {
            return in_force(now, &id, of_device);
        }
    }
    if let Ok(thumbprint) = what.parse::<Sha256Thumbprint>() {
        return one(
            what,
            inventory
                .by_sha256_thumbprint(&thumbprint)?
                .into_iter()
                .collect(),
        );
    }
    // A serial number of 20 octets looks the same.
    if let Ok(thumbprint) = what.parse::<Sha1Thumbprint>() {
        let found = inventory.by_sha1_thumbprint(&thumbprint)?;
        if !found.is_empty() {
            return one(what, found);
        }
    }
    match what.parse::<SerialNumber>() {
        Ok(serial) => one(what, inventory.by_serial_number(&serial)?),
        Err(_) => one(what, Vec::new()),
    }
}

/// Not what has expired or was never handed out: to revoke that, it must be named itself.
fn in_force(
    now: Time,
    id: &RegistrationId,
    mut found: Vec<InventoryEntry>,
) -> Result<Vec<InventoryEntry>, CommandError> {
    found.retain(|entry| {
        let ended = entry.recorded.certificate().validity().not_after() < now;
        !ended && entry.state.status() != Status::Voided
    });
    if !found.is_empty() {
        Ok(found)
    } else {
        Err(CommandError::not_found(format!(
            "no certificate of {id} is in force; name one by its serial number"
        )))
    }
}

fn one(what: &str, found: Vec<InventoryEntry>) -> Result<Vec<InventoryEntry>, CommandError> {
    match found.len() {
        1 => Ok(found),
        0 => Err(CommandError::not_found(format!(
            "the inventory holds no certificate with the registration ID, serial number or thumbprint {what}"
        ))),
        count => Err(CommandError::refused(format!(
            "{count} certificates are called {what}; name one by its SHA-256 thumbprint"
        ))),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    done: bool,
    reason: &'static str,
    revoked: Vec<Revoked>,
    already_revoked: Vec<Revoked>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Revoked {
    registration_id: Option<RegistrationId>,
    subject: String,
    issuer: String,
    serial_number: SerialNumber,
    sha256_thumbprint: Sha256Thumbprint,
}

impl Report {
    fn new(reason: RevocationReason, done: &[InventoryEntry], to_do: &[InventoryEntry]) -> Self {
        Self {
            done: false,
            reason: reason.as_str(),
            revoked: to_do.iter().map(Revoked::from).collect(),
            already_revoked: done.iter().map(Revoked::from).collect(),
        }
    }
}

impl From<&InventoryEntry> for Revoked {
    fn from(entry: &InventoryEntry) -> Self {
        let certificate = entry.recorded.certificate();
        Self {
            registration_id: entry.recorded.registration_id().cloned(),
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial_number: certificate.serial_number().clone(),
            sha256_thumbprint: certificate.sha256_thumbprint(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.done { "revoked" } else { "to revoke" };
        let mut table = Table::new(&["SUBJECT", "SERIAL", "ISSUER", "STATUS"]);
        let marked = self.revoked.iter().map(|one| (one, word));
        let earlier = self
            .already_revoked
            .iter()
            .map(|one| (one, "revoked before"));
        for (one, status) in marked.chain(earlier) {
            let serial = one.serial_number.to_string();
            table.row([one.subject.as_str(), &serial, &one.issuer, status]);
        }
        write!(f, "{table}")
    }
}
