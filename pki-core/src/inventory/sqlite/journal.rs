//! The journal: plans, their steps, and what open ones are about.

use std::collections::BTreeSet;

use rusqlite::{Row, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::write::append;
use super::{Failure, SqliteInventory, row};
use crate::ids::{DpsName, PlanId};
use crate::inventory::audit::Draft;
use crate::inventory::{InventoryError, Journal};
use crate::lifecycle::{
    Expectation, NewPlan, Plan, PlanRecord, PlanSummary, Step, StepEnd, StepState, refused,
};
use crate::time::Time;

/// Everything about plans that [`summary`] reads.
const PLANS: &str = "
    SELECT p.name, p.dps, p.goal, p.opened_at, p.state,
           (SELECT count(*) FROM plan_step s WHERE s.plan = p.id),
           (SELECT count(*) FROM plan_step s WHERE s.plan = p.id AND s.status = 'done')
    FROM plan p";

impl Journal for SqliteInventory {
    fn open_plan(&mut self, new: NewPlan, at: Time) -> Result<PlanRecord, InventoryError> {
        let record = new.recorded(at);
        self.write(|transaction| insert(transaction, &record, at))?;
        Ok(record)
    }

    fn begin_steps(
        &mut self,
        plan: PlanId,
        steps: &[(usize, Expectation)],
        at: Time,
    ) -> Result<(), InventoryError> {
        self.write(|transaction| {
            let head = open(transaction, plan)?;
            for (index, expect) in steps {
                change(transaction, &head, *index, |state| state.begun(expect, at))?;
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
        self.write(|transaction| {
            let head = open(transaction, plan)?;
            for (index, end) in steps {
                let step = change(transaction, &head, *index, |state| state.ended(end, at))?;
                let event = step.event((plan, &head.record.dps), *index, end)?;
                if let Some(event) = event {
                    append(transaction, Draft::event(event, at))?;
                }
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
        self.write(|transaction| {
            let missing = InventoryError::PlanNotFound { plan };
            let Head { id, mut record } = find(transaction, plan)?.ok_or(missing)?;
            record.close(abandoned, at)?;
            transaction.execute(
                "UPDATE plan SET status = ?, state = ? WHERE id = ?",
                params![record.state.as_str(), json(&record.state)?, id],
            )?;
            transaction.execute("DELETE FROM plan_subject WHERE plan = ?", [id])?;
            append(transaction, Draft::plan_closed(&record, at))?;
            Ok(())
        })
    }

    fn plan(&self, plan: PlanId) -> Result<Option<PlanRecord>, InventoryError> {
        self.read(|transaction| Ok(find(transaction, plan)?.map(|found| found.record)))
    }

    fn plans(&self, limit: usize) -> Result<Vec<PlanSummary>, InventoryError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(|transaction| {
            let sql = format!("{PLANS} ORDER BY p.id DESC LIMIT ?");
            let mut query = transaction.prepare_cached(&sql)?;
            let mut rows = query.query([limit])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(summary(row)?);
            }
            Ok(found)
        })
    }

    fn plans_in_the_way(
        &self,
        dps: &DpsName,
        subjects: &BTreeSet<String>,
    ) -> Result<Vec<PlanSummary>, InventoryError> {
        self.read(|transaction| in_the_way(transaction, dps, subjects))
    }
}

fn insert(transaction: &Transaction<'_>, record: &PlanRecord, at: Time) -> Result<(), Failure> {
    let subjects = record.plan.subject_keys();
    PlanSummary::refuse_in_the_way(&in_the_way(transaction, &record.dps, &subjects)?)?;
    transaction.execute(
        "INSERT INTO plan (name, dps, goal, notes, keys_withheld, opened_at, status, state)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            record.id.to_string(),
            record.dps.as_str(),
            record.plan.goal,
            json(&record.plan.notes)?,
            record.keys_withheld,
            at.unix_seconds(),
            record.state.as_str(),
            json(&record.state)?,
        ],
    )?;
    let id = transaction.last_insert_rowid();
    let mut step =
        transaction.prepare_cached("INSERT INTO plan_step VALUES (?, ?, ?, 'planned', ?)")?;
    let planned = json(&StepState::Planned)?;
    for (number, content) in (0_i64..).zip(&record.plan.steps) {
        step.execute(params![id, number, json(content)?, planned])?;
    }
    let mut subject = transaction.prepare_cached("INSERT INTO plan_subject VALUES (?, ?)")?;
    for key in &subjects {
        subject.execute(params![key, id])?;
    }
    append(
        transaction,
        Draft::plan_opened(record, &json(&record.plan)?, at),
    )?;
    Ok(())
}

fn in_the_way(
    transaction: &Transaction<'_>,
    dps: &DpsName,
    subjects: &BTreeSet<String>,
) -> Result<Vec<PlanSummary>, Failure> {
    let mut ids = BTreeSet::new();
    let mut holding = transaction.prepare_cached(
        "SELECT s.plan FROM plan_subject s JOIN plan p ON p.id = s.plan
         WHERE s.subject = ? AND p.dps = ?",
    )?;
    for subject in subjects {
        let mut rows = holding.query(params![subject, dps.as_str()])?;
        while let Some(row) = rows.next()? {
            ids.insert(row.get::<_, i64>(0)?);
        }
    }
    let mut query = transaction.prepare_cached(&format!("{PLANS} WHERE p.id = ?"))?;
    let found = ids.into_iter().map(|id| {
        let mut rows = query.query([id])?;
        let row = rows.next()?.ok_or_else(damage)?;
        summary(row)
    });
    found.collect()
}

/// A plan and its row.
struct Head {
    id: i64,
    record: PlanRecord,
}

/// A plan with its steps.
fn find(transaction: &Transaction<'_>, plan: PlanId) -> Result<Option<Head>, Failure> {
    let Some(mut head) = head(transaction, plan)? else {
        return Ok(None);
    };
    let mut query = transaction
        .prepare_cached("SELECT step, state FROM plan_step WHERE plan = ? ORDER BY number")?;
    let mut rows = query.query([head.id])?;
    while let Some(row) = rows.next()? {
        head.record.plan.steps.push(read(row, 0)?);
        head.record.steps.push(read(row, 1)?);
    }
    Ok(Some(head))
}

/// A plan without its steps, which may be many, that is still to be carried out.
fn open(transaction: &Transaction<'_>, plan: PlanId) -> Result<Head, Failure> {
    let head = head(transaction, plan)?.ok_or(InventoryError::PlanNotFound { plan })?;
    head.record.state.refuse_closed(plan)?;
    Ok(head)
}

fn head(transaction: &Transaction<'_>, plan: PlanId) -> Result<Option<Head>, Failure> {
    let mut query = transaction.prepare_cached(
        "SELECT id, dps, goal, notes, opened_at, state, keys_withheld FROM plan WHERE name = ?",
    )?;
    let mut rows = query.query([plan.to_string()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let record = PlanRecord {
        id: plan,
        dps: name(row, 1)?,
        opened_at: row::time(row, 4)?,
        state: read(row, 5)?,
        plan: Plan {
            steps: Vec::new(),
            goal: row.get(2)?,
            notes: read(row, 3)?,
        },
        steps: Vec::new(),
        keys_withheld: row.get(6)?,
    };
    let id = row.get(0)?;
    Ok(Some(Head { id, record }))
}

/// Changes the state of a step, and returns the step.
fn change(
    transaction: &Transaction<'_>,
    head: &Head,
    index: usize,
    change: impl FnOnce(&StepState) -> Option<StepState>,
) -> Result<Step, Failure> {
    let number = i64::try_from(index).unwrap_or(i64::MAX);
    let mut query = transaction
        .prepare_cached("SELECT step, state FROM plan_step WHERE plan = ? AND number = ?")?;
    let mut rows = query.query([head.id, number])?;
    let Some(row) = rows.next()? else {
        return Err(refused(head.record.id, index, None).into());
    };
    let (step, state): (Step, StepState) = (read(row, 0)?, read(row, 1)?);
    let changed = change(&state).ok_or_else(|| refused(head.record.id, index, Some(&state)))?;
    transaction
        .prepare_cached("UPDATE plan_step SET status = ?, state = ? WHERE plan = ? AND number = ?")?
        .execute(params![changed.as_str(), json(&changed)?, head.id, number])?;
    Ok(step)
}

fn summary(row: &Row<'_>) -> Result<PlanSummary, Failure> {
    let text: String = row.get(0)?;
    let count = |column: usize| {
        let count: i64 = row.get(column)?;
        usize::try_from(count).map_err(|_| damage())
    };
    Ok(PlanSummary {
        plan: text.parse().map_err(|_| damage())?,
        dps: name(row, 1)?,
        goal: row.get(2)?,
        opened_at: row::time(row, 3)?,
        state: read(row, 4)?,
        steps: count(5)?,
        done: count(6)?,
    })
}

fn name(row: &Row<'_>, column: usize) -> Result<DpsName, Failure> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| damage())
}

/// A column in JSON.
fn read<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, Failure> {
    let text = row.get_ref(column)?;
    let text = text.as_str().map_err(rusqlite::Error::from)?;
    serde_json::from_str(text).map_err(|_| damage())
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    let unwritable = |error: serde_json::Error| InventoryError::corrupt(error.to_string());
    Ok(serde_json::to_string(value).map_err(unwritable)?)
}

fn damage() -> Failure {
    InventoryError::corrupt("a plan in the journal cannot be read").into()
}
