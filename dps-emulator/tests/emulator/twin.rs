//! Twins over HTTPS and MQTT: what a hub takes, what it refuses and with which words, and a last will.

use reqwest::Method;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, LastWill, Packet};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::fixture::{Authority, Leaf, Reply, World, send};
use crate::mqtt_client::{Client, connect, tls};

const HUB: &str = "hub-1.azure-devices.net";
const TWIN: &str = "/twins/dev-1";
const REPORT: &str = "$iothub/twin/PATCH/properties/reported/?$rid=1";

async fn world() -> (World, Leaf) {
    let world = World::start().await;
    let leaf = Authority::root("Root").leaf("dev-1", &[]);
    world.enroll("dev-1", &leaf).await;
    world.device("dev-1", &leaf).register().await;
    (world, leaf)
}

async fn patch(world: &World, body: Value) -> Reply {
    let hub = world.linked_hub(HUB);
    world.hub(&hub, Method::PATCH, TWIN, body).await
}

async fn twin(world: &World) -> Value {
    let hub = world.linked_hub(HUB);
    world.hub(&hub, Method::GET, TWIN, Value::Null).await.body
}

async fn connected(world: &World, leaf: &Leaf) -> Client {
    let client = Client::to_hub(world, HUB, Some(leaf), "dev-1", None).await;
    let mut client = client.expect("connects");
    client
        .subscribe("$iothub/twin/res/#", QoS::AtLeastOnce)
        .await;
    client
}

#[tokio::test]
async fn what_a_hub_refuses_changes_nothing_over_https() {
    let (world, _leaf) = world().await;
    patch(&world, json!({"tags": {"site": "a"}})).await;
    let before = twin(&world).await;
    for part in [
        json!({"a": [null]}),
        json!({"a.b": 1}),
        json!({"$a": 1}),
        json!({"a b": 1}),
        json!({"a": "x".repeat(4097)}),
        json!({"a": 4_503_599_627_370_496_u64}),
    ] {
        for body in [
            json!({"tags": part}),
            json!({"properties": {"desired": part}}),
        ] {
            let refused = patch(&world, body).await;
            assert_eq!(refused.status, 400, "{part}: {refused:?}");
            assert_eq!(refused.header("iothub-errorcode"), Some("ArgumentInvalid"));
        }
    }
    assert_eq!(twin(&world).await, before);
}

#[tokio::test]
async fn a_refusal_over_mqtt_has_the_body_that_was_recorded() {
    let (world, leaf) = world().await;
    let mut client = connected(&world, &leaf).await;
    let (topic, body) = client.ask(REPORT, r#"{"a":[{"b":null}]}"#).await;
    assert_eq!(topic, "$iothub/twin/res/400/?$rid=1");
    assert_eq!(body["errorCode"], 400_004);
    let words = "Value of Property or Tag cannot be null. Error inProperty/Tag b";
    assert_eq!(body["message"], words);
    let tracking = body["trackingId"].as_str().expect("a text");
    let (id, rest) = tracking.split_once("-G:").expect("a gateway");
    assert!(id.len() == 32 && rest.contains("-TimeStamp:"), "{tracking}");
    assert!(body["timestampUtc"].is_string());
    let (topic, _) = client.ask(REPORT, r#"{"a":[{"b":1}]}"#).await;
    assert_eq!(topic, "$iothub/twin/res/204/?$rid=1&$version=2");
}

/// What is null goes, what is not named stays, and each part has a version of its own.
#[tokio::test]
async fn versions_count_the_writes_of_their_part() {
    let (world, leaf) = world().await;
    let versions = async || {
        let twin = twin(&world).await;
        [
            twin["version"].as_u64(),
            twin["properties"]["desired"]["$version"].as_u64(),
            twin["properties"]["reported"]["$version"].as_u64(),
        ]
        .map(Option::unwrap_or_default)
    };
    assert_eq!(versions().await, [2, 1, 1]);
    patch(
        &world,
        json!({"properties": {"desired": {"a": 1, "b": {"c": 2, "d": 3}}}}),
    )
    .await;
    assert_eq!(versions().await, [3, 2, 1]);
    patch(&world, json!({"tags": {"site": "a"}})).await;
    assert_eq!(versions().await, [4, 2, 1]);
    let mut client = connected(&world, &leaf).await;
    client.ask(REPORT, r#"{"state":"on"}"#).await;
    assert_eq!(versions().await, [5, 2, 2]);
    let patched = patch(
        &world,
        json!({"properties": {"desired": {"a": null, "b": {"c": null}}}}),
    )
    .await;
    assert_eq!(versions().await, [6, 3, 2]);
    let desired = &patched.body["properties"]["desired"];
    assert_eq!(
        (&desired["a"], &desired["b"]),
        (&Value::Null, &json!({"d": 3}))
    );
    assert!(desired.get("a").is_none(), "it is gone, not null");
    let metadata = &desired["$metadata"];
    assert!(metadata.get("a").is_none());
    assert_eq!(metadata["$lastUpdatedVersion"], 3);
    assert_eq!(metadata["b"]["d"]["$lastUpdatedVersion"], 2);
}

/// As clients do that write back what they read.
#[tokio::test]
async fn what_a_hub_adds_is_taken_back_and_not_kept_or_told() {
    let (world, leaf) = world().await;
    let mut client = connected(&world, &leaf).await;
    let topic = "$iothub/twin/PATCH/properties/desired/#";
    client.subscribe(topic, QoS::AtMostOnce).await;
    let mut whole = twin(&world).await;
    whole["properties"]["desired"]["color"] = json!("red");
    let patched = patch(&world, whole).await;
    assert_eq!(patched.status, 200, "{patched:?}");
    assert_eq!(patched.body["properties"]["desired"]["$version"], 2);
    let told: Value = serde_json::from_slice(&client.told().await.payload).expect("JSON");
    assert_eq!(told, json!({"color": "red", "$version": 2}));
}

#[tokio::test]
async fn a_device_neither_sees_nor_sets_tags() {
    let (world, leaf) = world().await;
    patch(&world, json!({"tags": {"site": "a"}})).await;
    let mut client = connected(&world, &leaf).await;
    let (_, seen) = client.ask("$iothub/twin/GET/?$rid=1", "").await;
    assert_eq!(
        seen,
        json!({"desired": {"$version": 1}, "reported": {"$version": 1}})
    );
    client.ask(REPORT, r#"{"tags":{"site":"b"}}"#).await;
    let twin = twin(&world).await;
    assert_eq!(twin["tags"], json!({"site": "a"}));
    assert_eq!(twin["properties"]["reported"]["tags"], json!({"site": "b"}));
}

#[tokio::test]
async fn tags_have_less_room_than_properties() {
    let (world, _leaf) = world().await;
    let part: serde_json::Map<String, Value> = (0..3)
        .map(|number| (format!("a-{number}"), json!("x".repeat(4000))))
        .collect();
    assert_eq!(patch(&world, json!({"tags": part})).await.status, 413);
    let desired = json!({"properties": {"desired": part}});
    assert_eq!(patch(&world, desired).await.status, 200);
}

/// A connection with a last will on a topic, or the refusal.
async fn with_will(world: &World, leaf: &Leaf, topic: &str) -> Result<Client, ConnectReturnCode> {
    let mut client = Client::over(tls(world, Some(leaf)).await);
    let user = format!("{HUB}/dev-1/?api-version=2021-04-12");
    let mut packet = connect("dev-1", &user, None);
    packet.last_will = Some(LastWill::new(topic, "gone", QoS::AtLeastOnce, false));
    client.send(Packet::Connect(packet)).await;
    match client.next().await {
        Some(Packet::ConnAck(ack)) if ack.code == ConnectReturnCode::Success => Ok(client),
        Some(Packet::ConnAck(ack)) => Err(ack.code),
        other => panic!("no CONNACK but {other:?}"),
    }
}

/// How many messages a device sent, once it is not connected any more.
async fn messages(world: &World) -> u64 {
    loop {
        let url = world.emulator.control_url() + "/counters";
        let token = world.emulator.control_token().expose_secret();
        let counters = send(world.client.get(url).bearer_auth(token)).await.body;
        let device = &counters[HUB]["dev-1"];
        if device["isConnected"] == false {
            return device["messages"].as_u64().expect("a number");
        }
    }
}

#[tokio::test]
async fn a_last_will_is_telemetry_of_a_device_that_went_without_a_word() {
    let (world, leaf) = world().await;
    let topic = "devices/dev-1/messages/events/";
    let mut polite = with_will(&world, &leaf, topic).await.expect("connects");
    polite.send(Packet::Disconnect).await;
    assert!(polite.is_closed().await);
    assert_eq!(messages(&world).await, 0);
    drop(with_will(&world, &leaf, topic).await.expect("connects"));
    assert_eq!(messages(&world).await, 1);
}

#[tokio::test]
async fn a_last_will_that_is_no_telemetry_of_the_device_is_refused() {
    let (world, leaf) = world().await;
    for topic in ["devices/dev-2/messages/events/", "elsewhere"] {
        let refused = with_will(&world, &leaf, topic).await;
        assert_eq!(refused.err(), Some(ConnectReturnCode::NotAuthorized));
    }
}
