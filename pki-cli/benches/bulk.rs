//! How much of the machine's cryptography a batch gets: cargo bench -p pki-cli --bench bulk
//!
//! Each figure is a ratio of two things done in turns in one run: the whole program, durable to the
//! disk, and what it is held against. A round is one turn of each; the median of the rounds is told.
//! The limit is aws-lc making a device's key and signing 430 octets with the authority's, on all cores.
//!
//! ```text
//! cargo bench -p pki-cli --bench bulk -- [--rounds N] [--percent N] [--memory]
//! ```
//! `--percent` scales how many devices a batch has; `--memory` adds the peak of a million devices.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark measures, prints, and fails by panicking"
)]

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, RSA_PKCS1_SHA256, RsaKeyPair,
};
use tempfile::TempDir;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse().ok()
    };
    let rounds = number("--rounds").unwrap_or(3);
    let percent = number("--percent").unwrap_or(100);
    println!("{} workers, medians of {rounds} rounds\n", workers());
    println!("{:<44} {:>10} {:>10} {:>7}", "", "ours", "other", "ratio");
    for (kind, devices) in [
        (Authority::P256, 200_000),
        (Authority::P384, 80_000),
        (Authority::Rsa2048, 30_000),
    ] {
        against_limit(kind, devices * percent / 100, rounds);
    }
    one_certificate(rounds * 7);
    if arguments.iter().any(|argument| argument == "--memory") {
        memory(1_000_000 * percent / 100);
    }
}

/// Devices a second of a P-256 batch, against raw key generation and signing.
fn against_limit(kind: Authority, devices: u64, rounds: u64) {
    let home = Home::new(kind);
    let (ours, limit) = in_turns(
        rounds,
        |round| home.batch(&format!("r{round}-"), devices).0,
        |_| kind.limit(devices),
    );
    let rate = |time: Duration| whole(devices) / time.as_secs_f64();
    let title = format!("P-256 under {}, {devices} devices, per s", kind.word());
    row(&title, rate(ours), rate(limit), 0);
}

/// One certificate, from the start of the process to its end.
fn one_certificate(rounds: u64) {
    let home = Home::new(Authority::P256);
    let (ours, openssl) = in_turns(
        rounds,
        |round| time(&mut home.dps_pki(&format!("issue one-{round} --authority ca --out one"))),
        |_| {
            let line = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=one \
                        -days 90 -keyout one.key -out one.pem";
            let mut command = Command::new("openssl");
            time(
                command
                    .args(line.split_whitespace())
                    .current_dir(home.folder.path()),
            )
        },
    );
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    row(
        "one certificate, ms (openssl req -x509)",
        milliseconds(ours),
        milliseconds(openssl),
        1,
    );
}

/// The most memory that a batch takes while it runs.
fn memory(devices: u64) {
    let home = Home::new(Authority::P256);
    let (_, peak) = home.batch("m-", devices);
    println!("\npeak memory at {devices} devices: {} MB", peak / 1000);
}

fn row(title: &str, ours: f64, other: f64, digits: usize) {
    let ratio = ours / other;
    println!("{title:<44} {ours:>10.digits$} {other:>10.digits$} {ratio:>7.2}");
}

/// The medians of two things that are done in turns.
fn in_turns(
    rounds: u64,
    ours: impl Fn(u64) -> Duration,
    other: impl Fn(u64) -> Duration,
) -> (Duration, Duration) {
    let (mut first, mut second): (Vec<_>, Vec<_>) =
        (0..rounds).map(|round| (ours(round), other(round))).unzip();
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    (median(&mut first), median(&mut second))
}

fn workers() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

fn whole(count: u64) -> f64 {
    f64::from(u32::try_from(count).expect("a count below 2^32"))
}

/// What an authority signs with.
#[derive(Debug, Clone, Copy)]
enum Authority {
    P256,
    P384,
    Rsa2048,
}

impl Authority {
    /// As `pki.toml` says it.
    fn word(self) -> &'static str {
        match self {
            Self::P256 => "ecdsa-p256",
            Self::P384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa-2048",
        }
    }

    /// How long the raw cryptography of a batch takes on all cores.
    fn limit(self, devices: u64) -> Duration {
        let sign = self.signing();
        let workers = u64::try_from(workers()).expect("a few");
        let began = Instant::now();
        thread::scope(|scope| {
            for worker in 0..workers {
                let share = devices / workers + u64::from(worker < devices % workers);
                let sign = &sign;
                scope.spawn(move || {
                    for _ in 0..share {
                        black_box(pair(&ECDSA_P256_SHA256_ASN1_SIGNING));
                        sign();
                    }
                });
            }
        });
        began.elapsed()
    }

    /// Signs once with a key of this kind.
    fn signing(self) -> Box<dyn Fn() + Sync> {
        const MESSAGE: [u8; 430] = [7; 430];
        let random = SystemRandom::new();
        let ecdsa = |key: EcdsaKeyPair, random: SystemRandom| -> Box<dyn Fn() + Sync> {
            Box::new(move || {
                black_box(key.sign(&random, &MESSAGE).expect("signed"));
            })
        };
        match self {
            Self::P256 => ecdsa(pair(&ECDSA_P256_SHA256_ASN1_SIGNING), random),
            Self::P384 => ecdsa(pair(&ECDSA_P384_SHA384_ASN1_SIGNING), random),
            Self::Rsa2048 => {
                let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
                Box::new(move || {
                    let mut signature = vec![0; key.public_modulus_len()];
                    key.sign(&RSA_PKCS1_SHA256, &random, &MESSAGE, &mut signature)
                        .expect("signed");
                    black_box(signature);
                })
            }
        }
    }
}

fn pair(algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    EcdsaKeyPair::generate(algorithm).expect("a key")
}

/// A PKI with one authority below a root, on the disk that the build is on.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new(kind: Authority) -> Self {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let declaration = format!(
            "[authority.root]\nsubject = \"CN=Root\"\nkey = \"ecdsa-p384\"\nvalidity = \"10y\"\n\
             [authority.ca]\nissuer = \"root\"\nsubject = \"CN=CA\"\nkey = \"{}\"\nvalidity = \"2y\"\n\
             path-length = 0\n\
             [profile.device]\nkey = \"ecdsa-p256\"\nvalidity = \"90d\"\n",
            kind.word()
        );
        let home = Self { folder };
        fs::write(home.path("pki.toml"), declaration).expect("pki.toml");
        fs::write(home.path("passphrase"), "benchmark").expect("passphrase");
        time(&mut home.dps_pki("authority create"));
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn dps_pki(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dps-pki"));
        command
            .args(line.split_whitespace())
            .current_dir(self.folder.path())
            .env("DPS_PKI_PASSPHRASE_FILE", "passphrase");
        command
    }

    /// Issues a batch; returns the time it took, and its peak memory in kB.
    fn batch(&self, prefix: &str, devices: u64) -> (Duration, u64) {
        let line = format!(
            "issue --prefix {prefix} --count {devices} --authority ca --plain-keys --quiet --out batch"
        );
        let mut command = self.dps_pki(&line);
        let began = Instant::now();
        let mut child = command
            .stdout(Stdio::null())
            .spawn()
            .expect("dps-pki starts");
        let status = PathBuf::from(format!("/proc/{}/status", child.id()));
        let mut peak = 0;
        let ended = loop {
            peak = peak.max(peak_memory(&status));
            match child.try_wait().expect("its state") {
                Some(ended) => break ended,
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        let took = began.elapsed();
        assert!(ended.success(), "dps-pki {line}");
        for file in ["batch", "batch.manifest.json"] {
            fs::remove_file(self.path(file)).expect(file);
        }
        (took, peak)
    }
}

/// The most memory that a process has had so far, in kB; 0 if it has ended.
fn peak_memory(status: &Path) -> u64 {
    let status = fs::read_to_string(status).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|line| line.split_whitespace().next());
    peak.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// How long a program takes that must end well.
fn time(command: &mut Command) -> Duration {
    let began = Instant::now();
    let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let took = began.elapsed();
    assert!(ended.expect("it starts").success(), "{command:?}");
    took
}
