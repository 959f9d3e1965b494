//! What becomes of a device over several registrations, and of an instance over several starts.

use dps_emulator::{Emulator, EmulatorConfig, EmulatorError, StateError};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::fixture::{Authority, World, individual};

const HUBS: [&str; 2] = ["hub-1.azure-devices.net", "hub-2.azure-devices.net"];
const ENTRY: &str = "/enrollments/dev-1";

fn two_hubs() -> EmulatorConfig {
    EmulatorConfig {
        hubs: HUBS.map(|name| name.parse().expect("name")).to_vec(),
        ..EmulatorConfig::default()
    }
}

/// An entry for one hub, with a twin to start with.
fn entry(leaf: &crate::fixture::Leaf, hub: &str, policy: &Value) -> Value {
    let mut entry = individual("dev-1", leaf);
    entry["iotHubs"] = json!([hub]);
    entry["allocationPolicy"] = json!("static");
    entry["reprovisionPolicy"] = policy.clone();
    let desired = json!({"interval": 10});
    entry["initialTwin"] = json!({"tags": {"site": "a"}, "properties": {"desired": desired}});
    entry
}

fn policy(update_hub_assignment: bool, migrate_device_data: bool) -> Value {
    json!({"updateHubAssignment": update_hub_assignment, "migrateDeviceData": migrate_device_data})
}

async fn twin(world: &World, hub: &str) -> (u16, Value) {
    let reply = world
        .hub(
            &world.linked_hub(hub),
            Method::GET,
            "/twins/dev-1",
            Value::Null,
        )
        .await;
    (reply.status, reply.body)
}

/// The table of reprovisioning: where the device ends up, and what the service's record says.
#[tokio::test]
async fn a_device_whose_hub_changes_follows_its_reprovisioning_policy() {
    for (policy, moves, substatus) in [
        (policy(true, true), true, "deviceDataMigrated"),
        (policy(true, false), true, "deviceDataReset"),
        (
            policy(false, false),
            false,
            "reprovisionedToInitialAssignment",
        ),
    ] {
        let world = World::with(two_hubs()).await;
        let leaf = Authority::root("Root").leaf("dev-1", &[]);
        world
            .service(Method::PUT, ENTRY, entry(&leaf, HUBS[0], &policy))
            .await;
        let device = world.device("dev-1", &leaf);
        device.register().await;
        let (_, first) = twin(&world, HUBS[0]).await;
        assert_eq!(
            (
                &first["tags"]["site"],
                &first["properties"]["desired"]["interval"]
            ),
            (&json!("a"), &json!(10))
        );

        let changed = entry(&leaf, HUBS[1], &policy);
        let changed = world
            .service_if_match(Method::PUT, ENTRY, changed, Some("*"))
            .await;
        assert_eq!(changed.status, 200, "{changed:?}");
        let result = device.register().await;
        let expected = if moves { HUBS[1] } else { HUBS[0] };
        assert_eq!(result["registrationState"]["assignedHub"], expected);
        assert_eq!(
            result["registrationState"]["substatus"], "initialAssignment",
            "device side"
        );
        let record = world
            .service(Method::GET, "/registrations/dev-1", Value::Null)
            .await
            .body;
        assert_eq!(record["substatus"], substatus);
        let statuses = [twin(&world, HUBS[0]).await.0, twin(&world, HUBS[1]).await.0];
        assert_eq!(statuses, if moves { [404, 200] } else { [200, 404] });
    }
}

/// A move must not let a device in that the hub's operator shut out.
#[tokio::test]
async fn a_device_disabled_on_its_hub_stays_disabled_on_the_next() {
    let world = World::with(two_hubs()).await;
    let leaf = Authority::root("Root").leaf("dev-1", &[]);
    let policy = policy(true, false);
    let first = entry(&leaf, HUBS[0], &policy);
    world.service(Method::PUT, ENTRY, first).await;
    let device = world.device("dev-1", &leaf);
    device.register().await;
    let path = "/devices/dev-1";
    let hub = world.linked_hub(HUBS[0]);
    let mut identity = world.hub(&hub, Method::GET, path, Value::Null).await.body;
    identity["status"] = json!("disabled");
    world
        .hub_if_match(&hub, Method::PUT, path, identity, Some("*"))
        .await;

    let second = entry(&leaf, HUBS[1], &policy);
    world
        .service_if_match(Method::PUT, ENTRY, second, Some("*"))
        .await;
    device.register().await;
    let (status, twin) = twin(&world, HUBS[1]).await;
    assert_eq!((status, &twin["status"]), (200, &json!("disabled")));
}

/// A new leaf is unknown to the hub until the device registers again.
#[tokio::test]
async fn the_hub_learns_of_a_new_leaf_by_registration() {
    let world = World::start().await;
    let root = Authority::root("Root");
    world.enroll_group("all", &root, &root).await;
    let hub = world.linked_hub(HUBS[0]);
    let mut thumbprints = Vec::new();
    for leaf in [root.leaf("dev-1", &[]), root.leaf("dev-1", &[])] {
        world.device("dev-1", &leaf).register().await;
        let device = world
            .hub(&hub, Method::GET, "/devices/dev-1", Value::Null)
            .await
            .body;
        thumbprints.push(device["authentication"]["x509Thumbprint"]["primaryThumbprint"].clone());
    }
    assert_ne!(thumbprints[0], thumbprints[1]);
}

/// Disabling on the hub is the operator's; DPS does not take it back. Deleting in DPS leaves the hub.
#[tokio::test]
async fn dps_and_hub_do_not_undo_each_other() {
    let world = World::start().await;
    let root = Authority::root("Root");
    world.enroll_group("all", &root, &root).await;
    let leaf = root.leaf("dev-1", &[]);
    world.device("dev-1", &leaf).register().await;
    let hub = world.linked_hub(HUBS[0]);
    let mut device = world
        .hub(&hub, Method::GET, "/devices/dev-1", Value::Null)
        .await
        .body;
    device["status"] = json!("disabled");
    world
        .hub_if_match(&hub, Method::PUT, "/devices/dev-1", device, Some("*"))
        .await;
    world.device("dev-1", &leaf).register().await;
    for path in ["/registrations/dev-1", "/enrollmentGroups/all"] {
        assert_eq!(
            world
                .service(Method::DELETE, path, Value::Null)
                .await
                .status,
            204
        );
    }
    let device = world
        .hub(&hub, Method::GET, "/devices/dev-1", Value::Null)
        .await;
    assert_eq!(
        (device.status, &device.body["status"]),
        (200, &json!("disabled"))
    );
}

/// The records of a group's devices outlive it and are found by its name.
#[tokio::test]
async fn registration_records_outlive_their_group() {
    let world = World::start().await;
    let root = Authority::root("Root");
    world.enroll_group("all", &root, &root).await;
    for id in ["dev-1", "dev-2"] {
        world.device(id, &root.leaf(id, &[])).register().await;
    }
    world
        .service(Method::DELETE, "/enrollmentGroups/all", Value::Null)
        .await;
    let reply = world
        .service(Method::POST, "/registrations/all/query", Value::Null)
        .await;
    assert_eq!(reply.header("x-ms-item-type"), Some("DeviceRegistration"));
    assert_eq!(reply.body.as_array().map(Vec::len), Some(2));
    let stale = world.service_if_match(
        Method::DELETE,
        "/registrations/dev-1",
        Value::Null,
        Some("\"x\""),
    );
    assert_eq!(stale.await.status, 412);
    let etag = reply.body[0]["etag"].as_str().expect("etag").to_owned();
    let deleted = world.service_if_match(
        Method::DELETE,
        "/registrations/dev-1",
        Value::Null,
        Some(&etag),
    );
    assert_eq!(deleted.await.status, 204);
}

/// Found during assignment, not at the door: 202, then a failed result and a record.
#[tokio::test]
async fn a_device_without_any_linked_hub_fails_and_leaves_a_record() {
    let config = EmulatorConfig {
        hubs: Vec::new(),
        ..EmulatorConfig::default()
    };
    let world = World::with(config).await;
    let leaf = Authority::root("Root").leaf("dev-1", &[]);
    world.enroll("dev-1", &leaf).await;
    let result = world.device("dev-1", &leaf).register().await;
    assert_eq!(result["status"], "failed");
    let state = &result["registrationState"];
    assert!(state["errorCode"].is_number() && state["errorMessage"].is_string());
    let entry = world.service(Method::GET, ENTRY, Value::Null).await.body;
    assert_eq!(entry["registrationState"]["status"], "failed");
}

/// Everything and every key comes back, so that connection strings stay good.
#[tokio::test]
async fn a_state_brings_an_instance_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = EmulatorConfig {
        state: Some(folder.path().join("state.db")),
        ..EmulatorConfig::default()
    };
    let world = World::with(config.clone()).await;
    let root = Authority::root("Root");
    let line = root.intermediate("Line");
    world.enroll_group("all", &root, &line).await;
    let leaf = line.leaf("dev-1", &[&line]);
    world.device("dev-1", &leaf).register().await;
    let key = world.emulator.service_connection_string();
    let key = key
        .expose_secret()
        .split_once("SharedAccessKey=")
        .expect("a key")
        .1
        .to_owned();
    let before = world
        .service(Method::GET, "/registrations/dev-1", Value::Null)
        .await
        .body;
    world.emulator.shutdown().await.expect("ends");

    let world = World::with(config).await;
    assert!(
        world
            .emulator
            .service_connection_string()
            .expose_secret()
            .ends_with(&key)
    );
    let after = world
        .service(Method::GET, "/registrations/dev-1", Value::Null)
        .await
        .body;
    assert_eq!(before, after);
    assert_eq!(twin(&world, HUBS[0]).await.0, 200);
    assert_eq!(
        world.device("dev-1", &leaf).register().await["status"],
        "assigned"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_state_is_its_owners_and_anything_else_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.db");
    let config = EmulatorConfig {
        state: Some(path.clone()),
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(config.clone()).await.expect("starts");
    let second = Emulator::start(config.clone()).await.expect_err("in use");
    assert!(
        matches!(second, EmulatorError::State(StateError::InUse { .. })),
        "{second}"
    );
    emulator.shutdown().await.expect("ends");
    let mode = std::fs::metadata(&path).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    for foreign in ["{}", &"no database at all ".repeat(100)] {
        std::fs::write(&path, foreign).expect("writes");
        let error = Emulator::start(config.clone()).await.expect_err("refused");
        assert!(
            matches!(error, EmulatorError::State(StateError::Foreign { .. })),
            "{error}"
        );
    }
}

#[tokio::test]
async fn after_a_shutdown_nobody_listens() {
    let emulator = Emulator::start(EmulatorConfig::default())
        .await
        .expect("starts");
    let address = emulator.address();
    emulator.shutdown().await.expect("ends");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
