//! Subject alternative names of leaves (RFC 5280 §4.2.1.6), for devices that also serve others.
//!
//! DPS and IoT Hub look at none of them: to them a device is its CN.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use der::asn1::{Ia5String, OctetString};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::certificate::Certificate;
use crate::text::serde_as_text;

/// A name under which others reach a device: `gw-1.plant.example`, `uri:urn:gw:1`, `ip:192.0.2.7`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AlternativeName(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    Dns(String),
    Uri(String),
    Ip(IpAddr),
}

/// A text is no alternative name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no alternative name: write a DNS name, uri: and a URI, or ip: and an address")]
pub struct AlternativeNameError {
    text: String,
}

impl AlternativeName {
    /// Reads several names with blanks or semicolons between them.
    ///
    /// # Errors
    /// [`AlternativeNameError`] names the first that is none.
    pub fn list(text: &str) -> Result<Vec<Self>, AlternativeNameError> {
        text.split([' ', ';'])
            .filter(|name| !name.is_empty())
            .map(str::parse)
            .collect()
    }

    /// The names in a certificate; those that are none of ours are left out.
    pub fn of(certificate: &Certificate) -> Vec<Self> {
        let parsed = certificate.parsed().tbs_certificate();
        let names = parsed.get_extension::<SubjectAltName>().ok().flatten();
        let names = names.map(|(_, names)| names.0).unwrap_or_default();
        names.iter().filter_map(Self::from_general_name).collect()
    }

    fn from_general_name(name: &GeneralName) -> Option<Self> {
        match name {
            GeneralName::DnsName(name) => format!("dns:{name}").parse().ok(),
            GeneralName::UniformResourceIdentifier(uri) => format!("uri:{uri}").parse().ok(),
            GeneralName::IpAddress(octets) => {
                let octets = octets.as_bytes();
                let four = <[u8; 4]>::try_from(octets).map(IpAddr::from).ok();
                let sixteen = || <[u8; 16]>::try_from(octets).map(IpAddr::from).ok();
                four.or_else(sixteen).map(|address| Self(Kind::Ip(address)))
            }
            _ => None,
        }
    }

    /// The name as it stands in a certificate.
    pub(crate) fn to_general_name(&self) -> Result<GeneralName, der::Error> {
        Ok(match &self.0 {
            Kind::Dns(name) => GeneralName::DnsName(Ia5String::new(name)?),
            Kind::Uri(uri) => GeneralName::UniformResourceIdentifier(Ia5String::new(uri)?),
            Kind::Ip(IpAddr::V4(address)) => {
                GeneralName::IpAddress(OctetString::new(address.octets())?)
            }
            Kind::Ip(IpAddr::V6(address)) => {
                GeneralName::IpAddress(OctetString::new(address.octets())?)
            }
        })
    }
}

impl FromStr for AlternativeName {
    type Err = AlternativeNameError;

    fn from_str(text: &str) -> Result<Self, AlternativeNameError> {
        let (kind, name) = match text.split_once(':') {
            Some((kind @ ("dns" | "uri" | "ip"), name)) => (kind, name),
            _ => ("dns", text),
        };
        let read = match kind {
            "uri" => is_uri(name).then(|| Kind::Uri(name.to_owned())),
            "ip" => name.parse().ok().map(Kind::Ip),
            _ => is_host_name(name).then(|| Kind::Dns(name.to_owned())),
        };
        read.map(Self).ok_or_else(|| AlternativeNameError {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for AlternativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Dns(name) => write!(f, "dns:{name}"),
            Kind::Uri(uri) => write!(f, "uri:{uri}"),
            Kind::Ip(address) => write!(f, "ip:{address}"),
        }
    }
}

serde_as_text!(AlternativeName);

/// RFC 1123 §2.1, at most 253 characters; no wildcards, which are not for devices.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// A scheme and something behind it, of the characters that a URI is made of (RFC 3986 §2).
fn is_uri(text: &str) -> bool {
    let printable = |octet: u8| octet.is_ascii_graphic() && !b"<>\"{}|\\^`".contains(&octet);
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet))
    };
    text.bytes().all(printable)
        && text
            .split_once(':')
            .is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_prints() {
        let names = AlternativeName::list("gw-1.plant.example; uri:urn:gw:1 ip:192.0.2.7;ip:::1");
        let names: Vec<String> = names
            .expect("names")
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = [
            "dns:gw-1.plant.example",
            "uri:urn:gw:1",
            "ip:192.0.2.7",
            "ip:::1",
        ];
        assert_eq!(names, expected);
        assert_eq!(AlternativeName::list(""), Ok(vec![]));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("{}.example", "a".repeat(64));
        for bad in [
            "a_b",
            "-a.example",
            "*.example",
            "ip:1.2.3",
            "uri:",
            "uri:no",
            "dns:",
            &long,
        ] {
            assert!(bad.parse::<AlternativeName>().is_err(), "{bad}");
        }
    }
}
