//! Every operation of Microsoft's API descriptions, as `docs/reference/emulator.md` lists them: each
//! row of its table is asked of a fresh instance and must be answered as the row says. Where the
//! descriptions are at hand (`DPS_PKI_AZURE_SPECS`), the table must have exactly their operations.

use std::collections::BTreeSet;
use std::path::Path;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::fixture::{Authority, Leaf, Reply, World, group, individual, send, token};
use crate::skip::skip_collection;

const PAGE: &str = include_str!("../../../docs/reference/emulator.md");

/// One row of the table.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    answer: &'a str,
}

/// The rows whose first cell is a request: `| ``GET /path`` | answer | … |`.
fn rows() -> Vec<Operation<'static>> {
    let rows = PAGE.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let (method, path) = cells.next()?.strip_suffix('`')?.split_once(' ')?;
        let answer = cells.next().filter(|_| path.starts_with('/'))?;
        Some(Operation {
            method,
            path,
            answer,
        })
    });
    rows.collect()
}

/// An instance with one of everything, and the device's leaf.
async fn furnished() -> (World, Authority, Leaf) {
    let world = World::start().await;
    let root = Authority::root("Root");
    world.enroll_group("all", &root, &root).await;
    let leaf = root.leaf("dev-1", &[]);
    world.enroll("dev-1", &leaf).await;
    world.device("dev-1", &leaf).register().await;
    let hub = world.emulator.hubs().remove(0);
    let path = "/devices/dev-1/modules/mid";
    let module = world.hub(&hub, reqwest::Method::PUT, path, json!({}));
    assert_eq!(module.await.status, 200);
    (world, root, leaf)
}

/// A body that the operation should take.
fn body(operation: &Operation<'_>, root: &Authority, leaf: &Leaf) -> Value {
    let last = operation.path.rsplit('/').next().unwrap_or_default();
    match (operation.method, operation.path) {
        ("PUT", "/enrollments/{id}") => individual("dev-1", leaf),
        ("PUT", "/enrollmentGroups/{id}") => group("all", root),
        ("POST", "/enrollments") => {
            json!({"mode": "delete", "enrollments": [{"registrationId": "dev-1"}]})
        }
        ("POST", "/enrollmentGroups") => {
            json!({"mode": "delete", "enrollmentGroups": [{"enrollmentGroupId": "all"}]})
        }
        ("POST", "/devices/query") => json!({"query": "SELECT * FROM devices"}),
        ("POST", _) if last == "query" => json!({"query": "SELECT *"}),
        ("POST", "/devices") => json!([{"id": "dev-1", "importMode": "delete"}]),
        ("PUT", "/devices/{id}") => json!({"deviceId": "dev-1"}),
        ("POST", "/twins/{deviceId}/methods") => json!({"methodName": "reboot"}),
        ("PUT" | "PATCH", "/twins/{id}") => json!({"tags": {"site": "a"}}),
        ("PATCH", _) if last == "{provisioningServiceName}" => json!({"tags": {}}),
        ("PUT", _) if last == "{provisioningServiceName}" => {
            json!({"location": "westus", "properties": {}})
        }
        ("PUT", _) if last == "{certificateName}" => {
            json!({"properties": {"certificate": root.pem, "isVerified": true}})
        }
        ("POST", _) if last == "verify" => json!({"certificate": leaf.pem}),
        ("POST", _) if last == "checkProvisioningServiceNameAvailability" => {
            json!({"name": "other"})
        }
        (_, "/{idScope}/registrations/{registrationId}") => json!({"registrationId": "dev-1"}),
        ("PUT" | "POST" | "PATCH", _) if is_of_hub(operation.path) => json!({}),
        _ => Value::Null,
    }
}

fn is_of_hub(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    [
        "devices",
        "twins",
        "statistics",
        "configurations",
        "jobs",
        "digitaltwins",
        "messages",
    ]
    .contains(&first)
}

async fn ask(operation: &Operation<'_>) -> Reply {
    let (world, root, leaf) = furnished().await;
    let emulator = &world.emulator;
    let method = operation.method.parse().expect("a method");
    let body = body(operation, &root, &leaf);
    let id = match operation.path {
        path if path.starts_with("/enrollmentGroups") => "all",
        "/registrations/{id}/query" => "all",
        _ => "dev-1",
    };
    if operation.path.starts_with("/{idScope}") {
        let device = world.device("dev-1", &leaf);
        let knocked = device.knock().await;
        let own = operation
            .path
            .strip_prefix("/{idScope}/registrations/{registrationId}");
        let own = own.expect("a path of the device plane");
        let operation_id = knocked.body["operationId"].as_str().expect("an operation");
        return device
            .send(method, &own.replace("{operationId}", operation_id), body)
            .await;
    }
    let path = operation
        .path
        .replace("{id}", id)
        .replace("{deviceId}", "dev-1")
        .replace("{subscriptionId}", emulator.subscription())
        .replace("{resourceGroupName}", emulator.resource_group())
        .replace("{provisioningServiceName}", emulator.dps_name())
        .replace("{resourceName}", emulator.dps_name())
        .replace("{certificateName}", "all-ca")
        .replace("{keyName}", "provisioningserviceowner")
        .replace(['{', '}'], "");
    let (version, authorization) = match operation.path {
        path if path.starts_with("/subscriptions") || path.starts_with("/providers") => {
            ("2022-12-12", "Bearer anything".to_owned())
        }
        path if is_of_hub(path) => {
            let hub = emulator.hubs().remove(0);
            (
                "2021-04-12",
                token(hub.connection_string.expose_secret(), 60),
            )
        }
        _ => {
            let string = emulator.service_connection_string();
            ("2021-10-01", token(string.expose_secret(), 60))
        }
    };
    let mut request = world.request(method, &path, version, &body);
    request = request.header("Authorization", authorization);
    if operation.method != "GET" && operation.method != "POST" || path.contains("/certificates/") {
        request = request.header("If-Match", "*");
    }
    send(request).await
}

/// The status, and the word or number of a refusal.
fn told(reply: &Reply) -> String {
    let body = &reply.body;
    let code = [&body["errorCode"], &body["code"], &body["error"]["code"]]
        .into_iter()
        .find(|code| !code.is_null());
    match (reply.header("iothub-errorcode"), code) {
        _ if reply.status < 400 => reply.status.to_string(),
        (Some(word), _) => format!("{} {word}", reply.status),
        (None, Some(Value::String(word))) => format!("{} {word}", reply.status),
        (None, code) => format!("{} {}", reply.status, code.unwrap_or(&Value::Null)),
    }
}

#[tokio::test]
async fn every_operation_is_answered_as_the_reference_says() {
    let rows = rows();
    assert!(rows.len() > 60, "the table was not found");
    let mut wrong = Vec::new();
    for row in &rows {
        let reply = ask(row).await;
        let told = told(&reply);
        if told != row.answer {
            wrong.push(format!(
                "{} {}: {told} instead of {}",
                row.method, row.path, row.answer
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_reference_has_every_operation_of_the_api_descriptions() {
    let Some(folder) = std::env::var_os("DPS_PKI_AZURE_SPECS") else {
        skip_collection("Azure's API descriptions (DPS_PKI_AZURE_SPECS names no folder with them)");
        return;
    };
    let described = described(Path::new(&folder));
    let rows = rows();
    let listed: BTreeSet<String> = rows
        .iter()
        .map(|row| format!("{} {}", row.method, row.path))
        .collect();
    assert_eq!(described, listed);
}

/// The operations of every description in a folder: `GET /path`.
fn described(folder: &Path) -> BTreeSet<String> {
    let mut operations = BTreeSet::new();
    for file in std::fs::read_dir(folder).expect("a folder") {
        let path = file.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("text");
        let description: Value = serde_json::from_str(&text).expect("JSON");
        for (path, methods) in description["paths"].as_object().expect("paths") {
            for method in methods.as_object().expect("methods").keys() {
                if method != "parameters" {
                    operations.insert(format!("{} {path}", method.to_uppercase()));
                }
            }
        }
    }
    operations
}
