//! A CA certificate as it is kept, with the code that is to be proven.

use pki_core::admission::UploadedCa;
use pki_core::certificate::{Certificate, pem};
use pki_core::ids::VerificationCode;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A CA certificate in DPS.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Authority {
    #[serde(serialize_with = "to_pem", deserialize_with = "from_pem")]
    pub(crate) certificate: Certificate,
    /// The certificate's text as it came, which is how it is shown beside a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uploaded_text: Option<String>,
    pub(crate) is_verified: bool,
    /// The code to be proven, once one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<VerificationCode>,
}

impl Authority {
    /// As admission sees it.
    pub(crate) fn uploaded(&self) -> UploadedCa {
        UploadedCa {
            sha1_thumbprint: self.certificate.sha1_thumbprint(),
            sha256_thumbprint: Some(self.certificate.sha256_thumbprint()),
            is_verified: self.is_verified,
        }
    }
}

fn to_pem<S: Serializer>(certificate: &Certificate, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&certificate.to_pem())
}

fn from_pem<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Certificate, D::Error> {
    let text = String::deserialize(deserializer)?;
    pem::certificate(text.as_bytes()).map_err(serde::de::Error::custom)
}
