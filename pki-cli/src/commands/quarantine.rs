//! `quarantine`: shut devices out everywhere, and prove it.

pub(super) mod below;
pub(super) mod state;
pub(super) mod target;

use std::fmt;

use pki_core::admission::{Decision, DpsView, Outcome as Admission, PresentedChain, explain};
use pki_core::certificate::Certificate;
use pki_core::ids::{AuthorityName, RegistrationId};
use pki_core::inventory::Inventory as _;
use pki_core::inventory::sqlite::SqliteInventory;
use pki_core::lifecycle::{Plan, Promise, Quarantine, Subject, Who, quarantine_many};
use pki_core::wording::{counted, fitting};
use serde::Serialize;

use self::target::{Target, targets};
use super::roll::HubChoice;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::execute::{Execution, Failures, Proposal};
use crate::judged::Judged;
use crate::planes::Planes;
use crate::render::plan::{NAMED, Outline, PlanAndImpact, PlanAndProof};
use crate::snapshot::{DpsSnapshot, chain_of};
use crate::unknown::near;

#[derive(clap::Args)]
#[command(after_help = "\
The registration ID is taken from the certificate wherever one is at hand: an entry under another ID
shuts nobody out. DPS and IoT Hub consult no CRL; this is what keeps a device out.

Examples:
  dps-pki quarantine sensor-2 --reason stolen
  dps-pki quarantine sensor-2.cert.pem --hub delete --yes
  dps-pki quarantine stolen.txt --dry-run
  dps-pki quarantine --authority line-a --dry-run")]
pub(crate) struct Args {
    /// Registration ID, certificate file, serial number, thumbprint, or a file with a list of these, one
    /// a line; - for a list on standard input
    #[arg(value_name = "WHAT", required_unless_present = "authority")]
    what: Vec<String>,

    /// Shut out everything below this authority, also what nobody knows of: by a disabled group
    #[arg(long, value_name = "NAME", conflicts_with = "what")]
    authority: Option<AuthorityName>,

    /// Why, for the hub identity and the record
    #[arg(long)]
    reason: Option<String>,

    /// What to do with the hub's device identity
    #[arg(long, value_enum, default_value = "disable")]
    hub: HubChoice,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let planes = Planes::chosen(context)?;
        let mut inventory = context.inventory()?;
        if let Some(authority) = &self.authority {
            return self.below(context, &planes, &mut inventory, authority);
        }
        let targets = targets(context, &inventory, &self.what)?;
        let revoke = targets
            .iter()
            .map(|target| live_leaves(context, &inventory, &target.id));
        let revoke: Vec<Vec<Certificate>> = revoke.collect::<Result<_, _>>()?;
        let (view, plan) = context.block_on(self.plan(&planes, &targets, &revoke))?;
        warn_of_unknown(context, &inventory, &targets, &plan)?;
        let refuses = targets.iter().map(|target| target.id.clone());
        let promise = Promise {
            refuses: Who::Devices(refuses.collect()),
            ..Promise::default()
        };
        let judged = Judged::new(context, &planes, &inventory, &view, plan, &promise)?;
        let shown = Outline(PlanAndImpact::proposed(&judged));
        let proposal = Proposal {
            failures: match targets.len() {
                0 | 1 => Failures::Stop,
                _ => Failures::GoOn,
            },
            ..Proposal::new(&judged.plan, &shown)
        };
        let execution = proposal.carry_out(context, &planes, &mut inventory)?;
        let proofs = match context.settings.dry_run {
            true => Vec::new(),
            false => prove(context, &planes, &inventory, &targets)?,
        };
        let planned = PlanAndImpact {
            done: execution.done,
            ..shown.0
        };
        match targets.as_slice() {
            [only] => one(context, only, planned, proofs),
            _ => many(context, &targets, planned, &execution, proofs),
        }
    }

    async fn plan(
        &self,
        planes: &Planes<'_>,
        targets: &[Target],
        revoke: &[Vec<Certificate>],
    ) -> Result<(DpsView, Plan), CommandError> {
        let snapshot = DpsSnapshot::gather(planes).await?;
        let states = state::gather(planes, &snapshot, targets).await?;
        let requests = targets.iter().zip(revoke);
        let requests = requests.map(|(target, revoke)| self.request(target, revoke));
        let plan = quarantine_many(&requests.zip(states).collect::<Vec<_>>());
        Ok((snapshot.view()?, plan))
    }

    fn request(&self, target: &Target, revoke: &[Certificate]) -> Quarantine {
        Quarantine {
            registration_id: target.id.clone(),
            leaf: target.leaf.clone(),
            revoke: revoke.to_vec(),
            reason: self.reason.clone(),
            hub: self.hub.into(),
        }
    }
}

/// Every leaf of a device that the inventory holds as valid: any of them may be the stolen one.
pub(super) fn live_leaves(
    context: &Context,
    inventory: &SqliteInventory,
    id: &RegistrationId,
) -> Result<Vec<Certificate>, CommandError> {
    let live = inventory.live_leaves(id, context.now())?.into_iter();
    Ok(live
        .map(|entry| entry.recorded.certificate().clone())
        .collect())
}

/// Warns of devices that are about to be shut out by their ID alone: a name that is written wrong shuts
/// nobody out.
fn warn_of_unknown(
    context: &Context,
    inventory: &SqliteInventory,
    targets: &[Target],
    plan: &Plan,
) -> Result<(), CommandError> {
    let planned = plan.subjects();
    let is_unknown = |target: &&Target| {
        target.leaf.is_none() && planned.contains(&Subject::Device(target.id.clone()))
    };
    let unknown: Vec<&Target> = targets.iter().filter(is_unknown).collect();
    for Target { id, .. } in unknown.iter().take(NAMED) {
        let near = match inventory.certificates_of(id)?.is_empty() {
            true => near(inventory, id)?,
            false => None,
        };
        let near = near.map(|near| format!("; did you mean {near}?"));
        context.ui.warning(format!(
            "the inventory has no valid leaf of {id}: it is shut out by its ID alone, which must be the CN of its leaf{}",
            near.unwrap_or_default()
        ));
    }
    if unknown.len() > NAMED {
        let more = counted(unknown.len() - NAMED, "more device", "more devices");
        context.ui.warning(format!("and of {more}"));
    }
    Ok(())
}

/// Reads everything back and decides again about each device: it must be out.
fn prove(
    context: &Context,
    planes: &Planes<'_>,
    inventory: &SqliteInventory,
    targets: &[Target],
) -> Result<Vec<Decision>, CommandError> {
    let ids: Vec<&RegistrationId> = targets.iter().map(|target| &target.id).collect();
    let view = context.block_on(DpsSnapshot::about(planes, &ids))?.view()?;
    let decisions = targets.iter().map(|target| {
        let chain = match &target.leaf {
            Some(leaf) => chain_of(inventory, leaf)?,
            None => PresentedChain::known(Some(target.id.to_string()), vec![]),
        };
        Ok(explain(&view, &chain))
    });
    decisions.collect()
}

fn is_out(decision: &Decision) -> bool {
    matches!(decision.outcome, Admission::Disabled(_))
}

fn one(
    context: &Context,
    target: &Target,
    planned: PlanAndImpact<'_>,
    mut proofs: Vec<Decision>,
) -> CommandResult {
    let proof = proofs.pop();
    if let Some(proof) = proof.as_ref().filter(|proof| !is_out(proof)) {
        let message = format!("{} is still not shut out: {}", target.id, proof.outcome);
        return Err(CommandError::new(ErrorKind::Conflict, message).hint("run it again"));
    }
    let read_back = proof.iter();
    let read_back = read_back.map(|proof| format!("{} is {}", target.id, proof.outcome));
    context.ui.item(&PlanAndProof {
        registration_id: &target.id,
        planned,
        read_back: read_back.collect(),
        proof,
    })?;
    Ok(Outcome::Done)
}

/// A line for each device, and an error that names those that are not out.
fn many(
    context: &Context,
    targets: &[Target],
    planned: PlanAndImpact<'_>,
    execution: &Execution,
    proofs: Vec<Decision>,
) -> CommandResult {
    if context.settings.dry_run {
        context.ui.result(&Outline(planned))?;
        return Ok(Outcome::Done);
    }
    let mut left = 0_usize;
    for (target, proof) in targets.iter().zip(&proofs) {
        let id = target.id.as_str();
        let mut failures = execution.failed.iter();
        let failure = failures.find(|failure| failure.subject.eq_ignore_ascii_case(id));
        left += usize::from(!is_out(proof) || failure.is_some());
        context.ui.item(&DeviceReport {
            registration_id: &target.id,
            done: planned.done && failure.is_none(),
            proof,
            error: failure.map(ToString::to_string),
        })?;
    }
    if left == 0 {
        return Ok(Outcome::Done);
    }
    let message = format!(
        "{left} of {} {} not shut out everywhere",
        counted(targets.len(), "device", "devices"),
        fitting(left, "is", "are")
    );
    Err(CommandError::new(ErrorKind::PartlyFailed, message)
        .hint("the report says which; run it again for these"))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceReport<'a> {
    registration_id: &'a RegistrationId,
    done: bool,
    proof: &'a Decision,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl fmt::Display for DeviceReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.registration_id, self.proof.outcome)?;
        match &self.error {
            Some(error) => write!(f, "; failed: {error}"),
            None => Ok(()),
        }
    }
}
