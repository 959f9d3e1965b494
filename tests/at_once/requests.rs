//! Requests of devices that made their own keys: one leaf for a device, one device for a key.

use dps_pki_tests::{Home, Run};

use super::authorities::commands;
use super::rounds::{at_once, at_once_and_killed, rounds, time_of, used_home, winners};
use super::whole::{Files, check, live_leaf};

/// A request for the key in a file.
fn request(home: &Home, id: &str, key: &str) {
    let line = format!("req -new -key {key} -subj /CN={id} -out {id}.csr");
    home.tool("openssl", &line).ok();
}

fn key(home: &Home, file: &str) {
    let line = format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {file}");
    home.tool("openssl", &line).ok();
}

#[test]
fn a_request_is_signed_once() {
    let home = used_home();
    let before = Files::of(&home);
    for round in rounds() {
        let number = round.number;
        key(&home, "own.key");
        request(&home, &format!("own-{number}"), "own.key");
        let line =
            |folder| format!("sign own-{number}.csr --authority factory --out s{number}-{folder}");
        let lines: Vec<String> = (0..commands(round)).map(line).collect();
        let runs = at_once(&home, &lines);
        assert_eq!(winners(&runs).len(), 1, "{runs:#?}");
        assert!(live_leaf(&home, &format!("own-{number}")).is_some());
    }
    check(&home, false);
    before.check(&home);
}

/// Which of the two gets it nobody can know; the other is told whose it is.
#[test]
fn a_key_becomes_one_devices() {
    let home = used_home();
    for round in rounds() {
        let number = round.number;
        key(&home, "shared.key");
        for side in ["a", "b"] {
            request(&home, &format!("{side}-{number}"), "shared.key");
        }
        let line = |place: usize| {
            let side = if place.is_multiple_of(2) { "a" } else { "b" };
            let list = place % 4 >= 2;
            let id = format!("{side}-{number}");
            let out = format!("k{number}-{place}");
            if list {
                home.write(
                    &format!("{out}.csv"),
                    format!("registration_id,csr\n{id},{id}.csr\n"),
                );
                format!(
                    "issue --devices {out}.csv --authority factory --out {out}.ndjson --batch {out}"
                )
            } else {
                format!("sign {id}.csr --authority factory --out {out}")
            }
        };
        let lines: Vec<String> = (0..commands(round)).map(line).collect();
        let runs = at_once(&home, &lines);
        let done = runs.iter().filter(|run| run.code == 0).count();
        assert_eq!(done, 1, "{runs:#?}");
        assert!(
            runs.iter().all(|run| [0, 3, 4].contains(&run.code)),
            "{runs:#?}"
        );
        let leaves = ["a", "b"].map(|side| live_leaf(&home, &format!("{side}-{number}")));
        assert_eq!(leaves.iter().flatten().count(), 1, "{runs:#?}");
    }
    check(&home, false);
}

#[test]
fn a_request_is_signed_once_whoever_is_killed() {
    let home = used_home();
    key(&home, "usual.key");
    request(&home, "usual", "usual.key");
    let usual = time_of(&home, "sign usual.csr --authority factory --out usual");
    for round in rounds() {
        let id = format!("own-{}", round.number);
        key(&home, "own.key");
        request(&home, &id, "own.key");
        let line = |folder| format!("sign {id}.csr --authority factory --out {id}-{folder}");
        let lines: Vec<String> = (0..commands(round)).map(line).collect();
        at_once_and_killed(&home, round, usual, &lines);
        let runs: Vec<Run> = lines.iter().map(|line| home.dps_pki(line)).collect();
        assert!(!winners(&runs).is_empty(), "{runs:#?}");
    }
    check(&home, true);
}

/// The request that lies there is for the key that lies there.
#[test]
fn a_key_and_its_request_are_made_together() {
    let home = Home::empty();
    for round in rounds() {
        let id = format!("c-{}", round.number);
        let lines = vec![format!("csr create {id} --out keys"); commands(round)];
        winners(&at_once(&home, &lines));
        let public = |line: String| home.tool("openssl", &line).ok().stdout;
        assert_eq!(
            public(format!("pkey -in keys/{id}.key.pem -pubout")),
            public(format!("req -in keys/{id}.csr.pem -noout -pubkey")),
        );
    }
}
