//! What a command ends with: an outcome, or the one error type of the command line.
//!
//! Library errors become a [`CommandError`] here and nowhere else; [`crate::render`] alone prints it;
//! its kind alone picks the exit code.

mod operations;

use std::error::Error;
use std::fmt;
use std::path::Path;

use dps_client::ClientError;
use dps_client::transport::{TransportError, TransportSetupError};
use dps_operations::Class;
use pki_core::admission::ViewError;
use pki_core::authority::{AdoptError, PossessionError};
use pki_core::bulk::input::Place;
use pki_core::certificate::pem::CertificateInputError;
use pki_core::crl::CrlError;
use pki_core::declaration::DeclarationError;
use pki_core::encoding::contents::ContentsError;
use pki_core::ids::IdError;
use pki_core::inventory::{InventoryError, KeyHolder};
use pki_core::issue::IssueError;
use pki_core::key::pkcs11::TokenError;
use pki_core::key::{KeyError, KeyFileError};
use pki_core::lifecycle::roll::RollError;
use pki_core::lifecycle::{BelowError, CheckError, DeclaredError, PruneError, ReadmitError};
use pki_core::pem::InputError;
use pki_core::ports::EntropyError;
use pki_core::time::TimeError;

use crate::bad_lines::ToldLines;
use crate::neighbour;
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

impl From<IdError> for CommandError {
    fn from(error: IdError) -> Self {
        Self::invalid_input(error.to_string())
    }
}

impl From<InputError> for CommandError {
    fn from(error: InputError) -> Self {
        Self::invalid_input(error.to_string())
    }
}

impl From<CertificateInputError> for CommandError {
    fn from(error: CertificateInputError) -> Self {
        Self::invalid_input(error.to_string())
    }
}

impl From<KeyError> for CommandError {
    fn from(error: KeyError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<TokenError> for CommandError {
    fn from(error: TokenError) -> Self {
        let kind = match &error {
            TokenError::Module { .. }
            | TokenError::NoToken { .. }
            | TokenError::NoKey { .. }
            | TokenError::NoPublicKey { .. } => ErrorKind::NotFound,
            TokenError::PinNeeded { .. }
            | TokenError::WrongPin { .. }
            | TokenError::PinLocked { .. }
            | TokenError::PinNotSet { .. }
            | TokenError::KeyExists { .. } => ErrorKind::Refused,
            TokenError::SeveralTokens { .. }
            | TokenError::SeveralKeys { .. }
            | TokenError::Unnamed
            | TokenError::KeyKind { .. }
            | TokenError::PinForEachSignature { .. }
            | TokenError::CannotMake { .. } => ErrorKind::InvalidInput,
            _ => ErrorKind::Failed,
        };
        let refused = Self::new(kind, error.to_string());
        match error {
            TokenError::NoPublicKey { token, wanted } => refused.hint(format!(
                "store the public key with the same identifier; if no certificate was made for this key, \
                 remove it: p11tool --login --delete 'pkcs11:token={token};{wanted};type=private'"
            )),
            TokenError::PinNeeded { .. } => {
                refused.hint("add ?pin-source=file:PATH or ?pin-source=env:NAME to the URI")
            }
            _ => refused,
        }
    }
}

impl From<EntropyError> for CommandError {
    fn from(error: EntropyError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<TimeError> for CommandError {
    fn from(error: TimeError) -> Self {
        Self::invalid_input(error.to_string())
    }
}

/// Every device has a key of its own.
const OWN_KEY: &str =
    "every device makes a key of its own; one image for many must not have one in it";

fn key_hint(holder: &KeyHolder) -> &'static str {
    if holder.revoked.is_some() {
        "let the device make a new key"
    } else {
        "every device makes a key of its own; if it is the same device under another ID: dps-pki revoke \
         OLD-ID --reason cessationOfOperation"
    }
}

impl CommandError {
    /// The key of a request is another's, or was compromised. `place` is where the request stands.
    pub(crate) fn key_taken(holder: &KeyHolder, place: Option<&Place>) -> Self {
        let message = match place {
            Some(place) => format!("{place}: {holder}"),
            None => holder.to_string(),
        };
        Self::refused(message).hint(key_hint(holder))
    }
}

impl From<InventoryError> for CommandError {
    fn from(error: InventoryError) -> Self {
        let kind = Class::from(&error).into();
        let refused = Self::new(kind, error.to_string());
        match error {
            InventoryError::Storage { source, .. } => refused.because(source),
            InventoryError::Locked { path } => match neighbour::writer_of(&path) {
                Some(holder) => {
                    refused.hint(format!("{holder} has it, and has written nothing for long"))
                }
                None => refused,
            },
            InventoryError::LeafExists { .. } => {
                refused.hint("to give a device another leaf: dps-pki renew ID")
            }
            InventoryError::KeyTaken { first, .. } => refused.hint(key_hint(&first)),
            InventoryError::KeyTwice { .. } => refused.hint(OWN_KEY),
            InventoryError::WriteProtected { .. } => {
                refused.hint("it can be read here; to change it, work where it can be written")
            }
            InventoryError::Edited { .. } => refused
                .hint("nothing was done with it; see what else was changed, with: dps-pki audit verify")
                .hint("a backup of the home from before the edit can be gone on with"),
            InventoryError::SchemaTooOld { .. } | InventoryError::Unfinished { .. } => refused
                .hint("copy the whole home to a place that can be written, and read it there"),
            _ => refused,
        }
    }
}

impl From<IssueError> for CommandError {
    fn from(error: IssueError) -> Self {
        Self::new(Class::from(&error).into(), error.to_string())
    }
}

impl From<PossessionError> for CommandError {
    fn from(error: PossessionError) -> Self {
        Self::new(Class::from(&error).into(), error.to_string())
    }
}

impl From<AdoptError> for CommandError {
    fn from(error: AdoptError) -> Self {
        Self::invalid_input(error.to_string())
    }
}

impl From<CrlError> for CommandError {
    fn from(error: CrlError) -> Self {
        match error {
            CrlError::MayNotSign | CrlError::NextUpdate => Self::refused(error.to_string()),
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<DeclaredError> for CommandError {
    fn from(error: DeclaredError) -> Self {
        let message = error.to_string();
        match error {
            DeclaredError::NoAuthority { .. } => Self::not_found(message),
            DeclaredError::Deprovisioned { group } => Self::refused(message)
                .hint("take the group out of pki.toml")
                .hint(format!(
                    "if its devices are to come back, say --make-again {group}"
                )),
            _ => Self::refused(message),
        }
    }
}

impl From<PruneError> for CommandError {
    fn from(error: PruneError) -> Self {
        let refused = Self::refused(error.to_string());
        match error {
            PruneError::KeepsOut { group } => refused
                .hint("declare it with status = \"disabled\" to keep it")
                .hint(format!(
                    "or delete it by name: dps-pki dps group delete {group}"
                )),
            PruneError::LetsIn { .. } | PruneError::LetsCompromisedIn { .. } => {
                refused.hint("see which with: dps-pki dps group delete GROUP --dry-run")
            }
            PruneError::Declared(error) => error.into(),
            PruneError::Admits { name, .. } => refused.hint(format!(
                "declare it as [dps.NAME.ca.…] to keep it, or delete it by name: dps-pki dps ca delete {name}"
            )),
            _ => refused,
        }
    }
}

impl From<RollError> for CommandError {
    /// What stands in the way, and the way around it.
    fn from(error: RollError) -> Self {
        let refused = Self::refused(error.to_string());
        match error {
            RollError::Stranded { .. } => {
                refused.hint("let the overlap last longer, or accept their number with --accept-stranded N")
            }
            RollError::LeftBehind { .. } => refused
                .hint("give them new leaves with: dps-pki renew ID…; or accept their number with --accept-stranded N"),
            RollError::NotKnown { .. } | RollError::DeviceNotKnown { .. } => refused
                .hint("let the hub be read: its sign-in and address are in pki.toml; or accept their number with --accept-stranded N"),
            RollError::BreachUnfinished { authority, .. } => refused
                .hint(format!("what is left of it tells: dps-pki roll status {authority}"))
                .hint(format!("complete it with: dps-pki roll start {authority} --compromised")),
            RollError::StrandsBelow { .. } => refused.hint("say --with-intermediates"),
            RollError::SameKey { authority, .. } => refused
                .hint(format!("give it up with: dps-pki roll abort {authority}"))
                .hint(format!("then make one with a new key: dps-pki authority create {authority} --next")),
            RollError::BelowCompromised {
                authority,
                first,
                made,
                ..
            } => {
                let given_up = made.map(|made| {
                    format!("give generation {made} up with: dps-pki roll abort {authority}")
                });
                let rolled = first.map(|first| format!("roll {first} first: dps-pki roll start {first}"));
                let hints = given_up.into_iter().chain(rolled);
                hints.fold(refused, Self::hint)
            }
            RollError::Contradiction(_) => refused.hint("dps-pki audit verify"),
            RollError::NoLeafEntry { id } => {
                refused.hint(format!("dps-pki renew {id}; if its leaf is stolen: dps-pki quarantine {id}, then readmit"))
            }
            _ => refused,
        }
    }
}

impl From<ReadmitError> for CommandError {
    fn from(error: ReadmitError) -> Self {
        let refused = Self::refused(error.to_string());
        match error {
            ReadmitError::SameLeaf { id }
            | ReadmitError::SameKey { id }
            | ReadmitError::Revoked { id }
            | ReadmitError::NotOurs { id }
            | ReadmitError::NotValid { id, .. } => refused.hint(format!(
                "a new one comes from: dps-pki renew {id} --new-key"
            )),
            _ => refused,
        }
    }
}

impl From<CheckError> for CommandError {
    /// A planner's mistake or a fleet that nobody thought of: the plan is not carried out.
    fn from(error: CheckError) -> Self {
        Self::new(Class::from(&error).into(), error.to_string())
    }
}

impl From<BelowError> for CommandError {
    fn from(error: BelowError) -> Self {
        let refused = Self::refused(error.to_string());
        match error {
            BelowError::Id { source, .. } => refused.because(source),
            _ => refused,
        }
    }
}

impl From<ViewError> for CommandError {
    fn from(error: ViewError) -> Self {
        Self::new(ErrorKind::Service, error.to_string())
    }
}

impl From<TransportSetupError> for CommandError {
    fn from(error: TransportSetupError) -> Self {
        let message = error.to_string();
        let cause = error.source().map(ToString::to_string);
        let refused = Self::invalid_input(message);
        match cause {
            Some(cause) => refused.because(cause),
            None => refused,
        }
    }
}

impl From<ClientError> for CommandError {
    /// A service's refusal keeps its tracking ID, which its support asks for.
    fn from(error: ClientError) -> Self {
        if let ClientError::Transport { source, .. } = &error {
            return unreachable(source);
        }
        let refused = Self::new(Class::from(&error).into(), error.to_string());
        match error.source().map(ToString::to_string) {
            Some(cause) => refused.because(cause),
            None => refused,
        }
    }
}

/// No answer: where from, what the network or the handshake said in the end, and where to look.
fn unreachable(error: &TransportError) -> CommandError {
    let mut last: &(dyn Error + 'static) = error;
    while let Some(next) = last.source() {
        last = next;
    }
    let hint = match error {
        TransportError::Tls { .. } => {
            "the server's certificate must lead to trust-anchor in pki.toml, or without one to a root that this machine trusts"
        }
        TransportError::Proxy { .. } | TransportError::Tunnel { .. } => {
            "HTTPS_PROXY says which proxy leads to Azure, NO_PROXY which hosts are reached without it"
        }
        TransportError::Timeout { .. } => {
            "it takes connections and does not answer; try again later, with -v to see each attempt"
        }
        _ => "is it running, and is its address in pki.toml right?",
    };
    let refused = CommandError::new(ErrorKind::Service, error.to_string()).hint(hint);
    match last.to_string() {
        cause if cause == error.to_string() => refused,
        cause => refused.because(cause),
    }
}
