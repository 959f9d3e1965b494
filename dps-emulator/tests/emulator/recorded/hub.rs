//! Exchanges with a hub: identities and twins.

use reqwest::Method;
use serde_json::{Value, json};

use super::recording::Recording;
use super::tag;

pub(super) async fn devices(recording: &mut Recording) {
    let path = "/devices/Device-001";
    let new = json!({"deviceId": "Device-001"});
    recording
        .hub_if_match("device put", Method::PUT, path, new, "\"\"")
        .await;
    let read = recording
        .hub("device get", Method::GET, path, Value::Null)
        .await;
    recording
        .hub("twin get", Method::GET, "/twins/Device-001", Value::Null)
        .await;
    let stale = format!("\"{}\"", tag(&read));
    let mut changed = read;
    changed["status"] = json!("disabled");
    recording
        .hub_if_match("device update", Method::PUT, path, changed.clone(), &stale)
        .await;
    recording
        .hub_if_match("device stale", Method::PUT, path, changed, &stale)
        .await;
    let patch = json!({"properties": {"desired": {"username": "a"}}});
    recording
        .hub_if_match("twin patch", Method::PATCH, "/twins/Device-001", patch, "*")
        .await;
    let stale = "\"AAAAAAAAAAE=\"";
    let patch = json!({"properties": {"desired": {"username": "b"}}});
    recording
        .hub_if_match(
            "twin stale",
            Method::PATCH,
            "/twins/Device-001",
            patch,
            stale,
        )
        .await;
    let bulk = json!([{"id": "bulk-1", "importMode": "create", "status": "enabled",
        "properties": {"desired": {"user": "a"}}}]);
    recording
        .hub("devices bulk", Method::POST, "/devices", bulk)
        .await;
    recording
        .hub(
            "twin made in bulk",
            Method::GET,
            "/twins/bulk-1",
            Value::Null,
        )
        .await;
    let query = json!({"query": "select * from devices"});
    recording
        .hub("twin query", Method::POST, "/devices/query", query)
        .await;
    recording
        .hub_if_match("device delete", Method::DELETE, path, Value::Null, "*")
        .await;
}
