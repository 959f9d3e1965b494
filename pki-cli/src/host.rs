//! The surroundings of one run: clock, randomness, network, environment, streams and terminal.
//!
//! Everything that a command takes from the machine comes through here or [`crate::files`], so that a
//! test can run commands in-process with a fixed clock and a bad network.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead as _, IsTerminal as _, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use dps_client::transport::{HttpOptions, HttpTransport, Transport, TransportSetupError};
use pki_core::ports::system::{SystemClock, SystemEntropy};
use pki_core::ports::{Clock, Entropy};
use secrecy::SecretString;

/// What one run sees of the world.
pub struct Host {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Gives randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Leads to DPS and its hubs.
    pub network: Arc<dyn Network>,
    /// The environment variables.
    pub environment: BTreeMap<OsString, OsString>,
    /// Where relative paths start.
    pub directory: PathBuf,
    /// Standard input.
    pub stdin: Box<dyn Read + Send>,
    /// Standard output: the result.
    pub stdout: Box<dyn Write + Send>,
    /// Standard output as a descriptor, if it is one: it tells whether a reader has taken everything.
    pub stdout_descriptor: Option<OwnedFd>,
    /// Standard error: everything else.
    pub stderr: Box<dyn Write + Send>,
    /// Which of the streams a person looks at.
    pub terminal: Terminal,
    /// Asks that person; only called where [`Terminal::can_ask`].
    pub prompt: Box<dyn Prompt>,
    /// Whether events are logged to the process's standard error.
    pub logs: bool,
}

/// Which streams are a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terminal {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Terminal {
    /// Whether there is somebody to ask: who sees the question and can answer.
    pub fn can_ask(self) -> bool {
        self.stdin && self.stderr
    }
}

/// Leads to services.
pub trait Network: Send + Sync {
    /// A way to one service, set up and not used yet.
    ///
    /// # Errors
    /// [`TransportSetupError`] if the options cannot be met.
    fn transport(&self, options: &HttpOptions) -> Result<Arc<dyn Transport>, TransportSetupError>;
}

/// The machine's own network.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemNetwork;

impl Network for SystemNetwork {
    fn transport(&self, options: &HttpOptions) -> Result<Arc<dyn Transport>, TransportSetupError> {
        Ok(Arc::new(HttpTransport::new(options)?))
    }
}

/// Asks the person at the terminal.
pub trait Prompt: Send + Sync {
    /// Asks for a line.
    ///
    /// # Errors
    /// The terminal's.
    fn line(&self, question: &str) -> io::Result<String>;

    /// Asks for a line that is not shown while it is typed.
    ///
    /// # Errors
    /// The terminal's.
    fn secret(&self, question: &str) -> io::Result<SecretString>;
}

/// The prompt where nobody sits: of a command within another one, of a program that embeds this one.
#[derive(Debug, Clone, Copy)]
pub struct NobodyToAsk;

impl Prompt for NobodyToAsk {
    fn line(&self, _: &str) -> io::Result<String> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn secret(&self, _: &str) -> io::Result<SecretString> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Host {
    /// The machine that this process runs on.
    ///
    /// # Errors
    /// An exit code if the working directory is gone; it has been told on standard error.
    pub fn system() -> Result<Self, u8> {
        let directory = std::env::current_dir().map_err(|error| {
            let _ = writeln!(
                io::stderr(),
                "error: the working directory cannot be used: {error}"
            );
            1
        })?;
        Ok(Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            network: Arc::new(SystemNetwork),
            environment: std::env::vars_os().collect(),
            directory,
            stdin: Box::new(io::stdin()),
            stdout: Box::new(io::stdout()),
            stdout_descriptor: io::stdout().as_fd().try_clone_to_owned().ok(),
            stderr: Box::new(io::stderr()),
            terminal: Terminal {
                stdin: io::stdin().is_terminal(),
                stdout: io::stdout().is_terminal(),
                stderr: io::stderr().is_terminal(),
            },
            prompt: Box::new(SystemPrompt),
            logs: true,
        })
    }

    /// This machine in a folder where nobody sits: the system's clock, randomness and network, no
    /// environment, nothing on standard input, and nobody who reads what is written. For programs that
    /// embed this one; they put their own in the place of what they care about.
    pub fn unattended(directory: PathBuf) -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            network: Arc::new(SystemNetwork),
            environment: BTreeMap::new(),
            directory,
            stdin: Box::new(io::empty()),
            stdout: Box::new(io::sink()),
            stdout_descriptor: None,
            stderr: Box::new(io::sink()),
            terminal: Terminal::default(),
            prompt: Box::new(NobodyToAsk),
            logs: false,
        }
    }
}

/// The process's own terminal.
struct SystemPrompt;

impl Prompt for SystemPrompt {
    fn line(&self, question: &str) -> io::Result<String> {
        // Nothing is held while it waits: whoever is told of a Ctrl-C writes as well.
        write!(io::stderr(), "{question}")?;
        io::stderr().flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok(answer)
    }

    fn secret(&self, question: &str) -> io::Result<SecretString> {
        rpassword::prompt_password(question).map(SecretString::from)
    }
}
