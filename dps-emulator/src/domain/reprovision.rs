//! What happens when a device that has a hub registers again
//! ([reprovisioning](https://learn.microsoft.com/azure/iot-dps/concepts-device-reprovision)).

use pki_core::enrollment::{ReprovisionPolicy, Substatus};
use pki_core::ids::HubHostName;

/// Where a device goes, and what becomes of its twin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Move {
    /// It had no hub.
    First,
    /// It keeps the hub it had.
    Stay,
    /// It goes to another hub and takes its twin along.
    Migrate { from: HubHostName },
    /// It goes to another hub and starts with the initial twin.
    Reset { from: HubHostName },
}

impl Move {
    /// What the service's record says about it.
    pub(crate) fn substatus(&self) -> Substatus {
        match self {
            Self::First => Substatus::InitialAssignment,
            Self::Stay => Substatus::ReprovisionedToInitialAssignment,
            Self::Migrate { .. } => Substatus::DeviceDataMigrated,
            Self::Reset { .. } => Substatus::DeviceDataReset,
        }
    }
}

/// The policy that counts: the entry's; else *migrate*, but *never* for a device that speaks an API
/// from before policies existed.
pub(crate) fn effective(policy: Option<&ReprovisionPolicy>, is_legacy: bool) -> ReprovisionPolicy {
    let never = ReprovisionPolicy::new(false, false);
    match policy {
        Some(policy) => policy.clone(),
        None if is_legacy => never,
        None => ReprovisionPolicy::default(),
    }
}

/// Decides between the hub that a device has and the one chosen for it now.
pub(crate) fn decide(
    policy: &ReprovisionPolicy,
    current: Option<&HubHostName>,
    chosen: &HubHostName,
) -> Move {
    let Some(current) = current else {
        return Move::First;
    };
    if current == chosen || !policy.update_hub_assignment {
        return Move::Stay;
    }
    let from = current.clone();
    if policy.migrate_device_data {
        Move::Migrate { from }
    } else {
        Move::Reset { from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(name: &str) -> HubHostName {
        name.parse().expect(name)
    }

    /// The table of the documentation: first time, same hub, another hub under each policy.
    #[test]
    fn each_policy_does_what_the_documentation_says() {
        let a = hub("a.net");
        let b = hub("b.net");
        let from = a.clone();
        for (policy, current, expected) in [
            (ReprovisionPolicy::new(true, true), None, Move::First),
            (ReprovisionPolicy::new(true, true), Some(&b), Move::Stay),
            (
                ReprovisionPolicy::new(true, true),
                Some(&a),
                Move::Migrate { from: from.clone() },
            ),
            (
                ReprovisionPolicy::new(true, false),
                Some(&a),
                Move::Reset { from },
            ),
            (ReprovisionPolicy::new(false, false), Some(&a), Move::Stay),
        ] {
            assert_eq!(decide(&policy, current, &b), expected);
        }
    }

    #[test]
    fn without_a_policy_old_devices_stay_and_others_migrate() {
        assert!(!effective(None, true).update_hub_assignment);
        assert_eq!(effective(None, false), ReprovisionPolicy::default());
        assert!(effective(Some(&ReprovisionPolicy::new(true, false)), true).update_hub_assignment);
    }
}
