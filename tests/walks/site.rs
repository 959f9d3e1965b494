//! A home with one or two DPS instances beside it, in this process: commands run as a user types them, the
//! process dies where it is told to, devices register for real, and time passes when it is told to.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use dps_client::device::Outcome;
use dps_client::transport::{
    HttpOptions, HttpTransport, Request, Response, Transport, TransportError, TransportSetupError,
};
use dps_emulator::{Behavior, Choices, Emulator, EmulatorConfig, EmulatorHandle};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use pki_cli::host::{Host, Network, NobodyToAsk, Terminal};
use pki_core::ports::Clock;
use pki_core::ports::system::SystemEntropy;
use pki_core::time::{Span, Time};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::in_process::{Captured, register};

/// The hubs of every instance.
pub(crate) const HUBS: [&str; 2] = ["hub-1.azure-devices.net", "hub-2.azure-devices.net"];

/// A clock that stands until it is moved.
pub(crate) struct WalkClock(Mutex<Time>);

impl WalkClock {
    fn pass(&self, seconds: u64) {
        let mut now = self.0.lock().expect("lock");
        *now = now.checked_add(Span::from_seconds(seconds)).expect("time");
    }
}

impl Clock for WalkClock {
    fn now(&self) -> Time {
        *self.0.lock().expect("lock")
    }
}

/// When a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// At the moment of this number: before a request, or when its answer comes.
    Moment(usize),
    /// When it is about to send the write of this number.
    Before(usize),
    /// When the write of this number was acted on, and its answer is lost.
    After(usize),
}

/// What happens to the requests of a run, and how many there were.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Requests {
    dies_at: Option<Death>,
    moments: usize,
    /// How many of them changed something and were answered.
    pub(crate) writes: usize,
}

impl Requests {
    /// At how many moments the process could have died.
    pub(crate) fn moments(&self) -> usize {
        self.moments
    }
}

#[derive(Clone, Default)]
struct Fate(Arc<Mutex<Requests>>);

impl Fate {
    fn live(&self) {
        let mut requests = self.0.lock().expect("lock");
        requests.moments += 1;
        let now = Death::Moment(requests.moments);
        drop(requests);
        self.dies(now);
    }

    /// Before a write is sent, or after it was acted on.
    fn write(&self, is_acted_on: bool) {
        let mut requests = self.0.lock().expect("lock");
        let now = if is_acted_on {
            requests.writes += 1;
            Death::After(requests.writes)
        } else {
            Death::Before(requests.writes + 1)
        };
        drop(requests);
        self.dies(now);
    }

    fn dies(&self, now: Death) {
        let dies_at = self.0.lock().expect("lock").dies_at;
        if dies_at == Some(now) {
            // Without the words that a failing test would have.
            panic::resume_unwind(Box::new("the process dies here"));
        }
    }
}

impl Network for Fate {
    fn transport(&self, options: &HttpOptions) -> Result<Arc<dyn Transport>, TransportSetupError> {
        Ok(Arc::new(Fateful {
            fate: self.clone(),
            real: HttpTransport::new(options)?,
        }))
    }
}

struct Fateful {
    fate: Fate,
    real: HttpTransport,
}

impl Transport for Fateful {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        async move {
            self.fate.live();
            let is_query = request.url.path().ends_with("/query");
            let writes = request.method != http::Method::GET && !is_query;
            if writes {
                self.fate.write(false);
            }
            let answer = self.real.send(request).await;
            if writes {
                self.fate.write(true);
            }
            self.fate.live();
            answer
        }
        .boxed()
    }
}

/// One DPS instance.
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) emulator: EmulatorHandle,
}

/// What a run ended with.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) line: String,
    pub(crate) code: u8,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) requests: Requests,
}

impl Run {
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

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// What DPS makes of a device that registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Registered {
    Assigned(String),
    Disabled,
    Refused,
}

impl Registered {
    pub(crate) fn is_in(&self) -> bool {
        matches!(self, Self::Assigned(_))
    }
}

pub(crate) struct Site {
    folder: TempDir,
    clock: Arc<WalkClock>,
    fate: Fate,
    runtime: Runtime,
    pub(crate) instances: Vec<Instance>,
}

impl Site {
    /// A home with so many instances, and `declaration` of what is in it; `instances` is put in for each.
    pub(crate) fn new(declared: &str, instance: &str, instances: usize, choices: Choices) -> Self {
        let start: Time = "2026-06-01T12:00:00Z".parse().expect("time");
        let clock = Arc::new(WalkClock(Mutex::new(start)));
        let runtime = Runtime::new().expect("runtime");
        let names = ["dps-a", "dps-b"].iter().take(instances);
        let instances = names.map(|name| {
            let behavior = Behavior {
                choices,
                ..Behavior::default()
            };
            let config = EmulatorConfig {
                behavior,
                clock: clock.clone(),
                dps_name: (*name).to_owned(),
                resource_group: "local".to_owned(),
                hubs: HUBS.iter().map(|hub| hub.parse().expect("hub")).collect(),
                assigning_rounds: 0,
                retry_after_seconds: 0,
                ..EmulatorConfig::default()
            };
            Instance {
                name: (*name).to_owned(),
                emulator: runtime.block_on(Emulator::start(config)).expect("emulator"),
            }
        });
        let instances: Vec<Instance> = instances.collect();
        let site = Self {
            folder: tempfile::tempdir().expect("folder"),
            clock,
            fate: Fate::default(),
            runtime,
            instances,
        };
        site.done("init --new-passphrase passphrase");
        let mut text = declared.to_owned();
        for one in &site.instances {
            text.push_str(&site.declare(one, instance));
        }
        site.write("pki.toml", &text);
        site.done("authority create");
        site
    }

    fn declare(&self, instance: &Instance, template: &str) -> String {
        let name = &instance.name;
        self.write(&format!("{name}.pem"), instance.emulator.trust_anchor_pem());
        let mut text = template
            .replace("NAME", name)
            .replace("PORT", &instance.emulator.address().port().to_string());
        for (hub, host) in instance.emulator.hubs().iter().zip(HUBS) {
            let file = format!("{name}-{host}.txt");
            self.write(&file, hub.connection_string.expose_secret());
            text.push_str(&format!(
                "[dps.{name}.hub.\"{host}\"]\nconnection-string = \"file:{file}\"\n"
            ));
        }
        text
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let mut options = std::fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(self.path(name)).expect(name);
        file.write_all(content.as_bytes()).expect(name);
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect(name)
    }

    /// A minute passes: what comes after is not of the same second.
    pub(crate) fn pass(&self) {
        self.clock.pass(60);
    }

    /// Runs a command; blanks separate its words.
    pub(crate) fn run(&self, line: &str) -> Run {
        self.run_until(line, None)
    }

    /// Runs a command whose process dies at a moment, if it comes so far.
    pub(crate) fn run_until(&self, line: &str, dies_at: Option<Death>) -> Run {
        *self.fate.0.lock().expect("lock") = Requests {
            dies_at,
            ..Requests::default()
        };
        let stdout = Captured::default();
        let stderr = Captured::default();
        let environment = [("DPS_PKI_PASSPHRASE_FILE", "passphrase")];
        let environment: BTreeMap<OsString, OsString> = environment
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let host = Host {
            clock: self.clock.clone(),
            network: Arc::new(self.fate.clone()),
            entropy: Arc::new(SystemEntropy),
            environment,
            directory: self.folder.path().to_owned(),
            stdin: Box::new(Cursor::new(Vec::new())),
            stdout: Box::new(stdout.clone()),
            stdout_descriptor: None,
            stderr: Box::new(stderr.clone()),
            terminal: Terminal::default(),
            prompt: Box::new(NobodyToAsk),
            logs: false,
        };
        let words = std::iter::once("dps-pki").chain(line.split_whitespace());
        let code = pki_cli::run(words, host);
        Run {
            line: line.to_owned(),
            code,
            stdout: stdout.text(),
            stderr: stderr.text(),
            requests: *self.fate.0.lock().expect("lock"),
        }
    }

    /// Runs what has to succeed.
    #[track_caller]
    pub(crate) fn done(&self, line: &str) -> Run {
        let run = self.run(line);
        assert_eq!(run.code, 0, "{run:#?}");
        run
    }

    #[track_caller]
    pub(crate) fn json(&self, line: &str) -> Value {
        self.done(&format!("{line} --output json")).json()
    }

    /// A device registers with the leaf in these files.
    pub(crate) fn register(&self, instance: usize, id: &str, files: &str) -> Registered {
        let emulator = &self.instances[instance].emulator;
        let chain = self.read(&format!("{files}/{id}-full-chain.cert.pem"));
        let key = self.read(&format!("{files}/{id}.key.pem"));
        match register(&self.runtime, emulator, id, chain, key) {
            Ok(Outcome::Assigned { state }) => {
                Registered::Assigned(state.assigned_hub.expect("a hub").to_string())
            }
            Ok(Outcome::Disabled { .. }) => Registered::Disabled,
            Ok(outcome) => panic!("{outcome:?}"),
            Err(error) => match error.status().map(|status| status.as_u16()) {
                Some(401) => Registered::Refused,
                _ => panic!("{error}"),
            },
        }
    }

    /// Everything that an instance holds.
    pub(crate) fn dump(&self, instance: usize) -> Value {
        serde_json::to_value(self.instances[instance].emulator.dump()).expect("a dump")
    }
}
