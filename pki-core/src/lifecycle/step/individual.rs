//! Steps on an individual enrollment.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Expectation, Found, Kind, Plane, Standing, status_alone, verb};
use crate::admission::{DpsView, ViewError};
use crate::enrollment::{IndividualEnrollment, ProvisioningStatus};
use crate::ids::RegistrationId;
use crate::lifecycle::{FieldChange, Subject};

/// A step on an individual enrollment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndividualStep {
    /// What is done to whose enrollment.
    #[serde(flatten)]
    pub action: IndividualAction,
    /// What to find there.
    pub expect: Expectation,
}

/// What is done to an individual enrollment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all_fields = "camelCase")]
pub enum IndividualAction {
    /// Create or change it.
    #[serde(rename = "putIndividual")]
    Put {
        /// The whole record to write, which names the device.
        enrollment: Box<IndividualEnrollment>,
        /// What differs from what is there.
        changes: Vec<FieldChange>,
    },
    /// Delete it; its device falls through to its group, if there is one.
    #[serde(rename = "deleteIndividual")]
    Delete {
        /// Whose entry.
        registration_id: RegistrationId,
    },
}

impl IndividualStep {
    /// Creates or changes an entry; what is written holds each certificate once.
    pub(crate) fn put(
        enrollment: IndividualEnrollment,
        changes: Vec<FieldChange>,
        expect: Expectation,
    ) -> Self {
        let enrollment = Box::new(IndividualEnrollment {
            attestation: enrollment.attestation.without_copies(),
            ..enrollment
        });
        let action = IndividualAction::Put {
            enrollment,
            changes,
        };
        Self { action, expect }
    }

    /// The deletion of the entry once this step is done.
    pub(crate) fn then_delete(&self) -> Self {
        let registration_id = self.id().clone();
        Self {
            action: IndividualAction::Delete { registration_id },
            expect: Expectation::as_left(),
        }
    }

    /// Whose entry.
    pub fn id(&self) -> &RegistrationId {
        match &self.action {
            IndividualAction::Put { enrollment, .. } => &enrollment.registration_id,
            IndividualAction::Delete { registration_id } => registration_id,
        }
    }

    /// The record that is written; `None` if it is deleted.
    pub fn document(&self) -> Option<&IndividualEnrollment> {
        match &self.action {
            IndividualAction::Put { enrollment, .. } => Some(enrollment),
            IndividualAction::Delete { .. } => None,
        }
    }

    /// Whether both create, or both change as read: one call takes several entries of either.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        let makes = self.makes();
        makes.is_some() && makes == other.makes() && self.key() != other.key()
    }

    /// Whether a put creates the entry; `None` of what goes in no call with others.
    fn makes(&self) -> Option<bool> {
        match (&self.action, &self.expect) {
            (IndividualAction::Put { .. }, Expectation::Absent) => Some(true),
            (IndividualAction::Put { .. }, Expectation::Etag(_)) => Some(false),
            (IndividualAction::Put { .. }, Expectation::AsLeftByPlan(_))
            | (IndividualAction::Delete { .. }, _) => None,
        }
    }
}

impl Kind for IndividualStep {
    fn key(&self) -> String {
        format!("enrollment {}", self.id().as_str().to_ascii_lowercase())
    }

    fn name(&self) -> String {
        self.id().to_string()
    }

    fn plane(&self) -> Plane<'_> {
        Plane::Service
    }

    fn calls(&self) -> usize {
        1
    }

    fn subjects(&self) -> Vec<Subject> {
        vec![Subject::Device(self.id().clone())]
    }

    fn expect(&self) -> Option<&Expectation> {
        Some(&self.expect)
    }

    fn standing(&self, found: &Found, expect: &Expectation) -> Standing {
        let Found::Individual(held) = found else {
            return Standing::Gone;
        };
        let tag = held.as_ref().map(|held| held.etag.as_ref());
        match (&self.action, held) {
            (IndividualAction::Put { .. }, None) => Standing::of_missing(expect),
            (
                IndividualAction::Put {
                    enrollment,
                    changes,
                },
                Some(held),
            ) => {
                let held_with_tag = (&json!(held), held.etag.as_ref());
                Standing::of_document(&json!(enrollment), changes, held_with_tag, expect)
            }
            (IndividualAction::Delete { .. }, _) => Standing::of_deleted(tag, expect),
        }
    }

    fn audit_word(&self) -> &'static str {
        match &self.action {
            IndividualAction::Put { changes, .. } => match status_alone(changes) {
                Some(true) => "enrollment-enabled",
                Some(false) => "enrollment-disabled",
                None => "enrollment-written",
            },
            IndividualAction::Delete { .. } => "enrollment-deleted",
        }
    }

    fn is_of_device(&self) -> bool {
        true
    }

    fn changes_admission(&self) -> bool {
        true
    }

    fn apply_to(&self, view: &mut DpsView) -> Result<(), ViewError> {
        match &self.action {
            IndividualAction::Put { enrollment, .. } => view.put_individual(enrollment),
            IndividualAction::Delete { registration_id } => {
                view.remove_individual(registration_id);
                Ok(())
            }
        }
    }

    fn reopens(&self, view: &DpsView) -> bool {
        let held = view.individual(self.id());
        self.takes_away() && held.is_some_and(|held| held.status == ProvisioningStatus::Disabled)
    }

    fn takes_away(&self) -> bool {
        let document = self.document();
        document.is_none_or(|entry| entry.provisioning_status != ProvisioningStatus::Disabled)
    }

    fn changes(&self) -> &[FieldChange] {
        match &self.action {
            IndividualAction::Put { changes, .. } => changes,
            IndividualAction::Delete { .. } => &[],
        }
    }
}

impl fmt::Display for IndividualStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id();
        match &self.action {
            IndividualAction::Put { enrollment, .. } => {
                let verb = verb(&self.expect);
                let status = &enrollment.provisioning_status;
                write!(f, "{verb} individual enrollment {id}, {status}")
            }
            IndividualAction::Delete { .. } => write!(f, "delete individual enrollment {id}"),
        }
    }
}
