//! `audit`: the trail of what has happened, and whether it is whole.

pub(super) mod checkpoint;
mod proof;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use pki_core::inventory::Inventory as _;
use pki_core::inventory::audit::{AuditEntry, AuditFinding, AuditHead, AuditReport};
use pki_core::time::Time;
use pki_core::wording::counted;
use serde::Serialize;
use serde_json::Value;

use self::checkpoint::KeptCheckpoint;
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
    Log(LogArgs),
    Verify(VerifyArgs),
    Head(HeadArgs),
    Checkpoint(checkpoint::CheckpointArgs),
    Prove(proof::ProveArgs),
}

/// List the last entries of the trail, oldest first
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki audit log --limit 20
  dps-pki audit log --after 1000 --output json")]
struct LogArgs {
    /// How many at most
    #[arg(long, value_name = "N", default_value = "50")]
    limit: NonZeroUsize,

    /// The first entries after this one, instead of the last of all
    #[arg(long, value_name = "SEQUENCE")]
    after: Option<u64>,
}

/// Recompute the trail and compare certificates, generations and counters with it
///
/// Whoever can write the inventory can also compute a whole new trail, or cut its end off. Only a
/// checkpoint that was kept elsewhere shows that: see "audit checkpoint". Exit code 4 if the trail is not
/// intact.
///
/// With --proof nothing of a home is read: the file alone is checked, whether it proves that a
/// certificate was recorded. Exit code 4 if it does not.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki audit verify
  dps-pki audit verify --proof sensor-1.proof.json --cert issued/sensor-1.cert.pem")]
struct VerifyArgs {
    /// An entry that was noted elsewhere and must be in the trail, as "audit head" prints it, or a file
    /// that "audit checkpoint" made; with --proof one that it must lead to
    #[arg(long = "checkpoint", value_name = "SEQUENCE:HASH|FILE")]
    checkpoints: Vec<KeptCheckpoint>,

    /// The certificate of the authority that signed the checkpoints [default: the one in the home]
    #[arg(long, value_name = "FILE", requires = "checkpoints")]
    authority_cert: Option<PathBuf>,

    /// A proof that "audit prove" has made; - for standard input
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,

    /// The certificate that the proof must be about
    #[arg(long = "cert", value_name = "FILE", requires = "proof")]
    certificate: Option<PathBuf>,
}

/// Print the last entry as a checkpoint, to be kept outside of the home
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki audit head")]
struct HeadArgs {}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        match &self.command {
            Command::Log(args) => args.run(context),
            Command::Verify(args) => args.run(context),
            Command::Head(args) => args.run(context),
            Command::Checkpoint(args) => args.run(context),
            Command::Prove(args) => args.run(context),
        }
    }
}

impl LogArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let inventory = context.home.inventory()?;
        let limit = self.limit.get();
        let after = match self.after {
            Some(after) => after,
            None => {
                let last = inventory.audit_head()?.map_or(0, |head| head.sequence);
                last.saturating_sub(u64::try_from(limit).unwrap_or(u64::MAX))
            }
        };
        let entries = inventory.audit_entries(after, limit)?;
        context
            .ui
            .result(&Log(entries.iter().map(LogEntry::from).collect()))?;
        Ok(Outcome::Done)
    }
}

impl VerifyArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let certificate = self.authority_cert.as_deref();
        let checkpoints = checkpoint::heads(context, &self.checkpoints, certificate)?;
        if let Some(path) = &self.proof {
            return proof::verify(
                &context.inputs,
                &context.ui,
                path,
                self.certificate.as_deref(),
                &checkpoints,
            );
        }
        let report = context.home.inventory()?.verify_audit(&checkpoints)?;
        let verdict = Verdict::from(&report);
        context.ui.result(&verdict)?;
        if report.is_intact() {
            Ok(Outcome::Done)
        } else {
            Err(CommandError::refused(format!(
                "the audit trail is not intact: {}",
                verdict.count()
            )))
        }
    }
}

impl HeadArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let head = context
            .home
            .inventory()?
            .audit_head()?
            .ok_or_else(|| CommandError::not_found("the audit trail is empty"))?;
        context.ui.result(&Checkpoint::from(&head))?;
        Ok(Outcome::Done)
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Log(Vec<LogEntry>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogEntry {
    sequence: u64,
    at: Time,
    action: String,
    subject: String,
    detail: Value,
    /// The rows of the certificates that it is about, `1-1000,1003`.
    certificates: Option<String>,
    content: Option<String>,
    hash: String,
}

impl From<&AuditEntry> for LogEntry {
    fn from(entry: &AuditEntry) -> Self {
        let rows = entry.rows();
        Self {
            sequence: entry.sequence(),
            at: entry.at(),
            action: entry.action().to_owned(),
            subject: entry.subject().to_owned(),
            detail: entry.detail(),
            certificates: (!rows.is_empty()).then(|| rows.to_string()),
            content: entry.content().map(|hash| hash.to_string()),
            hash: entry.hash().to_string(),
        }
    }
}

impl LogEntry {
    /// The facts in one line, without what stands in columns of its own.
    fn facts(&self) -> String {
        let rows = self
            .certificates
            .iter()
            .map(|rows| format!("certificates {rows}"));
        let detail = self
            .detail
            .as_object()
            .filter(|detail| !detail.is_empty())
            .map(|_| self.detail.to_string());
        rows.chain(detail).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["ENTRY", "TIME", "ACTION", "SUBJECT", "FACTS"]);
        for entry in &self.0 {
            table.row([
                entry.sequence.to_string(),
                entry.at.to_string(),
                entry.action.clone(),
                entry.subject.clone(),
                entry.facts(),
            ]);
        }
        write!(f, "{table}")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    intact: bool,
    entries: u64,
    certificates: u64,
    head: Option<Checkpoint>,
    findings: Vec<String>,
    further_findings: u64,
}

impl From<&AuditReport> for Verdict {
    fn from(report: &AuditReport) -> Self {
        Self {
            intact: report.is_intact(),
            entries: report.entries,
            certificates: report.certificates,
            head: report.head.as_ref().map(Checkpoint::from),
            findings: report
                .findings
                .iter()
                .map(AuditFinding::to_string)
                .collect(),
            further_findings: report.further_findings,
        }
    }
}

impl Verdict {
    fn count(&self) -> String {
        let listed = u64::try_from(self.findings.len()).unwrap_or(u64::MAX);
        let count = listed.saturating_add(self.further_findings);
        counted(count, "finding", "findings")
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = counted(self.entries, "entry", "entries");
        let certificates = counted(self.certificates, "certificate", "certificates");
        if self.intact {
            write!(f, "the audit trail is intact: ")?;
        }
        write!(f, "{entries}, {certificates}")?;
        if let Some(head) = &self.head {
            write!(f, "\n  checkpoint  {head}")?;
        }
        for finding in &self.findings {
            write!(f, "\n  finding     {finding}")?;
        }
        if self.further_findings > 0 {
            write!(f, "\n  and {} more findings", self.further_findings)?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checkpoint {
    sequence: u64,
    hash: String,
    /// Both in one word, as `audit verify --checkpoint` takes it.
    checkpoint: String,
}

impl From<&AuditHead> for Checkpoint {
    fn from(head: &AuditHead) -> Self {
        Self {
            sequence: head.sequence,
            hash: head.hash.to_string(),
            checkpoint: head.to_string(),
        }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.checkpoint)
    }
}
