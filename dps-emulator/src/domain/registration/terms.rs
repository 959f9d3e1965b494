//! What an entry says about the devices that it admits: which hubs, how one is chosen, and what is written
//! there. Where the entry is silent, the service's own settings speak.

use pki_core::admission::Entry;
use pki_core::enrollment::{
    AllocationPolicy, EnrollmentGroup, IndividualEnrollment, ReprovisionPolicy,
};
use pki_core::ids::{DeviceId, HubHostName};
use serde_json::Value;

use crate::domain::Dps;
use crate::domain::enrollment::ONE_HUB;
use crate::error::ServiceError;
use crate::store::Store;
use crate::store::resource::{Candidate, LinkedHub};

/// What an entry says about the devices that it admits.
pub(super) struct Terms {
    pub(super) device_id: Option<DeviceId>,
    pub(super) allocation: AllocationPolicy,
    pub(super) reprovision: Option<ReprovisionPolicy>,
    pub(super) candidates: Vec<Candidate>,
    pub(super) initial_twin: Option<Value>,
    pub(super) capabilities: Option<Value>,
}

impl Dps {
    pub(super) fn terms(&self, store: &Store, entry: &Entry) -> Result<Terms, ServiceError> {
        match entry {
            Entry::Individual(id) => {
                let record = store
                    .individuals()
                    .get(id)
                    .ok_or_else(|| ServiceError::EnrollmentNotFound(id.clone()))?;
                Ok(self.terms_of_individual(&record.value))
            }
            Entry::Group(id) => {
                let record = store.groups().get(id);
                let record =
                    record.ok_or_else(|| ServiceError::EnrollmentGroupNotFound(id.clone()))?;
                Ok(self.terms_of_group(&record.value))
            }
        }
    }

    fn terms_of_individual(&self, entry: &IndividualEnrollment) -> Terms {
        Terms {
            device_id: entry.device_id.clone(),
            allocation: self.allocation(entry.allocation_policy.as_ref()),
            reprovision: entry.reprovision_policy.clone(),
            candidates: self.candidates(entry.iot_hubs.as_deref(), entry.other.get(ONE_HUB)),
            initial_twin: entry.initial_twin.clone(),
            capabilities: entry.other.get("capabilities").cloned(),
        }
    }

    fn terms_of_group(&self, entry: &EnrollmentGroup) -> Terms {
        Terms {
            device_id: None,
            allocation: self.allocation(entry.allocation_policy.as_ref()),
            reprovision: entry.reprovision_policy.clone(),
            candidates: self.candidates(entry.iot_hubs.as_deref(), entry.other.get(ONE_HUB)),
            initial_twin: entry.initial_twin.clone(),
            capabilities: entry.other.get("capabilities").cloned(),
        }
    }

    /// An entry's policy, or else the service's own.
    fn allocation(&self, of_entry: Option<&AllocationPolicy>) -> AllocationPolicy {
        match of_entry {
            Some(policy) => policy.clone(),
            None => self.resource().allocation.clone(),
        }
    }

    /// The linked hubs that an entry allows: those it lists, the one it names, or all.
    fn candidates(&self, listed: Option<&[HubHostName]>, one: Option<&Value>) -> Vec<Candidate> {
        let resource = self.resource();
        let one = one
            .and_then(Value::as_str)
            .and_then(|name| name.parse().ok());
        let named: Vec<HubHostName> = match (listed, one) {
            (Some(listed), _) if !listed.is_empty() => listed.to_vec(),
            (_, Some(one)) => vec![one],
            _ => return resource.candidates(),
        };
        named
            .iter()
            .filter_map(|hub| resource.hub(hub))
            .map(LinkedHub::candidate)
            .collect()
    }
}
