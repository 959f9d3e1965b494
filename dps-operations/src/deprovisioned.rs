//! Devices that have left an instance for good, as its journal tells: DPS forgets them, and the inventory goes
//! on to hold their leaves.

use std::collections::{BTreeMap, BTreeSet};

use pki_core::enrollment::ProvisioningStatus;
use pki_core::ids::{DpsName, EnrollmentGroupId, RegistrationId};
use pki_core::inventory::InventoryError;
use pki_core::journal::{Journal, PlanRecord, PlanState};
use pki_core::lifecycle::{GOAL_OF_DEPROVISIONING, HubDeviceAction, Step};
use pki_core::time::Time;

/// The devices that have left an instance, and did not come back by what the journal has.
#[derive(Debug, Default)]
pub struct Deprovisioned(BTreeMap<RegistrationId, Departure>);

/// How a device left.
#[derive(Debug)]
struct Departure {
    at: Time,
    /// The group that left with it.
    with: Option<EnrollmentGroupId>,
    /// Whether its identity was deleted on a hub. The plan of a device whose hub could not be read ends without.
    is_off_hub: bool,
}

impl Deprovisioned {
    /// Reads the journal of an instance.
    ///
    /// # Errors
    /// [`InventoryError`] if it cannot be read.
    pub fn of(journal: &dyn Journal, dps: &DpsName) -> Result<Self, InventoryError> {
        let mut left = Self::default();
        let newest_first = journal.plans(usize::MAX)?;
        for summary in newest_first.iter().rev().filter(|plan| plan.dps == *dps) {
            if let Some(record) = journal.plan(summary.plan)? {
                left.note(&record);
            }
        }
        Ok(left)
    }

    /// Whether a device has left and got no leaf since.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    pub fn has(&self, journal: &dyn Journal, id: &RegistrationId) -> Result<bool, InventoryError> {
        match self.0.get(id) {
            Some(left) => has_no_leaf_since(journal, id, left.at),
            None => Ok(false),
        }
    }

    /// The same of a device whose identity was deleted on its hub.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    pub fn is_off_hub(
        &self,
        journal: &dyn Journal,
        id: &RegistrationId,
    ) -> Result<bool, InventoryError> {
        match self.0.get(id) {
            Some(left) if left.is_off_hub => has_no_leaf_since(journal, id, left.at),
            _ => Ok(false),
        }
    }

    fn note(&mut self, record: &PlanRecord) {
        let is_finished = matches!(record.state, PlanState::Finished { .. });
        if is_finished && record.plan.goal.starts_with(GOAL_OF_DEPROVISIONING) {
            self.note_departures(record);
            return;
        }
        let steps = record.plan.steps.iter().zip(&record.steps);
        for (step, _) in steps.filter(|(_, state)| state.is_done()) {
            self.note_return(step);
        }
    }

    fn note_departures(&mut self, record: &PlanRecord) {
        let steps = &record.plan.steps;
        let with = steps.iter().find_map(|step| match step {
            Step::Group(step) => Some(step.id().clone()),
            _ => None,
        });
        let off_hub: BTreeSet<RegistrationId> = steps
            .iter()
            .filter(|step| is_deletion_on_hub(step))
            .filter_map(device_of)
            .collect();
        for id in steps.iter().filter_map(device_of) {
            let departure = Departure {
                at: record.opened_at,
                with: with.clone(),
                is_off_hub: off_hub.contains(&id),
            };
            self.0.insert(id, departure);
        }
    }

    /// Whoever has an enabled entry again, of its own or of the group that it left with, is back.
    fn note_return(&mut self, step: &Step) {
        match step {
            Step::Individual(step) => {
                let entry = step.document();
                if entry.is_some_and(|entry| is_enabled(&entry.provisioning_status)) {
                    self.0.remove(step.id());
                }
            }
            Step::Group(step) => {
                let group = step.document();
                if group.is_some_and(|group| is_enabled(&group.provisioning_status)) {
                    self.0
                        .retain(|_, left| left.with.as_ref() != Some(step.id()));
                }
            }
            _ => {}
        }
    }
}

fn is_enabled(status: &ProvisioningStatus) -> bool {
    *status != ProvisioningStatus::Disabled
}

fn device_of(step: &Step) -> Option<RegistrationId> {
    match step {
        Step::Individual(step) => Some(step.id().clone()),
        Step::Registration(step) => Some(step.registration_id.clone()),
        Step::HubDevice(step) => step.device_id.as_str().parse().ok(),
        _ => None,
    }
}

fn is_deletion_on_hub(step: &Step) -> bool {
    match step {
        Step::HubDevice(step) => step.action == HubDeviceAction::Delete,
        _ => false,
    }
}

fn has_no_leaf_since(
    journal: &dyn Journal,
    id: &RegistrationId,
    at: Time,
) -> Result<bool, InventoryError> {
    let leaves = journal.certificates_of(id)?;
    Ok(leaves.iter().all(|leaf| leaf.recorded_at <= at))
}
