//! `sign` and lists with requests: devices that made their own keys.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use pki_core::csr::SigningRequest;
use pki_core::format::pem;
use serde_json::{Value, json};
use support::{Run, World};

/// A home with its authorities.
struct Home(World);

impl Home {
    fn new() -> Self {
        let mut world = World::new();
        world.set("DPS_PKI_PASSPHRASE", "secret");
        let home = Self(world);
        home.done("init");
        home.done("authority create");
        home
    }

    #[track_caller]
    fn done(&self, line: &str) -> Run {
        let run = self.0.run(line);
        assert_eq!(run.code, 0, "{line}\n{}", run.stderr);
        run
    }

    fn request(&self, id: &str) -> SigningRequest {
        self.0.write_request(id);
        SigningRequest::read(self.0.read(&format!("{id}.csr")).as_bytes()).expect("request")
    }

    /// The leaves of an ndjson output, by their IDs.
    fn leaves(&self, file: &str) -> Vec<Value> {
        let lines = self.0.read(file);
        lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

#[track_caller]
fn assert_answers(leaf: &Value, id: &str, request: &SigningRequest) {
    assert_eq!(leaf["registrationId"], id);
    assert_eq!(leaf.get("privateKey"), None);
    let pem = leaf["certificate"].as_str().expect("PEM");
    let certificate = pem::certificate(pem.as_bytes()).expect("certificate");
    assert_eq!(certificate.common_name().as_deref(), Some(id));
    assert_eq!(certificate.public_key(), request.public_key());
}

#[test]
fn a_list_may_bring_requests_in_files_and_in_itself() {
    let home = Home::new();
    let (one, two) = (home.request("dev-1"), home.request("dev-2"));
    std::fs::create_dir(home.0.path("order")).expect("folder");
    std::fs::rename(home.0.path("dev-1.csr"), home.0.path("order/dev-1.csr")).expect("moved");
    let inline = two.to_pem();
    home.0.write(
        "order/list.csv",
        format!(
            "registration_id,csr,san,site\ndev-1,dev-1.csr,,Ulm\ndev-2,\"{inline}\",gw.example ip:192.0.2.7,\n"
        ),
    );
    // No key is made here, so that nobody has to say what becomes of it.
    let run = home
        .done("issue --devices order/list.csv --authority factory --out out.ndjson --output json");
    assert_eq!(run.json()["devices"], 2);
    let leaves = home.leaves("out.ndjson");
    assert_answers(&leaves[0], "dev-1", &one);
    assert_answers(&leaves[1], "dev-2", &two);
    assert_eq!(leaves[0]["labels"], json!({ "site": "Ulm" }));
    home.0
        .write("dev-2.pem", leaves[1]["certificate"].as_str().expect("PEM"));
    let facts = home.done("inspect dev-2.pem").stdout;
    assert!(facts.contains("gw.example"), "{facts}");

    home.0.write("mixed.csv", "registration_id,csr\ndev-3,\n");
    let line = "issue --devices mixed.csv --authority factory --out mixed.ndjson";
    assert_eq!(
        home.0.run(line).code,
        4,
        "a key is made, and nobody says how it leaves"
    );
    home.done(&format!("{line} --plain-keys"));
    assert!(home.leaves("mixed.ndjson")[0]["privateKey"].is_string());
}

#[test]
fn every_bad_request_of_a_list_is_told() {
    let home = Home::new();
    home.request("dev-1");
    home.0
        .write("broken.csr", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n");
    home.0.write(
        "list.csv",
        "registration_id,csr\ndev-1,dev-1.csr\ndev-2,dev-1.csr\ndev-3,none.csr\ndev-4,broken.csr\nbad id,\nDEV-1,dev-1.csr\n",
    );
    let run = home
        .0
        .run("issue --devices list.csv --authority factory --out out.ndjson");
    assert_eq!(run.code, 3, "{}", run.stderr);
    for told in [
        "list.csv: 5 of its lines cannot be used; nothing was issued",
        "line 3: \"dev-2\": it is the request of dev-1, not of dev-2",
        "line 4: \"none.csr\": none.csr does not exist",
        "line 5: \"dev-4\": broken.csr: it is not readable as PEM",
        "line 6: \"bad id\": ",
        "line 7: \"DEV-1\": the same registration ID stands in line 2 already",
    ] {
        assert!(run.stderr.contains(told), "{told} in {}", run.stderr);
    }
    assert!(!home.0.path("out.ndjson").exists());
}

#[test]
fn a_folder_of_requests_is_a_batch() {
    let home = Home::new();
    std::fs::create_dir(home.0.path("in")).expect("folder");
    for id in ["dev-1", "dev-2", "dev-3"] {
        home.request(id);
        let (from, to) = (format!("{id}.csr"), format!("in/{id}.csr"));
        std::fs::rename(home.0.path(&from), home.0.path(&to)).expect("moved");
    }
    home.0.write("in/readme.txt", "not a request");
    let run = home.done("sign in --authority factory --out out/");
    assert!(
        run.stderr.contains("1 other files are left alone"),
        "{}",
        run.stderr
    );
    for id in ["dev-1", "dev-2", "dev-3"] {
        assert!(
            home.0
                .path(&format!("out/{id}-full-chain.cert.pem"))
                .is_file()
        );
        assert!(!home.0.path(&format!("out/{id}.key.pem")).exists());
    }
    // The manifest lies beside the folder, not in it, with a slash behind its name or without.
    assert!(home.0.path("out.manifest.json").is_file());
    let again = home.done("sign in --authority factory --out out");
    assert!(
        again.stderr.contains("is complete already"),
        "{}",
        again.stderr
    );
    home.0.write("in/dev-3.csr", "x");
    let run = home.0.run("sign in --authority factory --out others");
    assert_eq!(run.code, 3);
    assert!(
        run.stderr.contains("in/dev-3.csr: it is neither PEM nor"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_stream_of_requests_is_a_batch() {
    let mut home = Home::new();
    let (one, two) = (home.request("dev-1"), home.request("dev-2"));
    let base64 = one
        .to_pem()
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect::<String>();
    let lines = [
        json!({ "csr": base64 }),
        json!({ "registrationId": "dev-2", "csr": two.to_pem() }),
    ];
    home.0.stdin = lines.map(|line| format!("{line}\n")).concat().into_bytes();
    let run = home.done("sign - --authority factory --out out --output json");
    assert_eq!(run.json()["devices"], 2);
    let leaves = home.leaves("out");
    assert_answers(&leaves[0], "dev-1", &one);
    assert_answers(&leaves[1], "dev-2", &two);

    let wrong = json!({ "registrationId": "dev-3", "csr": two.to_pem() });
    home.0.stdin = format!("{wrong}\n{{\"csr\": 1}}\n\n{{\"cert\": \"x\"}}\n").into_bytes();
    let run = home.0.run("sign - --authority factory --out others");
    assert_eq!(run.code, 3);
    for told in [
        "standard input: 3 of its lines",
        "line 1: \"dev-3\": it is the request of dev-2, not of dev-3",
        "line 2: \"{\\\"csr\\\": 1}\": invalid type: integer `1`, expected a string at column",
        "unknown field `cert`, expected `registrationId` or `csr`",
    ] {
        assert!(run.stderr.contains(told), "{told} in {}", run.stderr);
    }
}

#[test]
fn several_requests_in_one_file_are_signed_one_by_one() {
    let mut home = Home::new();
    let all = [
        home.request("dev-1").to_pem(),
        home.request("dev-2").to_pem(),
    ]
    .concat();
    home.0.stdin = all.into_bytes();
    home.done("sign - --authority factory --out out");
    for id in ["dev-1", "dev-2"] {
        assert!(home.0.path(&format!("out/{id}.cert.pem")).is_file());
    }
}

#[test]
fn the_file_name_may_be_the_registration_id() {
    let home = Home::new();
    home.request("dev-1");
    std::fs::rename(home.0.path("dev-1.csr"), home.0.path("line%3A9.csr")).expect("moved");
    home.done("sign line%3A9.csr --id-from file-name --authority factory --out out");
    assert!(home.0.path("out/line%3A9.cert.pem").is_file());
    let run = home.done("inventory show line:9 --output json");
    assert_eq!(run.json()[0]["registrationId"], "line:9");
}

#[test]
fn a_profile_says_which_keys_devices_may_bring() {
    let home = Home::new();
    home.request("dev-1");
    let text = home.0.read("pki.toml");
    let edited = text.replacen(
        "[profile.device]\n",
        "[profile.device]\ncsr-keys = [\"ecdsa-p256\", \"rsa-3072\"]\n",
        1,
    );
    assert_ne!(text, edited);
    home.0.write("pki.toml", edited);
    home.0
        .run("sign dev-1.csr --authority factory --out out")
        .assert_refused(
            3,
            &["error: dev-1.csr: its key is ecdsa-p384; the profile takes ecdsa-p256, rsa-3072"],
        );
}
