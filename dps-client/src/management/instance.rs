//! The DPS instance itself: where it is, what is linked to it, and its keys.

use pki_core::enrollment::SymmetricKey;
use pki_core::ids::{Etag, IdScope};
use serde::Deserialize;
use url::Url;

use super::InstanceId;
use crate::error::ClientError;
use crate::plane::{Operation, Plane};

/// One DPS instance.
#[derive(Debug, Clone)]
pub struct Instance {
    plane: Plane,
    id: InstanceId,
}

/// What ARM tells of a DPS instance. It is read only: linked hubs come without their keys, and
/// writing them back would cut the links.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct ProvisioningService {
    /// The instance's name.
    pub name: String,
    /// The Azure region.
    #[serde(default)]
    pub location: Option<String>,
    /// What the resource was when it was read.
    #[serde(default)]
    pub etag: Option<Etag>,
    /// What it is.
    pub properties: ProvisioningServiceProperties,
}

/// The properties of a DPS instance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ProvisioningServiceProperties {
    /// What devices name the instance by.
    pub id_scope: IdScope,
    /// The host of the service plane.
    #[serde(default)]
    pub service_operations_host_name: Option<String>,
    /// The host of the device plane.
    #[serde(default)]
    pub device_provisioning_host_name: Option<String>,
    /// `Active` when all is well.
    #[serde(default)]
    pub state: Option<String>,
    /// How hubs are chosen unless an entry says otherwise: `Hashed`, `GeoLatency` or `Static`.
    #[serde(default)]
    pub allocation_policy: Option<String>,
    /// The linked hubs.
    #[serde(default, deserialize_with = "crate::nullable::list")]
    pub iot_hubs: Vec<LinkedHub>,
}

/// A hub that devices can be assigned to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LinkedHub {
    /// Its host name.
    #[serde(default)]
    pub name: Option<String>,
    /// The Azure region.
    #[serde(default)]
    pub location: Option<String>,
    /// Whether the allocation policy considers it.
    #[serde(default)]
    pub apply_allocation_policy: Option<bool>,
    /// Its share under the policy.
    #[serde(default)]
    pub allocation_weight: Option<i64>,
}

/// A shared access policy of a DPS instance, with its keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SharedAccessPolicy {
    /// The policy's name.
    pub key_name: String,
    /// One of two keys, equally good.
    #[serde(default)]
    pub primary_key: Option<SymmetricKey>,
    /// The other.
    #[serde(default)]
    pub secondary_key: Option<SymmetricKey>,
    /// What it allows, separated by commas.
    pub rights: String,
}

impl Instance {
    /// This instance.
    pub fn new(plane: Plane, id: InstanceId) -> Self {
        Self { plane, id }
    }

    /// What ARM tells of it.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_not_found`] if there is no such instance.
    pub async fn get(&self) -> Result<ProvisioningService, ClientError> {
        self.plane
            .send(Operation::get(&self.id.path(&[])))
            .await?
            .json()
    }

    /// All its shared access policies, with their keys.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn keys(&self) -> Result<Vec<SharedAccessPolicy>, ClientError> {
        let operation = Operation::read_by_post(&self.id.path(&["listkeys"]));
        let mut answer = self.plane.send(operation).await?;
        let mut policies = Vec::new();
        loop {
            let page: PolicyList = answer.json()?;
            policies.extend(page.value);
            let Some(next) = page.next_link else {
                return Ok(policies);
            };
            answer = self.plane.send_to(next, Operation::get(&[])).await?;
        }
    }

    /// One shared access policy, with its keys.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_not_found`] if there is none of this name.
    pub async fn key(&self, policy: &str) -> Result<SharedAccessPolicy, ClientError> {
        let path = self.id.path(&["keys", policy, "listkeys"]);
        self.plane
            .send(Operation::read_by_post(&path))
            .await?
            .json()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PolicyList {
    value: Vec<SharedAccessPolicy>,
    #[serde(default)]
    next_link: Option<Url>,
}
