//! The document of a hub's identity registry: one device as IoT Hub knows it (API 2021-04-12).
//!
//! DPS writes it when it assigns a device; deleting or disabling in DPS does not touch it.

use serde::{Deserialize, Serialize};

use crate::certificate::Certificate;
use crate::document::{keeps_nulls, told};
use crate::enrollment::{OtherMembers, SymmetricKeys};
use crate::ids::{DeviceId, Etag};

/// A device identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct HubDevice {
    /// The device's name; case-sensitive.
    pub device_id: DeviceId,
    /// Whether it may connect.
    #[serde(default)]
    pub status: HubDeviceStatus,
    /// Why it has that status, at most 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// How it proves itself to the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<HubAuthentication>,
    /// What the record was when it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<Etag>,
    /// Members that this crate does not know, and those that were null.
    #[serde(flatten, serialize_with = "told")]
    pub other: OtherMembers,
}

impl HubDevice {
    /// Whether it is that of a device that showed this leaf when it registered last.
    pub fn shows(&self, leaf: &Certificate) -> bool {
        let authentication = self.authentication.as_ref();
        let both = authentication.and_then(|one| one.x509_thumbprint.as_ref());
        let shown = both.and_then(|both| both.primary_thumbprint.as_deref());
        shown.is_some_and(|shown| {
            shown.eq_ignore_ascii_case(&leaf.sha256_thumbprint().to_string())
                || shown.eq_ignore_ascii_case(&leaf.sha1_thumbprint().to_string())
        })
    }
}

/// Whether a device identity may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HubDeviceStatus {
    /// It may.
    #[default]
    Enabled,
    /// It may not.
    Disabled,
}

impl HubDeviceStatus {
    /// The word for it, as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

/// How a device proves itself to its hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct HubAuthentication {
    /// `sas`, `selfSigned` (by thumbprint; what DPS writes for X.509), `certificateAuthority` or `none`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Shared keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symmetric_key: Option<SymmetricKeys>,
    /// Thumbprints of the leaf: 64 hex digits (SHA-256) as DPS writes them, or 40 (SHA-1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x509_thumbprint: Option<Thumbprints>,
    /// Members that this crate does not know, and those that were null.
    #[serde(flatten, serialize_with = "told")]
    pub other: OtherMembers,
}

/// The two thumbprints of a `selfSigned` identity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct Thumbprints {
    /// The leaf that the device presented last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_thumbprint: Option<String>,
    /// A copy of the primary, where DPS wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secondary_thumbprint: Option<String>,
    /// Members that this crate does not know, and those that were null.
    #[serde(flatten, serialize_with = "told")]
    pub other: OtherMembers,
}

keeps_nulls!(HubDevice, "status" = "enabled");
keeps_nulls!(HubAuthentication);
keeps_nulls!(Thumbprints);
