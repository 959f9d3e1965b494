//! The clock and the randomness of the machine.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this adapter is where the core's ports meet the machine"
)]

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

use super::{Clock, Entropy, EntropyError};
use crate::time::Time;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seconds = elapsed.map(|elapsed| elapsed.as_secs()).unwrap_or_default();
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        Time::from_unix_seconds(seconds).unwrap_or(Time::FOREVER)
    }
}

/// The randomness of aws-lc, seeded by the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        SystemRandom::new().fill(buffer).map_err(|_| EntropyError)
    }
}
