//! The provisioning service as an ARM resource.

use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::fixture::{World, send};

const NEW_HUB: &str = "hub-2.azure-devices.net";

async fn arm(world: &World, method: Method, path: &str, body: Value) -> crate::fixture::Reply {
    let request = world.request(method, path, "2022-12-12", &body);
    send(request.header("Authorization", "Bearer anything")).await
}

/// What `az iot dps linked-hub create` does: read, add a connection string, write all of it back.
#[tokio::test]
async fn a_hub_is_linked_and_unlinked_by_writing_the_resource() {
    let world = World::start().await;
    let mut service = world
        .management(Method::GET, "", Value::Null, None)
        .await
        .body;
    let before = service["etag"].clone();
    let key = "c2VjcmV0IG9mIGEgaHViIHRoYXQgaXMgbGlua2Vk";
    let string =
        format!("HostName={NEW_HUB};SharedAccessKeyName=iothubowner;SharedAccessKey={key}");
    let hubs = service["properties"]["iotHubs"]
        .as_array_mut()
        .expect("hubs");
    hubs.push(json!({"connectionString": string, "location": "westus", "allocationWeight": 3}));
    let put = world.management(Method::PUT, "", service, None).await;
    assert_eq!(put.status, 201, "{put:?}");
    assert_eq!(put.body["etag"], before, "the tag that was sent");
    let after = world.management(Method::GET, "", Value::Null, None).await;
    assert_ne!(after.body["etag"], before);
    let hubs = put.body["properties"]["iotHubs"].as_array().expect("hubs");
    assert_eq!(
        (&hubs[1]["name"], &hubs[1]["allocationWeight"]),
        (&json!(NEW_HUB), &json!(3))
    );
    assert!(!put.body.to_string().contains(key), "keys are masked");

    let linked = world.linked_hub(NEW_HUB);
    assert!(linked.connection_string.expose_secret().ends_with(key));
    let device = json!({"deviceId": "dev-1"});
    let made = world
        .hub(&linked, Method::PUT, "/devices/dev-1", device)
        .await;
    assert_eq!(made.status, 200, "{made:?}");

    let operation = put
        .header("azure-asyncoperation")
        .expect("an operation")
        .to_owned();
    let poll = world.client.get(operation).bearer_auth("anything");
    let poll = send(poll).await;
    assert_eq!(
        (poll.status, &poll.body["status"]),
        (200, &json!("Succeeded"))
    );

    let mut service = put.body;
    service["properties"]["iotHubs"]
        .as_array_mut()
        .expect("hubs")
        .remove(0);
    let put = world
        .management(Method::PUT, "", service.clone(), None)
        .await;
    assert_eq!(put.status, 201, "{put:?}");
    assert_eq!(world.emulator.hubs().len(), 1);
    assert!(
        world.emulator.hubs()[0]
            .connection_string
            .expose_secret()
            .ends_with(key)
    );

    let masked = "HostName=hub-9.azure-devices.net;SharedAccessKey=****";
    service["properties"]["iotHubs"] = json!([{"connectionString": masked}]);
    let refused = world.management(Method::PUT, "", service, None).await;
    assert_eq!(refused.status, 400, "{refused:?}");
}

#[tokio::test]
async fn policies_are_added_with_keys_of_their_own() {
    let world = World::start().await;
    let owner = world
        .management(Method::POST, "/listkeys", Value::Null, None)
        .await
        .body;
    let owner = owner["value"][0].clone();
    let reader = json!({"keyName": "reader", "rights": "EnrollmentRead, RegistrationStatusRead"});
    let mut service = world
        .management(Method::GET, "", Value::Null, None)
        .await
        .body;
    service["properties"]["authorizationPolicies"] = json!([owner, reader]);
    let put = world
        .management(Method::PUT, "", service.clone(), None)
        .await;
    assert_eq!(put.status, 201, "{put:?}");
    let keys = world
        .management(Method::POST, "/keys/reader/listkeys", Value::Null, None)
        .await;
    assert_eq!(keys.body["rights"], reader["rights"]);
    let string = world
        .emulator
        .connection_string("reader")
        .expect("a policy");
    let token = crate::fixture::token(string.expose_secret(), 60);
    let read = world
        .raw(Method::GET, "/enrollments/x", Some(&token), Value::Null)
        .await;
    let write = world
        .raw(Method::DELETE, "/enrollments/x", Some(&token), Value::Null)
        .await;
    assert_eq!((read.status, write.status), (404, 401));

    service["properties"]["authorizationPolicies"] = json!([{"keyName": "x", "rights": "All"}]);
    assert_eq!(
        world
            .management(Method::PUT, "", service, None)
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn tags_are_patched_and_the_one_service_stays() {
    let world = World::start().await;
    let patched = world
        .management(Method::PATCH, "", json!({"tags": {"a": "b"}}), None)
        .await;
    assert_eq!(
        (patched.status, &patched.body["tags"]["a"]),
        (200, &json!("b"))
    );
    let stale = world
        .management(Method::PUT, "", patched.body, Some("AAAA"))
        .await;
    assert_eq!(stale.status, 412);
    let deleted = world
        .management(Method::DELETE, "", Value::Null, None)
        .await;
    assert_eq!(
        (deleted.status, &deleted.body["error"]["code"]),
        (409, &json!("ScopeLocked"))
    );
    let group = format!(
        "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Devices/provisioningServices",
        world.emulator.subscription(),
        world.emulator.resource_group()
    );
    let another = arm(&world, Method::PUT, &format!("{group}/another"), json!({})).await;
    assert_eq!(another.status, 400);
    let listed = arm(&world, Method::GET, &group, Value::Null).await;
    assert_eq!(listed.body["value"][0]["tags"]["a"], "b");
}

#[tokio::test]
async fn names_are_judged_and_operations_listed() {
    let world = World::start().await;
    let path = format!(
        "/subscriptions/{}/providers/Microsoft.Devices/checkProvisioningServiceNameAvailability",
        world.emulator.subscription()
    );
    // A free name is told with a reason too, as recorded.
    for (name, is_free, expected) in [
        ("new-one", true, "Invalid"),
        ("Emulator", false, "AlreadyExists"),
        ("a_b", false, "Invalid"),
    ] {
        let reply = arm(&world, Method::POST, &path, json!({"name": name})).await;
        assert_eq!(reply.body["reason"], expected);
        assert_eq!(reply.body["nameAvailable"], is_free);
    }
    let operations = arm(
        &world,
        Method::GET,
        "/providers/Microsoft.Devices/operations",
        Value::Null,
    );
    assert!(
        !operations.await.body["value"]
            .as_array()
            .expect("a list")
            .is_empty()
    );
}
