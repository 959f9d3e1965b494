//! Who is let in, over real mTLS: the DPS order of operations as devices meet it.

use dps_emulator::{Choices, EmulatorConfig};
use pki_core::certificate::Certificate;
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Authority, Leaf, Reply, World, choosing, group, individual};

const HUB: &str = "hub-1.azure-devices.net";

/// A world with a verified root, and a group for an intermediate below it.
struct Factory {
    world: World,
    root: Authority,
    line: Authority,
}

impl Factory {
    async fn start() -> Self {
        Self::with(EmulatorConfig::default()).await
    }

    async fn with(config: EmulatorConfig) -> Self {
        let world = World::with(config).await;
        let root = Authority::root("Root");
        let line = root.intermediate("Line A");
        world.enroll_group("line-a", &root, &line).await;
        Self { world, root, line }
    }

    async fn put(&self, path: &str, body: Value, if_match: Option<&str>) {
        let reply = self
            .world
            .service_if_match(Method::PUT, path, body, if_match);
        let reply = reply.await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    async fn record(&self, id: &str) -> Reply {
        let path = format!("/registrations/{id}");
        self.world.service(Method::GET, path, Value::Null).await
    }
}

fn sha256(leaf: &Leaf) -> String {
    let certificate = Certificate::from_der(&leaf.der).expect("DER");
    certificate.sha256_thumbprint().to_string()
}

fn disabled(mut entry: Value) -> Value {
    entry["provisioningStatus"] = json!("disabled");
    entry
}

fn assert_refused(reply: &Reply, message: &str) {
    assert_eq!(reply.status, 401, "{reply:?}");
    assert_eq!(reply.body["errorCode"], 401_002);
    let text = reply.body["message"].as_str().expect("a message");
    assert!(text.contains(message), "{text}");
    for member in ["trackingId", "timestampUtc"] {
        assert!(reply.body[member].is_string(), "{member}");
    }
}

/// A device of a group sends its leaf and the intermediate; the root is known to DPS only.
#[tokio::test]
async fn a_device_of_a_group_is_assigned_and_known_to_the_hub_by_its_leaf() {
    let factory = Factory::start().await;
    let leaf = factory.line.leaf("dev-1", &[&factory.line]);
    let result = factory.world.device("dev-1", &leaf).register().await;

    let state = &result["registrationState"];
    assert_eq!(result["status"], "assigned");
    assert_eq!(state["assignedHub"], HUB);
    assert_eq!(state["deviceId"], "dev-1");
    assert_eq!(state["substatus"], "initialAssignment");
    assert_eq!(state["x509"]["enrollmentGroupId"], "line-a");

    let hub = factory.world.linked_hub(HUB);
    let device = factory
        .world
        .hub(&hub, Method::GET, "/devices/dev-1", Value::Null);
    let device = device.await.body;
    assert_eq!(device["authentication"]["type"], "selfSigned");
    let thumbprints = &device["authentication"]["x509Thumbprint"];
    assert_eq!(thumbprints["primaryThumbprint"], json!(sha256(&leaf)));
    assert_eq!(thumbprints["secondaryThumbprint"], json!(sha256(&leaf)));
}

/// The root may be sent or not; a leaf right below a verified CA needs nothing beside it.
#[tokio::test]
async fn a_chain_needs_no_more_than_leads_to_a_verified_ca() {
    let factory = Factory::start().await;
    let root = &factory.root;
    let line = &factory.line;
    for (id, leaf) in [
        ("with-root", line.leaf("with-root", &[line, root])),
        ("without-root", line.leaf("without-root", &[line])),
    ] {
        let result = factory.world.device(id, &leaf).register().await;
        assert_eq!(result["status"], "assigned", "{id}");
    }
    factory
        .put("/enrollmentGroups/direct", group("direct", root), None)
        .await;
    let alone = root.leaf("alone", &[]);
    let result = factory.world.device("alone", &alone).register().await;
    assert_eq!(
        result["registrationState"]["x509"]["enrollmentGroupId"],
        "direct"
    );
}

/// Groups may refer to uploaded certificates by name instead of holding them.
#[tokio::test]
async fn a_reference_to_a_verified_ca_admits_and_dangles_when_the_ca_is_deleted() {
    let factory = Factory::start().await;
    let by_reference = json!({
        "enrollmentGroupId": "by-name",
        "attestation": {"type": "x509", "x509": {"caReferences": {"primary": "line-a-ca"}}},
    });
    factory
        .put("/enrollmentGroups/by-name", by_reference, None)
        .await;
    let leaf = factory.root.leaf("dev-1", &[]);
    let device = factory.world.device("dev-1", &leaf);
    assert_eq!(device.register().await["status"], "assigned");

    let delete = factory.world.management(
        Method::DELETE,
        "/certificates/line-a-ca",
        Value::Null,
        Some("*"),
    );
    assert_eq!(delete.await.status, 200);
    assert_refused(&device.knock().await, "CA certificate not found.");
}

/// The way to shut out one device of a group. It gets an answer, not an error, and a record.
#[tokio::test]
async fn a_disabled_individual_enrollment_shuts_out_a_device_of_a_group() {
    let factory = Factory::start().await;
    let leaf = factory.line.leaf("dev-1", &[&factory.line]);
    let device = factory.world.device("dev-1", &leaf);
    assert_eq!(device.register().await["status"], "assigned");

    factory
        .put(
            "/enrollments/dev-1",
            disabled(individual("dev-1", &leaf)),
            None,
        )
        .await;
    let reply = device.knock().await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body["operationId"], "");
    assert_eq!(reply.body["status"], "disabled");
    assert_eq!(reply.body["registrationState"]["registrationId"], "dev-1");
    let record = factory.record("dev-1").await;
    assert_eq!(record.body["status"], "disabled");
    assert!(record.body["etag"].is_string() && record.body["lastUpdatedDateTimeUtc"].is_string());

    let delete = factory
        .world
        .service(Method::DELETE, "/enrollments/dev-1", Value::Null);
    assert_eq!(delete.await.status, 204);
    assert_eq!(device.register().await["status"], "assigned");
}

/// A disabled entry with a key shuts out as well: the certificate need not be at hand.
#[tokio::test]
async fn a_disabled_entry_of_another_attestation_shuts_out_too() {
    let factory = Factory::start().await;
    let entry = json!({"registrationId": "DEV-1", "attestation": {"type": "symmetricKey"}});
    factory
        .put("/enrollments/DEV-1", disabled(entry.clone()), None)
        .await;
    let leaf = factory.line.leaf("dev-1", &[&factory.line]);
    let device = factory.world.device("dev-1", &leaf);
    assert_eq!(device.knock().await.body["status"], "disabled");

    factory.put("/enrollments/dev-1", entry, Some("*")).await;
    assert_refused(&device.knock().await, "Unauthorized");
}

/// Pinned: an enabled individual enrollment admits its own leaf and no other of the same name.
#[tokio::test]
async fn an_individual_enrollment_admits_its_own_leaves_only() {
    let factory = Factory::start().await;
    let [old, new] = [(); 2].map(|()| factory.line.leaf("dev-1", &[&factory.line]));
    factory
        .put("/enrollments/dev-1", individual("dev-1", &new), None)
        .await;
    let result = factory.world.device("dev-1", &new).register().await;
    assert_eq!(result["registrationState"]["x509"], json!({}));
    assert_refused(
        &factory.world.device("dev-1", &old).knock().await,
        "Unauthorized",
    );
}

#[tokio::test]
async fn a_disabled_group_disables_its_devices() {
    let factory = Factory::start().await;
    let entry = disabled(group("line-a", &factory.line));
    factory
        .put("/enrollmentGroups/line-a", entry, Some("*"))
        .await;
    let leaf = factory.line.leaf("dev-1", &[&factory.line]);
    let reply = factory.world.device("dev-1", &leaf).knock().await;
    assert_eq!(
        (reply.status, &reply.body["status"]),
        (200, &json!("disabled"))
    );
}

#[tokio::test]
async fn strangers_are_refused_with_the_documented_texts() {
    let factory = Factory::start().await;
    let world = &factory.world;
    let line = &factory.line;
    let other_root = Authority::root("Root");
    let other_line = other_root.intermediate("Line A");
    let sibling = factory.root.intermediate("Line B");
    let leaf = |authority: &Authority, sent: &[&Authority]| authority.leaf("dev-1", sent);

    let of_other_root = leaf(&other_line, &[&other_line, &other_root]);
    let of_sibling = leaf(&sibling, &[&sibling]);
    let without_chain = leaf(line, &[]);
    let forged = leaf(&other_line, &[line]);
    for (case, leaf, message) in [
        ("unknown root", &of_other_root, "CA certificate not found."),
        (
            "no group",
            &of_sibling,
            "Signing certificate info did not match",
        ),
        (
            "intermediate not sent",
            &without_chain,
            "CA certificate not found.",
        ),
        (
            "same names, other keys",
            &forged,
            "CA certificate not found.",
        ),
    ] {
        let reply = world.device("dev-1", leaf).knock().await;
        assert_eq!(reply.status, 401, "{case}");
        assert_refused(&reply, message);
    }
    let good = line.leaf("dev-1", &[line]);
    assert_refused(&world.device("dev-2", &good).knock().await, "Unauthorized");
    assert_eq!(factory.record("dev-1").await.status, 404);
}

/// Without a verified CA in the chain a group admits nobody, though it holds the certificate.
#[tokio::test]
async fn a_group_below_an_unverified_ca_admits_nobody() {
    let factory = Factory::start().await;
    let root = Authority::root("Unverified");
    let body = json!({"properties": {"certificate": root.pem}});
    let upload = factory
        .world
        .management(Method::PUT, "/certificates/unverified", body, None);
    assert_eq!(upload.await.body["properties"]["isVerified"], false);
    factory
        .put(
            "/enrollmentGroups/unverified",
            group("unverified", &root),
            None,
        )
        .await;
    let leaf = root.leaf("dev-1", &[&root]);
    assert_refused(
        &factory.world.device("dev-1", &leaf).knock().await,
        "CA certificate not found.",
    );
}

#[tokio::test]
async fn a_leaf_of_a_group_must_be_within_its_dates_and_good_for_clients() {
    let factory = Factory::start().await;
    let world = &factory.world;
    let line = &factory.line;
    let expired = line.leaf_with("dev-1", &[line], |params| {
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let for_servers = line.leaf_with("dev-1", &[line], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert_refused(&world.device("dev-1", &expired).knock().await, "expired");
    assert_refused(
        &world.device("dev-1", &for_servers).knock().await,
        "clientAuth",
    );
}

/// Not confirmed for the real service, hence a choice.
#[tokio::test]
async fn dates_of_an_individual_leaf_are_checked_by_choice_only() {
    for (check_individual_dates, admitted) in [(false, true), (true, false)] {
        let choices = Choices {
            check_individual_dates,
            ..Choices::default()
        };
        let config = choosing(choices);
        let factory = Factory::with(config).await;
        let expired = factory.line.leaf_with("dev-1", &[], |params| {
            params.not_after = date_time_ymd(2020, 1, 1);
        });
        factory
            .put("/enrollments/dev-1", individual("dev-1", &expired), None)
            .await;
        let reply = factory.world.device("dev-1", &expired).knock().await;
        assert_eq!(reply.status == 202, admitted, "{reply:?}");
    }
}

#[tokio::test]
async fn nobody_is_let_in_without_any_credential() {
    let factory = Factory::start().await;
    let path = format!(
        "/{}/registrations/dev-1/register",
        factory.world.emulator.id_scope()
    );
    let reply = factory.world.raw(Method::PUT, &path, None, json!({}));
    assert_refused(&reply.await, "Unauthorized");
    let elsewhere = factory.world.raw(
        Method::PUT,
        "/0neFFFFFFFF/registrations/dev-1/register",
        None,
        json!({}),
    );
    assert_refused(&elsewhere.await, "Unauthorized");
}

/// An operation belongs to the leaf that started it.
#[tokio::test]
async fn an_operation_is_shown_to_its_device_only() {
    let factory = Factory::start().await;
    let [mine, other] = [(); 2].map(|()| factory.line.leaf("dev-1", &[&factory.line]));
    let device = factory.world.device("dev-1", &mine);
    let operation_id = device.knock().await.body["operationId"]
        .as_str()
        .expect("one")
        .to_owned();
    let reply = factory
        .world
        .device("dev-1", &other)
        .poll(&operation_id)
        .await;
    assert_eq!(
        (reply.status, &reply.body["errorCode"]),
        (404, &json!(404_203))
    );
    assert_eq!(device.poll(&operation_id).await.status, 202);
    assert_eq!(device.poll(&operation_id).await.status, 200);
}

#[tokio::test]
async fn a_device_looks_itself_up_once_it_is_registered() {
    let factory = Factory::start().await;
    let leaf = factory.line.leaf("dev:1", &[&factory.line]);
    let device = factory.world.device("dev:1", &leaf);
    assert_eq!(device.lookup().await.body["errorCode"], 404_202);
    device.register().await;
    let reply = device.lookup().await;
    assert_eq!(
        (reply.status, &reply.body["status"]),
        (200, &json!("assigned"))
    );
    assert_eq!(reply.body["registrationId"], "dev:1");
}

/// What cannot be served is refused, not ignored; what names no device is no mistake.
#[tokio::test]
async fn the_body_of_a_registration_is_the_devices_own() {
    let factory = Factory::start().await;
    let leaf = factory.line.leaf("dev-1", &[&factory.line]);
    let device = factory.world.device("dev-1", &leaf);
    for (body, status) in [
        (json!({}), 202),
        (json!({"payload": null}), 202),
        (json!({"registrationId": "DEV-1"}), 202),
        (json!({"registrationId": "dev-2"}), 400),
        (json!({"csr": "MIIB"}), 400),
    ] {
        let reply = device.send(Method::PUT, "/register", body.clone()).await;
        assert_eq!(reply.status, status, "{body}");
    }
}
