//! Fakes for the ports: a clock that stands, randomness that repeats. For tests only; no release
//! flag or variable reaches them.

mod inventory_contract;
mod journal_contract;
mod memory_inventory;
mod sample;
mod sample_dps;
mod signer_contract;

use std::sync::Mutex;

use aws_lc_rs::digest::{SHA256, digest};

use crate::ports::{Clock, Entropy, EntropyError};
use crate::time::Time;

pub use inventory_contract::inventory_contract;
pub use journal_contract::journal_contract;
pub use memory_inventory::MemoryInventory;
pub use sample::SampleAuthority;
pub use sample_dps::{Copies, Refused, SampleDps, Service};
pub use signer_contract::signer_contract;

/// A clock that always tells the same moment.
#[derive(Debug, Clone, Copy)]
pub struct FixedClock(pub Time);

impl Clock for FixedClock {
    fn now(&self) -> Time {
        self.0
    }
}

/// Randomness that follows from a seed: SHA-256 over seed and counter.
#[derive(Debug)]
pub struct SeededEntropy {
    seed: u64,
    counter: Mutex<u64>,
}

impl SeededEntropy {
    /// A source whose output depends on the seed and on what was drawn before.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            counter: Mutex::new(0),
        }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        let mut counter = self.counter.lock().map_err(|_| EntropyError)?;
        for chunk in buffer.chunks_mut(32) {
            *counter += 1;
            let block = [self.seed.to_be_bytes(), counter.to_be_bytes()].concat();
            chunk.copy_from_slice(&digest(&SHA256, &block).as_ref()[..chunk.len()]);
        }
        Ok(())
    }
}
