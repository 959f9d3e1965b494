//! `sign` and lists with requests: devices that made their own keys.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make files as anybody does"
)]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::support::World;
use pki_core::certificate::pem;
use pki_core::csr::SigningRequest;
use serde_json::{Value, json};

fn request(home: &World, id: &str) -> SigningRequest {
    home.write_request(id);
    SigningRequest::read(home.read(&format!("{id}.csr")).as_bytes()).expect("request")
}

/// The leaves of an ndjson output.
fn leaves_of(home: &World, file: &str) -> Vec<Value> {
    let lines = home.read(file);
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
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
    let home = World::with_authorities();
    let one = request(&home, "dev-1");
    let two = request(&home, "dev-2");
    std::fs::create_dir(home.path("order")).expect("folder");
    std::fs::rename(home.path("dev-1.csr"), home.path("order/dev-1.csr")).expect("moved");
    let inline = two.to_pem();
    home.write(
        "order/list.csv",
        format!(
            "registration_id,csr,san,site\ndev-1,dev-1.csr,,Ulm\ndev-2,\"{inline}\",gw.example ip:192.0.2.7,\n"
        ),
    );
    // No key is made here, so that nobody has to say what becomes of it.
    let run = home
        .done("issue --devices order/list.csv --authority factory --out out.ndjson --output json");
    assert_eq!(run.json()["devices"], 2);
    let leaves = leaves_of(&home, "out.ndjson");
    assert_answers(&leaves[0], "dev-1", &one);
    assert_answers(&leaves[1], "dev-2", &two);
    assert_eq!(leaves[0]["labels"], json!({ "site": "Ulm" }));
    home.write("dev-2.pem", leaves[1]["certificate"].as_str().expect("PEM"));
    let facts = home.done("inspect dev-2.pem").stdout;
    assert!(facts.contains("gw.example"), "{facts}");

    home.write("mixed.csv", "registration_id,csr\ndev-3,\n");
    let line = "issue --devices mixed.csv --authority factory --out mixed.ndjson";
    assert_eq!(
        home.run(line).code,
        4,
        "a key is made, and nobody says how it leaves"
    );
    home.done(&format!("{line} --plain-keys"));
    assert!(leaves_of(&home, "mixed.ndjson")[0]["privateKey"].is_string());
}

#[test]
fn every_bad_request_of_a_list_is_told() {
    let home = World::with_authorities();
    request(&home, "dev-1");
    home.write("broken.csr", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n");
    home.write(
        "list.csv",
        "registration_id,csr,profile\ndev-1,dev-1.csr,\ndev-2,dev-1.csr,\ndev-3,none.csr,\n\
         dev-4,broken.csr,\nbad id,,\nDEV-1,dev-1.csr,\ndev-6,dev-1.csr,none\ndev-7,,other\n",
    );
    let run = home.run("issue --devices list.csv --authority factory --out out.ndjson");
    run.ends_with(3);
    for told in [
        "list.csv: 7 lines cannot be used; nothing was issued",
        "line 3: \"dev-2\": it is the request of dev-1, not of dev-2",
        "line 4: \"none.csr\": none.csr does not exist",
        "line 5: \"dev-4\": broken.csr: it is not readable as PEM",
        "line 6: \"bad id\": ",
        "line 7: \"DEV-1\": the same registration ID stands in line 2 already",
        "line 8: \"none\": pki.toml declares no such profile",
        "line 9: \"other\": pki.toml declares no such profile",
    ] {
        assert!(run.stderr.contains(told), "{told} in {}", run.stderr);
    }
    assert!(!home.path("out.ndjson").exists());
}

#[test]
fn a_folder_of_requests_is_a_batch() {
    let home = World::with_authorities();
    std::fs::create_dir(home.path("in")).expect("folder");
    for id in ["dev-1", "dev-2", "dev-3"] {
        request(&home, id);
        let from = format!("{id}.csr");
        let to = format!("in/{id}.csr");
        std::fs::rename(home.path(&from), home.path(&to)).expect("moved");
    }
    home.write("in/readme.txt", "not a request");
    // A name that is not UTF-8 hides no request.
    let latin_1 = home.path("in").join(OsStr::from_bytes(b"ger\xe4t.csr"));
    std::fs::rename(home.path("in/dev-1.csr"), latin_1).expect("moved");
    let run = home.done("sign in --authority factory --out out/");
    run.stderr_has("3 requests by name; 1 other file is left alone");
    for id in ["dev-1", "dev-2", "dev-3"] {
        assert!(
            home.path(&format!("out/{id}-full-chain.cert.pem"))
                .is_file()
        );
        assert!(!home.path(&format!("out/{id}.key.pem")).exists());
    }
    // The manifest lies beside the folder, not in it, with a slash behind its name or without.
    assert!(home.path("out.manifest.json").is_file());
    let again = home.done("sign in --authority factory --out out");
    again.stderr_has("is complete already");
    home.write("in/dev-3.csr", "x");
    let run = home.run("sign in --authority factory --out others");
    assert_eq!(run.code, 3);
    run.stderr_has("in/dev-3.csr: it is neither PEM nor");
    run.stderr_has("in: 1 request cannot be used; nothing was issued");
}

#[test]
fn a_stream_of_requests_is_a_batch() {
    let mut home = World::with_authorities();
    let one = request(&home, "dev-1");
    let two = request(&home, "dev-2");
    let base64 = one
        .to_pem()
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect::<String>();
    let lines = [
        json!({ "csr": base64 }),
        json!({ "registrationId": "dev-2", "csr": two.to_pem() }),
    ];
    home.stdin = lines.map(|line| format!("{line}\n")).concat().into_bytes();
    let run = home.done("sign - --authority factory --out out --output json");
    assert_eq!(run.json()["devices"], 2);
    let leaves = leaves_of(&home, "out");
    assert_answers(&leaves[0], "dev-1", &one);
    assert_answers(&leaves[1], "dev-2", &two);

    let wrong = json!({ "registrationId": "dev-3", "csr": two.to_pem() });
    home.stdin = format!("{wrong}\n{{\"csr\": 1}}\n\n{{\"cert\": \"x\"}}\n").into_bytes();
    let run = home.run("sign - --authority factory --out others");
    assert_eq!(run.code, 3);
    for told in [
        "standard input: 3 lines cannot be used",
        "line 1: \"dev-3\": it is the request of dev-2, not of dev-3",
        "line 2: \"{\\\"csr\\\": 1}\": invalid type: integer `1`, expected a string at column",
        "unknown field `cert`, expected `registrationId` or `csr`",
    ] {
        assert!(run.stderr.contains(told), "{told} in {}", run.stderr);
    }
}

#[test]
fn several_requests_in_one_file_are_signed_one_by_one() {
    let mut home = World::with_authorities();
    let all = [
        request(&home, "dev-1").to_pem(),
        request(&home, "dev-2").to_pem(),
    ]
    .concat();
    home.stdin = all.into_bytes();
    home.done("sign - --authority factory --out out");
    for id in ["dev-1", "dev-2"] {
        assert!(home.path(&format!("out/{id}.cert.pem")).is_file());
    }
}

#[test]
fn the_file_name_may_be_the_registration_id() {
    let home = World::with_authorities();
    request(&home, "dev-1");
    std::fs::rename(home.path("dev-1.csr"), home.path("line%3A9.csr")).expect("moved");
    home.done("sign line%3A9.csr --id-from file-name --authority factory --out out");
    assert!(home.path("out/line%3A9.cert.pem").is_file());
    let run = home.done("inventory show line:9 --output json");
    assert_eq!(run.json()[0]["registrationId"], "line:9");
}

#[test]
fn a_profile_says_which_keys_devices_may_bring() {
    let home = World::with_authorities();
    request(&home, "dev-1");
    let text = home.read("pki.toml");
    let edited = text.replacen(
        "[profile.device]\n",
        "[profile.device]\ncsr-keys = [\"ecdsa-p256\", \"rsa-3072\"]\n",
        1,
    );
    assert_ne!(text, edited);
    home.write("pki.toml", edited);
    home.run("sign dev-1.csr --authority factory --out out")
        .assert_refused(
            3,
            &["error: dev-1.csr: its key is ecdsa-p384; the profile takes ecdsa-p256, rsa-3072"],
        );
}

/// A request of a device for the key in a file.
fn request_for(home: &World, id: &str, key: &str) {
    let made = std::process::Command::new("openssl")
        .args(["req", "-new", "-key", key, "-subj", &format!("/CN={id}")])
        .args(["-out", &format!("{id}.csr")])
        .current_dir(home.path(""))
        .output();
    assert!(made.expect("openssl is installed").status.success());
}

/// One by one and in a list, as a new leaf and as a renewal, under the same ID and under another.
#[test]
fn a_key_that_was_compromised_gets_no_leaf_again() {
    let home = World::with_authorities();
    home.done("issue dev-1 --authority factory --out made");
    home.done("revoke dev-1 --reason keyCompromise --yes");
    let key = "made/dev-1.key.pem";
    request_for(&home, "dev-1", key);
    request_for(&home, "dev-2", key);
    let told = "which was revoked (keyCompromise)";
    let own = home.run("sign dev-1.csr --authority factory --out out");
    own.ends_with(4);
    assert!(
        own.stderr
            .contains("dev-1.csr: the request of dev-1 is for the key of its leaf")
            && own.stderr.contains(told),
        "{}",
        own.stderr
    );
    let other = home.run("sign dev-2.csr --authority factory --out out");
    other.ends_with(4);
    assert!(
        other
            .stderr
            .contains("dev-2.csr: the request of dev-2 is for the key of dev-1's leaf")
            && other.stderr.contains(told),
        "{}",
        other.stderr
    );
    let renewed = home.run("renew dev-1 --csr dev-1.csr --out out");
    renewed.ends_with(4);
    home.write_request("good");
    std::fs::create_dir(home.path("in")).expect("folder");
    for id in ["dev-1", "dev-2", "good"] {
        let from = format!("{id}.csr");
        let to = format!("in/{id}.csr");
        std::fs::copy(home.path(&from), home.path(&to)).expect("copied");
    }
    // Two that bring one key are told as such; each alone by what is known of the key.
    std::fs::remove_file(home.path("in/dev-1.csr")).expect("removed");
    for line in [
        "sign in --authority factory --out batch",
        "sign in --authority factory --out batch --dry-run",
    ] {
        let run = home.run(line);
        run.ends_with(3);
        assert!(
            run.stderr
                .contains("in/dev-2.csr: the request is for the key of dev-1's leaf")
                && run.stderr.contains(told),
            "{}",
            run.stderr
        );
    }
    home.write(
        "list.csv",
        "registration_id,csr\ngood,good.csr\ndev-2,dev-2.csr\n",
    );
    let run = home.run("issue --devices list.csv --authority factory --out out.ndjson");
    run.ends_with(3)
        .stderr_has("line 3: \"dev-2\": the request is for the key of dev-1's leaf");
    assert!(!home.path("out.ndjson").exists() && !home.path("out").exists());
    assert_eq!(
        home.done("inventory list --output json")
            .json()
            .as_array()
            .map(|all| all
                .iter()
                .filter(|one| one["registrationId"] == "good")
                .count()),
        Some(0)
    );
}

/// An image with a key in it, on two devices.
#[test]
fn a_key_of_one_device_is_no_other_devices() {
    let home = World::with_authorities();
    request(&home, "one");
    home.done("csr create two --out keys");
    request_for(&home, "three", "keys/two.key.pem");
    std::fs::rename(home.path("keys/two.csr.pem"), home.path("two.csr")).expect("moved");
    let both = home.run("sign two.csr three.csr --authority factory --out out");
    both.ends_with(4).stderr_has("for the same key");
    home.write(
        "list.csv",
        "registration_id,csr\none,one.csr\ntwo,two.csr\nthree,three.csr\n",
    );
    let run = home.run("issue --devices list.csv --authority factory --out out.ndjson");
    run.ends_with(3)
        .stderr_has("line 4: \"three\": the request in line 3 is for the same key");
    home.done("sign two.csr --authority factory --out out");
    let third = home.run("sign three.csr --authority factory --out out");
    third.ends_with(4);
    assert!(
        third
            .stderr
            .contains("three.csr: the request of three is for the key of two's leaf")
            && third.stderr.contains("cessationOfOperation"),
        "{}",
        third.stderr
    );
    // The device has another name from now on.
    home.done("revoke two --reason cessationOfOperation --yes");
    home.done("sign three.csr --authority factory --out out");
    // And renews with the key that it has.
    home.done("renew three --out renewed");
}
