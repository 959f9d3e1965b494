//! Records in DPS and hubs: whoever is first changes them, the others find it done, or are told.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use dps_pki_tests::{Device, Emulator, Home};
use pki_core::journal::{Journal as _, PlanState, PlanSummary};
use pki_core::sqlite::SqliteInventory;
use serde_json::{Value, json};

use super::authorities::commands;
use super::changes::with_dps;
use super::rounds::{Round, at_once, few_rounds, fresh_home, rounds};
use super::whole::check;

/// The same command several times at once: one at least ends well, the others find it done, or are
/// refused or in conflict; no plan is left open.
#[track_caller]
fn all_end(home: &Home, round: Round, line: &str) {
    let runs = at_once(home, &vec![line.to_owned(); commands(round)]);
    for run in &runs {
        // What another has deleted already does not exist.
        assert!([0, 4, 6, 8].contains(&run.code), "{run}");
        assert!(run.code == 0 || !run.stderr.trim().is_empty(), "{run}");
    }
    assert!(runs.iter().any(|run| run.code == 0), "{runs:#?}");
    let open = home.json("journal list --open");
    assert_eq!(open, json!([]), "{line}: {runs:#?}");
}

#[test]
fn what_is_declared_is_pushed_once() {
    for round in few_rounds() {
        let home = fresh_home();
        home.dps_pki("authority create").ok();
        let _emulator = Emulator::start(&home);
        all_end(&home, round, "apply --yes");
        home.dps_pki("plan --detailed-exitcode").ends_with(0);
        let authorities = home.json("dps ca list");
        assert_eq!(authorities.as_array().map(Vec::len), Some(1));
        assert_eq!(
            authorities[0]["properties"]["isVerified"], true,
            "{authorities}"
        );
        check(&home, false);
    }
}

/// A device is let in again with its new leaf, and with no other.
#[test]
fn a_device_is_readmitted_once() {
    let (home, emulator) = with_dps();
    for round in rounds() {
        let id = format!("x-{}", round.number);
        home.dps_pki(&format!("issue {id} --authority factory --out old"))
            .ok();
        home.dps_pki(&format!("quarantine {id} --reason keyCompromise --yes"))
            .ok();
        home.dps_pki(&format!("renew {id} --out devices")).ok();
        let line = format!("readmit {id} --cert devices/{id}.cert.pem --yes");
        all_end(&home, round, &line);
        let entry = home.json(&format!("dps device show {id}"));
        assert_eq!(entry["provisioningStatus"], "enabled", "{entry}");
        assert_eq!(Device::new(&home, &emulator, &id).register(), "assigned");
    }
}

#[test]
fn a_device_is_deprovisioned_once() {
    let (home, emulator) = with_dps();
    for round in rounds() {
        let id = format!("x-{}", round.number);
        home.dps_pki(&format!("issue {id} --authority factory --out devices"))
            .ok();
        let device = Device::new(&home, &emulator, &id);
        assert_eq!(device.register(), "assigned");
        all_end(&home, round, &format!("deprovision {id} --yes"));
        assert_ne!(device.register(), "assigned");
        home.dps_pki(&format!("hub device show {id}")).ends_with(8);
    }
}

/// Each is told of what the one before has left; `ID` is a device of the round.
const OF_A_DEVICE: [&str; 8] = [
    "hub device disable ID --reason lost --yes",
    "hub device enable ID --yes",
    "dps device put ID --cert devices/ID.cert.pem --yes",
    "dps device disable ID --yes",
    "dps device enable ID --yes",
    "dps device delete ID --yes",
    "hub device delete ID --yes",
    "dps registration delete ID --yes",
];

const OF_ALL: [&str; 6] = [
    "dps group disable factory --yes",
    "dps group enable factory --yes",
    "dps group delete factory --yes",
    "dps ca delete root --yes",
    "dps ca upload root --yes",
    "dps ca prove root --yes",
];

#[test]
fn single_records_are_changed_once() {
    let (home, emulator) = with_dps();
    for round in few_rounds() {
        let id = format!("x-{}", round.number);
        home.dps_pki(&format!("issue {id} --authority factory --out devices"))
            .ok();
        assert_eq!(Device::new(&home, &emulator, &id).register(), "assigned");
        for line in OF_A_DEVICE {
            all_end(&home, round, &line.replace("ID", &id));
        }
        for line in OF_ALL {
            all_end(&home, round, line);
        }
        all_end(&home, round, "dps group put factory --yes");
        home.dps_pki("plan --detailed-exitcode").ends_with(0);
    }
    check(&home, false);
}

#[test]
fn a_roll_is_given_up_once() {
    for round in few_rounds() {
        let (home, _emulator) = with_dps();
        home.dps_pki("roll start root --yes").ok();
        all_end(&home, round, "roll abort root --yes");
        check(&home, false);
        let shown = home.json("authority show root");
        assert_eq!(shown[0]["status"], "current", "{shown}");
    }
}

/// A command that shuts out forty devices of their own.
fn quarantine(home: &Home, prefix: &str) -> String {
    home.dps_pki(&format!(
        "issue --prefix {prefix} --count 40 --authority factory --out {prefix}.ndjson --plain-keys"
    ))
    .ok();
    let ids: Vec<String> = (1..=40).map(|id| format!("{prefix}{id:02}")).collect();
    home.write(&format!("{prefix}.txt"), ids.join("\n"));
    format!("quarantine {prefix}.txt --reason keyCompromise --yes")
}

/// A plan that was cut short once a part of its steps was done, another part from round to round.
fn open_plan(home: &Home, round: Round, name: &str) -> String {
    let line = quarantine(home, name);
    let mut command = home.command(&line);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("dps-pki starts");
    let journal = SqliteInventory::open(&home.path("inventory.db")).expect("opened");
    let steps = usize::try_from(round.number % 10).expect("few");
    let plan = loop {
        let plans = journal.plans(1).expect("read");
        if let Some(plan) = plans.into_iter().find(|plan| is_under_way(plan, steps)) {
            break plan;
        }
        let ended = child.try_wait().expect("a child of ours");
        assert!(ended.is_none(), "{line} ended before it was cut short");
        thread::sleep(Duration::from_millis(2));
    };
    child.kill().expect("SIGKILL");
    child.wait().expect("it has ended");
    plan.plan.to_string()
}

fn is_under_way(plan: &PlanSummary, steps: usize) -> bool {
    matches!(plan.state, PlanState::Open) && plan.done >= steps
}

#[test]
fn a_plan_is_resumed_or_abandoned_once() {
    let (home, _emulator) = with_dps();
    home.redeclare("[dps.local]", "[dps.local]\nrate = 6000");
    for round in few_rounds() {
        let plan = open_plan(&home, round, &format!("a{}-", round.number));
        all_end(&home, round, &format!("journal resume {plan} --yes"));
        let shown = home.json(&format!("journal show {plan}"));
        assert_eq!(shown["status"], "finished", "{shown}");
        let plan = open_plan(&home, round, &format!("b{}-", round.number));
        all_end(
            &home,
            round,
            &format!("journal abandon {plan} --reason late --yes"),
        );
        let shown = home.json(&format!("journal show {plan}"));
        assert_eq!(shown["status"], Value::from("abandoned"), "{shown}");
    }
}
