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

use std::num::NonZeroUsize;

use dps_client::page::Records;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::render::ui::Ui;
use crate::runtime::Runtime;

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

/// The first records of a list; that there are more is told.
fn first<T>(
    runtime: &Runtime,
    ui: &Ui,
    records: Records<T>,
    limit: NonZeroUsize,
) -> Result<Vec<T>, CommandError> {
    // One more than is shown tells whether there are more.
    let records = records.take(limit.get().saturating_add(1));
    let mut found: Vec<T> = runtime.block_on(async { Ok(records.try_collect().await?) })?;
    if found.len() > limit.get() {
        found.truncate(limit.get());
        ui.warning(format!(
            "only the first {limit} are listed; see more with --limit"
        ));
    }
    Ok(found)
}
