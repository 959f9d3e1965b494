//! The identity registries of the linked hubs (IoT Hub service API 2021-04-12).
//!
//! All hubs are on the one port. Which one a request is for:
//! 1. the one that the `Host` header names (`hub-1.azure-devices.net`, a port is ignored);
//! 2. else, as at `https://localhost:8443`, the one whose key signed the request's token: every hub has
//!    keys of its own, so a hub's connection string leads to that hub under any name;
//! 3. else the only one there is. With a bearer token, several hubs and no name: 400.
//!
//! A device asks with its own certificate or token, for what is its own (`device_side`).
//! Nothing that happens to enrollments or registration records comes here.

pub(super) mod access;
mod device_side;

use http::Method;
use http::header::IF_MATCH;
use pki_core::hub::{HubDevice, HubDeviceStatus};
use pki_core::ids::{DeviceId, HubHostName};
use pki_core::time::Time;
use serde_json::{Value, json};

use super::page::PageRequest;
use super::{Answer, Request, to_value};
use crate::domain::Dps;
use crate::domain::twin::TwinWrite;
use crate::error::ServiceError;
use crate::store::hub::Device;
use crate::store::{IfMatch, Precondition, Record};
use access::Access;

/// The most devices of one bulk request.
const BULK_MOST: usize = 100;

/// The most devices of one list.
const LIST_MOST: usize = 1000;

/// "Never", as the registry writes it.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The same in the answer to a PUT that made the device: without the Z.
const NEVER_IN_A_NEW_DEVICE: &str = "0001-01-01T00:00:00";

/// The moments of an identity.
const MOMENTS: [&str; 3] = [
    "connectionStateUpdatedTime",
    "statusUpdatedTime",
    "lastActivityTime",
];

const REFUSED: ServiceError = ServiceError::Unauthorized("Unauthorized");

pub(super) fn answer(dps: &Dps, request: &Request) -> Result<Answer, ServiceError> {
    let access = Access::of(dps, request)?;
    request.api_version()?;
    let folded = request.folded();
    let words: Vec<&str> = folded.iter().map(String::as_str).collect();
    if let Some(answer) = device_side::answer(dps, request, &access, &words) {
        return answer;
    }
    if !is_emulated(&words) {
        // Whoever was let in is told so: a 401 reads as a bad credential.
        return Err(not_emulated());
    }
    service(dps, request, &words, &access.for_service()?)
}

/// Whether these are paths of the service API that have an answer, by some method.
fn is_emulated(words: &[&str]) -> bool {
    matches!(
        words,
        ["devices" | "twins"] | ["devices" | "twins" | "statistics", _]
    )
}

fn not_emulated() -> ServiceError {
    ServiceError::ArgumentInvalid(
        "This emulator's hubs have identities of devices and modules, twins and methods of devices, and \
         telemetry: no configurations, jobs, digital twins, files, or messages to devices."
            .to_owned(),
    )
}

fn service(
    dps: &Dps,
    request: &Request,
    words: &[&str],
    hub: &HubHostName,
) -> Result<Answer, ServiceError> {
    let name = request.segments().get(1).map_or("", String::as_str);
    match (&request.method, words) {
        (&Method::GET, ["devices"]) => list(dps, request, hub),
        (&Method::POST, ["devices"]) => bulk(dps, request, hub),
        (&Method::POST, ["devices", "query"]) => query(dps, request, hub),
        (&Method::GET, ["devices", _]) => {
            let record = dps.device(hub, &device_id(name)?)?;
            Ok(identity(shown(dps, hub, &record)?, &record))
        }
        (&Method::PUT, ["devices", _]) => put(dps, request, hub, &device_id(name)?),
        (&Method::DELETE, ["devices", _]) => {
            dps.delete_device(hub, &device_id(name)?, request.if_match()?)?;
            Ok(Answer::no_content())
        }
        (&Method::GET, ["twins", _]) => Ok(Answer::ok(twin(
            dps,
            hub,
            &dps.device(hub, &device_id(name)?)?,
        ))),
        (&Method::PATCH | &Method::PUT, ["twins", _]) => {
            let write = match request.method {
                Method::PUT => TwinWrite::Replace,
                _ => TwinWrite::Merge,
            };
            let id = device_id(name)?;
            let body = request.json()?;
            dps.write_twin(hub, &id, &body, request.if_match()?, write)?;
            Ok(Answer::ok(twin(dps, hub, &dps.device(hub, &id)?)))
        }
        (&Method::GET, ["statistics", "devices"]) => Ok(Answer::ok(statistics(dps, hub))),
        (&Method::GET, ["statistics", "service"]) => {
            let count = dps.connections.count(hub);
            Ok(Answer::ok(json!({"connectedDeviceCount": count})))
        }
        _ => Err(ServiceError::MethodNotAllowed(request.method.to_string())),
    }
}

pub(super) fn device_id(text: &str) -> Result<DeviceId, ServiceError> {
    text.parse()
        .map_err(|error| ServiceError::ArgumentInvalid(format!("{error}")))
}

fn put(
    dps: &Dps,
    request: &Request,
    hub: &HubHostName,
    id: &DeviceId,
) -> Result<Answer, ServiceError> {
    let document: HubDevice = serde_json::from_value(request.json()?)
        .map_err(|error| ServiceError::MalformedBody(error.to_string()))?;
    if document.device_id != *id {
        return Err(ServiceError::ArgumentInvalid(
            "The body's deviceId is not that of the path".to_owned(),
        ));
    }
    let if_match = request.header(IF_MATCH.as_str());
    let precondition = match IfMatch::from_hub_header(if_match) {
        IfMatch::Absent => Precondition::Absent,
        if_match => if_match.replacing(),
    };
    let record = dps.put_device(hub, document, &precondition)?;
    let mut value = shown(dps, hub, &record)?;
    if precondition == Precondition::Absent {
        for member in MOMENTS {
            value[member] = json!(NEVER_IN_A_NEW_DEVICE);
        }
    }
    Ok(identity(value, &record))
}

/// An identity with its tag in a header too.
fn identity(value: Value, record: &Record<Device>) -> Answer {
    Answer::ok(value).with_header("etag", record.etag.quoted())
}

fn list(dps: &Dps, request: &Request, hub: &HubHostName) -> Result<Answer, ServiceError> {
    let top = match request.parameter("top").map(str::parse::<usize>) {
        None => LIST_MOST,
        Some(Ok(top)) if (1..=LIST_MOST).contains(&top) => top,
        Some(_) => {
            let problem = format!("top must be a number from 1 to {LIST_MOST}");
            return Err(ServiceError::ArgumentInvalid(problem));
        }
    };
    let mut store = dps.store();
    let devices = store
        .registry(hub)
        .iter()
        .take(top)
        .map(|device| shown(dps, hub, device))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Answer::ok(Value::Array(devices)))
}

/// A query for all devices, or for one by its ID.
fn query(dps: &Dps, request: &Request, hub: &HubHostName) -> Result<Answer, ServiceError> {
    let body = request.json()?;
    let wanted = wanted(
        body.get("query")
            .and_then(Value::as_str)
            .unwrap_or_default(),
    )?;
    let page = PageRequest::from_request(request, &dps.choices())?;
    let after = page.after::<DeviceId>()?;
    let mut store = dps.store();
    let devices = store
        .registry(hub)
        .after(after.as_ref())
        .filter(|(id, _)| wanted.as_ref().is_none_or(|wanted| wanted == *id));
    page.answer(
        "Twin",
        devices.map(|(id, record)| Ok((id.to_string(), twin(dps, hub, record)))),
    )
}

/// The device that a query names, or `None` if it is for all.
fn wanted(query: &str) -> Result<Option<DeviceId>, ServiceError> {
    let refused = || {
        let problem = "The emulator understands SELECT * FROM devices [WHERE deviceId = '…']";
        ServiceError::ArgumentInvalid(problem.to_owned())
    };
    let words: Vec<&str> = query.split_whitespace().collect();
    let (select, condition) = words.split_at_checked(4).ok_or_else(refused)?;
    if !select
        .join(" ")
        .eq_ignore_ascii_case("select * from devices")
    {
        return Err(refused());
    }
    let condition = condition.concat();
    if condition.is_empty() {
        return Ok(None);
    }
    let (left, right) = condition.split_once('=').ok_or_else(refused)?;
    if !left.eq_ignore_ascii_case("wheredeviceid") {
        return Err(refused());
    }
    let quoted = right
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''));
    device_id(quoted.ok_or_else(refused)?).map(Some)
}

fn statistics(dps: &Dps, hub: &HubHostName) -> Value {
    let mut store = dps.store();
    let (enabled, disabled): (Vec<_>, Vec<_>) = store
        .registry(hub)
        .iter()
        .partition(|record| record.value.document.status == HubDeviceStatus::Enabled);
    json!({
        "totalDeviceCount": enabled.len() + disabled.len(),
        "enabledDeviceCount": enabled.len(),
        "disabledDeviceCount": disabled.len(),
    })
}

fn bulk(dps: &Dps, request: &Request, hub: &HubHostName) -> Result<Answer, ServiceError> {
    let body = request.json()?;
    let Some(items) = body.as_array() else {
        return Err(ServiceError::MalformedBody(
            "a list of devices is expected".to_owned(),
        ));
    };
    if items.len() > BULK_MOST {
        return Err(ServiceError::TooManyDevices {
            given: items.len(),
            most: BULK_MOST,
        });
    }
    let mut seen = std::collections::HashSet::new();
    if let Some(twice) = items.iter().map(name_of).find(|name| !seen.insert(*name)) {
        return Err(ServiceError::DeviceDefinedMultipleTimes(twice.to_owned()));
    }
    let errors: Vec<Value> = items
        .iter()
        .filter_map(|item| {
            let error = bulk_item(dps, hub, item).err()?;
            Some(json!({
                "deviceId": name_of(item),
                "errorCode": error.name(),
                "errorStatus": error.to_string(),
            }))
        })
        .collect();
    let is_successful = errors.is_empty();
    let body = json!({"isSuccessful": is_successful, "errors": errors, "warnings": []});
    Ok(if is_successful {
        Answer::ok(body)
    } else {
        Answer::new(http::StatusCode::BAD_REQUEST, body)
    })
}

fn name_of(item: &Value) -> &str {
    item.get("id").and_then(Value::as_str).unwrap_or_default()
}

/// One device of a bulk request, which writes `id` and `eTag` where a device has `deviceId` and `etag`.
fn bulk_item(dps: &Dps, hub: &HubHostName, item: &Value) -> Result<(), ServiceError> {
    let id = device_id(name_of(item))?;
    let tag = item.get("eTag").and_then(Value::as_str);
    let matching = || match IfMatch::from_header(tag) {
        IfMatch::Absent => Err(ServiceError::PreconditionFailed),
        if_match => Ok(if_match),
    };
    let mode = item
        .get("importMode")
        .and_then(Value::as_str)
        .unwrap_or("create");
    let precondition = match mode.to_ascii_lowercase().as_str() {
        "create" => Precondition::Absent,
        "update" => Precondition::Present,
        "updateifmatchetag" => matching()?.replacing(),
        "updatetwin" => return dps.write_twin(hub, &id, item, IfMatch::Any, TwinWrite::Merge),
        "updatetwinifmatchetag" => {
            return dps.write_twin(hub, &id, item, matching()?, TwinWrite::Merge);
        }
        "delete" => return dps.delete_device(hub, &id, IfMatch::Any),
        "deleteifmatchetag" => return dps.delete_device(hub, &id, matching()?),
        _ => {
            let problem = format!("importMode {mode:?} is not supported by the emulator");
            return Err(ServiceError::ArgumentInvalid(problem));
        }
    };
    dps.put_device(hub, bulk_document(item)?, &precondition)?;
    let has_twin = ["tags", "properties"]
        .iter()
        .any(|member| item.get(member).is_some_and(Value::is_object));
    if !has_twin {
        return Ok(());
    }
    if precondition == Precondition::Absent {
        return dps.begin_twin(hub, &id, item);
    }
    dps.write_twin(hub, &id, item, IfMatch::Any, TwinWrite::Merge)
}

fn bulk_document(item: &Value) -> Result<HubDevice, ServiceError> {
    let mut members = item.as_object().cloned().unwrap_or_default();
    for member in ["importMode", "eTag", "tags", "properties", "twinETag"] {
        members.shift_remove(member);
    }
    let id = members.shift_remove("id").unwrap_or_default();
    members.insert("deviceId".to_owned(), id);
    serde_json::from_value(Value::Object(members))
        .map_err(|error| ServiceError::MalformedBody(error.to_string()))
}

/// A device as the registry shows it: the stored document and what the hub adds.
fn shown(dps: &Dps, hub: &HubHostName, record: &Record<Device>) -> Result<Value, ServiceError> {
    let device = &record.value;
    let mut document = device.document.clone();
    document.etag = Some(record.etag.clone());
    let presence = dps.connections.report(hub, &device.document.device_id);
    for (member, value) in [
        ("generationId", json!(device.generation_id)),
        ("connectionState", json!(presence.connection_state())),
        ("connectionStateUpdatedTime", moment(presence.changed)),
        ("statusUpdatedTime", moment(device.status_updated)),
        ("lastActivityTime", moment(presence.last_activity)),
        ("cloudToDeviceMessageCount", json!(0)),
    ] {
        document.other.insert(member.to_owned(), value);
    }
    let mut value = to_value(&document)?;
    complete(&mut value);
    Ok(value)
}

/// Members that are there in every answer, null where there is nothing to tell.
fn complete(identity: &mut Value) {
    let whole = json!({
        "statusReason": null,
        "capabilities": {"iotEdge": false},
    });
    fill(identity, &whole);
    complete_authentication(identity);
}

/// The authentication alone, of an identity that has neither status nor capabilities.
fn complete_authentication(identity: &mut Value) {
    let whole = json!({"authentication": {
        "symmetricKey": {"primaryKey": null, "secondaryKey": null},
        "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null},
    }});
    fill(identity, &whole);
}

fn fill(value: &mut Value, whole: &Value) {
    let (Value::Object(members), Value::Object(whole)) = (value, whole) else {
        return;
    };
    for (name, whole) in whole {
        match members.get_mut(name) {
            None | Some(Value::Null) => {
                members.insert(name.clone(), whole.clone());
            }
            Some(present) => fill(present, whole),
        }
    }
}

fn moment(at: Option<Time>) -> Value {
    json!(at.map_or_else(|| NEVER.to_owned(), |at| at.to_string()))
}

fn twin(dps: &Dps, hub: &HubHostName, record: &Record<Device>) -> Value {
    let device = &record.value;
    let presence = dps.connections.report(hub, &device.document.device_id);
    let authentication = device.document.authentication.as_ref();
    let thumbprints =
        authentication.and_then(|authentication| authentication.x509_thumbprint.clone());
    let mut thumbprints = json!(thumbprints.unwrap_or_default());
    let nothing = json!({"primaryThumbprint": null, "secondaryThumbprint": null});
    fill(&mut thumbprints, &nothing);
    let mut shown = json!({
        "deviceId": device.document.device_id.as_str(),
        "etag": device.twin.etag().as_str(),
        "deviceEtag": record.etag.as_str(),
        "status": device.document.status,
        "statusUpdateTime": moment(device.status_updated),
        "connectionState": presence.connection_state(),
        "lastActivityTime": moment(presence.last_activity),
        "cloudToDeviceMessageCount": 0,
        "authenticationType": device.authentication_kind(),
        "x509Thumbprint": thumbprints,
        "version": device.twin.shown_version(),
        "properties": device.twin.shown_properties(&record.created()),
        "capabilities": device.document.other.get("capabilities").cloned()
            .unwrap_or_else(|| json!({"iotEdge": false})),
    });
    let tags = &device.twin.tags;
    if tags.as_object().is_some_and(|tags| !tags.is_empty()) {
        shown["tags"] = tags.clone();
    }
    shown
}
