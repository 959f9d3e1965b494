//! A device that has nothing but curl: what `issue` writes must let it in, and `quarantine` keep it out.

use dps_pki_tests::{Device, Home};

/// The device API's first answer is 202 with an operation to poll, whatever becomes of it.
#[test]
fn a_device_registers_polls_and_is_shut_out() {
    let (home, emulator) = Home::with_dps();
    home.dps_pki("issue sensor-1 sensor-2 --authority factory --out devices")
        .ok();
    let device = Device::new(&home, &emulator, "sensor-1");
    let other = Device::new(&home, &emulator, "sensor-2");

    let asked = device.ask_to_register();
    assert_eq!(asked.code, 202, "{asked:?}");
    assert_eq!(asked.body["status"], "assigning");
    let operation = asked.body["operationId"].as_str().expect("an operation");
    assert_eq!(device.poll(operation).body["status"], "assigning");
    let decided = device.poll(operation);
    assert_eq!(decided.code, 200, "{decided:?}");
    let state = &decided.body["registrationState"];
    assert_eq!(state["status"], "assigned");
    assert_eq!(state["assignedHub"], "hub-1.azure-devices.net");
    assert_eq!(state["deviceId"], "sensor-1");
    assert_eq!(other.register(), "assigned");

    home.dps_pki("quarantine sensor-1 --yes").ok();
    let asked = device.ask_to_register();
    assert_eq!(
        (asked.code, &asked.body["status"]),
        (200, &"disabled".into())
    );
    assert_eq!(other.register(), "assigned");
}

#[test]
fn both_versions_of_tls_are_spoken() {
    let (home, emulator) = Home::with_dps();
    home.dps_pki("issue sensor-1 --authority factory --out devices")
        .ok();
    let device = Device::new(&home, &emulator, "sensor-1");
    for flags in ["--tls-max 1.2", "--tlsv1.3"] {
        assert_eq!(device.with_flags(flags).register(), "assigned", "{flags}");
    }
}

/// Refused by an answer, not by a TLS alert, so that a device can tell why.
#[test]
fn no_certificate_or_anothers_is_unauthorized() {
    let (home, emulator) = Home::with_dps();
    home.dps_pki("issue sensor-1 --authority factory --out devices")
        .ok();
    for flags in ["--tls-max 1.2", "--tlsv1.3"] {
        let device = Device::new(&home, &emulator, "sensor-1").with_flags(flags);
        assert_eq!(device.ask_without_certificate().code, 401, "{flags}");
    }
    for ending in [".key.pem", "-full-chain.cert.pem"] {
        let content = home.read(&format!("devices/sensor-1{ending}"));
        home.write(&format!("devices/sensor-9{ending}"), content);
    }
    let impostor = Device::new(&home, &emulator, "sensor-9");
    assert_eq!(impostor.register(), "refused");
}

/// A chain that leads to a CA which DPS does not hold.
#[test]
fn a_stranger_is_unauthorized() {
    let (home, emulator) = Home::with_dps();
    let stranger = Home::from_template("quickstart");
    stranger
        .dps_pki("issue sensor-1 --authority factory --out devices")
        .ok();
    for ending in [".key.pem", "-full-chain.cert.pem"] {
        let name = format!("devices/sensor-1{ending}");
        home.write(&name, stranger.read(&name));
    }
    assert_eq!(
        Device::new(&home, &emulator, "sensor-1").register(),
        "refused"
    );
}
