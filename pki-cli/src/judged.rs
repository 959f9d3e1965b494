//! A plan before anybody is asked about it: put through the checker, with what it does to the devices of
//! the inventory and what it costs.

use std::num::NonZeroU32;

use pki_core::admission::DpsView;
use pki_core::ids::RegistrationId;
use pki_core::inventory::Inventory;
use pki_core::journal::Estimate;
use pki_core::lifecycle::{Checked, Fleet, Impact, Plan, Promise, Step};
use serde::Serialize;

use crate::context::Context;
use crate::error::CommandError;
use crate::planes::Planes;
use crate::snapshot::{FEW, chain_of, names};

/// A plan that keeps its promise.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Judged {
    /// The plan.
    pub(crate) plan: Checked,
    /// Who loses and who gains admission.
    pub(crate) impact: Impact,
    /// What it costs at the rate of its instance.
    pub(crate) estimate: Estimate,
    /// Whose leaves the impact counts.
    #[serde(skip)]
    pub(crate) scope: Scope,
}

/// Whose leaves an impact counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of the inventory.
    Inventory,
    /// Those of the devices that a plan names; nobody else is concerned.
    Devices,
}

impl Judged {
    /// Puts a plan through the checker.
    ///
    /// # Errors
    /// [`CommandError`]: it would do more than was promised, or the inventory cannot be read.
    pub(crate) fn new(
        context: &Context,
        planes: &Planes<'_>,
        inventory: &dyn Inventory,
        before: &DpsView,
        plan: Plan,
        promise: &Promise,
    ) -> Result<Self, CommandError> {
        let after = after(before, &plan.steps)?;
        let (fleet, mut impact) = told(context, inventory, before, &after)?;
        impact.name(&fleet, inventory, context.now(), names(context))?;
        let plan = Checked::new(plan, before, &fleet, promise)?;
        Ok(Self::of(plan, impact, planes.rate()))
    }

    /// Puts a plan through the checker that concerns these devices alone. Where they are few the view holds
    /// no other device's entry, so only their own leaves are decided about.
    ///
    /// # Errors
    /// As [`Judged::new`].
    pub(crate) fn of_devices(
        context: &Context,
        planes: &Planes<'_>,
        inventory: &dyn Inventory,
        before: &DpsView,
        plan: Plan,
        promise: &Promise,
        ids: &[&RegistrationId],
    ) -> Result<Self, CommandError> {
        if ids.len() > FEW {
            return Self::new(context, planes, inventory, before, plan, promise);
        }
        let mut leaves = Vec::new();
        for id in ids {
            for leaf in inventory.unexpired_leaves(id, context.now())? {
                let chain = chain_of(inventory, leaf.recorded.certificate())?;
                leaves.push((chain, leaf.recorded.signed_by().cloned()));
            }
        }
        let signed = leaves
            .iter()
            .map(|(chain, signed_by)| (chain, signed_by.clone()));
        let fleet = Fleet::of_leaves(signed);
        let after = after(before, &plan.steps)?;
        let impact = Impact::compare(before, &after, &fleet);
        let plan = Checked::new(plan, before, &fleet, promise)?;
        Ok(Self {
            scope: Scope::Devices,
            ..Self::of(plan, impact, planes.rate())
        })
    }

    /// Puts plans through the checker that are carried out one after the other, and tells what they do
    /// together, to devices as well as to leaves: those that have moved on lose an old leaf only.
    ///
    /// # Errors
    /// As [`Judged::new`].
    pub(crate) fn parts(
        context: &Context,
        inventory: &dyn Inventory,
        before: &DpsView,
        plans: Vec<Plan>,
        promise: &Promise,
    ) -> Result<(Vec<Checked>, Impact), CommandError> {
        let steps = plans.iter().flat_map(|plan| &plan.steps);
        let after = after(before, steps)?;
        let (fleet, mut impact) = told(context, inventory, before, &after)?;
        impact.count_devices_left_out(&after, &fleet, inventory, context.now())?;
        impact.name(&fleet, inventory, context.now(), names(context))?;
        let checked = Checked::each(plans, before, &fleet, promise)?;
        Ok((checked, impact))
    }

    /// A plan that was checked, with an impact that was told.
    pub(crate) fn of(plan: Checked, impact: Impact, rate: NonZeroU32) -> Self {
        let estimate = plan.estimate(rate);
        Self {
            plan,
            impact,
            estimate,
            scope: Scope::Inventory,
        }
    }
}

/// What DPS holds after some steps.
fn after<'a>(
    before: &DpsView,
    steps: impl IntoIterator<Item = &'a Step>,
) -> Result<DpsView, CommandError> {
    let mut after = before.clone();
    for step in steps {
        step.apply_to(&mut after)?;
    }
    Ok(after)
}

/// The fleet about which a change decides, and what it does to it; nobody is named yet.
fn told(
    context: &Context,
    inventory: &dyn Inventory,
    before: &DpsView,
    after: &DpsView,
) -> Result<(Fleet, Impact), CommandError> {
    let individual = before.individual_ids().chain(after.individual_ids());
    let fleet = Fleet::gather(inventory, context.now(), individual)?;
    let impact = Impact::compare(before, after, &fleet);
    Ok((fleet, impact))
}
