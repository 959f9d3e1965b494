//! A device at its hub: telemetry, its twin, its methods, and an end when its identity does not allow it any more.
//!
//! Messages are counted and thrown away. What a device may publish and subscribe is what IoT Hub
//! documents for MQTT; anything else ends the connection, as there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mqtt_proto::v3::LastWill;
use pki_core::certificate::Certificate;
use pki_core::ids::DeviceId;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::session::{Ending, Message};
use super::user::raw_parameter;
use crate::domain::Dps;
use crate::domain::admission::Credential;
use crate::domain::connection::{Admitted, Event, MethodCall, MethodResult};
use crate::error::{Occasion, ServiceError};

const TWIN_GET: &str = "$iothub/twin/GET/";
const TWIN_PATCH: &str = "$iothub/twin/PATCH/properties/reported/";
const DESIRED: &str = "$iothub/twin/PATCH/properties/desired/";
const METHOD_CALL: &str = "$iothub/methods/POST/";
const METHOD_RESULT: &str = "$iothub/methods/res/";
/// How many calls may wait for one device.
const CALLS_MOST: usize = 64;
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
    /// Calls that the device has not answered, by the number that it was told.
    calls: HashMap<u64, oneshot::Sender<MethodResult>>,
    last_call: u64,
    has_will: bool,
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
        will: Option<&LastWill>,
    ) -> Result<Self, ServiceError> {
        // A hub takes telemetry as a last will and nothing else. Judged first: whoever is let in ends the
        // connection that the device had.
        if will.is_some_and(|will| !is_telemetry(id, &will.topic_name)) {
            return Err(UNAUTHORIZED);
        }
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
            calls: HashMap::new(),
            last_call: 0,
            has_will: will.is_some(),
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
    pub(super) async fn told(&mut self, event: Option<Event>) -> Result<Option<Message>, Ending> {
        match event {
            Some(Event::IdentityChanged) if self.dps.may_stay(&self.admitted) => Ok(None),
            Some(Event::IdentityChanged) | None => Err(Ending::Dismissed),
            // Whoever wrote it was told that it is not kept, and so it is as if it were not written.
            Some(Event::Desired(_)) if self.dps.kept_since(0).await.is_err() => Ok(None),
            Some(Event::Desired(patch)) => Ok(Some(Message {
                topic: format!("{DESIRED}?$version={}", patch["$version"]),
                payload: patch.to_string().into(),
            })),
            Some(Event::Method(call)) => Ok(self.call(call)),
        }
    }

    /// Notes that the device has not subscribed to what it was last told.
    pub(super) fn unheard(&mut self, message: &Message) {
        if message.topic.starts_with(METHOD_CALL) {
            self.calls.remove(&self.last_call);
        }
    }

    fn call(&mut self, call: MethodCall) -> Option<Message> {
        self.calls.retain(|_, reply| !reply.is_closed());
        if self.calls.len() >= CALLS_MOST {
            return None;
        }
        self.last_call += 1;
        self.calls.insert(self.last_call, call.reply);
        Some(Message {
            topic: format!("{METHOD_CALL}{}/?$rid={}", call.name, self.last_call),
            payload: call.payload.to_string().into(),
        })
    }

    /// Hands on what the device answered to a call. Nobody may wait for it any more.
    fn answered(&mut self, result: &str, payload: &[u8]) -> Option<()> {
        let (status, parameters) = result.split_once('/')?;
        let call = raw_parameter(parameters, "$rid")?.parse().ok()?;
        let result = MethodResult {
            status: status.parse().ok()?,
            payload: match payload {
                [] => Value::Null,
                octets => serde_json::from_slice(octets).ok()?,
            },
        };
        if let Some(reply) = self.calls.remove(&call) {
            // An error means that the caller has gone.
            let _ = reply.send(result);
        }
        Some(())
    }

    /// Answers what the device published.
    pub(super) async fn published(
        &mut self,
        topic: &str,
        payload: &Bytes,
    ) -> Result<Option<Message>, Ending> {
        let unknown = Ending::NotAllowed("the hub has no such topic");
        if is_telemetry(&self.admitted.key.id, topic) {
            let now = self.dps.now();
            self.dps.connections.count_message(&self.admitted.key, now);
            return Ok(None);
        }
        if let Some(parameters) = topic.strip_prefix(TWIN_GET) {
            let request_id = raw_parameter(parameters, "$rid").ok_or(unknown)?;
            return Ok(Some(self.twin(request_id).await));
        }
        if let Some(parameters) = topic.strip_prefix(TWIN_PATCH) {
            let request_id = raw_parameter(parameters, "$rid").ok_or(unknown)?;
            return Ok(Some(self.report(request_id, payload).await));
        }
        if let Some(result) = topic.strip_prefix(METHOD_RESULT) {
            return self.answered(result, payload).map(|()| None).ok_or(unknown);
        }
        Err(unknown)
    }

    async fn twin(&self, request_id: &str) -> Message {
        let key = &self.admitted.key;
        let tried = self.dps.progress.tried();
        let twin = self.dps.twin_of(&key.hub, &key.id);
        match self.dps.kept_since(tried).await.and(twin) {
            Ok(twin) => Message {
                topic: format!("$iothub/twin/res/200/?$rid={request_id}"),
                payload: twin.to_string().into(),
            },
            Err(error) => self.refusal(&error, request_id),
        }
    }

    async fn report(&self, request_id: &str, payload: &[u8]) -> Message {
        let key = &self.admitted.key;
        let tried = self.dps.progress.tried();
        let version = serde_json::from_slice::<Value>(payload)
            .map_err(|error| ServiceError::MalformedBody(error.to_string()))
            .and_then(|patch| self.dps.report(&key.hub, &key.id, &patch));
        match self.dps.kept_since(tried).await.and(version) {
            Ok(version) => Message {
                topic: format!("$iothub/twin/res/204/?$rid={request_id}&$version={version}"),
                payload: Bytes::new(),
            },
            Err(error) => self.refusal(&error, request_id),
        }
    }

    /// An error as the service was recorded to send it to devices.
    fn refusal(&self, error: &ServiceError, request_id: &str) -> Message {
        let status = error.status().as_u16();
        let occasion = Occasion {
            tracking_id: self.dps.random().uuid().unwrap_or_default().to_string(),
            timestamp: self.dps.now().to_string(),
        };
        Message {
            topic: format!("$iothub/twin/res/{status}/?$rid={request_id}"),
            payload: error.device_body(&occasion).to_string().into(),
        }
    }

    /// Publishes the last will of a device that went without DISCONNECT, as telemetry.
    pub(super) fn publish_will(&self) {
        if self.has_will && self.dps.may_stay(&self.admitted) {
            let now = self.dps.now();
            self.dps.connections.count_message(&self.admitted.key, now);
        }
    }
}

/// Whether a topic is a device's own telemetry.
fn is_telemetry(id: &DeviceId, topic: &str) -> bool {
    let own = format!("devices/{id}/messages/events/");
    topic.starts_with(&own) || format!("{topic}/") == own
}

impl Drop for HubLink {
    fn drop(&mut self) {
        let key = &self.admitted.key;
        self.dps.connections.leave(key, self.number, self.dps.now());
        tracing::info!(device_id = %key.id, hub = %key.hub, "disconnected");
    }
}
