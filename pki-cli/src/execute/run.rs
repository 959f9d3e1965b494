//! The loop that carries out a plan, turn by turn, and journals each step before and after.

use std::collections::BTreeSet;
use std::future::Future;
use std::ops::Range;

use pki_core::ids::Etag;
use pki_core::inventory::InventoryError;
use pki_core::journal::{
    Found, Journal, PlanRecord, Settled, Standing, StepEnd, StepOutcome, StepState, Turn,
};
use pki_core::lifecycle::{Expectation, FieldChange, Step, differences};
use pki_core::wording::{counted, fitting};
use serde_json::Value;

use super::interrupt::Interrupt;
use super::send::{SendError, Sender};
use super::{Failures, StepFailure};
use crate::context::Context;
use crate::error::{CommandError, ErrorKind};
use crate::planes::Planes;
use crate::render::document::without_keys;
use crate::render::progress::ProgressLine;

/// From so many steps on, progress is told instead of each step.
const MANY: usize = 20;

/// Carries out what is left of a plan.
pub(super) struct Executor<'a> {
    sender: Sender<'a>,
    record: PlanRecord,
    /// For each step the last one before it on the same record.
    predecessors: Vec<Option<usize>>,
    /// How many steps are done.
    done: u64,
    failures: Failures,
    /// The record of a plan of one step as it was read, to tell what somebody else changed.
    before: Option<&'a Value>,
    /// Steps that this run leaves alone.
    left: BTreeSet<usize>,
    failed: Vec<StepFailure>,
}

impl<'a> Executor<'a> {
    pub(super) fn new(
        context: &'a Context,
        planes: &'a Planes<'a>,
        journal: &'a mut dyn Journal,
        record: PlanRecord,
        failures: Failures,
        before: Option<&'a Value>,
    ) -> Self {
        Self {
            sender: Sender {
                context,
                planes,
                journal,
            },
            predecessors: record.plan.predecessors(),
            done: u64::try_from(record.summary().done).unwrap_or(u64::MAX),
            record,
            failures,
            before,
            left: BTreeSet::new(),
            failed: Vec::new(),
        }
    }

    /// Carries it out; returns the steps that failed where others went on.
    pub(super) fn run(mut self) -> Result<Vec<StepFailure>, CommandError> {
        let context = self.sender.context;
        let interrupt = Interrupt::listen(context.runtime()?);
        let many = self.record.steps.len() > MANY;
        let total = u64::try_from(self.record.steps.len()).unwrap_or(u64::MAX);
        let mut progress = ProgressLine::new(&context.ui, "steps", total, self.done);
        let mut from = 0;
        while let Some(turn) = self.record.next(from, &self.left) {
            if interrupt.is_wanted() {
                progress.end();
                return Err(self.interrupted());
            }
            let range = match turn {
                Turn::Send(range) => self.send(range, &interrupt)?,
                Turn::ReadBack(index) => self.read_back(index, &interrupt)?,
            };
            from = range.end;
            match many {
                true => progress.show(self.done),
                false => self.tell(range),
            }
        }
        progress.end();
        self.close()
    }

    /// Looks at each step that was begun, notes those that are done, and closes the plan: as finished if
    /// that is all of them, else as abandoned. Nothing is sent.
    pub(super) fn note_what_is_done(mut self) -> Result<(), CommandError> {
        let context = self.sender.context;
        for index in 0..self.record.steps.len() {
            // What was never begun was not sent; looking at ten thousand takes an hour.
            if !matches!(self.record.steps[index], StepState::Begun { .. }) {
                continue;
            }
            let expect = self.expectation(index);
            self.begin(&[(index, expect.clone())])?;
            let step = &self.record.plan.steps[index];
            let found = context.block_on(async { Ok(self.sender.find(step).await?) })?;
            let end = match step.standing(&found, &expect) {
                Standing::Done(etag) => StepEnd::Done(StepOutcome {
                    how: Settled::Found,
                    etag,
                }),
                _ => StepEnd::Failed("left to the command that was given again".to_owned()),
            };
            let now = context.now();
            self.record.end(index, &end, now)?;
            let journal = &mut self.sender.journal;
            journal.end_steps(self.record.id, &[(index, end)], now)?;
        }
        let is_left = self.record.steps.iter().any(|state| !state.is_done());
        let reason = is_left.then_some("the same command was given again, and does what is left");
        let now = context.now();
        self.sender
            .journal
            .close_plan(self.record.id, reason, now)?;
        Ok(())
    }

    /// Sends steps that were never begun.
    fn send(
        &mut self,
        range: Range<usize>,
        interrupt: &Interrupt,
    ) -> Result<Range<usize>, CommandError> {
        let begun: Vec<(usize, Expectation)> = range
            .clone()
            .map(|index| (index, self.expectation(index)))
            .collect();
        self.begin(&begun)?;
        let (sender, steps) = (&mut self.sender, &self.record.plan.steps);
        let ends = waited(sender.context, interrupt, async {
            let [(index, expect)] = begun.as_slice() else {
                return together(sender, steps, &begun).await;
            };
            let sent = sender.send(&steps[*index], expect).await;
            vec![settled(sender, &steps[*index], expect, sent).await]
        })?;
        self.end(&range, ends)?;
        Ok(range)
    }

    /// Looks at what a step is about that was begun before, and sends it if it is not done.
    fn read_back(
        &mut self,
        index: usize,
        interrupt: &Interrupt,
    ) -> Result<Range<usize>, CommandError> {
        let expect = match &self.record.steps[index] {
            StepState::Begun { expect, .. } => expect.clone(),
            _ => self.expectation(index),
        };
        self.begin(&[(index, expect.clone())])?;
        let (sender, step) = (&mut self.sender, &self.record.plan.steps[index]);
        let end = waited(sender.context, interrupt, look(sender, step, &expect))?;
        self.end(&(index..index + 1), vec![end])?;
        Ok(index..index + 1)
    }

    /// What a step is sent with: what the plan says, or what the steps before it left.
    fn expectation(&self, index: usize) -> Expectation {
        match self.record.plan.steps[index].expectation() {
            Expectation::AsLeftByPlan => {
                let earlier = self.predecessors[index];
                let left = earlier.and_then(|earlier| self.record.left_by(earlier));
                let left = left.cloned().map(Expectation::Etag);
                left.unwrap_or(Expectation::AsLeftByPlan)
            }
            expect => expect,
        }
    }

    fn begin(&mut self, steps: &[(usize, Expectation)]) -> Result<(), CommandError> {
        let now = self.sender.context.now();
        self.sender
            .journal
            .begin_steps(self.record.id, steps, now)?;
        for (index, expect) in steps {
            self.record.begin(*index, expect, now)?;
        }
        Ok(())
    }

    /// Takes note of how steps ended, and stops the plan if it cannot go on.
    fn end(&mut self, range: &Range<usize>, ends: Vec<End>) -> Result<(), CommandError> {
        let now = self.sender.context.now();
        let mut stop = None;
        let mut noted = Vec::new();
        for (index, end) in range.clone().zip(ends) {
            let end = match end {
                Ok(outcome) => {
                    self.done += 1;
                    StepEnd::Done(outcome)
                }
                Err(failure) => {
                    let is_refusal = failure.error.is_refusal();
                    let goes_on = self.failures == Failures::GoOn && failure.is_of_one_record;
                    let error = failure.explained(&self.record.plan.steps[index], self.before);
                    let reason = error.message.clone();
                    match goes_on {
                        true => self.leave(index, error),
                        false => stop = stop.or(Some((index, error, is_refusal))),
                    }
                    StepEnd::Failed(reason)
                }
            };
            self.record.end(index, &end, now)?;
            noted.push((index, end));
        }
        let journal = &mut self.sender.journal;
        if let Err(error) = journal.end_steps(self.record.id, &noted, now) {
            return Err(self.unrecorded(range, error));
        }
        match stop {
            Some((index, error, is_refusal)) => Err(self.stopped(index, error, is_refusal)),
            None => Ok(()),
        }
    }

    /// Leaves a step that failed, and what comes after it on the same device or record.
    fn leave(&mut self, index: usize, error: CommandError) {
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
            error: error.message,
        });
    }

    fn close(self) -> Result<Vec<StepFailure>, CommandError> {
        let left = self.record.steps.len() - self.record.summary().done;
        let abandoned = match left {
            0 => None,
            left => Some(format!(
                "{} failed, {left} {} not done; planning again goes on from there",
                counted(self.failed.len(), "step", "steps"),
                fitting(left, "was", "were")
            )),
        };
        let now = self.sender.context.now();
        self.sender
            .journal
            .close_plan(self.record.id, abandoned.as_deref(), now)?;
        Ok(self.failed)
    }

    /// Says how far the plan got. After a conflict it is closed: what it was made from is no more. So is a
    /// plan of which nothing was done and whose step was refused: there is nothing to go on with.
    fn stopped(&mut self, index: usize, error: CommandError, is_refusal: bool) -> CommandError {
        let steps = &self.record.plan.steps;
        let message = match steps.len() {
            1 => error.message.clone(),
            count => format!(
                "step {} of {count} failed ({}): {}",
                index + 1,
                steps[index],
                error.message
            ),
        };
        let (kind, hints) = (error.kind, error.hints.clone());
        let mut stopped = CommandError {
            message,
            hints: vec![],
            ..error
        };
        let is_conflict = kind == ErrorKind::Conflict;
        if is_conflict || (is_refusal && self.done == 0) {
            let reason = format!("stopped at step {}: {}", index + 1, stopped.message);
            let now = self.sender.context.now();
            let closed = self
                .sender
                .journal
                .close_plan(self.record.id, Some(&reason), now);
            if let Err(error) = closed {
                return error.into();
            }
            stopped.hints = hints;
            if is_conflict {
                let hint = "nothing was overwritten; run it again to see what it would do now";
                stopped.hints = vec![hint.to_owned()];
            }
        } else {
            stopped.hints = hints;
            stopped.hints.push(self.where_it_stands());
        }
        stopped
    }

    fn interrupted(&self) -> CommandError {
        CommandError::new(ErrorKind::Interrupted, "interrupted").hint(self.where_it_stands())
    }

    fn where_it_stands(&self) -> String {
        let (id, done) = (self.record.id, self.done);
        format!(
            "{done} of {} {} done; go on with: dps-pki journal resume {id}",
            counted(self.record.steps.len(), "step", "steps"),
            fitting(done, "is done and stays", "are done and stay")
        )
    }

    fn unrecorded(&self, range: &Range<usize>, error: InventoryError) -> CommandError {
        let step = &self.record.plan.steps[range.start];
        let message = format!("{step}: sent, but how it ended is not in the journal");
        CommandError::failed(message)
            .because(error)
            .hint(self.where_it_stands())
    }

    fn tell(&self, range: Range<usize>) {
        for index in range {
            let step = &self.record.plan.steps[index];
            if let StepState::Done { outcome, .. } = &self.record.steps[index] {
                let word = match outcome.how {
                    Settled::Sent => "done",
                    Settled::Found => "found done",
                };
                self.sender.context.ui.note(format!("{word}: {step}"));
            }
        }
    }
}

/// How a step ended.
type End = Result<StepOutcome, Failure>;

/// Why a step was not done, and what was found where it is in conflict with somebody else.
struct Failure {
    error: SendError,
    standing: Option<Standing>,
    found: Option<Value>,
    is_of_one_record: bool,
}

impl Failure {
    fn of(error: SendError) -> Self {
        Self {
            is_of_one_record: error.is_of_one_record(),
            error,
            standing: None,
            found: None,
        }
    }

    /// The error, which says what somebody else changed, field by field, if that is why.
    fn explained(self, step: &Step, before: Option<&Value>) -> CommandError {
        let subject = step.subject_name();
        let differs = match self.standing {
            None | Some(Standing::Done(_) | Standing::AsExpected(_)) => return self.error.into(),
            Some(Standing::There) => "somebody else has made it".to_owned(),
            Some(Standing::Gone) => "it is gone, or cannot be read".to_owned(),
            Some(Standing::Changed(changes)) => {
                let changes = match (before, &self.found) {
                    (Some(before), Some(found)) => differences(before, found),
                    _ => changes,
                };
                let changes: Vec<String> = changes.iter().map(FieldChange::to_string).collect();
                match changes.is_empty() {
                    true => "its content is the same, its ETag is not".to_owned(),
                    false => changes.join("; "),
                }
            }
        };
        let message = format!("{subject} changed since it was read: {differs}");
        let conflict = CommandError::new(ErrorKind::Conflict, message);
        match self.error {
            SendError::Client(error) => conflict.because(error),
            _ => conflict,
        }
    }
}

/// Waits for a step; a second Ctrl-C does not.
fn waited<T>(
    context: &Context,
    interrupt: &Interrupt,
    step: impl Future<Output = T>,
) -> Result<T, CommandError> {
    context.runtime()?.block_on(async {
        tokio::select! {
            ended = step => Ok(ended),
            () = interrupt.at_once() => {
                let error = CommandError::new(ErrorKind::Interrupted, "interrupted in the middle of a step");
                Err(error.hint("the journal knows; go on with: dps-pki journal list, and resume"))
            }
        }
    })
}

async fn together(
    sender: &mut Sender<'_>,
    steps: &[Step],
    begun: &[(usize, Expectation)],
) -> Vec<End> {
    let pairs: Vec<_> = begun
        .iter()
        .map(|(index, expect)| (&steps[*index], expect))
        .collect();
    let mut ends = Vec::new();
    match sender.send_together(&pairs).await {
        Ok(sent) => {
            for ((step, expect), sent) in pairs.into_iter().zip(sent) {
                ends.push(settled(sender, step, expect, sent).await);
            }
        }
        Err(error) => {
            // It failed as a whole: each of them stands where the first one does, unless that is open.
            let mut is_open = error.may_be_done();
            let whole = CommandError::from(error);
            for (step, expect) in pairs {
                let same = CommandError::new(whole.kind, whole.message.clone()).into();
                let end = match is_open {
                    true => looked_at(sender, step, expect, same, Undone::SendAgain).await,
                    false => Err(Failure::of(same)),
                };
                is_open = end.is_ok();
                ends.push(end);
            }
        }
    }
    ends
}

/// The end of a step that was sent. Where the record was not as expected it is looked at: our own first
/// try may have gone through with its answer lost, and a device that was shut out may have tried again.
/// So it is where the service failed or its answer was lost, and the client did not send it twice.
async fn settled(
    sender: &mut Sender<'_>,
    step: &Step,
    expect: &Expectation,
    sent: Result<Option<Etag>, SendError>,
) -> End {
    let error = match sent {
        Ok(etag) => {
            let how = Settled::Sent;
            return Ok(StepOutcome { how, etag });
        }
        Err(error) => error,
    };
    let makes = *expect == Expectation::Absent;
    match error.is_about_the_record() {
        true => looked_at(sender, step, expect, error, Undone::Fails).await,
        false if makes && error.may_be_done() => {
            looked_at(sender, step, expect, error, Undone::SendAgain).await
        }
        false => Err(Failure::of(error)),
    }
}

/// What becomes of a step that failed, and that is found as undone as it was before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Undone {
    /// It has failed.
    Fails,
    /// It is sent once more.
    SendAgain,
}

/// The end of a step that failed with `error`, by what is found now.
async fn looked_at(
    sender: &mut Sender<'_>,
    step: &Step,
    expect: &Expectation,
    error: SendError,
    undone: Undone,
) -> End {
    let Ok(found) = sender.find(step).await else {
        return Err(Failure::of(error));
    };
    match step.standing(&found, expect) {
        Standing::Done(etag) => Ok(StepOutcome {
            how: Settled::Found,
            etag,
        }),
        Standing::AsExpected(now) if now != *expect || undone == Undone::SendAgain => {
            match sender.send(step, &now).await {
                Ok(etag) => Ok(StepOutcome {
                    how: Settled::Sent,
                    etag,
                }),
                Err(error) => Err(Failure::of(error)),
            }
        }
        standing => Err(Failure {
            found: document(&found),
            standing: Some(standing),
            ..Failure::of(error)
        }),
    }
}

/// The end of a step that may have been done before.
async fn look(sender: &mut Sender<'_>, step: &Step, expect: &Expectation) -> End {
    let found = sender.find(step).await.map_err(Failure::of)?;
    match step.standing(&found, expect) {
        Standing::Done(etag) => Ok(StepOutcome {
            how: Settled::Found,
            etag,
        }),
        Standing::AsExpected(now) => {
            let sent = sender.send(step, &now).await;
            settled(sender, step, &now, sent).await
        }
        standing => {
            let conflict = CommandError::new(ErrorKind::Conflict, "conflict");
            Err(Failure {
                found: document(&found),
                standing: Some(standing),
                ..Failure::of(SendError::Other(conflict))
            })
        }
    }
}

/// What was found, without keys.
pub(super) fn document(found: &Found) -> Option<Value> {
    match found {
        Found::Ca(held) => held.as_ref().map(without_keys),
        Found::Group(held) => held.as_ref().map(without_keys),
        Found::Individual(held) => held.as_ref().map(without_keys),
        Found::Registration(held) => held.as_ref().map(without_keys),
        Found::HubDevice(held) => held.as_ref().map(without_keys),
        _ => None,
    }
}
