//! `deprovision`: devices and groups leave for good, in two halves: disenrolled in DPS, then
//! deregistered from their hubs.

mod group;
mod members;

use std::fmt;

use dps_operations::judge::Judged;
use pki_core::admission::{DpsView, PresentedChain, explain};
use pki_core::ids::{DpsName, EnrollmentGroupId, RegistrationId};
use pki_core::inventory::Inventory as _;
use pki_core::journal::Journal as _;
use pki_core::lifecycle::{
    Deprovision, GOAL_OF_DEPROVISIONING, HubAction, Plan, Promise, QuarantineState, Step, Subject,
    Who, deprovision,
};
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::counted;
use serde::Serialize;

use self::group::{Proof, group_everywhere};
use super::everywhere::{Problems, Within, instances};
use super::quarantine::state::{self, Gathered};
use super::quarantine::target::{Target, targets};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};
use crate::execute::{Execution, Failures, Proposal};
use crate::hubs::refuse_unread;
use crate::judged;
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
        let all = instances(context)?;
        let mut inventory = context.inventory()?;
        match &self.group {
            Some(group) => group_everywhere(context, &all, &mut inventory, group),
            None => devices_everywhere(context, &all, &mut inventory, &self.ids),
        }
    }
}

/// What one DPS instance holds while somebody leaves.
struct Leaving<'a> {
    context: &'a Context,
    planes: &'a Planes<'a>,
    /// Its name, where there are several.
    dps: Option<&'a DpsName>,
    snapshot: DpsSnapshot,
    view: DpsView,
}

/// The devices leave every instance.
fn devices_everywhere(
    context: &Context,
    all: &[Planes<'_>],
    inventory: &mut SqliteInventory,
    words: &[String],
) -> CommandResult {
    let targets = targets(context, inventory, words)?;
    let ids: Vec<&RegistrationId> = targets.iter().map(|target| &target.id).collect();
    let mut problems = Problems::default();
    let mut parts = Vec::new();
    for planes in all {
        let dps = (all.len() > 1).then(|| planes.name());
        let snapshot = context.wait_for(DpsSnapshot::around(planes, &ids));
        let gathered = snapshot.and_then(|snapshot| {
            let leaving = Leaving::new(context, planes, dps, snapshot)?;
            let gathered = leaving.gather(inventory, &targets)?;
            Ok((leaving, gathered))
        });
        match gathered {
            Ok(part) => parts.push(part),
            Err(error) => problems.note(dps, Err(error))?,
        }
    }
    for (index, target) in targets.iter().enumerate() {
        let mut is_known = parts.is_empty();
        for (leaving, gathered) in &parts {
            is_known = is_known
                || is_there(&gathered.states[index])
                || leaving.has_known(inventory, target)?;
        }
        if !is_known {
            return Err(unknown_device(inventory, &target.id)?);
        }
    }
    for (leaving, gathered) in &parts {
        let done = leaving.devices(inventory, &targets, gathered);
        problems.note(leaving.dps, done)?;
    }
    problems.end()
}

impl<'a> Leaving<'a> {
    fn new(
        context: &'a Context,
        planes: &'a Planes<'a>,
        dps: Option<&'a DpsName>,
        snapshot: DpsSnapshot,
    ) -> Result<Self, CommandError> {
        Ok(Self {
            view: snapshot.view()?,
            context,
            planes,
            dps,
            snapshot,
        })
    }

    fn gather(
        &self,
        inventory: &SqliteInventory,
        targets: &[Target],
    ) -> Result<Gathered, CommandError> {
        let gathered = state::gather(
            self.planes,
            inventory,
            &self.snapshot,
            targets,
            HubAction::Delete,
        );
        self.context.block_on(gathered)
    }

    fn devices(
        &self,
        inventory: &mut SqliteInventory,
        targets: &[Target],
        gathered: &Gathered,
    ) -> Result<(), CommandError> {
        let requests: Result<Vec<Deprovision>, CommandError> = targets
            .iter()
            .map(|target| self.request(inventory, target))
            .collect();
        let plan = together(&requests?, &gathered.states);
        let refuses = targets.iter().map(|target| target.id.clone());
        let promise = Promise {
            refuses: Who::Devices(refuses.collect()),
            ..Promise::default()
        };
        let failures = match targets.len() {
            0 | 1 => Failures::Stop,
            _ => Failures::GoOn,
        };
        let ids: Vec<&RegistrationId> = targets.iter().map(|target| &target.id).collect();
        let (context, planes) = (self.context, self.planes);
        let judged =
            judged::plan_of_devices(context, planes, inventory, &self.view, plan, &promise, &ids)?;
        let (shown, execution) = self.carry_out(inventory, judged, failures)?;
        let dps = self.dps;
        self.context.ui.item(&Within { dps, result: shown })?;
        if self.context.settings.dry_run {
            return Ok(());
        }
        self.prove(inventory, targets)?;
        execution.check()?;
        refuse_unread(&gathered.unread)
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
        let now = self.context.now();
        Ok(Deprovision {
            registration_id: target.id.clone(),
            leaf: target.leaf.clone(),
            without_entry: state::without_entry(inventory, &self.view, target, now)?,
        })
    }

    fn carry_out(
        &self,
        inventory: &mut SqliteInventory,
        judged: Judged,
        failures: Failures,
    ) -> Result<(Report, Execution), CommandError> {
        let shown = Outline(PlanAndImpact::proposed(&judged));
        let proposal = Proposal {
            failures,
            ..Proposal::new(&judged.plan, &shown).within(self.dps)
        };
        let execution = proposal.carry_out(self.context, self.planes, inventory)?;
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
            .wait_for(DpsSnapshot::about(self.planes, &ids))?
            .view()?;
        let mut left = Vec::new();
        for target in targets {
            let chain = match &target.leaf {
                Some(leaf) => chain_of(inventory, leaf)?,
                None => PresentedChain::known(Some(target.id.to_string()), vec![]),
            };
            let decision = explain(&view, &chain);
            if !decision.is_kept_out() {
                left.push(format!("{} is {}", target.id, decision.outcome))
            } else {
                self.context.ui.note(format!(
                    "read back from DPS: {} is {}",
                    target.id, decision.outcome
                ))
            }
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(CommandError::new(
                ErrorKind::PartlyFailed,
                format!(
                    "{} still let in",
                    counted(left.len(), "device is", "devices are")
                ),
            )
            .lines(&left)
            .hint("run it again"))
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
        Step::Individual(_) => 0,
        Step::HubDevice(_) => 1,
        _ => 2,
    });
    plan
}

fn is_there(state: &QuarantineState) -> bool {
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
