//! What a plan costs: calls, billable operations and time.

use std::fmt;
use std::num::NonZeroU32;

use serde::Serialize;

use super::PlanRecord;
use crate::lifecycle::{Plan, Step};

/// What carrying out a plan costs, if nothing has to be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// How many calls the service plane gets; these are limited.
    pub service_calls: usize,
    /// How many operations of the service plane are billed. Whether a call with several entries counts
    /// once is not documented, so each entry counts.
    pub billable_operations: usize,
    /// How many calls the management plane and the hubs get.
    pub other_calls: usize,
    /// How long the rate of the service plane makes it take at least, in seconds.
    pub seconds: u64,
}

impl Plan {
    /// What it costs at so many calls a minute, of which a quarter may come at once.
    pub fn estimate(&self, per_minute: NonZeroU32) -> Estimate {
        let service = |step: &&Step| step.service_operations() > 0;
        let calls = self
            .steps
            .chunk_by(|one, other| one.goes_with(other))
            .map(|alike| alike.iter().filter(service).count());
        let calls: usize = calls.map(|alike| alike.div_ceil(PlanRecord::BULK)).sum();
        let beyond = u64::try_from(calls)
            .unwrap_or(u64::MAX)
            .saturating_sub(u64::from(per_minute.get() / 4).max(1));
        Estimate {
            service_calls: calls,
            billable_operations: self.steps.iter().map(Step::service_operations).sum(),
            other_calls: self.steps.iter().map(Step::other_calls).sum(),
            seconds: beyond.saturating_mul(60) / u64::from(per_minute.get()),
        }
    }
}

impl fmt::Display for Estimate {
    /// `4 calls to DPS (billed as 31 operations), 20 to hubs and Azure; at least 2 min at its rate`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} calls to DPS, billed as {} operations",
            self.service_calls, self.billable_operations
        )?;
        if self.other_calls > 0 {
            write!(f, "; {} to the management plane and hubs", self.other_calls)?;
        }
        match (self.seconds, self.seconds.div_ceil(60)) {
            (0, _) => Ok(()),
            (seconds, 1) => write!(f, "; at least {seconds} s at its rate limit"),
            (_, minutes) => write!(f, "; at least {minutes} min at its rate limit"),
        }
    }
}
