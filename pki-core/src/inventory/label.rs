//! Texts that people put on certificates: the name of a batch, and labels such as `order=4711`.
//!
//! Further columns of a device list become labels. They are kept as written, bound by the audit
//! trail, and found one `name=value` at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::TextError;
use super::record::check_line;

/// A line of text that names a batch: 1 to 128 characters, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

impl Label {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        check_line("label", text, 128)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One label with its name, written `order=4711`: a name of 1 to 64 characters without `=`, a value
/// of 1 to 128, no control characters in either.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedLabel(String);

impl NamedLabel {
    /// A label of this name and value.
    ///
    /// # Errors
    /// [`TextError`] says what is wrong with either.
    pub fn new(name: &str, value: &str) -> Result<Self, TextError> {
        const NAME: &str = "label name";
        check_line(NAME, name, 64)?;
        check_line("label", value, 128)?;
        if name.contains('=') {
            return Err(TextError::Character {
                what: NAME,
                character: '=',
            });
        }
        Ok(Self(format!("{name}={value}")))
    }

    /// The text, `name=value`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is before the `=`.
    pub fn name(&self) -> &str {
        pair(&self.0).0
    }

    /// What is behind the `=`.
    pub fn value(&self) -> &str {
        pair(&self.0).1
    }
}

impl FromStr for NamedLabel {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let (name, value) = pair(text);
        Self::new(name, value)
    }
}

impl fmt::Display for NamedLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The labels of a certificate, at most one of each name, kept as one text: a line for each, ordered
/// by name. Nothing is allocated where there are none, as for most certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Labels(String);

impl Labels {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names and values, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines().map(pair)
    }

    /// Whether this label is among them.
    pub fn contains(&self, label: &NamedLabel) -> bool {
        self.lines().any(|line| line == label.as_str())
    }

    /// One `name=value` after the other.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.lines()
    }

    /// All of them as one text, which [`Self::from_str`] reads.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromIterator<NamedLabel> for Labels {
    /// Takes labels in any order; of several with the same name, the last one.
    fn from_iter<T: IntoIterator<Item = NamedLabel>>(labels: T) -> Self {
        let named = labels
            .into_iter()
            .map(|label| (label.name().to_owned(), label));
        let by_name: BTreeMap<String, NamedLabel> = named.collect();
        let lines: Vec<&str> = by_name.values().map(NamedLabel::as_str).collect();
        Self(lines.join("\n"))
    }
}

impl FromStr for Labels {
    type Err = TextError;

    /// Reads what [`Labels::as_str`] gives and nothing else, so that one set has one text.
    fn from_str(text: &str) -> Result<Self, TextError> {
        let labels: Self = text.lines().map(str::parse).collect::<Result<_, _>>()?;
        if labels.as_str() == text {
            Ok(labels)
        } else {
            Err(TextError::Unordered { what: "labels" })
        }
    }
}

fn pair(line: &str) -> (&str, &str) {
    line.split_once('=').unwrap_or((line, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_one_line() {
        assert!("order 4711, line 7".parse::<Label>().is_ok());
        assert!("".parse::<Label>().is_err());
        assert!("a\nb".parse::<Label>().is_err());
        assert!("x".repeat(129).parse::<Label>().is_err());
    }

    #[test]
    fn a_named_label_has_name_and_value() {
        let label: NamedLabel = "note=a=b".parse().expect("label");
        assert_eq!((label.name(), label.as_str()), ("note", "note=a=b"));
        for bad in ["", "order", "order=", "=4711", "order=47\n11"] {
            assert!(bad.parse::<NamedLabel>().is_err(), "{bad:?}");
        }
        assert!(NamedLabel::new("a=b", "c").is_err());
    }

    #[test]
    fn a_set_of_labels_has_one_text() {
        let label = |text: &str| text.parse::<NamedLabel>().expect(text);
        let labels = [label("order=1"), label("order=4711"), label("color=red")];
        let labels: Labels = labels.into_iter().collect();
        assert_eq!(labels.as_str(), "color=red\norder=4711");
        assert_eq!(labels.as_str().parse(), Ok(labels.clone()));
        assert!(labels.contains(&label("color=red")) && !labels.contains(&label("color=re")));
        let pairs: Vec<(&str, &str)> = labels.iter().collect();
        assert_eq!(pairs, [("color", "red"), ("order", "4711")]);
        for bad in ["order=1\ncolor=red", "order=1\norder=2", "order=1\n"] {
            assert!(bad.parse::<Labels>().is_err(), "{bad:?}");
        }
    }
}
