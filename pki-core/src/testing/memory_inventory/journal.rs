//! The journal in memory.

use std::collections::BTreeSet;

use super::MemoryInventory;
use crate::ids::{DpsName, PlanId};
use crate::inventory::InventoryError;
use crate::inventory::audit::{Draft, StoredPlan};
use crate::journal::{Journal, NewPlan, PlanRecord, PlanSummary, StepEnd};
use crate::lifecycle::Expectation;
use crate::time::Time;

impl MemoryInventory {
    fn known_plan(&mut self, plan: PlanId) -> Result<&mut PlanRecord, InventoryError> {
        self.plans
            .iter_mut()
            .find(|record| record.id == plan)
            .ok_or(InventoryError::PlanNotFound { plan })
    }
}

impl Journal for MemoryInventory {
    fn open_plan(&mut self, new: NewPlan, at: Time) -> Result<PlanRecord, InventoryError> {
        let record = new.recorded(at);
        let others = self.plans_in_the_way(&record.dps, &record.plan.subject_keys())?;
        PlanSummary::refuse_in_the_way(&others)?;
        let stored = StoredPlan::of(&record)?;
        self.append(Draft::plan_opened(&record, &stored, at));
        self.plans.push(record.clone());
        Ok(record)
    }

    fn begin_steps(
        &mut self,
        plan: PlanId,
        steps: &[(usize, Expectation)],
        at: Time,
    ) -> Result<(), InventoryError> {
        self.write(|inventory| {
            let record = inventory.known_plan(plan)?;
            record.state.refuse_closed(plan)?;
            let mut states = Vec::new();
            for (index, expect) in steps {
                record.begin(*index, expect, at)?;
                states.push((*index, record.steps[*index].clone()));
            }
            if !states.is_empty() {
                inventory.append(Draft::steps_begun(plan, &states, at)?);
            }
            Ok(())
        })
    }

    fn end_steps(
        &mut self,
        plan: PlanId,
        steps: &[(usize, StepEnd)],
        at: Time,
    ) -> Result<(), InventoryError> {
        self.write(|inventory| {
            let record = inventory.known_plan(plan)?;
            record.state.refuse_closed(plan)?;
            let mut events = Vec::new();
            let mut states = Vec::new();
            for (index, end) in steps {
                record.end(*index, end, at)?;
                states.push((*index, record.steps[*index].clone()));
                let step = &record.plan.steps[*index];
                events.extend(step.event((plan, &record.dps), *index, end)?);
            }
            if !states.is_empty() {
                inventory.append(Draft::steps_ended(plan, &states, at)?);
            }
            for event in events {
                inventory.append(Draft::event(event, at));
            }
            Ok(())
        })
    }

    fn close_plan(
        &mut self,
        plan: PlanId,
        abandoned: Option<&str>,
        at: Time,
    ) -> Result<(), InventoryError> {
        let record = self.known_plan(plan)?;
        record.close(abandoned, at)?;
        let draft = Draft::plan_closed(record, &StoredPlan::of(record)?, at);
        self.append(draft);
        Ok(())
    }

    fn plan(&self, plan: PlanId) -> Result<Option<PlanRecord>, InventoryError> {
        Ok(self.plans.iter().find(|record| record.id == plan).cloned())
    }

    fn plans(&self, limit: usize) -> Result<Vec<PlanSummary>, InventoryError> {
        let newest_first = self.plans.iter().rev().take(limit);
        Ok(newest_first.map(PlanRecord::summary).collect())
    }

    fn plans_in_the_way(
        &self,
        dps: &DpsName,
        subjects: &BTreeSet<String>,
    ) -> Result<Vec<PlanSummary>, InventoryError> {
        let is_in_the_way = |record: &&PlanRecord| {
            record.state.is_open()
                && record.dps == *dps
                && !record.plan.subject_keys().is_disjoint(subjects)
        };
        Ok(self
            .plans
            .iter()
            .filter(is_in_the_way)
            .map(PlanRecord::summary)
            .collect())
    }
}
