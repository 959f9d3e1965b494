//! A hub's identity registry as its service API changes it.
//!
//! What DPS writes there is [`super::registration`]'s. Nothing that happens to an enrollment or a
//! registration record comes here: deleting in DPS leaves the identity.

use std::collections::BTreeMap;

use pki_core::hub::{HubAuthentication, HubDevice};
use pki_core::ids::{DeviceId, HubHostName};
use serde_json::Map;

use super::Dps;
use super::connection::Event;
use crate::error::ServiceError;
use crate::store::hub::{Device, Twin};
use crate::store::{Conflict, IfMatch, Precondition, Record, Registry, device_version};

/// Members that the hub sets; what a client sends in them is ignored.
const SET_BY_HUB: [&str; 6] = [
    "generationId",
    "connectionState",
    "connectionStateUpdatedTime",
    "statusUpdatedTime",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
];

impl Dps {
    pub(crate) fn device(
        &self,
        hub: &HubHostName,
        id: &DeviceId,
    ) -> Result<Record<Device>, ServiceError> {
        let mut store = self.store();
        let record = store.registry(hub).get(id);
        record
            .cloned()
            .ok_or_else(|| ServiceError::DeviceNotFound(id.to_string()))
    }

    /// Creates a device, or replaces one whole; its twin and generation stay.
    pub(crate) fn put_device(
        &self,
        hub: &HubHostName,
        mut document: HubDevice,
        precondition: &Precondition,
    ) -> Result<Record<Device>, ServiceError> {
        for member in SET_BY_HUB {
            document.other.shift_remove(member);
        }
        document.etag = None;
        self.complete_authentication(&mut document.authentication)?;
        let id = document.device_id.clone();
        let now = self.now();
        let generation_id = self.random().generation_id()?;
        self.change(|store| {
            let (registry, mint) = store.registry_and_mint(hub);
            let device = match registry.get(&id).map(|record| &record.value) {
                Some(present) => Device {
                    status_updated: if present.document.status == document.status {
                        present.status_updated
                    } else {
                        Some(now)
                    },
                    document,
                    ..present.clone()
                },
                None => Device {
                    document,
                    generation_id,
                    status_updated: None,
                    twin: Twin::initial(None),
                    modules: BTreeMap::new(),
                },
            };
            let put = registry.put(device, precondition, mint.device(), now);
            put.map_err(|conflict| refusal(conflict, registry, &id, precondition))?;
            self.connections.tell(hub, &id, Event::IdentityChanged);
            let record = registry.get(&id).cloned();
            record.ok_or_else(|| ServiceError::DeviceNotFound(id.to_string()))
        })
    }

    pub(crate) fn delete_device(
        &self,
        hub: &HubHostName,
        id: &DeviceId,
        if_match: IfMatch,
    ) -> Result<(), ServiceError> {
        self.change(|store| {
            let precondition = if_match.replacing();
            let registry = store.registry(hub);
            let removed = registry.remove(id, &precondition);
            removed.map_err(|conflict| refusal(conflict, registry, id, &precondition))?;
            self.connections.tell(hub, id, Event::IdentityChanged);
            Ok(())
        })
    }

    /// An identity without thumbprints and keys gets keys, as the registry's default is `sas`.
    pub(super) fn complete_authentication(
        &self,
        authentication: &mut Option<HubAuthentication>,
    ) -> Result<(), ServiceError> {
        let authentication = authentication.get_or_insert_with(|| HubAuthentication {
            kind: None,
            symmetric_key: None,
            x509_thumbprint: None,
            other: Map::new(),
        });
        if authentication.kind.is_none() {
            let thumbprints = authentication.x509_thumbprint.as_ref();
            let kind = match thumbprints.and_then(|pair| pair.primary_thumbprint.as_ref()) {
                Some(_) => "selfSigned",
                None => "sas",
            };
            authentication.kind = Some(kind.to_owned());
        }
        if authentication.kind.as_deref() == Some("sas") {
            let keys = authentication.symmetric_key.get_or_insert_default();
            for key in [&mut keys.primary_key, &mut keys.secondary_key] {
                // Python's SDK sends empty keys when it wants new ones.
                if key
                    .as_ref()
                    .is_none_or(|key| key.expose_base64().is_empty())
                {
                    *key = Some(self.random().key()?);
                }
            }
        }
        Ok(())
    }
}

fn refusal(
    conflict: Conflict,
    registry: &Registry,
    id: &DeviceId,
    precondition: &Precondition,
) -> ServiceError {
    match conflict {
        Conflict::Missing => ServiceError::DeviceNotFound(id.to_string()),
        Conflict::Exists => ServiceError::DeviceAlreadyExists(id.to_string()),
        Conflict::Stale => match (registry.get(id), precondition) {
            (Some(record), Precondition::Matches(given)) => ServiceError::DeviceVersion {
                existing: device_version(&record.etag),
                given: device_version(given),
            },
            _ => ServiceError::PreconditionFailed,
        },
    }
}
