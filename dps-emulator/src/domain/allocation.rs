//! Which hub a device goes to
//! ([allocation policies](https://learn.microsoft.com/azure/iot-dps/concepts-service#allocation-policy)).
//!
//! There is no latency to measure on one machine, so `geoLatency` is `hashed`; a custom policy is
//! [`super::webhook`]'s.

use aws_lc_rs::digest::{SHA256, digest};
use http::StatusCode;
use pki_core::enrollment::AllocationPolicy;
use pki_core::ids::{HubHostName, RegistrationId};

use crate::store::resource::Candidate;

/// Why no hub was found: it ends up in the registration record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AllocationError {
    #[error("No linked IoT hub is available for this enrollment.")]
    NoHub,
    #[error("Custom allocation failed with status code: {}", .0.as_u16())]
    Status(StatusCode),
    #[error("Custom allocation failed: the webhook could not be reached: {0}")]
    Unreached(String),
    #[error("Custom allocation failed: the webhook's answer cannot be read: {0}")]
    Unreadable(String),
    #[error("Custom allocation failed: {0}")]
    Undefined(String),
    #[error("Custom allocation failed: the webhook named no IoT hub.")]
    HubNotSpecified,
    #[error("Custom allocation failed: IoT hub {0} is not linked to this service.")]
    HubNotLinked(HubHostName),
    #[error("Custom allocation failed: the webhook refused access.")]
    WebhookUnauthorized,
    #[error("Allocation policy {0} is not known.")]
    UnknownPolicy(String),
}

impl AllocationError {
    pub(crate) fn code(&self) -> u32 {
        match self {
            Self::NoHub | Self::HubNotSpecified | Self::HubNotLinked(_) => 400_208,
            Self::WebhookUnauthorized => 400_209,
            Self::Status(_)
            | Self::Unreached(_)
            | Self::Unreadable(_)
            | Self::Undefined(_)
            | Self::UnknownPolicy(_) => 400_207,
        }
    }
}

/// Chooses among the hubs that an entry allows.
pub(crate) fn allocate(
    policy: &AllocationPolicy,
    candidates: &[Candidate],
    id: &RegistrationId,
) -> Result<HubHostName, AllocationError> {
    let chosen = match policy {
        AllocationPolicy::Hashed | AllocationPolicy::GeoLatency => candidates
            .iter()
            .max_by(|a, b| a.score(id).total_cmp(&b.score(id))),
        AllocationPolicy::Static => candidates.first(),
        other => return Err(AllocationError::UnknownPolicy(other.to_string())),
    };
    chosen
        .map(|candidate| candidate.host_name.clone())
        .ok_or(AllocationError::NoHub)
}

impl Candidate {
    /// Weighted rendezvous hashing: when a hub comes or goes, only its own share of the devices moves.
    fn score(&self, id: &RegistrationId) -> f64 {
        let text = format!("{}\n{}", self.host_name.folded(), id.folded());
        let digest = digest(&SHA256, text.as_bytes());
        let leading = digest.as_ref().first_chunk().copied().unwrap_or_default();
        // Evenly within (0, 1), so that the logarithm is below zero.
        let even = (f64::from(u32::from_be_bytes(leading)) + 0.5) / (f64::from(u32::MAX) + 1.0);
        f64::from(self.weight) / -even.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hubs(count: usize) -> Vec<Candidate> {
        let name = |index| {
            let host_name = format!("hub-{index}.azure-devices.net").parse()?;
            Ok::<_, pki_core::ids::IdError>(Candidate {
                host_name,
                weight: 1,
            })
        };
        (0..count)
            .map(name)
            .collect::<Result<_, _>>()
            .expect("names")
    }

    fn spread(hubs: &[Candidate]) -> Vec<HubHostName> {
        let ids = (0..400).map(|index| format!("dev-{index}").parse().expect("id"));
        ids.map(|id| allocate(&AllocationPolicy::Hashed, hubs, &id).expect("hub"))
            .collect()
    }

    #[test]
    fn hashed_spreads_evenly_and_moves_only_the_share_of_a_new_hub() {
        let before = spread(&hubs(3));
        let after = spread(&hubs(4));
        for hub in hubs(4) {
            let share = after
                .iter()
                .filter(|chosen| **chosen == hub.host_name)
                .count();
            assert!((60..140).contains(&share), "{hub:?}: {share}");
        }
        let newest = hubs(4).pop().expect("four");
        let moved = before.iter().zip(&after).filter(|(old, new)| old != new);
        assert!(moved.into_iter().all(|(_, new)| *new == newest.host_name));
    }

    #[test]
    fn a_hub_with_three_times_the_weight_gets_three_times_the_devices() {
        let mut hubs = hubs(2);
        hubs[0].weight = 3;
        let chosen = spread(&hubs);
        let share = chosen.iter().filter(|hub| **hub == hubs[0].host_name);
        assert!((270..330).contains(&share.count()));
    }

    #[test]
    fn static_takes_the_hub_of_the_entry() {
        let id = "dev".parse().expect("id");
        let chosen = allocate(&AllocationPolicy::Static, &hubs(3), &id);
        assert_eq!(chosen.expect("hub"), hubs(1)[0].host_name);
        assert_eq!(
            allocate(&AllocationPolicy::Hashed, &[], &id),
            Err(AllocationError::NoHub)
        );
    }
}
