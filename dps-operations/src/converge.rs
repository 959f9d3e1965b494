//! Convergence: an instance is brought to what `pki.toml` declares.
//!
//! The core compares ([`pki_core::lifecycle::converge`]); what only the journal and the inventory know is
//! added here: groups that were deprovisioned, leaves that entries are pinned to, whom pruning would hit.

use std::collections::BTreeSet;

use pki_core::admission::ChainElement;
use pki_core::ids::{EnrollmentGroupId, RegistrationId};
use pki_core::inventory::{Inventory, InventoryError};
use pki_core::journal::PlanRecord;
use pki_core::lifecycle::{
    self, DeclaredState, Fleet, GOAL_OF_DEPROVISIONING, Promise, PruneError, Step, check_pruning,
    release_pins,
};
use pki_core::time::Time;

use crate::gather::{DpsSnapshot, chain_of};
use crate::instance::{Instance, Surroundings};
use crate::judge::{Judge, Judged};
use crate::planning::PlanningError;

/// What is asked for beside the declaration.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Groups and CA certificates that are not declared go.
    pub prune: bool,
    /// Declared groups that were deprovisioned are made again, and let their devices in.
    pub make_again: Vec<EnrollmentGroupId>,
}

impl Request {
    /// Looks at an instance, plans what differs from the declaration, and puts it through the checker.
    ///
    /// # Errors
    /// [`PlanningError`]: the declaration cannot be followed, the plan would let somebody in that is kept
    /// out, or something cannot be read.
    pub async fn prepare(&self, around: Surroundings<'_>) -> Result<Judged, PlanningError> {
        let instance = around.instance;
        let inventory = around.journal;
        if let Some(group) = self.undeclared(&instance) {
            return Err(PlanningError::NotDeclared { group });
        }
        let snapshot = DpsSnapshot::gather(instance).await?;
        let mut state = snapshot.declared_state(inventory)?;
        let deprovisioned = deprovisioned(around, &state)?;
        let mut refused = deprovisioned.clone();
        refused.retain(|group| !self.make_again.contains(group));
        state.deprovisioned = refused;
        let mut plan = lifecycle::converge(instance.name, instance.declared, &state)?;
        plan.notes.extend(self.not_made_again(&deprovisioned));
        let before = snapshot.view()?;
        let now = around.now();
        if self.prune {
            let kept = lifecycle::prune(&mut plan, instance.declared, &state)
                .map_err(|error| not_pruned(&instance, error))?;
            let fleet = Fleet::gather(inventory, now, before.individual_ids())?;
            check_pruning(&state, &before, &fleet, plan.steps.split_at(kept))
                .map_err(|error| not_pruned(&instance, error))?;
        }
        let above = |id: &RegistrationId| above_live_leaf(inventory, id, now);
        let after = plan.applied_to(&before)?;
        let released = release_pins(&snapshot.individuals, &after, now, above)?;
        plan.steps.extend(released);
        // What is pruned lets nobody in: the checker sees to that.
        let promise = Promise::as_shown();
        Ok(Judge::of(around, &before).plan(plan, &promise, instance.rate())?)
    }

    /// What is said of groups that are to be made again and that did not leave this instance.
    fn not_made_again(&self, deprovisioned: &BTreeSet<EnrollmentGroupId>) -> Vec<String> {
        let asked = self.make_again.iter();
        let others = asked.filter(|group| !deprovisioned.contains(*group));
        others
            .map(|group| {
                format!("enrollment group {group} was not deprovisioned, or is there: there is nothing to make again")
            })
            .collect()
    }

    /// A group that is to be made again and that nobody declares.
    fn undeclared(&self, instance: &Instance<'_>) -> Option<EnrollmentGroupId> {
        let declared = &instance.declared.groups;
        self.make_again
            .iter()
            .find(|group| !declared.contains_key(*group))
            .cloned()
    }
}

fn not_pruned(instance: &Instance<'_>, error: PruneError) -> PlanningError {
    let dps = instance.name.clone();
    let error = Box::new(error);
    PlanningError::Prune { dps, error }
}

/// The declared groups that DPS does not hold because they were deprovisioned: what was done to them last
/// is that.
fn deprovisioned(
    around: Surroundings<'_>,
    state: &DeclaredState,
) -> Result<BTreeSet<EnrollmentGroupId>, InventoryError> {
    let mut found = BTreeSet::new();
    for group in around.instance.declared.groups.keys() {
        let is_held = state
            .groups
            .iter()
            .any(|held| held.enrollment_group_id == *group);
        if is_held {
            continue;
        }
        let last = last_written(around, group)?;
        if last.is_some_and(|plan| plan.plan.goal.starts_with(GOAL_OF_DEPROVISIONING)) {
            found.insert(group.clone());
        }
    }
    Ok(found)
}

/// The last of the journal's plans that wrote a group.
fn last_written(
    around: Surroundings<'_>,
    group: &EnrollmentGroupId,
) -> Result<Option<PlanRecord>, InventoryError> {
    for summary in around.journal.plans(usize::MAX)? {
        if summary.dps != *around.instance.name {
            continue;
        }
        let record = around.journal.plan(summary.plan)?;
        if let Some(record) = record.filter(|record| has_written(record, group)) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

fn has_written(record: &PlanRecord, group: &EnrollmentGroupId) -> bool {
    let steps = record.plan.steps.iter().zip(&record.steps);
    let mut done = steps.filter(|(_, state)| state.is_done());
    done.any(|(step, _)| match step {
        Step::Group(step) => step.id() == group,
        _ => false,
    })
}

/// What stands above the valid leaf of a device; `None` if it has none.
fn above_live_leaf(
    inventory: &dyn Inventory,
    id: &RegistrationId,
    at: Time,
) -> Result<Option<Vec<ChainElement>>, InventoryError> {
    let Some(newest) = inventory.live_leaves(id, at)?.into_iter().next() else {
        return Ok(None);
    };
    let chain = chain_of(inventory, newest.recorded.certificate())?;
    Ok(Some(chain.above_leaf().to_vec()))
}
