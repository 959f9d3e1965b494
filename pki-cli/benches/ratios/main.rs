//! How much of the machine's cryptography a batch gets, and how far others are behind.
//!
//! ```text
//! cargo bench -p pki-cli --bench ratios -- [--rounds N] [--percent N] [--only TEXT] [--memory]
//!     [--beside PROGRAM]
//! ```
//!
//! Each figure is a ratio of two things done in turns in one run: the whole program, durable to the
//! disk, and what it is held against; the medians of the rounds are told. The limits are raw
//! cryptography on all cores, peers do the same job without making anything durable. `cpu` is the
//! ratio of processor time for the same work: it stays put when something else runs on the machine.
//! `--percent` scales how much work there is, `--only` takes the lines whose title has that text, and
//! `--memory` adds the peak of a million devices. With `--beside` the jobs are held against an
//! earlier build of `dps-pki` instead. What the figures mean is in `docs/reference/performance.md`.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark measures, prints, and fails by panicking"
)]

mod beside;
mod home;
mod limit;
mod measure;
mod peers;
mod table;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use home::{Home, Passphrase, Setting};
use limit::{Authority, workers};
use measure::{Spent, in_turns, median, program};
use table::{Row, Target};

fn main() {
    let bench = Bench::from_arguments();
    println!(
        "{} workers, medians of {} rounds\n",
        workers(),
        bench.rounds
    );
    if let Some(earlier) = &bench.beside {
        return beside::compare(&bench, earlier);
    }
    table::head("ours", "other");
    bench.against_limit(Authority::P256, 200_000, Target::AtLeast(0.75, 0.85));
    bench.against_limit(Authority::P384, 80_000, Target::AtLeast(0.85, 0.92));
    bench.against_limit(Authority::Rsa2048, 90_000, Target::AtLeast(0.95, 0.98));
    bench.against_limit(Authority::Rsa4096, 8_000, Target::AtLeast(0.95, 0.98));
    bench.requests();
    bench.renewals();
    bench.at_once();
    bench.rsa_leaves();
    bench.one_certificate();
    bench.folder();
    peers::compare(&bench);
    if bench.memory {
        bench.peak_memory();
    }
}

const RSA_LEAVES: Setting = Setting {
    leaf: "rsa-2048",
    ..Setting::of(Authority::P256)
};
const CHOSEN_PASSPHRASE: Setting = Setting {
    passphrase: Passphrase::Chosen,
    ..Setting::of(Authority::P256)
};

/// What was asked for.
struct Bench {
    rounds: u64,
    percent: u64,
    only: Option<String>,
    memory: bool,
    beside: Option<PathBuf>,
}

impl Bench {
    fn from_arguments() -> Self {
        let arguments: Vec<String> = std::env::args().collect();
        let text = |name: &str| {
            let place = arguments.iter().position(|argument| argument == name)?;
            arguments.get(place + 1).cloned()
        };
        let number = |name: &str| text(name).map(|text| text.parse().expect(name));
        Self {
            rounds: number("--rounds").unwrap_or(3),
            percent: number("--percent").unwrap_or(100),
            only: text("--only"),
            memory: arguments.iter().any(|argument| argument == "--memory"),
            beside: text("--beside").map(PathBuf::from),
        }
    }

    fn wants(&self, title: &str) -> bool {
        self.only.as_ref().is_none_or(|only| title.contains(only))
    }

    fn share(&self, count: u64) -> u64 {
        (count * self.percent / 100).max(1)
    }

    /// Devices a second, against raw key generation and signing.
    fn against_limit(&self, authority: Authority, devices: u64, target: Target) {
        let devices = self.share(devices);
        let title = format!("P-256 leaves under {}, {devices}, per s", authority.word());
        if !self.wants(&title) {
            return;
        }
        let home = Home::new(authority);
        let (ours, limit) = in_turns(
            self.rounds,
            |round| home.batch(&format!("r{round}"), devices, ""),
            |_| limit::keys_and_signatures(authority, devices),
        );
        rates(&title, devices, (ours, limit), target);
    }

    /// Requests of devices that made their own keys: each is verified before its leaf is signed.
    fn requests(&self) {
        let devices = self.share(200_000);
        let title = format!("requests signed under ecdsa-p256, {devices}, per s");
        if !self.wants(&title) {
            return;
        }
        let home = Home::new(Authority::P256);
        (0..self.rounds).for_each(|round| home.write_requests(&format!("r{round}"), devices));
        let (ours, limit) = in_turns(
            self.rounds,
            |round| home.sign(&format!("r{round}")),
            |_| limit::verifications_and_signatures(devices),
        );
        rates(&title, devices, (ours, limit), Target::AtLeast(0.80, 0.90));
    }

    /// New leaves for devices that have one, against the batch that gave them their first ones.
    fn renewals(&self) {
        let devices = self.share(20_000);
        let title = format!("renewals (first leaves), {devices}, per s");
        if !self.wants(&title) {
            return;
        }
        let home = Home::new(Authority::P256);
        let issued = (0..self.rounds).map(|round| home.batch(&format!("r{round}"), devices, ""));
        let issued: Vec<Spent> = issued.collect();
        let renewed = (0..self.rounds).map(|round| home.renew(&format!("r{round}"), devices));
        let renewed: Vec<Spent> = renewed.collect();
        let spent = (median(&renewed), median(&issued));
        rates(&title, devices, spent, Target::AtLeast(0.25, 0.5));
    }

    /// Batches that are started at once, against one of as many devices.
    fn at_once(&self) {
        let devices = self.share(80_000);
        let title = format!("four batches at once (one), {devices}, per s");
        if !self.wants(&title) {
            return;
        }
        let home = Home::new(Authority::P256);
        let spent = in_turns(
            self.rounds,
            |round| home.batches_at_once(&format!("four{round}"), devices, 4),
            |round| home.batch(&format!("one{round}"), devices, ""),
        );
        rates(&title, devices, spent, Target::AtLeast(0.8, 0.9));
    }

    /// Keys that take so long that everything else is nothing.
    fn rsa_leaves(&self) {
        let devices = self.share(400);
        let title = format!("RSA-2048 leaves, {devices}, per s (graviola)");
        if !self.wants(&title) {
            return;
        }
        let home = Home::with(RSA_LEAVES);
        let (ours, limit) = in_turns(
            self.rounds,
            |round| home.batch(&format!("r{round}"), devices, ""),
            |_| limit::rsa_keys(devices),
        );
        rates(&title, devices, (ours, limit), Target::AtLeast(0.95, 1.0));
    }

    /// One certificate, from the start of the process to its end, held against `openssl req -x509`:
    /// under a passphrase that the toolkit made, and under one that somebody chose.
    fn one_certificate(&self) {
        let title = "one certificate, ms (openssl req -x509)";
        let made = Setting::of(Authority::P256);
        self.one_certificate_in(made, title, Target::AtMost(1.3, 0.9));
        let title = "one certificate, chosen passphrase, ms";
        self.one_certificate_in(CHOSEN_PASSPHRASE, title, Target::None);
    }

    fn one_certificate_in(&self, setting: Setting, title: &str, target: Target) {
        if !self.wants(title) {
            return;
        }
        let home = Home::with(setting);
        let (ours, openssl) = in_turns(
            self.rounds * 11,
            |round| home.run(&format!("issue one-{round} --authority ca --out one")),
            |_| openssl_one(&home),
        );
        Row {
            title,
            ours: milliseconds(ours),
            other: Some(milliseconds(openssl)),
            processor: Some(ours.processor.as_secs_f64() / openssl.processor.as_secs_f64()),
            digits: 1,
            target,
        }
        .print();
    }

    /// Files a device instead of one stream.
    fn folder(&self) {
        let devices = self.share(20_000);
        let title = format!("folder of files, {devices} devices, us a device");
        if !self.wants(&title) {
            return;
        }
        let home = Home::new(Authority::P256);
        let rounds: Vec<Spent> = (0..self.rounds)
            .map(|round| home.batch(&format!("r{round}"), devices, "--format dir"))
            .collect();
        Row {
            title: &title,
            ours: median(&rounds).wall.as_secs_f64() * 1e6 / whole(devices),
            other: None,
            processor: None,
            digits: 0,
            target: Target::None,
        }
        .print();
    }

    /// The most memory that a batch takes while it runs.
    fn peak_memory(&self) {
        let devices = self.share(1_000_000);
        let spent = Home::new(Authority::P256).watched_batch("m", devices);
        let kilobytes = u32::try_from(spent.peak_memory).expect("less than 4 TB");
        Row {
            title: &format!("peak memory at {devices} devices, MB"),
            ours: f64::from(kilobytes) / 1e3,
            other: None,
            processor: None,
            digits: 0,
            target: Target::AtMost(128.0, 80.0),
        }
        .print();
    }
}

/// One `openssl req -x509`: a key and a certificate, self-signed.
fn openssl_one(home: &Home) -> Spent {
    let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=one -days 90 \
                 -keyout one.key -out one.pem";
    let mut command = Command::new("openssl");
    command.args(words.split_whitespace());
    program(command.current_dir(home.path("")).stderr(Stdio::null()))
}

/// A line of rates, from the times that the same number of devices took.
fn rates(title: &str, devices: u64, (ours, other): (Spent, Spent), target: Target) {
    let rate = |spent: Spent| whole(devices) / spent.wall.as_secs_f64();
    Row {
        title,
        ours: rate(ours),
        other: Some(rate(other)),
        processor: Some(other.processor.as_secs_f64() / ours.processor.as_secs_f64()),
        digits: 0,
        target,
    }
    .print();
}

fn milliseconds(spent: Spent) -> f64 {
    spent.wall.as_secs_f64() * 1e3
}

fn whole(count: u64) -> f64 {
    f64::from(u32::try_from(count).expect("a count below 2^32"))
}
