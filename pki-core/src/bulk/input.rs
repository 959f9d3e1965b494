//! The input of a batch: a list of devices, or a counter; checked as a whole before anything is made.
//!
//! A list is CSV with a header (`registration_id`, optional `profile` and `validity`; other columns
//! become labels), or one registration ID a line. It is read twice, so that memory does not grow with
//! its length but for 16 octets a device, which find duplicates.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::io::{Chain, Read};

use serde::Serialize;

use crate::ids::{ProfileName, RegistrationId};
use crate::time::Span;

/// One device of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The line it stands in, counted from 1; its place for a counter.
    pub line: u64,
    /// Its registration ID.
    pub id: RegistrationId,
    /// Its profile, where the input names one.
    pub profile: Option<ProfileName>,
    /// How long its leaf is valid, where the input says so.
    pub validity: Option<Span>,
    /// The input's further columns, by their heads; empty values are left out.
    pub labels: Vec<(String, String)>,
}

/// A line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BadLine {
    /// The line, counted from 1.
    pub line: u64,
    /// What stands there.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {:?}: {}", self.line, self.value, self.reason)
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
            parse_id(index + 1, &text).map(|id| Device::new(index + 1, id))
        })
    }
}

impl Device {
    fn new(line: u64, id: RegistrationId) -> Self {
        Self {
            line,
            id,
            profile: None,
            validity: None,
            labels: Vec::new(),
        }
    }
}

/// Reads a list of devices.
pub struct DeviceList<R> {
    records: csv::Reader<Chain<R, &'static [u8]>>,
    columns: Option<Columns>,
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
            record: csv::StringRecord::new(),
        }
    }

    /// Reads the next record that is not blank, and tells the line that it ends in.
    fn read(&mut self) -> Option<Result<u64, BadLine>> {
        loop {
            let read = self.records.read_record(&mut self.record);
            let line = self.records.position().line().saturating_sub(1);
            match read {
                Ok(true) if self.record.iter().all(str::is_empty) && self.record.len() < 2 => {}
                Ok(true) => return Some(Ok(line)),
                Ok(false) => return None,
                Err(error) => {
                    let reason = match error.kind() {
                        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
                        _ => error.to_string(),
                    };
                    return Some(Err(BadLine {
                        line,
                        value: String::new(),
                        reason,
                    }));
                }
            }
        }
    }

    fn header(&self, line: u64) -> Result<Option<Columns>, BadLine> {
        let heads: Vec<String> = self
            .record
            .iter()
            .map(|head| without_mark(head).to_owned())
            .collect();
        if heads.iter().any(|head| head == ID) {
            return Ok(Some(Columns::Named(heads)));
        }
        if heads.len() == 1 {
            return Ok(None);
        }
        let reason = format!("several columns need a header with {ID}");
        Err(BadLine {
            line,
            value: heads.join(","),
            reason,
        })
    }

    fn device(&self, line: u64, columns: &Columns) -> Result<Device, BadLine> {
        let Columns::Named(heads) = columns else {
            let text = self.record.get(0).map(without_mark).unwrap_or_default();
            if self.record.len() > 1 {
                let reason = format!("several columns need a header with {ID}");
                return Err(BadLine {
                    line,
                    value: text.to_owned(),
                    reason,
                });
            }
            return parse_id(line, text).map(|id| Device::new(line, id));
        };
        if self.record.len() != heads.len() {
            let reason = format!(
                "it has {} fields, the header {}",
                self.record.len(),
                heads.len()
            );
            return Err(BadLine {
                line,
                value: self.record.iter().collect::<Vec<_>>().join(","),
                reason,
            });
        }
        let field = |name: &str| {
            let place = heads.iter().position(|head| head == name)?;
            self.record.get(place).filter(|value| !value.is_empty())
        };
        let mut device = Device::new(line, parse_id(line, field(ID).unwrap_or_default())?);
        device.profile = field(PROFILE).map(|text| parse(line, text)).transpose()?;
        device.validity = field(VALIDITY).map(|text| parse(line, text)).transpose()?;
        let others = heads.iter().zip(self.record.iter());
        let others = others.filter(|(head, value)| {
            ![ID, PROFILE, VALIDITY].contains(&head.as_str()) && !value.is_empty()
        });
        device.labels = others
            .map(|(head, value)| (head.clone(), value.to_owned()))
            .collect();
        Ok(device)
    }
}

impl<R: Read> Iterator for DeviceList<R> {
    type Item = Result<Device, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = match self.read()? {
            Ok(line) => line,
            Err(bad) => return Some(Err(bad)),
        };
        if self.columns.is_none() {
            match self.header(line) {
                Ok(Some(columns)) => {
                    self.columns = Some(columns);
                    return self.next();
                }
                Ok(None) => self.columns = Some(Columns::IdsOnly),
                Err(bad) => {
                    self.columns = Some(Columns::IdsOnly);
                    return Some(Err(bad));
                }
            }
        }
        let columns = self.columns.clone()?;
        Some(self.device(line, &columns))
    }
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn parse_id(line: u64, text: &str) -> Result<RegistrationId, BadLine> {
    let id: RegistrationId = parse(line, text)?;
    let length = id.as_str().len();
    if length > RegistrationId::LONGEST_COMMON_NAME {
        let reason = format!("it has {length} characters; a CN holds at most 64");
        return Err(BadLine {
            line,
            value: text.to_owned(),
            reason,
        });
    }
    Ok(id)
}

fn parse<T: std::str::FromStr<Err: fmt::Display>>(line: u64, text: &str) -> Result<T, BadLine> {
    let bad = |error: T::Err| BadLine {
        line,
        value: text.to_owned(),
        reason: error.to_string(),
    };
    text.parse().map_err(bad)
}

/// Goes through the whole input and returns how many devices there are. `devices` begins at the start
/// whenever it is called; a second time only to name duplicates.
///
/// # Errors
/// Every bad line: unreadable, out of the rules, with an unknown profile, or a registration ID that
/// stood there before (without regard to case).
pub fn check<I>(
    devices: impl Fn() -> I,
    profile_is_known: impl Fn(&ProfileName) -> bool,
) -> Result<u64, Vec<BadLine>>
where
    I: Iterator<Item = Result<Device, BadLine>>,
{
    let mut bad = Vec::new();
    let mut seen: Vec<(u128, u64)> = Vec::new();
    for device in devices() {
        match device {
            Err(line) => bad.push(line),
            Ok(device) => {
                let unknown = device
                    .profile
                    .as_ref()
                    .filter(|profile| !profile_is_known(profile));
                if let Some(profile) = unknown {
                    let reason = "pki.toml declares no such profile".to_owned();
                    bad.push(BadLine {
                        line: device.line,
                        value: profile.to_string(),
                        reason,
                    });
                }
                seen.push((digest(&device.id), device.line));
            }
        }
    }
    let count = u64::try_from(seen.len()).unwrap_or(u64::MAX);
    seen.sort_unstable();
    let twice = seen.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    let first_lines: BTreeMap<u64, u64> = twice.map(|pair| (pair[1].1, pair[0].1)).collect();
    bad.extend(duplicates(devices, &first_lines));
    bad.sort_by_key(|line| line.line);
    if bad.is_empty() { Ok(count) } else { Err(bad) }
}

fn duplicates<I>(devices: impl Fn() -> I, first_lines: &BTreeMap<u64, u64>) -> Vec<BadLine>
where
    I: Iterator<Item = Result<Device, BadLine>>,
{
    if first_lines.is_empty() {
        return Vec::new();
    }
    let bad = |device: Device| {
        let first = first_lines.get(&device.line)?;
        let reason = format!("the same registration ID stands in line {first} already");
        Some(BadLine {
            line: device.line,
            value: device.id.to_string(),
            reason,
        })
    };
    devices().filter_map(|device| bad(device.ok()?)).collect()
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
        assert_eq!(first.line, 2);
        assert_eq!(first.validity, Some(Span::from_days(30)));
        assert_eq!(first.labels, [("site".to_owned(), "B".to_owned())]);
        assert!(devices[1].as_ref().expect("good").labels.is_empty());
    }

    #[test]
    fn every_bad_line_is_named_with_number_value_and_reason() {
        let long = "x".repeat(65);
        let text = format!("ok-1\nnot ok\n{long}\nOK-1\nok.\n");
        let bad = check(|| read(&text).into_iter(), |_| true).expect_err("bad");
        let lines: Vec<u64> = bad.iter().map(|line| line.line).collect();
        assert_eq!(lines, [2, 3, 4, 5]);
        assert!(bad[0].to_string().contains("\"not ok\""), "{}", bad[0]);
        assert!(bad[1].reason.contains("65 characters"));
        assert!(bad[2].reason.contains("line 1 already"));
    }

    #[test]
    fn lines_are_counted_as_editors_count_them() {
        let line_of_bad =
            |text: &str| check(|| read(text).into_iter(), |_| true).expect_err("bad")[0].line;
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
