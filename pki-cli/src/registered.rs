//! Devices as DPS and their hubs know them: registration records, read page by page, and the identities
//! that they name, looked up side by side.

use std::collections::BTreeMap;

use dps_client::hub::Devices;
use futures::TryStreamExt as _;
use futures::stream::{self, StreamExt as _};
use pki_core::enrollment::RegistrationState;
use pki_core::ids::{DeviceId, EnrollmentGroupId, HubHostName, RegistrationId};
use pki_core::lifecycle::HubIdentity;
use pki_core::lifecycle::roll::RegisteredDevice;

use crate::error::CommandError;
use crate::planes::Planes;

/// How many records a page is wished to have.
const PAGE: u32 = 1000;

/// How many hub lookups are under way at once.
const SIDE_BY_SIDE: usize = 16;

/// The registration records of some groups' devices that are wanted, each once.
pub(crate) async fn records_of_groups<'a>(
    planes: &Planes<'_>,
    groups: impl IntoIterator<Item = &'a EnrollmentGroupId>,
    mut is_wanted: impl FnMut(&EnrollmentGroupId, &RegistrationState) -> Result<bool, CommandError>,
) -> Result<Vec<RegistrationState>, CommandError> {
    let registrations = planes.registrations()?;
    let mut found = BTreeMap::<RegistrationId, RegistrationState>::new();
    for group in groups {
        let mut pages = registrations.of_group(group, Some(PAGE));
        while let Some(record) = pages.try_next().await? {
            if is_wanted(group, &record)? {
                found.insert(record.registration_id.clone(), record);
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The same devices with their identities on the hubs that their records name.
pub(crate) async fn with_identities(
    planes: &Planes<'_>,
    records: Vec<RegistrationState>,
) -> Result<Vec<RegisteredDevice>, CommandError> {
    let mut hubs = BTreeMap::<HubHostName, Devices>::new();
    for hub in records.iter().filter_map(|one| one.assigned_hub.as_ref()) {
        if !hubs.contains_key(hub) {
            hubs.insert(hub.clone(), planes.hub(hub)?);
        }
    }
    let hubs = &hubs;
    let devices = stream::iter(records).map(|registration| async move {
        let hub_identity = identity(hubs, &registration).await?;
        Ok(RegisteredDevice {
            registration,
            hub_identity,
        })
    });
    devices.buffered(SIDE_BY_SIDE).try_collect().await
}

async fn identity(
    hubs: &BTreeMap<HubHostName, Devices>,
    record: &RegistrationState,
) -> Result<Option<HubIdentity>, CommandError> {
    let named = record.assigned_hub.as_ref();
    let Some((hub, devices)) = named.and_then(|hub| hubs.get_key_value(hub)) else {
        return Ok(None);
    };
    let id = record.device_id.clone();
    let id = id.unwrap_or_else(|| DeviceId::from(&record.registration_id));
    let found = devices.find(&id).await?;
    Ok(found.map(|device| HubIdentity {
        hub: hub.clone(),
        device,
    }))
}
