//! Flags and environment variables, made into one [`Settings`]. Every variable is declared here.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use clap::ArgAction;
use pki_core::ids::DpsName;
use pki_core::time::Span;

use crate::error::{CommandError, ErrorKind};
use crate::host::Host;
use crate::secret_word::{SecretWord, SecretWordParser};

/// How many devices people are told of by name; scripts are told all.
pub(crate) const NAMED: usize = 10;

/// The environment variables that mean something to dps-pki.
mod variable {
    pub(super) const HOME: &str = "DPS_PKI_HOME";
    pub(super) const OUTPUT: &str = "DPS_PKI_OUTPUT";
    pub(super) const LOG: &str = "DPS_PKI_LOG";
    pub(super) const LAX_PERMISSIONS: &str = "DPS_PKI_LAX_PERMISSIONS";
    pub(super) const LOCK_TIMEOUT: &str = "DPS_PKI_LOCK_TIMEOUT";
    pub(super) const PASSPHRASE: &str = "DPS_PKI_PASSPHRASE";
    pub(super) const PASSPHRASE_FILE: &str = "DPS_PKI_PASSPHRASE_FILE";
    pub(super) const PKCS11_MODULE: &str = "DPS_PKI_PKCS11_MODULE";
    /// <https://no-color.org>
    pub(super) const NO_COLOR: &str = "NO_COLOR";
}

/// The flags that every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalFlags {
    /// The PKI home [env: DPS_PKI_HOME] [default: the nearest folder upwards with a pki.toml]
    #[arg(long, global = true, value_name = "DIR")]
    home: Option<PathBuf>,

    /// Text for people or JSON for scripts [env: DPS_PKI_OUTPUT] [default: text]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    output: Option<OutputFormat>,

    /// Do not ask for confirmation
    #[arg(long, global = true)]
    yes: bool,

    /// Print plan and impact, change nothing
    #[arg(long, global = true)]
    dry_run: bool,

    /// Replace an output file that exists; a file of the home never
    #[arg(long, global = true)]
    force: bool,

    /// Print the result and errors only
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,

    /// Print more; twice for everything [env: DPS_PKI_LOG, a filter of tracing]
    #[arg(long, short, global = true, action = ArgAction::Count)]
    verbose: u8,

    /// File whose first line opens the authority keys [env: DPS_PKI_PASSPHRASE_FILE; or the
    /// passphrase itself in DPS_PKI_PASSPHRASE]
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,

    /// The same from file:PATH, env:NAME, fd:N, stdin or prompt
    #[arg(
        long,
        global = true,
        value_name = "WHERE",
        value_parser = SecretWordParser,
        conflicts_with = "passphrase_file"
    )]
    passphrase_from: Option<SecretWord>,

    /// Use a home, and keys, that others can read or write [env: DPS_PKI_LAX_PERMISSIONS]
    #[arg(long, global = true)]
    lax_permissions: bool,

    /// Which DPS instance of pki.toml; not needed where there is one
    #[arg(long, global = true, value_name = "NAME")]
    dps: Option<DpsName>,
}

/// How results and errors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// For scripts: one document, or one object a line.
    Json,
}

impl OutputFormat {
    /// The format that a command line asks for even if it cannot be parsed otherwise.
    pub(crate) fn guess(
        arguments: &[OsString],
        environment: &BTreeMap<OsString, OsString>,
    ) -> Self {
        let spelled = |words: &[OsString]| match words {
            [flag, value] if flag == "--output" => Self::named(value),
            [joined, ..] => Self::named(joined.to_str()?.strip_prefix("--output=")?.as_ref()),
            [] => None,
        };
        let flag = arguments
            .windows(2)
            .chain(arguments.chunks(1))
            .find_map(spelled);
        let variable = environment.get(OsStr::new(variable::OUTPUT));
        flag.or_else(|| Self::named(variable?)).unwrap_or_default()
    }

    fn named(word: &OsStr) -> Option<Self> {
        <Self as clap::ValueEnum>::from_str(word.to_str()?, true).ok()
    }
}

/// How much is told on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// Warnings and what is going on.
    Normal,
    /// Each step.
    Verbose,
    /// Everything.
    Debug,
}

/// What flags and environment say, taken together.
#[derive(Debug)]
pub struct Settings {
    /// The home, if named.
    pub home: Option<PathBuf>,
    /// How results are written.
    pub output: OutputFormat,
    /// Whether questions are answered with yes beforehand.
    pub yes: bool,
    /// Whether nothing may be changed.
    pub dry_run: bool,
    /// Whether outputs take the place of files that exist.
    pub force: bool,
    /// How much is told.
    pub verbosity: Verbosity,
    /// Where the passphrase of authority keys is; asked for if `None`.
    pub passphrase: Option<SecretWord>,
    /// The library that speaks to PKCS#11 tokens, where a URI names none.
    pub pkcs11_module: Option<PathBuf>,
    /// Whether homes and keys are used that others can read or write.
    pub lax_permissions: bool,
    /// How long an inventory is waited for whose holder does not get on; a while if `None`.
    pub lock_timeout: Option<Span>,
    /// The chosen DPS instance.
    pub dps: Option<DpsName>,
    /// Whether colour is unwanted.
    pub no_colour: bool,
    /// What is logged, as a filter of `tracing`.
    pub log: String,
}

impl Settings {
    /// Takes flags and environment together; flags win.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if a variable holds what its flag would not take.
    pub fn new(flags: GlobalFlags, host: &Host) -> Result<Self, CommandError> {
        let set = |name: &str| {
            let value = host.environment.get(OsStr::new(name));
            value.filter(|value| !value.is_empty())
        };
        let verbosity = match (flags.quiet, flags.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, 1) => Verbosity::Verbose,
            (false, _) => Verbosity::Debug,
        };
        Ok(Self {
            home: flags
                .home
                .or_else(|| set(variable::HOME).map(PathBuf::from)),
            output: match (flags.output, set(variable::OUTPUT)) {
                (Some(format), _) => format,
                (None, Some(word)) => OutputFormat::named(word)
                    .ok_or_else(|| misused(variable::OUTPUT, "is neither text nor json"))?,
                (None, None) => OutputFormat::default(),
            },
            yes: flags.yes,
            dry_run: flags.dry_run,
            force: flags.force,
            verbosity,
            passphrase: flags
                .passphrase_from
                .or_else(|| flags.passphrase_file.map(SecretWord::File))
                .or_else(|| {
                    set(variable::PASSPHRASE)
                        .map(|_| SecretWord::Environment(variable::PASSPHRASE.to_owned()))
                })
                .or_else(|| {
                    set(variable::PASSPHRASE_FILE).map(|path| SecretWord::File(path.into()))
                }),
            pkcs11_module: set(variable::PKCS11_MODULE).map(PathBuf::from),
            lax_permissions: flags.lax_permissions || set(variable::LAX_PERMISSIONS).is_some(),
            lock_timeout: set(variable::LOCK_TIMEOUT).map(lock_timeout).transpose()?,
            dps: flags.dps,
            no_colour: set(variable::NO_COLOR).is_some(),
            log: log_filter(set(variable::LOG), verbosity)?,
        })
    }
}

impl Settings {
    /// The files that they name to be read.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let passphrase = match &self.passphrase {
            Some(SecretWord::File(path)) => Some(path.as_path()),
            _ => None,
        };
        passphrase.into_iter().chain(self.pkcs11_module.as_deref())
    }
}

fn lock_timeout(value: &OsString) -> Result<Span, CommandError> {
    let span = value.to_str().and_then(|text| text.parse().ok());
    span.ok_or_else(|| {
        misused(
            variable::LOCK_TIMEOUT,
            "is not a duration like 30s or 10min",
        )
    })
}

fn log_filter(variable: Option<&OsString>, verbosity: Verbosity) -> Result<String, CommandError> {
    let Some(filter) = variable else {
        let level = match verbosity {
            Verbosity::Quiet => "off",
            Verbosity::Normal => "warn",
            Verbosity::Verbose => "info",
            Verbosity::Debug => "debug",
        };
        return Ok(level.to_owned());
    };
    let filter = filter.to_string_lossy().into_owned();
    match tracing_subscriber::filter::Targets::from_str(&filter) {
        Ok(_) => Ok(filter),
        Err(error) => Err(misused(variable::LOG, "is not a filter of tracing").because(error)),
    }
}

fn misused(variable: &str, problem: &str) -> CommandError {
    CommandError::new(
        ErrorKind::Usage,
        format!("the environment variable {variable} {problem}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_known_before_the_command_line_is_understood() {
        let guess = |line: &str, variable: Option<&str>| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let environment = variable.map(|value| ("DPS_PKI_OUTPUT".into(), value.into()));
            OutputFormat::guess(&arguments, &environment.into_iter().collect())
        };
        assert_eq!(
            guess("dps-pki --bad --output json", None),
            OutputFormat::Json
        );
        assert_eq!(
            guess("dps-pki --output=json --bad", None),
            OutputFormat::Json
        );
        assert_eq!(
            guess("dps-pki --output text --bad", Some("json")),
            OutputFormat::Text
        );
        assert_eq!(guess("dps-pki --bad", Some("json")), OutputFormat::Json);
        assert_eq!(guess("dps-pki --output", None), OutputFormat::Text);
    }
}
