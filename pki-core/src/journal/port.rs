//! The port for the journal of plans, kept in the same place as the inventory, so that what a plan does
//! to certificates, what the journal says of it and what the audit trail says of it are of one piece.

use std::collections::BTreeSet;

use super::{NewPlan, PlanRecord, PlanState, PlanSummary, StepEnd};
use crate::ids::{DpsName, PlanId, Sha1Thumbprint};
use crate::inventory::{Inventory, InventoryError};
use crate::lifecycle::{Expectation, Subject};
use crate::time::Time;

/// The plans of one PKI home, and how far each was carried out. The rules are those of [`PlanRecord`].
pub trait Journal: Inventory {
    /// Stores a plan before its first step.
    ///
    /// # Errors
    /// [`InventoryError::PlanInTheWay`] if an open plan for the same instance has one of its subjects.
    fn open_plan(&mut self, new: NewPlan, at: Time) -> Result<PlanRecord, InventoryError>;

    /// Takes note that steps, counted from 0, are about to be sent, and with which expectations.
    ///
    /// # Errors
    /// [`InventoryError::PlanNotFound`]; as [`PlanRecord::begin`]. Nothing is changed then.
    fn begin_steps(
        &mut self,
        plan: PlanId,
        steps: &[(usize, Expectation)],
        at: Time,
    ) -> Result<(), InventoryError>;

    /// Takes note of how steps ended; the audit trail tells of those that are done.
    ///
    /// # Errors
    /// [`InventoryError::PlanNotFound`]; as [`PlanRecord::end`]. Nothing is changed then.
    fn end_steps(
        &mut self,
        plan: PlanId,
        steps: &[(usize, StepEnd)],
        at: Time,
    ) -> Result<(), InventoryError>;

    /// Closes a plan: as finished without a reason, as abandoned with one.
    ///
    /// # Errors
    /// [`InventoryError::PlanNotFound`]; as [`PlanRecord::close`]. Nothing is changed then.
    fn close_plan(
        &mut self,
        plan: PlanId,
        abandoned: Option<&str>,
        at: Time,
    ) -> Result<(), InventoryError>;

    /// The plan of this name.
    ///
    /// # Errors
    /// [`InventoryError`] if the journal cannot be read.
    fn plan(&self, plan: PlanId) -> Result<Option<PlanRecord>, InventoryError>;

    /// The latest plans, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`InventoryError`] if the journal cannot be read.
    fn plans(&self, limit: usize) -> Result<Vec<PlanSummary>, InventoryError>;

    /// The open plans for an instance that have one of these subjects, oldest first.
    ///
    /// # Errors
    /// [`InventoryError`] if the journal cannot be read.
    fn plans_in_the_way(
        &self,
        dps: &DpsName,
        subjects: &BTreeSet<String>,
    ) -> Result<Vec<PlanSummary>, InventoryError>;

    /// The latest plan for an instance that was carried out whole, is about a subject, and has a goal that
    /// begins with these words. It reads through the journal: for commands that find nothing to do.
    ///
    /// # Errors
    /// [`InventoryError`] if the journal cannot be read.
    fn finished_plan(
        &self,
        dps: &DpsName,
        goal: &str,
        subject: &Subject,
    ) -> Result<Option<PlanRecord>, InventoryError> {
        for plan in self.plans(usize::MAX)? {
            let is_finished = matches!(plan.state, PlanState::Finished { .. });
            if is_finished
                && plan.dps == *dps
                && plan.goal.starts_with(goal)
                && let Some(record) = self.plan(plan.plan)?
                && record.is_about(subject)
            {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// The certificates that a CA certificate admitted when it was deleted from an instance by plans whose goal
    /// begins with these words, and that none of these plans had verified after that.
    ///
    /// # Errors
    /// [`InventoryError`] if the journal cannot be read.
    fn cut_off(
        &self,
        dps: &DpsName,
        goal: &str,
        ca: &Sha1Thumbprint,
    ) -> Result<BTreeSet<Sha1Thumbprint>, InventoryError> {
        let mut cut_off = BTreeSet::new();
        let newest_first = self.plans(usize::MAX)?;
        for plan in newest_first.iter().rev() {
            if plan.dps == *dps
                && plan.goal.starts_with(goal)
                && let Some(record) = self.plan(plan.plan)?
            {
                record.note_cut_off(ca, &mut cut_off);
            }
        }
        Ok(cut_off)
    }
}
