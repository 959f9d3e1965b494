//! Private keys go one way (design rule 2): whatever is printed, logged or recorded, however loudly,
//! holds none of them, nor the passphrase, nor what opens DPS.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;

use dps_pki_tests::{Device, Emulator, Home, PASSPHRASE, binary};

#[test]
fn nothing_that_is_told_or_recorded_holds_a_secret() {
    let home = Home::empty();
    home.dps_pki("init").ok();
    let emulator = Emulator::start_with(&home, "-vv");
    home.redeclare("localhost:8443", emulator.address());
    let reach = emulator.reach().clone();
    let connection = reach["serviceConnectionString"]
        .as_str()
        .expect("a connection");
    home.write("connection", connection);
    home.redeclare(
        "trust-anchor",
        "connection-string = \"file:connection\"\ntrust-anchor",
    );

    let mut told = Vec::new();
    for words in LIFECYCLE {
        let words = if words.contains("ROOT-KEY") {
            words.replace("ROOT-KEY", &home.key_of("root"))
        } else {
            (*words).to_owned()
        };
        for flags in ["-vv", "-vv --output json"] {
            let run = home.dps_pki(&format!("{words} {flags}"));
            assert!([0, 3, 4].contains(&run.code), "{run}");
            told.push(run.stdout.into_bytes());
            told.push(run.stderr.into_bytes());
        }
    }
    assert_eq!(
        Device::new(&home, &emulator, "sensor-1").register(),
        "assigned"
    );
    assert_eq!(
        Device::new(&home, &emulator, "sensor-2").register(),
        "disabled"
    );
    let limits = fs::read_to_string(format!("/proc/{}/limits", emulator.process()));
    let limits = limits.expect("the emulator runs");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    assert_eq!(
        core.map(|line| line.matches(" 0 ").count()),
        Some(2),
        "{limits}"
    );
    let arguments = fs::read(format!("/proc/{}/cmdline", emulator.process()));
    told.push(arguments.expect("the emulator runs"));
    emulator.interrupt(&home);
    for file in ["inventory.db", "emulator.log", "pki.toml"] {
        told.push(fs::read(home.path(file)).expect(file));
    }

    let loud = told
        .iter()
        .filter(|text| String::from_utf8_lossy(text).contains("DEBUG"));
    assert!(loud.count() >= 10, "-vv is not loud");

    let secrets = secrets(&home, connection);
    assert!(secrets.len() >= 20, "too few were collected");
    for (name, secret) in &secrets {
        for text in &told {
            let found = text.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{name} is in: {}", String::from_utf8_lossy(text));
        }
    }
    // The search does find what is there.
    let key = fs::read(home.path("devices/sensor-1.key.pem")).expect("a key");
    assert!(
        secrets
            .iter()
            .any(|(_, secret)| key.windows(secret.len()).any(|part| part == secret))
    );
}

/// Every command that touches a key, a passphrase or DPS; what is refused counts too.
const LIFECYCLE: &[&str] = &[
    "authority create",
    "authority create --passphrase-from file:wrong",
    "plan",
    "apply --yes",
    "issue sensor-1 sensor-2 --authority factory --out devices",
    "possession root 0F0F",
    "inspect devices/sensor-1.key.pem",
    "inspect ROOT-KEY",
    "convert devices/sensor-1-full-chain.cert.pem devices/sensor-1.key.pem --to pfx --key-passphrase-from file:passphrase --out tmp/sensor-1.pfx",
    "inspect tmp/sensor-1.pfx",
    "convert devices/sensor-1.key.pem --to pem",
    "explain sensor-1",
    "dps ca list",
    "dps group list",
    "quarantine sensor-2 --reason stolen --yes",
    "dps device show sensor-2",
    "inventory list",
    "inventory show sensor-1",
    "audit log",
    "audit verify",
];

/// What must not be seen, by name: the passphrase, the key of the connection string, and of every
/// private key its first line in PEM, its PKCS#8 octets and its bare number, as octets and in hex.
fn secrets(home: &Home, connection: &str) -> Vec<(String, Vec<u8>)> {
    let shared = connection.split("SharedAccessKey=").nth(1).expect("a key");
    let mut secrets = vec![
        ("the passphrase".to_owned(), PASSPHRASE.as_bytes().to_vec()),
        (
            "the connection's key".to_owned(),
            shared.as_bytes().to_vec(),
        ),
    ];
    for file in home
        .files()
        .into_iter()
        .filter(|file| file.ends_with(".key.pem"))
    {
        let line =
            format!("pkcs8 -topk8 -nocrypt -in {file} -passin file:passphrase -out tmp/plain");
        home.tool("openssl", &format!("{line} -outform PEM")).ok();
        let pem = home.read("tmp/plain");
        // The lines after it hold parts of the public key, which anybody may see.
        let first = pem.lines().nth(1).expect("a line");
        secrets.push((
            format!("the first line of {file}"),
            first.as_bytes().to_vec(),
        ));
        home.tool("openssl", &format!("{line} -outform DER")).ok();
        let der = fs::read(home.path("tmp/plain")).expect("a key");
        let number = private_number(&der).to_vec();
        let hex: String = number.iter().map(|octet| format!("{octet:02x}")).collect();
        secrets.push((format!("{file} in hex"), hex.to_uppercase().into_bytes()));
        secrets.push((format!("{file} in hex"), hex.into_bytes()));
        secrets.push((format!("the number of {file}"), number));
        secrets.push((format!("{file} in DER"), der));
    }
    secrets
}

/// The private number of an EC key in PKCS#8: the octet string after the version (RFC 5915 §3).
fn private_number(der: &[u8]) -> &[u8] {
    let version = [0x02, 0x01, 0x01, 0x04];
    let start = der
        .windows(4)
        .position(|window| window == version)
        .expect("ECPrivateKey")
        + 5;
    &der[start..start + usize::from(der[start - 1])]
}

/// However open the shell's umask is.
#[test]
fn key_files_belong_to_their_owner_alone() {
    let home = Home::empty();
    home.write("open.sh", "umask 0\nexec \"$@\"\n");
    let open = |line: &str| {
        let run = home.tool("sh", &format!("open.sh {} {line}", binary().display()));
        run.ok();
    };
    open("init");
    open("authority create");
    open("issue sensor-1 --authority factory --out devices");
    open("quickstart --keep kept");
    let secret = |file: &&String| {
        file.ends_with(".key.pem")
            || file.ends_with("inventory.db")
            || *file == "kept/passphrase"
            || file.ends_with("emulator-state.db")
    };
    let files = home.files();
    let secret: Vec<&String> = files.iter().filter(secret).collect();
    assert_eq!(secret.len(), 3 + 1 + 5 + 3, "{secret:?}");
    for file in secret {
        assert_eq!(home.mode(file), 0o600, "{file}");
    }
    for folder in [
        "authorities",
        "authorities/root",
        "devices",
        "kept",
        "kept/devices",
    ] {
        assert_eq!(home.mode(folder), 0o700, "{folder}");
    }
}
