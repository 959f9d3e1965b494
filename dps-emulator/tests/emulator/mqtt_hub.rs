//! Devices at their hubs over MQTT: judged by the identity registry, dismissed when it changes.

use reqwest::Method;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet, Publish};
use serde_json::{Value, json};

use crate::fixture::{Authority, Leaf, World, signed};
use crate::mqtt_client::Client;

const HUB: &str = "hub-1.azure-devices.net";
const PATH: &str = "/devices/dev-1";
const NOT_AUTHORIZED: Option<ConnectReturnCode> = Some(ConnectReturnCode::NotAuthorized);

async fn request(world: &World, method: Method, path: &str, body: Value) -> Value {
    let hub = world.linked_hub(HUB);
    let reply = world
        .hub_if_match(&hub, method, path, body, Some("*"))
        .await;
    assert!(reply.status < 300, "{reply:?}");
    reply.body
}

async fn put_device(world: &World, authentication: Value) -> Value {
    let hub = world.linked_hub(HUB);
    let body = json!({"deviceId": "dev-1", "authentication": authentication});
    let reply = world.hub(&hub, Method::PUT, PATH, body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

fn self_signed(primary: &str, secondary: &str) -> Value {
    json!({"type": "selfSigned", "x509Thumbprint": {
        "primaryThumbprint": primary, "secondaryThumbprint": secondary,
    }})
}

fn leaf() -> Leaf {
    Authority::root("Root").leaf("dev-1", &[])
}

async fn connected(world: &World, leaf: &Leaf) -> Client {
    let client = Client::to_hub(world, HUB, Some(leaf), "dev-1", None).await;
    client.expect("connects")
}

#[tokio::test]
async fn either_thumbprint_of_either_kind_lets_a_certificate_in() {
    let world = World::start().await;
    let [first, second, stranger] = [leaf(), leaf(), leaf()];
    put_device(
        &world,
        self_signed(&first.sha256(), &second.sha1().to_lowercase()),
    )
    .await;
    connected(&world, &first).await;
    connected(&world, &second).await;
    let refused = Client::to_hub(&world, HUB, Some(&stranger), "dev-1", None).await;
    assert_eq!(refused.err(), NOT_AUTHORIZED);
    let refused = Client::to_hub(&world, HUB, None, "dev-1", None).await;
    assert_eq!(refused.err(), NOT_AUTHORIZED);
    let refused = Client::to_hub(&world, HUB, Some(&first), "dev-2", None).await;
    assert_eq!(refused.err(), NOT_AUTHORIZED, "an unknown device");
    let refused = Client::to_hub(
        &world,
        "hub-9.azure-devices.net",
        Some(&first),
        "dev-1",
        None,
    );
    assert_eq!(refused.await.err(), NOT_AUTHORIZED, "an unknown hub");
}

#[tokio::test]
async fn a_certificate_below_a_verified_ca_is_let_in_under_its_common_name() {
    let world = World::start().await;
    let root = Authority::root("Root");
    world.enroll_group("line-a", &root, &root).await;
    put_device(&world, json!({"type": "certificateAuthority"})).await;
    connected(&world, &root.leaf("dev-1", &[])).await;
    for (case, leaf) in [
        ("another name", root.leaf("dev-2", &[])),
        ("another CA", Authority::root("Root").leaf("dev-1", &[])),
    ] {
        let refused = Client::to_hub(&world, HUB, Some(&leaf), "dev-1", None).await;
        assert_eq!(refused.err(), NOT_AUTHORIZED, "{case}");
    }
}

#[tokio::test]
async fn either_key_lets_a_token_in_and_nothing_else_does() {
    let world = World::start().await;
    let device = put_device(&world, json!({"type": "sas"})).await;
    let keys = &device["authentication"]["symmetricKey"];
    let [primary, secondary] =
        ["primaryKey", "secondaryKey"].map(|key| keys[key].as_str().expect(key));
    let mine = format!("{HUB}%2Fdevices%2Fdev-1");
    let wrong = "AAAA";
    for (case, resource, key, seconds, is_admitted) in [
        ("primary", mine.as_str(), primary, 60, true),
        ("secondary", &mine, secondary, 60, true),
        ("localhost", "localhost/devices/dev-1", primary, 60, true),
        ("wrong key", &mine, wrong, 60, false),
        ("expired", &mine, primary, -1, false),
        (
            "another device",
            "hub-1.azure-devices.net/devices/dev-2",
            primary,
            60,
            false,
        ),
        (
            "another hub",
            "hub-2.azure-devices.net/devices/dev-1",
            primary,
            60,
            false,
        ),
    ] {
        let token = signed(resource, key, seconds, None);
        let outcome = Client::to_hub(&world, HUB, None, "dev-1", Some(&token)).await;
        let expected = if is_admitted { None } else { NOT_AUTHORIZED };
        assert_eq!(outcome.err(), expected, "{case}");
    }
}

#[tokio::test]
async fn a_connection_does_not_outlive_its_token() {
    let world = World::start().await;
    let device = put_device(&world, json!({"type": "sas"})).await;
    let key = &device["authentication"]["symmetricKey"]["primaryKey"];
    let resource = format!("{HUB}/devices/dev-1");
    let token = signed(&resource, key.as_str().expect("a key"), 2, None);
    let client = Client::to_hub(&world, HUB, None, "dev-1", Some(&token)).await;
    assert!(client.expect("connects").is_closed().await);
}

#[tokio::test]
async fn a_connected_device_goes_when_it_is_disabled_or_deleted() {
    let world = World::start().await;
    let leaf = leaf();
    let mut device = put_device(&world, self_signed(&leaf.sha256(), &leaf.sha256())).await;
    let mut client = connected(&world, &leaf).await;
    device["statusReason"] = json!("still welcome");
    request(&world, Method::PUT, PATH, device.clone()).await;
    client.send(Packet::PingReq).await;
    assert_eq!(client.next().await, Some(Packet::PingResp));

    device["status"] = json!("disabled");
    request(&world, Method::PUT, PATH, device.clone()).await;
    assert!(client.is_closed().await);
    let refused = Client::to_hub(&world, HUB, Some(&leaf), "dev-1", None).await;
    assert_eq!(refused.err(), NOT_AUTHORIZED);

    device["status"] = json!("enabled");
    request(&world, Method::PUT, PATH, device).await;
    let mut client = connected(&world, &leaf).await;
    request(&world, Method::DELETE, PATH, Value::Null).await;
    assert!(client.is_closed().await);
}

/// MQTT 3.1.1 §3.1.4: a second connection of one client ends the first.
#[tokio::test]
async fn a_device_has_one_connection() {
    let world = World::start().await;
    let leaf = leaf();
    put_device(&world, self_signed(&leaf.sha256(), &leaf.sha256())).await;
    let mut first = connected(&world, &leaf).await;
    let mut second = connected(&world, &leaf).await;
    assert!(first.is_closed().await);
    second.send(Packet::PingReq).await;
    assert_eq!(second.next().await, Some(Packet::PingResp));
    let device = request(&world, Method::GET, PATH, Value::Null).await;
    assert_eq!(device["connectionState"], "Connected");
}

#[tokio::test]
async fn the_registry_shows_who_is_connected() {
    /// In the answer to the PUT that makes a device.
    const NEVER: &str = "0001-01-01T00:00:00";
    let world = World::start().await;
    let leaf = leaf();
    let before = put_device(&world, self_signed(&leaf.sha256(), &leaf.sha256())).await;
    assert_eq!(before["connectionState"], "Disconnected");
    assert_eq!(before["lastActivityTime"], NEVER);
    let mut client = connected(&world, &leaf).await;
    client.publish("devices/dev-1/messages/events/", "{}").await;
    let twin = request(&world, Method::GET, "/twins/dev-1", Value::Null).await;
    assert_eq!(twin["connectionState"], "Connected");
    assert_ne!(twin["lastActivityTime"], format!("{NEVER}Z"));
    client.send(Packet::Disconnect).await;
    assert!(client.is_closed().await);
    let after = request(&world, Method::GET, PATH, Value::Null).await;
    assert_eq!(after["connectionState"], "Disconnected");
    assert_ne!(after["connectionStateUpdatedTime"], NEVER);
}

#[tokio::test]
async fn telemetry_is_taken_from_the_device_itself() {
    let world = World::start().await;
    let leaf = leaf();
    put_device(&world, self_signed(&leaf.sha256(), &leaf.sha256())).await;
    let mut client = connected(&world, &leaf).await;
    let topic = "devices/dev-1/messages/events/%24.ct=application%2Fjson&level=high";
    client.publish(topic, "{\"t\": 21}").await;
    let foreign = Publish::new("devices/dev-2/messages/events/", QoS::AtMostOnce, "{}");
    client.send(Packet::Publish(foreign)).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_device_reads_its_twin_and_reports() {
    let world = World::start().await;
    let leaf = leaf();
    put_device(&world, self_signed(&leaf.sha256(), &leaf.sha256())).await;
    let mut client = connected(&world, &leaf).await;
    client
        .subscribe("$iothub/twin/res/#", QoS::AtLeastOnce)
        .await;
    let (topic, twin) = client.ask("$iothub/twin/GET/?$rid=1", " ").await;
    assert_eq!(topic, "$iothub/twin/res/200/?$rid=1");
    assert_eq!(
        twin,
        json!({"desired": {"$version": 1}, "reported": {"$version": 1}})
    );

    let report = "$iothub/twin/PATCH/properties/reported/?$rid=2";
    let (topic, body) = client
        .ask(report, r#"{"firmware": "1.2", "old": null}"#)
        .await;
    assert_eq!(topic, "$iothub/twin/res/204/?$rid=2&$version=2");
    assert_eq!(body, Value::Null);
    let twin = request(&world, Method::GET, "/twins/dev-1", Value::Null).await;
    let reported = &twin["properties"]["reported"];
    assert_eq!(
        (&reported["firmware"], &reported["$version"]),
        (&json!("1.2"), &json!(2))
    );
    assert_eq!(reported.get("old"), None);
    assert_eq!(reported["$metadata"]["firmware"]["$lastUpdatedVersion"], 2);

    let (topic, _) = client.ask(report, "[1]").await;
    assert_eq!(topic, "$iothub/twin/res/400/?$rid=2");
}

#[tokio::test]
async fn a_device_is_told_of_new_desired_properties() {
    let world = World::start().await;
    let leaf = leaf();
    put_device(&world, self_signed(&leaf.sha256(), &leaf.sha256())).await;
    let mut client = connected(&world, &leaf).await;
    let filter = "$iothub/twin/PATCH/properties/desired/#";
    client.subscribe(filter, QoS::AtLeastOnce).await;
    let tags = json!({"tags": {"site": "a"}});
    request(&world, Method::PATCH, "/twins/dev-1", tags).await;
    let desired = json!({"properties": {"desired": {"interval": 5, "mode": null}}});
    request(&world, Method::PATCH, "/twins/dev-1", desired).await;
    let told = client.told().await;
    let topic = "$iothub/twin/PATCH/properties/desired/?$version=2";
    assert_eq!(told.topic, topic, "tags are none of its business");
    let patch: Value = serde_json::from_slice(&told.payload).expect("JSON");
    assert_eq!(patch, json!({"interval": 5, "mode": null, "$version": 2}));
}

/// A call waits for the device's answer, whatever else it does meanwhile.
#[tokio::test]
async fn a_method_is_answered_by_its_device() {
    let world = World::start().await;
    let leaf = leaf();
    put_device(&world, self_signed(&leaf.sha256(), &leaf.sha256())).await;
    let mut client = connected(&world, &leaf).await;
    client
        .subscribe("$iothub/methods/POST/#", QoS::AtLeastOnce)
        .await;
    let call =
        json!({"methodName": "reboot", "payload": {"in": 5}, "responseTimeoutInSeconds": 10});
    let answering = async {
        let called = client.told().await;
        assert_eq!(called.topic, "$iothub/methods/POST/reboot/?$rid=1");
        assert_eq!(called.payload.as_ref(), br#"{"in":5}"#);
        client
            .publish("devices/dev-1/messages/events/", "busy")
            .await;
        client
            .publish("$iothub/methods/res/207/?$rid=1", r#"{"ok": true}"#)
            .await;
    };
    let calling = request(&world, Method::POST, "/twins/dev-1/methods", call);
    let (result, ()) = tokio::join!(calling, answering);
    assert_eq!(result, json!({"status": 207, "payload": {"ok": true}}));
}

#[tokio::test]
async fn a_method_of_a_device_that_does_not_listen_is_refused_at_once() {
    let world = World::start().await;
    let hub = world.linked_hub(HUB);
    let call = |id: &str| {
        let body = json!({"methodName": "reboot"});
        world.hub(&hub, Method::POST, format!("/twins/{id}/methods"), body)
    };
    assert_eq!(
        call("dev-1").await.header("iothub-errorcode"),
        Some("DeviceNotFound")
    );
    let leaf = leaf();
    put_device(&world, self_signed(&leaf.sha256(), &leaf.sha256())).await;
    let absent = call("dev-1").await;
    assert_eq!(absent.header("iothub-errorcode"), Some("DeviceNotOnline"));
    let mut client = connected(&world, &leaf).await;
    let deaf = call("dev-1").await;
    assert_eq!(deaf.header("iothub-errorcode"), Some("DeviceNotOnline"));
    client.send(Packet::PingReq).await;
    assert_eq!(client.next().await, Some(Packet::PingResp));

    let body = json!({"methodName": "../reboot"});
    let wrong = world
        .hub(&hub, Method::POST, "/twins/dev-1/methods", body)
        .await;
    assert_eq!(wrong.status, 400);
}
