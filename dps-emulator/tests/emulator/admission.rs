//! Who is let in, over real mTLS: the DPS order of operations as devices meet it.

use pki_core::certificate::Certificate;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Authority, Leaf, World, group, individual};

const HUB: &str = "hub-1.azure-devices.net";

fn sha256(leaf: &Leaf) -> String {
    let certificate = Certificate::from_der(&leaf.der).expect("DER");
    certificate.sha256_thumbprint().to_string()
}

async fn hub_device(world: &World, id: &str) -> Value {
    let hub = world.linked_hub(HUB);
    let reply = world.hub(&hub, Method::GET, format!("/devices/{id}"), Value::Null);
    let reply = reply.await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

/// A device of a group sends its leaf and the intermediate; the root is known to DPS only.
#[tokio::test]
async fn a_device_of_a_group_is_assigned_and_known_to_the_hub_by_its_leaf() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let line = root.intermediate("Line A");
    world.enroll_group("line-a", &root, &line).await;

    let leaf = line.leaf("dev-1", &[&line]);
    let result = world.device("dev-1", &leaf).register().await;

    let state = &result["registrationState"];
    assert_eq!(result["status"], "assigned");
    assert_eq!(state["assignedHub"], HUB);
    assert_eq!(state["deviceId"], "dev-1");
    assert_eq!(state["substatus"], "initialAssignment");
    assert_eq!(state["x509"]["enrollmentGroupId"], "line-a");
    let device = hub_device(&world, "dev-1").await;
    assert_eq!(device["authentication"]["type"], "selfSigned");
    let thumbprints = &device["authentication"]["x509Thumbprint"];
    assert_eq!(thumbprints["primaryThumbprint"], json!(sha256(&leaf)));
    assert_eq!(thumbprints["secondaryThumbprint"], json!(sha256(&leaf)));
}
