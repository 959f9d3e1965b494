//! `deprovision`: devices and groups leave for good, in two halves: disenrolled in DPS, then
//! deregistered from their hubs.

mod group;

use std::fmt;

use pki_core::admission::{DpsView, PresentedChain, explain, outcome_below};
use pki_core::ids::{EnrollmentGroupId, RegistrationId};
use pki_core::inventory::sqlite::SqliteInventory;
use pki_core::inventory::{Inventory as _, Journal as _};
use pki_core::lifecycle::{
    Deprovision, GOAL_OF_DEPROVISIONING, Plan, Promise, QuarantineState, Step, Subject, Who,
    deprovision,
};
use pki_core::wording::counted;
use serde::Serialize;

use self::group::Proof;
use super::quarantine::state;
use super::quarantine::target::{Target, targets};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};
use crate::execute::{Execution, Failures, Proposal};
use crate::judged::Judged;
use crate::planes::Planes;
use crate::render::plan::{Outline, PlanAndImpact};
use crate::snapshot::{DpsSnapshot, chain_of};
use crate::unknown::unknown_device;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki deprovision sensor-2 --dry-run
  dps-pki deprovision scrapped.txt --yes
  dps-pki deprovision --group line-9 --dry-run")]
pub(crate) struct Args {
    /// Registration IDs, certificate files, or files with lists of these, one a line; - for a list on
    /// standard input
    #[arg(value_name = "ID", required_unless_present = "group")]
    ids: Vec<String>,

    /// An enrollment group, with all its devices
    #[arg(long, value_name = "GROUP", conflicts_with = "ids")]
    group: Option<EnrollmentGroupId>,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let planes = Planes::chosen(context)?;
        let mut inventory = context.inventory()?;
        let snapshot = context.block_on(DpsSnapshot::gather(&planes))?;
        let leaving = Leaving {
            context,
            planes: &planes,
            snapshot: &snapshot,
            view: snapshot.view()?,
        };
        match &self.group {
            Some(group) => leaving.group(&mut inventory, group),
            None => leaving.devices(&mut inventory, &self.ids),
        }
    }
}

/// What DPS holds while somebody leaves.
struct Leaving<'a> {
    context: &'a Context,
    planes: &'a Planes<'a>,
    snapshot: &'a DpsSnapshot,
    view: DpsView,
}

impl Leaving<'_> {
    fn devices(&self, inventory: &mut SqliteInventory, words: &[String]) -> CommandResult {
        let targets = targets(self.context, inventory, words)?;
        let states = state::gather(self.planes, self.snapshot, &targets);
        let states = self.context.block_on(states)?;
        for (target, state) in targets.iter().zip(&states) {
            if !is_known(state) && !self.has_known(inventory, target)? {
                return Err(unknown_device(inventory, &target.id)?);
            }
        }
        let requests: Result<Vec<Deprovision>, CommandError> = targets
            .iter()
            .map(|target| self.request(inventory, target))
            .collect();
        let plan = together(&requests?, &states);
        let refuses = targets.iter().map(|target| target.id.clone());
        let promise = Promise {
            refuses: Who::Devices(refuses.collect()),
            ..Promise::default()
        };
        let failures = match targets.len() {
            0 | 1 => Failures::Stop,
            _ => Failures::GoOn,
        };
        let (shown, execution) = self.carry_out(inventory, plan, &promise, failures)?;
        self.context.ui.result(&shown)?;
        if !self.context.settings.dry_run {
            self.prove(inventory, &targets)?;
        }
        execution.check()
    }

    /// Whether the inventory has a certificate of a device, or the journal that it has left before.
    fn has_known(
        &self,
        inventory: &SqliteInventory,
        target: &Target,
    ) -> Result<bool, CommandError> {
        let id = &target.id;
        if target.entry.is_some() || !inventory.certificates_of(id)?.is_empty() {
            return Ok(true);
        }
        let subject = Subject::Device(id.clone());
        let name = self.planes.name();
        let earlier = inventory.finished_plan(name, GOAL_OF_DEPROVISIONING, &subject)?;
        Ok(earlier.is_some())
    }

    fn request(
        &self,
        inventory: &SqliteInventory,
        target: &Target,
    ) -> Result<Deprovision, CommandError> {
        let chain = match &target.leaf {
            Some(leaf) => Some(chain_of(inventory, leaf)?),
            None => None,
        };
        Ok(Deprovision {
            registration_id: target.id.clone(),
            leaf: target.leaf.clone(),
            without_entry: chain.map(|chain| outcome_below(&self.view, chain.above_leaf())),
        })
    }

    fn carry_out(
        &self,
        inventory: &mut SqliteInventory,
        plan: Plan,
        promise: &Promise,
        failures: Failures,
    ) -> Result<(Report, Execution), CommandError> {
        let (context, planes) = (self.context, self.planes);
        let judged = Judged::new(context, planes, inventory, &self.view, plan, promise)?;
        let shown = Outline(PlanAndImpact::proposed(&judged));
        let proposal = Proposal {
            failures,
            ..Proposal::new(&judged.plan, &shown)
        };
        let execution = proposal.carry_out(context, planes, inventory)?;
        let done = execution.done;
        let report = Report {
            judged,
            done,
            proof: None,
        };
        Ok((report, execution))
    }

    /// Reads DPS again: each device must be refused.
    fn prove(&self, inventory: &SqliteInventory, targets: &[Target]) -> Result<(), CommandError> {
        let ids: Vec<&RegistrationId> = targets.iter().map(|target| &target.id).collect();
        let view = self
            .context
            .block_on(DpsSnapshot::about(self.planes, &ids))?
            .view()?;
        let mut left = Vec::new();
        for target in targets {
            let chain = match &target.leaf {
                Some(leaf) => chain_of(inventory, leaf)?,
                None => PresentedChain::known(Some(target.id.to_string()), vec![]),
            };
            let decision = explain(&view, &chain);
            match decision.is_admitted() {
                true => left.push(format!("{} is {}", target.id, decision.outcome)),
                false => self.context.ui.note(format!(
                    "read back from DPS: {} is {}",
                    target.id, decision.outcome
                )),
            }
        }
        match left.is_empty() {
            true => Ok(()),
            false => Err(CommandError::new(
                ErrorKind::PartlyFailed,
                format!(
                    "{} still let in",
                    counted(left.len(), "device is", "devices are")
                ),
            )
            .lines(&left)
            .hint("run it again")),
        }
    }
}

/// One plan for all: everybody is out of DPS before the first hub is told, and the records go last.
fn together(requests: &[Deprovision], states: &[QuarantineState]) -> Plan {
    let plans: Vec<Plan> = requests
        .iter()
        .zip(states)
        .map(|(request, state)| deprovision(request, state))
        .collect();
    let mut plan = match plans.as_slice() {
        [only] => return only.clone(),
        plans => Plan::new(format!("{GOAL_OF_DEPROVISIONING}{} devices", plans.len())),
    };
    for one in plans {
        plan.steps.extend(one.steps);
        plan.notes.extend(one.notes);
    }
    plan.steps.sort_by_key(|step| match step {
        Step::PutIndividual { .. } | Step::DeleteIndividual { .. } => 0,
        Step::DisableHubDevice { .. } | Step::DeleteHubDevice { .. } => 1,
        _ => 2,
    });
    plan
}

fn is_known(state: &QuarantineState) -> bool {
    state.individual.is_some() || state.registration.is_some() || !state.hub_identities.is_empty()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    #[serde(flatten)]
    judged: Judged,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<Proof>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = self.done;
        let planned = PlanAndImpact::proposed(&self.judged);
        write!(f, "{}", Outline(PlanAndImpact { done, ..planned }))?;
        match &self.proof {
            Some(proof) => write!(f, "\n{proof}"),
            None => Ok(()),
        }
    }
}
