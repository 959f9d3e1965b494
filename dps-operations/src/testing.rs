//! Stand-ins for the ports of this crate, in memory. For tests only.

mod memory_dps;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pki_core::ids::PlanId;
use pki_core::inventory::{InventoryError, KeyReference};
use pki_core::key::software::SoftwareSigner;
use pki_core::key::{PrivateKey, Signer, read_private_key};

use crate::class::{Class, PortError};
use crate::ports::{Keys, Locks, PlanLock, Proving};

pub use memory_dps::{Calls, Fault, MemoryDps, Smooth};

/// Locks of the runs within one process.
#[derive(Debug, Clone, Default)]
pub struct MemoryLocks(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    plans: BTreeSet<PlanId>,
    proofs: u32,
}

struct MemoryPlanLock {
    locks: MemoryLocks,
    plan: PlanId,
}

struct MemoryProving(MemoryLocks);

impl MemoryLocks {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Locks for MemoryLocks {
    fn plan(&self, plan: PlanId) -> Result<Option<Box<dyn PlanLock>>, PortError> {
        if !self.held().plans.insert(plan) {
            return Ok(None);
        }
        let locks = self.clone();
        Ok(Some(Box::new(MemoryPlanLock { locks, plan })))
    }

    fn is_held(&self, plan: PlanId) -> bool {
        self.held().plans.contains(&plan)
    }

    fn prove(
        &self,
        alone: &mut dyn FnMut() -> Result<(), InventoryError>,
    ) -> Result<Box<dyn Proving>, PortError> {
        let mut held = self.held();
        if held.proofs == 0 {
            alone().map_err(|error| PortError::new(Class::from(&error), error))?;
        }
        held.proofs += 1;
        drop(held);
        Ok(Box::new(MemoryProving(self.clone())))
    }
}

impl PlanLock for MemoryPlanLock {
    fn remove(self: Box<Self>) {}
}

impl Drop for MemoryPlanLock {
    fn drop(&mut self) {
        self.locks.held().plans.remove(&self.plan);
    }
}

impl Proving for MemoryProving {}

impl Drop for MemoryProving {
    fn drop(&mut self) {
        self.0.held().proofs -= 1;
    }
}

/// One key that opens in whatever place it is looked for; or none, as a wrong passphrase has it.
#[derive(Default)]
pub struct OneKey(Option<String>);

impl OneKey {
    /// This key.
    pub fn new(key: &PrivateKey) -> Self {
        Self(Some(key.expose_pkcs8_pem().to_string()))
    }
}

impl Keys for OneKey {
    fn open(&self, key: &KeyReference) -> Result<Box<dyn Signer>, PortError> {
        let refused = || PortError::new(Class::Refused, format!("{} does not open", key.as_str()));
        let pem = self.0.as_ref().ok_or_else(refused)?;
        let key = read_private_key(pem.as_bytes(), None).map_err(|_| refused())?;
        let signer = SoftwareSigner::new(&key).map_err(|_| refused())?;
        Ok(Box::new(signer))
    }
}
