//! The upgrade of an inventory in which certificates were not found by their public keys.

use rusqlite::Transaction;

use super::{Failure, lookup, row};
use crate::inventory::RowKey;
use crate::key::KeyIdentity;

/// Adds the keys of all certificates to the lookups.
pub(super) fn index(transaction: &Transaction<'_>) -> Result<(), Failure> {
    /// Entries that are held in memory: a megabyte.
    const MOST: usize = 1 << 16;
    let mut query = transaction.prepare("SELECT id, der FROM certificate ORDER BY id")?;
    let mut rows = query.query([])?;
    let mut entries = Vec::new();
    while let Some(found) = rows.next()? {
        let key = RowKey::new(found.get(0)?);
        let der = found.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        let public_key = match KeyIdentity::in_certificate(der) {
            Some(public_key) => public_key,
            None => row::certificate(key, der)?.key_identity(),
        };
        entries.push(lookup::entry(public_key.as_octets(), key));
        if entries.len() == MOST {
            lookup::insert(transaction, std::mem::take(&mut entries))?;
        }
    }
    lookup::insert(transaction, entries)
}
