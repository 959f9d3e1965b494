//! Custom allocation: a webhook of the user's chooses the hub
//! ([custom allocation](https://learn.microsoft.com/azure/iot-dps/concepts-custom-allocation)).
//!
//! It is called at every registration, over https, or over http on this machine, where Azure Functions
//! run while they are written. What it answers is judged by the caller.
//! Not here: the call itself; [`Webhooks`] is its port.

use std::time::Duration;

use futures::future::BoxFuture;
use pki_core::ids::HubHostName;
use serde_json::Value;
use url::Url;

use super::allocation::AllocationError;

/// Calls webhooks.
pub(crate) trait Webhooks: Send + Sync {
    /// Calls one until it has decided.
    fn call<'a>(
        &'a self,
        webhook: &'a Webhook,
        request: &'a Value,
        patience: Patience,
    ) -> BoxFuture<'a, Result<Allocated, AllocationError>>;
}

/// A webhook as an enrollment defines it.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    pub(crate) url: Url,
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
        let address = member("webhookUrl")?;
        let _version = member("apiVersion")?;
        let url =
            Url::parse(address).map_err(|error| format!("webhookUrl is no address: {error}."))?;
        let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        match url.scheme() {
            "https" => Ok(Self { url }),
            "http" if is_local => Ok(Self { url }),
            _ => Err("webhookUrl must be https, or http on this machine.".to_owned()),
        }
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
