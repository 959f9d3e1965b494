//! A device at DPS: topics turned into requests of the device plane, and its answers into topics.
//!
//! The user name and the credential are judged at CONNECT, as far as that needs no enrollment: a
//! certificate must have the registration ID as its common name, a token must be a device's own.
//! Whether the device is let in is the answer to `register`, with the status and body that HTTPS has.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http_body_util::BodyExt as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pki_core::certificate::Certificate;
use pki_core::ids::RegistrationId;

use super::session::{Ending, Message};
use super::user::{parameter, raw_parameter};
use crate::domain::Dps;
use crate::domain::admission::Credential;
use crate::error::ServiceError;
use crate::planes::{self, Request};

/// The only topic filter that there is.
pub(super) const ANSWERS: &str = "$dps/registrations/res/#";

const REGISTER: &str = "$dps/registrations/PUT/iotdps-register/";
const POLL: &str = "$dps/registrations/GET/iotdps-get-operationstatus/";

const UNAUTHORIZED: ServiceError = ServiceError::Unauthorized("Unauthorized");

/// A device that registers.
pub(super) struct Registrant {
    pub(super) id_scope: String,
    pub(super) id: RegistrationId,
    pub(super) api_version: String,
    /// The password: a token.
    pub(super) authorization: Option<String>,
    pub(super) presented: Arc<[Certificate]>,
    pub(super) dps: Arc<Dps>,
}

impl Registrant {
    /// Judges what CONNECT shows.
    pub(super) fn check(&self) -> Result<(), ServiceError> {
        let id_scope = self.dps.settings.id_scope.as_str();
        if !self.id_scope.eq_ignore_ascii_case(id_scope) {
            return Err(UNAUTHORIZED);
        }
        match (&self.authorization, self.presented.first()) {
            (Some(token), _) => self.dps.recognize(&self.id, Credential::Token(token)),
            (None, Some(leaf)) => {
                let claimed = leaf.common_name().and_then(|name| name.parse().ok());
                if claimed.as_ref() == Some(&self.id) {
                    Ok(())
                } else {
                    Err(UNAUTHORIZED)
                }
            }
            (None, None) => Err(UNAUTHORIZED),
        }
    }

    /// Answers what a device published.
    pub(super) async fn published(&self, topic: &str, payload: Bytes) -> Result<Message, Ending> {
        let unknown = Ending::NotAllowed("DPS has no such topic");
        let (method, path, parameters) =
            match (topic.strip_prefix(REGISTER), topic.strip_prefix(POLL)) {
                (Some(parameters), _) => (Method::PUT, "register".to_owned(), parameters),
                (None, Some(parameters)) => {
                    let operation = parameter(parameters, "operationId").unwrap_or_default();
                    (
                        Method::GET,
                        format!("operations/{}", encoded(&operation)),
                        parameters,
                    )
                }
                (None, None) => return Err(unknown),
            };
        let request_id = raw_parameter(parameters, "$rid").ok_or(unknown)?;
        let response = match self.request(method, &path, payload) {
            Ok(request) => planes::answer(&self.dps, &request).await,
            Err(error) => planes::unreadable(&self.dps, &error),
        };
        if let Some(planes::Cut) = response.extensions().get() {
            return Err(Ending::Cut);
        }
        let (head, body) = response.into_parts();
        // $rid comes first and retry-after behind an ampersand: Microsoft's clients look there.
        let mut topic = format!(
            "$dps/registrations/res/{}/?$rid={request_id}",
            head.status.as_u16()
        );
        let retry_after = head.headers.get(RETRY_AFTER);
        if let Some(seconds) = retry_after.and_then(|value| value.to_str().ok()) {
            topic.push_str("&retry-after=");
            topic.push_str(seconds);
        }
        let Ok(body) = body.collect().await;
        let payload = body.to_bytes();
        Ok(Message { topic, payload })
    }

    /// The same request as it comes over HTTPS.
    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request, ServiceError> {
        let [scope, id, version] =
            [&self.id_scope, self.id.as_str(), &self.api_version].map(encoded);
        let uri = format!("/{scope}/registrations/{id}/{path}?api-version={version}");
        let mut request = http::Request::builder().method(method).uri(uri);
        if let Some(token) = &self.authorization {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(()).map_err(|_| UNAUTHORIZED)?;
        Request::new(request.into_parts().0, body, Arc::clone(&self.presented))
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
