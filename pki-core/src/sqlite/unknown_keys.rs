//! Keys that were looked for and belong to no certificate, kept in mind until another process writes.
//!
//! A batch looks for all of its keys before it begins. The transaction that records a chunk of it need not
//! look again, because nothing can have changed: SQLite tells whether anybody else has committed since, and
//! what is recorded here is taken off.
//! Invariant: a key that this calls unknown has no certificate in the snapshot of the transaction.

use rusqlite::Transaction;

use super::{Failure, lookup};
use crate::key::KeyIdentity;

#[derive(Debug, Default)]
pub(super) struct UnknownKeys {
    /// What SQLite counts of others' commits, at the moment of the look.
    version: i64,
    /// As much of each key as a lookup compares, sorted: eight octets a key.
    keys: Vec<u64>,
}

impl UnknownKeys {
    /// Those of which no certificate was found within a transaction. They are sorted.
    pub(super) fn found_none(
        transaction: &Transaction<'_>,
        beginnings: &[u128],
    ) -> Result<Self, Failure> {
        let mut keys: Vec<u64> = beginnings
            .iter()
            .map(|beginning| compared(&beginning.to_be_bytes()))
            .collect();
        keys.dedup();
        Ok(Self {
            version: version(transaction)?,
            keys,
        })
    }

    /// Forgets all of them if somebody else has written since.
    pub(super) fn refresh(&mut self, transaction: &Transaction<'_>) -> Result<(), Failure> {
        if !self.keys.is_empty() && self.version != version(transaction)? {
            *self = Self::default();
        }
        Ok(())
    }

    pub(super) fn contain(&self, key: &KeyIdentity) -> bool {
        self.place(key)
            .is_ok_and(|place| self.keys[place] & KNOWN == 0)
    }

    /// Takes note that a certificate of this key is recorded. If that is rolled back, the key is looked for
    /// once more, which does no harm.
    pub(super) fn recorded(&mut self, key: &KeyIdentity) {
        if let Ok(place) = self.place(key) {
            self.keys[place] |= KNOWN;
        }
    }

    fn place(&self, key: &KeyIdentity) -> Result<usize, usize> {
        let key = compared(key.as_octets());
        self.keys.binary_search_by_key(&key, |one| one & !KNOWN)
    }
}

/// Marks a key that has a certificate by now; the keys have less than 64 bits.
const KNOWN: u64 = 1 << 63;

const _: () = assert!(lookup::KEY_OCTETS < size_of::<u64>());

/// What a lookup compares of a key, as a number.
fn compared(key: &[u8]) -> u64 {
    let mut octets = [0; size_of::<u64>()];
    for (to, from) in octets[1..].iter_mut().zip(&key[..lookup::KEY_OCTETS]) {
        *to = *from;
    }
    u64::from_be_bytes(octets)
}

/// It changes when another connection has committed, and only then.
fn version(transaction: &Transaction<'_>) -> Result<i64, rusqlite::Error> {
    transaction.pragma_query_value(None, "data_version", |row| row.get(0))
}
