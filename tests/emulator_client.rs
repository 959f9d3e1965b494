//! Our client and the local DPS on a bad day: faults on the wire, and a DPS that is killed.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use dps_client::auth::SasCredential;
use dps_client::service::Individuals;
use dps_client::transport::{HttpOptions, HttpTransport, ProxyUse, Trust};
use dps_client::{ApiVersion, Expect, Plane, RetryPolicy};
use dps_emulator::{Behavior, EmulatorConfig, EmulatorHandle, Throttle};
use dps_pki_tests::{Emulator, Home};
use futures::stream::{self, StreamExt as _};
use pki_core::enrollment::IndividualEnrollment;
use pki_core::ports::system::SystemClock;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

/// The individual enrollments of a DPS, asked without patience for failures.
fn individuals(connection_string: &str, trust_anchor: String) -> Individuals {
    let connection: dps_client::auth::ConnectionString =
        connection_string.parse().expect("a connection string");
    let mut options = HttpOptions::default();
    options.trust = Trust::Only(trust_anchor);
    options.proxy = ProxyUse::Direct;
    let transport = Arc::new(HttpTransport::new(&options).expect("a transport"));
    let plane = Plane::new(
        transport,
        connection.base_url().clone(),
        ApiVersion::SERVICE,
    );
    let retry = RetryPolicy {
        attempts: 12,
        first_wait: Duration::from_millis(10),
        first_wait_after_failure: Duration::from_millis(10),
        ..RetryPolicy::default()
    };
    let credential = SasCredential::new(connection, Arc::new(SystemClock));
    Individuals::new(
        plane
            .with_credential(Arc::new(credential))
            .with_retry(retry),
    )
}

/// An entry with a key of its own, so that another's is told apart.
fn entry(id: &str, key: &str) -> IndividualEnrollment {
    let entry = json!({
        "registrationId": id,
        "attestation": {"type": "symmetricKey", "symmetricKey": {
            "primaryKey": key_of(key), "secondaryKey": key_of("second"),
        }},
    });
    serde_json::from_value(entry).expect("an enrollment")
}

/// Base64 of a text that is long enough for a key.
fn key_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{text:-<32}"))
}

/// What a DPS holds in the end: primary keys by registration ID.
fn held(emulator: &EmulatorHandle) -> BTreeMap<String, String> {
    let dump = serde_json::to_value(emulator.dump()).expect("a dump");
    let entries = dump["enrollments"].as_array().expect("a list").iter();
    let member = |value: &Value| value.as_str().expect("text").to_owned();
    entries
        .map(|entry| {
            let key = &entry["attestation"]["symmetricKey"]["primaryKey"];
            (member(&entry["registrationId"]), member(key))
        })
        .collect()
}

/// 5 % cut connections, 5 % 503, and throttling (60 in a second, since a minute is long): 500 entries
/// are pushed, 10 of them are somebody else's by then, and nothing is there twice or overwritten.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_under_faults_ends_with_exactly_what_was_pushed() {
    const COUNT: usize = 500;
    let emulator = dps_emulator::Emulator::start(EmulatorConfig::default())
        .await
        .expect("starts");
    let connection_string = emulator.service_connection_string();
    let anchor = emulator.trust_anchor_pem().to_owned();
    let individuals = individuals(connection_string.expose_secret(), anchor);
    let others: Vec<String> = (0..10)
        .map(|number| format!("dev-{}", number * 50))
        .collect();
    for id in &others {
        let theirs = entry(id, "theirs");
        individuals
            .put(&theirs, &Expect::Absent)
            .await
            .expect("made");
    }
    let number = |number: u32| NonZeroU32::new(number).expect("not zero");
    let behavior = Behavior {
        seed: 5,
        reset_percent: 5,
        server_error_percent: 5,
        throttle: Some(Throttle {
            operations: number(60),
            seconds: number(1),
        }),
        ..Behavior::default()
    };
    emulator.set_behavior(behavior).expect("a behavior");

    let pushed = stream::iter(0..COUNT).map(|number| {
        let individuals = individuals.clone();
        let id = format!("dev-{number}");
        async move { (individuals.create(&entry(&id, &id)).await, id) }
    });
    let pushed: Vec<_> = pushed.buffer_unordered(8).collect().await;
    for (result, id) in pushed {
        match result {
            Ok(_) => assert!(!others.contains(&id), "{id} was made over another's"),
            Err(error) => assert!(error.is_conflict() && others.contains(&id), "{id}: {error}"),
        }
    }
    let held = held(&emulator);
    assert_eq!(held.len(), COUNT);
    for (id, key) in held {
        let owner = if others.contains(&id) { "theirs" } else { &id };
        assert_eq!(key, key_of(owner), "{id}");
    }
}

/// Every write that was acknowledged is there after SIGKILL, at whatever moment.
#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_write_survives_the_death_of_the_emulator() {
    const ROUNDS: usize = 5;
    let home = Home::empty();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        let emulator = Emulator::start_with(&home, "--state emulator-state.db");
        let client = client(&home, &emulator);
        assert_all_there(&client, &acknowledged).await;
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let client = client.clone();
                let sender = sender.clone();
                tokio::spawn(async move {
                    for number in 0.. {
                        let id = format!("r{round}-w{writer}-{number}");
                        if client.put(&entry(&id, &id), &Expect::Absent).await.is_err()
                            || sender.send(id).is_err()
                        {
                            break;
                        }
                    }
                })
            })
            .collect();
        for _ in 0..20 * (round + 1) {
            acknowledged.extend(receiver.recv().await);
        }
        // SIGKILL, with writes under way.
        drop(emulator);
        for writer in writers {
            writer.await.expect("it has ended");
        }
        receiver.close();
        while let Some(id) = receiver.recv().await {
            acknowledged.push(id);
        }
    }
    assert!(acknowledged.len() >= 300, "{}", acknowledged.len());
    let emulator = Emulator::start_with(&home, "--state emulator-state.db");
    let client = client(&home, &emulator);
    assert_all_there(&client, &acknowledged).await;
}

/// A client that gives up at once: its DPS is about to die.
fn client(home: &Home, emulator: &Emulator) -> Individuals {
    let connection_string = emulator.reach()["serviceConnectionString"].as_str();
    individuals(
        connection_string.expect("text"),
        home.read("emulator-ca.pem"),
    )
}

async fn assert_all_there(client: &Individuals, ids: &[String]) {
    for id in ids {
        let found = client.find(&id.parse().expect("an ID")).await;
        assert!(found.expect("an answer").is_some(), "{id} is lost");
    }
}
