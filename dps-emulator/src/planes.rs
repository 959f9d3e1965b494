//! The planes on the one port, told apart by path: `/subscriptions/…` and `/providers/…` are
//! management, `/enrollments…`
//! and `/registrations/…` are the service, `/devices…`, `/twins…` and `/statistics…` are a hub's, and
//! `/{idScope}/registrations/…` are the devices.
//!
//! `/$emulator…` is no plane of Azure's: it is the door for whoever runs the instance.
//!
//! A plane turns a request into a call of [`crate::domain`] and its result into an answer; it decides
//! nothing. Paths are matched as whole segments, decoded and without regard to case, since Microsoft's
//! clients differ in case and in a last slash; that is why there is no router library here.

mod control;
mod device;
mod hub;
mod logged;
mod management;
mod method;
mod page;
mod request;
mod service;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::{Map, Value};

pub(crate) use request::Request;

use crate::domain::Dps;
use crate::error::{Occasion, Plane, ServiceError};
use crate::faults::Fate;
use crate::store::IfMatch;

/// What a plane answers.
#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl Answer {
    fn new(status: StatusCode, body: Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Some(body),
        }
    }

    fn ok(body: Value) -> Self {
        Self::new(StatusCode::OK, body)
    }

    /// 200 with a document.
    fn document(document: &impl Serialize) -> Result<Self, ServiceError> {
        Ok(Self::ok(to_value(document)?))
    }

    fn no_content() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            headers: Vec::new(),
            body: None,
        }
    }

    /// 200 with nothing.
    fn empty() -> Self {
        Self {
            status: StatusCode::OK,
            ..Self::no_content()
        }
    }

    fn with_header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

/// Marks a response that is never sent: the connection is to be cut instead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut;

/// Answers a request, whatever plane it is for. A response with [`Cut`] among its extensions is not
/// to be sent.
pub(crate) async fn answer(dps: &Arc<Dps>, request: &Request) -> Response<Full<Bytes>> {
    let tried = dps.progress.tried();
    if control::is_meant(request) {
        let answered = control::answer(dps, request);
        return match dps.kept_since(tried).await.and(answered) {
            Ok(answer) => to_response(answer),
            Err(error) => unreadable(dps, &error),
        };
    }
    let fate = dps.faults.draw();
    if fate == Fate::Cut {
        return cut();
    }
    let began = Instant::now();
    let (plane, answered) = match fate {
        Fate::Unavailable => (plane_of(request), Err(ServiceError::Unavailable)),
        _ => dispatch(dps, request).await,
    };
    let result = dps.kept_since(tried).await.and(answered);
    let request_id = dps.random().uuid().unwrap_or_default().to_string();
    logged::note(
        dps,
        request,
        &request_id,
        result.as_ref().err(),
        began.elapsed(),
    );
    let answer = result.unwrap_or_else(|error| refusal(dps, plane, &request_id, &error));
    if fate == Fate::CutAfterwards {
        return cut();
    }
    tracing::debug!(
        method = %request.method, path = %request.path(), status = answer.status.as_u16(), "answered"
    );
    to_response(answer.with_header("x-ms-request-id", request_id))
}

/// An answer to a request that is for no plane, or could not even be read.
pub(crate) fn unreadable(dps: &Dps, error: &ServiceError) -> Response<Full<Bytes>> {
    let request_id = dps.random().uuid().unwrap_or_default().to_string();
    to_response(refusal(dps, Plane::Data, &request_id, error))
}

fn cut() -> Response<Full<Bytes>> {
    let mut response = Response::default();
    response.extensions_mut().insert(Cut);
    response
}

async fn dispatch(dps: &Arc<Dps>, request: &Request) -> (Plane, Result<Answer, ServiceError>) {
    let plane = plane_of(request);
    if let Ok(IfMatch::Tag(_)) = request.if_match()
        && request.method != http::Method::GET
        && dps.faults.is_stale()
    {
        return (plane, Err(ServiceError::PreconditionFailed));
    }
    let folded = request.folded();
    let result = match (plane, folded.first().map(String::as_str)) {
        (Plane::Management, _) => management::answer(dps, request),
        (Plane::Hub, _) if method::is_meant(request) => method::answer(dps, request).await,
        (Plane::Hub, _) => hub::answer(dps, request),
        (Plane::Data, Some("enrollments" | "enrollmentgroups" | "registrations")) => {
            service::answer(dps, request)
        }
        (Plane::Data, Some(_)) if folded.get(1).is_some_and(|word| word == "registrations") => {
            device::answer(dps, request)
        }
        // A hub that is called by its name is asked for what it has not, whatever it is.
        _ if dps.names_hub(request.host().unwrap_or_default()) => {
            return (Plane::Hub, hub::answer(dps, request));
        }
        _ => Err(ServiceError::NoSuchPath),
    };
    (plane, result)
}

fn plane_of(request: &Request) -> Plane {
    let folded = request.folded();
    match folded.first().map(String::as_str) {
        Some("subscriptions" | "providers") => Plane::Management,
        Some(
            "devices" | "twins" | "statistics" | "configurations" | "jobs" | "digitaltwins"
            | "messages",
        ) => Plane::Hub,
        _ => Plane::Data,
    }
}

fn refusal(dps: &Dps, plane: Plane, request_id: &str, error: &ServiceError) -> Answer {
    if error.status().is_server_error() {
        tracing::error!(%error, "the emulator failed");
    }
    let occasion = Occasion {
        tracking_id: request_id.to_owned(),
        timestamp: dps.now().to_string(),
    };
    let mut answer = Answer::new(error.status(), error.body(plane, &occasion));
    if let Some(seconds) = error.retry_after_seconds() {
        answer = answer.with_header("retry-after", seconds);
    }
    match plane {
        Plane::Hub => answer.with_header("iothub-errorcode", error.name()),
        Plane::Data => answer.with_header("x-ms-error-code", error.code()),
        Plane::Management => answer,
    }
}

fn to_response(answer: Answer) -> Response<Full<Bytes>> {
    let body = answer.body.as_ref().map(ascii_json).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    if answer.body.is_some() {
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        headers.insert(CONTENT_TYPE, json);
    }
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

fn to_value(document: &impl Serialize) -> Result<Value, ServiceError> {
    serde_json::to_value(document).map_err(|error| ServiceError::Server(error.to_string()))
}

/// Puts these members first, in this order.
fn in_order(members: &mut Map<String, Value>, names: &[&str]) {
    let first: Map<String, Value> = names
        .iter()
        .filter_map(|name| members.shift_remove_entry(*name))
        .collect();
    let others = std::mem::replace(members, first);
    members.extend(others);
}

/// JSON in ASCII: one of Microsoft's device SDKs reads nothing else.
fn ascii_json(value: &Value) -> String {
    let text = value.to_string();
    if text.is_ascii() {
        return text;
    }
    let mut ascii = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if character.is_ascii() {
            ascii.push(character);
            continue;
        }
        let mut units = [0; 2];
        for unit in character.encode_utf16(&mut units) {
            ascii.push_str(&format!("\\u{unit:04x}"));
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use http::Method;
    use pki_core::enrollment::{AllocationPolicy, OtherMembers};
    use pki_core::ids::Etag;
    use pki_core::ports::system::{SystemClock, SystemEntropy};
    use secrecy::SecretString;
    use serde_json::json;

    use super::*;
    use crate::behavior::Behavior;
    use crate::domain::Settings;
    use crate::store::resource::Resource;
    use crate::store::writer::testing::{Gate, gate};
    use crate::store::{StateError, Store};
    use crate::webhook::HttpWebhooks;

    fn dps(keeper: Gate) -> Arc<Dps> {
        let (store, _) = Store::open(Box::new(keeper)).expect("a store");
        let settings = Settings {
            name: "emulator".to_owned(),
            id_scope: "0ne00000000".parse().expect("an ID scope"),
            subscription: String::new(),
            resource_group: String::new(),
            bearer_token: None,
            assigning_rounds: 0,
            retry_after_seconds: 0,
            host_names: Vec::new(),
            control_token: SecretString::default(),
        };
        let resource = Resource {
            policies: Vec::new(),
            hubs: Vec::new(),
            allocation: AllocationPolicy::Hashed,
            tags: OtherMembers::new(),
            etag: Etag::new("1"),
            other: OtherMembers::new(),
        };
        let clock = Arc::new(SystemClock);
        let entropy = Arc::new(SystemEntropy);
        let webhooks = Arc::new(HttpWebhooks);
        let behavior = Behavior::default();
        Arc::new(Dps::new(
            settings, resource, behavior, clock, entropy, store, webhooks,
        ))
    }

    async fn ask(dps: &Arc<Dps>, method: Method, id: &str) -> StatusCode {
        let body = json!({"registrationId": id, "attestation": {"type": "symmetricKey"}});
        let (parts, ()) = http::Request::builder()
            .method(method)
            .uri(format!("/enrollments/{id}?api-version=2021-10-01"))
            .header("authorization", "Bearer anything")
            .body(())
            .expect("a request")
            .into_parts();
        let request = Request::new(parts, body.to_string().into(), Arc::default());
        answer(dps, &request.expect("a request")).await.status()
    }

    /// Also not to somebody else who reads it.
    #[tokio::test]
    async fn no_answer_leaves_before_what_it_tells_is_kept() {
        let (gate, gatekeeper) = gate();
        let dps = dps(gate);
        let written = ask(&dps, Method::PUT, "dev-1");
        tokio::pin!(written);
        assert!(written.as_mut().now_or_never().is_none());
        let read = ask(&dps, Method::GET, "dev-1");
        tokio::pin!(read);
        assert!(read.as_mut().now_or_never().is_none());
        gatekeeper.end_attempt(Ok(()));
        assert_eq!(written.await, StatusCode::OK);
        assert_eq!(read.await, StatusCode::OK);

        gatekeeper.end_attempt(Err(StateError::Ended));
        let failed = ask(&dps, Method::PUT, "dev-2").await;
        assert_eq!(failed, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(ask(&dps, Method::GET, "dev-1").await, StatusCode::OK);
        gatekeeper.end_attempt(Ok(()));
        assert_eq!(ask(&dps, Method::PUT, "dev-3").await, StatusCode::OK);
    }

    #[test]
    fn answers_are_ascii_and_say_the_same() {
        let value = json!({"näme": "Gerät 🔑"});
        let text = ascii_json(&value);
        assert!(text.is_ascii());
        assert_eq!(serde_json::from_str::<Value>(&text).expect("json"), value);
    }
}
