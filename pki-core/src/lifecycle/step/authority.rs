//! The step on an authority of the inventory: the parts that its generations play change, all together.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Expectation, Found, Kind, Plane, Standing};
use crate::ids::AuthorityName;
use crate::inventory::{GenerationChange, GenerationState};
use crate::lifecycle::Subject;

/// A step on an authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityStep {
    /// What is done to it.
    pub action: AuthorityAction,
    /// Whose generations.
    pub authority: AuthorityName,
    /// What becomes of which.
    pub changes: Vec<GenerationChange>,
}

/// What is done to an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthorityAction {
    /// Give its generations new parts, all together.
    #[serde(rename = "settleGenerations")]
    Settle,
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
        let is_done = |change: &GenerationChange| {
            let has = |state| states.contains(&(change.generation, state));
            // What issues alone has issued beside the older one: a breach roll may have been there meanwhile.
            has(change.to) || (change.to == GenerationState::Next && has(GenerationState::Current))
        };
        if self.changes.iter().all(is_done) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Generation;

    #[test]
    fn a_generation_that_issues_alone_is_past_being_next() {
        let second = Generation::FIRST.next();
        let step = AuthorityStep {
            action: AuthorityAction::Settle,
            authority: "line".parse().expect("a name"),
            changes: vec![GenerationChange {
                generation: second,
                to: GenerationState::Next,
            }],
        };
        let standing = |state| {
            let found = Found::Generations(vec![(second, state)]);
            step.standing(&found, &Expectation::Absent)
        };
        for done in [GenerationState::Next, GenerationState::Current] {
            assert_eq!(standing(done), Standing::Done(None), "{done}");
        }
        for other in [GenerationState::Pending, GenerationState::Retired] {
            let standing = standing(other);
            assert!(matches!(standing, Standing::AsExpected(_)), "{standing:?}");
        }
    }
}
