//! `plan` and `apply`: what differs between `pki.toml` and DPS, and doing it.

use std::collections::BTreeSet;

use dps_operations::judge::Judged;
use pki_core::admission::ChainElement;
use pki_core::ids::{EnrollmentGroupId, RegistrationId};
use pki_core::inventory::Inventory as _;
use pki_core::journal::Journal as _;
use pki_core::lifecycle::{
    self, DeclaredState, Fleet, GOAL_OF_DEPROVISIONING, Promise, Step, check_pruning, converge,
    release_pins,
};
use pki_core::sqlite::SqliteInventory;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::execute::Proposal;
use crate::judged;
use crate::planes::{self, Planes};
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

    /// A declared group that was deprovisioned is to be made again, and its devices let in
    #[arg(long, value_name = "GROUP")]
    make_again: Vec<EnrollmentGroupId>,
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
    /// A disabled group is never deleted this way, nor anything whose end lets a device in, nor a CA
    /// certificate by which devices of a group that stays are admitted.
    #[arg(long)]
    prune: bool,

    /// A declared group that was deprovisioned is to be made again, and its devices let in
    #[arg(long, value_name = "GROUP")]
    make_again: Vec<EnrollmentGroupId>,
}

/// What is asked for beside the declaration.
struct Wish<'a> {
    prune: bool,
    make_again: &'a [EnrollmentGroupId],
}

impl PlanArgs {
    fn wish(&self) -> Wish<'_> {
        Wish {
            prune: self.prune,
            make_again: &self.make_again,
        }
    }

    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let planes = planes::chosen(context)?;
        let inventory = context.inventory()?;
        let judged = planned(context, &planes, &inventory, &self.wish())?;
        context.ui.result(&PlanAndImpact::proposed(&judged))?;
        if self.detailed_exitcode && !judged.plan.plan().is_empty() {
            Ok(Outcome::SomethingToDo)
        } else {
            Ok(Outcome::Done)
        }
    }
}

impl ApplyArgs {
    fn wish(&self) -> Wish<'_> {
        Wish {
            prune: self.prune,
            make_again: &self.make_again,
        }
    }

    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let planes = planes::chosen(context)?;
        let mut inventory = context.inventory()?;
        let judged = planned(context, &planes, &inventory, &self.wish())?;
        let shown = PlanAndImpact::proposed(&judged);
        let proposal = Proposal::new(&judged.plan, &shown);
        let execution = match proposal.carry_out(context, &planes, &mut inventory) {
            Err(error) if error.kind == ErrorKind::Conflict => {
                propose(context, &planes, &inventory, &self.wish());
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
fn propose(context: &Context, planes: &Planes<'_>, inventory: &SqliteInventory, wish: &Wish<'_>) {
    match planned(context, planes, inventory, wish) {
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
    wish: &Wish<'_>,
) -> Result<Judged, CommandError> {
    let snapshot = context.wait_for(DpsSnapshot::gather(planes))?;
    let mut state = snapshot.declared_state(inventory)?;
    state.deprovisioned = deprovisioned(planes, inventory, &state)?;
    state
        .deprovisioned
        .retain(|group| !wish.make_again.contains(group));
    let mut plan = converge(planes.name(), planes.declared(), &state)?;
    let before = snapshot.view()?;
    if wish.prune {
        let converged = plan.steps.len();
        lifecycle::prune(&mut plan, planes.declared(), &state)?;
        let fleet = Fleet::gather(inventory, context.now(), before.individual_ids())?;
        check_pruning(&state, &before, &fleet, plan.steps.split_at(converged))?;
    }
    let above = |id: &RegistrationId| above_live_leaf(context, inventory, id);
    let released = release_pins(&snapshot.individuals, &before, context.now(), above)?;
    plan.steps.extend(released);
    // What is pruned lets nobody in: the checker sees to that.
    let promise = Promise::as_shown();
    judged::plan(context, planes, inventory, &before, plan, &promise)
}

/// The declared groups that DPS does not hold because they were deprovisioned: what was done to them last
/// is that.
fn deprovisioned(
    planes: &Planes<'_>,
    inventory: &SqliteInventory,
    state: &DeclaredState,
) -> Result<BTreeSet<EnrollmentGroupId>, CommandError> {
    let mut found = BTreeSet::new();
    for group in planes.declared().groups.keys() {
        let is_held = state
            .groups
            .iter()
            .any(|held| held.enrollment_group_id == *group);
        if !is_held && last_written(planes, inventory, group)? == Some(Written::Deprovisioned) {
            found.insert(group.clone());
        }
    }
    Ok(found)
}

/// What the journal's plans did to a group last.
#[derive(PartialEq, Eq)]
enum Written {
    Deprovisioned,
    Otherwise,
}

fn last_written(
    planes: &Planes<'_>,
    inventory: &SqliteInventory,
    group: &EnrollmentGroupId,
) -> Result<Option<Written>, CommandError> {
    for summary in inventory.plans(usize::MAX)? {
        if summary.dps != *planes.name() {
            continue;
        }
        let Some(record) = inventory.plan(summary.plan)? else {
            continue;
        };
        let steps = record.plan.steps.iter().zip(&record.steps);
        let has_written = steps
            .filter(|(_, state)| state.is_done())
            .any(|(step, _)| match step {
                Step::Group(step) => step.id() == group,
                _ => false,
            });
        if has_written {
            let is_deprovisioning = summary.goal.starts_with(GOAL_OF_DEPROVISIONING);
            return Ok(Some(if is_deprovisioning {
                Written::Deprovisioned
            } else {
                Written::Otherwise
            }));
        }
    }
    Ok(None)
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
