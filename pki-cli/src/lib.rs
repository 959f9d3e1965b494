//! The command line of dps-pki: parse, call the core, render.
//!
//! [`run`] is the whole program with its surroundings as a value, so that tests run it in-process
//! with a clock of their own. One file per command group is in `commands`; to add a command, add its
//! file, a variant and an arm there.
//! What commands, flags, outputs and exit codes mean to scripts is fixed; see the CLI reference.
//! Invariant: standard output carries the result and nothing else, and only [`render`] writes to it.

pub(crate) mod authority_key;
pub mod bad_lines;
mod batch_file;
mod batch_input;
mod batch_output;
pub mod bug;
mod commands;
pub mod config;
mod contents;
pub mod context;
pub mod dialog;
pub mod error;
mod execute;
pub mod files;
pub mod home;
pub mod host;
mod hubs;
pub mod inputs;
mod issuance;
pub mod layout;
mod locks;
pub mod memory;
mod named;
mod neighbour;
mod once;
mod permissions;
mod planes;
pub mod render;
mod request_input;
pub mod runtime;
pub mod secret_word;
pub mod secrets;
mod snapshot;
mod spool;
mod tokens;
mod typed;
mod unknown;

use std::ffi::OsString;

use clap::Parser as _;

pub use crate::commands::command;

use crate::commands::Cli;
use crate::config::{OutputFormat, Settings};
use crate::context::Context;
use crate::error::{CommandError, ErrorKind, Outcome};
use crate::host::{Host, Terminal};
use crate::render::ui::Ui;

/// Runs one command line, program name first, and returns the exit code.
pub fn run<I>(arguments: I, mut host: Host) -> u8
where
    I: IntoIterator<Item: Into<OsString>>,
{
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let format = OutputFormat::guess(&arguments, &host.environment);
    let early = Ui::early(&mut host, format);
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return early.usage(error),
    };
    let settings = match Settings::new(cli.flags, &host) {
        Ok(settings) => settings,
        Err(error) => return early.error(&error),
    };
    if host.logs {
        log_to_stderr(&settings, host.terminal);
    }
    let context = Context::new(settings, host, early, run::<Vec<OsString>>);
    let outcome = bug::guarded(|| cli.command.run(&context));
    match outcome {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::SomethingToDo) => Outcome::SOMETHING_TO_DO,
        Err(CommandError {
            kind: ErrorKind::OutputClosed,
            ..
        }) => 0,
        Err(error) => context.ui.error(&error),
    }
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
