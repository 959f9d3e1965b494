//! CA certificates in ARM: uploaded, proven, deleted.
//!
//! The body of a PUT is flat up to 2021-10-15 and nested under `properties` from 2022-02-05 on; both
//! are read, whatever the version. Dates are RFC 1123; that of the upload is told as year 1. Of the
//! certificate itself no answer tells but the one that brings a code.

use http::Method;
use pki_core::certificate::{Certificate, pem};
use pki_core::enrollment::OtherMembers;
use pki_core::ids::CertificateName;
use pki_core::management::{CaCertificate, CaCertificateProperties};
use serde_json::{Value, json};

use crate::domain::authority::Upload;
use crate::domain::{Dps, Settings};
use crate::error::ServiceError;
use crate::planes::{Answer, Request, in_order, to_value};
use crate::store::authority::Authority;
use crate::store::{IfMatch, Record};

pub(super) fn answer(dps: &Dps, request: &Request, rest: &[&str]) -> Result<Answer, ServiceError> {
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
            let upload = upload(&request.json()?)?;
            let record = dps.put_authority(&name, upload, request.if_match()?)?;
            shown(&document(settings, &name, &record)).map(Answer::ok)
        }
        (&Method::DELETE, [_]) => {
            dps.delete_authority(&name, required(request)?)?;
            Ok(Answer::empty())
        }
        (&Method::POST, [_, "generateverificationcode"]) => {
            let record = dps.generate_code(&name, required(request)?)?;
            let mut document = document(settings, &name, &record);
            document.properties.other.clear();
            document.properties.certificate = record.value.uploaded_text;
            document.properties.verification_code = record.value.code;
            shown(&document).map(Answer::ok)
        }
        (&Method::POST, [_, "verify"]) => {
            let proof = certificate_of(&request.json()?)?;
            let record = dps.verify_authority(&name, &proof, required(request)?)?;
            shown(&document(settings, &name, &record)).map(Answer::ok)
        }
        (_, [_] | [_, "generateverificationcode" | "verify"]) => {
            Err(ServiceError::MethodNotAllowed(request.method.to_string()))
        }
        _ => Err(ServiceError::ResourceNotFound(request.path())),
    }
}

/// "Never", as ARM writes it.
const NEVER: &str = "Mon, 01 Jan 0001 00:00:00 GMT";

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
    let documents = store
        .authorities()
        .iter()
        .map(|(name, record)| shown(&document(&dps.settings, name, record)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Answer::ok(json!({"value": documents})))
}

fn get(dps: &Dps, name: &CertificateName, if_match: IfMatch) -> Result<Answer, ServiceError> {
    let store = dps.store();
    let record = store
        .authorities()
        .get(name)
        .ok_or_else(|| ServiceError::CertificateNotFound(name.to_string()))?;
    match if_match {
        IfMatch::Tag(etag) if etag != record.etag => Err(ServiceError::PreconditionFailed),
        _ => shown(&document(&dps.settings, name, record)).map(Answer::ok),
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

fn upload(body: &Value) -> Result<Upload, ServiceError> {
    let properties = body.get("properties").unwrap_or(body);
    let text = properties.get("certificate").and_then(Value::as_str);
    let attested = properties.get("isVerified").and_then(Value::as_bool);
    Ok(Upload {
        certificate: certificate_of(properties)?,
        text: text.unwrap_or_default().to_owned(),
        attested: attested.unwrap_or(false),
    })
}

fn certificate_of(members: &Value) -> Result<Certificate, ServiceError> {
    let text = members.get("certificate").and_then(Value::as_str);
    text.and_then(pem::certificate_in_json).ok_or_else(|| {
        ServiceError::ArgumentInvalid(
            "The member certificate holds no certificate that can be read.".to_owned(),
        )
    })
}

/// A document with its members in ARM's order.
fn shown(document: &CaCertificate) -> Result<Value, ServiceError> {
    let mut value = to_value(document)?;
    if let Value::Object(members) = &mut value {
        in_order(members, &["properties", "id", "name", "type", "etag"]);
    }
    if let Some(Value::Object(properties)) = value.get_mut("properties") {
        in_order(properties, &["verificationCode"]);
    }
    Ok(value)
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
    let kind = "Microsoft.Devices/provisioningServices/Certificates";
    other.insert("type".to_owned(), json!(kind));
    let subject = certificate.subject();
    let common_name = subject.common_name();
    // Null, which is more than absent: it is what the live service answers.
    let nothing = OtherMembers::from_iter([("certificate".to_owned(), Value::Null)]);
    CaCertificate {
        name: name.clone(),
        properties: CaCertificateProperties {
            subject: Some(common_name.unwrap_or_else(|| subject.to_string())),
            expiry: Some(certificate.validity().not_after().to_rfc1123()),
            thumbprint: Some(certificate.sha1_thumbprint()),
            is_verified: authority.is_verified,
            certificate: None,
            verification_code: None,
            created: Some(NEVER.to_owned()),
            updated: Some(record.updated_at().to_rfc1123()),
            other: nothing,
        },
        etag: Some(record.etag.clone()),
        other,
    }
}
