//! From an empty folder to a device that is shut out, as a user types it.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use dps_pki_tests::{Device, Emulator, Home, Portal};
use serde_json::json;

#[test]
fn quickstart_shows_a_device_let_in_and_shut_out() {
    let folder = Home::empty();
    let run = folder.dps_pki("quickstart").ok();
    let table: Vec<Vec<&str>> = run
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("DEVICE    FIRST REGISTRATION"))
        .skip(1)
        .take(3)
        .map(|line| line.split("  ").map(str::trim).collect())
        .collect();
    let assigned = "assigned to hub-1.azure-devices.net";
    assert_eq!(
        table,
        [
            ["device-1", assigned, assigned],
            ["device-2", assigned, "refused: disabled"],
            ["device-3", assigned, assigned],
        ]
    );
    assert_eq!(run.stderr, "");
    assert_eq!(folder.files(), ["passphrase"], "nothing is left behind");
}

#[test]
fn quickstart_tells_scripts_the_same() {
    let devices = Home::empty().json("quickstart")["devices"].clone();
    let assigned = "assigned to hub-1.azure-devices.net";
    let device = |id: &str, after: &str| json!({"registrationId": id, "firstRegistration": assigned, "afterQuarantine": after});
    assert_eq!(
        devices,
        json!([
            device("device-1", assigned),
            device("device-2", "refused: disabled"),
            device("device-3", assigned),
        ])
    );
}

/// Another emulator with the kept state goes on where the walk ended: nothing to do, device-2 out.
#[test]
fn a_kept_quickstart_works_on() {
    let folder = Home::empty();
    folder.dps_pki("quickstart --keep kept").ok();
    let home = folder.below("kept");
    assert_eq!(home.mode("passphrase"), 0o600);
    let emulator = Emulator::start_with(&home, "--state emulator-state.db");
    home.redeclare(&declared_address(&home), emulator.address());

    home.dps_pki("plan --detailed-exitcode").ok();
    home.dps_pki("issue device-4 --authority factory --out devices")
        .ok();
    assert_eq!(
        Device::new(&home, &emulator, "device-4").register(),
        "assigned"
    );
    assert_eq!(
        Device::new(&home, &emulator, "device-2").register(),
        "disabled"
    );
    emulator.interrupt(&home);

    let emulator = Emulator::start_with(&home, "--state emulator-state.db");
    home.redeclare(&declared_address(&home), emulator.address());
    let registration = home.json("dps registration show device-4");
    assert_eq!(registration["status"], "assigned", "{registration}");
    folder.dps_pki("quickstart --keep kept").ends_with(4);
}

fn declared_address(home: &Home) -> String {
    let declaration = home.read("pki.toml");
    let line = declaration.lines().find(|line| line.starts_with("service"));
    line.and_then(|line| line.split('"').nth(1))
        .expect("a service")
        .to_owned()
}

#[test]
fn the_whole_story_by_hand_each_command_twice() {
    let home = Home::empty();
    home.dps_pki("init").ok();
    home.dps_pki("init").ends_with(4);
    let emulator = Emulator::start(&home);
    home.dps_pki("authority create").ok();
    let made = home.json("authority list");
    let again = home.json("authority create");
    assert_eq!(again[0]["sha256Thumbprint"], made[0]["sha256Thumbprint"]);
    assert_eq!(
        (&again[0]["status"], &again[1]["status"]),
        (&json!("exists"), &json!("exists"))
    );

    let plan = home.dps_pki("plan --detailed-exitcode").ends_with(10);
    plan.stdout_has("prove possession of CA certificate root");
    home.dps_pki("apply --dry-run").ok();
    home.dps_pki("apply").ends_with(4);
    home.dps_pki("plan --detailed-exitcode").ends_with(10);
    home.dps_pki("apply --yes").ok();
    let again = home.dps_pki("apply").ok();
    assert!(again.stdout.starts_with("nothing to do"), "{again}");
    home.dps_pki("plan --detailed-exitcode").ends_with(0);

    let issue = "issue sensor-1 sensor-2 --authority factory --out devices";
    let issued = home.json(issue);
    let again = home.json(issue);
    for index in 0..2 {
        assert_eq!(issued[index]["status"], "issued");
        assert_eq!(again[index]["status"], "alreadyIssued");
        assert_eq!(again[index]["serialNumber"], issued[index]["serialNumber"]);
    }
    // Done is what was asked for: files in this folder.
    let elsewhere = "issue sensor-1 sensor-3 --authority factory --out elsewhere";
    for line in [elsewhere.to_owned(), format!("{elsewhere} --dry-run")] {
        let refused = home.dps_pki(&line).ends_with(4);
        refused.stderr_has("its files are not in elsewhere");
        assert!(!home.path("elsewhere").exists(), "nothing was issued");
    }

    let [first, second] = ["sensor-1", "sensor-2"].map(|id| Device::new(&home, &emulator, id));
    assert_eq!(
        (first.register(), second.register()),
        ("assigned".into(), "assigned".into())
    );
    let quarantine = "quarantine sensor-2 --reason stolen --yes";
    home.dps_pki("quarantine sensor-2").ends_with(4);
    assert_eq!(second.register(), "assigned");
    let misspelt = home.dps_pki("quarantine sensr-2 --dry-run").ends_with(8);
    misspelt.stderr_has("did you mean sensor-2?");
    home.dps_pki(quarantine).ok();
    let again = home.dps_pki(quarantine).ok();
    assert!(again.stdout.starts_with("nothing to do"), "{again}");
    // What is out already is nothing to warn of.
    assert_eq!(again.stderr, "", "{again}");
    assert_eq!(
        (first.register(), second.register()),
        ("assigned".into(), "disabled".into())
    );

    let hub = home.json("hub device show sensor-2 --hub hub-1.azure-devices.net");
    assert_eq!(
        (&hub["status"], &hub["statusReason"]),
        (&json!("disabled"), &json!("stolen"))
    );
    let leaf = home.json("inventory show sensor-2");
    assert_eq!(leaf[0]["status"], "revoked", "{leaf}");
    home.dps_pki("audit verify").ok();
}

#[test]
fn explain_names_the_entry_that_decides() {
    let (home, _emulator) = Home::with_dps();
    home.dps_pki("issue sensor-1 --authority factory --out devices")
        .ok();
    let explanation = home.dps_pki("explain sensor-1").ok();
    let (decision, expiry) = explanation
        .stdout
        .split_once("the first to expire is ")
        .expect("what ends first");
    assert!(expiry.starts_with("CN=sensor-1, at 20"), "{expiry}");
    assert_eq!(
        decision,
        "sensor-1:\n\
         no individual enrollment is named sensor-1\n\
         enrollment group factory holds CN=Quickstart Factory CA and decides; it is enabled\n\
         CN=Quickstart Root CA is a verified CA certificate\n\
         admitted by enrollment group factory\n"
    );
    let of_file = home.dps_pki("explain devices/sensor-1.cert.pem").ok();
    assert_eq!(of_file.stdout, explanation.stdout);
    let of_chain = home
        .dps_pki("explain devices/sensor-1.cert.pem --chain devices/sensor-1-full-chain.cert.pem");
    assert_eq!(of_chain.ok().stdout, explanation.stdout);
}

/// DPS finds an individual enrollment by the leaf's CN alone. One that holds the leaf under another
/// registration ID, disabled, looks as if it shut the device out, and does not.
#[test]
fn an_entry_under_another_id_shuts_nobody_out() {
    let (home, emulator) = Home::with_dps();
    home.dps_pki("issue sensor-1 --authority factory --out devices")
        .ok();
    let leaf = home.read("devices/sensor-1.cert.pem");
    Portal::new(&home, &emulator).put(
        "enrollments/shut-out-sensor-1",
        &json!({
            "registrationId": "shut-out-sensor-1",
            "provisioningStatus": "disabled",
            "attestation": {
                "type": "x509",
                "x509": { "clientCertificates": { "primary": { "certificate": leaf } } },
            },
        }),
    );
    let device = Device::new(&home, &emulator, "sensor-1");
    assert_eq!(device.register(), "assigned");

    let explanation = home.dps_pki("explain sensor-1").ok();
    explanation.stdout_has("shut-out-sensor-1");
    explanation.stdout_has("admitted by enrollment group factory");
    let quarantine = home.dps_pki("quarantine sensor-1 --yes").ok();
    quarantine.stdout_has("shut-out-sensor-1");
    assert_eq!(device.register(), "disabled");
}

/// Somebody switched a group off, for a reason that pki.toml does not know.
#[test]
fn apply_never_enables_what_somebody_disabled() {
    let (home, emulator) = Home::with_dps();
    let portal = Portal::new(&home, &emulator);
    portal.set(
        "enrollmentGroups/factory",
        "provisioningStatus",
        json!("disabled"),
    );
    let refused = home.dps_pki("apply --yes").ends_with(4);
    refused.stderr_has("factory");
    let group = portal.find("enrollmentGroups/factory").expect("the group");
    assert_eq!(group["provisioningStatus"], "disabled");
}

/// Something has waited for the network before the question, and for Ctrl-C with it.
#[test]
fn ctrl_c_at_a_question_ends_the_command() {
    let (home, _emulator) = Home::with_dps();
    home.dps_pki("issue sensor-1 --authority factory --out devices")
        .ok();
    let command = home.command("quarantine sensor-1");
    let program = command.get_program().to_str().expect("UTF-8");
    let variables = command.get_envs();
    let mut terminal = Command::new("timeout")
        .args(["60", "script", "--quiet", "--return", "--flush"])
        .args(["--command", &format!("{program} quarantine sensor-1")])
        .arg("/dev/null")
        .envs(variables.filter_map(|(name, value)| Some((name, value?))))
        .current_dir(home.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script is installed");
    let mut said = Vec::new();
    let mut output = terminal.stdout.take().expect("a pipe");
    while !said.ends_with(b"[y/N] ") {
        let mut octet = [0];
        output.read_exact(&mut octet).expect("a question");
        said.extend(octet);
    }
    let mut keyboard = terminal.stdin.take().expect("a pipe");
    keyboard.write_all(b"\x03").expect("a terminal");
    output.read_to_end(&mut said).expect("output");
    let said = String::from_utf8_lossy(&said);
    assert_eq!(terminal.wait().expect("ended").code(), Some(130), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    assert_eq!(home.json("journal list").as_array().map(Vec::len), Some(1));
}
