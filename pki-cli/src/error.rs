//! What a command ends with: an outcome, or the one error type of the command line.
//!
//! Library errors become a [`CommandError`] here and nowhere else; [`crate::render`] alone prints it;
//! its kind alone picks the exit code.

mod client;
mod core;
mod operations;

use std::error::Error;
use std::fmt;
use std::path::Path;

use pki_core::declaration::DeclarationError;
use pki_core::encoding::contents::ContentsError;
use pki_core::key::KeyFileError;

use crate::bad_lines::ToldLines;
use crate::spool::CopyError;

/// What commands return.
pub type CommandResult = Result<Outcome, CommandError>;

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done, or nothing was left to do.
    Done,
    /// There is something to do, and `--detailed-exitcode` asked to be told.
    SomethingToDo,
}

impl Outcome {
    /// The exit code of [`Outcome::SomethingToDo`].
    pub const SOMETHING_TO_DO: u8 = 10;
}

/// The kinds of failure that scripts tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Failed for a reason not below.
    Failed,
    /// The command line is wrong.
    Usage,
    /// An input file or the configuration is wrong.
    InvalidInput,
    /// Unsafe without being asked for, not confirmed, or a check said no.
    Refused,
    /// DPS or the hub answered with an error, or could not be reached.
    Service,
    /// It changed since the plan was made.
    Conflict,
    /// Part of a batch failed.
    PartlyFailed,
    /// What was named does not exist.
    NotFound,
    /// Our bug.
    Bug,
    /// Interrupted by the user.
    Interrupted,
    /// Whoever read our output has gone; ends quietly.
    OutputClosed,
}

impl ErrorKind {
    /// The exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::InvalidInput => 3,
            Self::Refused => 4,
            Self::Service => 5,
            Self::Conflict => 6,
            Self::PartlyFailed => 7,
            Self::NotFound => 8,
            Self::Bug => 70,
            Self::Interrupted => 130,
            Self::OutputClosed => 0,
        }
    }

    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::InvalidInput => "invalid_input",
            Self::Refused => "refused",
            Self::Service => "service",
            Self::Conflict => "conflict",
            Self::PartlyFailed => "partly_failed",
            Self::NotFound => "not_found",
            Self::Bug => "bug",
            Self::Interrupted => "interrupted",
            Self::OutputClosed => "output_closed",
        }
    }
}

/// Why a command failed: one sentence, what caused it, and what to do.
#[derive(Debug)]
pub struct CommandError {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// The sentence.
    pub message: String,
    /// The error behind it, if its words are not in the sentence.
    pub source: Option<Box<dyn Error + Send + Sync>>,
    /// What to do.
    pub hints: Vec<String>,
    /// What it is about, one by one.
    pub lines: Vec<Line>,
    /// The bad lines of an input, of which there may be any number.
    pub bad_lines: Option<Box<ToldLines>>,
}

/// One of many things that an error is about.
#[derive(Debug, Clone)]
pub struct Line {
    /// For people.
    pub text: String,
    /// For scripts.
    pub json: serde_json::Value,
}

impl Line {
    /// One thing, for people and for scripts.
    pub fn of(line: &(impl fmt::Display + serde::Serialize)) -> Self {
        Self {
            text: line.to_string(),
            json: serde_json::to_value(line).unwrap_or_default(),
        }
    }
}

impl CommandError {
    /// An error of one sentence: lower case, no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
            hints: Vec::new(),
            lines: Vec::new(),
            bad_lines: None,
        }
    }

    /// [`ErrorKind::Failed`].
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// [`ErrorKind::InvalidInput`].
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// [`ErrorKind::Refused`].
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// A file does not hold what was wanted of it: `sensor-1.cert.pem: it is empty`.
    pub fn in_file(path: &Path, error: &impl Error) -> Self {
        let name = match path.to_str() {
            Some("-") => "standard input".into(),
            _ => path.to_string_lossy(),
        };
        Self::invalid_input(format!("{name}: {error}"))
    }

    /// The same error as one of another kind.
    #[must_use]
    pub fn of_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error with one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same error with what it is about, one by one.
    #[must_use]
    pub fn lines(mut self, lines: &[impl fmt::Display + serde::Serialize]) -> Self {
        self.lines.extend(lines.iter().map(Line::of));
        self
    }

    /// The same error with the bad lines of an input.
    #[must_use]
    pub fn bad_lines(mut self, lines: ToldLines) -> Self {
        self.bad_lines = Some(Box::new(lines));
        self
    }

    /// The sentences of the errors behind it, nearest first. What a library says twice, once more with a
    /// code of its own, is heard once.
    pub fn causes(&self) -> Vec<String> {
        let mut next: Option<&(dyn Error + 'static)> = self
            .source
            .as_ref()
            .map(|source| -> &(dyn Error + 'static) { source.as_ref() });
        let chain = std::iter::from_fn(|| {
            let error = next?;
            next = error.source();
            Some(error)
        });
        let mut causes: Vec<String> = Vec::new();
        for cause in chain.map(ToString::to_string) {
            let said = |last: &String| last.ends_with(&cause) || cause.ends_with(last.as_str());
            if !causes.last().is_some_and(said) {
                causes.push(cause);
            }
        }
        causes
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// `pki.toml` is wrong at a line: `pki.toml:7: [authority.root] key: …`.
pub(crate) fn in_declaration(path: &Path, error: &DeclarationError) -> CommandError {
    CommandError::invalid_input(format!("{}, {error}", path.display()))
}

/// A key file was not opened. One that wants a passphrase, or another one, is not a wrong input: it
/// refuses.
pub(crate) fn in_key_file(path: &Path, error: &KeyFileError) -> CommandError {
    let wrong = CommandError::in_file(path, error);
    match error {
        KeyFileError::PassphraseNeeded => wrong
            .of_kind(ErrorKind::Refused)
            .hint("give the passphrase with --passphrase-file or DPS_PKI_PASSPHRASE"),
        KeyFileError::WrongPassphrase => wrong.of_kind(ErrorKind::Refused),
        _ => wrong,
    }
}

/// A file of any form was not read; what its passphrase does not open refuses, as [`in_key_file`].
pub(crate) fn in_contents(path: &Path, error: &ContentsError) -> CommandError {
    let wrong = CommandError::in_file(path, error);
    match error {
        ContentsError::Passphrase { .. } => wrong.of_kind(ErrorKind::Refused),
        _ => wrong,
    }
}

impl Error for CommandError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_ref()?;
        Some(source.as_ref())
    }
}

impl From<CopyError> for CommandError {
    fn from(error: CopyError) -> Self {
        Self::failed(error.to_string())
            .because(error.0)
            .hint("copies go to the folder for temporary files; TMPDIR names another one")
    }
}
