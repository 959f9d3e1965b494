//! Devices that prove themselves by shared keys.

use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{World, derived, signed};

fn entry(id: &str) -> Value {
    json!({"registrationId": id, "attestation": {"type": "symmetricKey"}})
}

/// Makes a symmetric-key group and gives its two keys.
async fn group(world: &World) -> [String; 2] {
    let body = json!({"enrollmentGroupId": "keyed", "attestation": {"type": "symmetricKey"}});
    let reply = world
        .service(Method::PUT, "/enrollmentGroups/keyed", body)
        .await;
    let keys = &reply.body["attestation"]["symmetricKey"];
    ["primaryKey", "secondaryKey"].map(|key| keys[key].as_str().expect(key).to_owned())
}

#[tokio::test]
async fn either_key_of_an_individual_enrollment_admits_and_goes_to_the_hub() {
    let world = World::start().await;
    let reply = world
        .service(Method::PUT, "/enrollments/dev-1", entry("dev-1"))
        .await;
    let keys = &reply.body["attestation"]["symmetricKey"];
    for key in ["primaryKey", "secondaryKey"] {
        let key = keys[key].as_str().expect(key);
        let result = world.keyed_device("dev-1", key).register().await;
        assert_eq!(result["status"], "assigned");
        assert!(result["registrationState"].get("symmetricKey").is_none());
    }
    let hub = world.linked_hub("hub-1.azure-devices.net");
    let device = world
        .hub(&hub, Method::GET, "/devices/dev-1", Value::Null)
        .await
        .body;
    assert_eq!(device["authentication"]["type"], "sas");
    assert_eq!(&device["authentication"]["symmetricKey"], keys);
}

/// Microsoft's scripts derive from the ID in lower case, others from the ID as it is.
#[tokio::test]
async fn a_key_derived_from_either_spelling_admits_a_device_of_a_group() {
    let world = World::start().await;
    let [primary, secondary] = group(&world).await;
    for (group_key, spelling) in [
        (&primary, "Dev-1"),
        (&primary, "dev-1"),
        (&secondary, "Dev-1"),
    ] {
        let key = derived(group_key, spelling);
        let result = world.keyed_device("Dev-1", &key).register().await;
        let state = &result["registrationState"];
        assert_eq!(
            state["symmetricKey"]["enrollmentGroupId"], "keyed",
            "{spelling}"
        );
    }
    let hub = world.linked_hub("hub-1.azure-devices.net");
    let device = world
        .hub(&hub, Method::GET, "/devices/Dev-1", Value::Null)
        .await
        .body;
    let key = &device["authentication"]["symmetricKey"]["primaryKey"];
    assert_eq!(*key, json!(derived(&primary, "Dev-1")));
}

#[tokio::test]
async fn a_group_key_is_no_device_key_and_another_devices_key_is_not_mine() {
    let world = World::start().await;
    let [primary, _] = group(&world).await;
    for key in [primary.clone(), derived(&primary, "dev-2")] {
        let reply = world.keyed_device("dev-1", &key).knock().await;
        assert_eq!(
            (reply.status, &reply.body["errorCode"]),
            (401, &json!(401_002))
        );
    }
}

#[tokio::test]
async fn a_device_token_is_for_one_device_of_one_scope_and_one_time() {
    let world = World::start().await;
    let [primary, _] = group(&world).await;
    let key = derived(&primary, "dev-1");
    let scope = world.emulator.id_scope().to_string();
    let mine = format!("{scope}/registrations/dev-1");
    for (case, resource, seconds, admitted) in [
        ("as it is", mine.clone(), 60, true),
        ("encoded", mine.replace('/', "%2f"), 60, true),
        ("lower case", mine.to_lowercase(), 60, true),
        (
            "another device",
            format!("{scope}/registrations/dev-2"),
            60,
            false,
        ),
        (
            "another scope",
            "0ne12345678/registrations/dev-1".to_owned(),
            60,
            false,
        ),
        ("expired", mine.clone(), -1, false),
    ] {
        let mut device = world.keyed_device("dev-1", &key);
        device.authorization = Some(signed(&resource, &key, seconds, None));
        let reply = device.knock().await;
        assert_eq!(reply.status, if admitted { 202 } else { 401 }, "{case}");
    }
}

/// The individual enrollment decides, here too: disabled shuts out, enabled admits by its own keys only.
#[tokio::test]
async fn an_individual_enrollment_stands_before_the_group() {
    let world = World::start().await;
    let [primary, _] = group(&world).await;
    let device = world.keyed_device("dev-1", &derived(&primary, "dev-1"));
    assert_eq!(device.register().await["status"], "assigned");

    let mut disabled = entry("dev-1");
    disabled["provisioningStatus"] = json!("disabled");
    world
        .service(Method::PUT, "/enrollments/dev-1", disabled)
        .await;
    assert_eq!(device.knock().await.body["status"], "disabled");
    assert_eq!(
        world.keyed_device("dev-1", &primary).knock().await.status,
        401
    );

    let enabled =
        world.service_if_match(Method::PUT, "/enrollments/dev-1", entry("dev-1"), Some("*"));
    let keys = enabled.await.body["attestation"]["symmetricKey"].clone();
    assert_eq!(device.knock().await.status, 401);
    let own = keys["primaryKey"].as_str().expect("a key");
    assert_eq!(
        world.keyed_device("dev-1", own).register().await["status"],
        "assigned"
    );
}
