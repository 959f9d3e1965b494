//! Custom allocation: a webhook on this machine chooses the hub.

use dps_emulator::{Choices, EmulatorConfig};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::fixture::{Authority, Leaf, World, choosing, individual};

const SECOND: &str = "hub-2.azure-devices.net";

/// A webhook that gives these answers one after the other, and then the bodies that it was sent.
async fn webhook(answers: Vec<(u16, Value)>) -> (String, JoinHandle<Vec<Value>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!(
        "http://{}/allocate?code=1",
        listener.local_addr().expect("an address")
    );
    let served = tokio::spawn(async move {
        let mut bodies = Vec::new();
        for (status, answer) in answers {
            let (mut stream, _) = listener.accept().await.expect("a call");
            bodies.push(body_of(&mut stream).await);
            let answer = answer.to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            stream
                .write_all((head + &answer).as_bytes())
                .await
                .expect("written");
        }
        bodies
    });
    (url, served)
}

async fn body_of(stream: &mut tokio::net::TcpStream) -> Value {
    let mut read = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.expect("read");
        read.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&read);
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            return body;
        }
        assert!(count > 0, "{text}");
    }
}

/// An instance with two hubs and one device whose entry names a webhook.
async fn world(url: &str) -> (World, Leaf) {
    let choices = Choices {
        webhook_retries: 2,
        webhook_wait_seconds: 0,
        ..Choices::default()
    };
    let world = World::with(EmulatorConfig {
        hubs: ["hub-1.azure-devices.net", SECOND]
            .map(|name| name.parse().expect("name"))
            .to_vec(),
        ..choosing(choices)
    })
    .await;
    let leaf = Authority::root("Root").leaf("dev-1", &[]);
    let mut entry = individual("dev-1", &leaf);
    entry["allocationPolicy"] = json!("custom");
    entry["customAllocationDefinition"] = json!({"webhookUrl": url, "apiVersion": "2019-03-31"});
    let put = world
        .service(Method::PUT, "/enrollments/dev-1", entry)
        .await;
    assert_eq!(put.status, 200, "{put:?}");
    (world, leaf)
}

/// Polls until it is over; the webhook takes as long as it takes.
async fn outcome(world: &World, leaf: &Leaf, body: Value) -> Value {
    let device = world.device("dev-1", leaf);
    let reply = device.send(Method::PUT, "/register", body).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let operation = reply.body["operationId"].as_str().expect("an operation");
    loop {
        let reply = device.poll(operation).await;
        match reply.status {
            202 => tokio::task::yield_now().await,
            _ => return reply.body["registrationState"].clone(),
        }
    }
}

#[tokio::test]
async fn the_webhook_is_told_who_asks_and_its_choice_counts() {
    let twin = json!({"tags": {"site": "b"}, "properties": {"desired": {}}});
    let answer =
        json!({"iotHubHostName": SECOND, "initialTwin": twin, "payload": {"to": "device"}});
    let (url, served) = webhook(vec![(200, answer)]).await;
    let (world, leaf) = world(&url).await;
    let state = outcome(&world, &leaf, json!({"payload": {"from": "device"}})).await;
    assert_eq!(
        (&state["assignedHub"], &state["payload"]),
        (&json!(SECOND), &json!({"to": "device"}))
    );
    let hub = world.linked_hub(SECOND);
    let twin = world
        .hub(&hub, Method::GET, "/twins/dev-1", Value::Null)
        .await
        .body;
    assert_eq!(twin["tags"]["site"], "b");

    let sent = served.await.expect("served").remove(0);
    assert_eq!(
        sent["deviceRuntimeContext"],
        json!({"registrationId": "dev-1", "x509": {}, "payload": {"from": "device"}})
    );
    assert_eq!(
        sent["linkedHubs"],
        json!(["hub-1.azure-devices.net", SECOND])
    );
    assert_eq!(sent["individualEnrollment"]["registrationId"], "dev-1");
}

/// The documented codes; a busy webhook is asked again.
#[tokio::test]
async fn a_webhook_that_fails_fails_the_registration() {
    let elsewhere = json!({"iotHubHostName": "elsewhere.azure-devices.net"});
    for (answers, code) in [
        (vec![(200, json!({"iotHubHostName": ""}))], 400_208),
        (vec![(200, elsewhere)], 400_208),
        (vec![(401, json!({}))], 400_209),
        (vec![(400, json!({}))], 400_207),
        (vec![(200, json!("no object"))], 400_207),
        (
            vec![(429, json!({})), (500, json!({})), (503, json!({}))],
            400_207,
        ),
    ] {
        let (url, served) = webhook(answers).await;
        let (world, leaf) = world(&url).await;
        let state = outcome(&world, &leaf, json!({})).await;
        assert_eq!(
            (&state["status"], &state["errorCode"]),
            (&json!("failed"), &json!(code))
        );
        served.await.expect("all answers were fetched");
    }
    let busy = vec![(429, json!({})), (200, json!({"iotHubHostName": SECOND}))];
    let (url, served) = webhook(busy).await;
    let (world, leaf) = world(&url).await;
    assert_eq!(
        outcome(&world, &leaf, json!({})).await["status"],
        "assigned"
    );
    served.await.expect("asked twice");
}

#[tokio::test]
async fn an_entry_for_a_webhook_over_plain_http_elsewhere_is_refused() {
    let world = World::start().await;
    let mut entry = individual("dev-1", &Authority::root("Root").leaf("dev-1", &[]));
    entry["allocationPolicy"] = json!("custom");
    for definition in [
        Value::Null,
        json!({"webhookUrl": "http://example.net/", "apiVersion": "2019-03-31"}),
    ] {
        entry["customAllocationDefinition"] = definition;
        let put = world
            .service(Method::PUT, "/enrollments/dev-1", entry.clone())
            .await;
        assert_eq!(put.status, 400, "{put:?}");
    }
}
