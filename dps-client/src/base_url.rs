//! Where a plane is, and how addresses below it are made.
//!
//! The emulator serves all four planes on one address, told apart by path, so every plane takes its
//! base as an option.
//! Invariant: each segment of a path is encoded as a whole, and none can climb out of its place.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

/// The characters that stay as they are in a path segment or a token (RFC 3986 §2.3).
pub(crate) const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The address of a plane: `https`, a host, perhaps a port and a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// Why a text is no [`BaseUrl`], or no path below one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaseUrlError {
    /// The text is no address.
    #[error("{text:?} is no address; write it as host, host:port or https://host:port")]
    NotAnAddress {
        /// The text.
        text: String,
    },
    /// Tokens are not sent in the clear.
    #[error("{text:?} is not https")]
    NotHttps {
        /// The text.
        text: String,
    },
    /// There is more than a host, a port and a path.
    #[error("{text:?} has a user name, a query or a fragment")]
    TooMuch {
        /// The text.
        text: String,
    },
    /// A name that would mean another place in the path.
    #[error("{segment:?} cannot stand in the path of a request")]
    Segment {
        /// The name.
        segment: String,
    },
}

impl BaseUrl {
    /// Where all devices register, whatever DPS instance they belong to.
    pub const GLOBAL_DEVICE: &'static str = "global.azure-devices-provisioning.net";

    /// The address of `host` or `host:port`.
    pub(crate) fn from_host(host: &str) -> Result<Self, BaseUrlError> {
        if host.contains('/') {
            return Err(BaseUrlError::NotAnAddress {
                text: host.to_owned(),
            });
        }
        format!("https://{host}/").parse()
    }

    /// The address below this one that these segments name, each percent-encoded.
    ///
    /// # Errors
    /// [`BaseUrlError::Segment`] for an empty segment, `.` and `..`: an address treats these as
    /// steps, and a name must not step out of its collection.
    pub(crate) fn at(&self, segments: &[&str]) -> Result<Url, BaseUrlError> {
        let mut text = self.to_string();
        for segment in segments {
            if matches!(*segment, "" | "." | "..") {
                return Err(BaseUrlError::Segment {
                    segment: (*segment).to_owned(),
                });
            }
            text.push('/');
            text.extend(utf8_percent_encode(segment, UNRESERVED));
        }
        Url::parse(&text).map_err(|_| BaseUrlError::NotAnAddress { text })
    }

    /// Whether this is the same scheme, host and port: a place that may be shown the same token.
    pub(crate) fn shares_origin(&self, other: &Url) -> bool {
        self.0.origin() == other.origin()
    }
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    /// Reads `host`, `host:port` or an `https` address.
    fn from_str(text: &str) -> Result<Self, BaseUrlError> {
        if !text.contains("://") {
            return Self::from_host(text);
        }
        let url = Url::parse(text).map_err(|_| BaseUrlError::NotAnAddress {
            text: text.to_owned(),
        })?;
        if url.scheme() != "https" {
            return Err(BaseUrlError::NotHttps {
                text: text.to_owned(),
            });
        }
        let more = !url.username().is_empty() || url.password().is_some();
        if more || url.query().is_some() || url.fragment().is_some() {
            // The text may hold a password: only the host is repeated.
            let text = url.host_str().unwrap_or_default().to_owned();
            return Err(BaseUrlError::TooMuch { text });
        }
        Ok(Self(url))
    }
}

impl fmt::Display for BaseUrl {
    /// Without a slash at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_addresses_are_read_alike() {
        for (text, address) in [
            (
                "my-dps.azure-devices-provisioning.net",
                "https://my-dps.azure-devices-provisioning.net",
            ),
            ("localhost:8443", "https://localhost:8443"),
            ("https://localhost:8443/", "https://localhost:8443"),
            (
                "https://gateway.example/dps/",
                "https://gateway.example/dps",
            ),
        ] {
            assert_eq!(text.parse::<BaseUrl>().expect(text).to_string(), address);
        }
    }

    #[test]
    fn what_would_leak_a_token_is_refused() {
        assert!(matches!(
            "http://localhost".parse::<BaseUrl>(),
            Err(BaseUrlError::NotHttps { .. })
        ));
        for text in [
            "https://user:pw@host",
            "https://host/?a=b",
            "https://host/#x",
        ] {
            let error = text.parse::<BaseUrl>().expect_err(text);
            assert!(
                matches!(error, BaseUrlError::TooMuch { .. }) && !error.to_string().contains("pw")
            );
        }
        for text in ["", "host/path", "a b"] {
            assert!(text.parse::<BaseUrl>().is_err(), "{text}");
        }
    }

    /// `DELETE …/certificates/..` would be a DELETE of the whole DPS instance.
    #[test]
    fn no_name_climbs_out_of_its_collection() {
        let base: BaseUrl = "localhost:8443".parse().expect("base");
        let url = base.at(&["devices", "a/b?c#d%2e:e"]).expect("url");
        assert_eq!(
            url.as_str(),
            "https://localhost:8443/devices/a%2Fb%3Fc%23d%252e%3Ae"
        );
        for segment in ["", ".", ".."] {
            assert!(base.at(&["certificates", segment]).is_err(), "{segment:?}");
        }
    }
}
