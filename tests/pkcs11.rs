//! Authorities whose keys are in a token: made there, found there, and what is wrong is said.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../pki-core/tests/support/softhsm.rs"]
mod softhsm;

use dps_pki_tests::{Home, Run};
use softhsm::{PIN, SETTINGS, SoftHsm};

const DECLARATION: &str = r#"
[authority.root]
subject = "CN=Token Root"
key = "rsa-2048"
key-store = "pkcs11:token=factory?pin-source=file:pin"
validity = "20y"

[authority.factory]
issuer = "root"
subject = "CN=Token Factory"
key = "ecdsa-p256"
key-store = "pkcs11:token=factory;object=line?pin-source=file:pin"
validity = "5y"

[authority.lab]
subject = "CN=Token Lab"
key = "ed25519"
key-store = "pkcs11:token=factory?pin-source=file:pin"
validity = "5y"

[profile.device]
key = "ecdsa-p256"
validity = "30d"
"#;

/// A home and the tokens that its commands see.
struct Plant {
    home: Home,
    softhsm: SoftHsm,
}

impl Plant {
    fn new(declaration: &str) -> Option<Self> {
        let softhsm = SoftHsm::start()?;
        softhsm.token("factory");
        let home = Home::empty();
        home.write("pki.toml", declaration);
        home.write("pin", PIN);
        Some(Self { home, softhsm })
    }

    fn run(&self, line: &str) -> Run {
        let output = self
            .home
            .command(line)
            .env(SETTINGS, self.softhsm.settings())
            .env("DPS_PKI_PKCS11_MODULE", self.softhsm.module())
            .output();
        Run::new(line, output.expect("dps-pki starts"))
    }

    #[track_caller]
    fn refused(&self, line: &str, code: i32, sentence: &str) {
        let run = self.run(line);
        assert_eq!(run.code, code, "{run}");
        assert!(
            run.stderr.contains(sentence),
            "{sentence:?} is not in: {run}"
        );
        assert!(!run.stderr.contains(PIN), "{run}");
    }
}

#[test]
fn keys_are_made_in_the_token_and_sign_there() {
    let Some(plant) = Plant::new(DECLARATION) else {
        return;
    };
    plant.run("authority create").ok();
    let home = &plant.home;
    assert!(!home.files().iter().any(|file| file.ends_with(".key.pem")));
    let shown = plant
        .run("authority show factory --output json")
        .ok()
        .json();
    let key = shown[0]["key"].as_str().expect("a URI");
    assert!(
        key.starts_with("pkcs11:token=factory;object=line.1;id=")
            && key.ends_with("?pin-source=file:pin"),
        "{key}"
    );
    assert!(
        home.read("authorities/root/1.cert.pem")
            .contains("BEGIN CERTIFICATE")
    );
    plant
        .run("issue sensor-1 --authority factory --out devices")
        .ok();
    let root = "authorities/root/1.cert.pem";
    let chain = "devices/sensor-1-full-chain.cert.pem";
    home.tool(
        "openssl",
        &format!("verify -x509_strict -CAfile {root} -untrusted {chain} devices/sensor-1.cert.pem"),
    )
    .ok();
    // DPS takes no Ed25519, but a laboratory may.
    plant
        .run("issue probe-1 --authority lab --out devices")
        .ok();
    home.tool(
        "openssl",
        "verify -x509_strict -CAfile authorities/lab/1.cert.pem devices/probe-1.cert.pem",
    )
    .ok();
    // Many threads sign a batch, each in a session of its own.
    plant.run("issue --prefix unit- --count 300 --authority factory --out batch.ndjson --format ndjson --plain-keys --jobs 4").ok();
    assert_eq!(home.read("batch.ndjson").lines().count(), 300);
    plant
        .run("possession root 0123456789abcdef --out proof.pem")
        .ok();
    home.tool("openssl", &format!("verify -CAfile {root} proof.pem"))
        .ok();
    assert!(plant.run("authority create").ok().stdout.contains("exists"));
}

/// No token keeps labels apart: two homes may declare authorities of the same names for one.
#[test]
fn two_homes_on_one_token_have_keys_of_their_own() {
    let Some(plant) = Plant::new(DECLARATION) else {
        return;
    };
    let other = Home::with_declaration_of(&plant.home);
    other.write("pin", PIN);
    let homes = [&plant.home, &other];
    let run = |home: &Home, line: &str| {
        let output = home
            .command(line)
            .env(SETTINGS, plant.softhsm.settings())
            .env("DPS_PKI_PKCS11_MODULE", plant.softhsm.module())
            .output();
        Run::new(line, output.expect("dps-pki starts"))
    };
    // One after the other: SoftHSM itself fails in several ways when two processes change a token at once.
    for home in homes {
        run(home, "authority create").ok();
    }
    for name in ["root", "factory", "lab"] {
        let certificate = format!("authorities/{name}/1.cert.pem");
        let line = format!("x509 -in {certificate} -noout -pubkey");
        let keys = homes.map(|home| home.tool("openssl", &line).ok().stdout);
        assert_ne!(keys[0], keys[1], "{name}");
    }
    // Each finds its own when it signs.
    for home in homes {
        run(home, "issue sensor-1 --authority factory --out devices").ok();
        let line = "verify -x509_strict -CAfile authorities/root/1.cert.pem -untrusted devices/sensor-1-full-chain.cert.pem devices/sensor-1.cert.pem";
        home.tool("openssl", line).ok();
        run(home, "authority create factory --next").ok();
    }
}

/// What a run made that was cut short before it was recorded is the home's, and no other's.
#[test]
fn a_key_that_was_made_and_not_recorded_is_taken_up() {
    let Some(plant) = Plant::new(DECLARATION) else {
        return;
    };
    plant.run("authority create lab").ok();
    let of = |home: &Home| {
        home.tool(
            "openssl",
            "x509 -in authorities/lab/1.cert.pem -noout -pubkey",
        )
        .ok()
        .stdout
    };
    let made = of(&plant.home);
    // As it was before the generation was recorded.
    for file in ["inventory.db", "authorities/lab/1.cert.pem"] {
        std::fs::remove_file(plant.home.path(file)).expect(file);
    }
    for log in ["inventory.db-wal", "inventory.db-shm"] {
        let _ = std::fs::remove_file(plant.home.path(log));
    }
    plant.run("authority create lab").ok();
    assert_eq!(of(&plant.home), made);
}

/// A token that was cut short, or changed by another process, may have one key of a pair.
#[test]
fn half_a_key_pair_is_in_nobodys_way() {
    let Some(plant) = Plant::new(DECLARATION) else {
        return;
    };
    plant.run("authority create root").ok();
    plant.run("authority create lab").ok();
    // As it was when the token had the private keys only, and no generation was recorded.
    let removed = plant.softhsm.remove_public_keys();
    assert_eq!(removed, 2);
    for file in ["inventory.db", "authorities/lab", "authorities/root"] {
        let path = plant.home.path(file);
        if path.is_dir() {
            std::fs::remove_file(path.join("1.cert.pem")).expect(file);
        } else {
            std::fs::remove_file(path).expect(file);
        }
    }
    // The private key of RSA says what the public one is.
    let run = plant.run("authority create root").ok();
    assert!(!run.stderr.contains("public key"), "{run}");
    // That of Ed25519 does not.
    let run = plant.run("authority create lab").ok();
    let warning = "the token factory holds no public key beside the private key object=lab.1;id=";
    run.stderr_has(warning);
    run.stderr_has("p11tool --login --delete 'pkcs11:token=factory;");
    plant.run("issue a --authority lab --out devices").ok();
}

/// RFC 7512: an object that somebody made with other tools.
#[test]
fn a_key_that_the_token_holds_is_taken_up() {
    let declaration = "[authority.root]\nsubject = \"CN=Found\"\nkey = \"pkcs11:token=factory;object=found?pin-source=env:TOKEN_PIN\"\nvalidity = \"1y\"\n[profile.device]\nkey = \"ecdsa-p256\"\nvalidity = \"9d\"\n";
    let Some(plant) = Plant::new(declaration) else {
        return;
    };
    let home = &plant.home;
    home.tool(
        "openssl",
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out found.key",
    )
    .ok();
    let stored = std::process::Command::new("softhsm2-util")
        .args([
            "--import",
            "found.key",
            "--token",
            "factory",
            "--label",
            "found",
            "--id",
            "A1",
            "--pin",
            PIN,
        ])
        .current_dir(home.path(""))
        .env(SETTINGS, plant.softhsm.settings())
        .output();
    assert!(stored.expect("softhsm2-util").status.success());
    plant.refused(
        "authority create",
        3,
        "the environment variable TOKEN_PIN is not set",
    );
    home.redeclare("env:TOKEN_PIN", "file:pin");
    plant.run("authority create").ok();
    let text = home
        .tool(
            "openssl",
            "x509 -in authorities/root/1.cert.pem -noout -text",
        )
        .ok();
    assert!(
        text.stdout.contains("secp384r1") && text.stdout.contains("ecdsa-with-SHA384"),
        "{text}"
    );

    // The same key under the certificate that OpenSSL made for it.
    let other = Plant {
        home: Home::with_declaration_of(home),
        softhsm: plant.softhsm,
    };
    other.home.write("pin", PIN);
    home.tool("openssl", "req -x509 -new -key found.key -subj /CN=Found -days 99 -addext keyUsage=critical,keyCertSign,cRLSign -out found.pem").ok();
    other.home.write("found.pem", home.read("found.pem"));
    let import = "authority import root --cert found.pem --pkcs11";
    other.refused(
        &format!("{import} pkcs11:token=factory;object=lost?pin-source=file:pin"),
        8,
        "the token factory holds no private key object=lost; present are found",
    );
    let row = other
        .run(&format!(
            "{import} pkcs11:token=factory;id=%A1?pin-source=file:pin --output json"
        ))
        .ok()
        .json();
    assert_eq!(row[0]["status"], "imported");
    other.run("issue a --authority root --out devices").ok();
    other
        .home
        .tool("openssl", "verify -CAfile found.pem devices/a.cert.pem")
        .ok();
}

/// A module says which mechanisms it has; SoftHSM can be told to have fewer.
#[test]
fn a_kind_of_key_that_the_token_does_not_know_is_named() {
    let Some(plant) = Plant::new(DECLARATION) else {
        return;
    };
    let settings = plant.softhsm.settings();
    let text = std::fs::read_to_string(&settings).expect("settings");
    let fewer = "slots.mechanisms = -CKM_EC_EDWARDS_KEY_PAIR_GEN,CKM_EDDSA\n";
    std::fs::write(settings, text + fewer).expect("settings");
    plant.refused(
        "authority create lab",
        3,
        "the token factory makes no keys of the kind ed25519; declare another kind",
    );
    plant.run("authority create root").ok();
}

#[test]
fn what_is_wrong_with_a_token_is_said_in_a_sentence() {
    let Some(plant) = Plant::new(DECLARATION) else {
        return;
    };
    let home = &plant.home;
    home.write("pin", "000000");
    plant.refused("authority create", 4, "the token factory refuses the PIN");
    home.redeclare(
        "?pin-source=file:pin\"\nvalidity = \"20y\"",
        "\"\nvalidity = \"20y\"",
    );
    plant.refused("authority create root", 4, "the token factory wants a PIN");
    home.redeclare("pkcs11:token=factory\"", "pkcs11:token=elsewhere\"");
    plant.refused(
        "authority create root",
        8,
        "there is no token pkcs11:token=elsewhere; present are factory",
    );
    let none = home.dps_pki("authority create root");
    assert_eq!(none.code, 3, "{none}");
    assert!(
        none.stderr.contains("nothing says which PKCS#11 module")
            && none.stderr.contains("DPS_PKI_PKCS11_MODULE"),
        "{none}"
    );
    home.redeclare(
        "pkcs11:token=elsewhere\"",
        "pkcs11:token=factory?module-path=missing.so\"",
    );
    plant.refused("authority create root", 8, "missing.so cannot be used");
    assert_eq!(
        home.files(),
        ["inventory.db", "passphrase", "pin", "pki.toml"]
    );
}
