//! Everything below an authority, in every instance.

use std::fmt;

use dps_operations::PlanningError;
use dps_operations::quarantine::Below;
use pki_core::admission::Outcome;
use pki_core::ids::{AuthorityName, DpsName};
use pki_core::sqlite::SqliteInventory;
use serde::Serialize;

use super::{Args, not_everywhere};
use crate::commands::everywhere::{Problems, Within, others};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};
use crate::execute::Proposal;
use crate::hubs::refuse_unread;
use crate::issuance::no_authority;
use crate::planes::Planes;
use crate::render::plan::{Outline, PlanAndImpact};
use crate::snapshot::around;

/// Everything below an authority of the inventory.
///
/// # Errors
/// `NotFound` if there is none.
pub(in crate::commands) fn below(
    context: &Context,
    inventory: &SqliteInventory,
    name: &AuthorityName,
) -> Result<Below, CommandError> {
    match Below::of(inventory, name, context.now()) {
        Err(PlanningError::NoAuthority { name }) => Err(no_authority(context, &name)?),
        below => Ok(below?),
    }
}

impl Args {
    pub(super) fn below_everywhere(
        &self,
        context: &Context,
        all: &[Planes<'_>],
        inventory: &mut SqliteInventory,
        authority: &AuthorityName,
    ) -> CommandResult {
        let below = below(context, inventory, authority)?;
        let mut problems = Problems::default();
        for planes in all {
            let dps = (all.len() > 1).then(|| planes.name());
            let done = self.below(context, planes, dps, inventory, (authority, &below));
            problems.note(dps, done)?;
        }
        problems.note(None, elsewhere(context, authority, &below))?;
        problems.end()
    }

    fn below(
        &self,
        context: &Context,
        planes: &Planes<'_>,
        dps: Option<&DpsName>,
        inventory: &mut SqliteInventory,
        (authority, below): (&AuthorityName, &Below),
    ) -> Result<(), CommandError> {
        let seen = around(context, planes, inventory);
        let prepared = below.prepare(seen, self.hub.into(), self.reason.as_deref());
        let prepared = context.wait_for(prepared)?;
        let judged = prepared.judge(around(context, planes, inventory))?;
        let mut shown = ShutOut {
            outline: Outline(PlanAndImpact::proposed(&judged)),
            read_back: None,
        };
        let execution = Proposal::new(&judged.plan, &shown.outline)
            .within(dps)
            .carry_out(context, planes, inventory)?;
        if !context.settings.dry_run {
            if let Some(outcome) = context.wait_for(below.read_back(planes.instance()))? {
                let message = not_shut_out(authority, &outcome);
                return Err(CommandError::new(ErrorKind::Conflict, message).hint("run it again"));
            }
            shown.read_back = Some(authority);
        }
        shown.outline.0.done = execution.done;
        context.ui.item(&Within { dps, result: shown })?;
        if context.settings.dry_run {
            Ok(())
        } else {
            refuse_unread(&prepared.unread)
        }
    }
}

/// What was done, and below which authority nobody is let in since, as DPS says.
#[derive(Serialize)]
struct ShutOut<'a> {
    #[serde(flatten)]
    outline: Outline<'a>,
    #[serde(skip)]
    read_back: Option<&'a AuthorityName>,
}

impl fmt::Display for ShutOut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.outline)?;
        match self.read_back {
            Some(authority) => write!(
                f,
                "\nread back from DPS: no group lets in a device below {authority}"
            ),
            None => Ok(()),
        }
    }
}

/// The instances that `--dps` leaves out and that would let devices in are named.
fn elsewhere(
    context: &Context,
    authority: &AuthorityName,
    below: &Below,
) -> Result<(), CommandError> {
    let mut left = Vec::new();
    for planes in others(context)? {
        let name = planes.name();
        match context.wait_for(below.read_back(planes.instance())) {
            Ok(None) => {}
            Ok(Some(outcome)) => {
                left.push(format!("DPS {name}: {}", not_shut_out(authority, &outcome)));
            }
            Err(error) => left.push(format!("DPS {name}: {error}")),
        }
    }
    not_everywhere(context, &left)
}

fn not_shut_out(authority: &AuthorityName, outcome: &Outcome) -> String {
    format!("devices below {authority} are still not shut out: {outcome}")
}
