//! The `api-version` of each plane: pinned, so that a new version of a service changes nothing here.
//!
//! Each is the newest that released clients of more than one language send. Nothing that the toolkit
//! needs came later.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A version of a plane's API: a date, perhaps with `-preview`. Versions order by date.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion(Cow<'static, str>);

/// Why a text is no [`ApiVersion`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no api-version; write it as 2021-10-01 or 2025-07-01-preview")]
pub struct ApiVersionError {
    text: String,
}

impl ApiVersion {
    /// ARM, `Microsoft.Devices/provisioningServices`.
    pub const MANAGEMENT: Self = Self(Cow::Borrowed("2022-12-12"));
    /// Enrollments and registration records.
    pub const SERVICE: Self = Self(Cow::Borrowed("2021-10-01"));
    /// Registration by devices.
    pub const DEVICE: Self = Self(Cow::Borrowed("2021-06-01"));
    /// A hub's identity registry.
    pub const HUB: Self = Self(Cow::Borrowed("2021-04-12"));

    /// From this version on ARM takes a certificate under `properties`; before, at the top.
    pub(crate) const NESTED_CERTIFICATE_BODY: Self = Self(Cow::Borrowed("2022-02-05"));

    /// The version as it stands in an address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ApiVersion {
    type Err = ApiVersionError;

    fn from_str(text: &str) -> Result<Self, ApiVersionError> {
        let date = text.strip_suffix("-preview").unwrap_or(text);
        let shape: String = date
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        if shape != "0000-00-00" {
            return Err(ApiVersionError {
                text: text.to_owned(),
            });
        }
        Ok(Self(Cow::Owned(text.to_owned())))
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_dates_and_order_by_them() {
        let older: ApiVersion = "2021-10-15".parse().expect("version");
        let preview: ApiVersion = "2025-07-01-preview".parse().expect("version");
        assert!(older < ApiVersion::NESTED_CERTIFICATE_BODY);
        assert!(ApiVersion::MANAGEMENT < preview);
        for bad in [
            "",
            "latest",
            "2021-1-1",
            "2021-10-01-beta",
            "2021-10-01&x=y",
        ] {
            assert!(bad.parse::<ApiVersion>().is_err(), "{bad}");
        }
    }
}
