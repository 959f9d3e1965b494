//! How an instance behaves beyond the ordinary: throttling, faults, quotas, the time, strictness.
//!
//! All of it is off by default, set by the configuration, and changed while the instance runs by
//! [`crate::EmulatorHandle::set_behavior`] or through the control endpoint.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::choices::Choices;

/// What makes an instance as hard to live with as the real service can be. The default is an easy one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Behavior {
    /// Decides which requests meet a fault: the same requests in the same order meet the same ones.
    pub seed: u64,
    /// How many operations are allowed in a time; the rest is answered 429 with `Retry-After`.
    pub throttle: Option<Throttle>,
    /// How many of a hundred requests end with a cut connection.
    pub reset_percent: u8,
    /// How many of a hundred requests are answered 503.
    pub server_error_percent: u8,
    /// How many of a hundred writes with an ETag find that somebody else was faster (412).
    pub stale_etag_percent: u8,
    /// How long an assignment takes, in seconds of the instance's clock.
    pub assignment_seconds: u32,
    /// How far the instance's clock is ahead of the configured one, in seconds.
    pub clock_offset_seconds: i64,
    /// How much the instance holds; nothing set is no limit.
    pub quotas: Option<Quotas>,
    /// Choices where nobody knows what Azure does.
    pub choices: Choices,
}

/// A rate, counted for each instance: service operations and registrations apart from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Throttle {
    /// How many operations.
    pub operations: NonZeroU32,
    /// In how many seconds. Default: 60.
    #[serde(default = "a_minute")]
    pub seconds: NonZeroU32,
}

const fn a_minute() -> NonZeroU32 {
    const { NonZeroU32::new(60).unwrap() }
}

impl Throttle {
    /// So many operations a minute.
    pub fn per_minute(operations: NonZeroU32) -> Self {
        Self {
            operations,
            seconds: a_minute(),
        }
    }
}

/// How much an instance holds ([quotas](https://learn.microsoft.com/azure/iot-dps/about-iot-dps#quotas-and-limits)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Quotas {
    /// CA certificates.
    pub certificates: usize,
    /// Enrollment groups with X.509 attestation.
    pub x509_groups: usize,
    /// Enrollment groups with symmetric keys.
    pub symmetric_key_groups: usize,
    /// Individual enrollments.
    pub enrollments: usize,
    /// Registration records.
    pub registrations: usize,
    /// Linked hubs.
    pub hubs: usize,
}

impl Default for Quotas {
    /// The documented ones.
    fn default() -> Self {
        Self {
            certificates: 25,
            x509_groups: 100,
            symmetric_key_groups: 100,
            enrollments: 1_000_000,
            registrations: 1_000_000,
            hubs: 50,
        }
    }
}

/// Why a behavior is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} is {percent} percent of the requests; resets and server errors may be 100 together"
)]
pub struct BehaviorError {
    what: &'static str,
    percent: u16,
}

impl Behavior {
    /// The legal behavior that careless clients get wrong, without any fault.
    pub fn strict() -> Self {
        Self {
            choices: Choices::strict(),
            ..Self::default()
        }
    }

    /// # Errors
    /// [`BehaviorError`] if more than all requests are to fail.
    pub fn check(&self) -> Result<(), BehaviorError> {
        let shares = [
            (
                "resetPercent and serverErrorPercent",
                u16::from(self.reset_percent) + u16::from(self.server_error_percent),
            ),
            ("staleEtagPercent", u16::from(self.stale_etag_percent)),
        ];
        match shares.into_iter().find(|(_, percent)| *percent > 100) {
            Some((what, percent)) => Err(BehaviorError { what, percent }),
            None => Ok(()),
        }
    }
}
