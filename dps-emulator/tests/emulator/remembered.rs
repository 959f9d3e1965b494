//! How a chain was judged is remembered, and never for longer than it holds.

use dps_emulator::Behavior;
use rcgen::ExtendedKeyUsagePurpose;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Authority, Device, Leaf, World};

const CA: &str = "/certificates/line-a-ca";
const DAY: i64 = 24 * 60 * 60;

/// A device of a group that has registered, so that its chain is remembered.
async fn world() -> (World, Authority, Leaf) {
    let world = World::start().await;
    let root = Authority::root("Root");
    world.enroll_group("line-a", &root, &root).await;
    let leaf = root.leaf_with("dev-1", &[], |params| {
        let now = time::OffsetDateTime::now_utc();
        params.not_before = now - time::Duration::days(1);
        params.not_after = now + time::Duration::days(30);
    });
    assert_eq!(knock(&world.device("dev-1", &leaf)).await, 202);
    (world, root, leaf)
}

async fn knock(device: &Device<'_>) -> u16 {
    device.knock().await.status
}

async fn put_ca(world: &World, body: Value) {
    let put = world.management(Method::PUT, CA, body, Some("*")).await;
    assert_eq!(put.status, 200, "{put:?}");
}

#[tokio::test]
async fn a_chain_is_refused_as_soon_as_its_ca_is_deleted() {
    let (world, root, leaf) = world().await;
    // One connection, so that the chain that was presented is the same.
    let device = world.device("dev-1", &leaf);
    assert_eq!(knock(&device).await, 202);
    let deleted = world.management(Method::DELETE, CA, Value::Null, Some("*"));
    assert!(deleted.await.status < 300);
    assert_eq!(knock(&device).await, 401);
    let upload = json!({"properties": {"certificate": root.pem, "isVerified": true}});
    let put = world.management(Method::PUT, CA, upload, None).await;
    assert_eq!(put.status, 200, "{put:?}");
    assert_eq!(knock(&device).await, 202);
}

#[tokio::test]
async fn a_chain_is_refused_as_soon_as_its_ca_is_not_verified_any_more() {
    let (world, root, leaf) = world().await;
    let device = world.device("dev-1", &leaf);
    // Another certificate under the name is not verified, and neither is this one put back.
    for pem in [Authority::root("Other").pem, root.pem] {
        put_ca(&world, json!({"properties": {"certificate": pem}})).await;
        assert_eq!(knock(&device).await, 401);
    }
    let pem = Authority::root("Other").pem;
    put_ca(&world, json!({"properties": {"certificate": pem}})).await;
}

#[tokio::test]
async fn a_chain_is_refused_before_and_after_its_dates_and_taken_between_them() {
    let (world, _root, leaf) = world().await;
    let device = world.device("dev-1", &leaf);
    for (days, expected) in [
        (0, 202),
        (29, 202),
        (31, 401),
        (0, 202),
        (-2, 401),
        (0, 202),
    ] {
        world.behave(Behavior {
            clock_offset_seconds: days * DAY,
            ..Behavior::default()
        });
        assert_eq!(knock(&device).await, expected, "after {days} days");
    }
}

/// What is enrolled is never remembered.
#[tokio::test]
async fn a_remembered_chain_meets_the_enrollments_as_they_are() {
    let (world, root, leaf) = world().await;
    let device = world.device("dev-1", &leaf);
    let mut group = crate::fixture::group("line-a", &root);
    group["provisioningStatus"] = json!("disabled");
    let path = "/enrollmentGroups/line-a";
    let put = world.service_if_match(Method::PUT, path, group, Some("*"));
    assert_eq!(put.await.status, 200);
    assert_eq!(device.knock().await.body["status"], "disabled");
    let gone = world.service(Method::DELETE, path, Value::Null).await;
    assert_eq!(gone.status, 204);
    assert_eq!(knock(&device).await, 401);
    world.enroll("dev-1", &leaf).await;
    assert_eq!(knock(&device).await, 202);
}

/// The digest is of the whole chain: the same leaf with other certificates is another one.
#[tokio::test]
async fn a_leaf_is_judged_by_the_certificates_that_come_with_it() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let line = root.intermediate("Line");
    world.enroll_group("line-a", &root, &line).await;
    let whole = line.leaf("dev-1", &[&line]);
    assert_eq!(knock(&world.device("dev-1", &whole)).await, 202);
    let bare = whole.sending(&[]);
    assert_eq!(knock(&world.device("dev-1", &bare)).await, 401);
    assert_eq!(knock(&world.device("dev-1", &whole)).await, 202);
}

/// That one leaf of a line was let in says nothing for those that its CA did not sign, that are out of
/// their dates, or that are for something else.
#[tokio::test]
async fn the_next_leaf_of_a_line_is_let_in_for_what_it_is_itself() {
    let (world, root, first) = world().await;
    let next = root.leaf("dev-2", &[]);
    assert_eq!(knock(&world.device("dev-2", &next)).await, 202);

    let forged = Authority::root("Root").leaf("dev-3", &[]);
    let expired = root.leaf_with("dev-3", &[], |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let for_servers = root.leaf_with("dev-3", &[], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    for (what, leaf) in [
        ("forged", forged),
        ("expired", expired),
        ("for servers", for_servers),
    ] {
        assert_eq!(knock(&world.device("dev-3", &leaf)).await, 401, "{what}");
    }

    let deleted = world.management(Method::DELETE, CA, Value::Null, Some("*"));
    assert!(deleted.await.status < 300);
    let late = root.leaf("dev-4", &[]);
    assert_eq!(knock(&world.device("dev-4", &late)).await, 401);
    assert_eq!(knock(&world.device("dev-1", &first)).await, 401);
}
