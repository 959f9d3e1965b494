//! What the audit trail binds of a plan, and the entries that say what became of it: one wording for
//! every adapter. How the trail is compared with what is stored is [`crate::inventory::audit`]'s.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::json;

use super::{PlanRecord, PlanState, StepState};
use crate::ids::PlanId;
use crate::inventory::InventoryError;
use crate::inventory::audit::{Action, AuditHash, BoundStep, Draft, StoredPlan, StoredStep};
use crate::lifecycle::{Plan, Step};
use crate::time::Time;

/// What a plan is about, by its steps as they are stored, if they can be read.
pub(crate) fn subjects_of(steps: &[StoredStep]) -> Option<BTreeSet<String>> {
    let steps: Result<Vec<Step>, _> = steps
        .iter()
        .map(|step| serde_json::from_str(&step.step))
        .collect();
    let plan = Plan {
        goal: String::new(),
        steps: steps.ok()?,
        notes: Vec::new(),
    };
    Some(plan.subject_keys())
}

impl StoredPlan {
    /// A plan as it is to be stored.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn of(record: &PlanRecord) -> Result<Self, InventoryError> {
        let mut steps = Vec::with_capacity(record.steps.len());
        for (number, (step, state)) in (0_i64..).zip(record.plan.steps.iter().zip(&record.steps)) {
            steps.push(StoredStep {
                number,
                step: json(step)?,
                status: state.as_str().to_owned(),
                state: json(state)?,
            });
        }
        let subjects = if record.state.is_open() {
            record.subjects()
        } else {
            BTreeSet::new()
        };
        Ok(Self {
            name: record.id.to_string(),
            dps: record.dps.to_string(),
            goal: record.plan.goal.clone(),
            notes: json(&record.plan.notes)?,
            keys_withheld: i64::from(record.keys_withheld),
            opened_at: record.opened_at.unix_seconds(),
            status: record.state.as_str().to_owned(),
            state: json(&record.state)?,
            steps,
            subjects,
        })
    }
}

impl Draft {
    pub(crate) fn plan_opened(record: &PlanRecord, stored: &StoredPlan, at: Time) -> Self {
        let detail = json!({
            "dps": record.dps,
            "goal": record.plan.goal,
            "steps": record.steps.len(),
            "keysWithheld": record.keys_withheld,
        });
        let content = Some(stored.content());
        Self::of_plan(Action::PlanOpened, record.id, detail, content, at)
    }

    /// `states` are the new ones, of steps counted from 0.
    pub(crate) fn steps_begun(
        plan: PlanId,
        states: &[(usize, StepState)],
        at: Time,
    ) -> Result<Self, InventoryError> {
        Self::steps(Action::StepsBegun, plan, states, at)
    }

    /// As [`Self::steps_begun`].
    pub(crate) fn steps_ended(
        plan: PlanId,
        states: &[(usize, StepState)],
        at: Time,
    ) -> Result<Self, InventoryError> {
        Self::steps(Action::StepsEnded, plan, states, at)
    }

    fn steps(
        action: Action,
        plan: PlanId,
        states: &[(usize, StepState)],
        at: Time,
    ) -> Result<Self, InventoryError> {
        let mut bound = Vec::with_capacity(states.len());
        for (index, state) in states {
            bound.push(BoundStep {
                step: index + 1,
                state: AuditHash::of(json(state)?.as_bytes()),
            });
        }
        let detail = json!({ "steps": bound });
        Ok(Self::of_plan(action, plan, detail, None, at))
    }

    /// `stored` is the plan as it is once it is closed.
    pub(crate) fn plan_closed(record: &PlanRecord, stored: &StoredPlan, at: Time) -> Self {
        let (action, detail) = match &record.state {
            PlanState::Abandoned { reason, .. } => {
                let done = record.summary().done;
                (
                    Action::PlanAbandoned,
                    json!({ "reason": reason, "done": done }),
                )
            }
            _ => (Action::PlanFinished, json!({})),
        };
        Self::of_plan(action, record.id, detail, Some(stored.whole()), at)
    }
}

fn json(value: &impl Serialize) -> Result<String, InventoryError> {
    serde_json::to_string(value).map_err(|error| InventoryError::corrupt(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trails from before this was computed from the stored texts have the SHA-256 of the plan in JSON.
    #[test]
    fn the_content_of_a_plan_is_its_json() {
        let record = crate::journal::NewPlan {
            id: PlanId::from_random([7; 6]),
            dps: "main".parse().expect("name"),
            plan: Plan {
                goal: "say \"hello\" to ü".to_owned(),
                steps: vec![
                    serde_json::from_value(serde_json::json!({
                        "action": "deleteRegistration", "registrationId": "d-1", "expect": "absent"
                    }))
                    .expect("step"),
                ],
                notes: vec!["a note".to_owned()],
            },
        };
        let at = "2026-01-01T00:00:00Z".parse().expect("time");
        let record = record.recorded(at);
        let stored = StoredPlan::of(&record).expect("stored");
        let json = serde_json::to_string(&record.plan).expect("json");
        assert_eq!(stored.content(), AuditHash::of(json.as_bytes()));
    }

    /// The trail compares texts and knows no states.
    #[test]
    fn the_words_that_the_trail_knows_are_those_of_the_states() {
        assert_eq!(StoredPlan::OPEN, PlanState::Open.as_str());
        let planned = json(&StepState::Planned).expect("json");
        assert_eq!(StoredStep::PLANNED, planned);
    }
}
