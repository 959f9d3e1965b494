//! Device identities: show, list, put, disable, enable, delete.

use futures::stream::{StreamExt as _, TryStreamExt as _};
use http::{HeaderName, Method};
use pki_core::hub::{HubAuthentication, HubDevice, HubDeviceStatus, Thumbprints};
use pki_core::ids::{DeviceId, Etag};
use serde::Deserialize;
use serde_json::json;

use crate::error::{ClientError, found};
use crate::expect::{Expect, IfMatch, TagForm};
use crate::page::{Records, records};
use crate::plane::{Operation, Plane};

const MAX_ITEM_COUNT: HeaderName = HeaderName::from_static("x-ms-max-item-count");

/// What a query tells of a device: its twin, with the parts of its identity that are copied there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Twin {
    device_id: DeviceId,
    #[serde(default)]
    status: HubDeviceStatus,
    #[serde(default)]
    device_etag: Option<Etag>,
    #[serde(default)]
    authentication_type: Option<String>,
    #[serde(default)]
    x509_thumbprint: Option<Thumbprints>,
}

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

    /// All devices, `page_size` at a time, with what their twins tell of them: status, tag, and the
    /// thumbprints of what they show. Reading a whole registry one by one takes days at a hub's rate.
    pub fn list(&self, page_size: u32) -> Records<HubDevice> {
        let query = json!({"query": "SELECT * FROM devices"});
        let operation = Operation::read_by_post(&["devices", "query"])
            .value(&query)
            .header(MAX_ITEM_COUNT, page_size.to_string());
        let twins = records::<Twin>(self.plane.clone(), operation);
        twins.map_ok(HubDevice::from).boxed()
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

impl From<Twin> for HubDevice {
    fn from(twin: Twin) -> Self {
        Self {
            device_id: twin.device_id,
            status: twin.status,
            status_reason: None,
            authentication: Some(HubAuthentication {
                kind: twin.authentication_type,
                symmetric_key: None,
                x509_thumbprint: twin.x509_thumbprint,
                other: serde_json::Map::new(),
            }),
            // A query shows it bare; a write sends what a read of the identity would have told.
            etag: twin.device_etag,
            other: serde_json::Map::new(),
        }
    }
}
