//! This build beside an earlier one at the same jobs, in turns: has anything become slower?
//!
//! ```text
//! git worktree add ../earlier COMMIT && (cd ../earlier && cargo build --release)
//! cargo bench -p pki-cli --bench ratios -- --beside ../earlier/target/release/dps-pki
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark makes files as anybody does"
)]

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::home::{Home, Setting};
use crate::limit::Authority;
use crate::measure::{Spent, in_turns};
use crate::table::{self, Row, Target};
use crate::{Bench, CHOSEN_PASSPHRASE, RSA_LEAVES, whole};

/// Something that both builds do.
struct Job {
    title: &'static str,
    setting: Setting,
    devices: u64,
    /// How often it is done in a round: short ones need more.
    times: u64,
    /// What has to be there before, unmeasured.
    prepare: fn(&Home, &str, u64),
    work: fn(&Home, &str, u64) -> Spent,
}

fn jobs() -> [Job; 8] {
    let batch = |title, authority, devices| Job {
        title,
        setting: Setting::of(authority),
        devices,
        times: 1,
        prepare: |_, _, _| {},
        work: |home, name, devices| home.batch(name, devices, ""),
    };
    [
        batch("P-256 leaves under P-256", Authority::P256, 200_000),
        batch("P-256 leaves under P-384", Authority::P384, 80_000),
        batch("P-256 leaves under RSA-2048", Authority::Rsa2048, 90_000),
        Job {
            prepare: Home::write_requests,
            work: |home, name, _| home.sign(name),
            ..batch("requests", Authority::P256, 200_000)
        },
        Job {
            setting: RSA_LEAVES,
            ..batch("RSA-2048 leaves", Authority::P256, 400)
        },
        Job {
            work: |home, name, devices| home.batch(name, devices, "--format dir"),
            ..batch("folder of files", Authority::P256, 20_000)
        },
        Job {
            times: 11,
            work: one_certificate,
            ..batch("one certificate", Authority::P256, 1)
        },
        Job {
            setting: CHOSEN_PASSPHRASE,
            times: 11,
            work: one_certificate,
            ..batch("one certificate, chosen passphrase", Authority::P256, 1)
        },
    ]
}

fn one_certificate(home: &Home, name: &str, _: u64) -> Spent {
    home.run(&format!("issue {name} --authority ca --out one"))
}

/// Devices a second of both builds at each job.
pub(crate) fn compare(bench: &Bench, earlier: &Path) {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    // A program starts up to a tenth slower from the file that the linker wrote than from a copy of it.
    let copied = |program: &Path, name: &str| {
        let copy = folder.path().join(name);
        fs::copy(program, &copy).expect("a copy of the program");
        copy
    };
    let programs = Programs {
        now: copied(Path::new(env!("CARGO_BIN_EXE_dps-pki")), "now"),
        earlier: copied(earlier, "earlier"),
    };
    table::head("now", "earlier");
    for job in jobs() {
        if bench.wants(job.title) {
            job.compare(bench, &programs);
        }
    }
}

/// Both builds.
struct Programs {
    now: PathBuf,
    earlier: PathBuf,
}

impl Job {
    fn compare(&self, bench: &Bench, programs: &Programs) {
        let devices = bench.share(self.devices);
        let now = Home::of_program(&programs.now, self.setting);
        let before = Home::of_program(&programs.earlier, self.setting);
        let run = |home: &Home, round: u64| {
            let name = format!("r{round}");
            (self.prepare)(home, &name, devices);
            (self.work)(home, &name, devices)
        };
        let (now, before) = in_turns(
            bench.rounds * self.times,
            |round| run(&now, round),
            |round| run(&before, round),
        );
        let rate = |spent: Spent| whole(devices) / spent.wall.as_secs_f64();
        Row {
            title: &format!("{}, {devices}, per s", self.title),
            ours: rate(now),
            other: Some(rate(before)),
            processor: Some(before.processor.as_secs_f64() / now.processor.as_secs_f64()),
            digits: 0,
            target: Target::AtLeast(0.95, 1.0),
        }
        .print();
    }
}
