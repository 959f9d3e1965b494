//! `dps-pki emulator` started with what it is to hold and how it is to behave.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Stdio;

use dps_pki_tests::{Emulator, Home, Portal};
use serde_json::Value;

const SEED: &str = r#"
[[enrollmentGroups]]
enrollmentGroupId = "line-1"
attestation = { type = "symmetricKey" }
"#;

/// What one instance held at its end, keys included, is what the next one starts with.
#[test]
fn a_dump_is_a_seed_for_the_next() {
    let home = Home::empty();
    home.write("seed.toml", SEED);
    let emulator = Emulator::start_with(&home, "--seed-file seed.toml --dump-file dump.json");
    assert!(
        Portal::new(&home, &emulator)
            .find("enrollmentGroups/line-1")
            .is_some()
    );
    emulator.interrupt(&home);
    assert_eq!(home.mode("dump.json"), 0o600);
    let first = home.read("dump.json");
    let dump: Value = serde_json::from_str(&first).expect("JSON");
    let key = &dump["enrollmentGroups"][0]["attestation"]["symmetricKey"]["primaryKey"];
    assert_eq!(key.as_str().map(str::len), Some(88), "{first}");

    Emulator::start_with(&home, "--seed-file dump.json --dump-file again.json").interrupt(&home);
    assert_eq!(home.read("again.json"), first);
}

/// The environment leads SDKs to the emulator from any folder.
#[test]
fn the_environment_of_sdks_is_printed() {
    let home = Home::empty();
    let emulator = Emulator::start_with(&home, "--print-env");
    let environment = emulator.reach();
    let anchor = environment["REQUESTS_CA_BUNDLE"].as_str().expect("text");
    assert!(
        anchor.starts_with('/') && anchor.ends_with("/emulator-ca.pem"),
        "{anchor}"
    );
    assert_eq!(environment["PROVISIONING_IDSCOPE"], "0ne00000000");
    let host = environment["PROVISIONING_HOST"].as_str().expect("text");
    let connection_string = environment["AZURE_DPS_CONNECTION_STRING"].as_str();
    let leads_there = connection_string.is_some_and(|string| string.contains(host));
    assert!(leads_there, "{connection_string:?}");
}

/// Where an emulator says its CA certificate is that was started in a folder without being told.
fn ca_file(home: &Home, folder: &str) -> PathBuf {
    let mut child = home
        .command("emulator --listen localhost:0 --mqtt-listen localhost:0 --output json")
        .current_dir(home.path(folder))
        .stdout(Stdio::piped())
        .spawn()
        .expect("dps-pki starts");
    let stdout = child.stdout.take().expect("a pipe");
    let mut told = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>();
    let reach = told.next().expect("a document").expect("JSON");
    child.kill().expect("killed");
    child.wait().expect("it has ended");
    reach["caFile"].as_str().expect("a path").into()
}

/// `pki.toml` looks for it in the home, wherever in it somebody stands.
#[test]
fn the_ca_certificate_goes_into_the_home() {
    let home = Home::from_template("quickstart");
    std::fs::create_dir(home.path("sub")).expect("a folder");
    let told = ca_file(&home, "sub");
    let anchor = home.path("emulator-ca.pem");
    assert!(anchor.is_file());
    assert_eq!(told.canonicalize().ok(), anchor.canonicalize().ok());
    assert!(!home.path("sub/emulator-ca.pem").exists());
    assert_eq!(ca_file(&home, ""), Path::new("emulator-ca.pem"));
    // Where there is no home, it goes where the caller is.
    let elsewhere = Home::empty();
    assert_eq!(ca_file(&elsewhere, ""), Path::new("emulator-ca.pem"));
    assert!(elsewhere.path("emulator-ca.pem").is_file());
}

#[test]
fn a_bad_document_is_named_and_nothing_starts() {
    let home = Home::empty();
    home.write("bad.toml", "throtle = 3\n");
    for (option, named) in [("--behavior", "throtle"), ("--seed-file", "throtle")] {
        let run = home.dps_pki(&format!("emulator --listen localhost:0 {option} bad.toml"));
        let run = run.ends_with(3);
        assert!(
            run.stderr.contains("bad.toml") && run.stderr.contains(named),
            "{}",
            run.stderr
        );
    }
    home.dps_pki("emulator --listen localhost:0 --reset-percent 60 --server-error-percent 60")
        .ends_with(3);
    home.dps_pki("emulator --throttle soon").ends_with(2);
}
