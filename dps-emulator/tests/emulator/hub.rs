//! The hubs' identity registries: their service API, and what DPS does to them.

use dps_emulator::{EmulatorConfig, Hub};
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Reply, World, assert_hub_error, send};

const PATH: &str = "/devices/dev-1";

async fn two_hubs() -> World {
    let names = ["hub-1.azure-devices.net", "hub-2.azure-devices.net"];
    let config = EmulatorConfig {
        hubs: names.map(|name| name.parse().expect("name")).to_vec(),
        ..EmulatorConfig::default()
    };
    World::with(config).await
}

fn device(id: &str) -> Value {
    json!({"deviceId": id, "status": "enabled", "authentication": {
        "type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": "AB".repeat(32)},
    }})
}

async fn put(world: &World, hub: &Hub, if_match: Option<&str>) -> Reply {
    world
        .hub_if_match(hub, Method::PUT, PATH, device("dev-1"), if_match)
        .await
}

#[tokio::test]
async fn devices_are_created_replaced_and_deleted_by_etag() {
    let world = World::start().await;
    let hub = world.linked_hub("hub-1.azure-devices.net");
    let missing = world.hub(&hub, Method::GET, PATH, Value::Null).await;
    assert_hub_error(&missing, 404, "DeviceNotFound");
    let created = put(&world, &hub, None).await;
    assert_eq!(created.status, 200);
    assert_hub_error(&put(&world, &hub, None).await, 409, "DeviceAlreadyExists");
    assert_hub_error(
        &put(&world, &hub, Some("\"AAAA\"")).await,
        412,
        "PreconditionFailed",
    );

    let mut whole = created.body.clone();
    whole["status"] = json!("disabled");
    whole["statusReason"] = json!("quarantined");
    let quoted = format!("\"{}\"", created.etag());
    let updated = world
        .hub_if_match(&hub, Method::PUT, PATH, whole, Some(&quoted))
        .await;
    assert_eq!(
        (updated.status, &updated.body["status"]),
        (200, &json!("disabled"))
    );
    assert_eq!(updated.body["generationId"], created.body["generationId"]);
    assert_ne!(
        updated.body["statusUpdatedTime"],
        created.body["statusUpdatedTime"]
    );
    assert_ne!(updated.etag(), created.etag());

    let stale = world
        .hub_if_match(&hub, Method::DELETE, PATH, Value::Null, Some(&quoted))
        .await;
    assert_hub_error(&stale, 412, "PreconditionFailed");
    let deleted = world.hub_if_match(&hub, Method::DELETE, PATH, Value::Null, Some("\"*\""));
    assert_eq!(deleted.await.status, 204);
    let anew = put(&world, &hub, None).await;
    assert_ne!(anew.body["generationId"], created.body["generationId"]);
}

/// The key tells the hub where the name does not.
#[tokio::test]
async fn a_hub_is_found_by_its_name_or_by_its_key() {
    let world = two_hubs().await;
    let [one, two] =
        ["hub-1.azure-devices.net", "hub-2.azure-devices.net"].map(|name| world.linked_hub(name));
    assert_eq!(put(&world, &one, None).await.status, 200);
    let elsewhere = world.hub(&two, Method::GET, PATH, Value::Null).await;
    assert_hub_error(&elsewhere, 404, "DeviceNotFound");

    for (host, status) in [
        ("hub-1.azure-devices.net:8443", 200),
        ("hub-2.azure-devices.net", 404),
    ] {
        let request = world.request(Method::GET, PATH, "2021-04-12", &Value::Null);
        let request = request
            .header("Host", host)
            .header("Authorization", "Bearer x");
        assert_eq!(send(request).await.status, status, "{host}");
    }
    let nameless = world
        .raw(Method::GET, PATH, Some("Bearer x"), Value::Null)
        .await;
    assert_hub_error(&nameless, 400, "ArgumentInvalid");
    let unsigned = world.raw(Method::GET, PATH, None, Value::Null).await;
    assert_eq!(unsigned.status, 401);
}

#[tokio::test]
async fn lists_queries_twins_and_counts_agree() {
    let world = World::start().await;
    let hub = world.linked_hub("hub-1.azure-devices.net");
    for id in ["dev-1", "dev-2", "dev-3"] {
        let path = format!("/devices/{id}");
        world.hub(&hub, Method::PUT, path, device(id)).await;
    }
    let list = world
        .hub(&hub, Method::GET, "/devices/?top=2", Value::Null)
        .await;
    assert_eq!(list.body.as_array().map(Vec::len), Some(2));
    let query = |text: &str| json!({"query": text});
    let all = world
        .hub(
            &hub,
            Method::POST,
            "/devices/query",
            query("SELECT * FROM devices"),
        )
        .await;
    assert_eq!(all.body.as_array().map(Vec::len), Some(3));
    let one = query("select * from devices where deviceId = 'dev-2'");
    let one = world.hub(&hub, Method::POST, "/devices/query", one).await;
    let twin = world
        .hub(&hub, Method::GET, "/twins/dev-2", Value::Null)
        .await;
    assert_eq!(one.body, json!([twin.body]));
    assert_eq!(twin.body["authenticationType"], "selfSigned");
    let filter = query("SELECT * FROM devices WHERE tags.site = 'a'");
    let filter = world
        .hub(&hub, Method::POST, "/devices/query", filter)
        .await;
    assert_hub_error(&filter, 400, "ArgumentInvalid");
    let counts = world
        .hub(&hub, Method::GET, "/statistics/devices", Value::Null)
        .await;
    assert_eq!(counts.body["totalDeviceCount"], 3);
}

/// The hub answers 400 with the list of errors as soon as one item failed.
#[tokio::test]
async fn a_bulk_request_reports_what_failed_and_keeps_what_did_not() {
    let world = World::start().await;
    let hub = world.linked_hub("hub-1.azure-devices.net");
    put(&world, &hub, None).await;
    let items = json!([
        {"id": "dev-1", "importMode": "create", "authentication": {"type": "sas"}},
        {"id": "dev-2", "importMode": "create", "status": "disabled"},
    ]);
    let reply = world.hub(&hub, Method::POST, "/devices", items).await;
    assert_eq!(
        (reply.status, &reply.body["isSuccessful"]),
        (400, &json!(false))
    );
    assert_eq!(reply.body["errors"][0]["errorCode"], "DeviceAlreadyExists");
    let made = world
        .hub(&hub, Method::GET, "/devices/dev-2", Value::Null)
        .await
        .body;
    assert_eq!(made["status"], "disabled");
    assert!(made["authentication"]["symmetricKey"]["primaryKey"].is_string());
    let items =
        json!([{"id": "dev-1", "importMode": "delete"}, {"id": "dev-2", "importMode": "delete"}]);
    assert_eq!(
        world
            .hub(&hub, Method::POST, "/devices", items)
            .await
            .status,
        200
    );
}

/// Python's SDK sends empty keys when it wants new ones.
#[tokio::test]
async fn keys_that_are_left_out_or_empty_are_made() {
    let world = World::start().await;
    let hub = world.linked_hub("hub-1.azure-devices.net");
    for (id, keys) in [
        ("dev-1", json!({"primaryKey": "", "secondaryKey": ""})),
        ("dev-2", Value::Null),
    ] {
        let authentication = json!({"type": "sas", "symmetricKey": keys});
        let body = json!({"deviceId": id, "authentication": authentication});
        let made = world
            .hub(&hub, Method::PUT, format!("/devices/{id}"), body)
            .await
            .body;
        let keys = &made["authentication"]["symmetricKey"];
        assert_eq!(keys["primaryKey"].as_str().map(str::len), Some(88), "{id}");
        assert_ne!(keys["primaryKey"], keys["secondaryKey"]);
    }
}

/// The service writes tags and desired properties: merged by PATCH, replaced by PUT, under an ETag.
#[tokio::test]
async fn twins_are_merged_and_replaced() {
    let world = World::start().await;
    let hub = world.emulator.hubs().remove(0);
    let bulk = json!([
        {"id": "dev-1", "importMode": "create", "tags": {"site": "a"}},
        {"id": "dev-2", "importMode": "create"},
        {"id": "dev-3", "importMode": "updateTwin", "tags": {"site": "c"}},
    ]);
    let bulk = world.hub(&hub, Method::POST, "/devices", bulk).await;
    assert_eq!(bulk.body["errors"][0]["deviceId"], "dev-3");
    let path = "/twins/dev-1";
    let patch = json!({"tags": {"line": 7}, "properties": {"desired": {"interval": 10}}});
    let merged = world.hub(&hub, Method::PATCH, path, patch).await.body;
    assert_eq!(merged["tags"], json!({"site": "a", "line": 7}));
    let without_metadata = |desired: &Value| {
        let mut desired = desired.as_object().cloned().expect("an object");
        desired.remove("$metadata").expect("metadata");
        Value::Object(desired)
    };
    assert_eq!(
        without_metadata(&merged["properties"]["desired"]),
        json!({"interval": 10, "$version": 2})
    );
    let replace = |etag: String| {
        let document = json!({"tags": {"line": 8}});
        let world = &world;
        let hub = &hub;
        async move {
            let put = world.hub_if_match(hub, Method::PUT, path, document, Some(&etag));
            put.await
        }
    };
    let etag = merged["etag"].as_str().expect("an ETag").to_owned();
    let replaced = replace(etag.clone()).await;
    assert_eq!(replaced.body["tags"], json!({"line": 8}));
    assert_eq!(
        without_metadata(&replaced.body["properties"]["desired"]),
        json!({"$version": 3})
    );
    assert_eq!(replace(etag).await.status, 412);
    let absent = world
        .hub(&hub, Method::PATCH, "/twins/dev-9", json!({}))
        .await;
    assert_eq!(absent.status, 404);
}
