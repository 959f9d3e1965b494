//! Throttling, faults, quotas, the clock, strictness: off by default, and as asked for otherwise.

use std::num::NonZeroU32;

use dps_emulator::{Behavior, EmulatorConfig, Quotas, Throttle};
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Authority, World, group, individual};

async fn world(behavior: Behavior) -> World {
    World::with(EmulatorConfig {
        behavior,
        ..EmulatorConfig::default()
    })
    .await
}

fn throttle(operations: u32) -> Behavior {
    Behavior {
        throttle: Some(Throttle::per_minute(
            NonZeroU32::new(operations).expect("not zero"),
        )),
        ..Behavior::default()
    }
}

#[tokio::test]
async fn what_comes_too_fast_is_told_when_to_come_again() {
    let world = world(throttle(2)).await;
    let ask = || world.service(Method::GET, "/enrollments/dev-1", Value::Null);
    assert_eq!([ask().await.status, ask().await.status], [404, 404]);
    let third = ask().await;
    assert_eq!(
        (third.status, &third.body["errorCode"]),
        (429, &json!(429_001))
    );
    let wait: u64 = third
        .header("retry-after")
        .expect("a wait")
        .parse()
        .expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");

    world.behave(Behavior::default());
    assert_eq!(ask().await.status, 404);
}

/// Registrations have a window of their own, and polls none.
#[tokio::test]
async fn registrations_are_throttled_apart_and_polls_are_not() {
    let world = world(throttle(2)).await;
    let leaf = Authority::root("Root").leaf("dev-1", &[]);
    world.enroll("dev-1", &leaf).await;
    let device = world.device("dev-1", &leaf);
    device.register().await;
    device.register().await;
    assert_eq!(device.knock().await.status, 429);
}

#[tokio::test]
async fn a_share_of_the_requests_finds_the_service_unavailable_and_changes_nothing() {
    let world = world(Behavior {
        server_error_percent: 100,
        ..Behavior::default()
    })
    .await;
    let leaf = Authority::root("Root").leaf("dev-1", &[]);
    let put = world.enroll("dev-1", &leaf).await;
    assert_eq!((put.status, &put.body["errorCode"]), (503, &json!(503_001)));
    let listed = world.management(Method::GET, "", Value::Null, None).await;
    assert_eq!(listed.status, 503);
    world.behave(Behavior::default());
    let get = world
        .service(Method::GET, "/enrollments/dev-1", Value::Null)
        .await;
    assert_eq!(get.status, 404);
}

/// Of the requests whose connection is cut some were acted on: the client cannot know.
#[tokio::test]
async fn a_cut_connection_says_nothing_of_what_happened() {
    let world = world(Behavior {
        reset_percent: 100,
        ..Behavior::default()
    })
    .await;
    let root = Authority::root("Root");
    for number in 0..20 {
        let id = format!("dev-{number}");
        let entry = individual(&id, &root.leaf(&id, &[]));
        let path = format!("/enrollments/{id}");
        let sent = world
            .signed_request(Method::PUT, &path, &entry)
            .send()
            .await;
        assert!(sent.is_err(), "{sent:?}");
    }
    world.behave(Behavior::default());
    let all = world
        .service(
            Method::POST,
            "/enrollments/query",
            json!({"query": "SELECT *"}),
        )
        .await;
    let count = all.body.as_array().expect("a list").len();
    assert!((1..20).contains(&count), "{count}");
}

#[tokio::test]
async fn somebody_else_may_have_been_faster() {
    let world = world(Behavior {
        stale_etag_percent: 100,
        ..Behavior::default()
    })
    .await;
    let leaf = Authority::root("Root").leaf("dev-1", &[]);
    let path = "/enrollments/dev-1";
    let put = world.enroll("dev-1", &leaf).await;
    assert_eq!(put.status, 200, "a create has no ETag");
    let etag = put.etag();
    let replace = world.service_if_match(Method::PUT, path, put.body, Some(&etag));
    assert_eq!(replace.await.status, 412);
}

#[tokio::test]
async fn an_assignment_takes_its_time_on_the_instances_clock() {
    let slow = Behavior {
        assignment_seconds: 3600,
        ..Behavior::default()
    };
    let world = world(slow.clone()).await;
    let leaf = Authority::root("Root").leaf("dev-1", &[]);
    world.enroll("dev-1", &leaf).await;
    let device = world.device("dev-1", &leaf);
    let operation = device.knock().await.body["operationId"].clone();
    let operation = operation.as_str().expect("an operation");
    for _ in 0..3 {
        assert_eq!(device.poll(operation).await.status, 202);
    }
    world.behave(Behavior {
        clock_offset_seconds: 3600,
        ..slow
    });
    let over = device.poll(operation).await;
    assert_eq!(
        (over.status, &over.body["status"]),
        (200, &json!("assigned"))
    );
}

/// With the clock ahead a leaf has expired, with the clock behind it is not valid yet.
#[tokio::test]
async fn certificates_are_judged_by_the_moved_clock() {
    const YEARS: i64 = 10_000 * 24 * 3600;
    let world = world(Behavior::default()).await;
    let root = Authority::root("Root");
    world.enroll_group("all", &root, &root).await;
    let leaf = root.leaf_with("dev-1", &[], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    });
    let device = world.device("dev-1", &leaf);
    for (clock_offset_seconds, expected) in [(0, 202), (YEARS, 401), (-YEARS, 401)] {
        world.behave(Behavior {
            clock_offset_seconds,
            ..Behavior::default()
        });
        let reply = device.knock().await;
        assert_eq!(reply.status, expected, "{clock_offset_seconds}: {reply:?}");
    }
}

#[tokio::test]
async fn quotas_are_the_documented_ones_and_replacing_needs_no_room() {
    let world = world(Behavior {
        quotas: Some(Quotas {
            x509_groups: 1,
            enrollments: 1,
            ..Quotas::default()
        }),
        ..Behavior::default()
    })
    .await;
    let root = Authority::root("Root");
    for number in 0..26 {
        let body = json!({"properties": {"certificate": root.pem, "isVerified": true}});
        let path = format!("/certificates/ca-{number}");
        let put = world.management(Method::PUT, path, body, None).await;
        assert_eq!(put.status, if number < 25 { 200 } else { 403 }, "{put:?}");
    }
    let put = |name: &'static str| {
        world.service(
            Method::PUT,
            format!("/enrollmentGroups/{name}"),
            group(name, &root),
        )
    };
    assert_eq!(put("one").await.status, 200);
    let more = put("two").await;
    assert_eq!(
        (more.status, &more.body["errorCode"]),
        (403, &json!(403_002))
    );
    let keyed = json!({"enrollmentGroupId": "keyed", "attestation": {"type": "symmetricKey"}});
    let keyed = world
        .service(Method::PUT, "/enrollmentGroups/keyed", keyed)
        .await;
    assert_eq!(keyed.status, 200, "another quota");
    let replaced = group("one", &root);
    let replaced =
        world.service_if_match(Method::PUT, "/enrollmentGroups/one", replaced, Some("*"));
    assert_eq!(replaced.await.status, 200);
}

/// A strict instance is as legal as an easy one: a client that keeps to the protocol sees everything.
#[tokio::test]
async fn a_strict_instance_shows_everything_in_short_pages() {
    let world = world(Behavior::strict()).await;
    let root = Authority::root("Root");
    for number in 0..12 {
        let id = format!("dev-{number}");
        let put = world.enroll(&id, &root.leaf(&id, &[])).await;
        assert_eq!(put.status, 200);
        assert!(put.body.get("createdDateTimeUtc").is_none());
    }
    let mut seen = 0;
    let mut continuation = None::<String>;
    loop {
        let body = json!({"query": "SELECT *"});
        let mut request = world.signed_request(Method::POST, "/enrollments/query", &body);
        request = request.header("x-ms-max-item-count", "8");
        if let Some(continuation) = &continuation {
            request = request.header("x-ms-continuation", continuation);
        }
        let page = crate::fixture::send(request).await;
        let count = page.body.as_array().expect("a list").len();
        assert!(count <= 4, "{count}");
        seen += count;
        continuation = page.header("x-ms-continuation").map(str::to_owned);
        if continuation.is_none() {
            break;
        }
    }
    assert_eq!(seen, 12);
}
