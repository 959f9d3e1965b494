//! What else changes a home, or DPS by its journal.

use std::collections::BTreeSet;

use dps_pki_tests::{Emulator, Home};
use pki_core::inventory::{Filter, Inventory as _, Status};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use serde_json::Value;

use super::authorities::commands;
use super::rounds::{at_once, few_rounds, fresh_home, rounds, used_home, winners};
use super::whole::{Files, check};

#[test]
fn a_leaf_is_revoked_once() {
    let home = used_home();
    for round in rounds() {
        let id = format!("x-{}", round.number);
        home.dps_pki(&format!("issue {id} --authority factory --out devices"))
            .ok();
        let lines = vec![format!("revoke {id} --reason superseded --yes"); commands(round)];
        assert!(!winners(&at_once(&home, &lines)).is_empty());
        let known = home.json(&format!("inventory show {id}"));
        assert_eq!(known[0]["status"], "revoked", "{known}");
    }
    check(&home, false);
}

/// RFC 5280 §5.2.3: numbers only grow.
#[test]
fn no_two_lists_have_one_number() {
    let home = used_home();
    let mut numbers = BTreeSet::new();
    for round in rounds() {
        let line = |number| {
            format!(
                "crl factory --out r{}-{number}.crl --output json",
                round.number
            )
        };
        let lines: Vec<String> = (0..commands(round)).map(line).collect();
        for run in at_once(&home, &lines) {
            assert_eq!(run.code, 0, "{run}");
            let number = run.json()["crlNumber"].to_string();
            assert!(numbers.insert(number.clone()), "{number} twice");
        }
    }
    check(&home, false);
}

/// A proof that is on its way is not voided by whoever comes next.
#[test]
fn proofs_made_at_once_are_all_delivered() {
    let home = used_home();
    let mut made = 0;
    for round in rounds() {
        let line = |number| {
            format!(
                "possession root CODE{number} --out r{}-{number}.pem",
                round.number
            )
        };
        let lines: Vec<String> = (0..commands(round)).map(line).collect();
        for run in at_once(&home, &lines) {
            assert_eq!(run.code, 0, "{run}");
            made += 1;
        }
    }
    let inventory = SqliteInventory::open(&home.path("inventory.db")).expect("opened");
    let filter = Filter {
        role: Some(Role::Verification),
        ..Filter::default()
    };
    let proofs = inventory
        .list(&filter, None, 100_000)
        .expect("read")
        .entries;
    let states = proofs.iter().map(|proof| proof.state.status());
    let delivered = states.filter(|status| *status == Status::Delivered).count();
    assert_eq!((delivered, made), (proofs.len(), proofs.len()));
    check(&home, false);
}

#[test]
fn what_is_imported_at_once_is_imported_once() {
    let elsewhere = used_home();
    for round in few_rounds() {
        let home = used_home();
        let from = elsewhere.path("early");
        let lines = vec![format!("inventory import {}", from.display()); commands(round)];
        for run in at_once(&home, &lines) {
            assert_eq!(run.code, 0, "{run}");
        }
        let imported = home.json("inventory list --label source=import --limit 100");
        assert_eq!(imported.as_array().map(Vec::len), Some(2), "{imported}");
    }
}

#[test]
fn a_home_is_begun_once() {
    for round in rounds() {
        let home = Home::empty();
        let lines = vec!["init --new-passphrase made".to_owned(); commands(round)];
        let runs = at_once(&home, &lines);
        assert_eq!(winners(&runs).len(), 1, "{runs:#?}");
    }
}

/// A home with a local DPS that knows its root and its group.
pub(super) fn with_dps() -> (Home, Emulator) {
    let home = fresh_home();
    home.dps_pki("authority create").ok();
    let emulator = Emulator::start(&home);
    home.dps_pki("apply --yes").ok();
    (home, emulator)
}

/// The journal decides: one plan for a subject.
#[test]
fn devices_are_shut_out_by_one_plan() {
    let (home, _emulator) = with_dps();
    for round in rounds() {
        let id = format!("x-{}", round.number);
        home.dps_pki(&format!("issue {id} --authority factory --out devices"))
            .ok();
        let lines = vec![format!("quarantine {id} --reason keyCompromise --yes"); commands(round)];
        let runs = at_once(&home, &lines);
        for run in &runs {
            assert!([0, 4, 6].contains(&run.code), "{run}");
        }
        assert!(runs.iter().any(|run| run.code == 0), "{runs:#?}");
        assert_eq!(home.json("journal list --open"), Value::Array(vec![]));
    }
    check(&home, false);
}

/// The living authority keeps its key, and the new one is made once.
#[test]
fn a_roll_is_begun_and_finished_once() {
    for round in few_rounds() {
        let (home, _emulator) = with_dps();
        let before = Files::of(&home);
        for line in ["roll start root --yes", "roll finish root --yes"] {
            let runs = at_once(&home, &vec![line.to_owned(); commands(round)]);
            for run in &runs {
                assert!([0, 4, 6].contains(&run.code), "{run}");
            }
            home.dps_pki(line).ok();
            check(&home, false);
        }
        before.check(&home);
        assert_eq!(states_of_root(&home), ["retired", "current"]);
    }
}

/// Whoever comes too late condemns nothing that the first one brought in, and says who was before it.
#[test]
fn a_breach_roll_is_done_once() {
    for round in few_rounds() {
        let (home, _emulator) = with_dps();
        let line = "roll start root --compromised --yes";
        let runs = at_once(&home, &vec![line.to_owned(); commands(round)]);
        for run in &runs {
            assert!([0, 4, 6].contains(&run.code), "{run}");
            assert!(
                !run.stderr.contains("was interrupted, and is about"),
                "{run}"
            );
            assert!(!run.stderr.contains("is closed\n"), "{run}");
        }
        home.dps_pki(line).ok();
        assert_eq!(states_of_root(&home), ["compromised", "current"]);
        check(&home, false);
    }
}

fn states_of_root(home: &Home) -> Vec<String> {
    let shown = home.json("authority show root");
    let rows = shown.as_array().expect("a list").iter();
    rows.map(|row| row["status"].as_str().expect("a word").to_owned())
        .collect()
}
