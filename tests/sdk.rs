//! Microsoft's own SDKs, unpatched, and mosquitto against the local DPS. Each test is a scenario; what a
//! client does is in `tests/sdk`, what it must have come to is here.
//!
//! The SDKs have the ports 443 and 8883 built in, so one emulator runs at a time. Where the SDKs are not
//! installed or the ports are not to be had, a scenario says so and does nothing; under `CI` it fails.
//! Install them with `just sdks`.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use dps_pki_tests::{Emulator, Home, Run, Sdks, binary};
use serde_json::{Value, json};

#[test]
fn python_devices_work_by_certificate() {
    let Some(scenario) = Scenario::with_devices("sensor-1 sensor-2") else {
        return;
    };
    for (device, transport) in [("sensor-1", "mqtt"), ("sensor-2", "websocket")] {
        let seen = scenario.python_device("device_x509.py", device, transport);
        scenario.worked(device, &seen);
    }
}

#[test]
fn python_devices_work_by_shared_key() {
    let Some(scenario) = Scenario::start() else {
        return;
    };
    for (device, transport) in [("keyed-1", "mqtt"), ("keyed-2", "websocket")] {
        let seen = scenario.python("device_symmetric_key.py", &format!("{device} {transport}"));
        scenario.worked(device, &seen);
    }
}

#[test]
fn node_devices_work_by_certificate() {
    let Some(scenario) = Scenario::with_devices("sensor-1 sensor-2 sensor-3") else {
        return;
    };
    for (device, transport) in [
        ("sensor-1", "https"),
        ("sensor-2", "mqtt"),
        ("sensor-3", "websocket"),
    ] {
        let files = scenario.files(device);
        let seen = scenario.node("device_x509.js", &format!("{device} {transport} {files}"));
        scenario.worked(device, &seen);
    }
    let seen = scenario.node("hub_registry.js", "sensor-1");
    assert_eq!(
        seen,
        [
            json!({"device": "sensor-1", "type": "selfSigned", "status": "enabled"}),
            json!({"device": "by-hand", "type": "sas"}),
            json!({"gone": "DeviceNotFoundError"}),
            json!({"total": 3}),
        ]
    );
}

/// curl and mosquitto have no idea of DPS; what they send is the documented protocol and no more.
#[test]
fn a_device_without_an_sdk_works() {
    let Some(scenario) = Scenario::with_devices("sensor-1") else {
        return;
    };
    let script = Sdks::folder().join("mosquitto.sh");
    let line = format!(
        "{} sensor-1 {}",
        script.display(),
        scenario.files("sensor-1")
    );
    scenario.run("sh", &line);
    assert_eq!(scenario.messages("sensor-1"), 1);
}

#[test]
fn the_python_arm_client_has_a_ca_proven() {
    let Some(scenario) = Scenario::start() else {
        return;
    };
    let seen = scenario.python("ca_proof.py", "root root.pem");
    assert_eq!(
        seen,
        [
            json!({"unproven": 400}),
            json!({"verified": true}),
            json!({"listed": [["root", true]]}),
        ]
    );
}

#[test]
fn the_node_arm_client_has_a_ca_proven() {
    let Some(scenario) = Scenario::start() else {
        return;
    };
    let seen = scenario.node("ca_proof.js", "root root.pem");
    assert_eq!(
        seen,
        [
            json!({"before": false, "verified": true}),
            json!({"stale": "RestError", "status": 412}),
            json!({"left": []}),
        ]
    );
}

/// A root that the one client had proven, a group that the other one made, a device that `issue` made.
#[test]
fn a_group_of_the_node_service_client_admits() {
    let Some(scenario) = Scenario::start() else {
        return;
    };
    scenario.python("ca_proof.py", "root root.pem");
    let seen = scenario.node("group.js", "line-1 factory.pem");
    assert_eq!(
        seen,
        [
            json!({"issuer": "CN=Quickstart Factory CA"}),
            json!({"line": 2, "etagChanged": true}),
            json!({"stale": "InvalidEtagError", "status": 412}),
        ]
    );
    scenario.issue("sensor-1", "factory");
    let seen = scenario.python_device("device_x509.py", "sensor-1", "mqtt");
    scenario.worked("sensor-1", &seen);
}

/// DPS keeps it from registering, its hub from connecting; either takes a change of its own.
#[test]
fn a_disabled_device_is_refused_by_dps_and_by_its_hub() {
    let Some(scenario) = Scenario::with_devices("sensor-1") else {
        return;
    };
    let seen = scenario.python("enrolled.py", "sensor-1 devices/sensor-1.cert.pem");
    assert_eq!(seen[0]["subject"], "CN=sensor-1");
    let seen = scenario.python_device("device_x509.py", "sensor-1", "mqtt");
    scenario.worked("sensor-1", &seen);

    scenario.python("disabled.py", "sensor-1");
    let seen = scenario.python_device("device_refused.py", "sensor-1", "mqtt");
    assert_eq!(seen[0]["refused"], "ClientError");
    let cause = seen[0]["cause"].as_str().expect("a cause");
    assert!(cause.contains("disabled"), "{cause}");

    let seen = scenario.python_device("hub_refuses.py", "sensor-1", "mqtt");
    assert_eq!(seen, [json!({"refused": "CredentialError"})]);
}

/// With both CAs in the group all devices come in; afterwards only those of the new one.
#[test]
fn a_roll_by_the_secondary_slot_loses_nobody() {
    let Some(scenario) = Scenario::declaring_two_factories() else {
        return;
    };
    scenario.issue("old-1", "factory");
    scenario.issue("new-1", "factory-2");
    scenario.python("ca_proof.py", "root root.pem");
    scenario.node("group.js", "line-1 factory.pem");
    let refused = json!("ClientError");
    let seen = scenario.python_device("device_refused.py", "new-1", "mqtt");
    assert_eq!(seen[0]["refused"], refused);

    let seen = scenario.node("roll.js", "line-1 add factory-2.pem");
    assert_eq!(seen[0]["secondary"], "CN=Second Factory CA");
    for device in ["old-1", "new-1"] {
        let seen = scenario.python_device("device_x509.py", device, "mqtt");
        scenario.worked(device, &seen);
    }

    let seen = scenario.node("roll.js", "line-1 finish factory-2.pem");
    // A certificate that is alone is shown in both slots.
    let alone = "CN=Second Factory CA";
    assert_eq!(seen, [json!({"primary": alone, "secondary": alone})]);
    let seen = scenario.python_device("device_refused.py", "old-1", "mqtt");
    assert_eq!(seen[0]["refused"], refused);
    let seen = scenario.python_device("device_x509.py", "new-1", "mqtt");
    assert_eq!(seen[0]["status"], "assigned");
}

/// Deleting a registration record leaves the identity in the hub.
#[test]
fn a_registration_is_deleted() {
    let Some(scenario) = Scenario::with_devices("sensor-1 sensor-2") else {
        return;
    };
    for device in ["sensor-1", "sensor-2"] {
        let files = scenario.files(device);
        scenario.node("device_x509.js", &format!("{device} https {files}"));
    }
    let seen = scenario.python("registration_deleted.py", "factory sensor-1");
    assert_eq!(
        seen,
        [
            json!({"before": [["sensor-1"], ["sensor-2"]]}),
            json!({"after": [["sensor-2"]], "gone": "ResourceNotFoundError"}),
            json!({"identity": "sensor-1", "status": "enabled"}),
        ]
    );
}

#[test]
fn two_hundred_and_fifty_enrollments_come_in_pages() {
    let Some(scenario) = Scenario::start() else {
        return;
    };
    let pages = [json!({"pages": [100, 100, 50], "seen": 250})];
    assert_eq!(scenario.node("query_pages.js", ""), pages);
    assert_eq!(scenario.python("query_pages.py", ""), pages);
}

#[test]
fn one_bad_enrollment_of_ten_is_named() {
    let Some(scenario) = Scenario::start() else {
        return;
    };
    let seen = scenario.python("bulk.py", "");
    assert_eq!(
        seen,
        [json!({"isSuccessful": false, "failed": ["bulk-7"], "made": 10})]
    );
}

#[test]
fn a_stale_etag_is_the_sdks_own_exception() {
    let Some(scenario) = Scenario::start() else {
        return;
    };
    let seen = scenario.python("stale_etag.py", "root.pem");
    assert_eq!(
        seen,
        [
            json!({"service": "HttpResponseError", "status": 412}),
            json!({"arm": "ResourceModifiedError", "status": 412}),
        ]
    );
}

/// Every program in `tests/sdk` is run by a test above.
#[test]
fn no_program_is_left_out() {
    let here = include_str!("sdk.rs");
    for language in ["python", "node"] {
        for entry in std::fs::read_dir(Sdks::folder().join(language)).expect(language) {
            let name = entry.expect("an entry").file_name();
            let name = name.to_str().expect("UTF-8");
            let shared = ["settings", "credential", "device_session"];
            let is_program = name.ends_with(".py") || name.ends_with(".js");
            let is_shared = shared.iter().any(|part| name.starts_with(part));
            let is_left_out = is_program && !is_shared && !here.contains(&format!("\"{name}\""));
            assert!(!is_left_out, "{name} is not run");
        }
    }
}

/// A PKI and an emulator on the ports that the SDKs have built in.
struct Scenario {
    home: Home,
    emulator: Emulator,
    /// Dropped last, so that nobody takes the ports before the emulator has left them.
    _sdks: Sdks,
}

impl Scenario {
    const HUB: &str = "localhost";

    /// The quickstart PKI with the certificates of its CAs in files, and a DPS that knows nothing.
    fn start() -> Option<Self> {
        Self::of("", &["root", "factory"])
    }

    /// The same with a second CA for devices.
    fn declaring_two_factories() -> Option<Self> {
        let second = "\n[authority.factory-2]\nissuer = \"root\"\nsubject = \"CN=Second Factory CA\"\n\
                      key = \"ecdsa-p256\"\nvalidity = \"2y\"\npath-length = 0\n";
        Self::of(second, &["root", "factory", "factory-2"])
    }

    /// The quickstart PKI, a DPS that was brought to what it declares, and issued devices.
    fn with_devices(devices: &str) -> Option<Self> {
        let scenario = Self::start()?;
        scenario.home.dps_pki("apply --yes").ok();
        scenario.issue(devices, "factory");
        Some(scenario)
    }

    fn of(declared: &str, authorities: &[&str]) -> Option<Self> {
        let sdks = Sdks::reserve()?;
        let home = Home::empty();
        home.dps_pki("init --template quickstart").ok();
        home.redeclare("localhost:8443", Sdks::LISTEN);
        home.redeclare("hub-1.azure-devices.net", Self::HUB);
        home.write("pki.toml", home.read("pki.toml") + declared);
        home.dps_pki("authority create").ok();
        for authority in authorities {
            let exported = home.dps_pki(&format!("authority export {authority}")).ok();
            home.write(&format!("{authority}.pem"), exported.stdout);
        }
        let flags = format!("--hub {} --print-env", Self::HUB);
        let emulator = Emulator::start_on(&home, Sdks::LISTEN, &flags);
        Some(Self {
            home,
            emulator,
            _sdks: sdks,
        })
    }

    fn issue(&self, devices: &str, authority: &str) {
        let line = format!("issue {devices} --authority {authority} --out devices");
        self.home.dps_pki(&line).ok();
    }

    /// The chain and the key of an issued device, as two words.
    fn files(&self, device: &str) -> String {
        format!("devices/{device}-full-chain.cert.pem devices/{device}.key.pem")
    }

    fn python_device(&self, program: &str, device: &str, transport: &str) -> Vec<Value> {
        let files = self.files(device);
        self.python(program, &format!("{device} {transport} {files}"))
    }

    /// Runs a program with the Python SDKs, and returns what it saw.
    #[track_caller]
    fn python(&self, program: &str, arguments: &str) -> Vec<Value> {
        let python = Sdks::python_programs().join("python");
        let program = Sdks::folder().join("python").join(program);
        let line = format!("{} {arguments}", program.display());
        facts(&self.run(python.to_str().expect("UTF-8"), &line))
    }

    /// Runs a program with the Node SDKs, and returns what it saw.
    #[track_caller]
    fn node(&self, program: &str, arguments: &str) -> Vec<Value> {
        let program = Sdks::folder().join("node").join(program);
        facts(&self.run("node", &format!("{} {arguments}", program.display())))
    }

    /// Runs a program with what `--print-env` says; it must end well, and before long.
    #[track_caller]
    fn run(&self, program: &str, line: &str) -> Run {
        let variables = self.emulator.reach().as_object().expect("variables");
        let variables = variables.iter().map(|(name, value)| {
            let value = value.as_str().expect("text");
            (name.as_str(), value)
        });
        let own = [("DPS_PKI", binary().to_str().expect("UTF-8"))];
        let line = format!("120 {program} {line}");
        let run = self.home.tool_with("timeout", &line, variables.chain(own));
        run.ok()
    }

    /// The device was assigned, was connected to its hub, and its one message arrived.
    #[track_caller]
    fn worked(&self, device: &str, seen: &[Value]) {
        let assigned = json!({"status": "assigned", "hub": Self::HUB, "device": device});
        assert_eq!(seen[0], assigned);
        assert_eq!(seen[1]["connected"], true, "{seen:?}");
        assert_eq!(self.messages(device), 1);
    }

    /// How many messages of a device its hub has counted.
    fn messages(&self, device: &str) -> u64 {
        let reach = self.emulator.reach();
        let text = |member: &str| reach[member].as_str().expect(member).to_owned();
        let url = text("DPS_EMULATOR_CONTROL_URL");
        let token = text("DPS_EMULATOR_CONTROL_TOKEN");
        let line = format!(
            "--silent --show-error --fail --cacert emulator-ca.pem --oauth2-bearer {token} {url}/counters"
        );
        let counters = self.home.tool("curl", &line).ok().json();
        counters[Self::HUB][device]["messages"]
            .as_u64()
            .unwrap_or_default()
    }
}

/// What a program said that it saw: one JSON object a line.
#[track_caller]
fn facts(run: &Run) -> Vec<Value> {
    let fact = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {run}"));
    run.stdout.lines().map(fact).collect()
}
