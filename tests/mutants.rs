//! Three hundred inputs that are wrong, always the same ones: each ends in exit code 3, 4 or 8, within
//! two seconds and 200 MB, with one sentence on standard error, and leaves nothing behind.
//!
//! They run in this process, one after the other, against one home: what one of them left or broke,
//! the next would find.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pki_cli::host::{Host, NobodyToAsk, SystemNetwork, Terminal};
use pki_core::ports::system::{SystemClock, SystemEntropy};
use tempfile::TempDir;

const LONGEST: Duration = Duration::from_secs(2);
const MOST_MEMORY: u64 = 200 * 1024; // KiB

#[test]
fn three_hundred_mutants_are_refused() {
    let home = MutantHome::furnished();
    let mutants = mutants(&home);
    assert!(mutants.len() >= 300, "only {} mutants", mutants.len());
    let before = home.contents();
    let mut wrong = Vec::new();
    for mutant in &mutants {
        home.put(mutant);
        let begun = Instant::now();
        let run = home.run(&mutant.line);
        let took = begun.elapsed();
        home.take_away(mutant);
        if let Some(problem) = problem(&run, took) {
            wrong.push(format!("{}: {problem}: {run:?}", mutant.name));
        }
        let after = home.contents();
        if after != before {
            let changed = after
                .iter()
                .filter(|file| before.get(file.0) != Some(file.1));
            let changed: Vec<_> = changed.collect();
            wrong.push(format!("{}: left behind {changed:?}: {run:?}", mutant.name));
            break;
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}: {wrong:#?}",
        wrong.len(),
        mutants.len()
    );
    let peak = peak_memory();
    assert!(peak < MOST_MEMORY, "{peak} KiB");
}

fn problem(run: &Run, took: Duration) -> Option<String> {
    let errors = run
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "));
    if !matches!(run.code, 3 | 4 | 8) {
        return Some(format!("ended with {}", run.code));
    }
    if errors.count() != 1 || run.stderr.contains("panicked") {
        return Some("does not say one sentence".to_owned());
    }
    (took > LONGEST).then(|| format!("took {took:?}"))
}

/// One wrong input.
struct Mutant {
    name: String,
    /// Which file of the home it is, or stands in for.
    file: &'static str,
    content: Content,
    line: String,
}

enum Content {
    Octets(Vec<u8>),
    /// These, and then 10 MB in one line, which are made when they are needed.
    Long(Vec<u8>),
    Missing,
    Folder,
    Pipe,
    SymlinkLoop,
}

/// What a kind of input is read by; `{}` is the file.
const OF_CERTIFICATES: [&str; 3] = ["verify {} --anchor root.pem", "lint {}", "inspect {}"];
const OF_REQUESTS: [&str; 2] = ["sign {} --authority factory --out devices", "inspect {}"];
const OF_LISTS: [&str; 1] =
    ["issue --devices {} --authority factory --out batch.ndjson --plain-keys"];
const OF_CRLS: [&str; 2] = ["verify chain.pem --crl {} --anchor root.pem", "inspect {}"];
const OF_HOMES: [&str; 1] = ["issue sensor-7 --authority factory --out devices"];

fn mutants(home: &MutantHome) -> Vec<Mutant> {
    let mut all = Mutants::default();
    for (file, commands) in [
        ("leaf.der", &OF_CERTIFICATES[..]),
        ("request.der", &OF_REQUESTS),
        ("factory.crl.der", &OF_CRLS),
    ] {
        all.of_der(file, &home.octets(file), commands);
    }
    for (file, commands) in [
        ("leaf.pem", &OF_CERTIFICATES[..2]),
        ("request.pem", &OF_REQUESTS[..1]),
        ("factory.crl", &OF_CRLS[..1]),
    ] {
        all.of_pem(file, &home.octets(file), commands);
    }
    for (file, commands) in [
        ("leaf.pem", &OF_CERTIFICATES[..]),
        ("request.pem", &OF_REQUESTS),
        ("factory.crl", &OF_CRLS),
        ("devices.csv", &OF_LISTS),
        ("pki.toml", &OF_HOMES),
        ("secret", &OF_HOMES),
        ("authorities/factory/1.key.pem", &OF_HOMES),
    ] {
        all.of_the_file_system(file, commands);
    }
    all.of_text("devices.csv", &home.octets("devices.csv"), &OF_LISTS);
    all.of_text("pki.toml", &home.octets("pki.toml"), &OF_HOMES);
    all.of_lists();
    all.of_declarations(&home.text("pki.toml"));
    all.of_keys(home);
    all.of_chains();
    all.0
}

#[derive(Default)]
struct Mutants(Vec<Mutant>);

impl Mutants {
    fn add(&mut self, name: &str, file: &'static str, content: Content, commands: &[&str]) {
        let count = self.0.len();
        // One command each; the next mutant is for the next one.
        let command = commands[count % commands.len()];
        self.0.push(Mutant {
            name: format!("{count} {file} {name}"),
            file,
            content,
            line: command.replace("{}", file),
        });
    }

    fn octets(&mut self, name: &str, file: &'static str, octets: Vec<u8>, commands: &[&str]) {
        self.add(name, file, Content::Octets(octets), commands);
    }

    fn of_der(&mut self, file: &'static str, der: &[u8], commands: &[&str]) {
        for part in 1..=15 {
            self.octets(
                "truncated",
                file,
                der[..der.len() * part / 16].to_vec(),
                commands,
            );
        }
        for tail in [&b"\0"[..], b"\x30\x00", b"trailing", b"\n"] {
            self.octets("with trailing octets", file, [der, tail].concat(), commands);
        }
        for place in lengths(der).into_iter().take(8) {
            for change in [1u8, 0x7f, 0x80, 0xff] {
                let mut lying = der.to_vec();
                lying[place] = lying[place].wrapping_add(change);
                self.octets("with a length that lies", file, lying, commands);
            }
        }
        for (name, tag) in [
            ("a SET", 0x31),
            ("an OCTET STRING", 0x04),
            ("nothing", 0x00),
        ] {
            let mut other = der.to_vec();
            other[0] = tag;
            self.octets(name, file, other, commands);
        }
    }

    fn of_pem(&mut self, file: &'static str, pem: &[u8], commands: &[&str]) {
        let text = String::from_utf8_lossy(pem).into_owned();
        let begin = text.lines().next().unwrap_or_default().to_owned();
        let label = begin
            .trim_start_matches("-----BEGIN ")
            .trim_end_matches('-')
            .to_owned();
        for other in [
            "PRIVATE KEY",
            "PKCS7",
            "SOMETHING",
            "PUBLIC KEY",
            "DH PARAMETERS",
        ] {
            let wrong = text.replace(&label, other);
            self.octets("with a wrong label", file, wrong.into_bytes(), commands);
        }
        let body = begin.len() + 1;
        for (name, wrong) in [
            ("cut off", text[..text.len() / 2].to_owned()),
            ("without its end", text[..text.len() - 20].to_owned()),
            (
                "with a NUL in its base64",
                format!("{begin}\n\0{}", &text[body..]),
            ),
            (
                "with an umlaut in its base64",
                format!("{begin}\nä{}", &text[body..]),
            ),
            (
                "with a missing letter",
                format!("{begin}\n{}", &text[body + 1..]),
            ),
            ("only blanks", " \r\n\t".repeat(100)),
        ] {
            self.octets(name, file, wrong.into_bytes(), commands);
        }
        let head = format!("{begin}\n").into_bytes();
        self.add("in a line of 10 MB", file, Content::Long(head), commands);
        self.add(
            "10 MB of nothing",
            file,
            Content::Long(Vec::new()),
            commands,
        );
    }

    fn of_the_file_system(&mut self, file: &'static str, commands: &[&str]) {
        self.octets("empty", file, Vec::new(), commands);
        self.add("missing", file, Content::Missing, commands);
        self.add("a folder", file, Content::Folder, commands);
        self.add("a pipe", file, Content::Pipe, commands);
        self.add("a symlink loop", file, Content::SymlinkLoop, commands);
    }

    fn of_text(&mut self, file: &'static str, text: &[u8], commands: &[&str]) {
        for part in [3, 5, 7] {
            let place = text.len() * part / 8;
            for (name, octets) in [
                ("a NUL", &b"\0"[..]),
                ("invalid UTF-8", b"\xff\xfe"),
                ("half a letter", b"\xc3"),
            ] {
                let wrong = [&text[..place], octets, &text[place..]].concat();
                self.octets(&format!("with {name}"), file, wrong, commands);
            }
        }
        let long = Content::Long(text.to_vec());
        self.add("with a line of 10 MB", file, long, commands);
        self.octets(
            "with a quote that is never closed",
            file,
            [text, b"\"never closed"].concat(),
            commands,
        );
    }

    fn of_lists(&mut self) {
        for wrong in [
            "registration_id\nsensor/9\n",
            "registration_id\nsensor-9.\n",
            "registration_id\nsensor-9\nSENSOR-9\n",
            "registration_id,profile\nsensor-9,nobody\n",
            "registration_id,validity\nsensor-9,soon\n",
            "registration_id,validity\nsensor-9,99999y\n",
            "registration_id,registration_id\nsensor-9,sensor-8\n",
            "registration_id,profile\nsensor-9\n",
            "registration_id\n../../etc/passwd\n",
            "registration_id\nsensor 9\n",
        ] {
            self.octets("", "devices.csv", wrong.as_bytes().to_vec(), &OF_LISTS);
        }
    }

    fn of_declarations(&mut self, text: &str) {
        for (from, to) in [
            ("ecdsa-p256", "rsa-512"),
            ("ecdsa-p256", "dsa"),
            ("[authority.factory]", "[authority.root]"),
            ("[authority.factory]", "[autority.factory]"),
            ("issuer = \"root\"", "issuer = \"factory\""),
            ("issuer = \"root\"", "issuer = \"nobody\""),
            ("validity = \"2y\"", "validity = \"20y\""),
            ("validity = \"2y\"", "validity = \"0s\""),
            ("validity = \"2y\"", "validity = 2"),
            ("path-length = 0", "path-length = 256"),
            ("path-length = 0", "path-length = -1"),
            ("CN=Factory", "O=Factory"),
            ("CN=Factory", "C=Germany, CN=Factory"),
            ("\"client-auth\"", "\"any\""),
            ("\"client-auth\"", ""),
            ("path-length = 0", "path-length = 0\npath-length = 0"),
        ] {
            assert!(text.contains(from), "{from}");
            let wrong = text.replacen(from, to, 1);
            let wrong = match from {
                "ecdsa-p256" | "validity = \"2y\"" => text.replace(from, to),
                _ => wrong,
            };
            self.octets(
                &format!("{from} -> {to}"),
                "pki.toml",
                wrong.into_bytes(),
                &OF_HOMES,
            );
        }
    }

    /// What should open an authority's key, or be one.
    fn of_keys(&mut self, home: &MutantHome) {
        for wrong in [
            "not it",
            "\n",
            "correct",
            "\0",
            " ",
            "\u{feff}correct-horse",
        ] {
            self.octets("wrong passphrase", "secret", wrong.into(), &OF_HOMES);
        }
        let own = "authorities/factory/1.key.pem";
        let key = home.octets(own);
        for part in 1..=6 {
            self.octets(
                "truncated",
                own,
                key[..key.len() * part / 7].to_vec(),
                &OF_HOMES,
            );
        }
        for (name, other) in [
            (
                "another authority's key",
                home.octets("authorities/root/1.key.pem"),
            ),
            ("a device's key", home.octets("devices/sensor-1.key.pem")),
            ("an RSA key of 512 bits", home.octets("rsa-512.pem")),
            ("a certificate", home.octets("root.pem")),
        ] {
            self.octets(name, own, other, &OF_HOMES);
        }
        for place in [0, 1, 2] {
            let mut broken = home.octets("request.der");
            let last = broken.len() - 1 - place;
            broken[last] ^= 1;
            self.octets("wrong signature", "request.der", broken, &OF_REQUESTS[..1]);
        }
        let weak = home.octets("rsa-512.csr");
        self.octets("RSA with 512 bits", "request.pem", weak, &OF_REQUESTS[..1]);
    }

    /// Chains and certificates that `fixtures/hostile` holds: every rule of a path broken once.
    fn of_chains(&mut self) {
        const ONLY_WARNED_OF: [&str; 2] = ["certgen-device.cert.pem", "long-lived.cert.pem"];
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/hostile");
        let entries = std::fs::read_dir(&folder).expect("fixtures");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
        paths.sort();
        for path in paths
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == "pem"))
        {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .expect("UTF-8");
            let octets = std::fs::read(path).expect("fixture");
            if name.ends_with(".chain.pem") {
                let commands = [
                    "verify {} --anchor hostile-root.pem --purpose any --lenient",
                    "verify {} --anchor hostile-root.pem",
                ];
                for command in commands {
                    self.octets(name, "leaf.pem", octets.clone(), &[command]);
                }
            } else if !ONLY_WARNED_OF.contains(&name) {
                self.octets(name, "leaf.pem", octets, &["lint {} --as leaf"]);
            }
        }
    }
}

/// Where the lengths of the outermost structures stand, in the order of the encoding.
fn lengths(der: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    walk(der, 0, der.len(), &mut found);
    found
}

fn walk(der: &[u8], mut place: usize, end: usize, found: &mut Vec<usize>) {
    while place + 1 < end {
        found.push(place + 1);
        let (header, length) = match der[place + 1] {
            short @ 0..=0x7f => (2, usize::from(short)),
            0x81 => (3, usize::from(der[place + 2])),
            _ => (
                4,
                usize::from(der[place + 2]) << 8 | usize::from(der[place + 3]),
            ),
        };
        let content = place + header;
        if der[place] & 0x20 != 0 {
            walk(der, content, content + length, found);
        }
        place = content + length;
    }
}

/// A home in a folder of its own, with an input of each kind.
struct MutantHome(TempDir);

#[derive(Debug)]
struct Run {
    code: u8,
    stderr: String,
}

impl MutantHome {
    fn furnished() -> Self {
        let home = Self(tempfile::tempdir().expect("a folder"));
        home.write("secret", b"correct-horse");
        home.write(
            "pki.toml",
            b"[authority.root]\nsubject = \"CN=Root\"\nkey = \"ecdsa-p256\"\nvalidity = \"10y\"\n\
            [authority.factory]\nissuer = \"root\"\nsubject = \"CN=Factory\"\nkey = \"ecdsa-p256\"\nvalidity = \"2y\"\npath-length = 0\n\
            [profile.device]\nkey = \"ecdsa-p256\"\nvalidity = \"90d\"\nextended-key-usage = [\"client-auth\"]\n",
        );
        home.write(
            "devices.csv",
            b"registration_id,order\nsensor-8,4711\n\"sensor-9\",4712\n",
        );
        for line in [
            "authority create",
            "issue sensor-1 --authority factory --out devices",
            "crl factory --out factory.crl",
            "crl factory --format der --out factory.crl.der",
        ] {
            let run = home.run(line);
            assert_eq!(run.code, 0, "{line}: {run:?}");
        }
        let chain = home.text("devices/sensor-1-full-chain.cert.pem");
        let certificates: Vec<&str> = chain
            .split_inclusive("-----END CERTIFICATE-----\n")
            .collect();
        let hostile = include_str!("../fixtures/hostile/expired-ca.chain.pem");
        let root = hostile
            .split_inclusive("-----END CERTIFICATE-----\n")
            .last();
        home.write("hostile-root.pem", root.expect("a root").as_bytes());
        home.write("chain.pem", chain.as_bytes());
        home.write("leaf.pem", certificates[0].as_bytes());
        home.write("root.pem", certificates[2].as_bytes());
        for line in [
            "x509 -in leaf.pem -outform DER -out leaf.der",
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout request.key -subj /CN=sensor-5 -out request.pem",
            "req -in request.pem -outform DER -out request.der",
            "genrsa -out rsa-512.pem 512",
            "req -new -key rsa-512.pem -subj /CN=sensor-6 -out rsa-512.csr",
        ] {
            let output = Command::new("openssl")
                .args(line.split(' '))
                .current_dir(home.path(""))
                .output()
                .expect("openssl is installed");
            assert!(output.status.success(), "{line}: {output:?}");
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path(name), content).expect(name);
    }

    fn octets(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect(name)
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.octets(name)).expect(name)
    }

    /// Puts the mutant in the place of the file, which is kept beside.
    fn put(&self, mutant: &Mutant) {
        let path = self.path(mutant.file);
        std::fs::rename(&path, self.0.path().with_extension("kept")).expect(mutant.file);
        match &mutant.content {
            Content::Octets(octets) => std::fs::write(&path, octets).expect(mutant.file),
            Content::Long(head) => {
                let octets = [&head[..], &vec![b'A'; 10 << 20]].concat();
                std::fs::write(&path, octets).expect(mutant.file);
            }
            Content::Missing => {}
            Content::Folder => std::fs::create_dir(&path).expect(mutant.file),
            Content::Pipe => {
                let made = Command::new("mkfifo").arg(&path).status();
                assert!(made.expect("mkfifo is installed").success());
            }
            Content::SymlinkLoop => symlink(&path, &path).expect(mutant.file),
        }
    }

    fn take_away(&self, mutant: &Mutant) {
        let path = self.path(mutant.file);
        match &mutant.content {
            Content::Missing => {}
            Content::Folder => std::fs::remove_dir(&path).expect(mutant.file),
            _ => std::fs::remove_file(&path).expect(mutant.file),
        }
        std::fs::rename(self.0.path().with_extension("kept"), &path).expect(mutant.file);
    }

    /// Every file and its length, and what the inventory holds.
    fn contents(&self) -> BTreeMap<PathBuf, u64> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.path("")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let entry = entry.expect("an entry");
                let metadata = entry.metadata().expect("metadata");
                match metadata.is_dir() {
                    true => folders.push(entry.path()),
                    false => drop(found.insert(entry.path(), metadata.len())),
                }
            }
        }
        // Its journal comes and goes with whoever reads it; what is recorded makes the file grow.
        found.retain(|path, _| {
            let name = path.file_name().and_then(|name| name.to_str());
            !name.is_some_and(|name| name.starts_with("inventory.db-"))
        });
        found
    }

    fn run(&self, line: &str) -> Run {
        let stderr = Captured::default();
        let host = Host {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            network: Arc::new(SystemNetwork),
            environment: BTreeMap::from([("DPS_PKI_PASSPHRASE_FILE".into(), "secret".into())]),
            directory: self.path(""),
            stdin: Box::new(std::io::empty()),
            stdout: Box::new(std::io::sink()),
            stdout_descriptor: None,
            stderr: Box::new(stderr.clone()),
            terminal: Terminal::default(),
            prompt: Box::new(NobodyToAsk),
            logs: false,
        };
        let words = std::iter::once("dps-pki").chain(line.split_whitespace());
        let code = pki_cli::run(words, host);
        let stderr = stderr.0.lock().expect("lock").clone();
        Run {
            code,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("lock").write(octets)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The most memory that this process ever had, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse().ok())
        .expect("VmHWM")
}
