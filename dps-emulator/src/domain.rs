//! One instance of DPS with its linked hubs: what it is, and what it does when asked.
//!
//! Transport-free: the HTTP planes are callers of the functions here, as another transport would be.
//! Whether an X.509 device is let in is decided by [`pki_core::admission`] and nowhere else; here is
//! what follows from it.
//! Invariant: every change happens under one lock, whole or not at all.

pub(crate) mod admission;
pub(crate) mod allocation;
pub(crate) mod attestation;
pub(crate) mod authority;
pub(crate) mod enrollment;
pub(crate) mod identity;
pub(crate) mod possession;
pub(crate) mod registration;
pub(crate) mod reprovision;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pki_core::ids::{HubHostName, IdScope};
use pki_core::ports::{Clock, Entropy};
use pki_core::time::Time;
use secrecy::SecretString;

use crate::choices::Choices;
use crate::policy::Policy;
use crate::random::Random;
use crate::store::Store;

/// One running instance.
pub(crate) struct Dps {
    pub(crate) settings: Settings,
    /// The policies of the service plane.
    pub(crate) policies: Vec<Policy>,
    /// The linked hubs, in the order of the configuration.
    pub(crate) hubs: Vec<LinkedHub>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    store: Mutex<Store>,
}

/// What does not change while an instance runs.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) id_scope: IdScope,
    pub(crate) subscription: String,
    pub(crate) resource_group: String,
    pub(crate) bearer_token: Option<SecretString>,
    pub(crate) assigning_rounds: u32,
    pub(crate) retry_after_seconds: u32,
    pub(crate) choices: Choices,
    /// Every name under which this instance answers, without ports.
    pub(crate) host_names: Vec<String>,
}

/// A linked hub.
pub(crate) struct LinkedHub {
    pub(crate) host_name: HubHostName,
    pub(crate) policy: Policy,
}

impl Dps {
    pub(crate) fn new(
        settings: Settings,
        policies: Vec<Policy>,
        hubs: Vec<LinkedHub>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        store: Store,
    ) -> Self {
        Self {
            settings,
            policies,
            hubs,
            clock,
            entropy,
            store: Mutex::new(store),
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    pub(crate) fn random(&self) -> Random<'_> {
        Random(self.entropy.as_ref())
    }

    /// The store, locked. A panic elsewhere leaves it usable: writes are whole or not made.
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_linked(&self, hub: &HubHostName) -> bool {
        self.hubs.iter().any(|linked| linked.host_name == *hub)
    }
}

impl Settings {
    /// The host name of the service plane in Azure's style.
    pub(crate) fn service_host_name(&self) -> String {
        service_host_name(&self.name)
    }

    /// The path of the service's resource in ARM.
    pub(crate) fn resource_id(&self) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Devices/provisioningServices/{}",
            self.subscription, self.resource_group, self.name
        )
    }
}

/// The host name of the service plane of a DPS of this name.
pub(crate) fn service_host_name(name: &str) -> String {
    format!("{name}.azure-devices-provisioning.net")
}
