//! Steps on an enrollment group.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::enrollment::EnrollmentStep;
use super::{Expectation, Found, verb};
use crate::admission::{DpsView, ViewError};
use crate::enrollment::{EnrollmentGroup, ProvisioningStatus};
use crate::ids::EnrollmentGroupId;
use crate::lifecycle::{FieldChange, Subject};

/// A step on an enrollment group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupStep {
    /// What is done to which group.
    #[serde(flatten)]
    pub action: GroupAction,
    /// What to find there.
    pub expect: Expectation,
}

/// What is done to a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action")]
pub enum GroupAction {
    /// Create or change it.
    #[serde(rename = "putGroup")]
    Put {
        /// The whole record to write, which names the group.
        group: Box<EnrollmentGroup>,
        /// What differs from what is there.
        changes: Vec<FieldChange>,
    },
    /// Delete it; its devices fall through to a group above it, if there is one.
    #[serde(rename = "deleteGroup")]
    Delete {
        /// Which group.
        id: EnrollmentGroupId,
    },
}

impl GroupStep {
    /// Creates or changes a group; what is written holds each certificate once.
    pub(crate) fn put(
        group: EnrollmentGroup,
        changes: Vec<FieldChange>,
        expect: Expectation,
    ) -> Self {
        let group = Box::new(EnrollmentGroup {
            attestation: group.attestation.without_copies(),
            ..group
        });
        let action = GroupAction::Put { group, changes };
        Self { action, expect }
    }

    /// The deletion of the group once this step is done.
    pub(crate) fn then_delete(&self) -> Self {
        let id = self.id().clone();
        Self {
            action: GroupAction::Delete { id },
            expect: Expectation::as_left(),
        }
    }

    /// Which group.
    pub fn id(&self) -> &EnrollmentGroupId {
        match &self.action {
            GroupAction::Put { group, .. } => &group.enrollment_group_id,
            GroupAction::Delete { id } => id,
        }
    }

    /// The record that is written; `None` if it is deleted.
    pub fn document(&self) -> Option<&EnrollmentGroup> {
        match &self.action {
            GroupAction::Put { group, .. } => Some(group),
            GroupAction::Delete { .. } => None,
        }
    }
}

impl EnrollmentStep for GroupStep {
    type Document = EnrollmentGroup;

    const KEY: &'static str = "group";
    const AUDIT_WORDS: [&'static str; 4] = [
        "group-enabled",
        "group-disabled",
        "group-written",
        "group-deleted",
    ];

    fn written(&self) -> Option<(&EnrollmentGroup, &[FieldChange])> {
        match &self.action {
            GroupAction::Put { group, changes } => Some((group, changes)),
            GroupAction::Delete { .. } => None,
        }
    }

    fn enrollment_id(&self) -> &EnrollmentGroupId {
        self.id()
    }

    fn expectation(&self) -> &Expectation {
        &self.expect
    }

    fn subject(&self) -> Subject {
        Subject::Group(self.id().clone())
    }

    fn held(found: &Found) -> Option<&Option<Box<EnrollmentGroup>>> {
        match found {
            Found::Group(held) => Some(held),
            _ => None,
        }
    }

    fn status_in<'v>(&self, view: &'v DpsView) -> Option<&'v ProvisioningStatus> {
        view.group(self.id()).map(|held| &held.status)
    }

    fn put_into(view: &mut DpsView, document: &EnrollmentGroup) -> Result<(), ViewError> {
        view.put_group(document)
    }

    fn remove_from(&self, view: &mut DpsView) {
        view.remove_group(self.id());
    }
}

impl fmt::Display for GroupStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id();
        match &self.action {
            GroupAction::Put { group, .. } => {
                let verb = verb(&self.expect);
                let status = &group.provisioning_status;
                write!(f, "{verb} enrollment group {id}, {status}")
            }
            GroupAction::Delete { .. } => write!(f, "delete enrollment group {id}"),
        }
    }
}
