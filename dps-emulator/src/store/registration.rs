//! What is kept of a device that registers: its last attempt, and the operation that it polls.

use pki_core::enrollment::Substatus;
use pki_core::ids::{DeviceId, EnrollmentGroupId, HubHostName, RegistrationId, Sha256Thumbprint};
use pki_core::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is kept of a device's last attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Registration {
    /// The entry that decided.
    pub(crate) entry: DecidingEntry,
    /// How the attempt ended.
    pub(crate) outcome: RegistrationOutcome,
    /// Where the device belongs; survives attempts that did not get that far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) assignment: Option<Assignment>,
    /// What a webhook handed to the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<Value>,
}

/// [`pki_core::admission::Entry`], as a snapshot keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum DecidingEntry {
    Individual(RegistrationId),
    Group(EnrollmentGroupId),
}

/// A hub and the device's name there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Assignment {
    pub(crate) hub: HubHostName,
    pub(crate) device_id: DeviceId,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum RegistrationOutcome {
    Assigned(Substatus),
    Disabled,
    Failed { code: u32, message: String },
}

/// An operation that a device polls.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) rounds_left: u32,
    /// Not over before this moment.
    pub(crate) not_before: Time,
    /// Whether a webhook has still to decide.
    pub(crate) is_undecided: bool,
    pub(crate) proven: Proven,
}

impl Operation {
    /// Counts a poll, and says whether the operation goes on.
    pub(crate) fn poll(&mut self, now: Time) -> bool {
        let has_rounds = self.rounds_left > 0;
        self.rounds_left = self.rounds_left.saturating_sub(1);
        has_rounds || self.is_undecided || now < self.not_before
    }
}

/// A proven identity: what one request must share with the one that started an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proven {
    /// By the key of this leaf.
    Leaf(Sha256Thumbprint),
    /// By a shared key.
    Key,
}
