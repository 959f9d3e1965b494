//! The provisioning service as a resource: its shared access policies, its linked hubs, its tags.
//!
//! It is made from the configuration at the start and changed through ARM afterwards; how ARM writes
//! it down is [`crate::planes`]'s.

use pki_core::enrollment::{AllocationPolicy, OtherMembers};
use pki_core::ids::{Etag, HubHostName};
use serde::{Deserialize, Serialize};

use crate::policy::Policy;

/// What the service is, apart from what it holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resource {
    /// The policies of the service plane.
    pub(crate) policies: Vec<Policy>,
    /// The linked hubs, in the order in which they were linked.
    pub(crate) hubs: Vec<LinkedHub>,
    /// What counts for enrollments that name no allocation policy.
    pub(crate) allocation: AllocationPolicy,
    pub(crate) tags: OtherMembers,
    pub(crate) etag: Etag,
    /// Properties that a client wrote and nothing here acts on.
    pub(crate) other: OtherMembers,
}

/// A linked hub.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LinkedHub {
    pub(crate) host_name: HubHostName,
    pub(crate) policy: Policy,
    /// Whether devices whose enrollment lists no hubs may be sent there; they may if nobody said.
    #[serde(default)]
    pub(crate) applies_allocation_policy: Option<bool>,
    /// Its share among the linked hubs; 1 if nobody said.
    #[serde(default)]
    pub(crate) weight: Option<u32>,
}

/// A hub that an entry allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) host_name: HubHostName,
    /// Its share, compared with the other candidates'.
    pub(crate) weight: u32,
}

impl LinkedHub {
    pub(crate) fn new(host_name: HubHostName, policy: Policy) -> Self {
        Self {
            host_name,
            policy,
            applies_allocation_policy: None,
            weight: None,
        }
    }

    pub(crate) fn candidate(&self) -> Candidate {
        Candidate {
            host_name: self.host_name.clone(),
            weight: self.weight.unwrap_or(1),
        }
    }
}

impl Resource {
    pub(crate) fn hub(&self, name: &HubHostName) -> Option<&LinkedHub> {
        self.hubs.iter().find(|hub| hub.host_name == *name)
    }

    /// The hubs for devices whose enrollment lists none.
    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        self.hubs
            .iter()
            .filter(|hub| hub.applies_allocation_policy.unwrap_or(true))
            .map(LinkedHub::candidate)
            .collect()
    }
}
