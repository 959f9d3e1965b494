//! Entity tags: what a service says a record was when it was read.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// An entity tag, kept exactly as the service wrote it.
///
/// Those of entries, registration records and CA certificates were recorded as base64 of a word in quotes,
/// those of ARM resources as base64 of eight octets, those of hub identities as base64 of a number; the
/// documentation has quotes inside of the JSON string, and clients add or drop quotes at will. Equality therefore compares the
/// unwrapped text, so that one record's tag is equal to itself in any of these dresses.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Etag(String);

impl Etag {
    /// Takes a tag as a service or a header gave it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The tag as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag in one pair of quotes (RFC 9110 §8.8.3), as IoT Hub has it in headers.
    pub fn quoted(&self) -> String {
        format!("\"{}\"", unquoted(&self.0))
    }

    fn bare(&self) -> String {
        let outer = unquoted(&self.0);
        let decoded = STANDARD
            .decode(outer)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        match decoded {
            Some(inner) if inner.starts_with('"') => unquoted(&inner).to_owned(),
            _ => outer.to_owned(),
        }
    }
}

fn unquoted(text: &str) -> &str {
    let strong = text.strip_prefix("W/").unwrap_or(text);
    strong
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(strong)
}

impl PartialEq for Etag {
    fn eq(&self, other: &Self) -> bool {
        self.bare() == other.bare()
    }
}

impl Eq for Etag {}

impl fmt::Debug for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Etag({:?})", self.0)
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tag_in_every_dress_is_equal_to_itself() {
        let bare = Etag::new("61008d46-0000-0100-0000-5e8fe3d10000");
        let quoted = Etag::new("\"61008d46-0000-0100-0000-5e8fe3d10000\"");
        let encoded = Etag::new("IjYxMDA4ZDQ2LTAwMDAtMDEwMC0wMDAwLTVlOGZlM2QxMDAwMCI=");
        assert_eq!(bare, quoted);
        assert_eq!(quoted, encoded);
        assert_eq!(bare.quoted(), quoted.quoted());
    }

    #[test]
    fn base64_that_hides_no_quotes_stays_as_it_is() {
        assert_ne!(Etag::new("AAAAAAExpNs="), Etag::new("AAAAAAExpNt="));
        assert_eq!(Etag::new("\"AAAAAAExpNs=\""), Etag::new("AAAAAAExpNs="));
    }
}
