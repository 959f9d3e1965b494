//! The trail, whose entries are proven towards its last one.
//!
//! Each entry is bound to the one before it and to an earlier one, so that a proof takes a number of steps
//! that grows with the logarithm of the trail's length.

use std::collections::BTreeSet;

use rusqlite::{CachedStatement, Params, Row, Transaction};

use super::row::{self, AUDIT_ENTRIES};
use super::trust::refused;
use super::{Failure, read};
use crate::inventory::audit::{AuditEntry, AuditFinding, AuditHash, Links};

/// The entries that are in the index by action and subject; the words of the index, so that it is used.
const INDEXED: &str = "action NOT IN ('certificates-recorded', 'certificates-delivered')";

/// An entry, with the hashes of the two that it is bound to: a proof reads many.
const BOUND_ENTRY: &str =
    "SELECT sequence, at, action, subject, detail, certificates, content, hash,
         (SELECT hash FROM audit WHERE sequence = ?2), (SELECT hash FROM audit WHERE sequence = ?3)
     FROM audit WHERE sequence = ?1";

pub(super) struct Trail<'t> {
    pub(super) transaction: &'t Transaction<'t>,
    bound_entry: CachedStatement<'t>,
    /// Entries whose hash follows from what they say, and from which the last one follows.
    pub(super) proven: BTreeSet<u64>,
}

impl<'t> Trail<'t> {
    pub(super) fn begin(transaction: &'t Transaction<'t>) -> Result<Self, Failure> {
        Ok(Self {
            transaction,
            bound_entry: transaction.prepare_cached(BOUND_ENTRY)?,
            proven: BTreeSet::new(),
        })
    }

    /// The entries in the index that meet a condition, in order.
    pub(super) fn all(
        &mut self,
        condition: &str,
        values: impl Params,
    ) -> Result<Vec<AuditEntry>, Failure> {
        let mut query = self.transaction.prepare_cached(&format!(
            "SELECT sequence FROM audit WHERE {INDEXED} AND {condition} ORDER BY sequence"
        ))?;
        let sequences = query.query_map(values, |row| row.get::<_, i64>(0))?;
        let sequences: Vec<i64> = sequences.collect::<Result<_, _>>()?;
        let mut entries = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            entries.push(self.entry(row::unsigned(sequence)?)?);
        }
        Ok(entries)
    }

    /// An entry.
    pub(super) fn entry(&mut self, wanted: u64) -> Result<AuditEntry, Failure> {
        let mut at = match self.proven.range(wanted..).next() {
            Some(proven) => *proven,
            None => read::audit_head(self.transaction)?.map_or(0, |head| head.sequence),
        };
        if wanted == 0 || wanted > at {
            return Err(missing(wanted, wanted));
        }
        loop {
            let is_new = self.proven.insert(at);
            if is_new || at == wanted {
                let (entry, links) = self.read(at)?;
                if is_new {
                    refuse_changed(&entry, links)?;
                }
                if at == wanted {
                    return Ok(entry);
                }
            }
            let earlier = Links::earlier_than(at);
            at = if earlier >= wanted { earlier } else { at - 1 };
        }
    }

    /// Every entry from one on to the end, each proven to follow the one before. Nothing about anything
    /// can be left out of it.
    pub(super) fn each_from(
        &self,
        first: u64,
        mut tell: impl FnMut(&AuditEntry),
    ) -> Result<(), Failure> {
        let sql = format!("{AUDIT_ENTRIES} WHERE sequence >= ? ORDER BY sequence");
        let mut query = self.transaction.prepare_cached(&sql)?;
        let mut rows = query.query([row::signed(first)?])?;
        let mut next = first;
        let mut previous = self.hash(first.saturating_sub(1))?;
        while let Some(row) = rows.next()? {
            let entry = row::audit_entry(row)?;
            if entry.sequence() != next {
                return Err(missing(next, entry.sequence() - 1));
            }
            let earlier = match Links::earlier_than(next) {
                earlier if earlier + 1 == next => previous,
                earlier => self.hash(earlier)?,
            };
            refuse_changed(&entry, Links { previous, earlier })?;
            tell(&entry);
            previous = entry.hash();
            next += 1;
        }
        Ok(())
    }

    /// An entry, which is not the one of number 0, and what it is bound to.
    fn read(&mut self, sequence: u64) -> Result<(AuditEntry, Links), Failure> {
        let previous = sequence - 1;
        let earlier = Links::earlier_than(sequence);
        let mut rows = self.bound_entry.query([
            row::signed(sequence)?,
            row::signed(previous)?,
            row::signed(earlier)?,
        ])?;
        let row = rows.next()?.ok_or_else(|| missing(sequence, sequence))?;
        let links = Links {
            previous: bound_hash(row, 8, previous)?,
            earlier: bound_hash(row, 9, earlier)?,
        };
        Ok((row::audit_entry(row)?, links))
    }

    /// The hash of an entry, or what stands before the first one.
    fn hash(&self, sequence: u64) -> Result<AuditHash, Failure> {
        match sequence {
            0 => Ok(AuditHash::NONE),
            _ => read::audit_hash(self.transaction, sequence),
        }
    }
}

/// The hash of an entry in a column, or what stands before the first one.
fn bound_hash(row: &Row<'_>, column: usize, sequence: u64) -> Result<AuditHash, Failure> {
    if sequence == 0 {
        return Ok(AuditHash::NONE);
    }
    let octets = row.get_ref(column)?.as_blob_or_null();
    let hash = octets.map_err(rusqlite::Error::from)?.and_then(row::hash);
    Ok(hash.ok_or_else(|| read::no_hash(sequence))?)
}

fn missing(first: u64, last: u64) -> Failure {
    refused(&AuditFinding::EntriesMissing { first, last })
}

fn refuse_changed(entry: &AuditEntry, links: Links) -> Result<(), Failure> {
    if entry.hash_after(links) == entry.hash() {
        return Ok(());
    }
    let sequence = entry.sequence();
    Err(refused(&AuditFinding::EntryChanged { sequence }))
}
