//! Which devices have moved to a new generation: from the inventory, joined with DPS's registration
//! records.
//!
//! A record does not tell which leaf was shown. A device that has a new leaf and has registered since is
//! taken to have shown it.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use pki_core::admission::{DpsView, Outcome, outcome_below};
use pki_core::enrollment::{EnrollmentGroup, RegistrationState, RegistrationStatus};
use pki_core::ids::{EnrollmentGroupId, RegistrationId};
use pki_core::inventory::sqlite::SqliteInventory;
use pki_core::inventory::{AuthorityGeneration, CertificateState, Inventory as _, InventoryEntry};
use pki_core::lifecycle::roll::{Devices, MovingDevice, RegisteredDevice};
use pki_core::lifecycle::{Class, Fleet};
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

/// Where the answer is: in the inventory, and in every DPS instance.
pub(super) struct Question<'a> {
    pub(super) context: &'a Context,
    pub(super) inventory: &'a SqliteInventory,
    pub(super) instances: &'a Instances<'a>,
}

impl Question<'_> {
    /// The devices with leaves of these signers that some instance admits by them and that have not
    /// moved to a leaf of others than those that go.
    pub(super) fn left_behind(
        &self,
        fleet: &Fleet,
        signers: &[AuthorityGeneration],
        going: &[AuthorityGeneration],
    ) -> Result<Devices, CommandError> {
        let views = self.instances.views()?;
        let ids = self.members(fleet, signers, |class| {
            let is_admitted =
                |view| matches!(outcome_below(view, &class.above), Outcome::Admitted(_));
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
                new_leaf_since: self.new_leaf_since(&id, going)?,
                registered_at: registered.get(&id).copied(),
                id,
            });
        }
        Ok(Devices::left_behind(moving, names(self.context)))
    }

    /// The devices that have a leaf of these signers.
    pub(super) fn moved(
        &self,
        fleet: &Fleet,
        signers: &[AuthorityGeneration],
    ) -> Result<Devices, CommandError> {
        let ids = self.members(fleet, signers, |_| true)?;
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
        signers: &[AuthorityGeneration],
        is_wanted: impl Fn(&Class) -> bool,
    ) -> Result<BTreeSet<RegistrationId>, CommandError> {
        let mut ids = BTreeSet::new();
        for (index, class) in fleet.classes.iter().enumerate() {
            let signer = class.signed_by.as_ref();
            if signer.is_some_and(|signer| signers.contains(signer)) && is_wanted(class) {
                fleet.name_members(index, self.inventory, self.context.now(), |id| {
                    ids.insert(id);
                    ControlFlow::Continue(())
                })?;
            }
        }
        Ok(ids)
    }

    /// Since when a device has a valid leaf of others than these signers.
    fn new_leaf_since(
        &self,
        id: &RegistrationId,
        going: &[AuthorityGeneration],
    ) -> Result<Option<Time>, CommandError> {
        let leaves = self.inventory.live_leaves(id, self.context.now())?;
        let goes = |leaf: &&InventoryEntry| {
            let signer = leaf.recorded.signed_by();
            signer.is_some_and(|signer| going.contains(signer))
        };
        Ok(delivered_first(leaves.iter().filter(|leaf| !goes(leaf))))
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
