//! Exchanges with a hub: identities and twins.

use reqwest::Method;
use serde_json::{Value, json};

use super::recording::Recording;
use super::tag;

pub(super) async fn devices(recording: &mut Recording) {
    let path = "/devices/Device-001";
    let new = json!({"deviceId": "Device-001"});
    recording
        .if_match("\"\"")
        .hub("device put", Method::PUT, path, new)
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
        .if_match(&stale)
        .hub("device update", Method::PUT, path, changed.clone())
        .await;
    recording
        .if_match(&stale)
        .hub("device stale", Method::PUT, path, changed)
        .await;
    let patch = json!({"properties": {"desired": {"username": "a"}}});
    recording
        .if_match("*")
        .hub("twin patch", Method::PATCH, "/twins/Device-001", patch)
        .await;
    let stale = "\"AAAAAAAAAAE=\"";
    let patch = json!({"properties": {"desired": {"username": "b"}}});
    recording
        .if_match(stale)
        .hub("twin stale", Method::PATCH, "/twins/Device-001", patch)
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
        .if_match("*")
        .hub("device delete", Method::DELETE, path, Value::Null)
        .await;
}
