//! What is wrong is refused with one sentence and the exit code that scripts rely on, and changes
//! nothing: no file, no record, no half of anything (design rule 7).
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod furnished;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use dps_pki_tests::{Home, Run};
use pki_cli::host::Host;
use pki_core::ports::Clock;
use pki_core::time::Time;
use serde_json::Value;

use self::furnished::{Furnished, check, check_lines, check_sentence, furnished};

/// The exit codes of the command line's contract, with their words in JSON.
const USAGE: (i32, &str) = (2, "usage");
const INVALID: (i32, &str) = (3, "invalid_input");
const REFUSED: (i32, &str) = (4, "refused");
const SERVICE: (i32, &str) = (5, "service");
const FAILED: (i32, &str) = (1, "failed");
const NOT_FOUND: (i32, &str) = (8, "not_found");

/// A command line, how it must end, and what its sentence must name.
type Case<'a> = (&'a str, (i32, &'static str), &'a str);

#[test]
fn files_that_hold_something_else() {
    let home = furnished();
    check(
        &home,
        &[
            ("verify prose.pem", INVALID, "prose.pem"),
            ("verify devices/sensor-1.key.pem", INVALID, "private key"),
            ("explain devices/sensor-1.key.pem", INVALID, "private key"),
            (
                "quarantine devices/sensor-1.key.pem --yes",
                INVALID,
                "private key",
            ),
            (
                "sign devices/sensor-1.key.pem --authority factory",
                INVALID,
                "private key",
            ),
            (
                "sign devices/sensor-1.cert.pem --authority factory",
                INVALID,
                "certificate",
            ),
            ("sign prose.pem --authority factory", INVALID, "prose.pem"),
            ("sign broken.csr --authority factory", INVALID, "broken.csr"),
            ("inspect prose.pem", INVALID, "prose.pem"),
            ("inspect cut.pem", INVALID, "cut.pem"),
            ("verify cut.pem", INVALID, "cut.pem"),
            ("verify empty", INVALID, "empty"),
            ("explain empty", INVALID, "empty"),
            ("sign empty --authority factory", INVALID, "empty"),
            ("inspect -", INVALID, "standard input"),
            ("verify devices", INVALID, "devices: it is a folder"),
            (
                "sign devices --authority factory",
                INVALID,
                "devices: it holds no file that is a request",
            ),
            ("verify pipe", INVALID, "pipe: it is a named pipe"),
            ("quarantine pipe --yes", INVALID, "pipe: it is a named pipe"),
            ("verify nowhere.pem", NOT_FOUND, "nowhere.pem"),
            (
                "verify devices/sensor-1.cert.pem --anchor nowhere.pem",
                NOT_FOUND,
                "nowhere.pem",
            ),
            (
                "verify devices/sensor-1.cert.pem --anchor prose.pem",
                INVALID,
                "prose.pem",
            ),
            ("verify devices/sensor-1.cert.pem --at noon", USAGE, "noon"),
            ("init other --template prose.pem", INVALID, "prose.pem"),
            (
                "dps device put sensor-1 --file prose.pem --yes",
                INVALID,
                "prose.pem",
            ),
            (
                "dps device put sensor-1 --cert devices/sensor-1.key.pem --yes",
                INVALID,
                "private key",
            ),
        ],
    );
}

/// Readable by nobody, not even by root: the kernel itself says no.
#[test]
fn what_the_system_does_not_allow() {
    let home = furnished();
    let closed = home.path("closed");
    std::fs::write(&closed, "x").expect("closed");
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).expect("closed");
    let (unreadable, ending) = match std::fs::read(&closed) {
        Err(_) => ("closed", INVALID),
        // Root may read everything that can be read; this can only be written.
        Ok(_) => ("/proc/self/clear_refs", FAILED),
    };
    let verify = format!("verify {unreadable}");
    check(
        &home,
        &[
            (&verify, ending, unreadable),
            ("authority export root --home /proc", NOT_FOUND, "pki.toml"),
        ],
    );
}

#[test]
fn a_leaf_that_cannot_be_delivered_is_made_anew_elsewhere() {
    let home = furnished();
    // Nobody can make files there, root included.
    let issue = "issue sensor-9 --authority factory --out";
    let run = home.dps_pki(&format!("{issue} /sys/devices"));
    check_sentence(&run, FAILED, "/sys/devices");
    assert_eq!(statuses(&home, "sensor-9"), ["undelivered"]);
    home.dps_pki(&format!("{issue} devices")).ok();
    assert_eq!(statuses(&home, "sensor-9"), ["delivered", "voided"]);
}

fn statuses(home: &Home, id: &str) -> Vec<String> {
    let known = home.json(&format!("inventory show {id}"));
    let status = |entry: &Value| entry["status"].as_str().unwrap_or_default().to_owned();
    let mut statuses: Vec<String> = known.as_array().into_iter().flatten().map(status).collect();
    statuses.sort();
    statuses
}

#[test]
fn names_that_are_none() {
    let home = furnished();
    let long = "x".repeat(65);
    let longest = "x".repeat(129);
    let [long, longest] =
        [long, longest].map(|id| format!("issue {id} --authority factory --out devices"));
    check(
        &home,
        &[
            ("issue sensor/9 --authority factory", INVALID, "sensor/9"),
            ("issue sensor-9. --authority factory", INVALID, "sensor-9."),
            (
                "issue ../sensor-9 --authority factory",
                INVALID,
                "../sensor-9",
            ),
            (&long, INVALID, "at most 64"),
            (&longest, INVALID, "128"),
            (
                "issue sensor-9 SENSOR-9 --authority factory",
                INVALID,
                "twice",
            ),
            ("issue sensor-9 --authority nobody", NOT_FOUND, "nobody"),
            (
                "issue sensor-9 --authority factory --profile none",
                NOT_FOUND,
                "none",
            ),
            ("issue sensor-9", USAGE, "--authority"),
            (
                "issue sensor-9 --authority factory --passphrase hunter2",
                USAGE,
                "--passphrase",
            ),
            ("explain nobody", NOT_FOUND, "nobody"),
            ("explain no/body", INVALID, "no/body"),
            ("inventory show nobody", NOT_FOUND, "nobody"),
            ("plan --dps elsewhere", NOT_FOUND, "elsewhere"),
            ("authority create nobody", NOT_FOUND, "nobody"),
            ("authority export nobody", NOT_FOUND, "nobody"),
            ("dps group show nobody", NOT_FOUND, "nobody"),
            ("dps device show nobody", NOT_FOUND, "nobody"),
            ("dps registration show nobody", NOT_FOUND, "nobody"),
            ("emulator --listen here", USAGE, "here"),
            ("plan --output yaml", USAGE, "yaml"),
        ],
    );
    let spaced = home
        .command("possession root")
        .arg("a code")
        .output()
        .expect("runs");
    let run = Run {
        line: "possession root 'a code'".to_owned(),
        code: spaced.status.code().unwrap_or(-1),
        stdout: String::new(),
        stderr: String::from_utf8_lossy(&spaced.stderr).into_owned(),
    };
    check_sentence(&run, INVALID, "code");
}

/// A file system takes any octets for a name; JSON, and whoever reads our sentences, does not.
#[test]
fn a_name_that_is_not_utf_8_is_told_as_far_as_it_goes() {
    let home = furnished();
    let name = OsStr::from_bytes(b"ger\xe4t.pem");
    std::fs::copy(home.path("ca.pem"), home.path(name)).expect("copied");
    for (command, place) in [("inspect", "/file"), ("lint", "/files/0/file")] {
        let line = format!("{command} --output json");
        let output = home.command(&line).arg(name).output().expect("runs");
        let told = Run::new(&line, output).ok().json();
        let file = told.pointer(place).and_then(Value::as_str);
        assert_eq!(file, Some("ger\u{fffd}t.pem"), "{told}");
    }
}

#[test]
fn what_would_overwrite_or_was_not_confirmed() {
    let home = furnished();
    home.write("new/sensor-9.key.pem", "somebody's key");
    check(
        &home,
        &[
            ("init", REFUSED, "pki.toml exists already"),
            (
                "issue sensor-9 --authority factory --out new",
                REFUSED,
                "sensor-9.key.pem exists",
            ),
            (
                "possession root 0F0F --out prose.pem",
                REFUSED,
                "prose.pem exists",
            ),
            ("quarantine sensor-1", REFUSED, "not confirmed"),
            ("quickstart --keep new", REFUSED, "new exists"),
            ("quarantine ca.pem --yes", REFUSED, "is a CA"),
            ("emulator --listen 0.0.0.0:0", REFUSED, "other machines"),
        ],
    );
}

#[test]
fn passphrases() {
    let home = furnished();
    home.write_own("wrong", "not it");
    let issue = "issue sensor-9 --authority factory --out new";
    let with = |flags: &str| format!("{issue} {flags}");
    check(
        &home,
        &[
            (
                &with("--passphrase-file wrong"),
                REFUSED,
                "authorities/factory/1-",
            ),
            (&with("--passphrase-file empty"), INVALID, "empty"),
            (&with("--passphrase-file nowhere"), NOT_FOUND, "nowhere"),
            (&with("--passphrase-from env:NOT_SET"), INVALID, "NOT_SET"),
            (
                &with("--passphrase-from hunter2"),
                USAGE,
                "secrets are not given",
            ),
            (&with("--passphrase-from prompt"), REFUSED, "no terminal"),
            (
                "possession root 0F0F --passphrase-file wrong",
                REFUSED,
                "authorities/root/1-",
            ),
        ],
    );
}

/// A certificate that a device signed: its path leads to the root, over somebody who is no CA.
#[test]
fn a_ca_that_is_none() {
    let home = furnished();
    let signing = "-CA devices/sensor-1.cert.pem -CAkey devices/sensor-1.key.pem";
    home.tool(
        "openssl",
        "req -new -newkey rsa:2048 -nodes -keyout own.key -subj /CN=sensor-8 -out own.csr",
    )
    .ok();
    home.tool(
        "openssl",
        &format!("x509 -req -in own.csr {signing} -out below.pem -days 1"),
    )
    .ok();
    let verify = "verify below.pem --intermediates devices/sensor-1-full-chain.cert.pem";
    let run = home.dps_pki(verify).ends_with(4);
    check_sentence(&run, REFUSED, "below.pem");
    let explained = home
        .dps_pki("explain below.pem --chain devices/sensor-1-full-chain.cert.pem")
        .ok();
    assert!(!explained.stdout.contains("\nadmitted"), "{explained}");
    // Whoever wrote a name into a certificate does not write on our terminal.
    home.tool(
        "openssl",
        "req -x509 -newkey rsa:2048 -nodes -keyout own.key -subj /CN=\u{1b}[31m -out red.pem",
    )
    .ok();
    let explained = home.dps_pki("explain red.pem").ok();
    assert!(explained.stdout.starts_with("CN="), "{explained}");
    assert!(!explained.stdout.contains('\u{1b}'), "{explained}");
}

#[test]
fn a_declaration_that_is_wrong() {
    let home = furnished();
    let text = home.read("pki.toml");
    let wrong: &[(&str, &str, &str)] = &[
        (
            "path-length = 0",
            "path-lenght = 0",
            "did you mean \"path-length\"?",
        ),
        ("key = \"ecdsa-p384\"", "key = \"dsa\"", "dsa"),
        ("issuer = \"root\"", "issuer = \"roof\"", "roof"),
        ("validity = \"2y\"", "validity = \"20y\"", "factory"),
        (
            "authority = \"factory\"",
            "authority = \"nobody\"",
            "nobody",
        ),
        ("[dps.local.ca.root]", "[dps.local.ca.root", "pki.toml"),
        ("id-scope = \"0ne00000000\"", "id-scope = 7", "id-scope"),
    ];
    for (from, to, says) in wrong {
        assert!(text.contains(from), "{from} is not in the template");
        home.write("pki.toml", text.replacen(from, to, 1));
        check(
            &home,
            &[
                ("plan", INVALID, says),
                ("authority list", INVALID, "pki.toml"),
            ],
        );
    }
}

#[test]
fn homes_that_are_none() {
    let home = furnished();
    home.write("odd/pki.toml", home.read("pki.toml"));
    home.write_own(
        "odd/inventory.db",
        "not a database, but long enough to be looked at as if it were one".repeat(20),
    );
    check(
        &home,
        &[
            (
                "plan --home nowhere",
                NOT_FOUND,
                "nowhere/pki.toml does not exist",
            ),
            (
                "authority create --home nowhere",
                NOT_FOUND,
                "nowhere/pki.toml does not exist",
            ),
            ("authority list --home odd", INVALID, "inventory.db"),
            (
                "issue sensor-9 --authority factory --home odd",
                INVALID,
                "inventory.db",
            ),
        ],
    );
}

#[test]
fn a_dps_that_cannot_be_reached_or_trusted() {
    let home = furnished();
    home.redeclare("emulator-ca.pem", "ca.pem");
    check(
        &home,
        &[
            ("plan", SERVICE, "no secure connection to localhost"),
            (
                "quarantine sensor-1 --yes",
                SERVICE,
                "no secure connection to localhost",
            ),
        ],
    );
    home.redeclare("\"ca.pem\"", "\"nowhere.pem\"");
    check(&home, &[("plan", NOT_FOUND, "nowhere.pem")]);
    home.redeclare("\"nowhere.pem\"", "\"prose.pem\"");
    check(
        &home,
        &[("plan", INVALID, "prose.pem: there is no certificate")],
    );
    let Furnished { home, emulator } = home;
    emulator.interrupt(&home);
    home.redeclare("\"prose.pem\"", "\"emulator-ca.pem\"");
    check_lines(
        &home,
        &[
            ("plan", SERVICE, "cannot connect to localhost"),
            ("explain sensor-1", SERVICE, "cannot connect to localhost"),
        ],
    );
}

#[test]
fn a_port_that_is_taken() {
    let home = furnished();
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = holder.local_addr().expect("an address");
    let line = format!("emulator --listen {address} --ca-file other-ca.pem");
    check(&home, &[(&line, FAILED, &address.to_string())]);
}

/// The authority's certificate has ended since it was made; nothing is issued below it any more.
/// Whoever can write the working folder must not choose who is shut out.
#[test]
fn a_file_that_has_the_name_of_a_device() {
    let home = furnished();
    home.write("sensor-1", "sensor-2");
    check(
        &home,
        &[
            (
                "quarantine sensor-1 --yes",
                REFUSED,
                "a file of that name is here",
            ),
            (
                "revoke sensor-1 --yes",
                REFUSED,
                "a file of that name is here",
            ),
            (
                "renew sensor-1 --out new",
                REFUSED,
                "a file of that name is here",
            ),
            ("explain sensor-1", REFUSED, "a file of that name is here"),
        ],
    );
}

/// Who has the key of a revoked leaf asks for another one.
#[test]
fn a_request_for_a_key_that_was_compromised() {
    let home = furnished();
    home.dps_pki("csr create own-1 --out requests").ok();
    let sign = "sign requests/own-1.csr.pem --authority factory --out signed";
    home.dps_pki(sign).ok();
    home.dps_pki("revoke own-1 --reason keyCompromise --yes")
        .ok();
    check(
        &home,
        &[
            (
                "sign requests/own-1.csr.pem --authority factory --out again",
                REFUSED,
                "was revoked (keyCompromise)",
            ),
            (
                "renew own-1 --csr requests/own-1.csr.pem --out again",
                REFUSED,
                "was revoked (keyCompromise)",
            ),
        ],
    );
}

#[test]
fn an_issuer_that_has_expired() {
    let home = Home::empty();
    home.write("pki.toml", "[authority.root]\nsubject = \"CN=R\"\nkey = \"ecdsa-p256\"\nvalidity = \"1y\"\n\
        [authority.sub]\nissuer = \"root\"\nsubject = \"CN=S\"\nkey = \"ecdsa-p256\"\nvalidity = \"1y\"\n\
        [profile.device]\nkey = \"ecdsa-p256\"\nvalidity = \"1d\"\n");
    assert_eq!(run_in_2020(&home, "authority create root"), 0);
    check_lines(
        &home,
        &[
            (
                "issue sensor-1 --authority root --out devices",
                REFUSED,
                "expired",
            ),
            ("authority create sub --clock-is-right", REFUSED, "expired"),
        ],
    );
    assert!(!home.path("authorities/sub").exists());
    let listed = home.json("inventory list");
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
}

/// Runs `dps-pki` in this process, at the beginning of 2020.
fn run_in_2020(home: &Home, line: &str) -> u8 {
    let host = Host {
        clock: Arc::new(In2020),
        environment: BTreeMap::from([("DPS_PKI_PASSPHRASE_FILE".into(), "passphrase".into())]),
        ..Host::unattended(home.path(""))
    };
    pki_cli::run(
        std::iter::once("dps-pki").chain(line.split_whitespace()),
        host,
    )
}

struct In2020;

impl Clock for In2020 {
    fn now(&self) -> Time {
        "2020-01-01T00:00:00Z".parse().expect("a time")
    }
}
