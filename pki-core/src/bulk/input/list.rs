//! The form of a list of devices.
//!
//! CSV with a header (`registration_id`, optional `profile`, `validity`, `san` and `csr`; other columns
//! become labels), or one registration ID a line. Every record is judged by itself; what it takes to judge
//! the list as a whole is [`super::check`].

use std::io::{Chain, Read};

use super::{BadLine, Device, DeviceKey, Place, bad, parse, parse_id};
use crate::alternative_name::AlternativeName;
use crate::inventory::NamedLabel;

/// Reads a list of devices, record by record.
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
