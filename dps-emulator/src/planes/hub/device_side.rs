//! What a hub has for devices over HTTPS: modules for IoT Edge, telemetry, an empty queue of messages.

use http::Method;
use http::header::IF_MATCH;
use pki_core::ids::DeviceId;
use serde_json::{Value, json};

use super::access::Access;
use super::{NEVER, NEVER_IN_A_NEW_DEVICE, complete_authentication, device_id};
use crate::domain::Dps;
use crate::domain::connection::HubDeviceKey;
use crate::domain::module::ModuleWrite;
use crate::error::ServiceError;
use crate::planes::{Answer, Request};
use crate::store::hub::Module;
use crate::store::{IfMatch, Precondition};

/// Answers what is below a device; `None` if there is no such thing.
pub(super) fn answer(
    dps: &Dps,
    request: &Request,
    access: &Access,
    words: &[&str],
) -> Option<Result<Answer, ServiceError>> {
    let answer = match (&request.method, words) {
        (method, ["devices", _, "modules", ..]) => modules(dps, request, access, method),
        (&Method::POST, ["devices", _, "messages", "events"]) => message(dps, request, access),
        (&Method::GET, ["devices", _, "messages", "devicebound"]) => {
            own(request, access).map(|_| Answer::no_content())
        }
        _ => return None,
    };
    Some(answer)
}

/// The device that the path names, if the caller may ask about it.
fn own(request: &Request, access: &Access) -> Result<DeviceId, ServiceError> {
    let id = device_id(request.segments().get(1).map_or("", String::as_str))?;
    access.check_device(&id)?;
    Ok(id)
}

/// A message is counted and thrown away.
fn message(dps: &Dps, request: &Request, access: &Access) -> Result<Answer, ServiceError> {
    let id = own(request, access)?;
    dps.device(&access.hub, &id)?;
    let hub = access.hub.clone();
    dps.connections
        .count_message(&HubDeviceKey { hub, id }, dps.now());
    Ok(Answer::no_content())
}

fn modules(
    dps: &Dps,
    request: &Request,
    access: &Access,
    method: &Method,
) -> Result<Answer, ServiceError> {
    let device = own(request, access)?;
    let hub = &access.hub;
    let Some(name) = request.segments().get(3) else {
        if method != Method::GET {
            return Err(ServiceError::MethodNotAllowed(method.to_string()));
        }
        let modules = dps.modules(hub, &device)?;
        let shown = modules
            .iter()
            .map(|(name, module)| shown(&device, name, module, NEVER));
        return Ok(Answer::ok(Value::Array(shown.collect())));
    };
    if request.segments().len() > 4 {
        return Err(super::not_emulated());
    }
    let name = device_id(name)?;
    match *method {
        Method::GET => {
            let module = dps.module(hub, &device, &name)?;
            Ok(Answer::ok(shown(&device, &name, &module, NEVER)))
        }
        Method::PUT => put(dps, request, access, &device, &name),
        Method::DELETE => {
            dps.delete_module(hub, &device, &name, request.if_match()?)?;
            Ok(Answer::no_content())
        }
        _ => Err(ServiceError::MethodNotAllowed(method.to_string())),
    }
}

fn put(
    dps: &Dps,
    request: &Request,
    access: &Access,
    device: &DeviceId,
    name: &DeviceId,
) -> Result<Answer, ServiceError> {
    let body = request.json()?;
    for (member, expected) in [("deviceId", device), ("moduleId", name)] {
        let given = body.get(member).and_then(Value::as_str);
        if given.is_some_and(|given| given != expected.as_str()) {
            let problem = format!("The body's {member} is not that of the path");
            return Err(ServiceError::ArgumentInvalid(problem));
        }
    }
    let managed_by = body.get("managedBy").and_then(Value::as_str);
    let authentication = body.get("authentication").cloned().unwrap_or_default();
    let write = ModuleWrite {
        managed_by: managed_by.map(str::to_owned),
        authentication: serde_json::from_value(authentication)
            .map_err(|error| ServiceError::MalformedBody(error.to_string()))?,
    };
    let precondition = match IfMatch::from_hub_header(request.header(IF_MATCH.as_str())) {
        IfMatch::Absent => Precondition::Absent,
        if_match => if_match.replacing(),
    };
    let module = dps.put_module(&access.hub, device, name, write, &precondition)?;
    let never = match precondition {
        Precondition::Absent => NEVER_IN_A_NEW_DEVICE,
        _ => NEVER,
    };
    Ok(Answer::ok(shown(device, name, &module, never)))
}

/// A module as the registry was recorded to show it.
fn shown(device: &DeviceId, name: &DeviceId, module: &Module, never: &str) -> Value {
    let mut shown = json!({
        "moduleId": name.as_str(),
        "managedBy": module.managed_by,
        "deviceId": device.as_str(),
        "generationId": module.generation_id,
        "etag": module.etag.as_str(),
        "connectionState": "Disconnected",
        "connectionStateUpdatedTime": never,
        "lastActivityTime": never,
        "cloudToDeviceMessageCount": 0,
        "authentication": module.authentication,
    });
    complete_authentication(&mut shown);
    shown
}
