//! The step on an authority of the inventory: the parts that its generations play change, all together.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Expectation, Found, Kind, Plane, Standing};
use crate::ids::AuthorityName;
use crate::inventory::GenerationChange;
use crate::lifecycle::Subject;

/// New parts for the generations of an authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct AuthorityStep {
    /// Whose generations.
    pub authority: AuthorityName,
    /// What becomes of which.
    pub changes: Vec<GenerationChange>,
}

impl Kind for AuthorityStep {
    fn key(&self) -> String {
        format!("authority {}", self.authority).to_ascii_lowercase()
    }

    fn name(&self) -> String {
        self.authority.to_string()
    }

    fn plane(&self) -> Plane<'_> {
        Plane::Inventory
    }

    fn calls(&self) -> usize {
        0
    }

    fn subjects(&self) -> Vec<Subject> {
        vec![Subject::Authority(self.authority.clone())]
    }

    fn expect(&self) -> Option<&Expectation> {
        None
    }

    fn standing(&self, found: &Found, expect: &Expectation) -> Standing {
        let Found::Generations(states) = found else {
            return Standing::Gone;
        };
        let mut changes = self.changes.iter();
        if changes.all(|change| states.contains(&(change.generation, change.to))) {
            Standing::Done(None)
        } else {
            Standing::AsExpected(expect.clone())
        }
    }

    /// The inventory says what changed; this says which plan it was part of.
    fn audit_word(&self) -> &'static str {
        "step-done"
    }

    fn is_of_device(&self) -> bool {
        false
    }
}

impl fmt::Display for AuthorityStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in the inventory, make {}", self.authority)?;
        for (index, change) in self.changes.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma} generation {} {}", change.generation, change.to)?;
        }
        Ok(())
    }
}

/// How it is stored.
#[derive(Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "action"
)]
enum Stored {
    SettleGenerations {
        authority: AuthorityName,
        changes: Vec<GenerationChange>,
    },
}

impl From<Stored> for AuthorityStep {
    fn from(stored: Stored) -> Self {
        let Stored::SettleGenerations { authority, changes } = stored;
        Self { authority, changes }
    }
}

impl From<AuthorityStep> for Stored {
    fn from(step: AuthorityStep) -> Self {
        Self::SettleGenerations {
            authority: step.authority,
            changes: step.changes,
        }
    }
}
