//! Somebody who looks on while a plan is carried out, and may interrupt it.

use std::sync::Arc;

use pki_core::ids::PlanId;
use pki_core::journal::Settled;
use pki_core::lifecycle::Step;
use tokio::sync::watch;

use super::StepError;

/// Looks on while a plan is carried out.
pub trait Observer {
    /// Something happened.
    fn observe(&mut self, event: Event<'_>);
}

/// Nobody looks.
impl Observer for () {
    fn observe(&mut self, _: Event<'_>) {}
}

/// What happens to a plan. What a step's event says is in the journal already.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A plan is about to be carried out, or resumed.
    Opened {
        /// Its name.
        plan: PlanId,
        /// How many steps it has.
        steps: usize,
        /// How many of them earlier runs have done.
        done: u64,
    },
    /// A step is about to be sent or looked at.
    Begun {
        /// Its place in the plan, from 0.
        index: usize,
        /// The step.
        step: &'a Step,
    },
    /// A step is done.
    Done {
        /// Its place in the plan, from 0.
        index: usize,
        /// The step.
        step: &'a Step,
        /// Whether this run did it.
        how: Settled,
        /// How many are done now.
        done: u64,
    },
    /// A step was not done.
    Failed {
        /// Its place in the plan, from 0.
        index: usize,
        /// The step.
        step: &'a Step,
        /// Why not.
        error: &'a StepError,
    },
}

/// Lets somebody interrupt a run from outside: asked once it ends after the step that is under way, asked
/// again it ends at once. Clones are the same interruption.
#[derive(Debug, Clone)]
pub struct Interruption(Arc<watch::Sender<u32>>);

impl Default for Interruption {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Interruption {
    /// Asks the run to end.
    pub fn ask(&self) {
        self.0.send_modify(|times| *times = times.saturating_add(1));
    }

    /// Whether it was asked to end.
    pub fn is_asked(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Waits until it was asked so many times.
    pub(crate) async fn asked(&self, times: u32) {
        let mut asked = self.0.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = asked.wait_for(|count| *count >= times).await;
    }
}
