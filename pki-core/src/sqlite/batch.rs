//! Batches: how they begin, advance and end.

use rusqlite::{Params, Transaction, params};

use super::write::{append, signer};
use super::{Failure, read, row, run, trust};
use crate::ids::SerialNumber;
use crate::inventory::audit::Draft;
use crate::inventory::{
    self, BatchProgress, BatchRecord, InventoryError, Label, LostLeaves, NewBatch, RowKey,
};
use crate::time::Time;

/// Opens a batch, or finds the one that goes on.
pub(super) fn open(
    transaction: &Transaction<'_>,
    new: NewBatch,
    at: Time,
) -> Result<BatchRecord, Failure> {
    let with_fingerprint = one(
        transaction,
        "WHERE b.state = 'open' AND b.fingerprint = ?",
        [new.fingerprint],
    )?;
    let with_name = find(transaction, &new.name)?;
    let record = |found: Option<(i64, BatchRecord)>| found.map(|(_, record)| record);
    let with_name = record(with_name);
    trust::batch(transaction, new.name.as_str(), with_name.as_ref())?;
    let resumed = inventory::batch::resumed(&new, record(with_fingerprint), with_name)?;
    if let Some(batch) = resumed {
        trust::batch(transaction, batch.name.as_str(), Some(&batch))?;
        return Ok(batch);
    }
    let signed_by = signer(transaction, &new.signed_by)?;
    let batch = BatchRecord::begin(new, at);
    transaction
        .prepare_cached(
            "INSERT INTO batch (name, signed_by, fingerprint, total, delivered, output_octets,
                 output, format, state, started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            batch.name.as_str(),
            signed_by,
            batch.fingerprint,
            row::signed(batch.total)?,
            row::signed(batch.delivered)?,
            row::signed(batch.output_octets)?,
            batch.output,
            batch.format,
            batch.state.as_str(),
            at.unix_seconds(),
        ])?;
    append(transaction, Draft::batch_opened(&batch, at))?;
    Ok(batch)
}

/// Takes note of how far a batch has got; the entry that delivers its chunk says so too.
pub(super) fn advance(
    transaction: &Transaction<'_>,
    progress: &BatchProgress,
) -> Result<(), Failure> {
    let (id, mut batch) = known(transaction, &progress.batch)?;
    batch.advance(progress)?;
    transaction
        .prepare_cached("UPDATE batch SET delivered = ?, output_octets = ? WHERE id = ?")?
        .execute([
            row::signed(batch.delivered)?,
            row::signed(batch.output_octets)?,
            id,
        ])?;
    Ok(())
}

/// Opens a batch anew that was lost.
pub(super) fn replace(
    transaction: &Transaction<'_>,
    new: NewBatch,
    lost: &[LostLeaves],
    at: Time,
) -> Result<BatchRecord, Failure> {
    let signed_by = signer(transaction, &new.signed_by)?;
    let (id, mut batch) = known(transaction, &new.name)?;
    trust::batch(transaction, batch.name.as_str(), Some(&batch))?;
    batch.replace(new, at)?;
    for leaves in lost {
        run::withdraw(transaction, id, leaves, at)?;
    }
    transaction.execute(
        "UPDATE batch SET signed_by = ?, fingerprint = ?, total = ?, delivered = 0,
             output_octets = 0, output = ?, format = ?, state = ?, started_at = ?,
             completed_at = NULL, manifest = NULL WHERE id = ?",
        params![
            signed_by,
            batch.fingerprint,
            row::signed(batch.total)?,
            batch.output,
            batch.format,
            batch.state.as_str(),
            at.unix_seconds(),
            id,
        ],
    )?;
    append(
        transaction,
        Draft::batch_replaced(&batch, LostLeaves::all(lost), at),
    )?;
    Ok(batch)
}

/// Completes a batch.
pub(super) fn complete(
    transaction: &Transaction<'_>,
    name: &Label,
    manifest: &str,
    at: Time,
) -> Result<BatchRecord, Failure> {
    let (id, mut batch) = known(transaction, name)?;
    trust::batch(transaction, name.as_str(), Some(&batch))?;
    batch.complete(manifest, at)?;
    transaction.execute(
        "UPDATE batch SET state = ?, completed_at = ?, manifest = ? WHERE id = ?",
        params![batch.state.as_str(), at.unix_seconds(), manifest, id],
    )?;
    append(transaction, Draft::batch_completed(&batch, manifest, at))?;
    Ok(batch)
}

/// Voids what was recorded in a batch and never delivered.
pub(super) fn void_undelivered(
    transaction: &Transaction<'_>,
    name: &Label,
    reason: &str,
    at: Time,
) -> Result<u64, Failure> {
    let (id, _) = known(transaction, name)?;
    run::void_batch(transaction, id, reason, at)
}

/// The batch of this name, if there is one.
pub(super) fn find(
    transaction: &Transaction<'_>,
    name: &Label,
) -> Result<Option<(i64, BatchRecord)>, Failure> {
    one(transaction, "WHERE b.name = ?", [name.as_str()])
}

/// The batch of this name, which there must be.
pub(super) fn known(
    transaction: &Transaction<'_>,
    name: &Label,
) -> Result<(i64, BatchRecord), Failure> {
    let missing = || InventoryError::BatchNotFound {
        batch: name.clone(),
    };
    Ok(find(transaction, name)?.ok_or_else(missing)?)
}

/// The serial numbers of the first and of the last certificate that a batch has delivered.
pub(super) fn ends(
    transaction: &Transaction<'_>,
    name: &Label,
) -> Result<Option<(SerialNumber, SerialNumber)>, Failure> {
    let mut query = transaction.prepare_cached(
        "SELECT min(r.first), max(r.last) FROM run r JOIN batch b ON b.id = r.batch
         WHERE b.name = ? AND r.status = 'delivered'",
    )?;
    let (first, last): (Option<i64>, Option<i64>) =
        query.query_row([name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some((first, last)) = first.zip(last) else {
        return Ok(None);
    };
    let serial = |id| {
        let certificate = read::der(transaction, RowKey::new(id))?;
        Ok::<_, Failure>(certificate.serial_number().clone())
    };
    Ok(Some((serial(first)?, serial(last)?)))
}

/// The batches in the order in which they were opened.
pub(super) fn list(
    transaction: &Transaction<'_>,
    after: Option<&Label>,
    limit: usize,
) -> Result<Vec<BatchRecord>, Failure> {
    let after = match after {
        Some(name) => known(transaction, name)?.0,
        None => 0,
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = format!("{} WHERE b.id > ? ORDER BY b.id LIMIT ?", row::BATCHES);
    let mut query = transaction.prepare_cached(&sql)?;
    let mut rows = query.query([after, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(row::batch(row)?.1);
    }
    Ok(found)
}

fn one(
    transaction: &Transaction<'_>,
    condition: &str,
    values: impl Params,
) -> Result<Option<(i64, BatchRecord)>, Failure> {
    let mut query = transaction.prepare_cached(&format!("{} {condition}", row::BATCHES))?;
    let mut rows = query.query(values)?;
    rows.next()?.map(row::batch).transpose()
}
