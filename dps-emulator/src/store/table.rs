//! A table of records by key, each with an ETag and its dates.
//!
//! It remembers which records changed, until [`Table::changes`] takes them to where they are kept.

use std::collections::{BTreeMap, btree_map};
use std::fmt::Display;
use std::ops::Bound;
use std::str::FromStr;

use pki_core::ids::Etag;
use pki_core::time::Time;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::keeper::{Changes, RecordKey, Row, StateError};

/// Records by key. Keys that compare without case keep the spelling of the first write.
#[derive(Debug, Clone)]
pub(crate) struct Table<K, V> {
    records: BTreeMap<K, Record<V>>,
    /// Keys of records that were written or removed, spelled as they were then.
    changed: Vec<K>,
    /// How many records were written. The clock counts seconds; this orders the writes within one.
    writes: u32,
}

/// One record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record<V> {
    pub(crate) value: V,
    pub(crate) etag: Etag,
    created: Time,
    updated: Time,
    /// Ten millionths of a second in addition.
    #[serde(default)]
    created_ticks: u32,
    #[serde(default)]
    updated_ticks: u32,
}

impl<V> Record<V> {
    /// When it was made, with up to seven decimals.
    pub(crate) fn created(&self) -> String {
        with_decimals(self.created, self.created_ticks)
    }

    /// When it was last written, with up to seven decimals.
    pub(crate) fn updated(&self) -> String {
        with_decimals(self.updated, self.updated_ticks)
    }

    /// When it was last written, in whole seconds.
    pub(crate) fn updated_at(&self) -> Time {
        self.updated
    }
}

/// A moment as the services write it: seven decimals without the zeros at their end.
pub(crate) fn with_decimals(at: Time, ticks: u32) -> String {
    let seconds = at.to_string();
    if ticks == 0 {
        return seconds;
    }
    let decimals = format!("{ticks:07}");
    format!(
        "{}.{}Z",
        seconds.trim_end_matches('Z'),
        decimals.trim_end_matches('0')
    )
}

/// Ten millionths in a second.
const TICKS: u32 = 10_000_000;

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
            changed: Vec::new(),
            writes: 0,
        }
    }
}

impl<K: Ord + Clone, V> Table<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&Record<V>> {
        self.records.get(key)
    }

    /// A value, to change a part of it that its ETag does not cover.
    pub(crate) fn value_mut(&mut self, key: &K) -> Option<&mut V> {
        let record = self.records.get_mut(key)?;
        self.changed.push(key.clone());
        Some(&mut record.value)
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
        self.writes = (self.writes + 1) % TICKS;
        let present = self.records.get(&key);
        let record = Record {
            value,
            etag,
            created: present.map_or(now, |record| record.created),
            updated: now,
            created_ticks: present.map_or(self.writes, |record| record.created_ticks),
            updated_ticks: self.writes,
        };
        match self.records.entry(key) {
            btree_map::Entry::Occupied(mut occupied) => {
                self.changed.push(occupied.key().clone());
                occupied.insert(record);
                occupied.into_mut()
            }
            btree_map::Entry::Vacant(vacant) => {
                self.changed.push(vacant.key().clone());
                vacant.insert(record)
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K, precondition: &Precondition) -> Result<(), Conflict> {
        self.check(key, precondition)?;
        if let Some((spelled, _)) = self.records.remove_entry(key) {
            self.changed.push(spelled);
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }
}

impl<K: Ord + Clone + Display + FromStr, V: Serialize + DeserializeOwned> Table<K, V> {
    /// What was written and removed, as rows of this space.
    pub(crate) fn changes(&self, space: &str, into: &mut Changes) -> Result<(), StateError> {
        for key in &self.changed {
            let name = key.to_string();
            let value = match self.records.get_key_value(key) {
                // A record that came back under another spelling has another row.
                Some((spelled, record)) if spelled.to_string() == name => {
                    Some(super::text(record)?)
                }
                _ => None,
            };
            let place = RecordKey {
                space: space.to_owned(),
                key: name,
            };
            into.insert(place, value);
        }
        Ok(())
    }

    /// Forgets what changed: it is kept.
    pub(crate) fn settle(&mut self) {
        self.changed.clear();
    }

    /// Takes a kept record back in.
    pub(crate) fn restore(&mut self, row: &Row) -> Result<(), StateError> {
        let key = row.key.parse().map_err(|_| StateError::key(row))?;
        let record: Record<V> = super::read(row)?;
        self.writes = self.writes.max(record.updated_ticks);
        self.records.insert(key, record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_within_one_second_have_moments_of_their_own() {
        let now = Time::from_unix_seconds(1_600_858_711).expect("time");
        let mut table: Table<u8, ()> = Table::default();
        let mut put = |key| {
            let record = table.put_anyhow(key, (), Etag::new("1"), now);
            [record.created(), record.updated()]
        };
        assert_eq!(put(1), ["2020-09-23T10:58:31.0000001Z"; 2]);
        let again = [
            "2020-09-23T10:58:31.0000001Z",
            "2020-09-23T10:58:31.0000002Z",
        ];
        assert_eq!(put(1), again);
        assert_eq!(with_decimals(now, 1_200_000), "2020-09-23T10:58:31.12Z");
    }
}
