//! A local DPS: `dps-pki emulator` as a program of its own.

use std::fs::File;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::home::Home;

/// An emulator that runs until it is dropped. Its events go to `emulator.log` in the home.
#[derive(Debug)]
pub struct Emulator {
    child: Child,
    reach: Value,
}

/// What a local DPS makes of the secondary slot beside a single certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SingleCertificate {
    /// It shows the certificate there too, as was recorded, and holds it once.
    Shown,
    /// It puts the certificate there too.
    Stored,
    /// It leaves the slot alone.
    Once,
}

impl SingleCertificate {
    fn word(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Stored => "stored",
            Self::Once => "once",
        }
    }
}

impl Emulator {
    /// What templates call the DPS on this machine.
    const TEMPLATE_ADDRESS: &str = "localhost:8443";

    /// Starts one on a free port, and lets a home that was made from a template know it.
    pub fn start(home: &Home) -> Self {
        let emulator = Self::start_with(home, "");
        home.redeclare(Self::TEMPLATE_ADDRESS, emulator.address());
        emulator
    }

    /// The same with what it makes of a single certificate.
    pub fn start_that(home: &Home, service: SingleCertificate) -> Self {
        let word = service.word();
        let behavior = format!("[choices]\nsingleCertificate = \"{word}\"\n");
        home.write("single-certificate.toml", behavior);
        let emulator = Self::start_with(home, "--behavior single-certificate.toml");
        home.redeclare(Self::TEMPLATE_ADDRESS, emulator.address());
        emulator
    }

    /// Starts one on free ports with more flags, and returns when it listens. Of itself it would listen for MQTT
    /// where the SDKs expect theirs.
    pub fn start_with(home: &Home, flags: &str) -> Self {
        Self::start_on(
            home,
            "localhost:0",
            &format!("--mqtt-listen localhost:0 {flags}"),
        )
    }

    /// Starts one on an address with more flags, and returns when it listens.
    pub fn start_on(home: &Home, address: &str, flags: &str) -> Self {
        let line =
            format!("emulator --listen {address} --ca-file emulator-ca.pem --output json {flags}");
        let log = File::create(home.path("emulator.log")).expect("emulator.log");
        let mut child = home
            .command(&line)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("dps-pki starts");
        let stdout = child.stdout.take().expect("a pipe");
        // Printed when it listens; the pipe stays open until it ends, so only one document is read.
        let first = serde_json::Deserializer::from_reader(stdout)
            .into_iter()
            .next();
        let reach: Option<Value> = first.map(|document| {
            document.unwrap_or_else(|error| panic!("{error}: {}", home.read("emulator.log")))
        });
        let reach = reach.unwrap_or_else(|| panic!("it ended: {}", home.read("emulator.log")));
        Self { child, reach }
    }

    /// `localhost:PORT`.
    pub fn address(&self) -> &str {
        let endpoint = self.text("endpoint");
        endpoint.strip_prefix("https://").unwrap_or(endpoint)
    }

    /// What it printed when it started: addresses and connection strings.
    pub fn reach(&self) -> &Value {
        &self.reach
    }

    /// The ID scope of its device plane.
    pub fn id_scope(&self) -> &str {
        self.text("idScope")
    }

    /// The operating system's number of the program.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as Ctrl-C in a terminal does, so that it writes its state; it must end well.
    pub fn interrupt(mut self, home: &Home) {
        home.tool("kill", &format!("-INT {}", self.child.id())).ok();
        let status = self.child.wait().expect("it can be waited for");
        assert!(status.success(), "{status}: {}", home.read("emulator.log"));
    }

    fn text(&self, member: &str) -> &str {
        self.reach[member].as_str().expect(member)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
