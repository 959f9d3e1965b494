//! Steps on an individual enrollment.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::enrollment::EnrollmentStep;
use super::{Expectation, Found, Kind, verb};
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

impl EnrollmentStep for IndividualStep {
    type Document = IndividualEnrollment;

    const KEY: &'static str = "enrollment";
    const AUDIT_WORDS: [&'static str; 4] = [
        "enrollment-enabled",
        "enrollment-disabled",
        "enrollment-written",
        "enrollment-deleted",
    ];

    fn written(&self) -> Option<(&IndividualEnrollment, &[FieldChange])> {
        match &self.action {
            IndividualAction::Put {
                enrollment,
                changes,
            } => Some((enrollment, changes)),
            IndividualAction::Delete { .. } => None,
        }
    }

    fn enrollment_id(&self) -> &RegistrationId {
        self.id()
    }

    fn expectation(&self) -> &Expectation {
        &self.expect
    }

    fn subject(&self) -> Subject {
        Subject::Device(self.id().clone())
    }

    fn held(found: &Found) -> Option<&Option<Box<IndividualEnrollment>>> {
        match found {
            Found::Individual(held) => Some(held),
            _ => None,
        }
    }

    fn status_in<'v>(&self, view: &'v DpsView) -> Option<&'v ProvisioningStatus> {
        view.individual(self.id()).map(|held| &held.status)
    }

    fn put_into(view: &mut DpsView, document: &IndividualEnrollment) -> Result<(), ViewError> {
        view.put_individual(document)
    }

    fn remove_from(&self, view: &mut DpsView) {
        view.remove_individual(self.id());
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
