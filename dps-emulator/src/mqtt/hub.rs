//! A device at its hub: telemetry, its twin, and an end when its identity does not allow it any more.
//!
//! Messages are counted and thrown away. What a device may publish and subscribe is what IoT Hub
//! documents for MQTT; anything else ends the connection, as there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pki_core::certificate::Certificate;
use pki_core::ids::DeviceId;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::session::{Ending, Message};
use super::user::raw_parameter;
use crate::domain::Dps;
use crate::domain::admission::Credential;
use crate::domain::connection::{Admitted, Event};
use crate::error::ServiceError;

const TWIN_GET: &str = "$iothub/twin/GET/";
const TWIN_PATCH: &str = "$iothub/twin/PATCH/properties/reported/";
/// What every device may subscribe to, besides its own messages.
const FILTERS: [&str; 3] = [
    "$iothub/twin/res/#",
    "$iothub/twin/PATCH/properties/desired/#",
    "$iothub/methods/POST/#",
];

const UNAUTHORIZED: ServiceError = ServiceError::Unauthorized("Unauthorized");

/// A connected device. Dropping it is its disconnection.
pub(super) struct HubLink {
    dps: Arc<Dps>,
    admitted: Admitted,
    number: u64,
    events: mpsc::Receiver<Event>,
    /// When its token ends.
    pub(super) expires: Option<Instant>,
}

impl HubLink {
    /// Lets a device in, or does not.
    pub(super) fn connect(
        dps: &Arc<Dps>,
        host: &str,
        id: &DeviceId,
        password: Option<&str>,
        presented: &[Certificate],
    ) -> Result<Self, ServiceError> {
        let credential = match (password, presented) {
            (Some(token), _) => Credential::Token(token),
            (None, []) => return Err(UNAUTHORIZED),
            (None, chain) => Credential::Chain(chain),
        };
        let admitted = dps.admit_to_hub(host, id, credential)?;
        let (number, events) = dps.connections.enter(&admitted.key, dps.now());
        let expires = admitted.expires.map(|expires| {
            let left = expires.unix_seconds() - dps.now().unix_seconds();
            Instant::now() + Duration::from_secs(u64::try_from(left).unwrap_or_default())
        });
        tracing::info!(device_id = %admitted.key.id, hub = %admitted.key.hub, "connected");
        Ok(Self {
            dps: Arc::clone(dps),
            admitted,
            number,
            events,
            expires,
        })
    }

    pub(super) fn may_subscribe(&self, filter: &str) -> bool {
        let own = format!("devices/{}/messages/devicebound/#", self.admitted.key.id);
        FILTERS.contains(&filter) || filter == own
    }

    /// What happens to the device next; `None` if it has another link.
    pub(super) async fn event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// What an event means to the device.
    pub(super) fn told(&self, event: Option<Event>) -> Result<Option<Message>, Ending> {
        match event {
            Some(Event::IdentityChanged) if self.dps.may_stay(&self.admitted) => Ok(None),
            Some(Event::IdentityChanged) | None => Err(Ending::Dismissed),
        }
    }

    /// Answers what the device published.
    pub(super) fn published(
        &self,
        topic: &str,
        payload: &Bytes,
    ) -> Result<Option<Message>, Ending> {
        let unknown = Ending::NotAllowed("the hub has no such topic");
        let own = format!("devices/{}/messages/events/", self.admitted.key.id);
        if topic.starts_with(&own) || format!("{topic}/") == own {
            let now = self.dps.now();
            self.dps.connections.count_message(&self.admitted.key, now);
            return Ok(None);
        }
        if let Some(parameters) = topic.strip_prefix(TWIN_GET) {
            let request_id = raw_parameter(parameters, "$rid").ok_or(unknown)?;
            return Ok(Some(self.twin(request_id)));
        }
        if let Some(parameters) = topic.strip_prefix(TWIN_PATCH) {
            let request_id = raw_parameter(parameters, "$rid").ok_or(unknown)?;
            return Ok(Some(self.report(request_id, payload)));
        }
        Err(unknown)
    }

    fn twin(&self, request_id: &str) -> Message {
        let key = &self.admitted.key;
        match self.dps.twin_of(&key.hub, &key.id) {
            Ok(twin) => Message {
                topic: format!("$iothub/twin/res/200/?$rid={request_id}"),
                payload: twin.to_string().into(),
            },
            Err(error) => refusal(&error, request_id),
        }
    }

    fn report(&self, request_id: &str, payload: &[u8]) -> Message {
        let key = &self.admitted.key;
        let patch = serde_json::from_slice::<Value>(payload)
            .map_err(|error| ServiceError::MalformedBody(error.to_string()));
        match patch.and_then(|patch| self.dps.report(&key.hub, &key.id, &patch)) {
            Ok(version) => Message {
                topic: format!("$iothub/twin/res/204/?$rid={request_id}&$version={version}"),
                payload: Bytes::new(),
            },
            Err(error) => refusal(&error, request_id),
        }
    }
}

fn refusal(error: &ServiceError, request_id: &str) -> Message {
    let status = error.status().as_u16();
    Message {
        topic: format!("$iothub/twin/res/{status}/?$rid={request_id}"),
        payload: Bytes::new(),
    }
}

impl Drop for HubLink {
    fn drop(&mut self) {
        let key = &self.admitted.key;
        self.dps.connections.leave(key, self.number, self.dps.now());
        tracing::info!(device_id = %key.id, hub = %key.hub, "disconnected");
    }
}
