//! The bad lines of an input, told one by one however many there are.
//!
//! People are told the first ones and how many there are, scripts all of them. Only the first are held
//! in memory; the others go through a private file, and only where somebody asks for them.

use std::fs::File;
use std::io::{self, BufRead as _, BufWriter, Write as _};

use pki_core::bulk::input::{BadLine, Place};

use crate::spool::{CopyError, PrivateCopy};

/// How many people are told of; scripts are told of all.
pub(crate) const MOST_TOLD: usize = 100;

/// Bad lines of one kind, in the order of the input.
pub(crate) struct BadLines {
    count: u64,
    first: Vec<BadLine>,
    last: Option<Place>,
    /// All of them, if scripts are to be told.
    all: Option<BufWriter<File>>,
    /// Why not all of them could be kept.
    failed: Option<io::Error>,
}

impl BadLines {
    /// None yet; with `keeps_all`, more than the first can be told of.
    pub(crate) fn new(keeps_all: bool) -> Result<Self, CopyError> {
        let file = keeps_all.then(tempfile::tempfile).transpose();
        Ok(Self {
            count: 0,
            first: Vec::new(),
            last: None,
            all: file.map_err(CopyError)?.map(BufWriter::new),
            failed: None,
        })
    }

    /// Takes the next one.
    pub(crate) fn push(&mut self, line: BadLine) {
        self.count += 1;
        if let (Some(all), None) = (&mut self.all, &self.failed) {
            let kept = serde_json::to_writer(&mut *all, &line).map_err(io::Error::from);
            self.failed = kept.and_then(|()| all.write_all(b"\n")).err();
        }
        self.last = Some(line.place.clone());
        if self.first.len() < MOST_TOLD {
            self.first.push(line);
        }
    }

    /// Whether a line stands behind the last one that was taken.
    pub(crate) fn last_is_before(&self, line: &BadLine) -> bool {
        self.last.as_ref().is_none_or(|last| *last <= line.place)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Whether each stands in a line of a list.
    pub(crate) fn are_lines(&self) -> bool {
        self.first
            .iter()
            .all(|bad| matches!(bad.place, Place::Line(_)))
    }

    fn end(self) -> Result<Ended, CopyError> {
        if let Some(error) = self.failed {
            return Err(CopyError(error));
        }
        let all = self
            .all
            .map(BufWriter::into_inner)
            .transpose()
            .map_err(|error| CopyError(error.into_error()))?;
        Ok(Ended {
            count: self.count,
            first: self.first,
            all: all.map(PrivateCopy::of),
        })
    }
}

struct Ended {
    count: u64,
    first: Vec<BadLine>,
    all: Option<PrivateCopy>,
}

/// Bad lines of two kinds, told in the order of the input.
pub struct ToldLines {
    one: Ended,
    other: Ended,
}

impl ToldLines {
    /// Puts those of two kinds together.
    pub(crate) fn of(one: BadLines, other: BadLines) -> Result<Self, CopyError> {
        Ok(Self {
            one: one.end()?,
            other: other.end()?,
        })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.one.count + self.other.count
    }

    /// The first ones.
    pub(crate) fn first(&self) -> Vec<BadLine> {
        let one = self.one.first.iter().cloned();
        let other = self.other.first.iter().cloned();
        in_order(one, other).take(MOST_TOLD).collect()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Box<dyn Iterator<Item = serde_json::Value> + '_> {
        match (&self.one.all, &self.other.all) {
            (Some(one), Some(other)) => Box::new(in_order(kept(one), kept(other)).map(json)),
            _ => Box::new(self.first().into_iter().map(json)),
        }
    }
}

impl std::fmt::Debug for ToldLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} lines", self.count())
    }
}

fn json(line: BadLine) -> serde_json::Value {
    serde_json::to_value(line).unwrap_or_default()
}

fn kept(copy: &PrivateCopy) -> impl Iterator<Item = BadLine> {
    copy.reader()
        .lines()
        .map_while(|line| serde_json::from_str(&line.ok()?).ok())
}

/// Two sequences that are in order each, as one that is.
fn in_order(
    one: impl Iterator<Item = BadLine>,
    other: impl Iterator<Item = BadLine>,
) -> impl Iterator<Item = BadLine> {
    let mut one = one.peekable();
    let mut other = other.peekable();
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(first), Some(second)) if second.place < first.place => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}
