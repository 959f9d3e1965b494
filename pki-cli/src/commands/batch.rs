//! `batch`: the batches of this home, whether what was handed out is what was issued, and what is in it.

mod open;
mod replace;
mod verify;

use std::fmt;
use std::num::NonZeroUsize;

use pki_core::ids::{AuthorityName, Generation};
use pki_core::inventory::{BatchRecord, BatchState, Inventory as _, InventoryError, Label};
use pki_core::time::Time;
use serde::Serialize;
use serde_json::Value;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
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
    Verify(verify::VerifyArgs),
    Open(open::OpenArgs),
    Replace(replace::ReplaceArgs),
}

/// List batches in the order in which they were begun
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki batch list")]
struct ListArgs {
    /// The batches begun after this one, instead of from the first on
    #[arg(long, value_name = "NAME")]
    after: Option<Label>,

    /// How many at most
    #[arg(long, value_name = "N", default_value = "100")]
    limit: NonZeroUsize,
}

/// Show a batch, how far it is, and its manifest
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki batch show line-7
  dps-pki batch show line-7 --output json")]
struct ShowArgs {
    /// Its name
    name: Label,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        match &self.command {
            Command::List(args) => args.run(context),
            Command::Show(args) => args.run(context),
            Command::Verify(args) => args.run(context),
            Command::Open(args) => args.run(context),
            Command::Replace(args) => args.run(context),
        }
    }
}

impl ListArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let limit = self.limit.get();
        let asked = limit.saturating_add(1);
        let mut found = context
            .home
            .inventory()?
            .batches(self.after.as_ref(), asked)
            .map_err(|error| match error {
                InventoryError::BatchNotFound { batch } => not_found(&batch),
                error => error.into(),
            })?;
        if found.len() > limit {
            found.truncate(limit);
            let last = found
                .last()
                .map(|batch| batch.name.as_str())
                .unwrap_or_default();
            context.ui.warning(format!(
                "only {limit} are listed; see more with --limit, or --after {last:?}"
            ));
        }
        context
            .ui
            .result(&Batches(found.iter().map(BatchFacts::from).collect()))?;
        Ok(Outcome::Done)
    }
}

impl ShowArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let batch = context
            .home
            .inventory()?
            .batch(&self.name)?
            .ok_or_else(|| not_found(&self.name))?;
        context.ui.result(&BatchInFull {
            facts: BatchFacts::from(&batch),
            manifest: batch.manifest.as_deref().and_then(parsed),
        })?;
        Ok(Outcome::Done)
    }
}

/// The error for a batch that does not exist.
pub(super) fn not_found(name: &Label) -> CommandError {
    CommandError::not_found(format!("there is no batch {name}"))
        .hint("see them with: dps-pki batch list")
}

fn parsed(manifest: &str) -> Option<Value> {
    serde_json::from_str(manifest).ok()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchFacts {
    batch: String,
    authority: AuthorityName,
    generation: Generation,
    status: &'static str,
    devices: u64,
    delivered: u64,
    format: String,
    output: String,
    output_octets: u64,
    started_at: Time,
    completed_at: Option<Time>,
}

impl From<&BatchRecord> for BatchFacts {
    fn from(batch: &BatchRecord) -> Self {
        Self {
            batch: batch.name.to_string(),
            authority: batch.signed_by.name.clone(),
            generation: batch.signed_by.generation,
            status: batch.state.as_str(),
            devices: batch.total,
            delivered: batch.delivered,
            format: batch.format.clone(),
            output: batch.output.clone(),
            output_octets: batch.output_octets,
            started_at: batch.started_at,
            completed_at: batch.completed_at,
        }
    }
}

impl BatchFacts {
    fn signer(&self) -> String {
        format!("{} {}", self.authority, self.generation)
    }

    /// `50`, or `20 of 50` while it goes on.
    fn progress(&self) -> String {
        if self.status == BatchState::Complete.as_str() {
            self.devices.to_string()
        } else {
            format!("{} of {}", self.delivered, self.devices)
        }
    }
}

/// One line each.
#[derive(Serialize)]
#[serde(transparent)]
struct Batches(Vec<BatchFacts>);

impl fmt::Display for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["BATCH", "STATUS", "DEVICES", "AUTHORITY", "BEGUN", "OUTPUT"];
        let mut table = Table::new(&heads);
        for batch in &self.0 {
            table.row([
                batch.batch.clone(),
                batch.status.to_owned(),
                batch.progress(),
                batch.signer(),
                batch.started_at.to_string(),
                batch.output.clone(),
            ]);
        }
        write!(f, "{table}")
    }
}

/// All that is known of one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchInFull {
    #[serde(flatten)]
    facts: BatchFacts,
    manifest: Option<Value>,
}

impl BatchInFull {
    /// One of the manifest's texts, if there is a manifest and it says so.
    fn stated(&self, member: &str) -> Option<&str> {
        self.manifest.as_ref()?.get(member)?.as_str()
    }
}

impl fmt::Display for BatchInFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &self.facts;
        writeln!(f, "batch {}, {}", facts.batch, facts.status)?;
        writeln!(f, "  devices     {}", facts.progress())?;
        writeln!(f, "  signed by   {}", facts.signer())?;
        writeln!(f, "  begun       {}", facts.started_at)?;
        if let Some(at) = facts.completed_at {
            writeln!(f, "  completed   {at}")?;
        }
        let signed = self.stated("signature").map(|_| "signed by the authority");
        let unsigned = self.manifest.as_ref().map(|_| "not signed");
        for (name, value) in [
            ("first", self.stated("firstSerialNumber")),
            ("last", self.stated("lastSerialNumber")),
            ("sha-256", self.stated("outputSha256")),
            ("manifest", signed.or(unsigned)),
        ] {
            if let Some(value) = value {
                writeln!(f, "  {name:<10}  {value}")?;
            }
        }
        write!(f, "  output      {}: {}", facts.format, facts.output)
    }
}
