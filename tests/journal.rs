//! Plans that are cut short: killed, interrupted, left alone; and many devices at once.

use std::process::Stdio;
use std::time::{Duration, Instant};

use dps_pki_tests::{Device, Home};
use serde_json::{Value, json};

/// How many moments are tried.
const ROUNDS: u32 = 12;

/// How many devices are shut out in each round.
const DEVICES: usize = 50;

/// Killed at any moment and resumed, a quarantine of fifty ends as one that was not: everybody out, with
/// nothing of it twice.
#[test]
fn a_quarantine_that_is_killed_is_carried_on() {
    let (home, emulator) = Home::with_dps();
    home.redeclare("[dps.local]", "[dps.local]\nrate = 6000");
    let all = (0..=ROUNDS).map(|round| format!("issue --prefix r{round}- --count {DEVICES} --authority factory --out r{round}.ndjson --plain-keys"));
    for line in all {
        home.dps_pki(&line).ok();
    }
    home.dps_pki("issue seen --authority factory --out devices")
        .ok();
    assert_eq!(Device::new(&home, &emulator, "seen").register(), "assigned");
    for round in 0..=ROUNDS {
        let ids: Vec<String> = (1..=DEVICES)
            .map(|number| format!("r{round}-{number:02}"))
            .collect();
        home.write(&format!("{round}.txt"), ids.join("\n"));
    }
    let start = Instant::now();
    let usual = home.dps_pki(&line(ROUNDS)).ok();
    let usual_time = start.elapsed();
    assert_eq!(usual.stdout.lines().count(), DEVICES, "{usual}");

    for round in 0..ROUNDS {
        home.kill_after(&line(round), usual_time * round / ROUNDS);
        let open = home.json("journal list --open");
        for plan in open.as_array().expect("a list") {
            let id = plan["plan"].as_str().expect("a plan");
            let resumed = home.json(&format!("journal resume {id} --yes"));
            assert_eq!(resumed["status"], "finished", "{resumed}");
        }
        // What was killed before its plan was stored starts now; everything else is done.
        let again = home.dps_pki(&line(round)).ok();
        assert_eq!(again.stdout.lines().count(), DEVICES, "{again}");
        assert_eq!(home.json("journal list --open"), Value::Array(vec![]));
    }
    assert_eq!(Device::new(&home, &emulator, "seen").register(), "assigned");
    let entries = home.json("dps device list --limit 10000");
    let entries = entries.as_array().expect("a list");
    let rounds = usize::try_from(ROUNDS).expect("a number") + 1;
    assert_eq!(entries.len(), rounds * DEVICES);
    assert!(
        entries
            .iter()
            .all(|entry| entry["provisioningStatus"] == "disabled")
    );
    let revoked = home.json("inventory list --status revoked --limit 10000");
    assert_eq!(revoked.as_array().map(Vec::len), Some(rounds * DEVICES));
    home.dps_pki("audit verify").ok();
}

/// The same for devices that have registered: records and hub identities too.
#[test]
fn devices_that_have_registered_lose_record_and_hub_identity() {
    let (home, emulator) = Home::with_dps();
    home.dps_pki("issue d1 d2 d3 --authority factory --out devices")
        .ok();
    for id in ["d1", "d2", "d3"] {
        assert_eq!(Device::new(&home, &emulator, id).register(), "assigned");
    }
    home.write(
        "list.txt",
        "\u{feff}d1\r\n# stolen in Riga\r\n\r\nD2\r\nd1\r\n",
    );
    let out = home
        .dps_pki("quarantine list.txt --reason stolen --yes")
        .ok();
    assert_eq!(out.stdout.lines().count(), 2, "{out}");
    for id in ["d1", "d2"] {
        home.dps_pki(&format!("dps registration show {id}"))
            .ends_with(8);
        let on_hub = home.json(&format!(
            "hub device show {id} --hub hub-1.azure-devices.net"
        ));
        assert_eq!(on_hub["status"], "disabled", "{on_hub}");
        assert_eq!(on_hub["statusReason"], "stolen", "{on_hub}");
        assert_eq!(Device::new(&home, &emulator, id).register(), "disabled");
    }
    assert_eq!(Device::new(&home, &emulator, "d3").register(), "assigned");
    home.write("bad.txt", "d3\n!\nd?\n");
    let refused = home.dps_pki("quarantine bad.txt --yes").ends_with(3);
    assert!(
        refused.stderr.contains("line 2") && refused.stderr.contains("line 3"),
        "{refused}"
    );
    assert_eq!(Device::new(&home, &emulator, "d3").register(), "assigned");
}

/// Ctrl-C finishes the step, says where it stands, and ends with 130; another plan on the same device is
/// refused until that is settled.
#[test]
fn an_interrupted_plan_says_where_it_stands_and_is_in_the_way() {
    let (home, _emulator) = Home::with_dps();
    // Five calls at once, one every three seconds afterwards: there is time to press Ctrl-C.
    home.redeclare("[dps.local]", "[dps.local]\nrate = 20");
    home.dps_pki(&format!(
        "issue --prefix d- --count {DEVICES} --authority factory --out devices.ndjson --plain-keys"
    ))
    .ok();
    let ids: Vec<String> = (1..=DEVICES)
        .map(|number| format!("d-{number:02}"))
        .collect();
    home.write("list.txt", ids.join("\n"));
    let mut command = home.command("quarantine list.txt --yes");
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.expect("dps-pki starts");
    let plan = until(|| {
        let open = home.json("journal list --open");
        (open[0]["done"].as_u64() > Some(0)).then(|| open[0].clone())
    });
    let held = home
        .dps_pki("quarantine d-07 --hub delete --yes")
        .ends_with(4);
    held.stderr_has("is being carried out by another process");
    home.tool("kill", &format!("-INT {}", child.id())).ok();
    let output = child.wait_with_output().expect("it has ended");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    let plan = plan["plan"].as_str().expect("a plan");
    let resume = format!("dps-pki journal resume {plan}");
    assert!(
        stderr.contains("of 100 steps are done and stay done"),
        "{stderr}"
    );
    assert!(stderr.contains(&resume), "{stderr}");

    home.redeclare("rate = 20", "rate = 6000");
    let refused = home.dps_pki("quarantine d-50 --yes").ends_with(4);
    refused.stderr_has(&resume);
    let asked = home.dps_pki(&format!("journal resume {plan}")).ends_with(4);
    assert!(asked.stderr.lines().count() < 30, "{asked}");
    let whole = format!("more: dps-pki journal show {plan}");
    asked.stderr_has(&whole);
    home.dps_pki(&format!("journal resume {plan} --yes")).ok();
    let shown = home.json(&format!("journal show {plan}"));
    assert_eq!(
        (&shown["status"], &shown["done"]),
        (&json!("finished"), &json!(100))
    );
    home.dps_pki(&format!("journal abandon {plan} --yes"))
        .ends_with(4);
    assert!(
        home.files().iter().all(|file| !file.ends_with(".lock")),
        "{:?}",
        home.files()
    );
}

/// Asks until there is an answer.
fn until<T>(ask: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it does not come"
        );
    }
}

fn line(round: u32) -> String {
    format!("quarantine {round}.txt --yes")
}
