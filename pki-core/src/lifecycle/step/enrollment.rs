//! What steps on groups and on individual enrollments have in common, written once over both.

use std::fmt;

use serde_json::json;

use super::{Expectation, Found, Kind, Plane, Standing, status_alone};
use crate::admission::{DpsView, ViewError};
use crate::enrollment::{Enrollment, ProvisioningStatus};
use crate::lifecycle::{FieldChange, Subject};

/// A step on a document that lets devices in.
pub(super) trait EnrollmentStep: fmt::Display {
    /// The document.
    type Document: Enrollment;

    /// What stands before the document's name in the key of its record.
    const KEY: &'static str;
    /// What the audit trail calls it if the document is enabled, disabled, written otherwise, deleted.
    const AUDIT_WORDS: [&'static str; 4];

    /// What is written, and what differs from what is there; `None` if the document is deleted.
    fn written(&self) -> Option<(&Self::Document, &[FieldChange])>;
    /// What the document is known by.
    fn enrollment_id(&self) -> &<Self::Document as Enrollment>::Id;
    /// What to find there.
    fn expectation(&self) -> &Expectation;
    /// What it concerns.
    fn subject(&self) -> Subject;
    /// The document that was read back; `None` if a record of another kind was.
    fn held(found: &Found) -> Option<&Option<Box<Self::Document>>>;
    /// Whether the document that a view holds lets devices in.
    fn status_in<'v>(&self, view: &'v DpsView) -> Option<&'v ProvisioningStatus>;
    /// Adds or replaces the document in a view.
    fn put_into(view: &mut DpsView, document: &Self::Document) -> Result<(), ViewError>;
    /// Takes the document out of a view.
    fn remove_from(&self, view: &mut DpsView);
}

impl<S: EnrollmentStep> Kind for S {
    fn key(&self) -> String {
        let id = self.enrollment_id().to_string();
        format!("{} {}", S::KEY, id.to_ascii_lowercase())
    }

    fn name(&self) -> String {
        self.enrollment_id().to_string()
    }

    fn plane(&self) -> Plane<'_> {
        Plane::Service
    }

    fn calls(&self) -> usize {
        1
    }

    fn subjects(&self) -> Vec<Subject> {
        vec![self.subject()]
    }

    fn expect(&self) -> Option<&Expectation> {
        Some(self.expectation())
    }

    fn standing(&self, found: &Found, expect: &Expectation) -> Standing {
        let Some(held) = S::held(found) else {
            return Standing::Gone;
        };
        match (self.written(), held) {
            (Some(_), None) => Standing::of_missing(expect),
            (Some((document, changes)), Some(held)) => {
                let held_with_tag = (&json!(held), held.etag());
                Standing::of_document(&json!(document), changes, held_with_tag, expect)
            }
            (None, held) => {
                let tag = held.as_ref().map(|held| held.etag());
                Standing::of_deleted(tag, expect)
            }
        }
    }

    fn audit_word(&self) -> &'static str {
        let [enabled, disabled, written, deleted] = S::AUDIT_WORDS;
        match self.written() {
            Some((_, changes)) => match status_alone(changes) {
                Some(true) => enabled,
                Some(false) => disabled,
                None => written,
            },
            None => deleted,
        }
    }

    fn is_of_device(&self) -> bool {
        matches!(self.subject(), Subject::Device(_))
    }

    fn changes_admission(&self) -> bool {
        true
    }

    fn apply_to(&self, view: &mut DpsView) -> Result<(), ViewError> {
        match self.written() {
            Some((document, _)) => S::put_into(view, document),
            None => {
                self.remove_from(view);
                Ok(())
            }
        }
    }

    fn reopens(&self, view: &DpsView) -> bool {
        self.takes_away() && self.status_in(view) == Some(&ProvisioningStatus::Disabled)
    }

    fn takes_away(&self) -> bool {
        self.written()
            .is_none_or(|(document, _)| *document.status() != ProvisioningStatus::Disabled)
    }

    fn changes(&self) -> &[FieldChange] {
        self.written().map_or(&[], |(_, changes)| changes)
    }
}
