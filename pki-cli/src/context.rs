//! What one command may touch: a value for each thing, of which what is expensive is opened when it is
//! first asked for, once.
//!
//! A command's `run` gets the whole; what it calls gets the one or two values that it needs, so that a
//! signature tells what can be read, asked or written below it.

use std::ffi::OsString;
use std::sync::{Arc, OnceLock};

use pki_core::ports::{Clock, Entropy};
use pki_core::time::Time;

use crate::authority_key::AuthorityKeys;
use crate::config::Settings;
use crate::dialog::Dialog;
use crate::files::Files;
use crate::home::Home;
use crate::host::{Host, Network};
use crate::inputs::Inputs;
use crate::layout::Layout;
use crate::render::ui::Ui;
use crate::runtime::Runtime;
use crate::secrets::Secrets;
use crate::tokens::Tokens;

/// The surroundings of one command.
pub struct Context {
    /// Flags and environment.
    pub settings: Settings,
    /// Results and messages.
    pub ui: Arc<Ui>,
    /// Files in and out.
    pub files: Arc<Files>,
    /// Files and standard input, as the command line names them.
    pub inputs: Arc<Inputs>,
    /// What is declared and what has happened.
    pub home: Arc<Home>,
    /// Passphrases, PINs and keys of services.
    pub secrets: Arc<Secrets>,
    /// Keys of authorities, in the home and in tokens.
    pub(crate) keys: AuthorityKeys,
    /// Who is asked.
    pub dialog: Arc<Dialog>,
    /// Waits for the network.
    pub runtime: Arc<Runtime>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Gives randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Leads to DPS and its hubs.
    pub network: Arc<dyn Network>,
    /// Runs other command lines, as a guided tour does.
    pub program: Program,
}

/// The whole program: runs one command line, program name first, and returns the exit code.
pub type Program = fn(Vec<OsString>, Host) -> u8;

impl Context {
    /// The surroundings that host and settings make; `ui` has taken the host's output streams.
    pub fn new(settings: Settings, host: Host, ui: Ui, program: Program) -> Self {
        let layout = Layout::named(settings.home.as_deref(), &host.directory);
        let ui = Arc::new(ui.set(&settings, host.terminal));
        let files = Files::seen_from(host.directory)
            .of_command(layout.root(), settings.force)
            .keeping(settings.files().map(std::path::Path::to_owned));
        let files = Arc::new(files);
        let home = Arc::new(Home::new(layout, &settings, files.clone(), ui.clone()));
        let inputs = Arc::new(Inputs::new(files.clone(), host.stdin));
        let runtime = Arc::new(Runtime::default());
        let dialog = Arc::new(Dialog {
            terminal: host.terminal,
            prompt: Arc::from(host.prompt),
            runtime: runtime.clone(),
            ui: ui.clone(),
            is_confirmed: settings.yes,
        });
        let secrets = Arc::new(Secrets {
            home: home.clone(),
            files: files.clone(),
            inputs: inputs.clone(),
            dialog: dialog.clone(),
            environment: host.environment,
            given: settings.passphrase.clone(),
            passphrase: OnceLock::new(),
        });
        let keys = AuthorityKeys {
            home: home.clone(),
            files: files.clone(),
            secrets: secrets.clone(),
            entropy: host.entropy.clone(),
            ui: ui.clone(),
            module: settings.pkcs11_module.clone(),
            tokens: Tokens::default(),
        };
        Self {
            settings,
            ui,
            files,
            inputs,
            home,
            secrets,
            keys,
            dialog,
            runtime,
            clock: host.clock,
            entropy: host.entropy,
            network: host.network,
            program,
        }
    }

    /// The present moment.
    pub fn now(&self) -> Time {
        self.clock.now()
    }
}
