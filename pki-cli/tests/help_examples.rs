//! The examples in help texts: every one is a command line, and those that need no DPS are run.
#![allow(
    clippy::disallowed_methods,
    reason = "tests make files as anybody does"
)]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use crate::support::{PASSPHRASE, World};
use clap::Command;

/// Commands whose examples talk to a DPS; they run in the end-to-end tests.
const NEEDS_DPS: [&str; 12] = [
    "plan",
    "apply",
    "explain",
    "impact",
    "roll",
    "quarantine",
    "readmit",
    "deprovision",
    "journal",
    "dps",
    "hub",
    "check",
];

/// Commands whose examples do not end by themselves.
const RUNS_FOREVER: [&str; 1] = ["emulator"];

/// Commands whose examples start from an empty folder.
const NEEDS_NO_HOME: [&str; 1] = ["init"];

/// Commands whose examples issue the devices that the others ask about.
const NEEDS_NO_DEVICES: [&str; 2] = ["issue", "sign"];

#[test]
fn every_example_is_a_command_line() {
    let examples = examples_of(&whole_command());
    assert!(!examples.is_empty());
    for example in examples {
        let words = std::iter::once("dps-pki").chain(example.split_whitespace());
        let parsed = pki_cli::command().try_get_matches_from(words);
        assert!(
            parsed.is_ok(),
            "{example}\n{}",
            parsed.expect_err("refused")
        );
    }
}

#[test]
fn every_example_that_needs_no_dps_works() {
    let examples = examples_of(&whole_command());
    let first_word = |example: &String| example.split(' ').next().unwrap_or_default().to_owned();
    let local: Vec<_> = examples
        .iter()
        .filter(|example| !NEEDS_DPS.contains(&first_word(example).as_str()))
        .filter(|example| !RUNS_FOREVER.contains(&first_word(example).as_str()))
        .collect();
    assert!(local.len() >= 10, "{local:?}");
    let mut worlds = Worlds::default();
    for example in local {
        let needs_old = |prefix: &&str| example.starts_with(*prefix);
        let world = if NEEDS_OLD_AUTHORITY.iter().any(needs_old) {
            worlds.beside_an_old_authority(example)
        } else {
            worlds.of(&first_word(example))
        };
        world.done(example);
    }
}

#[test]
fn every_command_or_its_group_has_an_example() {
    let whole = whole_command();
    for command in whole
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        assert!(!examples_of(command).is_empty(), "{}", command.get_name());
    }
}

/// Commands whose examples are about what a batch, or a proof, has left behind.
const NEEDS_BATCH: [&str; 3] = ["batch", "audit", "convert"];

/// Commands whose examples are about authorities that exist elsewhere, and what those issued.
const NEEDS_OLD_AUTHORITY: [&str; 3] = ["authority import", "authority adopt", "inventory import"];

/// What examples take for granted, made once for all that take the same: each gets a copy.
#[derive(Default)]
struct Worlds {
    beside_an_old_authority: Option<World>,
    after: BTreeMap<Vec<&'static str>, World>,
}

impl Worlds {
    /// What a command's examples take for granted: the files of a device, a home with its authorities,
    /// devices issued in it.
    fn of(&mut self, command: &str) -> World {
        let mut setup = Vec::new();
        if !NEEDS_NO_HOME.contains(&command) {
            setup.extend(["init", "authority create"]);
            if !NEEDS_NO_DEVICES.contains(&command) {
                setup.push("issue sensor-1 sensor-2 --authority factory --out issued");
            }
            if NEEDS_BATCH.contains(&command) {
                setup.push("issue --prefix line-7- --count 2 --authority factory --batch line-7 --out line-7.ndjson --plain-keys --sign-manifest");
                setup.push("audit prove sensor-1 --out sensor-1.proof.json");
            }
        }
        let made = self.after.entry(setup);
        let world = made.or_insert_with_key(|setup| after(setup)).copy();
        if command == "crl" {
            // Another list of the same authority stands for the last one of its old home.
            let old = world.done("crl factory").stdout;
            world.write("old/factory.crl", old);
            world.done("audit checkpoint --out checkpoint.json");
        }
        if command == "verify" {
            world.done("crl factory --out factory.crl");
            world.done("crl root --out root.crl");
        }
        world
    }

    /// A home in which nothing was made yet, and the files that another PKI with the same names would have
    /// left: keys in the clear, PKCS#12, a database of `openssl ca`.
    fn beside_an_old_authority(&mut self, example: &str) -> World {
        let made = &mut self.beside_an_old_authority;
        let world = made.get_or_insert_with(beside_an_old_authority).copy();
        if example.contains("adopt") {
            sign_as_openssl_ca(&world);
        }
        if example.contains("factory.pfx") {
            world.done("authority import root --cert certs/ca.cert.pem --key private/ca.key.pem");
        }
        world
    }
}

/// The files that examples name, and what these commands make of them.
fn after(setup: &[&str]) -> World {
    let mut world = World::with_pki();
    world.write(
        "existing.toml",
        include_str!("../../templates/tutorial.toml"),
    );
    world.write(".pki-passphrase", PASSPHRASE);
    world.write("pfx-passphrase", "another");
    world.write_request("sensor-7");
    let request = world.read("sensor-7.csr");
    world.write("plant.csr.pem", &request);
    world.write("requests/sensor-7.csr", &request);
    let line = serde_json::json!({ "registrationId": "sensor-7", "csr": request });
    world.write("requests.ndjson", format!("{line}\n"));
    world.set("DPS_PKI_PASSPHRASE", PASSPHRASE);
    for line in setup {
        world.done(line);
    }
    world
}

fn beside_an_old_authority() -> World {
    let mut world = World::with_pki();
    world.set("DPS_PKI_PASSPHRASE", PASSPHRASE);
    world.write("factory.pass", PASSPHRASE);
    world.write("old.pass", PASSPHRASE);
    world.write(
        "ca.ext",
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n",
    );
    world.done("init old");
    world.done("authority create --home old");
    world.done("issue sensor-7 --authority factory --out devices --home old");
    world.done("init");
    let root = "old/authorities/root/1";
    let factory = "old/authorities/factory/1";
    let key = |name: &str| {
        let folder = world.path(&format!("old/authorities/{name}"));
        let mut files = std::fs::read_dir(folder).expect("a folder");
        let key = files.find_map(|file| {
            let path = file.expect("a file").path();
            path.to_str()
                .filter(|path| path.ends_with(".key.pem"))
                .map(str::to_owned)
        });
        key.expect("a key")
    };
    for folder in ["private", "certs", "more", "easy-rsa/pki/certs_by_serial"] {
        std::fs::create_dir_all(world.path(folder)).expect(folder);
    }
    openssl(
        &world,
        &format!(
            "pkey -in {} -passin file:old.pass -out private/ca.key.pem",
            key("root")
        ),
    );
    openssl(
        &world,
        &format!(
            "pkcs12 -export -in {factory}.cert.pem -inkey {} -passin file:old.pass -certfile {root}.cert.pem -passout file:factory.pass -out factory.pfx",
            key("factory")
        ),
    );
    let leaf = world.read("devices/sensor-7.cert.pem");
    for (path, content) in [
        ("certs/ca.cert.pem", world.read(&format!("{root}.cert.pem"))),
        ("root.cert.pem", world.read(&format!("{root}.cert.pem"))),
        ("more/sensor-7.cert.pem", leaf.clone()),
        ("easy-rsa/pki/certs_by_serial/1.pem", leaf.clone()),
    ] {
        world.write(path, content);
    }
    let leaf = pki_core::certificate::pem::certificate(leaf.as_bytes()).expect("a leaf");
    let serial = leaf.serial_number();
    world.write(
        "easy-rsa/pki/index.txt",
        format!("V\t991231235959Z\t\t{serial}\tunknown\t/CN=sensor-7\n"),
    );
    world
}

/// A request of the new home is signed by the old PKI.
fn sign_as_openssl_ca(world: &World) {
    world.done("authority request factory --out factory.csr");
    world.write("ca.cnf", "[ca]\ndefault_ca=d\n[d]\ndatabase=ca.txt\nserial=ca.serial\nnew_certs_dir=more\ndefault_md=sha256\npolicy=p\n[p]\nCN=supplied\n");
    world.write("ca.txt", "");
    world.write("ca.serial", "01");
    openssl(
        world,
        "ca -batch -config ca.cnf -cert root.cert.pem -keyfile private/ca.key.pem -extfile ca.ext -startdate 20260601000000Z -enddate 20270601000000Z -notext -in factory.csr -out factory.cert.pem",
    );
}

fn openssl(world: &World, line: &str) {
    let openssl = std::process::Command::new("openssl")
        .args(line.split(' '))
        .current_dir(world.path(""))
        .output()
        .expect("openssl");
    let said = String::from_utf8_lossy(&openssl.stderr);
    assert!(openssl.status.success(), "{line}: {said}");
}

/// Every command with its arguments, which are put together only when they are asked for.
fn whole_command() -> Command {
    let mut command = pki_cli::command();
    command.build();
    command
}

/// The command lines in all help texts, without what is the shell's: `~/` and redirections.
fn examples_of(command: &Command) -> Vec<String> {
    let text = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("dps-pki "));
    let plain = |line: &str| {
        let line = line.split(" > ").next().unwrap_or_default();
        line.replace("~/", "")
    };
    let mut examples: Vec<String> = lines.map(plain).collect();
    examples.extend(command.get_subcommands().flat_map(examples_of));
    examples
}
