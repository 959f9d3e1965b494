//! Plans as scripts see them: what they cost, what is proven of them, and what happens when the same is
//! said again.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::now;
use crate::support::site::Site;
use dps_client::transport::{
    HttpOptions, HttpTransport, Request, Response, Transport, TransportError, TransportSetupError,
};
use futures::future::BoxFuture;
use http::Method;
use pki_cli::host::Network;
use pki_core::testing::FixedClock;
use serde_json::{Value, json};

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
    let before = state(&site);
    let plans = site.json("journal list");
    let plan = plans[0]["plan"].as_str().expect("a plan");
    for line in [GROUP_LEAVES, "deprovision --group FACTORY --dry-run"] {
        let again = site.done(line);
        assert!(
            again.stdout.starts_with("nothing to do"),
            "{}",
            again.stdout
        );
        again.stdout_has(plan);
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
    run.ends_with(6);
    let said = "2 leaves of factory generation 1: admitted by enrollment group all";
    run.stderr_has(said);
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

/// During a roll the generation that is to come can be proven before it issues: by a request, which names
/// its certificate, or by its number.
#[test]
fn a_generation_that_is_to_come_is_proven() {
    let site = Site::new();
    site.done("authority create root --next");
    let generations = site.json("authority show root");
    let next = &generations[1];
    assert_eq!(next["status"], "pending");
    let code = "0123456789abcdef";
    let request = json!({
        "dps": "local", "name": "root-2", "sha1Thumbprint": next["sha1Thumbprint"], "code": code,
    });
    site.world.write("request.json", request.to_string());
    for (how, proof) in [
        ("--request request.json", "by-request.pem"),
        ("0123456789abcdef --generation 2", "by-number.pem"),
    ] {
        site.done(&format!("possession root {how} --out {proof}"));
        let root = site.done("authority export root --generation 2").stdout;
        site.world.write("root-2.pem", root);
        let verified = site.run(&format!("verify {proof} --anchor root-2.pem --purpose any"));
        assert_eq!(verified.code, 0, "{how}: {}", verified.stdout);
    }
    // The current one is not meant, and a third one is not there.
    for (line, code) in [
        ("possession root --request request.json --generation 1", 4),
        ("possession root 0123456789abcdef --generation 3", 8),
        ("possession root 0123456789abcdef --generation 0", 2),
        ("authority export root --generation 3", 8),
    ] {
        assert_eq!(site.run(line).code, code, "{line}");
    }
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
    let planned = site.json("quarantine list.txt --unknown --dry-run");
    let estimate = &planned["estimate"];
    assert_eq!(estimate["serviceCalls"], 20, "{estimate}");
    assert_eq!(estimate["billableOperations"], 200, "{estimate}");
    assert_eq!(estimate["seconds"], 5, "{estimate}");
    let said =
        "200 steps, 20 calls to DPS, billed as 200 operations; at least 5 s at its rate limit";
    let run = site.done("quarantine list.txt --unknown --dry-run");
    run.stderr_has(said);
}

/// A network that counts how often a single registration record is read.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

struct CountingTransport {
    lookups: Arc<AtomicUsize>,
    real: HttpTransport,
}

impl Network for Counting {
    fn transport(&self, options: &HttpOptions) -> Result<Arc<dyn Transport>, TransportSetupError> {
        Ok(Arc::new(CountingTransport {
            lookups: Arc::clone(&self.0),
            real: HttpTransport::new(options)?,
        }))
    }
}

impl Transport for CountingTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        if request.method == Method::GET && request.url.path().starts_with("/registrations/") {
            self.lookups.fetch_add(1, Ordering::Relaxed);
        }
        self.real.send(request)
    }
}

/// A query tells no registrations (recorded): of those with an entry that lets them in the record is asked
/// for one by one, once; of all others there is nothing to ask, at a rate that would take an hour for ten
/// thousand.
#[test]
fn many_devices_with_entries_are_read_page_by_page() {
    let network = Counting::default();
    let site = Site::new().copy(Arc::new(FixedClock(now())), Arc::new(network.clone()));
    site.done("dps device put sensor-1 --cert devices/sensor-1.cert.pem --yes");
    assert_eq!(site.register("sensor-1"), "assigned");
    let others = (1..=30).map(|number| format!("stolen-{number}"));
    let ids: Vec<String> = others.chain(["sensor-1".to_owned()]).collect();
    site.world.write("list.txt", ids.join("\n"));
    network.0.store(0, Ordering::Relaxed);
    for _ in 0..2 {
        site.done("quarantine list.txt --unknown --yes");
    }
    assert_eq!(network.0.load(Ordering::Relaxed), 1);
    assert_eq!(site.run("dps registration show sensor-1").code, 8);
    let on_hub = site.json("hub device show sensor-1 --hub hub-1.azure-devices.net");
    assert_eq!(on_hub["status"], "disabled", "{on_hub}");
}
