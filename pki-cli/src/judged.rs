//! A plan before anybody is asked about it: judged now, and with as many devices named as the output shows.

use dps_operations::judge::{Judge, Judged};
use pki_core::admission::DpsView;
use pki_core::ids::RegistrationId;
use pki_core::inventory::Inventory;
use pki_core::lifecycle::{Checked, Impact, Plan, Promise};

use crate::context::Context;
use crate::error::CommandError;
use crate::planes::Planes;
use crate::snapshot::names;

/// Puts a plan through the checker.
///
/// # Errors
/// [`CommandError`]: it would do more than was promised, or the inventory cannot be read.
pub(crate) fn plan(
    context: &Context,
    planes: &Planes<'_>,
    inventory: &dyn Inventory,
    before: &DpsView,
    plan: Plan,
    promise: &Promise,
) -> Result<Judged, CommandError> {
    let judge = judge(context, inventory, before);
    Ok(judge.plan(plan, promise, planes.rate())?)
}

/// Puts a plan through the checker that concerns these devices alone.
///
/// # Errors
/// As [`plan`].
pub(crate) fn plan_of_devices(
    context: &Context,
    planes: &Planes<'_>,
    inventory: &dyn Inventory,
    before: &DpsView,
    plan: Plan,
    promise: &Promise,
    ids: &[&RegistrationId],
) -> Result<Judged, CommandError> {
    let judge = judge(context, inventory, before);
    Ok(judge.plan_of_devices(plan, promise, planes.rate(), ids)?)
}

/// Puts plans through the checker that are carried out one after the other.
///
/// # Errors
/// As [`plan`].
pub(crate) fn parts(
    context: &Context,
    inventory: &dyn Inventory,
    before: &DpsView,
    plans: Vec<Plan>,
    promise: &Promise,
) -> Result<(Vec<Checked>, Impact), CommandError> {
    Ok(judge(context, inventory, before).parts(plans, promise)?)
}

fn judge<'a>(context: &Context, inventory: &'a dyn Inventory, before: &'a DpsView) -> Judge<'a> {
    Judge {
        inventory,
        before,
        at: context.now(),
        named: names(context),
    }
}
