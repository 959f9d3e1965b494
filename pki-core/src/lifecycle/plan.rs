//! The plan: ordered steps towards a goal.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admission::{DpsView, UploadedCa, ViewError};
use crate::enrollment::{EnrollmentGroup, IndividualEnrollment};
use crate::ids::{
    AuthorityName, CertificateName, DeviceId, EnrollmentGroupId, Etag, HubHostName, RegistrationId,
    SerialNumber, Sha1Thumbprint, Sha256Thumbprint,
};
use crate::inventory::GenerationChange;

/// Ordered steps towards a goal, computed before anything is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What it is for, in a sentence.
    pub goal: String,
    /// What to do, in this order.
    pub steps: Vec<Step>,
    /// What the reader should know: things that were found and left alone.
    pub notes: Vec<String>,
}

/// What a step expects to find; anything else is a conflict and stops the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Expectation {
    /// There is no such record.
    Absent,
    /// The record is as it was when the plan was made.
    Etag(Etag),
    /// The record is as the step before this one left it.
    AsLeftByPlan,
}

impl Expectation {
    /// A record that was read with this tag. One without cannot be guarded, so it is not written: who
    /// expects absence finds the record, and the write ends as a conflict.
    pub fn of(etag: Option<&Etag>) -> Self {
        etag.cloned().map_or(Self::Absent, Self::Etag)
    }
}

/// What a plan concerns. Two plans that share a subject must not be carried out side by side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// An authority of the inventory: its generations change.
    Authority(AuthorityName),
    /// A CA certificate in DPS.
    Ca(CertificateName),
    /// An enrollment group.
    Group(EnrollmentGroupId),
    /// A device: its enrollment, registration record, hub identity or leaf.
    Device(RegistrationId),
}

/// One field of a record that a step changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Which field, by its name on the wire.
    pub field: String,
    /// What it is now; `null` if absent.
    pub from: Value,
    /// What it will be.
    pub to: Value,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "action"
)]
#[non_exhaustive]
pub enum Step {
    /// Upload a CA certificate to DPS.
    UploadCa {
        /// The name to give it.
        name: CertificateName,
        /// Whose certificate it is.
        authority: AuthorityName,
        /// The certificate, PEM.
        certificate: String,
        /// Its identity in ARM.
        sha1_thumbprint: Sha1Thumbprint,
        /// Its identity.
        sha256_thumbprint: Sha256Thumbprint,
        /// Whether it counts as verified at once, without a proof.
        self_attested: bool,
        /// The certificate in whose place it is put, if that is another one: what was verified by it is so
        /// no more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<Sha1Thumbprint>,
        /// As in [`Step::DeleteCa`], of the certificate in whose place it is put.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        admitted: Vec<Sha1Thumbprint>,
        /// What to find there.
        expect: Expectation,
    },
    /// Fetch a code, prove possession of the CA's key with it, and have DPS verify the proof.
    ProveCa {
        /// The certificate's name in DPS.
        name: CertificateName,
        /// Whose key signs the proof.
        authority: AuthorityName,
        /// The certificate that is to be proven.
        sha1_thumbprint: Sha1Thumbprint,
        /// What to find there.
        expect: Expectation,
    },
    /// Have DPS verify a proof of possession that was made elsewhere, for a code it gave before.
    SubmitProof {
        /// The certificate's name in DPS.
        name: CertificateName,
        /// The certificate that is to be proven.
        sha1_thumbprint: Sha1Thumbprint,
        /// The verification certificate, PEM.
        proof: String,
        /// What to find there.
        expect: Expectation,
    },
    /// Delete a CA certificate from DPS; groups that refer to it then admit nobody by it.
    DeleteCa {
        /// The certificate's name in DPS.
        name: CertificateName,
        /// The certificate that is to go.
        sha1_thumbprint: Sha1Thumbprint,
        /// The certificates of authorities below whose devices DPS admits by it and by nothing else; a breach
        /// roll writes them down, since DPS tells nobody any more once it is gone.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        admitted: Vec<Sha1Thumbprint>,
        /// What to find there.
        expect: Expectation,
    },
    /// Create or change an enrollment group.
    PutGroup {
        /// The whole record to write.
        group: Box<EnrollmentGroup>,
        /// What differs from what is there.
        changes: Vec<FieldChange>,
        /// What to find there.
        expect: Expectation,
    },
    /// Create or change an individual enrollment.
    PutIndividual {
        /// The whole record to write.
        enrollment: Box<IndividualEnrollment>,
        /// What differs from what is there.
        changes: Vec<FieldChange>,
        /// What to find there.
        expect: Expectation,
    },
    /// Delete an enrollment group; its devices fall through to a group above it, if there is one.
    DeleteGroup {
        /// Which group.
        id: EnrollmentGroupId,
        /// What to find there.
        expect: Expectation,
    },
    /// Delete an individual enrollment; its device falls through to its group, if there is one.
    DeleteIndividual {
        /// Whose entry.
        registration_id: RegistrationId,
        /// What to find there.
        expect: Expectation,
    },
    /// Delete a registration record, so that the device has to register again.
    DeleteRegistration {
        /// Whose record.
        registration_id: RegistrationId,
        /// What to find there.
        expect: Expectation,
    },
    /// Disable a hub's device identity: the hub refuses the device from then on.
    DisableHubDevice {
        /// On which hub.
        hub: HubHostName,
        /// Which device.
        device_id: DeviceId,
        /// Why, at most 128 characters.
        reason: String,
        /// What to find there.
        expect: Expectation,
    },
    /// Enable a hub's device identity that was disabled.
    EnableHubDevice {
        /// On which hub.
        hub: HubHostName,
        /// Which device.
        device_id: DeviceId,
        /// What to find there.
        expect: Expectation,
    },
    /// Delete a hub's device identity with its twin.
    DeleteHubDevice {
        /// On which hub.
        hub: HubHostName,
        /// Which device.
        device_id: DeviceId,
        /// What to find there.
        expect: Expectation,
    },
    /// Mark a certificate revoked in the inventory, for the next CRL.
    Revoke {
        /// Whose certificate.
        registration_id: RegistrationId,
        /// Which one.
        serial_number: SerialNumber,
        /// Its identity.
        sha256_thumbprint: Sha256Thumbprint,
    },
    /// Change the parts that an authority's generations play in the inventory, all together.
    SettleGenerations {
        /// Whose generations.
        authority: AuthorityName,
        /// What becomes of which.
        changes: Vec<GenerationChange>,
    },
}

impl Plan {
    /// A plan without steps yet.
    pub fn new(goal: impl Into<String>) -> Self {
        Self {
            goal: goal.into(),
            steps: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether nothing is left to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What the steps concern.
    pub fn subjects(&self) -> BTreeSet<Subject> {
        self.steps.iter().flat_map(Step::subjects).collect()
    }

    /// What DPS will hold after all steps.
    ///
    /// # Errors
    /// [`ViewError`] if a step writes a record from which admission cannot be told.
    pub fn applied_to(&self, view: &DpsView) -> Result<DpsView, ViewError> {
        let mut after = view.clone();
        for step in &self.steps {
            step.apply_to(&mut after)?;
        }
        Ok(after)
    }
}

impl Step {
    /// The step that creates or changes a group. What is written holds each certificate once, whether the
    /// service has stored the copy that it shows or not.
    pub fn put_group(
        group: EnrollmentGroup,
        changes: Vec<FieldChange>,
        expect: Expectation,
    ) -> Self {
        Self::PutGroup {
            group: Box::new(EnrollmentGroup {
                attestation: group.attestation.without_copies(),
                ..group
            }),
            changes,
            expect,
        }
    }

    /// The step that creates or changes an individual enrollment; as [`Self::put_group`].
    pub fn put_individual(
        enrollment: IndividualEnrollment,
        changes: Vec<FieldChange>,
        expect: Expectation,
    ) -> Self {
        Self::PutIndividual {
            enrollment: Box::new(IndividualEnrollment {
                attestation: enrollment.attestation.without_copies(),
                ..enrollment
            }),
            changes,
            expect,
        }
    }

    /// Changes a view as this step changes DPS. Steps on hubs and the inventory change nothing there.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn apply_to(&self, view: &mut DpsView) -> Result<(), ViewError> {
        match self {
            Self::UploadCa {
                name,
                sha1_thumbprint,
                sha256_thumbprint,
                self_attested,
                ..
            } => {
                let uploaded = UploadedCa {
                    sha1_thumbprint: *sha1_thumbprint,
                    sha256_thumbprint: Some(*sha256_thumbprint),
                    is_verified: *self_attested,
                };
                view.put_uploaded(name.clone(), uploaded);
            }
            Self::ProveCa { name, .. } | Self::SubmitProof { name, .. } => view.mark_verified(name),
            Self::DeleteCa { name, .. } => view.remove_ca(name),
            Self::PutGroup { group, .. } => view.put_group(group)?,
            Self::PutIndividual { enrollment, .. } => view.put_individual(enrollment)?,
            Self::DeleteGroup { id, .. } => view.remove_group(id),
            Self::DeleteIndividual {
                registration_id, ..
            } => view.remove_individual(registration_id),
            Self::DeleteRegistration { .. }
            | Self::DisableHubDevice { .. }
            | Self::EnableHubDevice { .. }
            | Self::DeleteHubDevice { .. }
            | Self::Revoke { .. }
            | Self::SettleGenerations { .. } => {}
        }
        Ok(())
    }

    /// Whether DPS decides about devices by what it changes.
    pub fn changes_admission(&self) -> bool {
        match self {
            Self::UploadCa { .. }
            | Self::ProveCa { .. }
            | Self::SubmitProof { .. }
            | Self::DeleteCa { .. }
            | Self::PutGroup { .. }
            | Self::DeleteGroup { .. }
            | Self::PutIndividual { .. }
            | Self::DeleteIndividual { .. } => true,
            Self::DeleteRegistration { .. }
            | Self::DisableHubDevice { .. }
            | Self::EnableHubDevice { .. }
            | Self::DeleteHubDevice { .. }
            | Self::Revoke { .. }
            | Self::SettleGenerations { .. } => false,
        }
    }

    /// The device whose individual enrollment it changes: nobody else is decided about otherwise.
    pub fn device(&self) -> Option<&RegistrationId> {
        match self {
            Self::PutIndividual { enrollment, .. } => Some(&enrollment.registration_id),
            Self::DeleteIndividual {
                registration_id, ..
            } => Some(registration_id),
            _ => None,
        }
    }

    /// What it concerns. A hub knows a device by its device ID, which is the registration ID unless the
    /// enrollment says otherwise; the plan's other steps on the device name it then.
    pub fn subjects(&self) -> Vec<Subject> {
        match self {
            Self::UploadCa {
                name, authority, ..
            }
            | Self::ProveCa {
                name, authority, ..
            } => vec![
                Subject::Ca(name.clone()),
                Subject::Authority(authority.clone()),
            ],
            Self::SubmitProof { name, .. } | Self::DeleteCa { name, .. } => {
                vec![Subject::Ca(name.clone())]
            }
            Self::PutGroup { group, .. } => {
                vec![Subject::Group(group.enrollment_group_id.clone())]
            }
            Self::DeleteGroup { id, .. } => vec![Subject::Group(id.clone())],
            Self::PutIndividual { enrollment, .. } => {
                vec![Subject::Device(enrollment.registration_id.clone())]
            }
            Self::DeleteIndividual {
                registration_id, ..
            }
            | Self::DeleteRegistration {
                registration_id, ..
            }
            | Self::Revoke {
                registration_id, ..
            } => vec![Subject::Device(registration_id.clone())],
            Self::DisableHubDevice { device_id, .. }
            | Self::EnableHubDevice { device_id, .. }
            | Self::DeleteHubDevice { device_id, .. } => {
                let id = device_id.to_string().parse().ok();
                id.map(Subject::Device).into_iter().collect()
            }
            Self::SettleGenerations { authority, .. } => {
                vec![Subject::Authority(authority.clone())]
            }
        }
    }

    /// How many operations of the service plane it takes, for the rate budget.
    pub fn service_operations(&self) -> usize {
        match self {
            Self::PutGroup { .. }
            | Self::DeleteGroup { .. }
            | Self::PutIndividual { .. }
            | Self::DeleteIndividual { .. }
            | Self::DeleteRegistration { .. } => 1,
            Self::UploadCa { .. }
            | Self::ProveCa { .. }
            | Self::SubmitProof { .. }
            | Self::DeleteCa { .. }
            | Self::DisableHubDevice { .. }
            | Self::EnableHubDevice { .. }
            | Self::DeleteHubDevice { .. }
            | Self::Revoke { .. }
            | Self::SettleGenerations { .. } => 0,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UploadCa {
                name,
                replaces: Some(_),
                self_attested,
                ..
            } => {
                write!(f, "replace CA certificate {name}")?;
                f.write_str(if *self_attested {
                    ", self-attested"
                } else {
                    ""
                })
            }
            Self::UploadCa {
                name,
                self_attested: true,
                ..
            } => {
                write!(f, "upload CA certificate {name}, self-attested")
            }
            Self::UploadCa { name, .. } => write!(f, "upload CA certificate {name}"),
            Self::ProveCa {
                name, authority, ..
            } => {
                write!(
                    f,
                    "prove possession of CA certificate {name} with the key of {authority}"
                )
            }
            Self::SubmitProof { name, .. } => {
                write!(
                    f,
                    "hand in the proof of possession of CA certificate {name}"
                )
            }
            Self::DeleteCa { name, .. } => write!(f, "delete CA certificate {name}"),
            Self::PutGroup { group, expect, .. } => {
                write!(
                    f,
                    "{} enrollment group {}",
                    verb(expect),
                    group.enrollment_group_id
                )?;
                write!(f, ", {}", group.provisioning_status)
            }
            Self::PutIndividual {
                enrollment, expect, ..
            } => {
                write!(
                    f,
                    "{} individual enrollment {}",
                    verb(expect),
                    enrollment.registration_id
                )?;
                write!(f, ", {}", enrollment.provisioning_status)
            }
            Self::DeleteGroup { id, .. } => write!(f, "delete enrollment group {id}"),
            Self::DeleteIndividual {
                registration_id, ..
            } => write!(f, "delete individual enrollment {registration_id}"),
            Self::DeleteRegistration {
                registration_id, ..
            } => {
                write!(f, "delete the registration record of {registration_id}")
            }
            Self::DisableHubDevice { hub, device_id, .. } => {
                write!(f, "disable device identity {device_id} on {hub}")
            }
            Self::EnableHubDevice { hub, device_id, .. } => {
                write!(f, "enable device identity {device_id} on {hub}")
            }
            Self::DeleteHubDevice { hub, device_id, .. } => {
                write!(f, "delete device identity {device_id} on {hub}")
            }
            Self::Revoke {
                registration_id,
                serial_number,
                ..
            } => {
                write!(
                    f,
                    "mark leaf {serial_number} of {registration_id} revoked in the inventory"
                )
            }
            Self::SettleGenerations { authority, changes } => {
                write!(f, "in the inventory, make {authority}")?;
                for (index, change) in changes.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma} generation {} {}", change.generation, change.to)?;
                }
                Ok(())
            }
        }
    }
}

fn verb(expect: &Expectation) -> &'static str {
    match expect {
        Expectation::Absent => "create",
        Expectation::Etag(_) | Expectation::AsLeftByPlan => "change",
    }
}
