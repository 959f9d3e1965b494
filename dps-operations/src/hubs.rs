//! The hubs of one DPS instance, and the device identities on them.
//!
//! A hub is opened once. One that cannot be read is asked once: whoever shuts out ten thousand devices
//! does not wait ten thousand times for a hub that is away. What is not seen is told by device, so that
//! DPS is done first and the hub when it can be reached again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use futures::TryStreamExt as _;
use pki_core::hub::HubDevice;
use pki_core::ids::{DeviceId, DpsName, HubHostName, RegistrationId};
use pki_core::lifecycle::HubIdentity;
use serde::Serialize;

use crate::dps::{Dps, DpsError};

/// Up to so many devices, each is asked for; beyond, the registry is read page by page.
const FEW: usize = 20;

/// The hubs of an instance; one that cannot be read is not asked again.
pub struct Hubs<'a> {
    dps: &'a dyn Dps,
    unread: Mutex<BTreeMap<HubHostName, String>>,
}

/// A device whose hub cannot be read, so that its identity there is as it was.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnreadHub {
    /// The device.
    pub registration_id: RegistrationId,
    /// The hub, and why it cannot be read.
    pub hub: String,
}

impl UnreadHub {
    /// The same, told beside those of other instances.
    pub(crate) fn within(self, dps: &DpsName) -> Self {
        let hub = format!("DPS {dps}: {}", self.hub);
        Self { hub, ..self }
    }
}

impl fmt::Display for UnreadHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.registration_id, self.hub)
    }
}

impl<'a> Hubs<'a> {
    /// None is asked yet.
    pub fn of(dps: &'a dyn Dps) -> Self {
        Self {
            dps,
            unread: Mutex::default(),
        }
    }

    /// The identity of a device on a hub.
    ///
    /// # Errors
    /// In words: the hub's name, and why it cannot be read.
    pub async fn find(
        &self,
        hub: &HubHostName,
        id: &DeviceId,
    ) -> Result<Option<HubIdentity>, String> {
        self.check(hub)?;
        let found = self
            .dps
            .identity(hub, id)
            .await
            .map_err(|error| self.failed(hub, error))?;
        Ok(found.map(|device| HubIdentity {
            hub: hub.clone(),
            device,
        }))
    }

    /// The identities of some devices, on whichever of these hubs they are, and what of the hubs cannot be
    /// read.
    pub async fn find_all(
        &self,
        hubs: &[HubHostName],
        ids: &BTreeSet<RegistrationId>,
    ) -> (Vec<HubIdentity>, Vec<String>) {
        let mut found = Vec::new();
        let mut unread = Vec::new();
        for hub in hubs {
            let here = match ids.len() {
                0 => return (found, unread),
                1..=FEW => self.each(hub, ids).await,
                _ => self.scan(hub, ids).await,
            };
            match here {
                Ok(here) => found.extend(here),
                Err(error) => unread.push(error),
            }
        }
        (found, unread)
    }

    async fn each(
        &self,
        hub: &HubHostName,
        ids: &BTreeSet<RegistrationId>,
    ) -> Result<Vec<HubIdentity>, String> {
        let mut found = Vec::new();
        for id in ids {
            found.extend(self.find(hub, &DeviceId::from(id)).await?);
        }
        Ok(found)
    }

    async fn scan(
        &self,
        hub: &HubHostName,
        ids: &BTreeSet<RegistrationId>,
    ) -> Result<Vec<HubIdentity>, String> {
        self.check(hub)?;
        let mut pages = self.dps.list_hub_devices(hub);
        let mut found = Vec::new();
        loop {
            let next = pages.try_next().await;
            let Some(device) = next.map_err(|error| self.failed(hub, error))? else {
                return Ok(found);
            };
            if registration_id(&device).is_some_and(|id| ids.contains(&id)) {
                let hub = hub.clone();
                found.push(HubIdentity { hub, device });
            }
        }
    }

    fn check(&self, hub: &HubHostName) -> Result<(), String> {
        let unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        unread.get(hub).cloned().map_or(Ok(()), Err)
    }

    /// What of one request failed is not asked again, if it is the hub's fault.
    fn failed(&self, hub: &HubHostName, error: DpsError) -> String {
        let is_of_one_record = matches!(error.status(), Some(400 | 404 | 409 | 412));
        let text = format!("{hub} ({})", error.cause());
        if !is_of_one_record {
            let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
            unread.insert(hub.clone(), text.clone());
        }
        text
    }
}

/// The device that an identity is of, where the entry gave it no other name.
pub fn registration_id(device: &HubDevice) -> Option<RegistrationId> {
    device.device_id.as_str().parse().ok()
}
