//! A table of records by key, each with an ETag and its dates.

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;

use pki_core::ids::Etag;
use pki_core::time::Time;
use serde::{Deserialize, Serialize};

/// Records by key. Keys that compare without case keep the spelling of the first write.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
#[serde(bound(
    serialize = "K: Serialize, V: Serialize",
    deserialize = "K: Deserialize<'de> + Ord, V: Deserialize<'de>"
))]
pub(crate) struct Table<K, V> {
    records: BTreeMap<K, Record<V>>,
}

/// One record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record<V> {
    pub(crate) value: V,
    pub(crate) etag: Etag,
    pub(crate) created: Time,
    pub(crate) updated: Time,
}

/// What a write expects to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// No record.
    Absent,
    /// A record, whatever its ETag.
    Present,
    /// A record with this ETag.
    Matches(Etag),
}

/// Why a write did not find what it expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Conflict {
    #[error("the record exists")]
    Exists,
    #[error("there is no such record")]
    Missing,
    #[error("the record has another ETag")]
    Stale,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            records: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone, V> Table<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&Record<V>> {
        self.records.get(key)
    }

    /// The key as it was first written.
    pub(crate) fn first_spelling(&self, key: &K) -> Option<&K> {
        self.records.get_key_value(key).map(|(key, _)| key)
    }

    pub(crate) fn iter(&self) -> btree_map::Iter<'_, K, Record<V>> {
        self.records.iter()
    }

    /// The records behind a key, or all of them, in the order of keys.
    pub(crate) fn after(&self, key: Option<&K>) -> impl Iterator<Item = (&K, &Record<V>)> {
        let start = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.records.range::<K, _>((start, Bound::Unbounded))
    }

    /// Whether a write with this precondition would find what it expects.
    pub(crate) fn check(&self, key: &K, precondition: &Precondition) -> Result<(), Conflict> {
        match (precondition, self.records.get(key)) {
            (Precondition::Absent, None) | (Precondition::Present, Some(_)) => Ok(()),
            (Precondition::Absent, Some(_)) => Err(Conflict::Exists),
            (_, None) => Err(Conflict::Missing),
            (Precondition::Matches(etag), Some(record)) if *etag == record.etag => Ok(()),
            (Precondition::Matches(_), Some(_)) => Err(Conflict::Stale),
        }
    }

    pub(crate) fn put(
        &mut self,
        key: K,
        value: V,
        precondition: &Precondition,
        etag: Etag,
        now: Time,
    ) -> Result<(), Conflict> {
        self.check(&key, precondition)?;
        self.put_anyhow(key, value, etag, now);
        Ok(())
    }

    /// Writes a record without a precondition; the date of its creation stays.
    pub(crate) fn put_anyhow(&mut self, key: K, value: V, etag: Etag, now: Time) -> &Record<V> {
        let created = self.records.get(&key).map_or(now, |record| record.created);
        let record = Record {
            value,
            etag,
            created,
            updated: now,
        };
        match self.records.entry(key) {
            btree_map::Entry::Occupied(mut occupied) => {
                occupied.insert(record);
                occupied.into_mut()
            }
            btree_map::Entry::Vacant(vacant) => vacant.insert(record),
        }
    }

    pub(crate) fn remove(&mut self, key: &K, precondition: &Precondition) -> Result<(), Conflict> {
        self.check(key, precondition)?;
        self.records.remove(key);
        Ok(())
    }
}
