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
pub(crate) mod connection;
pub(crate) mod enrollment;
pub(crate) mod identity;
pub(crate) mod method;
pub(crate) mod module;
pub(crate) mod paths;
pub(crate) mod registration;
pub(crate) mod reprovision;
pub(crate) mod twin;
pub(crate) mod webhook;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use pki_core::ids::{HubHostName, IdScope};
use pki_core::ports::{Clock, Entropy};
use pki_core::time::{Span, Time};
use secrecy::SecretString;

use crate::behavior::{Behavior, Quotas};
use crate::choices::Choices;
use crate::error::ServiceError;
use crate::faults::Faults;
use crate::log::RequestLog;
use crate::random::Random;
use crate::store::resource::Resource;
use crate::store::{Progress, StateError, Store};
use connection::Connections;
use paths::ChainMemory;
use webhook::Webhooks;

/// One running instance.
pub(crate) struct Dps {
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// The devices that are connected to hubs.
    pub(crate) connections: Connections,
    /// The chains of devices that were judged.
    pub(crate) chains: ChainMemory,
    store: Mutex<Store>,
    /// How much of what changed is kept.
    pub(crate) progress: Progress,
    resource: RwLock<Arc<Resource>>,
    pub(crate) faults: Faults,
    pub(crate) log: RequestLog,
    webhooks: Arc<dyn Webhooks>,
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
    /// Every name under which this instance answers, without ports.
    pub(crate) host_names: Vec<String>,
    /// Opens the control endpoint.
    pub(crate) control_token: SecretString,
}

impl Dps {
    pub(crate) fn new(
        settings: Settings,
        resource: Resource,
        behavior: Behavior,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        store: Store,
        webhooks: Arc<dyn Webhooks>,
    ) -> Self {
        Self {
            settings,
            clock,
            entropy,
            connections: Connections::default(),
            chains: ChainMemory::default(),
            progress: store.progress(),
            store: Mutex::new(store),
            resource: RwLock::new(Arc::new(resource)),
            faults: Faults::new(behavior),
            log: RequestLog::default(),
            webhooks,
        }
    }

    /// The instance's time: that of its clock, moved by what the behavior says.
    pub(crate) fn now(&self) -> Time {
        let offset = self.faults.behavior().clock_offset_seconds;
        let span = Span::from_seconds(offset.unsigned_abs());
        if offset < 0 {
            self.clock.now() - span
        } else {
            self.clock.now() + span
        }
    }

    pub(crate) fn choices(&self) -> Choices {
        self.faults.behavior().choices
    }

    /// Refuses one more of what there may be no more of.
    pub(crate) fn check_quota(
        &self,
        what: &'static str,
        present: usize,
        most: impl FnOnce(&Quotas) -> usize,
    ) -> Result<(), ServiceError> {
        match self.faults.behavior().quotas.as_ref().map(most) {
            Some(most) if present >= most => Err(ServiceError::QuotaExceeded { what, most }),
            _ => Ok(()),
        }
    }

    pub(crate) fn random(&self) -> Random<'_> {
        Random(self.entropy.as_ref())
    }

    /// The store, locked, to be read. A panic elsewhere leaves it usable: writes are whole or not made.
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the store, and hands over what changed to be kept. Nobody is to be told of it before
    /// [`Self::kept_since`] says that it is: the next process might not know it.
    pub(crate) fn change<T>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        let mut store = self.store();
        let done = work(&mut store);
        store.commit()?;
        done
    }

    /// Waits until everything that changed by now is kept. What was tried before a request began is no
    /// concern of it: it may have seen or made what came later, and fails if that is not kept.
    pub(crate) async fn kept_since(&self, tried: u64) -> Result<(), ServiceError> {
        let kept = self.progress.kept_since(tried).await;
        kept.map_err(|error| ServiceError::Server(error.to_string()))
    }

    /// What the service is at this moment: its policies and linked hubs.
    pub(crate) fn resource(&self) -> Arc<Resource> {
        let resource = self.resource.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&resource)
    }

    /// Makes the service another one, as far as its resource says what it is.
    pub(crate) fn put_resource(&self, resource: Resource) -> Result<Arc<Resource>, ServiceError> {
        let resource = Arc::new(resource);
        self.change(|store| Ok(store.put_resource(&resource)?))?;
        let mut present = self
            .resource
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *present = Arc::clone(&resource);
        Ok(resource)
    }

    /// Whether this is the host name of a linked hub.
    pub(crate) fn names_hub(&self, host: &str) -> bool {
        let resource = self.resource();
        resource
            .hubs
            .iter()
            .any(|hub| hub.host_name.as_str().eq_ignore_ascii_case(host))
    }

    pub(crate) fn is_linked(&self, hub: &HubHostName) -> bool {
        self.resource().hub(hub).is_some()
    }
}

impl From<StateError> for ServiceError {
    fn from(error: StateError) -> Self {
        tracing::error!(%error, "the state was not kept");
        Self::Server(error.to_string())
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
