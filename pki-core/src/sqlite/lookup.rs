//! Lookups: from the beginning of a thumbprint or serial number to the certificates it may be of.
//!
//! A log-structured index of twelve octets an entry. Each chunk becomes a sorted segment; once
//! [`FAN_OUT`] segments have the same order of magnitude they are merged, with all that are smaller,
//! into one. So an entry is rewritten once for each power of [`FAN_OUT`], always in order, and a key
//! is looked for in at most a few segments of each size.
//! Invariant: the entries of a segment ascend from page to page, and `first` is a page's first.

use rusqlite::{OptionalExtension as _, Transaction};

use super::Failure;
use crate::inventory::{InventoryError, RowKey};

/// How many segments of one size there may be before they are merged: more of them make a lookup of
/// one certificate dearer, fewer make recording every certificate so.
const FAN_OUT: usize = 16;

/// Two rows of so many entries fill a page of the file.
const PAGE_ENTRIES: usize = 330;

const ENTRY_OCTETS: usize = 12;
/// As much of a key as an entry has.
pub(super) const KEY_OCTETS: usize = 7;

/// The beginning of a key, then the number of a certificate, so that entries sort by key.
type Entry = [u8; ENTRY_OCTETS];

/// The entry that leads from a key to a certificate.
pub(super) fn entry(key: &[u8], row: RowKey) -> Entry {
    let mut entry = [0; ENTRY_OCTETS];
    for (to, from) in entry[..KEY_OCTETS].iter_mut().zip(key) {
        *to = *from;
    }
    // Five octets: a thousand certificates a second fill them in 35 years.
    entry[KEY_OCTETS..].copy_from_slice(&row.number().to_be_bytes()[3..]);
    entry
}

/// The least and the greatest entry that a key may have.
fn bounds(key: &[u8]) -> (Entry, Entry) {
    let least = entry(key, RowKey::new(0));
    let mut greatest = least;
    greatest[KEY_OCTETS..].fill(0xff);
    (least, greatest)
}

fn row(entry: &Entry) -> RowKey {
    let mut number = [0; 8];
    number[3..].copy_from_slice(&entry[KEY_OCTETS..]);
    RowKey::new(i64::from_be_bytes(number))
}

/// Adds entries.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    mut entries: Vec<Entry>,
) -> Result<(), Failure> {
    if entries.is_empty() {
        return Ok(());
    }
    entries.sort_unstable();
    let mut writer = Writer::begin(transaction)?;
    writer.write(&entries)?;
    writer.finish()?;
    while let Some(merged) = due(&segments(transaction)?) {
        merge(transaction, &merged)?;
    }
    Ok(())
}

/// The certificates that a key may be of.
pub(super) fn find(transaction: &Transaction<'_>, key: &[u8]) -> Result<Vec<RowKey>, Failure> {
    let mut found = Vec::new();
    find_all(transaction, &[key], |_, row| found.push(row))?;
    Ok(found)
}

/// Tells the certificates that each of many keys may be of, by the key's place among them. Sorted
/// keys share the pages that they are looked for in.
pub(super) fn find_all(
    transaction: &Transaction<'_>,
    keys: &[&[u8]],
    mut found: impl FnMut(usize, RowKey),
) -> Result<(), Failure> {
    if keys.is_empty() {
        return Ok(());
    }
    for segment in segments(transaction)? {
        let mut page = Page::default();
        for (place, key) in keys.iter().enumerate() {
            let (least, greatest) = bounds(key);
            if !page.covers(&least, &greatest) {
                page = Page::with(transaction, segment.id, &least)?;
            }
            loop {
                let matching = page.between(&least, &greatest);
                matching.iter().for_each(|entry| found(place, row(entry)));
                // What begins with the key may go on in the next page.
                if page.0.last().is_none_or(|last| *last >= greatest) {
                    break;
                }
                let next = Page::after(transaction, segment.id, &page)?;
                if next.0.first().is_none_or(|first| *first > greatest) {
                    break;
                }
                page = next;
            }
        }
    }
    Ok(())
}

/// Whether any entry is of a key from `least` to `greatest`, as far as their beginnings tell.
pub(super) fn any_between(
    transaction: &Transaction<'_>,
    least: &[u8],
    greatest: &[u8],
) -> Result<bool, Failure> {
    let (least, _) = bounds(least);
    let (_, greatest) = bounds(greatest);
    for segment in segments(transaction)? {
        let mut page = Page::with(transaction, segment.id, &least)?;
        while let Some(last) = page.0.last() {
            if !page.between(&least, &greatest).is_empty() {
                return Ok(true);
            }
            if *last >= greatest {
                break;
            }
            page = Page::after(transaction, segment.id, &page)?;
        }
    }
    Ok(false)
}

/// Tells every entry, and fails if what is stored is out of order.
pub(super) fn for_each(
    transaction: &Transaction<'_>,
    mut tell: impl FnMut(&Entry),
) -> Result<(), Failure> {
    let damage = || InventoryError::corrupt("the lookups of certificates are out of order");
    let mut strays = transaction.prepare(
        "SELECT 1 FROM lookup_page WHERE segment NOT IN (SELECT id FROM lookup_segment) LIMIT 1",
    )?;
    if strays.exists([])? {
        return Err(damage().into());
    }
    let mut query = transaction
        .prepare("SELECT first, entries FROM lookup_page WHERE segment = ? ORDER BY first")?;
    for segment in segments(transaction)? {
        let mut pages = query.query([segment.id])?;
        let mut last = None;
        let mut count = 0_i64;
        while let Some(page) = pages.next()? {
            let first: Entry = page.get(0)?;
            let entries = Page::read(page.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
            if entries.0.first() != Some(&first) {
                return Err(damage().into());
            }
            for entry in &entries.0 {
                if last.is_some_and(|last| last >= *entry) {
                    return Err(damage().into());
                }
                last = Some(*entry);
                count += 1;
                tell(entry);
            }
        }
        if count != segment.entries {
            return Err(damage().into());
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    id: i64,
    entries: i64,
}

impl Segment {
    /// Its order of magnitude.
    fn magnitude(&self) -> u32 {
        self.entries.max(1).ilog2() / FAN_OUT.ilog2()
    }
}

fn segments(transaction: &Transaction<'_>) -> Result<Vec<Segment>, Failure> {
    let mut query = transaction.prepare_cached("SELECT id, entries FROM lookup_segment")?;
    let segments = query.query_map([], |row| {
        Ok(Segment {
            id: row.get(0)?,
            entries: row.get(1)?,
        })
    })?;
    Ok(segments.collect::<Result<_, _>>()?)
}

/// The segments that are to be merged: those of the largest magnitude that has enough of them, and
/// all smaller ones.
fn due(segments: &[Segment]) -> Option<Vec<Segment>> {
    let of = |magnitude: u32| {
        let same = segments
            .iter()
            .filter(|segment| segment.magnitude() == magnitude);
        same.count()
    };
    let magnitude = segments
        .iter()
        .map(Segment::magnitude)
        .filter(|magnitude| of(*magnitude) >= FAN_OUT)
        .max()?;
    let merged = segments
        .iter()
        .filter(|segment| segment.magnitude() <= magnitude);
    Some(merged.copied().collect())
}

/// Merges segments page by page, so that memory does not grow with them.
fn merge(transaction: &Transaction<'_>, merged: &[Segment]) -> Result<(), Failure> {
    let mut writer = Writer::begin(transaction)?;
    let mut sources = Vec::with_capacity(merged.len());
    for segment in merged {
        sources.push(Source::open(transaction, segment.id)?);
    }
    let mut ready: Vec<Entry> = Vec::new();
    // What is not after the end of any page that is held is complete.
    while let Some(bound) = sources.iter().filter_map(Source::last).min() {
        ready.clear();
        for source in &mut sources {
            ready.extend(source.take_until(&bound));
        }
        // A merge in effect: the standard sort goes by the ordered parts that it finds.
        ready.sort();
        writer.write(&ready)?;
        for source in &mut sources {
            source.refill(transaction)?;
        }
    }
    writer.finish()?;
    let mut pages = transaction.prepare_cached("DELETE FROM lookup_page WHERE segment = ?")?;
    let mut segments = transaction.prepare_cached("DELETE FROM lookup_segment WHERE id = ?")?;
    for segment in merged {
        pages.execute([segment.id])?;
        segments.execute([segment.id])?;
    }
    Ok(())
}

/// A segment that is being read from its beginning.
struct Source {
    segment: i64,
    page: Page,
    taken: usize,
}

impl Source {
    fn open(transaction: &Transaction<'_>, segment: i64) -> Result<Self, Failure> {
        Ok(Self {
            segment,
            page: Page::after(transaction, segment, &Page::default())?,
            taken: 0,
        })
    }

    fn last(&self) -> Option<Entry> {
        self.page.0.last().copied()
    }

    fn take_until(&mut self, bound: &Entry) -> &[Entry] {
        let rest = &self.page.0[self.taken..];
        let ready = &rest[..rest.partition_point(|entry| entry <= bound)];
        self.taken += ready.len();
        ready
    }

    fn refill(&mut self, transaction: &Transaction<'_>) -> Result<(), Failure> {
        if !self.page.0.is_empty() && self.taken == self.page.0.len() {
            self.page = Page::after(transaction, self.segment, &self.page)?;
            self.taken = 0;
        }
        Ok(())
    }
}

/// A segment that is being written.
struct Writer<'t> {
    transaction: &'t Transaction<'t>,
    segment: i64,
    page: Vec<Entry>,
    entries: i64,
}

impl<'t> Writer<'t> {
    fn begin(transaction: &'t Transaction<'t>) -> Result<Self, Failure> {
        let segment = transaction
            .prepare_cached("SELECT ifnull(max(id), 0) + 1 FROM lookup_segment")?
            .query_row([], |row| row.get(0))?;
        Ok(Self {
            transaction,
            segment,
            page: Vec::with_capacity(PAGE_ENTRIES),
            entries: 0,
        })
    }

    fn write(&mut self, mut entries: &[Entry]) -> Result<(), Failure> {
        while !entries.is_empty() {
            let room = PAGE_ENTRIES - self.page.len();
            let (now, later) = entries.split_at(room.min(entries.len()));
            self.page.extend_from_slice(now);
            entries = later;
            if self.page.len() == PAGE_ENTRIES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let Some(first) = self.page.first() else {
            return Ok(());
        };
        self.transaction
            .prepare_cached("INSERT INTO lookup_page VALUES (?, ?, ?)")?
            .execute((self.segment, first, self.page.as_flattened()))?;
        self.entries += i64::try_from(self.page.len()).unwrap_or(i64::MAX);
        self.page.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.flush()?;
        self.transaction
            .prepare_cached("INSERT INTO lookup_segment VALUES (?, ?)")?
            .execute([self.segment, self.entries])?;
        Ok(())
    }
}

/// Entries in order, as one row holds them.
#[derive(Default)]
struct Page(Vec<Entry>);

impl Page {
    fn read(octets: &[u8]) -> Result<Self, Failure> {
        let (entries, rest) = octets.as_chunks();
        if !rest.is_empty() {
            return Err(InventoryError::corrupt("a page of lookups has a broken length").into());
        }
        Ok(Self(entries.to_vec()))
    }

    /// The page of a segment in which an entry is, or would be.
    fn with(transaction: &Transaction<'_>, segment: i64, entry: &Entry) -> Result<Self, Failure> {
        let mut query = transaction.prepare_cached(
            "SELECT entries FROM lookup_page WHERE segment = ?1 AND first >= ifnull(
                 (SELECT max(first) FROM lookup_page WHERE segment = ?1 AND first <= ?2), x'')
             ORDER BY first LIMIT 1",
        )?;
        let page = query.query_row((segment, entry), |row| row.get::<_, Vec<u8>>(0));
        page.optional()?
            .map_or_else(|| Ok(Self::default()), |page| Self::read(&page))
    }

    /// The page of a segment that follows another, or the first one after an empty page.
    fn after(transaction: &Transaction<'_>, segment: i64, page: &Self) -> Result<Self, Failure> {
        let mut query = transaction.prepare_cached(
            "SELECT entries FROM lookup_page WHERE segment = ? AND first > ?
             ORDER BY first LIMIT 1",
        )?;
        let first = page.0.first().map_or(&[][..], |first| first);
        let page = query.query_row((segment, first), |row| row.get::<_, Vec<u8>>(0));
        page.optional()?
            .map_or_else(|| Ok(Self::default()), |page| Self::read(&page))
    }

    /// Whether these entries are in this page if they are anywhere.
    fn covers(&self, least: &Entry, greatest: &Entry) -> bool {
        self.0.first().is_some_and(|first| first <= least)
            && self.0.last().is_some_and(|last| last >= greatest)
    }

    fn between(&self, least: &Entry, greatest: &Entry) -> &[Entry] {
        let start = self.0.partition_point(|entry| entry < least);
        let end = self.0.partition_point(|entry| entry <= greatest);
        &self.0[start..end.max(start)]
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    fn with_lookups(test: impl FnOnce(&Transaction<'_>)) {
        let mut connection = Connection::open_in_memory().expect("opened");
        connection
            .execute_batch(include_str!("../../migrations/sqlite/0001.sql"))
            .expect("schema");
        test(&connection.transaction().expect("begun"));
    }

    /// A key that looks random and is the same each time.
    fn key(number: u64) -> [u8; 8] {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
    }

    fn fill(transaction: &Transaction<'_>, sizes: impl IntoIterator<Item = u64>) -> u64 {
        let mut filled = 0;
        for size in sizes {
            let entries = (filled..filled + size).map(|number| {
                let row = i64::try_from(number + 1).expect("small");
                entry(&key(number), RowKey::new(row))
            });
            insert(transaction, entries.collect()).expect("inserted");
            filled += size;
        }
        filled
    }

    #[test]
    fn every_key_is_found_however_it_was_merged() {
        with_lookups(|transaction| {
            let count = fill(
                transaction,
                [1, 900, 1, 1, 5, 700, 40, 1, 1, 1, 900, 900, 3],
            );
            for number in 0..count {
                let rows = find(transaction, &key(number)).expect("found");
                assert_eq!(
                    rows,
                    [RowKey::new(i64::try_from(number + 1).expect("small"))]
                );
            }
            assert_eq!(find(transaction, &key(count)).expect("looked"), []);
            let mut keys: Vec<[u8; 8]> = (0..count + 500).map(key).collect();
            keys.sort_unstable();
            let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
            let mut found = 0;
            find_all(transaction, &keys, |_, _| found += 1).expect("found");
            assert_eq!(found, count);
            let mut told = 0;
            for_each(transaction, |_| told += 1).expect("in order");
            assert_eq!(told, count);
        });
    }

    #[test]
    fn segments_stay_few() {
        with_lookups(|transaction| {
            fill(transaction, std::iter::repeat_n(7, 1000));
            let segments = segments(transaction).expect("read");
            assert!(segments.len() < 3 * FAN_OUT, "{segments:?}");
            assert_eq!(due(&segments), None);
        });
    }

    /// Many certificates with one key fill more than a page.
    #[test]
    fn a_key_may_span_pages() {
        with_lookups(|transaction| {
            let rows = 1..=1000;
            let same = |row| entry(b"the same key", RowKey::new(row));
            let mut entries: Vec<Entry> = rows.clone().map(same).collect();
            entries.extend((1..=1000).map(|row| entry(b"another", RowKey::new(row))));
            insert(transaction, entries).expect("inserted");
            let found = find(transaction, b"the same key").expect("found");
            let numbers: Vec<i64> = found.iter().map(|row| row.number()).collect();
            assert_eq!(numbers, rows.collect::<Vec<i64>>());
        });
    }

    #[test]
    fn a_range_of_keys_is_searched_whole() {
        with_lookups(|transaction| {
            fill(transaction, [5000]);
            let any = |least: u64, greatest: u64| {
                let least = least.to_be_bytes();
                let greatest = greatest.to_be_bytes();
                any_between(transaction, &least, &greatest).expect("looked")
            };
            let mut keys: Vec<u64> = (0..5000)
                .map(|number| u64::from_be_bytes(key(number)))
                .collect();
            keys.sort_unstable();
            assert!(any(0, u64::MAX) && any(keys[17], keys[17]) && any(0, keys[0]));
            // Entries keep seven octets of a key: keys that differ in the eighth only are one.
            assert!(!any(keys[0] + 0x100, keys[1] - 0x100) && !any(keys[4999] + 0x100, u64::MAX));
            assert!(!any(keys[2500] + 0x100, keys[2501] - 0x100));
        });
    }

    #[test]
    fn disorder_is_noticed() {
        for sql in [
            "UPDATE lookup_page SET first = x'00'",
            "UPDATE lookup_page SET entries = CAST(substr(entries, 13) || substr(entries, 1, 12) AS BLOB)",
            "UPDATE lookup_page SET entries = substr(entries, 1, 24)",
            "UPDATE lookup_page SET entries = substr(entries, 2)",
            "UPDATE lookup_page SET segment = 99",
            "DELETE FROM lookup_segment",
        ] {
            with_lookups(|transaction| {
                fill(transaction, [50]);
                transaction.execute_batch(sql).expect("changed");
                assert!(for_each(transaction, |_| ()).is_err(), "{sql}");
            });
        }
    }
}
