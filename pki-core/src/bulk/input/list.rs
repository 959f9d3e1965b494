//! The form of a list of devices.
//!
//! CSV with a header (`registration_id`, optional `profile`, `validity`, `san` and `csr`; other columns
//! become labels, unless they look like one of these), or one registration ID a line. Every record is judged
//! by itself; what it takes to judge the list as a whole is [`super::check`].

use std::io::{self, Chain, Read};

use super::{BadLine, Device, DeviceKey, Place, bad, parse, parse_id};
use crate::alternative_name::AlternativeName;
use crate::inventory::NamedLabel;

/// Reads a list of devices, record by record.
pub struct DeviceList<R> {
    records: csv::Reader<Chain<R, LastLineFeed>>,
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
        builder.has_headers(false).flexible(true);
        let records = builder.from_reader(reader.chain(LastLineFeed::default()));
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

    /// Reads the next record that is not blank, and tells the line that it begins in.
    fn read(&mut self) -> Option<Result<Place, BadLine>> {
        loop {
            let read = self.records.read_record(&mut self.record);
            let is_open = self.records.get_ref().get_ref().1.is_not_enough;
            let within = self.record.as_slice().matches('\n').count();
            let lines = u64::try_from(within).unwrap_or(u64::MAX);
            let next = self.records.position().line().saturating_sub(lines);
            let place = Place::Line(if is_open {
                next
            } else {
                next.saturating_sub(1)
            });
            self.record.trim();
            match read {
                Ok(true) if is_open => {
                    let last = self.record.iter().next_back().unwrap_or_default();
                    let value = last.lines().next().unwrap_or_default();
                    let reason = "its quote is not closed before the end of the list".to_owned();
                    return Some(Err(bad(&place, value, reason)));
                }
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
        if let Some((head, known)) = misspelt(&heads) {
            return wrong(format!(
                "the column {head:?} is not known; did you mean {known:?}? a label needs another name"
            ));
        }
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

/// The first head that is no known one and looks like one, and that one.
fn misspelt(heads: &[String]) -> Option<(&str, &'static str)> {
    let mut unknown = heads.iter().map(String::as_str);
    unknown.find_map(|head| {
        let known = KNOWN.into_iter().find(|known| match heads.len() {
            // What stands alone may be an ID as well, the first of many.
            1 => *known == ID && distance(head, known) < 2,
            _ => looks_like(head, known),
        })?;
        (!KNOWN.contains(&head)).then_some((head, known))
    })
}

/// Whether a head is meant to be a known one. Of three letters everything is near: `mac` is two from
/// `san`.
fn looks_like(head: &str, known: &str) -> bool {
    let most = if known.len() > 3 { 2 } else { 0 };
    distance(head, known) <= most
}

/// How many letters two names differ in, whatever their case and what stands between their words.
fn distance(one: &str, other: &str) -> usize {
    let letters = |name: &str| {
        let letters = name.chars().filter(|letter| letter.is_alphanumeric());
        letters.collect::<String>().to_lowercase()
    };
    strsim::osa_distance(&letters(one), &letters(other))
}

/// The line feed behind the last line, which many a list lacks. Who reads on behind it is within a quote.
#[derive(Default)]
struct LastLineFeed {
    is_given: bool,
    is_not_enough: bool,
}

impl Read for LastLineFeed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match buffer.first_mut() {
            Some(first) if !self.is_given => {
                *first = b'\n';
                self.is_given = true;
                Ok(1)
            }
            _ => {
                self.is_not_enough = true;
                Ok(0)
            }
        }
    }
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
