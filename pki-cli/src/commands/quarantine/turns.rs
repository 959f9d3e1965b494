//! The plan of one instance in two turns, so that all instances are closed before the first hub is told.

use std::collections::BTreeSet;

use dps_operations::execute::StepFailure;
use dps_operations::hubs::UnreadHub;
use dps_operations::judge::Judged;
use pki_core::ids::DpsName;
use pki_core::lifecycle::{Checked, Step, Subject};
use pki_core::sqlite::SqliteInventory;

use crate::commands::everywhere::{Problems, confirm};
use crate::context::Context;
use crate::error::CommandError;
use crate::execute::{Execution, Failures, Proposal, close_same};
use crate::hubs::refuse_unread;
use crate::planes::Planes;
use crate::render::plan::{Outline, PlanAndImpact};

/// What is carried out in one instance.
pub(super) struct Turns<'a> {
    pub(super) planes: &'a Planes<'a>,
    /// Its name, where there are several.
    pub(super) dps: Option<&'a DpsName>,
    judged: Judged,
    failures: Failures,
    /// What became of it so far.
    pub(super) execution: Execution,
}

/// One instance of those in which somebody is shut out.
pub(super) trait Part<'a> {
    fn turns(&mut self) -> &mut Turns<'a>;

    /// The devices whose hubs cannot be read.
    fn unread(&self) -> &[UnreadHub];

    /// Tells what was done, and what DPS decides since.
    fn tell(&self, context: &Context, inventory: &SqliteInventory) -> Result<(), CommandError>;
}

/// Closes all instances, then sees to the hubs of those that were. `who` are shut out, with a verb.
pub(super) fn close_and_finish<'a>(
    parts: Vec<impl Part<'a>>,
    who: &str,
    context: &Context,
    inventory: &mut SqliteInventory,
    problems: &mut Problems,
) -> Result<(), CommandError> {
    let mut parts = parts;
    ask(&mut parts, context)?;
    let mut closed = Vec::new();
    for mut part in parts {
        let turns = part.turns();
        let done = turns.shut_out(context, inventory);
        if done.is_ok() {
            closed.push(part);
        } else {
            problems.note_let_in(turns.dps, who, done)?;
        }
    }
    for mut part in closed {
        let done = finish(&mut part, context, inventory);
        problems.note(part.turns().dps, done)?;
    }
    Ok(())
}

/// Of several instances all are asked about at once; a single one is when it is carried out.
fn ask<'a>(parts: &mut [impl Part<'a>], context: &Context) -> Result<(), CommandError> {
    let mut asked = Vec::new();
    for part in parts {
        let turns = part.turns();
        if turns.dps.is_some() {
            asked.push((turns.planes, &turns.judged));
        }
    }
    confirm(context, &asked)
}

/// Sees to the hubs of an instance that is closed, and tells what DPS decides.
fn finish<'a>(
    part: &mut impl Part<'a>,
    context: &Context,
    inventory: &mut SqliteInventory,
) -> Result<(), CommandError> {
    part.turns().take_off_hubs(context, inventory)?;
    part.tell(context, inventory)?;
    if context.settings.dry_run {
        Ok(())
    } else {
        refuse_unread(part.unread())
    }
}

impl<'a> Turns<'a> {
    pub(super) fn new(
        planes: &'a Planes<'a>,
        dps: Option<&'a DpsName>,
        judged: Judged,
        failures: Failures,
    ) -> Self {
        Self {
            planes,
            dps,
            judged,
            failures,
            execution: Execution::default(),
        }
    }

    /// The whole, and whether it was carried out.
    pub(super) fn outcome(&self) -> PlanAndImpact<'_> {
        PlanAndImpact {
            done: self.execution.done,
            ..PlanAndImpact::proposed(&self.judged)
        }
    }

    /// Carries out what shuts out; everything at once where there are no other instances to be closed.
    fn shut_out(
        &mut self,
        context: &Context,
        inventory: &mut SqliteInventory,
    ) -> Result<(), CommandError> {
        let whole = self.judged.plan.clone();
        if self.dps.is_none() || whole.plan().is_empty() {
            return self.carry_out(context, inventory, &whole);
        }
        let [first, _] = whole.in_turns();
        self.carry_out_any(context, inventory, &first)
    }

    /// Carries out the rest, but for what is about devices that were not shut out.
    fn take_off_hubs(
        &mut self,
        context: &Context,
        inventory: &mut SqliteInventory,
    ) -> Result<(), CommandError> {
        if self.dps.is_none() {
            return Ok(());
        }
        let [_, second] = self.judged.plan.in_turns();
        let second = second.without(&self.failed());
        self.carry_out_any(context, inventory, &second)?;
        // A turn that was cut after its last write shares no subject with the other one.
        if !context.settings.dry_run {
            let goal = &self.judged.plan.plan().goal;
            close_same(context, self.planes, inventory, goal)?;
        }
        Ok(())
    }

    fn failed(&self) -> BTreeSet<Subject> {
        let failed: BTreeSet<&str> = self
            .execution
            .failed
            .iter()
            .map(|failure: &StepFailure| failure.step.as_str())
            .collect();
        let steps = self.judged.plan.plan().steps.iter();
        steps
            .filter(|step| failed.contains(step.to_string().as_str()))
            .flat_map(Step::subjects)
            .collect()
    }

    /// An empty turn is none: a plan of the same goal that was cut may be the other turn's to supersede.
    fn carry_out_any(
        &mut self,
        context: &Context,
        inventory: &mut SqliteInventory,
        turn: &Checked,
    ) -> Result<(), CommandError> {
        if turn.plan().is_empty() {
            return Ok(());
        }
        self.carry_out(context, inventory, turn)
    }

    fn carry_out(
        &mut self,
        context: &Context,
        inventory: &mut SqliteInventory,
        turn: &Checked,
    ) -> Result<(), CommandError> {
        let shown = Outline(PlanAndImpact {
            plan: turn.plan(),
            ..PlanAndImpact::proposed(&self.judged)
        });
        let proposal = Proposal {
            failures: self.failures,
            is_answered: self.dps.is_some(),
            ..Proposal::new(turn, &shown).within(self.dps)
        };
        let execution = proposal.carry_out(context, self.planes, inventory)?;
        self.execution.done |= execution.done;
        self.execution.failed.extend(execution.failed);
        Ok(())
    }
}
