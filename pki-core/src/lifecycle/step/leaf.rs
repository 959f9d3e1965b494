//! The step on a leaf of the inventory: it is marked revoked, for the next CRL.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Expectation, Found, Kind, Plane, Standing, Step};
use crate::certificate::Certificate;
use crate::ids::{RegistrationId, SerialNumber, Sha256Thumbprint};
use crate::inventory::Status;
use crate::lifecycle::Subject;

/// A step on a leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeafStep {
    /// What is done to it.
    pub action: LeafAction,
    /// Whose certificate.
    pub registration_id: RegistrationId,
    /// Which one.
    pub serial_number: SerialNumber,
    /// Its identity.
    pub sha256_thumbprint: Sha256Thumbprint,
}

/// What is done to a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LeafAction {
    /// Mark it revoked, for the next CRL.
    Revoke,
}

impl LeafStep {
    /// The revocation of a device's leaf.
    pub(crate) fn revoke(id: &RegistrationId, leaf: &Certificate) -> Step {
        Step::Leaf(Self {
            action: LeafAction::Revoke,
            registration_id: id.clone(),
            serial_number: leaf.serial_number().clone(),
            sha256_thumbprint: leaf.sha256_thumbprint(),
        })
    }
}

impl Kind for LeafStep {
    fn key(&self) -> String {
        let thumbprint = self.sha256_thumbprint.to_string().to_ascii_lowercase();
        format!("leaf {thumbprint}")
    }

    fn name(&self) -> String {
        self.registration_id.to_string()
    }

    fn plane(&self) -> Plane<'_> {
        Plane::Inventory
    }

    fn calls(&self) -> usize {
        0
    }

    fn subjects(&self) -> Vec<Subject> {
        vec![Subject::Device(self.registration_id.clone())]
    }

    fn expect(&self) -> Option<&Expectation> {
        None
    }

    fn standing(&self, found: &Found, expect: &Expectation) -> Standing {
        match found {
            Found::Certificate(Some(Status::Delivered)) => Standing::AsExpected(expect.clone()),
            Found::Certificate(_) => Standing::Done(None),
            _ => Standing::Gone,
        }
    }

    /// The inventory says what changed; this says which plan it was part of.
    fn audit_word(&self) -> &'static str {
        "step-done"
    }

    fn is_of_device(&self) -> bool {
        true
    }
}

impl fmt::Display for LeafStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "mark leaf {} of {} revoked in the inventory",
            self.serial_number, self.registration_id
        )
    }
}
