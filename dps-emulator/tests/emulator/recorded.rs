//! What the live services were recorded answering: the emulator answers so.

#[path = "../../../tests/support/facts.rs"]
mod facts;

mod hub;
mod management;
mod recording;
mod service;

use dps_emulator::{Choices, SingleCertificate};
use reqwest::Method;
use serde_json::{Value, json};

use self::recording::Recording;
use crate::fixture::{Authority, World, choosing};

fn tag(document: &Value) -> String {
    document["etag"].as_str().expect("a tag").to_owned()
}

/// Statuses, headers, members, types and formats, one line a fact.
#[tokio::test]
async fn every_recorded_shape_is_answered() {
    let mut recording = Recording::start().await;
    let root = Authority::root("Contoso Factory 1 CA");
    let leaf = root.leaf("device-001", &[]);
    service::groups(&mut recording, &root).await;
    service::keys(&mut recording).await;
    service::individuals(&mut recording, &leaf.pem).await;
    service::bulk(&mut recording, &root).await;
    management::certificates(&mut recording).await;
    management::instance(&mut recording).await;
    hub::devices(&mut recording).await;
    let problems = facts::judge("emulator", &recording.answers);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn slots(document: &Value) -> [Option<&str>; 2] {
    let slots = &document["attestation"]["x509"]["signingCertificates"];
    ["primary", "secondary"].map(|slot| slots[slot]["info"]["sha256Thumbprint"].as_str())
}

/// The secondary slot of a single certificate, as each choice has it; with two there is nothing to choose.
#[tokio::test]
async fn a_single_certificate_is_shown_stored_or_left_alone() {
    for (choice, is_shown, is_stored) in [
        (SingleCertificate::Shown, true, false),
        (SingleCertificate::Stored, true, true),
        (SingleCertificate::Once, false, false),
    ] {
        let choices = Choices {
            single_certificate: choice,
            ..Choices::default()
        };
        let world = World::with(choosing(choices)).await;
        let one = Authority::root("One");
        let two = Authority::root("Two");
        let path = "/enrollmentGroups/line";
        let document = crate::fixture::group("line", &one);
        world.service(Method::PUT, path, document).await;
        let read = world.service(Method::GET, path, Value::Null).await.body;
        let [primary, secondary] = slots(&read);
        assert_eq!(secondary == primary, is_shown, "{choice:?}");
        let dump = serde_json::to_value(world.emulator.dump()).expect("a dump");
        let stored = slots(&dump["enrollmentGroups"][0]);
        assert_eq!(stored[1].is_some(), is_stored, "{choice:?}");

        let mut both = read;
        both["attestation"]["x509"]["signingCertificates"]["secondary"] =
            json!({"certificate": two.pem});
        let put = world
            .service_if_match(Method::PUT, path, both, Some("*"))
            .await;
        let [primary, secondary] = slots(&put.body);
        assert!(
            primary != secondary && secondary.is_some(),
            "{choice:?}: {put:?}"
        );
        let mut single = put.body.clone();
        single["attestation"]["x509"]["signingCertificates"] =
            json!({"primary": {"certificate": two.pem}});
        let put = world
            .service_if_match(Method::PUT, path, single, Some("*"))
            .await;
        assert_eq!(
            slots(&put.body)[1].is_some(),
            is_shown,
            "{choice:?}: {put:?}"
        );
    }
}

/// A client that knows nothing of copies reads a record and puts it back; both slots come with `info` alone.
#[tokio::test]
async fn a_copy_that_is_sent_back_is_taken_for_one() {
    for choice in [SingleCertificate::Shown, SingleCertificate::Stored] {
        let choices = Choices {
            single_certificate: choice,
            ..Choices::default()
        };
        let world = World::with(choosing(choices)).await;
        let [one, two] = ["One", "Two"].map(Authority::root);
        let path = "/enrollmentGroups/line";
        world
            .service(Method::PUT, path, crate::fixture::group("line", &one))
            .await;
        let mut read = world.service(Method::GET, path, Value::Null).await.body;
        read["provisioningStatus"] = json!("disabled");
        let put = world
            .service_if_match(Method::PUT, path, read.clone(), Some(&tag(&read)))
            .await;
        assert_eq!(put.status, 200, "{choice:?}: {put:?}");
        let mut moved = put.body;
        moved["attestation"]["x509"]["signingCertificates"]["primary"] =
            json!({"certificate": two.pem});
        let put = world
            .service_if_match(Method::PUT, path, moved, Some("*"))
            .await;
        let [primary, secondary] = slots(&put.body);
        assert!(
            primary.is_some() && secondary.is_some() && primary != secondary,
            "{choice:?}: {put:?}"
        );
    }
}

/// Recorded is the bare form, and released clients quote: both are taken, and a stale one is refused in either.
#[tokio::test]
async fn tags_are_taken_bare_and_in_quotes() {
    let world = World::start().await;
    let path = "/enrollments/dev-1";
    let document = json!({"registrationId": "dev-1", "attestation": {"type": "symmetricKey"}});
    let mut last = world
        .service(Method::PUT, path, document.clone())
        .await
        .etag();
    for is_quoted in [false, true] {
        let form = |tag: &str| {
            if is_quoted {
                format!("\"{tag}\"")
            } else {
                tag.to_owned()
            }
        };
        let put = world
            .service_if_match(Method::PUT, path, document.clone(), Some(&form(&last)))
            .await;
        assert_eq!(put.status, 200, "{put:?}");
        let stale = world
            .service_if_match(Method::PUT, path, document.clone(), Some(&form(&last)))
            .await;
        assert_eq!(stale.status, 412, "{stale:?}");
        last = put.etag();
    }
}

/// The three words of the service's own policy stand for everything, also when they come back.
#[tokio::test]
async fn the_service_s_own_policy_keeps_its_rights_when_it_is_sent_back() {
    let world = World::start().await;
    let keys = world
        .management(Method::POST, "/listkeys", Value::Null, None)
        .await
        .body;
    let shown = world
        .management(Method::GET, "", Value::Null, None)
        .await
        .body;
    let body = json!({"properties": {
        "iotHubs": shown["properties"]["iotHubs"], "authorizationPolicies": keys["value"],
    }});
    let put = world.management(Method::PUT, "", body, None).await;
    assert_eq!(put.status, 201, "{put:?}");
    let listed = world
        .service(Method::POST, "/registrations/nobody/query", Value::Null)
        .await;
    assert_eq!(listed.status, 200, "{listed:?}");
}

/// Of what is legal, the strict emulator polls longer and shows a single certificate in both slots.
#[tokio::test]
async fn a_strict_instance_tells_that_a_change_is_running() {
    let world = World::with(choosing(Choices::strict())).await;
    let shown = world
        .management(Method::GET, "", Value::Null, None)
        .await
        .body;
    let put = world.management(Method::PUT, "", shown, None).await;
    let operation = put
        .header("azure-asyncoperation")
        .expect("an operation")
        .to_owned();
    let id = operation
        .split("/operationresults/")
        .nth(1)
        .and_then(|rest| rest.split('?').next());
    let path = format!("/operationresults/{}", id.expect("an ID"));
    let mut seen = Vec::new();
    for _ in 0..4 {
        let poll = world
            .management(Method::GET, &path, Value::Null, None)
            .await;
        seen.push(poll.body["status"].as_str().expect("a word").to_owned());
    }
    assert_eq!(seen, ["Running", "Running", "Running", "Succeeded"]);
}
