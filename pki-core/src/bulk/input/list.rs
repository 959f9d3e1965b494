//! The form of a list of devices.
//!
//! CSV with a header (`registration_id`, optional `profile`, `validity`, `san` and `csr`; other columns
//! become labels, unless they look like one of these), or one registration ID a line. Every record is judged
//! by itself; what it takes to judge the list as a whole is [`super::check`].

mod form;
mod text;

use std::io::{self, Chain, Read};

pub use self::form::{ListEncoding, ListForm, Separator};
use self::text::Text;
use super::{BadLine, Device, DeviceKey, Place, bad, parse, parse_id};
use crate::alternative_name::AlternativeName;
use crate::inventory::NamedLabel;
use crate::wording::counted;

/// Reads a list of devices, record by record.
pub struct DeviceList<R: Read> {
    records: csv::Reader<Chain<Text<R>, LastLineFeed>>,
    encoding: ListEncoding,
    separator: Separator,
    /// The column of registration IDs, if it has a name of its own.
    id_column: Option<String>,
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

/// The column of registration IDs, unless a person says otherwise.
const ID: &str = "registration_id";
const PROFILE: &str = "profile";
const VALIDITY: &str = "validity";
const ALTERNATIVE_NAMES: &str = "san";
/// The column of signing requests.
pub const REQUEST_COLUMN: &str = "csr";
/// The columns that mean something besides the IDs; all others are labels.
const OPTIONAL: [&str; 4] = [PROFILE, VALIDITY, ALTERNATIVE_NAMES, REQUEST_COLUMN];

/// Whether the values of a column of this name become labels, in a list whose IDs have no other name.
pub fn is_label_column(name: &str) -> bool {
    name != ID && !OPTIONAL.contains(&name)
}

const NOT_UTF_8: &str =
    "it is not UTF-8; of a list from Windows say --encoding windows-1252, or save it as UTF-8";
const LIKE_UTF_16: &str = "it holds null characters; of a list in UTF-16 say --encoding utf-16";

impl<R: Read> DeviceList<R> {
    /// Opens a list. Its separator is found in the header; a byte-order mark, CRLF and lines that end in a
    /// carriage return alone are fine.
    ///
    /// # Errors
    /// If its beginning cannot be read.
    pub fn open(reader: R, form: &ListForm) -> io::Result<Self> {
        let (text, beginning) = Text::open(reader, form.encoding)?;
        let id_column = form.id_column.clone();
        let separator = form.separator.unwrap_or_else(|| {
            Separator::of(&beginning.header, id_column.as_deref().unwrap_or(ID))
        });
        let mut builder = csv::ReaderBuilder::new();
        // Lines are counted by their ends: of a carriage return before it nothing is left by trimming.
        builder.terminator(csv::Terminator::Any(b'\n'));
        builder.delimiter(separator.octet());
        builder.has_headers(false).flexible(true);
        let records = builder.from_reader(text.chain(LastLineFeed::default()));
        Ok(Self {
            records,
            encoding: beginning.encoding,
            separator,
            id_column,
            columns: None,
            ended: false,
            record: csv::StringRecord::new(),
        })
    }

    /// What it is written in.
    pub fn encoding(&self) -> ListEncoding {
        self.encoding
    }

    /// What stands between its columns, as said or found.
    pub fn separator(&self) -> Separator {
        self.separator
    }

    /// The heads of its columns, or none if it is a list of IDs alone. The list is used up.
    pub fn into_heads(mut self) -> Vec<String> {
        let _first = self.next();
        match self.columns {
            Some(Columns::Named(heads)) => heads,
            Some(Columns::IdsOnly) | None => Vec::new(),
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
                Ok(true) => return Some(self.decoded(place)),
                Ok(false) => return None,
                Err(error) => {
                    let reason = match error.kind() {
                        csv::ErrorKind::Utf8 { .. } => NOT_UTF_8.to_owned(),
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

    /// Refuses a record that was not what the list is said to be written in.
    fn decoded(&self, place: Place) -> Result<Place, BadLine> {
        let told = self.record.as_slice();
        match self.encoding {
            ListEncoding::Utf8 if told.contains('\0') => {
                Err(bad(&place, told, LIKE_UTF_16.to_owned()))
            }
            // What the decoder puts where it found nothing that makes sense.
            ListEncoding::Utf16Le | ListEncoding::Utf16Be if told.contains('\u{fffd}') => {
                Err(bad(&place, told, "it is not UTF-16".to_owned()))
            }
            _ => Ok(place),
        }
    }

    fn id_column(&self) -> &str {
        self.id_column.as_deref().unwrap_or(ID)
    }

    fn header(&self, place: &Place) -> Result<Option<Columns>, BadLine> {
        let heads: Vec<String> = self.record.iter().map(ToOwned::to_owned).collect();
        let wrong = |reason| Err(bad(place, &self.record_text(), reason));
        if let Some((head, known)) = misspelt(&heads, self.id_column()) {
            return wrong(format!(
                "the column {head:?} is not known; did you mean {known:?}? a label needs another name"
            ));
        }
        if !heads.iter().any(|head| head == self.id_column()) {
            return match (heads.len(), &self.id_column) {
                (1, None) => Ok(None),
                (1, Some(id)) => wrong(format!("no column is called {id:?}")),
                _ => wrong(self.needs_header()),
            };
        }
        let twice = |(index, head): (usize, &String)| heads[..index].contains(head);
        if let Some(index) = heads.iter().enumerate().position(twice) {
            return wrong(format!("the column {:?} is there twice", heads[index]));
        }
        Ok(Some(Columns::Named(heads)))
    }

    /// The record as it stands in the list, but for quotes.
    fn record_text(&self) -> String {
        let fields: Vec<&str> = self.record.iter().collect();
        fields.join(&char::from(self.separator.octet()).to_string())
    }

    fn needs_header(&self) -> String {
        format!(
            "several columns (separated by {}) need a header with {}; --id-column names another",
            self.separator,
            self.id_column()
        )
    }

    fn device(&self, place: &Place, columns: &Columns) -> Result<Device, BadLine> {
        let Columns::Named(heads) = columns else {
            let text = self.record.get(0).unwrap_or_default();
            if self.record.len() > 1 {
                return Err(bad(place, text, self.needs_header()));
            }
            return parse_id(place, text).map(|id| Device::new(place.clone(), id));
        };
        let fields = self.record.len();
        let wanted = heads.len();
        if fields != wanted {
            let text = self.record_text();
            let reason = format!(
                "it has {} (separated by {}), the header {wanted}",
                counted(fields, "field", "fields"),
                self.separator
            );
            return Err(bad(place, &text, reason));
        }
        let field = |name: &str| {
            let column = heads.iter().position(|head| head == name)?;
            self.record.get(column).filter(|value| !value.is_empty())
        };
        let id = parse_id(place, field(self.id_column()).unwrap_or_default())?;
        let names = field(ALTERNATIVE_NAMES).unwrap_or_default();
        let others = heads.iter().zip(self.record.iter());
        let is_label = |head: &str| head != self.id_column() && !OPTIONAL.contains(&head);
        let labels = others
            .filter(|(head, value)| is_label(head) && !value.is_empty())
            .map(|(head, value)| label(place, head, value));
        Ok(Device {
            profile: field(PROFILE).map(|text| parse(place, text)).transpose()?,
            validity: field(VALIDITY).map(|text| parse(place, text)).transpose()?,
            alternative_names: AlternativeName::list(names)
                .map_err(|error| bad(place, names, error.to_string()))?,
            key: match field(REQUEST_COLUMN) {
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
fn misspelt<'a>(heads: &'a [String], id_column: &'a str) -> Option<(&'a str, &'a str)> {
    let known = || [id_column].into_iter().chain(OPTIONAL);
    let mut unknown = heads.iter().map(String::as_str);
    unknown.find_map(|head| {
        let near = known().find(|known| match heads.len() {
            // What stands alone may be an ID as well, the first of many.
            1 => *known == id_column && distance(head, known) < 2,
            _ => looks_like(head, known),
        })?;
        known().all(|known| known != head).then_some((head, near))
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
