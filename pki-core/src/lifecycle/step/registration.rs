//! The step on a registration record: it is deleted, so that the device has to register again.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Expectation, Found, Kind, Plane, Standing};
use crate::enrollment::RegistrationStatus;
use crate::ids::RegistrationId;
use crate::lifecycle::Subject;

/// A step on a registration record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationStep {
    /// What is done to it.
    pub action: RegistrationAction,
    /// Whose record.
    pub registration_id: RegistrationId,
    /// What to find there.
    pub expect: Expectation,
}

/// What is done to a registration record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegistrationAction {
    /// Delete it, so that the device has to register again.
    #[serde(rename = "deleteRegistration")]
    Delete,
}

impl Kind for RegistrationStep {
    fn key(&self) -> String {
        let id = self.registration_id.as_str().to_ascii_lowercase();
        format!("registration {id}")
    }

    fn name(&self) -> String {
        self.registration_id.to_string()
    }

    fn plane(&self) -> Plane<'_> {
        Plane::Service
    }

    fn calls(&self) -> usize {
        1
    }

    fn subjects(&self) -> Vec<Subject> {
        vec![Subject::Device(self.registration_id.clone())]
    }

    fn expect(&self) -> Option<&Expectation> {
        Some(&self.expect)
    }

    fn standing(&self, found: &Found, expect: &Expectation) -> Standing {
        match found {
            // The device tried again and was refused, which is what a disabled entry is for.
            Found::Registration(Some(held)) if held.status == RegistrationStatus::Disabled => {
                Standing::as_held(held.etag.as_ref())
            }
            Found::Registration(held) => {
                Standing::of_deleted(held.as_ref().map(|held| held.etag.as_ref()), expect)
            }
            _ => Standing::Gone,
        }
    }

    fn audit_word(&self) -> &'static str {
        "registration-deleted"
    }

    fn is_of_device(&self) -> bool {
        true
    }
}

impl fmt::Display for RegistrationStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "delete the registration record of {}",
            self.registration_id
        )
    }
}
