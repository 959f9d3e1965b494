//! `quarantine`: shut devices out everywhere, and prove it.

pub(super) mod below;
pub(super) mod state;
pub(super) mod target;

use std::fmt;

use pki_core::admission::{Decision, DpsView, Outcome as Admission, PresentedChain, explain};
use pki_core::certificate::Certificate;
use pki_core::ids::{AuthorityName, DpsName, RegistrationId};
use pki_core::inventory::{Inventory as _, Status};
use pki_core::lifecycle::{
    HubAction, Plan, Promise, Quarantine, QuarantineState, Step, Who, quarantine_many,
};
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::{counted, fitting};
use serde::Serialize;

use self::state::Gathered;
use self::target::{Target, targets};
use super::everywhere::{Problems, Within, instances, others};
use super::roll::HubChoice;
use crate::config::NAMED;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};
use crate::execute::{Execution, Failures, Proposal};
use crate::hubs::refuse_unread;
use crate::judged;
use crate::planes::Planes;
use crate::render::plan::{Outline, PlanAndImpact, PlanAndProof};
use crate::snapshot::{DpsSnapshot, chain_of};
use crate::unknown::{near, unknown_device};

#[derive(clap::Args)]
#[command(after_help = "\
The registration ID is taken from the certificate wherever one is at hand: an entry under another ID
shuts nobody out. DPS and IoT Hub consult no CRL; this is what keeps a device out. Every DPS instance
of pki.toml is meant unless --dps names one; those that would still let the device in are named then.

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

    /// A registration ID that neither the inventory nor DPS knows is meant: it is shut out before it comes
    #[arg(long, conflicts_with = "authority")]
    unknown: bool,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let mut inventory = context.inventory()?;
        let all = instances(context)?;
        if let Some(authority) = &self.authority {
            return self.below_everywhere(context, &all, &mut inventory, authority);
        }
        let targets = targets(context, &inventory, &self.what)?;
        let mut problems = Problems::default();
        let mut parts = Vec::new();
        for planes in &all {
            let dps = (all.len() > 1).then(|| planes.name());
            match self.gather(context, planes, dps, &inventory, &targets) {
                Ok(part) => parts.push(part),
                Err(error) => problems.note(dps, Err(error))?,
            }
        }
        if !parts.is_empty() {
            let known = Known {
                inventory: &inventory,
                targets: &targets,
                parts: &parts,
            };
            known.check(context, self.unknown)?;
        }
        for part in &parts {
            let done = part.carry_out(context, &mut inventory, &targets);
            problems.note(part.dps, done)?;
        }
        problems.note(None, elsewhere(context, &inventory, &targets))?;
        problems.end()
    }

    fn gather<'a>(
        &self,
        context: &Context,
        planes: &'a Planes<'a>,
        dps: Option<&'a DpsName>,
        inventory: &SqliteInventory,
        targets: &[Target],
    ) -> Result<Part<'a>, CommandError> {
        let ids: Vec<&RegistrationId> = targets.iter().map(|target| &target.id).collect();
        let hub: HubAction = self.hub.into();
        let (snapshot, gathered) = context.block_on(async {
            let snapshot = DpsSnapshot::around(planes, &ids).await?;
            let gathered = state::gather(planes, inventory, &snapshot, targets, hub).await?;
            Ok((snapshot, gathered))
        })?;
        let mut pairs = Vec::with_capacity(targets.len());
        for (target, state) in targets.iter().zip(&gathered.states) {
            let revoke = revoked(context, inventory, target)?;
            pairs.push((self.request(target, revoke), state.clone()));
        }
        Ok(Part {
            planes,
            dps,
            view: snapshot.view()?,
            plan: quarantine_many(&pairs),
            gathered,
        })
    }

    fn request(&self, target: &Target, revoke: Vec<Certificate>) -> Quarantine {
        Quarantine {
            registration_id: target.id.clone(),
            leaf: target.leaf.clone(),
            revoke,
            reason: self.reason.clone(),
            hub: self.hub.into(),
        }
    }
}

/// What is to be done in one instance.
struct Part<'a> {
    planes: &'a Planes<'a>,
    /// Its name, where there are several.
    dps: Option<&'a DpsName>,
    view: DpsView,
    plan: Plan,
    gathered: Gathered,
}

impl Part<'_> {
    fn carry_out(
        &self,
        context: &Context,
        inventory: &mut SqliteInventory,
        targets: &[Target],
    ) -> Result<(), CommandError> {
        let refuses = targets.iter().map(|target| target.id.clone());
        let promise = Promise {
            refuses: Who::Devices(refuses.collect()),
            ..Promise::default()
        };
        let ids: Vec<&RegistrationId> = targets.iter().map(|target| &target.id).collect();
        let plan = self.plan.clone();
        let judged = judged::plan_of_devices(
            context,
            self.planes,
            inventory,
            &self.view,
            plan,
            &promise,
            &ids,
        )?;
        let shown = Outline(PlanAndImpact::proposed(&judged));
        let proposal = Proposal {
            failures: match targets.len() {
                0 | 1 => Failures::Stop,
                _ => Failures::GoOn,
            },
            ..Proposal::new(&judged.plan, &shown).within(self.dps)
        };
        let execution = proposal.carry_out(context, self.planes, inventory)?;
        let proofs = if context.settings.dry_run {
            Vec::new()
        } else {
            prove(context, self.planes, inventory, targets)?
        };
        let planned = PlanAndImpact {
            done: execution.done,
            ..shown.0
        };
        match targets {
            [only] => self.one(context, only, planned, proofs)?,
            _ => self.many(context, targets, planned, &execution, proofs)?,
        }
        if context.settings.dry_run {
            Ok(())
        } else {
            refuse_unread(&self.gathered.unread)
        }
    }
}

/// Whether anything knows the devices that were named.
struct Known<'a> {
    inventory: &'a SqliteInventory,
    targets: &'a [Target],
    parts: &'a [Part<'a>],
}

impl Known<'_> {
    /// A name that nothing knows shuts nobody out: it is a thumbprint or a serial number of somebody else,
    /// or written wrong.
    fn check(&self, context: &Context, unknown_is_meant: bool) -> Result<(), CommandError> {
        let mut unknown = Vec::new();
        for (index, target) in self.targets.iter().enumerate() {
            if !self.knows(index, target)? {
                unknown.push(&target.id);
            }
        }
        let error = match unknown.as_slice() {
            _ if unknown_is_meant => return self.warn(context),
            [] => return self.warn(context),
            [only] => unknown_device(self.inventory, only)?,
            many => {
                let message = format!(
                    "{} are known neither to the inventory nor to DPS",
                    counted(many.len(), "device", "devices")
                );
                CommandError::not_found(message).lines(many)
            }
        };
        Err(error.hint("for a registration ID that nothing knows yet, say --unknown"))
    }

    fn knows(&self, index: usize, target: &Target) -> Result<bool, CommandError> {
        let is_there = |state: &QuarantineState| {
            state.individual.is_some()
                || state.registration.is_some()
                || !state.hub_identities.is_empty()
        };
        let mut states = self
            .parts
            .iter()
            .filter_map(|part| part.gathered.states.get(index));
        Ok(target.leaf.is_some()
            || states.any(is_there)
            || !self.inventory.certificates_of(&target.id)?.is_empty())
    }

    fn warn(&self, context: &Context) -> Result<(), CommandError> {
        for part in self.parts {
            warn_of_unknown(context, self.inventory, self.targets, &part.plan)?;
        }
        Ok(())
    }
}

/// The instances that `--dps` leaves out and that would let a device in are named.
fn elsewhere(
    context: &Context,
    inventory: &SqliteInventory,
    targets: &[Target],
) -> Result<(), CommandError> {
    let mut left = Vec::new();
    for planes in others(context)? {
        let name = planes.name();
        match prove(context, &planes, inventory, targets) {
            Ok(decisions) => {
                let pairs = targets.iter().zip(decisions);
                let admitted = pairs.filter(|(target, decision)| {
                    !decision.is_kept_out() || (target.leaf.is_none() && !is_out(decision))
                });
                left.extend(admitted.map(|(target, decision)| match target.leaf {
                    Some(_) => format!("DPS {name}: {} is {}", target.id, decision.outcome),
                    None => format!("DPS {name}: {} has no disabled entry there", target.id),
                }));
            }
            Err(error) => left.push(format!("DPS {name} cannot be asked: {error}")),
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    let message = "not shut out everywhere: --dps leaves other instances out";
    if context.settings.dry_run {
        for line in &left {
            context.ui.warning(line);
        }
        return Ok(());
    }
    Err(CommandError::new(ErrorKind::PartlyFailed, message)
        .lines(&left)
        .hint("run it again without --dps: it concerns all of them then"))
}

/// The leaves that are revoked with a device: the one that was named, and every other one that is valid,
/// since any of them may be the stolen one.
fn revoked(
    context: &Context,
    inventory: &SqliteInventory,
    target: &Target,
) -> Result<Vec<Certificate>, CommandError> {
    let mut leaves = inventory.live_leaves(&target.id, context.now())?;
    if let Some(named) = &target.entry
        && named.state.status() == Status::Delivered
    {
        leaves.retain(|leaf| leaf.recorded.row() != named.recorded.row());
        leaves.insert(0, named.clone());
    }
    Ok(leaves
        .iter()
        .map(|leaf| leaf.recorded.certificate().clone())
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
    let is_put = |id: &RegistrationId| {
        plan.steps.iter().any(|step| match step {
            Step::Individual(step) => step.id() == id,
            _ => false,
        })
    };
    let is_unknown = |target: &&Target| target.leaf.is_none() && is_put(&target.id);
    let unknown: Vec<&Target> = targets.iter().filter(is_unknown).collect();
    for Target { id, .. } in unknown.iter().take(NAMED) {
        let near = if inventory.certificates_of(id)?.is_empty() {
            near(inventory, id)?
        } else {
            None
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
    let view = context.wait_for(DpsSnapshot::about(planes, &ids))?.view()?;
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

impl Part<'_> {
    fn one(
        &self,
        context: &Context,
        target: &Target,
        planned: PlanAndImpact<'_>,
        mut proofs: Vec<Decision>,
    ) -> Result<(), CommandError> {
        let proof = proofs.pop();
        if let Some(proof) = proof.as_ref().filter(|proof| !is_out(proof)) {
            let message = format!("{} is still not shut out: {}", target.id, proof.outcome);
            return Err(CommandError::new(ErrorKind::Conflict, message).hint("run it again"));
        }
        let read_back = proof.iter();
        let read_back = read_back.map(|proof| format!("{} is {}", target.id, proof.outcome));
        context.ui.item(&Within {
            dps: self.dps,
            result: PlanAndProof {
                registration_id: &target.id,
                planned,
                read_back: read_back.collect(),
                proof,
            },
        })
    }

    /// A line for each device, and an error that names those that are not out.
    fn many(
        &self,
        context: &Context,
        targets: &[Target],
        planned: PlanAndImpact<'_>,
        execution: &Execution,
        proofs: Vec<Decision>,
    ) -> Result<(), CommandError> {
        if context.settings.dry_run {
            return context.ui.item(&Within {
                dps: self.dps,
                result: Outline(planned),
            });
        }
        let mut left = 0_usize;
        for (target, proof) in targets.iter().zip(&proofs) {
            let id = target.id.as_str();
            let mut failures = execution.failed.iter();
            let failure = failures.find(|failure| failure.subject.eq_ignore_ascii_case(id));
            let mut unread = self.gathered.unread.iter();
            let hub = unread.find(|unread| unread.registration_id == target.id);
            let failure = failure.map(ToString::to_string);
            left += usize::from(!is_out(proof) || failure.is_some());
            context.ui.item(&Within {
                dps: self.dps,
                result: DeviceReport {
                    registration_id: &target.id,
                    done: planned.done && failure.is_none(),
                    proof,
                    error: failure
                        .or_else(|| hub.map(|hub| format!("its hub cannot be read: {}", hub.hub))),
                },
            })?;
        }
        if left == 0 {
            return Ok(());
        }
        let message = format!(
            "{left} of {} {} not shut out everywhere",
            counted(targets.len(), "device", "devices"),
            fitting(left, "is", "are")
        );
        Err(CommandError::new(ErrorKind::PartlyFailed, message)
            .hint("the report says which; run it again for these"))
    }
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
