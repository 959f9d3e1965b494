//! The door for whoever runs the instance: what it holds, how it behaves, what it counted.
//!
//! `/$emulator/…` exists in no plane of Azure's. It opens to programs on this machine only, whatever
//! the instance's exposure, and with the instance's control token only: a dump holds keys.

use http::Method;
use serde_json::{Value, json};

use super::{Answer, Request, to_value};
use crate::behavior::Behavior;
use crate::domain::Dps;
use crate::error::ServiceError;
use crate::seed::Seed;
use secrecy::ExposeSecret as _;

/// The first segment of the door's paths.
const DOOR: &str = "$emulator";

/// Whether a request is for the door.
pub(super) fn is_meant(request: &Request) -> bool {
    request
        .segments()
        .first()
        .is_some_and(|first| first == DOOR)
}

pub(super) fn answer(dps: &Dps, request: &Request) -> Result<Answer, ServiceError> {
    authorize(dps, request)?;
    let segments = request.segments().iter().skip(1);
    let words: Vec<&str> = segments.map(String::as_str).collect();
    match (&request.method, words.as_slice()) {
        (&Method::GET, []) => Ok(Answer::ok(summary(dps))),
        (&Method::GET, ["behavior"]) => Answer::document(dps.faults.behavior().as_ref()),
        (&Method::PUT, ["behavior"]) => behave(dps, request.json()?),
        (&Method::PATCH, ["behavior"]) => {
            let mut behavior = to_value(dps.faults.behavior().as_ref())?;
            merge(&mut behavior, request.json()?);
            behave(dps, behavior)
        }
        (&Method::GET, ["state"]) => Answer::document(&Seed::of(dps)),
        (&Method::POST, ["state"]) => {
            let seed: Seed = read(request.json_of_any_depth()?)?;
            let sown = seed
                .sow(dps)
                .map_err(|error| ServiceError::ArgumentInvalid(error.to_string()))?;
            Answer::document(&sown)
        }
        (&Method::GET, ["counters"]) => Answer::document(&dps.connections.reports()),
        (_, [] | ["behavior" | "state" | "counters"]) => {
            Err(ServiceError::MethodNotAllowed(request.method.to_string()))
        }
        _ => Err(ServiceError::NoSuchPath),
    }
}

fn authorize(dps: &Dps, request: &Request) -> Result<(), ServiceError> {
    let is_near = request
        .peer()
        .is_some_and(|peer| peer.to_canonical().is_loopback());
    let token = dps.settings.control_token.expose_secret();
    match request.bearer() {
        Some(given) if is_near && given == token => Ok(()),
        _ => Err(ServiceError::Unauthorized("Unauthorized")),
    }
}

/// Behaves otherwise from now on.
fn behave(dps: &Dps, behavior: Value) -> Result<Answer, ServiceError> {
    let behavior: Behavior = read(behavior)?;
    let checked = behavior.check();
    checked.map_err(|error| ServiceError::ArgumentInvalid(error.to_string()))?;
    let answer = Answer::document(&behavior)?;
    dps.faults.set(behavior);
    Ok(answer)
}

fn read<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, ServiceError> {
    serde_json::from_value(body).map_err(|error| ServiceError::MalformedBody(error.to_string()))
}

/// Puts the members of a patch in the place of those that are there; objects are merged.
fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (name, value) in patch {
                merge(target.entry(name).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch,
    }
}

fn summary(dps: &Dps) -> Value {
    let resource = dps.resource();
    let mut store = dps.store();
    let devices: serde_json::Map<_, _> = resource
        .hubs
        .iter()
        .map(|hub| {
            let count = store.registry(&hub.host_name).iter().count();
            (hub.host_name.to_string(), json!(count))
        })
        .collect();
    json!({
        "notice": "A local emulator, not Azure.",
        "version": env!("CARGO_PKG_VERSION"),
        "certificates": store.authorities().len(),
        "enrollments": store.individuals().len(),
        "enrollmentGroups": store.groups().len(),
        "registrations": store.registrations().len(),
        "devices": devices,
    })
}
