//! `check`: what somebody has to see to, in one command for cron.

use std::fmt;

use dps_operations::checkup::{self, Checkup, Finding, Severity};
use pki_core::ids::RegistrationId;
use pki_core::inventory::Inventory as _;
use pki_core::sqlite::SqliteInventory;
use pki_core::time::Span;
use pki_core::wording::{command_in, counted, fitting};
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::planes;
use crate::snapshot::around;
use crate::typed::breach_roll;

#[derive(clap::Args)]
#[command(after_help = "\
Exit codes: 0 nothing; 10 something is due; 4 something is wrong. With --dps the instance is read as well:
who is let in by a leaf that is revoked or below a compromised certificate, whose breach roll is not
done, whom a disabled group or entry keeps out, and what differs from pki.toml.

Examples:
  dps-pki check
  dps-pki check --dps factory --within 90d
  dps-pki check --format prometheus > /var/lib/node_exporter/dps-pki.prom")]
pub(crate) struct Args {
    /// How near the end of a certificate is to be told
    #[arg(long, value_name = "DURATION", default_value = "30d")]
    within: Span,

    /// How the findings are written
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// One line a finding, or JSON with --output json
    Text,
    /// Metrics for the text file collector of Prometheus' node exporter
    Prometheus,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        if matches!(self.format, Format::Prometheus) && context.ui.is_json() {
            let message = "metrics are no JSON: leave out --format prometheus or --output json";
            return Err(CommandError::new(ErrorKind::Usage, message));
        }
        let inventory = context.home.inventory()?;
        let mut findings = self.in_inventory(context, &inventory)?;
        // An instance that cannot be read takes nothing away from what was found here.
        let in_dps = in_dps(context, &inventory);
        findings.extend(in_dps.iter().flatten().cloned());
        checkup::sort(&mut findings);
        if in_dps.is_ok() || !findings.is_empty() {
            self.show(context, &inventory, &findings)?;
        }
        in_dps?;
        let is_wrong = |finding: &&Finding| finding.severity() == Severity::Wrong;
        let wrong = findings.iter().filter(is_wrong).count();
        if wrong > 0 {
            let things = counted(wrong, "thing", "things");
            let message = format!("{things} {} wrong", fitting(wrong, "is", "are"));
            return Err(CommandError::refused(message));
        }
        Ok(if findings.is_empty() {
            Outcome::Done
        } else {
            Outcome::SomethingToDo
        })
    }

    fn show(
        &self,
        context: &Context,
        inventory: &SqliteInventory,
        findings: &[Finding],
    ) -> Result<(), CommandError> {
        match self.format {
            Format::Text => context.ui.result(&Findings::of(findings, self.within)),
            Format::Prometheus => {
                let metrics = metrics(context, inventory, findings)?;
                context.ui.raw(metrics.as_bytes())
            }
        }
    }

    fn in_inventory(
        &self,
        context: &Context,
        inventory: &SqliteInventory,
    ) -> Result<Vec<Finding>, CommandError> {
        let checkup = Checkup {
            journal: inventory,
            locks: context,
            declaration: context.home.declaration()?,
            at: context.now(),
            within: self.within,
        };
        Ok(checkup.findings()?)
    }
}

/// What is found in DPS, where an instance is named.
fn in_dps(context: &Context, inventory: &SqliteInventory) -> Result<Vec<Finding>, CommandError> {
    if context.settings.dps.is_none() {
        return Ok(Vec::new());
    }
    let planes = planes::chosen(context)?;
    let seen = around(&context.settings, &planes, inventory);
    context.runtime.wait_for(checkup::in_dps(seen))
}

/// One line each.
#[derive(Serialize)]
#[serde(transparent)]
struct Findings(Vec<Told>);

/// A finding, and the command that goes on from it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    severity: &'static str,
    kind: &'static str,
    message: String,
    command: String,
}

impl Findings {
    fn of(findings: &[Finding], within: Span) -> Self {
        let told = findings.iter().map(|finding| Told {
            severity: finding.severity().as_str(),
            kind: finding.kind(),
            message: finding.to_string(),
            command: next(finding, within),
        });
        Self(told.collect())
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing to see to");
        }
        let lines = self.0.iter().map(|told| {
            let Told {
                severity,
                message,
                command,
                ..
            } = told;
            format!("{severity:<5}  {message}; see: {command}")
        });
        f.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}

/// The command that tells more of a finding, or mends it.
fn next(finding: &Finding, within: Span) -> String {
    match finding {
        Finding::AuditTrail { .. } => "dps-pki audit verify".to_owned(),
        Finding::BreachUnfinished {
            generation,
            request,
            ..
        } => breach_roll(
            &generation.name,
            None,
            request.hub,
            request.with_intermediates,
        ),
        Finding::CompromisedLetIn { generation, .. } => {
            format!("dps-pki roll start {} --compromised", generation.name)
        }
        Finding::RevokedLetIn { named, .. } => {
            let named: Vec<&str> = named.iter().map(RegistrationId::as_str).collect();
            format!("dps-pki quarantine {}", named.join(" "))
        }
        Finding::GroupKeptOut { dps, kept_out, .. } => {
            let by = &kept_out.by;
            command_in(dps, format_args!("dps group delete {by} --let-devices-in"))
        }
        Finding::DevicesKeptOut { dps, first, .. } => {
            command_in(dps, format_args!("explain {first}"))
        }
        Finding::AuthorityExpired { generation, .. }
        | Finding::AuthorityEnds { generation, .. }
        | Finding::ShortLeaves { generation, .. } => {
            format!("dps-pki roll start {}", generation.name)
        }
        Finding::LeavesExpired(_) => "dps-pki inventory list --status expired".to_owned(),
        Finding::Roll { authority } => format!("dps-pki roll status {authority}"),
        Finding::OpenPlan { plan, .. } => format!("dps-pki journal resume {plan}"),
        Finding::Drift { dps, .. } | Finding::Contradiction { dps, .. } => command_in(dps, "plan"),
        Finding::LeavesEnd(_) => format!("dps-pki inventory list --expiring-within {within}"),
    }
}

/// All kinds, so that an alert ends when its finding does, and when each authority ends.
fn metrics(
    context: &Context,
    inventory: &SqliteInventory,
    findings: &[Finding],
) -> Result<String, CommandError> {
    let mut lines = gauge("dps_pki_findings", "What somebody has to see to.");
    for kind in Finding::KINDS {
        let count = findings.iter().filter(|one| one.kind() == kind).count();
        lines.push(format!("dps_pki_findings{{kind=\"{kind}\"}} {count}"));
    }
    let name = "dps_pki_authority_not_after_seconds";
    lines.extend(gauge(name, "When the generation ends that issues."));
    for authority in inventory.authorities()? {
        let issuing = authority.issuing();
        if let Some(recorded) = issuing.and_then(|one| one.certificate.as_ref()) {
            let until = recorded.certificate().validity().not_after().unix_seconds();
            let authority = &authority.name;
            lines.push(format!("{name}{{authority=\"{authority}\"}} {until}"));
        }
    }
    let name = "dps_pki_check_seconds";
    lines.extend(gauge(name, "When this was found."));
    lines.push(format!("{name} {}\n", context.now().unix_seconds()));
    Ok(lines.join("\n"))
}

fn gauge(name: &str, help: &str) -> Vec<String> {
    vec![
        format!("# HELP {name} {help}"),
        format!("# TYPE {name} gauge"),
    ]
}
