//! Registering over MQTT, as Microsoft's SDKs do it.

use dps_emulator::EmulatorConfig;
use reqwest::Method;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnectReturnCode, Packet, PubAck, Publish, Subscribe, SubscribeReasonCode, Unsubscribe,
};
use serde_json::{Value, json};

use crate::fixture::{Authority, World, derived, individual, signed};
use crate::mqtt_client::{Client, REGISTER};

const ANSWERS: &str = "$dps/registrations/res/#";

#[tokio::test]
async fn a_device_of_a_group_registers_with_its_chain() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let factory = root.intermediate("Factory");
    world.enroll_group("line-a", &root, &factory).await;
    let leaf = factory.leaf("dev-1", &[&factory]);
    let client = Client::to_dps(&world, Some(&leaf), "dev-1", None).await;
    let result = client.expect("connects").register().await;
    assert_eq!(result["topic"], "$dps/registrations/res/200/?$rid=r-1");
    let state = &result["body"]["registrationState"];
    assert_eq!(result["body"]["status"], "assigned");
    assert_eq!(state["assignedHub"], "hub-1.azure-devices.net");
    assert_eq!(state["deviceId"], "dev-1");
    assert_eq!(state["substatus"], "initialAssignment");
    let record = world
        .service(Method::GET, "/registrations/dev-1", Value::Null)
        .await;
    assert_eq!(record.body["status"], "assigned");
}

#[tokio::test]
async fn a_device_registers_with_its_key() {
    let world = World::start().await;
    let key = keyed_group(&world).await;
    let key = derived(&key, "dev-1");
    let resource = format!("{}%2fregistrations%2fdev-1", world.emulator.id_scope());
    // Python's SDK names no policy, Node's does.
    for policy in [None, Some("registration")] {
        let token = signed(&resource, &key, 3600, policy);
        let client = Client::to_dps(&world, None, "dev-1", Some(&token)).await;
        let result = client.expect("connects").register().await;
        assert_eq!(result["body"]["status"], "assigned", "{policy:?}");
    }
}

/// Chain and enrollment are judged at `register`, with the status and body that HTTPS has.
#[tokio::test]
async fn a_refusal_is_an_answer() {
    let world = World::start().await;
    let leaf = Authority::root("Stranger").leaf("dev-1", &[]);
    let client = Client::to_dps(&world, Some(&leaf), "dev-1", None).await;
    let result = client.expect("connects").register().await;
    assert_eq!(result["status"], 401);
    assert_eq!(result["body"]["errorCode"], 401_002);
    let over_https = world.device("dev-1", &leaf).knock().await;
    assert_eq!(result["body"]["message"], over_https.body["message"]);
}

#[tokio::test]
async fn a_disabled_device_is_told_so() {
    let world = World::start().await;
    let leaf = Authority::root("Own").leaf("dev-1", &[]);
    let mut entry = individual("dev-1", &leaf);
    entry["provisioningStatus"] = json!("disabled");
    world
        .service(Method::PUT, "/enrollments/dev-1", entry)
        .await;
    let client = Client::to_dps(&world, Some(&leaf), "dev-1", None).await;
    let result = client.expect("connects").register().await;
    assert_eq!(
        (&result["status"], &result["body"]["status"]),
        (&json!(200), &json!("disabled"))
    );
}

/// Only the identity itself is judged at CONNECT; whatever is wrong with it is return code 5.
#[tokio::test]
async fn a_wrong_identity_is_not_let_in() {
    let world = World::start().await;
    let scope = world.emulator.id_scope().to_string();
    let group_key = keyed_group(&world).await;
    let key = derived(&group_key, "dev-1");
    let leaf = Authority::root("Root").leaf("dev-1", &[]);
    let user = |scope: &str, id: &str| {
        format!("{scope}/registrations/{id}/api-version=2019-03-31&ClientVersion=x")
    };
    let mine = format!("{scope}/registrations/dev-1");
    let [good, expired, foreign, theirs, group] = [
        signed(&mine, &key, 60, None),
        signed(&mine, &key, -1, None),
        signed("0ne12345678/registrations/dev-1", &key, 60, None),
        signed(&format!("{scope}/registrations/dev-2"), &key, 60, None),
        signed(&mine, &group_key, 60, None),
    ];
    let cases = [
        ("no proof", None, user(&scope, "dev-1"), "dev-1", None),
        (
            "client ID",
            Some(&leaf),
            user(&scope, "dev-1"),
            "dev-2",
            None,
        ),
        (
            "common name",
            Some(&leaf),
            user(&scope, "dev-2"),
            "dev-2",
            None,
        ),
        (
            "scope",
            Some(&leaf),
            user("0ne12345678", "dev-1"),
            "dev-1",
            None,
        ),
        ("no version", Some(&leaf), mine.clone(), "dev-1", None),
        ("nobody", Some(&leaf), "dev-1".to_owned(), "dev-1", None),
        (
            "expired",
            None,
            user(&scope, "dev-1"),
            "dev-1",
            Some(&expired),
        ),
        (
            "foreign",
            None,
            user(&scope, "dev-1"),
            "dev-1",
            Some(&foreign),
        ),
        (
            "another's",
            None,
            user(&scope, "dev-1"),
            "dev-1",
            Some(&theirs),
        ),
        (
            "group key",
            None,
            user(&scope, "dev-1"),
            "dev-1",
            Some(&group),
        ),
        (
            "not enrolled",
            None,
            user(&scope, "dev-2"),
            "dev-2",
            Some(&good),
        ),
    ];
    for (case, leaf, user, id, token) in cases {
        let token = token.map(String::as_str);
        let refused = Client::connect(&world, leaf, id, &user, token).await;
        assert_eq!(
            refused.err(),
            Some(ConnectReturnCode::NotAuthorized),
            "{case}"
        );
    }
    let admitted = Client::to_dps(&world, None, "dev-1", Some(&good)).await;
    assert!(admitted.is_ok());
}

#[tokio::test]
async fn qos_2_is_granted_as_1_and_another_topic_ends_the_connection() {
    let world = World::start().await;
    for filter in ["#", "$dps/#", "devices/dev-1/messages/devicebound/#"] {
        let mut client = stranger(&world).await;
        let granted = client.subscribe(ANSWERS, QoS::ExactlyOnce).await;
        assert_eq!(granted, SubscribeReasonCode::Success(QoS::AtLeastOnce));
        let other = Subscribe::new(filter, QoS::AtMostOnce);
        client
            .send(Packet::Subscribe(Subscribe { pkid: 2, ..other }))
            .await;
        assert!(client.is_closed().await, "{filter}");
    }
}

/// C's client publishes with QoS 0, which nobody acknowledges; an answer has the QoS of its
/// subscription, and none comes without one.
#[tokio::test]
async fn an_answer_has_the_qos_of_its_subscription() {
    let world = World::start().await;
    let mut client = stranger(&world).await;
    let unanswered = Publish::new(REGISTER, QoS::AtMostOnce, "");
    client.send(Packet::Publish(unanswered.clone())).await;
    client.send(Packet::PingReq).await;
    assert_eq!(client.next().await, Some(Packet::PingResp));

    client.subscribe(ANSWERS, QoS::AtMostOnce).await;
    client.send(Packet::Publish(unanswered)).await;
    let answer = client.told().await;
    assert_eq!(answer.qos, QoS::AtMostOnce);
    assert_eq!(answer.topic, "$dps/registrations/res/401/?$rid=r-1");

    let mut unsubscribe = Unsubscribe::new(ANSWERS);
    unsubscribe.pkid = 8;
    client.send(Packet::Unsubscribe(unsubscribe)).await;
    assert!(matches!(client.next().await, Some(Packet::UnsubAck(ack)) if ack.pkid == 8));
    client.publish(REGISTER, "").await;
    client.send(Packet::PingReq).await;
    assert_eq!(client.next().await, Some(Packet::PingResp));
}

/// C#'s client acknowledges under packet ID 0 what came with QoS 0.
#[tokio::test]
async fn an_acknowledgement_of_nothing_does_no_harm() {
    let world = World::start().await;
    let mut client = stranger(&world).await;
    client.send(Packet::PubAck(PubAck::new(0))).await;
    client.send(Packet::PubAck(PubAck::new(5))).await;
    client.send(Packet::PingReq).await;
    assert_eq!(client.next().await, Some(Packet::PingResp));
}

#[tokio::test]
async fn what_the_service_does_not_support_ends_the_connection() {
    let world = World::start().await;
    for (topic, qos) in [
        (REGISTER, QoS::ExactlyOnce),
        ("$dps/registrations/PUT/iotdps-register/", QoS::AtMostOnce),
        (
            "$dps/registrations/DELETE/iotdps-register/?$rid=1",
            QoS::AtMostOnce,
        ),
        ("devices/dev-1/messages/events/", QoS::AtMostOnce),
    ] {
        let mut client = stranger(&world).await;
        let mut publish = Publish::new(topic, qos, "");
        publish.pkid = 3;
        client.send(Packet::Publish(publish)).await;
        assert!(client.is_closed().await, "{topic} {qos:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_is_refused_and_the_connection_stays() {
    let world = World::start().await;
    let mut client = stranger(&world).await;
    client.subscribe(ANSWERS, QoS::AtLeastOnce).await;
    let (topic, body) = client.ask(REGISTER, "{").await;
    assert_eq!(topic, "$dps/registrations/res/400/?$rid=r-1");
    assert_eq!(body["errorCode"], 400_006);
    let poll = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=none";
    let (topic, _) = client.ask(poll, " ").await;
    assert_eq!(topic, "$dps/registrations/res/404/?$rid=2");
}

#[tokio::test]
async fn connections_end_with_the_emulator() {
    let world = World::start().await;
    let mut client = stranger(&world).await;
    world.emulator.shutdown().await.expect("ends");
    assert!(client.is_closed().await);
}

/// A device that nobody enrolled, connected all the same.
async fn stranger(world: &World) -> Client {
    let leaf = Authority::root("Stranger").leaf("dev-1", &[]);
    let client = Client::to_dps(world, Some(&leaf), "dev-1", None).await;
    client.expect("connects")
}

async fn keyed_group(world: &World) -> String {
    let body = json!({"enrollmentGroupId": "keyed", "attestation": {"type": "symmetricKey"}});
    let reply = world
        .service(Method::PUT, "/enrollmentGroups/keyed", body)
        .await;
    let key = &reply.body["attestation"]["symmetricKey"]["primaryKey"];
    key.as_str().expect("a key").to_owned()
}

/// Clients have port 8883 built in; where somebody else has it, MQTT is elsewhere.
#[tokio::test]
async fn two_instances_share_a_machine() {
    let config = EmulatorConfig {
        mqtt_listen: None,
        ..EmulatorConfig::default()
    };
    let one = World::with(config.clone()).await;
    let other = World::with(config).await;
    let [one, other] = [&one, &other].map(|world| world.emulator.mqtt_address());
    assert_ne!(one, other);
    assert_ne!(other.port(), 8883);
}
