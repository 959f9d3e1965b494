//! The device plane: register, poll, look up (device API 2021-06-01).
//!
//! A device proves itself by its TLS session or a token; both are judged in
//! [`crate::domain::admission`]. Refusals come as an answer, never as a TLS alert.

use std::sync::Arc;

use http::{Method, StatusCode};
use pki_core::enrollment::RegistrationStatus;
use pki_core::ids::RegistrationId;
use serde_json::{Value, json};

use super::{Answer, Request, to_value};
use crate::domain::Dps;
use crate::domain::registration::{OperationStatus, Registering};
use crate::error::ServiceError;

/// The last version of the device API that knows no reprovisioning policies.
const LAST_LEGACY_VERSION: &str = "2018-04-01";

pub(super) fn answer(dps: &Arc<Dps>, request: &Request) -> Result<Answer, ServiceError> {
    let version = request.api_version()?;
    let folded = request.folded();
    let words: Vec<&str> = folded.iter().skip(2).map(String::as_str).collect();
    let scope = request.segments().first().map_or("", String::as_str);
    if !scope.eq_ignore_ascii_case(dps.settings.id_scope.as_str()) {
        return Err(ServiceError::Unauthorized("Unauthorized"));
    }
    let named = request.segments().get(2).ok_or(ServiceError::NoSuchPath)?;
    let id: RegistrationId = named.parse().map_err(ServiceError::InvalidRegistrationId)?;
    let credential = request.credential();
    match (&request.method, words.as_slice()) {
        (&Method::PUT, [_, "register"]) => {
            let mut body = check_body(request, &id)?;
            let is_legacy = version
                .get(..10)
                .is_some_and(|date| date <= LAST_LEGACY_VERSION);
            let status = dps.register(Registering {
                id: &id,
                credential,
                is_legacy,
                payload: body
                    .get_mut("payload")
                    .map(Value::take)
                    .filter(|payload| !payload.is_null()),
            })?;
            Ok(registering(dps, request, &status)?)
        }
        (&Method::GET, [_, "operations", _]) => {
            let operation_id = request.segments().last().map_or("", String::as_str);
            polling(dps, &dps.operation(&id, operation_id, credential)?)
        }
        (&Method::POST, [_]) => {
            check_body(request, &id)?;
            Answer::document(&dps.lookup(&id, credential)?)
        }
        (_, [_] | [_, "register"] | [_, "operations", _]) => {
            Err(ServiceError::MethodNotAllowed(request.method.to_string()))
        }
        _ => Err(ServiceError::NoSuchPath),
    }
}

/// The path counts; a body that names another device is refused, one that names none is not. A
/// certificate signing request cannot be served, so it is not ignored either.
fn check_body(request: &Request, id: &RegistrationId) -> Result<Value, ServiceError> {
    let body = request.json()?;
    match body.get("registrationId").and_then(Value::as_str) {
        Some(named) if !named.eq_ignore_ascii_case(id.as_str()) => {
            return Err(ServiceError::ArgumentInvalid(
                "The body's registrationId is not that of the path.".to_owned(),
            ));
        }
        _ => {}
    }
    if body.get("csr").is_some_and(|csr| !csr.is_null()) {
        return Err(ServiceError::ArgumentInvalid(
            "This service issues no certificates: csr is not supported.".to_owned(),
        ));
    }
    if body.get("tpm").is_some_and(|tpm| !tpm.is_null()) {
        return Err(ServiceError::Unauthorized(
            "Unauthorized: TPM attestation is kept in enrollments, and cannot be performed here.",
        ));
    }
    Ok(body)
}

/// 202 and an operation to poll; or, without an operation, the state as it is: disabled.
fn registering(
    dps: &Dps,
    request: &Request,
    status: &OperationStatus,
) -> Result<Answer, ServiceError> {
    if !status.is_pending() {
        return Ok(Answer::ok(envelope(status)?));
    }
    let host = request.header("host").unwrap_or("localhost");
    let id = &status.state.registration_id;
    let scope = &dps.settings.id_scope;
    let location = format!("https://{host}/{scope}/registrations/{id}/register");
    let body = json!({"operationId": status.operation_id, "status": "assigning"});
    Ok(Answer::new(StatusCode::ACCEPTED, body)
        .with_header("retry-after", dps.settings.retry_after_seconds)
        .with_header("location", location))
}

fn polling(dps: &Dps, status: &OperationStatus) -> Result<Answer, ServiceError> {
    let body = envelope(status)?;
    if !status.is_pending() {
        return Ok(Answer::ok(body));
    }
    Ok(Answer::new(StatusCode::ACCEPTED, body)
        .with_header("retry-after", dps.settings.retry_after_seconds))
}

fn envelope(status: &OperationStatus) -> Result<Value, ServiceError> {
    let word: &RegistrationStatus = &status.state.status;
    Ok(json!({
        "operationId": status.operation_id,
        "status": word.to_string(),
        "registrationState": to_value(&status.state)?,
    }))
}
