//! A registration at work: its status as the service tells it, and how often to ask.

use std::time::Duration;

use pki_core::enrollment::{RegistrationState, RegistrationStatus};
use serde::Deserialize;

/// How a registration is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polling {
    /// The shortest wait between two questions, whatever the service says.
    pub floor: Duration,
    /// The longest.
    pub ceiling: Duration,
    /// The wait where the service says nothing.
    pub unasked: Duration,
    /// How long the whole registration may take, repeated requests included.
    pub deadline: Duration,
}

impl Default for Polling {
    /// From 1 to 60 seconds between questions, 3 if unasked (what DPS asks for in practice), five
    /// minutes in all.
    fn default() -> Self {
        Self {
            floor: Duration::from_secs(1),
            ceiling: Duration::from_secs(60),
            unasked: Duration::from_secs(3),
            deadline: Duration::from_secs(300),
        }
    }
}

impl Polling {
    /// How long to wait before the next question.
    pub(super) fn wait(&self, asked: Option<Duration>) -> Duration {
        asked
            .unwrap_or(self.unasked)
            .min(self.ceiling)
            .max(self.floor)
    }
}

/// `RegistrationOperationStatus`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OperationStatus {
    /// Empty in an answer that starts no operation.
    #[serde(default)]
    pub(super) operation_id: Option<String>,
    pub(super) status: RegistrationStatus,
    #[serde(default)]
    pub(super) registration_state: Option<RegistrationState>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_stays_between_floor_and_ceiling() {
        let wait = |asked: Option<u64>| {
            Polling::default()
                .wait(asked.map(Duration::from_secs))
                .as_secs()
        };
        assert_eq!(
            [wait(None), wait(Some(0)), wait(Some(5)), wait(Some(600))],
            [3, 1, 5, 60]
        );
    }
}
