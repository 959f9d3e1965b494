//! Text from outside, shown on a terminal: names of files, of certificates, of what DPS holds.
//!
//! A terminal obeys what it is shown. Whatever is not meant to be seen is shown as what it is:
//! `\u{1b}` for an escape.
//! A secret age identity that was given where another word belongs is not repeated.
//! Invariant: everything for people goes through here; [`super::ui`] is where it comes by.

use std::borrow::Cow;
use std::fmt;
use std::io;

use serde_json::ser::Formatter;

/// A text that has one line, however it was meant: what would begin another is shown as what it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outside<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Outside<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&line(&self.0.to_string()))
    }
}

/// A text as one line.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    shown(text, is_obeyed)
}

/// A text whose lines are ours.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    shown(text, |character| {
        !matches!(character, '\n' | '\t') && is_obeyed(character)
    })
}

/// Whether a terminal does something for a character instead of showing it: control characters, and
/// those that turn the direction of the text around or begin a line.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// What a secret age identity begins with, as it may be written.
const IDENTITY: [&str; 2] = ["AGE-SECRET-KEY-", "age-secret-key-"];

/// Shorter ones are examples.
const SHORTEST: usize = 16;

/// A text without the secrets that somebody gave where another word belongs.
fn redacted(text: &str) -> Cow<'_, str> {
    let mut rest = text;
    let mut told = String::new();
    while let Some((at, beginning)) = first_identity(rest) {
        let (before, after) = rest.split_at(at + beginning.len());
        rest = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '-');
        let secret = &after[..after.len() - rest.len()];
        told.push_str(before);
        told.push_str(if secret.len() < SHORTEST {
            secret
        } else {
            "[redacted]"
        });
    }
    if told.is_empty() {
        return Cow::Borrowed(text);
    }
    told.push_str(rest);
    Cow::Owned(told)
}

fn first_identity(text: &str) -> Option<(usize, &'static str)> {
    let found = IDENTITY.iter().filter_map(|beginning| {
        let at = text.find(beginning)?;
        Some((at, *beginning))
    });
    found.min()
}

fn shown(text: &str, is_hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    match redacted(text) {
        Cow::Borrowed(text) => visible(text, is_hidden),
        Cow::Owned(text) => Cow::Owned(visible(&text, is_hidden).into_owned()),
    }
}

fn visible(text: &str, is_hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut visible = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' if is_hidden(character) => {
                visible.extend(character.escape_default())
            }
            _ if is_hidden(character) => visible.extend(character.escape_unicode()),
            _ => visible.push(character),
        }
    }
    Cow::Owned(visible)
}

/// JSON whose strings hold none of these as they are: JSON itself asks for that only up to U+001F.
pub(crate) struct Plain<F>(pub(crate) F);

impl<F: Formatter> Formatter for Plain<F> {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let told = redacted(fragment);
        let mut rest = &*told;
        while let Some((before, hidden)) = rest.split_once(is_obeyed) {
            let at = before.len();
            let length = rest.len() - at - hidden.len();
            writer.write_all(before.as_bytes())?;
            for character in rest[at..at + length].chars() {
                write!(writer, "\\u{:04x}", u32::from(character))?;
            }
            rest = hidden;
        }
        writer.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize as _;
    use serde_json::Serializer;
    use serde_json::ser::{CompactFormatter, PrettyFormatter};

    use super::*;

    const HOSTILE: &str = "a\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\r\nerror: b\u{2028}c";

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let shown = line(HOSTILE);
        assert_eq!(
            shown,
            "a\\u{1b}[2J\\u{9b}31m\\u{7f}\\u{202e}\\r\\nerror: b\\u{2028}c"
        );
        assert_eq!(lines(HOSTILE).matches('\n').count(), 1);
        assert!(matches!(line("gerät-1 日本"), Cow::Borrowed(_)));
    }

    #[test]
    fn secret_age_identities_are_redacted_and_examples_are_not() {
        let secret = "AGE-SECRET-KEY-1QQPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L";
        let text = format!("\"{secret}\", {} and more", secret.to_lowercase());
        let told = "\"AGE-SECRET-KEY-[redacted]\", age-secret-key-[redacted] and more";
        assert_eq!(line(&text), told);
        let mut json = Vec::new();
        text.serialize(&mut Serializer::with_formatter(
            &mut json,
            Plain(CompactFormatter),
        ))
        .expect("written");
        let read: String = serde_json::from_slice(&json).expect("JSON");
        assert_eq!(read, told);
        let example = "one looks like AGE-SECRET-KEY-1…";
        assert_eq!(line(example), example);
    }

    #[test]
    fn json_says_the_same_in_visible_characters() {
        let value = serde_json::json!({ HOSTILE: [HOSTILE, 1, null, {}] });
        let mut compact = Vec::new();
        let mut plain = Serializer::with_formatter(&mut compact, Plain(CompactFormatter));
        value.serialize(&mut plain).expect("written");
        let mut pretty = Vec::new();
        let formatter = Plain(PrettyFormatter::new());
        value
            .serialize(&mut Serializer::with_formatter(&mut pretty, formatter))
            .expect("written");
        for (written, is_ours) in [(compact, false), (pretty, true)] {
            let text = String::from_utf8(written).expect("UTF-8");
            assert!(
                !text
                    .chars()
                    .any(|c| is_obeyed(c) && !(is_ours && c == '\n')),
                "{text:?}"
            );
            let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(read, value);
        }
    }
}
