//! Authorities: no key without its certificate, one key for a generation.

use std::collections::BTreeSet;

use dps_pki_tests::Home;
use serde_json::Value;

use super::rounds::{
    at_once, at_once_and_killed, few_rounds, fresh_home, rounds, time_of, used_home, winners,
};
use super::whole::{Files, check};

/// A fresh home has no inventory either: these are the first commands in it.
#[test]
fn authorities_are_made_once() {
    let template = fresh_home();
    for round in rounds() {
        let home = copy_of(&template);
        let lines = vec!["authority create".to_owned(); commands(round)];
        let runs = at_once(&home, &lines);
        for run in &runs {
            assert_eq!(run.code, 0, "{run}");
        }
        check(&home, false);
        let made = runs.iter().map(|run| run.stdout.matches("created").count());
        assert_eq!(made.sum::<usize>(), 2, "root and factory");
        let names = generations(&home, "root");
        assert_eq!(names.len(), 1);
    }
}

#[test]
fn authorities_are_made_once_whoever_is_killed() {
    let template = fresh_home();
    let usual = time_of(&copy_of(&template), "authority create");
    for round in rounds() {
        let home = copy_of(&template);
        let lines = vec!["authority create".to_owned(); commands(round)];
        at_once_and_killed(&home, round, usual, &lines);
        home.dps_pki("authority create").ok();
        check(&home, true);
        let again = home.json("authority create");
        let rows = again.as_array().expect("a list");
        assert!(rows.iter().all(|row| row["status"] == "exists"), "{again}");
    }
}

#[test]
fn a_successor_is_made_once() {
    for round in few_rounds() {
        let home = used_home();
        let before = Files::of(&home);
        let lines = vec!["authority create factory --next".to_owned(); commands(round)];
        for run in at_once(&home, &lines) {
            assert_eq!(run.code, 0, "{run}");
        }
        check(&home, false);
        before.check(&home);
        assert_eq!(generations(&home, "factory"), ["current", "pending"]);
    }
}

#[test]
fn a_successor_is_made_once_whoever_is_killed() {
    let line = "authority create factory --next";
    let usual = time_of(&used_home(), line);
    for round in few_rounds() {
        let home = used_home();
        let before = Files::of(&home);
        at_once_and_killed(&home, round, usual, &vec![line.to_owned(); commands(round)]);
        home.dps_pki(line).ok();
        check(&home, true);
        before.check(&home);
        assert_eq!(generations(&home, "factory"), ["current", "pending"]);
    }
}

/// Whichever request is sent to a vendor: its key is there.
#[test]
fn requests_made_at_once_are_for_one_key() {
    let template = fresh_home();
    for round in rounds() {
        let home = copy_of(&template);
        let line = |number| format!("authority request root --out {number}.csr.pem");
        let lines: Vec<String> = (0..commands(round)).map(line).collect();
        for run in at_once(&home, &lines) {
            assert_eq!(run.code, 0, "{run}");
        }
        check(&home, false);
        let public_key = |number: usize| {
            let line = format!("req -in {number}.csr.pem -noout -pubkey");
            home.tool("openssl", &line).ok().stdout
        };
        let requested: BTreeSet<String> = (0..commands(round)).map(public_key).collect();
        assert_eq!(requested.len(), 1);
        let key = home.json("authority show root")[0]["key"].clone();
        let key = key.as_str().expect("a file");
        let line = format!("pkey -in {key} -passin file:passphrase -pubout");
        let kept = home.tool("openssl", &line).ok().stdout;
        assert!(requested.contains(&kept), "{key}");
    }
}

/// Whoever asks for it gets the one certificate of a request.
#[test]
fn the_request_of_an_authority_elsewhere_is_signed_once() {
    for round in few_rounds() {
        let home = used_home();
        home.tool("openssl", "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-384 -noenc -subj /CN=Plant -keyout plant.key -out plant.csr.pem").ok();
        let line = |number| {
            format!(
                "authority sign plant.csr.pem --issuer root --validity 1y --out {number}.pem --yes"
            )
        };
        let lines: Vec<String> = (0..commands(round)).map(line).collect();
        for run in at_once(&home, &lines) {
            assert_eq!(run.code, 0, "{run}");
        }
        check(&home, false);
        let written = (0..commands(round)).map(|number| home.read(&format!("{number}.pem")));
        assert_eq!(written.collect::<BTreeSet<String>>().len(), 1);
    }
}

/// The certificate that a vendor has signed is taken in once.
#[test]
fn a_certificate_from_elsewhere_is_adopted_once() {
    let template = fresh_home();
    for round in few_rounds() {
        let home = copy_of(&template);
        home.dps_pki("authority request root --out root.csr.pem")
            .ok();
        home.tool("openssl", "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -noenc -days 7000 -subj /CN=Vendor -addext keyUsage=critical,keyCertSign,cRLSign -keyout vendor.key -out vendor.pem").ok();
        home.write(
            "ca.ext",
            "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n\
             subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
        );
        home.tool("openssl", "x509 -req -in root.csr.pem -CA vendor.pem -CAkey vendor.key -days 3000 -extfile ca.ext -out root.pem").ok();
        let line = "authority adopt root --cert root.pem --chain vendor.pem";
        winners(&at_once(&home, &vec![line.to_owned(); commands(round)]));
        check(&home, false);
        assert_eq!(generations(&home, "root"), ["current"]);
    }
}

/// Another generation may have it, in the inventory that this one was restored in the place of.
#[test]
fn a_key_that_no_generation_has_is_told_and_kept() {
    let home = used_home();
    let stray = "authorities/factory/2-0123456789abcdef.key.pem";
    home.write(stray, home.read(&home.key_of("factory")));
    let made = home.dps_pki("authority create factory --next").ok();
    made.stderr_has(stray);
    assert!(home.path(stray).exists());
    assert_ne!(home.key_of("factory"), stray);
    check(&home, true);
}

/// Two who take over the same authority, and one who makes it.
#[test]
fn an_authority_is_taken_over_or_made_and_not_both() {
    for round in few_rounds() {
        let home = fresh_home();
        let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -noenc -days 3650 -subj /CN=Quickstart.Root.CA -addext keyUsage=critical,keyCertSign,cRLSign -keyout old.key -out old.pem";
        home.redeclare("CN=Quickstart Root CA", "CN=Quickstart.Root.CA");
        home.tool("openssl", make).ok();
        let mut lines =
            vec!["authority import root --cert old.pem --key old.key".to_owned(); commands(round)];
        lines.push("authority create root".to_owned());
        let runs = at_once(&home, &lines);
        assert!(!winners(&runs).is_empty());
        check(&home, false);
        assert_eq!(generations(&home, "root"), ["current"]);
    }
}

pub(super) fn commands(round: super::rounds::Round) -> usize {
    usize::try_from(round.commands()).expect("few")
}

/// The states of an authority's generations.
fn generations(home: &Home, name: &str) -> Vec<String> {
    let shown = home.json(&format!("authority show {name}"));
    let states = shown
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| &row["status"]);
    states
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn copy_of(template: &Home) -> Home {
    let home = Home::with_declaration_of(template);
    home.write("passphrase", template.read("passphrase"));
    home
}
