//! What DPS and the hubs know of the devices, gathered once for all of them: DPS page by page, the hubs
//! side by side.

use std::collections::{BTreeMap, HashMap};

use dps_client::hub::Devices;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use pki_core::enrollment::{
    IndividualEnrollment, Mechanism, ProvisioningStatus, RegistrationState, RegistrationStatus,
    X509Certificates,
};
use pki_core::ids::{DeviceId, HubHostName, RegistrationId, Sha256Thumbprint};
use pki_core::lifecycle::{HubIdentity, QuarantineState};

use super::target::Target;
use crate::error::CommandError;
use crate::planes::Planes;
use crate::snapshot::DpsSnapshot;

/// Up to so many devices, each one's registration record is asked for; beyond, all records are read
/// page by page and from the individual enrollments, since the rate of calls is limited.
const FEW: usize = 20;

/// How many records a page is wished to have.
const PAGE: u32 = 1000;

/// How many hub lookups are under way at once.
const SIDE_BY_SIDE: usize = 16;

/// The state of each target, in their order.
pub(in crate::commands) async fn gather(
    planes: &Planes<'_>,
    snapshot: &DpsSnapshot,
    targets: &[Target],
) -> Result<Vec<QuarantineState>, CommandError> {
    let individuals: HashMap<&RegistrationId, &IndividualEnrollment> = snapshot
        .individuals
        .iter()
        .map(|entry| (&entry.registration_id, entry))
        .collect();
    let naming = entries_by_leaf(&snapshot.individuals);
    let mut registrations = registrations(planes, snapshot, &individuals, targets).await?;
    let hubs = Hubs::open(planes, &registrations).await?;
    let states = targets.iter().map(|target| {
        let elsewhere = target
            .leaf
            .as_ref()
            .and_then(|leaf| naming.get(&leaf.sha256_thumbprint()));
        let elsewhere = elsewhere
            .into_iter()
            .flatten()
            .filter(|id| **id != target.id);
        QuarantineState {
            individual: individuals.get(&target.id).map(|entry| (*entry).clone()),
            registration: registrations.remove(&target.id),
            entries_under_other_ids: elsewhere.cloned().collect(),
            ..QuarantineState::default()
        }
    });
    let states: Vec<_> = states.collect();
    let found = stream::iter(targets.iter().zip(states))
        .map(|(target, state)| hubs.find(target, state))
        .buffered(SIDE_BY_SIDE);
    found.try_collect().await
}

/// Which individual enrollments name which leaf.
fn entries_by_leaf(
    individuals: &[IndividualEnrollment],
) -> HashMap<Sha256Thumbprint, Vec<RegistrationId>> {
    let mut naming: HashMap<_, Vec<RegistrationId>> = HashMap::new();
    for entry in individuals {
        if let Mechanism::X509(X509Certificates::Client(slots)) = &entry.attestation.mechanism {
            for thumbprint in slots.iter().filter_map(|slot| slot.sha256_thumbprint()) {
                let ids = naming.entry(thumbprint).or_default();
                ids.push(entry.registration_id.clone());
            }
        }
    }
    naming
}

async fn registrations(
    planes: &Planes<'_>,
    snapshot: &DpsSnapshot,
    individuals: &HashMap<&RegistrationId, &IndividualEnrollment>,
    targets: &[Target],
) -> Result<HashMap<RegistrationId, RegistrationState>, CommandError> {
    let records = planes.registrations()?;
    let mut found = HashMap::new();
    let few = targets.len() <= FEW;
    if !few {
        let wanted: HashMap<&RegistrationId, ()> =
            targets.iter().map(|target| (&target.id, ())).collect();
        for group in &snapshot.groups {
            let mut pages = records.of_group(&group.enrollment_group_id, Some(PAGE));
            while let Some(record) = pages.try_next().await? {
                if wanted.contains_key(&record.registration_id) {
                    found.insert(record.registration_id.clone(), record);
                }
            }
        }
    }
    for id in targets.iter().map(|target| &target.id) {
        if found.contains_key(id) {
            continue;
        }
        let record = match individuals.get(id) {
            Some(entry) if !few => match told_by(entry) {
                Some(told) => told,
                None => records.find(id).await?,
            },
            None if !few => None,
            _ => records.find(id).await?,
        };
        found.extend(record.map(|record| (id.clone(), record)));
    }
    Ok(found)
}

/// The registration record of an entry's device, as far as it can be told without a call: the service
/// sends it with the entry. A disabled entry without one keeps its device out whether it has one or not.
fn told_by(entry: &IndividualEnrollment) -> Option<Option<RegistrationState>> {
    match entry.registration_state() {
        Some(told) if told.status == RegistrationStatus::Unassigned => Some(None),
        Some(told) => Some(Some(told)),
        None if entry.provisioning_status == ProvisioningStatus::Disabled => Some(None),
        None => None,
    }
}

/// The hubs on which devices are looked for, each opened once.
struct Hubs {
    /// Those where a registration record says that the device is.
    named: BTreeMap<HubHostName, Devices>,
    /// All that are known, for devices without a record, which somebody or a run that was cut may have
    /// deleted; or why one cannot be looked into.
    known: BTreeMap<HubHostName, Result<Devices, String>>,
}

impl Hubs {
    async fn open(
        planes: &Planes<'_>,
        registrations: &HashMap<RegistrationId, RegistrationState>,
    ) -> Result<Self, CommandError> {
        let mut named = BTreeMap::new();
        for hub in registrations
            .values()
            .filter_map(|record| record.assigned_hub.as_ref())
        {
            if !named.contains_key(hub) {
                named.insert(hub.clone(), planes.hub(hub)?);
            }
        }
        let known = planes.known_hubs().await?.into_iter().map(|hub| {
            let devices = planes.hub(&hub).map_err(|error| error.to_string());
            (hub, devices)
        });
        Ok(Self {
            named,
            known: known.collect(),
        })
    }

    /// Looks for a device on the hub that its record names, or on all of them.
    async fn find(
        &self,
        target: &Target,
        mut state: QuarantineState,
    ) -> Result<QuarantineState, CommandError> {
        let record = state.registration.as_ref();
        let id = record.and_then(|record| record.device_id.clone());
        let entry = state.individual.as_ref();
        let id = id.or_else(|| entry.map(IndividualEnrollment::hub_device_id));
        let id = id.unwrap_or_else(|| DeviceId::from(&target.id));
        let named = record.and_then(|record| record.assigned_hub.as_ref());
        if let Some((hub, devices)) = named.and_then(|hub| self.named.get_key_value(hub)) {
            let device = devices.find(&id).await?;
            let hub = hub.clone();
            state
                .hub_identities
                .extend(device.map(|device| HubIdentity { hub, device }));
            return Ok(state);
        }
        for (hub, devices) in &self.known {
            let found = match devices {
                Ok(devices) => devices
                    .find(&id)
                    .await
                    .map_err(|error| CommandError::from(error).to_string()),
                Err(error) => Err(error.clone()),
            };
            match found {
                Ok(device) => {
                    let hub = hub.clone();
                    state
                        .hub_identities
                        .extend(device.map(|device| HubIdentity { hub, device }));
                }
                Err(error) => state.hubs_not_seen.push(format!("{hub} ({error})")),
            }
        }
        Ok(state)
    }
}
