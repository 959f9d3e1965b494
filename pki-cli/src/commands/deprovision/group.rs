//! A group leaves with all its devices: disabled first, deleted last. Then DPS is read again, and none of
//! the devices that it decided about may get in by another group.

use std::collections::BTreeSet;
use std::fmt;

use pki_core::admission::{DpsView, outcome_below};
use pki_core::enrollment::{EnrollmentGroup, ProvisioningStatus};
use pki_core::ids::{AuthorityName, EnrollmentGroupId, Generation, RegistrationId};
use pki_core::journal::{Journal as _, PlanRecord};
use pki_core::lifecycle::{
    Expectation, Fleet, GOAL_OF_DEPROVISIONING, Impact, Movement, Plan, Promise, Step, Subject,
    Verdict, Who, deprovision_group,
};
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::counted;
use serde::Serialize;

use super::Leaving;
use crate::commands::everywhere::{Problems, Within};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};
use crate::execute::Failures;
use crate::hubs::refuse_unread;
use crate::judged;
use crate::planes::Planes;
use crate::snapshot::DpsSnapshot;

/// A group leaves every instance that has it, or has had it.
pub(super) fn group_everywhere(
    context: &Context,
    all: &[Planes<'_>],
    inventory: &mut SqliteInventory,
    id: &EnrollmentGroupId,
) -> CommandResult {
    let mut problems = Problems::default();
    let mut parts = Vec::new();
    for planes in all {
        let dps = (all.len() > 1).then(|| planes.name());
        let snapshot = context.wait_for(DpsSnapshot::gather(planes));
        match snapshot.and_then(|snapshot| Leaving::new(context, planes, dps, snapshot)) {
            Ok(leaving) => parts.push(leaving),
            Err(error) => problems.note(dps, Err(error))?,
        }
    }
    let mut concerned = Vec::new();
    for leaving in &parts {
        if leaving.held(id).is_some() || leaving.earlier(inventory, id)?.is_some() {
            concerned.push(leaving);
        }
    }
    if let (Some(first), true) = (parts.first(), concerned.is_empty()) {
        return Err(first.no_group(id));
    }
    for leaving in concerned {
        let done = leaving.group(inventory, id);
        problems.note(leaving.dps, done)?;
    }
    problems.end()
}

impl Leaving<'_> {
    fn group(
        &self,
        inventory: &mut SqliteInventory,
        id: &EnrollmentGroupId,
    ) -> Result<(), CommandError> {
        let Some(group) = self.held(id) else {
            return self.gone_group(inventory, id);
        };
        let falls_to = self.falls_to(inventory, id)?;
        let members = self.members(inventory, id, falls_to.is_empty())?;
        let registered = members.registered;
        let entries = &members.entries;
        let mut plan = deprovision_group(group, &registered.devices, entries, &falls_to);
        // While it is there, the same command goes on with the hub; nobody would know of its devices afterwards.
        if !registered.unread.is_empty() && falls_to.is_empty() {
            plan.steps.retain(|step| match step {
                Step::Group(step) => step.document().is_some(),
                Step::Individual(step) => step.document().is_some(),
                _ => true,
            });
            plan.notes.push(format!(
                "enrollment group {id} stays, disabled, until the hubs of its devices can be read"
            ));
        }
        plan.notes.extend(registered.notes());
        if self.planes.declared().groups.contains_key(id) {
            plan.notes.push(format!(
                "pki.toml declares enrollment group {id}: take it out of there; apply refuses to make it again as long as nobody says so"
            ));
        }
        // Their records go on to tell which hub it is only as long as they are there, whatever their group.
        let unread = registered.unread;
        self.let_go(inventory, id, plan, &self.view)?;
        if self.context.settings.dry_run {
            Ok(())
        } else {
            refuse_unread(&unread)
        }
    }

    fn held(&self, id: &EnrollmentGroupId) -> Option<&EnrollmentGroup> {
        let mut groups = self.snapshot.groups.iter();
        groups.find(|group| group.enrollment_group_id == *id)
    }

    /// The plan by which a group has left before, whether it was noted to its end or not.
    fn earlier(
        &self,
        inventory: &SqliteInventory,
        id: &EnrollmentGroupId,
    ) -> Result<Option<PlanRecord>, CommandError> {
        if let Some(open) = self.open_plan(inventory, id)? {
            return Ok(Some(open));
        }
        let subject = Subject::Group(id.clone());
        let name = self.planes.name();
        Ok(inventory.finished_plan(name, GOAL_OF_DEPROVISIONING, &subject)?)
    }

    /// The plan by which a group was leaving when that was cut.
    pub(super) fn open_plan(
        &self,
        inventory: &SqliteInventory,
        id: &EnrollmentGroupId,
    ) -> Result<Option<PlanRecord>, CommandError> {
        let subject = Subject::Group(id.clone());
        let name = self.planes.name();
        for open in inventory.plans_in_the_way(name, &[subject.key()].into())? {
            if open.goal.starts_with(GOAL_OF_DEPROVISIONING) {
                return Ok(inventory.plan(open.plan)?);
            }
        }
        Ok(None)
    }

    /// A group that DPS does not have: it has left before, or there is none of that name.
    fn gone_group(
        &self,
        inventory: &mut SqliteInventory,
        id: &EnrollmentGroupId,
    ) -> Result<(), CommandError> {
        let Some(earlier) = self.earlier(inventory, id)? else {
            return Err(self.no_group(id));
        };
        let mut with_group = self.view.clone();
        if let Some(group) = disabled_by(&earlier, id) {
            with_group.put_group(group)?;
        }
        let note = format!("plan {} of {} did it", earlier.id, earlier.opened_at);
        let plan = Plan {
            steps: self.left_of(&earlier),
            notes: vec![note],
            ..Plan::new(earlier.plan.goal)
        };
        self.let_go(inventory, id, plan, &with_group)
    }

    /// The entries that a plan was to delete after the group when it was cut, if they are as it left them.
    fn left_of(&self, earlier: &PlanRecord) -> Vec<Step> {
        if !earlier.state.is_open() {
            return vec![];
        }
        let deleted = deleted_by(earlier).filter_map(|id| self.snapshot.individual(id));
        let disabled =
            deleted.filter(|entry| entry.provisioning_status == ProvisioningStatus::Disabled);
        disabled
            .map(|entry| {
                let expect = Expectation::of(entry.etag.as_ref());
                Step::delete_individual(entry.registration_id.clone(), expect)
            })
            .collect()
    }

    /// Carries out what is left to do, and proves what came of it for the devices that the group decides
    /// about in `with_group`.
    fn let_go(
        &self,
        inventory: &mut SqliteInventory,
        id: &EnrollmentGroupId,
        plan: Plan,
        with_group: &DpsView,
    ) -> Result<(), CommandError> {
        let mut entries = BTreeSet::new();
        let mut reopens = BTreeSet::from([Subject::Group(id.clone())]);
        for step in &plan.steps {
            // What the plan itself has disabled goes with the group.
            if let Step::Individual(step) = step
                && step.document().is_none()
            {
                reopens.insert(Subject::Device(step.id().clone()));
            }
            entries.extend(step.device().cloned());
        }
        let promise = Promise {
            refuses: Who::Anybody,
            reopens,
            ..Promise::default()
        };
        let judged = judged::plan(
            self.context,
            self.planes,
            inventory,
            &self.view,
            plan,
            &promise,
        )?;
        let (mut shown, _) = self.carry_out(inventory, judged, Failures::Stop)?;
        if !self.context.settings.dry_run {
            shown.proof = Some(self.proof(inventory, id, with_group, &entries)?);
        }
        let dps = self.dps;
        let shown = Within { dps, result: shown };
        self.context.ui.item(&shown)?;
        match &shown.result.proof {
            Some(proof) => proof.check(),
            None => Ok(()),
        }
    }

    fn no_group(&self, id: &EnrollmentGroupId) -> CommandError {
        let known = self.snapshot.groups.iter();
        let known: Vec<&str> = known
            .map(|group| group.enrollment_group_id.as_str())
            .collect();
        let message = format!("DPS {} has no enrollment group {id}", self.planes.name());
        let error = CommandError::not_found(message);
        match known.as_slice() {
            [] => error,
            known => error.hint(format!("there are: {}", known.join(", "))),
        }
    }

    /// The groups that would decide about the devices of a group if it were gone, enabled or not: those of the
    /// inventory, and whatever else is below its certificates.
    fn falls_to(
        &self,
        inventory: &SqliteInventory,
        id: &EnrollmentGroupId,
    ) -> Result<Vec<EnrollmentGroupId>, CommandError> {
        let mut without = self.view.clone();
        without.remove_group(id);
        let fleet = Fleet::gather(inventory, self.context.now(), [])?;
        let fallen = fleet.classes.iter().filter_map(|class| {
            let now = Verdict::from(outcome_below(&self.view, &class.above));
            let then = Verdict::from(outcome_below(&without, &class.above));
            let falls = now.group() == Some(id);
            then.group().filter(|_| falls).cloned()
        });
        let mut found: Vec<EnrollmentGroupId> = fallen.collect();
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Reads DPS again, and decides about the devices of the group, and those whose `entries` were changed.
    fn proof(
        &self,
        inventory: &SqliteInventory,
        id: &EnrollmentGroupId,
        with_group: &DpsView,
        entries: &BTreeSet<RegistrationId>,
    ) -> Result<Proof, CommandError> {
        let snapshot = self.context.wait_for(DpsSnapshot::gather(self.planes))?;
        let found = snapshot.view()?;
        let individual = with_group.individual_ids().chain(found.individual_ids());
        let fleet = Fleet::gather(inventory, self.context.now(), individual)?;
        let decisions = Impact::compare(with_group, &found, &fleet).movements;
        let of_group = decisions
            .iter()
            .filter(|decision| decision.before.group() == Some(id));
        let own = Impact::compare(with_group, &found, &fleet.of_devices(entries)).movements;
        Ok(Proof {
            enrollment_group: id.clone(),
            status: found.group(id).map(|group| group.status.clone()),
            devices: of_group.chain(&own).map(Decided::from).collect(),
        })
    }
}

/// The devices whose entries a plan deletes.
pub(super) fn deleted_by(plan: &PlanRecord) -> impl Iterator<Item = &RegistrationId> {
    plan.plan.steps.iter().filter_map(|step| match step {
        Step::Individual(step) if step.document().is_none() => Some(step.id()),
        _ => None,
    })
}

/// The group as a plan that was carried out has disabled it.
fn disabled_by<'a>(plan: &'a PlanRecord, id: &EnrollmentGroupId) -> Option<&'a EnrollmentGroup> {
    let mut steps = plan.plan.steps.iter();
    steps.find_map(|step| match step {
        Step::Group(step) if step.id() == id => step.document(),
        _ => None,
    })
}

/// What was read back.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Proof {
    enrollment_group: EnrollmentGroupId,
    /// `null` where the group is gone.
    status: Option<ProvisioningStatus>,
    /// What DPS decides now about the devices that the group decided about.
    devices: Vec<Decided>,
}

/// Leaves about which DPS decides alike.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Decided {
    /// Who signed them; `null` if that was done outside of this home.
    authority: Option<AuthorityName>,
    generation: Option<Generation>,
    leaves: u64,
    outcome: String,
    #[serde(skip)]
    is_kept_out: bool,
}

impl Proof {
    /// The group must be gone or disabled, and all of its devices out.
    fn check(&self) -> Result<(), CommandError> {
        let id = &self.enrollment_group;
        if let Some(status) = &self.status
            && *status != ProvisioningStatus::Disabled
        {
            let message = format!("enrollment group {id} is there, and {status} again");
            return Err(CommandError::new(ErrorKind::Conflict, message).hint("run it again"));
        }
        let admitted = self.devices.iter().filter(|decided| !decided.is_kept_out);
        let admitted: Vec<&Decided> = admitted.collect();
        if admitted.is_empty() {
            return Ok(());
        }
        let message = format!("devices of enrollment group {id} are still let in");
        let error = CommandError::new(ErrorKind::Conflict, message).lines(&admitted);
        let signers = admitted
            .iter()
            .filter_map(|decided| decided.authority.as_ref());
        Err(signers.fold(error, |error, name| {
            error.hint(format!(
                "shut them out with: dps-pki quarantine --authority {name}"
            ))
        }))
    }
}

impl From<&Movement> for Decided {
    fn from(movement: &Movement) -> Self {
        let signer = movement.signed_by.as_ref();
        Self {
            authority: signer.map(|signer| signer.name.clone()),
            generation: signer.map(|signer| signer.generation),
            leaves: movement.leaves,
            outcome: movement.after.to_string(),
            is_kept_out: movement.after.admits() == Some(false),
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.status.as_ref();
        let state = state.map_or("gone", ProvisioningStatus::as_str);
        let id = &self.enrollment_group;
        write!(f, "read back from DPS: enrollment group {id} is {state}")?;
        for decided in &self.devices {
            write!(f, "\nread back from DPS: {decided}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Decided {
    /// `2 leaves of factory generation 1: refused: no enrollment …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&counted(self.leaves, "leaf", "leaves"))?;
        match (&self.authority, self.generation) {
            (Some(name), Some(generation)) => write!(f, " of {name} generation {generation}")?,
            _ => f.write_str(" of a foreign signer")?,
        }
        write!(f, ": {}", self.outcome)
    }
}
