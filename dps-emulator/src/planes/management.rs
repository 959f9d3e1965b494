//! The management plane: CA certificates, and the service as an ARM resource (2022-12-12 and others).
//!
//! Signed in by a bearer token. The body of a PUT is flat up to 2021-10-15 and nested under
//! `properties` from 2022-02-05 on; both are read, whatever the version. Dates are RFC 1123.
//! The resource itself is made by the configuration: it cannot be written here.

use http::Method;
use pki_core::certificate::Certificate;
use pki_core::enrollment::OtherMembers;
use pki_core::format::pem;
use pki_core::ids::CertificateName;
use pki_core::management::{CaCertificate, CaCertificateProperties};
use serde_json::{Value, json};

use super::service::accepts_bearer;
use super::{Answer, Request, to_value};
use crate::domain::authority::Authority;
use crate::domain::{Dps, Settings};
use crate::error::ServiceError;
use crate::policy::Policy;
use crate::store::{IfMatch, Record};

const LOCATION: &str = "westus";

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
        ["subscriptions", subscription, rest @ ..]
            if subscription.eq_ignore_ascii_case(&settings.subscription) =>
        {
            match rest {
                ["providers", "microsoft.devices", "provisioningservices"] => list(dps, request),
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

fn in_group(dps: &Dps, request: &Request, rest: &[&str]) -> Result<Answer, ServiceError> {
    match rest {
        ["provisioningservices"] => list(dps, request),
        ["provisioningservices", name, rest @ ..]
            if name.eq_ignore_ascii_case(&dps.settings.name) =>
        {
            match rest {
                ["certificates", rest @ ..] => certificates(dps, request, rest),
                rest => resource(dps, request, rest),
            }
        }
        _ => Err(ServiceError::ResourceNotFound(request.path())),
    }
}

fn list(dps: &Dps, request: &Request) -> Result<Answer, ServiceError> {
    match request.method {
        Method::GET => Ok(Answer::ok(json!({"value": [service(dps)]}))),
        _ => Err(ServiceError::MethodNotAllowed(request.method.to_string())),
    }
}

fn resource(dps: &Dps, request: &Request, rest: &[&str]) -> Result<Answer, ServiceError> {
    match (&request.method, rest) {
        (&Method::GET, []) => Ok(Answer::ok(service(dps))),
        (&Method::POST, ["listkeys"]) => {
            let keys: Vec<Value> = dps.policies.iter().map(key).collect();
            Ok(Answer::ok(json!({"value": keys})))
        }
        (&Method::POST, ["keys", name, "listkeys"]) => {
            let mut policies = dps.policies.iter();
            let policy = policies.find(|policy| policy.name.eq_ignore_ascii_case(name));
            let policy = policy.ok_or_else(|| ServiceError::PolicyNotFound((*name).to_owned()))?;
            Ok(Answer::ok(key(policy)))
        }
        (_, [] | ["listkeys"] | ["keys", _, "listkeys"]) => {
            Err(ServiceError::MethodNotAllowed(request.method.to_string()))
        }
        _ => Err(ServiceError::ResourceNotFound(request.path())),
    }
}

/// The service as ARM shows it; keys of hubs are masked.
fn service(dps: &Dps) -> Value {
    let settings = &dps.settings;
    let hubs: Vec<Value> = dps
        .hubs
        .iter()
        .map(|hub| {
            let (name, policy) = (&hub.host_name, &hub.policy.name);
            json!({
                "name": name.as_str(),
                "connectionString":
                    format!("HostName={name};SharedAccessKeyName={policy};SharedAccessKey=****"),
                "location": LOCATION,
                "applyAllocationPolicy": true,
                "allocationWeight": 1,
            })
        })
        .collect();
    json!({
        "id": settings.resource_id(),
        "name": settings.name,
        "type": "Microsoft.Devices/provisioningServices",
        "location": LOCATION,
        "tags": {},
        "etag": "AAAAAAAAAAE=",
        "sku": {"name": "S1", "tier": "Standard", "capacity": 1},
        "resourcegroup": settings.resource_group,
        "subscriptionid": settings.subscription,
        "properties": {
            "state": "Active",
            "provisioningState": "Succeeded",
            "publicNetworkAccess": "Enabled",
            "iotHubs": hubs,
            "allocationPolicy": "Hashed",
            "serviceOperationsHostName": settings.service_host_name(),
            "deviceProvisioningHostName": "global.azure-devices-provisioning.net",
            "idScope": settings.id_scope.as_str(),
            "authorizationPolicies": null,
        },
    })
}

fn key(policy: &Policy) -> Value {
    json!({
        "keyName": policy.name,
        "primaryKey": policy.keys.primary_key,
        "secondaryKey": policy.keys.secondary_key,
        "rights": policy.rights_text(),
    })
}

fn certificates(dps: &Dps, request: &Request, rest: &[&str]) -> Result<Answer, ServiceError> {
    let settings = &dps.settings;
    let Some(name) = request.segments().get(9) else {
        return match request.method {
            Method::GET => list_certificates(dps),
            _ => Err(ServiceError::MethodNotAllowed(request.method.to_string())),
        };
    };
    let name = certificate_name(dps, name)?;
    match (&request.method, rest) {
        (&Method::GET, [_]) => get(dps, &name, request.if_match()?),
        (&Method::PUT, [_]) => {
            let (certificate, attested) = upload(&request.json()?)?;
            let if_match = request.if_match()?;
            let record = dps.put_authority(&name, certificate, attested, if_match)?;
            Answer::document(&document(settings, &name, &record))
        }
        (&Method::DELETE, [_]) => {
            dps.delete_authority(&name, required(request)?)?;
            Ok(Answer::no_content())
        }
        (&Method::POST, [_, "generateverificationcode"]) => {
            let record = dps.generate_code(&name, required(request)?)?;
            let mut document = document(settings, &name, &record);
            document.properties.verification_code = record.value.code;
            Answer::document(&document)
        }
        (&Method::POST, [_, "verify"]) => {
            let proof = certificate_of(&request.json()?)?;
            let record = dps.verify_authority(&name, &proof, required(request)?)?;
            Answer::document(&document(settings, &name, &record))
        }
        (_, [_] | [_, "generateverificationcode" | "verify"]) => {
            Err(ServiceError::MethodNotAllowed(request.method.to_string()))
        }
        _ => Err(ServiceError::ResourceNotFound(request.path())),
    }
}

/// A name as it was first written, if it was.
fn certificate_name(dps: &Dps, text: &str) -> Result<CertificateName, ServiceError> {
    let name: CertificateName = text
        .parse()
        .map_err(|error| ServiceError::ArgumentInvalid(format!("{error}")))?;
    let first = dps.store().authorities().first_spelling(&name).cloned();
    Ok(first.unwrap_or(name))
}

fn list_certificates(dps: &Dps) -> Result<Answer, ServiceError> {
    let store = dps.store();
    let authorities = store.authorities().iter();
    let documents = authorities
        .map(|(name, record)| to_value(&document(&dps.settings, name, record)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Answer::ok(json!({"value": documents})))
}

fn get(dps: &Dps, name: &CertificateName, if_match: IfMatch) -> Result<Answer, ServiceError> {
    let store = dps.store();
    let record = store.authorities().get(name);
    let record = record.ok_or_else(|| ServiceError::CertificateNotFound(name.to_string()))?;
    match if_match {
        IfMatch::Tag(etag) if etag != record.etag => Err(ServiceError::PreconditionFailed),
        _ => Answer::document(&document(&dps.settings, name, record)),
    }
}

/// `If-Match`, where the operation demands it.
fn required(request: &Request) -> Result<IfMatch, ServiceError> {
    match request.if_match()? {
        IfMatch::Absent => Err(ServiceError::ArgumentInvalid(
            "The header If-Match is required.".to_owned(),
        )),
        if_match => Ok(if_match),
    }
}

/// The certificate of a PUT, and whether its uploader attests possession.
fn upload(body: &Value) -> Result<(Certificate, bool), ServiceError> {
    let properties = body.get("properties").unwrap_or(body);
    let attested = properties.get("isVerified").and_then(Value::as_bool);
    Ok((certificate_of(properties)?, attested.unwrap_or(false)))
}

fn certificate_of(members: &Value) -> Result<Certificate, ServiceError> {
    let text = members.get("certificate").and_then(Value::as_str);
    text.and_then(pem::certificate_in_json).ok_or_else(|| {
        ServiceError::ArgumentInvalid(
            "The member certificate holds no certificate that can be read.".to_owned(),
        )
    })
}

fn document(
    settings: &Settings,
    name: &CertificateName,
    record: &Record<Authority>,
) -> CaCertificate {
    let authority = &record.value;
    let certificate = &authority.certificate;
    let mut other = OtherMembers::new();
    let id = format!("{}/certificates/{name}", settings.resource_id());
    other.insert("id".to_owned(), json!(id));
    let kind = "Microsoft.Devices/ProvisioningServices/Certificates";
    other.insert("type".to_owned(), json!(kind));
    CaCertificate {
        name: name.clone(),
        properties: CaCertificateProperties {
            subject: Some(certificate.subject().to_string()),
            expiry: Some(certificate.validity().not_after().to_rfc1123()),
            thumbprint: Some(certificate.sha1_thumbprint()),
            is_verified: authority.is_verified,
            certificate: Some(base64_of(certificate)),
            verification_code: None,
            created: Some(record.created.to_rfc1123()),
            updated: Some(record.updated.to_rfc1123()),
            other: OtherMembers::new(),
        },
        etag: Some(record.etag.clone()),
        other,
    }
}

fn base64_of(certificate: &Certificate) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(certificate.der())
}
