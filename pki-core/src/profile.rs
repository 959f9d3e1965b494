//! What a certificate of a role may contain, and the extensions that say so (RFC 5280 §4.2).
//!
//! The choices are those that OpenSSL in strict mode, Go, webpki, Java, GnuTLS, NSS, pkilint and zlint
//! accept alike. A leaf carries no basicConstraints: CA:FALSE is the default, and DER encodes none.

use std::str::FromStr;

use aws_lc_rs::digest::{Digest, SHA1_FOR_LEGACY_USE_ONLY, digest};
use const_oid::AssociatedOid;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use der::asn1::{Ia5String, OctetString};
use der::flagset::FlagSet;
use der::{Decode as _, Encode};
use serde::{Deserialize, Serialize};
use spki::SubjectPublicKeyInfoRef;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage,
    KeyUsages, SubjectAltName, SubjectKeyIdentifier,
};

use crate::alternative_name::AlternativeName;
use crate::text::read_as_text;
use crate::time::Span;

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A self-signed authority.
    Root,
    /// An authority signed by another.
    Intermediate,
    /// A device.
    Leaf,
    /// A proof of possession of an authority's key.
    Verification,
}

impl Role {
    /// Whether certificates of this role sign others.
    pub fn is_authority(self) -> bool {
        matches!(self, Self::Root | Self::Intermediate)
    }

    /// The word under which it is stored and printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Intermediate => "intermediate",
            Self::Leaf => "leaf",
            Self::Verification => "verification",
        }
    }

    /// The role with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [
            Self::Root,
            Self::Intermediate,
            Self::Leaf,
            Self::Verification,
        ];
        all.into_iter().find(|role| role.as_str() == word)
    }
}

/// A purpose in a leaf's extended key usage (RFC 5280 §4.2.1.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPurpose {
    /// Authenticating a TLS client: what every device needs.
    ClientAuth,
    /// Authenticating a TLS server, for devices that also serve others.
    ServerAuth,
}

impl KeyPurpose {
    fn oid(self) -> ObjectIdentifier {
        match self {
            Self::ClientAuth => ID_KP_CLIENT_AUTH,
            Self::ServerAuth => ID_KP_SERVER_AUTH,
        }
    }
}

/// Where the CRL of a leaf's issuer can be fetched (RFC 5280 §4.2.1.13): an `http` URL, since who
/// fetches a CRL over TLS may need a CRL for that first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CrlUrl(String);

/// A text is no place where a CRL can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no URL of a CRL; write it as http://crl.contoso.com/factory-1.crl")]
pub struct CrlUrlError(String);

impl CrlUrl {
    const LONGEST: usize = 256;

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CrlUrl {
    type Err = CrlUrlError;

    fn from_str(text: &str) -> Result<Self, CrlUrlError> {
        let rest = text.strip_prefix("http://").unwrap_or_default();
        let host = rest.split('/').next().unwrap_or_default();
        if !host.is_empty()
            && text.len() <= Self::LONGEST
            && text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(CrlUrlError(text.to_owned()))
        }
    }
}

read_as_text!(CrlUrl);

/// What a profile wants of its leaves, beside their keys and how long they are valid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeafContent {
    /// What the key is for.
    pub purposes: Vec<KeyPurpose>,
    /// Where the issuer's CRL can be fetched. DPS and IoT Hub fetch none.
    pub crl_distribution_point: Option<CrlUrl>,
    /// How long devices may lie on a shelf before they are first switched on: a leaf that would
    /// expire there is refused.
    pub warehouse_time: Option<Span>,
}

impl From<Vec<KeyPurpose>> for LeafContent {
    fn from(purposes: Vec<KeyPurpose>) -> Self {
        Self {
            purposes,
            crl_distribution_point: None,
            warehouse_time: None,
        }
    }
}

/// The SHA-1 of a public key's bits: key identifier by method 1 of RFC 5280 §4.2.1.2.
pub(crate) fn key_identifier(public_key: &[u8]) -> Result<Vec<u8>, der::Error> {
    let spki = SubjectPublicKeyInfoRef::from_der(public_key)?;
    let bits = spki.subject_public_key.raw_bytes();
    Ok(key_identifier_of(bits).as_ref().to_vec())
}

/// As [`key_identifier`], of the bits themselves.
pub(crate) fn key_identifier_of(bits: &[u8]) -> Digest {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, bits)
}

/// What the extensions of one certificate are made from.
pub(crate) struct ExtensionFacts<'a> {
    pub(crate) role: Role,
    pub(crate) path_length: Option<u8>,
    /// Whether an authority may sign other things than certificates and CRLs.
    pub(crate) digital_signature: bool,
    pub(crate) purposes: &'a [KeyPurpose],
    pub(crate) crl_distribution_point: Option<&'a CrlUrl>,
    pub(crate) alternative_names: &'a [AlternativeName],
    pub(crate) subject_key: &'a [u8],
    pub(crate) issuer_key_identifier: &'a [u8],
}

impl ExtensionFacts<'_> {
    /// The extensions, in a fixed order.
    pub(crate) fn extensions(&self) -> Result<Vec<Extension>, der::Error> {
        let mut extensions = Vec::with_capacity(6);
        if self.role.is_authority() {
            let constraints = BasicConstraints {
                ca: true,
                path_len_constraint: self.path_length,
            };
            extensions.push(extension(true, &constraints)?);
        }
        extensions.push(extension(true, &KeyUsage(self.key_usages()))?);
        if !self.role.is_authority() {
            let purposes = self.purposes.iter().map(|purpose| purpose.oid()).collect();
            extensions.push(extension(false, &ExtendedKeyUsage(purposes))?);
        }
        if !self.alternative_names.is_empty() {
            let names = self.alternative_names.iter();
            let names: Result<Vec<_>, _> = names.map(AlternativeName::to_general_name).collect();
            extensions.push(extension(false, &SubjectAltName(names?))?);
        }
        let identifier = OctetString::new(key_identifier(self.subject_key)?)?;
        extensions.push(extension(false, &SubjectKeyIdentifier(identifier))?);
        if self.role != Role::Root {
            extensions.push(extension(false, &self.authority_key_identifier()?)?);
        }
        if let Some(url) = self.crl_distribution_point {
            extensions.push(extension(false, &distribution_point(url)?)?);
        }
        Ok(extensions)
    }

    fn key_usages(&self) -> FlagSet<KeyUsages> {
        if !self.role.is_authority() {
            return KeyUsages::DigitalSignature.into();
        }
        let usages = KeyUsages::KeyCertSign | KeyUsages::CRLSign;
        if self.digital_signature {
            usages | KeyUsages::DigitalSignature
        } else {
            usages
        }
    }

    fn authority_key_identifier(&self) -> Result<AuthorityKeyIdentifier, der::Error> {
        Ok(AuthorityKeyIdentifier {
            key_identifier: Some(OctetString::new(self.issuer_key_identifier)?),
            authority_cert_issuer: None,
            authority_cert_serial_number: None,
        })
    }
}

fn distribution_point(url: &CrlUrl) -> Result<CrlDistributionPoints, der::Error> {
    let url = GeneralName::UniformResourceIdentifier(Ia5String::new(url.as_str())?);
    Ok(CrlDistributionPoints(vec![DistributionPoint {
        distribution_point: Some(DistributionPointName::FullName(vec![url])),
        reasons: None,
        crl_issuer: None,
    }]))
}

fn extension<T: AssociatedOid + Encode>(
    critical: bool,
    value: &T,
) -> Result<Extension, der::Error> {
    Ok(Extension {
        extn_id: T::OID,
        critical,
        extn_value: OctetString::new(value.to_der()?)?,
    })
}
