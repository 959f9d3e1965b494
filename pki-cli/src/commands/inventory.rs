//! `inventory`: which certificates there are, and what became of them.

mod conditions;
mod export;
mod import;
mod record;

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use pki_core::ids::{AuthorityName, Generation};
use pki_core::inventory::{Count, Inventory, InventoryEntry, Stats};
use pki_core::profile::Role;
use pki_core::time::Time;
use serde::Serialize;

use self::conditions::Conditions;
use self::record::RecordFacts;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::home::Home;
use crate::render::certificate::CertificateFacts;
use crate::render::table::Table;

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
/// --status says otherwise) that end in that time, or have ended, and have no successor. A leaf has one if its device
/// was issued another that ends later, an authority if another generation of it is in use or rolled in.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki inventory list --authority factory --limit 20
  dps-pki inventory list --id line-7:*
  dps-pki inventory list --label order=4711 --output json
  dps-pki inventory list --status expired
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
        let now = context.now();
        let (found, more) = self.find(&context.home, now)?;
        if more {
            let limit = self.limit;
            context.ui.warning(format!(
                "only the first {limit} are listed; see more with --limit"
            ));
        }
        let is_due = self.detailed_exitcode && !found.is_empty();
        let facts = found.iter().map(|entry| EntryFacts::of(entry, now));
        context.ui.result(&Entries(facts.collect()))?;
        Ok(if is_due {
            Outcome::SomethingToDo
        } else {
            Outcome::Done
        })
    }

    /// What is listed, and whether the limit cut it.
    fn find(&self, home: &Home, now: Time) -> Result<(Vec<InventoryEntry>, bool), CommandError> {
        let limit = self.limit.get();
        let mut found = Vec::new();
        self.conditions
            .pages(home, now, &home.inventory()?, |entries| {
                found.extend(entries);
                Ok(if found.len() > limit {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            })?;
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }
}

impl ShowArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let found = named(&context.home.inventory()?, &self.what)?;
        let now = context.now();
        let facts = found.iter().map(|entry| EntryFacts::of(entry, now));
        context.ui.result(&EntriesInFull(facts.collect()))?;
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
    if !found.is_empty() {
        Ok(found)
    } else {
        Err(CommandError::not_found(format!(
            "the inventory holds no certificate with the registration ID, serial number or thumbprint {what}"
        )))
    }
}

impl StatsArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let stats = context.home.inventory()?.stats()?;
        context.ui.result(&StatsFacts::from(&stats))?;
        Ok(Outcome::Done)
    }
}

/// A certificate of the inventory and what became of it.
#[derive(Serialize)]
struct EntryFacts {
    #[serde(flatten)]
    record: RecordFacts,
    #[serde(flatten)]
    certificate: CertificateFacts,
}

impl EntryFacts {
    fn of(entry: &InventoryEntry, at: Time) -> Self {
        Self {
            record: RecordFacts::of(entry, at),
            certificate: CertificateFacts::from(entry.recorded.certificate()),
        }
    }

    /// The device, or the subject of what is no device's.
    fn name(&self) -> String {
        match &self.record.registration_id {
            Some(id) => id.to_string(),
            None => self.certificate.summary.subject.clone(),
        }
    }

    fn signer(&self) -> String {
        signer(self.record.authority.as_ref(), self.record.generation)
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
        let record = &self.record;
        let role = record.role.as_str();
        let status = record.status;
        write!(f, "{role} of {}, {status}", self.name())?;
        if let Some(at) = record.status_at {
            write!(f, " {at}")?;
        }
        if let Some(reason) = &record.reason {
            write!(f, ": {reason}")?;
        }
        writeln!(f, "\n  recorded    {}", record.recorded_at)?;
        writeln!(f, "  signed by   {}", self.signer())?;
        let labels = Some(
            record
                .labels
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
                .join(", "),
        )
        .filter(|text| !text.is_empty());
        for (name, value) in [("batch", &record.batch), ("labels", &labels)] {
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
                entry.record.role.as_str().to_owned(),
                entry.record.status.to_owned(),
                entry.certificate.summary.not_after.to_string(),
                entry.signer(),
                entry.certificate.summary.serial_number.to_string(),
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
