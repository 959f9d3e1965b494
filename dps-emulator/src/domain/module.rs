//! Modules of a device: identities below it, as IoT Edge makes them.
//!
//! They live and die with their device and share its status. What they would do at the hub themselves
//! is not emulated.

use pki_core::hub::HubAuthentication;
use pki_core::ids::{DeviceId, HubHostName};

use super::Dps;
use crate::error::ServiceError;
use crate::store::hub::Module;
use crate::store::{IfMatch, Precondition};

/// The most modules of one device, as in IoT Hub.
const MODULES_MOST: usize = 50;

/// What is written of a module.
#[derive(Debug)]
pub(crate) struct ModuleWrite {
    pub(crate) managed_by: Option<String>,
    pub(crate) authentication: Option<HubAuthentication>,
}

impl Dps {
    /// The modules of a device by name.
    pub(crate) fn modules(
        &self,
        hub: &HubHostName,
        device: &DeviceId,
    ) -> Result<Vec<(DeviceId, Module)>, ServiceError> {
        let modules = self.device(hub, device)?.value.modules;
        Ok(modules.into_iter().collect())
    }

    pub(crate) fn module(
        &self,
        hub: &HubHostName,
        device: &DeviceId,
        name: &DeviceId,
    ) -> Result<Module, ServiceError> {
        let mut modules = self.device(hub, device)?.value.modules;
        modules.remove(name).ok_or_else(|| missing(device, name))
    }

    /// Makes a module, or writes one anew; its generation stays.
    pub(crate) fn put_module(
        &self,
        hub: &HubHostName,
        device: &DeviceId,
        name: &DeviceId,
        write: ModuleWrite,
        precondition: &Precondition,
    ) -> Result<Module, ServiceError> {
        let mut authentication = write.authentication;
        self.complete_authentication(&mut authentication)?;
        let generation_id = self.random().generation_id()?;
        self.change(|store| {
            let (registry, mint) = store.registry_and_mint(hub);
            let present = registry
                .get(device)
                .ok_or_else(|| ServiceError::DeviceNotFound(device.to_string()))?;
            let modules = &present.value.modules;
            check(modules.get(name), precondition, device, name)?;
            if precondition == &Precondition::Absent && modules.len() >= MODULES_MOST {
                return Err(ServiceError::TooManyModules(device.to_string()));
            }
            let before = modules.get(name).map(|module| module.generation_id.clone());
            let module = Module {
                managed_by: write.managed_by,
                authentication,
                etag: mint.device(),
                generation_id: before.unwrap_or(generation_id),
            };
            if let Some(device) = registry.device_mut(device) {
                device.modules.insert(name.clone(), module.clone());
            }
            Ok(module)
        })
    }

    pub(crate) fn delete_module(
        &self,
        hub: &HubHostName,
        device: &DeviceId,
        name: &DeviceId,
        if_match: IfMatch,
    ) -> Result<(), ServiceError> {
        let precondition = if_match.replacing();
        self.change(|store| {
            let registry = store.registry(hub);
            let present = registry
                .get(device)
                .ok_or_else(|| ServiceError::DeviceNotFound(device.to_string()))?;
            let module = present.value.modules.get(name);
            check(module, &precondition, device, name)?;
            if let Some(device) = registry.device_mut(device) {
                device.modules.remove(name);
            }
            Ok(())
        })
    }
}

fn check(
    present: Option<&Module>,
    precondition: &Precondition,
    device: &DeviceId,
    name: &DeviceId,
) -> Result<(), ServiceError> {
    match (precondition, present) {
        (Precondition::Absent, None) | (Precondition::Present, Some(_)) => Ok(()),
        (Precondition::Absent, Some(_)) => Err(ServiceError::ModuleAlreadyExists {
            device: device.to_string(),
            module: name.to_string(),
        }),
        (Precondition::Matches(etag), Some(module)) if *etag == module.etag => Ok(()),
        (Precondition::Matches(_), Some(_)) => Err(ServiceError::PreconditionFailed),
        (_, None) => Err(missing(device, name)),
    }
}

fn missing(device: &DeviceId, name: &DeviceId) -> ServiceError {
    ServiceError::ModuleNotFound {
        device: device.to_string(),
        module: name.to_string(),
    }
}
