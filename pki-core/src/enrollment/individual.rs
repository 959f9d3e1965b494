//! The individual enrollment: one device, known by its registration ID.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    AllocationPolicy, Attestation, OtherMembers, ProvisioningStatus, RegistrationState,
    ReprovisionPolicy,
};
use crate::document::{keeps_nulls, told};
use crate::ids::{DeviceId, Etag, HubHostName, RegistrationId};

/// An individual enrollment (`IndividualEnrollment`, service API 2021-10-01).
///
/// It decides about its device before any group does. A disabled one is how a device of a group is
/// shut out; deleting it lets the device in again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct IndividualEnrollment {
    /// The record's name; for X.509 the CN of the leaf.
    pub registration_id: RegistrationId,
    /// The hub's name for the device; the registration ID if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
    /// How the device is recognised.
    pub attestation: Attestation,
    /// Whether the device is let in.
    #[serde(default)]
    pub provisioning_status: ProvisioningStatus,
    /// What happens to its data when it registers again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reprovision_policy: Option<ReprovisionPolicy>,
    /// How its hub is chosen; the service's own policy if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation_policy: Option<AllocationPolicy>,
    /// The hubs to choose from; all linked hubs if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iot_hubs: Option<Vec<HubHostName>>,
    /// Twin to start with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_twin: Option<Value>,
    /// What the record was when it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<Etag>,
    /// Members that this crate does not know, and those that were null.
    #[serde(flatten, serialize_with = "told")]
    pub other: OtherMembers,
}

keeps_nulls!(IndividualEnrollment, "provisioningStatus" = "enabled");

impl IndividualEnrollment {
    /// An enabled entry with the service's defaults for everything else.
    pub fn new(registration_id: RegistrationId, attestation: Attestation) -> Self {
        Self {
            registration_id,
            device_id: None,
            attestation,
            provisioning_status: ProvisioningStatus::Enabled,
            reprovision_policy: None,
            allocation_policy: None,
            iot_hubs: None,
            initial_twin: None,
            etag: None,
            other: OtherMembers::new(),
        }
    }

    /// The hub's name for the device.
    pub fn hub_device_id(&self) -> DeviceId {
        self.device_id
            .clone()
            .unwrap_or_else(|| DeviceId::from(&self.registration_id))
    }

    /// The registration record of its device, where the service has told it with the entry.
    pub fn registration_state(&self) -> Option<RegistrationState> {
        let told = self.other.get("registrationState")?;
        RegistrationState::deserialize(told).ok()
    }
}
