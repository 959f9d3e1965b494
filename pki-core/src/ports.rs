//! What the core asks of its surroundings: the time and randomness.
//!
//! Code that judges takes a [`Time`] instead; code that acts takes these. Adapters: `system` for a
//! real machine, `testing` for tests, each behind its feature. Signing is a port too: [`crate::key::Signer`].

#[cfg(feature = "system")]
pub mod system;

use crate::ids::{PlanId, SerialNumber};
use crate::time::Time;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Time;
}

/// Fills buffers with cryptographic randomness.
pub trait Entropy: Send + Sync {
    /// Fills the whole buffer.
    ///
    /// # Errors
    /// [`EntropyError`] if the source failed; the buffer must not be used then.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError>;
}

/// The source of randomness failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's source of randomness failed")]
pub struct EntropyError;

impl SerialNumber {
    /// A random serial number of 16 octets.
    ///
    /// # Errors
    /// [`EntropyError`].
    pub fn random(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut octets = [0; Self::RANDOM_OCTETS];
        entropy.fill(&mut octets)?;
        Ok(Self::from_random(octets))
    }
}

impl PlanId {
    /// A new ID.
    ///
    /// # Errors
    /// [`EntropyError`].
    pub fn random(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut octets = [0; Self::OCTETS];
        entropy.fill(&mut octets)?;
        Ok(Self::from_random(octets))
    }
}
