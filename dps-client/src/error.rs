//! What went wrong, with what the service said about it.
//!
//! The services have four shapes of error bodies, and the hub two of its own; all are read here into
//! one [`ServiceError`]. Decide by status, never by the message: its text is not stable, and one code
//! (401002) covers four causes.
//! Invariant: no secret is in an error. Request bodies and headers are never repeated.

mod body;

use std::fmt;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, StatusCode};
use pki_core::ids::RegistrationId;

use self::body::Said;
use crate::auth::CredentialError;
use crate::base_url::BaseUrlError;
use crate::transport::{Response, TransportError};

/// Why an operation on a plane failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The service answered with an error.
    #[error(transparent)]
    Service(Box<ServiceError>),
    /// There was no answer.
    #[error("{operation} was not answered")]
    Transport {
        /// Verb and path.
        operation: String,
        /// What the network said.
        source: TransportError,
    },
    /// The answer cannot be read.
    #[error("the answer to {operation} cannot be read")]
    Answer {
        /// Verb and path.
        operation: String,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// The answer lacks something.
    #[error("the answer to {operation} has no {what}")]
    Incomplete {
        /// Verb and path.
        operation: String,
        /// What it lacks.
        what: &'static str,
    },
    /// The service refers to another host, which is not shown our token.
    #[error("the answer to {operation} goes on at {address}, which is another host")]
    Elsewhere {
        /// Verb and path.
        operation: String,
        /// The other address.
        address: String,
    },
    /// There is nothing to authorize the request with.
    #[error("{operation} cannot be authorized")]
    Credential {
        /// Verb and path.
        operation: String,
        /// Why not.
        source: CredentialError,
    },
    /// A name that cannot be asked for.
    #[error("the request has no address")]
    Address(#[from] BaseUrlError),
    /// A value that cannot stand in a header, such as an ETag with a line break.
    #[error("the request's header {name} cannot be written")]
    Header {
        /// The header.
        name: HeaderName,
    },
    /// A document that cannot be written as JSON.
    #[error("the request's body cannot be written")]
    Body(#[source] serde_json::Error),
    /// More records at once than the service takes.
    #[error("{count} records in one bulk operation, at most {most} are allowed")]
    TooManyRecords {
        /// How many there were.
        count: usize,
        /// How many the service takes.
        most: usize,
    },
    /// A registration did not come to its end in time. It may still do so.
    #[error("the registration of {registration_id} did not end within {} seconds", deadline.as_secs())]
    Deadline {
        /// Whose registration.
        registration_id: RegistrationId,
        /// How long it had.
        deadline: Duration,
    },
}

/// An answer with an error status.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceError {
    /// Verb and path of the request.
    pub operation: String,
    /// The HTTP status.
    pub status: StatusCode,
    /// The service's own code: a number (`404201`) or a word (`DeviceNotFound`).
    pub code: Option<String>,
    /// What the service said, for people.
    pub message: Option<String>,
    /// What the service's support asks for: its tracking ID or correlation identifier.
    pub tracking_id: Option<String>,
    /// How long the service asks to wait.
    pub retry_after: Option<Duration>,
}

impl ClientError {
    /// The answer, if the service gave one.
    pub fn service(&self) -> Option<&ServiceError> {
        match self {
            Self::Service(error) => Some(error),
            _ => None,
        }
    }

    /// The status of the answer, if the service gave one.
    pub fn status(&self) -> Option<StatusCode> {
        self.service().map(|error| error.status)
    }

    /// Why, without the request: a host that answers so to one answers so to others.
    pub fn cause(&self) -> String {
        match self {
            Self::Service(error) => error.answer(),
            Self::Transport { source, .. } => source.to_string(),
            Self::Credential { source, .. } => source.to_string(),
            Self::Answer { .. } | Self::Incomplete { .. } => "its answer cannot be read".to_owned(),
            Self::Elsewhere { address, .. } => {
                format!("its answer goes on at {address}, which is another host")
            }
            error => error.to_string(),
        }
    }

    /// Whether the same operation may succeed later as it is: throttled, unavailable or cut off.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Service(error) => error.is_throttled() || error.status.is_server_error(),
            Self::Transport { source, .. } => !matches!(source, TransportError::Tls { .. }),
            Self::Deadline { .. } => true,
            _ => false,
        }
    }

    /// Whether the record was there although none was expected (409).
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(StatusCode::CONFLICT)
    }

    /// Whether the record had changed since its tag was read (412).
    pub fn is_precondition_failed(&self) -> bool {
        self.status() == Some(StatusCode::PRECONDITION_FAILED)
    }

    /// Whether there is no such record (404).
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }
}

/// `None` for a record that is not there; every other error stays one.
pub(crate) fn found<T>(answer: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match answer {
        Ok(record) => Ok(Some(record)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

impl ServiceError {
    /// Whether the service asks for fewer requests (429).
    pub fn is_throttled(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// What was answered, without what was asked.
    fn answer(&self) -> String {
        let mut answer = self.status.to_string();
        if let Some(code) = &self.code {
            answer.push_str(&format!(", {code}"));
        }
        if let Some(message) = &self.message {
            answer.push_str(&format!(": {message}"));
        }
        if let Some(id) = &self.tracking_id
            && !self
                .message
                .as_ref()
                .is_some_and(|message| message.contains(id))
        {
            answer.push_str(&format!(" (tracking ID {id})"));
        }
        answer
    }

    /// Reads an answer in any of the shapes that the services use.
    pub(crate) fn read(operation: String, response: &Response) -> Self {
        let said = Said::read(&response.body);
        let header = |name| header_text(&response.headers, name);
        Self {
            operation,
            status: response.status,
            code: header("iothub-errorcode")
                .or(said.code)
                .or_else(|| header("x-ms-error-code")),
            message: said.message,
            tracking_id: said
                .tracking_id
                .or_else(|| header("x-ms-correlation-request-id"))
                .or_else(|| header("x-ms-request-id")),
            retry_after: retry_after(&response.headers),
        }
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was answered {}", self.operation, self.answer())
    }
}

impl std::error::Error for ServiceError {}

/// The wait that an answer asks for. The services write seconds, never a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> ServiceError {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().expect("name"), HeaderValue::from_static(value)))
            .collect();
        let status = StatusCode::from_u16(status).expect("status");
        ServiceError::read(
            "GET /x".to_owned(),
            &Response {
                status,
                headers,
                body: body.as_bytes().to_vec(),
            },
        )
    }

    fn said(error: &ServiceError) -> [&str; 3] {
        [&error.code, &error.message, &error.tracking_id].map(|part| part.as_deref().unwrap_or("-"))
    }

    /// DPS data planes: `ProvisioningServiceErrorDetails`.
    #[test]
    fn data_plane_errors_have_a_number_and_a_tracking_id() {
        let error = read(
            401,
            &[],
            r#"{"errorCode":401002,"trackingId":"408d5ad7","message":"CA certificate not found.","timestampUtc":"2019-08-23T09:17:53.762099Z"}"#,
        );
        assert_eq!(
            said(&error),
            ["401002", "CA certificate not found.", "408d5ad7"]
        );
        assert_eq!(
            error.to_string(),
            "GET /x was answered 401 Unauthorized, 401002: CA certificate not found. (tracking ID 408d5ad7)"
        );
    }

    /// ARM, `ErrorDetails` of the provider.
    #[test]
    fn flat_arm_errors_hide_their_identifier_in_the_message() {
        let message = "Invalid ETag supplied. If you contact a support representative please include this correlation identifier: 0f1e-2d, timestamp: 2023-02-03 08:23:09Z, errorcode: IH412001.";
        let body = serde_json::json!({"code":412001,"httpStatusCode":"PreconditionFailed","message":message});
        let error = read(412, &[], &body.to_string());
        assert_eq!(said(&error), ["412001", message, "0f1e-2d"]);
        assert!(!error.to_string().contains("(tracking ID"), "{error}");
    }

    /// ARM, `ErrorResponse` of ARM itself.
    #[test]
    fn nested_arm_errors_have_a_word_and_their_identifier_in_a_header() {
        let error = read(
            404,
            &[
                ("x-ms-correlation-request-id", "c0ffee"),
                ("x-ms-request-id", "other"),
            ],
            r#"{"error":{"code":"ResourceNotFound","message":"The Resource was not found."}}"#,
        );
        assert_eq!(
            said(&error),
            ["ResourceNotFound", "The Resource was not found.", "c0ffee"]
        );
    }

    #[test]
    fn hub_errors_are_read_in_both_forms_and_the_header_wins() {
        let old = r#"{"Message":"ErrorCode:DeviceNotFound;E2E: DeviceNotFound","ExceptionMessage":"Tracking ID:ab-G:11-TimeStamp:07/16/2016 00:12:41"}"#;
        let new = r#"{"Message":"{\"errorCode\":404001,\"message\":\"no such device\",\"trackingId\":\"cd\",\"info\":null}","ExceptionMessage":""}"#;
        let tracking = "ab-G:11-TimeStamp:07/16/2016 00:12:41";
        assert_eq!(
            said(&read(404, &[], old)),
            ["DeviceNotFound", "E2E: DeviceNotFound", tracking]
        );
        assert_eq!(
            said(&read(404, &[], new)),
            ["404001", "no such device", "cd"]
        );
        let header = [("iothub-errorcode", "DeviceNotFound")];
        assert_eq!(
            said(&read(404, &header, new)),
            ["DeviceNotFound", "no such device", "cd"]
        );
    }

    #[test]
    fn what_is_no_json_is_shortened_and_shown() {
        let page = format!("<html>\n  bad gateway {}", "x".repeat(500));
        let error = read(502, &[("retry-after", "7")], &page);
        assert!(
            error
                .message
                .as_deref()
                .is_some_and(|text| text.starts_with("<html> bad") && text.len() == 200)
        );
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(said(&read(500, &[], "")), ["-", "-", "-"]);
    }

    #[test]
    fn the_status_alone_sorts_errors() {
        let sorted = |status| {
            let error = ClientError::Service(Box::new(read(status, &[], "{}")));
            [
                error.is_transient(),
                error.is_conflict(),
                error.is_precondition_failed(),
                error.is_not_found(),
            ]
        };
        assert_eq!(sorted(429), [true, false, false, false]);
        assert_eq!(sorted(503), [true, false, false, false]);
        assert_eq!(sorted(409), [false, true, false, false]);
        assert_eq!(sorted(412), [false, false, true, false]);
        assert_eq!(sorted(404), [false, false, false, true]);
        assert_eq!(sorted(401), [false; 4]);
    }
}
