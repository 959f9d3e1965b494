//! Other programs at the same job: keys, certificates below one authority, chains, as files.
//!
//! Nothing of theirs is made durable, and their authority's key is not encrypted. Programs that are
//! not installed are skipped, and that is said.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark makes files as anybody does"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::home::Home;
use crate::limit::{Authority, workers};
use crate::measure::{Spent, in_turns, program};
use crate::table::{Row, Target, skipped};
use crate::{Bench, whole};

/// A program that does the same job: a script beside this file, called with a number of certificates
/// and a number of processes.
struct Peer {
    title: &'static str,
    /// What must be there for it, as a command that ends well.
    needs: &'static [&'static str],
    script: &'static [&'static str],
    certificates: u64,
    processes: usize,
    target: Target,
}

fn all() -> [Peer; 5] {
    [
        Peer {
            title: "openssl ca, one after the other",
            needs: &["openssl", "version"],
            script: &["bash", "openssl-ca.sh"],
            certificates: 60,
            processes: 1,
            target: Target::AtLeast(400.0, 800.0),
        },
        Peer {
            title: "openssl req -x509 -CA, a process a core",
            needs: &["openssl", "version"],
            script: &["bash", "openssl-req.sh"],
            certificates: 200,
            processes: workers(),
            target: Target::AtLeast(150.0, 250.0),
        },
        Peer {
            title: "cfssl serve",
            needs: &["cfssl", "version"],
            script: &["bash", "cfssl-serve.sh"],
            certificates: 1_000,
            processes: workers(),
            target: Target::AtLeast(30.0, 50.0),
        },
        Peer {
            title: "python cryptography, a process a core",
            needs: &["python3", "-c", "import cryptography"],
            script: &["python3", "cryptography_files.py"],
            certificates: 5_000,
            processes: workers(),
            target: Target::AtLeast(8.0, 12.0),
        },
        Peer {
            title: "go crypto/x509, a goroutine a core",
            needs: &["go", "version"],
            script: &["bash", "go-x509.sh"],
            certificates: 10_000,
            processes: workers(),
            target: Target::AtLeast(5.0, 8.0),
        },
    ]
}

/// Devices a second of a P-256 batch, against those of each peer.
pub(crate) fn compare(bench: &Bench) {
    for peer in all() {
        if bench.wants(peer.title) {
            peer.compare(bench);
        }
    }
}

impl Peer {
    fn compare(&self, bench: &Bench) {
        if !self.is_installed() {
            let missing = self.needs.join(" ");
            return skipped(self.title, &format!("{missing} does not work here"));
        }
        let home = Home::new(Authority::P256);
        home.open_for_peers();
        let devices = bench.share(100_000);
        let certificates = bench.share(self.certificates);
        // Some have to be built, or warm up.
        self.run(&home, "warm", 1);
        let (ours, theirs) = in_turns(
            bench.rounds,
            |round| home.batch(&format!("r{round}"), devices, ""),
            |round| self.run(&home, &format!("peer-{round}"), certificates),
        );
        let each = |spent: std::time::Duration, count| spent.as_secs_f64() / whole(count);
        Row {
            title: self.title,
            ours: 1.0 / each(ours.wall, devices),
            other: Some(1.0 / each(theirs.wall, certificates)),
            processor: Some(each(theirs.processor, certificates) / each(ours.processor, devices)),
            digits: 0,
            target: self.target,
        }
        .print();
    }

    fn is_installed(&self) -> bool {
        let mut command = Command::new(self.needs[0]);
        command.args(&self.needs[1..]);
        let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        ended.is_ok_and(|status| status.success())
    }

    /// Has the peer make certificates in a new folder, and looks whether all are there.
    fn run(&self, home: &Home, name: &str, certificates: u64) -> Spent {
        let folder = home.path(name);
        fs::create_dir(&folder).expect("a new folder");
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/ratios/peers");
        let mut command = Command::new(self.script[0]);
        command
            .arg(scripts.join(self.script[1]))
            .args([certificates.to_string(), self.processes.to_string()])
            .env("CA", home.path("ca"))
            .current_dir(&folder);
        let spent = program(&mut command);
        let chains = fs::read_dir(&folder).expect("its folder").flatten();
        let is_chain = |path: PathBuf| path.to_string_lossy().ends_with(".chain.pem");
        let made = chains.filter(|entry| is_chain(entry.path())).count();
        assert_eq!(
            u64::try_from(made).ok(),
            Some(certificates),
            "{}",
            self.title
        );
        spent
    }
}

impl Home {
    /// The authority as others want it: `ca/key.pem` in the clear, `ca/cert.pem`, and `ca/chain.pem`.
    fn open_for_peers(&self) {
        fs::create_dir(self.path("ca")).expect("a new folder");
        let files = fs::read_dir(self.path("authorities/ca")).expect("its folder");
        let mut files = files.map(|file| file.expect("a file").path());
        let key = files.find(|file| file.to_string_lossy().ends_with(".key.pem"));
        let key = key.expect("a key");
        let words = format!(
            "pkcs8 -in {} -passin file:passphrase -out ca/key.pem",
            key.display()
        );
        let mut command = Command::new("openssl");
        program(
            command
                .args(words.split_whitespace())
                .current_dir(self.path("")),
        );
        let pem = |name: &str| fs::read_to_string(self.path(name)).expect(name);
        let authority = pem("authorities/ca/1.cert.pem");
        let root = pem("authorities/root/1.cert.pem");
        fs::write(self.path("ca/cert.pem"), &authority).expect("written");
        fs::write(self.path("ca/chain.pem"), authority + &root).expect("written");
    }
}
