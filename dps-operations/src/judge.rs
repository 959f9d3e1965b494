//! A plan before anybody is asked about it: put through the checker, with what it does to the devices of
//! the inventory and what it costs.

use std::num::NonZeroU32;

use pki_core::admission::{DpsView, ViewError};
use pki_core::ids::RegistrationId;
use pki_core::inventory::{Inventory, InventoryError};
use pki_core::journal::Estimate;
use pki_core::lifecycle::{CheckError, Checked, Fleet, Impact, Plan, Promise, Step, Who};
use pki_core::time::Time;
use serde::Serialize;

use crate::class::Class;
use crate::gather::{FEW, chain_of};
use crate::instance::Surroundings;

/// A plan that keeps its promise.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// The plan.
    pub plan: Checked,
    /// Who loses and who gains admission.
    pub impact: Impact,
    /// What it costs at the rate of its instance.
    pub estimate: Estimate,
    /// Whose leaves the impact counts.
    #[serde(skip)]
    pub scope: Scope,
}

/// Whose leaves an impact counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of the inventory.
    Inventory,
    /// Those of the devices that a plan names; nobody else is concerned.
    Devices,
}

/// What plans are judged by.
#[derive(Clone, Copy)]
pub struct Judge<'a> {
    /// Whose leaves there are.
    pub inventory: &'a dyn Inventory,
    /// What DPS holds.
    pub before: &'a DpsView,
    /// When it is asked which leaves are valid.
    pub at: Time,
    /// How many devices an impact names at most; all without a limit.
    pub named: Option<usize>,
}

/// Why a plan was not judged, or does not pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// It would do more than was promised.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The documents that it writes do not say who is admitted.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The inventory cannot be read.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
}

impl JudgeError {
    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Check(error) => error.into(),
            Self::View(_) => Class::Service,
            Self::Inventory(error) => error.into(),
        }
    }
}

impl Judged {
    /// A plan that was checked, with an impact that was told.
    pub fn of(plan: Checked, impact: Impact, rate: NonZeroU32) -> Self {
        let estimate = plan.plan().estimate(rate);
        Self {
            plan,
            impact,
            estimate,
            scope: Scope::Inventory,
        }
    }
}

impl<'a> Judge<'a> {
    /// Judges by what an operation sees now, and by what its instance holds.
    pub fn of(around: Surroundings<'a>, before: &'a DpsView) -> Self {
        Self {
            inventory: around.journal,
            before,
            at: around.now(),
            named: around.named,
        }
    }

    /// Puts a plan through the checker; `rate` is how many calls a minute its instance gets.
    ///
    /// # Errors
    /// [`JudgeError`]: it would do more than was promised, or the inventory cannot be read.
    pub fn plan(
        &self,
        plan: Plan,
        promise: &Promise,
        rate: NonZeroU32,
    ) -> Result<Judged, JudgeError> {
        let after = self.after(&plan.steps)?;
        let (fleet, mut impact) = self.told(&after)?;
        impact.name(&fleet, self.inventory, self.at, self.named)?;
        let plan = Checked::new(plan, self.before, &fleet, promise)?;
        Ok(Judged::of(plan, impact, rate))
    }

    /// Puts a plan through the checker that concerns these devices alone. Where they are few the view holds
    /// no other device's entry, so only their own leaves are decided about.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub fn plan_of_devices(
        &self,
        plan: Plan,
        promise: &Promise,
        rate: NonZeroU32,
        ids: &[&RegistrationId],
    ) -> Result<Judged, JudgeError> {
        if ids.len() > FEW {
            return self.plan(plan, promise, rate);
        }
        let mut leaves = Vec::new();
        for id in ids {
            for leaf in self.inventory.unexpired_leaves(id, self.at)? {
                let chain = chain_of(self.inventory, leaf.recorded.certificate())?;
                leaves.push((chain, leaf.recorded.signed_by().cloned()));
            }
        }
        let fleet = Fleet::of_leaves(
            leaves
                .iter()
                .map(|(chain, signed_by)| (chain, signed_by.clone())),
        );
        let after = self.after(&plan.steps)?;
        let impact = Impact::compare(self.before, &after, &fleet);
        let plan = Checked::new(plan, self.before, &fleet, promise)?;
        Ok(Judged {
            scope: Scope::Devices,
            ..Judged::of(plan, impact, rate)
        })
    }

    /// Puts a plan through the checker that may refuse these devices, and nobody else.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub fn plan_that_refuses(
        &self,
        plan: Plan,
        rate: NonZeroU32,
        ids: &[&RegistrationId],
    ) -> Result<Judged, JudgeError> {
        let refused = ids.iter().map(|id| (*id).clone());
        let promise = Promise {
            refuses: Who::Devices(refused.collect()),
            ..Promise::default()
        };
        self.plan_of_devices(plan, &promise, rate, ids)
    }

    /// Puts plans through the checker that are carried out one after the other, and tells what they do
    /// together, to devices as well as to leaves: those that have moved on lose an old leaf only.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub fn parts(
        &self,
        plans: Vec<Plan>,
        promise: &Promise,
    ) -> Result<(Vec<Checked>, Impact), JudgeError> {
        let after = self.after(plans.iter().flat_map(|plan| &plan.steps))?;
        let (fleet, mut impact) = self.told(&after)?;
        impact.count_devices_left_out(&after, &fleet, self.inventory, self.at)?;
        impact.name(&fleet, self.inventory, self.at, self.named)?;
        let checked = Checked::each(plans, self.before, &fleet, promise)?;
        Ok((checked, impact))
    }

    /// What DPS holds after some steps.
    fn after<'s>(&self, steps: impl IntoIterator<Item = &'s Step>) -> Result<DpsView, ViewError> {
        let mut after = self.before.clone();
        for step in steps {
            step.apply_to(&mut after)?;
        }
        Ok(after)
    }

    /// The fleet about which a change decides, and what it does to it; nobody is named yet.
    fn told(&self, after: &DpsView) -> Result<(Fleet, Impact), InventoryError> {
        let individual = self.before.individual_ids().chain(after.individual_ids());
        let fleet = Fleet::gather(self.inventory, self.at, individual)?;
        let impact = Impact::compare(self.before, after, &fleet);
        Ok((fleet, impact))
    }
}
