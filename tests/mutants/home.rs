//! Where the inputs are tried: put in the place of a good one, read by a command in this process, and
//! taken away again.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use pki_cli::host::Host;
use tempfile::TempDir;

use crate::in_process::Captured;
use crate::mutants::inputs::{Content, Mutant};

/// A home in a folder of its own, with an input of each kind.
pub(super) struct MutantHome(TempDir);

#[derive(Debug)]
pub(super) struct Run {
    pub(super) code: u8,
    pub(super) stderr: String,
}

impl MutantHome {
    pub(super) fn furnished() -> Self {
        let home = Self(tempfile::tempdir().expect("a folder"));
        // Of the form that `init --new-passphrase` makes, so that it need not be stretched.
        home.write("secret", b"tests-never-guess-these-texts");
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
        let hostile = include_str!("../../fixtures/hostile/expired-ca.chain.pem");
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

    pub(super) fn octets(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect(name)
    }

    /// The file with the key of an authority, which has one.
    pub(super) fn key_of(&self, authority: &str) -> &'static str {
        let folder = format!("authorities/{authority}");
        let files = std::fs::read_dir(self.path(&folder)).expect("a folder");
        let names = files.map(|file| {
            file.expect("a file")
                .file_name()
                .into_string()
                .expect("UTF-8")
        });
        let mut keys = names.filter(|name| name.ends_with(".key.pem"));
        // Mutants name their files for as long as the test runs.
        format!("{folder}/{}", keys.next().expect("a key")).leak()
    }

    pub(super) fn text(&self, name: &str) -> String {
        String::from_utf8(self.octets(name)).expect(name)
    }

    /// Puts the mutant in the place of the file, which is kept beside.
    pub(super) fn put(&self, mutant: &Mutant) {
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

    pub(super) fn take_away(&self, mutant: &Mutant) {
        let path = self.path(mutant.file);
        match &mutant.content {
            Content::Missing => {}
            Content::Folder => std::fs::remove_dir(&path).expect(mutant.file),
            _ => std::fs::remove_file(&path).expect(mutant.file),
        }
        std::fs::rename(self.0.path().with_extension("kept"), &path).expect(mutant.file);
    }

    /// Every file and its length, and what the inventory holds.
    pub(super) fn contents(&self) -> BTreeMap<PathBuf, u64> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.path("")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let entry = entry.expect("an entry");
                let metadata = entry.metadata().expect("metadata");
                if metadata.is_dir() {
                    folders.push(entry.path());
                } else {
                    found.insert(entry.path(), metadata.len());
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

    pub(super) fn run(&self, line: &str) -> Run {
        let stderr = Captured::default();
        let host = Host {
            environment: BTreeMap::from([("DPS_PKI_PASSPHRASE_FILE".into(), "secret".into())]),
            stderr: Box::new(stderr.clone()),
            ..Host::unattended(self.path(""))
        };
        let words = std::iter::once("dps-pki").chain(line.split_whitespace());
        let code = pki_cli::run(words, host);
        Run {
            code,
            stderr: stderr.text(),
        }
    }
}
