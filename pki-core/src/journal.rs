//! The journal of plans: what was begun, what is done, and what comes next.
//!
//! A plan is stored before its first step, and each step before and after it is sent, so that a run
//! can be killed anywhere. A step that was begun and has no end may have reached the service or not:
//! it is read back and compared ([`crate::lifecycle::Standing`]) before it is sent again.
//! Storing is an adapter's: [`Journal`] is its port.
//! Not here: sending, which is the engine's (`dps-operations`).
//! Invariant: a step that is done is never sent again, and nothing in a record is a secret: keys that
//! a document brings are taken out before it is stored.
#![cfg_attr(
    not(any(feature = "sqlite", feature = "testing")),
    expect(
        dead_code,
        reason = "what adapters share is not called where none is built"
    )
)]

mod estimate;
mod port;
mod step;
mod trail;

use std::collections::BTreeSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::ids::{DpsName, Etag, PlanId, Sha1Thumbprint};
use crate::inventory::InventoryError;
use crate::lifecycle::{Expectation, Plan, Step, Subject};
use crate::time::Time;

pub use estimate::Estimate;
pub use port::Journal;
#[cfg(any(feature = "sqlite", feature = "testing"))]
pub(crate) use trail::subjects_of;

/// A plan that is about to be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPlan {
    /// Its name.
    pub id: PlanId,
    /// The instance that it changes.
    pub dps: DpsName,
    /// The plan.
    pub plan: Plan,
}

/// A plan in the journal, without its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanSummary {
    /// Its name.
    pub plan: PlanId,
    /// The instance that it changes.
    pub dps: DpsName,
    /// What it is for.
    pub goal: String,
    /// When it was stored.
    pub opened_at: Time,
    /// Whether it is still to be carried out.
    #[serde(flatten)]
    pub state: PlanState,
    /// How many steps it has.
    pub steps: usize,
    /// How many of them are done.
    pub done: usize,
}

/// A plan in the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanRecord {
    /// Its name.
    pub id: PlanId,
    /// The instance that it changes.
    pub dps: DpsName,
    /// When it was stored.
    pub opened_at: Time,
    /// Whether it is still to be carried out.
    pub state: PlanState,
    /// The plan itself.
    pub plan: Plan,
    /// Where each of its steps stands.
    pub steps: Vec<StepState>,
    /// Whether documents of it brought keys, which were not stored: only who has the documents can go
    /// on with it.
    pub keys_withheld: bool,
}

/// Whether a plan is still to be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "status"
)]
#[non_exhaustive]
pub enum PlanState {
    /// It is.
    Open,
    /// All of its steps are done.
    Finished {
        /// Since when.
        closed_at: Time,
    },
    /// It was given up; what was done stays done.
    Abandoned {
        /// Since when.
        closed_at: Time,
        /// Why.
        reason: String,
    },
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "status"
)]
#[non_exhaustive]
pub enum StepState {
    /// It was not sent.
    Planned,
    /// It was sent, or is about to be; how that ended is not known.
    Begun {
        /// When.
        at: Time,
        /// What it was sent with.
        expect: Expectation,
    },
    /// It is done.
    Done {
        /// Since when.
        at: Time,
        /// How.
        outcome: StepOutcome,
    },
    /// It was not done.
    Failed {
        /// When.
        at: Time,
        /// Why not.
        reason: String,
    },
}

/// How a step came to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepOutcome {
    /// Whether we did it.
    pub how: Settled,
    /// What the record is now, for the steps after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<Etag>,
}

/// Who did a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Settled {
    /// The service took it.
    Sent,
    /// It was found to be done: by a run that was cut short, or by somebody else.
    Found,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepEnd {
    /// It is done.
    Done(StepOutcome),
    /// It is not, for this reason.
    Failed(String),
}

/// What comes next in a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// These steps were never begun: send them, in one call if there are several.
    Send(Range<usize>),
    /// This step may have been done: look before it is sent.
    ReadBack(usize),
}

impl PlanSummary {
    /// Refuses a new plan while there are others on the same subject.
    pub(crate) fn refuse_in_the_way(others: &[Self]) -> Result<(), InventoryError> {
        match others.first() {
            None => Ok(()),
            Some(other) => Err(InventoryError::PlanInTheWay {
                plan: other.plan,
                goal: other.goal.clone(),
            }),
        }
    }
}

impl PlanState {
    /// Whether it is still to be carried out.
    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }

    /// The word under which it is stored and printed.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Finished { .. } => "finished",
            Self::Abandoned { .. } => "abandoned",
        }
    }

    /// Refuses to change a plan that is closed.
    pub(crate) fn refuse_closed(&self, plan: PlanId) -> Result<(), InventoryError> {
        if self.is_open() {
            Ok(())
        } else {
            Err(InventoryError::PlanClosed { plan })
        }
    }

    /// The state of a plan that is closed with so many steps left to do.
    pub(crate) fn closed(
        &self,
        plan: PlanId,
        left: usize,
        abandoned: Option<&str>,
        at: Time,
    ) -> Result<Self, InventoryError> {
        self.refuse_closed(plan)?;
        match abandoned {
            Some(reason) => Ok(Self::Abandoned {
                closed_at: at,
                reason: reason.to_owned(),
            }),
            None if left == 0 => Ok(Self::Finished { closed_at: at }),
            None => Err(InventoryError::PlanUnfinished { plan, left }),
        }
    }
}

impl StepState {
    /// Whether it is done.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }

    /// The word under which it is stored and printed.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Begun { .. } => "begun",
            Self::Done { .. } => "done",
            Self::Failed { .. } => "failed",
        }
    }

    /// The state of a step that is about to be sent; `None` for one that is done.
    pub(crate) fn begun(&self, expect: &Expectation, at: Time) -> Option<Self> {
        let expect = expect.clone();
        (!self.is_done()).then_some(Self::Begun { at, expect })
    }

    /// The state of a step that has ended; `None` for one that was not begun.
    pub(crate) fn ended(&self, end: &StepEnd, at: Time) -> Option<Self> {
        if !matches!(self, Self::Begun { .. }) {
            return None;
        }
        Some(match end {
            StepEnd::Done(outcome) => Self::Done {
                at,
                outcome: outcome.clone(),
            },
            StepEnd::Failed(reason) => Self::Failed {
                at,
                reason: reason.clone(),
            },
        })
    }
}

impl NewPlan {
    /// The record of a plan of which nothing is done.
    pub(crate) fn recorded(self, at: Time) -> PlanRecord {
        let keys_withheld = self.plan.steps.iter().any(Step::brings_keys);
        let plan = Plan {
            steps: self.plan.steps.iter().map(Step::without_keys).collect(),
            ..self.plan
        };
        PlanRecord {
            id: self.id,
            dps: self.dps,
            opened_at: at,
            state: PlanState::Open,
            steps: vec![StepState::Planned; plan.steps.len()],
            plan,
            keys_withheld,
        }
    }
}

impl PlanRecord {
    /// How many entries one call to the service may carry.
    const BULK: usize = 10;

    /// What comes next at step `from` or after it, leaving out some steps: those that failed in this
    /// run, and those that depend on them. Nothing comes next in a plan that is closed.
    pub fn next(&self, from: usize, leave: &BTreeSet<usize>) -> Option<Turn> {
        if !self.state.is_open() {
            return None;
        }
        let waits = |index: &usize| !leave.contains(index) && !self.steps[*index].is_done();
        let first = (from..self.steps.len()).find(waits)?;
        if self.steps[first] != StepState::Planned {
            return Some(Turn::ReadBack(first));
        }
        let alike = |index: &usize| {
            waits(index)
                && self.steps[*index] == StepState::Planned
                && self.plan.steps[first].goes_with(&self.plan.steps[*index])
        };
        let others = (first + 1..self.steps.len()).take(Self::BULK - 1);
        let others = others.take_while(alike).count();
        Some(Turn::Send(first..first + 1 + others))
    }

    /// The plan without its steps.
    pub fn summary(&self) -> PlanSummary {
        PlanSummary {
            plan: self.id,
            dps: self.dps.clone(),
            goal: self.plan.goal.clone(),
            opened_at: self.opened_at,
            state: self.state.clone(),
            steps: self.steps.len(),
            done: self.steps.iter().filter(|state| state.is_done()).count(),
        }
    }

    /// What the plan is about: a plan on the same subject must wait until this one is closed.
    pub fn subjects(&self) -> BTreeSet<String> {
        self.plan.subject_keys()
    }

    /// Whether one of its steps is about this subject, however its name is spelled.
    pub fn is_about(&self, subject: &Subject) -> bool {
        self.subjects().contains(&subject.key())
    }

    /// Adds whom the deletion of a CA certificate has cut off by this plan, and takes away whom the plan has
    /// had verified. A deletion that was begun counts: it may have been acted on, and whoever is admitted still
    /// was not cut off.
    fn note_cut_off(&self, ca: &Sha1Thumbprint, cut_off: &mut BTreeSet<Sha1Thumbprint>) {
        for (step, state) in self.plan.steps.iter().zip(&self.steps) {
            let is_begun = matches!(state, StepState::Begun { .. });
            let Step::Ca(step) = step else {
                continue;
            };
            if let Some((_, admitted)) = step.cut_off().filter(|(gone, _)| *gone == ca) {
                if state.is_done() || is_begun {
                    cut_off.extend(admitted);
                }
            } else if step.verifies() && state.is_done() {
                cut_off.remove(&step.sha1_thumbprint);
            }
        }
    }

    /// The tag that a step which is done left on its record.
    pub fn left_by(&self, index: usize) -> Option<&Etag> {
        match self.steps.get(index)? {
            StepState::Done { outcome, .. } => outcome.etag.as_ref(),
            _ => None,
        }
    }

    /// Takes note that a step is about to be sent.
    ///
    /// # Errors
    /// [`InventoryError::PlanClosed`]; [`InventoryError::StepState`] if there is no such step or it is
    /// done.
    pub fn begin(
        &mut self,
        index: usize,
        expect: &Expectation,
        at: Time,
    ) -> Result<(), InventoryError> {
        self.change(index, |state| state.begun(expect, at))
    }

    /// Takes note of how a step ended.
    ///
    /// # Errors
    /// [`InventoryError::PlanClosed`]; [`InventoryError::StepState`] if there is no such step or it
    /// was not begun.
    pub fn end(&mut self, index: usize, end: &StepEnd, at: Time) -> Result<(), InventoryError> {
        self.change(index, |state| state.ended(end, at))
    }

    /// Closes the plan: as finished without a reason, which needs all steps to be done, or as
    /// abandoned for one.
    ///
    /// # Errors
    /// [`InventoryError::PlanClosed`], [`InventoryError::PlanUnfinished`].
    pub fn close(&mut self, abandoned: Option<&str>, at: Time) -> Result<(), InventoryError> {
        let left = self.steps.iter().filter(|state| !state.is_done()).count();
        self.state = self.state.closed(self.id, left, abandoned, at)?;
        Ok(())
    }

    fn change(
        &mut self,
        index: usize,
        change: impl FnOnce(&StepState) -> Option<StepState>,
    ) -> Result<(), InventoryError> {
        self.state.refuse_closed(self.id)?;
        let state = self.steps.get_mut(index);
        let changed = state.as_deref().and_then(change);
        match (state, changed) {
            (Some(state), Some(changed)) => *state = changed,
            (state, _) => return Err(refused(self.id, index, state.as_deref())),
        }
        Ok(())
    }
}

/// A step that is not in a state for what is asked.
pub(crate) fn refused(plan: PlanId, index: usize, state: Option<&StepState>) -> InventoryError {
    InventoryError::StepState {
        plan,
        step: index + 1,
        state: state.map_or("not there", StepState::as_str),
    }
}
