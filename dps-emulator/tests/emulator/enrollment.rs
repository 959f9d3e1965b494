//! Enrollments and groups over the service plane: ETags, round trips, queries, bulk.

use dps_emulator::Choices;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Authority, Reply, World, choosing, group};

const ENTRY: &str = "/enrollments/dev-1";

fn keyed(id: &str) -> Value {
    json!({"registrationId": id, "attestation": {"type": "symmetricKey"}})
}

async fn put(world: &World, if_match: Option<&str>) -> Reply {
    world
        .service_if_match(Method::PUT, ENTRY, keyed("dev-1"), if_match)
        .await
}

async fn delete(world: &World, if_match: Option<&str>) -> Reply {
    world
        .service_if_match(Method::DELETE, ENTRY, Value::Null, if_match)
        .await
}

/// The table of azure-api 4.2, row by row.
#[tokio::test]
async fn writes_follow_the_rules_of_etags() {
    let world = World::start().await;
    let other = "\"00000000-0000-0100-0000-000000000000\"";
    for if_match in ["*", "\"*\"", other] {
        assert_eq!(
            put(&world, Some(if_match)).await.status,
            412,
            "absent, {if_match}"
        );
    }
    for if_match in [None, Some("*"), Some(other)] {
        let reply = delete(&world, if_match).await;
        assert_eq!(
            (reply.status, &reply.body["errorCode"]),
            (404, &json!(404_201))
        );
    }
    let created = put(&world, None).await;
    assert_eq!(created.status, 200);
    let conflict = put(&world, None).await;
    assert_eq!(
        (conflict.status, &conflict.body["errorCode"]),
        (409, &json!(409_201))
    );
    let stale = put(&world, Some(other)).await;
    assert_eq!(
        (stale.status, &stale.body["errorCode"]),
        (412, &json!(412_001))
    );
    assert_eq!(delete(&world, Some(other)).await.status, 412);

    let etag = created.etag();
    let replaced = put(&world, Some(&etag)).await;
    assert_eq!(replaced.status, 200);
    assert_ne!(replaced.etag(), etag);
    assert_eq!(put(&world, Some(&etag)).await.status, 412);
    let quoted = format!("\"{}\"", replaced.etag());
    assert_eq!(put(&world, Some(&quoted)).await.status, 200);
    for if_match in ["*", "\"*\""] {
        assert_eq!(put(&world, Some(if_match)).await.status, 200, "{if_match}");
    }
    assert_eq!(delete(&world, None).await.status, 204);
    put(&world, None).await;
    assert_eq!(delete(&world, Some("*")).await.status, 204);
}

/// Clients send back what they got, which is `info` alone.
#[tokio::test]
async fn a_slot_with_info_alone_keeps_its_certificate() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let leaf = root.leaf("dev-1", &[]);
    let next = root.leaf("dev-1", &[]);
    world.enroll("dev-1", &leaf).await;
    let mut document = world.service(Method::GET, ENTRY, Value::Null).await.body;
    let slot = &document["attestation"]["x509"]["clientCertificates"]["primary"];
    assert!(slot.get("certificate").is_none(), "info alone");
    let info = slot["info"].as_object().expect("info");
    assert_eq!(info.len(), 8);
    assert_eq!(
        (&info["subjectName"], &info["version"]),
        (&json!("CN=dev-1"), &json!(3))
    );

    document["attestation"]["x509"]["clientCertificates"]["secondary"] =
        json!({"certificate": next.pem});
    let etag = document["etag"].as_str().expect("etag").to_owned();
    let updated = world
        .service_if_match(Method::PUT, ENTRY, document, Some(&etag))
        .await;
    assert_eq!(updated.status, 200, "{updated:?}");
    for leaf in [&leaf, &next] {
        assert_eq!(
            world.device("dev-1", leaf).register().await["status"],
            "assigned"
        );
    }

    let mut swapped = updated.body;
    let slots = &mut swapped["attestation"]["x509"]["clientCertificates"];
    slots["primary"] = slots["secondary"].take();
    slots["secondary"] = Value::Null;
    let reply = world
        .service_if_match(Method::PUT, ENTRY, swapped, Some("*"))
        .await;
    assert_eq!(
        (reply.status, &reply.body["errorCode"]),
        (400, &json!(400_004))
    );
}

#[tokio::test]
async fn certificates_are_shown_by_choice_only() {
    let choices = Choices {
        show_certificates: true,
        ..Choices::default()
    };
    let config = choosing(choices);
    let world = World::with(config).await;
    let leaf = Authority::root("Root").leaf("dev-1", &[]);
    world.enroll("dev-1", &leaf).await;
    let document = world.service(Method::GET, ENTRY, Value::Null).await.body;
    let slot = &document["attestation"]["x509"]["clientCertificates"]["primary"];
    assert_eq!(slot["certificate"], json!(leaf.pem));
}

#[tokio::test]
async fn keys_are_shown_by_put_and_attestationmechanism_only() {
    let world = World::start().await;
    let created = put(&world, None).await.body["attestation"].clone();
    assert!(created["symmetricKey"]["primaryKey"].is_string());
    let shown = world.service(Method::GET, ENTRY, Value::Null).await.body;
    assert_eq!(shown["attestation"], json!({"type": "symmetricKey"}));
    let path = format!("{ENTRY}/attestationmechanism");
    let mechanism = world.service(Method::POST, path, Value::Null).await;
    assert_eq!(mechanism.body, created);
}

/// Each document differs from a good one in one thing.
#[tokio::test]
async fn documents_that_make_no_sense_are_refused() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let good = group("line", &root);
    let changed = |pointer: &str, value: Value| {
        let mut document = good.clone();
        *document.pointer_mut(pointer).expect(pointer) = value;
        document
    };
    let with = |member: &str, value: Value| {
        let mut document = good.clone();
        document[member] = value;
        document
    };
    let certificate = "/attestation/x509/signingCertificates/primary/certificate";
    let x509 = "/attestation/x509";
    for (case, document) in [
        ("other id", changed("/enrollmentGroupId", json!("other"))),
        ("certificate", changed(certificate, json!("garbage"))),
        (
            "kind",
            changed(
                x509,
                json!({"clientCertificates": {"primary": {"certificate": root.pem}}}),
            ),
        ),
        ("empty", changed(x509, json!({"signingCertificates": {}}))),
        (
            "reference",
            changed(x509, json!({"caReferences": {"primary": "nobody"}})),
        ),
        (
            "hub",
            with("iotHubs", json!(["elsewhere.azure-devices.net"])),
        ),
        ("allocation", with("allocationPolicy", json!("random"))),
        (
            "key",
            with(
                "attestation",
                json!({"type": "symmetricKey", "symmetricKey": {"primaryKey": "c2hvcnQ="}}),
            ),
        ),
    ] {
        let reply = world
            .service(Method::PUT, "/enrollmentGroups/line", document)
            .await;
        assert_eq!(reply.status, 400, "{case}: {reply:?}");
    }
    let reply = world
        .service(Method::PUT, "/enrollmentGroups/line", good.clone())
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// What we do not know survives; what the service sets is not taken from the client.
#[tokio::test]
async fn unknown_members_survive_and_those_of_the_service_are_its_own() {
    let world = World::start().await;
    let mut document = keyed("dev-1");
    document["optionalDeviceInformation"] = json!({"line": 7});
    document["createdDateTimeUtc"] = json!("1999-01-01T00:00:00Z");
    document["allocationPolicy"] = Value::Null;
    world.service(Method::PUT, ENTRY, document).await;
    let shown = world
        .service(Method::GET, "/Enrollments/DEV-1/", Value::Null)
        .await
        .body;
    assert_eq!(shown["optionalDeviceInformation"], json!({"line": 7}));
    assert_ne!(shown["createdDateTimeUtc"], json!("1999-01-01T00:00:00Z"));
    assert_eq!(shown["registrationId"], "dev-1", "as first written");
}

#[tokio::test]
async fn queries_come_in_pages_until_there_is_no_more() {
    let world = World::start().await;
    for index in 0..5 {
        let id = format!("dev-{index}");
        world
            .service(Method::PUT, format!("/enrollments/{id}"), keyed(&id))
            .await;
    }
    let mut seen = Vec::new();
    let mut continuation: Option<String> = None;
    loop {
        let reply = page(&world, "2", continuation.as_deref()).await;
        assert_eq!(reply.header("x-ms-item-type"), Some("Enrollment"));
        let items = reply.body.as_array().expect("a bare array");
        assert!(items.len() <= 2);
        seen.extend(
            items
                .iter()
                .map(|item| item["registrationId"].as_str().expect("id").to_owned()),
        );
        continuation = reply.header("x-ms-continuation").map(str::to_owned);
        if continuation.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["dev-0", "dev-1", "dev-2", "dev-3", "dev-4"]);
    assert!(
        page(&world, "5", None)
            .await
            .header("x-ms-continuation")
            .is_none()
    );
    assert_eq!(page(&world, "0", None).await.status, 400);
    assert_eq!(page(&world, "2", Some("%%%")).await.status, 400);
}

async fn page(world: &World, size: &str, continuation: Option<&str>) -> Reply {
    let query = json!({"query": "SELECT * FROM enrollments"});
    let request = world.signed_request(Method::POST, "/enrollments/query", &query);
    let request = request.header("x-ms-max-item-count", size);
    let request = match continuation {
        Some(continuation) => request.header("x-ms-continuation", continuation),
        None => request,
    };
    crate::fixture::send(request).await
}

/// What Microsoft's clients send must not be a parse error; what asks for a filter is no match for all.
#[tokio::test]
async fn whatever_selects_all_does_and_a_filter_is_refused() {
    let world = World::start().await;
    let wrapped = "{'additional_properties': {}, 'query': 'SELECT *'}";
    for (query, status) in [
        (json!({"query": "select *"}), 200),
        (json!({"query": wrapped}), 200),
        (Value::Null, 200),
        (
            json!({"query": "SELECT * FROM enrollments WHERE a = 1"}),
            400,
        ),
        (json!({"query": "DROP TABLE"}), 400),
    ] {
        let reply = world
            .service(Method::POST, "/enrollmentGroups/query", query.clone())
            .await;
        assert_eq!(reply.status, status, "{query}");
    }
}

#[tokio::test]
async fn one_bad_item_of_a_bulk_request_fails_alone() {
    let world = World::start().await;
    put(&world, None).await;
    let bulk = |mode: &str, items: Value| json!({"mode": mode, "enrollments": items});
    let create = bulk(
        "create",
        json!([keyed("dev-0"), keyed("dev-1"), keyed("dev-2")]),
    );
    let reply = world.service(Method::POST, "/enrollments/", create).await;
    assert_eq!(
        (reply.status, &reply.body["isSuccessful"]),
        (200, &json!(false))
    );
    let errors = reply.body["errors"].as_array().expect("errors");
    assert_eq!(errors.len(), 1);
    assert_eq!(
        (&errors[0]["registrationId"], &errors[0]["errorCode"]),
        (&json!("dev-1"), &json!(409_201))
    );
    for id in ["dev-0", "dev-2"] {
        let reply = world
            .service(Method::GET, format!("/enrollments/{id}"), Value::Null)
            .await;
        assert_eq!(reply.status, 200, "{id}");
    }

    let mut fresh = world.service(Method::GET, ENTRY, Value::Null).await.body;
    let mut stale = keyed("dev-0");
    stale["etag"] = json!("\"stale\"");
    fresh["deviceId"] = json!("renamed");
    let update = bulk("updateIfMatchETag", json!([stale, fresh]));
    let reply = world.service(Method::POST, "/enrollments", update).await;
    assert_eq!(reply.body["errors"][0]["errorCode"], 412_001);
    let renamed = world.service(Method::GET, ENTRY, Value::Null).await.body;
    assert_eq!(renamed["deviceId"], "renamed");

    let gone = bulk(
        "delete",
        json!([{"registrationId": "dev-0"}, {"registrationId": "dev-2"}]),
    );
    let reply = world.service(Method::POST, "/enrollments", gone).await;
    assert_eq!(reply.body, json!({"isSuccessful": true, "errors": []}));
}

#[tokio::test]
async fn a_bulk_request_is_small_and_names_each_device_once() {
    let world = World::start().await;
    let many: Vec<Value> = (0..11)
        .map(|index| keyed(&format!("dev-{index}")))
        .collect();
    let twice = vec![keyed("dev-1"), keyed("DEV-1")];
    for (items, code) in [(many, 400_205), (twice, 400_206)] {
        let body = json!({"mode": "create", "enrollments": items});
        let reply = world.service(Method::POST, "/enrollments", body).await;
        assert_eq!(
            (reply.status, &reply.body["errorCode"]),
            (400, &json!(code))
        );
    }
}

#[tokio::test]
async fn requests_without_a_known_version_or_path_are_refused() {
    let world = World::start().await;
    let reply = world
        .service(
            Method::GET,
            "/enrollments/dev-1?api-version=1999-01-01",
            Value::Null,
        )
        .await;
    assert_eq!(
        (reply.status, &reply.body["errorCode"]),
        (400, &json!(400_004))
    );
    let reply = world.service(Method::PATCH, ENTRY, json!({})).await;
    assert_eq!(reply.status, 405);
    let reply = world.service(Method::GET, "/nowhere", Value::Null).await;
    assert_eq!(reply.status, 404);
}
