//! Distinguished names: parsed, printed and kept byte for byte (RFC 5280 §4.1.2.4, RFC 4514).
//!
//! String types are chosen by the library: UTF8String, but PrintableString for country and serial
//! number, IA5String for e-mail and domain components.
//! Names in the string types of older tools (BMPString, T61String as Latin-1) are shown as text, and
//! are what a person calls them by ([`DistinguishedName::is_named_as`]); signatures are over their bytes.
//! Invariant: a name that was read is written back as the same bytes, so that an issuer field always
//! equals its issuer's subject, also below an imported authority.

use std::fmt;
use std::str::FromStr;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519::{COMMON_NAME, COUNTRY_NAME};
use der::asn1::Any;
use der::{Decode as _, Encode as _, Tag, Tagged as _};
use x509_cert::attr::{AttributeTypeAndValue, AttributeValue};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

use crate::ids::LONGEST_COMMON_NAME;
use crate::text::serde_as_text;

/// A distinguished name.
#[derive(Clone, PartialEq, Eq)]
pub struct DistinguishedName(Name);

/// Why a text is no distinguished name that a certificate of ours may carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text does not follow RFC 4514.
    #[error("{text:?} is not a distinguished name; write it as CN=Contoso Root CA, O=Contoso")]
    Syntax {
        /// The text.
        text: String,
    },
    /// The name has no common name, which is how people tell authorities apart.
    #[error("{text:?} has no CN")]
    NoCommonName {
        /// The text.
        text: String,
    },
    /// RFC 5280 appendix A.1 bounds the value.
    #[error("{text:?} has a CN of {length} characters, at most 64 are allowed")]
    LongCommonName {
        /// The text.
        text: String,
        /// How long its CN is.
        length: usize,
    },
    /// RFC 5280 appendix A.1: two letters.
    #[error("{text:?} has a country that is not two upper-case letters, such as C=DE")]
    Country {
        /// The text.
        text: String,
    },
}

impl DistinguishedName {
    /// The name that holds one common name and nothing else: what a leaf of a device has.
    ///
    /// # Errors
    /// [`NameError::LongCommonName`] over 64 characters.
    pub fn common(name: &str) -> Result<Self, NameError> {
        let attribute = Any::new(Tag::Utf8String, name.as_bytes())
            .map(|value| AttributeTypeAndValue {
                oid: COMMON_NAME,
                value,
            })
            .and_then(|attribute| RelativeDistinguishedName::try_from(vec![attribute]))
            .map_err(|_| NameError::Syntax {
                text: name.to_owned(),
            })?;
        let encoded = RdnSequence::from(vec![attribute]).to_der();
        let read = encoded.and_then(|der| Name::from_der(&der));
        Self(read.map_err(|_| NameError::Syntax {
            text: name.to_owned(),
        })?)
        .checked(name)
    }

    /// Takes a name as a certificate or CSR holds it, unchecked.
    pub fn from_name(name: Name) -> Self {
        Self(name)
    }

    /// The DER encoding.
    pub fn to_der(&self) -> Vec<u8> {
        self.0.to_der().unwrap_or_default()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values of all common names, in the order of the encoding.
    pub fn common_names(&self) -> Vec<String> {
        self.0
            .iter()
            .filter(|attribute| attribute.oid == COMMON_NAME)
            .filter_map(|attribute| text_of(&attribute.value))
            .collect()
    }

    /// The common name, if there is exactly one: DPS takes it as the registration ID.
    pub fn common_name(&self) -> Option<String> {
        match <[String; 1]>::try_from(self.common_names()) {
            Ok([name]) => Some(name),
            Err(_) => None,
        }
    }

    /// Whether a person would call both by one name: the same attributes in the same order, whatever their
    /// string types, case and blanks (RFC 5280 §7.1).
    pub fn is_named_as(&self, other: &Self) -> bool {
        let parts = |name: &Self| -> Vec<_> { name.0.iter_rdn().map(prepared).collect() };
        parts(self) == parts(other)
    }

    fn checked(self, text: &str) -> Result<Self, NameError> {
        let text = || text.to_owned();
        let names = self.common_names();
        let Some(longest) = names.iter().map(|name| name.chars().count()).max() else {
            return Err(NameError::NoCommonName { text: text() });
        };
        if longest > LONGEST_COMMON_NAME {
            return Err(NameError::LongCommonName {
                text: text(),
                length: longest,
            });
        }
        let countries = self
            .0
            .iter()
            .filter(|attribute| attribute.oid == COUNTRY_NAME);
        for country in countries {
            let value = text_of(&country.value).unwrap_or_default();
            if value.len() != 2 || !value.bytes().all(|byte| byte.is_ascii_uppercase()) {
                return Err(NameError::Country { text: text() });
            }
        }
        Ok(self)
    }
}

fn text_of(value: &AttributeValue) -> Option<String> {
    match value.tag() {
        Tag::BmpString => {
            let units = value
                .value()
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            String::from_utf16(&units.collect::<Vec<_>>()).ok()
        }
        // What everybody has put there, whatever T.61 says.
        Tag::TeletexString => Some(value.value().iter().copied().map(char::from).collect()),
        _ => String::from_utf8(value.value().to_vec()).ok(),
    }
}

/// The attributes of a part of a name as they are compared: type and text, in the order of the types.
fn prepared(part: &RelativeDistinguishedName) -> Vec<(ObjectIdentifier, Result<String, Vec<u8>>)> {
    let attribute = |attribute: &AttributeTypeAndValue| {
        let value = match text_of(&attribute.value) {
            Some(text) => Ok(folded(&text)),
            None => Err(attribute.value.value().to_vec()),
        };
        (attribute.oid, value)
    };
    let mut attributes: Vec<_> = part.iter().map(attribute).collect();
    attributes.sort();
    attributes
}

/// Without case, and with single blanks between the words only.
fn folded(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

/// A part with its values in UTF-8, which is what the library prints as text.
fn readable(part: &RelativeDistinguishedName) -> Option<RelativeDistinguishedName> {
    let readable = |attribute: &AttributeTypeAndValue| {
        let is_old = matches!(attribute.value.tag(), Tag::BmpString | Tag::TeletexString);
        let text = text_of(&attribute.value).filter(|_| is_old);
        let value = match text {
            Some(text) => Any::new(Tag::Utf8String, text.as_bytes()).ok()?,
            None => attribute.value.clone(),
        };
        let oid = attribute.oid;
        Some(AttributeTypeAndValue { oid, value })
    };
    let attributes: Option<Vec<_>> = part.iter().map(readable).collect();
    RelativeDistinguishedName::try_from(attributes?).ok()
}

impl FromStr for DistinguishedName {
    type Err = NameError;

    /// Reads RFC 4514, most specific part first, blanks after the commas allowed:
    /// `CN=Contoso Devices Root CA, O=Contoso`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = || NameError::Syntax {
            text: text.to_owned(),
        };
        let name = Name::from_str(&tightened(text)).map_err(|_| refuse())?;
        // The library does not check string alphabets before encoding; reading it back does.
        let name = name
            .to_der()
            .and_then(|der| Name::from_der(&der))
            .map_err(|_| refuse())?;
        if name
            .iter()
            .any(|attribute| attribute.value.value().is_empty())
        {
            return Err(refuse());
        }
        Self(name).checked(text)
    }
}

/// Drops the blanks after unescaped separators, which RFC 4514 does not know but everybody writes.
fn tightened(text: &str) -> String {
    let mut tight = String::with_capacity(text.len());
    let mut escaped = false;
    let mut at_start = true;
    for character in text.trim().chars() {
        if at_start && character == ' ' {
            continue;
        }
        at_start = !escaped && matches!(character, ',' | '+');
        escaped = !escaped && character == '\\';
        tight.push(character);
    }
    tight
}

impl fmt::Display for DistinguishedName {
    /// Most specific part first, a comma and a blank between parts, as DPS prints names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<&RelativeDistinguishedName> = self.0.iter_rdn().collect();
        let text = |part: &&RelativeDistinguishedName| {
            readable(part).map_or_else(|| part.to_string(), |readable| readable.to_string())
        };
        let texts: Vec<String> = parts.iter().rev().map(text).collect();
        f.pad(&texts.join(", "))
    }
}

impl fmt::Debug for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DistinguishedName({self})")
    }
}

serde_as_text!(DistinguishedName);

/// Whether two names are the same bytes.
pub(crate) fn same_name(left: &Name, right: &[u8]) -> bool {
    left.to_der().is_ok_and(|der| der == right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DistinguishedName {
        text.parse().expect(text)
    }

    #[test]
    fn names_print_as_they_were_written() {
        for text in [
            "CN=Contoso Devices Root CA, O=Contoso",
            "CN=a\\,b, OU=x, C=DE",
            "CN=Gerät",
        ] {
            assert_eq!(name(text).to_string(), text);
        }
        assert_eq!(name("CN=a,O=b"), name("CN=a,  O=b"));
    }

    /// RFC 4514 §2.1: the text starts with the last element of the sequence.
    #[test]
    fn the_most_specific_part_comes_last_in_the_encoding() {
        let der = name("CN=leaf, O=Contoso").to_der();
        let place = |text: &str| {
            der.windows(text.len())
                .position(|window| window == text.as_bytes())
        };
        assert!(place("Contoso") < place("leaf"));
    }

    /// RFC 5280 appendix A.1: upper bounds and the form of a country.
    #[test]
    fn values_out_of_bounds_are_refused() {
        let long = format!("CN={}", "x".repeat(65));
        for (text, part) in [
            ("O=Contoso", "has no CN"),
            (long.as_str(), "65 characters"),
            ("CN=a, C=de", "two upper-case letters"),
            ("CN=a, C=DEU", "two upper-case letters"),
            ("CN=", "not a distinguished name"),
            ("Contoso", "not a distinguished name"),
            ("", "not a distinguished name"),
        ] {
            let error = text
                .parse::<DistinguishedName>()
                .expect_err(text)
                .to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn two_common_names_are_not_one() {
        assert_eq!(name("CN=a, CN=b").common_name(), None);
        assert_eq!(name("CN=a, O=b").common_name().as_deref(), Some("a"));
    }

    /// RFC 5280 §7.1; the bytes decide wherever a signature does.
    #[test]
    fn a_name_in_an_older_string_type_is_text_and_called_by_the_same_name() {
        let with = |tag, octets: &[u8]| {
            let value = Any::new(tag, octets).expect("a value");
            let oid = COMMON_NAME;
            let part =
                RelativeDistinguishedName::try_from(vec![AttributeTypeAndValue { oid, value }]);
            let der = RdnSequence::from(vec![part.expect("a part")]).to_der();
            DistinguishedName(Name::from_der(&der.expect("DER")).expect("a name"))
        };
        let units = "Ger\u{e4}t 1".encode_utf16().flat_map(u16::to_be_bytes);
        let bmp = with(Tag::BmpString, &units.collect::<Vec<u8>>());
        let t61 = with(Tag::TeletexString, b"Ger\xe4t 1");
        let utf8 = name("CN=Ger\u{e4}t 1");
        for older in [bmp, t61] {
            assert_eq!(older.to_string(), "CN=Ger\u{e4}t 1");
            assert_eq!(older.common_name().as_deref(), Some("Ger\u{e4}t 1"));
            assert!(older.is_named_as(&utf8));
            assert_ne!(older, utf8);
        }
        assert!(name("CN=a  B, O=x").is_named_as(&name("CN=A b, O=X")));
        assert!(!name("CN=a, O=x").is_named_as(&name("O=x, CN=a")));
        assert!(!name("CN=ab").is_named_as(&name("CN=a b")));
    }

    #[test]
    fn names_are_compared_by_their_bytes() {
        let name = name("CN=a");
        let parsed = Name::from_der(&name.to_der()).expect("name");
        assert!(same_name(&parsed, &name.to_der()));
        assert!(!same_name(&parsed, b"x"));
    }
}
