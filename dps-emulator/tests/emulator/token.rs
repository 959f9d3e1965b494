//! Who may use the service plane: shared access signatures and bearer tokens.

use dps_emulator::{EmulatorConfig, Right};
use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::fixture::{World, signed, token};

const PATH: &str = "/enrollments/dev-1";
const POLICY: &str = "provisioningserviceowner";

async fn status(world: &World, authorization: Option<&str>) -> u16 {
    world
        .raw(Method::GET, PATH, authorization, Value::Null)
        .await
        .status
}

async fn keys(world: &World) -> Value {
    let path = format!("/keys/{POLICY}/listkeys");
    world
        .management(Method::POST, path, Value::Null, None)
        .await
        .body
}

/// Each token differs from a good one in one thing; 404 means that it was let in.
#[tokio::test]
async fn a_service_token_with_one_thing_wrong_is_refused() {
    let world = World::start().await;
    let keys = keys(&world).await;
    let primary = keys["primaryKey"].as_str().expect("a key");
    let secondary = keys["secondaryKey"].as_str().expect("a key");
    let other = "bm90IHRoZSBrZXkgb2YgdGhpcyBzZXJ2aWNlIQ==";
    let azure = "emulator.azure-devices-provisioning.net";
    for (case, token, expected) in [
        ("good", signed("localhost", primary, 60, Some(POLICY)), 404),
        (
            "second key",
            signed("localhost", secondary, 60, Some(POLICY)),
            404,
        ),
        (
            "a port",
            signed("localhost%3A443", primary, 60, Some(POLICY)),
            404,
        ),
        (
            "azure's name",
            signed(azure, primary, 60, Some(POLICY)),
            404,
        ),
        (
            "a path above",
            signed("localhost/enrollments", primary, 60, Some(POLICY)),
            404,
        ),
        (
            "no policy named",
            signed("localhost", primary, 60, None),
            404,
        ),
        (
            "another key",
            signed("localhost", other, 60, Some(POLICY)),
            401,
        ),
        (
            "expired",
            signed("localhost", primary, -1, Some(POLICY)),
            401,
        ),
        (
            "another host",
            signed(
                "other.azure-devices-provisioning.net",
                primary,
                60,
                Some(POLICY),
            ),
            401,
        ),
        (
            "another path",
            signed("localhost/enrollmentGroups", primary, 60, Some(POLICY)),
            401,
        ),
        (
            "another policy",
            signed("localhost", primary, 60, Some("nobody")),
            401,
        ),
    ] {
        assert_eq!(status(&world, Some(&token)).await, expected, "{case}");
    }
    assert_eq!(status(&world, None).await, 401);
    assert_eq!(
        status(&world, Some("SharedAccessSignature sr=x")).await,
        401
    );
}

#[tokio::test]
async fn a_hub_key_does_not_open_the_service() {
    let world = World::start().await;
    let hub = world.emulator.hubs().remove(0);
    let token = token(hub.connection_string.expose_secret(), 60);
    assert_eq!(status(&world, Some(&token)).await, 401);
}

#[tokio::test]
async fn a_policy_allows_what_its_rights_say() {
    let config = EmulatorConfig {
        policies: vec![("reader".to_owned(), vec![Right::EnrollmentRead])],
        ..EmulatorConfig::default()
    };
    let world = World::with(config).await;
    let reader = world
        .emulator
        .connection_string("reader")
        .expect("a policy");
    let token = token(reader.expose_secret(), 60);
    let document = json!({"registrationId": "dev-1", "attestation": {"type": "symmetricKey"}});
    world.service(Method::PUT, PATH, document.clone()).await;
    let attempts = [
        (Method::GET, PATH, Value::Null, 200),
        (
            Method::POST,
            "/enrollments/query",
            json!({"query": "SELECT *"}),
            200,
        ),
        (Method::PUT, PATH, document, 401),
        (Method::DELETE, PATH, Value::Null, 401),
        (
            Method::POST,
            "/enrollments/dev-1/attestationmechanism",
            Value::Null,
            401,
        ),
        (Method::GET, "/registrations/dev-1", Value::Null, 401),
    ];
    for (method, path, body, expected) in attempts {
        let reply = world.raw(method.clone(), path, Some(&token), body).await;
        assert_eq!(reply.status, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn any_bearer_token_is_good_unless_one_is_configured() {
    let open = World::start().await;
    assert_eq!(status(&open, Some("Bearer anything")).await, 404);
    let config = EmulatorConfig {
        bearer_token: Some(SecretString::from("the-one")),
        ..EmulatorConfig::default()
    };
    let closed = World::with(config).await;
    assert_eq!(status(&closed, Some("Bearer the-one")).await, 404);
    assert_eq!(status(&closed, Some("Bearer anything")).await, 401);
}
