//! The plans of a roll: shown and carried out in their order, and what DPS decides then read back.
//!
//! An expiry roll stops at the first failure. A breach roll goes on in the other instances: what is
//! compromised is shut out wherever that can be done.

use dps_operations::roll::{Instances, NotAsPlanned, Passed, Proof, Rolling};
use pki_core::ids::DpsName;
use pki_core::lifecycle::Checked;
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::counted;

use super::instances::Unreached;
use super::report::Report;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::execute::{Execution, Proposal, in_the_way};
use crate::planes::Planes;
use crate::render::plan::PlanAndImpact;

/// A roll that is carried out.
pub(super) struct Carrying<'a> {
    context: &'a Context,
    planes: &'a [Planes<'a>],
    instances: &'a Instances<'a>,
    rolling: &'a Rolling,
    /// The instances in which something was not done.
    unreached: Vec<Unreached>,
    /// What says it again.
    command: String,
}

impl<'a> Carrying<'a> {
    pub(super) fn new(
        context: &'a Context,
        planes: &'a [Planes<'a>],
        instances: &'a Instances<'a>,
        rolling: &'a Rolling,
    ) -> Self {
        Self {
            context,
            planes,
            instances,
            rolling,
            unreached: Vec::new(),
            command: String::new(),
        }
    }

    /// The same where instances are left out that could not be read; `command` says it again.
    pub(super) fn without(self, unreached: Vec<Unreached>, command: String) -> Self {
        Self {
            unreached,
            command,
            ..self
        }
    }

    /// Checks the plans of all instances, carries them out in their order, and reads back what DPS decides.
    pub(super) fn carry_out(mut self, inventory: &mut SqliteInventory) -> CommandResult {
        let passed = self.rolling.check(self.instances, inventory)?;
        self.look_for_others(inventory, &passed)?;
        let mut done = false;
        for (index, part) in &passed.turns {
            let dps = self.planes[*index].name();
            if self.is_unreached(dps) {
                continue;
            }
            done |= match self.carry_out_one(inventory, *index, part, &passed) {
                Ok(execution) => execution.done,
                Err(error) => self.noted(dps, error)?,
            };
        }
        let proofs = if self.context.settings.dry_run {
            vec![]
        } else {
            self.prove(&passed)?
        };
        let report = Report::of(passed.planned, done, proofs);
        self.context.ui.result(&report)?;
        self.end()
    }

    /// Looks in every instance for plans that are in the way, before anything is written in the first. A breach
    /// roll leaves such an instance out, where there is another.
    fn look_for_others(
        &mut self,
        inventory: &mut SqliteInventory,
        passed: &Passed,
    ) -> Result<(), CommandError> {
        for (index, part) in &passed.turns {
            let planes = &self.planes[*index];
            if self.is_unreached(planes.name()) {
                continue;
            }
            let in_the_way = in_the_way(self.context, planes, inventory, part.plan())?;
            if let Some(error) = in_the_way {
                self.leave_out(planes.name(), error)?;
            }
        }
        Ok(())
    }

    fn carry_out_one(
        &self,
        inventory: &mut SqliteInventory,
        index: usize,
        part: &Checked,
        passed: &Passed,
    ) -> Result<Execution, CommandError> {
        let planes = &self.planes[index];
        let judged = passed.judged(self.instances, index, part);
        let shown = PlanAndImpact::proposed(&judged);
        let proposal = Proposal::new(&judged.plan, &shown).within(Some(planes.name()));
        proposal.carry_out(self.context, planes, inventory)
    }

    /// Goes on without an instance in which a breach roll failed.
    fn noted(&mut self, dps: &DpsName, error: CommandError) -> Result<bool, CommandError> {
        let is_of_instance = matches!(error.kind, ErrorKind::Service | ErrorKind::Conflict);
        if !is_of_instance {
            return Err(error);
        }
        let error = if error.kind == ErrorKind::Conflict {
            let name = self.rolling.authority();
            error.hint(format!("what is true now: dps-pki roll status {name}"))
        } else {
            error
        };
        self.leave_out(dps, error)?;
        Ok(true)
    }

    /// Takes note that a breach roll does nothing more in an instance; another roll, and the last instance, ends.
    fn leave_out(&mut self, dps: &DpsName, error: CommandError) -> Result<(), CommandError> {
        let mut others = self.planes.iter().map(Planes::name);
        let is_last = !others.any(|name| name != dps && !self.is_unreached(name));
        if !self.rolling.is_breach() || is_last {
            return Err(error);
        }
        self.unreached.push(Unreached::noted(dps, error)?);
        Ok(())
    }

    fn is_unreached(&self, dps: &DpsName) -> bool {
        self.unreached.iter().any(|one| one.dps == *dps)
    }

    /// Reads DPS again: about the devices of every generation, it must decide as planned.
    fn prove(&mut self, passed: &Passed) -> Result<Vec<Proof>, CommandError> {
        let mut proofs = Vec::new();
        for (index, planes) in self.planes.iter().enumerate() {
            if self.is_unreached(planes.name()) {
                continue;
            }
            let read_back = self.rolling.read_back(self.instances, index, passed);
            match self
                .context
                .runtime
                .block_on(async { Ok(read_back.await) })?
            {
                Ok(found) => proofs.extend(found),
                Err(error @ NotAsPlanned::Otherwise { .. }) => return Err(error.into()),
                Err(error) => {
                    self.noted(planes.name(), error.into())?;
                }
            }
        }
        Ok(proofs)
    }

    /// How the command ends.
    fn end(self) -> CommandResult {
        if self.unreached.is_empty() {
            return Ok(Outcome::Done);
        }
        let name = self.rolling.authority();
        let message = format!(
            "{name} is not shut out in every DPS instance: {} not seen to",
            counted(self.unreached.len(), "was", "were")
        );
        let partly = CommandError::new(ErrorKind::PartlyFailed, message).lines(&self.unreached);
        let refused = self.unreached.iter().map(|one| &one.error);
        let refused = refused.filter(|error| error.kind == ErrorKind::Refused);
        let hints = refused.flat_map(|error| error.hints.clone());
        Err(hints.fold(partly, CommandError::hint).hint(format!(
            "say it again when they can be reached: {}",
            self.command
        )))
    }
}
