//! The plans of a roll: checked for all instances, carried out in their order, and what DPS decides then read
//! back.

use std::collections::BTreeSet;

use pki_core::admission::{ChainElement, DpsView, Outcome, Refusal, outcome_below};
use pki_core::authority::ChainBundle;
use pki_core::certificate::Certificate;
use pki_core::ids::{
    AuthorityGeneration, AuthorityName, DpsName, Generation, RegistrationId, Sha256Thumbprint,
};
use pki_core::inventory::{Inventory, InventoryError};
use pki_core::journal::Estimate;
use pki_core::lifecycle::roll::{InstancePlan, RollState};
use pki_core::lifecycle::{Checked, Fleet, Impact, Plan, Promise};
use pki_core::time::Time;

use super::instances::Instances;
use crate::class::Class;
use crate::gather::{DpsSnapshot, GatherError};
use crate::judge::{Judge, Judged};
use crate::planning::PlanningError;

/// A roll that was planned.
#[derive(Debug)]
pub struct Rolling {
    pub(super) state: RollState,
    pub(super) plans: Vec<InstancePlan>,
    pub(super) promise: Promise,
    /// The generation that a breach roll shuts out.
    pub(super) compromised: Option<Generation>,
    pub(super) at: Time,
    pub(super) named: Option<usize>,
}

/// The plans that the checker passed, with what DPS decides before and after.
#[derive(Debug)]
pub struct Passed {
    /// What is done in each instance, as one plan.
    pub planned: Vec<Planned>,
    /// The parts in the order in which they are carried out, each with the place of its instance.
    pub turns: Vec<(usize, Checked)>,
    before: Vec<DpsView>,
    after: Vec<DpsView>,
}

/// A plan for one instance with what it does there to devices.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The instance.
    pub dps: DpsName,
    /// All of its parts.
    pub plan: Plan,
    /// Who loses and who gains admission.
    pub impact: Impact,
    /// What it costs.
    pub estimate: Estimate,
    /// Who stays in with a leaf below a compromised generation, by an enrollment of its own.
    pub still_admitted: Vec<RegistrationId>,
}

/// What an instance decides about the devices below a generation, read back.
#[derive(Debug, Clone)]
pub struct Proof {
    /// The instance.
    pub dps: DpsName,
    /// The generation.
    pub generation: AuthorityGeneration,
    /// What it decides.
    pub outcome: Outcome,
}

/// Why a roll is not what it was to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotAsPlanned {
    /// An instance decides otherwise.
    #[error(
        "DPS {dps} decides otherwise than planned: devices of {} generation {} are {outcome}",
        .generation.name, .generation.generation
    )]
    Otherwise {
        /// The instance.
        dps: DpsName,
        /// Whose devices.
        generation: AuthorityGeneration,
        /// What it decides.
        outcome: Outcome,
    },
    /// DPS cannot be read.
    #[error(transparent)]
    Gather(#[from] GatherError),
}

impl NotAsPlanned {
    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Otherwise { .. } => Class::Conflict,
            Self::Gather(error) => error.class(),
        }
    }
}

impl Rolling {
    /// The authority.
    pub fn authority(&self) -> &AuthorityName {
        &self.state.authority
    }

    /// Whether something compromised is shut out by it.
    pub fn is_breach(&self) -> bool {
        self.compromised.is_some()
    }

    /// Whether nothing is left to do in any instance.
    pub fn is_empty(&self) -> bool {
        self.plans.iter().all(|one| one.plan.is_empty())
    }

    /// Puts what is done in each instance through the checker.
    ///
    /// # Errors
    /// [`PlanningError`]: it would do more than was promised, or the inventory cannot be read.
    pub fn check(
        &self,
        instances: &Instances<'_>,
        inventory: &dyn Inventory,
    ) -> Result<Passed, PlanningError> {
        let before = instances.views()?;
        let mut after = Vec::with_capacity(before.len());
        let mut planned = Vec::with_capacity(before.len());
        let mut parts = Vec::with_capacity(before.len());
        for (instance, view) in instances.all().iter().zip(&before) {
            let here = self.plans.iter().filter(|one| one.dps == *instance.name);
            let here: Vec<Plan> = here.map(|one| one.plan.clone()).collect();
            let whole = whole(&here);
            let judge = Judge {
                inventory,
                before: view,
                at: self.at,
                named: self.named,
            };
            let (checked, impact) = judge.parts(here, &self.promise)?;
            let then = whole.applied_to(view)?;
            planned.push(Planned {
                still_admitted: self.still_admitted(inventory, &then)?,
                dps: instance.name.clone(),
                impact,
                estimate: whole.estimate(instance.rate()),
                plan: whole,
            });
            parts.push(checked.into_iter());
            after.push(then);
        }
        let mut turns = Vec::new();
        for InstancePlan { dps, .. } in &self.plans {
            if let Some(index) = instances.index(dps)
                && let Some(part) = parts[index].next()
            {
                turns.push((index, part));
            }
        }
        Ok(Passed {
            planned,
            turns,
            before,
            after,
        })
    }

    /// The devices that stay in with a leaf below a compromised generation, by an enrollment of their own.
    fn still_admitted(
        &self,
        inventory: &dyn Inventory,
        after: &DpsView,
    ) -> Result<Vec<RegistrationId>, InventoryError> {
        let generations = &self.state.generations;
        let all = generations.all().into_iter();
        let shut_out = all.filter(|held| self.compromised == Some(held.number));
        let compromised: BTreeSet<Sha256Thumbprint> = generations
            .compromised()
            .chain(shut_out)
            .map(|held| held.certificate.sha256_thumbprint())
            .collect();
        if compromised.is_empty() {
            return Ok(vec![]);
        }
        let fleet = Fleet::gather(inventory, self.at, after.individual_ids())?;
        let admitted = fleet.own_entries_below(&compromised, after);
        Ok(admitted.into_iter().collect())
    }

    /// Reads an instance again: about the devices of every generation, it must decide as planned.
    ///
    /// # Errors
    /// [`NotAsPlanned`] if it does not, or cannot be read.
    pub async fn read_back(
        &self,
        instances: &Instances<'_>,
        index: usize,
        passed: &Passed,
    ) -> Result<Vec<Proof>, NotAsPlanned> {
        let instance = instances.all()[index];
        let snapshot = DpsSnapshot::gather(instance).await?;
        let found = snapshot.view().map_err(GatherError::from)?;
        let views = [&found, &passed.before[index], &passed.after[index]];
        let mut proofs = Vec::new();
        for held in self.state.generations.all() {
            let generation = AuthorityGeneration {
                name: self.state.authority.clone(),
                generation: held.number,
            };
            proofs.extend(self.proof(instance.name, generation, &held.certificate, views)?);
        }
        if !self.is_breach() {
            return Ok(proofs);
        }
        // Of those below it is told who stays in and who does not.
        for below in self.state.below.iter().filter(|one| one.leaves > 0) {
            let generation = AuthorityGeneration {
                name: below.authority.clone(),
                generation: below.generation,
            };
            proofs.extend(self.proof(instance.name, generation, &below.certificate, views)?);
        }
        Ok(proofs)
    }

    /// Whether it is the generation that the authority is rolled to.
    fn is_newest(&self, generation: &AuthorityGeneration) -> bool {
        let newest = self.state.generations.all().last().map(|held| held.number);
        generation.name == self.state.authority && newest == Some(generation.generation)
    }

    fn proof(
        &self,
        dps: &DpsName,
        generation: AuthorityGeneration,
        certificate: &Certificate,
        views: [&DpsView; 3],
    ) -> Result<Option<Proof>, NotAsPlanned> {
        let chain = ChainBundle::build(certificate, &self.state.certificates);
        let above: Vec<ChainElement> = chain
            .certificates()
            .iter()
            .map(ChainElement::from)
            .collect();
        let [outcome, before, wanted] = views.map(|view| outcome_below(view, &above));
        let dps = dps.clone();
        if is_admitted(&outcome) != is_admitted(&wanted) {
            return Err(NotAsPlanned::Otherwise {
                dps,
                generation,
                outcome,
            });
        }
        // A root signs no devices: that none is admitted right below it, before or after, is no news, unless it
        // is what was asked for.
        let is_rolled = generation.name == self.state.authority;
        let is_asked = is_rolled && self.compromised == Some(generation.generation);
        let decides = outcome != Outcome::Refused(Refusal::NoEntry);
        let is_told = is_asked || (self.is_breach() && self.is_newest(&generation) && decides);
        if !is_told && !is_admitted(&before) && !is_admitted(&wanted) {
            return Ok(None);
        }
        Ok(Some(Proof {
            dps,
            generation,
            outcome,
        }))
    }
}

impl Passed {
    /// A part before anybody is asked, with what all parts do to the instance of this place.
    pub fn judged(&self, instances: &Instances<'_>, index: usize, part: &Checked) -> Judged {
        let impact = self.planned[index].impact.clone();
        Judged::of(part.clone(), impact, instances.all()[index].rate())
    }
}

/// What is done in one instance, as one plan.
fn whole(parts: &[Plan]) -> Plan {
    let mut whole = Plan::new("");
    for plan in parts {
        whole.goal.clone_from(&plan.goal);
        whole.steps.extend(plan.steps.iter().cloned());
        for note in &plan.notes {
            if !whole.notes.contains(note) {
                whole.notes.push(note.clone());
            }
        }
    }
    whole
}

fn is_admitted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Admitted(_))
}
