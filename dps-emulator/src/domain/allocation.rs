//! Which hub a device goes to
//! ([allocation policies](https://learn.microsoft.com/azure/iot-dps/concepts-service#allocation-policy)).
//!
//! There is no latency to measure on one machine, so `geoLatency` is `hashed`; webhooks are not called.

use aws_lc_rs::digest::{SHA256, digest};
use pki_core::enrollment::AllocationPolicy;
use pki_core::ids::{HubHostName, RegistrationId};

use crate::choices;

/// Why no hub was found: it ends up in the registration record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AllocationError {
    #[error("No linked IoT hub is available for this enrollment.")]
    NoHub,
    #[error("Custom allocation failed: this emulator calls no webhooks.")]
    Custom,
    #[error("Allocation policy {0} is not known.")]
    UnknownPolicy(String),
}

impl AllocationError {
    pub(crate) fn code(&self) -> u32 {
        match self {
            Self::NoHub => choices::NO_HUB_CODE,
            Self::Custom | Self::UnknownPolicy(_) => choices::CUSTOM_ALLOCATION_CODE,
        }
    }
}

/// Chooses among the hubs that an entry allows; without a policy, the service's own, which is `hashed`.
pub(crate) fn allocate(
    policy: Option<&AllocationPolicy>,
    candidates: &[HubHostName],
    id: &RegistrationId,
) -> Result<HubHostName, AllocationError> {
    let chosen = match policy {
        None | Some(AllocationPolicy::Hashed | AllocationPolicy::GeoLatency) => {
            candidates.iter().max_by_key(|hub| weight(hub, id))
        }
        Some(AllocationPolicy::Static) => candidates.first(),
        Some(AllocationPolicy::Custom) => return Err(AllocationError::Custom),
        Some(other) => return Err(AllocationError::UnknownPolicy(other.to_string())),
    };
    chosen.cloned().ok_or(AllocationError::NoHub)
}

/// Rendezvous hashing: when a hub comes or goes, only its own share of the devices moves.
fn weight(hub: &HubHostName, id: &RegistrationId) -> Vec<u8> {
    let text = format!("{}\n{}", hub.folded(), id.folded());
    digest(&SHA256, text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hubs(count: usize) -> Vec<HubHostName> {
        let name = |index| format!("hub-{index}.azure-devices.net").parse();
        (0..count)
            .map(name)
            .collect::<Result<_, _>>()
            .expect("names")
    }

    fn spread(hubs: &[HubHostName]) -> Vec<HubHostName> {
        let ids = (0..400).map(|index| format!("dev-{index}").parse().expect("id"));
        ids.map(|id| allocate(None, hubs, &id).expect("hub"))
            .collect()
    }

    #[test]
    fn hashed_spreads_evenly_and_moves_only_the_share_of_a_new_hub() {
        let (before, after) = (spread(&hubs(3)), spread(&hubs(4)));
        for hub in hubs(4) {
            let share = after.iter().filter(|chosen| **chosen == hub).count();
            assert!((60..140).contains(&share), "{hub}: {share}");
        }
        let newest = hubs(4).pop().expect("four");
        let moved = before.iter().zip(&after).filter(|(old, new)| old != new);
        assert!(moved.into_iter().all(|(_, new)| *new == newest));
    }

    #[test]
    fn static_takes_the_hub_of_the_entry_and_custom_fails_as_documented() {
        let id = "dev".parse().expect("id");
        let chosen = allocate(Some(&AllocationPolicy::Static), &hubs(3), &id);
        assert_eq!(chosen.expect("hub"), hubs(1)[0]);
        let failed = allocate(Some(&AllocationPolicy::Custom), &hubs(3), &id);
        assert_eq!(failed.expect_err("no webhook").code(), 400_207);
        assert_eq!(allocate(None, &[], &id), Err(AllocationError::NoHub));
    }
}
