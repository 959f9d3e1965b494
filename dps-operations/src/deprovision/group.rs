//! A group leaves with all its devices: disabled first, deleted last. None of the devices that it decided
//! about may get in by another group afterwards.

use std::collections::BTreeSet;

use pki_core::admission::{DpsView, outcome_below};
use pki_core::enrollment::{EnrollmentGroup, ProvisioningStatus};
use pki_core::ids::{AuthorityGeneration, EnrollmentGroupId, RegistrationId};
use pki_core::inventory::InventoryError;
use pki_core::journal::PlanRecord;
use pki_core::lifecycle::{
    Expectation, Fleet, GOAL_OF_DEPROVISIONING, Impact, Movement, Plan, Promise, Step, Subject,
    Verdict, Who, deprovision_group, shut_out_earlier_leaves,
};

use crate::gather::{DpsSnapshot, GatherError};
use crate::hubs::UnreadHub;
use crate::instance::Surroundings;
use crate::judge::{Judge, JudgeError, Judged};
use crate::planning::PlanningError;

/// A group that leaves, and what an instance holds while it does.
#[derive(Debug)]
pub struct LeavingGroup {
    pub(super) id: EnrollmentGroupId,
    pub(super) snapshot: DpsSnapshot,
    pub(super) view: DpsView,
}

/// What is to be done in one instance.
#[derive(Debug)]
pub struct PreparedGroup {
    id: EnrollmentGroupId,
    plan: Plan,
    view: DpsView,
    /// What decides about the group's devices while it is there.
    with_group: DpsView,
    /// The devices that others would let in by an earlier leaf.
    by_earlier_leaves: BTreeSet<RegistrationId>,
    /// The devices whose hubs cannot be read.
    pub unread: Vec<UnreadHub>,
}

/// What was read back.
#[derive(Debug, Clone)]
pub struct GroupProof {
    /// The group.
    pub id: EnrollmentGroupId,
    /// `None` where the group is gone.
    pub status: Option<ProvisioningStatus>,
    /// What DPS decides now about the devices that the group decided about.
    pub devices: Vec<Decided>,
}

/// Leaves about which DPS decides alike.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Who signed them; `None` if that was done outside of this home.
    pub signed_by: Option<AuthorityGeneration>,
    /// How many there are.
    pub leaves: u64,
    /// What DPS decides.
    pub outcome: Verdict,
}

/// Why a group has not left as it was to.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NotGone {
    /// It lets devices in.
    #[error("enrollment group {id} is there, and {status} again")]
    There {
        /// The group.
        id: EnrollmentGroupId,
        /// Not disabled.
        status: ProvisioningStatus,
    },
    /// Others let its devices in.
    #[error("devices of enrollment group {id} are still let in")]
    LetIn {
        /// The group.
        id: EnrollmentGroupId,
        /// Which.
        devices: Vec<Decided>,
    },
}

impl LeavingGroup {
    /// Looks at an instance.
    ///
    /// # Errors
    /// [`GatherError`] if DPS cannot be read.
    pub async fn gather(
        around: Surroundings<'_>,
        id: &EnrollmentGroupId,
    ) -> Result<Self, GatherError> {
        let snapshot = DpsSnapshot::gather(around.instance).await?;
        Ok(Self {
            id: id.clone(),
            view: snapshot.view()?,
            snapshot,
        })
    }

    /// Whether the instance has the group, or has had it.
    ///
    /// # Errors
    /// [`InventoryError`] if the journal cannot be read.
    pub fn is_known(&self, around: Surroundings<'_>) -> Result<bool, InventoryError> {
        Ok(self.held().is_some() || self.earlier(around)?.is_some())
    }

    /// The groups that the instance has.
    pub fn groups(&self) -> impl Iterator<Item = &EnrollmentGroupId> {
        self.snapshot
            .groups
            .iter()
            .map(|group| &group.enrollment_group_id)
    }

    /// Plans how the group leaves; what is left to do, if it is gone. `None` if there was never one of the
    /// name.
    ///
    /// # Errors
    /// [`PlanningError`] if something cannot be read.
    pub async fn prepare(
        &self,
        around: Surroundings<'_>,
    ) -> Result<Option<PreparedGroup>, PlanningError> {
        let id = &self.id;
        let Some(group) = self.held() else {
            return self.gone(around).await;
        };
        let falls_to = self.falls_to(around)?;
        let members = self.members(around, falls_to.is_empty()).await?;
        let mut plan = deprovision_group(group, &members.planned, &falls_to);
        // While it is there, the same command goes on with the hub; nobody would know of its devices afterwards.
        if !members.unread.is_empty() && falls_to.is_empty() {
            plan.steps.retain(|step| match step {
                Step::Group(step) => step.document().is_some(),
                Step::Individual(step) => step.document().is_some(),
                _ => true,
            });
            plan.notes.push(format!(
                "enrollment group {id} stays, disabled, until the hubs of its devices can be read"
            ));
        }
        plan.notes.extend(members.notes);
        if around.instance.declared.groups.contains_key(id) {
            plan.notes.push(if falls_to.is_empty() {
                format!("pki.toml declares enrollment group {id}: take it out of there; apply refuses to make it again as long as nobody says so")
            } else {
                format!("pki.toml declares enrollment group {id}: declare it with status = \"disabled\" there, as long as it stays")
            });
        }
        Ok(Some(PreparedGroup {
            id: id.clone(),
            plan,
            view: self.view.clone(),
            with_group: self.view.clone(),
            by_earlier_leaves: members.by_earlier_leaves,
            // Their records go on to tell which hub it is only as long as they are there, whatever their group.
            unread: members.unread,
        }))
    }

    fn held(&self) -> Option<&EnrollmentGroup> {
        self.snapshot
            .groups
            .iter()
            .find(|group| group.enrollment_group_id == self.id)
    }

    /// The plan by which the group has left before, whether it was noted to its end or not.
    fn earlier(&self, around: Surroundings<'_>) -> Result<Option<PlanRecord>, InventoryError> {
        if let Some(open) = self.open_plan(around)? {
            return Ok(Some(open));
        }
        let subject = Subject::Group(self.id.clone());
        let name = around.instance.name;
        around
            .journal
            .finished_plan(name, GOAL_OF_DEPROVISIONING, &subject)
    }

    /// The plan by which the group was leaving when that was cut.
    pub(super) fn open_plan(
        &self,
        around: Surroundings<'_>,
    ) -> Result<Option<PlanRecord>, InventoryError> {
        let subject = Subject::Group(self.id.clone());
        let name = around.instance.name;
        let open = around
            .journal
            .plans_in_the_way(name, &[subject.key()].into())?;
        let leaving = open
            .iter()
            .find(|plan| plan.goal.starts_with(GOAL_OF_DEPROVISIONING));
        match leaving {
            Some(plan) => around.journal.plan(plan.plan),
            None => Ok(None),
        }
    }

    /// What is left to do of a group that DPS does not have, if it has left before.
    async fn gone(&self, around: Surroundings<'_>) -> Result<Option<PreparedGroup>, PlanningError> {
        let Some(earlier) = self.earlier(around)? else {
            return Ok(None);
        };
        let group = disabled_by(&earlier, &self.id);
        let mut with_group = self.view.clone();
        if let Some(group) = group {
            with_group.put_group(group)?;
        }
        let members = self.members_of_gone(around, group).await?;
        let mut plan = shut_out_earlier_leaves(&self.id, &members.planned);
        plan.goal.clone_from(&earlier.plan.goal);
        plan.steps.extend(self.left_of(&earlier));
        let done = format!("plan {} of {} did it", earlier.id, earlier.opened_at);
        plan.notes.insert(0, done);
        plan.notes.extend(members.notes);
        Ok(Some(PreparedGroup {
            id: self.id.clone(),
            plan,
            view: self.view.clone(),
            with_group,
            by_earlier_leaves: members.by_earlier_leaves,
            unread: members.unread,
        }))
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

    /// The groups that would decide about the devices of the group if it were gone, enabled or not: those of
    /// the inventory, and whatever else is below its certificates.
    fn falls_to(&self, around: Surroundings<'_>) -> Result<Vec<EnrollmentGroupId>, InventoryError> {
        let mut without = self.view.clone();
        without.remove_group(&self.id);
        let fleet = Fleet::gather(around.journal, around.now(), [])?;
        let mut found = BTreeSet::new();
        for class in &fleet.classes {
            let now = Verdict::from(outcome_below(&self.view, &class.above));
            let then = Verdict::from(outcome_below(&without, &class.above));
            if now.group() == Some(&self.id) {
                found.extend(then.group().cloned());
            }
        }
        Ok(found.into_iter().collect())
    }
}

impl PreparedGroup {
    /// Puts the plan through the checker: it lets nobody in, and what it has disabled itself goes with the
    /// group.
    ///
    /// # Errors
    /// [`JudgeError`]: it would do more, or the inventory cannot be read.
    pub fn judge(&self, around: Surroundings<'_>) -> Result<Judged, JudgeError> {
        let mut reopens = BTreeSet::from([Subject::Group(self.id.clone())]);
        for step in &self.plan.steps {
            if let Step::Individual(step) = step
                && step.document().is_none()
            {
                reopens.insert(Subject::Device(step.id().clone()));
            }
        }
        let promise = Promise {
            refuses: Who::Anybody,
            reopens,
            ..Promise::default()
        };
        let judge = Judge::of(around, &self.view);
        judge.plan(self.plan.clone(), &promise, around.instance.rate())
    }

    /// Reads DPS again, and decides about the devices of the group, and those whose entries were changed.
    ///
    /// # Errors
    /// [`GatherError`] if DPS or the inventory cannot be read.
    pub async fn read_back(&self, around: Surroundings<'_>) -> Result<GroupProof, GatherError> {
        let found = DpsSnapshot::gather(around.instance).await?.view()?;
        let changed = self.plan.steps.iter().filter_map(Step::device).cloned();
        let alone: BTreeSet<RegistrationId> = changed
            .chain(self.by_earlier_leaves.iter().cloned())
            .collect();
        let individual = self
            .with_group
            .individual_ids()
            .chain(found.individual_ids())
            .chain(&alone);
        let fleet = Fleet::gather(around.journal, around.now(), individual)?;
        let own = Impact::compare(&self.with_group, &found, &fleet.of_devices(&alone)).movements;
        let mut others = fleet;
        others.exceptions.retain(|one| !alone.contains(&one.id));
        let decisions = Impact::compare(&self.with_group, &found, &others).movements;
        let of_group = decisions
            .iter()
            .filter(|decision| decision.before.group() == Some(&self.id));
        Ok(GroupProof {
            id: self.id.clone(),
            status: found.group(&self.id).map(|group| group.status.clone()),
            devices: of_group.chain(&own).map(Decided::from).collect(),
        })
    }
}

impl GroupProof {
    /// The group must be gone or disabled, and all of its devices out.
    ///
    /// # Errors
    /// [`NotGone`] if they are not.
    pub fn check(&self) -> Result<(), NotGone> {
        let id = self.id.clone();
        if let Some(status) = &self.status
            && *status != ProvisioningStatus::Disabled
        {
            let status = status.clone();
            return Err(NotGone::There { id, status });
        }
        let admitted = self.devices.iter().filter(|decided| !decided.is_kept_out());
        let devices: Vec<Decided> = admitted.cloned().collect();
        if devices.is_empty() {
            Ok(())
        } else {
            Err(NotGone::LetIn { id, devices })
        }
    }
}

impl Decided {
    fn is_kept_out(&self) -> bool {
        self.outcome.admits() == Some(false)
    }
}

impl From<&Movement> for Decided {
    fn from(movement: &Movement) -> Self {
        Self {
            signed_by: movement.signed_by.clone(),
            leaves: movement.leaves,
            outcome: movement.after.clone(),
        }
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
    plan.plan.steps.iter().find_map(|step| match step {
        Step::Group(step) if step.id() == id => step.document(),
        _ => None,
    })
}
