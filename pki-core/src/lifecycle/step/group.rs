//! Steps on an enrollment group.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Expectation, Found, Kind, Plane, Standing, status_alone, verb};
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

impl Kind for GroupStep {
    fn key(&self) -> String {
        format!("group {}", self.id().as_str().to_ascii_lowercase())
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
        vec![Subject::Group(self.id().clone())]
    }

    fn expect(&self) -> Option<&Expectation> {
        Some(&self.expect)
    }

    fn standing(&self, found: &Found, expect: &Expectation) -> Standing {
        let Found::Group(held) = found else {
            return Standing::Gone;
        };
        let tag = held.as_ref().map(|held| held.etag.as_ref());
        match (&self.action, held) {
            (GroupAction::Put { .. }, None) => Standing::of_missing(expect),
            (GroupAction::Put { group, changes }, Some(held)) => {
                let held_with_tag = (&json!(held), held.etag.as_ref());
                Standing::of_document(&json!(group), changes, held_with_tag, expect)
            }
            (GroupAction::Delete { .. }, _) => Standing::of_deleted(tag, expect),
        }
    }

    fn audit_word(&self) -> &'static str {
        match &self.action {
            GroupAction::Put { changes, .. } => match status_alone(changes) {
                Some(true) => "group-enabled",
                Some(false) => "group-disabled",
                None => "group-written",
            },
            GroupAction::Delete { .. } => "group-deleted",
        }
    }

    fn is_of_device(&self) -> bool {
        false
    }

    fn changes_admission(&self) -> bool {
        true
    }

    fn apply_to(&self, view: &mut DpsView) -> Result<(), ViewError> {
        match &self.action {
            GroupAction::Put { group, .. } => view.put_group(group),
            GroupAction::Delete { id } => {
                view.remove_group(id);
                Ok(())
            }
        }
    }

    fn reopens(&self, view: &DpsView) -> bool {
        let held = view.group(self.id());
        self.takes_away() && held.is_some_and(|held| held.status == ProvisioningStatus::Disabled)
    }

    fn takes_away(&self) -> bool {
        let document = self.document();
        document.is_none_or(|group| group.provisioning_status != ProvisioningStatus::Disabled)
    }

    fn changes(&self) -> &[FieldChange] {
        match &self.action {
            GroupAction::Put { changes, .. } => changes,
            GroupAction::Delete { .. } => &[],
        }
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
