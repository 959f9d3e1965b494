//! Reading TOML tables strictly: every value knows its place, and no key goes unread.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{DeclarationError, DeclarationProblem, Place, nearest};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Field<T> {
    pub(super) value: T,
    place: Place,
    line: usize,
}

impl<T> Field<T> {
    /// The error that this value is wrong.
    pub(super) fn error(&self, problem: DeclarationProblem) -> DeclarationError {
        DeclarationError::new(self.line, self.place.clone(), problem)
    }

    /// The error that the same was declared before, as `first`.
    pub(super) fn duplicate(&self, first: &Self) -> DeclarationError {
        self.error(DeclarationProblem::Duplicate { line: first.line })
    }

    /// The same text, as a value of another kind.
    pub(super) fn reparsed<U: FromStr<Err: Display>>(&self) -> Result<Field<U>, DeclarationError>
    where
        T: Display,
    {
        match self.value.to_string().parse() {
            Ok(value) => Ok(self.with(value)),
            Err(error) => Err(self.invalid(error)),
        }
    }

    /// The error that this value breaks the rules of its kind.
    pub(super) fn invalid(&self, error: impl Display) -> DeclarationError {
        self.error(DeclarationProblem::Value {
            message: error.to_string(),
        })
    }

    fn with<U>(&self, value: U) -> Field<U> {
        Field {
            value,
            place: self.place.clone(),
            line: self.line,
        }
    }
}

/// A table whose keys are all known.
pub(super) struct Table<'a> {
    text: &'a str,
    entries: &'a DeTable<'a>,
    known: &'static [&'static str],
    /// The table itself, for errors about what is not in it.
    itself: Field<()>,
}

/// Parses the text; the callback reads the outermost table.
pub(super) fn document<T>(
    text: &str,
    known: &'static [&'static str],
    read: impl FnOnce(Table<'_>) -> Result<T, DeclarationError>,
) -> Result<T, DeclarationError> {
    // A file from a Windows editor may begin with a byte-order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parsed = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        let problem = DeclarationProblem::Syntax { message };
        DeclarationError::new(line_at(text, offset), Place::default(), problem)
    })?;
    let itself = Field {
        value: (),
        place: Place::default(),
        line: 1,
    };
    read(Table::open(text, parsed.get_ref(), known, itself)?)
}

impl<'a> Table<'a> {
    fn open(
        text: &'a str,
        entries: &'a DeTable<'a>,
        known: &'static [&'static str],
        itself: Field<()>,
    ) -> Result<Self, DeclarationError> {
        let table = Self {
            text,
            entries,
            known,
            itself,
        };
        let stranger = table
            .in_order()
            .find(|(key, _)| !known.contains(&key.get_ref().as_ref()));
        match stranger {
            Some((key, _)) => Err(table.place_of(key).error(DeclarationProblem::UnknownKey {
                nearest: nearest(key.get_ref(), known.iter()).copied(),
                known: known.to_vec(),
            })),
            None => Ok(table),
        }
    }

    /// The table's own place.
    pub(super) fn itself(&self) -> Field<()> {
        self.itself.clone()
    }

    /// The error that something is wrong with the table as a whole.
    pub(super) fn error(&self, problem: DeclarationProblem) -> DeclarationError {
        self.itself.error(problem)
    }

    /// The value of a key that must be there.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        value: Option<T>,
    ) -> Result<T, DeclarationError> {
        value.ok_or_else(|| self.error(DeclarationProblem::Missing { key }))
    }

    /// A string, through its kind's parser.
    pub(super) fn text<T: FromStr<Err: Display>>(
        &self,
        key: &'static str,
    ) -> Result<Option<Field<T>>, DeclarationError> {
        let Some((place, value)) = self.value(key) else {
            return Ok(None);
        };
        parsed(&place, value).map(Some)
    }

    /// A string that must be there, through its kind's parser.
    pub(super) fn required_text<T: FromStr<Err: Display>>(
        &self,
        key: &'static str,
    ) -> Result<Field<T>, DeclarationError> {
        self.required(key, self.text(key)?)
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Result<Option<Field<T>>, DeclarationError> {
        let Some((place, value)) = self.value(key) else {
            return Ok(None);
        };
        one_of(&place, value, words).map(Some)
    }

    /// A whole number within `T`.
    pub(super) fn number<T: TryFrom<i64>>(
        &self,
        key: &'static str,
        wanted: &'static str,
    ) -> Result<Option<Field<T>>, DeclarationError> {
        let Some((place, value)) = self.value(key) else {
            return Ok(None);
        };
        let DeValue::Integer(digits) = value.get_ref() else {
            return Err(wrong_type(&place, wanted, value));
        };
        let number = i64::from_str_radix(digits.as_str(), digits.radix()).ok();
        match number.and_then(|number| T::try_from(number).ok()) {
            Some(number) => Ok(Some(place.with(number))),
            None => Err(place.invalid(format!("{digits} is not {wanted}"))),
        }
    }

    /// A list of strings, each through its kind's parser.
    pub(super) fn texts<T: FromStr<Err: Display>>(
        &self,
        key: &'static str,
    ) -> Result<Option<Vec<Field<T>>>, DeclarationError> {
        let Some((place, array)) = self.array(key)? else {
            return Ok(None);
        };
        array
            .iter()
            .map(|value| parsed(&self.at(&place, value), value))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A list of words out of a few.
    pub(super) fn words<T: Copy>(
        &self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Result<Option<Vec<Field<T>>>, DeclarationError> {
        let Some((place, array)) = self.array(key)? else {
            return Ok(None);
        };
        array
            .iter()
            .map(|value| one_of(&self.at(&place, value), value, words))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A table of fixed keys.
    pub(super) fn table(
        &self,
        key: &'static str,
        known: &'static [&'static str],
    ) -> Result<Option<Self>, DeclarationError> {
        let Some((place, value)) = self.value(key) else {
            return Ok(None);
        };
        self.inner(&place, value, known).map(Some)
    }

    /// A table of tables with names of their own, `[key.NAME]`, in the order of the file.
    pub(super) fn named<N: FromStr<Err: Display>>(
        &self,
        key: &'static str,
        known: &'static [&'static str],
    ) -> Result<Vec<(Field<N>, Self)>, DeclarationError> {
        let Some((place, value)) = self.value(key) else {
            return Ok(Vec::new());
        };
        let DeValue::Table(entries) = value.get_ref() else {
            return Err(wrong_type(&place, "a table", value));
        };
        let outer = Self {
            entries,
            known: &[],
            itself: self.name_of_table(&place),
            ..*self
        };
        let one = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let place = outer.place_of(key);
            let inner = outer.inner(&place, value, known)?;
            let name = AsRef::<str>::as_ref(key.get_ref())
                .parse()
                .map_err(|error: N::Err| inner.itself.invalid(error))?;
            Ok((inner.itself.with(name), inner))
        };
        outer.in_order().map(one).collect()
    }

    /// Any value, as JSON.
    pub(super) fn json(&self, key: &'static str) -> Result<Option<Value>, DeclarationError> {
        let Some((place, value)) = self.value(key) else {
            return Ok(None);
        };
        match json(value.get_ref()) {
            Some(json) => Ok(Some(json)),
            None => Err(place.invalid("holds a number that JSON cannot hold")),
        }
    }

    fn value(&self, key: &'static str) -> Option<(Field<()>, &'a Spanned<DeValue<'a>>)> {
        debug_assert!(self.known.contains(&key), "{key} is read but not known");
        let (key, value) = self.entries.get_key_value(key)?;
        Some((self.place_of(key), value))
    }

    fn array(
        &self,
        key: &'static str,
    ) -> Result<Option<(Field<()>, &'a DeArray<'a>)>, DeclarationError> {
        let Some((place, value)) = self.value(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Array(array) => Ok(Some((place, array))),
            _ => Err(wrong_type(&place, "a list", value)),
        }
    }

    fn inner(
        &self,
        place: &Field<()>,
        value: &'a Spanned<DeValue<'a>>,
        known: &'static [&'static str],
    ) -> Result<Self, DeclarationError> {
        match value.get_ref() {
            DeValue::Table(entries) => {
                Self::open(self.text, entries, known, self.name_of_table(place))
            }
            _ => Err(wrong_type(place, "a table", value)),
        }
    }

    /// The place of a key, turned into the place of the table that it names.
    fn name_of_table(&self, place: &Field<()>) -> Field<()> {
        let parts = [Some(place.place.table.as_str()), place.place.key.as_deref()];
        let parts = parts.into_iter().flatten().filter(|part| !part.is_empty());
        Field {
            value: (),
            place: Place {
                table: parts.collect::<Vec<_>>().join("."),
                key: None,
            },
            line: place.line,
        }
    }

    fn place_of<K: AsRef<str>>(&self, key: &Spanned<K>) -> Field<()> {
        Field {
            value: (),
            place: Place {
                table: self.itself.place.table.clone(),
                key: Some(written(key.get_ref().as_ref())),
            },
            line: line_at(self.text, key.span().start),
        }
    }

    /// The place of a list's element, which may stand on a later line.
    fn at(&self, place: &Field<()>, value: &Spanned<DeValue<'_>>) -> Field<()> {
        Field {
            line: line_at(self.text, value.span().start),
            ..place.clone()
        }
    }

    fn in_order(
        &self,
    ) -> impl Iterator<
        Item = (
            &'a Spanned<toml::de::DeString<'a>>,
            &'a Spanned<DeValue<'a>>,
        ),
    > + use<'a> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries.into_iter()
    }
}

fn parsed<T: FromStr<Err: Display>>(
    place: &Field<()>,
    value: &Spanned<DeValue<'_>>,
) -> Result<Field<T>, DeclarationError> {
    let DeValue::String(text) = value.get_ref() else {
        return Err(wrong_type(place, "a string", value));
    };
    match text.parse() {
        Ok(value) => Ok(place.with(value)),
        Err(error) => Err(place.invalid(error)),
    }
}

fn one_of<T: Copy>(
    place: &Field<()>,
    value: &Spanned<DeValue<'_>>,
    words: &[(&'static str, T)],
) -> Result<Field<T>, DeclarationError> {
    let DeValue::String(text) = value.get_ref() else {
        return Err(wrong_type(place, "a string", value));
    };
    if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text.as_ref()) {
        return Ok(place.with(*meaning));
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    Err(place.invalid(format!("{text:?} is not one of {}", known.join(", "))))
}

fn wrong_type(
    place: &Field<()>,
    wanted: &'static str,
    value: &Spanned<DeValue<'_>>,
) -> DeclarationError {
    let found = match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    place.error(DeclarationProblem::Type { wanted, found })
}

/// A key as it must be written: quoted unless it is bare (TOML 1.0, keys).
fn written(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if key.bytes().all(is_bare) && !key.is_empty() {
        key.to_owned()
    } else {
        format!("{key:?}")
    }
}

fn json(value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::String(text) => Some(Value::from(text.as_ref())),
        DeValue::Integer(digits) => {
            let number = i64::from_str_radix(digits.as_str(), digits.radix()).ok();
            number.map(Value::from)
        }
        DeValue::Float(digits) => {
            let number = serde_json::Number::from_f64(digits.as_str().parse().ok()?);
            number.map(Value::Number)
        }
        DeValue::Boolean(truth) => Some(Value::from(*truth)),
        DeValue::Datetime(moment) => Some(Value::from(moment.to_string())),
        DeValue::Array(array) => array.iter().map(|value| json(value.get_ref())).collect(),
        DeValue::Table(table) => {
            let member = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                Some((
                    AsRef::<str>::as_ref(key.get_ref()).to_owned(),
                    json(value.get_ref())?,
                ))
            };
            let members: Option<Map<String, Value>> = table.iter().map(member).collect();
            members.map(Value::Object)
        }
    }
}

/// The line of a byte offset, counted from 1.
fn line_at(text: &str, offset: usize) -> usize {
    let before = text.bytes().take(offset);
    1 + before.filter(|byte| *byte == b'\n').count()
}
