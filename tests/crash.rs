//! Cut off at any instant, then run again: nothing is lost, nothing is there twice (design rule 5).
//!
//! Each round kills a program with SIGKILL at another moment between its start and its usual end, and
//! runs the same command again. The moments are spread evenly, so that some of them fall between a
//! record and its file, whatever the speed of the machine.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use dps_pki_tests::Home;
use serde_json::Value;

/// How many moments are tried for a command.
const ROUNDS: u32 = 20;

#[test]
fn authority_create_goes_on_where_it_was_cut() {
    let template = Home::empty();
    template.dps_pki("init").ok();
    let create = "authority create";
    let usual = time_of(&Home::with_declaration_of(&template), create);
    for round in 0..ROUNDS {
        let home = Home::with_declaration_of(&template);
        home.kill_after(create, usual * round / ROUNDS);
        home.dps_pki(create).ok();
        check_authorities(&home);
        check_whole(&home);
        let again = home.json(create);
        assert!(all(&again, "status", "exists"), "{again}");
    }
}

#[test]
fn issue_goes_on_where_it_was_cut() {
    let home = Home::from_template("quickstart");
    let issue = |round| {
        format!("issue r{round}:a r{round}-b r{round}-c --authority factory --out devices-{round}")
    };
    let usual = time_of(&home, &issue(ROUNDS));
    for round in 0..ROUNDS {
        home.kill_after(&issue(round), usual * round / ROUNDS);
        home.dps_pki(&issue(round)).ok();
        for (id, file) in [("a", ":a"), ("b", "-b"), ("c", "-c")].map(|(_, end)| {
            let id = format!("r{round}{end}");
            let file = format!("devices-{round}/{}", id.replace(':', "%3A"));
            (id, file)
        }) {
            check_device(&home, &id, &file);
        }
        let again = home.json(&issue(round));
        assert!(all(&again, "status", "alreadyIssued"), "{again}");
    }
    check_whole(&home);
}

/// How long a command takes when nobody interferes.
fn time_of(home: &Home, line: &str) -> Duration {
    // Once more beforehand, so that the program is in the machine's cache.
    home.dps_pki("authority list").ok();
    let start = Instant::now();
    home.dps_pki(line).ok();
    start.elapsed()
}

/// Each authority has one current generation, whose files match.
fn check_authorities(home: &Home) {
    for authority in home.json("authority list").as_array().expect("a list") {
        assert_eq!(authority["status"], "current", "{authority}");
        let name = authority["authority"].as_str().expect("a name");
        let base = format!("authorities/{name}/{}", authority["generation"]);
        let key = authority["key"].as_str().expect("a file");
        let pass = "-passin file:passphrase";
        assert_eq!(
            public_key(home, &format!("pkey -in {key} {pass} -pubout")),
            public_key(home, &format!("x509 -in {base}.cert.pem -noout -pubkey")),
            "{base}"
        );
    }
}

/// One live leaf, and files that are that leaf and its key.
fn check_device(home: &Home, id: &str, file: &str) {
    let known = home.json(&format!("inventory show {id}"));
    let live: Vec<&Value> = known
        .as_array()
        .expect("a list")
        .iter()
        .filter(|entry| entry["status"] == "delivered")
        .collect();
    assert_eq!(live.len(), 1, "{id}: {known}");
    let dead = |entry: &&Value| entry["status"] != "delivered";
    for entry in known.as_array().into_iter().flatten().filter(dead) {
        assert_eq!(entry["status"], "voided", "{id}: {entry}");
    }
    for ending in [".cert.pem", "-full-chain.cert.pem"] {
        let line = format!("x509 -in {file}{ending} -noout -fingerprint -sha256");
        let printed = home.tool("openssl", &line).ok().stdout.replace(':', "");
        let thumbprint = printed.trim().rsplit('=').next();
        assert_eq!(
            live[0]["sha256Thumbprint"].as_str(),
            thumbprint,
            "{file}{ending}"
        );
    }
    assert_eq!(
        public_key(home, &format!("pkey -in {file}.key.pem -pubout")),
        public_key(home, &format!("x509 -in {file}.cert.pem -noout -pubkey")),
        "{file}"
    );
}

/// The trail is intact, every certificate file is of a live entry, and no half-written file is left.
fn check_whole(home: &Home) {
    home.dps_pki("audit verify").ok();
    let live = home.json("inventory list --status delivered --limit 10000");
    let live: Vec<&str> = live
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["sha256Thumbprint"].as_str().expect("a thumbprint"))
        .collect();
    for file in home.files() {
        assert!(!file.ends_with(".tmp"), "{file} is left");
        if file.ends_with(".cert.pem") {
            let line = format!("x509 -in {file} -noout -fingerprint -sha256");
            let printed = home.tool("openssl", &line).ok().stdout.replace(':', "");
            let thumbprint = printed.trim().rsplit('=').next().expect("a thumbprint");
            assert!(live.contains(&thumbprint), "{file} is not in the inventory");
        }
    }
}

fn public_key(home: &Home, line: &str) -> String {
    home.tool("openssl", line).ok().stdout
}

fn all(rows: &Value, member: &str, value: &str) -> bool {
    let rows = rows.as_array().expect("a list");
    !rows.is_empty() && rows.iter().all(|row| row[member] == value)
}
