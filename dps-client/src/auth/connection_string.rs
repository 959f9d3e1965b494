//! Connection strings as the portal shows them: `HostName=…;SharedAccessKeyName=…;SharedAccessKey=…`.
//!
//! Those of devices and those with a ready-made signature are refused: they are no use here.

use std::str::FromStr;

use secrecy::SecretString;

use super::sas::{KeyError, decoded};
use crate::base_url::{BaseUrl, BaseUrlError};

/// A connection string of DPS or of a hub: host, policy and key.
#[derive(Debug)]
pub struct ConnectionString {
    pub(super) host: String,
    base: BaseUrl,
    pub(super) policy: String,
    pub(super) key: SecretString,
}

/// Why a text is no connection string. Its key is never repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionStringError {
    /// A part has no `=`.
    #[error("part {position} of the connection string is not of the form Name=value")]
    NotAProperty {
        /// The part's place, counted from 1.
        position: usize,
    },
    /// A property that no connection string of a service has.
    #[error(
        "part {position} of the connection string is not HostName, SharedAccessKeyName or SharedAccessKey"
    )]
    Unknown {
        /// The part's place, counted from 1.
        position: usize,
    },
    /// A property that stands twice.
    #[error("the connection string has {name} twice")]
    Twice {
        /// The property.
        name: &'static str,
    },
    /// A property that is missing or empty.
    #[error("the connection string has no {name}")]
    Missing {
        /// The property.
        name: &'static str,
    },
    /// The host name makes no address.
    #[error("the connection string's HostName is no host name")]
    Host(#[from] BaseUrlError),
    /// The key is not base64.
    #[error("the connection string's SharedAccessKey cannot be used")]
    Key(#[from] KeyError),
}

impl ConnectionString {
    /// The host, with its port where one was given.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The shared access policy's name.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Where the service is.
    pub fn base_url(&self) -> &BaseUrl {
        &self.base
    }
}

impl FromStr for ConnectionString {
    type Err = ConnectionStringError;

    /// Reads `HostName=…;SharedAccessKeyName=…;SharedAccessKey=…` in any order and case of the names.
    fn from_str(text: &str) -> Result<Self, ConnectionStringError> {
        let mut properties = [
            ("HostName", None),
            ("SharedAccessKeyName", None),
            ("SharedAccessKey", None),
        ];
        let parts = text.trim().trim_end_matches(';').split(';');
        for (position, part) in (1..).zip(parts) {
            let (name, value) = part
                .split_once('=')
                .ok_or(ConnectionStringError::NotAProperty { position })?;
            let property = properties
                .iter_mut()
                .find(|(known, _)| known.eq_ignore_ascii_case(name.trim()))
                .ok_or(ConnectionStringError::Unknown { position })?;
            if property.1.replace(value.trim()).is_some() {
                return Err(ConnectionStringError::Twice { name: property.0 });
            }
        }
        let [host, policy, key] = properties.map(|(name, value)| {
            value
                .filter(|value| !value.is_empty())
                .ok_or(ConnectionStringError::Missing { name })
        });
        let host = host?.to_ascii_lowercase();
        let policy = policy?.to_owned();
        let key = key?;
        let base = BaseUrl::from_host(&host)?;
        decoded(key)?;
        Ok(Self {
            host,
            base,
            policy,
            key: SecretString::from(key),
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::collection::vec;
    use proptest::prelude::{Just, Strategy as _, any, prop_assert_eq, proptest};
    use secrecy::ExposeSecret as _;

    use super::*;

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    #[test]
    fn connection_strings_are_read_in_any_order_and_case() {
        for text in [
            format!("HostName=A.example.net:8443;SharedAccessKeyName=owner;SharedAccessKey={KEY}"),
            format!("sharedaccesskey={KEY};SHAREDACCESSKEYNAME=owner;hostname=a.example.net:8443;"),
            format!(
                " SharedAccessKeyName = owner ; HostName = a.example.net:8443 ; SharedAccessKey = {KEY}\n"
            ),
        ] {
            let connection: ConnectionString = text.parse().expect(&text);
            assert_eq!(connection.host(), "a.example.net:8443");
            assert_eq!(connection.policy(), "owner");
            assert_eq!(connection.key.expose_secret(), KEY);
            assert_eq!(
                connection.base_url().to_string(),
                "https://a.example.net:8443"
            );
        }
    }

    proptest! {
        /// Whatever the key's octets (its base64 may end in `=`), the order and the case.
        #[test]
        fn every_spelling_of_a_connection_string_reads_the_same(
            key in vec(any::<u8>(), 1..=64),
            policy in "[A-Za-z0-9._-]{1,64}",
            parts in Just([0, 1, 2]).prop_shuffle(),
            upper in any::<bool>(),
        ) {
            let key = STANDARD.encode(key);
            let names = ["HostName", "SharedAccessKeyName", "SharedAccessKey"];
            let values = ["my-dps.example.net", &policy, &key];
            let parts = parts.map(|part| {
                let name = names[part];
                let name = if upper { name.to_uppercase() } else { name.to_lowercase() };
                format!("{name}={}", values[part])
            });
            let connection: ConnectionString = parts.join(";").parse().expect("connection string");
            prop_assert_eq!(connection.host(), "my-dps.example.net");
            prop_assert_eq!(connection.policy(), policy);
            prop_assert_eq!(connection.key.expose_secret(), key);
        }
    }

    #[test]
    fn a_bad_connection_string_is_refused_without_repeating_it() {
        let cases = [
            (
                format!("SharedAccessKey={KEY};SharedAccessKeyName=o"),
                "has no HostName",
            ),
            (
                format!("HostName=;SharedAccessKey={KEY};SharedAccessKeyName=o"),
                "has no HostName",
            ),
            (
                format!("HostName=a;HostName=b;SharedAccessKey={KEY}"),
                "has HostName twice",
            ),
            (
                format!("HostName=a;DeviceId=d;SharedAccessKey={KEY}"),
                "part 2",
            ),
            (format!("HostName=a;{KEY}"), "part 2"),
            (
                "HostName=a;SharedAccessKeyName=o;SharedAccessKey=c2Vjc*V0".to_owned(),
                "cannot be used",
            ),
            (
                format!("HostName=a/b;SharedAccessKeyName=o;SharedAccessKey={KEY}"),
                "no host name",
            ),
            (
                format!("HostName=https://a;SharedAccessKeyName=o;SharedAccessKey={KEY}"),
                "no host name",
            ),
        ];
        for (text, reason) in cases {
            let error = text.parse::<ConnectionString>().expect_err(&text);
            assert!(error.to_string().contains(reason), "{error}");
            assert!(!format!("{error:?}").contains("c2Vjc") && !format!("{error:?}").contains(KEY));
        }
    }
}
