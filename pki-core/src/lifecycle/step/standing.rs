//! A step compared with the record that was read back: done already, ready to be sent as it was planned, or in
//! conflict with what somebody else did.

use serde_json::{Map, Value};

use super::Expectation;
use crate::enrollment::{
    EnrollmentGroup, IndividualEnrollment, ProvisioningStatus, RegistrationState,
};
use crate::hub::HubDevice;
use crate::ids::{Etag, Generation};
use crate::inventory::{GenerationState, Status};
use crate::lifecycle::{FieldChange, differences, fulfils};
use crate::management::CaCertificate;

/// What was read back of a step's record; `None` if there is none.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Found {
    /// A CA certificate.
    Ca(Option<Box<CaCertificate>>),
    /// A group.
    Group(Option<Box<EnrollmentGroup>>),
    /// An individual enrollment.
    Individual(Option<Box<IndividualEnrollment>>),
    /// A registration record.
    Registration(Option<Box<RegistrationState>>),
    /// A hub's device identity.
    HubDevice(Option<Box<HubDevice>>),
    /// A certificate of the inventory.
    Certificate(Option<Status>),
    /// The generations of an authority.
    Generations(Vec<(Generation, GenerationState)>),
}

impl Found {
    /// Whether it is an entry that keeps devices out.
    pub(in crate::lifecycle) fn is_disabled(&self) -> bool {
        let status = match self {
            Self::Group(Some(group)) => &group.provisioning_status,
            Self::Individual(Some(entry)) => &entry.provisioning_status,
            _ => return false,
        };
        *status == ProvisioningStatus::Disabled
    }
}

/// A step's state, compared with the record that was read back.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// It is done; this is the record's tag now.
    Done(Option<Etag>),
    /// The record is as the step expects it: send it with this.
    AsExpected(Expectation),
    /// Somebody else changed the record in these fields; none if only its tag changed.
    Changed(Vec<FieldChange>),
    /// There is a record where none was expected.
    There,
    /// There is none where one was expected.
    Gone,
}

impl Standing {
    /// Of a record that is there, and is not as it should be yet.
    pub(super) fn of_held(tag: Option<&Etag>, expect: &Expectation) -> Self {
        match expect {
            Expectation::Absent => Self::There,
            Expectation::AsLeftByPlan(_) => Self::as_held(tag),
            Expectation::Etag(expected) if tag == Some(expected) => {
                Self::AsExpected(expect.clone())
            }
            Expectation::Etag(_) => Self::Changed(Vec::new()),
        }
    }

    /// Of a record that may be written as it is, whatever was expected.
    pub(super) fn as_held(tag: Option<&Etag>) -> Self {
        Self::AsExpected(Expectation::of(tag))
    }

    /// Of a record that is not there, and is to be written.
    pub(super) fn of_missing(expect: &Expectation) -> Self {
        match expect {
            Expectation::Absent => Self::AsExpected(Expectation::Absent),
            Expectation::Etag(_) | Expectation::AsLeftByPlan(_) => Self::Gone,
        }
    }

    /// Of a record that is to be deleted; `held` is its tag, if it is there.
    pub(super) fn of_deleted(held: Option<Option<&Etag>>, expect: &Expectation) -> Self {
        match held {
            None => Self::Done(None),
            Some(tag) => Self::of_held(tag, expect),
        }
    }

    /// Of a record that is to be written as a document.
    pub(super) fn of_document(
        wanted: &Value,
        changes: &[FieldChange],
        (held, tag): (&Value, Option<&Etag>),
        expect: &Expectation,
    ) -> Self {
        if fulfils(held, wanted, changes) {
            return Self::Done(tag.cloned());
        }
        match Self::of_held(tag, expect) {
            Self::Changed(_) => Self::Changed(differences(&before(wanted, changes), held)),
            standing => standing,
        }
    }
}

/// The document as it was when the plan was made.
fn before(wanted: &Value, changes: &[FieldChange]) -> Value {
    let mut members: Map<String, Value> = wanted.as_object().cloned().unwrap_or_default();
    for change in changes {
        members.insert(change.field.clone(), change.from.clone());
    }
    Value::Object(members)
}
