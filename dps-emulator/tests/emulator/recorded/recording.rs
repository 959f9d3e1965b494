//! An emulator that is asked what was recorded, and everything that it answered.

use std::collections::BTreeMap;

use dps_emulator::Hub;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::facts::Answer;
use crate::fixture::{World, send, token, with_if_match};

pub(super) struct Recording {
    pub(super) world: World,
    hub: Hub,
    /// The ETag of the record that the next request expects.
    tag: Option<String>,
    /// By the name of the exchange.
    pub(super) answers: BTreeMap<String, Answer>,
}

impl Recording {
    pub(super) async fn start() -> Self {
        let world = World::start().await;
        Self {
            hub: world.linked_hub("hub-1.azure-devices.net"),
            world,
            tag: None,
            answers: BTreeMap::new(),
        }
    }

    /// Lets the next request expect a record of this ETag.
    pub(super) fn if_match(&mut self, tag: &str) -> &mut Self {
        self.tag = Some(tag.to_owned());
        self
    }

    /// Sends a request and notes its answer.
    pub(super) async fn note(&mut self, name: &str, request: RequestBuilder) -> Value {
        let request = with_if_match(request, self.tag.take().as_deref());
        let built = request.try_clone().and_then(|copy| copy.build().ok());
        let reply = send(request).await;
        let answer = Answer {
            status: reply.status,
            headers: texts(&reply.headers),
            body: Some(reply.body.clone()).filter(|body| !body.is_null()),
            request: texts(built.expect("a request").headers()),
        };
        self.answers.insert(name.to_owned(), answer);
        reply.body
    }

    pub(super) async fn service(
        &mut self,
        name: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> Value {
        let request = self.world.signed_request(method, path, &body);
        self.note(name, request).await
    }

    pub(super) async fn arm(
        &mut self,
        name: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> Value {
        let request = self.to_arm(method, path, &body);
        self.note(name, request).await
    }

    pub(super) async fn hub(
        &mut self,
        name: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> Value {
        let request = self.to_hub(method, path, &body);
        self.note(name, request).await
    }

    fn to_arm(&self, method: Method, path: &str, body: &Value) -> RequestBuilder {
        let path = if path.starts_with("/subscriptions") {
            path.to_owned()
        } else {
            format!("{}{path}", self.world.emulator.resource_id())
        };
        let request = self.world.request(method, &path, "2021-10-15", body);
        request.header("Authorization", "Bearer anything")
    }

    fn to_hub(&self, method: Method, path: &str, body: &Value) -> RequestBuilder {
        let token = token(self.hub.connection_string.expose_secret(), 3600);
        let request = self.world.request(method, path, "2020-03-13", body);
        request.header("Authorization", token)
    }
}

fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .map(|(name, value)| {
            let text = value.to_str().expect("text");
            (name.to_string(), text.to_owned())
        })
        .collect()
}
