//! `quickstart`: the whole lifecycle on an embedded emulator, by the commands that a user types.

mod nested;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dps_client::auth::DeviceIdentity;
use dps_client::device::{Outcome as Registered, Polling, Registrar};
use dps_client::transport::{HttpOptions, HttpTransport, ProxyUse, Trust};
use dps_client::{ApiVersion, BaseUrl, Plane};
use dps_emulator::{EmulatorConfig, EmulatorHandle};
use pki_core::ids::RegistrationId;
use secrecy::SecretString;
use serde::Serialize;

use super::emulator::{in_emulator, local_config, start};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::files::{Access, Existing, Files, ending, file_name};
use crate::layout::Layout;
use crate::render::table::Table;

#[derive(clap::Args)]
#[command(after_help = "\
Builds a chain, proves its root, pushes a group, registers three devices over mutual TLS, shuts one out
and shows that it is refused.

Examples:
  dps-pki quickstart
  dps-pki quickstart --keep my-pki")]
pub(crate) struct Args {
    /// Leave the home in this new folder, to go on with
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// The port that the template names; another one is taken if it is in use.
const TEMPLATE_PORT: u16 = 8443;
const TEMPLATE_ADDRESS: &str = "localhost:8443";
const DEVICES: [&str; 3] = ["device-1", "device-2", "device-3"];
const OUTCAST: &str = "device-2";
/// Names in the home, as the template has them.
const TRUST_ANCHOR: &str = "emulator-ca.pem";
const STATE: &str = "emulator-state.db";
const PASSPHRASE: &str = "passphrase";

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        if let Some(folder) = self
            .keep
            .as_ref()
            .filter(|folder| context.files.exists(folder))
        {
            let message = format!("{} exists already", folder.display());
            return Err(
                CommandError::refused(message).hint("--keep makes a new folder; name another one")
            );
        }
        let temporary = tempfile::tempdir().map_err(|error| {
            CommandError::failed("cannot make a temporary folder").because(error)
        })?;
        let folder = match &self.keep {
            Some(folder) => context.files.resolve(folder),
            None => temporary.path().join("home"),
        };
        let tour = Tour::begin(context, &folder, self.keep.is_some())?;
        let result = tour.walk();
        let ended = tour.end();
        let devices = result?;
        ended?;
        let kept = self.keep.clone();
        context.ui.result(&Summary {
            devices,
            kept,
            address: address_in(&context.files, &folder)?,
        })?;
        Ok(Outcome::Done)
    }
}

/// One walk through the lifecycle.
struct Tour<'a> {
    context: &'a Context,
    home: Layout,
    emulator: EmulatorHandle,
}

impl<'a> Tour<'a> {
    fn begin(context: &'a Context, folder: &Path, keep: bool) -> Result<Self, CommandError> {
        if keep {
            // The emulator's state is the first file in it.
            context.files.create_new_folder(folder)?;
        }
        let config = |port| EmulatorConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            state: keep.then(|| folder.join(STATE)),
            retry_after_seconds: 0,
            ..local_config(context)
        };
        let emulator = context.runtime.get()?.block_on(async {
            match start(config(TEMPLATE_PORT)).await {
                Ok(emulator) => Ok(emulator),
                Err(_) => start(config(0)).await,
            }
        })?;
        Ok(Self {
            context,
            home: Layout::at(folder),
            emulator,
        })
    }

    fn end(self) -> Result<(), CommandError> {
        self.context
            .runtime
            .get()?
            .block_on(self.emulator.shutdown())
            .map_err(in_emulator)
    }

    fn walk(&self) -> Result<Vec<Device>, CommandError> {
        self.say(&format!(
            "A local DPS with one hub listens at {}.",
            self.emulator.base_url()
        ))?;
        self.heading("A home, and a passphrase for its authority keys")?;
        self.make_home()?;
        self.heading("A root and an intermediate")?;
        self.command(&["authority", "create"])?;
        self.heading("To DPS: upload the root, prove possession of its key, put the group")?;
        self.command(&["apply", "--yes"])?;
        self.heading("Three devices")?;
        let issue =
            ["issue"]
                .iter()
                .chain(&DEVICES)
                .chain(&["--authority", "factory", "--out", "devices"]);
        self.command(&issue.copied().collect::<Vec<_>>())?;
        self.heading("Each registers over mutual TLS")?;
        let first = self.register_all()?;
        self.heading(&format!("{OUTCAST} was stolen: shut it out"))?;
        self.command(&["quarantine", OUTCAST, "--reason", "stolen", "--yes"])?;
        self.heading("Each registers again")?;
        let second = self.register_all()?;
        self.heading("Why")?;
        self.command(&["explain", DEVICES[0]])?;
        self.command(&["explain", OUTCAST])?;
        let devices = DEVICES.iter().zip(first.into_iter().zip(second));
        let device = |(name, (first, second)): (&&str, (String, String))| Device {
            registration_id: (*name).to_owned(),
            first_registration: first,
            after_quarantine: second,
        };
        Ok(devices.map(device).collect())
    }

    fn make_home(&self) -> Result<(), CommandError> {
        let files = &self.context.files;
        self.say("$ dps-pki init")?;
        self.run(&["init"])?;
        let mut octets = [0; 24];
        self.context.entropy.fill(&mut octets)?;
        let passphrase = URL_SAFE_NO_PAD.encode(octets);
        let path = self.home.resolve(PASSPHRASE);
        files.write(&path, passphrase.as_bytes(), Access::Secret, Existing::Keep)?;
        self.say(&format!(
            "A random passphrase is in the home, in the file {PASSPHRASE}."
        ))?;
        let anchor = self.emulator.trust_anchor_pem().as_bytes();
        files.write(
            &self.home.resolve(TRUST_ANCHOR),
            anchor,
            Access::Public,
            Existing::Keep,
        )?;
        let declaration = self.home.declaration_file();
        let address = format!("localhost:{}", self.emulator.address().port());
        let text = files
            .read_text(&declaration)?
            .replace(TEMPLATE_ADDRESS, &address);
        files.write(
            &declaration,
            text.as_bytes(),
            Access::Public,
            Existing::Replace,
        )
    }

    /// Shows a command and runs it as if it had been typed in the home.
    fn command(&self, words: &[&str]) -> Result<(), CommandError> {
        self.say(&format!("$ dps-pki {}", words.join(" ")))?;
        self.say(self.run(words)?.trim_end())
    }

    fn run(&self, words: &[&str]) -> Result<String, CommandError> {
        let passphrase = self.home.resolve(PASSPHRASE);
        nested::run(self.context, self.home.root(), &passphrase, words)
    }

    fn heading(&self, text: &str) -> Result<(), CommandError> {
        self.say(&format!("\n== {text}"))
    }

    /// The walk is told to people; scripts get the summary.
    fn say(&self, text: &str) -> Result<(), CommandError> {
        if self.context.ui.is_json() {
            Ok(())
        } else {
            self.context.ui.raw(format!("{text}\n").as_bytes())
        }
    }

    fn register_all(&self) -> Result<Vec<String>, CommandError> {
        let attempts = DEVICES.iter().map(|name| self.register(name));
        let outcomes = self
            .context
            .runtime
            .block_on(futures::future::try_join_all(attempts))?;
        for (name, outcome) in DEVICES.iter().zip(&outcomes) {
            self.say(&format!("{name}: {outcome}"))?;
        }
        Ok(outcomes)
    }

    async fn register(&self, name: &str) -> Result<String, CommandError> {
        let id: RegistrationId = name.parse()?;
        let read = |ending| {
            let path = self
                .home
                .root()
                .join("devices")
                .join(file_name(name, ending));
            self.context.files.read_text(&path)
        };
        let mut options = HttpOptions::default();
        options.trust = Trust::Only(self.emulator.trust_anchor_pem().to_owned());
        options.proxy = ProxyUse::Direct;
        let key = SecretString::from(read(ending::KEY)?);
        options.identity = Some(DeviceIdentity::new(read(ending::FULL_CHAIN)?, key));
        let base: BaseUrl = self.emulator.base_url().parse().map_err(
            |error: dps_client::base_url::BaseUrlError| CommandError::failed(error.to_string()),
        )?;
        let transport = std::sync::Arc::new(HttpTransport::new(&options)?);
        let plane = Plane::new(transport, base, ApiVersion::DEVICE);
        let registrar = Registrar::new(plane, self.emulator.id_scope().clone());
        Ok(match registrar.register(&id, None, &polling()).await? {
            Registered::Assigned { state } => match state.assigned_hub {
                Some(hub) => format!("assigned to {hub}"),
                None => "assigned".to_owned(),
            },
            Registered::Disabled { .. } => "refused: disabled".to_owned(),
            outcome => format!("failed: {outcome:?}"),
        })
    }
}

/// This DPS decides in milliseconds.
fn polling() -> Polling {
    Polling {
        floor: Duration::from_millis(50),
        ..Polling::default()
    }
}

/// What `pki.toml` of the home says the DPS's address is.
fn address_in(files: &Files, folder: &Path) -> Result<String, CommandError> {
    let text = files.read_text(&Layout::at(folder).declaration_file())?;
    let declaration = pki_core::declaration::Declaration::parse(&text)
        .map_err(|error| CommandError::failed(error.to_string()))?;
    Ok(declaration
        .dps
        .values()
        .next()
        .map(|dps| dps.service.to_string())
        .unwrap_or_default())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    registration_id: String,
    first_registration: String,
    after_quarantine: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    devices: Vec<Device>,
    kept: Option<PathBuf>,
    #[serde(skip)]
    address: String,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["DEVICE", "FIRST REGISTRATION", "AFTER THE QUARANTINE"]);
        for device in &self.devices {
            table.row([
                &device.registration_id,
                &device.first_registration,
                &device.after_quarantine,
            ]);
        }
        writeln!(f, "\n{table}\n")?;
        let Some(kept) = &self.kept else {
            writeln!(f, "Nothing was kept. Next:")?;
            writeln!(
                f,
                "  dps-pki quickstart --keep my-pki    the same, with a home to go on with"
            )?;
            return write!(
                f,
                "  dps-pki init my-pki                 a home of your own"
            );
        };
        writeln!(
            f,
            "The home is {}, its passphrase in {PASSPHRASE} there. Next:",
            kept.display()
        )?;
        writeln!(f, "  cd {}", kept.display())?;
        writeln!(
            f,
            "  dps-pki emulator --listen {} --state {STATE} &",
            self.address
        )?;
        writeln!(f, "  dps-pki plan")?;
        writeln!(
            f,
            "  dps-pki issue device-4 --authority factory --out devices --passphrase-file {PASSPHRASE}"
        )?;
        write!(f, "  dps-pki explain device-4")
    }
}
