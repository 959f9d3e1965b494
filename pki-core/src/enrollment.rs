//! The documents of the service plane: individual enrollments, enrollment groups, registration states.
//!
//! They are what DPS sends and takes (service API 2021-10-01), so client and emulator share them.
//! Members that this crate does not know survive a round trip; values that the service may add land
//! in an `Other`. What DPS decides with them is [`crate::admission`]; how one is made from an
//! authority or a leaf is [`compose`].
//! Invariant: reading a document and writing it back changes nothing that the service would notice.

mod attestation;
pub mod compose;
mod group;
mod individual;
mod kind;
mod registration;

pub use attestation::{
    Attestation, CertificateInfo, CertificateSlot, Mechanism, SlotContent, Slots, SymmetricKey,
    SymmetricKeys, X509Certificates,
};
pub use group::EnrollmentGroup;
pub use individual::IndividualEnrollment;
pub use kind::Enrollment;
pub use registration::{ErrorCode, RegistrationState, RegistrationStatus, Substatus};

use serde::{Deserialize, Serialize};

use crate::document::{keeps_nulls, told};
use crate::text::wire_words;

/// Members of a document that this crate does not know, kept for the round trip.
pub type OtherMembers = serde_json::Map<String, serde_json::Value>;

/// Whether an entry lets its devices in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ProvisioningStatus {
    /// Devices of this entry are admitted. The service's default.
    #[default]
    Enabled,
    /// Devices of this entry are refused with the status `disabled`.
    Disabled,
    /// A word that this crate does not know: whether devices are admitted cannot be told from it.
    Other(String),
}

impl ProvisioningStatus {
    /// The word for it, as on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Other(word) => word,
        }
    }
}

wire_words!(ProvisioningStatus {
    Enabled = "enabled",
    Disabled = "disabled",
});

/// What happens to a device's data when it registers again
/// ([reprovisioning](https://learn.microsoft.com/azure/iot-dps/concepts-device-reprovision)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct ReprovisionPolicy {
    /// Whether the hub is chosen anew.
    pub update_hub_assignment: bool,
    /// Whether the twin moves along with the device; else it is reset.
    pub migrate_device_data: bool,
    /// Members that this crate does not know, and those that were null.
    #[serde(flatten, serialize_with = "told")]
    pub other: OtherMembers,
}

keeps_nulls!(ReprovisionPolicy);

impl ReprovisionPolicy {
    /// A policy that says nothing else.
    pub fn new(update_hub_assignment: bool, migrate_device_data: bool) -> Self {
        Self {
            update_hub_assignment,
            migrate_device_data,
            other: OtherMembers::new(),
        }
    }
}

impl Default for ReprovisionPolicy {
    /// The service's default: choose anew and take the twin along.
    fn default() -> Self {
        Self::new(true, true)
    }
}

/// How an entry chooses among linked hubs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllocationPolicy {
    /// Evenly, by a hash over the hubs.
    Hashed,
    /// The hub with the lowest latency.
    GeoLatency,
    /// The one hub that the entry names.
    Static,
    /// What a webhook says.
    Custom,
    /// A policy that this crate does not know.
    Other(String),
}

wire_words!(AllocationPolicy {
    Hashed = "hashed",
    GeoLatency = "geoLatency",
    Static = "static",
    Custom = "custom",
});
