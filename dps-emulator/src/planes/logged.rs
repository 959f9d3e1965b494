//! What the request log says of a request, in the shape of the service's resource logs.
//!
//! Categories and members are those of
//! [DPS's resource logs](https://learn.microsoft.com/azure/iot-dps/monitor-iot-dps-reference):
//! `DeviceOperations` and `ServiceOperations`. The names of operations are those of the API
//! descriptions. Neither bodies nor headers are logged, so that no key and no token is.

use std::time::Duration;

use serde_json::json;

use super::Request;
use crate::domain::Dps;
use crate::error::ServiceError;

/// Notes a request of the device or the service plane and what became of it.
pub(super) fn note(
    dps: &Dps,
    request: &Request,
    request_id: &str,
    error: Option<&ServiceError>,
    duration: Duration,
) {
    if !dps.log.is_kept() {
        return;
    }
    let Some(operation) = Operation::of(request) else {
        return;
    };
    let properties = json!({
        "id": operation.subject,
        "type": operation.kind,
        "protocol": if request.peer().is_some() { "Http" } else { "Mqtt" },
    });
    let line = json!({
        "time": dps.now().to_string(),
        "resourceId": dps.settings.resource_id().to_ascii_uppercase(),
        "operationName": operation.name,
        "category": operation.category,
        "level": if error.is_some() { "Error" } else { "Information" },
        "resultType": if error.is_some() { "Failure" } else { "Success" },
        "resultSignature": error.map_or_else(String::new, |error| error.code().to_string()),
        "resultDescription": error.map_or_else(String::new, ToString::to_string),
        "durationMs": duration.as_millis().to_string(),
        "callerIpAddress": request.peer().map(|peer| peer.to_string()),
        "correlationId": request_id,
        "properties": properties.to_string(),
    });
    dps.log.write(&line);
}

/// An operation by its names.
struct Operation<'a> {
    category: &'static str,
    name: String,
    /// What kind of record it is about.
    kind: &'static str,
    /// The record, if the path names one.
    subject: Option<&'a str>,
}

impl<'a> Operation<'a> {
    /// The operation that a request asks for, if it is one that the service logs.
    fn of(request: &'a Request) -> Option<Self> {
        let folded = request.folded();
        let words: Vec<&str> = folded.iter().map(String::as_str).collect();
        let segments = request.segments();
        let method = request.method.as_str();
        let (category, kind, word, subject) = match words.as_slice() {
            [
                first @ ("enrollments" | "enrollmentgroups" | "registrations"),
                rest @ ..,
            ] => {
                let kind = match *first {
                    "enrollments" => "IndividualEnrollment",
                    "enrollmentgroups" => "EnrollmentGroup",
                    _ => "DeviceRegistrationState",
                };
                let word = match (method, rest) {
                    ("POST", ["query"] | [_, "query"]) => "Query",
                    ("POST", [_, "attestationmechanism"]) => "GetAttestationMechanism",
                    ("POST", []) => "RunBulkOperation",
                    ("PUT", [_]) => "CreateOrUpdate",
                    ("DELETE", [_]) => "Delete",
                    ("GET", [_]) => "Get",
                    _ => return None,
                };
                let subject = segments.get(1).filter(|_| rest != ["query"]);
                ("ServiceOperations", kind, word, subject)
            }
            [_, "registrations", _, rest @ ..] => {
                let word = match (method, rest) {
                    ("PUT", ["register"]) => "RegisterDevice",
                    ("GET", ["operations", _]) => "OperationStatusLookup",
                    ("POST", []) => "DeviceRegistrationStatusLookup",
                    _ => return None,
                };
                ("DeviceOperations", "Registration", word, segments.get(2))
            }
            _ => return None,
        };
        let prefix = match category {
            "DeviceOperations" => "RuntimeRegistration",
            _ => kind,
        };
        Some(Self {
            category,
            name: format!("{prefix}_{word}"),
            kind,
            subject: subject.map(String::as_str),
        })
    }
}
