//! The commands that need neither inventory nor network: init, inspect, verify, completions, man.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::World;
use pki_core::inventory::GenerationState;

#[test]
fn init_makes_a_closed_folder_and_never_overwrites() {
    let world = World::new();
    for template in ["quickstart", "factory", "tutorial"] {
        let run = world.run(&format!("init {template} --template {template}"));
        run.ends_with(0)
            .stdout_has(&format!("dps-pki --home {template} authority create"));
        let metadata = std::fs::metadata(world.path(template)).expect("folder");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o700);
    }
    let before = world.read("factory/pki.toml");
    world
        .run("init factory --template tutorial")
        .assert_refused(
            4,
            &[
                "error: factory/pki.toml exists already",
                "  hint: edit it, or choose another folder",
            ],
        );
    assert_eq!(world.read("factory/pki.toml"), before);
}

/// What the toolkit made itself is not guessed however cheap a guess is: no need to stretch it.
#[test]
fn keys_under_a_made_passphrase_are_hardly_stretched() {
    let world = World::new();
    let run = world.run("init line --new-passphrase words");
    run.ends_with(0)
        .stdout_has("--passphrase-file words authority create");
    let metadata = std::fs::metadata(world.path("words")).expect("passphrase");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let made = world.read("words");
    assert!(!run.stdout.contains(&made) && !run.stderr.contains(&made));
    world
        .run("init other --new-passphrase words")
        .assert_refused(
            4,
            &[
                "error: words exists already",
                "  hint: move it away, choose another place, or replace it with --force",
            ],
        );
    assert!(!world.path("other").exists());

    let run = world.run("--home line --passphrase-file words authority create root");
    run.ends_with(0);
    let shown = world.run("--home line authority show root --output json");
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).expect("JSON");
    let key = shown[0]["key"].as_str().expect("a file");
    let key = world.read(&format!("line/{key}"));
    let blocks = pki_core::pem::blocks(key.as_bytes()).expect("PEM");
    let document = &blocks.expect("blocks")[0].der;
    let a_thousand = [0x02, 0x02, 0x03, 0xe8];
    assert!(document.windows(4).any(|four| four == a_thousand));
    assert_eq!(
        world
            .run("--home line --passphrase-file words issue d-1 --authority root")
            .code,
        0
    );
}

#[test]
fn init_takes_files_and_checks_them_first() {
    let world = World::new();
    world.write(
        "good.toml",
        "[authority.root]\nsubject = \"CN=R\"\nkey = \"rsa-2048\"\nvalidity = \"1y\"\n",
    );
    world.write("bad.toml", "[authority.root]\nsubjetc = \"CN=R\"\n");
    let run = world.run("init a --template good.toml --output json");
    assert_eq!(
        run.json(),
        serde_json::json!({
            "home": "a",
            "declaration": "a/pki.toml",
            "template": "good.toml",
            "authorities": ["root"],
            "dryRun": false,
        })
    );
    world.run("init b --template bad.toml").assert_refused(
        3,
        &[r#"error: bad.toml, line 2: [authority.root] subjetc: there is no such key; did you mean "subject"?"#],
    );
    world.run("init b --template none").assert_refused(
        8,
        &[
            "error: none does not exist",
            "  hint: the templates are quickstart, factory, tutorial; anything else is a file",
        ],
    );
    assert!(!world.path("b").exists());
}

#[test]
fn init_goes_to_the_named_home_and_dry_runs_change_nothing() {
    let world = World::new();
    assert_eq!(world.run("init --home h --dry-run").code, 0);
    assert!(!world.path("h").exists());
    assert_eq!(world.run("init --home h").code, 0);
    assert!(world.path("h/pki.toml").exists());
    let run = world.run("init . --template tutorial");
    run.ends_with(0).stdout_has("  2. dps-pki authority create");
}

#[test]
fn inspect_names_everything_in_a_chain() {
    let world = World::with_pki();
    let run = world.run("inspect sensor-1-full-chain.cert.pem --output json");
    let json = run.json();
    let subjects: Vec<&str> = (0..3)
        .filter_map(|index| json["items"][index]["subject"].as_str())
        .collect();
    assert_eq!(
        subjects,
        [
            "CN=sensor-1",
            "CN=Contoso Factory CA, O=Contoso",
            "CN=Contoso Root CA, O=Contoso"
        ]
    );
    let leaf = &json["items"][0];
    assert_eq!(leaf["type"], "certificate");
    assert_eq!(leaf["issuer"], subjects[1]);
    assert_eq!(leaf["notBefore"], "2026-06-01T11:55:00Z");
    assert_eq!(leaf["notAfter"], "2026-08-30T12:00:00Z");
    assert_eq!(
        (&leaf["publicKey"], &leaf["isCa"]),
        (&"EC P-256".into(), &false.into())
    );
    assert_eq!(json["items"][1]["publicKey"], "RSA 2048");
    let extension = |item: usize, name: &str| {
        let extensions = json["items"][item]["extensions"].as_array();
        let found = extensions.and_then(|all| all.iter().find(|one| one["name"] == name));
        found.map(|one| (one["value"].clone(), one["critical"].clone()))
    };
    assert_eq!(
        extension(0, "keyUsage"),
        Some(("digitalSignature".into(), true.into()))
    );
    assert_eq!(
        extension(0, "extKeyUsage"),
        Some(("clientAuth".into(), false.into()))
    );
    assert_eq!(
        extension(1, "basicConstraints"),
        Some(("CA, path length 0".into(), true.into()))
    );
}

#[test]
fn inspect_reads_pem_der_and_standard_input_alike() {
    let mut world = World::with_pki();
    let pem = world.run("inspect sensor-1.cert.pem --output json").json();
    let der = world.run("inspect sensor-1.cert.der --output json").json();
    assert_eq!(pem["items"], der["items"]);
    world.stdin = world
        .read("sensor-1.cert.pem")
        .replace('\n', "\r\n")
        .into_bytes();
    let stdin = world.run("inspect - --output json").json();
    assert_eq!(pem["items"], stdin["items"]);
}

/// The thumbprints and the serial number, as OpenSSL computes and writes them.
#[test]
fn inspect_agrees_with_openssl() {
    let world = World::with_pki();
    let leaf = &world.run("inspect sensor-1.cert.pem --output json").json()["items"][0];
    let openssl = |flags: &[&str]| {
        let output = std::process::Command::new("openssl")
            .args(["x509", "-noout", "-in"])
            .arg(world.path("sensor-1.cert.pem"))
            .args(flags)
            .output()
            .expect("openssl is installed");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.trim()
            .rsplit('=')
            .next()
            .unwrap_or_default()
            .replace(':', "")
    };
    assert_eq!(leaf["sha1Thumbprint"], openssl(&["-fingerprint", "-sha1"]));
    assert_eq!(
        leaf["sha256Thumbprint"],
        openssl(&["-fingerprint", "-sha256"])
    );
    assert_eq!(leaf["serialNumber"], openssl(&["-serial"]).to_lowercase());
}

#[test]
fn inspect_shows_nothing_private() {
    let world = World::with_pki();
    let run = world.run("inspect sensor-1.key.pem");
    assert_eq!(
        run.stdout,
        "private key, not encrypted\n  key         EC P-256\n"
    );
    let run = world.run("inspect sensor-1.key.pem --passphrase-from stdin");
    assert_eq!(
        run.stdout, "private key, not encrypted\n  key         EC P-256\n",
        "no passphrase is needed, so none is read"
    );
    let run = world.run("inspect factory.key.pem");
    assert_eq!(
        run.stdout,
        "private key, encrypted\n  key         unknown without its passphrase\n"
    );
}

#[test]
fn inspect_reads_requests_of_others() {
    let world = World::new();
    world.write_request("sensor-2");
    let item = &world.run("inspect sensor-2.csr --output json").json()["items"][0];
    assert_eq!(item["type"], "signingRequest");
    assert_eq!(
        (&item["registrationId"], &item["publicKey"]),
        (&"sensor-2".into(), &"EC P-384".into())
    );
}

#[test]
fn inspect_says_in_one_sentence_what_cannot_be_read() {
    let world = World::with_pki();
    world.write("empty", "\n");
    world.write("noise", [0xff, 0x00, 0x01]);
    let pem = world.read("sensor-1.cert.pem");
    world.write("cut.pem", &pem[..pem.len() / 2]);
    for (file, sentence) in [
        ("empty", "empty: it is empty"),
        (
            "noise",
            "noise: it is neither PEM nor a certificate, CSR, CRL, private key, PKCS#7 or PKCS#12 file in DER",
        ),
        (
            "cut.pem",
            "cut.pem: it is not readable as PEM: a block is cut off or its base64 is broken",
        ),
        (".", ".: it is a folder, not a file"),
    ] {
        world
            .run(&format!("inspect {file}"))
            .assert_refused(3, &[&format!("error: {sentence}")]);
    }
}

#[test]
fn verify_says_yes_with_the_path_and_no_with_code_4() {
    let world = World::with_pki();
    let command = "verify sensor-1-full-chain.cert.pem --anchor root.cert.pem";
    let run = world.run(command);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert!(
        run.stdout
            .starts_with("the path holds at 2026-06-01T12:00:00Z\nDEPTH")
    );
    let json = world.run(&format!("{command} --output json")).json();
    assert_eq!(
        (&json["holds"], &json["purpose"]),
        (&true.into(), &"client".into())
    );
    assert_eq!(json["path"].as_array().map(Vec::len), Some(3));

    let late = world.run(&format!("{command} --at 2026-09-01T00:00:00Z"));
    assert_eq!(late.code, 4);
    assert!(
        late.stdout
            .starts_with("the path does not hold at 2026-09-01T00:00:00Z")
    );
    assert_eq!(
        late.stderr,
        "error: the path of sensor-1-full-chain.cert.pem does not hold: CN=sensor-1 at depth 0: it expired on 2026-08-30T12:00:00Z (validity)\n"
    );
    assert_eq!(world.run(&format!("{command} --purpose server")).code, 4);
    assert_eq!(world.run(&format!("{command} --purpose any")).code, 0);
}

#[test]
fn verify_trusts_anchors_only() {
    let world = World::with_pki();
    let alone = "verify sensor-1.cert.pem --anchor root.cert.pem";
    assert_eq!(world.run(alone).code, 4);
    assert_eq!(
        world
            .run(&format!("{alone} --intermediates factory.cert.pem"))
            .code,
        0
    );
    assert_eq!(
        world
            .run("verify sensor-1.cert.pem --anchor factory.cert.pem")
            .code,
        0
    );
    // The root in the chain file is not trusted for being there.
    let stranger = World::with_pki();
    world.write("stranger.cert.pem", stranger.read("root.cert.pem"));
    assert_eq!(
        world
            .run("verify sensor-1-full-chain.cert.pem --anchor stranger.cert.pem")
            .code,
        4
    );
}

/// A retired root stands behind the leaves that it issued; a compromised one behind nothing.
#[test]
fn verify_trusts_the_homes_roots_unless_compromised() {
    for (state, code) in [
        (GenerationState::Current, 0),
        (GenerationState::Retired, 0),
        (GenerationState::Compromised, 8),
    ] {
        let world = World::with_pki();
        assert_eq!(world.run("init pki").code, 0);
        world.record_root("pki", state);
        let run = world.run("verify sensor-1-full-chain.cert.pem --home pki");
        assert_eq!(run.code, code, "{state}: {}", run.stderr);
    }
}

#[test]
fn verify_refuses_a_key_where_a_certificate_is_wanted() {
    let world = World::with_pki();
    world.run("verify sensor-1.key.pem --anchor root.cert.pem").assert_refused(
        3,
        &["error: sensor-1.key.pem: it holds a private key (PRIVATE KEY) where a certificate is wanted; nothing was sent or stored"],
    );
}

#[test]
fn man_pages_cover_every_command() {
    let world = World::new();
    let run = world.run("man pages/man1 --output json");
    run.ends_with(0);
    for page in ["dps-pki.1", "dps-pki-init.1", "dps-pki-inspect.1"] {
        assert!(
            world.read(&format!("pages/man1/{page}")).starts_with(".ie"),
            "{page}"
        );
    }
    let pages = run.json()["pages"].to_string();
    assert!(!pages.contains("-help"), "{pages}");
    assert_eq!(world.run("man pages/man1").code, 0);
}

#[test]
fn completions_name_every_command() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        let run = world.run(&format!("completions {shell}"));
        assert!(
            run.stdout.contains("inspect") && run.stdout.contains("dry-run"),
            "{shell}"
        );
    }
}
