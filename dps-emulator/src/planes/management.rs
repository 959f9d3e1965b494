//! The management plane: CA certificates, and the service as an ARM resource (2022-12-12 and others).
//!
//! Signed in by a bearer token. There is one service in one resource group of one subscription; what
//! ARM would say of any other name is that it was not found. Private endpoints do not exist here: the
//! lists are empty, and none can be made.

mod certificates;
mod resource;

use http::Method;
use serde_json::{Value, json};

use super::service::accepts_bearer;
use super::{Answer, Request};
use crate::config::is_dps_name;
use crate::domain::Dps;
use crate::error::ServiceError;

/// What ARM lists as the provider's operations.
const OPERATIONS: [(&str, &str); 6] = [
    ("Read", "Get or list provisioning services"),
    ("Write", "Create or update a provisioning service"),
    ("ListKeys/Action", "Get the keys of a provisioning service"),
    ("certificates/Read", "Get or list certificates"),
    (
        "certificates/Write",
        "Upload, prove or replace a certificate",
    ),
    ("certificates/Delete", "Delete a certificate"),
];

pub(super) fn answer(dps: &Dps, request: &Request) -> Result<Answer, ServiceError> {
    match request.bearer() {
        Some(bearer) if accepts_bearer(dps, bearer) => {}
        _ => return Err(ServiceError::ArmUnauthenticated),
    }
    request.api_version()?;
    let folded = request.folded();
    let words: Vec<&str> = folded.iter().map(String::as_str).collect();
    let settings = &dps.settings;
    match words.as_slice() {
        ["providers", "microsoft.devices", "operations"] => {
            only(request, &Method::GET)?;
            Ok(Answer::ok(operations()))
        }
        ["subscriptions", subscription, rest @ ..]
            if subscription.eq_ignore_ascii_case(&settings.subscription) =>
        {
            match rest {
                ["providers", "microsoft.devices", rest @ ..] => {
                    in_subscription(dps, request, rest)
                }
                [
                    "resourcegroups",
                    group,
                    "providers",
                    "microsoft.devices",
                    rest @ ..,
                ] if group.eq_ignore_ascii_case(&settings.resource_group) => {
                    in_group(dps, request, rest)
                }
                _ => Err(ServiceError::ResourceNotFound(request.path())),
            }
        }
        _ => Err(ServiceError::ResourceNotFound(request.path())),
    }
}

fn in_subscription(dps: &Dps, request: &Request, rest: &[&str]) -> Result<Answer, ServiceError> {
    match rest {
        ["provisioningservices"] => list(dps, request),
        ["checkprovisioningservicenameavailability"] => {
            only(request, &Method::POST)?;
            name_availability(dps, &request.json()?).map(Answer::ok)
        }
        _ => Err(ServiceError::ResourceNotFound(request.path())),
    }
}

fn in_group(dps: &Dps, request: &Request, rest: &[&str]) -> Result<Answer, ServiceError> {
    match rest {
        ["provisioningservices"] => list(dps, request),
        ["provisioningservices", name, rest @ ..]
            if name.eq_ignore_ascii_case(&dps.settings.name) =>
        {
            match rest {
                ["certificates", rest @ ..] => certificates::answer(dps, request, rest),
                rest => resource::answer(dps, request, rest),
            }
        }
        ["provisioningservices", name] if request.method == Method::PUT && !is_dps_name(name) => {
            Err(ServiceError::InvalidServiceName)
        }
        ["provisioningservices", _] if request.method == Method::PUT => {
            Err(ServiceError::ArgumentInvalid(format!(
                "This emulator holds one provisioning service, {}, and makes no other.",
                dps.settings.name
            )))
        }
        _ => Err(ServiceError::ResourceNotFound(request.path())),
    }
}

fn list(dps: &Dps, request: &Request) -> Result<Answer, ServiceError> {
    only(request, &Method::GET)?;
    let services = [resource::document(dps, &dps.resource())];
    Ok(Answer::ok(json!({"value": services})))
}

fn operations() -> Value {
    let operation = |(name, description): &(&str, &str)| {
        json!({
            "name": format!("Microsoft.Devices/ProvisioningServices/{name}"),
            "display": {
                "provider": "Microsoft Devices",
                "resource": "ProvisioningServices",
                "operation": description,
                "description": description,
            },
        })
    };
    json!({"value": OPERATIONS.iter().map(operation).collect::<Vec<_>>()})
}

fn name_availability(dps: &Dps, body: &Value) -> Result<Value, ServiceError> {
    let name = body
        .get("name")
        .and_then(Value::as_str)
        .ok_or_else(|| ServiceError::ArgumentInvalid("The member name is missing.".to_owned()))?;
    let refused = |reason: &str, message: &str| json!({"nameAvailable": false, "reason": reason, "message": message});
    Ok(if !is_dps_name(name) {
        refused("Invalid", "The name does not follow the rules for names.")
    } else if name.eq_ignore_ascii_case(&dps.settings.name) {
        refused("AlreadyExists", "The name is taken.")
    } else {
        // Reason and message were recorded like this of a name that is free.
        json!({"nameAvailable": true, "reason": "Invalid", "message": null})
    })
}

/// Refuses every method but one.
fn only(request: &Request, method: &Method) -> Result<(), ServiceError> {
    if request.method == *method {
        Ok(())
    } else {
        Err(ServiceError::MethodNotAllowed(request.method.to_string()))
    }
}
