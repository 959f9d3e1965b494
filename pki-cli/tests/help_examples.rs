//! The examples in help texts: every one is a command line, and those that need no DPS are run.

mod support;

use clap::Command;
use support::World;

/// Commands whose examples talk to a DPS; they run in the end-to-end tests.
const NEEDS_DPS: [&str; 7] = [
    "plan",
    "apply",
    "explain",
    "quarantine",
    "journal",
    "dps",
    "hub",
];

/// Commands whose examples do not end by themselves.
const RUNS_FOREVER: [&str; 1] = ["emulator"];

/// Commands whose examples start from an empty folder.
const NEEDS_NO_HOME: [&str; 1] = ["init"];

/// Commands whose examples issue the devices that the others ask about.
const NEEDS_NO_DEVICES: [&str; 2] = ["issue", "sign"];

#[test]
fn every_example_is_a_command_line() {
    for example in examples_of(&pki_cli::command()) {
        let words = std::iter::once("dps-pki").chain(example.split_whitespace());
        let parsed = pki_cli::command().try_get_matches_from(words);
        assert!(
            parsed.is_ok(),
            "{example}\n{}",
            parsed.expect_err("refused")
        );
    }
}

#[test]
fn every_example_that_needs_no_dps_works() {
    let examples = examples_of(&pki_cli::command());
    let first_word = |example: &String| example.split(' ').next().unwrap_or_default().to_owned();
    let local: Vec<_> = examples
        .iter()
        .filter(|example| !NEEDS_DPS.contains(&first_word(example).as_str()))
        .filter(|example| !RUNS_FOREVER.contains(&first_word(example).as_str()))
        .collect();
    assert!(local.len() >= 10, "{local:?}");
    for example in local {
        let world = world(&first_word(example));
        let run = world.run(example);
        assert_eq!(run.code, 0, "{example}\n{}", run.stderr);
    }
}

#[test]
fn every_command_or_its_group_has_an_example() {
    for command in pki_cli::command().get_subcommands() {
        assert!(!examples_of(command).is_empty(), "{}", command.get_name());
    }
}

/// Commands whose examples are about what a batch, or a proof, has left behind.
const NEEDS_BATCH: [&str; 2] = ["batch", "audit"];

/// What a command's examples take for granted: the files of a device, a home with its authorities,
/// devices issued in it.
fn world(command: &str) -> World {
    let mut world = World::with_pki();
    world.write(
        "existing.toml",
        include_str!("../../templates/tutorial.toml"),
    );
    world.write(".pki-passphrase", "secret");
    world.write("pfx-passphrase", "another");
    world.write_request("sensor-7");
    let request = world.read("sensor-7.csr");
    world.write("requests/sensor-7.csr", &request);
    let line = serde_json::json!({ "registrationId": "sensor-7", "csr": request });
    world.write("requests.ndjson", format!("{line}\n"));
    world.set("DPS_PKI_PASSPHRASE", "secret");
    let mut setup = Vec::new();
    if !NEEDS_NO_HOME.contains(&command) {
        setup.extend(["init", "authority create"]);
        if !NEEDS_NO_DEVICES.contains(&command) {
            setup.push("issue sensor-1 sensor-2 --authority factory --out issued");
        }
        if NEEDS_BATCH.contains(&command) {
            setup.push("issue --prefix line-7- --count 2 --authority factory --batch line-7 --out line-7.ndjson --plain-keys --sign-manifest");
            setup.push("audit prove sensor-1 --out sensor-1.proof.json");
        }
    }
    for line in setup {
        let run = world.run(line);
        assert_eq!(run.code, 0, "{line}\n{}", run.stderr);
    }
    world
}

/// The command lines in all help texts, without what is the shell's: `~/` and redirections.
fn examples_of(command: &Command) -> Vec<String> {
    let text = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("dps-pki "));
    let plain = |line: &str| {
        let line = line.split(" > ").next().unwrap_or_default();
        line.replace("~/", "")
    };
    let mut examples: Vec<String> = lines.map(plain).collect();
    examples.extend(command.get_subcommands().flat_map(examples_of));
    examples
}
