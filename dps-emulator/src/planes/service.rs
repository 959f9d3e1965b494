//! The service plane: enrollments, groups, registration records (service API 2021-10-01).
//!
//! Signed in by a shared access signature with the right that the operation takes, or by a bearer
//! token, which stands for Entra ID and has every right.

use std::collections::HashSet;

use http::Method;
use pki_core::enrollment::{
    Attestation, EnrollmentGroup, IndividualEnrollment, RegistrationState, RegistrationStatus,
};
use pki_core::ids::{EnrollmentGroupId, RegistrationId};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::page::PageRequest;
use super::{Answer, Request, in_order, to_value};
use crate::choices;
use crate::domain::Dps;
use crate::domain::attestation::Keys;
use crate::domain::enrollment::{BulkMode, Document};
use crate::domain::registration::service_view;
use crate::error::ServiceError;
use crate::faults::Turn;
use crate::policy::Right;
use crate::store::registration::DecidingEntry;
use crate::store::{Conflict, IfMatch, Record};

/// The most records of one bulk request.
const BULK_MOST: usize = 10;

pub(super) fn answer(dps: &Dps, request: &Request) -> Result<Answer, ServiceError> {
    let folded = request.folded();
    let words: Vec<&str> = folded.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["enrollments", rest @ ..] => enrollments::<IndividualEnrollment>(dps, request, rest),
        ["enrollmentgroups", rest @ ..] => enrollments::<EnrollmentGroup>(dps, request, rest),
        ["registrations", rest @ ..] => registrations(dps, request, rest),
        _ => Err(ServiceError::NoSuchPath),
    }
}

fn enrollments<D: Document>(
    dps: &Dps,
    request: &Request,
    rest: &[&str],
) -> Result<Answer, ServiceError> {
    let name = request.segments().get(1).map_or("", String::as_str);
    let right = match (&request.method, rest) {
        (&Method::POST, [_, "attestationmechanism"]) => choices::KEYS_RIGHT,
        (&Method::GET, _) | (&Method::POST, ["query"]) => Right::EnrollmentRead,
        _ => Right::EnrollmentWrite,
    };
    authorize(dps, request, right)?;
    request.api_version()?;
    match (&request.method, rest) {
        (&Method::POST, []) => bulk::<D>(dps, request),
        (&Method::POST, ["query"]) => query::<D>(dps, request),
        (&Method::GET, [_]) => {
            let record = dps.enrollment::<D>(&D::parse_id(name)?)?;
            got(dps, &record).map(Answer::ok)
        }
        (&Method::PUT, [_]) => put::<D>(dps, request, &D::parse_id(name)?),
        (&Method::DELETE, [_]) => {
            dps.delete_enrollment::<D>(&D::parse_id(name)?, request.if_match()?)?;
            Ok(Answer::no_content())
        }
        (&Method::POST, [_, "attestationmechanism"]) => {
            let record = dps.enrollment::<D>(&D::parse_id(name)?)?;
            let attestation = record.value.attestation();
            Answer::document(&dps.show_attestation(attestation, Keys::Shown))
        }
        (_, [] | [_] | [_, "attestationmechanism"]) => {
            Err(ServiceError::MethodNotAllowed(request.method.to_string()))
        }
        _ => Err(ServiceError::NoSuchPath),
    }
}

/// Lets a request in that may do this, and takes its turn.
fn authorize(dps: &Dps, request: &Request, right: Right) -> Result<(), ServiceError> {
    let refused = Err(ServiceError::Unauthorized("Unauthorized"));
    if let Some(bearer) = request.bearer() {
        return if accepts_bearer(dps, bearer) {
            dps.faults.take(Turn::Service)
        } else {
            refused
        };
    }
    let hosts = &dps.settings.host_names;
    let resource = dps.resource();
    match request.signing_policy(&resource.policies, hosts, dps.now()) {
        Some(policy) if policy.allows(right) => dps.faults.take(Turn::Service),
        _ => refused,
    }
}

/// Whether a bearer token is good: any is, unless the configuration names the one.
pub(super) fn accepts_bearer(dps: &Dps, bearer: &str) -> bool {
    match &dps.settings.bearer_token {
        Some(expected) => expected.expose_secret() == bearer,
        None => true,
    }
}

fn put<D: Document>(dps: &Dps, request: &Request, id: &D::Id) -> Result<Answer, ServiceError> {
    let mut document = read::<D>(dps, request.json()?)?;
    if document.id() != id {
        return Err(ServiceError::ArgumentInvalid(format!(
            "The body's {} is not that of the path.",
            D::ID
        )));
    }
    document.set_id(id.clone());
    let record = dps.put_enrollment(document, request.if_match()?)?;
    shown(dps, &record, Keys::Shown).map(Answer::ok)
}

/// The member that the service keeps null if it was sent so.
const KEPT_NULL: &str = "provisioningStatus";

/// Reads a document. Members that are null count as left out, but for one.
fn read<D: Document>(dps: &Dps, mut body: Value) -> Result<D, ServiceError> {
    if let Value::Object(members) = &mut body {
        members.retain(|name, value| !value.is_null() || name == KEPT_NULL);
    }
    for pointer in ["/attestation/x509", "/attestation/symmetricKey"] {
        if let Some(part) = body.pointer_mut(pointer) {
            drop_nulls(part);
        }
    }
    if let Some(Value::String(word)) = body.get(KEPT_NULL)
        && !matches!(word.as_str(), "enabled" | "disabled")
        && !dps.choices().take_unknown_statuses
    {
        let message = format!("{KEPT_NULL}: {word} is neither enabled nor disabled");
        return Err(ServiceError::MalformedBody(message));
    }
    serde_json::from_value(body).map_err(|error| ServiceError::MalformedBody(error.to_string()))
}

fn drop_nulls(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, value| !value.is_null());
        members.values_mut().for_each(drop_nulls);
    }
}

/// A record as a GET shows it: that of one device with the state of its registration.
fn got<D: Document>(dps: &Dps, record: &Record<D>) -> Result<Value, ServiceError> {
    let mut value = shown(dps, record, Keys::Hidden)?;
    let Some(id) = record.value.device() else {
        return Ok(value);
    };
    let store = dps.store();
    let state = match store.registrations().get(id) {
        Some(registration) => service_view(id, registration),
        None => RegistrationState::new(id.clone(), RegistrationStatus::Unassigned),
    };
    if let Value::Object(members) = &mut value {
        members.insert("registrationState".to_owned(), to_value(&state)?);
        in_order(members, &ORDER);
    }
    Ok(value)
}

/// The order in which the service writes members; others follow.
const ORDER: [&str; 14] = [
    "enrollmentGroupId",
    "registrationId",
    "deviceId",
    "registrationState",
    "optionalDeviceInformation",
    "attestation",
    "initialTwin",
    "etag",
    "provisioningStatus",
    "reprovisionPolicy",
    "createdDateTimeUtc",
    "lastUpdatedDateTimeUtc",
    "allocationPolicy",
    "customAllocationDefinition",
];

/// A record as an answer shows it.
fn shown<D: Document>(dps: &Dps, record: &Record<D>, keys: Keys) -> Result<Value, ServiceError> {
    let mut document = record.value.clone();
    let attestation: Attestation = dps.show_attestation(document.attestation(), keys);
    *document.attestation_mut() = attestation;
    *document.etag_mut() = Some(record.etag.clone());
    if !dps.choices().bare_answers {
        for (member, time) in [
            ("createdDateTimeUtc", record.created()),
            ("lastUpdatedDateTimeUtc", record.updated()),
        ] {
            let other = document.other_mut();
            other.insert(member.to_owned(), json!(time));
        }
    }
    let mut value = to_value(&document)?;
    if let Value::Object(members) = &mut value {
        in_order(members, &ORDER);
    }
    Ok(value)
}

fn query<D: Document>(dps: &Dps, request: &Request) -> Result<Answer, ServiceError> {
    check_query(&request.json()?)?;
    let page = PageRequest::from_request(request, &dps.choices())?;
    let after = page
        .after::<String>()?
        .map(|key| D::parse_id(&key))
        .transpose()?;
    let records: Vec<Record<D>> = {
        let store = dps.store();
        let behind = D::table(&store).after(after.as_ref());
        behind
            .take(page.size() + 1)
            .map(|(_, record)| record.clone())
            .collect()
    };
    let items = records.iter().map(|record| {
        let key = record.value.id().to_string();
        Ok((key, shown(dps, record, Keys::Hidden)?))
    });
    page.answer(D::ITEM_TYPE, items)
}

/// No filter is documented for enrollments, so whatever selects everything does. Microsoft's CLI
/// wraps its query in text of its own, hence the search within; a body may be missing.
fn check_query(body: &Value) -> Result<(), ServiceError> {
    let text = match body {
        Value::Null => return Ok(()),
        body => body
            .get("query")
            .and_then(Value::as_str)
            .unwrap_or_default(),
    };
    let words: Vec<String> = text
        .split_whitespace()
        .map(str::to_ascii_lowercase)
        .collect();
    let selects_all = words
        .windows(2)
        .any(|pair| pair[0].ends_with("select") && pair[1].starts_with('*'));
    if selects_all && !words.iter().any(|word| word == "where") {
        return Ok(());
    }
    Err(ServiceError::ArgumentInvalid(
        "The query is not understood; use SELECT *.".to_owned(),
    ))
}

fn bulk<D: Document>(dps: &Dps, request: &Request) -> Result<Answer, ServiceError> {
    let body = request.json()?;
    let mode = bulk_mode(body.get("mode").and_then(Value::as_str).unwrap_or_default())?;
    let Some(items) = body.get(D::COLLECTION).and_then(Value::as_array) else {
        return Err(ServiceError::MalformedBody(format!(
            "{} is missing",
            D::COLLECTION
        )));
    };
    if items.len() > BULK_MOST {
        return Err(ServiceError::TooManyEnrollments {
            given: items.len(),
            most: BULK_MOST,
        });
    }
    let mut seen = HashSet::new();
    for item in items {
        let name = name_of::<D>(item);
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(ServiceError::EnrollmentDefinedMultipleTimes(
                name.to_owned(),
            ));
        }
    }
    let errors: Vec<Value> = items
        .iter()
        .filter_map(|item| {
            let error = bulk_item::<D>(dps, mode, item).err()?;
            Some(json!({
                D::ID: name_of::<D>(item),
                "errorCode": error.code(),
                "errorStatus": error.to_string(),
            }))
        })
        .collect();
    Ok(Answer::ok(
        json!({"isSuccessful": errors.is_empty(), "errors": errors}),
    ))
}

fn name_of<D: Document>(item: &Value) -> &str {
    item.get(D::ID).and_then(Value::as_str).unwrap_or_default()
}

fn bulk_mode(word: &str) -> Result<BulkMode, ServiceError> {
    match word.to_ascii_lowercase().as_str() {
        "create" => Ok(BulkMode::Create),
        "update" => Ok(BulkMode::Update),
        "updateifmatchetag" => Ok(BulkMode::UpdateIfMatch),
        "delete" => Ok(BulkMode::Delete),
        _ => Err(ServiceError::ArgumentInvalid(format!(
            "Bulk mode {word:?} is not known."
        ))),
    }
}

/// Deleting takes the name alone; the other modes take the whole document.
fn bulk_item<D: Document>(dps: &Dps, mode: BulkMode, item: &Value) -> Result<(), ServiceError> {
    let id = D::parse_id(name_of::<D>(item))?;
    match mode {
        BulkMode::Delete => dps.delete_enrollment::<D>(&id, IfMatch::Absent),
        _ => dps.bulk_item(mode, read::<D>(dps, item.clone())?),
    }
}

fn registrations(dps: &Dps, request: &Request, rest: &[&str]) -> Result<Answer, ServiceError> {
    let name = request.segments().get(1).map_or("", String::as_str);
    let right = match request.method {
        Method::DELETE => Right::RegistrationStatusWrite,
        _ => Right::RegistrationStatusRead,
    };
    authorize(dps, request, right)?;
    request.api_version()?;
    match (&request.method, rest) {
        (&Method::GET, [_]) => {
            let id = registration_id(name)?;
            let store = dps.store();
            let record = store
                .registrations()
                .get(&id)
                .ok_or_else(|| ServiceError::RegistrationNotFound(id.clone()))?;
            let id = store.registrations().first_spelling(&id).unwrap_or(&id);
            Answer::document(&service_view(id, record))
        }
        (&Method::DELETE, [_]) => {
            let id = registration_id(name)?;
            let precondition = request.if_match()?.replacing();
            dps.change(|store| {
                let removed = store.remove_registration(&id, &precondition);
                removed.map_err(|conflict| match conflict {
                    Conflict::Missing => ServiceError::RegistrationNotFound(id.clone()),
                    _ => ServiceError::PreconditionFailed,
                })
            })?;
            Ok(Answer::no_content())
        }
        (&Method::POST, [_, "query"]) => registrations_of(dps, request, name),
        (_, [_] | [_, "query"]) => Err(ServiceError::MethodNotAllowed(request.method.to_string())),
        _ => Err(ServiceError::NoSuchPath),
    }
}

/// The records of a group's devices. They outlive the group, so it need not exist.
fn registrations_of(dps: &Dps, request: &Request, name: &str) -> Result<Answer, ServiceError> {
    let id: EnrollmentGroupId = name
        .parse()
        .map_err(ServiceError::InvalidEnrollmentGroupId)?;
    let group = DecidingEntry::Group(id);
    let page = PageRequest::from_request(request, &dps.choices())?;
    let after = page.after::<RegistrationId>()?;
    let store = dps.store();
    let records = store
        .registrations()
        .after(after.as_ref())
        .filter(|(_, record)| record.value.entry == group);
    let items =
        records.map(|(id, record)| Ok((id.to_string(), to_value(&service_view(id, record))?)));
    page.answer("DeviceRegistration", items)
}

fn registration_id(text: &str) -> Result<RegistrationId, ServiceError> {
    text.parse().map_err(ServiceError::InvalidRegistrationId)
}
