//! Runs: what certificates next to each other have in common, and how their states change.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::row::LastChange;
use super::write::append;
use super::{Failure, row};
use crate::inventory::audit::{Draft, Rows};
use crate::inventory::{
    BatchProgress, CertificateState, InventoryError, LostLeaves, RowKey, Status,
};
use crate::time::Time;

/// Certificates next to each other that have all of this in common.
struct Run {
    first: i64,
    last: i64,
    role: String,
    status: Status,
    signed_by: Option<i64>,
    batch: Option<i64>,
    recorded_in: i64,
    changed_in: i64,
    /// What the entry of the last change says, of those voided or revoked.
    detail: Option<String>,
}

impl Run {
    fn read(row: &Row<'_>) -> Result<Self, Failure> {
        let first = row.get(0)?;
        let status: String = row.get(3)?;
        Ok(Self {
            first,
            last: row.get(1)?,
            role: row.get(2)?,
            status: row::status(RowKey::new(first), &status)?,
            signed_by: row.get(4)?,
            batch: row.get(5)?,
            recorded_in: row.get(6)?,
            changed_in: row.get(7)?,
            detail: row.get(8)?,
        })
    }

    /// Whether the state allows a change.
    fn may_become(&self, next: &CertificateState) -> bool {
        let last = self.detail.as_deref().map(LastChange::read);
        let reason = last.and_then(|last| last.reason);
        // What may follow depends on the state and the reason, not on when it was reached.
        let state = CertificateState::assemble(self.status, Time::FOREVER, reason.as_deref());
        state.is_some_and(|state| state.may_become(next))
    }

    fn insert(&self, transaction: &Transaction<'_>) -> Result<(), Failure> {
        transaction
            .prepare_cached("INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?
            .execute(params![
                self.first,
                self.last,
                self.role,
                self.status.as_str(),
                self.signed_by,
                self.batch,
                self.recorded_in,
                self.changed_in,
            ])?;
        Ok(())
    }

    /// Gives the part from `first` to `last` a new state, and splits off what is before and after.
    fn change(
        self,
        transaction: &Transaction<'_>,
        (first, last): (i64, i64),
        status: Status,
        changed_in: i64,
    ) -> Result<(), Failure> {
        let after = Self {
            first: last + 1,
            detail: None,
            role: self.role.clone(),
            ..self
        };
        if self.first < first {
            transaction
                .prepare_cached("UPDATE run SET last = ? WHERE first = ?")?
                .execute([first - 1, self.first])?;
            let changed = Self {
                first,
                last,
                status,
                changed_in,
                ..self
            };
            changed.insert(transaction)?;
        } else {
            transaction
                .prepare_cached(
                    "UPDATE run SET last = ?, status = ?, changed_in = ? WHERE first = ?",
                )?
                .execute(params![last, status.as_str(), changed_in, first])?;
        }
        if after.first <= after.last {
            after.insert(transaction)
        } else {
            Ok(())
        }
    }
}

/// Gives certificates a new state, all or none.
pub(super) fn change_state(
    transaction: &Transaction<'_>,
    keys: &[RowKey],
    next: &CertificateState,
    at: Time,
) -> Result<(), Failure> {
    let rows = Rows::of(keys);
    let draft = match next {
        _ if rows.is_empty() => return Ok(()),
        CertificateState::Undelivered => return Ok(()),
        CertificateState::Delivered { .. } => Draft::delivered(rows.clone(), None, at),
        CertificateState::Voided { reason, .. } => Draft::voided(rows.clone(), reason, at),
        CertificateState::Revoked { at: since, reason } => {
            Draft::revoked(rows.clone(), *reason, *since, at)
        }
    };
    change(transaction, &rows, next, draft)
}

/// Marks certificates as delivered, and takes note of how far that brings a batch.
pub(super) fn deliver(
    transaction: &Transaction<'_>,
    keys: &[RowKey],
    progress: Option<&BatchProgress>,
    at: Time,
) -> Result<(), Failure> {
    let rows = Rows::of(keys);
    if rows.is_empty() && progress.is_none() {
        return Ok(());
    }
    let draft = Draft::delivered(rows.clone(), progress, at);
    change(
        transaction,
        &rows,
        &CertificateState::Delivered { at },
        draft,
    )
}

/// Withdraws what a batch has delivered, all or none.
pub(super) fn withdraw(
    transaction: &Transaction<'_>,
    batch: i64,
    lost: &LostLeaves,
    at: Time,
) -> Result<(), Failure> {
    let rows = Rows::of(&lost.rows);
    if rows.is_empty() {
        return Ok(());
    }
    let next = lost.withdrawal.state(at);
    let draft = lost.withdrawal.draft(rows.clone(), at);
    change_if(transaction, &rows, &next, draft, |run| {
        run.status == Status::Delivered && run.batch == Some(batch)
    })
}

/// Voids what was recorded in a batch and never delivered.
pub(super) fn void_batch(
    transaction: &Transaction<'_>,
    batch: i64,
    reason: &str,
    at: Time,
) -> Result<u64, Failure> {
    let mut query = transaction.prepare_cached(
        "SELECT first, last FROM run WHERE batch = ? AND status = 'undelivered' ORDER BY first",
    )?;
    let runs = query.query_map([batch], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows = Rows::from_ranges(runs.collect::<Result<Vec<(i64, i64)>, _>>()?);
    if rows.is_empty() {
        return Ok(0);
    }
    let draft = Draft::voided(rows.clone(), reason, at);
    let reason = reason.to_owned();
    change(
        transaction,
        &rows,
        &CertificateState::Voided { at, reason },
        draft,
    )?;
    Ok(rows.count())
}

/// The state of a certificate, if there is one in this row.
pub(super) fn status_of(
    transaction: &Transaction<'_>,
    key: RowKey,
) -> Result<Option<Status>, Failure> {
    let status: Option<String> = transaction
        .prepare_cached(
            "SELECT status FROM run WHERE last >= ?1 AND first <= ?1 ORDER BY first DESC LIMIT 1",
        )?
        .query_row([key.number()], |row| row.get(0))
        .optional()?;
    status.map(|word| row::status(key, &word)).transpose()
}

/// The run of a certificate, as far as the trail is compared with it.
pub(super) struct Whole {
    pub(super) first: RowKey,
    pub(super) last: RowKey,
    pub(super) status: Status,
    pub(super) recorded_in: u64,
    pub(super) changed_in: u64,
}

/// The run of a certificate, if it is in one and in no other.
pub(super) fn whole(transaction: &Transaction<'_>, key: RowKey) -> Result<Option<Whole>, Failure> {
    let mut query = transaction.prepare_cached(
        "SELECT first, last, status, recorded_in, changed_in FROM run
         WHERE first = (SELECT max(first) FROM run WHERE first <= ?1) AND last >= ?1
             AND NOT EXISTS (SELECT 1 FROM run next WHERE next.first > run.first
                 AND next.first <= run.last)",
    )?;
    let mut rows = query.query([key.number()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let word: String = row.get(2)?;
    Ok(Some(Whole {
        first: RowKey::new(row.get(0)?),
        last: RowKey::new(row.get(1)?),
        status: row::status(key, &word)?,
        recorded_in: row::unsigned(row.get(3)?)?,
        changed_in: row::unsigned(row.get(4)?)?,
    }))
}

fn change(
    transaction: &Transaction<'_>,
    rows: &Rows,
    next: &CertificateState,
    draft: Draft,
) -> Result<(), Failure> {
    change_if(transaction, rows, next, draft, |run| run.may_become(next))
}

/// Changes what may be changed, all or none.
fn change_if(
    transaction: &Transaction<'_>,
    rows: &Rows,
    next: &CertificateState,
    draft: Draft,
    may: impl Fn(&Run) -> bool,
) -> Result<(), Failure> {
    let mut parts = Vec::new();
    let mut tally = Tally::default();
    for (first, last) in rows.ranges() {
        let mut missing = first;
        for run in covering(transaction, first, last)? {
            let part = (run.first.max(first), run.last.min(last));
            if !may(&run) {
                let refused = InventoryError::CertificateState {
                    row: RowKey::new(part.0),
                    from: run.status,
                    to: next.status(),
                };
                return Err(refused.into());
            }
            let count = part.1 - part.0 + 1;
            tally.add(run.signed_by, &run.role, run.status, -count);
            tally.add(run.signed_by, &run.role, next.status(), count);
            parts.push(part);
            missing = run.last + 1;
        }
        if missing <= last {
            let row = RowKey::new(missing);
            return Err(InventoryError::CertificateNotFound { row }.into());
        }
    }
    let sequence = row::signed(append(transaction, draft)?.sequence)?;
    for part in parts {
        // Read again: an earlier part may have split its run.
        for run in covering(transaction, part.0, part.1)? {
            run.change(transaction, part, next.status(), sequence)?;
        }
    }
    apply(transaction, tally)
}

/// The runs from the one that holds the row `first` to the one that holds `last`, up to the first
/// row that is in none.
fn covering(transaction: &Transaction<'_>, first: i64, last: i64) -> Result<Vec<Run>, Failure> {
    let mut query = transaction.prepare_cached(
        "SELECT first, last, role, status, signed_by, batch, recorded_in, changed_in,
             CASE WHEN status IN ('voided', 'revoked')
                 THEN (SELECT detail FROM audit WHERE sequence = changed_in) END
         FROM run
         WHERE first >= ifnull((SELECT max(first) FROM run WHERE first <= ?1), ?1) AND first <= ?2
         ORDER BY first",
    )?;
    let mut found = query.query([first, last])?;
    let mut runs = Vec::new();
    let mut missing = first;
    while let Some(row) = found.next()? {
        let run = Run::read(row)?;
        if run.first > missing || run.last < missing {
            break;
        }
        missing = run.last + 1;
        runs.push(run);
    }
    Ok(runs)
}

/// How a transaction changes the counters.
#[derive(Default)]
pub(super) struct Tally(BTreeMap<(i64, String, Status), i64>);

impl Tally {
    pub(super) fn add(
        &mut self,
        signed_by: Option<i64>,
        role: &str,
        status: Status,
        difference: i64,
    ) {
        let key = (signed_by.unwrap_or(0), role.to_owned(), status);
        *self.0.entry(key).or_default() += difference;
    }
}

pub(super) fn apply(transaction: &Transaction<'_>, tally: Tally) -> Result<(), Failure> {
    let mut insert =
        transaction.prepare_cached("INSERT OR IGNORE INTO counter VALUES (?, ?, ?, 0)")?;
    let mut update = transaction.prepare_cached(
        "UPDATE counter SET certificates = certificates + ?
         WHERE signed_by = ? AND role = ? AND status = ?",
    )?;
    for ((signed_by, role, status), difference) in tally.0 {
        insert.execute(params![signed_by, role, status.as_str()])?;
        update.execute(params![difference, signed_by, role, status.as_str()])?;
    }
    Ok(())
}
