//! The plans of a roll: checked for all instances, carried out in their order, and what DPS decides then read
//! back.
//!
//! An expiry roll stops at the first failure. A breach roll goes on in the other instances: what is
//! compromised is shut out wherever that can be done.

use std::collections::BTreeSet;
use std::vec;

use dps_operations::judge::Judged;
use pki_core::admission::{ChainElement, DpsView, Outcome as Admission, outcome_below};
use pki_core::authority::ChainBundle;
use pki_core::ids::{DpsName, Generation, RegistrationId, Sha256Thumbprint};
use pki_core::inventory::GenerationState;
use pki_core::lifecycle::roll::{HeldGeneration, InstancePlan, RollState};
use pki_core::lifecycle::{Checked, Fleet, Plan, Promise, Step};
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::counted;

use super::instances::{Instances, Unreached};
use super::report::{Planned, Proof, Report};
use crate::config::NAMED;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::execute::{Execution, Proposal};
use crate::judged;
use crate::planes::Planes;
use crate::render::plan::PlanAndImpact;

/// A roll that was planned.
pub(super) struct Rolling<'a> {
    context: &'a Context,
    instances: &'a Instances<'a>,
    state: &'a RollState,
    promise: &'a Promise,
    /// The generation that a breach roll shuts out.
    compromised: Option<Generation>,
    /// The instances in which something was not done.
    unreached: Vec<Unreached>,
}

/// The plans that the checker passed, with what DPS decides before and after.
struct Passed {
    planned: Vec<Planned>,
    /// By instance, in the order in which they are carried out.
    parts: Vec<vec::IntoIter<Checked>>,
    before: Vec<DpsView>,
    after: Vec<DpsView>,
}

impl<'a> Rolling<'a> {
    pub(super) fn new(
        context: &'a Context,
        instances: &'a Instances<'a>,
        state: &'a RollState,
        promise: &'a Promise,
    ) -> Self {
        Self {
            context,
            instances,
            state,
            promise,
            compromised: None,
            unreached: Vec::new(),
        }
    }

    /// The same as a breach roll, in which instances are left out that could not be read.
    pub(super) fn of_breach(
        self,
        compromised: Option<Generation>,
        unreached: Vec<Unreached>,
    ) -> Self {
        Self {
            compromised,
            unreached,
            ..self
        }
    }

    /// Checks the plans of all instances, carries them out in their order, and reads back what DPS decides.
    pub(super) fn carry_out(
        mut self,
        inventory: &mut SqliteInventory,
        plans: Vec<InstancePlan>,
    ) -> CommandResult {
        let mut passed = self.check(inventory, &plans)?;
        let mut done = false;
        for InstancePlan { dps, .. } in &plans {
            let Some(index) = self.instances.index(dps) else {
                continue;
            };
            let Some(plan) = passed.parts[index].next() else {
                continue;
            };
            if self.unreached.iter().any(|one| one.dps == *dps) {
                continue;
            }
            let carried_out = self.carry_out_one(inventory, index, plan, &passed.planned[index]);
            done |= match carried_out {
                Ok(execution) => execution.done,
                Err(error) => self.noted(dps, error)?,
            };
        }
        let proof = if self.context.settings.dry_run {
            vec![]
        } else {
            self.prove(&passed.before, &passed.after)?
        };
        self.context.ui.result(&Report {
            plans: passed.planned,
            done,
            proof,
        })?;
        self.end()
    }

    /// Puts what is done in each instance through the checker.
    fn check(
        &self,
        inventory: &SqliteInventory,
        plans: &[InstancePlan],
    ) -> Result<Passed, CommandError> {
        let before = self.instances.views()?;
        let mut after = before.clone();
        let mut planned = Vec::new();
        let mut parts = Vec::new();
        for (planes, view) in self.instances.planes.iter().zip(&mut after) {
            let here = plans.iter().filter(|one| one.dps == *planes.name());
            let here: Vec<Plan> = here.map(|one| one.plan.clone()).collect();
            let mut whole = whole(&here);
            let (checked, impact) =
                judged::parts(self.context, inventory, view, here, self.promise)?;
            *view = whole.applied_to(view)?;
            let still_admitted = self.still_admitted(inventory, view, &whole)?;
            whole.notes.extend(notes_of(&still_admitted));
            planned.push(Planned {
                still_admitted,
                dps: planes.name().clone(),
                impact,
                estimate: whole.estimate(planes.rate()),
                plan: whole,
            });
            parts.push(checked.into_iter());
        }
        Ok(Passed {
            planned,
            parts,
            before,
            after,
        })
    }

    fn carry_out_one(
        &self,
        inventory: &mut SqliteInventory,
        index: usize,
        plan: Checked,
        planned: &Planned,
    ) -> Result<Execution, CommandError> {
        let planes = &self.instances.planes[index];
        let judged = Judged::of(plan, planned.impact.clone(), planes.rate());
        let shown = PlanAndImpact::proposed(&judged);
        let proposal = Proposal {
            question: format!(
                "DPS {}: {}: carry out {}?",
                planned.dps,
                shown.plan.goal,
                counted(shown.plan.steps.len(), "step", "steps")
            ),
            ..Proposal::new(&judged.plan, &shown)
        };
        proposal.carry_out(self.context, planes, inventory)
    }

    /// Goes on without an instance in which a breach roll failed.
    fn noted(&mut self, dps: &DpsName, error: CommandError) -> Result<bool, CommandError> {
        let is_of_instance = matches!(error.kind, ErrorKind::Service | ErrorKind::Conflict);
        let mut others = self.instances.planes.iter().map(Planes::name);
        let is_last =
            !others.any(|name| name != dps && !self.unreached.iter().any(|one| one.dps == *name));
        if self.compromised.is_none() || !is_of_instance || is_last {
            return Err(error);
        }
        self.unreached.push(Unreached::noted(dps, error)?);
        Ok(true)
    }

    /// The devices that stay in with a leaf below a compromised generation, by an enrollment of their own.
    fn still_admitted(
        &self,
        inventory: &SqliteInventory,
        after: &DpsView,
        plan: &Plan,
    ) -> Result<Vec<RegistrationId>, CommandError> {
        let settled = plan.steps.iter().filter_map(|step| match step {
            Step::Authority(step) => Some(&step.changes),
            _ => None,
        });
        let settled: Vec<_> = settled.flatten().collect();
        let is_compromised = |held: &&HeldGeneration| {
            let changed = settled
                .iter()
                .find(|change| change.generation == held.number);
            changed.map_or(held.state, |change| change.to) == GenerationState::Compromised
                || self.compromised == Some(held.number)
        };
        let compromised = self.state.generations.iter().filter(is_compromised);
        let compromised: BTreeSet<Sha256Thumbprint> = compromised
            .map(|held| held.certificate.sha256_thumbprint())
            .collect();
        if compromised.is_empty() {
            return Ok(vec![]);
        }
        let fleet = Fleet::gather(inventory, self.context.now(), after.individual_ids())?;
        let admitted = fleet.own_entries_below(&compromised, after);
        Ok(admitted.into_iter().collect())
    }

    /// Reads DPS again: about the devices of every generation, it must decide as planned.
    fn prove(
        &mut self,
        before: &[DpsView],
        wanted: &[DpsView],
    ) -> Result<Vec<Proof>, CommandError> {
        let mut proofs = Vec::new();
        for (index, planes) in self.instances.planes.iter().enumerate() {
            if self.unreached.iter().any(|one| one.dps == *planes.name()) {
                continue;
            }
            let found = match self.instances.read_back(self.context, index) {
                Ok(found) => found,
                Err(error) => {
                    self.noted(planes.name(), error)?;
                    continue;
                }
            };
            let views = [&found, &before[index], &wanted[index]];
            for held in &self.state.generations {
                proofs.extend(self.proof(planes.name(), held, views)?);
            }
        }
        Ok(proofs)
    }

    fn proof(
        &self,
        dps: &DpsName,
        held: &HeldGeneration,
        views: [&DpsView; 3],
    ) -> Result<Option<Proof>, CommandError> {
        let chain = ChainBundle::build(&held.certificate, &self.state.certificates);
        let above: Vec<ChainElement> = chain
            .certificates()
            .iter()
            .map(ChainElement::from)
            .collect();
        let [found, before, wanted] = views.map(|view| outcome_below(view, &above));
        if is_admitted(&found) != is_admitted(&wanted) {
            let message = format!(
                "DPS {dps} decides otherwise than planned: devices of {} generation {} are {found}",
                self.state.authority, held.number
            );
            return Err(CommandError::new(ErrorKind::Conflict, message).hint("run it again"));
        }
        // A root signs no devices: that none is admitted right below it, before or after, is no news, unless it
        // is what was asked for.
        let is_asked = self.compromised == Some(held.number);
        if !is_asked && !is_admitted(&before) && !is_admitted(&wanted) {
            return Ok(None);
        }
        Ok(Some(Proof {
            dps: dps.clone(),
            authority: self.state.authority.clone(),
            generation: held.number,
            outcome: found.to_string(),
        }))
    }

    /// How the command ends.
    fn end(self) -> CommandResult {
        if self.unreached.is_empty() {
            return Ok(Outcome::Done);
        }
        let name = &self.state.authority;
        let message = format!(
            "{name} is not shut out in every DPS instance: {} not seen to",
            counted(self.unreached.len(), "was", "were")
        );
        Err(CommandError::new(ErrorKind::PartlyFailed, message)
            .lines(&self.unreached)
            .hint(format!(
                "say it again when they can be reached: dps-pki roll start {name} --compromised"
            )))
    }
}

fn notes_of(still_admitted: &[RegistrationId]) -> Vec<String> {
    let named = still_admitted.iter().take(NAMED).map(|id| {
        format!("{id} has an individual enrollment that lets it in with a leaf below the compromised certificate; shut it out with: dps-pki quarantine {id}")
    });
    let mut notes: Vec<String> = named.collect();
    if still_admitted.len() > NAMED {
        notes.push(format!(
            "and {} more have one; all of them are named with --output json",
            still_admitted.len() - NAMED
        ));
    }
    notes
}

/// What is done in one instance, as one plan.
fn whole(parts: &[Plan]) -> Plan {
    let mut whole = Plan::new("");
    for plan in parts {
        whole.goal.clone_from(&plan.goal);
        whole.steps.extend(plan.steps.iter().cloned());
        whole.notes.extend(plan.notes.iter().cloned());
    }
    whole
}

fn is_admitted(outcome: &Admission) -> bool {
    matches!(outcome, Admission::Admitted(_))
}
