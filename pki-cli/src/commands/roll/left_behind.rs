//! Which devices have moved to a new generation: from the inventory, joined with DPS's registration
//! records.
//!
//! A record does not tell which leaf was shown, and a device that has a new one may have registered with
//! its old one since. The identity on the hub tells: DPS writes the thumbprint of the leaf there that was
//! shown last. Of a device whose hub cannot be read nobody knows.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use pki_core::admission::{DpsView, Outcome, outcome_below};
use pki_core::enrollment::{EnrollmentGroup, RegistrationState, RegistrationStatus};
use pki_core::hub::HubDevice;
use pki_core::ids::{AuthorityGeneration, EnrollmentGroupId, HubHostName, RegistrationId};
use pki_core::inventory::{CertificateState, Inventory as _, InventoryEntry};
use pki_core::lifecycle::roll::{Devices, MovingDevice, Shown};
use pki_core::lifecycle::{Class, Fleet, HubIdentity};
use pki_core::sqlite::SqliteInventory;
use pki_core::time::Time;

use super::instances::Instances;
use crate::config::{NAMED, OutputFormat};
use crate::context::Context;
use crate::error::CommandError;
use crate::hubs::{Hubs, registration_id};
use crate::registered::{
    Registered, is_shown, records_of_groups, shows_leaf_of, thumbprint, with_identities,
};

/// How many devices are named: the first in text, all in JSON.
pub(super) fn names(context: &Context) -> usize {
    match context.settings.output {
        OutputFormat::Text => NAMED,
        OutputFormat::Json => usize::MAX,
    }
}

/// How far the devices are on their way to a new leaf.
#[derive(Default)]
pub(super) struct Moving {
    /// Those that have not moved.
    pub(super) left_behind: Devices,
    /// Those of which nobody knows.
    pub(super) not_known: Devices,
}

impl Moving {
    /// All that the end of the roll waits for.
    pub(super) fn together(self) -> Devices {
        let mut together = self.left_behind;
        together.count += self.not_known.count;
        together.named.extend(self.not_known.named);
        together
    }
}

/// When a device registered last, and where.
struct LastRegistered {
    at: Time,
    instance: usize,
    hub: Option<HubHostName>,
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
    ) -> Result<Moving, CommandError> {
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
            return Ok(Moving::default());
        }
        let registered = self.last_registered(&decided)?;
        let mut moving = Vec::with_capacity(decided.len());
        for id in decided {
            moving.push(MovingDevice {
                new_leaf_since: self.new_leaf_since(&id, going)?,
                registered_at: registered.get(&id).map(|last| last.at),
                shown: Shown::Unknown,
                id,
            });
        }
        self.look_at_hubs(&mut moving, &registered, going)?;
        let most = names(self.context);
        Ok(Moving {
            not_known: Devices::not_known(moving.iter().cloned(), most),
            left_behind: Devices::left_behind(moving, most),
        })
    }

    /// Asks the hubs which leaf was shown, of the devices that have a new one and have registered at all:
    /// the others have not moved, whatever a hub says.
    fn look_at_hubs(
        &self,
        moving: &mut [MovingDevice],
        registered: &HashMap<RegistrationId, LastRegistered>,
        going: &[AuthorityGeneration],
    ) -> Result<(), CommandError> {
        for (index, planes) in self.instances.planes.iter().enumerate() {
            let is_here = |device: &&mut MovingDevice| {
                let last = registered.get(&device.id);
                device.new_leaf_since.is_some() && last.is_some_and(|last| last.instance == index)
            };
            let mut by_hub = BTreeMap::<HubHostName, BTreeSet<RegistrationId>>::new();
            for device in moving.iter_mut().filter(is_here) {
                if let Some(hub) = registered.get(&device.id).and_then(|last| last.hub.clone()) {
                    by_hub.entry(hub).or_default().insert(device.id.clone());
                }
            }
            let hubs = Hubs::of(planes);
            let mut found = HashMap::new();
            for (hub, ids) in by_hub {
                let (identities, unread) = self
                    .context
                    .block_on(async { Ok(hubs.find_all(&[hub], &ids).await) })?;
                for error in unread {
                    self.context.ui.warning(format!(
                        "which leaves devices showed last cannot be told: {error}"
                    ));
                }
                for identity in identities {
                    if let Some(id) = registration_id(&identity.device) {
                        found.insert(id, identity.device);
                    }
                }
            }
            for device in moving.iter_mut().filter(is_here) {
                if let Some(identity) = found.get(&device.id) {
                    device.shown = self.shown(&device.id, identity, going)?;
                }
            }
        }
        Ok(())
    }

    /// Which of a device's leaves its identity on the hub names.
    fn shown(
        &self,
        id: &RegistrationId,
        identity: &HubDevice,
        going: &[AuthorityGeneration],
    ) -> Result<Shown, CommandError> {
        let Some(thumbprint) = thumbprint(identity) else {
            return Ok(Shown::Unknown);
        };
        let leaves = self.inventory.certificates_of(id)?;
        let shown = leaves
            .iter()
            .find(|leaf| is_shown(leaf.recorded.certificate(), thumbprint));
        Ok(match shown {
            None => Shown::Unknown,
            Some(leaf) => {
                let signer = leaf.recorded.signed_by();
                if signer.is_some_and(|signer| going.contains(signer)) {
                    Shown::Old
                } else {
                    Shown::New
                }
            }
        })
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
    /// certificate was shut out is left alone, `is_again`. `members` are the devices with a leaf below it:
    /// where no group lists them any more, their hubs are searched.
    pub(super) fn registered_below(
        &self,
        index: usize,
        is_holder: impl Fn(&EnrollmentGroup) -> bool,
        is_below: impl Fn(&AuthorityGeneration) -> bool,
        is_again: bool,
        members: BTreeSet<RegistrationId>,
    ) -> Result<Registered, CommandError> {
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
                shown: Shown::Unknown,
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
        let listed = RefCell::new(BTreeSet::new());
        self.context.block_on(async {
            let records = records_of_groups(planes, ids, |group, record| {
                if record.assigned_hub.is_none() {
                    return Ok(false);
                }
                listed.borrow_mut().insert(record.registration_id.clone());
                let known = known_below(record)?;
                Ok(known.unwrap_or_else(|| holders.contains(group)))
            });
            let mut registered = with_identities(planes, records.await?).await;
            let listed = listed.into_inner();
            let unlisted = members.into_iter().filter(|id| !listed.contains(id));
            let is_meant = |found: &HubIdentity| shows_leaf_of(self.inventory, found, &is_below);
            registered
                .add_unlisted(planes, unlisted.collect(), is_meant)
                .await?;
            Ok(registered)
        })
    }

    pub(super) fn members(
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
    ) -> Result<HashMap<RegistrationId, LastRegistered>, CommandError> {
        let wanted: BTreeSet<&RegistrationId> = ids.iter().collect();
        let mut latest = HashMap::<RegistrationId, LastRegistered>::new();
        let all = self.instances.planes.iter().zip(&self.instances.snapshots);
        for (instance, (planes, snapshot)) in all.enumerate() {
            let groups = snapshot
                .groups
                .iter()
                .map(|group| &group.enrollment_group_id);
            let records = records_of_groups(planes, groups, |_, record| {
                Ok(wanted.contains(&record.registration_id))
            });
            for record in self.context.block_on(records)? {
                let Some(at) = registered_at(&record) else {
                    continue;
                };
                let known = latest.get(&record.registration_id);
                if known.is_none_or(|known| at > known.at) {
                    let hub = record.assigned_hub;
                    let last = LastRegistered { at, instance, hub };
                    latest.insert(record.registration_id, last);
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
