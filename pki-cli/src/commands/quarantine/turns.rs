//! The plan of one instance in two turns, so that all instances are closed before the first hub is told.

use dps_operations::TakenUp;
use dps_operations::hubs::UnreadHub;
use dps_operations::judge::Judged;
use pki_core::ids::DpsName;
use pki_core::sqlite::SqliteInventory;

use crate::commands::everywhere::{Problems, confirm};
use crate::context::Context;
use crate::error::{CommandError, ErrorKind};
use crate::execute::{Execution, Failures, Proposal, close_same, follow, shut_out};
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
    /// What is left to be carried out.
    opened: Option<TakenUp>,
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

/// Closes all instances, then sees to the hubs of those that were. `who` are shut out, with a verb. One whose plan
/// cannot be stored, since another is in the way, keeps nobody in elsewhere: it is told last.
pub(super) fn close_and_finish<'a>(
    parts: Vec<impl Part<'a>>,
    who: &str,
    context: &Context,
    inventory: &mut SqliteInventory,
    problems: &mut Problems,
) -> Result<(), CommandError> {
    let mut parts = parts;
    ask(&mut parts, context)?;
    let mut opened = Vec::new();
    let mut not_opened = Vec::new();
    for mut part in parts {
        let turns = part.turns();
        let dps = turns.dps;
        match turns.open(context, inventory) {
            Ok(()) => opened.push(part),
            Err(error) if error.kind == ErrorKind::Interrupted => return Err(error),
            Err(error) => not_opened.push((dps, error)),
        }
    }
    let mut closed = Vec::new();
    for mut part in opened {
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
    for (dps, error) in not_opened {
        problems.note_let_in(dps, who, Err(error))?;
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
            opened: None,
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

    /// Stores the whole plan: what is cut after this, `check` tells.
    fn open(
        &mut self,
        context: &Context,
        inventory: &mut SqliteInventory,
    ) -> Result<(), CommandError> {
        let shown = Outline(PlanAndImpact::proposed(&self.judged));
        let proposal = Proposal {
            failures: self.failures,
            is_answered: self.dps.is_some(),
            ..Proposal::new(&self.judged.plan, &shown).within(self.dps)
        };
        self.opened = proposal.open(context, self.planes, inventory)?;
        Ok(())
    }

    fn shut_out(
        &mut self,
        context: &Context,
        inventory: &mut SqliteInventory,
    ) -> Result<(), CommandError> {
        if let Some(opened) = self.opened.take() {
            let (rest, execution) = shut_out(context, self.planes, inventory, opened)?;
            self.opened = Some(rest);
            self.execution = execution;
        }
        Ok(())
    }

    /// Carries out the rest, but for what is about devices that were not shut out.
    fn take_off_hubs(
        &mut self,
        context: &Context,
        inventory: &mut SqliteInventory,
    ) -> Result<(), CommandError> {
        let Some(rest) = self.opened.take() else {
            return Ok(());
        };
        let execution = follow(context, self.planes, inventory, rest)?;
        self.execution.failed.extend(execution.failed);
        // A plan that was cut after its last write may share no subject with this one.
        close_same(
            context,
            self.planes,
            inventory,
            &self.judged.plan.plan().goal,
        )?;
        Ok(())
    }
}
