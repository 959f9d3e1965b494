//! `plan` and `apply`: what differs between `pki.toml` and DPS, and doing it.

use pki_core::admission::ChainElement;
use pki_core::ids::RegistrationId;
use pki_core::inventory::Inventory as _;
use pki_core::inventory::sqlite::SqliteInventory;
use pki_core::lifecycle::{self, Effect, Impact, Plan, converge, release_pins};

use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::execute::Proposal;
use crate::planes::Planes;
use crate::render::plan::PlanAndImpact;
use crate::snapshot::{DpsSnapshot, chain_of, impact};

/// Show what differs between pki.toml and DPS, the steps and their impact
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

/// Bring DPS to what pki.toml declares: upload and prove CAs, put groups
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
        let (name, declared) = context.dps()?;
        let planes = Planes::new(context, name, declared)?;
        let inventory = context.inventory()?;
        let (plan, impact) = planned(context, &planes, &inventory, self.prune)?;
        context
            .ui
            .result(&PlanAndImpact::proposed(&plan, &impact))?;
        match self.detailed_exitcode && !plan.is_empty() {
            true => Ok(Outcome::SomethingToDo),
            false => Ok(Outcome::Done),
        }
    }
}

impl ApplyArgs {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let (name, declared) = context.dps()?;
        let planes = Planes::new(context, name, declared)?;
        let mut inventory = context.inventory()?;
        let (plan, impact) = planned(context, &planes, &inventory, self.prune)?;
        let shown = PlanAndImpact::proposed(&plan, &impact);
        let execution = Proposal::new(&plan, &shown).carry_out(context, &planes, &mut inventory);
        let execution = match execution {
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
        Ok((plan, impact)) => context.ui.note(format!(
            "what it would do now:\n{}",
            PlanAndImpact::proposed(&plan, &impact)
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
) -> Result<(Plan, Impact), CommandError> {
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
    let after = plan.applied_to(&before)?;
    let impact = impact(context, inventory, &before, &after)?;
    if prune && impact.count(Effect::Gains) > 0 {
        let message = format!(
            "pruning lets in {} devices that are kept out now",
            impact.count(Effect::Gains)
        );
        return Err(CommandError::refused(message)
            .hint("see which with: dps-pki dps group delete GROUP --dry-run"));
    }
    Ok((plan, impact))
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
