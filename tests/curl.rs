//! A device that has nothing but curl: what `issue` writes must let it in, and `quarantine` keep it out.

use dps_pki_tests::{Device, Home, Portal};
use serde_json::json;

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

/// What the identity service of IoT Edge (1.6.0) asks of its hub once DPS has assigned it, with the device's
/// own certificate: the list of modules, then each written without and with `If-Match: *`.
#[test]
fn iot_edge_lists_and_writes_its_modules_at_the_hub_that_dps_gave_it() {
    const HUB: &str = "hub-1.azure-devices.net";
    let (home, emulator) = Home::with_dps();
    home.dps_pki("issue edge-1 edge-2 --authority factory --out devices")
        .ok();
    let portal = Portal::new(&home, &emulator);
    let edge = json!({"iotEdge": true});
    portal.set("enrollmentGroups/factory", "capabilities", edge.clone());
    let device = Device::new(&home, &emulator, "edge-1");
    assert_eq!(device.register(), "assigned");
    let identity = home.json(&format!("hub device show edge-1 --hub {HUB}"));
    assert_eq!(identity["capabilities"], edge);

    let listed = device.ask_hub(HUB, "GET", "/modules", None);
    assert_eq!((listed.code, listed.body), (200, json!([])));
    for module in ["$edgeAgent", "$edgeHub"] {
        let path = format!("/modules/{module}");
        let body = json!({"moduleId": module, "managedBy": "IotEdge", "deviceId": "edge-1"});
        let made = device.ask_hub(HUB, "PUT", &path, Some(&body));
        assert_eq!(made.code, 200, "{made:?}");
        for member in ["generationId", "managedBy"] {
            assert!(made.body[member].is_string(), "{made:?}");
        }
        let keys = &made.body["authentication"]["symmetricKey"];
        assert!(keys["primaryKey"].is_string() && keys["secondaryKey"].is_string());
        let again = device.ask_hub(HUB, "PUT", &path, Some(&made.body));
        assert_eq!(again.code, 409, "{again:?}");
        let changing = device.with_flags("--header if-match:*");
        let changed = changing.ask_hub(HUB, "PUT", &path, Some(&made.body));
        assert_eq!(changed.code, 200, "{changed:?}");
        assert_eq!(changed.body["authentication"]["symmetricKey"], *keys);
    }
    let listed = device.ask_hub(HUB, "GET", "/modules", None).body;
    let names: Vec<_> = listed.as_array().expect("a list").iter().collect();
    assert_eq!(
        names
            .iter()
            .map(|module| &module["moduleId"])
            .collect::<Vec<_>>(),
        ["$edgeAgent", "$edgeHub"]
    );
    let sent = device.ask_hub(HUB, "POST", "/messages/events", Some(&json!({"on": true})));
    assert_eq!(sent.code, 204, "{sent:?}");
    assert_eq!(
        device
            .ask_hub(HUB, "GET", "/messages/devicebound", None)
            .code,
        204
    );
    let unknown = device.ask_hub(HUB, "POST", "/files", Some(&json!({})));
    assert_eq!(
        unknown.code, 400,
        "a 401 would read as a bad credential: {unknown:?}"
    );
    // Another device of the same group is another's.
    let stranger = device.with_files("edge-2");
    assert_eq!(stranger.ask_hub(HUB, "GET", "/modules", None).code, 401);
    let removing = device.with_flags("--header if-match:*");
    let removed = removing.ask_hub(HUB, "DELETE", "/modules/$edgeHub", None);
    assert_eq!(removed.code, 204, "{removed:?}");
}
