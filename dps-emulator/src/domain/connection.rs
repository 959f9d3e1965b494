//! Devices at their hubs: who may connect, who is connected, and what reaches them.
//!
//! A device proves itself as the hub's identity registry says: by one of two thumbprints, by a
//! certificate below a CA, or by a token. Enrollments mean nothing here, as in Azure.
//! Invariant: a device has one link at a hub; a new one ends the one before (MQTT 3.1.1 §3.1.4).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pki_core::certificate::Certificate;
use pki_core::hub::{HubAuthentication, HubDeviceStatus};
use pki_core::ids::{DeviceId, HubHostName};
use pki_core::time::Time;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::Dps;
use super::admission::Credential;
use crate::error::ServiceError;
use crate::sas::SasToken;
use crate::store::hub::Device;
use crate::store::resource::{LinkedHub, Resource};

/// How many events wait for a device that is slow to read.
const EVENTS_MOST: usize = 16;

const UNAUTHORIZED: ServiceError = ServiceError::Unauthorized("Unauthorized");

/// A device of a hub.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HubDeviceKey {
    pub(crate) hub: HubHostName,
    pub(crate) id: DeviceId,
}

/// A device that was let in.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) key: HubDeviceKey,
    /// The incarnation of the device ID that was let in.
    pub(crate) generation_id: String,
    /// When its token ends, if it showed one.
    pub(crate) expires: Option<Time>,
}

/// What happens to a connected device.
#[derive(Debug)]
pub(crate) enum Event {
    /// Its identity was written or deleted: it may not be allowed to stay.
    IdentityChanged,
    /// Its desired properties changed by this much; `$version` is among it.
    Desired(Value),
    /// One of its methods is called.
    Method(MethodCall),
}

/// A call of a method of a device.
#[derive(Debug)]
pub(crate) struct MethodCall {
    pub(crate) name: String,
    pub(crate) payload: Value,
    /// Where the result goes; dropped if the device cannot be asked.
    pub(crate) reply: oneshot::Sender<MethodResult>,
}

/// What a device answered to a call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct MethodResult {
    pub(crate) status: i64,
    pub(crate) payload: Value,
}

/// The links of all hubs, and what is known of devices that had one.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    presences: Mutex<HashMap<HubDeviceKey, Presence>>,
}

/// What a hub knows of a device's connections.
#[derive(Debug, Default)]
struct Presence {
    link: Option<mpsc::Sender<Event>>,
    /// Links so far; the number of the last one is its own.
    links: u64,
    report: PresenceReport,
}

/// What the registry shows of a device's connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PresenceReport {
    pub(crate) is_connected: bool,
    /// When it last connected or disconnected.
    pub(crate) changed: Option<Time>,
    pub(crate) last_activity: Option<Time>,
    /// Messages that it sent.
    pub(crate) messages: u64,
}

impl PresenceReport {
    /// The word of the registry.
    pub(crate) fn connection_state(&self) -> &'static str {
        if self.is_connected {
            "Connected"
        } else {
            "Disconnected"
        }
    }
}

impl Dps {
    /// Decides about a device that connects to a hub by this name: the hub's own, or one of this
    /// server, where the hub is the one whose registry lets the device in.
    pub(crate) fn admit_to_hub(
        &self,
        host: &str,
        id: &DeviceId,
        credential: Credential<'_>,
    ) -> Result<Admitted, ServiceError> {
        let resource = self.resource();
        let named = resource
            .hubs
            .iter()
            .find(|hub| hub.host_name.as_str().eq_ignore_ascii_case(host));
        let hubs: Vec<&LinkedHub> = match named {
            Some(hub) => vec![hub],
            None if self.is_own_name(host) => resource.hubs.iter().collect(),
            None => Vec::new(),
        };
        hubs.into_iter()
            .filter_map(|hub| self.admit_to(&resource, hub, id, credential))
            .next()
            .ok_or(UNAUTHORIZED)
    }

    fn is_own_name(&self, host: &str) -> bool {
        self.settings
            .host_names
            .iter()
            .any(|name| name.eq_ignore_ascii_case(host))
    }

    fn admit_to(
        &self,
        resource: &Resource,
        hub: &LinkedHub,
        id: &DeviceId,
        credential: Credential<'_>,
    ) -> Option<Admitted> {
        let (device, trust) = {
            let mut store = self.store();
            let device = store.registry(&hub.host_name).get(id)?.value.clone();
            let judged_by_path = device.authentication_kind() == "certificateAuthority";
            let trust = judged_by_path.then(|| store.trust());
            (device, trust)
        };
        if device.document.status != HubDeviceStatus::Enabled {
            return None;
        }
        let expires = match credential {
            Credential::Token(token) => {
                let token = SasToken::parse(token)?;
                let holds = self.is_token_of(&token, resource, hub, &device);
                holds.then(|| token.expiry()).flatten().map(Some)?
            }
            Credential::Chain(chain) => {
                let (leaf, sent) = chain.split_first()?;
                let authentication = device.document.authentication.as_ref();
                let holds = match device.authentication_kind() {
                    "selfSigned" => has_thumbprint(authentication, leaf),
                    "certificateAuthority" => {
                        let is_named = leaf.common_name().as_deref() == Some(id.as_str());
                        is_named
                            && trust.is_some_and(|trust| {
                                let judged = self.chains.judge(leaf, sent, &trust, self.now());
                                judged.path_failure.is_none()
                            })
                    }
                    _ => false,
                };
                holds.then_some(None)?
            }
        };
        Some(Admitted {
            key: HubDeviceKey {
                hub: hub.host_name.clone(),
                id: id.clone(),
            },
            generation_id: device.generation_id,
            expires,
        })
    }

    /// Whether a token is the device's own, or the hub's for it.
    fn is_token_of(
        &self,
        token: &SasToken<'_>,
        resource: &Resource,
        hub: &LinkedHub,
        device: &Device,
    ) -> bool {
        let names = self.names_of(resource, hub);
        let path = ["devices", device.document.device_id.as_str()].map(str::to_owned);
        let covers = token.covers(names.iter().map(String::as_str), &path);
        if !token.is_live(self.now()) || !covers {
            return false;
        }
        match token.policy() {
            Some(name) if name == hub.policy.name => token.is_signed_by_any(&hub.policy.keys),
            _ if device.authentication_kind() == "sas" => {
                let authentication = device.document.authentication.as_ref();
                let keys = authentication.and_then(|known| known.symmetric_key.as_ref());
                keys.is_some_and(|keys| token.is_signed_by_any(keys))
            }
            _ => false,
        }
    }

    /// The names by which a token may mean a hub: its own, and those of this server that are no other hub's.
    pub(crate) fn names_of(&self, resource: &Resource, hub: &LinkedHub) -> Vec<String> {
        let mut names = self.settings.host_names.clone();
        for linked in &resource.hubs {
            names.retain(|name| !linked.host_name.as_str().eq_ignore_ascii_case(name));
        }
        names.push(hub.host_name.to_string());
        names
    }

    /// Whether a device that was let in may stay.
    pub(crate) fn may_stay(&self, admitted: &Admitted) -> bool {
        let mut store = self.store();
        let record = store.registry(&admitted.key.hub).get(&admitted.key.id);
        record.is_some_and(|record| {
            record.value.document.status == HubDeviceStatus::Enabled
                && record.value.generation_id == admitted.generation_id
        })
    }
}

fn has_thumbprint(authentication: Option<&HubAuthentication>, leaf: &Certificate) -> bool {
    let known = authentication
        .and_then(|known| known.x509_thumbprint.as_ref())
        .map(|pair| [&pair.primary_thumbprint, &pair.secondary_thumbprint]);
    let own = [
        leaf.sha256_thumbprint().to_string(),
        leaf.sha1_thumbprint().to_string(),
    ];
    let mut known = known.into_iter().flatten().flatten();
    known.any(|known| own.iter().any(|own| own.eq_ignore_ascii_case(known)))
}

impl Connections {
    /// Notes a new link and gives its number and its events, which end when the device has another
    /// link or does not keep up. The link before it ends.
    pub(crate) fn enter(&self, key: &HubDeviceKey, now: Time) -> (u64, mpsc::Receiver<Event>) {
        let (events, receiver) = mpsc::channel(EVENTS_MOST);
        let mut presences = self.presences();
        let presence = presences.entry(key.clone()).or_default();
        presence.link = Some(events);
        presence.links += 1;
        presence.report.is_connected = true;
        presence.report.changed = Some(now);
        presence.report.last_activity = Some(now);
        (presence.links, receiver)
    }

    /// Notes that a link ended, unless the device has another one by now.
    pub(crate) fn leave(&self, key: &HubDeviceKey, number: u64, now: Time) {
        let mut presences = self.presences();
        if let Some(presence) = presences.get_mut(key)
            && presence.links == number
        {
            presence.link = None;
            presence.report.is_connected = false;
            presence.report.changed = Some(now);
        }
    }

    /// Counts a message of a device, which need not be connected: over HTTPS nobody is.
    pub(crate) fn count_message(&self, key: &HubDeviceKey, now: Time) {
        let mut presences = self.presences();
        let presence = presences.entry(key.clone()).or_default();
        presence.report.messages += 1;
        presence.report.last_activity = Some(now);
    }

    /// What is known of a device's connections.
    pub(crate) fn report(&self, hub: &HubHostName, id: &DeviceId) -> PresenceReport {
        let key = HubDeviceKey {
            hub: hub.clone(),
            id: id.clone(),
        };
        let presences = self.presences();
        presences
            .get(&key)
            .map_or_else(PresenceReport::default, |presence| presence.report)
    }

    /// Tells a device of an event, if it is connected. One that does not keep up loses its link.
    pub(crate) fn tell(&self, hub: &HubHostName, id: &DeviceId, event: Event) -> bool {
        let key = HubDeviceKey {
            hub: hub.clone(),
            id: id.clone(),
        };
        let mut presences = self.presences();
        let Some(presence) = presences.get_mut(&key) else {
            return false;
        };
        let sent = presence
            .link
            .as_ref()
            .is_some_and(|link| link.try_send(event).is_ok());
        if !sent {
            presence.link = None;
        }
        sent
    }

    /// How many devices are connected to a hub.
    pub(crate) fn count(&self, hub: &HubHostName) -> usize {
        let presences = self.presences();
        presences
            .iter()
            .filter(|(key, _)| key.hub == *hub)
            .filter(|(_, presence)| presence.report.is_connected)
            .count()
    }

    /// What is known of every device that ever connected, by hub and device.
    pub(crate) fn reports(&self) -> BTreeMap<String, BTreeMap<String, PresenceReport>> {
        let mut reports: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (key, presence) in self.presences().iter() {
            let hub = reports.entry(key.hub.to_string()).or_default();
            hub.insert(key.id.to_string(), presence.report);
        }
        reports
    }

    fn presences(&self) -> MutexGuard<'_, HashMap<HubDeviceKey, Presence>> {
        self.presences
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
