//! `dps`: single records of a DPS instance, by name. Whole plans are `plan`, `roll` and `quarantine`.

mod ca;
mod ca_proof;
mod declared;
mod device;
mod entry;
mod group;
mod impact;
mod registration;

pub(super) use ca_proof::ProofRequest;

use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::planes::Planes;

/// Look at and change single records in DPS: CA certificates, groups, devices, registrations
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Ca(ca::Args),
    Group(group::Args),
    Device(device::Args),
    Registration(registration::Args),
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        match &self.command {
            Command::Ca(args) => args.run(context),
            Command::Group(args) => args.run(context),
            Command::Device(args) => args.run(context),
            Command::Registration(args) => args.run(context),
        }
    }
}

/// The planes of the DPS instance that the command is about.
pub(super) fn planes(context: &Context) -> Result<Planes<'_>, CommandError> {
    let (name, declared) = context.dps()?;
    Planes::new(context, name, declared)
}
