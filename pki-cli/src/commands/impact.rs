//! `impact`: who would be hit if an authority, a device or a certificate were compromised, expired or
//! removed. Nothing is changed.

use std::fmt;
use std::path::{Path, PathBuf};

use dps_operations::devices;
use dps_operations::quarantine::Below;
use pki_core::admission::DpsView;
use pki_core::certificate::pem;
use pki_core::ids::AuthorityName;
use pki_core::inventory::Inventory as _;
use pki_core::lifecycle::{HubAction, Impact, Plan, Quarantine, quarantine_many};
use pki_core::sqlite::SqliteInventory;
use pki_core::time::Time;
use pki_core::wording::command_in;
use serde::Serialize;

use super::authority::generation_of;
use super::quarantine::below::below;
use super::quarantine::target::targets;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::planes::{self, Planes};
use crate::render::plan::write_impact;
use crate::snapshot::{DpsSnapshot, around, impact_at};
use crate::unknown::unknown_device;

/// How an answer about an authority begins.
const BELOW: &str = "everything below ";

#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  dps-pki impact authority factory
  dps-pki impact device sensor-1 sensor-2 --output json
  dps-pki impact --cert factory.cert.pem"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    subject: Option<Subject>,

    /// A certificate of the inventory: a CA's or a leaf
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,

    /// Of the leaves and CA certificates that are valid at this moment [default: now]
    #[arg(long, value_name = "TIME", global = true)]
    at: Option<Time>,
}

#[derive(clap::Subcommand)]
enum Subject {
    /// Everything below an authority
    Authority {
        /// The authority
        name: AuthorityName,
    },
    /// Devices
    Device {
        /// Registration IDs, certificate files, serial numbers, thumbprints, or files with lists of these
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
    },
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let inventory = context.home.inventory()?;
        let below = match &self.subject {
            Some(Subject::Authority { name }) => {
                Some((name, below(&context.home, context.now(), &inventory, name)?))
            }
            _ => None,
        };
        let planes = planes::chosen(context)?;
        let at = self.at.unwrap_or_else(|| context.now());
        let mut snapshot = context
            .runtime
            .wait_for(DpsSnapshot::gather(planes.instance()))?;
        snapshot.at = Some(at);
        let asked = Asked {
            context,
            inventory: &inventory,
            planes: &planes,
            snapshot,
        };
        let (what, plan) = match (&below, &self.subject, &self.cert) {
            (Some((name, below)), _, _) => (format!("{BELOW}{name}"), asked.below(below)?),
            (None, Some(Subject::Device { ids }), _) => (named(ids), asked.devices(ids)?),
            (None, _, Some(path)) => asked.certificate(path)?,
            (None, _, None) => {
                let message = "name an authority, devices, or a certificate with --cert";
                return Err(CommandError::new(ErrorKind::Usage, message));
            }
        };
        let before = asked.snapshot.view()?;
        let after: DpsView = plan.applied_to(&before)?;
        context.ui.result(&Answer {
            dps: planes.name().to_string(),
            what,
            impact: impact_at(&context.settings, &inventory, &before, &after, at)?,
            by: plan.steps.iter().map(ToString::to_string).collect(),
            notes: plan.notes,
        })?;
        Ok(Outcome::Done)
    }
}

fn named(ids: &[String]) -> String {
    match ids {
        [only] => only.clone(),
        ids => format!("{} devices or lists", ids.len()),
    }
}

/// What DPS holds when the question is asked.
struct Asked<'a> {
    context: &'a Context,
    inventory: &'a SqliteInventory,
    planes: &'a Planes<'a>,
    snapshot: DpsSnapshot,
}

impl Asked<'_> {
    fn below(&self, below: &Below) -> Result<Plan, CommandError> {
        Ok(below.plan(&self.snapshot, &self.snapshot.view()?)?)
    }

    /// What would shut the devices out tells who is hit.
    fn devices(&self, words: &[String]) -> Result<Plan, CommandError> {
        let targets = targets(self.context, self.inventory, words)?;
        let seen = around(&self.context.settings, self.planes, self.inventory);
        let gathered = devices::gather(seen, &self.snapshot, &targets, HubAction::Keep);
        let states = self.context.runtime.wait_for(gathered)?.states;
        let mut requests = Vec::with_capacity(targets.len());
        for (target, state) in targets.into_iter().zip(states) {
            // A device of which no leaf is valid is known all the same, and may be admitted: DPS reads no CRL.
            let is_known = target.entry.is_some()
                || state.individual.is_some()
                || state.registration.is_some()
                || !self.inventory.certificates_of(&target.id)?.is_empty();
            if !is_known {
                return Err(unknown_device(self.inventory, &target.id)?);
            }
            let request = Quarantine {
                registration_id: target.id,
                leaf: target.leaf,
                revoke: vec![],
                reason: None,
                hub: HubAction::Keep,
            };
            requests.push((request, state));
        }
        Ok(quarantine_many(&requests))
    }

    fn certificate(&self, path: &Path) -> Result<(String, Plan), CommandError> {
        let certificate = pem::certificate(&self.context.inputs.read(path)?)
            .map_err(|error| CommandError::in_file(path, &error))?;
        let subject = certificate.subject().to_string();
        if let Some(id) = generation_of(self.inventory, &certificate)? {
            let what = format!("{BELOW}{id}");
            let held = vec![(id, certificate)];
            let below = Below::certificates(self.inventory, held, self.context.now())?;
            return Ok((what, self.below(&below)?));
        }
        let thumbprint = certificate.sha256_thumbprint();
        if self.inventory.by_sha256_thumbprint(&thumbprint)?.is_none() {
            let message = format!(
                "{}: {subject} is not in the inventory: it was not issued here",
                path.display()
            );
            return Err(CommandError::not_found(message).hint(format!(
                "what DPS decides about it alone: {}",
                command_in(
                    self.planes.name(),
                    format_args!("explain {}", path.display())
                )
            )));
        }
        let plan = self.devices(&[path.display().to_string()])?;
        Ok((subject, plan))
    }
}

/// Who would be hit.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    dps: String,
    what: String,
    impact: Impact,
    /// What would refuse them.
    by: Vec<String>,
    notes: Vec<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "if DPS {} refused {}:", self.dps, self.what)?;
        write_impact(f, &self.impact)?;
        // Of devices there is one step each, which says nothing new.
        if self.what.starts_with(BELOW) {
            for step in &self.by {
                write!(f, "\nby: {step}")?;
            }
            for note in &self.notes {
                write!(f, "\nnote: {note}")?;
            }
        }
        Ok(())
    }
}
