//! `emulator`: a local DPS with hubs, until Ctrl-C.

mod behavior;
mod environment;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use dps_emulator::{
    ConfigError, Emulator, EmulatorConfig, EmulatorError, EmulatorHandle, Exposure, Seed,
    ServerKey, StateError, TlsSettings, TlsVersions,
};
use pki_core::certificate::pem;
use pki_core::ids::{HubHostName, IdScope};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::behavior::{BehaviorArgs, read_document};
use self::environment::Environment;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::files::{Access, Files};
use crate::home::Home;

#[derive(clap::Args)]
#[command(after_help = "\
It verifies for real: chains, proofs of possession, tokens, ETags. Its keys and its server's CA are
made anew at each start; with --state the keys and records are kept.

Examples:
  dps-pki emulator --listen localhost:8443 --ca-file emulator-ca.pem
  dps-pki emulator --hub hub-1.azure-devices.net --hub hub-2.azure-devices.net --state dps.db
  dps-pki emulator --listen localhost:0 --print-env
  dps-pki emulator --throttle 200 --quotas --reset-percent 2 --fault-seed 7 --strict")]
pub(crate) struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "localhost:8443")]
    listen: ListenAddress,

    /// Where to listen for MQTT; without it port 8883, or a free one if that is taken
    #[arg(long, value_name = "ADDR")]
    mqtt_listen: Option<ListenAddress>,

    /// The kind of key that the server's certificate has
    #[arg(long, value_name = "KIND", default_value = "ecdsa")]
    server_key: ServerKeyKind,

    /// The versions of TLS that are offered
    #[arg(long, value_name = "VERSIONS", default_value = "1.2-1.3")]
    tls: TlsRange,

    /// Write the CA certificate that clients have to trust to this file [default: emulator-ca.pem in the
    /// home, where the templates look for it; without a home in the working directory]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// Keep keys and records in this file, at every request; another emulator goes on from there
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// The name of the DPS instance
    #[arg(long, default_value = LOCAL_NAME)]
    name: String,

    /// The ID scope
    #[arg(long, default_value = "0ne00000000")]
    id_scope: IdScope,

    /// A linked hub; once for each
    #[arg(
        long = "hub",
        value_name = "HOST",
        default_value = "hub-1.azure-devices.net"
    )]
    hubs: Vec<HubHostName>,

    /// One more host name for the server's certificate; once for each
    #[arg(long = "server-name", value_name = "HOST")]
    server_names: Vec<String>,

    /// Start with what this file holds, JSON or TOML, where the state does not say otherwise
    #[arg(long, value_name = "FILE")]
    seed_file: Option<PathBuf>,

    /// Write everything it holds to this file at the end, keys included; it is a --seed-file
    #[arg(long, value_name = "FILE")]
    dump_file: Option<PathBuf>,

    /// Log requests to this file, a JSON object a line, as the service's resource logs do
    #[arg(long, value_name = "FILE")]
    request_log: Option<PathBuf>,

    /// Print what SDKs read from the environment, as lines for a shell
    #[arg(long)]
    print_env: bool,

    #[command(flatten)]
    behavior: BehaviorArgs,

    /// Let other machines reach it
    #[arg(long)]
    i_know_this_is_not_azure: bool,
}

/// Where the templates look for the CA of the server.
const CA_FILE: &str = "emulator-ca.pem";

/// What templates call the instance on this machine.
pub(crate) const LOCAL_NAME: &str = "local";

/// The resource group that `pki.toml` assumes outside of Azure.
const LOCAL_GROUP: &str = "local";

/// An address to listen on, where `localhost` is the loopback interface.
#[derive(Debug, Clone, Copy)]
struct ListenAddress(SocketAddr);

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let local = text
            .strip_prefix("localhost:")
            .and_then(|port| port.parse().ok());
        if let Some(port) = local {
            return Ok(Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
        }
        text.parse()
            .map(Self)
            .map_err(|_| "write it as localhost:8443 or 127.0.0.1:8443".to_owned())
    }
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ServerKeyKind {
    /// P-256
    Ecdsa,
    /// 2048 bits, as the real service has
    Rsa,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum TlsRange {
    /// Both versions
    #[value(name = "1.2-1.3")]
    Both,
    /// The version that DPS documents
    #[value(name = "1.2")]
    Tls12,
}

impl Args {
    fn tls(&self) -> TlsSettings {
        TlsSettings {
            key: match self.server_key {
                ServerKeyKind::Ecdsa => ServerKey::Ecdsa,
                ServerKeyKind::Rsa => ServerKey::Rsa,
            },
            versions: match self.tls {
                TlsRange::Both => TlsVersions::Both,
                TlsRange::Tls12 => TlsVersions::Tls12,
            },
        }
    }

    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let config = self.config(context)?;
        let ca_file = &self.ca_file(&context.home, &context.files);
        self.check_files(&context.files, ca_file)?;
        context.runtime.get()?.block_on(async {
            let mut end = End::expected()?;
            let emulator = start(config).await?;
            let pem = emulator.trust_anchor_pem();
            let files = &context.files;
            files.write_generated(ca_file, pem.as_bytes(), Access::Public, is_anchor)?;
            if self.print_env {
                let ca_file = context.files.resolve(ca_file);
                let ca_file = std::path::absolute(&ca_file).unwrap_or(ca_file);
                context.ui.result(&Environment::of(&emulator, &ca_file))?;
            } else {
                context.ui.result(&Reach::of(&emulator, ca_file))?;
            }
            context.ui.note("listening; Ctrl-C ends it");
            end.told().await;
            if let Some(path) = &self.dump_file {
                dump(&context.files, &emulator, path)?;
            }
            emulator.shutdown().await.map_err(in_emulator)
        })?;
        Ok(Outcome::Done)
    }

    /// Where the CA certificate goes; in the working directory without its path, as a person would write it.
    fn ca_file(&self, home: &Home, files: &Files) -> PathBuf {
        if let Some(path) = &self.ca_file {
            return path.clone();
        }
        let is_home = files.exists(&home.layout.declaration_file());
        let is_here = files
            .resolve(Path::new(""))
            .components()
            .eq(home.layout.root().components());
        if is_home && !is_here {
            home.layout.resolve(CA_FILE)
        } else {
            PathBuf::from(CA_FILE)
        }
    }

    /// Refuses files that it would not write, before it starts. Each run writes these anew.
    fn check_files(&self, files: &Files, ca_file: &Path) -> Result<(), CommandError> {
        files.check_generated(ca_file, is_anchor)?;
        if let Some(path) = &self.dump_file {
            files.check_generated(path, is_dump)?;
        }
        let kept = [&self.state, &self.request_log];
        kept.into_iter()
            .flatten()
            .try_for_each(|path| files.keep_off_homes(path))
    }

    fn config(&self, context: &Context) -> Result<EmulatorConfig, CommandError> {
        let exposure = if self.i_know_this_is_not_azure {
            Exposure::Network
        } else {
            Exposure::Loopback
        };
        let seed = match &self.seed_file {
            Some(path) => read_document(&context.files, path)?,
            None => Seed::default(),
        };
        let resolve = |path: &PathBuf| context.files.resolve(path);
        Ok(EmulatorConfig {
            listen: self.listen.0,
            mqtt_listen: self.mqtt_listen.map(|address| address.0),
            tls: self.tls(),
            exposure,
            dps_name: self.name.clone(),
            id_scope: self.id_scope.clone(),
            hubs: self.hubs.clone(),
            server_names: self.server_names.clone(),
            state: self.state.as_ref().map(resolve),
            seed,
            request_log: self.request_log.as_ref().map(resolve),
            behavior: self.behavior.behavior(&context.files)?,
            ..local_config(context)
        })
    }
}

/// Writes down what an emulator holds, for its owner only.
fn dump(files: &Files, emulator: &EmulatorHandle, path: &Path) -> Result<(), CommandError> {
    let written = serde_json::to_vec_pretty(&emulator.dump());
    let written =
        written.map_err(|error| CommandError::failed("the dump cannot be made").because(error))?;
    files.write_generated(path, &written, Access::Secret, is_dump)
}

/// Whether a file is the CA certificate of an emulator, whose key is gone when it ends.
fn is_anchor(content: &[u8]) -> bool {
    let name = pem::certificate(content)
        .ok()
        .and_then(|anchor| anchor.common_name());
    name.as_deref() == Some(Emulator::TRUST_ANCHOR_NAME)
}

/// Whether a file is what an emulator dumped.
fn is_dump(content: &[u8]) -> bool {
    serde_json::from_slice::<Seed>(content).is_ok()
}

/// An emulator under the names that `pki.toml` assumes outside of Azure.
pub(crate) fn local_config(context: &Context) -> EmulatorConfig {
    EmulatorConfig {
        dps_name: LOCAL_NAME.to_owned(),
        resource_group: LOCAL_GROUP.to_owned(),
        clock: context.clock.clone(),
        entropy: context.entropy.clone(),
        ..EmulatorConfig::default()
    }
}

/// Starts an emulator.
pub(crate) async fn start(config: EmulatorConfig) -> Result<EmulatorHandle, CommandError> {
    Emulator::start(config).await.map_err(in_emulator)
}

/// What went wrong with an emulator, in a sentence and with a way out.
pub(crate) fn in_emulator(error: EmulatorError) -> CommandError {
    let message = error.to_string();
    match error {
        EmulatorError::Config(ConfigError::NotLoopback { .. }) => CommandError::refused(message)
            .hint("to let other machines reach it, add --i-know-this-is-not-azure"),
        EmulatorError::Config(_) | EmulatorError::Seed(_) => CommandError::invalid_input(message),
        EmulatorError::Listen { source, .. } => {
            let error = CommandError::failed(message).because(source);
            error.hint(
                "another program may hold the port; choose another one with --listen localhost:0",
            )
        }
        EmulatorError::State(error) => in_state(message, &error),
        _ => CommandError::failed(message),
    }
}

/// A failure of the state with its cause, which names the record or what the file system said.
fn in_state(message: String, error: &StateError) -> CommandError {
    let error = match std::error::Error::source(error) {
        Some(source) => CommandError::invalid_input(message).because(source.to_string()),
        None => CommandError::invalid_input(message),
    };
    error.hint("name a file that an emulator made with --state, or one that does not exist yet")
}

/// The signals that end an emulator. They are waited for from before it says that it listens, so
/// that none comes too early.
struct End {
    interrupted: Signal,
    terminated: Signal,
}

impl End {
    fn expected() -> Result<Self, CommandError> {
        let expect = |kind| {
            signal(kind)
                .map_err(|error| CommandError::failed("cannot wait for signals").because(error))
        };
        Ok(Self {
            interrupted: expect(SignalKind::interrupt())?,
            terminated: expect(SignalKind::terminate())?,
        })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
    }
}

/// What a user needs to reach an emulator. The keys open nothing but this instance.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reach {
    endpoint: String,
    mqtt_endpoint: String,
    id_scope: IdScope,
    ca_file: PathBuf,
    service_connection_string: String,
    hubs: Vec<HubReach>,
    resource_id: String,
    control_url: String,
    control_token: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HubReach {
    host_name: HubHostName,
    connection_string: String,
}

impl Reach {
    fn of(emulator: &EmulatorHandle, ca_file: &Path) -> Self {
        let hubs = emulator.hubs().into_iter().map(|hub| HubReach {
            host_name: hub.host_name,
            connection_string: hub.connection_string.expose_secret().to_owned(),
        });
        Self {
            endpoint: emulator.base_url(),
            mqtt_endpoint: emulator.mqtt_url(),
            id_scope: emulator.id_scope().clone(),
            ca_file: ca_file.to_owned(),
            service_connection_string: emulator
                .service_connection_string()
                .expose_secret()
                .to_owned(),
            hubs: hubs.collect(),
            resource_id: emulator.resource_id(),
            control_url: emulator.control_url(),
            control_token: emulator.control_token().expose_secret().to_owned(),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "A local DPS, not Azure. All planes: {}", self.endpoint)?;
        writeln!(f, "  MQTT              {}", self.mqtt_endpoint)?;
        writeln!(f, "  trust             {}", self.ca_file.display())?;
        writeln!(f, "  ID scope          {}", self.id_scope)?;
        writeln!(f, "  resource          {}", self.resource_id)?;
        writeln!(f, "  control           {}", self.control_url)?;
        writeln!(f, "  control token     {}", self.control_token)?;
        write!(f, "  service           {}", self.service_connection_string)?;
        for hub in &self.hubs {
            write!(f, "\n  {}  {}", hub.host_name, hub.connection_string)?;
        }
        Ok(())
    }
}
