//! Plans as scripts see them: what they cost, what is proven of them, and what happens when the same is
//! said again.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value, json};
use support::site::Site;

const GROUP_LEAVES: &str = "deprovision --group factory --yes";

/// A site whose two devices have registered.
fn site() -> Site {
    let site = Site::new();
    for id in ["sensor-1", "sensor-2"] {
        assert_eq!(site.register(id), "assigned");
    }
    site
}

fn state(site: &Site) -> Value {
    serde_json::to_value(site.emulator.dump()).expect("a dump")
}

/// The group is gone, and what DPS decides about its devices since is told by who signed them.
#[test]
fn the_end_of_a_group_is_read_back() {
    let site = site();
    let planned = site.json(&format!("{GROUP_LEAVES} --dry-run"));
    assert_eq!(planned.get("proof"), None, "{planned}");
    let proof = &site.json(GROUP_LEAVES)["proof"];
    let refused = "refused: no enrollment holds this device or anything of its chain";
    let devices = json!([
        {"authority": "factory", "generation": 1, "leaves": 2, "outcome": refused}
    ]);
    let expected = json!({"enrollmentGroup": "factory", "status": null, "devices": devices});
    assert_eq!(*proof, expected);
}

/// What has left before is told with the plan that did it, and nothing is sent; what was never there is
/// unknown.
#[test]
fn a_group_that_has_left_needs_nothing() {
    let site = site();
    site.done(GROUP_LEAVES);
    let (before, plans) = (state(&site), site.json("journal list"));
    let plan = plans[0]["plan"].as_str().expect("a plan");
    for line in [GROUP_LEAVES, "deprovision --group FACTORY --dry-run"] {
        let again = site.done(line);
        assert!(
            again.stdout.starts_with("nothing to do"),
            "{}",
            again.stdout
        );
        assert!(again.stdout.contains(plan), "{}", again.stdout);
    }
    assert_eq!(site.json(GROUP_LEAVES)["done"], false);
    assert_eq!(state(&site), before);
    assert_eq!(site.json("journal list"), plans);
    assert_eq!(site.run("deprovision --group factroy --yes").code, 8);
}

/// A group that was only deleted has not been deprovisioned: its devices are still on their hubs.
#[test]
fn a_group_that_was_deleted_has_not_left() {
    let site = site();
    site.done("dps group delete factory --yes");
    assert_eq!(site.run(GROUP_LEAVES).code, 8);
}

/// Somebody makes a group further up afterwards: its devices are let in again, and that is told.
#[test]
fn a_group_above_that_lets_its_devices_in_is_told() {
    let site = site();
    site.done(GROUP_LEAVES);
    let declaration = site.world.read("pki.toml");
    let above = "[dps.local.group.all]\nauthority = \"root\"\n";
    site.world
        .write("pki.toml", format!("{declaration}\n{above}"));
    site.done("dps group put all --yes");
    assert_eq!(site.register("sensor-1"), "assigned");
    let run = site.run(GROUP_LEAVES);
    assert_eq!(run.code, 6, "{}", run.stderr);
    let said = "2 leaves of factory generation 1: admitted by enrollment group all";
    assert!(run.stderr.contains(said), "{}", run.stderr);
    site.done("quarantine --authority factory --yes");
    site.done(GROUP_LEAVES);
}

/// A device that the inventory knows by a leaf that is valid no more is known.
#[test]
fn a_device_with_a_revoked_leaf_is_known() {
    let site = Site::new();
    site.done("revoke sensor-1 --yes");
    site.done("deprovision sensor-1 --yes");
    let again = site.done("deprovision sensor-1 --yes");
    assert!(
        again.stdout.starts_with("nothing to do"),
        "{}",
        again.stdout
    );
    assert_eq!(site.register("sensor-1"), "disabled");
    assert_eq!(site.run("deprovision sensor-3 --yes").code, 8);
}

/// What each command would cost, before it starts.
#[test]
fn every_plan_tells_what_it_costs() {
    let site = Site::empty();
    let cost = |service: u64, billable: u64, other: u64, seconds: u64| {
        json!({
            "serviceCalls": service, "billableOperations": billable,
            "otherCalls": other, "seconds": seconds,
        })
    };
    // The CA is uploaded with a look before, and proven with a look and a code; then the group.
    for line in ["plan", "apply --dry-run", "apply --yes"] {
        assert_eq!(site.json(line)["estimate"], cost(1, 1, 5, 0), "{line}");
    }
    assert_eq!(site.json("plan")["estimate"], cost(0, 0, 0, 0));
    site.done("issue sensor-1 sensor-2 --authority factory --out devices");
    assert_eq!(site.register("sensor-1"), "assigned");
    // The hub's identity is read and put back, or deleted.
    for (line, expected) in [
        ("quarantine sensor-1 --dry-run", cost(2, 2, 2, 0)),
        ("quarantine sensor-1 sensor-2 --dry-run", cost(2, 3, 2, 0)),
        ("quarantine --authority factory --dry-run", cost(2, 2, 2, 0)),
        ("deprovision sensor-1 --dry-run", cost(2, 2, 1, 0)),
        ("deprovision --group factory --dry-run", cost(3, 3, 1, 0)),
    ] {
        assert_eq!(site.json(line)["estimate"], expected, "{line}");
    }
    site.done("authority create factory --next");
    let roll = site.json("roll start factory --yes");
    assert_eq!(roll["plans"][0]["estimate"], cost(1, 1, 0, 0), "{roll}");
}

/// Ten in a call, and a quarter of a minute's calls at once: the rest waits for the rate.
#[test]
fn the_rate_tells_how_long_many_take() {
    let site = Site::new();
    let declaration = site.world.read("pki.toml");
    let slow = declaration.replace("[dps.local]", "[dps.local]\nrate = 60");
    site.world.write("pki.toml", slow);
    let ids: Vec<String> = (0..200).map(|number| format!("stolen-{number}")).collect();
    site.world.write("list.txt", ids.join("\n"));
    let planned = site.json("quarantine list.txt --dry-run");
    let estimate = &planned["estimate"];
    assert_eq!(estimate["serviceCalls"], 20, "{estimate}");
    assert_eq!(estimate["billableOperations"], 200, "{estimate}");
    assert_eq!(estimate["seconds"], 5, "{estimate}");
    let said =
        "200 steps, 20 calls to DPS, billed as 200 operations; at least 5 s at its rate limit";
    let run = site.done("quarantine list.txt --dry-run");
    assert!(run.stderr.contains(said), "{}", run.stderr);
}
