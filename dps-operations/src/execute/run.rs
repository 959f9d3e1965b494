//! The loop that carries out a plan, turn by turn, and journals each step before and after.

use std::collections::BTreeSet;
use std::future::Future;
use std::ops::Range;

use pki_core::inventory::InventoryError;
use pki_core::journal::{PlanRecord, Settled, StepEnd, StepOutcome, StepState, Turn};
use pki_core::lifecycle::{Expectation, Standing, Step};
use pki_core::wording::{counted, fitting};
use serde_json::Value;

use super::settle::{End, Settler};
use super::{
    Engine, Event, ExecuteError, Failures, Interruption, Observer, Progress, StepError,
    StepFailure, Stopped,
};
use crate::class::Class;

/// Carries out what is left of a plan.
pub(super) struct Run<'r, 'e> {
    engine: &'r mut Engine<'e>,
    record: PlanRecord,
    /// For each step the last one before it on the same record.
    predecessors: Vec<Option<usize>>,
    /// How many steps are done.
    done: u64,
    failures: Failures,
    /// The record of a plan of one step as it was read, to tell what somebody else changed.
    before: Option<&'r Value>,
    /// Steps that this run leaves alone.
    left: BTreeSet<usize>,
    failed: Vec<StepFailure>,
}

/// The step that stops a plan, and why.
struct Stop {
    index: usize,
    error: StepError,
}

impl<'r, 'e> Run<'r, 'e> {
    pub(super) fn new(
        engine: &'r mut Engine<'e>,
        record: PlanRecord,
        failures: Failures,
        before: Option<&'r Value>,
    ) -> Self {
        Self {
            engine,
            predecessors: record.plan.predecessors(),
            done: u64::try_from(record.summary().done).unwrap_or(u64::MAX),
            record,
            failures,
            before,
            left: BTreeSet::new(),
            failed: Vec::new(),
        }
    }

    /// The same, leaving these steps alone.
    pub(super) fn without(self, left: BTreeSet<usize>) -> Self {
        Self { left, ..self }
    }

    /// Carries it out; returns the steps that failed where others went on.
    pub(super) async fn follow(
        mut self,
        observer: &mut dyn Observer,
        interruption: &Interruption,
    ) -> Result<Vec<StepFailure>, ExecuteError> {
        let end = self.record.steps.len();
        self.follow_to(end, observer, interruption).await?;
        self.close()
    }

    /// Carries out the steps before the one of this number; the plan stays open.
    pub(super) async fn follow_to(
        &mut self,
        end: usize,
        observer: &mut dyn Observer,
        interruption: &Interruption,
    ) -> Result<(), ExecuteError> {
        observer.observe(Event::Opened {
            plan: self.record.id,
            steps: self.record.steps.len(),
            done: self.done,
        });
        let mut from = 0;
        while let Some(turn) = self.record.next(from, &self.left) {
            if interruption.is_asked() {
                return Err(ExecuteError::Interrupted(self.progress()));
            }
            let range = match &turn {
                Turn::Send(range) => range.clone(),
                Turn::ReadBack(index) => *index..index + 1,
            };
            if range.start >= end {
                break;
            }
            let begun = self.begin(&turn, &range, observer)?;
            let progress = self.progress();
            let ends = waited(interruption, progress, self.ends(&turn, &begun)).await?;
            self.end(range.clone(), ends, observer)?;
            from = range.end;
        }
        Ok(())
    }

    /// What is known of a plan that goes on later: its record, the steps to leave alone, and those that failed.
    pub(super) fn paused(self) -> (PlanRecord, BTreeSet<usize>, Vec<StepFailure>) {
        (self.record, self.left, self.failed)
    }

    /// Looks at each step that was begun, notes those that are done, and closes the plan: as finished if
    /// that is all of them, else as abandoned for this reason. Nothing is sent.
    pub(super) async fn note_what_is_done(mut self, reason: &str) -> Result<(), ExecuteError> {
        for index in 0..self.record.steps.len() {
            // What was never begun was not sent; looking at ten thousand takes an hour.
            if !matches!(self.record.steps[index], StepState::Begun { .. }) {
                continue;
            }
            let expect = self.expectation(index);
            self.note_begun(&[(index, expect.clone())])?;
            let step = &self.record.plan.steps[index];
            let found = self.engine.find(step).await.map_err(ExecuteError::Read)?;
            let end = match step.standing(&found, &expect) {
                Standing::Done(etag) => StepEnd::Done(StepOutcome {
                    how: Settled::Found,
                    etag,
                }),
                _ => StepEnd::Failed("left to the command that was given again".to_owned()),
            };
            let now = self.engine.clock.now();
            self.record.end(index, &end, now)?;
            let journal = &mut self.engine.journal;
            journal.end_steps(self.record.id, &[(index, end)], now)?;
        }
        let is_left = self.record.steps.iter().any(|state| !state.is_done());
        self.note_closed(is_left.then_some(reason))?;
        Ok(())
    }

    /// Journals that steps are about to be sent, or looked at.
    fn begin(
        &mut self,
        turn: &Turn,
        range: &Range<usize>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<(usize, Expectation)>, ExecuteError> {
        let mut begun = Vec::with_capacity(range.len());
        for index in range.clone() {
            let expect = match (turn, &self.record.steps[index]) {
                // What it was sent with before is what tells whether it is done.
                (Turn::ReadBack(_), StepState::Begun { expect, .. }) => expect.clone(),
                _ => self.expectation(index),
            };
            begun.push((index, expect));
        }
        self.note_begun(&begun)?;
        for index in range.clone() {
            let step = &self.record.plan.steps[index];
            observer.observe(Event::Begun { index, step });
        }
        Ok(begun)
    }

    /// Sends steps, or looks at the one that was begun before and sends it if it is not done.
    async fn ends(&mut self, turn: &Turn, begun: &[(usize, Expectation)]) -> Vec<End> {
        let steps = &self.record.plan.steps;
        let pairs: Vec<(&Step, &Expectation)> = begun
            .iter()
            .map(|(index, expect)| (&steps[*index], expect))
            .collect();
        let mut settler = Settler {
            engine: &mut *self.engine,
            before: self.before,
        };
        match (turn, pairs.as_slice()) {
            (Turn::ReadBack(_), [(step, expect)]) => vec![settler.look(step, expect).await],
            // Another plan has put it there, as the first turn of a breach roll does in several instances: the
            // certificate is compared, and its tag is read.
            (Turn::Send(_), [(step @ Step::Ca(_), expect @ Expectation::AsLeftByPlan(_))]) => {
                vec![settler.look(step, expect).await]
            }
            // The plan of another instance may have recorded it.
            (Turn::Send(_), [(step @ Step::Authority(_), expect)]) => {
                vec![settler.look(step, expect).await]
            }
            (Turn::Send(_), [(step, expect)]) => vec![settler.send(step, expect).await],
            (_, pairs) => settler.together(pairs).await,
        }
    }

    /// What a step is sent with: what the plan says, or what the steps before it left.
    fn expectation(&self, index: usize) -> Expectation {
        let planned = self.record.plan.steps[index].expectation();
        let Expectation::AsLeftByPlan(_) = planned else {
            return planned;
        };
        let earlier = self.predecessors[index];
        let left = earlier.and_then(|earlier| self.record.left_by(earlier));
        left.cloned().map_or(planned, Expectation::Etag)
    }

    fn note_begun(&mut self, steps: &[(usize, Expectation)]) -> Result<(), InventoryError> {
        let now = self.engine.clock.now();
        self.engine
            .journal
            .begin_steps(self.record.id, steps, now)?;
        for (index, expect) in steps {
            self.record.begin(*index, expect, now)?;
        }
        Ok(())
    }

    fn note_closed(&mut self, abandoned: Option<&str>) -> Result<(), InventoryError> {
        let now = self.engine.clock.now();
        self.engine
            .journal
            .close_plan(self.record.id, abandoned, now)
    }

    /// Takes note of how steps ended, and stops the plan if it cannot go on.
    fn end(
        &mut self,
        range: Range<usize>,
        ends: Vec<End>,
        observer: &mut dyn Observer,
    ) -> Result<(), ExecuteError> {
        let now = self.engine.clock.now();
        let mut noted = Vec::new();
        let mut errors = Vec::new();
        for (index, end) in range.zip(ends) {
            let end = match end {
                Ok(outcome) => StepEnd::Done(outcome),
                Err(error) => {
                    let reason = error.to_string();
                    errors.push((index, error));
                    StepEnd::Failed(reason)
                }
            };
            self.record.end(index, &end, now)?;
            noted.push((index, end));
        }
        let journaled = self.engine.journal.end_steps(self.record.id, &noted, now);
        for (_, end) in &noted {
            self.done += u64::from(matches!(end, StepEnd::Done(_)));
        }
        if let Err(source) = journaled {
            return Err(self.unrecorded(&noted, source));
        }
        self.tell(&noted, &errors, observer);
        match self.leave(errors) {
            Some(stop) => Err(self.stopped(stop)),
            None => Ok(()),
        }
    }

    fn tell(
        &self,
        noted: &[(usize, StepEnd)],
        errors: &[(usize, StepError)],
        observer: &mut dyn Observer,
    ) {
        for (index, end) in noted {
            let index = *index;
            if let StepEnd::Done(outcome) = end {
                observer.observe(Event::Done {
                    index,
                    step: &self.record.plan.steps[index],
                    how: outcome.how,
                    done: self.done,
                });
            }
        }
        for (index, error) in errors {
            let index = *index;
            let step = &self.record.plan.steps[index];
            observer.observe(Event::Failed { index, step, error });
        }
    }

    /// Leaves steps that failed, and what comes after them on the same device or record; returns the first
    /// after which the plan cannot go on.
    fn leave(&mut self, errors: Vec<(usize, StepError)>) -> Option<Stop> {
        let mut stop = None;
        for (index, error) in errors {
            if self.failures == Failures::Stop || !error.is_of_one_record() {
                stop = stop.or(Some(Stop { index, error }));
                continue;
            }
            let steps = &self.record.plan.steps;
            let subjects = steps[index].subjects();
            let concerned = |other: &usize| {
                let others = steps[*other].subjects();
                *other == index || others.iter().any(|subject| subjects.contains(subject))
            };
            self.left.extend((index..steps.len()).filter(concerned));
            self.failed.push(StepFailure {
                subject: steps[index].subject_name(),
                step: steps[index].to_string(),
                error,
            });
        }
        stop
    }

    fn close(mut self) -> Result<Vec<StepFailure>, ExecuteError> {
        let left = self.record.steps.len() - self.record.summary().done;
        let is_failed = |state: &&StepState| matches!(state, StepState::Failed { .. });
        let failed = self.record.steps.iter().filter(is_failed).count();
        let abandoned = match left {
            0 => None,
            left => Some(format!(
                "{} failed, {left} {} not done; planning again goes on from there",
                counted(failed, "step", "steps"),
                fitting(left, "was", "were")
            )),
        };
        self.note_closed(abandoned.as_deref())?;
        Ok(self.failed)
    }

    /// Says how far the plan got. After a conflict it is closed: what it was made from is no more. So is a
    /// plan of which nothing was done and whose step was refused: there is nothing to go on with.
    fn stopped(&mut self, stop: Stop) -> ExecuteError {
        let is_conflict = stop.error.class() == Class::Conflict;
        let is_closed = is_conflict || (stop.error.is_refusal() && self.done == 0);
        let stopped = Stopped {
            index: stop.index,
            step: self.record.plan.steps[stop.index].to_string(),
            error: stop.error,
            progress: self.progress(),
            is_closed,
        };
        if is_closed {
            let reason = format!("stopped at step {}: {stopped}", stop.index + 1);
            if let Err(error) = self.note_closed(Some(&reason)) {
                return error.into();
            }
        }
        ExecuteError::Stopped(Box::new(stopped))
    }

    fn unrecorded(&self, noted: &[(usize, StepEnd)], source: InventoryError) -> ExecuteError {
        let first = noted.first().map_or(0, |(index, _)| *index);
        ExecuteError::Unrecorded {
            step: self.record.plan.steps[first].to_string(),
            source,
            progress: self.progress(),
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            plan: self.record.id,
            done: self.done,
            steps: self.record.steps.len(),
        }
    }
}

/// Waits for a step, unless somebody asks twice to end.
async fn waited<T>(
    interruption: &Interruption,
    progress: Progress,
    step: impl Future<Output = T>,
) -> Result<T, ExecuteError> {
    tokio::select! {
        ended = step => Ok(ended),
        () = interruption.asked(2) => Err(ExecuteError::InterruptedInStep(progress)),
    }
}
