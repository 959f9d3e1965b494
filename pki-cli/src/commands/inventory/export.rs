//! `inventory export`: the inventory as a stream for spreadsheets and programs. No keys: it has none.
//!
//! Pages are read and written one after the other, so that memory does not grow with the inventory.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::ControlFlow;

use pki_core::ids::{
    AuthorityName, Generation, RegistrationId, SerialNumber, Sha1Thumbprint, Sha256Thumbprint,
};
use pki_core::inventory::InventoryEntry;
use pki_core::profile::Role;
use pki_core::time::Time;
use serde::Serialize;

use super::conditions::Conditions;
use super::{labels, last_change};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};

/// Write certificates that meet all conditions given to standard output, one a line
///
/// Without conditions that is all of them, whatever became of them. The columns of CSV have the names
/// of the members in JSON; labels are a JSON object in their column.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki inventory export > inventory.ndjson
  dps-pki inventory export --format csv --authority factory --status delivered > devices.csv
  dps-pki inventory export --id sensor-* --certificates")]
pub(super) struct ExportArgs {
    /// The form of the lines
    #[arg(long, value_enum, default_value = "ndjson")]
    format: Format,

    /// With the certificates themselves, as PEM
    #[arg(long)]
    certificates: bool,

    #[command(flatten)]
    conditions: Conditions,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// Comma-separated values with a header
    Csv,
    /// One JSON object a line
    Ndjson,
}

impl ExportArgs {
    pub(super) fn run(&self, context: &Context) -> CommandResult {
        if let Format::Csv = self.format {
            context.ui.raw(&Self::csv([self.header()])?)?;
        }
        let inventory = context.inventory()?;
        self.conditions.pages(context, &inventory, |entries| {
            let lines = entries.iter().map(|entry| self.line(entry));
            let text = match self.format {
                Format::Csv => Self::csv(lines.map(|line| self.cells(line)))?,
                Format::Ndjson => ndjson(lines)?,
            };
            context.ui.raw(&text)?;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Outcome::Done)
    }

    fn line(&self, entry: &InventoryEntry) -> Line {
        let recorded = &entry.recorded;
        let certificate = recorded.certificate();
        let (status_at, reason) = last_change(&entry.state);
        Line {
            registration_id: recorded.registration_id().cloned(),
            role: recorded.role(),
            authority: recorded.signed_by().map(|by| by.name.clone()),
            generation: recorded.signed_by().map(|by| by.generation),
            status: entry.state.status().as_str(),
            status_at,
            reason,
            recorded_at: entry.recorded_at,
            batch: recorded.batch().map(ToString::to_string),
            labels: labels(recorded),
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial_number: certificate.serial_number().clone(),
            not_before: certificate.validity().not_before(),
            not_after: certificate.validity().not_after(),
            sha1_thumbprint: certificate.sha1_thumbprint(),
            sha256_thumbprint: certificate.sha256_thumbprint(),
            certificate: self.certificates.then(|| certificate.to_pem()),
        }
    }

    fn header(&self) -> Vec<String> {
        let names = COLUMNS.iter().copied();
        let names = names.chain(self.certificates.then_some("certificate"));
        names.map(str::to_owned).collect()
    }

    /// The cells of a line, in the order of the header.
    fn cells(&self, line: Line) -> Vec<String> {
        let labels = match line.labels.is_empty() {
            true => String::new(),
            false => serde_json::json!(line.labels).to_string(),
        };
        let mut cells = vec![
            optional(line.registration_id),
            line.role.as_str().to_owned(),
            optional(line.authority),
            optional(line.generation),
            line.status.to_owned(),
            optional(line.status_at),
            line.reason.unwrap_or_default(),
            line.recorded_at.to_string(),
            line.batch.unwrap_or_default(),
            labels,
            line.subject,
            line.issuer,
            line.serial_number.to_string(),
            line.not_before.to_string(),
            line.not_after.to_string(),
            line.sha1_thumbprint.to_string(),
            line.sha256_thumbprint.to_string(),
        ];
        cells.extend(line.certificate);
        cells
    }

    fn csv(rows: impl IntoIterator<Item = Vec<String>>) -> Result<Vec<u8>, CommandError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in rows {
            writer.write_record(&row).map_err(no_form)?;
        }
        writer
            .into_inner()
            .map_err(|error| no_form(error.into_error()))
    }
}

fn ndjson(lines: impl Iterator<Item = Line>) -> Result<Vec<u8>, CommandError> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, &line).map_err(no_form)?;
        text.write_all(b"\n").map_err(no_form)?;
    }
    Ok(text)
}

fn no_form(error: impl std::error::Error + Send + Sync + 'static) -> CommandError {
    CommandError::failed("a certificate cannot be exported").because(error)
}

fn optional(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// The names of [`Line`]'s members, but for the certificate.
const COLUMNS: [&str; 17] = [
    "registrationId",
    "role",
    "authority",
    "generation",
    "status",
    "statusAt",
    "reason",
    "recordedAt",
    "batch",
    "labels",
    "subject",
    "issuer",
    "serialNumber",
    "notBefore",
    "notAfter",
    "sha1Thumbprint",
    "sha256Thumbprint",
];

/// What is exported of a certificate: what an entry of the list has, without what only reads the
/// certificate again.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    registration_id: Option<RegistrationId>,
    role: Role,
    authority: Option<AuthorityName>,
    generation: Option<Generation>,
    status: &'static str,
    status_at: Option<Time>,
    reason: Option<String>,
    recorded_at: Time,
    batch: Option<String>,
    labels: BTreeMap<String, String>,
    subject: String,
    issuer: String,
    serial_number: SerialNumber,
    not_before: Time,
    not_after: Time,
    sha1_thumbprint: Sha1Thumbprint,
    sha256_thumbprint: Sha256Thumbprint,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
}
