//! Which requests meet a fault, and which come too fast.
//!
//! Faults are drawn from a hash of the seed and the number of the request, so that a run can be had
//! again. Throttling counts in windows of the clock on the wall, not the instance's: clients wait by
//! that one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};

use crate::behavior::{Behavior, Throttle};
use crate::error::ServiceError;

/// The present behavior, and what was drawn and counted under it.
pub(crate) struct Faults {
    behavior: RwLock<Arc<Behavior>>,
    drawn: AtomicU64,
    windows: Mutex<[Option<Window>; 2]>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is answered.
    Answered,
    /// It is answered 503 and nothing happens.
    Unavailable,
    /// The connection is cut and nothing happens.
    Cut,
    /// It is acted on, and the connection is cut before the answer.
    CutAfterwards,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// An operation of the service plane.
    Service,
    /// A registration, or a lookup.
    Registration,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    used: u32,
}

impl Faults {
    pub(crate) fn new(behavior: Behavior) -> Self {
        Self {
            behavior: RwLock::new(Arc::new(behavior)),
            drawn: AtomicU64::new(0),
            windows: Mutex::default(),
        }
    }

    pub(crate) fn behavior(&self) -> Arc<Behavior> {
        let behavior = self.behavior.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&behavior)
    }

    /// Behaves otherwise from now on; drawing and counting begin anew.
    pub(crate) fn set(&self, behavior: Behavior) {
        let mut present = self
            .behavior
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *present = Arc::new(behavior);
        self.drawn.store(0, Ordering::Relaxed);
        *self.windows() = [None, None];
    }

    /// Draws the fate of the next request.
    pub(crate) fn draw(&self) -> Fate {
        let behavior = self.behavior();
        if behavior.reset_percent == 0 && behavior.server_error_percent == 0 {
            return Fate::Answered;
        }
        let [percent, coin] = self.numbers(&behavior);
        if percent < behavior.reset_percent {
            return if coin < 50 {
                Fate::Cut
            } else {
                Fate::CutAfterwards
            };
        }
        if percent - behavior.reset_percent < behavior.server_error_percent {
            Fate::Unavailable
        } else {
            Fate::Answered
        }
    }

    /// Whether a write with an ETag finds that somebody else was faster.
    pub(crate) fn is_stale(&self) -> bool {
        let behavior = self.behavior();
        behavior.stale_etag_percent > 0 && self.numbers(&behavior)[0] < behavior.stale_etag_percent
    }

    /// Takes a turn, if there is room in the window.
    pub(crate) fn take(&self, turn: Turn) -> Result<(), ServiceError> {
        let Some(throttle) = self.behavior().throttle else {
            return Ok(());
        };
        let mut windows = self.windows();
        let [service, registration] = &mut *windows;
        let window = match turn {
            Turn::Service => service,
            Turn::Registration => registration,
        };
        match Window::take(window, throttle, Instant::now()) {
            None => Ok(()),
            Some(retry_after_seconds) => Err(ServiceError::Throttled {
                retry_after_seconds,
            }),
        }
    }

    /// Two numbers below 100.
    fn numbers(&self, behavior: &Behavior) -> [u8; 2] {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        let text = format!("{}/{drawn}", behavior.seed);
        let digest = digest(&SHA256, text.as_bytes());
        let octets = digest.as_ref().first_chunk().copied().unwrap_or_default();
        let number = |half: [u8; 4]| {
            let below = u32::from_be_bytes(half) % 100;
            u8::try_from(below).unwrap_or_default()
        };
        let [a, b, c, d, e, f, g, h]: [u8; 8] = octets;
        [number([a, b, c, d]), number([e, f, g, h])]
    }

    fn windows(&self) -> MutexGuard<'_, [Option<Window>; 2]> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    /// Counts one more; or says in how many seconds there is room again.
    fn take(window: &mut Option<Self>, throttle: Throttle, now: Instant) -> Option<u64> {
        let length = Duration::from_secs(throttle.seconds.get().into());
        let running = window.filter(|window| now.duration_since(window.began) < length);
        let present = window.insert(running.unwrap_or(Self {
            began: now,
            used: 0,
        }));
        if present.used < throttle.operations.get() {
            present.used += 1;
            return None;
        }
        let left = length.saturating_sub(now.duration_since(present.began));
        // Whole seconds, and not too early.
        Some(left.as_secs() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).expect("not zero")
    }

    #[test]
    fn one_seed_is_one_run_and_the_shares_are_as_asked() {
        let run = |seed| {
            let faults = Faults::new(Behavior {
                seed,
                reset_percent: 10,
                server_error_percent: 5,
                ..Behavior::default()
            });
            (0..10_000).map(|_| faults.draw()).collect::<Vec<_>>()
        };
        let fates = run(1);
        assert_eq!(fates, run(1));
        assert_ne!(fates, run(2));
        let share = |fate| fates.iter().filter(|drawn| **drawn == fate).count();
        assert!((400..600).contains(&share(Fate::Cut)));
        assert!((400..600).contains(&share(Fate::CutAfterwards)));
        assert!((400..600).contains(&share(Fate::Unavailable)));
    }

    #[test]
    fn a_window_lets_so_many_through_and_says_when_the_next_begins() {
        let throttle = Throttle::per_minute(number(2));
        let start = Instant::now();
        let mut window = None;
        let mut take =
            |second| Window::take(&mut window, throttle, start + Duration::from_secs(second));
        assert_eq!([take(0), take(20), take(20)], [None, None, Some(41)]);
        assert_eq!([take(59), take(60), take(61)], [Some(2), None, None]);
        assert_eq!(take(62), Some(59));
    }

    #[test]
    fn service_operations_and_registrations_are_counted_apart() {
        let faults = Faults::new(Behavior {
            throttle: Some(Throttle::per_minute(number(1))),
            ..Behavior::default()
        });
        assert_eq!(faults.take(Turn::Service), Ok(()));
        assert_eq!(faults.take(Turn::Registration), Ok(()));
        assert!(faults.take(Turn::Service).is_err());
    }
}
