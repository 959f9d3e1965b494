//! The streams: one result in text or JSON, messages beside it, colour where a person looks.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::error::{ContextKind, ContextValue};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::ioctl_fionread;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};
use serde_json::{Serializer, json};

use super::error;
use super::outside::{self, Plain};
use crate::config::{OutputFormat, Settings, Verbosity};
use crate::error::{CommandError, ErrorKind};
use crate::host::{Host, Terminal};

/// Writes results and messages.
pub struct Ui {
    stdout: Mutex<Box<dyn Write + Send>>,
    stdout_descriptor: Option<OwnedFd>,
    stderr: Arc<Mutex<Box<dyn Write + Send>>>,
    format: OutputFormat,
    verbosity: Verbosity,
    colour: bool,
    at_terminal: bool,
    /// Whether a person looks at standard output.
    is_shown: bool,
    /// What was warned of once.
    warned: Mutex<BTreeSet<String>>,
}

impl Ui {
    /// Takes the host's output streams, before the command line is understood.
    pub(crate) fn early(host: &mut Host, format: OutputFormat) -> Self {
        let no_colour = host.environment.get(std::ffi::OsStr::new("NO_COLOR"));
        Self {
            stdout: Mutex::new(std::mem::replace(&mut host.stdout, Box::new(io::sink()))),
            stdout_descriptor: host.stdout_descriptor.take(),
            stderr: Arc::new(Mutex::new(std::mem::replace(
                &mut host.stderr,
                Box::new(io::sink()),
            ))),
            format,
            verbosity: Verbosity::Normal,
            at_terminal: host.terminal.stderr,
            is_shown: host.terminal.stdout,
            warned: Mutex::default(),
            colour: host.terminal.stderr && no_colour.is_none_or(|value| value.is_empty()),
        }
    }

    /// The same streams as the settings want them.
    pub(crate) fn set(self, settings: &Settings, terminal: Terminal) -> Self {
        Self {
            format: settings.output,
            verbosity: settings.verbosity,
            colour: terminal.stderr && !settings.no_colour,
            ..self
        }
    }

    /// Whether results are JSON.
    pub fn is_json(&self) -> bool {
        self.format == OutputFormat::Json
    }

    /// Writes the command's one result: its `Display` for people, its `Serialize` for scripts.
    ///
    /// # Errors
    /// `OutputClosed` if the reader has gone, `Failed` if the stream cannot be written.
    pub fn result(&self, result: &(impl Serialize + Display)) -> Result<(), CommandError> {
        match self.format {
            OutputFormat::Text => self.text_line(&result.to_string()),
            OutputFormat::Json => self.json_line(result, PrettyFormatter::new()),
        }
    }

    /// Writes one of a stream of results: a line of text, or one JSON object in a line.
    ///
    /// # Errors
    /// As [`Self::result`].
    pub fn item(&self, item: &(impl Serialize + Display)) -> Result<(), CommandError> {
        match self.format {
            OutputFormat::Text => self.text_line(&item.to_string()),
            OutputFormat::Json => self.json_line(item, CompactFormatter),
        }
    }

    /// Writes a result that is neither text nor JSON of ours: PEM, a script, an archive.
    ///
    /// # Errors
    /// As [`Self::result`].
    pub fn raw(&self, bytes: &[u8]) -> Result<(), CommandError> {
        match str::from_utf8(bytes) {
            // What goes into a file or a program goes there as it is.
            Ok(text) if self.is_shown => self.write_out(outside::lines(text).as_bytes()),
            _ => self.write_out(bytes),
        }
    }

    fn write_out(&self, bytes: &[u8]) -> Result<(), CommandError> {
        let mut stdout = locked(&self.stdout);
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => CommandError::new(
                    ErrorKind::OutputClosed,
                    "the reader of standard output has gone",
                ),
                _ => CommandError::failed("cannot write to standard output").because(error),
            })
    }

    /// Standard output as a stream, for a result that is too large to be held.
    pub(crate) fn stdout(&self) -> Stdout<'_> {
        Stdout(self)
    }

    /// Tells what is going on, unless `--quiet`. Scripts are not told.
    pub fn note(&self, message: impl Display) {
        if self.verbosity >= Verbosity::Normal && !self.is_json() {
            self.message(&outside::lines(&message.to_string()));
        }
    }

    /// Tells later what [`Self::note`] would tell, for those who outlive it.
    pub(crate) fn notes(&self) -> impl Fn(&str) + Send + 'static {
        let stderr = Arc::clone(&self.stderr);
        let tells = self.verbosity >= Verbosity::Normal && !self.is_json();
        move |message| {
            if tells {
                // Nobody is left to be told that nobody can be told.
                let _ = writeln!(locked(&stderr), "{message}");
            }
        }
    }

    /// Tells a detail, with `--verbose`. Scripts are not told.
    pub fn detail(&self, message: impl Display) {
        if self.verbosity >= Verbosity::Verbose && !self.is_json() {
            self.message(&outside::lines(&message.to_string()));
        }
    }

    /// Whether a person looks at standard error, so that a line can be rewritten.
    pub(crate) fn rewrites(&self) -> bool {
        self.at_terminal && self.verbosity >= Verbosity::Normal && !self.is_json()
    }

    /// Tells how far something is: in place of the last such line where that is possible.
    pub(crate) fn progress(&self, text: &str) {
        if !self.rewrites() {
            return self.note(text);
        }
        let text = outside::line(text);
        let mut stderr = locked(&self.stderr);
        let _ = write!(stderr, "\r{text}\x1b[K").and_then(|()| stderr.flush());
    }

    /// Ends the line that [`Self::progress`] rewrote.
    pub(crate) fn end_progress(&self) {
        self.message("");
    }

    /// Warns of something that is met again and again.
    pub(crate) fn warn_once(&self, text: String) {
        let is_new = locked(&self.warned).insert(text.clone());
        if is_new {
            self.warning(text);
        }
    }

    /// Warns, unless `--quiet`.
    pub fn warning(&self, message: impl Display) {
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        let message = message.to_string();
        match self.format {
            OutputFormat::Text => {
                let word = self.painted("warning:", YELLOW);
                self.message(&format!("{word} {}", outside::line(&message)));
            }
            OutputFormat::Json => {
                self.json_message(&json!({ "warning": { "message": message } }));
            }
        }
    }

    /// Tells why the command failed, and returns its exit code.
    pub fn error(&self, error: &CommandError) -> u8 {
        match self.format {
            OutputFormat::Text => self.message(&error::text(error, |word| self.painted(word, RED))),
            OutputFormat::Json => self.json_message(&error::Document(error)),
        }
        error.kind.exit_code()
    }

    /// Answers a command line that asks for help, for the version, or is wrong.
    pub(crate) fn usage(&self, error: clap::Error) -> u8 {
        let error = on_one_line(error);
        let rendered = error.render();
        if !error.use_stderr() {
            return match self.raw(rendered.to_string().as_bytes()) {
                Ok(()) => 0,
                Err(error) if error.kind == ErrorKind::OutputClosed => 0,
                Err(error) => self.error(&error),
            };
        }
        let code = ErrorKind::Usage.exit_code();
        match self.format {
            OutputFormat::Text => {
                let text = rendered.to_string();
                match outside::lines(text.trim_end()) {
                    // Nothing in it is obeyed but the colours, which are ours.
                    Cow::Borrowed(_) if self.colour => {
                        self.message(rendered.ansi().to_string().trim_end());
                    }
                    shown => self.message(&shown),
                }
            }
            OutputFormat::Json => {
                // What follows the first blank line is the usage.
                let text = rendered.to_string();
                let lines = text.lines().take_while(|line| !line.is_empty());
                let sentence = lines.map(str::trim).collect::<Vec<_>>().join(" ");
                let sentence = sentence.strip_prefix("error: ").unwrap_or(&sentence);
                return self.error(&CommandError::new(ErrorKind::Usage, sentence));
            }
        }
        code
    }

    fn text_line(&self, text: &str) -> Result<(), CommandError> {
        self.raw(format!("{}\n", outside::lines(text)).as_bytes())
    }

    fn json_line(
        &self,
        result: &impl Serialize,
        formatter: impl Formatter,
    ) -> Result<(), CommandError> {
        let mut encoded = Vec::new();
        result
            .serialize(&mut Serializer::with_formatter(
                &mut encoded,
                Plain(formatter),
            ))
            .map_err(|error| CommandError::failed("the result has no JSON form").because(error))?;
        encoded.push(b'\n');
        self.raw(&encoded)
    }

    /// One message on standard error. There is nobody to tell if that fails.
    fn message(&self, text: &str) {
        let mut stderr = locked(&self.stderr);
        let _ = writeln!(stderr, "{text}").and_then(|()| stderr.flush());
    }

    /// One message as JSON, written as it is made: it may be about a million lines.
    fn json_message(&self, message: &impl Serialize) {
        let mut stderr = locked(&self.stderr);
        let mut writer = BufWriter::new(&mut **stderr);
        let formatter = Plain(CompactFormatter);
        let _ = message
            .serialize(&mut Serializer::with_formatter(&mut writer, formatter))
            .map_err(io::Error::from)
            .and_then(|()| writer.write_all(b"\n"))
            .and_then(|()| writer.flush());
    }

    fn painted(&self, word: &str, colour: &str) -> String {
        if self.colour {
            format!("{colour}{word}{RESET}")
        } else {
            word.to_owned()
        }
    }
}

/// Standard output, locked for each write.
pub(crate) struct Stdout<'a>(&'a Ui);

impl Stdout<'_> {
    /// Waits until the reader of a pipe has taken all that was written: what a pipe still holds when
    /// its reader goes is lost. Anything else than a pipe has it already.
    pub(crate) fn await_reader(&self) -> io::Result<()> {
        let Some(descriptor) = &self.0.stdout_descriptor else {
            return Ok(());
        };
        if !FileType::from_raw_mode(fstat(descriptor)?.st_mode).is_fifo() {
            return Ok(());
        }
        while ioctl_fionread(descriptor)? > 0 {
            let mut watched = [PollFd::new(descriptor, PollFlags::empty())];
            let a_moment = Timespec {
                tv_sec: 0,
                tv_nsec: 5_000_000,
            };
            // With nothing asked for, only the end of the reader is told.
            if poll(&mut watched, Some(&a_moment))? > 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(())
    }
}

impl Write for Stdout<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        locked(&self.0.stdout).write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        locked(&self.0.stdout).flush()
    }
}

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const RESET: &str = "\x1b[0m";

/// What another thread panicked over can still be used.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was given on the command line may have several lines, of which one may look like ours.
fn on_one_line(mut error: clap::Error) -> clap::Error {
    let given: Vec<(ContextKind, String)> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) => Some((kind, outside::line(text).into_owned())),
            _ => None,
        })
        .collect();
    for (kind, text) in given {
        error.insert(kind, ContextValue::String(text));
    }
    let says_it_again = matches!(
        error.get(ContextKind::Suggested),
        Some(ContextValue::StyledStrs(tips)) if tips.iter().any(|tip| tip.to_string().contains('\n'))
    );
    if says_it_again {
        error.remove(ContextKind::Suggested);
    }
    error
}
