//! Whether a step is done already, may be sent as it was planned, or is in conflict with what somebody
//! else did: judged from what was read back.

use serde_json::{Map, Value, json};

use crate::certificate::pem::certificate_in_json;
use crate::enrollment::{
    EnrollmentGroup, IndividualEnrollment, RegistrationState, RegistrationStatus,
};
use crate::hub::{HubDevice, HubDeviceStatus};
use crate::ids::{Etag, Generation, Sha1Thumbprint};
use crate::inventory::{GenerationChange, GenerationState, Status};
use crate::lifecycle::{Expectation, FieldChange, Step, differences, fulfils};
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

/// How a step stands to what was found.
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

impl Step {
    /// Judges what was read back; `expect` is what the step was to find.
    pub fn standing(&self, found: &Found, expect: &Expectation) -> Standing {
        match (self, found) {
            (
                Self::UploadCa {
                    sha1_thumbprint,
                    self_attested,
                    ..
                },
                Found::Ca(held),
            ) => match held {
                Some(held) if holds(held, sha1_thumbprint) => {
                    if held.properties.is_verified || !self_attested {
                        Standing::Done(held.etag.clone())
                    } else {
                        sendable(held.etag.as_ref(), expect, Vec::new)
                    }
                }
                held => unlike(held.as_ref().map(|held| held.etag.as_ref()), expect),
            },
            (
                Self::ProveCa {
                    sha1_thumbprint, ..
                }
                | Self::SubmitProof {
                    sha1_thumbprint, ..
                },
                Found::Ca(held),
            ) => match held {
                Some(held) if !holds(held, sha1_thumbprint) => {
                    Standing::Changed(vec![replaced(held, sha1_thumbprint)])
                }
                Some(held) if held.properties.is_verified => Standing::Done(held.etag.clone()),
                // A code that was made in between changes the tag and nothing else: the proof is bound
                // to the certificate, which is the same.
                Some(held) => Standing::AsExpected(as_held(held.etag.as_ref())),
                None => Standing::Gone,
            },
            (Self::PutGroup { group, changes, .. }, Found::Group(held)) => {
                let held = held.as_ref();
                let tag = held.map(|held| held.etag.as_ref());
                written(
                    &json!(group),
                    changes,
                    held.map(|held| json!(held)),
                    tag,
                    expect,
                )
            }
            (
                Self::PutIndividual {
                    enrollment,
                    changes,
                    ..
                },
                Found::Individual(held),
            ) => {
                let held = held.as_ref();
                let tag = held.map(|held| held.etag.as_ref());
                written(
                    &json!(enrollment),
                    changes,
                    held.map(|held| json!(held)),
                    tag,
                    expect,
                )
            }
            (
                Self::DeleteCa {
                    sha1_thumbprint, ..
                },
                Found::Ca(held),
            ) => match held {
                None => Standing::Done(None),
                Some(held) if !holds(held, sha1_thumbprint) => {
                    Standing::Changed(vec![replaced(held, sha1_thumbprint)])
                }
                Some(held) => sendable(held.etag.as_ref(), expect, Vec::new),
            },
            (Self::DeleteGroup { .. }, Found::Group(held)) => match held {
                None => Standing::Done(None),
                Some(held) => sendable(held.etag.as_ref(), expect, Vec::new),
            },
            (Self::DeleteIndividual { .. }, Found::Individual(held)) => match held {
                None => Standing::Done(None),
                Some(held) => sendable(held.etag.as_ref(), expect, Vec::new),
            },
            (Self::DeleteRegistration { .. }, Found::Registration(held)) => match held {
                None => Standing::Done(None),
                // The device tried again and was refused, which is what a disabled entry is for.
                Some(held) if held.status == RegistrationStatus::Disabled => {
                    Standing::AsExpected(as_held(held.etag.as_ref()))
                }
                Some(held) => sendable(held.etag.as_ref(), expect, Vec::new),
            },
            (Self::DisableHubDevice { .. }, Found::HubDevice(held)) => match held {
                None => Standing::Done(None),
                Some(held) if held.status == HubDeviceStatus::Disabled => {
                    Standing::Done(held.etag.clone())
                }
                Some(held) => sendable(held.etag.as_ref(), expect, Vec::new),
            },
            (Self::EnableHubDevice { .. }, Found::HubDevice(held)) => match held {
                None => Standing::Gone,
                Some(held) if held.status == HubDeviceStatus::Enabled => {
                    Standing::Done(held.etag.clone())
                }
                Some(held) => sendable(held.etag.as_ref(), expect, Vec::new),
            },
            (Self::DeleteHubDevice { .. }, Found::HubDevice(held)) => match held {
                None => Standing::Done(None),
                Some(held) => sendable(held.etag.as_ref(), expect, Vec::new),
            },
            (Self::Revoke { .. }, Found::Certificate(Some(Status::Delivered))) => {
                Standing::AsExpected(expect.clone())
            }
            (Self::Revoke { .. }, Found::Certificate(_)) => Standing::Done(None),
            (Self::SettleGenerations { changes, .. }, Found::Generations(states)) => {
                let is_settled =
                    |change: &GenerationChange| states.contains(&(change.generation, change.to));
                if changes.iter().all(is_settled) {
                    Standing::Done(None)
                } else {
                    Standing::AsExpected(expect.clone())
                }
            }
            _ => Standing::Gone,
        }
    }

    /// What the step expects to find, as the plan says.
    pub fn expectation(&self) -> Expectation {
        match self {
            Self::UploadCa { expect, .. }
            | Self::ProveCa { expect, .. }
            | Self::SubmitProof { expect, .. }
            | Self::DeleteCa { expect, .. }
            | Self::PutGroup { expect, .. }
            | Self::PutIndividual { expect, .. }
            | Self::DeleteGroup { expect, .. }
            | Self::DeleteIndividual { expect, .. }
            | Self::DeleteRegistration { expect, .. }
            | Self::DisableHubDevice { expect, .. }
            | Self::EnableHubDevice { expect, .. }
            | Self::DeleteHubDevice { expect, .. } => expect.clone(),
            // The inventory keeps these rules by itself.
            Self::Revoke { .. } | Self::SettleGenerations { .. } => Expectation::AsLeftByPlan,
        }
    }
}

/// A record that is to be written as a document.
fn written(
    wanted: &Value,
    changes: &[FieldChange],
    held: Option<Value>,
    tag: Option<Option<&Etag>>,
    expect: &Expectation,
) -> Standing {
    let (Some(held), Some(tag)) = (held, tag) else {
        return match expect {
            Expectation::Absent => Standing::AsExpected(Expectation::Absent),
            _ => Standing::Gone,
        };
    };
    if fulfils(&held, wanted, changes) {
        return Standing::Done(tag.cloned());
    }
    sendable(tag, expect, || differences(&before(wanted, changes), &held))
}

/// The document as it was when the plan was made.
fn before(wanted: &Value, changes: &[FieldChange]) -> Value {
    let mut members: Map<String, Value> = wanted.as_object().cloned().unwrap_or_default();
    for change in changes {
        members.insert(change.field.clone(), change.from.clone());
    }
    Value::Object(members)
}

/// A record that is there, and is not as it should be yet.
fn sendable(
    tag: Option<&Etag>,
    expect: &Expectation,
    changed: impl FnOnce() -> Vec<FieldChange>,
) -> Standing {
    match expect {
        Expectation::Absent => Standing::There,
        Expectation::AsLeftByPlan => Standing::AsExpected(as_held(tag)),
        Expectation::Etag(expected) if tag == Some(expected) => {
            Standing::AsExpected(expect.clone())
        }
        Expectation::Etag(_) => Standing::Changed(changed()),
    }
}

/// A place that holds nothing, or something else.
fn unlike(tag: Option<Option<&Etag>>, expect: &Expectation) -> Standing {
    match tag {
        Some(tag) => sendable(tag, expect, Vec::new),
        None if *expect == Expectation::Absent => Standing::AsExpected(Expectation::Absent),
        None => Standing::Gone,
    }
}

fn as_held(tag: Option<&Etag>) -> Expectation {
    Expectation::of(tag)
}

/// By the certificate itself where ARM gave it, else by its thumbprint.
fn holds(held: &CaCertificate, thumbprint: &Sha1Thumbprint) -> bool {
    thumbprint_of(held) == Some(*thumbprint)
}

fn thumbprint_of(held: &CaCertificate) -> Option<Sha1Thumbprint> {
    let text = held.properties.certificate.as_deref();
    let certificate = text.and_then(certificate_in_json);
    certificate
        .map(|read| read.sha1_thumbprint())
        .or(held.properties.thumbprint)
}

fn replaced(held: &CaCertificate, wanted: &Sha1Thumbprint) -> FieldChange {
    FieldChange {
        field: "thumbprint".to_owned(),
        from: json!(wanted),
        to: json!(thumbprint_of(held)),
    }
}
