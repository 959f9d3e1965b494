//! `crl`: the list of what an authority has revoked.

use std::fmt;
use std::path::PathBuf;

use pki_core::crl::{Crl, CrlContent, CrlNumber, RevokedEntry};
use pki_core::ids::{AuthorityName, Generation};
use pki_core::inventory::audit::AuditEvent;
use pki_core::inventory::{
    AuthorityGeneration, CertificateState, Filter, Inventory, InventoryEntry, Status, TextError,
};
use pki_core::time::{Span, Time};
use serde::Serialize;
use serde_json::json;

use super::authority::generation_number;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::files::{Access, Existing};
use crate::issuance::OpenAuthority;

/// Make the CRL of an authority: everything of it that was revoked
///
/// The list is whole, signed with the key that signed the certificates, and has a number that grows
/// with each. DPS and IoT Hub consult no CRL: what keeps a device out of them is quarantine. CRLs are
/// for other services that trust the same authorities.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki crl factory --out factory.crl
  dps-pki crl root --next-update 90d --format der --out root.crl")]
pub(crate) struct Args {
    /// The authority
    #[arg(value_name = "AUTHORITY")]
    name: AuthorityName,

    /// Which generation of it [default: the current one]
    #[arg(long, value_name = "N", value_parser = generation_number)]
    generation: Option<Generation>,

    /// How long the list holds: the next must be out by then
    #[arg(long, value_name = "SPAN", default_value = "7d")]
    next_update: Span,

    /// How it is encoded
    #[arg(long, value_enum, default_value = "pem")]
    format: Encoding,

    /// The file to write, in place of an older one [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Encoding {
    /// Text between BEGIN and END lines
    Pem,
    /// The bare bytes
    Der,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let mut inventory = context.inventory()?;
        let authority =
            OpenAuthority::open_generation(context, &inventory, &self.name, self.generation)?;
        let signed_by = authority.generation();
        let revoked = revoked(&inventory, &signed_by)?;
        let now = context.now();
        let (this_update, next_update) = (now, now + self.next_update);
        if context.settings.dry_run {
            let report = Report::new(&signed_by, None, (now, next_update), revoked.len());
            context.ui.result(&report)?;
            return Ok(Outcome::Done);
        }
        let number = number(&mut inventory, &signed_by, revoked.len(), next_update, now)?;
        let count = revoked.len();
        let content = CrlContent {
            number,
            this_update,
            next_update,
            revoked,
        };
        let crl = Crl::issue(authority.certificate(), authority.signer(), content)?;
        let report = Report::new(&signed_by, Some(number), (now, next_update), count);
        self.hand_out(context, &crl, report)
    }

    fn hand_out(&self, context: &Context, crl: &Crl, mut report: Report) -> CommandResult {
        let octets = match self.format {
            Encoding::Pem => crl.to_pem().into_bytes(),
            Encoding::Der => crl.der().to_vec(),
        };
        match &self.out {
            Some(path) => {
                let files = &context.files;
                files.write(path, &octets, Access::Public, Existing::Replace)?;
                report.file = Some(path.clone());
                context.ui.result(&report)?;
            }
            None if context.ui.is_json() => {
                report.pem = Some(crl.to_pem());
                context.ui.result(&report)?;
            }
            None => context.ui.raw(&octets)?,
        }
        Ok(Outcome::Done)
    }
}

/// What this generation has revoked.
fn revoked(
    inventory: &dyn Inventory,
    signed_by: &AuthorityGeneration,
) -> Result<Vec<RevokedEntry>, CommandError> {
    let filter = Filter {
        authority: Some(signed_by.name.clone()),
        generation: Some(signed_by.generation),
        status: Some(Status::Revoked),
        ..Filter::default()
    };
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = inventory.list(&filter, after.as_ref(), 1000)?;
        found.extend(page.entries.iter().filter_map(entry));
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

fn entry(entry: &InventoryEntry) -> Option<RevokedEntry> {
    let CertificateState::Revoked { at, reason } = entry.state else {
        return None;
    };
    let serial_number = entry.recorded.certificate().serial_number().clone();
    Some(RevokedEntry {
        serial_number,
        at,
        reason,
    })
}

/// The list's number is that of its entry in the audit trail, which is written first: it only grows,
/// whoever else makes lists, and a list that is never finished leaves a gap.
fn number(
    inventory: &mut dyn Inventory,
    signed_by: &AuthorityGeneration,
    revoked: usize,
    next_update: Time,
    now: Time,
) -> Result<CrlNumber, CommandError> {
    let action = "crl-numbered".parse();
    let event = AuditEvent {
        action: action.map_err(|error: TextError| CommandError::failed(error.to_string()))?,
        subject: signed_by.name.to_string(),
        detail: json!({
            "generation": signed_by.generation,
            "revoked": revoked,
            "nextUpdate": next_update,
        }),
    };
    let head = inventory.append_audit(event, now)?;
    Ok(CrlNumber::new(head.sequence))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    authority: AuthorityName,
    generation: Generation,
    /// None in a dry run, which takes no number.
    #[serde(skip_serializing_if = "Option::is_none")]
    crl_number: Option<CrlNumber>,
    this_update: Time,
    next_update: Time,
    revoked: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pem: Option<String>,
}

impl Report {
    fn new(
        signed_by: &AuthorityGeneration,
        crl_number: Option<CrlNumber>,
        (this_update, next_update): (Time, Time),
        revoked: usize,
    ) -> Self {
        Self {
            authority: signed_by.name.clone(),
            generation: signed_by.generation,
            crl_number,
            this_update,
            next_update,
            revoked,
            file: None,
            pem: None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.crl_number {
            Some(number) => write!(f, "CRL {number}")?,
            None => write!(f, "would make the CRL")?,
        }
        write!(
            f,
            " of {} {}: {} revoked",
            self.authority, self.generation, self.revoked
        )?;
        write!(f, ", the next one is due on {}", self.next_update)?;
        match &self.file {
            Some(file) => write!(f, "; written to {}", file.display()),
            None => Ok(()),
        }
    }
}
