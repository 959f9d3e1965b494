//! `renew` and `csr create`: new leaves for devices that have one.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use crate::support::World;
use pki_core::certificate::{Certificate, pem};
use serde_json::json;

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
    let run = home.done("renew ids - --out new --output json");
    assert_eq!(run.json().as_array().map(Vec::len), Some(3));
    let run = home.run("renew dev-1 dev-4 --out other");
    assert_eq!(run.code, 8);
    run.stderr_has("error: the inventory has no leaf of dev-4");
    assert!(
        !home.path("other").exists(),
        "the first is not renewed alone"
    );
    home.write("list.csv", "registration_id,validity\ndev-1,30d\n");
    assert_eq!(home.run("renew list.csv --out other").code, 3);
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
