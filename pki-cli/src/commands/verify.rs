//! `verify`: does a certificate's path lead to a trust anchor?

use std::fmt;
use std::path::{Path, PathBuf};

use pki_core::certificate::{Certificate, pem};
use pki_core::crl::{self, Crl};
use pki_core::inventory::{GenerationState, Inventory as _};
use pki_core::path::{CheckOutcome, PathOptions, PathReport, PathStep, Purpose, validate};
use pki_core::time::Time;
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::files::Files;
use crate::home::Home;
use crate::inputs::Inputs;
use crate::render::table::Table;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki verify sensor-1-full-chain.cert.pem --anchor root.cert.pem
  dps-pki verify sensor-1.cert.pem --intermediates factory.cert.pem --anchor root.cert.pem
  dps-pki verify sensor-1-full-chain.cert.pem --anchor root.cert.pem --at 2026-07-01T00:00:00Z
  dps-pki verify sensor-1.cert.pem --intermediates factory.cert.pem --anchor root.cert.pem --lenient
  dps-pki verify issued/sensor-1-full-chain.cert.pem --crl factory.crl root.crl")]
pub(crate) struct Args {
    /// The certificate, alone or with its chain; - for standard input
    #[arg(value_name = "CERT")]
    certificate: PathBuf,

    /// File of certificates to trust
    #[arg(long = "anchor", value_name = "FILE", num_args = 1..)]
    anchors: Vec<PathBuf>,

    /// File of certificates that may stand between
    #[arg(long, value_name = "FILE", num_args = 1..)]
    intermediates: Vec<PathBuf>,

    /// The moment to judge for, such as 2031-04-05T06:07:08Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Time>,

    /// File of CRLs: what they revoke is refused, a list that is stale or not its issuer's, and a
    /// certificate of whose issuer there is no list
    #[arg(long = "crl", value_name = "FILE", num_args = 1..)]
    crls: Vec<PathBuf>,

    /// Take a certificate of whose issuer no CRL is given as not revoked
    #[arg(long, requires = "crls")]
    crl_best_effort: bool,

    /// Take bad form that other services take: missing key identifiers and the like. Weak keys and
    /// signatures are refused still
    #[arg(long)]
    lenient: bool,

    /// What the certificate is to be used for
    #[arg(long, value_enum, default_value_t)]
    purpose: PurposeWord,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum, Serialize)]
#[serde(rename_all = "camelCase")]
enum PurposeWord {
    /// Authenticating a TLS client: a device
    #[default]
    Client,
    /// Authenticating a TLS server
    Server,
    /// Anything
    Any,
}

impl From<PurposeWord> for Purpose {
    fn from(word: PurposeWord) -> Self {
        match word {
            PurposeWord::Client => Self::Client,
            PurposeWord::Server => Self::Server,
            PurposeWord::Any => Self::Any,
        }
    }
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let mut presented = certificates(&context.inputs, &self.certificate)?;
        let mut intermediates = presented.split_off(1);
        intermediates.extend(all(&context.inputs, &self.intermediates)?);
        let anchors = if !self.anchors.is_empty() {
            all(&context.inputs, &self.anchors)?
        } else {
            let (roots, others) = of_home(&context.home, &context.files)?;
            intermediates.extend(others);
            roots
        };
        let at = self.at.unwrap_or_else(|| context.now());
        let crls = self.crls(&context.inputs)?;
        let options = PathOptions::new(at)
            .purpose(self.purpose.into())
            .crls(&crls);
        let options = if self.lenient {
            options.lenient()
        } else {
            options
        };
        let options = if self.crl_best_effort {
            options.lists_at_hand()
        } else {
            options
        };
        let report = validate(&presented[0], &intermediates, &anchors, options);
        let verdict = Verdict {
            holds: report.holds(),
            purpose: self.purpose,
            report,
        };
        context.ui.result(&verdict)?;
        verdict.into_outcome(&self.certificate)
    }
}

impl Args {
    fn crls(&self, inputs: &Inputs) -> Result<Vec<Crl>, CommandError> {
        let mut found = Vec::new();
        for path in &self.crls {
            let lists = crl::pem::crls(&inputs.read(path)?);
            found.extend(lists.map_err(|error| CommandError::in_file(path, &error))?);
        }
        Ok(found)
    }
}

fn certificates(inputs: &Inputs, path: &Path) -> Result<Vec<Certificate>, CommandError> {
    let content = inputs.read(path)?;
    pem::certificates(&content).map_err(|error| CommandError::in_file(path, &error))
}

fn all(inputs: &Inputs, paths: &[PathBuf]) -> Result<Vec<Certificate>, CommandError> {
    let mut found = Vec::new();
    for path in paths {
        found.extend(certificates(inputs, path)?);
    }
    Ok(found)
}

/// The home's certificates: the roots, and the others. A compromised generation is neither.
fn of_home(
    home: &Home,
    files: &Files,
) -> Result<(Vec<Certificate>, Vec<Certificate>), CommandError> {
    let authorities = if files.exists(&home.layout.inventory_file()) {
        home.inventory()?.authorities()?
    } else {
        Vec::new()
    };
    let generations = authorities
        .into_iter()
        .flat_map(|authority| authority.generations);
    let certificates = generations
        .filter(|generation| is_trusted(generation.state))
        .filter_map(|generation| generation.certificate);
    let (roots, others): (Vec<_>, Vec<_>) = certificates
        .map(|recorded| recorded.certificate().clone())
        .partition(Certificate::is_self_issued);
    if roots.is_empty() {
        let home = home.layout.root().display();
        return Err(
            CommandError::not_found(format!("{home} holds no root to trust"))
                .hint("name a trust anchor with --anchor FILE"),
        );
    }
    Ok((roots, others))
}

/// A retired generation still stands behind the leaves that it issued.
fn is_trusted(state: GenerationState) -> bool {
    match state {
        GenerationState::Current | GenerationState::Next | GenerationState::Retired => true,
        GenerationState::Pending | GenerationState::Compromised | GenerationState::Voided => false,
    }
}

#[derive(Serialize)]
struct Verdict {
    holds: bool,
    purpose: PurposeWord,
    #[serde(flatten)]
    report: PathReport,
}

impl Verdict {
    /// A path that does not hold is an answer, but scripts want to be stopped by it.
    fn into_outcome(self, path: &Path) -> CommandResult {
        let Some(failure) = self.report.failure else {
            return Ok(Outcome::Done);
        };
        let subject = failure.subject.unwrap_or_default();
        Err(CommandError::refused(format!(
            "the path of {} does not hold: {subject} at depth {}: {} ({})",
            path.display(),
            failure.depth,
            failure.reason,
            failure.check
        )))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holds = if self.holds {
            "the path holds"
        } else {
            "the path does not hold"
        };
        writeln!(f, "{holds} at {}", self.report.at)?;
        let mut table = Table::new(&["DEPTH", "SUBJECT", "SERIAL", "NOT AFTER", "TRUSTED"]);
        for (depth, step) in self.report.path.iter().enumerate() {
            table.row([
                depth.to_string(),
                step.subject.clone(),
                step.serial_number.to_string(),
                step.not_after.to_string(),
                if step.is_anchor { "yes" } else { "" }.to_owned(),
            ]);
        }
        writeln!(f, "{table}")?;
        let mut checks = Table::new(&["DEPTH", "PASSED", "FAILED", "NOT CHECKED"]);
        for (depth, step) in self.report.path.iter().enumerate() {
            checks.row([
                depth.to_string(),
                with_outcome(step, CheckOutcome::Passed),
                with_outcome(step, CheckOutcome::Failed),
                with_outcome(step, CheckOutcome::NotChecked),
            ]);
        }
        write!(f, "{checks}")
    }
}

fn with_outcome(step: &PathStep, outcome: CheckOutcome) -> String {
    let names: Vec<&str> = step
        .checks
        .iter()
        .filter(|check| check.outcome == outcome)
        .map(|check| check.check.as_str())
        .collect();
    names.join(", ")
}
