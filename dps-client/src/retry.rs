//! When a request is sent again: a pure schedule, and no sleeping here.
//!
//! What counts is whether the service can have acted on the request. It has not if it was throttled
//! (429) or never reached; then anything may be sent again. After a 5xx or a broken connection nobody
//! knows; then only what does no harm twice is: reads, and writes with `If-Match`, of which the
//! second fails with 412 if the first went through.

use std::time::Duration;

use crate::error::ClientError;
use crate::transport::TransportError;

/// Whether a request does no harm if the service acts on it twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// A read, or a write that says what it expects to find.
    Harmless,
    /// A write that makes something.
    Harmful,
}

/// What stood in the way of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setback {
    /// The service was not reached.
    Unreached,
    /// The service asks for fewer requests, and for this wait if it says so.
    Throttled(Option<Duration>),
    /// The service failed, and asks for this wait if it says so.
    Failed(Option<Duration>),
    /// No answer came in time.
    Unanswered,
    /// The answer was lost.
    Lost,
}

impl Setback {
    /// The setback in an error, or `None` if waiting will not mend it.
    pub fn in_error(error: &ClientError) -> Option<Self> {
        match error {
            ClientError::Service(error) if error.is_throttled() => {
                Some(Self::Throttled(error.retry_after))
            }
            ClientError::Service(error) if error.status.is_server_error() => {
                Some(Self::Failed(error.retry_after))
            }
            ClientError::Transport { source, .. } => match source {
                TransportError::Connect { .. }
                | TransportError::Proxy { .. }
                | TransportError::Tunnel { .. } => Some(Self::Unreached),
                TransportError::Timeout { .. } => Some(Self::Unanswered),
                TransportError::Interrupted { .. } => Some(Self::Lost),
                TransportError::Tls { .. } => None,
            },
            _ => None,
        }
    }

    /// Whether it is open if the service has acted on the request.
    pub fn may_have_acted(self) -> bool {
        matches!(self, Self::Failed(_) | Self::Unanswered | Self::Lost)
    }
}

/// How often and how long a request is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a request is sent in all; 1 never repeats.
    pub attempts: u32,
    /// How often a service is called that cannot be reached or does not answer.
    pub connect_attempts: u32,
    /// How long a request may wait in all.
    pub budget: Duration,
    /// The first wait after throttling or a lost connection, without a word from the service.
    pub first_wait: Duration,
    /// The first wait after a failure of the service, without a word from it.
    pub first_wait_after_failure: Duration,
    /// The longest wait that the schedule chooses by itself.
    pub ceiling: Duration,
}

impl Default for RetryPolicy {
    /// Six attempts within five minutes; 1 second first, 5 after a failure
    /// ([DPS quotas](https://learn.microsoft.com/azure/iot-dps/about-iot-dps#quotas-and-limits)).
    fn default() -> Self {
        Self {
            attempts: 6,
            connect_attempts: 3,
            budget: Duration::from_secs(300),
            first_wait: Duration::from_secs(1),
            first_wait_after_failure: Duration::from_secs(5),
            ceiling: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// Every request is sent once.
    pub fn never() -> Self {
        Self {
            attempts: 1,
            ..Self::default()
        }
    }

    /// How long to wait before the next attempt, or `None` to give up.
    ///
    /// `attempt` counts from 1, `waited` is the sum of all waits so far, `jitter` is a random number
    /// from 0 to 1. `Retry-After` is kept to the second; what the schedule chooses itself doubles each
    /// time and is drawn out by up to a half, so that a fleet does not come back as one.
    pub fn next_wait(
        &self,
        attempt: u32,
        waited: Duration,
        setback: Setback,
        repeat: Repeat,
        jitter: f64,
    ) -> Option<Duration> {
        let attempts = match setback {
            Setback::Unreached | Setback::Unanswered => self.attempts.min(self.connect_attempts),
            _ => self.attempts,
        };
        if attempt >= attempts || (repeat == Repeat::Harmful && setback.may_have_acted()) {
            return None;
        }
        let wait = match setback {
            Setback::Throttled(Some(asked)) | Setback::Failed(Some(asked)) => asked,
            Setback::Failed(None) => self.growing(self.first_wait_after_failure, attempt, jitter),
            _ => self.growing(self.first_wait, attempt, jitter),
        };
        (waited.saturating_add(wait) <= self.budget).then_some(wait)
    }

    fn growing(&self, first: Duration, attempt: u32, jitter: f64) -> Duration {
        let doubled = first.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
        doubled
            .min(self.ceiling)
            .mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts: 4,
        connect_attempts: 2,
        budget: Duration::from_secs(60),
        first_wait: Duration::from_secs(1),
        first_wait_after_failure: Duration::from_secs(5),
        ceiling: Duration::from_secs(15),
    };

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn the_schedule() {
        use Repeat::{Harmful, Harmless};
        use Setback::{Failed, Lost, Throttled, Unanswered, Unreached};
        let table = [
            // A wait that was asked for is kept, whatever the attempt.
            (1, Throttled(seconds(7)), Harmful, seconds(7)),
            (3, Throttled(seconds(7)), Harmful, seconds(7)),
            (1, Failed(seconds(2)), Harmless, seconds(2)),
            // Without one: doubling from 1 s, from 5 s after a failure, up to the ceiling.
            (1, Throttled(None), Harmful, seconds(1)),
            (3, Throttled(None), Harmful, seconds(4)),
            (1, Failed(None), Harmless, seconds(5)),
            (2, Failed(None), Harmless, seconds(10)),
            (3, Failed(None), Harmless, seconds(15)),
            (2, Lost, Harmless, seconds(2)),
            // Nobody knows whether the service acted: only what does no harm goes out again.
            (1, Failed(seconds(2)), Harmful, None),
            (1, Lost, Harmful, None),
            (1, Unanswered, Harmful, None),
            // It was never reached: anything may go out again, but not for long.
            (1, Unreached, Harmful, seconds(1)),
            (2, Unreached, Harmless, None),
            // Silence takes the longest of all.
            (1, Unanswered, Harmless, seconds(1)),
            (2, Unanswered, Harmless, None),
            // The end.
            (4, Throttled(seconds(1)), Harmless, None),
            (1, Throttled(seconds(61)), Harmless, None),
        ];
        for (attempt, setback, repeat, expected) in table {
            let wait = POLICY.next_wait(attempt, Duration::ZERO, setback, repeat, 0.0);
            assert_eq!(wait, expected, "{attempt} {setback:?} {repeat:?}");
        }
    }

    #[test]
    fn the_budget_counts_what_was_waited_before() {
        let wait = |waited| {
            let waited = Duration::from_secs(waited);
            POLICY.next_wait(
                1,
                waited,
                Setback::Throttled(seconds(10)),
                Repeat::Harmless,
                0.0,
            )
        };
        assert_eq!(wait(50), seconds(10));
        assert_eq!(wait(51), None);
    }

    #[test]
    fn jitter_only_ever_lengthens_a_wait() {
        let wait = |jitter| {
            POLICY.next_wait(
                1,
                Duration::ZERO,
                Setback::Failed(None),
                Repeat::Harmless,
                jitter,
            )
        };
        assert_eq!(wait(0.0), seconds(5));
        assert_eq!(wait(1.0), Some(Duration::from_millis(7_500)));
    }
}
