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
    dry.stdout_has("1 entry is disabled and stays so");
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

/// A line would be refused for each, and none is written.
#[track_caller]
fn refuses(site: &Site, from: &str, sentences: &[&str]) {
    let run = site.run(&format!("dps device put --from {from} --yes"));
    run.ends_with(3);
    for sentence in sentences {
        run.stderr_has(sentence);
    }
}

/// However the devices are named, none goes back to the leaf that it had before.
#[test]
fn a_device_that_was_renewed_is_not_turned_back_to_its_old_leaf() {
    let site = site();
    site.done("dps device put --from order --yes");
    site.done("renew p-02 --out renewed");
    site.done("dps device put p-02 --cert renewed/p-02.cert.pem --yes");
    let before = site.json("dps device show p-02");
    for from in ["order", "order.ndjson"] {
        refuses(
            &site,
            from,
            &[
                "1 device cannot be enrolled; nothing was written",
                "its leaf ",
                "is not its newest valid one",
                "hint: a list of the devices takes their newest leaves",
            ],
        );
    }
    assert_eq!(site.json("dps device show p-02"), before);
    site.done("dps device put --from list.csv --yes");
    assert_eq!(site.json("dps device show p-02"), before);
}

#[test]
fn leaves_that_are_lost_revoked_or_of_a_compromised_authority_let_nobody_in() {
    let site = site();
    site.done("revoke p-05 --reason superseded --yes");
    refuses(&site, "order", &["p-05: its leaf ", "is revoked"]);
    site.done("renew p-02 --out renewed");
    site.done("batch replace order --leaves revoke --plain-keys --out again.ndjson --yes");
    refuses(
        &site,
        "order",
        &["2 devices cannot", "p-02: its leaf ", "is revoked"],
    );
    refuses(&site, "order.ndjson", &["23 devices cannot be enrolled"]);
    site.world.write("two.csv", "registration_id\np-01\np-02\n");
    site.done("dps device put --from two.csv --yes");
    site.done("roll start factory --compromised --yes");
    let compromised = "was signed by factory generation 1, which is compromised";
    for from in ["list.csv", "again.ndjson"] {
        refuses(&site, from, &[compromised]);
    }
    assert_eq!(enrolled(&site), 2);
}

/// Whoever has the public recipient of a line can seal a batch to it.
#[test]
fn leaves_that_the_inventory_does_not_know_are_enrolled_if_they_are_meant() {
    let site = site();
    site.done("init other --new-passphrase other.pass");
    site.done("authority create --home other --passphrase-file other.pass");
    site.done(
        "issue --prefix q- --count 2 --authority factory --home other --passphrase-file other.pass --plain-keys --out q.ndjson",
    );
    refuses(
        &site,
        "q.ndjson",
        &[
            "2 devices cannot be enrolled",
            "\"q-1\": the inventory does not know its leaf",
            "say --unknown",
        ],
    );
    assert_eq!(enrolled(&site), 0);
    site.done("dps device put --from q.ndjson --unknown --yes");
    assert_eq!(enrolled(&site), 2);
}

#[test]
fn a_list_is_read_as_issue_reads_it() {
    let site = site();
    site.world
        .write("win.csv", b"Seriennummer;Stra\xdfe\np-01;a\np-02;b\n");
    let line = "dps device put --from win.csv --separator semicolon --id-column Seriennummer --encoding windows-1252";
    let dry = site.done(&format!("{line} --dry-run"));
    dry.stdout_has("p-02");
    site.done(&format!("{line} --yes"));
    assert_eq!(enrolled(&site), 2);
    let plan = site.done("dps device put --from list.csv --dry-run");
    plan.stdout_has("21 × an enabled individual enrollment, pinned to a leaf");
}
