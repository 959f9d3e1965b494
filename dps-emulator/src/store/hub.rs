//! The identity registry of one linked hub.

use std::collections::BTreeMap;

use pki_core::hub::{HubAuthentication, HubDevice};
use pki_core::ids::{DeviceId, Etag};
use pki_core::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Conflict, Precondition, Record, Table};
use crate::store::metadata::{Mark, WITH_THE_TWIN};

/// The devices that a hub knows.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    pub(super) devices: Table<DeviceId, Device>,
}

/// A device identity with its twin.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Device {
    /// As the registry's API shows it, without the members that the hub sets.
    pub(crate) document: HubDevice,
    /// Tells incarnations of one device ID apart.
    pub(crate) generation_id: String,
    /// When the status last changed; `None` if it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status_updated: Option<Time>,
    pub(crate) twin: Twin,
    /// The modules of a device of IoT Edge; the name of one is written like that of a device.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) modules: BTreeMap<DeviceId, Module>,
}

/// A module identity.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Module {
    pub(crate) managed_by: Option<String>,
    pub(crate) authentication: Option<HubAuthentication>,
    pub(crate) etag: Etag,
    /// Tells incarnations of one name apart.
    pub(crate) generation_id: String,
}

/// What a hub and a device agree on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Twin {
    pub(crate) tags: Value,
    pub(crate) desired: Value,
    pub(crate) reported: Value,
    #[serde(default = "first_version")]
    pub(crate) desired_version: u64,
    #[serde(default = "first_version")]
    pub(crate) reported_version: u64,
    /// Grows with every change.
    #[serde(default = "first_version")]
    pub(crate) version: u64,
    /// When each member was written, once one was.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) desired_metadata: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) reported_metadata: Value,
}

fn first_version() -> u64 {
    1
}

impl Twin {
    /// The twin that an enrollment's `initialTwin` describes.
    pub(crate) fn initial(initial_twin: Option<&Value>) -> Self {
        let part = |pointer: &str| {
            initial_twin
                .and_then(|twin| twin.pointer(pointer))
                .filter(|part| part.is_object())
                .cloned()
                .unwrap_or_else(|| json!({}))
        };
        let desired = part("/properties/desired");
        let mut desired_metadata = Value::Null;
        if let Some(members) = desired.as_object().filter(|members| !members.is_empty()) {
            let mark = Mark {
                at: WITH_THE_TWIN.to_owned(),
                version: first_version(),
            };
            mark.put_on(&mut desired_metadata, members);
        }
        Self {
            tags: part("/tags"),
            desired,
            desired_metadata,
            reported_metadata: Value::Null,
            reported: json!({}),
            desired_version: first_version(),
            reported_version: first_version(),
            version: first_version(),
        }
    }
}

impl Registry {
    pub(crate) fn get(&self, id: &DeviceId) -> Option<&Record<Device>> {
        self.devices.get(id)
    }

    /// A device, to change what has no ETag: its twin.
    pub(crate) fn device_mut(&mut self, id: &DeviceId) -> Option<&mut Device> {
        self.devices.value_mut(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Record<Device>> {
        self.devices.iter().map(|(_, record)| record)
    }

    /// The devices behind one, in the order of IDs.
    pub(crate) fn after(
        &self,
        id: Option<&DeviceId>,
    ) -> impl Iterator<Item = (&DeviceId, &Record<Device>)> {
        self.devices.after(id)
    }

    pub(crate) fn put(
        &mut self,
        device: Device,
        precondition: &Precondition,
        etag: Etag,
        now: Time,
    ) -> Result<(), Conflict> {
        let id = device.document.device_id.clone();
        self.devices.put(id, device, precondition, etag, now)
    }

    /// Writes a device as DPS does on assignment: whatever is there keeps its status, its generation
    /// and, unless it is to be reset, its twin.
    pub(crate) fn assign(&mut self, mut device: Device, reset_twin: bool, etag: Etag, now: Time) {
        let id = device.document.device_id.clone();
        if let Some(present) = self.devices.get(&id) {
            let present = &present.value;
            device.document.status = present.document.status;
            device.document.status_reason = present.document.status_reason.clone();
            device.status_updated = present.status_updated;
            device.generation_id.clone_from(&present.generation_id);
            device.modules.clone_from(&present.modules);
            if !reset_twin {
                device.twin = present.twin.clone();
            }
        }
        self.devices.put_anyhow(id, device, etag, now);
    }

    pub(crate) fn remove(
        &mut self,
        id: &DeviceId,
        precondition: &Precondition,
    ) -> Result<(), Conflict> {
        self.devices.remove(id, precondition)
    }

    /// Takes a device out, if it is there.
    pub(crate) fn take(&mut self, id: &DeviceId) -> Option<Device> {
        let device = self.devices.get(id)?.value.clone();
        self.devices.remove(id, &Precondition::Present).ok()?;
        Some(device)
    }
}

impl Device {
    /// The word for how the device proves itself; `sas` is the registry's default.
    pub(crate) fn authentication_kind(&self) -> &str {
        let authentication = self.document.authentication.as_ref();
        authentication
            .and_then(|authentication: &HubAuthentication| authentication.kind.as_deref())
            .unwrap_or("sas")
    }
}
