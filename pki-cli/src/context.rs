//! What one command may touch: settings, clock, files, output, and what it opens of the home.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use pki_core::declaration::{Declaration, DpsDeclaration};
use pki_core::ids::DpsName;
use pki_core::ports::{Clock, Entropy};
use pki_core::sqlite::{Patience, SqliteInventory};
use pki_core::time::Time;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::config::Settings;
use crate::error::{CommandError, ErrorKind, in_declaration};
use crate::files::{Files, read_stream};
use crate::home::Home;
use crate::host::{Host, Network, Prompt, Terminal};
use crate::neighbour;
use crate::permissions::Permissions;
use crate::render::outside;
use crate::render::ui::Ui;
use crate::secret::SecretWord;
use crate::spool::{CopyError, PrivateCopy};
use crate::tokens::Tokens;

/// The surroundings of one command. What is expensive is opened when first asked for, once.
pub struct Context {
    /// Flags and environment.
    pub settings: Settings,
    /// Results and messages.
    pub ui: Ui,
    /// Files in and out.
    pub files: Files,
    /// The home, whether it exists or not.
    pub home: Home,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Gives randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Leads to DPS and its hubs.
    pub network: Arc<dyn Network>,
    pub(crate) tokens: Tokens,
    host: Remaining,
    declaration: OnceLock<Declaration>,
    passphrase: OnceLock<SecretString>,
    runtime: OnceLock<Runtime>,
    /// What was warned of.
    warned: Mutex<BTreeSet<String>>,
    program: Program,
}

/// The whole program: runs one command line, program name first, and returns the exit code.
pub type Program = fn(Vec<OsString>, Host) -> u8;

/// What is left of the host for the context's own use.
struct Remaining {
    environment: std::collections::BTreeMap<OsString, OsString>,
    stdin: Mutex<Box<dyn Read + Send>>,
    terminal: Terminal,
    prompt: Arc<dyn Prompt>,
}

impl Context {
    /// The surroundings that host and settings make; `ui` has taken the host's output streams, and
    /// `program` is what [`Self::run_nested`] runs.
    pub fn new(settings: Settings, host: Host, ui: Ui, program: Program) -> Self {
        let home = match &settings.home {
            Some(home) => Home::at(host.directory.join(home)),
            None => Home::nearest(&host.directory),
        };
        if host.logs {
            log_to_stderr(&settings, host.terminal);
        }
        Self {
            ui: ui.set(&settings, host.terminal),
            files: Files::seen_from(host.directory)
                .of_command(home.root(), settings.force)
                .keeping(settings.files().map(Path::to_owned)),
            home,
            clock: host.clock,
            entropy: host.entropy,
            network: host.network,
            tokens: Tokens::default(),
            settings,
            host: Remaining {
                environment: host.environment,
                stdin: Mutex::new(host.stdin),
                terminal: host.terminal,
                prompt: Arc::from(host.prompt),
            },
            declaration: OnceLock::new(),
            passphrase: OnceLock::new(),
            runtime: OnceLock::new(),
            warned: Mutex::default(),
            program,
        }
    }

    /// Warns of something that is met again and again.
    pub(crate) fn warn_once(&self, text: String) {
        let warned = self.warned.lock();
        let is_new = warned.is_ok_and(|mut warned| warned.insert(text.clone()));
        if is_new {
            self.ui.warning(text);
        }
    }

    /// Warns of a file with secrets that others can read.
    fn warn_of_readable(&self, path: &Path, what: &str) {
        if let Some(warning) = self.permissions().readable(path, what) {
            self.warn_once(warning);
        }
    }

    /// Who else may read and write what the authorities rest on.
    pub(crate) fn permissions(&self) -> Permissions<'_> {
        Permissions {
            files: &self.files,
            home: self.home.root(),
            is_lax: self.settings.lax_permissions,
        }
    }

    /// The most that is read as a `pki.toml`: the parser takes its time with one huge line.
    const LARGEST_DECLARATION: usize = 1024 * 1024;

    /// The present moment.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// The home's `pki.toml`, read and checked.
    ///
    /// # Errors
    /// `NotFound` if there is none, `InvalidInput` if it is wrong.
    pub fn declaration(&self) -> Result<&Declaration, CommandError> {
        once(&self.declaration, || {
            let path = self.home.declaration();
            if self.files.exists(&path) {
                self.permissions().check_unwritable(self.home.root())?;
                self.permissions().check_unwritable(&path)?;
            }
            let text = self
                .files
                .read_text(&path)
                .map_err(|error| match error.kind {
                    ErrorKind::NotFound => error.hint("make a home with: dps-pki init"),
                    _ => error,
                })?;
            if text.len() > Self::LARGEST_DECLARATION {
                let message = format!(
                    "{} has {} bytes, more than any pki.toml needs",
                    path.display(),
                    text.len()
                );
                return Err(CommandError::invalid_input(message));
            }
            Declaration::parse(&text).map_err(|error| in_declaration(&path, &error))
        })
    }

    /// The DPS instance that the command is about: the one that `--dps` names, or the only one.
    ///
    /// # Errors
    /// `NotFound` if there is none of that name; `Usage` if there are several and none is named.
    pub fn dps(&self) -> Result<(&DpsName, &DpsDeclaration), CommandError> {
        let declared = &self.declaration()?.dps;
        let known = || {
            declared
                .keys()
                .map(DpsName::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        };
        match &self.settings.dps {
            Some(name) => declared.get_key_value(name).ok_or_else(|| {
                CommandError::not_found(format!("pki.toml declares no DPS instance {name}"))
                    .hint(format!("declared are: {}", known()))
            }),
            None if declared.len() > 1 => {
                let message = "pki.toml declares several DPS instances; choose one with --dps NAME";
                Err(CommandError::new(ErrorKind::Usage, message)
                    .hint(format!("declared are: {}", known())))
            }
            None => declared.first_key_value().ok_or_else(|| {
                CommandError::not_found("pki.toml declares no DPS instance")
                    .hint("add a table [dps.NAME] with the key service")
            }),
        }
    }

    /// The home's inventory, made if the home has none yet. A write-protected one can be read.
    ///
    /// # Errors
    /// `NotFound` if there is no home; else as [`SqliteInventory::open_or_create`].
    pub fn inventory(&self) -> Result<SqliteInventory, CommandError> {
        self.declaration()?;
        let path = self.home.inventory();
        self.permissions().check_unwritable(&path)?;
        self.warn_of_readable(&path, "the inventory");
        let tell = self.ui.notes();
        let patience = match self.settings.lock_timeout {
            Some(span) => Patience::ending_after(Duration::from_secs(span.seconds())),
            None => Patience::default(),
        };
        let patience = patience.telling(move |path| {
            let whom = neighbour::writer_of(path).unwrap_or_else(|| "another process".to_owned());
            tell(&format!(
                "waiting for {whom}, which writes to {}",
                path.display()
            ));
        });
        let tell = self.ui.notes();
        let patience = patience.telling_of_upgrades(move |path, certificates| {
            tell(&format!(
                "bringing {} up to date: each of its {certificates} certificates is read once",
                path.display()
            ));
        });
        Ok(SqliteInventory::open_or_create_with(&path, patience)?)
    }

    /// Reads an input: a file, or standard input for `-`.
    ///
    /// # Errors
    /// As [`Files::read`].
    pub fn read(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, CommandError> {
        if path == Path::new("-") {
            self.read_stdin()
        } else {
            self.files.read(path)
        }
    }

    /// Copies all of standard input, whatever its size.
    ///
    /// # Errors
    /// `Failed` if it cannot be read or there is no room for the copy.
    pub(crate) fn copy_stdin(&self) -> Result<PrivateCopy, CommandError> {
        let mut stdin = self.stdin()?;
        let (copy, _) =
            PrivateCopy::make(|file| std::io::copy(&mut **stdin, file).map_err(CopyError))?;
        Ok(copy)
    }

    /// Keeps a copy of an input that can be read once only: standard input, for `-`, or a pipe. Others
    /// are read where they are.
    ///
    /// # Errors
    /// As [`Self::copy_stdin`], and those of opening a file.
    pub(crate) fn copy_of_stream(&self, path: &Path) -> Result<Option<PrivateCopy>, CommandError> {
        if path == Path::new("-") {
            return self.copy_stdin().map(Some);
        }
        let mut stream = self.files.open_stream(path)?;
        if stream.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Ok(None);
        }
        let (copy, _) =
            PrivateCopy::make(|file| std::io::copy(&mut stream, file).map_err(CopyError))?;
        Ok(Some(copy))
    }

    /// Asks for a yes; `--yes` has given it beforehand. `question` says what is about to happen.
    ///
    /// # Errors
    /// `Refused` if the answer is no, or there is nobody to ask.
    pub fn confirm(&self, question: &str) -> Result<(), CommandError> {
        if self.settings.yes {
            return Ok(());
        }
        if !self.host.terminal.can_ask() {
            return Err(CommandError::refused(format!("not confirmed: {question}"))
                .hint("there is no terminal to ask at; run it again with --yes"));
        }
        let asked = format!("{} [y/N] ", outside::lines(question));
        let answer = self.answer(move |prompt| prompt.line(&asked))?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(CommandError::refused(format!("not confirmed: {question}"))),
        }
    }

    /// Whether there is somebody at a terminal to be asked.
    pub(crate) fn can_ask(&self) -> bool {
        self.host.terminal.can_ask()
    }

    /// The passphrase that opens this home's authority keys.
    ///
    /// # Errors
    /// `Refused` if it is neither given nor can be asked for; else as [`Self::secret`].
    pub fn passphrase(&self) -> Result<&SecretString, CommandError> {
        once(&self.passphrase, || match &self.settings.passphrase {
            Some(word) => self.secret(word, "Passphrase of the authority keys: "),
            None => self.ask("Passphrase of the authority keys: "),
        })
    }

    /// The passphrase for keys that are about to be made: asked for twice, if asked for.
    ///
    /// # Errors
    /// As [`Self::passphrase`]; `Refused` if the two answers differ.
    pub fn new_passphrase(&self) -> Result<&SecretString, CommandError> {
        let asked = matches!(self.settings.passphrase, None | Some(SecretWord::Prompt));
        if self.passphrase.get().is_some() || !asked {
            return self.passphrase();
        }
        once(&self.passphrase, || {
            let first = self.ask("New passphrase for the authority keys: ")?;
            let second = self.ask("The same again: ")?;
            if first.expose_secret() == second.expose_secret() {
                Ok(first)
            } else {
                Err(CommandError::refused("the two passphrases differ"))
            }
        })
    }

    /// The passphrase if one was given by flag or environment; nobody is asked.
    ///
    /// # Errors
    /// As [`Self::secret`].
    pub fn given_passphrase(&self) -> Result<Option<&SecretString>, CommandError> {
        match &self.settings.passphrase {
            Some(_) => self.passphrase().map(Some),
            None => Ok(None),
        }
    }

    /// Reads a secret from where a word says it is; `question` is for [`SecretWord::Prompt`].
    ///
    /// # Errors
    /// `InvalidInput` if there is nothing; `Refused` if there is no terminal to ask at; else as
    /// [`Files::read`].
    pub fn secret(&self, word: &SecretWord, question: &str) -> Result<SecretString, CommandError> {
        match word {
            SecretWord::File(path) => {
                self.warn_of_readable(path, "the secret in");
                first_line(&self.files.read(path)?, &path.display().to_string())
            }
            SecretWord::Environment(name) => {
                let variable = format!("the environment variable {name}");
                let value =
                    self.host.environment.get(OsStr::new(name)).ok_or_else(|| {
                        CommandError::invalid_input(format!("{variable} is not set"))
                    })?;
                first_line(value.as_encoded_bytes(), &variable)
            }
            SecretWord::Descriptor(number) => {
                let path = PathBuf::from(format!("/dev/fd/{number}"));
                first_line(
                    &self.files.read(&path)?,
                    &format!("file descriptor {number}"),
                )
            }
            SecretWord::Stdin => first_line(&self.read_stdin()?, "standard input"),
            SecretWord::Prompt => self.ask(question),
        }
    }

    /// The runtime for everything that waits for the network.
    ///
    /// # Errors
    /// `Failed` if the system gives no threads.
    pub fn runtime(&self) -> Result<&Runtime, CommandError> {
        once(&self.runtime, || {
            Runtime::new()
                .map_err(|error| CommandError::failed("cannot start threads").because(error))
        })
    }

    /// Runs something that waits for the network until it is done, or Ctrl-C stops it.
    ///
    /// # Errors
    /// What it returns; `Interrupted`; `Failed` as for [`Self::runtime`].
    pub fn block_on<T>(
        &self,
        future: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        self.runtime()?.block_on(async {
            tokio::select! {
                result = future => result,
                _ = tokio::signal::ctrl_c() => {
                    let error = CommandError::new(ErrorKind::Interrupted, "interrupted");
                    Err(error.hint("run it again to go on"))
                }
            }
        })
    }

    /// The same for what fails in its own way.
    ///
    /// # Errors
    /// As [`Self::block_on`].
    pub(crate) fn wait_for<T, E: Into<CommandError>>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CommandError> {
        self.block_on(async { future.await.map_err(Into::into) })
    }

    /// Runs another command line in a home, with its own output, as a guided tour does. The
    /// environment is not seen, nobody is asked, and `passphrase` opens the authority keys.
    ///
    /// # Errors
    /// `Failed` with what the command said, if it failed.
    pub fn run_nested(
        &self,
        home: &Path,
        passphrase: &Path,
        words: &[&str],
    ) -> Result<String, CommandError> {
        let stdout = Captured::default();
        let stderr = Captured::default();
        let directory = if home.is_dir() {
            home.to_owned()
        } else {
            self.files.resolve(Path::new("."))
        };
        let host = Host {
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            network: self.network.clone(),
            stdout: Box::new(stdout.clone()),
            stderr: Box::new(stderr.clone()),
            ..Host::unattended(directory)
        };
        let mut arguments = vec![OsString::from("dps-pki")];
        arguments.extend(words.iter().map(OsString::from));
        arguments.extend([OsString::from("--home"), home.into()]);
        arguments.extend([OsString::from("--passphrase-file"), passphrase.into()]);
        if self.settings.lax_permissions {
            arguments.push(OsString::from("--lax-permissions"));
        }
        match (self.program)(arguments, host) {
            0 => Ok(stdout.text()),
            code => {
                let said = stderr.text();
                let said = said.trim_end().trim_start_matches("error: ");
                let said = said.split("\n  ").collect::<Vec<_>>().join("; ");
                Err(CommandError::failed(format!(
                    "dps-pki {} ended with {code}: {said}",
                    words.join(" ")
                )))
            }
        }
    }

    fn read_stdin(&self) -> Result<Zeroizing<Vec<u8>>, CommandError> {
        read_stream(&mut **self.stdin()?, "standard input")
    }

    fn stdin(&self) -> Result<MutexGuard<'_, Box<dyn Read + Send>>, CommandError> {
        let stdin = self.host.stdin.lock();
        stdin.map_err(|_| CommandError::failed("standard input is in use"))
    }

    fn ask(&self, question: &str) -> Result<SecretString, CommandError> {
        if !self.host.terminal.can_ask() {
            return Err(CommandError::refused(
                "a passphrase is needed, and there is no terminal to ask at",
            )
            .hint("give it with --passphrase-file, or in DPS_PKI_PASSPHRASE"));
        }
        let asked = outside::line(question).into_owned();
        let answer = self.answer(move |prompt| prompt.secret(&asked))?;
        if answer.expose_secret().is_empty() {
            Err(CommandError::refused("the passphrase is empty"))
        } else {
            Ok(answer)
        }
    }
}

impl Context {
    /// What the person says, unless it is Ctrl-C. Once something has waited for that, the system leaves
    /// it to whoever waits, so the question waits for it as well.
    fn answer<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Prompt) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, CommandError> {
        if self.runtime.get().is_none() || Handle::try_current().is_ok() {
            return ask(self.host.prompt.as_ref()).map_err(no_answer);
        }
        let prompt = Arc::clone(&self.host.prompt);
        let (sender, answer) = oneshot::channel();
        std::thread::spawn(move || sender.send(ask(prompt.as_ref())));
        let answer = self.block_on(async {
            let answer = answer.await;
            answer
                .unwrap_or_else(|_| Err(std::io::ErrorKind::BrokenPipe.into()))
                .map_err(no_answer)
        });
        if matches!(&answer, Err(error) if error.kind == ErrorKind::Interrupted) {
            // The question stands on the line still.
            self.ui.end_progress();
        }
        answer
    }
}

/// The value of a cell, made at the first call. What fails is tried again at the next.
fn once<T>(
    cell: &OnceLock<T>,
    make: impl FnOnce() -> Result<T, CommandError>,
) -> Result<&T, CommandError> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(cell.get_or_init(|| value))
}

/// The first line, without its end: editors and `echo` add one.
fn first_line(content: &[u8], name: &str) -> Result<SecretString, CommandError> {
    let line = content
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok("") => Err(CommandError::invalid_input(format!(
            "{name}: there is no secret on its first line"
        ))),
        Ok(text) => Ok(SecretString::from(text)),
        Err(_) => Err(CommandError::invalid_input(format!(
            "{name}: the secret is not UTF-8"
        ))),
    }
}

fn no_answer(error: std::io::Error) -> CommandError {
    CommandError::failed("the terminal gave no answer").because(error)
}

/// Sends events to the process's standard error. A second run in one process keeps the first's filter.
fn log_to_stderr(settings: &Settings, terminal: Terminal) {
    use tracing_subscriber::EnvFilter;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&settings.log))
        .with_ansi(terminal.stderr && !settings.no_colour)
        .with_writer(std::io::stderr)
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// A stream whose content is kept.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        let content = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        String::from_utf8_lossy(&content).into_owned()
    }
}

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut content = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        content.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
