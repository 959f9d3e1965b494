//! What it takes to shut out a whole line of devices that have registered: calls, time and memory, with the
//! built program and the emulator beside it. The rate is raised by `pki.toml`, so that what is measured is
//! everything but the waiting; how long that would be is in the estimate.
//!
//! `just bench-quarantine [DEVICES]`; 10 000 unless told.
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]
#![expect(clippy::print_stdout, reason = "what it found")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dps_pki_tests::{Device, Emulator, Home};
use serde_json::Value;

/// A device that really registers; the others are given records like its own.
const MODEL: &str = "model";

fn main() {
    // Cargo adds an argument of its own.
    let devices = std::env::args().find_map(|word| word.parse().ok());
    let devices: usize = devices.unwrap_or(10_000);
    let home = Home::from_template("quickstart");
    let _emulator = site(&home, devices);
    let dry_run = home.json("quarantine line.txt --dry-run");
    println!("{devices} devices that have registered; estimate at the usual 200 calls a minute:");
    println!("  {}", usual(&dry_run["estimate"]));
    for (what, line) in [
        ("dry run", "quarantine line.txt --dry-run"),
        ("shut out", "quarantine line.txt --yes"),
        ("said again", "quarantine line.txt --yes"),
        ("one more", "quarantine model --yes"),
    ] {
        let calls = service_calls(&home);
        let spent = watch(home.command(line));
        let calls = service_calls(&home) - calls;
        println!("{what}: {calls} calls to DPS, {spent}");
    }
}

/// A DPS in which the devices of a line have registered.
fn site(home: &Home, devices: usize) -> Emulator {
    let emulator = Emulator::start_with(home, "--dump-file dump.json");
    home.redeclare("localhost:8443", emulator.address());
    home.redeclare("[dps.local]", "[dps.local]\nrate = 60000000");
    home.dps_pki("apply --yes").ok();
    home.dps_pki(&format!("issue {MODEL} --authority factory --out devices"))
        .ok();
    home.dps_pki(&format!(
        "issue --prefix d- --count {devices} --authority factory --out line.ndjson --plain-keys"
    ))
    .ok();
    let model = Device::new(home, &emulator, MODEL);
    assert_eq!(model.register(), "assigned");
    let address = emulator.address().to_owned();
    emulator.interrupt(home);

    let ids: Vec<String> = home.read("line.ndjson").lines().map(id).collect();
    assert_eq!(ids.len(), devices);
    home.write("line.txt", ids.join("\n"));
    let mut dump: Value = serde_json::from_str(&home.read("dump.json")).expect("a dump");
    multiply(&mut dump["registrations"], &ids);
    for (_, identities) in dump["hubs"].as_object_mut().expect("hubs") {
        multiply(identities, &ids);
    }
    home.write("seed.json", dump.to_string());
    let emulator = Emulator::start_with(home, "--seed-file seed.json --request-log requests.log");
    home.redeclare(&address, emulator.address());
    emulator
}

fn id(line: &str) -> String {
    let device: Value = serde_json::from_str(line).expect("a device");
    device["registrationId"].as_str().expect("an ID").to_owned()
}

/// Gives every device what the model has in a list.
fn multiply(list: &mut Value, ids: &[String]) {
    let list = list.as_array_mut().expect("a list");
    let model = format!("{MODEL:?}");
    let of_model: Vec<String> = list.iter().map(Value::to_string).collect();
    for text in of_model.iter().filter(|text| text.contains(&model)) {
        let copies = ids
            .iter()
            .map(|id| text.replace(&model, &format!("{id:?}")));
        list.extend(copies.map(|copy| serde_json::from_str(&copy).expect("a record")));
    }
}

/// The estimate at the rate that is usual, from the number of calls.
fn usual(estimate: &Value) -> String {
    let calls = estimate["serviceCalls"].as_u64().expect("a number");
    let minutes = calls.saturating_sub(50) / 200;
    format!(
        "{calls} calls to DPS, billed as {} operations, {} to hubs: {minutes} min",
        estimate["billableOperations"], estimate["otherCalls"]
    )
}

/// How many calls the service plane has got.
fn service_calls(home: &Home) -> usize {
    let log = home.read("requests.log");
    log.lines()
        .filter(|line| line.contains("\"ServiceOperations\""))
        .count()
}

/// Runs a command to its end, and looks at its memory all the while.
fn watch(mut command: Command) -> String {
    let began = Instant::now();
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("dps-pki starts");
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let stat = PathBuf::from(format!("/proc/{}/stat", child.id()));
    let mut peak = 0;
    let mut processor = Duration::ZERO;
    let ended = loop {
        peak = peak.max(peak_memory(&status));
        processor = processor.max(processor_time(&stat));
        match child.try_wait().expect("its state") {
            Some(ended) => break ended,
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(ended.success(), "{ended}");
    format!(
        "{:.1} s, {:.1} s of them the processor's, {} MB at most",
        began.elapsed().as_secs_f32(),
        processor.as_secs_f32(),
        peak / 1024
    )
}

/// The processor time of a process so far, in hundredths of a second (proc(5), `utime` and `stime`); none
/// if it has ended.
fn processor_time(stat: &PathBuf) -> Duration {
    let line = fs::read_to_string(stat).unwrap_or_default();
    let behind_name = line.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = behind_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// The most memory that a process has had so far, in kB; 0 if it has ended.
fn peak_memory(status: &PathBuf) -> u64 {
    let status = fs::read_to_string(status).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|line| line.split_whitespace().next());
    peak.and_then(|number| number.parse().ok()).unwrap_or(0)
}
