//! What a hub has for devices over HTTPS: modules for IoT Edge, telemetry, an empty queue; by the device's
//! own certificate or token, and by the service.

use dps_emulator::EmulatorConfig;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{
    Authority, Leaf, Reply, World, assert_hub_error, individual, send, signed, token,
};

const HUB: &str = "hub-1.azure-devices.net";
const OTHER: &str = "hub-2.azure-devices.net";
const MODULES: &str = "/devices/edge-1/modules";
const AGENT: &str = "/devices/edge-1/modules/$edgeAgent";

/// Two hubs, and an Edge device that DPS assigned to the first.
async fn world() -> (World, Leaf) {
    let config = EmulatorConfig {
        hubs: [HUB, OTHER]
            .map(|hub| hub.parse().expect("a name"))
            .to_vec(),
        ..EmulatorConfig::default()
    };
    let world = World::with(config).await;
    let leaf = Authority::root("Root").leaf("edge-1", &[]);
    let mut entry = individual("edge-1", &leaf);
    entry["capabilities"] = json!({"iotEdge": true});
    entry["iotHubs"] = json!([HUB]);
    let put = world
        .service(Method::PUT, "/enrollments/edge-1", entry)
        .await;
    assert_eq!(put.status, 200, "{put:?}");
    let ended = world.device("edge-1", &leaf).register().await;
    assert_eq!(ended["registrationState"]["assignedHub"], HUB, "{ended}");
    (world, leaf)
}

async fn ask(world: &World, leaf: &Leaf, method: Method, path: &str) -> Reply {
    let device = world.device("edge-1", leaf);
    device.ask_hub(HUB, method, path, Value::Null, None).await
}

async fn put(world: &World, leaf: &Leaf, managed_by: &str, if_match: Option<&str>) -> Reply {
    let body = json!({
        "moduleId": "$edgeAgent", "managedBy": managed_by, "deviceId": "edge-1",
        "authentication": {"type": "sas", "symmetricKey": {"primaryKey": "cHJpbWFyeQ==", "secondaryKey": "c2Vjb25kYXJ5"}},
    });
    let device = world.device("edge-1", leaf);
    device
        .ask_hub(HUB, Method::PUT, AGENT, body, if_match)
        .await
}

#[tokio::test]
async fn an_identity_of_an_edge_device_says_so() {
    let (world, _leaf) = world().await;
    let hub = world.linked_hub(HUB);
    for path in ["/devices/edge-1", "/twins/edge-1"] {
        let shown = world.hub(&hub, Method::GET, path, Value::Null).await;
        assert_eq!(shown.body["capabilities"], json!({"iotEdge": true}));
    }
}

#[tokio::test]
async fn a_device_lists_makes_changes_and_deletes_its_modules_with_its_certificate() {
    let (world, leaf) = world().await;
    let none = ask(&world, &leaf, Method::GET, MODULES).await;
    assert_eq!((none.status, none.body), (200, json!([])));
    assert_hub_error(
        &ask(&world, &leaf, Method::GET, AGENT).await,
        404,
        "ModuleNotFound",
    );
    assert_hub_error(
        &put(&world, &leaf, "a", Some("*")).await,
        404,
        "ModuleNotFound",
    );

    let made = put(&world, &leaf, "IotEdge", None).await;
    assert_eq!(made.status, 200, "{made:?}");
    assert!(made.header("etag").is_none(), "as recorded");
    assert_eq!(made.body["managedBy"], "IotEdge");
    assert_eq!(made.body["authentication"]["type"], "sas");
    let keys = &made.body["authentication"]["symmetricKey"];
    assert_eq!(keys["primaryKey"], "cHJpbWFyeQ==");
    let nothing = json!({"primaryThumbprint": null, "secondaryThumbprint": null});
    assert_eq!(made.body["authentication"]["x509Thumbprint"], nothing);
    assert_hub_error(
        &put(&world, &leaf, "a", None).await,
        409,
        "ModuleAlreadyExistsOnDevice",
    );

    let changed = put(&world, &leaf, "other", Some("*")).await;
    assert_eq!(changed.body["managedBy"], "other");
    assert_eq!(changed.body["generationId"], made.body["generationId"]);
    assert_ne!(changed.etag(), made.etag());
    assert_hub_error(
        &put(&world, &leaf, "a", Some(&made.etag())).await,
        412,
        "PreconditionFailed",
    );
    let listed = ask(&world, &leaf, Method::GET, MODULES).await;
    assert_eq!(listed.body, json!([changed.body]));

    let deleted = ask(&world, &leaf, Method::DELETE, AGENT).await;
    assert_eq!(deleted.status, 204);
    let none = ask(&world, &leaf, Method::GET, MODULES).await;
    assert_eq!(none.body, json!([]));
}

/// As the .NET hub client does: an empty word in quotes creates, and absent keys are made.
#[tokio::test]
async fn the_service_makes_modules_too() {
    let (world, leaf) = world().await;
    let hub = world.linked_hub(HUB);
    let path = "/devices/edge-1/modules/m";
    let body = json!({"moduleId": "m", "deviceId": "edge-1"});
    let made = world
        .hub_if_match(&hub, Method::PUT, path, body, Some("\"\""))
        .await;
    assert_eq!(made.status, 200, "{made:?}");
    assert_eq!(made.body["managedBy"], Value::Null);
    assert!(made.body["authentication"]["symmetricKey"]["secondaryKey"].is_string());
    assert_eq!(made.body["lastActivityTime"], "0001-01-01T00:00:00");
    let seen = ask(&world, &leaf, Method::GET, path).await;
    assert_eq!(seen.body["lastActivityTime"], "0001-01-01T00:00:00Z");
    let elsewhere = world.linked_hub(OTHER);
    let missing = world.hub(&elsewhere, Method::GET, path, Value::Null).await;
    assert_hub_error(&missing, 404, "DeviceNotFound");
}

/// Registering again keeps the modules, deleting the device does not.
#[tokio::test]
async fn modules_live_as_long_as_their_device() {
    let (world, leaf) = world().await;
    put(&world, &leaf, "IotEdge", None).await;
    world.device("edge-1", &leaf).register().await;
    assert_eq!(ask(&world, &leaf, Method::GET, AGENT).await.status, 200);
    let hub = world.linked_hub(HUB);
    let deleted = world.hub_if_match(
        &hub,
        Method::DELETE,
        "/devices/edge-1",
        Value::Null,
        Some("*"),
    );
    assert_eq!(deleted.await.status, 204);
    world.device("edge-1", &leaf).register().await;
    let none = ask(&world, &leaf, Method::GET, MODULES).await;
    assert_eq!(none.body, json!([]));
}

#[tokio::test]
async fn modules_outlive_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = || EmulatorConfig {
        state: Some(folder.path().join("state.db")),
        ..EmulatorConfig::default()
    };
    let first = World::with(config()).await;
    let hub = first.linked_hub(HUB);
    let device = json!({"deviceId": "edge-1"});
    first
        .hub(&hub, Method::PUT, "/devices/edge-1", device)
        .await;
    let module = json!({"moduleId": "m", "managedBy": "me"});
    let made = first
        .hub(&hub, Method::PUT, "/devices/edge-1/modules/m", module)
        .await;
    assert_eq!(made.status, 200, "{made:?}");
    first.emulator.shutdown().await.expect("ends");
    let second = World::with(config()).await;
    let hub = second.linked_hub(HUB);
    let kept = second
        .hub(&hub, Method::GET, "/devices/edge-1/modules/m", Value::Null)
        .await;
    assert_eq!(kept.body["etag"], made.body["etag"], "{kept:?}");
    assert_eq!(kept.body["managedBy"], "me");
}

#[tokio::test]
async fn a_device_with_a_token_asks_as_well() {
    let (world, _leaf) = world().await;
    let hub = world.linked_hub(HUB);
    let made = world
        .hub(
            &hub,
            Method::PUT,
            "/devices/keyed",
            json!({"deviceId": "keyed"}),
        )
        .await;
    let key = made.body["authentication"]["symmetricKey"]["primaryKey"].clone();
    let key = key.as_str().expect("a key");
    let mut device = world.keyed_device("keyed", key);
    let resource = format!("{HUB}%2Fdevices%2Fkeyed");
    device.authorization = Some(signed(&resource, key, 60, None));
    let listed = device.ask_hub(
        HUB,
        Method::GET,
        "/devices/keyed/modules",
        Value::Null,
        None,
    );
    assert_eq!(listed.await.status, 200);
    device.authorization = Some(signed(&resource, "AAAA", 60, None));
    let refused = device.ask_hub(
        HUB,
        Method::GET,
        "/devices/keyed/modules",
        Value::Null,
        None,
    );
    assert_hub_error(&refused.await, 401, "IotHubUnauthorizedAccess");
}

#[tokio::test]
async fn a_device_gets_nothing_of_another_device_or_hub_or_of_the_service() {
    let (world, leaf) = world().await;
    let hub = world.linked_hub(HUB);
    world
        .hub(
            &hub,
            Method::PUT,
            "/devices/other",
            json!({"deviceId": "other"}),
        )
        .await;
    for (method, path) in [
        (Method::GET, "/devices/other/modules"),
        (Method::PUT, "/devices/other/modules/m"),
        (Method::POST, "/devices/other/messages/events"),
        (Method::GET, "/devices/other/messages/devicebound"),
        (Method::GET, "/devices/edge-1"),
        (Method::DELETE, "/devices/edge-1"),
        (Method::GET, "/devices"),
        (Method::GET, "/twins/edge-1"),
        (Method::PATCH, "/twins/edge-1"),
        (Method::POST, "/twins/edge-1/methods"),
        (Method::GET, "/statistics/devices"),
    ] {
        let refused = ask(&world, &leaf, method, path).await;
        assert_hub_error(&refused, 401, "IotHubUnauthorizedAccess");
    }
    let device = world.device("edge-1", &leaf);
    let elsewhere = device.ask_hub(OTHER, Method::GET, MODULES, Value::Null, None);
    assert_hub_error(&elsewhere.await, 401, "IotHubUnauthorizedAccess");
    let stranger = Authority::root("Root").leaf("edge-1", &[]);
    let stranger = ask(&world, &stranger, Method::GET, MODULES).await;
    assert_hub_error(&stranger, 401, "IotHubUnauthorizedAccess");
}

/// A 401 reads as a bad credential: IoT Edge would provision again and end.
#[tokio::test]
async fn whoever_is_let_in_hears_that_something_is_not_emulated() {
    let (world, leaf) = world().await;
    for (method, path) in [
        (Method::POST, "/devices/edge-1/files"),
        (Method::POST, "/devices/edge-1/files/notifications"),
        (Method::DELETE, "/devices/edge-1/messages/devicebound/1"),
        (
            Method::POST,
            "/devices/edge-1/messages/devicebound/1/abandon",
        ),
        (Method::GET, "/devices/edge-1/modules/m/twin"),
        (Method::GET, "/devices/edge-1/modules/m/messages/events"),
        (Method::GET, "/digitaltwins/edge-1"),
        (Method::GET, "/trustBundle"),
        (Method::GET, "/jobs"),
    ] {
        let answer = ask(&world, &leaf, method, path).await;
        assert_hub_error(&answer, 400, "ArgumentInvalid");
        let message = answer.body["Message"].as_str().expect("a message");
        assert!(message.contains("This emulator's hubs have"), "{message}");
    }
    let nobody = world.request(Method::GET, "/jobs", "2021-04-12", &Value::Null);
    assert_hub_error(&send(nobody).await, 401, "IotHubUnauthorizedAccess");
}

#[tokio::test]
async fn telemetry_over_https_is_counted_and_the_queue_is_empty() {
    let (world, leaf) = world().await;
    let device = world.device("edge-1", &leaf);
    for _ in 0..2 {
        let path = "/devices/edge-1/messages/events";
        let sent = device.ask_hub(HUB, Method::POST, path, json!({"temperature": 21}), None);
        assert_eq!(sent.await.status, 204);
    }
    let queue = ask(
        &world,
        &leaf,
        Method::GET,
        "/devices/edge-1/messages/devicebound",
    )
    .await;
    assert_eq!((queue.status, queue.body), (204, Value::Null));
    let counters = world.emulator.control_url() + "/counters";
    let control = world.client.get(counters);
    let opened = secrecy::ExposeSecret::expose_secret(world.emulator.control_token());
    let counters = send(control.bearer_auth(opened)).await.body;
    assert_eq!(counters[HUB]["edge-1"]["messages"], 2, "{counters}");
}

#[tokio::test]
async fn a_device_that_is_disabled_at_its_hub_is_refused() {
    let (world, leaf) = world().await;
    let hub = world.linked_hub(HUB);
    let mut identity = world
        .hub(&hub, Method::GET, "/devices/edge-1", Value::Null)
        .await
        .body;
    identity["status"] = json!("disabled");
    world
        .hub_if_match(&hub, Method::PUT, "/devices/edge-1", identity, Some("*"))
        .await;
    let refused = ask(&world, &leaf, Method::GET, MODULES).await;
    assert_hub_error(&refused, 401, "IotHubUnauthorizedAccess");
}

#[tokio::test]
async fn a_device_has_at_most_fifty_modules() {
    let (world, _leaf) = world().await;
    let hub = world.linked_hub(HUB);
    let put = async |number: usize| {
        let path = format!("/devices/edge-1/modules/m-{number}");
        world.hub(&hub, Method::PUT, path, json!({})).await
    };
    for number in 0..50 {
        assert_eq!(put(number).await.status, 200);
    }
    assert_hub_error(&put(50).await, 409, "TooManyModulesOnDevice");
}

/// A bearer token names no hub, so that the request has to.
#[tokio::test]
async fn of_several_hubs_the_one_in_the_host_header_is_asked() {
    let (world, _leaf) = world().await;
    let ask = async |host: Option<&str>| {
        let request = world.request(Method::GET, "/devices/edge-1", "2021-04-12", &Value::Null);
        let request = request.bearer_auth("anything");
        send(match host {
            Some(host) => request.header("Host", host),
            None => request,
        })
        .await
        .status
    };
    assert_eq!([ask(Some(HUB)).await, ask(Some(OTHER)).await], [200, 404]);
    assert_eq!(ask(Some("HUB-1.azure-devices.net:443")).await, 200);
    assert_eq!(ask(None).await, 400);
    let hub = world.linked_hub(OTHER);
    let connection = secrecy::ExposeSecret::expose_secret(&hub.connection_string).to_owned();
    let request = world.request(Method::GET, "/devices/edge-1", "2021-04-12", &Value::Null);
    let signed = request.header("Authorization", token(&connection, 60));
    let mismatch = send(signed.header("Host", HUB)).await;
    assert_hub_error(&mismatch, 401, "IotHubUnauthorizedAccess");
}
