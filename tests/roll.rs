//! Rolls for real: authorities and leaves, by expiry and after a breach, with devices that register at
//! every stage.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use dps_pki_tests::{Device, Emulator, Home};
use serde_json::{Value, json};

/// Two devices of the factory that have registered.
fn fleet() -> (Home, Emulator) {
    let (home, emulator) = Home::with_dps();
    home.dps_pki("issue a b --authority factory --out devices")
        .ok();
    for id in ["a", "b"] {
        assert_eq!(Device::new(&home, &emulator, id).register(), "assigned");
    }
    (home, emulator)
}

/// A new leaf for a device, at the place of the old one, which is kept under another name.
fn renew(home: &Home, id: &str) {
    for ending in ["key.pem", "cert.pem", "full-chain.cert.pem"] {
        let dash = if ending.starts_with("full") { "-" } else { "." };
        let (from, to) = (
            format!("devices/{id}{dash}{ending}"),
            format!("devices/{id}-old{dash}{ending}"),
        );
        std::fs::rename(home.path(from), home.path(to)).expect("a file of the device");
    }
    home.dps_pki(&format!("renew {id} --out devices")).ok();
}

fn states(home: &Home, authority: &str) -> Vec<(u64, String)> {
    let shown = home.json(&format!("authority show {authority}"));
    let rows = shown.as_array().expect("rows").iter();
    rows.map(|row| {
        let number = row["generation"].as_u64().expect("a number");
        (number, row["status"].as_str().expect("a word").to_owned())
    })
    .collect()
}

/// Intermediate held by groups, expiry: secondary slot, devices move, the old one goes; nobody is
/// refused on the way.
#[test]
fn an_intermediate_expires() {
    let (home, emulator) = fleet();
    let [a, b] = ["a", "b"].map(|id| Device::new(&home, &emulator, id));
    home.dps_pki("roll status --detailed-exitcode").ok();
    home.dps_pki("roll finish factory --yes").ends_with(4);
    home.dps_pki("roll start factory --dry-run").ends_with(4);
    home.dps_pki("authority create factory --next").ok();
    let planned = home.dps_pki("roll start factory --dry-run").ok();
    assert!(
        planned
            .stdout
            .contains("change enrollment group factory, enabled"),
        "{planned}"
    );
    home.dps_pki("roll start factory").ends_with(4);
    let started = home.dps_pki("roll start factory --yes").ok();
    assert!(
        started
            .stdout
            .contains("devices of factory generation 2 are admitted by enrollment group factory"),
        "{started}"
    );
    let again = home.dps_pki("roll start factory --yes").ok();
    assert!(again.stdout.starts_with("nothing to do"), "{again}");
    home.dps_pki("plan --detailed-exitcode").ok();
    assert_eq!(a.register(), "assigned");

    let waiting = home
        .dps_pki("roll status factory --detailed-exitcode")
        .ends_with(10);
    assert!(waiting.stdout.contains("2 devices (a, b)"), "{waiting}");
    renew(&home, "a");
    assert_eq!(a.register(), "assigned");
    let refused = home.dps_pki("roll finish factory --yes").ends_with(4);
    assert!(refused.stderr.contains("1 device (b)"), "{refused}");
    let refused = home.dps_pki("roll abort factory --yes").ends_with(4);
    assert!(refused.stderr.contains("1 device (a)"), "{refused}");
    renew(&home, "b");
    home.dps_pki("roll finish factory --yes").ends_with(4);
    assert_eq!(b.register(), "assigned");
    let ready = home.json("roll status factory");
    assert_eq!(ready[0]["leftBehind"]["count"], 0, "{ready}");

    home.dps_pki("roll finish factory --yes").ok();
    assert_eq!(
        (a.register(), b.register()),
        ("assigned".into(), "assigned".into())
    );
    let old = Device::new(&home, &emulator, "a-old");
    assert_eq!(old.ask_to_register().code, 401);
    assert_eq!(
        states(&home, "factory"),
        [(1, "retired".to_owned()), (2, "current".to_owned())]
    );
    let group = home.json("dps group show factory");
    let slots = &group["attestation"]["x509"]["signingCertificates"];
    let issued_by = home.json("authority show factory")[1]["sha256Thumbprint"].clone();
    assert_eq!(slots["primary"]["info"]["sha256Thumbprint"], issued_by);
    assert_eq!(slots["secondary"], Value::Null, "{group}");
    home.dps_pki("roll status --detailed-exitcode").ok();
    home.dps_pki("plan --detailed-exitcode").ok();
    home.dps_pki("audit verify").ok();
    assert_eq!(home.json("journal list --open"), json!([]));
}
