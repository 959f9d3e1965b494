//! PKCS#11 URIs: which object of which token is meant, and how to get there (RFC 7512).
//!
//! `pkcs11:token=factory;object=line-a?module-path=/usr/lib/…/libsofthsm2.so&pin-source=file:pin`
//! Invariant: a PIN never stands in one; `pin-value` is refused and not repeated.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use crate::secret::SecretSource;
use crate::text::serde_as_text;

/// Where a key is: a token, an object in it, and how both are reached. What is `None` is not asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pkcs11Uri {
    /// The token's label.
    pub token: Option<String>,
    /// The token's manufacturer.
    pub manufacturer: Option<String>,
    /// The token's model.
    pub model: Option<String>,
    /// The token's serial number.
    pub serial: Option<String>,
    /// The slot that the token is in.
    pub slot_id: Option<u64>,
    /// The object's label.
    pub object: Option<String>,
    /// The object's identifier.
    pub id: Option<Vec<u8>>,
    /// Where the PIN is.
    pub pin_source: Option<SecretSource>,
    /// The library that speaks to the token.
    pub module_path: Option<String>,
}

/// Why a text is no URI of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Pkcs11UriError {
    /// It does not begin with the scheme.
    #[error("a PKCS#11 URI begins with pkcs11:, as in pkcs11:token=factory;object=line-a")]
    Scheme,
    /// A part of it is not `name=value`, or its percent-encoding is broken.
    #[error("{part:?} is not name=value with percent-encoding (RFC 7512 §2.3)")]
    Part {
        /// The part.
        part: String,
    },
    /// It has an attribute that means nothing here.
    #[error(
        "the attribute {name} is not known; known are token, manufacturer, model, serial, slot-id, object, id and type, and after the question mark pin-source and module-path"
    )]
    Attribute {
        /// Its name.
        name: String,
    },
    /// An attribute occurs twice (RFC 7512 §2.3).
    #[error("the attribute {name} is there twice")]
    Twice {
        /// Its name.
        name: String,
    },
    /// It names something that is no private key.
    #[error("the type is {found}, but it is a private key that is wanted; leave it out")]
    Type {
        /// The type.
        found: String,
    },
    /// It holds a PIN.
    #[error("a PIN never stands in a URI; write pin-source=file:PATH or pin-source=env:NAME")]
    PinValue,
    /// The source of the PIN is none.
    #[error("pin-source is neither file:PATH nor env:NAME")]
    PinSource,
}

impl Pkcs11Uri {
    /// What every such URI begins with.
    pub const SCHEME: &str = "pkcs11:";

    /// The same token, another object.
    #[must_use]
    pub fn with_object(&self, label: String) -> Self {
        Self {
            object: Some(label),
            id: None,
            ..self.clone()
        }
    }

    /// The same object, told from others of its label by an identifier.
    #[must_use]
    pub fn with_id(self, id: Vec<u8>) -> Self {
        Self {
            id: Some(id),
            ..self
        }
    }

    /// The token as people write it: the part of the URI that is about it.
    pub fn token_part(&self) -> String {
        let token = Self {
            object: None,
            id: None,
            pin_source: None,
            module_path: None,
            ..self.clone()
        };
        token.to_string()
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Pkcs11UriError> {
        let text = || text(name, value);
        let twice = match name {
            "token" => self.token.replace(text()?).is_some(),
            "manufacturer" => self.manufacturer.replace(text()?).is_some(),
            "model" => self.model.replace(text()?).is_some(),
            "serial" => self.serial.replace(text()?).is_some(),
            "slot-id" => {
                let number = value.parse().map_err(|_| broken(name, value))?;
                self.slot_id.replace(number).is_some()
            }
            "object" => self.object.replace(text()?).is_some(),
            "id" => self.id.replace(octets(name, value)?).is_some(),
            "type" => match value {
                "private" => false,
                found => {
                    let found = found.to_owned();
                    return Err(Pkcs11UriError::Type { found });
                }
            },
            _ => return Err(unknown(name)),
        };
        refuse_twice(name, twice)
    }

    fn set_query(&mut self, name: &str, value: &str) -> Result<(), Pkcs11UriError> {
        let twice = match name {
            "module-path" => self.module_path.replace(text(name, value)?).is_some(),
            "pin-source" => {
                let source = text(name, value)?
                    .parse()
                    .map_err(|_| Pkcs11UriError::PinSource)?;
                self.pin_source.replace(source).is_some()
            }
            _ => return Err(unknown(name)),
        };
        refuse_twice(name, twice)
    }
}

/// Calls `take` with each `name=value`.
fn each(
    parts: &str,
    separator: char,
    mut take: impl FnMut(&str, &str) -> Result<(), Pkcs11UriError>,
) -> Result<(), Pkcs11UriError> {
    for part in parts.split(separator).filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            // Before anything else is said about it: errors repeat what they are about.
            Some(("pin-value", _)) => return Err(Pkcs11UriError::PinValue),
            Some((name, value)) => take(name, value)?,
            None => {
                let part = part.to_owned();
                return Err(Pkcs11UriError::Part { part });
            }
        }
    }
    Ok(())
}

/// Decodes a value; the library lets broken escapes pass, which RFC 3986 §2.1 does not.
fn octets(name: &str, value: &str) -> Result<Vec<u8>, Pkcs11UriError> {
    let mut escapes = value.split('%').skip(1);
    let is_escape = |rest: &str| {
        rest.get(..2)
            .is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    if value.is_empty() || !escapes.all(is_escape) {
        return Err(broken(name, value));
    }
    Ok(percent_decode_str(value).collect())
}

fn text(name: &str, value: &str) -> Result<String, Pkcs11UriError> {
    String::from_utf8(octets(name, value)?).map_err(|_| broken(name, value))
}

fn broken(name: &str, value: &str) -> Pkcs11UriError {
    Pkcs11UriError::Part {
        part: format!("{name}={value}"),
    }
}

fn unknown(name: &str) -> Pkcs11UriError {
    Pkcs11UriError::Attribute {
        name: name.to_owned(),
    }
}

fn refuse_twice(name: &str, twice: bool) -> Result<(), Pkcs11UriError> {
    if twice {
        Err(Pkcs11UriError::Twice {
            name: name.to_owned(),
        })
    } else {
        Ok(())
    }
}

impl FromStr for Pkcs11Uri {
    type Err = Pkcs11UriError;

    fn from_str(text: &str) -> Result<Self, Pkcs11UriError> {
        let rest = text
            .strip_prefix(Self::SCHEME)
            .ok_or(Pkcs11UriError::Scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self::default();
        each(path, ';', |name, value| uri.set(name, value))?;
        each(query, '&', |name, value| uri.set_query(name, value))?;
        Ok(uri)
    }
}

impl fmt::Display for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// What stands for itself in paths and queries alike (RFC 7512 §2.3).
        const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
            .remove(b'-')
            .remove(b'.')
            .remove(b'_')
            .remove(b'~')
            .remove(b':');
        const ESCAPED_IN_QUERY: &AsciiSet = &ESCAPED.remove(b'/');
        let text = |value: &Option<String>| value.as_ref().map(|value| value.as_bytes().to_vec());
        let path = [
            ("token", text(&self.token)),
            ("manufacturer", text(&self.manufacturer)),
            ("model", text(&self.model)),
            ("serial", text(&self.serial)),
            (
                "slot-id",
                self.slot_id.map(|id| id.to_string().into_bytes()),
            ),
            ("object", text(&self.object)),
            ("id", self.id.clone()),
        ];
        let pin_source = self.pin_source.as_ref().map(ToString::to_string);
        let query = [
            ("module-path", text(&self.module_path)),
            ("pin-source", text(&pin_source)),
        ];
        let joined = |parts: &[(&str, Option<Vec<u8>>)], separator: &str, escaped| {
            let given = parts
                .iter()
                .filter_map(|(name, value)| Some((name, value.as_ref()?)));
            let written =
                given.map(|(name, value)| format!("{name}={}", percent_encode(value, escaped)));
            written.collect::<Vec<_>>().join(separator)
        };
        write!(f, "{}{}", Self::SCHEME, joined(&path, ";", ESCAPED))?;
        match joined(&query, "&", ESCAPED_IN_QUERY) {
            query if query.is_empty() => Ok(()),
            query => write!(f, "?{query}"),
        }
    }
}

serde_as_text!(Pkcs11Uri);

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Result<Pkcs11Uri, Pkcs11UriError> {
        text.parse()
    }

    #[test]
    fn a_uri_comes_back_as_it_was_written() {
        for text in [
            "pkcs11:token=factory;object=line-a",
            "pkcs11:token=The%20Factory;serial=0001;id=%00%01%FF",
            "pkcs11:slot-id=3;object=a%3Bb?module-path=/usr/lib/p11.so&pin-source=file:/run/pin",
            "pkcs11:token=t;object=o?pin-source=env:PIN",
            "pkcs11:",
        ] {
            assert_eq!(uri(text).expect(text).to_string(), text);
        }
        let spelled =
            uri("pkcs11:object=o;type=private;token=t?pin-source=file%3Apin").expect("a URI");
        assert_eq!(
            spelled.to_string(),
            "pkcs11:token=t;object=o?pin-source=file:pin"
        );
        assert_eq!(spelled.token_part(), "pkcs11:token=t");
    }

    #[test]
    fn a_pin_in_the_open_is_refused_and_not_repeated() {
        for text in [
            "pkcs11:object=o?pin-value=1234",
            "pkcs11:object=o;pin-value=1234",
            "pkcs11:object=o?pin-source=1234",
        ] {
            let error = uri(text).expect_err(text).to_string();
            assert!(
                error.contains("file:PATH") && !error.contains("1234"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let said = |text: &str| uri(text).expect_err(text).to_string();
        assert!(said("factory").contains("begins with pkcs11:"));
        assert!(said("pkcs11:label=a").contains("the attribute label is not known"));
        assert!(said("pkcs11:token").contains("\"token\" is not name=value"));
        assert!(said("pkcs11:token=").contains("\"token=\" is not name=value"));
        assert!(said("pkcs11:token=%4").contains("\"token=%4\" is not name=value"));
        assert!(said("pkcs11:token=%FF").contains("\"token=%FF\" is not name=value"));
        assert!(said("pkcs11:slot-id=x").contains("\"slot-id=x\""));
        assert!(said("pkcs11:token=a;token=b").contains("token is there twice"));
        assert!(said("pkcs11:object=a;type=cert").contains("the type is cert"));
    }
}
