//! Custom allocation: a webhook of the user's chooses the hub
//! ([custom allocation](https://learn.microsoft.com/azure/iot-dps/concepts-custom-allocation)).
//!
//! It is called at every registration, over https, or over http on this machine, where Azure Functions
//! run while they are written. Redirects are not followed. What it answers is judged by the caller.

use std::time::Duration;

use pki_core::ids::HubHostName;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use super::allocation::AllocationError;

/// How long one call may take.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// How much of an answer is read.
const ANSWER_MOST: usize = 128 * 1024;

/// A webhook as an enrollment defines it.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    url: Url,
}

/// What a webhook chose.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Allocated {
    pub(crate) hub: HubHostName,
    /// Takes the place of the enrollment's.
    pub(crate) initial_twin: Option<Value>,
    /// Goes to the device.
    pub(crate) payload: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    iot_hub_host_name: Option<String>,
    #[serde(default)]
    initial_twin: Option<Value>,
    #[serde(default)]
    payload: Option<Value>,
}

/// How often a busy webhook is called again, and after which time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) retries: u32,
    pub(crate) wait: Duration,
}

impl Webhook {
    /// Reads an enrollment's `customAllocationDefinition`; the problem is a sentence.
    pub(crate) fn from_definition(definition: Option<&Value>) -> Result<Self, String> {
        let member = |name: &str| {
            let value = definition.and_then(|definition| definition.get(name));
            value.and_then(Value::as_str).ok_or_else(|| {
                format!("Custom allocation needs customAllocationDefinition.{name}.")
            })
        };
        let (url, _version) = (member("webhookUrl")?, member("apiVersion")?);
        let url = Url::parse(url).map_err(|error| format!("webhookUrl is no address: {error}."))?;
        let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        match url.scheme() {
            "https" => Ok(Self { url }),
            "http" if is_local => Ok(Self { url }),
            _ => Err("webhookUrl must be https, or http on this machine.".to_owned()),
        }
    }

    /// Calls the webhook until it has decided.
    pub(crate) async fn call(
        &self,
        request: &Value,
        patience: Patience,
    ) -> Result<Allocated, AllocationError> {
        let client = Client::builder()
            .timeout(TIME_LIMIT)
            .redirect(Policy::none())
            .build()
            .map_err(|error| AllocationError::Unreached(error.to_string()))?;
        let mut tries = 0;
        loop {
            match self.try_once(&client, request).await {
                Err(AllocationError::Status(status))
                    if status >= StatusCode::TOO_MANY_REQUESTS && tries < patience.retries =>
                {
                    tries += 1;
                    tracing::info!(%status, tries, "the webhook is called again");
                    tokio::time::sleep(patience.wait).await;
                }
                decided => return decided,
            }
        }
    }

    async fn try_once(
        &self,
        client: &Client,
        request: &Value,
    ) -> Result<Allocated, AllocationError> {
        let unreached =
            |error: reqwest::Error| AllocationError::Unreached(error.without_url().to_string());
        let sent = client.post(self.url.clone()).json(request).send().await;
        let mut response = sent.map_err(unreached)?;
        match response.status() {
            StatusCode::UNAUTHORIZED => return Err(AllocationError::WebhookUnauthorized),
            status if !status.is_success() => return Err(AllocationError::Status(status)),
            _ => {}
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreached)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_MOST {
                return Err(AllocationError::Unreadable("it is too long".to_owned()));
            }
        }
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|error| AllocationError::Unreadable(error.to_string()))?;
        let hub = answer.iot_hub_host_name.unwrap_or_default();
        let hub = hub.parse().map_err(|_| AllocationError::HubNotSpecified)?;
        Ok(Allocated {
            hub,
            initial_twin: answer.initial_twin.filter(|twin| !twin.is_null()),
            payload: answer.payload.filter(|payload| !payload.is_null()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_webhook_is_https_or_on_this_machine() {
        let define = |url: &str| {
            let definition = json!({"webhookUrl": url, "apiVersion": "2019-03-31"});
            Webhook::from_definition(Some(&definition))
        };
        for good in [
            "https://example.net/allocate?code=1",
            "http://localhost:7071/api",
            "http://127.0.0.1:7071/",
            "http://[::1]:7071/",
        ] {
            assert!(define(good).is_ok(), "{good}");
        }
        for bad in [
            "http://example.net/",
            "ftp://localhost/",
            "allocate",
            "http://localhost.example.net/",
        ] {
            assert!(define(bad).is_err(), "{bad}");
        }
        assert!(Webhook::from_definition(Some(&json!({"webhookUrl": "https://a.net"}))).is_err());
        assert!(Webhook::from_definition(None).is_err());
    }
}
