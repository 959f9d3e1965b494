//! What the engine asks of its front end: secrets, keys, locks, and somebody who looks on.
//!
//! The clock and randomness are the core's ports ([`pki_core::ports`]), the journal is the inventory's
//! ([`pki_core::inventory::Journal`]), and what is written to is [`crate::Dps`].

use std::sync::Arc;

use pki_core::declaration::SecretSource;
use pki_core::ids::PlanId;
use pki_core::inventory::{InventoryError, KeyReference};
use pki_core::key::Signer;
use pki_core::lifecycle::{Settled, Step};
use secrecy::SecretString;
use tokio::sync::watch;

use crate::class::PortError;
use crate::execute::StepError;

/// Reads secrets from where the declaration says that they are.
pub trait Secrets: Sync {
    /// The secret; `what` names it for a person who has to look after it.
    ///
    /// # Errors
    /// [`PortError`] if there is none, or it cannot be read.
    fn secret(&self, source: &SecretSource, what: &str) -> Result<SecretString, PortError>;
}

/// Opens the keys of authorities.
pub trait Keys {
    /// The key in the place that the inventory names for a generation.
    ///
    /// # Errors
    /// [`PortError`] if it is not there, or does not open.
    fn open(&self, key: &KeyReference) -> Result<Box<dyn Signer>, PortError>;
}

/// Tells which other runs are alive. Locks decide nothing about what is recorded: the journal does.
pub trait Locks {
    /// Takes the lock of a plan; `None` while another run holds it.
    ///
    /// # Errors
    /// [`PortError`] if there can be no locks.
    fn plan(&self, plan: PlanId) -> Result<Option<Box<dyn PlanLock>>, PortError>;

    /// Begins a proof of possession, which lasts until the returned guard is dropped. `alone` is called
    /// first if nobody else is proving: what is undelivered then belongs to nobody alive.
    ///
    /// # Errors
    /// [`PortError`] if there can be no locks, or `alone` fails.
    fn prove(
        &self,
        alone: &mut dyn FnMut() -> Result<(), InventoryError>,
    ) -> Result<Box<dyn Proving>, PortError>;
}

/// The lock of a plan: held until it is dropped, or its process ends.
pub trait PlanLock {
    /// Gives it up for good: the plan is closed.
    fn remove(self: Box<Self>);
}

/// Held while a proof of possession is on its way.
pub trait Proving {}

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
