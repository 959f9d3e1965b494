//! What can be asked of the inventory: filters, pages and counts.
//!
//! Pages go on after a key, never after a number of rows, and counts are kept, never counted: both
//! must stay fast at ten million certificates.

use std::fmt;
use std::str::FromStr;

use super::record::check_line;
use super::{InventoryEntry, Label, NamedLabel, RowKey, Status, TextError};
use crate::ids::{AuthorityGeneration, AuthorityName, Generation, RegistrationId};
use crate::profile::Role;
use crate::time::Time;

/// Which certificates a list holds: those that meet every condition that is given.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Signed by this authority, any generation of it.
    pub authority: Option<AuthorityName>,
    /// Signed by the generation of this number.
    pub generation: Option<Generation>,
    /// In this state.
    pub status: Option<Status>,
    /// For this purpose.
    pub role: Option<Role>,
    /// Whose `notAfter` is this moment or later.
    pub expiring_from: Option<Time>,
    /// Whose `notAfter` is before this moment.
    pub expiring_before: Option<Time>,
    /// Whose registration ID fits.
    pub registration_id: Option<IdPattern>,
    /// Issued in this batch.
    pub batch: Option<Label>,
    /// With this label.
    pub label: Option<NamedLabel>,
}

/// By what a list is ordered; it follows from the filter, so that an index can serve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// As recorded.
    Row,
    /// By the end of validity, then as recorded.
    NotAfter,
    /// By registration ID without case, then as recorded.
    RegistrationId,
}

impl Filter {
    /// The order of its list: by registration ID if the pattern begins with fixed characters, by
    /// `notAfter` if that is bounded, else as recorded.
    pub(crate) fn order(&self) -> Order {
        let prefixed = self
            .registration_id
            .as_ref()
            .is_some_and(|pattern| !pattern.prefix().is_empty());
        if prefixed {
            Order::RegistrationId
        } else if self.expiring_from.is_some() || self.expiring_before.is_some() {
            Order::NotAfter
        } else {
            Order::Row
        }
    }

    /// Whether an entry meets it.
    pub fn matches(&self, entry: &InventoryEntry) -> bool {
        let recorded = &entry.recorded;
        let not_after = recorded.certificate().validity().not_after();
        let signed_by = recorded.signed_by();
        let fits = |pattern: &IdPattern| {
            recorded
                .registration_id()
                .is_some_and(|id| pattern.matches(id))
        };
        holds(&self.authority, |name| {
            signed_by.is_some_and(|by| by.name == *name)
        }) && holds(&self.generation, |number| {
            signed_by.is_some_and(|by| by.generation == *number)
        }) && holds(&self.status, |status| entry.state.status() == *status)
            && holds(&self.role, |role| recorded.role() == *role)
            && holds(&self.expiring_from, |from| not_after >= *from)
            && holds(&self.expiring_before, |before| not_after < *before)
            && holds(&self.registration_id, fits)
            && holds(&self.batch, |batch| recorded.batch() == Some(batch))
            && holds(&self.label, |label| recorded.labels().contains(label))
    }
}

fn holds<T>(condition: &Option<T>, test: impl Fn(&T) -> bool) -> bool {
    condition.as_ref().is_none_or(test)
}

/// A pattern of registration IDs, compared without case: `*` stands for any characters, `?` for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPattern(String);

impl IdPattern {
    /// The pattern in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The fixed characters that it begins with, in lower case.
    pub fn prefix(&self) -> &str {
        self.0.split(['*', '?']).next().unwrap_or_default()
    }

    /// Whether a registration ID fits.
    pub fn matches(&self, id: &RegistrationId) -> bool {
        glob(self.0.as_bytes(), id.folded().as_bytes())
    }
}

/// Goes back to the last `*` where the text does not fit, and lets it take one more character.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let mut p = 0;
    let mut t = 0;
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') => (p, t) = (p + 1, t + 1),
            Some(byte) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((at, taken)) = star else {
                    return false;
                };
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

impl FromStr for IdPattern {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        const WHAT: &str = "registration ID pattern";
        check_line(WHAT, text, 128)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:*?".contains(c);
        match text.chars().find(|character| !allowed(*character)) {
            Some(character) => Err(TextError::Character {
                what: WHAT,
                character,
            }),
            None => Ok(Self(text.to_ascii_lowercase())),
        }
    }
}

impl fmt::Display for IdPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Where a page ended: what the next one goes on after. It belongs to the filter it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageKey {
    pub(crate) row: RowKey,
    pub(crate) not_after: Time,
    pub(crate) registration_id: String,
}

impl PageKey {
    /// What an order compares, the row last.
    #[cfg(feature = "testing")]
    pub(crate) fn in_order(self, order: Order) -> (Option<Time>, Option<String>, RowKey) {
        match order {
            Order::Row => (None, None, self.row),
            Order::NotAfter => (Some(self.not_after), None, self.row),
            Order::RegistrationId => (None, Some(self.registration_id), self.row),
        }
    }

    /// The key of a row in a list that is in the order of rows.
    pub(super) fn after_row(row: RowKey) -> Self {
        Self {
            row,
            not_after: Time::FOREVER,
            registration_id: String::new(),
        }
    }

    /// The key of an entry, whatever the order: a page may go on after any entry of its list.
    pub fn of(entry: &InventoryEntry) -> Self {
        let recorded = &entry.recorded;
        Self {
            row: recorded.row(),
            not_after: recorded.certificate().validity().not_after(),
            registration_id: recorded
                .registration_id()
                .map(RegistrationId::folded)
                .unwrap_or_default(),
        }
    }
}

/// A part of the list of the devices below a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPage {
    /// The registration IDs, one for each leaf; fewer than asked for may be no end.
    pub ids: Vec<RegistrationId>,
    /// What the next page goes on after; `None` when this is the last one.
    pub next: Option<RowKey>,
}

/// A part of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// The entries, in the order of the filter.
    pub entries: Vec<InventoryEntry>,
    /// What the next page goes on after; `None` when this is the last one.
    pub next: Option<PageKey>,
}

impl Page {
    /// Makes a page of what was read with one entry more than `limit` asked for.
    pub(crate) fn cut(mut entries: Vec<InventoryEntry>, limit: usize) -> Self {
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(PageKey::of);
        Self { entries, next }
    }
}

/// How many certificates there are, by who signed them, for what, and in which state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// The counts that are not zero, ordered by signer, role and state.
    pub counts: Vec<Count>,
}

/// How many certificates have these three in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// Who signed them; `None` for those signed outside of this home.
    pub signed_by: Option<AuthorityGeneration>,
    /// What they are for.
    pub role: Role,
    /// What became of them.
    pub status: Status,
    /// How many they are.
    pub certificates: u64,
}

impl Stats {
    /// The counts in their order, those of zero left out.
    pub(crate) fn from_counts(counts: impl IntoIterator<Item = Count>) -> Self {
        let mut counts: Vec<Count> = counts
            .into_iter()
            .filter(|count| count.certificates > 0)
            .collect();
        counts.sort_by(|left, right| left.key().cmp(&right.key()));
        Self { counts }
    }

    /// All certificates.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|count| count.certificates).sum()
    }

    /// The certificates in one state.
    pub fn with_status(&self, status: Status) -> u64 {
        self.counts
            .iter()
            .filter(|count| count.status == status)
            .map(|count| count.certificates)
            .sum()
    }
}

impl Count {
    fn key(&self) -> (Option<&AuthorityGeneration>, &'static str, Status) {
        (self.signed_by.as_ref(), self.role.as_str(), self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_without_case() {
        for (pattern, id, fits) in [
            ("line-7:*", "Line-7:0042", true),
            ("line-7:*", "line-8:0042", false),
            ("*42", "line-7:0042", true),
            ("l?ne-*:*4?", "line-7:0042", true),
            ("line", "line-7", false),
            ("*", "x", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*d", "a-b-b-c", false),
        ] {
            let pattern: IdPattern = pattern.parse().expect(pattern);
            let id: RegistrationId = id.parse().expect(id);
            assert_eq!(pattern.matches(&id), fits, "{pattern} {id}");
        }
    }

    /// What a registration ID cannot hold, a pattern need not; `[` means something to SQLite's GLOB.
    #[test]
    fn patterns_hold_what_ids_hold() {
        for bad in ["", "[a-z]", "a b", "gerät"] {
            assert!(bad.parse::<IdPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_order_follows_from_the_filter() {
        let pattern = |text: &str| Some(text.parse().expect("pattern"));
        let mut filter = Filter::default();
        assert_eq!(filter.order(), Order::Row);
        filter.expiring_before = Some(Time::FOREVER);
        assert_eq!(filter.order(), Order::NotAfter);
        filter.registration_id = pattern("*7");
        assert_eq!(filter.order(), Order::NotAfter);
        filter.registration_id = pattern("line-*");
        assert_eq!(filter.order(), Order::RegistrationId);
    }
}
