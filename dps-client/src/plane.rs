//! One plane at one address: what all its operations have in common.
//!
//! An operation is authorized, takes its turn, is sent, and is sent again where [`crate::retry`]
//! allows it. Each plane's module says what its operations are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderName, IF_MATCH};
use http::{HeaderMap, HeaderValue, Method};
use pki_core::time::Time;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::api_version::ApiVersion;
use crate::auth::Credential;
use crate::base_url::BaseUrl;
use crate::error::{ClientError, ServiceError};
use crate::limit::Limit;
use crate::retry::{Repeat, RetryPolicy, Setback};
use crate::transport::{Request, Response, Transport, TransportError};

/// A plane at an address, with everything that its requests need. Clones share all of it.
#[derive(Clone)]
pub struct Plane {
    transport: Arc<dyn Transport>,
    base: BaseUrl,
    api_version: ApiVersion,
    credential: Option<Arc<dyn Credential>>,
    retry: RetryPolicy,
    limit: Option<Limit>,
}

impl Plane {
    /// A plane without a credential (for a device, whose certificate is shown by the transport) and
    /// without a limit, with the default [`RetryPolicy`].
    pub fn new(transport: Arc<dyn Transport>, base: BaseUrl, api_version: ApiVersion) -> Self {
        let retry = RetryPolicy::default();
        Self {
            transport,
            base,
            api_version,
            credential: None,
            retry,
            limit: None,
        }
    }

    /// Authorizes requests with this credential.
    #[must_use]
    pub fn with_credential(self, credential: Arc<dyn Credential>) -> Self {
        Self {
            credential: Some(credential),
            ..self
        }
    }

    /// Repeats requests by this policy.
    #[must_use]
    pub fn with_retry(self, retry: RetryPolicy) -> Self {
        Self { retry, ..self }
    }

    /// Sends requests no faster than this.
    #[must_use]
    pub fn with_limit(self, limit: Limit) -> Self {
        Self {
            limit: Some(limit),
            ..self
        }
    }

    /// Where the plane is.
    pub fn base_url(&self) -> &BaseUrl {
        &self.base
    }

    /// The version of the API that is spoken.
    pub fn api_version(&self) -> &ApiVersion {
        &self.api_version
    }

    /// How requests are repeated.
    pub(crate) fn retry(&self) -> &RetryPolicy {
        &self.retry
    }

    /// What time it is where the plane is, by the `Date` of an answer (RFC 9110 §6.6.1): to a request
    /// that asks for nothing, shows no credential, and is sent once.
    ///
    /// # Errors
    /// [`ClientError::Transport`] if there is no answer in a few seconds; [`ClientError::Incomplete`] if
    /// it does not tell the time.
    pub async fn time(&self) -> Result<Time, ClientError> {
        /// Somebody waits, and the answer is one of several ways to know.
        const MOST: Duration = Duration::from_secs(5);
        let url = self.base.at(&[])?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let request = Request {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: None,
        };
        let operation = "GET /".to_owned();
        let answer = tokio::time::timeout(MOST, self.transport.send(request))
            .await
            .unwrap_or(Err(TransportError::Timeout { host, after: MOST }));
        let response = match answer {
            Ok(response) => response,
            Err(source) => return Err(ClientError::Transport { operation, source }),
        };
        date(&response.headers).ok_or(ClientError::Incomplete {
            operation,
            what: "date",
        })
    }

    /// Sends an operation until it succeeds or fails for good.
    pub(crate) async fn send(&self, operation: Operation) -> Result<Answer, ClientError> {
        let mut url = self.base.at(&operation.path())?;
        url.query_pairs_mut()
            .append_pair("api-version", self.api_version.as_str());
        self.send_to(url, operation).await
    }

    /// Sends an operation to an address that the service gave.
    pub(crate) async fn send_to(
        &self,
        url: Url,
        operation: Operation,
    ) -> Result<Answer, ClientError> {
        let name = format!("{} {}", operation.method, url.path());
        if !self.base.shares_origin(&url) {
            return Err(ClientError::Elsewhere {
                operation: name,
                address: url.to_string(),
            });
        }
        let mut attempt = 1;
        let mut waited = Duration::ZERO;
        loop {
            let error = match self.attempt(&name, &url, &operation).await {
                Ok(response) => {
                    return Ok(Answer {
                        operation: name,
                        response,
                    });
                }
                Err(error) => error,
            };
            let wait = Setback::in_error(&error).and_then(|setback| {
                self.retry
                    .next_wait(attempt, waited, setback, operation.repeat, jitter())
            });
            let Some(wait) = wait else { return Err(error) };
            tracing::info!(operation = name, attempt, ?wait, %error, "trying again");
            tokio::time::sleep(wait).await;
            (attempt, waited) = (attempt + 1, waited + wait);
        }
    }

    async fn attempt(
        &self,
        name: &str,
        url: &Url,
        operation: &Operation,
    ) -> Result<Response, ClientError> {
        if let Some(limit) = &self.limit {
            limit.turn().await;
        }
        let request = Request {
            method: operation.method.clone(),
            url: url.clone(),
            headers: self.headers(name, operation).await?,
            body: operation.body.clone(),
        };
        let response =
            self.transport
                .send(request)
                .await
                .map_err(|source| ClientError::Transport {
                    operation: name.to_owned(),
                    source,
                })?;
        tracing::debug!(
            operation = name,
            status = response.status.as_u16(),
            "answered"
        );
        if response.status.is_success() {
            return Ok(response);
        }
        Err(ClientError::Service(Box::new(ServiceError::read(
            name.to_owned(),
            &response,
        ))))
    }

    async fn headers(&self, name: &str, operation: &Operation) -> Result<HeaderMap, ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if operation.body.is_some() {
            let json = HeaderValue::from_static("application/json; charset=utf-8");
            headers.insert(CONTENT_TYPE, json);
        }
        for (name, value) in &operation.headers {
            headers.insert(name, header_value(name, value)?);
        }
        if let Some(credential) = &self.credential {
            let authorization =
                credential
                    .authorization()
                    .await
                    .map_err(|source| ClientError::Credential {
                        operation: name.to_owned(),
                        source,
                    })?;
            let mut value = header_value(&AUTHORIZATION, authorization.expose_secret())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }
}

impl fmt::Debug for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plane")
            .field("base", &self.base)
            .field("api_version", &self.api_version)
            .field("retry", &self.retry)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// One operation of a plane, before it has an address and a credential.
#[derive(Clone)]
pub(crate) struct Operation {
    method: Method,
    path: Vec<String>,
    headers: Vec<(HeaderName, String)>,
    body: Option<Vec<u8>>,
    repeat: Repeat,
}

impl Operation {
    /// A read; it may be repeated.
    pub(crate) fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path, Repeat::Harmless)
    }

    /// A read by POST, as the services have it for keys and queries; it may be repeated.
    pub(crate) fn read_by_post(path: &[&str]) -> Self {
        Self::new(Method::POST, path, Repeat::Harmless)
    }

    /// A write; it may be repeated once it has an `If-Match`.
    pub(crate) fn write(method: Method, path: &[&str]) -> Self {
        Self::new(method, path, Repeat::Harmful)
    }

    fn new(method: Method, path: &[&str], repeat: Repeat) -> Self {
        let path = path.iter().map(|segment| (*segment).to_owned()).collect();
        Self {
            method,
            path,
            headers: Vec::new(),
            body: None,
            repeat,
        }
    }

    /// Declares a write to be harmless if it is done twice.
    pub(crate) fn repeatable(self) -> Self {
        Self {
            repeat: Repeat::Harmless,
            ..self
        }
    }

    /// With this `If-Match`, if any.
    pub(crate) fn if_match(self, value: Option<String>) -> Self {
        match value {
            Some(value) => self.header(IF_MATCH, value).repeatable(),
            None => self,
        }
    }

    /// With this header.
    pub(crate) fn header(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With this value as its body.
    pub(crate) fn value(self, value: &serde_json::Value) -> Self {
        Self {
            body: Some(value.to_string().into_bytes()),
            ..self
        }
    }

    /// With this document as its body.
    pub(crate) fn json<T: Serialize>(self, document: &T) -> Result<Self, ClientError> {
        let body = serde_json::to_vec(document).map_err(ClientError::Body)?;
        Ok(Self {
            body: Some(body),
            ..self
        })
    }

    fn path(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }
}

/// A successful answer, and what it answers.
pub(crate) struct Answer {
    /// Verb and path.
    pub(crate) operation: String,
    /// The answer itself.
    pub(crate) response: Response,
}

impl Answer {
    /// The document in the body.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.response.body).map_err(|source| ClientError::Answer {
            operation: self.operation.clone(),
            source,
        })
    }
}

/// The moment at which an answer was made.
fn date(headers: &HeaderMap) -> Option<Time> {
    let text = headers.get(DATE)?.to_str().ok()?;
    Time::from_rfc1123(text).ok()
}

fn header_value(name: &HeaderName, value: &str) -> Result<HeaderValue, ClientError> {
    HeaderValue::from_str(value).map_err(|_| ClientError::Header { name: name.clone() })
}

/// A random number from 0 to 1. Without randomness it is 0: the wait is merely not drawn out.
pub(crate) fn jitter() -> f64 {
    let mut octets = [0; 2];
    let _ = aws_lc_rs::rand::fill(&mut octets);
    f64::from(u16::from_be_bytes(octets)) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_read_or_there_is_none() {
        let read = |text: &'static str| {
            let headers = [(DATE, HeaderValue::from_static(text))];
            date(&headers.into_iter().collect())
        };
        let moment: Time = "1994-11-06T08:49:37Z".parse().expect("time");
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(moment));
        assert_eq!(read("soon"), None);
        assert_eq!(date(&HeaderMap::new()), None);
    }
}
