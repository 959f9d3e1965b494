//! Several hubs at one DPS, several DPS instances in one `pki.toml`, and what stands between them and us.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use dps_pki_tests::{Device, Emulator, Home, Portal, Run};
use serde_json::json;

const HUBS: [&str; 2] = ["hub-1.azure-devices.net", "hub-2.azure-devices.net"];
const DEVICES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A local DPS with two hubs, and devices that are spread over them.
fn fleet() -> (Home, Emulator) {
    let home = Home::from_template("quickstart");
    let both = format!("[\"{}\", \"{}\"]", HUBS[0], HUBS[1]);
    home.redeclare("[\"hub-1.azure-devices.net\"]", &both);
    let flags = format!("--hub {} --hub {}", HUBS[0], HUBS[1]);
    let emulator = Emulator::start_with(&home, &flags);
    home.redeclare("localhost:8443", emulator.address());
    home.dps_pki("apply --yes").ok();
    let issue = format!(
        "issue {} --authority factory --out devices",
        DEVICES.join(" ")
    );
    home.dps_pki(&issue).ok();
    for id in DEVICES {
        let device = Device::new(&home, &emulator, id);
        assert_eq!(device.register(), "assigned");
    }
    (home, emulator)
}

/// A device of each hub, by its hub.
fn one_of_each(home: &Home) -> BTreeMap<String, &'static str> {
    let hub_of = |id: &str| {
        let record = home.json(&format!("dps registration show {id}"));
        record["assignedHub"].as_str().expect("a hub").to_owned()
    };
    let found: BTreeMap<_, _> = DEVICES.into_iter().map(|id| (hub_of(id), id)).collect();
    assert_eq!(found.len(), 2, "the devices are spread: {found:?}");
    found
}

fn status_on(home: &Home, hub: &str, id: &str) -> Option<String> {
    let shown = home.dps_pki(&format!("hub device show {id} --hub {hub} --output json"));
    match shown.code {
        8 => None,
        _ => Some(shown.ok().json()["status"].as_str()?.to_owned()),
    }
}

fn other(hub: &str) -> &'static str {
    if hub == HUBS[0] { HUBS[1] } else { HUBS[0] }
}

#[test]
fn each_hub_is_asked_by_its_name_at_the_one_address() {
    let (home, _emulator) = fleet();
    for (hub, id) in one_of_each(&home) {
        assert_eq!(status_on(&home, &hub, id).as_deref(), Some("enabled"));
        assert_eq!(status_on(&home, other(&hub), id), None);
    }
}

#[test]
fn quarantine_and_deprovision_act_on_the_hub_that_has_the_device() {
    let (home, emulator) = fleet();
    for (hub, id) in one_of_each(&home) {
        let done = home.dps_pki(&format!("quarantine {id} --reason stolen --yes"));
        assert!(done.ok().stdout.contains(&hub));
        assert_eq!(status_on(&home, &hub, id).as_deref(), Some("disabled"));
        assert_eq!(status_on(&home, other(&hub), id), None);
        assert_eq!(Device::new(&home, &emulator, id).register(), "disabled");
        home.dps_pki(&format!("deprovision {id} --yes")).ok();
        assert_eq!(status_on(&home, &hub, id), None);
    }
}

#[test]
fn a_compromised_authority_and_its_impact_reach_both_hubs() {
    let (home, _emulator) = fleet();
    let devices = one_of_each(&home);
    let impact = home.dps_pki("impact authority factory").ok();
    for id in devices.values() {
        impact.stdout_has(id);
    }
    home.dps_pki("roll start factory --compromised --yes").ok();
    for (hub, id) in devices {
        let status = status_on(&home, &hub, id);
        assert_ne!(status.as_deref(), Some("enabled"), "{id} on {hub}");
    }
}

/// A hub whose connection string is declared is asked with it, and by its name.
#[test]
fn a_declared_hub_is_asked_with_its_own_connection_string() {
    let (home, emulator) = fleet();
    let declared: String = emulator.reach()["hubs"]
        .as_array()
        .expect("hubs")
        .iter()
        .map(|hub| {
            let name = hub["hostName"].as_str().expect("a name");
            home.write(
                &format!("{name}.txt"),
                hub["connectionString"].as_str().expect("a string"),
            );
            format!(
                "\n[dps.local.hub.\"{name}\"]\nendpoint = \"{}\"\nconnection-string = \"file:{name}.txt\"\n",
                emulator.address()
            )
        })
        .collect();
    home.write("pki.toml", home.read("pki.toml") + &declared);
    for (hub, id) in one_of_each(&home) {
        assert_eq!(status_on(&home, &hub, id).as_deref(), Some("enabled"));
    }
    // The key of one hub opens no other.
    home.redeclare(&format!("file:{}.txt", HUBS[0]), "file:mixed-up.txt");
    home.write("mixed-up.txt", home.read(&format!("{}.txt", HUBS[1])));
    let refused = home.dps_pki(&format!("hub device show a --hub {}", HUBS[0]));
    assert!(refused.ends_with(5).stderr.contains("401"));
}

#[test]
fn a_connection_string_of_another_host_is_refused_before_anything_is_sent() {
    let (home, emulator) = fleet();
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let foreign = format!(
        "HostName=other.azure-devices-provisioning.net;SharedAccessKeyName=o;SharedAccessKey={key}"
    );
    home.write("foreign.txt", &foreign);
    home.redeclare(
        "id-scope = \"0ne00000000\"",
        "id-scope = \"0ne00000000\"\nconnection-string = \"file:foreign.txt\"",
    );
    let refused = home.dps_pki("dps group list").ends_with(3);
    let expected = format!(
        "file:foreign.txt: the connection string is for other.azure-devices-provisioning.net, and \
         pki.toml declares {} for DPS local",
        emulator.address()
    );
    refused.stderr_has(&expected);
    assert!(!refused.stderr.contains(key), "{refused}");
}

/// Two instances, each with a hub of the same name: what is done at one is not done at the other.
#[test]
fn two_instances_in_one_home_are_told_apart() {
    let home = Home::from_template("quickstart");
    let first = Emulator::start(&home);
    let second_home = home.below("second");
    std::fs::create_dir_all(second_home.path("tmp")).expect("a folder");
    let second = Emulator::start_with(&second_home, "");
    let declared = home.read("pki.toml");
    let (_, instance) = declared.split_once("[dps.local]").expect("an instance");
    let instance = format!("[dps.local]{instance}")
        .replace("dps.local", "dps.spare")
        .replace(first.address(), second.address())
        .replace("emulator-ca.pem", "second/emulator-ca.pem");
    // A local DPS is named so in ARM, whatever it is called here.
    let management = "[dps.spare.management]\nsubscription = \"00000000-0000-0000-0000-000000000000\"\n\
                      resource-group = \"local\"\nname = \"local\"\n";
    home.write("pki.toml", format!("{declared}\n{instance}\n{management}"));
    home.dps_pki("issue a --authority factory --out devices")
        .ok();
    for name in ["local", "spare"] {
        home.dps_pki(&format!("apply --dps {name} --yes")).ok();
    }
    assert_eq!(Device::new(&home, &first, "a").register(), "assigned");
    let shown = |name: &str| {
        let line = format!("hub device show a --hub {} --dps {name}", HUBS[0]);
        home.dps_pki(&line).code
    };
    assert_eq!([shown("local"), shown("spare")], [0, 8]);
    let elsewhere = home
        .dps_pki("quarantine a --dps spare --reason test --yes")
        .ends_with(7);
    elsewhere.stderr_has("DPS local: a is admitted");
    assert_eq!(Device::new(&home, &first, "a").register(), "assigned");
    home.dps_pki("quarantine a --dps local --reason test --yes")
        .ok();
    assert_eq!(Device::new(&home, &first, "a").register(), "disabled");
}

/// Answers every call with the same hub.
fn webhook(hub: &'static str) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let serving = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a call");
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).expect("a header");
            let lower = line.to_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        reader.read_exact(&mut vec![0; length]).expect("a body");
        let body = json!({"iotHubHostName": hub}).to_string();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut stream = reader.into_inner();
        stream
            .write_all((head + &body).as_bytes())
            .expect("an answer");
    });
    (url, serving)
}

/// A webhook chooses the hub, whatever a hash would say; quarantine follows the registration record there.
#[test]
fn quarantine_finds_the_hub_that_a_webhook_chose() {
    let (home, emulator) = fleet();
    let (hub, id) = one_of_each(&home).into_iter().next().expect("a device");
    let chosen = other(&hub);
    let (url, serving) = webhook(chosen);
    let portal = Portal::new(&home, &emulator);
    let mut group = portal.find("enrollmentGroups/factory").expect("the group");
    group["allocationPolicy"] = json!("custom");
    group["customAllocationDefinition"] = json!({"webhookUrl": url, "apiVersion": "2019-03-31"});
    portal.put("enrollmentGroups/factory", &group);
    assert_eq!(Device::new(&home, &emulator, id).register(), "assigned");
    serving.join().expect("the webhook was called");
    assert_eq!(status_on(&home, chosen, id).as_deref(), Some("enabled"));
    home.dps_pki(&format!("quarantine {id} --reason stolen --yes"))
        .ok();
    assert_eq!(status_on(&home, chosen, id).as_deref(), Some("disabled"));
}

/// A home whose DPS is in Azure, and a command that asks it through this proxy.
fn through_proxy(proxy: &str) -> Run {
    let home = Home::empty();
    home.dps_pki("init --template quickstart").ok();
    home.redeclare("localhost:8443", "x.azure-devices-provisioning.net");
    home.redeclare(
        "trust-anchor = \"emulator-ca.pem\"",
        "token = \"file:token.txt\"",
    );
    home.write_own("token.txt", "eyJ0");
    let program = dps_pki_tests::binary().to_str().expect("UTF-8");
    home.tool_with(program, "dps group list", [("HTTPS_PROXY", proxy)])
}

#[test]
fn a_dead_proxy_is_named_and_not_the_service() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let refused = through_proxy(&format!("http://me:secret@{address}")).ends_with(5);
    let expected = format!("cannot connect to the proxy {address}");
    refused.stderr_has(&expected);
    assert!(!refused.stderr.contains("azure-devices"), "{refused}");
    assert!(!refused.stderr.contains("secret"), "{refused}");
}

#[test]
fn a_proxy_that_opens_no_way_is_named_with_the_service() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            while line != "\r\n" && reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                if line != "\r\n" {
                    line.clear();
                }
            }
            let refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
            let _ = reader.into_inner().write_all(refusal);
        }
    });
    let refused = through_proxy(&format!("http://{address}")).ends_with(5);
    let expected = format!("the proxy {address} opens no way to x.azure-devices-provisioning.net");
    refused.stderr_has(&expected);
}
