//! A shared limit on the rate of requests, so that a bulk run does not live on 429s.
//!
//! The limit holds per DPS instance, whoever asks: clones of a [`Limit`] share it, so the planes of
//! one instance are given the same one.
//! The rule is a token bucket, kept as the one moment when the bucket would be full again.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A rate that is shared by everybody who holds a clone of it.
#[derive(Debug, Clone)]
pub struct Limit {
    bucket: Arc<Mutex<Bucket>>,
}

impl Limit {
    /// What older DPS instances allow: 200 service operations a minute. Newer ones allow 1,000.
    pub const DEFAULT_PER_MINUTE: NonZeroU32 = NonZeroU32::new(200).unwrap();

    /// At most so many requests a minute, of which a quarter may come at once.
    pub fn per_minute(rate: NonZeroU32) -> Self {
        Self {
            bucket: Arc::new(Mutex::new(Bucket::new(rate))),
        }
    }

    /// Waits for this request's turn. Turns are given in the order of the calls.
    pub(crate) async fn turn(&self) {
        let wait = {
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.take(Instant::now())
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

#[derive(Debug)]
struct Bucket {
    /// The time in which one token drops in.
    interval: Duration,
    /// The time in which an empty bucket fills.
    depth: Duration,
    /// When the bucket is full again, if that is not past.
    full_at: Option<Instant>,
}

impl Bucket {
    fn new(per_minute: NonZeroU32) -> Self {
        let interval = Duration::from_secs(60) / per_minute.get();
        let burst = (per_minute.get() / 4).max(1);
        Self {
            interval,
            depth: interval * burst,
            full_at: None,
        }
    }

    /// Takes a token, on credit if there is none, and says how long to wait until it is there.
    fn take(&mut self, now: Instant) -> Duration {
        let full_at = self.full_at.map_or(now, |moment| moment.max(now)) + self.interval;
        self.full_at = Some(full_at);
        full_at.duration_since(now).saturating_sub(self.depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(per_minute: u32) -> Bucket {
        Bucket::new(NonZeroU32::new(per_minute).expect("rate"))
    }

    #[test]
    fn a_quarter_goes_at_once_and_the_rest_in_step() {
        let mut bucket = bucket(60);
        let now = Instant::now();
        let waits: Vec<_> = (0..18).map(|_| bucket.take(now).as_secs()).collect();
        assert_eq!(waits[..15], [0; 15]);
        assert_eq!(waits[15..], [1, 2, 3]);
    }

    #[test]
    fn a_rest_fills_the_bucket_but_not_over_its_brim() {
        let mut bucket = bucket(60);
        let start = Instant::now();
        for _ in 0..15 {
            bucket.take(start);
        }
        let later = start + Duration::from_secs(3_600);
        let waits: Vec<_> = (0..16).map(|_| bucket.take(later).as_secs()).collect();
        assert_eq!(waits[..15], [0; 15]);
        assert_eq!(waits[15], 1);
    }

    #[test]
    fn in_any_minute_there_is_at_most_the_rate_and_one_burst() {
        let mut bucket = bucket(200);
        let start = Instant::now();
        let within = (0..400)
            .filter(|_| bucket.take(start) < Duration::from_secs(60))
            .count();
        assert_eq!(within, 249);
    }

    #[tokio::test(start_paused = true)]
    async fn clones_share_their_turns() {
        let limit = Limit::per_minute(NonZeroU32::new(4).expect("rate"));
        let start = Instant::now();
        limit.turn().await;
        limit.clone().turn().await;
        assert_eq!(start.elapsed(), Duration::from_secs(15));
    }
}
