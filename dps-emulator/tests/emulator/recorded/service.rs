//! Exchanges with the service plane, and a device that registers between them.

use reqwest::Method;
use serde_json::{Value, json};

use super::recording::Recording;
use super::tag;
use crate::fixture::{Authority, World, derived};

/// An entry as the Python client writes it: with everything that it does not want as null.
fn entry(mut members: Value) -> Value {
    let nothing = [
        "capabilities",
        "iotHubs",
        "iotHubHostName",
        "initialTwin",
        "customAllocationDefinition",
    ];
    for name in nothing {
        if members.get(name).is_none() {
            members[name] = Value::Null;
        }
    }
    members
}

fn policy() -> Value {
    json!({"migrateDeviceData": true, "updateHubAssignment": true})
}

pub(super) async fn groups(recording: &mut Recording, signing: &Authority) {
    let path = "/enrollmentGroups/line-1";
    let document = entry(json!({
        "enrollmentGroupId": "line-1",
        "attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": signing.pem}}}},
        "allocationPolicy": "hashed", "provisioningStatus": "enabled", "reprovisionPolicy": policy(),
    }));
    let made = recording
        .service("group put", Method::PUT, path, document.clone())
        .await;
    recording
        .service("group put again", Method::PUT, path, document.clone())
        .await;
    let query = json!({"query": "SELECT *"});
    recording
        .service(
            "group query",
            Method::POST,
            "/enrollmentGroups/query",
            query,
        )
        .await;
    recording
        .service("group get", Method::GET, path, Value::Null)
        .await;
    let mut changed = document;
    changed["allocationPolicy"] = json!("custom");
    changed["provisioningStatus"] = json!("disabled");
    changed["customAllocationDefinition"] =
        json!({"webhookUrl": "https://hook.example", "apiVersion": "2019-03-31"});
    recording
        .if_match(&tag(&made))
        .service("group update", Method::PUT, path, changed)
        .await;
    recording
        .service("group delete", Method::DELETE, path, Value::Null)
        .await;
}

pub(super) async fn keys(recording: &mut Recording) {
    let path = "/enrollmentGroups/keys-1";
    let document = entry(json!({
        "enrollmentGroupId": "keys-1",
        "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": null, "secondaryKey": null}},
        "allocationPolicy": "static", "provisioningStatus": null, "reprovisionPolicy": null,
    }));
    let made = recording
        .service("keys put", Method::PUT, path, document)
        .await;
    recording
        .service("keys get", Method::GET, path, Value::Null)
        .await;
    let query = json!({"query": "SELECT *"});
    recording
        .service("keys query", Method::POST, "/enrollmentGroups/query", query)
        .await;
    let mechanism = format!("{path}/attestationmechanism");
    recording
        .service("keys mechanism", Method::POST, &mechanism, Value::Null)
        .await;
    registration(
        recording,
        made["attestation"]["symmetricKey"]["primaryKey"]
            .as_str()
            .expect("a key"),
    )
    .await;
}

async fn registration(recording: &mut Recording, group_key: &str) {
    let scope = recording.world.emulator.id_scope().to_string();
    let key = derived(group_key, "device-1");
    let device = recording.world.keyed_device("device-1", &key);
    let authorization = device.authorization.clone().expect("a token");
    let below = format!("/{scope}/registrations/device-1");
    let ask = |world: &World, method, path: &str, body: &Value| {
        world
            .request(method, path, "2021-06-01", body)
            .header("Authorization", &authorization)
    };
    let body = json!({"registrationId": "device-1"});
    let request = ask(
        &recording.world,
        Method::PUT,
        &format!("{below}/register"),
        &body,
    );
    let begun = recording.note("register", request).await;
    let operation = format!(
        "{below}/operations/{}",
        begun["operationId"].as_str().expect("an operation")
    );
    for _ in 0..10 {
        let request = ask(&recording.world, Method::GET, &operation, &Value::Null);
        if recording.note("operation", request).await["status"] == "assigned" {
            break;
        }
    }
    recording
        .service(
            "registration get",
            Method::GET,
            "/registrations/device-1",
            Value::Null,
        )
        .await;
    recording
        .service(
            "registration query",
            Method::POST,
            "/registrations/keys-1/query",
            Value::Null,
        )
        .await;
    recording
        .service(
            "registration delete",
            Method::DELETE,
            "/registrations/device-1",
            Value::Null,
        )
        .await;
}

pub(super) async fn individuals(recording: &mut Recording, leaf: &str) {
    let path = "/enrollments/device-001";
    let document = entry(json!({
        "registrationId": "device-001", "deviceId": "machine-1", "optionalDeviceInformation": null,
        "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": leaf}}}},
        "allocationPolicy": "hashed", "provisioningStatus": "enabled", "reprovisionPolicy": policy(),
    }));
    recording
        .service("individual put", Method::PUT, path, document)
        .await;
    recording
        .service("individual get", Method::GET, path, Value::Null)
        .await;
    let query = json!({"query": "SELECT *"});
    recording
        .service(
            "individual query",
            Method::POST,
            "/enrollments/query",
            query,
        )
        .await;
    recording
        .service("individual delete", Method::DELETE, path, Value::Null)
        .await;
    let tpm = json!({"type": "tpm", "tpm": {"endorsementKey": "ZW5kb3JzZW1lbnQ="}});
    let document = entry(json!({
        "registrationId": "tpm-1", "deviceId": "machine-2", "attestation": tpm,
        "allocationPolicy": "static", "provisioningStatus": "enabled", "reprovisionPolicy": null,
    }));
    let path = "/enrollments/tpm-1";
    recording
        .service("tpm put", Method::PUT, path, document)
        .await;
    recording
        .service("tpm get", Method::GET, path, Value::Null)
        .await;
    let mechanism = format!("{path}/attestationmechanism");
    recording
        .service("tpm mechanism", Method::POST, &mechanism, Value::Null)
        .await;
}

pub(super) async fn bulk(recording: &mut Recording, signing: &Authority) {
    let documents = ["bulk-1", "bulk-2"].map(|id| {
        entry(json!({
            "enrollmentGroupId": id, "provisioningStatus": "enabled",
            "attestation": {"type": "x509",
                "x509": {"signingCertificates": {"primary": {"certificate": signing.pem}}}},
        }))
    });
    for mode in ["create", "update", "delete"] {
        let body = json!({"mode": mode, "enrollmentGroups": documents});
        recording
            .service(
                &format!("bulk {mode}"),
                Method::POST,
                "/enrollmentGroups",
                body,
            )
            .await;
    }
    let one = entry(json!({"registrationId": "tpm-1", "attestation": {"type": "symmetricKey"}}));
    let body = json!({"mode": "update", "enrollments": [one]});
    recording
        .service("individual bulk update", Method::POST, "/enrollments", body)
        .await;
}
