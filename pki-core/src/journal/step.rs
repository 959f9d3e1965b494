//! What the journal needs to know of a step: which record it writes, what it keeps of it, and what it
//! says of it in the audit trail.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::{Settled, StepEnd};
use crate::enrollment::{Attestation, Mechanism};
use crate::ids::{DpsName, PlanId};
use crate::inventory::audit::AuditEvent;
use crate::inventory::{InventoryError, TextError};
use crate::lifecycle::{Expectation, FieldChange, Plan, Step, Subject};

impl Plan {
    /// What the plan is about, one key for all spellings of a record's name.
    pub fn subject_keys(&self) -> BTreeSet<String> {
        self.subjects().iter().map(Subject::key).collect()
    }

    /// For each step the last one before it that writes the same record.
    pub fn predecessors(&self) -> Vec<Option<usize>> {
        let mut last = HashMap::new();
        let steps = self.steps.iter().enumerate();
        steps
            .map(|(index, step)| last.insert(step.record(), index))
            .collect()
    }
}

impl Subject {
    /// One key for all spellings of its name.
    pub fn key(&self) -> String {
        match self {
            Self::Authority(name) => format!("authority {name}"),
            Self::Ca(name) => format!("ca {}", name.as_str().to_ascii_lowercase()),
            Self::Group(id) => format!("group {}", id.as_str().to_ascii_lowercase()),
            Self::Device(id) => format!("device {}", id.folded()),
        }
    }
}

impl Step {
    /// The step as it is stored: without keys that its document brings.
    pub(super) fn without_keys(&self) -> Self {
        let mut step = self.clone();
        if let Some(attestation) = step.attestation_mut()
            && attestation_brings_keys(attestation)
        {
            attestation.mechanism = Mechanism::SymmetricKey(None);
        }
        step
    }

    /// Whether its document brings keys, which the journal does not store.
    pub fn brings_keys(&self) -> bool {
        let mut step = self.clone();
        step.attestation_mut()
            .is_some_and(|attestation| attestation_brings_keys(attestation))
    }

    fn attestation_mut(&mut self) -> Option<&mut Attestation> {
        match self {
            Self::PutGroup { group, .. } => Some(&mut group.attestation),
            Self::PutIndividual { enrollment, .. } => Some(&mut enrollment.attestation),
            _ => None,
        }
    }

    /// Whether what it leads to is what another step leads to, whatever either expects to find.
    pub fn has_effect_of(&self, other: &Self) -> bool {
        let effect = |step: &Self| {
            let mut effect = json!(step.without_keys());
            for member in ["expect", "changes"] {
                effect[member] = Value::Null;
            }
            for document in ["group", "enrollment"] {
                if let Some(document) = effect.get_mut(document) {
                    document["etag"] = Value::Null;
                }
            }
            effect
        };
        effect(self) == effect(other)
    }

    /// Whether it can be sent in one call with another: both create, or both change as read.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        let creates = |step: &Self| match step {
            Self::PutIndividual { expect, .. } => match expect {
                Expectation::Absent => Some(true),
                Expectation::Etag(_) => Some(false),
                Expectation::AsLeftByPlan => None,
            },
            _ => None,
        };
        creates(self).is_some()
            && creates(self) == creates(other)
            && self.record() != other.record()
    }

    /// The record that it writes: one key for all spellings of its name.
    pub(super) fn record(&self) -> String {
        let (kind, name) = match self {
            Self::UploadCa { name, .. }
            | Self::ProveCa { name, .. }
            | Self::SubmitProof { name, .. }
            | Self::DeleteCa { name, .. } => ("ca", name.to_string()),
            Self::PutGroup { group, .. } => ("group", group.enrollment_group_id.to_string()),
            Self::DeleteGroup { id, .. } => ("group", id.to_string()),
            Self::PutIndividual { enrollment, .. } => {
                ("enrollment", enrollment.registration_id.to_string())
            }
            Self::DeleteIndividual {
                registration_id, ..
            } => ("enrollment", registration_id.to_string()),
            Self::DeleteRegistration {
                registration_id, ..
            } => ("registration", registration_id.to_string()),
            // Case matters there.
            Self::DisableHubDevice { hub, device_id, .. }
            | Self::EnableHubDevice { hub, device_id, .. }
            | Self::DeleteHubDevice { hub, device_id, .. } => {
                return format!("{}/{device_id}", hub.folded());
            }
            Self::Revoke {
                sha256_thumbprint, ..
            } => ("leaf", sha256_thumbprint.to_string()),
            Self::SettleGenerations { authority, .. } => ("authority", authority.to_string()),
        };
        format!("{kind} {}", name.to_ascii_lowercase())
    }

    /// The name of what it is about.
    pub fn subject_name(&self) -> String {
        match self {
            Self::UploadCa { name, .. }
            | Self::ProveCa { name, .. }
            | Self::SubmitProof { name, .. }
            | Self::DeleteCa { name, .. } => name.to_string(),
            Self::PutGroup { group, .. } => group.enrollment_group_id.to_string(),
            Self::DeleteGroup { id, .. } => id.to_string(),
            Self::PutIndividual { enrollment, .. } => enrollment.registration_id.to_string(),
            Self::DeleteIndividual {
                registration_id, ..
            }
            | Self::DeleteRegistration {
                registration_id, ..
            }
            | Self::Revoke {
                registration_id, ..
            } => registration_id.to_string(),
            Self::DisableHubDevice { device_id, .. }
            | Self::EnableHubDevice { device_id, .. }
            | Self::DeleteHubDevice { device_id, .. } => device_id.to_string(),
            Self::SettleGenerations { authority, .. } => authority.to_string(),
        }
    }

    /// Who holds the record: `DPS dev`, a hub, or the inventory.
    pub fn place(&self, dps: &DpsName) -> String {
        match self {
            Self::DisableHubDevice { hub, .. }
            | Self::EnableHubDevice { hub, .. }
            | Self::DeleteHubDevice { hub, .. } => hub.to_string(),
            Self::Revoke { .. } | Self::SettleGenerations { .. } => "the inventory".to_owned(),
            _ => format!("DPS {dps}"),
        }
    }

    /// What the audit trail says of its end: nothing unless it is done. `index` is its place in the
    /// plan, from 0.
    ///
    /// # Errors
    /// [`InventoryError::Corrupt`] if the trail does not take the word for it.
    pub(crate) fn event(
        &self,
        (plan, dps): (PlanId, &DpsName),
        index: usize,
        end: &StepEnd,
    ) -> Result<Option<AuditEvent>, InventoryError> {
        let StepEnd::Done(outcome) = end else {
            return Ok(None);
        };
        let action = self.audit_word().parse();
        let mut detail = json!({
            "plan": plan,
            "step": index + 1,
            "place": self.place(dps),
            "what": self.to_string(),
            "fields": self.changed_fields(),
        });
        if outcome.how == Settled::Found {
            detail["found"] = Value::from(true);
        }
        Ok(Some(AuditEvent {
            action: action
                .map_err(|error: TextError| InventoryError::corrupt(error.to_string()))?,
            subject: self.subject_name(),
            detail,
        }))
    }

    /// What the audit trail calls it.
    fn audit_word(&self) -> &'static str {
        match self {
            Self::UploadCa { .. } => "ca-uploaded",
            Self::ProveCa { .. } | Self::SubmitProof { .. } => "ca-proven",
            Self::DeleteCa { .. } => "ca-deleted",
            Self::DeleteGroup { .. } => "group-deleted",
            Self::DeleteIndividual { .. } => "enrollment-deleted",
            Self::EnableHubDevice { .. } => "hub-device-enabled",
            Self::PutGroup { changes, .. } => match status_alone(changes) {
                Some(true) => "group-enabled",
                Some(false) => "group-disabled",
                None => "group-written",
            },
            Self::PutIndividual { changes, .. } => match status_alone(changes) {
                Some(true) => "enrollment-enabled",
                Some(false) => "enrollment-disabled",
                None => "enrollment-written",
            },
            Self::DeleteRegistration { .. } => "registration-deleted",
            Self::DisableHubDevice { .. } => "hub-device-disabled",
            Self::DeleteHubDevice { .. } => "hub-device-deleted",
            // The inventory says what changed; this says which plan it was part of.
            Self::Revoke { .. } | Self::SettleGenerations { .. } => "step-done",
        }
    }

    /// The names of the fields that it changes. What it changes them to is not for the trail: twins may
    /// hold what should not be kept for ever.
    fn changed_fields(&self) -> Vec<&str> {
        let (Self::PutGroup { changes, .. } | Self::PutIndividual { changes, .. }) = self else {
            return Vec::new();
        };
        changes.iter().map(|change| change.field.as_str()).collect()
    }
}

/// Whether the status is all that changes, and is `enabled` then.
fn status_alone(changes: &[FieldChange]) -> Option<bool> {
    match changes {
        [change] if change.field == "provisioningStatus" => Some(change.to == json!("enabled")),
        _ => None,
    }
}

fn attestation_brings_keys(attestation: &Attestation) -> bool {
    let Mechanism::SymmetricKey(Some(keys)) = &attestation.mechanism else {
        return false;
    };
    keys.primary_key.is_some() || keys.secondary_key.is_some()
}
