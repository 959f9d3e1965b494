//! `plan` and `apply`: what differs between `pki.toml` and DPS, and doing it.

use dps_operations::converge::Request;
use dps_operations::judge::Judged;
use pki_core::ids::EnrollmentGroupId;
use pki_core::sqlite::SqliteInventory;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::execute::Proposal;
use crate::planes::{self, Planes};
use crate::render::plan::PlanAndImpact;
use crate::snapshot::around;

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

impl PlanArgs {
    fn request(&self) -> Request {
        Request {
            prune: self.prune,
            make_again: self.make_again.clone(),
        }
    }

    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let planes = chosen(context, &self.make_again)?;
        let inventory = context.home.inventory()?;
        let judged = planned(context, &planes, &inventory, &self.request())?;
        context.ui.result(&PlanAndImpact::proposed(&judged))?;
        if self.detailed_exitcode && !judged.plan.plan().is_empty() {
            Ok(Outcome::SomethingToDo)
        } else {
            Ok(Outcome::Done)
        }
    }
}

impl ApplyArgs {
    fn request(&self) -> Request {
        Request {
            prune: self.prune,
            make_again: self.make_again.clone(),
        }
    }

    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let planes = chosen(context, &self.make_again)?;
        let mut inventory = context.home.inventory()?;
        let judged = planned(context, &planes, &inventory, &self.request())?;
        let shown = PlanAndImpact::proposed(&judged);
        let proposal = Proposal::new(&judged.plan, &shown);
        let execution = match proposal.carry_out(context, &planes, &mut inventory) {
            Err(error) if error.kind == ErrorKind::Conflict => {
                propose(context, &planes, &inventory, &self.request());
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
fn propose(context: &Context, planes: &Planes<'_>, inventory: &SqliteInventory, request: &Request) {
    match planned(context, planes, inventory, request) {
        Ok(judged) => context.ui.note(format!(
            "what it would do now:\n{}",
            PlanAndImpact::proposed(&judged)
        )),
        Err(error) => context
            .ui
            .warning(format!("what it would do now cannot be told: {error}")),
    }
}

/// The instance that is meant, where groups are to be made again one that has them.
fn chosen<'a>(
    context: &'a Context,
    make_again: &[EnrollmentGroupId],
) -> Result<Planes<'a>, CommandError> {
    match make_again.first() {
        Some(group) => planes::of_group(context, group),
        None => planes::chosen(context),
    }
}

/// The plan of convergence, and what it does to the devices of the inventory.
fn planned(
    context: &Context,
    planes: &Planes<'_>,
    inventory: &SqliteInventory,
    request: &Request,
) -> Result<Judged, CommandError> {
    let seen = around(&context.settings, planes, inventory);
    context.runtime.wait_for(request.prepare(seen))
}
