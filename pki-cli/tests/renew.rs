//! `renew` and `csr create`: new leaves for devices that have one.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use crate::support::World;
use pki_core::certificate::{Certificate, pem};
use serde_json::{Value, json};

fn leaf(home: &World, file: &str) -> Certificate {
    pem::certificate(home.read(file).as_bytes()).expect("certificate")
}

#[test]
fn a_device_gets_a_new_key_and_keeps_its_name() {
    let home = World::with_authorities();
    home.done("issue Sensor-1 --authority factory --out old");
    let run = home.done("renew sensor-1 --out new");
    let old = leaf(&home, "old/Sensor-1.cert.pem");
    let told = format!("stays valid until {}", old.validity().not_after());
    run.stderr_has(&told);
    let new = leaf(&home, "new/Sensor-1.cert.pem");
    assert_eq!(new.common_name(), old.common_name());
    assert_ne!(new.public_key(), old.public_key());
    assert_ne!(new.serial_number(), old.serial_number());
    assert!(home.path("new/Sensor-1.key.pem").is_file());
    // The same command again finds its work done; elsewhere it is another renewal.
    let again = home.done("renew sensor-1 --out new --output json");
    assert_eq!(again.json()[0]["status"], "alreadyIssued");
    assert_eq!(leaf(&home, "new/Sensor-1.cert.pem"), new);
    let run = home.done("renew sensor-1 --out newer --output json");
    let replaced = run.json()[0]["replaces"]["serialNumber"].clone();
    assert_eq!(replaced, json!(new.serial_number().to_string()));
    // Of a leaf that was revoked nobody says that it stays valid.
    home.done("revoke sensor-1 --reason key-compromise --yes");
    let run = home.done("renew sensor-1 --out newest");
    run.stderr_has("was revoked on ");
    assert!(!run.stderr.contains("stays valid"), "{}", run.stderr);
    // What the first leaf was written to is nobody's to overwrite.
    home.done("issue sensor-2 --authority factory --out old");
    let run = home.run("renew sensor-2 --out old");
    run.ends_with(4);
}

#[test]
fn who_made_its_own_key_keeps_it_by_the_request_that_is_kept() {
    let home = World::with_authorities();
    home.done("csr create dev-1 --out in");
    home.done("sign in/dev-1.csr.pem --authority factory --out old");
    home.done("renew dev-1 --out new");
    let old = leaf(&home, "old/dev-1.cert.pem");
    let new = leaf(&home, "new/dev-1.cert.pem");
    assert_eq!(new.public_key(), old.public_key());
    assert!(!home.path("new/dev-1.key.pem").exists());
    // A batch keeps requests as well, and a renewal keeps them again.
    home.done("renew dev-1 --out third");
    home.done("csr create dev-2 --out in2");
    home.done("sign in2 --authority factory --out batch");
    home.done("renew dev-2 --out third");
    let old = leaf(&home, "batch/dev-2.cert.pem");
    let new = leaf(&home, "third/dev-2.cert.pem");
    assert_eq!(new.public_key(), old.public_key());
    // Another request brings another key, if it is the device's.
    home.done("csr create dev-2 --out next");
    home.done("renew dev-2 --csr next/dev-2.csr.pem --out fourth");
    assert_ne!(
        leaf(&home, "fourth/dev-2.cert.pem").public_key(),
        new.public_key()
    );
    let run = home.run("renew dev-1 --csr next/dev-2.csr.pem --out fifth");
    assert_eq!(run.code, 3);
    run.stderr_has("the request of dev-2, not of dev-1");
    home.done("renew dev-1 --new-key --out fifth");
    assert!(home.path("fifth/dev-1.key.pem").is_file());
}

#[test]
fn labels_and_alternative_names_are_taken_over() {
    let home = World::with_authorities();
    home.write(
        "list.csv",
        "registration_id,san,site\ngw-1,gw.example,Ulm\n",
    );
    home.done("issue --devices list.csv --authority factory --plain-keys --out list.ndjson");
    home.done("renew gw-1 --out new");
    let shown = home.done("inventory show gw-1 --output json").json();
    assert_eq!(shown[0]["labels"], json!({ "site": "Ulm" }));
    let facts = home.done("inspect new/gw-1.cert.pem").stdout;
    assert!(facts.contains("gw.example"), "{facts}");
}

#[test]
fn lists_of_ids_are_taken_and_unknown_ones_refused() {
    let mut home = World::with_authorities();
    home.done("issue dev-1 dev-2 dev-3 --authority factory --out old");
    home.write("ids", "dev-1\ndev-2\n");
    home.stdin = b"dev-3\n".to_vec();
    home.done("renew ids --plain-keys --out ids.ndjson");
    assert_eq!(home.read("ids.ndjson").lines().count(), 2);
    home.done("renew - --plain-keys --format dir --out new");
    assert!(home.path("new/dev-3.key.pem").is_file());
    for mixed in ["renew ids dev-3 --out other", "renew ids - --out other"] {
        let run = home.run(mixed);
        run.ends_with(2);
        run.stderr_has("is a batch by itself");
    }
    let run = home.run("renew dev-1 dev-4 --out other");
    assert_eq!(run.code, 8);
    run.stderr_has("error: the inventory has no leaf of dev-4");
    assert!(
        !home.path("other").exists(),
        "the first is not renewed alone"
    );
}

fn line(home: &World, file: &str, number: usize) -> Value {
    let text = home.read(file);
    let line = text.lines().nth(number).expect("a line");
    serde_json::from_str(line).expect("JSON")
}

/// The list says what is to be otherwise; the rest is taken over.
#[test]
fn a_batch_of_renewals_takes_over_what_its_list_leaves_open() {
    let home = World::with_authorities();
    home.write(
        "first.csv",
        "registration_id,san,site,order\nGw-1,gw.example,Ulm,1\ndev-2,,Ulm,1\n",
    );
    home.done("issue --devices first.csv --authority factory --plain-keys --out first.ndjson");
    home.done("csr create own-3 --out in");
    home.done("sign in/own-3.csr.pem --authority factory --out old");
    home.write(
        "next.csv",
        "registration_id;validity;order\ngw-1;30d;2\ndev-2;;\nown-3;;2\n",
    );
    let renew = "renew --devices next.csv --plain-keys --label line=7 --out next.ndjson";
    let rehearsed = home.done(&format!("{renew} --dry-run"));
    rehearsed.stderr_has("would issue 3 leaves to next.ndjson");
    assert!(!home.path("next.ndjson").exists());
    home.done(renew);
    let first = line(&home, "next.ndjson", 0);
    assert_eq!(first["registrationId"], "Gw-1");
    assert_eq!(
        first["labels"],
        json!({ "line": "7", "order": "2", "site": "Ulm" })
    );
    let of_first = pem::certificate(first["certificate"].as_str().expect("PEM").as_bytes());
    let of_first = of_first.expect("a certificate");
    let lasts =
        of_first.validity().not_after().unix_seconds() - crate::support::now().unix_seconds();
    assert_eq!(lasts, 30 * 24 * 3600);
    assert!(!pki_core::alternative_name::AlternativeName::of(&of_first).is_empty());
    let second = line(&home, "next.ndjson", 1);
    assert_eq!(
        second["labels"],
        json!({ "line": "7", "order": "1", "site": "Ulm" })
    );
    assert_ne!(
        second["privateKey"],
        line(&home, "first.ndjson", 1)["privateKey"]
    );
    // Who made its own key keeps it.
    let third = line(&home, "next.ndjson", 2);
    assert_eq!(third["privateKey"], Value::Null);
    let of_third = pem::certificate(third["certificate"].as_str().expect("PEM").as_bytes());
    assert_eq!(
        of_third.expect("a certificate").public_key(),
        leaf(&home, "old/own-3.cert.pem").public_key()
    );
    // The same command finds its work done; another output is another renewal.
    let again = home.done(renew);
    again.stderr_has("another --out renews them once more");
    home.done(&renew.replace("next.ndjson", "third.ndjson"));
    let shown = home.done("inventory show dev-2 --output json").json();
    assert_eq!(shown.as_array().map(Vec::len), Some(3));
}

#[test]
fn a_batch_of_renewals_is_refused_as_a_whole() {
    let home = World::after(&["init --template factory", "authority create"]);
    home.done("issue dev-1 --authority plant-1-line-a --out old");
    home.done("issue dev-2 --authority plant-1-line-b --out old");
    home.done("csr create own-3 own-4 --out in");
    home.done("sign in --authority plant-1-line-a --out signed");
    home.done("revoke own-3 --reason key-compromise --yes");
    home.write("list", "dev-1\ndev-2\nown-3\nown-4\nnew-5\nDEV-1\n");
    let run = home.run("renew list --plain-keys --out next.ndjson");
    run.ends_with(3);
    run.stderr_has("line 6: \"DEV-1\": the same registration ID stands in line 1 already");
    home.write("list", "dev-1\ndev-2\nown-3\nown-4\nnew-5\n");
    let run = home.run("renew list --plain-keys --out next.ndjson");
    run.ends_with(3);
    run.stderr_has("list: 3 lines cannot be used; nothing was issued");
    run.stderr_has("line 2: \"dev-2\": its last leaf is from plant-1-line-b, the first device's from plant-1-line-a");
    run.stderr_has(
        "line 3: \"own-3\": its last leaf was revoked (keyCompromise), and the device made its key",
    );
    run.stderr_has("line 5: \"new-5\": the inventory has no leaf of it");
    for left in ["next.ndjson", "next.ndjson.part", "next.ndjson.lock"] {
        assert!(!home.path(left).exists(), "{left}");
    }
    home.done("audit verify");
    home.write("list", "dev-1\ndev-2\nown-3\n");
    let named = "renew list --authority plant-1-line-a --new-key --out next.ndjson";
    let run = home.run(named);
    run.ends_with(4);
    run.stderr_has("the devices' keys would be written in the clear");
    let run = home.done(&format!("{named} --plain-keys"));
    run.stderr_has("1 last leaf is revoked");
    let moved = line(&home, "next.ndjson", 1);
    assert_eq!(moved["registrationId"], "dev-2");
    let shown = home.done("inventory show dev-2 --output json").json();
    assert_eq!(shown[0]["authority"], "plant-1-line-a");
    // No keys are made for devices that keep theirs.
    home.write("own", "own-4\n");
    home.done("renew own --out own.ndjson");
    for (wrong, code, told) in [
        (
            "renew list --csr in/own-4.csr.pem --out x",
            2,
            "is a batch by itself",
        ),
        (
            "renew --devices list --csr in/own-4.csr.pem --out x",
            2,
            "--csr",
        ),
        ("renew --devices nowhere --plain-keys --out x", 8, "nowhere"),
        (
            "renew --devices list --plain-keys",
            2,
            "name one with --out",
        ),
        (
            "renew --prefix none- --count 2 --plain-keys --out x",
            8,
            "has no leaf of its devices",
        ),
        ("renew dev-1 --separator comma --out x", 2, "--separator"),
    ] {
        let run = home.run(wrong);
        run.ends_with(code);
        run.stderr_has(told);
    }
}

#[test]
fn options_of_a_batch_make_one_of_named_devices() {
    let home = World::with_authorities();
    home.done("issue dev-1 dev-2 --authority factory --out old");
    home.done("renew dev-1 dev-2 --format tar --plain-keys --batch renewed --out renewed.tar");
    let shown = home.done("batch show renewed --output json").json();
    assert_eq!(shown["devices"], json!(2));
}

#[test]
fn keys_and_requests_are_never_overwritten() {
    let home = World::with_authorities();
    home.done("csr create a:1 b-2 --key ed25519 --out in");
    let key = home.read("in/a%3A1.key.pem");
    let run = home.run("csr create c-3 a:1 --out in");
    run.ends_with(4);
    assert_eq!(home.read("in/a%3A1.key.pem"), key);
    assert!(!home.path("in/c-3.key.pem").exists());
    let run = home.run("csr create two words --key rsa-1024");
    assert_eq!(run.code, 2);
}
