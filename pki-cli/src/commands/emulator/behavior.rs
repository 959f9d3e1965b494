//! The options of `emulator` that make life hard: limits, faults, strictness, another time.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use dps_emulator::{Behavior, Quotas, Throttle};
use pki_core::time::Span;
use serde::de::DeserializeOwned;

use crate::error::CommandError;
use crate::files::Files;

// Faults and limits; all are off by default
#[derive(clap::Args)]
#[command(next_help_heading = "Limits and faults")]
pub(crate) struct BehaviorArgs {
    /// Take limits, faults and choices from this file, JSON or TOML; options add to it
    #[arg(long, value_name = "FILE")]
    behavior: Option<PathBuf>,

    /// Of what is legal, do what careless clients get wrong
    #[arg(long)]
    strict: bool,

    /// Allow so many operations a minute, or within a time: 200, 60/10s
    #[arg(long, value_name = "RATE")]
    throttle: Option<Rate>,

    /// Enforce the documented quotas: 25 CA certificates, 100 groups, …
    #[arg(long)]
    quotas: bool,

    /// Cut the connection of so many of a hundred requests
    #[arg(long, value_name = "PERCENT")]
    reset_percent: Option<u8>,

    /// Answer 503 to so many of a hundred requests
    #[arg(long, value_name = "PERCENT")]
    server_error_percent: Option<u8>,

    /// Let somebody else be faster in so many of a hundred writes with an ETag
    #[arg(long, value_name = "PERCENT")]
    stale_etag_percent: Option<u8>,

    /// Draw faults from this number: one number, one run
    #[arg(long, value_name = "NUMBER")]
    fault_seed: Option<u64>,

    /// How long an assignment takes, such as 30s
    #[arg(long, value_name = "TIME")]
    assignment_time: Option<Span>,

    /// Move the clock ahead or back, such as 90d or -12h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    clock_offset: Option<Offset>,
}

/// So many operations in a time.
#[derive(Debug, Clone, Copy)]
struct Rate(Throttle);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || "write it as 200 (a minute) or 60/10s".to_owned();
        let (operations, time) = text.split_once('/').unwrap_or((text, "60s"));
        let time: Span = time.parse().map_err(|_| refuse())?;
        let seconds = u32::try_from(time.seconds()).ok().and_then(NonZeroU32::new);
        Ok(Self(Throttle {
            operations: operations.parse().map_err(|_| refuse())?,
            seconds: seconds.ok_or_else(refuse)?,
        }))
    }
}

/// A time ahead or back, in seconds.
#[derive(Debug, Clone, Copy)]
struct Offset(i64);

impl FromStr for Offset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (is_back, span) = match text.strip_prefix('-') {
            Some(span) => (true, span),
            None => (false, text),
        };
        let span: Span = span.parse().map_err(|error| format!("{error}"))?;
        let seconds = i64::try_from(span.seconds()).map_err(|_| "that is too far".to_owned())?;
        Ok(Self(if is_back { -seconds } else { seconds }))
    }
}

impl BehaviorArgs {
    /// What the file says, changed by the options.
    pub(crate) fn behavior(&self, files: &Files) -> Result<Behavior, CommandError> {
        let mut behavior: Behavior = match &self.behavior {
            Some(path) => read_document(files, path)?,
            None => Behavior::default(),
        };
        if self.strict {
            behavior.choices = Behavior::strict().choices;
        }
        if self.quotas {
            behavior.quotas = Some(Quotas::default());
        }
        if let Some(Rate(throttle)) = self.throttle {
            behavior.throttle = Some(throttle);
        }
        if let Some(time) = self.assignment_time {
            let problem = |_| CommandError::invalid_input("--assignment-time is too long");
            behavior.assignment_seconds = u32::try_from(time.seconds()).map_err(problem)?;
        }
        if let Some(Offset(seconds)) = self.clock_offset {
            behavior.clock_offset_seconds = seconds;
        }
        behavior.seed = self.fault_seed.unwrap_or(behavior.seed);
        for (given, member) in [
            (self.reset_percent, &mut behavior.reset_percent),
            (
                self.server_error_percent,
                &mut behavior.server_error_percent,
            ),
            (self.stale_etag_percent, &mut behavior.stale_etag_percent),
        ] {
            *member = given.unwrap_or(*member);
        }
        Ok(behavior)
    }
}

/// Reads a document: TOML if the file's name ends so, else JSON.
pub(super) fn read_document<T: DeserializeOwned>(
    files: &Files,
    path: &Path,
) -> Result<T, CommandError> {
    let text = files.read_text(path)?;
    let bad = |problem: String| {
        CommandError::invalid_input(format!("{}: {}", path.display(), problem.trim_end()))
    };
    if path
        .extension()
        .is_some_and(|extension| extension == "toml")
    {
        toml::from_str(&text).map_err(|error| bad(error.to_string()))
    } else {
        serde_json::from_str(&text).map_err(|error| bad(error.to_string()))
    }
}
