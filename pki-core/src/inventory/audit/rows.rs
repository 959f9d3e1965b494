//! Sets of rows as ranges: a chunk of a thousand certificates is one range.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::inventory::RowKey;

/// A set of rows, kept as ranges. Printed as `1-1000,1003`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows(Vec<(i64, i64)>);

/// A text is no set of rows in its one canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a set of rows")]
pub struct RowsError {
    text: String,
}

impl Rows {
    /// The set of these rows, in any order.
    pub fn of(rows: &[RowKey]) -> Self {
        let mut numbers: Vec<i64> = rows.iter().map(|row| row.number()).collect();
        numbers.sort_unstable();
        Self::from_ranges(numbers.into_iter().map(|number| (number, number)))
    }

    /// The set of the rows in these ranges, which ascend and do not overlap.
    pub(crate) fn from_ranges(ranges: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let mut joined: Vec<(i64, i64)> = Vec::new();
        for (first, last) in ranges {
            match joined.last_mut() {
                Some((_, end)) if first <= *end + 1 => *end = last,
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    /// Whether there is no row in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many rows it has.
    pub fn count(&self) -> u64 {
        self.0
            .iter()
            .map(|(first, last)| last.abs_diff(*first) + 1)
            .sum()
    }

    /// Whether a row is in it.
    pub fn contains(&self, row: RowKey) -> bool {
        let row = row.number();
        let after = self.0.partition_point(|(first, _)| *first <= row);
        let range = after.checked_sub(1).and_then(|place| self.0.get(place));
        range.is_some_and(|(_, last)| row <= *last)
    }

    /// First and last row of each range, ascending.
    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = RowKey> {
        self.ranges()
            .flat_map(|(first, last)| first..=last)
            .map(RowKey::new)
    }

    pub(crate) fn ranges(&self) -> impl Iterator<Item = (i64, i64)> {
        self.0.iter().copied()
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            if first == last {
                write!(f, "{first}")?
            } else {
                write!(f, "{first}-{last}")?
            }
        }
        Ok(())
    }
}

impl FromStr for Rows {
    type Err = RowsError;

    /// Reads what `Display` writes and nothing else, so that one set has one text.
    fn from_str(text: &str) -> Result<Self, RowsError> {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        let ranges: Option<Vec<(i64, i64)>> = match text {
            "" => Some(Vec::new()),
            _ => text.split(',').map(range).collect(),
        };
        let ordered = |ranges: &Vec<(i64, i64)>| {
            ranges
                .iter()
                .all(|(first, last)| *first >= 1 && first <= last)
                && ranges.windows(2).all(|pair| pair[0].1 < pair[1].0 - 1)
        };
        ranges
            .filter(ordered)
            .map(Self)
            .filter(|rows| rows.to_string() == text)
            .ok_or_else(|| RowsError {
                text: text.to_owned(),
            })
    }
}

/// A value for each row, kept by ranges of rows that have the same; the last assignment counts.
#[derive(Debug)]
pub(crate) struct RowMap<T> {
    ranges: BTreeMap<i64, (i64, T)>,
}

impl<T> Default for RowMap<T> {
    fn default() -> Self {
        Self {
            ranges: BTreeMap::new(),
        }
    }
}

impl<T: Copy> RowMap<T> {
    /// Gives all rows of a range a value.
    pub(crate) fn assign(&mut self, first: i64, last: i64, value: T) {
        self.split_before(first);
        self.split_before(last.saturating_add(1));
        let covered: Vec<i64> = self
            .ranges
            .range(first..=last)
            .map(|(start, _)| *start)
            .collect();
        for start in covered {
            self.ranges.remove(&start);
        }
        self.ranges.insert(first, (last, value));
    }

    /// The value of a row.
    pub(crate) fn get(&self, row: i64) -> Option<T> {
        let (_, (last, value)) = self.ranges.range(..=row).next_back()?;
        (row <= *last).then_some(*value)
    }

    /// First and last row of each range, and its value.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(dead_code, reason = "for adapters that keep files")
    )]
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (i64, i64, T)> {
        self.ranges
            .iter()
            .map(|(first, (last, value))| (*first, *last, *value))
    }

    /// Makes `row` the start of its range.
    fn split_before(&mut self, row: i64) {
        let Some((start, (last, value))) = self.ranges.range(..row).next_back() else {
            return;
        };
        let start = *start;
        let last = *last;
        let value = *value;
        if last >= row {
            self.ranges.insert(start, (row - 1, value));
            self.ranges.insert(row, (last, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_one_text() {
        let rows: Vec<RowKey> = [7, 1, 2, 3, 2, 5].into_iter().map(RowKey::new).collect();
        let rows = Rows::of(&rows);
        assert_eq!(rows.to_string(), "1-3,5,7");
        assert_eq!(rows.count(), 5);
        assert_eq!("1-3,5,7".parse(), Ok(rows));
        for bad in ["1-1", "2,1", "1,2", "01", "1-", "0", "1,,2", "x", "-1"] {
            assert!(bad.parse::<Rows>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_assignment_of_a_row_counts() {
        let mut map = RowMap::default();
        let mut plain = [None; 40];
        for (first, last, value) in [
            (1, 30, 'a'),
            (10, 12, 'b'),
            (12, 35, 'c'),
            (1, 1, 'd'),
            (5, 38, 'e'),
            (6, 6, 'f'),
        ] {
            map.assign(first, last, value);
            for row in first..=last {
                plain[usize::try_from(row).expect("small")] = Some(value);
            }
            for (row, value) in (0..).zip(plain) {
                assert_eq!(map.get(row), value, "row {row}");
            }
        }
    }
}
