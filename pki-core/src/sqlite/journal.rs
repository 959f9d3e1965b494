//! The journal: plans, their steps, and what open ones are about.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::trail::Trail;
use super::trust;
use super::write::append;
use super::{Failure, SqliteInventory, read, row};
use crate::ids::{DpsName, PlanId};
use crate::inventory::InventoryError;
use crate::inventory::audit::{
    Action, AuditEntry, AuditFinding, AuditHash, AuditHead, Auditor, Draft, ExpectedPlan,
    StoredPlan, StoredStep,
};
use crate::journal::{
    Journal, NewPlan, PlanRecord, PlanSummary, StepEnd, StepState, refused, subjects_of,
};
use crate::lifecycle::{Expectation, Plan, Step};
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
        self.write(|transaction| {
            refuse_edited(transaction)?;
            insert(transaction, &record, at)
        })?;
        Ok(record)
    }

    fn begin_steps(
        &mut self,
        plan: PlanId,
        steps: &[(usize, Expectation)],
        at: Time,
    ) -> Result<(), InventoryError> {
        self.write_steps(plan, |transaction, head, followed| {
            let mut states = Vec::with_capacity(steps.len());
            for (index, expect) in steps {
                followed.refuse_edited(transaction, head, *index)?;
                let (_, state) =
                    change(transaction, head, *index, |state| state.begun(expect, at))?;
                states.push((*index, state));
            }
            if !states.is_empty() {
                append(transaction, Draft::steps_begun(plan, &states, at)?)?;
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
        self.write_steps(plan, |transaction, head, followed| {
            let mut states = Vec::with_capacity(steps.len());
            let mut events = Vec::new();
            for (index, end) in steps {
                followed.refuse_edited(transaction, head, *index)?;
                let (step, state) =
                    change(transaction, head, *index, |state| state.ended(end, at))?;
                states.push((*index, state));
                events.extend(step.event((plan, &head.record.dps), *index, end)?);
            }
            if !states.is_empty() {
                append(transaction, Draft::steps_ended(plan, &states, at)?)?;
            }
            for event in events {
                append(transaction, Draft::event(event, at))?;
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
        self.followed = None;
        self.write(|transaction| {
            let missing = InventoryError::PlanNotFound { plan };
            let Head { id, mut record } = find(transaction, plan)?.ok_or(missing)?;
            expected(transaction, plan)?;
            record.close(abandoned, at)?;
            transaction.execute(
                "UPDATE plan SET status = ?, state = ? WHERE id = ?",
                params![record.state.as_str(), json(&record.state)?, id],
            )?;
            transaction.execute("DELETE FROM plan_subject WHERE plan = ?", [id])?;
            let closed = stored(transaction, id)?;
            append(transaction, Draft::plan_closed(&record, &closed, at))?;
            Ok(())
        })
    }

    fn plan(&self, plan: PlanId) -> Result<Option<PlanRecord>, InventoryError> {
        self.read(|transaction| {
            let found = find(transaction, plan)?;
            expected(transaction, plan)?;
            Ok(found.map(|found| found.record))
        })
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
        self.read(|transaction| {
            refuse_edited(transaction)?;
            in_the_way(transaction, dps, subjects)
        })
    }
}

impl SqliteInventory {
    /// Changes steps of an open plan, if all of it is as the trail says.
    fn write_steps(
        &mut self,
        plan: PlanId,
        change: impl FnOnce(&Transaction<'_>, &Head, &Followed) -> Result<(), Failure>,
    ) -> Result<(), InventoryError> {
        let mut followed = self.followed.take();
        self.write(|transaction| {
            let head = open(transaction, plan)?;
            change(
                transaction,
                &head,
                Followed::of(&mut followed, transaction, plan)?,
            )
        })?;
        self.followed = followed;
        Ok(())
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
    let opened = stored(transaction, id)?;
    append(transaction, Draft::plan_opened(record, &opened, at))?;
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
        head.record.plan.steps.push(parsed(row, 0)?);
        head.record.steps.push(parsed(row, 1)?);
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
        state: parsed(row, 5)?,
        plan: Plan {
            steps: Vec::new(),
            goal: row.get(2)?,
            notes: parsed(row, 3)?,
        },
        steps: Vec::new(),
        keys_withheld: row.get(6)?,
    };
    let id = row.get(0)?;
    Ok(Some(Head { id, record }))
}

/// Changes the state of a step, and returns the step with its new state.
fn change(
    transaction: &Transaction<'_>,
    head: &Head,
    index: usize,
    change: impl FnOnce(&StepState) -> Option<StepState>,
) -> Result<(Step, StepState), Failure> {
    let number = i64::try_from(index).unwrap_or(i64::MAX);
    let mut query = transaction
        .prepare_cached("SELECT step, state FROM plan_step WHERE plan = ? AND number = ?")?;
    let mut rows = query.query([head.id, number])?;
    let Some(row) = rows.next()? else {
        return Err(refused(head.record.id, index, None).into());
    };
    let step: Step = parsed(row, 0)?;
    let state: StepState = parsed(row, 1)?;
    let changed = change(&state).ok_or_else(|| refused(head.record.id, index, Some(&state)))?;
    transaction
        .prepare_cached("UPDATE plan_step SET status = ?, state = ? WHERE plan = ? AND number = ?")?
        .execute(params![changed.as_str(), json(&changed)?, head.id, number])?;
    Ok((step, changed))
}

/// Every plan as it is stored, in the order in which they were opened.
pub(super) fn stored_plans(transaction: &Transaction<'_>) -> Result<Vec<StoredPlan>, Failure> {
    let mut query = transaction.prepare_cached("SELECT id FROM plan ORDER BY id")?;
    let ids = query.query_map([], |row| row.get(0))?;
    let ids: Vec<i64> = ids.collect::<Result<_, _>>()?;
    ids.into_iter().map(|id| stored(transaction, id)).collect()
}

/// A plan as it is stored.
pub(super) fn stored(transaction: &Transaction<'_>, id: i64) -> Result<StoredPlan, Failure> {
    let mut plan = stored_head(transaction, id)?;
    let mut query = transaction.prepare_cached(
        "SELECT number, step, status, state FROM plan_step WHERE plan = ? ORDER BY number",
    )?;
    let mut rows = query.query([id])?;
    while let Some(row) = rows.next()? {
        plan.steps.push(StoredStep {
            number: row.get(0)?,
            step: row.get(1)?,
            status: row.get(2)?,
            state: row.get(3)?,
        });
    }
    let mut query =
        transaction.prepare_cached("SELECT subject FROM plan_subject WHERE plan = ?")?;
    let subjects = query.query_map([id], |row| row.get(0))?;
    plan.subjects = subjects.collect::<Result<_, _>>()?;
    Ok(plan)
}

/// A plan as it is stored, without its steps and subjects.
fn stored_head(transaction: &Transaction<'_>, id: i64) -> Result<StoredPlan, Failure> {
    let mut query = transaction.prepare_cached(
        "SELECT name, dps, goal, notes, keys_withheld, opened_at, status, state FROM plan
         WHERE id = ?",
    )?;
    let plan = query.query_row([id], |row| {
        Ok(StoredPlan {
            name: row.get(0)?,
            dps: row.get(1)?,
            goal: row.get(2)?,
            notes: row.get(3)?,
            keys_withheld: row.get(4)?,
            opened_at: row.get(5)?,
            status: row.get(6)?,
            state: row.get(7)?,
            steps: Vec::new(),
            subjects: BTreeSet::new(),
        })
    })?;
    Ok(plan)
}

/// Compares a plan with the trail, from the entry that opened it to the last one or to the one that
/// closed it, and returns what the trail says. `None` if neither knows of it.
fn expected(
    transaction: &Transaction<'_>,
    plan: PlanId,
) -> Result<Option<(ExpectedPlan, StoredPlan)>, Failure> {
    let name = plan.to_string();
    let found: Option<i64> = transaction
        .prepare_cached("SELECT id FROM plan WHERE name = ?")?
        .query_row([&name], |row| row.get(0))
        .optional()?;
    let mut trail = Trail::begin(transaction)?;
    let mut entries = trail.all(
        "action IN ('plan-opened', 'plan-finished', 'plan-abandoned') AND subject = ?",
        [&name],
    )?;
    let mut auditor = Auditor::of_part();
    if let [opened] = entries.as_slice() {
        // Each entry to the last one: one that was left out could be the one that closed it.
        trail.each_from(opened.sequence(), |entry| {
            let is_about = entry.subject() == name;
            if is_about || entry.action() == Action::InventoryBound.as_str() {
                auditor.replay(entry);
            }
        })?;
    } else {
        entries.extend(trail.all("action = 'inventory-bound'", [])?);
        entries.sort_by_key(AuditEntry::sequence);
        entries.iter().for_each(|entry| auditor.replay(entry));
    }
    let expected = auditor.expected_plan(&name).cloned();
    let (expected, id) = match (expected, found) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(trust::refused(&AuditFinding::PlanMissing { plan: name })),
        (None, Some(_)) => {
            return Err(trust::refused(&AuditFinding::PlanUnrecorded { plan: name }));
        }
        (Some(expected), Some(id)) => (expected, id),
    };
    let stored = stored(transaction, id)?;
    if let Some(what) = expected.differences(&stored, subjects_of).first().copied() {
        return Err(trust::refused(&AuditFinding::PlanChanged {
            plan: name,
            what,
        }));
    }
    Ok(Some((expected, stored)))
}

/// Refuses an open plan that is not as the trail says, and plans that are open here or there only: what
/// is in the way of a new plan rests on them.
fn refuse_edited(transaction: &Transaction<'_>) -> Result<(), Failure> {
    let names = |sql: &str| -> Result<BTreeSet<String>, Failure> {
        let mut query = transaction.prepare_cached(sql)?;
        let names = query.query_map([], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    };
    let here = names("SELECT name FROM plan WHERE status = 'open'")?;
    let there = names(
        "SELECT subject FROM audit WHERE action = 'plan-opened'
             AND action NOT IN ('certificates-recorded', 'certificates-delivered')
         EXCEPT SELECT subject FROM audit WHERE action IN ('plan-finished', 'plan-abandoned')
             AND action NOT IN ('certificates-recorded', 'certificates-delivered')",
    )?;
    for name in here.union(&there) {
        let unknown = || AuditFinding::PlanUnrecorded { plan: name.clone() };
        let plan: PlanId = name.parse().map_err(|_| trust::refused(&unknown()))?;
        expected(transaction, plan)?;
    }
    Ok(())
}

/// A plan that is being carried out, as the trail says it is, followed as the trail grows: so each step
/// is compared without reading all of them again.
#[derive(Debug)]
pub(super) struct Followed {
    plan: PlanId,
    head: AuditHead,
    expected: ExpectedPlan,
    /// The plan without its steps and subjects.
    stored: StoredPlan,
    documents: Vec<AuditHash>,
}

impl Followed {
    /// The plan as the trail says it is by now.
    fn of<'f>(
        followed: &'f mut Option<Self>,
        transaction: &Transaction<'_>,
        plan: PlanId,
    ) -> Result<&'f Self, Failure> {
        let head = read::audit_head(transaction)?.ok_or(InventoryError::PlanNotFound { plan })?;
        let goes_on = match followed {
            Some(followed) if followed.plan == plan => followed.follow(transaction, head)?,
            _ => false,
        };
        if !goes_on {
            let (expected, mut stored) =
                expected(transaction, plan)?.ok_or(InventoryError::PlanNotFound { plan })?;
            let steps = std::mem::take(&mut stored.steps);
            stored.subjects.clear();
            *followed = Some(Self {
                plan,
                head,
                expected,
                stored,
                documents: steps
                    .iter()
                    .map(|step| AuditHash::of(step.step.as_bytes()))
                    .collect(),
            });
        }
        let followed = followed.as_ref();
        Ok(followed.ok_or(InventoryError::PlanNotFound { plan })?)
    }

    /// Reads on; `false` if the trail is not the one that was read before.
    fn follow(&mut self, transaction: &Transaction<'_>, head: AuditHead) -> Result<bool, Failure> {
        if read::audit_hash(transaction, self.head.sequence)? != self.head.hash {
            return Ok(false);
        }
        let name = self.plan.to_string();
        Trail::begin(transaction)?.each_from(self.head.sequence + 1, |entry| {
            if entry.subject() == name {
                self.expected.replay(entry);
            }
        })?;
        self.head = head;
        Ok(true)
    }

    /// Refuses a step, or its plan, that was edited.
    fn refuse_edited(
        &self,
        transaction: &Transaction<'_>,
        head: &Head,
        index: usize,
    ) -> Result<(), Failure> {
        let changed = |what| {
            let plan = self.stored.name.clone();
            trust::refused(&AuditFinding::PlanChanged { plan, what })
        };
        if stored_head(transaction, head.id)? != self.stored {
            return Err(changed("content"));
        }
        let number = i64::try_from(index).unwrap_or(i64::MAX);
        let mut query = transaction.prepare_cached(
            "SELECT step, state, status FROM plan_step WHERE plan = ? AND number = ?",
        )?;
        let mut rows = query.query([head.id, number])?;
        let Some(row) = rows.next()? else {
            return if index < self.documents.len() {
                Err(changed("content"))
            } else {
                Ok(())
            };
        };
        let step: String = row.get(0)?;
        let state: String = row.get(1)?;
        let status: String = row.get(2)?;
        if self.documents.get(index) != Some(&AuditHash::of(step.as_bytes())) {
            return Err(changed("content"));
        }
        let word: StepState = parsed(row, 1)?;
        if word.as_str() != status
            || !self
                .expected
                .has_state(index, AuditHash::of(state.as_bytes()))
        {
            return Err(changed("state"));
        }
        Ok(())
    }
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
        state: parsed(row, 4)?,
        steps: count(5)?,
        done: count(6)?,
    })
}

fn name(row: &Row<'_>, column: usize) -> Result<DpsName, Failure> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| damage())
}

/// A column in JSON.
fn parsed<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, Failure> {
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
