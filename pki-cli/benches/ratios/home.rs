//! A PKI with one authority below a root, on the disk that the build is on.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark makes files as anybody does"
)]

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use pki_core::csr::SigningRequest;
use pki_core::key::software::{SoftwareKeyGenerator, SoftwareSigner};
use pki_core::key::{KeyAlgorithm, KeyGenerator as _};
use tempfile::TempDir;

use crate::limit::Authority;
use crate::measure::{self, Spent};

pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    pub(crate) fn new(authority: Authority) -> Self {
        Self::with(authority, "ecdsa-p256")
    }

    /// A home whose leaves have keys of this kind, its passphrase made by `init` as the guides have it.
    pub(crate) fn with(authority: Authority, leaf: &str) -> Self {
        let home = Self::empty();
        home.run("init --new-passphrase passphrase");
        home.create(authority, leaf)
    }

    /// A home whose passphrase somebody chose, so that it is stretched.
    pub(crate) fn with_chosen_passphrase(authority: Authority) -> Self {
        let home = Self::empty();
        fs::write(home.path("passphrase"), "benchmark").expect("passphrase");
        home.create(authority, "ecdsa-p256")
    }

    fn empty() -> Self {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        Self { folder }
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_dps-pki"));
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
