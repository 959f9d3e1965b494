//! A PKI with one authority below a root, on the disk that the build is on.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark makes files as anybody does"
)]

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pki_core::csr::SigningRequest;
use pki_core::key::software::{SoftwareKeyGenerator, SoftwareSigner};
use pki_core::key::{KeyAlgorithm, KeyGenerator as _};
use tempfile::TempDir;

use crate::limit::Authority;
use crate::measure::{self, Spent};

pub(crate) struct Home {
    folder: TempDir,
    program: PathBuf,
}

/// What a home is made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) authority: Authority,
    /// The keys of its leaves, as `pki.toml` says it.
    pub(crate) leaf: &'static str,
    pub(crate) passphrase: Passphrase,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Passphrase {
    /// By `init`, as the guides have it.
    Made,
    /// By somebody, so that it is stretched.
    Chosen,
}

impl Setting {
    /// P-256 leaves below such an authority.
    pub(crate) const fn of(authority: Authority) -> Self {
        Self {
            authority,
            leaf: "ecdsa-p256",
            passphrase: Passphrase::Made,
        }
    }
}

impl Home {
    pub(crate) fn new(authority: Authority) -> Self {
        Self::with(Setting::of(authority))
    }

    pub(crate) fn with(setting: Setting) -> Self {
        Self::of_program(Path::new(env!("CARGO_BIN_EXE_dps-pki")), setting)
    }

    /// A home of this build of `dps-pki`, or of an earlier one.
    pub(crate) fn of_program(program: &Path, setting: Setting) -> Self {
        let home = Self {
            folder: TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder"),
            program: program.to_owned(),
        };
        match setting.passphrase {
            Passphrase::Made => {
                home.run("init --new-passphrase passphrase");
            }
            Passphrase::Chosen => {
                fs::write(home.path("passphrase"), "benchmark").expect("passphrase");
            }
        }
        home.create(setting.authority, setting.leaf)
    }

    fn create(self, authority: Authority, leaf: &str) -> Self {
        let declaration = format!(
            "[authority.root]\nsubject = \"CN=Root\"\nkey = \"ecdsa-p384\"\nvalidity = \"10y\"\n\
             [authority.ca]\nissuer = \"root\"\nsubject = \"CN=CA\"\nkey = \"{}\"\nvalidity = \"2y\"\n\
             path-length = 0\n\
             [profile.device]\nkey = \"{leaf}\"\nvalidity = \"90d\"\n",
            authority.word()
        );
        fs::write(self.path("pki.toml"), declaration).expect("pki.toml");
        self.run("authority create");
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `dps-pki` with the words of a line.
    pub(crate) fn run(&self, line: &str) -> Spent {
        measure::program(self.dps_pki(line).stderr(Stdio::null()))
    }

    fn dps_pki(&self, line: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(line.split_whitespace())
            .current_dir(self.folder.path())
            .env("DPS_PKI_PASSPHRASE_FILE", "passphrase");
        command
    }

    /// Issues a batch, durable to the disk. What it wrote is removed when the home is: a file system
    /// that has just lost many files is slow.
    pub(crate) fn batch(&self, name: &str, devices: u64, options: &str) -> Spent {
        let line = batch_line(name, devices, options);
        measure::program(&mut self.dps_pki(&line))
    }

    /// As [`Self::batch`], as that many processes at once, each with its share.
    pub(crate) fn batches_at_once(&self, name: &str, devices: u64, processes: u64) -> Spent {
        let share = devices / processes;
        let lines = (0..processes).map(|part| batch_line(&format!("{name}-{part}"), share, ""));
        let mut commands: Vec<Command> = lines.map(|line| self.dps_pki(&line)).collect();
        measure::programs_at_once(&mut commands)
    }

    /// Makes a stream of requests of P-256 keys, for [`Self::sign`].
    pub(crate) fn write_requests(&self, name: &str, devices: u64) {
        let file = File::create(self.path(&format!("{name}.requests.ndjson"))).expect("a file");
        let mut file = BufWriter::new(file);
        for number in 0..devices {
            let key = SoftwareKeyGenerator.generate(KeyAlgorithm::EcdsaP256);
            let signer = SoftwareSigner::new(&key.expect("a key")).expect("a signer");
            let id = format!("{name}-{number}").parse().expect("an ID");
            let request = SigningRequest::make(&id, &signer).expect("a request");
            let line = serde_json::json!({ "csr": request.to_pem() });
            writeln!(file, "{line}").expect("written");
        }
        file.flush().expect("written");
    }

    /// Signs a stream of requests, durable to the disk.
    pub(crate) fn sign(&self, name: &str) -> Spent {
        let line = format!(
            "sign {name}.requests.ndjson --authority ca --quiet --out {name}.signed.ndjson"
        );
        measure::program(&mut self.dps_pki(&line))
    }

    /// Renews the devices of a batch, durable to the disk.
    pub(crate) fn renew(&self, name: &str, devices: u64) -> Spent {
        let line = format!(
            "renew --prefix {name}- --count {devices} --plain-keys --quiet --out renewed-{name}"
        );
        measure::program(&mut self.dps_pki(&line))
    }

    /// As [`Self::batch`], with its memory watched.
    pub(crate) fn watched_batch(&self, name: &str, devices: u64) -> Spent {
        let line = batch_line(name, devices, "");
        measure::watched_program(&mut self.dps_pki(&line))
    }
}

fn batch_line(name: &str, devices: u64, options: &str) -> String {
    format!(
        "issue --prefix {name}- --count {devices} --authority ca --plain-keys --quiet \
         --out batch-{name} {options}"
    )
}
