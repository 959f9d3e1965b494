//! The documents of the management plane that the toolkit needs: CA certificates in DPS.
//!
//! Shapes are those of ARM `Microsoft.Devices/provisioningServices/certificates`, api-version
//! 2022-12-12; older versions write the properties of a PUT flat, which is the client's and the
//! emulator's concern. Dates here are RFC 1123, unlike everywhere else.

use serde::{Deserialize, Serialize};

use crate::document::{keeps_nulls, told};
use crate::enrollment::OtherMembers;
use crate::ids::{CertificateName, Etag, Sha1Thumbprint, VerificationCode};

/// A CA certificate as DPS holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct CaCertificate {
    /// The name under which groups refer to it.
    pub name: CertificateName,
    /// What it is.
    pub properties: CaCertificateProperties,
    /// What the resource was when it was read; every write changes it, the making of a code too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<Etag>,
    /// Members that this crate does not know (`id`, `type`, `systemData`), and those that were null.
    #[serde(flatten, serialize_with = "told")]
    pub other: OtherMembers,
}

/// The properties of a CA certificate in DPS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct CaCertificateProperties {
    /// The subject: its common name alone since 2022, with `CN=` before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it ends, RFC 1123.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<String>,
    /// SHA-1 of the DER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbprint: Option<Sha1Thumbprint>,
    /// Whether possession of its key was proven, or attested at upload.
    #[serde(default)]
    pub is_verified: bool,
    /// The certificate as it was uploaded: base64 of DER or PEM, or PEM text. The live service shows it
    /// beside a verification code only; it is null in every other answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The code to be proven; only in the answer to generateVerificationCode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_code: Option<VerificationCode>,
    /// When it was uploaded, RFC 1123; the live service says year 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// When it last changed, RFC 1123.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<String>,
    /// Members that this crate does not know, and those that were null.
    #[serde(flatten, serialize_with = "told")]
    pub other: OtherMembers,
}

keeps_nulls!(CaCertificate);
keeps_nulls!(CaCertificateProperties, "isVerified" = false);
