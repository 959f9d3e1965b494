//! In-process runs: a folder, an environment, a clock that stands, and what a run wrote; with a DPS
//! beside it in [`site`].
#![allow(
    clippy::disallowed_methods,
    reason = "tests make files as anybody does"
)]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

pub(crate) mod site;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pki_cli::host::{Host, Network, Prompt, SystemNetwork, Terminal};
use pki_core::authority::{AuthoritySpec, IssuancePolicy, LeafSpec, SigningAuthority, create_root};
use pki_core::certificate::pem;
use pki_core::ids::{AuthorityGeneration, AuthorityName, Generation, SerialNumber};
use pki_core::inventory::{
    GenerationChange, GenerationState, Inventory as _, Labels, NewCertificate, NewGeneration,
    Uniqueness,
};
use pki_core::key::software::{SoftwareKeyGenerator, SoftwareSigner};
use pki_core::key::{KeyAlgorithm, KeyGenerator as _, PrivateKey, Signer as _, to_encrypted_pem};
use pki_core::ports::Clock;
use pki_core::profile::{KeyPurpose, Role};
use pki_core::sqlite::SqliteInventory;
use pki_core::testing::{FixedClock, SeededEntropy};
use pki_core::time::{Span, Time};
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;

use crate::in_process::Captured;

/// What opens the keys of authorities here. It has the form of those that `init --new-passphrase` makes:
/// keys under one that somebody chose take 0.2 s to open.
pub(crate) const PASSPHRASE: &str = "tests-never-guess-these-texts";

/// A folder to run commands in, and what they see beside it.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) environment: BTreeMap<OsString, OsString>,
    pub(crate) stdin: Vec<u8>,
    pub(crate) terminal: Terminal,
    /// What the person at the terminal answers.
    pub(crate) answer: &'static str,
    /// Whether standard output is a pipe that nobody reads.
    pub(crate) reader_gone: bool,
    /// How many runs there were: the seed of the next one's randomness.
    runs: AtomicU64,
}

/// What a run ended with.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: u8,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("folder"),
            clock: Arc::new(FixedClock(now())),
            network: Arc::new(SystemNetwork),
            environment: BTreeMap::new(),
            stdin: Vec::new(),
            terminal: Terminal::default(),
            answer: "",
            reader_gone: false,
            runs: AtomicU64::new(0),
        }
    }

    /// A world with the files of a small PKI: see [`World::write_pki`].
    pub(crate) fn with_pki() -> Self {
        let world = Self::new();
        world.write_pki();
        world
    }

    /// A world where these command lines have succeeded, keys under [`PASSPHRASE`].
    #[track_caller]
    pub(crate) fn after(lines: &[&str]) -> Self {
        let mut world = Self::new();
        world.set("DPS_PKI_PASSPHRASE", PASSPHRASE);
        for line in lines {
            world.done(line);
        }
        world
    }

    /// A home with its authorities, `root` and `factory`.
    #[track_caller]
    pub(crate) fn with_authorities() -> Self {
        Self::after(&["init", "authority create"])
    }

    /// Another folder with the same files, and the same beside it.
    pub(crate) fn copy(&self) -> Self {
        let world = Self {
            environment: self.environment.clone(),
            clock: Arc::clone(&self.clock),
            network: Arc::clone(&self.network),
            runs: AtomicU64::new(self.runs.load(Ordering::Relaxed)),
            ..Self::new()
        };
        copy_folder(self.folder.path(), world.folder.path());
        world
    }

    pub(crate) fn set(&mut self, variable: &str, value: &str) {
        self.environment.insert(variable.into(), value.into());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
        std::fs::write(path, content).expect(name);
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect(name)
    }

    /// Records `root.cert.pem` in a home's inventory, as the first generation of `root`.
    pub(crate) fn record_root(&self, home: &str, state: GenerationState) {
        let path = self.path(home).join("inventory.db");
        let mut inventory = SqliteInventory::open_or_create(&path).expect("inventory");
        let name: AuthorityName = "root".parse().expect("name");
        let generation = Generation::FIRST;
        let certificate = pem::certificate(self.read("root.cert.pem").as_bytes()).expect("root");
        let recorded = inventory.record_authority(
            NewGeneration {
                authority: name.clone(),
                generation,
                subject: certificate.subject(),
                key_reference: "authorities/root/1.key.pem".parse().expect("reference"),
            },
            NewCertificate {
                certificate,
                role: Role::Root,
                signed_by: Some(AuthorityGeneration {
                    name: name.clone(),
                    generation,
                }),
                registration_id: None,
                batch: None,
                labels: Labels::default(),
                request: None,
                uniqueness: Uniqueness::OnlyLeaf,
            },
            now(),
        );
        recorded.expect("recorded");
        let mut settle = |to| {
            let settled =
                inventory.settle_generations(&name, &[GenerationChange { generation, to }], now());
            settled.expect("settled");
        };
        settle(GenerationState::Current);
        if state != GenerationState::Current {
            settle(state);
        }
    }

    /// Writes `ID.csr`, made by OpenSSL.
    pub(crate) fn write_request(&self, id: &str) {
        let made = std::process::Command::new("openssl")
            .args([
                "req",
                "-new",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-384",
                "-nodes",
            ])
            .args([
                "-subj",
                &format!("/CN={id}"),
                "-keyout",
                "/dev/null",
                "-out",
            ])
            .arg(self.path(&format!("{id}.csr")))
            .output();
        assert!(made.expect("openssl is installed").status.success());
    }

    /// Runs a command line; blanks separate its words.
    pub(crate) fn run(&self, line: &str) -> Run {
        self.run_in("", line)
    }

    /// Runs what has to succeed.
    #[track_caller]
    pub(crate) fn done(&self, line: &str) -> Run {
        let run = self.run(line);
        assert_eq!(run.code, 0, "{line}\n{}", run.stderr);
        run
    }

    /// Runs a command line in a folder below.
    pub(crate) fn run_in(&self, folder: &str, line: &str) -> Run {
        self.run_at(self.terminal, Box::new(Answer(self.answer)), folder, line)
    }

    /// Runs a command line at a terminal where this prompt answers.
    pub(crate) fn run_asked(&self, prompt: Box<dyn Prompt>, line: &str) -> Run {
        let terminal = Terminal {
            stdin: true,
            stderr: true,
            ..self.terminal
        };
        self.run_at(terminal, prompt, "", line)
    }

    /// Runs a command line whose words may hold blanks.
    pub(crate) fn run_words(&self, words: &[String]) -> Run {
        self.run_as(self.terminal, Box::new(Answer(self.answer)), "", words)
    }

    fn run_at(&self, terminal: Terminal, prompt: Box<dyn Prompt>, folder: &str, line: &str) -> Run {
        let words: Vec<String> = line.split_whitespace().map(ToOwned::to_owned).collect();
        self.run_as(terminal, prompt, folder, &words)
    }

    fn run_as(
        &self,
        terminal: Terminal,
        prompt: Box<dyn Prompt>,
        folder: &str,
        words: &[String],
    ) -> Run {
        let stdout = Captured::default();
        let stderr = Captured::default();
        let host = Host {
            clock: Arc::clone(&self.clock),
            network: Arc::clone(&self.network),
            entropy: Arc::new(SeededEntropy::new(
                self.runs.fetch_add(1, Ordering::Relaxed),
            )),
            environment: self.environment.clone(),
            directory: self.path(folder),
            stdin: Box::new(Cursor::new(self.stdin.clone())),
            stdout: if self.reader_gone {
                Box::new(Closed)
            } else {
                Box::new(stdout.clone())
            },
            stdout_descriptor: None,
            stderr: Box::new(stderr.clone()),
            terminal,
            prompt,
            logs: false,
        };
        let words = std::iter::once("dps-pki").chain(words.iter().map(String::as_str));
        let code = pki_cli::run(words, host);
        Run {
            code,
            stdout: stdout.text(),
            stderr: stderr.text(),
        }
    }

    /// `root.cert.pem`, `factory.cert.pem` below it, and of the device `sensor-1`: `.cert.pem`,
    /// `-full-chain.cert.pem`, `.key.pem`; `factory.key.pem` under [`PASSPHRASE`].
    pub(crate) fn write_pki(&self) {
        self.write_pki_under(PASSPHRASE);
    }

    /// As [`World::write_pki`], with `factory.key.pem` under another passphrase.
    pub(crate) fn write_pki_under(&self, passphrase: &str) {
        let root_key = key(KeyAlgorithm::EcdsaP384);
        let factory_key = key(KeyAlgorithm::Rsa2048);
        let device_key = key(KeyAlgorithm::EcdsaP256);
        let [root_signer, factory_signer, device_signer] = [&root_key, &factory_key, &device_key]
            .map(|key| SoftwareSigner::new(key).expect("signer"));
        let name = |text: &str| text.parse().expect(text);
        let policy = IssuancePolicy::default();
        let root = create_root(
            name("root"),
            Generation::FIRST,
            &authority("CN=Contoso Root CA, O=Contoso", 3650, None),
            &root_signer,
            policy,
            &serial(1),
            now(),
        );
        let root = root.expect("root").certificate().clone();
        let signing = SigningAuthority::new(
            name("root"),
            Generation::FIRST,
            root.clone(),
            &root_signer,
            policy,
        );
        let factory = signing.expect("root").issue_intermediate(
            &authority("CN=Contoso Factory CA, O=Contoso", 1825, Some(0)),
            factory_signer.public_key().to_vec(),
            &serial(2),
            now(),
        );
        let factory = factory.expect("factory").certificate().clone();
        let signing = SigningAuthority::new(
            name("factory"),
            Generation::FIRST,
            factory.clone(),
            &factory_signer,
            policy,
        );
        let leaf = signing.expect("factory").issue_leaf(
            &"sensor-1".parse().expect("id"),
            device_signer.public_key().to_vec(),
            &LeafSpec {
                validity: Span::from_days(90),
                content: vec![KeyPurpose::ClientAuth].into(),
                alternative_names: Vec::new(),
            },
            &serial(3),
            now(),
        );
        let leaf = leaf.expect("leaf").certificate().clone();
        let encrypted = to_encrypted_pem(
            &factory_key,
            &SecretString::from(passphrase),
            &SeededEntropy::new(4),
        );
        self.write("root.cert.pem", root.to_pem());
        self.write("factory.cert.pem", factory.to_pem());
        self.write("factory.key.pem", encrypted.expect("encrypted"));
        self.write("sensor-1.cert.pem", leaf.to_pem());
        self.write("sensor-1.cert.der", leaf.der());
        self.write("sensor-1.key.pem", device_key.expose_pkcs8_pem().as_bytes());
        let chain = [leaf, factory, root]
            .map(|certificate| certificate.to_pem())
            .concat();
        self.write("sensor-1-full-chain.cert.pem", chain);
    }
}

impl Run {
    /// The result as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).expect("JSON on standard output")
    }

    /// The error object as JSON.
    pub(crate) fn error_json(&self) -> Value {
        serde_json::from_str(&self.stderr).expect("JSON on standard error")
    }

    /// That it ended with this code.
    #[track_caller]
    pub(crate) fn ends_with(&self, code: u8) -> &Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// That standard output holds this text.
    #[track_caller]
    pub(crate) fn stdout_has(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text), "{text:?} is not in: {self:#?}");
        self
    }

    /// That standard error holds this text.
    #[track_caller]
    pub(crate) fn stderr_has(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "{text:?} is not in: {self:#?}");
        self
    }

    /// That it failed with this code and these lines on standard error, and wrote no result.
    pub(crate) fn assert_refused(&self, code: u8, lines: &[&str]) {
        assert_eq!(
            (self.code, self.stderr.trim_end()),
            (code, lines.join("\n").as_str())
        );
        assert_eq!(self.stdout, "");
    }
}

/// The moment at which the tests take place.
pub(crate) fn now() -> Time {
    "2026-06-01T12:00:00Z".parse().expect("time")
}

fn key(algorithm: KeyAlgorithm) -> PrivateKey {
    SoftwareKeyGenerator.generate(algorithm).expect("key")
}

fn serial(seed: u64) -> SerialNumber {
    SerialNumber::random(&SeededEntropy::new(seed)).expect("serial")
}

fn authority(subject: &str, days: u64, path_length: Option<u8>) -> AuthoritySpec {
    AuthoritySpec {
        subject: subject.parse().expect(subject),
        validity: Span::from_days(days),
        path_length,
        digital_signature: false,
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let copy = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            std::fs::create_dir(&copy).expect("folder");
            copy_folder(&path, &copy);
        } else {
            std::fs::copy(&path, &copy).expect("copied");
        }
    }
}

/// A pipe whose reader has gone.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Answer(&'static str);

impl Prompt for Answer {
    fn line(&self, _: &str) -> io::Result<String> {
        Ok(self.0.to_owned())
    }

    fn secret(&self, _: &str) -> io::Result<SecretString> {
        Ok(SecretString::from(self.0))
    }
}
