//! Which devices have moved to a new generation: from the inventory, joined with DPS's registration
//! records.
//!
//! A record does not tell which leaf was shown, and a device that has a new one may have registered with
//! its old one since. The identity on the hub tells: DPS writes the thumbprint of the leaf there that was
//! shown last. Of a device whose hub cannot be read nobody knows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use pki_core::admission::{DpsView, IndividualEntry, Outcome, outcome_below, outcome_of};
use pki_core::enrollment::{
    EnrollmentGroup, ProvisioningStatus, RegistrationState, RegistrationStatus,
};
use pki_core::hub::HubDevice;
use pki_core::ids::{AuthorityGeneration, EnrollmentGroupId, HubHostName, RegistrationId};
use pki_core::inventory::{CertificateState, InventoryEntry, InventoryError};
use pki_core::journal::Journal;
use pki_core::lifecycle::roll::{Devices, MovingDevice, RegisteredDevice, Shown};
use pki_core::lifecycle::{Class, Fleet};
use pki_core::time::Time;

use super::instances::Instances;
use crate::gather::GatherError;
use crate::hubs::{Hubs, registration_id};
use crate::instance::Surroundings;
use crate::planning::PlanningError;
use crate::registered::{Registered, is_shown, records_of_groups, thumbprint, with_identities};

/// How far the devices are on their way to a new leaf.
#[derive(Debug, Default)]
pub struct Moving {
    /// Those that have not moved.
    pub left_behind: Devices,
    /// Those of which nobody knows.
    pub not_known: Devices,
    /// The hubs that do not tell, and why.
    pub unread_hubs: Vec<String>,
}

impl Moving {
    /// All that the end of the roll waits for.
    pub fn together(&self) -> Devices {
        let mut together = self.left_behind.clone();
        together.count += self.not_known.count;
        together.named.extend(self.not_known.named.iter().cloned());
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
    pub(super) inventory: &'a dyn Journal,
    pub(super) instances: &'a Instances<'a>,
    pub(super) at: Time,
    /// How many devices are named at most.
    pub(super) most: usize,
}

/// Whom a breach roll shuts out of one instance.
pub(super) struct ShutOut<'a> {
    pub(super) fleet: &'a Fleet,
    /// Who signs leaves below the compromised generation.
    pub(super) signers: &'a [AuthorityGeneration],
    /// What the instance decides when everything else is done.
    pub(super) after: &'a DpsView,
    /// Whether the roll has run before: devices may have moved since.
    pub(super) is_again: bool,
}

impl ShutOut<'_> {
    /// Whether a leaf is below the compromised generation and refused. Where an authority below is verified
    /// itself, or an enrollment of its own names the leaf, its device stays in, and on its hub.
    fn takes_out(&self, id: &RegistrationId, leaf: &InventoryEntry) -> bool {
        let signer = leaf.recorded.signed_by();
        let Some(signer) = signer.filter(|signer| self.signers.contains(signer)) else {
            return false;
        };
        let thumbprint = leaf.recorded.certificate().sha256_thumbprint();
        let class = self.fleet.class_of(signer);
        !class.is_some_and(|class| {
            let outcome = outcome_of(self.after, id, &thumbprint, &class.above);
            matches!(outcome, Outcome::Admitted(_))
        })
    }

    fn lets_class_in(&self, class: &Class) -> bool {
        matches!(
            outcome_below(self.after, &class.above),
            Outcome::Admitted(_)
        )
    }

    /// Whether a device has registered since it has a leaf that is not shut out, as far as its record tells.
    fn has_moved(&self, record: &RegistrationState, leaves: &[InventoryEntry]) -> bool {
        let id = &record.registration_id;
        let others = leaves.iter().filter(|leaf| !self.takes_out(id, leaf));
        let moving = MovingDevice {
            id: id.clone(),
            new_leaf_since: delivered_first(others),
            registered_at: registered_at(record),
            shown: Shown::Unknown,
        };
        self.is_again && moving.has_moved()
    }
}

impl Question<'_> {
    /// The devices with leaves of these signers that some instance admits by them and that have not
    /// moved to a leaf of others than those that go.
    pub(super) async fn left_behind(
        &self,
        fleet: &Fleet,
        signers: &[AuthorityGeneration],
        going: &[AuthorityGeneration],
    ) -> Result<Moving, PlanningError> {
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
        let registered = self.last_registered(&decided).await?;
        let mut moving = Vec::with_capacity(decided.len());
        for id in decided {
            moving.push(MovingDevice {
                new_leaf_since: self.new_leaf_since(&id, going)?,
                registered_at: registered.get(&id).map(|last| last.at),
                shown: Shown::Unknown,
                id,
            });
        }
        let unread_hubs = self.look_at_hubs(&mut moving, &registered, going).await?;
        Ok(Moving {
            not_known: Devices::not_known(moving.iter().cloned(), self.most),
            left_behind: Devices::left_behind(moving, self.most),
            unread_hubs,
        })
    }

    /// Asks the hubs which leaf was shown, of the devices that have a new one and have registered at all:
    /// the others have not moved, whatever a hub says. Returns the hubs that do not tell.
    async fn look_at_hubs(
        &self,
        moving: &mut [MovingDevice],
        registered: &HashMap<RegistrationId, LastRegistered>,
        going: &[AuthorityGeneration],
    ) -> Result<Vec<String>, InventoryError> {
        let mut unread_hubs = Vec::new();
        for (index, instance) in self.instances.all().iter().enumerate() {
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
            let hubs = Hubs::of(instance.dps);
            let mut found = HashMap::new();
            for (hub, ids) in by_hub {
                let (identities, unread) = hubs.find_all(&[hub], &ids).await;
                unread_hubs.extend(unread);
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
        Ok(unread_hubs)
    }

    /// Which of a device's leaves its identity on the hub names.
    fn shown(
        &self,
        id: &RegistrationId,
        identity: &HubDevice,
        going: &[AuthorityGeneration],
    ) -> Result<Shown, InventoryError> {
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
    ) -> Result<Devices, InventoryError> {
        let ids = self.members(fleet, signers, |_| true)?;
        let count = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        let named = ids.into_iter().take(self.most).collect();
        Ok(Devices { count, named })
    }

    /// The devices that an instance has records of and that a breach roll takes off their hubs: those with a
    /// leaf that it shuts out, and those of a group that holds the compromised certificate of which the
    /// inventory knows no leaf. Where no group lists them any more, the hubs are searched.
    pub(super) async fn registered_below(
        &self,
        index: usize,
        shut_out: &ShutOut<'_>,
        is_holder: impl Fn(&EnrollmentGroup) -> bool,
    ) -> Result<Registered, PlanningError> {
        let instance = self.instances.all()[index];
        let groups = &self.instances.snapshot(index).groups;
        let holders: BTreeSet<&EnrollmentGroupId> = groups
            .iter()
            .filter(|group| is_holder(group))
            .map(|group| &group.enrollment_group_id)
            .collect();
        let ids = groups.iter().map(|group| &group.enrollment_group_id);
        let mut listed = BTreeSet::new();
        let mut moved = BTreeSet::new();
        let records = records_of_groups(instance.dps, ids, |group, record| {
            if record.assigned_hub.is_none() {
                return Ok::<_, PlanningError>(false);
            }
            let id = &record.registration_id;
            listed.insert(id.clone());
            let leaves = self.inventory.unexpired_leaves(id, self.at)?;
            if shut_out.has_moved(record, &leaves) {
                moved.insert(id.clone());
            }
            let is_hit = leaves.iter().any(|leaf| shut_out.takes_out(id, leaf));
            Ok(is_hit || (leaves.is_empty() && holders.contains(group)))
        });
        let mut registered = with_identities(instance.dps, records.await?).await;
        let members = self.shut_out_members(shut_out)?;
        let unlisted = members.into_iter().filter(|id| !listed.contains(id));
        let around = Surroundings {
            instance,
            journal: self.inventory,
            named: None,
        };
        registered
            .add_unlisted(around, unlisted.collect(), |_| true)
            .await?;
        registered
            .unread
            .retain(|unread| !moved.contains(&unread.registration_id));
        let mut devices = Vec::new();
        for device in registered.devices {
            if self.is_taken_off(&device, shut_out, &moved)? {
                devices.push(device);
            }
        }
        registered.devices = devices;
        Ok(registered)
    }

    /// Whether a device leaves its hub: the leaf that it showed there last tells, where that is known.
    fn is_taken_off(
        &self,
        device: &RegisteredDevice,
        shut_out: &ShutOut<'_>,
        moved: &BTreeSet<RegistrationId>,
    ) -> Result<bool, InventoryError> {
        let identity = device.hub_identity.as_ref().map(|found| &found.device);
        let record = device.registration.as_ref();
        let id = match (record, identity) {
            (Some(record), _) => Some(record.registration_id.clone()),
            (None, Some(identity)) => registration_id(identity),
            (None, None) => None,
        };
        let Some(id) = id else {
            return Ok(false);
        };
        if let Some(shown) = identity.and_then(thumbprint) {
            let leaves = self.inventory.certificates_of(&id)?;
            let known = leaves
                .iter()
                .find(|leaf| is_shown(leaf.recorded.certificate(), shown));
            // A leaf that nobody here has issued may be one that the stolen key made.
            return Ok(known.is_none_or(|leaf| shut_out.takes_out(&id, leaf)));
        }
        let has_own = |entry: &IndividualEntry| entry.status == ProvisioningStatus::Enabled;
        let is_let_in_otherwise = shut_out.after.individual(&id).is_some_and(has_own);
        Ok(!is_let_in_otherwise && !moved.contains(&id))
    }

    /// The devices with a leaf below the compromised generation, revoked or not, where no group lets them in
    /// any more.
    fn shut_out_members(
        &self,
        shut_out: &ShutOut<'_>,
    ) -> Result<BTreeSet<RegistrationId>, InventoryError> {
        let mut ids = BTreeSet::new();
        for (index, class) in shut_out.fleet.classes.iter().enumerate() {
            let signer = class.signed_by.as_ref();
            let is_below = signer.is_some_and(|signer| shut_out.signers.contains(signer));
            if !is_below || shut_out.lets_class_in(class) {
                continue;
            }
            shut_out
                .fleet
                .name_members(index, self.inventory, self.at, |id| {
                    ids.insert(id);
                    ControlFlow::Continue(())
                })?;
        }
        Ok(ids)
    }

    /// The devices with a leaf of these signers that is not revoked.
    pub(super) fn members(
        &self,
        fleet: &Fleet,
        signers: &[AuthorityGeneration],
        is_wanted: impl Fn(&Class) -> bool,
    ) -> Result<BTreeSet<RegistrationId>, InventoryError> {
        let mut ids = BTreeSet::new();
        for (index, class) in fleet.classes.iter().enumerate() {
            let signer = class.signed_by.as_ref();
            if signer.is_some_and(|signer| signers.contains(signer)) && is_wanted(class) {
                fleet.name_live_members(index, self.inventory, self.at, |id| {
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
    ) -> Result<Option<Time>, InventoryError> {
        let leaves = self.inventory.live_leaves(id, self.at)?;
        let goes = |leaf: &&InventoryEntry| {
            let signer = leaf.recorded.signed_by();
            signer.is_some_and(|signer| going.contains(signer))
        };
        Ok(delivered_first(leaves.iter().filter(|leaf| !goes(leaf))))
    }

    /// When the devices last registered, anywhere.
    async fn last_registered(
        &self,
        ids: &[RegistrationId],
    ) -> Result<HashMap<RegistrationId, LastRegistered>, GatherError> {
        let wanted: BTreeSet<&RegistrationId> = ids.iter().collect();
        let mut latest = HashMap::<RegistrationId, LastRegistered>::new();
        for (index, (instance, snapshot)) in self.instances.read().enumerate() {
            let groups = snapshot
                .groups
                .iter()
                .map(|group| &group.enrollment_group_id);
            let records = records_of_groups(instance.dps, groups, |_, record| {
                Ok::<_, GatherError>(wanted.contains(&record.registration_id))
            });
            for record in records.await? {
                let Some(at) = registered_at(&record) else {
                    continue;
                };
                let known = latest.get(&record.registration_id);
                if known.is_none_or(|known| at > known.at) {
                    let hub = record.assigned_hub;
                    let last = LastRegistered {
                        at,
                        instance: index,
                        hub,
                    };
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
