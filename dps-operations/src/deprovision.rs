//! Deprovisioning: devices and groups leave for good, disenrolled in DPS first, then deregistered from
//! their hubs. Then DPS is read again, and none of them may get in.
//!
//! Devices are a [`Request`]; a group with all its devices is [`LeavingGroup`].

mod elsewhere;
mod group;
mod members;

use pki_core::admission::{Decision, DpsView};
use pki_core::ids::RegistrationId;
use pki_core::inventory::InventoryError;
use pki_core::lifecycle::{
    Deprovision, GOAL_OF_DEPROVISIONING, HubAction, Plan, QuarantineState, Step, Subject,
    deprovision,
};

use crate::devices::{self, Gathered, without_entry};
use crate::execute::Failures;
use crate::gather::{DpsSnapshot, GatherError};
use crate::hubs::UnreadHub;
use crate::instance::Surroundings;
use crate::judge::{Judge, Judged};
use crate::planning::PlanningError;
use crate::quarantine;
use crate::target::Target;

pub use group::{Decided, GroupProof, LeavingGroup, NotGone, PreparedGroup};

/// Which devices leave.
#[derive(Debug, Clone)]
pub struct Request {
    /// The devices, each once.
    pub targets: Vec<Target>,
}

/// What there is of the devices in one instance.
#[derive(Debug)]
pub struct Prepared {
    view: DpsView,
    gathered: Gathered,
}

impl Request {
    /// Looks at what an instance, its hubs and the inventory have of the devices.
    ///
    /// # Errors
    /// [`GatherError`] if one of them cannot be read.
    pub async fn prepare(&self, around: Surroundings<'_>) -> Result<Prepared, GatherError> {
        let snapshot = DpsSnapshot::around(around.instance, &self.ids()).await?;
        let view = snapshot.view()?;
        let gathered = devices::gather(around, &snapshot, &self.targets, HubAction::Delete).await?;
        Ok(Prepared { view, gathered })
    }

    /// The first device that none of these instances, nor the inventory, nor the journal knows.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    pub fn unknown(
        &self,
        instances: &[(Surroundings<'_>, &Prepared)],
    ) -> Result<Option<&RegistrationId>, InventoryError> {
        for (index, target) in self.targets.iter().enumerate() {
            let mut is_known = instances.is_empty();
            for (around, prepared) in instances {
                is_known =
                    is_known || prepared.gathered.is_there(index) || has_known(*around, target)?;
            }
            if !is_known {
                return Ok(Some(&target.id));
            }
        }
        Ok(None)
    }

    /// One device's plan stops at its first failure; of several the others go on.
    pub fn failures(&self) -> Failures {
        match self.targets.len() {
            0 | 1 => Failures::Stop,
            _ => Failures::GoOn,
        }
    }

    /// Reads DPS again, and decides about each device, in their order.
    ///
    /// # Errors
    /// [`GatherError`] if DPS or the inventory cannot be read.
    pub async fn read_back(&self, around: Surroundings<'_>) -> Result<Vec<Decision>, GatherError> {
        quarantine::read_back(around, &self.targets).await
    }

    fn ids(&self) -> Vec<&RegistrationId> {
        self.targets.iter().map(|target| &target.id).collect()
    }
}

impl Prepared {
    /// Plans how the devices leave, and puts it through the checker: they are refused, and nobody else.
    ///
    /// # Errors
    /// [`PlanningError`]: it would do more, or the inventory cannot be read.
    pub fn judge(
        &self,
        around: Surroundings<'_>,
        request: &Request,
    ) -> Result<Judged, PlanningError> {
        let now = around.now();
        let mut asked = Vec::with_capacity(request.targets.len());
        for target in &request.targets {
            asked.push(Deprovision {
                registration_id: target.id.clone(),
                leaf: target.leaf.clone(),
                without_entry: without_entry(around.journal, &self.view, target, now)?,
            });
        }
        let plan = together(&asked, &self.gathered.states);
        let judge = Judge::of(around, &self.view);
        let rate = around.instance.rate();
        Ok(judge.plan_that_refuses(plan, rate, &request.ids())?)
    }

    /// The devices whose hubs cannot be read.
    pub fn unread(&self) -> &[UnreadHub] {
        &self.gathered.unread
    }
}

/// Whether the inventory has a certificate of a device, or the journal that it has left before.
fn has_known(around: Surroundings<'_>, target: &Target) -> Result<bool, InventoryError> {
    let id = &target.id;
    if target.entry.is_some() || !around.journal.certificates_of(id)?.is_empty() {
        return Ok(true);
    }
    let subject = Subject::Device(id.clone());
    let name = around.instance.name;
    let earlier = around
        .journal
        .finished_plan(name, GOAL_OF_DEPROVISIONING, &subject)?;
    Ok(earlier.is_some())
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
