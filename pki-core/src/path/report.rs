//! The answer of a path validation.

use serde::Serialize;

use crate::certificate::Certificate;
use crate::ids::{SerialNumber, Sha256Thumbprint};
use crate::time::Time;

/// What a path validation found. A path that does not hold is an answer, not an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathReport {
    /// The moment for which the path was judged.
    pub at: Time,
    /// The certificates from the leaf upwards, as far as the path could be built.
    pub path: Vec<PathStep>,
    /// Why the path does not hold; `None` if it does.
    pub failure: Option<PathFailure>,
}

impl PathReport {
    /// Whether the leaf's path leads to a trust anchor with nothing wrong on the way.
    pub fn holds(&self) -> bool {
        self.failure.is_none()
    }
}

/// One certificate of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathStep {
    /// Whose certificate it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its serial number.
    pub serial_number: SerialNumber,
    /// Its identity.
    pub sha256_thumbprint: Sha256Thumbprint,
    /// Its first moment of validity.
    pub not_before: Time,
    /// Its last moment of validity.
    pub not_after: Time,
    /// Whether it is one of the trust anchors.
    pub is_anchor: bool,
}

impl PathStep {
    pub(super) fn new(certificate: &Certificate, anchors: &[Certificate]) -> Self {
        Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial_number: certificate.serial_number().clone(),
            sha256_thumbprint: certificate.sha256_thumbprint(),
            not_before: certificate.validity().not_before(),
            not_after: certificate.validity().not_after(),
            is_anchor: anchors.contains(certificate),
        }
    }
}

/// The first thing wrong with a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathFailure {
    /// Which certificate it is about: 0 for the leaf, growing towards the anchor.
    pub depth: usize,
    /// That certificate's subject, if the path got that far.
    pub subject: Option<String>,
    /// What is wrong, in OpenSSL's words.
    pub reason: String,
}
