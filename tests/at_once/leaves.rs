//! Leaves: one for a device, whoever asks how often.

use std::path::Path;

use dps_pki_tests::{Home, Run};
use pki_core::sqlite::SqliteInventory;

use super::authorities::commands;
use super::rounds::{
    Round, at_once, at_once_and_killed, few_rounds, rounds, time_of, used_home, winners,
};
use super::whole::{Files, check, check_folder, live_leaf};

/// The commands of a round, each with a folder of its own: `line` with `FOLDER` in it.
fn with_folders(round: Round, line: &str) -> Vec<String> {
    let folder = |number| format!("r{}-{number}", round.number);
    let lines = (0..commands(round)).map(|number| line.replace("FOLDER", &folder(number)));
    lines.collect()
}

/// Of runs that issue to one device, the one that did: the folder that it says.
fn folder_of<'a>(runs: &'a [Run], id: &str) -> Vec<&'a str> {
    let issued = winners(runs).into_iter().filter_map(|run| {
        let file = run
            .stdout
            .split_whitespace()
            .find(|word| word.ends_with(&format!("{id}.key.pem")))?;
        file.split('/').next()
    });
    issued.collect()
}

/// What the losers would have written is not there.
#[track_caller]
fn nothing_else(home: &Home, round: Round, winner: &str) {
    let own = format!("r{}-", round.number);
    let is_left =
        |file: &&String| file.starts_with(&own) && !file.starts_with(&format!("{winner}/"));
    assert_eq!(home.files().iter().find(is_left), None);
}

#[test]
fn a_device_gets_one_leaf() {
    let home = used_home();
    let before = Files::of(&home);
    for round in rounds() {
        let id = format!("x-{}", round.number);
        let runs = at_once(
            &home,
            &with_folders(
                round,
                &format!("issue {id} --authority factory --out FOLDER"),
            ),
        );
        let [winner] = folder_of(&runs, &id)[..] else {
            panic!("{runs:#?}");
        };
        check_folder(&home, winner, &id, &live_leaf(&home, &id).expect("a leaf"));
        nothing_else(&home, round, winner);
    }
    check(&home, false);
    before.check(&home);
}

#[test]
fn a_device_gets_one_leaf_whoever_is_killed() {
    let home = used_home();
    let before = Files::of(&home);
    let usual = time_of(&home, "issue usual --authority factory --out usual");
    for round in rounds() {
        let id = format!("x-{}", round.number);
        let lines = with_folders(
            round,
            &format!("issue {id} --authority factory --out FOLDER"),
        );
        at_once_and_killed(&home, round, usual, &lines);
        // One after the other, as a person would try again.
        let runs: Vec<Run> = lines.iter().map(|line| home.dps_pki(line)).collect();
        assert!(!winners(&runs).is_empty(), "{runs:#?}");
        let leaf = live_leaf(&home, &id).expect("a leaf");
        let holds = |folder: &String| {
            home.path(format!("{folder}/{id}-full-chain.cert.pem"))
                .exists()
        };
        let folders = (0..commands(round)).map(|number| format!("r{}-{number}", round.number));
        let is_whole = |folder: &String| {
            holds(folder) && home.read(&format!("{folder}/{id}.cert.pem")) == leaf.to_pem()
        };
        let whole: Vec<String> = folders.filter(is_whole).collect();
        let [folder] = &whole[..] else {
            panic!("{whole:?}");
        };
        check_folder(&home, folder, &id, &leaf);
    }
    check(&home, true);
    before.check(&home);
}

#[test]
fn a_leaf_is_renewed_once_by_those_who_ask_at_once() {
    let home = used_home();
    for round in rounds() {
        let id = format!("renewed-{}", round.number);
        home.dps_pki(&format!("issue {id} --authority factory --out first"))
            .ok();
        let runs = at_once(
            &home,
            &with_folders(round, &format!("renew {id} --out FOLDER")),
        );
        // One that begins when another has ended renews what that one made; none gets into another's way.
        let renewed = folder_of(&runs, &id).len();
        assert!(renewed > 0, "{runs:#?}");
        let known = home.json(&format!("inventory show {id}"));
        let live = known
            .as_array()
            .expect("a list")
            .iter()
            .filter(|entry| entry["status"] == "delivered");
        assert_eq!(live.count(), renewed + 1, "{known}");
    }
    check(&home, false);
}

fn list(from: u32, to: u32, round: Round) -> String {
    let id = |number| format!("b{}-{number:03}\n", round.number);
    (from..to).map(id).collect()
}

/// Whoever is second is refused before the first key, and leaves nothing.
#[test]
fn of_lists_that_overlap_one_is_issued() {
    let home = used_home();
    let before = Files::of(&home);
    for round in rounds() {
        let lines: Vec<String> = (0..commands(round))
            .map(|number| {
                let name = format!("r{}-{number}", round.number);
                let first = u32::try_from(number).expect("few");
                home.write(&format!("{name}.csv"), list(first, 200 + first, round));
                format!("issue --devices {name}.csv --authority factory --out {name}.ndjson --plain-keys --batch {name}")
            })
            .collect();
        let runs = at_once(&home, &lines);
        let mut issued = 0;
        for (number, run) in runs.iter().enumerate() {
            let out = format!("r{}-{number}.ndjson", round.number);
            match run.code {
                0 => issued += 1,
                // A list whose devices have their leaves already is a wrong one.
                3 | 4 => {
                    assert!(
                        run.stderr.contains("is issuing to")
                            || run.stderr.contains("has a valid leaf"),
                        "{run}"
                    );
                    for left in ["", ".part", ".lock", ".manifest.json"] {
                        assert!(
                            !home.path(format!("{out}{left}")).exists(),
                            "{out}{left} of {run}"
                        );
                    }
                }
                _ => panic!("{run}"),
            }
        }
        assert_eq!(issued, 1, "{runs:#?}");
    }
    check(&home, false);
    before.check(&home);
}

#[test]
fn of_lists_that_overlap_one_is_issued_whoever_is_killed() {
    let home = used_home();
    let usual = time_of(
        &home,
        "issue --prefix usual- --count 200 --authority factory --out usual.ndjson --plain-keys",
    );
    for round in rounds() {
        let lines: Vec<String> = (0..2)
            .map(|number| {
                let name = format!("r{}-{number}", round.number);
                home.write(&format!("{name}.csv"), list(number, 200 + number, round));
                format!("issue --devices {name}.csv --authority factory --out {name}.ndjson --plain-keys --batch {name}")
            })
            .collect();
        at_once_and_killed(&home, round, usual, &lines);
        let codes: Vec<i32> = lines.iter().map(|line| home.dps_pki(line).code).collect();
        assert!(codes.contains(&0), "{codes:?}");
        assert!(
            codes.iter().all(|code| [0, 3, 4].contains(code)),
            "{codes:?}"
        );
    }
    check(&home, true);
}

/// Everybody gets their turn, and no chunk needs more than the place between others' serial numbers.
#[test]
fn batches_at_once_all_end_and_their_numbers_do_not_interleave() {
    let home = used_home();
    for round in few_rounds() {
        let line = |number| {
            let name = format!("r{}-{number}", round.number);
            format!(
                "issue --prefix {name}- --count 1000 --authority factory --out {name}.ndjson --plain-keys --batch {name}"
            )
        };
        let lines: Vec<String> = (0..commands(round).min(4)).map(line).collect();
        for run in at_once(&home, &lines) {
            assert_eq!(run.code, 0, "{run}");
        }
    }
    check(&home, false);
    let inventory = rusqlite::Connection::open(home.path("inventory.db")).expect("opened");
    let outside = "SELECT count(*) FROM certificate c JOIN run r ON c.id BETWEEN r.first AND r.last
        WHERE r.batch IS NOT NULL AND NOT EXISTS
            (SELECT 1 FROM ascending_serials s WHERE c.id BETWEEN s.first AND s.last)";
    let outside: i64 = inventory
        .query_row(outside, [], |row| row.get(0))
        .expect("counted");
    assert_eq!(outside, 0);
}

/// Each device of a lost batch has one leaf afterwards, and who is refused writes nothing.
#[test]
fn a_lost_batch_is_replaced_once() {
    for round in few_rounds() {
        let home = used_home();
        home.dps_pki("issue --prefix lost- --count 50 --batch lost --authority factory --out lost.ndjson --plain-keys")
            .ok();
        let line = |number| {
            format!("batch replace lost --leaves void --plain-keys --yes --out {number}.ndjson")
        };
        let lines: Vec<String> = (0..commands(round)).map(line).collect();
        let runs = at_once(&home, &lines);
        let done = winners(&runs).len();
        assert!(done > 0);
        check(&home, false);
        let delivered = home.json("inventory list --id lost-* --status delivered");
        assert_eq!(delivered.as_array().map(Vec::len), Some(50));
        let outputs = (0..commands(round)).map(|number| home.path(format!("{number}.ndjson")));
        assert_eq!(outputs.filter(|output| output.exists()).count(), done);
    }
}

/// A batch and the single commands that want its devices.
#[test]
fn a_batch_and_single_commands_share_no_device() {
    let home = used_home();
    for round in rounds() {
        let name = format!("r{}", round.number);
        let mut lines = vec![format!(
            "issue --prefix {name}- --count 200 --authority factory --out {name}.ndjson --plain-keys --batch {name}"
        )];
        lines.extend((1..commands(round)).map(|number| {
            format!(
                "issue {name}-{:03} --authority factory --out {name}-{number}",
                number * 20
            )
        }));
        let runs = at_once(&home, &lines);
        for run in &runs {
            assert!([0, 3, 4].contains(&run.code), "{run}");
        }
        assert!(runs.iter().any(|run| run.code == 0));
    }
    check(&home, false);
}

/// The holder has the writer's lock for longer than anybody used to wait, and goes on.
#[test]
fn a_busy_inventory_is_waited_for_and_its_holder_named() {
    let home = used_home();
    let holder = rusqlite::Connection::open(home.path("inventory.db")).expect("opened");
    holder.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let mut command = home.command("issue waits --authority factory --out waits");
    let child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let mut child = child.expect("started");
    let mut told = String::new();
    let stderr = child.stderr.as_mut().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stderr), &mut told).expect("told");
    assert!(
        told.starts_with(&format!("waiting for process {} (", std::process::id())),
        "{told}"
    );
    holder.execute_batch("COMMIT").expect("let go");
    assert!(child.wait().expect("ended").success());
    assert!(Path::new(&home.path("waits/waits.key.pem")).exists());
    assert!(SqliteInventory::open(&home.path("inventory.db")).is_ok());
}
