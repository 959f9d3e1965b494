//! TOML through serde, with errors that are facts and name their place.
//!
//! The parser keeps the order of the file (its feature `preserve_order`), so the mistake that is told first is
//! the one that stands first.
//!
//! serde tells what is wrong in a sentence and where as an offset. The sentence repeats the value, which may be a
//! secret, so that it is taken apart here and never shown; the table and the key are looked up by the offset.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::ops::Deref;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{
    DeserializeOwned, Deserializer, Error as _, IntoDeserializer as _, MapAccess, Visitor,
};
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::{DeclarationError, DeclarationProblem, Place, nearest};

/// A parsed text.
pub(super) struct Document<'a> {
    text: &'a str,
    root: Spanned<DeTable<'a>>,
}

/// What is wrong, and at which byte of the text.
#[derive(Debug)]
pub(super) struct Fault {
    at: usize,
    problem: DeclarationProblem,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Field<T> {
    pub(super) value: T,
    at: usize,
}

/// A table: serde would take a list of its values for one as well.
#[derive(Default)]
pub(super) struct Table<T>(pub(super) T);

/// A table with a name of its own, as in `[authority.NAME]`.
pub(super) struct Named<N, T> {
    pub(super) name: Field<N>,
    pub(super) table: T,
}

/// Tables with names of their own, in the order of the file.
pub(super) struct Tables<N, T>(pub(super) Vec<Named<N, T>>);

/// One of a few words.
#[derive(Clone, Copy)]
pub(super) struct Word<T>(pub(super) T);

/// Any value, as JSON.
pub(super) struct Json(pub(super) Value);

impl<'a> Document<'a> {
    /// Parses a text; a file from a Windows editor may begin with a byte-order mark.
    pub(super) fn parse(text: &'a str) -> Result<Self, DeclarationError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match DeTable::parse(text) {
            Ok(root) => Ok(Self { text, root }),
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                let message = error.message().lines().collect::<Vec<_>>().join(", ");
                let problem = DeclarationProblem::Syntax { message };
                let line = line_at(text, offset);
                Err(DeclarationError::new(line, Place::default(), problem))
            }
        }
    }

    /// The text as `T`, which says which keys there are.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, DeclarationError> {
        let read = T::deserialize(toml::de::Deserializer::from(self.root.clone()));
        read.map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let problem = self.problem(error.message(), at);
            self.error(Fault { at, problem })
        })
    }

    /// The error for people: with line, table and key.
    pub(super) fn error(&self, fault: Fault) -> DeclarationError {
        let Fault { at, mut problem } = fault;
        if let DeclarationProblem::Duplicate { line } = &mut problem {
            *line = line_at(self.text, *line);
        }
        let is_of_key = matches!(
            problem,
            DeclarationProblem::UnknownKey { .. } | DeclarationProblem::Type { .. }
        );
        let place = match self.find(at) {
            None => Place::default(),
            Some((path, DeValue::Table(_))) if !is_of_key => Place {
                table: path.join("."),
                key: None,
            },
            Some((mut path, _)) => Place {
                key: path.pop(),
                table: path.join("."),
            },
        };
        DeclarationError::new(line_at(self.text, at), place, problem)
    }

    /// The fact in a sentence of serde's, all of which [`serde::de::Error`] fixes; any other is of a parser of
    /// ours, which repeats no secret.
    fn problem(&self, message: &str, at: usize) -> DeclarationProblem {
        let value = self.find(at).map(|(_, value)| element(value, at));
        let expected = message.rsplit_once(", expected ").map(|(_, words)| words);
        let words = expected.unwrap_or_default();
        if message.starts_with("unknown field ") {
            let (path, _) = self.find(at).unzip();
            let key = path.and_then(|mut path| path.pop()).unwrap_or_default();
            let known = quoted(words);
            let nearest = nearest(&key, &known).cloned();
            return DeclarationProblem::UnknownKey { nearest, known };
        }
        if let Some(key) = message.strip_prefix("missing field ") {
            let key = key.trim_matches('`').to_owned();
            return DeclarationProblem::Missing { key };
        }
        if message.starts_with("invalid type: ") {
            let wanted = in_words(words).to_owned();
            let found = value.map_or("something else", kind);
            return DeclarationProblem::Type { wanted, found };
        }
        let message = match value {
            Some(DeValue::Integer(digits)) if message.starts_with("invalid value: ") => {
                format!("{digits} is not {}", in_words(words))
            }
            Some(DeValue::String(word)) if message.starts_with("unknown variant ") => {
                format!("{word:?} is not one of {}", quoted(words).join(", "))
            }
            _ => message.to_owned(),
        };
        DeclarationProblem::Value { message }
    }

    /// The path of the key, and its value, that begins at this byte or whose value stands there. A table that
    /// has no head of its own stands where its name was first written.
    fn find(&self, at: usize) -> Option<(Vec<String>, &DeValue<'a>)> {
        let root = self.root.get_ref();
        find(root, &|key, _| key.span().start == at)
            .or_else(|| find(root, &|_, value| value.span().contains(&at)))
    }
}

/// The innermost entry for which this is so.
fn find<'t, 'a>(
    table: &'t DeTable<'a>,
    is_it: &dyn Fn(&Spanned<DeString<'a>>, &Spanned<DeValue<'a>>) -> bool,
) -> Option<(Vec<String>, &'t DeValue<'a>)> {
    table.iter().find_map(|(key, value)| {
        let below = match value.get_ref() {
            DeValue::Table(table) => find(table, is_it),
            _ => None,
        };
        let itself = || is_it(key, value).then(|| (Vec::new(), value.get_ref()));
        let (mut path, value) = below.or_else(itself)?;
        path.insert(0, written(key.get_ref()));
        Some((path, value))
    })
}

/// The element of a list that stands at this byte, or the value itself.
fn element<'t, 'a>(value: &'t DeValue<'a>, at: usize) -> &'t DeValue<'a> {
    let elements = value.as_array().into_iter().flatten();
    let mut elements = elements.filter(|element| element.span().contains(&at));
    elements.next().map_or(value, Spanned::get_ref)
}

/// The names between grave accents.
fn quoted(words: &str) -> Vec<String> {
    let names = words.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

/// What a key takes, in the words of a file instead of serde's.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" => "a number from 0 to 255",
        "a nonzero u32" => "a number of requests per minute, 1 or more",
        "a sequence" => "a list",
        _ => expected,
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
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

/// The line of a byte offset, counted from 1.
fn line_at(text: &str, offset: usize) -> usize {
    let before = text.bytes().take(offset);
    1 + before.filter(|byte| *byte == b'\n').count()
}

impl<T> Field<T> {
    /// The error that this value is wrong.
    pub(super) fn error(&self, problem: DeclarationProblem) -> Fault {
        let at = self.at;
        Fault { at, problem }
    }

    /// The error that this value breaks the rules of its kind.
    pub(super) fn invalid(&self, error: impl Display) -> Fault {
        self.error(DeclarationProblem::Value {
            message: error.to_string(),
        })
    }

    /// The error that the same was declared before, as `first`; [`Document::error`] makes a line of its place.
    pub(super) fn duplicate(&self, first: &Self) -> Fault {
        self.error(DeclarationProblem::Duplicate { line: first.at })
    }

    /// The same text, as a value of another kind.
    pub(super) fn reparsed<U: FromStr<Err: Display>>(&self) -> Result<Field<U>, Fault>
    where
        T: Display,
    {
        match self.value.to_string().parse() {
            Ok(value) => Ok(Field { value, at: self.at }),
            Err(error) => Err(self.invalid(error)),
        }
    }
}

impl<T> Deref for Table<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<N, T> Deref for Named<N, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.table
    }
}

impl<N, T> Default for Tables<N, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(Self {
            at: spanned.span().start,
            value: spanned.into_inner(),
        })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneTable<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneTable<T> {
            type Value = Table<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Table<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Table)
            }
        }

        deserializer.deserialize_map(OneTable(PhantomData))
    }
}

impl<'de, N: Deserialize<'de>, T: Deserialize<'de>> Deserialize<'de> for Tables<N, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EachTable<N, T>(PhantomData<(N, T)>);

        impl<'de, N: Deserialize<'de>, T: Deserialize<'de>> Visitor<'de> for EachTable<N, T> {
            type Value = Tables<N, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tables<N, T>, A::Error> {
                let mut tables: Vec<Named<N, T>> = Vec::new();
                while let Some((name, Table(table))) = map.next_entry()? {
                    tables.push(Named { name, table });
                }
                Ok(Tables(tables))
            }
        }

        deserializer.deserialize_map(EachTable(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        T::deserialize(word.into_deserializer()).map(Word)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let problem = "holds a number that JSON cannot hold";
        let value = json(toml::Value::deserialize(deserializer)?);
        value.map(Self).ok_or_else(|| D::Error::custom(problem))
    }
}

fn json(value: toml::Value) -> Option<Value> {
    Some(match value {
        toml::Value::String(text) => Value::from(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::Number(serde_json::Number::from_f64(number)?),
        toml::Value::Boolean(truth) => Value::from(truth),
        toml::Value::Datetime(moment) => Value::from(moment.to_string()),
        toml::Value::Array(elements) => elements.into_iter().map(json).collect::<Option<_>>()?,
        toml::Value::Table(members) => {
            let members = members
                .into_iter()
                .map(|(key, value)| Some((key, json(value)?)));
            Value::Object(members.collect::<Option<_>>()?)
        }
    })
}
