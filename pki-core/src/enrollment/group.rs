//! The enrollment group: every device below a certificate.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AllocationPolicy, Attestation, OtherMembers, ProvisioningStatus, ReprovisionPolicy};
use crate::document::{keeps_nulls, told};
use crate::ids::{EnrollmentGroupId, Etag, HubHostName};

/// An enrollment group (`EnrollmentGroup`, service API 2021-10-01).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct EnrollmentGroup {
    /// The record's name.
    pub enrollment_group_id: EnrollmentGroupId,
    /// How its devices are recognised: signing certificates, CA references or a group key.
    pub attestation: Attestation,
    /// Whether its devices are let in.
    #[serde(default)]
    pub provisioning_status: ProvisioningStatus,
    /// What happens to a device's data when it registers again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reprovision_policy: Option<ReprovisionPolicy>,
    /// How a hub is chosen; the service's own policy if absent.
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

keeps_nulls!(EnrollmentGroup, "provisioningStatus" = "enabled");

impl EnrollmentGroup {
    /// An enabled group with the service's defaults for everything else.
    pub fn new(enrollment_group_id: EnrollmentGroupId, attestation: Attestation) -> Self {
        Self {
            enrollment_group_id,
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
}
