//! Impact: what a change does to devices, by comparing admission before and after.

use serde::Serialize;

use crate::admission::{DpsView, Outcome, PresentedChain, decide};

/// Who loses admission, who gains it, and who is unaffected.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Impact {
    /// Devices that are admitted now and will not be.
    pub loses: Vec<Movement>,
    /// Devices that are kept out now and will be admitted.
    pub gains: Vec<Movement>,
    /// How many devices are admitted before and after.
    pub stays_admitted: usize,
    /// How many devices are kept out before and after.
    pub stays_out: usize,
}

/// What changes for one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Movement {
    /// The device.
    pub registration_id: String,
    /// What DPS decides now, in words.
    pub before: String,
    /// What it will decide.
    pub after: String,
}

impl Impact {
    /// Decides about every device twice and compares.
    pub fn compare<'a>(
        before: &DpsView,
        after: &DpsView,
        devices: impl IntoIterator<Item = &'a PresentedChain>,
    ) -> Self {
        let mut impact = Self::default();
        for device in devices {
            impact.count(
                device,
                decide(before, device).outcome,
                decide(after, device).outcome,
            );
        }
        impact
    }

    fn count(&mut self, device: &PresentedChain, before: Outcome, after: Outcome) {
        let is_admitted = |outcome: &Outcome| matches!(outcome, Outcome::Admitted(_));
        let movement = || Movement {
            registration_id: device.common_name().unwrap_or_default().to_owned(),
            before: before.to_string(),
            after: after.to_string(),
        };
        match (is_admitted(&before), is_admitted(&after)) {
            (true, false) => self.loses.push(movement()),
            (false, true) => self.gains.push(movement()),
            (true, true) => self.stays_admitted += 1,
            (false, false) => self.stays_out += 1,
        }
    }

    /// Whether no device's admission changes.
    pub fn is_none(&self) -> bool {
        self.loses.is_empty() && self.gains.is_empty()
    }
}
