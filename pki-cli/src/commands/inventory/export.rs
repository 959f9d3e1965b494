//! `inventory export`: the inventory as a stream for spreadsheets and programs. No keys: it has none.
//!
//! Pages are read and written one after the other, so that memory does not grow with the inventory.

use std::io::Write as _;
use std::ops::ControlFlow;

use pki_core::inventory::InventoryEntry;
use pki_core::time::Time;
use serde::Serialize;

use super::conditions::Conditions;
use super::record::RecordFacts;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::render::certificate::CertificateSummary;

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
        let inventory = context.home.inventory()?;
        let now = context.now();
        self.conditions
            .pages(&context.home, now, &inventory, |entries| {
                let lines = entries.iter().map(|entry| self.line(entry, now));
                let text = match self.format {
                    Format::Csv => Self::csv(lines.map(|line| self.cells(line)))?,
                    Format::Ndjson => ndjson(lines)?,
                };
                context.ui.raw(&text)?;
                Ok(ControlFlow::Continue(()))
            })?;
        Ok(Outcome::Done)
    }

    fn line(&self, entry: &InventoryEntry, at: Time) -> Line {
        let certificate = entry.recorded.certificate();
        Line {
            record: RecordFacts::of(entry, at),
            summary: CertificateSummary::from(certificate),
            certificate: self.certificates.then(|| certificate.to_pem()),
        }
    }

    fn header(&self) -> Vec<String> {
        let names = COLUMNS
            .iter()
            .copied()
            .chain(self.certificates.then_some("certificate"));
        names.map(str::to_owned).collect()
    }

    /// The cells of a line, in the order of the header.
    fn cells(&self, line: Line) -> Vec<String> {
        let record = line.record;
        let summary = line.summary;
        let labels = if record.labels.is_empty() {
            String::new()
        } else {
            serde_json::json!(record.labels).to_string()
        };
        let mut cells = vec![
            optional(record.registration_id),
            record.role.as_str().to_owned(),
            optional(record.authority),
            optional(record.generation),
            record.status.to_owned(),
            optional(record.status_at),
            record.reason.unwrap_or_default(),
            record.recorded_at.to_string(),
            record.batch.unwrap_or_default(),
            labels,
            summary.subject,
            summary.issuer,
            summary.serial_number.to_string(),
            summary.not_before.to_string(),
            summary.not_after.to_string(),
            summary.sha1_thumbprint.to_string(),
            summary.sha256_thumbprint.to_string(),
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
struct Line {
    #[serde(flatten)]
    record: RecordFacts,
    #[serde(flatten)]
    summary: CertificateSummary,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
}
