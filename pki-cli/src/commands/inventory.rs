//! `inventory`: which certificates there are, and what became of them.

mod conditions;
mod export;
mod import;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use pki_core::ids::{AuthorityName, Generation, RegistrationId};
use pki_core::inventory::{CertificateState, Count, Inventory, InventoryEntry, Recorded, Stats};
use pki_core::profile::Role;
use pki_core::time::Time;
use serde::Serialize;

use self::conditions::Conditions;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::render::certificate::CertificateFacts;
use crate::render::table::Table;

/// List certificates of the inventory, show one, count, export or import them
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(ListArgs),
    Show(ShowArgs),
    Stats(StatsArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
}

/// List certificates that meet all conditions given
///
/// With --expiring-within only what somebody should renew is listed: delivered certificates (unless
/// --status says otherwise) that end in that time and have no successor. A leaf has one if its device
/// was issued another that ends later, an authority if another generation of it is in use or rolled in.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki inventory list --authority factory --limit 20
  dps-pki inventory list --id line-7:*
  dps-pki inventory list --label order=4711 --output json
  dps-pki inventory list --expiring-within 30d --detailed-exitcode")]
struct ListArgs {
    #[command(flatten)]
    conditions: Conditions,

    /// How many at most
    #[arg(long, value_name = "N", default_value = "100")]
    limit: NonZeroUsize,

    /// Exit with code 10 if something is due for renewal
    #[arg(long, requires = "expiring_within")]
    detailed_exitcode: bool,
}

/// Show all certificates of a device, or the one with a serial number or thumbprint
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki inventory show sensor-1
  dps-pki inventory show sensor-1 --output json")]
struct ShowArgs {
    /// Registration ID, serial number, or SHA-1 or SHA-256 thumbprint
    #[arg(value_name = "ID|SERIAL|THUMBPRINT")]
    what: String,
}

/// Count certificates by authority, role and state
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki inventory stats")]
struct StatsArgs {}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        match &self.command {
            Command::List(args) => args.run(context),
            Command::Show(args) => args.run(context),
            Command::Stats(args) => args.run(context),
            Command::Export(args) => args.run(context),
            Command::Import(args) => args.run(context),
        }
    }
}

impl ListArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let (found, more) = self.find(context)?;
        if more {
            let limit = self.limit;
            context.ui.warning(format!(
                "only the first {limit} are listed; see more with --limit"
            ));
        }
        let is_due = self.detailed_exitcode && !found.is_empty();
        context
            .ui
            .result(&Entries(found.iter().map(EntryFacts::from).collect()))?;
        Ok(match is_due {
            true => Outcome::SomethingToDo,
            false => Outcome::Done,
        })
    }

    /// What is listed, and whether the limit cut it.
    fn find(&self, context: &Context) -> Result<(Vec<InventoryEntry>, bool), CommandError> {
        let limit = self.limit.get();
        let mut found = Vec::new();
        self.conditions
            .pages(context, &context.inventory()?, |entries| {
                found.extend(entries);
                Ok(match found.len() > limit {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            })?;
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }
}

impl ShowArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let found = named(&context.inventory()?, &self.what)?;
        let facts = found.iter().map(EntryFacts::from).collect();
        context.ui.result(&EntriesInFull(facts))?;
        Ok(Outcome::Done)
    }
}

/// The certificates with a registration ID, serial number or thumbprint, newest first: one at least.
/// Hex can be any of these, so all of them are looked for.
pub(super) fn named(
    inventory: &dyn Inventory,
    what: &str,
) -> Result<Vec<InventoryEntry>, CommandError> {
    let mut found = Vec::new();
    if let Ok(id) = what.parse() {
        found.extend(inventory.certificates_of(&id)?);
    }
    if let Ok(serial) = what.parse() {
        found.extend(inventory.by_serial_number(&serial)?);
    }
    if let Ok(thumbprint) = what.parse() {
        found.extend(inventory.by_sha1_thumbprint(&thumbprint)?);
    }
    if let Ok(thumbprint) = what.parse() {
        found.extend(inventory.by_sha256_thumbprint(&thumbprint)?);
    }
    found.sort_by_key(|entry| std::cmp::Reverse(entry.recorded.row()));
    found.dedup_by_key(|entry| entry.recorded.row());
    match found.is_empty() {
        false => Ok(found),
        true => Err(CommandError::not_found(format!(
            "the inventory holds no certificate with the registration ID, serial number or thumbprint {what}"
        ))),
    }
}

impl StatsArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let stats = context.inventory()?.stats()?;
        context.ui.result(&StatsFacts::from(&stats))?;
        Ok(Outcome::Done)
    }
}

/// A certificate of the inventory and what became of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryFacts {
    registration_id: Option<RegistrationId>,
    role: Role,
    authority: Option<AuthorityName>,
    generation: Option<Generation>,
    status: &'static str,
    /// When it got this status; none for what was only recorded.
    status_at: Option<Time>,
    /// Why it was voided or revoked.
    reason: Option<String>,
    recorded_at: Time,
    batch: Option<String>,
    labels: BTreeMap<String, String>,
    #[serde(flatten)]
    certificate: CertificateFacts,
}

impl From<&InventoryEntry> for EntryFacts {
    fn from(entry: &InventoryEntry) -> Self {
        let recorded = &entry.recorded;
        let (status_at, reason) = last_change(&entry.state);
        Self {
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
            certificate: CertificateFacts::from(recorded.certificate()),
        }
    }
}

/// When a certificate got its state, and why it was voided or revoked.
fn last_change(state: &CertificateState) -> (Option<Time>, Option<String>) {
    match state {
        CertificateState::Undelivered => (None, None),
        CertificateState::Delivered { at } => (Some(*at), None),
        CertificateState::Voided { at, reason } => (Some(*at), Some(reason.clone())),
        CertificateState::Revoked { at, reason } => (Some(*at), Some(reason.to_string())),
    }
}

fn labels(recorded: &Recorded) -> BTreeMap<String, String> {
    let labels = recorded.labels().iter();
    labels
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

impl EntryFacts {
    /// The device, or the subject of what is no device's.
    fn name(&self) -> String {
        let id = self.registration_id.as_ref().map(ToString::to_string);
        id.unwrap_or_else(|| self.certificate.subject.clone())
    }

    fn signer(&self) -> String {
        signer(self.authority.as_ref(), self.generation)
    }
}

/// `factory 2`, or where it was signed if not here.
fn signer(authority: Option<&AuthorityName>, generation: Option<Generation>) -> String {
    match (authority, generation) {
        (Some(name), Some(generation)) => format!("{name} {generation}"),
        _ => "elsewhere".to_owned(),
    }
}

impl fmt::Display for EntryFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {}, {}",
            self.role.as_str(),
            self.name(),
            self.status
        )?;
        if let Some(at) = self.status_at {
            write!(f, " {at}")?;
        }
        if let Some(reason) = &self.reason {
            write!(f, ": {reason}")?;
        }
        writeln!(f, "\n  recorded    {}", self.recorded_at)?;
        writeln!(f, "  signed by   {}", self.signer())?;
        let labels = self
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let labels = Some(labels.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty());
        for (name, value) in [("batch", &self.batch), ("labels", &labels)] {
            if let Some(value) = value {
                writeln!(f, "  {name:<10}  {value}")?;
            }
        }
        write!(f, "{}", self.certificate)
    }
}

/// One line each.
#[derive(Serialize)]
#[serde(transparent)]
struct Entries(Vec<EntryFacts>);

impl fmt::Display for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["ID", "ROLE", "STATUS", "NOT AFTER", "AUTHORITY", "SERIAL"]);
        for entry in &self.0 {
            table.row([
                entry.name(),
                entry.role.as_str().to_owned(),
                entry.status.to_owned(),
                entry.certificate.not_after.to_string(),
                entry.signer(),
                entry.certificate.serial_number.to_string(),
            ]);
        }
        write!(f, "{table}")
    }
}

/// All that is known of each.
#[derive(Serialize)]
#[serde(transparent)]
struct EntriesInFull(Vec<EntryFacts>);

impl fmt::Display for EntriesInFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&blocks.join("\n\n"))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatsFacts {
    certificates: u64,
    counts: Vec<CountFacts>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CountFacts {
    authority: Option<AuthorityName>,
    generation: Option<Generation>,
    role: Role,
    status: &'static str,
    certificates: u64,
}

impl From<&Stats> for StatsFacts {
    fn from(stats: &Stats) -> Self {
        let count = |count: &Count| CountFacts {
            authority: count.signed_by.as_ref().map(|by| by.name.clone()),
            generation: count.signed_by.as_ref().map(|by| by.generation),
            role: count.role,
            status: count.status.as_str(),
            certificates: count.certificates,
        };
        Self {
            certificates: stats.total(),
            counts: stats.counts.iter().map(count).collect(),
        }
    }
}

impl fmt::Display for StatsFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["AUTHORITY", "ROLE", "STATUS", "CERTIFICATES"]);
        for count in &self.counts {
            table.row([
                signer(count.authority.as_ref(), count.generation),
                count.role.as_str().to_owned(),
                count.status.to_owned(),
                count.certificates.to_string(),
            ]);
        }
        let total = self.certificates.to_string();
        table.row(["total", "", "", &total]);
        write!(f, "{table}")
    }
}
