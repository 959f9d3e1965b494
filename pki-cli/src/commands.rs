//! The commands, one file per group. To add one: its file with `Args` and `run`, a variant, an arm.

mod audit;
mod authority;
mod batch;
mod change;
mod convert;
mod crl;
mod csr;
mod deprovision;
mod dps;
mod emulator;
mod explain;
mod hub;
mod impact;
mod init;
mod inspect;
mod inventory;
mod issue;
mod issue_batch;
mod issue_each;
mod journal;
mod lint;
mod plan;
mod possession;
mod quarantine;
mod quickstart;
mod readmit;
mod renew;
mod revoke;
mod roll;
mod shell;
mod sign;
mod verify;

use crate::context::Context;
use crate::error::CommandResult;

/// A command and its arguments.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    Quickstart(quickstart::Args),
    Init(init::Args),
    Authority(authority::Args),
    Possession(possession::Args),
    Issue(issue::IssueArgs),
    Sign(sign::Args),
    Renew(renew::Args),
    Csr(csr::Args),
    Verify(verify::Args),
    Inspect(inspect::Args),
    Convert(convert::Args),
    Lint(lint::Args),
    Crl(crl::Args),
    Revoke(revoke::Args),
    Plan(plan::PlanArgs),
    Apply(plan::ApplyArgs),
    Explain(explain::Args),
    Impact(impact::Args),
    Roll(roll::Args),
    Quarantine(quarantine::Args),
    Readmit(readmit::Args),
    Deprovision(deprovision::Args),
    Journal(journal::Args),
    Inventory(inventory::Args),
    Batch(batch::Args),
    Audit(audit::Args),
    Emulator(emulator::Args),
    Dps(dps::Args),
    Hub(hub::Args),
    Completions(shell::CompletionArgs),
    Man(shell::ManArgs),
}

impl Command {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> CommandResult {
        match self {
            Self::Quickstart(args) => args.run(context),
            Self::Init(args) => args.run(context),
            Self::Authority(args) => args.run(context),
            Self::Possession(args) => args.run(context),
            Self::Issue(args) => args.run(context),
            Self::Sign(args) => args.run(context),
            Self::Renew(args) => args.run(context),
            Self::Csr(args) => args.run(context),
            Self::Verify(args) => args.run(context),
            Self::Inspect(args) => args.run(context),
            Self::Convert(args) => args.run(context),
            Self::Lint(args) => args.run(context),
            Self::Crl(args) => args.run(context),
            Self::Revoke(args) => args.run(context),
            Self::Plan(args) => args.run(context),
            Self::Apply(args) => args.run(context),
            Self::Explain(args) => args.run(context),
            Self::Impact(args) => args.run(context),
            Self::Roll(args) => args.run(context),
            Self::Quarantine(args) => args.run(context),
            Self::Readmit(args) => args.run(context),
            Self::Deprovision(args) => args.run(context),
            Self::Journal(args) => args.run(context),
            Self::Inventory(args) => args.run(context),
            Self::Batch(args) => args.run(context),
            Self::Audit(args) => args.run(context),
            Self::Emulator(args) => args.run(context),
            Self::Dps(args) => args.run(context),
            Self::Hub(args) => args.run(context),
            Self::Completions(args) => args.run(context),
            Self::Man(args) => args.run(context),
        }
    }
}
