//! What the engine asks of its front end: secrets, keys, and locks.
//!
//! The clock and randomness are the core's ports ([`pki_core::ports`]), the journal is the inventory's
//! ([`pki_core::journal::Journal`]), and what is written to is [`crate::Dps`].

use pki_core::ids::PlanId;
use pki_core::inventory::{InventoryError, KeyReference};
use pki_core::key::Signer;
use pki_core::secret::SecretSource;
use secrecy::SecretString;

use crate::class::PortError;

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

    /// Whether another run holds the lock of a plan. Nothing is made for the look.
    fn is_held(&self, plan: PlanId) -> bool;

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
