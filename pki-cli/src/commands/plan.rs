//! `plan` and `apply`: what differs between `pki.toml` and DPS, and doing it.

use pki_core::admission::ChainElement;
use pki_core::ids::RegistrationId;
use pki_core::inventory::Inventory as _;
use pki_core::inventory::sqlite::SqliteInventory;
use pki_core::lifecycle::{self, Promise, converge, release_pins};

use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::execute::Proposal;
use crate::judged::Judged;
use crate::planes::Planes;
use crate::render::plan::PlanAndImpact;
use crate::snapshot::{DpsSnapshot, chain_of};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki plan
  dps-pki plan --detailed-exitcode --output json")]
pub(crate) struct PlanArgs {
    /// Exit with 10 if there is something to do
    #[arg(long)]
    detailed_exitcode: bool,

    /// Also delete groups and CA certificates that pki.toml does not declare
    #[arg(long)]
    prune: bool,
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki apply
  dps-pki apply --prune --dry-run
  dps-pki apply --yes --passphrase-file ~/.pki-passphrase")]
pub(crate) struct ApplyArgs {
    /// Also delete groups and CA certificates that pki.toml does not declare
    ///
    /// A disabled group is never deleted this way, nor anything whose end lets a device in.
    #[arg(long)]
    prune: bool,
}

impl PlanArgs {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let planes = Planes::chosen(context)?;
        let inventory = context.inventory()?;
        let judged = planned(context, &planes, &inventory, self.prune)?;
        context.ui.result(&PlanAndImpact::proposed(&judged))?;
        match self.detailed_exitcode && !judged.plan.is_empty() {
            true => Ok(Outcome::SomethingToDo),
            false => Ok(Outcome::Done),
        }
    }
}

impl ApplyArgs {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let planes = Planes::chosen(context)?;
        let mut inventory = context.inventory()?;
        let judged = planned(context, &planes, &inventory, self.prune)?;
        let shown = PlanAndImpact::proposed(&judged);
        let proposal = Proposal::new(&judged.plan, &shown);
        let execution = match proposal.carry_out(context, &planes, &mut inventory) {
            Err(error) if error.kind == ErrorKind::Conflict => {
                propose(context, &planes, &inventory, self.prune);
                return Err(error);
            }
            execution => execution?,
        };
        context.ui.result(&PlanAndImpact {
            done: execution.done,
            ..shown
        })?;
        Ok(Outcome::Done)
    }
}

/// Shows what it would do now, after somebody else's change.
fn propose(context: &Context, planes: &Planes<'_>, inventory: &SqliteInventory, prune: bool) {
    match planned(context, planes, inventory, prune) {
        Ok(judged) => context.ui.note(format!(
            "what it would do now:\n{}",
            PlanAndImpact::proposed(&judged)
        )),
        Err(error) => context
            .ui
            .warning(format!("what it would do now cannot be told: {error}")),
    }
}

/// The plan of convergence, and what it does to the devices of the inventory.
fn planned(
    context: &Context,
    planes: &Planes<'_>,
    inventory: &SqliteInventory,
    prune: bool,
) -> Result<Judged, CommandError> {
    let snapshot = context.block_on(DpsSnapshot::gather(planes))?;
    let state = snapshot.declared_state(inventory)?;
    let mut plan = converge(planes.name(), planes.declared(), &state)?;
    if prune {
        lifecycle::prune(&mut plan, planes.declared(), &state)?;
    }
    let before = snapshot.view()?;
    let above = |id: &RegistrationId| above_live_leaf(context, inventory, id);
    let released = release_pins(&snapshot.individuals, &before, context.now(), above)?;
    plan.steps.extend(released);
    // What is pruned lets nobody in: the checker sees to that.
    let promise = Promise::as_shown();
    let judged = Judged::new(context, planes, inventory, &before, plan, &promise);
    match prune {
        true => judged
            .map_err(|error| error.hint("see whom with: dps-pki dps group delete GROUP --dry-run")),
        false => judged,
    }
}

/// What stands above the valid leaf of a device; `None` if it has none.
fn above_live_leaf(
    context: &Context,
    inventory: &SqliteInventory,
    id: &RegistrationId,
) -> Result<Option<Vec<ChainElement>>, CommandError> {
    let newest = inventory.live_leaves(id, context.now())?.into_iter().next();
    let chain = newest.map(|entry| chain_of(inventory, entry.recorded.certificate()));
    Ok(chain.transpose()?.map(|chain| chain.above_leaf().to_vec()))
}
