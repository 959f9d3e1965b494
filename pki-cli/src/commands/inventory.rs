//! `inventory`: which certificates there are, and what became of them.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use pki_core::ids::{AuthorityName, Generation, RegistrationId};
use pki_core::inventory::{
    AuthorityRecord, CertificateState, Count, Filter, GenerationState, IdPattern, Inventory,
    InventoryEntry, PageKey, Stats, Status,
};
use pki_core::profile::Role;
use pki_core::time::{Span, Time};
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::render::certificate::CertificateFacts;
use crate::render::table::Table;

/// List certificates of the inventory, show one, count them
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
  dps-pki inventory list --expiring-within 30d --detailed-exitcode")]
struct ListArgs {
    /// Signed by this authority, any generation of it
    #[arg(long, value_name = "NAME")]
    authority: Option<AuthorityName>,

    /// In this state
    #[arg(long, value_parser = status_word())]
    status: Option<Status>,

    /// Due for renewal: ends within this time from now, and nothing has taken its place
    #[arg(long, value_name = "DURATION")]
    expiring_within: Option<Span>,

    /// Whose registration ID fits, where * stands for any characters and ? for one
    #[arg(long, value_name = "GLOB")]
    id: Option<IdPattern>,

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

fn status_word() -> impl TypedValueParser<Value = Status> {
    let words = Status::ALL.iter().map(|status| status.as_str());
    PossibleValuesParser::new(words)
        .try_map(|word| Status::from_word(&word).ok_or("there is no such state"))
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        match &self.command {
            Command::List(args) => args.run(context),
            Command::Show(args) => args.run(context),
            Command::Stats(args) => args.run(context),
        }
    }
}

impl ListArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let inventory = context.inventory()?;
        self.check_authority(context, &inventory)?;
        let (found, more) = self.find(&inventory, context.now())?;
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

    /// An authority that was made, or is at least declared; else it is a typing error.
    fn check_authority(
        &self,
        context: &Context,
        inventory: &dyn Inventory,
    ) -> Result<(), CommandError> {
        let Some(name) = &self.authority else {
            return Ok(());
        };
        let declared = context.declaration()?.authority(name).is_some();
        match declared || inventory.authority(name)?.is_some() {
            true => Ok(()),
            false => Err(
                CommandError::not_found(format!("there is no authority {name}"))
                    .hint("see them with: dps-pki authority list"),
            ),
        }
    }

    /// What is listed, and whether the limit cut it.
    fn find(
        &self,
        inventory: &dyn Inventory,
        now: Time,
    ) -> Result<(Vec<InventoryEntry>, bool), CommandError> {
        const PAGE: usize = 500;
        let filter = self.filter(now)?;
        let authorities = inventory.authorities()?;
        let mut found = Vec::new();
        let mut after: Option<PageKey> = None;
        loop {
            let page = inventory.list(&filter, after.as_ref(), PAGE)?;
            for entry in page.entries {
                if self.expiring_within.is_some() && has_successor(inventory, &authorities, &entry)?
                {
                    continue;
                }
                if found.len() == self.limit.get() {
                    return Ok((found, true));
                }
                found.push(entry);
            }
            after = page.next;
            if after.is_none() {
                return Ok((found, false));
            }
        }
    }

    fn filter(&self, now: Time) -> Result<Filter, CommandError> {
        let until = self.expiring_within.map(|span| now.checked_add(span));
        Ok(Filter {
            authority: self.authority.clone(),
            status: self
                .status
                .or_else(|| self.expiring_within.map(|_| Status::Delivered)),
            expiring_from: self.expiring_within.map(|_| now),
            expiring_before: until.transpose()?,
            registration_id: self.id.clone(),
            ..Filter::default()
        })
    }
}

/// Whether nobody has to renew a certificate: another one is there, or it was never to last.
fn has_successor(
    inventory: &dyn Inventory,
    authorities: &[AuthorityRecord],
    entry: &InventoryEntry,
) -> Result<bool, CommandError> {
    let recorded = &entry.recorded;
    let not_after = recorded.certificate().validity().not_after();
    Ok(match (recorded.role(), recorded.registration_id()) {
        (Role::Leaf, Some(id)) => inventory.certificates_of(id)?.iter().any(|other| {
            other.state.status() == Status::Delivered
                && other.recorded.certificate().validity().not_after() > not_after
        }),
        (Role::Root | Role::Intermediate, _) => authorities
            .iter()
            .find(|authority| holds(authority, entry))
            .is_some_and(|authority| is_rolled(authority, entry)),
        (Role::Verification, _) => true,
        (Role::Leaf, None) => false,
    })
}

fn holds(authority: &AuthorityRecord, entry: &InventoryEntry) -> bool {
    let mut certificates = authority
        .generations
        .iter()
        .filter_map(|generation| generation.certificate.as_ref());
    certificates.any(|recorded| recorded.row() == entry.recorded.row())
}

/// Whether another generation of the authority issues or is being rolled in.
fn is_rolled(authority: &AuthorityRecord, entry: &InventoryEntry) -> bool {
    let mut others = authority.generations.iter().filter(|generation| {
        let certificate = generation.certificate.as_ref();
        certificate.is_some_and(|recorded| recorded.row() > entry.recorded.row())
    });
    others.any(|generation| {
        matches!(
            generation.state,
            GenerationState::Current | GenerationState::Next
        )
    })
}

impl ShowArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let found = self.find(&context.inventory()?)?;
        if found.is_empty() {
            let what = &self.what;
            return Err(CommandError::not_found(format!(
                "the inventory holds no certificate with the registration ID, serial number or thumbprint {what}"
            )));
        }
        let facts = found.iter().map(EntryFacts::from).collect();
        context.ui.result(&EntriesInFull(facts))?;
        Ok(Outcome::Done)
    }

    /// Hex can be a serial number, a thumbprint and a registration ID, so all of them are looked for.
    fn find(&self, inventory: &dyn Inventory) -> Result<Vec<InventoryEntry>, CommandError> {
        let mut found = Vec::new();
        if let Ok(id) = self.what.parse() {
            found.extend(inventory.certificates_of(&id)?);
        }
        if let Ok(serial) = self.what.parse() {
            found.extend(inventory.by_serial_number(&serial)?);
        }
        if let Ok(thumbprint) = self.what.parse() {
            found.extend(inventory.by_sha1_thumbprint(&thumbprint)?);
        }
        if let Ok(thumbprint) = self.what.parse() {
            found.extend(inventory.by_sha256_thumbprint(&thumbprint)?);
        }
        found.sort_by_key(|entry| std::cmp::Reverse(entry.recorded.row()));
        found.dedup_by_key(|entry| entry.recorded.row());
        Ok(found)
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
        let (status_at, reason) = match &entry.state {
            CertificateState::Undelivered => (None, None),
            CertificateState::Delivered { at } => (Some(*at), None),
            CertificateState::Voided { at, reason } => (Some(*at), Some(reason.clone())),
            CertificateState::Revoked { at, reason } => (Some(*at), Some(reason.to_string())),
        };
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
            labels: recorded
                .labels()
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            certificate: CertificateFacts::from(recorded.certificate()),
        }
    }
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
