//! What the engine asks for, from what one command may touch.

use dps_operations::PortError;
use dps_operations::ports::{Keys, Locks, PlanLock, Proving};
use pki_core::ids::PlanId;
use pki_core::inventory::{InventoryError, KeyReference};
use pki_core::key::Signer;

use crate::authority_key::AuthorityKeys;
use crate::context::Context;
use crate::files::Lock;
use crate::locks;

impl Keys for AuthorityKeys {
    fn open(&self, key: &KeyReference) -> Result<Box<dyn Signer>, PortError> {
        Ok(Self::open(self, key)?)
    }
}

impl Locks for Context {
    fn plan(&self, plan: PlanId) -> Result<Option<Box<dyn PlanLock>>, PortError> {
        let lock = self.files.lock(&self.home.layout.plan_lock(plan))?;
        Ok(lock.map(|lock| -> Box<dyn PlanLock> { Box::new(lock) }))
    }

    fn is_held(&self, plan: PlanId) -> bool {
        let path = self.home.layout.plan_lock(plan);
        self.files.exists(&path) && matches!(self.files.lock(&path), Ok(None))
    }

    fn prove(
        &self,
        alone: &mut dyn FnMut() -> Result<(), InventoryError>,
    ) -> Result<Box<dyn Proving>, PortError> {
        Ok(Box::new(locks::prove(&self.home, alone)?))
    }
}

impl PlanLock for Lock {
    fn remove(self: Box<Self>) {
        Self::remove(*self);
    }
}

impl Proving for locks::Proving {}
