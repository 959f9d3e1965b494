//! What the trail binds of plans: every column of theirs and of their steps, as it is stored.
//!
//! The entry that opens a plan binds its content; each entry that begins or ends steps has the SHA-256
//! of their new states, the entry that closes a plan that of everything in the end:
//!
//! ```text
//! "dps-pki plan 1\n"
//! name, instance, goal, notes                         texts, the notes in JSON
//! keys withheld, opened at, number of steps           64 bits each
//! each step                                           text, its JSON
//! ```
//!
//! is what never changes; with status and state of the plan, and of each step, it is the whole.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Action, AuditEntry, AuditHash, update_text};

/// A plan as an adapter stores it: the texts, not what they mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredPlan {
    pub(crate) name: String,
    pub(crate) dps: String,
    pub(crate) goal: String,
    pub(crate) notes: String,
    pub(crate) keys_withheld: i64,
    pub(crate) opened_at: i64,
    pub(crate) status: String,
    pub(crate) state: String,
    pub(crate) steps: Vec<StoredStep>,
    pub(crate) subjects: BTreeSet<String>,
}

/// A step as an adapter stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredStep {
    pub(crate) number: i64,
    pub(crate) step: String,
    pub(crate) status: String,
    pub(crate) state: String,
}

/// What a plan is about, by its steps, if they can be read: what a step means is the journal's.
pub(crate) type SubjectsOf = fn(&[StoredStep]) -> Option<BTreeSet<String>>;

impl StoredPlan {
    /// The status of a plan that is still to be carried out.
    pub(crate) const OPEN: &str = "open";

    /// The SHA-256 of the plan in JSON, which the entry that opens it has.
    pub(crate) fn content(&self) -> AuditHash {
        let mut context = Context::new(&SHA256);
        context.update(b"{\"goal\":");
        context.update(Value::from(self.goal.as_str()).to_string().as_bytes());
        context.update(b",\"steps\":[");
        for (place, step) in self.steps.iter().enumerate() {
            if place > 0 {
                context.update(b",");
            }
            context.update(step.step.as_bytes());
        }
        context.update(b"],\"notes\":");
        context.update(self.notes.as_bytes());
        context.update(b"}");
        AuditHash::from_digest(context.finish())
    }

    /// What never changes of it.
    pub(crate) fn fixed(&self) -> AuditHash {
        AuditHash::from_digest(self.fixed_context().finish())
    }

    /// Everything.
    pub(crate) fn whole(&self) -> AuditHash {
        let mut context = self.fixed_context();
        update_text(&mut context, self.status.as_bytes());
        update_text(&mut context, self.state.as_bytes());
        for step in &self.steps {
            update_text(&mut context, step.status.as_bytes());
            update_text(&mut context, step.state.as_bytes());
        }
        AuditHash::from_digest(context.finish())
    }

    fn fixed_context(&self) -> Context {
        let mut context = Context::new(&SHA256);
        context.update(b"dps-pki plan 1\n");
        for text in [&self.name, &self.dps, &self.goal, &self.notes] {
            update_text(&mut context, text.as_bytes());
        }
        context.update(&self.keys_withheld.to_be_bytes());
        context.update(&self.opened_at.to_be_bytes());
        let count = u64::try_from(self.steps.len()).unwrap_or(u64::MAX);
        context.update(&count.to_be_bytes());
        for step in &self.steps {
            update_text(&mut context, step.step.as_bytes());
        }
        context
    }

    fn is_open(&self) -> bool {
        self.status == Self::OPEN
    }

    /// Whether its steps are numbered from 0, and the words beside the states are theirs.
    fn is_in_order(&self) -> bool {
        let numbered = (0..).zip(&self.steps).all(|(n, step)| n == step.number);
        let mut states = self.steps.iter().map(|step| (&step.status, &step.state));
        numbered
            && has_word(&self.status, &self.state)
            && states.all(|(status, state)| has_word(status, state))
    }
}

impl StoredStep {
    /// The state of a step that was not sent.
    pub(crate) const PLANNED: &str = r#"{"status":"planned"}"#;

    /// What the trail binds of its state.
    pub(crate) fn state_hash(&self) -> AuditHash {
        AuditHash::of(self.state.as_bytes())
    }
}

fn has_word(status: &str, state: &str) -> bool {
    let state: Option<Value> = serde_json::from_str(state).ok();
    state.is_some_and(|state| state.get("status").and_then(Value::as_str) == Some(status))
}

/// The new state of a step, as an entry tells it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BoundStep {
    /// Counted from 1.
    pub(crate) step: usize,
    pub(crate) state: AuditHash,
}

/// A plan as it was found when the trail began to bind plans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FoundPlan {
    plan: String,
    fixed: AuditHash,
    /// Of a plan that was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    whole: Option<AuditHash>,
    /// The states of the steps of one that was open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<AuditHash>>,
}

impl FoundPlan {
    /// The plan as it stands.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(dead_code, reason = "for adapters that are upgraded")
    )]
    pub(crate) fn of(stored: &StoredPlan) -> Self {
        let is_open = stored.is_open();
        let states = || stored.steps.iter().map(StoredStep::state_hash).collect();
        Self {
            plan: stored.name.clone(),
            fixed: stored.fixed(),
            whole: (!is_open).then(|| stored.whole()),
            steps: is_open.then(states),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.plan
    }
}

/// A plan as the trail says it is.
#[derive(Debug, Clone)]
pub(crate) struct ExpectedPlan {
    /// The entry that opened it.
    pub(super) opened_in: u64,
    opened_at: i64,
    dps: Option<String>,
    content: Option<AuditHash>,
    keys_withheld: Option<bool>,
    /// What never changes, of a plan that was found at an upgrade.
    fixed: Option<AuditHash>,
    is_open: bool,
    /// Of a plan that is closed.
    whole: Option<AuditHash>,
    /// The states of the steps of one that is open; none before an upgrade, when they were not bound.
    steps: Option<Vec<AuditHash>>,
}

impl ExpectedPlan {
    /// By the entry that opens it.
    pub(super) fn opened(entry: &AuditEntry) -> Self {
        let detail = entry.detail();
        let keys_withheld = detail.get("keysWithheld").and_then(Value::as_bool);
        let count = detail.get("steps").and_then(Value::as_u64);
        let count = count.and_then(|count| usize::try_from(count).ok());
        let planned_state = AuditHash::of(StoredStep::PLANNED.as_bytes());
        // An entry that does not know of withheld keys is from before states were bound.
        let planned = count.filter(|_| keys_withheld.is_some());
        Self {
            opened_in: entry.sequence,
            opened_at: entry.at.unix_seconds(),
            dps: detail.get("dps").and_then(Value::as_str).map(str::to_owned),
            content: entry.content,
            keys_withheld,
            fixed: None,
            is_open: true,
            whole: None,
            steps: planned.map(|count| vec![planned_state; count]),
        }
    }

    /// By what was found at an upgrade.
    pub(super) fn bind(&mut self, found: &FoundPlan) {
        self.fixed = Some(found.fixed);
        self.whole = found.whole;
        self.steps.clone_from(&found.steps);
    }

    /// By an entry about this plan; `None` if it makes no sense.
    pub(crate) fn replay(&mut self, entry: &AuditEntry) -> Option<()> {
        match Action::from_word(&entry.action) {
            Some(Action::StepsBegun | Action::StepsEnded) => self.advance(entry),
            Some(Action::PlanFinished | Action::PlanAbandoned) => {
                self.close(entry);
                Some(())
            }
            _ => Some(()),
        }
    }

    /// By an entry that begins or ends steps.
    fn advance(&mut self, entry: &AuditEntry) -> Option<()> {
        let detail = entry.detail();
        let steps: Vec<BoundStep> = serde_json::from_value(detail.get("steps")?.clone()).ok()?;
        for bound in steps {
            let place = bound.step.checked_sub(1)?;
            *self.steps.as_mut()?.get_mut(place)? = bound.state;
        }
        Some(())
    }

    /// By the entry that closes it.
    fn close(&mut self, entry: &AuditEntry) {
        self.is_open = false;
        self.whole = entry.content;
    }

    /// Whether a step is in the state that the trail says.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(dead_code, reason = "for adapters that keep texts")
    )]
    pub(crate) fn has_state(&self, index: usize, state: AuditHash) -> bool {
        let expected = self.steps.as_ref().and_then(|steps| steps.get(index));
        expected == Some(&state)
    }

    /// What of a stored plan is not as the trail says.
    pub(crate) fn differences(
        &self,
        stored: &StoredPlan,
        subjects_of: SubjectsOf,
    ) -> Vec<&'static str> {
        let states: Vec<AuditHash> = stored.steps.iter().map(StoredStep::state_hash).collect();
        let withheld = |withheld: bool| i64::from(withheld) == stored.keys_withheld;
        let state_fits = if self.is_open {
            stored.is_open() && self.steps.as_ref() == Some(&states)
        } else {
            self.whole == Some(stored.whole())
        };
        let subjects = if self.is_open {
            subjects_of(&stored.steps)
        } else {
            Some(BTreeSet::new())
        };
        let checks = [
            ("instance", self.dps.as_ref() == Some(&stored.dps)),
            ("start", self.opened_at == stored.opened_at),
            ("content", self.content == Some(stored.content())),
            (
                "mark of withheld keys",
                self.keys_withheld.is_none_or(withheld),
            ),
            (
                "content",
                self.fixed.is_none_or(|fixed| fixed == stored.fixed()),
            ),
            ("state", state_fits),
            ("state", stored.is_in_order()),
            (
                "list of subjects",
                subjects.as_ref() == Some(&stored.subjects),
            ),
        ];
        let mut wrong: Vec<&'static str> = checks
            .into_iter()
            .filter(|(_, fits)| !fits)
            .map(|(what, _)| what)
            .collect();
        wrong.dedup();
        wrong
    }
}
