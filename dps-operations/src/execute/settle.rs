//! How a step ended: what its answer says, and where that is open, what is read back.

use std::sync::Arc;

use pki_core::ids::Etag;
use pki_core::journal::{Settled, StepOutcome};
use pki_core::lifecycle::{Expectation, FieldChange, Found, Standing, Step, differences};
use serde_json::Value;

use super::{Difference, Engine, StepError};
use crate::document::document;

/// How a step ended.
pub(super) type End = Result<StepOutcome, StepError>;

/// What becomes of a step that failed, and that is found as undone as it was before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Undone {
    /// It has failed.
    Fails,
    /// It is sent once more.
    SendAgain,
}

/// Brings steps to their ends.
pub(super) struct Settler<'s, 'e> {
    pub(super) engine: &'s mut Engine<'e>,
    /// The record of a plan of one step as it was read, to tell what somebody else changed.
    pub(super) before: Option<&'s Value>,
}

impl Settler<'_, '_> {
    /// Sends a step that was never begun.
    pub(super) async fn send(&mut self, step: &Step, expect: &Expectation) -> End {
        let sent = self.engine.send(step, expect).await;
        self.settled(step, expect, sent).await
    }

    /// Sends several steps in one call.
    pub(super) async fn together(&mut self, pairs: &[(&Step, &Expectation)]) -> Vec<End> {
        let mut ends = Vec::with_capacity(pairs.len());
        match self.engine.send_together(pairs).await {
            Ok(sent) => {
                for ((step, expect), sent) in pairs.iter().zip(sent) {
                    ends.push(self.settled(step, expect, sent).await);
                }
            }
            Err(error) => {
                // It failed as a whole: each of them stands where the first one does, unless that is open.
                let mut is_open = error.may_be_done();
                let whole = Arc::new(error);
                for (step, expect) in pairs {
                    let same = StepError::Together(Arc::clone(&whole));
                    let end = if is_open {
                        self.looked_at(step, expect, same, Undone::SendAgain).await
                    } else {
                        Err(same)
                    };
                    is_open = end.is_ok();
                    ends.push(end);
                }
            }
        }
        ends
    }

    /// The end of a step that may have been done before.
    pub(super) async fn look(&mut self, step: &Step, expect: &Expectation) -> End {
        let found = self.engine.find(step).await?;
        match step.standing(&found, expect) {
            Standing::Done(etag) => Ok(found_done(etag)),
            Standing::AsExpected(now) => self.send(step, &now).await,
            standing => Err(self.changed(step, standing, &found, None)),
        }
    }

    /// The end of a step that was sent. Where the record was not as expected it is looked at: our own first
    /// try may have gone through with its answer lost, and a device that was shut out may have tried again.
    /// So it is where the service failed or its answer was lost, and the client did not send it twice.
    async fn settled(
        &mut self,
        step: &Step,
        expect: &Expectation,
        sent: Result<Option<Etag>, StepError>,
    ) -> End {
        let error = match sent {
            Ok(etag) => {
                let how = Settled::Sent;
                return Ok(StepOutcome { how, etag });
            }
            Err(error) => error,
        };
        let makes = *expect == Expectation::Absent;
        if error.is_about_the_record() {
            self.looked_at(step, expect, error, Undone::Fails).await
        } else if makes && error.may_be_done() {
            self.looked_at(step, expect, error, Undone::SendAgain).await
        } else {
            Err(error)
        }
    }

    /// The end of a step that failed with `error`, by what is found now.
    async fn looked_at(
        &mut self,
        step: &Step,
        expect: &Expectation,
        error: StepError,
        undone: Undone,
    ) -> End {
        let Ok(found) = self.engine.find(step).await else {
            return Err(error);
        };
        match step.standing(&found, expect) {
            Standing::Done(etag) => Ok(found_done(etag)),
            Standing::AsExpected(now) if now != *expect || undone == Undone::SendAgain => {
                let how = Settled::Sent;
                let etag = self.engine.send(step, &now).await?;
                Ok(StepOutcome { how, etag })
            }
            // As it was before: the refusal itself says more than the record.
            Standing::AsExpected(_) => Err(error),
            standing => Err(self.changed(step, standing, &found, Some(Box::new(error)))),
        }
    }

    /// What somebody else changed, field by field.
    fn changed(
        &self,
        step: &Step,
        standing: Standing,
        found: &Found,
        answer: Option<Box<StepError>>,
    ) -> StepError {
        let difference = match standing {
            Standing::There => Difference::Made,
            Standing::Changed(changes) => self.fields(changes, found),
            Standing::Gone | Standing::Done(_) | Standing::AsExpected(_) => Difference::Gone,
        };
        StepError::Changed {
            subject: step.subject_name(),
            difference,
            answer,
        }
    }

    /// By the record as it was read, where that is at hand; else by what the plan says of it.
    fn fields(&self, changes: Vec<FieldChange>, found: &Found) -> Difference {
        let changes = match (self.before, document(found)) {
            (Some(before), Some(found)) => differences(before, &found),
            _ => changes,
        };
        if changes.is_empty() {
            Difference::Tag
        } else {
            Difference::Fields(changes)
        }
    }
}

fn found_done(etag: Option<Etag>) -> StepOutcome {
    StepOutcome {
        how: Settled::Found,
        etag,
    }
}
