//! The upgrade of an inventory whose trail did not bind plans and requests: they are bound as found.

use rusqlite::Transaction;

use super::write::append;
use super::{Failure, journal, read};
use crate::inventory::RowKey;
use crate::inventory::audit::{AsFound, AuditEntry, AuditHash, Draft, FoundPlan, FoundRequests};

/// Appends the entry, unless there is nothing yet.
pub(super) fn bind(transaction: &Transaction<'_>) -> Result<(), Failure> {
    let Some(head) = read::audit_head(transaction)? else {
        return Ok(());
    };
    // No clock is at hand where a file is opened; nothing has happened since the last entry.
    let last = read::audit_entries(transaction, head.sequence - 1, 1)?;
    let Some(at) = last.first().map(AuditEntry::at) else {
        return Ok(());
    };
    let plans = journal::stored_plans(transaction)?;
    let found = AsFound {
        requests: requests(transaction)?,
        plans: plans.iter().map(FoundPlan::of).collect(),
    };
    append(transaction, Draft::bound(&found, at))?;
    Ok(())
}

fn requests(transaction: &Transaction<'_>) -> Result<AuditHash, Failure> {
    let mut query =
        transaction.prepare_cached("SELECT certificate, der FROM request ORDER BY certificate")?;
    let mut rows = query.query([])?;
    let mut found = FoundRequests::default();
    while let Some(row) = rows.next()? {
        let der = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        found.add(RowKey::new(row.get(0)?), AuditHash::of(der));
    }
    Ok(found.finish())
}
