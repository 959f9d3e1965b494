//! Which devices have moved to a new generation: from the inventory, joined with DPS's registration
//! records.
//!
//! A record does not tell which leaf was shown. A device that has a new leaf and has registered since is
//! taken to have shown it.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use pki_core::admission::{DpsView, Outcome, outcome_below};
use pki_core::enrollment::{EnrollmentGroup, RegistrationState, RegistrationStatus};
use pki_core::ids::{AuthorityName, EnrollmentGroupId, Generation, RegistrationId};
use pki_core::inventory::sqlite::SqliteInventory;
use pki_core::inventory::{AuthorityGeneration, CertificateState, Inventory as _, InventoryEntry};
use pki_core::lifecycle::Fleet;
use pki_core::lifecycle::roll::{Devices, MovingDevice, RegisteredDevice};
use pki_core::time::Time;

use super::instances::Instances;
use crate::config::OutputFormat;
use crate::context::Context;
use crate::error::CommandError;
use crate::registered::{records_of_groups, with_identities};
use crate::render::plan::NAMED;

/// How many devices are named: the first in text, all in JSON.
pub(super) fn names(context: &Context) -> usize {
    match context.settings.output {
        OutputFormat::Text => NAMED,
        OutputFormat::Json => usize::MAX,
    }
}

/// Who is asked about: an authority's generations, in a fleet, as DPS decides.
pub(super) struct Question<'a> {
    pub(super) context: &'a Context,
    pub(super) inventory: &'a SqliteInventory,
    pub(super) instances: &'a Instances<'a>,
    pub(super) authority: &'a AuthorityName,
}

impl Question<'_> {
    /// The devices of these generations that some instance admits by them and that have not moved.
    pub(super) fn left_behind(
        &self,
        fleet: &Fleet,
        generations: &[Generation],
    ) -> Result<Devices, CommandError> {
        let views = self.instances.views()?;
        let ids = self.members(fleet, generations, |class| {
            let is_admitted = |view| {
                matches!(
                    outcome_below(view, &fleet.classes[class].above),
                    Outcome::Admitted(_)
                )
            };
            views.iter().any(is_admitted)
        })?;
        // Where each instance has an entry of the device's own, no group decides about it.
        let has_own = |view: &DpsView, id: &RegistrationId| view.individual(id).is_some();
        let decided: Vec<RegistrationId> = ids
            .into_iter()
            .filter(|id| !views.iter().all(|view| has_own(view, id)))
            .collect();
        if decided.is_empty() {
            return Ok(Devices::default());
        }
        let registered = self.last_registered(&decided)?;
        let mut moving = Vec::with_capacity(decided.len());
        for id in decided {
            moving.push(MovingDevice {
                new_leaf_since: self.new_leaf_since(&id, generations)?,
                registered_at: registered.get(&id).copied(),
                id,
            });
        }
        Ok(Devices::left_behind(moving, names(self.context)))
    }

    /// The devices that have a leaf of this generation.
    pub(super) fn moved(
        &self,
        fleet: &Fleet,
        generation: Generation,
    ) -> Result<Devices, CommandError> {
        let ids = self.members(fleet, &[generation], |_| true)?;
        let count = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        let named = ids.into_iter().take(names(self.context)).collect();
        Ok(Devices { count, named })
    }

    /// The devices below a certificate that an instance has records of: those with a leaf below it, and
    /// those of a group that holds it of which the inventory knows no leaf. Who has moved since the
    /// certificate was shut out is left alone, `is_again`.
    pub(super) fn registered_below(
        &self,
        index: usize,
        is_holder: impl Fn(&EnrollmentGroup) -> bool,
        is_below: impl Fn(&AuthorityGeneration) -> bool,
        is_again: bool,
    ) -> Result<Vec<RegisteredDevice>, CommandError> {
        let planes = &self.instances.planes[index];
        let groups = &self.instances.snapshots[index].groups;
        let now = self.context.now();
        let known_below = |record: &RegistrationState| -> Result<Option<bool>, CommandError> {
            let leaves = self.inventory.live_leaves(&record.registration_id, now)?;
            let is_old = |leaf: &InventoryEntry| leaf.recorded.signed_by().is_some_and(&is_below);
            let moving = MovingDevice {
                id: record.registration_id.clone(),
                new_leaf_since: delivered_first(leaves.iter().filter(|leaf| !is_old(leaf))),
                registered_at: registered_at(record),
            };
            let is_hit = leaves.iter().any(is_old) && !(is_again && moving.has_moved());
            Ok((!leaves.is_empty()).then_some(is_hit))
        };
        let holders: BTreeSet<&EnrollmentGroupId> = groups
            .iter()
            .filter(|group| is_holder(group))
            .map(|group| &group.enrollment_group_id)
            .collect();
        let ids = groups.iter().map(|group| &group.enrollment_group_id);
        self.context.block_on(async {
            let records = records_of_groups(planes, ids, |group, record| {
                let known = known_below(record)?;
                Ok(known.unwrap_or_else(|| holders.contains(group)))
            });
            with_identities(planes, records.await?).await
        })
    }

    fn members(
        &self,
        fleet: &Fleet,
        generations: &[Generation],
        is_wanted: impl Fn(usize) -> bool,
    ) -> Result<BTreeSet<RegistrationId>, CommandError> {
        let mut ids = BTreeSet::new();
        for (index, class) in fleet.classes.iter().enumerate() {
            let is_of = class.signed_by.as_ref().is_some_and(|signer| {
                signer.name == *self.authority && generations.contains(&signer.generation)
            });
            if is_of && is_wanted(index) {
                fleet.name_members(index, self.inventory, self.context.now(), |id| {
                    ids.insert(id.clone());
                    ControlFlow::Continue(())
                })?;
            }
        }
        Ok(ids)
    }

    /// Since when a device has a valid leaf that is not of these generations.
    fn new_leaf_since(
        &self,
        id: &RegistrationId,
        generations: &[Generation],
    ) -> Result<Option<Time>, CommandError> {
        let leaves = self.inventory.live_leaves(id, self.context.now())?;
        let is_new = leaves.iter().filter(|leaf| {
            let signer = leaf.recorded.signed_by();
            !signer.is_some_and(|signer| {
                signer.name == *self.authority && generations.contains(&signer.generation)
            })
        });
        Ok(delivered_first(is_new))
    }

    /// When the devices last registered, anywhere.
    fn last_registered(
        &self,
        ids: &[RegistrationId],
    ) -> Result<HashMap<RegistrationId, Time>, CommandError> {
        let wanted: BTreeSet<&RegistrationId> = ids.iter().collect();
        let mut latest = HashMap::new();
        for (planes, snapshot) in self.instances.planes.iter().zip(&self.instances.snapshots) {
            let groups = snapshot
                .groups
                .iter()
                .map(|group| &group.enrollment_group_id);
            let records = records_of_groups(planes, groups, |_, record| {
                Ok(wanted.contains(&record.registration_id))
            });
            for record in self.context.block_on(records)? {
                if let Some(at) = registered_at(&record) {
                    let known = latest.entry(record.registration_id).or_insert(at);
                    *known = at.max(*known);
                }
            }
        }
        Ok(latest)
    }
}

/// When the first of some leaves got out.
fn delivered_first<'a>(leaves: impl Iterator<Item = &'a InventoryEntry>) -> Option<Time> {
    let delivered = leaves.filter_map(|leaf| match leaf.state {
        CertificateState::Delivered { at } => Some(at),
        _ => None,
    });
    delivered.min()
}

/// When a device registered, if it was let in.
pub(super) fn registered_at(record: &RegistrationState) -> Option<Time> {
    match record.status {
        RegistrationStatus::Assigned => record.last_updated_date_time_utc.as_deref()?.parse().ok(),
        _ => None,
    }
}
