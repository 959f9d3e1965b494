//! What a certificate of a role may contain, and the extensions that say so (RFC 5280 §4.2).
//!
//! The choices are those that OpenSSL in strict mode, Go, webpki, Java, GnuTLS, NSS, pkilint and zlint
//! accept alike. A leaf carries no basicConstraints: CA:FALSE is the default, and DER encodes none.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use const_oid::AssociatedOid;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use der::asn1::OctetString;
use der::flagset::FlagSet;
use der::{Decode as _, Encode};
use serde::{Deserialize, Serialize};
use spki::SubjectPublicKeyInfoRef;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectKeyIdentifier,
};

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

/// The SHA-1 of a public key's bits: key identifier by method 1 of RFC 5280 §4.2.1.2.
pub(crate) fn key_identifier(public_key: &[u8]) -> Result<Vec<u8>, der::Error> {
    let spki = SubjectPublicKeyInfoRef::from_der(public_key)?;
    let bits = spki.subject_public_key.raw_bytes();
    Ok(digest(&SHA1_FOR_LEGACY_USE_ONLY, bits).as_ref().to_vec())
}

/// What the extensions of one certificate are made from.
pub(crate) struct ExtensionFacts<'a> {
    pub(crate) role: Role,
    pub(crate) path_length: Option<u8>,
    pub(crate) purposes: &'a [KeyPurpose],
    pub(crate) subject_key: &'a [u8],
    pub(crate) issuer_key_identifier: &'a [u8],
}

impl ExtensionFacts<'_> {
    /// The extensions, in a fixed order.
    pub(crate) fn extensions(&self) -> Result<Vec<Extension>, der::Error> {
        let mut extensions = Vec::with_capacity(5);
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
        let identifier = OctetString::new(key_identifier(self.subject_key)?)?;
        extensions.push(extension(false, &SubjectKeyIdentifier(identifier))?);
        if self.role != Role::Root {
            extensions.push(extension(false, &self.authority_key_identifier()?)?);
        }
        Ok(extensions)
    }

    fn key_usages(&self) -> FlagSet<KeyUsages> {
        if self.role.is_authority() {
            KeyUsages::KeyCertSign | KeyUsages::CRLSign
        } else {
            KeyUsages::DigitalSignature.into()
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
