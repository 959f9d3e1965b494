//! A group leaves with all its devices: disabled first, deleted last. Then DPS is read again, and none of
//! the devices that it decided about may get in by another group.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;

use pki_core::admission::{DpsView, outcome_below};
use pki_core::enrollment::{EnrollmentGroup, ProvisioningStatus, RegistrationState};
use pki_core::ids::{AuthorityName, EnrollmentGroupId, Generation};
use pki_core::journal::{Journal as _, PlanRecord};
use pki_core::lifecycle::{
    Fleet, GOAL_OF_DEPROVISIONING, HubIdentity, Impact, Movement, Plan, Promise, Step, Subject,
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
use crate::registered::{Registered, records_of_groups, shows_leaf_of, with_identities};
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
        let registered = self.devices_of(inventory, id, falls_to.is_empty())?;
        let mut plan = deprovision_group(group, &registered.devices, &falls_to);
        plan.notes.extend(registered.notes());
        if self.planes.declared().groups.contains_key(id) {
            plan.notes.push(format!(
                "pki.toml declares enrollment group {id}: take it out of there; apply refuses to make it again as long as nobody says so"
            ));
        }
        // Their records go on to tell which hub it is only as long as they are there, whatever their group.
        let unread = registered.unread;
        self.let_go(inventory, id, plan, &self.view)?;
        match self.context.settings.dry_run {
            true => Ok(()),
            false => refuse_unread(&unread),
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
        let subject = Subject::Group(id.clone());
        let name = self.planes.name();
        let goal = GOAL_OF_DEPROVISIONING;
        if let Some(finished) = inventory.finished_plan(name, goal, &subject)? {
            return Ok(Some(finished));
        }
        for open in inventory.plans_in_the_way(name, &[subject.key()].into())? {
            if open.goal.starts_with(goal) {
                return Ok(inventory.plan(open.plan)?);
            }
        }
        Ok(None)
    }

    /// Who is on which hub, while the group can still tell: its registration records, and the identities of
    /// those of its devices that have none. A group that stays refuses its devices, and the record of a
    /// refused attempt is made again whenever the device knocks: it counts only if the group goes.
    fn devices_of(
        &self,
        inventory: &SqliteInventory,
        id: &EnrollmentGroupId,
        goes: bool,
    ) -> Result<Registered, CommandError> {
        let now = self.context.now();
        let fleet = Fleet::gather(inventory, now, self.view.individual_ids())?;
        let mut members = BTreeSet::new();
        for (index, class) in fleet.classes.iter().enumerate() {
            let decides = Verdict::from(outcome_below(&self.view, &class.above));
            if decides.group() == Some(id) {
                fleet.name_members(index, inventory, now, |id| {
                    members.insert(id);
                    ControlFlow::Continue(())
                })?;
            }
        }
        self.context.block_on(async {
            let is_wanted = |_: &EnrollmentGroupId, record: &RegistrationState| {
                Ok(goes || record.assigned_hub.is_some())
            };
            let records = records_of_groups(self.planes, [id], is_wanted).await?;
            let mut registered = with_identities(self.planes, records).await;
            let is_meant = |found: &HubIdentity| shows_leaf_of(inventory, found, now, |_| true);
            registered
                .add_unlisted(self.planes, members, is_meant)
                .await?;
            Ok(registered)
        })
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
            notes: vec![note],
            ..Plan::new(earlier.plan.goal)
        };
        self.let_go(inventory, id, plan, &with_group)
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
        let promise = Promise {
            refuses: Who::Anybody,
            reopens: [Subject::Group(id.clone())].into(),
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
            shown.proof = Some(self.proof(inventory, id, with_group)?);
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

    /// Reads DPS again, and decides about the devices of the group.
    fn proof(
        &self,
        inventory: &SqliteInventory,
        id: &EnrollmentGroupId,
        with_group: &DpsView,
    ) -> Result<Proof, CommandError> {
        let snapshot = self.context.wait_for(DpsSnapshot::gather(self.planes))?;
        let found = snapshot.view()?;
        let individual = with_group.individual_ids().chain(found.individual_ids());
        let fleet = Fleet::gather(inventory, self.context.now(), individual)?;
        let decisions = Impact::compare(with_group, &found, &fleet).movements;
        let decisions = decisions.iter();
        let of_group = decisions.filter(|decision| decision.before.group() == Some(id));
        Ok(Proof {
            enrollment_group: id.clone(),
            status: found.group(id).map(|group| group.status),
            devices: of_group.map(Decided::from).collect(),
        })
    }
}

/// The group as a plan that was carried out has disabled it.
fn disabled_by<'a>(plan: &'a PlanRecord, id: &EnrollmentGroupId) -> Option<&'a EnrollmentGroup> {
    let mut steps = plan.plan.steps.iter();
    steps.find_map(|step| match step {
        Step::PutGroup { group, .. } if group.enrollment_group_id == *id => Some(&**group),
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
    is_admitted: bool,
}

impl Proof {
    /// The group must be gone or disabled, and all of its devices out.
    fn check(&self) -> Result<(), CommandError> {
        let id = &self.enrollment_group;
        if self.status == Some(ProvisioningStatus::Enabled) {
            let message = format!("enrollment group {id} is there, and enabled again");
            return Err(CommandError::new(ErrorKind::Conflict, message).hint("run it again"));
        }
        let admitted = self.devices.iter().filter(|decided| decided.is_admitted);
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
            is_admitted: movement.after.is_admitted(),
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.status {
            None => "gone",
            Some(ProvisioningStatus::Disabled) => "disabled",
            Some(_) => "enabled",
        };
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
