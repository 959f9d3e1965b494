//! `dps device put --from`: individual enrollments of a list or batch, against the emulator.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use crate::support::Run;
use crate::support::site::Site;
use serde_json::{Value, json};

/// A home with a batch of 23 devices, and a DPS that knows none of them.
fn site() -> Site {
    let site = Site::empty();
    site.done("apply --yes");
    site.done(
        "issue --prefix p- --count 23 --authority factory --batch order --plain-keys --out order.ndjson",
    );
    let list: String = (1..=23)
        .map(|number| format!("p-{number:02},7\n"))
        .collect();
    site.world
        .write("list.csv", format!("registration_id,order\n{list}"));
    site
}

/// What a run told of each device.
fn lines(run: &Run) -> Vec<Value> {
    run.stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn enrolled(site: &Site) -> usize {
    let listed = site.json("dps device list");
    listed.as_array().map_or(0, Vec::len)
}

/// The plans of the journal, newest first; the first was that of `apply`.
fn plans(site: &Site) -> Value {
    site.json("journal list")
}

#[test]
fn a_list_a_batch_and_its_file_enroll_the_same_devices() {
    for from in ["list.csv", "order", "order.ndjson"] {
        let site = site();
        let put = format!("dps device put --from {from} --yes --output json");
        let run = site.done(&put);
        let told = lines(&run);
        assert_eq!(told.len(), 23, "{from}");
        assert!(told.iter().all(|line| line["done"] == json!(true)));
        assert_eq!(told[4]["registrationId"], "p-05");
        assert_eq!(enrolled(&site), 23);
        let entry = site.json("dps device show p-07");
        assert_eq!(entry["provisioningStatus"], "enabled");
        let leaf = site.json("inventory show p-07");
        let pinned = entry["attestation"].to_string();
        let thumbprint = leaf[0]["sha256Thumbprint"].as_str().expect("a thumbprint");
        assert!(pinned.contains(thumbprint), "{pinned}");
        assert_eq!(
            plans(&site)[0]["goal"],
            json!(format!("enroll 23 devices of {from}"))
        );
        // Said again, nothing is left to do.
        let again = lines(&site.done(&put));
        assert_eq!(again.len(), 23);
        assert!(again.iter().all(|line| line["done"] == json!(false)));
        assert_eq!(
            plans(&site).as_array().map(Vec::len),
            plans(&site).as_array().map(Vec::len)
        );
        site.done("audit verify");
    }
}

#[test]
fn what_an_entry_says_besides_stays_and_a_disabled_one_stays_disabled() {
    let site = site();
    site.done("dps device put --from order --yes");
    site.done("dps device disable p-03 --yes");
    site.done("renew p-02 p-03 --out renewed");
    let dry = site.done("dps device put --from list.csv --dry-run");
    dry.stdout_has("1 entry is disabled and stay so");
    let run = site.done("dps device put --from list.csv --yes --output json");
    let done: Vec<Value> = lines(&run)
        .into_iter()
        .filter(|line| line["done"] == json!(true))
        .collect();
    assert_eq!(done.len(), 23);
    let entry = site.json("dps device show p-03");
    assert_eq!(entry["provisioningStatus"], "disabled");
    let leaf = site.json("inventory show p-03");
    let newest = leaf[0]["sha256Thumbprint"].as_str().expect("a thumbprint");
    assert!(entry["attestation"].to_string().contains(newest));
}

/// All devices are judged before the first call.
#[test]
fn one_bad_device_keeps_all_others_out_of_the_plan() {
    let site = site();
    let refused = |from: &str, code: u8, sentences: &[&str]| {
        let run = site.run(&format!("dps device put --from {from} --yes"));
        run.ends_with(code);
        for sentence in sentences {
            run.stderr_has(sentence);
        }
        assert_eq!(enrolled(&site), 0);
        assert_eq!(plans(&site).as_array().map(Vec::len), Some(1));
    };
    site.world
        .write("bad.csv", "registration_id\np-01\nq-01\nP-01\np 2\n");
    refused(
        "bad.csv",
        3,
        &[
            "bad.csv: 3 devices cannot be enrolled; nothing was written",
            "line 3: \"q-01\": the inventory has no valid leaf of it",
            "line 4: \"P-01\": it stands there twice",
            "line 5: \"p 2\": registration ID",
        ],
    );
    site.done("revoke p-05 --reason superseded --yes");
    let revoked = ["order.ndjson: 1 device cannot be enrolled", "is revoked"];
    refused("order.ndjson", 3, &revoked);
    refused(
        "nowhere",
        8,
        &["there is no file nowhere, and no batch of that name"],
    );
    site.world.write("empty.csv", "registration_id\n");
    refused("empty.csv", 3, &["empty.csv names no device"]);
    site.world.write("order", "p-01\n");
    refused(
        "order",
        4,
        &["order is a batch of the inventory, and a file of that name is here"],
    );
    let run = site.run("dps device put p-01 --from list.csv");
    run.ends_with(2);
}
