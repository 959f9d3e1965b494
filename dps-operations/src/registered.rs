//! Devices as DPS and their hubs know them: registration records, read page by page, and the identities
//! that they name, looked up side by side; and those that a hub knows still when the record is gone.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt as _;
use futures::stream::{self, StreamExt as _};
use pki_core::certificate::Certificate;
use pki_core::enrollment::RegistrationState;
use pki_core::hub::HubDevice;
use pki_core::ids::{DeviceId, EnrollmentGroupId, HubHostName, RegistrationId};
use pki_core::inventory::{Inventory, InventoryEntry, InventoryError};
use pki_core::lifecycle::HubIdentity;
use pki_core::lifecycle::roll::RegisteredDevice;

use crate::deprovisioned::Deprovisioned;
use crate::dps::Dps;
use crate::gather::GatherError;
use crate::hubs::{Hubs, UnreadHub, registration_id};
use crate::instance::Surroundings;

/// How many hub lookups are under way at once.
const SIDE_BY_SIDE: usize = 16;

/// Up to so many devices, each one's registration record is asked for, since the rate of calls is limited.
const FEW: usize = 20;

/// Devices with what there is of them.
#[derive(Debug, Default)]
pub struct Registered {
    /// Those whose hub was seen, and who have none.
    pub devices: Vec<RegisteredDevice>,
    /// Those whose hub cannot be read: their records stay, since they tell which hub it is.
    pub unread: Vec<UnreadHub>,
    /// What of the hubs could not be searched for devices without a record.
    pub not_searched: Vec<String>,
}

/// The registration records of some groups' devices that are wanted, each once.
///
/// # Errors
/// What `is_wanted` fails with; a [`GatherError`] if DPS does not tell them.
pub async fn records_of_groups<'a, E: From<GatherError>>(
    dps: &dyn Dps,
    groups: impl IntoIterator<Item = &'a EnrollmentGroupId>,
    mut is_wanted: impl FnMut(&EnrollmentGroupId, &RegistrationState) -> Result<bool, E>,
) -> Result<Vec<RegistrationState>, E> {
    let mut found = BTreeMap::<RegistrationId, RegistrationState>::new();
    for group in groups {
        let mut pages = dps.list_registrations(group);
        while let Some(record) = pages.try_next().await.map_err(GatherError::from)? {
            if is_wanted(group, &record)? {
                found.insert(record.registration_id.clone(), record);
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The same devices with their identities on the hubs that their records name.
pub async fn with_identities(dps: &dyn Dps, records: Vec<RegistrationState>) -> Registered {
    let hubs = &Hubs::of(dps);
    let mut looked_up = stream::iter(records)
        .map(|record| async move {
            let found = identity(hubs, &record).await;
            (record, found)
        })
        .buffered(SIDE_BY_SIDE);
    let mut registered = Registered::default();
    while let Some((record, found)) = looked_up.next().await {
        match found {
            Ok(hub_identity) => registered.devices.push(RegisteredDevice {
                registration: Some(record),
                hub_identity,
            }),
            Err(hub) => registered.unread.push(UnreadHub {
                registration_id: record.registration_id,
                hub,
            }),
        }
    }
    registered
}

/// The identity on the hub that a record names, if it names one.
///
/// # Errors
/// In words: the hub's name, and why it cannot be read.
pub async fn identity(
    hubs: &Hubs<'_>,
    record: &RegistrationState,
) -> Result<Option<HubIdentity>, String> {
    let Some(hub) = &record.assigned_hub else {
        return Ok(None);
    };
    let id = record
        .device_id
        .clone()
        .unwrap_or_else(|| DeviceId::from(&record.registration_id));
    hubs.find(hub, &id).await
}

/// What an identity tells of the leaf with which its device registered last.
#[derive(Debug)]
pub enum ShownLeaf {
    /// It names none.
    Nothing,
    /// One of the inventory.
    Known(Box<InventoryEntry>),
    /// One that nobody here has issued to this device.
    Unknown,
}

/// The leaf that an identity names. It stays the one that was shown when it is revoked, and when it ends.
///
/// # Errors
/// [`InventoryError`] if the inventory cannot be read.
pub fn shown_leaf(
    inventory: &dyn Inventory,
    found: &HubIdentity,
) -> Result<ShownLeaf, InventoryError> {
    let Some(shown) = thumbprint(&found.device) else {
        return Ok(ShownLeaf::Nothing);
    };
    let Some(id) = registration_id(&found.device) else {
        return Ok(ShownLeaf::Unknown);
    };
    let leaves = inventory.certificates_of(&id)?;
    let own = leaves
        .into_iter()
        .find(|leaf| is_shown(leaf.recorded.certificate(), shown));
    Ok(own.map_or(ShownLeaf::Unknown, |leaf| ShownLeaf::Known(Box::new(leaf))))
}

/// Whose record or identity it is.
pub fn id_of(device: &RegisteredDevice) -> Option<RegistrationId> {
    let told = device.registration.as_ref();
    told.map(|record| record.registration_id.clone())
        .or_else(|| registration_id(&device.hub_identity.as_ref()?.device))
}

/// The thumbprint of the leaf that a device showed when it registered last.
pub fn thumbprint(device: &HubDevice) -> Option<&str> {
    let authentication = device.authentication.as_ref()?;
    let both = authentication.x509_thumbprint.as_ref()?;
    both.primary_thumbprint.as_deref()
}

/// Whether a thumbprint, in either length, is that of a leaf.
pub fn is_shown(leaf: &Certificate, thumbprint: &str) -> bool {
    let is = |own: String| own.eq_ignore_ascii_case(thumbprint);
    is(leaf.sha256_thumbprint().to_string()) || is(leaf.sha1_thumbprint().to_string())
}

impl Registered {
    /// Adds those of these devices that no list of a group has: their group is gone, or their record is
    /// deleted, and a hub knows them still. `is_meant` tells whether an identity that was found without a
    /// record is the one that is looked for.
    ///
    /// # Errors
    /// [`GatherError`] if DPS does not tell their records.
    pub async fn add_unlisted(
        &mut self,
        around: Surroundings<'_>,
        ids: BTreeSet<RegistrationId>,
        is_meant: impl Fn(&HubIdentity) -> bool,
    ) -> Result<(), GatherError> {
        let instance = around.instance;
        let mut ids = ids;
        for device in &self.devices {
            // The record of a refused attempt names no hub, and the hub may know the device still.
            let record = device.registration.as_ref();
            if let Some(record) = record.filter(|record| record.assigned_hub.is_some()) {
                ids.remove(&record.registration_id);
            }
        }
        for unread in &self.unread {
            ids.remove(&unread.registration_id);
        }
        if ids.is_empty() {
            return Ok(());
        }
        if ids.len() <= FEW {
            let records = self.add_recorded(instance.dps, &ids).await?;
            ids.retain(|id| !records.contains(id));
        }
        // Whoever may not look at the management plane shuts out nevertheless.
        let known: Vec<HubHostName> = match instance.known_hubs().await {
            Ok(known) => known,
            Err(error) => {
                self.not_searched
                    .push(format!("the hubs that are linked ({error})"));
                instance.declared_hubs()
            }
        };
        let (found, not_searched) = Hubs::of(instance.dps).find_all(&known, &ids).await;
        if let Some(hub) = not_searched.first() {
            // Whoever was found nowhere may be on the hub that cannot be read, but for those that were deleted
            // on theirs when they left.
            for identity in &found {
                ids.retain(|id| DeviceId::from(id) != identity.device.device_id);
            }
            let left = Deprovisioned::of(around.journal, instance.name)?;
            for registration_id in ids {
                if !left.is_off_hub(around.journal, &registration_id)? {
                    let hub = hub.clone();
                    self.unread.push(UnreadHub {
                        registration_id,
                        hub,
                    });
                }
            }
        }
        self.not_searched.extend(not_searched);
        let meant = found.into_iter().filter(|found| is_meant(found));
        self.devices.extend(meant.map(|identity| RegisteredDevice {
            registration: None,
            hub_identity: Some(identity),
        }));
        Ok(())
    }

    /// Adds those that have a record, which no group's list has; returns whose.
    ///
    /// # Errors
    /// [`GatherError`] if DPS cannot be read.
    pub async fn add_recorded(
        &mut self,
        dps: &dyn Dps,
        ids: &BTreeSet<RegistrationId>,
    ) -> Result<BTreeSet<RegistrationId>, GatherError> {
        let mut records = Vec::new();
        for id in ids {
            let record = dps.registration(id).await?;
            // That of a refused attempt names no hub, and is made again whenever the device knocks.
            records.extend(record.filter(|record| record.assigned_hub.is_some()));
        }
        let found = records
            .iter()
            .map(|record| record.registration_id.clone())
            .collect();
        let more = with_identities(dps, records).await;
        self.devices.extend(more.devices);
        self.unread.extend(more.unread);
        Ok(found)
    }

    /// What is to be told of hubs that were not searched.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        self.not_searched.iter().map(|hub| {
            format!("devices without a registration record were not looked for on {hub}; disable their identities there if there are any")
        })
    }
}
