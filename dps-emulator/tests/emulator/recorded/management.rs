//! Exchanges with ARM: CA certificates and the instance.

use reqwest::Method;
use serde_json::{Value, json};

use super::recording::Recording;
use super::tag;
use crate::fixture::Authority;

pub(super) async fn certificates(recording: &mut Recording) {
    let root = Authority::root("Contoso Root");
    let path = "/certificates/root";
    let upload = json!({"certificate": root.pem});
    let made = recording
        .arm("ca put", Method::PUT, path, upload.clone())
        .await;
    let second = json!({"certificate": root.pem, "isVerified": true});
    recording
        .arm(
            "ca put under a second name",
            Method::PUT,
            "/certificates/same-root",
            second,
        )
        .await;
    recording
        .arm("ca list", Method::GET, "/certificates", Value::Null)
        .await;
    recording
        .arm("ca get", Method::GET, path, Value::Null)
        .await;
    let made = recording
        .if_match(&tag(&made))
        .arm("ca update", Method::PUT, path, upload)
        .await;
    let code = format!("{path}/generateVerificationCode");
    let coded = recording
        .if_match(&tag(&made))
        .arm("ca code", Method::POST, &code, Value::Null)
        .await;
    assert_eq!(
        coded["properties"]["certificate"],
        json!(root.pem),
        "as it was uploaded"
    );
    let code = coded["properties"]["verificationCode"]
        .as_str()
        .expect("a code");
    let proof = json!({"certificate": root.leaf(code, &[]).pem});
    let verify = format!("{path}/verify");
    let proven = recording
        .if_match(&tag(&coded))
        .arm("ca verify", Method::POST, &verify, proof)
        .await;
    recording
        .if_match(&tag(&proven))
        .arm("ca delete", Method::DELETE, path, Value::Null)
        .await;
    recording
        .arm("ca missing", Method::GET, path, Value::Null)
        .await;
}

pub(super) async fn instance(recording: &mut Recording) {
    let subscription = recording.world.emulator.resource_id();
    let subscription = subscription
        .split("/resourceGroups")
        .next()
        .expect("a subscription")
        .to_owned();
    let path = format!(
        "{subscription}/providers/Microsoft.Devices/checkProvisioningServiceNameAvailability"
    );
    recording
        .arm(
            "name check",
            Method::POST,
            &path,
            json!({"name": "new-dps"}),
        )
        .await;
    let shown = recording
        .arm("instance get", Method::GET, "", Value::Null)
        .await;
    let mut hub = shown["properties"]["iotHubs"][0].clone();
    hub["applyAllocationPolicy"] = json!(true);
    hub["allocationWeight"] = json!(10);
    let linked = json!({
        "location": "westus", "tags": {}, "etag": shown["etag"], "sku": {"name": "S1", "capacity": 1},
        "properties": {"iotHubs": [hub], "allocationPolicy": "Hashed"},
    });
    recording.arm("instance put", Method::PUT, "", linked).await;
    let operation = &recording.answers["instance put"].headers["azure-asyncoperation"];
    let (_, operation) = operation
        .split_once("/operationresults/")
        .expect("an operation");
    let operation = format!(
        "/operationresults/{}",
        operation.split('?').next().expect("an ID")
    );
    recording
        .arm("instance poll", Method::GET, &operation, Value::Null)
        .await;
    let keys = recording
        .arm("instance keys", Method::POST, "/listkeys", Value::Null)
        .await;
    let policies = json!([keys["value"][0], {"keyName": "reader", "rights": "EnrollmentRead"}]);
    let body = json!({"location": "westus", "properties": {
        "iotHubs": [hub], "allocationPolicy": "Hashed", "authorizationPolicies": policies,
    }});
    recording.arm("policy put", Method::PUT, "", body).await;
    recording
        .arm(
            "instance key",
            Method::POST,
            "/keys/reader/listkeys",
            Value::Null,
        )
        .await;
    recording
        .arm(
            "instance key missing",
            Method::POST,
            "/keys/nobody/listkeys",
            Value::Null,
        )
        .await;
    recording
        .arm(
            "instance patch",
            Method::PATCH,
            "",
            json!({"tags": {"site": "a"}}),
        )
        .await;
    let bad = recording
        .world
        .emulator
        .resource_id()
        .replace("provisioningServices/emulator", "provisioningServices/1!");
    recording
        .arm(
            "instance name",
            Method::PUT,
            &bad,
            json!({"properties": {}}),
        )
        .await;
    recording
        .arm("instance delete", Method::DELETE, "", Value::Null)
        .await;
}
