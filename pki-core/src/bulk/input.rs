//! The input of a batch: a list of devices, or a counter; checked as a whole before anything is made.
//!
//! It is read twice, so that memory does not grow with its length but for 16 octets a device, which find
//! duplicates. The form of a list is [`DeviceList`]'s; a request in it is read and checked elsewhere:
//! [`super::requests`].

mod check;
mod list;

use std::collections::hash_map::DefaultHasher;
use std::fmt::{self, Write as _};
use std::hash::{Hash as _, Hasher as _};

use serde::{Deserialize, Serialize};

pub use self::check::{SoundInput, Tally, check, unknown_profile};
pub use self::list::{
    DeviceList, ListEncoding, ListForm, REQUEST_COLUMN, Separator, is_label_column,
};
use crate::alternative_name::AlternativeName;
use crate::csr::ProvenKey;
use crate::ids::{IdError, LeafName, ProfileName, RegistrationId};
use crate::inventory::{NamedLabel, RowKey};
use crate::key::KeyIdentity;
use crate::time::Span;

/// Where in the input something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// In a line, counted from 1; for a counter, its place.
    Line(u64),
    /// In a file of its own, and maybe there in one of several blocks.
    File(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::File(name) => f.write_str(name),
        }
    }
}

/// Whose key a leaf is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceKey {
    /// One that is made here.
    New,
    /// The device's own; its request is in a file, or stands in the list as PEM, and nobody has checked it.
    Unchecked(String),
    /// The device's own, and it has proved that it holds it.
    Proven(ProvenKey),
}

/// One device of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where it stands.
    pub place: Place,
    /// Its registration ID.
    pub id: LeafName,
    /// Its profile, where the input names one.
    pub profile: Option<ProfileName>,
    /// How long its leaf is valid, where the input says so.
    pub validity: Option<Span>,
    /// The names under which others reach it.
    pub alternative_names: Vec<AlternativeName>,
    /// Whose key its leaf is for.
    pub key: DeviceKey,
    /// The input's further columns, by their heads; empty values are left out.
    pub labels: Vec<(String, String)>,
    /// The leaf that its new one is to follow, which may still be valid.
    pub replaces: Option<RowKey>,
}

/// A line, or a file, that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BadLine {
    /// Which.
    #[serde(flatten)]
    pub place: Place,
    /// What stands there.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            value,
            reason,
        } = self;
        match place {
            Place::Line(_) => write!(f, "{place}: {value:?}: {reason}"),
            Place::File(_) => write!(f, "{place}: {reason}"),
        }
    }
}

/// IDs made from a counter: a prefix and a number, padded with zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// What every ID begins with.
    pub prefix: String,
    /// The first number.
    pub start: u64,
    /// How many.
    pub count: u64,
    /// How many digits each number has, with zeros before it; else as many as the last one needs.
    pub digits: Option<usize>,
}

impl Counter {
    /// The devices, in order.
    pub fn devices(self) -> impl Iterator<Item = Result<Device, BadLine>> + Send {
        let width = self.width();
        (0..self.count).map(move |index| self.device(index, width))
    }

    /// As [`check`]. IDs that differ in digits alone are all sound if one is, so that of most counters
    /// the first and the last device tell.
    pub fn check(&self, refuse: &mut dyn FnMut(BadLine)) -> Option<SoundInput> {
        let last = self.count.saturating_sub(1);
        let width = self.width();
        match (self.device(0, width), self.device(last, width)) {
            (Ok(first), Ok(last)) if self.last().is_some() && self.count > 0 => Some(SoundInput {
                devices: self.count,
                new_keys: self.count,
                ends: Some((first.id, last.id)),
                ..SoundInput::default()
            }),
            _ => check(|| self.clone().devices(), |_| true, refuse),
        }
    }

    /// The last number, if there is one as large.
    pub fn last(&self) -> Option<u64> {
        self.start.checked_add(self.count.saturating_sub(1))
    }

    fn width(&self) -> usize {
        let last = self.last().unwrap_or(u64::MAX);
        self.digits.unwrap_or_else(|| last.to_string().len())
    }

    fn device(&self, index: u64, width: usize) -> Result<Device, BadLine> {
        let prefix = &self.prefix;
        let number = self.start.saturating_add(index);
        let mut text = String::with_capacity(prefix.len() + width);
        // Nothing can fail: a string takes whatever is written.
        let _ = write!(text, "{prefix}{number:0width$}");
        let place = Place::Line(index + 1);
        parse_id(&place, &text).map(|id| Device::new(place, id))
    }
}

impl Device {
    /// A device of which nothing is said but its ID.
    pub fn new(place: Place, id: LeafName) -> Self {
        Self {
            place,
            id,
            profile: None,
            validity: None,
            alternative_names: Vec::new(),
            key: DeviceKey::New,
            labels: Vec::new(),
            replaces: None,
        }
    }

    /// Adds labels to its own.
    pub fn label(&mut self, labels: &[NamedLabel]) {
        let pairs = labels
            .iter()
            .map(|label| (label.name().to_owned(), label.value().to_owned()));
        self.labels.extend(pairs);
    }

    /// Whether its leaf is of another profile or length than those of most.
    pub fn has_own_terms(&self) -> bool {
        self.profile.is_some() || self.validity.is_some()
    }

    /// Whether its leaf differs from those of most in more than ID and key, so that it may be refused
    /// where theirs are not.
    pub fn is_special(&self) -> bool {
        self.has_own_terms() || !self.alternative_names.is_empty()
    }
}

fn bad(place: &Place, value: &str, reason: String) -> BadLine {
    BadLine {
        place: place.clone(),
        value: beginning(value),
        reason,
    }
}

/// As much of a value as it takes to find it: a line may be as long as the input.
pub(super) fn beginning(value: &str) -> String {
    const MOST: usize = 200;
    match value.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

fn parse_id(place: &Place, text: &str) -> Result<LeafName, BadLine> {
    text.parse().map_err(|error| {
        let reason = match error {
            // The line shows the ID.
            IdError::LongerThanCommonName { length, .. } => {
                format!("it has {length} characters; a CN holds at most 64")
            }
            error => error.to_string(),
        };
        bad(place, text, reason)
    })
}

fn parse<T: std::str::FromStr<Err: fmt::Display>>(place: &Place, text: &str) -> Result<T, BadLine> {
    text.parse()
        .map_err(|error: T::Err| bad(place, text, error.to_string()))
}

/// The devices that bring a key, and which key, ordered by key: what [`crate::inventory::Inventory`] is asked
/// who has them.
pub fn brought_keys<'a>(
    devices: impl IntoIterator<Item = &'a Device>,
) -> Vec<(&'a RegistrationId, KeyIdentity)> {
    let brought = devices.into_iter().filter_map(|device| match &device.key {
        DeviceKey::Proven(key) => Some((&*device.id, key.identity())),
        DeviceKey::New | DeviceKey::Unchecked(_) => None,
    });
    let mut keys: Vec<_> = brought.collect();
    keys.sort_unstable_by_key(|(_, key)| *key);
    keys
}

/// 128 bits of an ID without its case: two of a batch of ten million collide once in 10^24 batches. It is
/// the same in every process of one version, and not to be kept.
pub fn digest(id: &RegistrationId) -> u128 {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(seed);
        id.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<Device, BadLine>> {
        let list = DeviceList::open(text.as_bytes(), &ListForm::default());
        list.expect("readable").collect()
    }

    /// What is sound, or every bad line in order.
    fn check<I>(
        devices: impl Fn() -> I,
        known: impl Fn(&ProfileName) -> bool,
    ) -> Result<SoundInput, Vec<BadLine>>
    where
        I: Iterator<Item = Result<Device, BadLine>>,
    {
        let mut bad = Vec::new();
        let checked = super::check(devices, known, &mut |line| bad.push(line));
        bad.sort_by(|one: &BadLine, other| one.place.cmp(&other.place));
        assert_eq!(checked.is_some(), bad.is_empty());
        checked.ok_or(bad)
    }

    fn check_counter(counter: &Counter) -> Result<SoundInput, Vec<BadLine>> {
        let mut bad = Vec::new();
        let checked = counter.check(&mut |line| bad.push(line));
        checked.ok_or(bad)
    }

    #[test]
    fn of_a_value_without_end_the_beginning_is_told() {
        let bad = check(|| read(&"x".repeat(1 << 20)).into_iter(), |_| true).expect_err("bad");
        assert!(
            bad[0].value.chars().count() <= 201,
            "{}",
            bad[0].value.len()
        );
    }

    fn ids(text: &str) -> Vec<String> {
        read(text)
            .into_iter()
            .map(|device| device.expect("good").id.to_string())
            .collect()
    }

    #[test]
    fn a_list_is_ids_or_has_a_header() {
        assert_eq!(ids("a-1\r\na-2\r\n\r\na-3"), ["a-1", "a-2", "a-3"]);
        assert_eq!(ids("\u{feff}registration_id\na-1\n"), ["a-1"]);
        let devices = read("site,registration_id,validity\nB, a-1 ,30d\n,a-2,\n");
        let first = devices[0].as_ref().expect("good");
        assert_eq!(first.place, Place::Line(2));
        assert_eq!(first.validity, Some(Span::from_days(30)));
        assert_eq!(first.labels, [("site".to_owned(), "B".to_owned())]);
        assert!(devices[1].as_ref().expect("good").labels.is_empty());
    }

    #[test]
    fn every_bad_line_is_named_with_number_value_and_reason() {
        let long = "x".repeat(65);
        let text = format!("ok-1\nnot ok\n{long}\nOK-1\nok.\n");
        let bad = check(|| read(&text).into_iter(), |_| true).expect_err("bad");
        let places: Vec<&Place> = bad.iter().map(|line| &line.place).collect();
        let lines = [2, 3, 4, 5].map(Place::Line);
        assert_eq!(places, lines.iter().collect::<Vec<_>>());
        assert!(bad[0].to_string().contains("\"not ok\""), "{}", bad[0]);
        assert!(bad[1].reason.contains("65 characters"));
        assert!(bad[2].reason.contains("line 1 already"));
    }

    #[test]
    fn lines_are_counted_as_editors_count_them() {
        let line_of_bad = |text: &str| {
            let bad = check(|| read(text).into_iter(), |_| true).expect_err("bad");
            match bad[0].place {
                Place::Line(line) => line,
                Place::File(_) => panic!("it has lines"),
            }
        };
        assert_eq!(line_of_bad("registration_id\r\nok-1\r\nb b\r\n"), 3);
        assert_eq!(line_of_bad("registration_id\nok-1\n\n\nb b"), 5);
        assert_eq!(line_of_bad("\r\n\r\nb b\r\n"), 3);
        assert_eq!(line_of_bad("ok-1\nok-1"), 2);
        // A record of several lines is where it begins.
        let list = "registration_id,csr\nok-1,\"a\nb\n\"\n\nb b,\"c\nd\n\"\n";
        assert_eq!(line_of_bad(list), 6);
    }

    #[test]
    fn a_quote_that_is_not_closed_is_told_where_its_record_begins() {
        for end in ["", "\n", "\r\n"] {
            let list = format!("registration_id,site\na-1,\"Ulm\n\"\n\na-2,\"Ulm\na-3,Ulm{end}");
            let read = read(&list);
            assert_eq!(read.len(), 2, "{list:?}");
            let bad = read[1].as_ref().expect_err("not closed");
            assert_eq!(bad.place, Place::Line(5), "{list:?}");
            assert_eq!(bad.value, "Ulm");
            assert!(bad.reason.contains("not closed"), "{bad}");
        }
    }

    /// What is meant as a column of ours must not become a label, or a device.
    #[test]
    fn a_column_that_looks_like_a_known_one_is_refused() {
        let first = |text: &str| read(text).remove(0);
        for (head, meant) in [
            ("valididty", "validity"),
            ("Validity", "validity"),
            ("profiel", "profile"),
            ("SAN", "san"),
            ("CSR", "csr"),
        ] {
            let bad = first(&format!("registration_id,{head}\na-1,x\n")).expect_err(head);
            assert!(bad.reason.contains(&format!("{meant:?}")), "{bad}");
        }
        for head in [
            "registrationId",
            "Registration_ID",
            "registration-id",
            "registraton_id",
        ] {
            for list in [format!("{head}\na-1\n"), format!("{head},site\na-1,Ulm\n")] {
                let bad = first(&list).expect_err(&list);
                assert!(bad.reason.contains("\"registration_id\""), "{bad}");
            }
        }
        for label in ["mac", "sku", "site", "serial", "user", "valid_from"] {
            let device = first(&format!("registration_id,{label}\na-1,x\n")).expect(label);
            assert_eq!(device.labels, [(label.to_owned(), "x".to_owned())]);
        }
        assert_eq!(
            ids("registration-1\nprofile\n"),
            ["registration-1", "profile"]
        );
    }

    #[test]
    fn wrong_fields_and_profiles_are_refused() {
        let reasons = |text: &str| {
            let bad = check(|| read(text).into_iter(), |name| name.as_str() == "device");
            bad.expect_err("bad")
                .into_iter()
                .map(|line| line.reason)
                .collect::<Vec<_>>()
                .join("; ")
        };
        assert!(reasons("a,b\n").contains("need a header"));
        assert!(reasons("registration_id,profile\na-1,gateway\n").contains("no such profile"));
        assert!(reasons("registration_id,validity\na-1,soon\n").contains("not a duration"));
        assert!(
            reasons("registration_id,site\na-1\n")
                .contains("1 field (separated by commas), the header 2")
        );
        assert!(reasons("registration_id,site\n,x\n").contains("is empty"));
    }

    /// What is looked up beforehand is chosen by this: of other terms and known IDs none may be missed.
    #[test]
    fn a_sound_input_is_told_with_its_ends_and_terms() {
        let list = "registration_id,profile,validity\nm,,\nZ,,10d\na,device,\nB,,\n";
        let checked = check(|| read(list).into_iter(), |_| true).expect("sound");
        let ends = ["a", "Z"].map(|id| id.parse().expect(id));
        assert_eq!(checked.ends, Some(ends.into()));
        assert_eq!(
            (checked.devices, checked.new_keys, checked.special),
            (4, 4, 2)
        );
        let nothing = check(|| read("").into_iter(), |_| true).expect("sound");
        assert_eq!(nothing, SoundInput::default());
    }

    /// What follows a wrong header means nothing, so it is not judged.
    #[test]
    fn a_wrong_header_is_told_once() {
        let reasons = |text: &str| {
            let bad = check(|| read(text).into_iter(), |_| true).expect_err("bad");
            bad.into_iter().map(|line| line.reason).collect::<Vec<_>>()
        };
        let wrong = reasons("id,site\na-1,Ulm\nb b,Ulm\n");
        assert_eq!(
            wrong,
            [
                "several columns (separated by commas) need a header with registration_id; --id-column names another"
            ]
        );
        for column in ["registration_id", "site"] {
            let twice = reasons(&format!("registration_id,site,{column}\na-1,Ulm,x\n"));
            assert_eq!(twice, [format!("the column {column:?} is there twice")]);
        }
    }

    #[test]
    fn a_request_may_stand_in_the_list_or_in_a_file() {
        let text = "registration_id,csr,san\na-1,a-1.csr,gw.example ip:192.0.2.7\n\
                    a-2,\"-----BEGIN\nx\",\na-3,,\n";
        let devices: Vec<Device> = read(text).into_iter().map(|d| d.expect("good")).collect();
        let request = |text: &str| DeviceKey::Unchecked(text.to_owned());
        assert_eq!(devices[0].key, request("a-1.csr"));
        assert_eq!(devices[0].alternative_names.len(), 2);
        assert_eq!(devices[1].key, request("-----BEGIN\nx"));
        assert_eq!(devices[2].key, DeviceKey::New);
        assert!(devices[0].labels.is_empty());
        let checked = check(|| read(text).into_iter(), |_| true).expect("good");
        assert_eq!((checked.devices, checked.new_keys), (3, 1));
        let bad = read("registration_id,san\na-1,a_b\n").pop().expect("one");
        assert!(bad.expect_err("bad").reason.contains("no alternative name"));
    }

    #[test]
    fn a_counter_pads_to_the_width_of_its_last_number() {
        let counter = Counter {
            prefix: "line-7-".into(),
            start: 9,
            count: 3,
            digits: None,
        };
        let ids: Vec<String> = counter
            .devices()
            .map(|device| device.expect("id").id.to_string())
            .collect();
        assert_eq!(ids, ["line-7-09", "line-7-10", "line-7-11"]);
    }

    #[test]
    fn a_counter_is_checked_as_its_devices_are() {
        for (prefix, start, count) in [
            ("line-7-", 9, 3),
            ("7", 0, 1),
            ("a-", 1, 0),
            ("b d-", 1, 2),
            ("much-", u64::MAX - 1, 4),
            (&"x".repeat(63), 9, 2),
        ] {
            let prefix = prefix.to_owned();
            let counter = Counter {
                prefix,
                start,
                count,
                digits: None,
            };
            let one_by_one =
                check(|| counter.clone().devices(), |_| true).map(|checked| SoundInput {
                    digests: Vec::new(),
                    ..checked
                });
            assert_eq!(check_counter(&counter), one_by_one, "{counter:?}");
        }
    }
}
