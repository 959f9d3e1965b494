//! The input of a batch: a list of devices, or a counter; checked as a whole before anything is made.
//!
//! A list is CSV with a header (`registration_id`, optional `profile`, `validity`, `san` and `csr`;
//! other columns become labels), or one registration ID a line. It is read twice, so that memory does
//! not grow with its length but for 32 octets a device, which find duplicates.
//! What stands in the column `csr` is read and checked elsewhere: [`super::requests`].

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::io::{Chain, Read};

use serde::{Deserialize, Serialize};

use crate::alternative_name::AlternativeName;
use crate::csr::ProvenKey;
use crate::ids::{ProfileName, RegistrationId};
use crate::inventory::NamedLabel;
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
    pub id: RegistrationId,
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
}

/// A line, or a file, that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

/// IDs made from a counter: a prefix and a number, padded with zeros to the width of the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// What every ID begins with.
    pub prefix: String,
    /// The first number.
    pub start: u64,
    /// How many.
    pub count: u64,
}

impl Counter {
    /// The devices, in order.
    pub fn devices(self) -> impl Iterator<Item = Result<Device, BadLine>> + Send {
        let last = self.start.saturating_add(self.count.saturating_sub(1));
        let width = last.to_string().len();
        let prefix = self.prefix;
        (0..self.count).map(move |index| {
            let text = format!("{prefix}{:0width$}", self.start.saturating_add(index));
            let place = Place::Line(index + 1);
            parse_id(&place, &text).map(|id| Device::new(place, id))
        })
    }
}

impl Device {
    /// A device of which nothing is said but its ID.
    pub fn new(place: Place, id: RegistrationId) -> Self {
        Self {
            place,
            id,
            profile: None,
            validity: None,
            alternative_names: Vec::new(),
            key: DeviceKey::New,
            labels: Vec::new(),
        }
    }
}

/// Reads a list of devices.
pub struct DeviceList<R> {
    records: csv::Reader<Chain<R, &'static [u8]>>,
    columns: Option<Columns>,
    /// The header is wrong: what follows it means nothing.
    ended: bool,
    record: csv::StringRecord,
}

/// What the header says, or that there is none.
#[derive(Debug, Clone)]
enum Columns {
    /// One registration ID a line.
    IdsOnly,
    /// The heads, in order.
    Named(Vec<String>),
}

const ID: &str = "registration_id";
const PROFILE: &str = "profile";
const VALIDITY: &str = "validity";
const ALTERNATIVE_NAMES: &str = "san";
const REQUEST: &str = "csr";
/// The columns that mean something; all others are labels.
const KNOWN: [&str; 5] = [ID, PROFILE, VALIDITY, ALTERNATIVE_NAMES, REQUEST];

impl<R: Read> DeviceList<R> {
    /// A list in UTF-8; a byte-order mark and CRLF are fine.
    pub fn new(reader: R) -> Self {
        let mut builder = csv::ReaderBuilder::new();
        // Lines are counted by their ends: of a carriage return before it nothing is left by trimming.
        builder.terminator(csv::Terminator::Any(b'\n'));
        builder
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All);
        let ended: &'static [u8] = b"\n";
        let records = builder.from_reader(reader.chain(ended));
        Self {
            records,
            columns: None,
            ended: false,
            record: csv::StringRecord::new(),
        }
    }

    /// Whether it has a column of signing requests. The list is used up.
    pub fn brings_requests(mut self) -> bool {
        let _first = self.next();
        match &self.columns {
            Some(Columns::Named(heads)) => heads.iter().any(|head| head == REQUEST),
            Some(Columns::IdsOnly) | None => false,
        }
    }

    /// Reads the next record that is not blank, and tells the line that it ends in.
    fn read(&mut self) -> Option<Result<Place, BadLine>> {
        loop {
            let read = self.records.read_record(&mut self.record);
            let place = Place::Line(self.records.position().line().saturating_sub(1));
            match read {
                Ok(true) if self.record.iter().all(str::is_empty) && self.record.len() < 2 => {}
                Ok(true) => return Some(Ok(place)),
                Ok(false) => return None,
                Err(error) => {
                    let reason = match error.kind() {
                        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
                        _ => error.to_string(),
                    };
                    return Some(Err(BadLine {
                        place,
                        value: String::new(),
                        reason,
                    }));
                }
            }
        }
    }

    fn header(&self, place: &Place) -> Result<Option<Columns>, BadLine> {
        let heads = self.record.iter().map(without_mark);
        let heads: Vec<String> = heads.map(ToOwned::to_owned).collect();
        let wrong = |reason| Err(bad(place, &heads.join(","), reason));
        if !heads.iter().any(|head| head == ID) {
            return match heads.len() {
                1 => Ok(None),
                _ => wrong(needs_header()),
            };
        }
        let twice = |(index, head): (usize, &String)| heads[..index].contains(head);
        if let Some(index) = heads.iter().enumerate().position(twice) {
            return wrong(format!("the column {:?} is there twice", heads[index]));
        }
        Ok(Some(Columns::Named(heads)))
    }

    fn device(&self, place: &Place, columns: &Columns) -> Result<Device, BadLine> {
        let Columns::Named(heads) = columns else {
            let text = self.record.get(0).map(without_mark).unwrap_or_default();
            if self.record.len() > 1 {
                return Err(bad(place, text, needs_header()));
            }
            return parse_id(place, text).map(|id| Device::new(place.clone(), id));
        };
        let (fields, wanted) = (self.record.len(), heads.len());
        if fields != wanted {
            let text = self.record.iter().collect::<Vec<_>>().join(",");
            let reason = format!("it has {fields} fields, the header {wanted}");
            return Err(bad(place, &text, reason));
        }
        let field = |name: &str| {
            let column = heads.iter().position(|head| head == name)?;
            self.record.get(column).filter(|value| !value.is_empty())
        };
        let id = parse_id(place, field(ID).unwrap_or_default())?;
        let names = field(ALTERNATIVE_NAMES).unwrap_or_default();
        let others = heads.iter().zip(self.record.iter());
        let labels = others
            .filter(|(head, value)| !KNOWN.contains(&head.as_str()) && !value.is_empty())
            .map(|(head, value)| label(place, head, value));
        Ok(Device {
            profile: field(PROFILE).map(|text| parse(place, text)).transpose()?,
            validity: field(VALIDITY).map(|text| parse(place, text)).transpose()?,
            alternative_names: AlternativeName::list(names)
                .map_err(|error| bad(place, names, error.to_string()))?,
            key: match field(REQUEST) {
                Some(text) => DeviceKey::Unchecked(text.to_owned()),
                None => DeviceKey::New,
            },
            labels: labels.collect::<Result<_, _>>()?,
            ..Device::new(place.clone(), id)
        })
    }
}

/// What the inventory would refuse of a label is refused before anything is made.
fn label(place: &Place, head: &str, value: &str) -> Result<(String, String), BadLine> {
    match NamedLabel::new(head, value) {
        Ok(_) => Ok((head.to_owned(), value.to_owned())),
        Err(error) => Err(bad(place, value, error.to_string())),
    }
}

fn needs_header() -> String {
    format!("several columns need a header with {ID}")
}

fn bad(place: &Place, value: &str, reason: String) -> BadLine {
    BadLine {
        place: place.clone(),
        value: value.to_owned(),
        reason,
    }
}

impl<R: Read> Iterator for DeviceList<R> {
    type Item = Result<Device, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let place = match self.read()? {
            Ok(place) => place,
            Err(bad) => return Some(Err(bad)),
        };
        if self.columns.is_none() {
            match self.header(&place) {
                Ok(Some(columns)) => {
                    self.columns = Some(columns);
                    return self.next();
                }
                Ok(None) => self.columns = Some(Columns::IdsOnly),
                Err(bad) => {
                    self.ended = true;
                    return Some(Err(bad));
                }
            }
        }
        let columns = self.columns.clone()?;
        Some(self.device(&place, &columns))
    }
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn parse_id(place: &Place, text: &str) -> Result<RegistrationId, BadLine> {
    let id: RegistrationId = parse(place, text)?;
    let length = id.as_str().len();
    if length > RegistrationId::LONGEST_COMMON_NAME {
        let reason = format!("it has {length} characters; a CN holds at most 64");
        return Err(bad(place, text, reason));
    }
    Ok(id)
}

fn parse<T: std::str::FromStr<Err: fmt::Display>>(place: &Place, text: &str) -> Result<T, BadLine> {
    text.parse()
        .map_err(|error: T::Err| bad(place, text, error.to_string()))
}

/// What an input holds that was found sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// How many devices there are.
    pub devices: u64,
    /// How many of them get a key that is made here.
    pub new_keys: u64,
}

/// Goes through the whole input and says what it holds. `devices` begins at the start whenever it is
/// called; a second time only to name duplicates.
///
/// # Errors
/// Every bad line: unreadable, out of the rules, with an unknown profile, or a registration ID that
/// stood there before (without regard to case).
pub fn check<I>(
    devices: impl Fn() -> I,
    profile_is_known: impl Fn(&ProfileName) -> bool,
) -> Result<Checked, Vec<BadLine>>
where
    I: Iterator<Item = Result<Device, BadLine>>,
{
    let mut wrong = Vec::new();
    let mut seen: Vec<(u128, u64)> = Vec::new();
    let mut new_keys = 0;
    for (index, device) in (0..).zip(devices()) {
        match device {
            Err(line) => wrong.push((index, line)),
            Ok(device) => {
                let unknown = device.profile.as_ref();
                if let Some(profile) = unknown.filter(|profile| !profile_is_known(profile)) {
                    let reason = "pki.toml declares no such profile".to_owned();
                    wrong.push((index, bad(&device.place, profile.as_str(), reason)));
                }
                new_keys += u64::from(device.key == DeviceKey::New);
                seen.push((digest(&device.id), index));
            }
        }
    }
    let count = u64::try_from(seen.len()).unwrap_or(u64::MAX);
    seen.sort_unstable();
    let twice = seen.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    let firsts: BTreeMap<u64, u64> = twice.map(|pair| (pair[1].1, pair[0].1)).collect();
    wrong.extend(duplicates(devices, &firsts));
    wrong.sort_by_key(|(index, _)| *index);
    if wrong.is_empty() {
        return Ok(Checked {
            devices: count,
            new_keys,
        });
    }
    Err(wrong.into_iter().map(|(_, line)| line).collect())
}

/// Names the devices that stood there before, each with its index. `firsts` leads from the index of
/// one to the index of the same ID before it.
fn duplicates<I>(devices: impl Fn() -> I, firsts: &BTreeMap<u64, u64>) -> Vec<(u64, BadLine)>
where
    I: Iterator<Item = Result<Device, BadLine>>,
{
    let (mut found, mut places) = (Vec::new(), HashMap::new());
    if firsts.is_empty() {
        return found;
    }
    let wanted: HashSet<u64> = firsts.values().copied().collect();
    for (index, device) in (0..).zip(devices()) {
        let Ok(device) = device else { continue };
        let first = firsts.get(&index).and_then(|first| places.get(first));
        if let Some(first) = first {
            let reason = format!("the same registration ID stands in {first} already");
            found.push((index, bad(&device.place, device.id.as_str(), reason)));
        }
        if wanted.contains(&index) {
            places.insert(index, device.place);
        }
    }
    found
}

/// 128 bits of an ID without its case: two of a batch of ten million collide once in 10^24 batches.
fn digest(id: &RegistrationId) -> u128 {
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
        DeviceList::new(text.as_bytes()).collect()
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
        assert!(reasons("registration_id,site\na-1\n").contains("1 fields, the header 2"));
        assert!(reasons("registration_id,site\n,x\n").contains("is empty"));
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
            ["several columns need a header with registration_id"]
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
        };
        let ids: Vec<String> = counter
            .devices()
            .map(|device| device.expect("id").id.to_string())
            .collect();
        assert_eq!(ids, ["line-7-09", "line-7-10", "line-7-11"]);
    }
}
