//! Device identities: show, put, disable, enable, delete.

use http::Method;
use pki_core::hub::{HubDevice, HubDeviceStatus};
use pki_core::ids::DeviceId;

use crate::error::{ClientError, found};
use crate::expect::{Expect, IfMatch, TagForm};
use crate::plane::{Operation, Plane};

/// The device identities of one hub.
#[derive(Debug, Clone)]
pub struct Devices {
    plane: Plane,
}

impl Devices {
    /// The identities of the hub behind this plane.
    pub fn new(plane: Plane) -> Self {
        Self { plane }
    }

    /// The device of this ID, which is case-sensitive here.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_not_found`] if there is none.
    pub async fn get(&self, id: &DeviceId) -> Result<HubDevice, ClientError> {
        self.plane
            .send(Operation::get(&["devices", id.as_str()]))
            .await?
            .json()
    }

    /// The device of this ID, or `None`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn find(&self, id: &DeviceId) -> Result<Option<HubDevice>, ClientError> {
        found(self.get(id).await)
    }

    /// Makes or replaces the device, as a whole.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_conflict`] if one was there that was expected to be absent,
    /// [`ClientError::is_precondition_failed`] if it was not as expected.
    pub async fn put(&self, device: &HubDevice, expect: &Expect) -> Result<HubDevice, ClientError> {
        let operation = Operation::write(Method::PUT, &["devices", device.device_id.as_str()])
            .if_match(expect.header(TagForm::Quoted))
            .json(device)?;
        self.plane.send(operation).await?.json()
    }

    /// Sets the device's status and says why. The registry knows no partial update, so this reads the
    /// device and puts it back if nobody changed it in between; one that is as wished is left alone.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_not_found`] if there is no such device,
    /// [`ClientError::is_precondition_failed`] if it changed in between.
    pub async fn set_status(
        &self,
        id: &DeviceId,
        status: HubDeviceStatus,
        reason: Option<&str>,
    ) -> Result<HubDevice, ClientError> {
        let device = self.get(id).await?;
        if device.status == status && device.status_reason.as_deref() == reason {
            return Ok(device);
        }
        let Some(etag) = device.etag.clone() else {
            let operation = format!("GET /devices/{id}");
            return Err(ClientError::Incomplete {
                operation,
                what: "etag",
            });
        };
        let changed = HubDevice {
            status,
            status_reason: reason.map(str::to_owned),
            ..device
        };
        self.put(&changed, &Expect::Etag(etag)).await
    }

    /// Deletes the device.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_not_found`] if there is none,
    /// [`ClientError::is_precondition_failed`] if it was not as expected.
    pub async fn delete(&self, id: &DeviceId, expect: &IfMatch) -> Result<(), ClientError> {
        let if_match = Expect::from(expect.clone()).header(TagForm::Quoted);
        let operation = Operation::write(Method::DELETE, &["devices", id.as_str()]);
        self.plane.send(operation.if_match(if_match)).await?;
        Ok(())
    }
}
