//! A home with a DPS beside it, in this process.

use std::io;
use std::sync::Arc;

use dps_client::device::Outcome;
use dps_emulator::{Emulator, EmulatorConfig, EmulatorHandle, Seed};
use pki_cli::host::{Network, Prompt};
use pki_core::ports::Clock;
use pki_core::testing::FixedClock;
use secrecy::SecretString;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{Run, World, now};
use crate::in_process::register;

/// A home and the DPS that it declares: CA `root`, group `factory`, devices `sensor-1` and `sensor-2`.
pub(crate) struct Site {
    pub(crate) world: Arc<World>,
    pub(crate) runtime: Runtime,
    pub(crate) emulator: EmulatorHandle,
}

impl Site {
    /// A home with its authorities; DPS holds nothing yet.
    pub(crate) fn empty() -> Self {
        let mut world = World::new();
        // One that the toolkit makes: opening keys under it takes no time.
        world.set("DPS_PKI_PASSPHRASE_FILE", "passphrase");
        let site = Self::beside(world, Seed::default());
        site.done("init --new-passphrase passphrase");
        site.reach("localhost:8443");
        site.done("authority create");
        site
    }

    /// The same home with a DPS that holds the same, both free to go another way. Its commands see this
    /// clock and go through this network.
    pub(crate) fn copy(&self, clock: Arc<dyn Clock>, network: Arc<dyn Network>) -> Self {
        let world = World {
            clock,
            network,
            ..self.world.copy()
        };
        let site = Self::beside(world, self.emulator.dump());
        site.reach(&self.address());
        site
    }

    fn beside(world: World, seed: Seed) -> Self {
        let runtime = Runtime::new().expect("runtime");
        let config = EmulatorConfig {
            clock: Arc::new(FixedClock(now())),
            dps_name: "local".to_owned(),
            resource_group: "local".to_owned(),
            retry_after_seconds: 0,
            seed,
            ..EmulatorConfig::default()
        };
        let emulator = runtime.block_on(Emulator::start(config)).expect("emulator");
        Self {
            world: Arc::new(world),
            runtime,
            emulator,
        }
    }

    /// Lets the home know where its DPS is, in place of another address.
    fn reach(&self, other: &str) {
        let declaration = self.world.read("pki.toml");
        self.world
            .write("pki.toml", declaration.replace(other, &self.address()));
        self.world
            .write("emulator-ca.pem", self.emulator.trust_anchor_pem());
    }

    fn address(&self) -> String {
        format!("localhost:{}", self.emulator.address().port())
    }

    /// The same after `apply`, with devices.
    pub(crate) fn new() -> Self {
        let site = Self::empty();
        site.done("apply --yes");
        site.done("issue sensor-1 sensor-2 --authority factory --out devices");
        site
    }

    pub(crate) fn run(&self, line: &str) -> Run {
        self.world.run(line)
    }

    /// Runs a command; while it asks, somebody else runs another one, then it is answered yes.
    pub(crate) fn run_while_asked(&self, line: &str, other: &'static str) -> Run {
        let world = Arc::clone(&self.world);
        self.world
            .run_asked(Box::new(Meanwhile { world, other }), line)
    }

    /// Runs what has to succeed.
    #[track_caller]
    pub(crate) fn done(&self, line: &str) -> Run {
        self.world.done(line)
    }

    pub(crate) fn json(&self, line: &str) -> Value {
        self.done(&format!("{line} --output json")).json()
    }

    /// What DPS makes of the device: `assigned`, `disabled` or the status of the refusal.
    pub(crate) fn register(&self, id: &str) -> String {
        let chain = self
            .world
            .read(&format!("devices/{id}-full-chain.cert.pem"));
        let key = self.world.read(&format!("devices/{id}.key.pem"));
        match register(&self.runtime, &self.emulator, id, chain, key) {
            Ok(Outcome::Assigned { .. }) => "assigned".to_owned(),
            Ok(Outcome::Disabled { .. }) => "disabled".to_owned(),
            Ok(outcome) => format!("{outcome:?}"),
            Err(error) => error.status().expect("an answer").as_u16().to_string(),
        }
    }

    /// The last step in the audit trail, before the end of its plan: its action and subject.
    pub(crate) fn last_event(&self) -> [String; 2] {
        let log = self.json("audit log --limit 2");
        let actions = [0, 1].map(|place| log[place]["action"].as_str().expect("action"));
        let ends = actions.iter().position(|action| *action == "plan-finished");
        let step = 1 - ends.expect("the plan is finished");
        ["action", "subject"].map(|name| log[step][name].as_str().expect(name).to_owned())
    }
}

/// A person who is slow to answer.
struct Meanwhile {
    world: Arc<World>,
    other: &'static str,
}

impl Prompt for Meanwhile {
    fn line(&self, _: &str) -> io::Result<String> {
        self.world.done(self.other);
        Ok("y".to_owned())
    }

    fn secret(&self, _: &str) -> io::Result<SecretString> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
