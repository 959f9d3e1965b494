//! The commands, one file per group. To add one: its file with `Args` and `run`, a variant, an arm.

mod init;
mod inspect;
mod shell;
mod verify;

use crate::context::Context;
use crate::error::CommandResult;

/// A command and its arguments.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    Init(init::Args),
    Verify(verify::Args),
    Inspect(inspect::Args),
    Completions(shell::CompletionArgs),
    Man(shell::ManArgs),
}

impl Command {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> CommandResult {
        match self {
            Self::Init(args) => args.run(context),
            Self::Verify(args) => args.run(context),
            Self::Inspect(args) => args.run(context),
            Self::Completions(args) => args.run(context),
            Self::Man(args) => args.run(context),
        }
    }
}
