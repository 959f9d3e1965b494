//! The door for whoever runs the instance, and the request log.

use dps_emulator::{EmulatorConfig, Seed};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::fixture::{Authority, Reply, World, send};

async fn control(world: &World, method: Method, path: &str, body: Value) -> Reply {
    let url = format!("{}{path}", world.emulator.control_url());
    let token = world.emulator.control_token().expose_secret();
    let request = world.client.request(method, url).bearer_auth(token);
    send(match body {
        Value::Null => request,
        body => request.json(&body),
    })
    .await
}

#[tokio::test]
async fn the_door_opens_to_the_token_only() {
    let world = World::start().await;
    assert_eq!(
        control(&world, Method::GET, "", Value::Null).await.status,
        200
    );
    for path in ["", "/state", "/behavior", "/counters"] {
        for authorization in [None, Some("Bearer anything")] {
            let path = format!("/$emulator{path}");
            let reply = world
                .raw(Method::GET, path, authorization, Value::Null)
                .await;
            assert_eq!(reply.status, 401, "{authorization:?}");
        }
    }
}

#[tokio::test]
async fn behavior_is_read_changed_in_part_and_replaced() {
    let world = World::start().await;
    let patch = json!({"throttle": {"operations": 1}, "choices": {"pageDefault": 7}});
    let patched = control(&world, Method::PATCH, "/behavior", patch).await;
    assert_eq!(patched.status, 200, "{patched:?}");
    assert_eq!(
        patched.body["throttle"],
        json!({"operations": 1, "seconds": 60})
    );
    assert_eq!(patched.body["choices"]["pageMost"], 1000);
    assert_eq!(
        control(&world, Method::GET, "/behavior", Value::Null)
            .await
            .body,
        patched.body
    );
    let ask = || world.service(Method::GET, "/enrollments/dev-1", Value::Null);
    assert_eq!([ask().await.status, ask().await.status], [404, 429]);

    let replaced = control(&world, Method::PUT, "/behavior", json!({})).await;
    assert_eq!(replaced.body["throttle"], Value::Null);
    for bad in [json!({"resetPercent": 101}), json!({"thrttle": null})] {
        let refused = control(&world, Method::PUT, "/behavior", bad).await;
        assert_eq!(refused.status, 400, "{refused:?}");
    }
    assert_eq!(ask().await.status, 404);
}

/// What one instance holds makes the same one elsewhere: devices go on with their hubs and keys.
#[tokio::test]
async fn a_dump_is_a_seed() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let line = root.intermediate("Line");
    world.enroll_group("all", &root, &line).await;
    let keyed = json!({"registrationId": "keyed", "attestation": {"type": "symmetricKey"}});
    let keyed = world
        .service(Method::PUT, "/enrollments/keyed", keyed)
        .await
        .body;
    let key = keyed["attestation"]["symmetricKey"]["primaryKey"]
        .as_str()
        .expect("a key");
    let leaf = line.leaf("dev-1", &[&line]);
    world.device("dev-1", &leaf).register().await;
    let dump = control(&world, Method::GET, "/state", Value::Null)
        .await
        .body;

    let seed: Seed = serde_json::from_value(dump.clone()).expect("a seed");
    let other = World::with(EmulatorConfig {
        seed,
        ..EmulatorConfig::default()
    })
    .await;
    assert_eq!(
        control(&other, Method::GET, "/state", Value::Null)
            .await
            .body,
        dump
    );
    assert_eq!(
        other.keyed_device("keyed", key).register().await["status"],
        "assigned"
    );
    let again = other.device("dev-1", &leaf).register().await;
    assert_eq!(again["status"], "assigned");
    let record = other
        .service(Method::GET, "/registrations/dev-1", Value::Null)
        .await
        .body;
    assert_eq!(record["substatus"], "reprovisionedToInitialAssignment");

    let twice = control(&other, Method::POST, "/state", dump).await;
    assert_eq!(
        (twice.status, &twice.body["enrollments"]),
        (200, &json!(0)),
        "{twice:?}"
    );
}

/// After a breach roll was cut, a group refers to a CA certificate that is deleted: an instance may be so.
#[tokio::test]
async fn a_dump_with_a_reference_to_nothing_is_a_seed() {
    let group = json!({"enrollmentGroupId": "top", "attestation": {
        "type": "x509", "x509": {"caReferences": {"primary": "gone"}}}});
    let world = World::start().await;
    let refused = world
        .service(Method::PUT, "/enrollmentGroups/top", group.clone())
        .await;
    assert_eq!(refused.status, 400, "by a plane it is refused: {refused:?}");
    let seed = json!({"enrollmentGroups": [group]});
    let sown = control(&world, Method::POST, "/state", seed).await;
    assert_eq!(sown.status, 200, "{sown:?}");
    let dump = control(&world, Method::GET, "/state", Value::Null).await;
    let held = &dump.body["enrollmentGroups"][0]["attestation"]["x509"]["caReferences"];
    assert_eq!(held["primary"], "gone");
}

#[tokio::test]
async fn a_bad_seed_is_named() {
    let hub = "elsewhere.azure-devices.net";
    let world = World::start().await;
    for (seed, named) in [
        (json!({"hubs": {hub: []}}), hub),
        (
            json!({"certificates": [{"name": "root", "certificate": "none"}]}),
            "root",
        ),
        (
            json!({"enrollments": [{"registrationId": "dev-1", "attestation": {"type": "x509", "x509": {}}}]}),
            "x509",
        ),
    ] {
        let refused = control(&world, Method::POST, "/state", seed).await;
        let message = refused.body["message"]
            .as_str()
            .expect("a message")
            .to_owned();
        assert_eq!(refused.status, 400);
        assert!(message.contains(named), "{message}");
    }
}

/// One line a request, in the service's categories, without keys and tokens.
#[tokio::test]
async fn requests_are_logged_as_the_service_logs_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("requests.jsonl");
    let world = World::with(EmulatorConfig {
        request_log: Some(path.clone()),
        ..EmulatorConfig::default()
    })
    .await;
    let root = Authority::root("Root");
    world.enroll_group("all", &root, &root).await;
    world
        .device("dev-1", &root.leaf("dev-1", &[]))
        .register()
        .await;
    world
        .service(Method::GET, "/enrollments/nobody", Value::Null)
        .await;

    let text = std::fs::read_to_string(path).expect("a log");
    assert!(!text.contains("SharedAccess"), "{text}");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let named: Vec<(&str, &str, &str)> = lines
        .iter()
        .map(|line| {
            let member = |name: &str| line[name].as_str().expect("text");
            (
                member("category"),
                member("operationName"),
                member("resultType"),
            )
        })
        .collect();
    assert_eq!(
        named,
        [
            (
                "ServiceOperations",
                "EnrollmentGroup_CreateOrUpdate",
                "Success"
            ),
            (
                "DeviceOperations",
                "RuntimeRegistration_RegisterDevice",
                "Success"
            ),
            (
                "DeviceOperations",
                "RuntimeRegistration_OperationStatusLookup",
                "Success"
            ),
            (
                "DeviceOperations",
                "RuntimeRegistration_OperationStatusLookup",
                "Success"
            ),
            ("ServiceOperations", "IndividualEnrollment_Get", "Failure"),
        ]
    );
    assert_eq!(lines[4]["resultSignature"], "404201");
    let properties = lines[1]["properties"].as_str().expect("text");
    let properties: Value = serde_json::from_str(properties).expect("JSON");
    assert_eq!(
        properties,
        json!({"id": "dev-1", "type": "Registration", "protocol": "Http"})
    );
}
