//! Who asks a hub: its service policy or a bearer token, or one of its devices.

use pki_core::ids::{DeviceId, HubHostName};

use super::super::Request;
use super::super::service::accepts_bearer;
use super::REFUSED;
use crate::domain::Dps;
use crate::domain::admission::Credential;
use crate::error::ServiceError;
use crate::store::resource::{LinkedHub, Resource};

/// A hub, and who asks it.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) hub: HubHostName,
    pub(super) caller: Caller,
}

/// Somebody who was let in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// The service API: everything may be asked for.
    Service,
    /// A device: what is its own.
    Device(DeviceId),
}

impl Access {
    /// Decides about a request.
    pub(crate) fn of(dps: &Dps, request: &Request) -> Result<Self, ServiceError> {
        match service_hub(dps, request)? {
            Some(hub) => Ok(Self {
                hub,
                caller: Caller::Service,
            }),
            None => of_device(dps, request),
        }
    }

    /// The hub, if the service API asks.
    pub(crate) fn for_service(self) -> Result<HubHostName, ServiceError> {
        match self.caller {
            Caller::Service => Ok(self.hub),
            Caller::Device(_) => Err(REFUSED),
        }
    }

    /// Refuses a device that asks for what is another's.
    pub(super) fn check_device(&self, id: &DeviceId) -> Result<(), ServiceError> {
        match &self.caller {
            Caller::Device(own) if own != id => Err(REFUSED),
            _ => Ok(()),
        }
    }
}

/// The hub that the service API is asked of, or `None` if it is not the service that asks.
fn service_hub(dps: &Dps, request: &Request) -> Result<Option<HubHostName>, ServiceError> {
    let host = request.host().unwrap_or_default();
    let resource = dps.resource();
    let hubs = resource.hubs.as_slice();
    let named = hubs
        .iter()
        .find(|hub| hub.host_name.as_str().eq_ignore_ascii_case(host));
    if let Some(bearer) = request.bearer() {
        return match (named, hubs) {
            _ if !accepts_bearer(dps, bearer) => Err(REFUSED),
            (Some(hub), _) | (None, [hub]) => Ok(Some(hub.host_name.clone())),
            (None, _) => Err(ServiceError::ArgumentInvalid(
                "Several hubs are linked: name one in the Host header".to_owned(),
            )),
        };
    }
    let signed = hubs
        .iter()
        .filter(|hub| named.is_none_or(|named| named.host_name == hub.host_name))
        .find(|hub| is_signed_for(dps, &resource, request, hub));
    Ok(signed.map(|hub| hub.host_name.clone()))
}

/// Whether a token is for this hub, and signed with its key.
fn is_signed_for(dps: &Dps, resource: &Resource, request: &Request, hub: &LinkedHub) -> bool {
    let hosts = dps.names_of(resource, hub);
    request
        .signing_policy([&hub.policy], &hosts, dps.now())
        .is_some()
}

/// A device by its own certificate or token: the one that the path names, or else the one of the
/// certificate's common name.
fn of_device(dps: &Dps, request: &Request) -> Result<Access, ServiceError> {
    let credential = request.credential().ok_or(REFUSED)?;
    // An IPv6 address has brackets in a URL and none among this server's names.
    let host = request
        .host()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let admitted = candidates(request, credential)
        .into_iter()
        .find_map(|id| dps.admit_to_hub(host, &id, credential).ok())
        .ok_or(REFUSED)?;
    Ok(Access {
        hub: admitted.key.hub,
        caller: Caller::Device(admitted.key.id),
    })
}

fn candidates(request: &Request, credential: Credential<'_>) -> Vec<DeviceId> {
    let in_path = match request.segments() {
        [first, id, ..]
            if first.eq_ignore_ascii_case("devices") || first.eq_ignore_ascii_case("twins") =>
        {
            Some(id.clone())
        }
        _ => None,
    };
    let of_leaf = match credential {
        Credential::Chain([leaf, ..]) => leaf.common_name(),
        _ => None,
    };
    let names = in_path.into_iter().chain(of_leaf);
    names.filter_map(|name| name.parse().ok()).collect()
}
