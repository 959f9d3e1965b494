//! Certificates, signing requests and public keys for people and for scripts.

use std::fmt;

use const_oid::db::DB;
use const_oid::db::rfc5912::{ID_EC_PUBLIC_KEY, RSA_ENCRYPTION};
use const_oid::{AssociatedOid as _, ObjectIdentifier};
use der::asn1::UintRef;
use der::{Decode as _, Sequence};
use pki_core::certificate::Certificate;
use pki_core::csr::SigningRequest;
use pki_core::ids::{RegistrationId, SerialNumber, Sha1Thumbprint, Sha256Thumbprint};
use pki_core::time::Time;
use serde::Serialize;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage,
    SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::outside::Outside;

/// What tells a certificate from others, and how long it is valid.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSummary {
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its number at the issuer.
    pub serial_number: SerialNumber,
    /// First moment of validity.
    pub not_before: Time,
    /// Last moment of validity.
    pub not_after: Time,
    /// SHA-1 of the DER.
    pub sha1_thumbprint: Sha1Thumbprint,
    /// SHA-256 of the DER.
    pub sha256_thumbprint: Sha256Thumbprint,
}

/// What a certificate says.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFacts {
    /// The part that is always told.
    #[serde(flatten)]
    pub summary: CertificateSummary,
    /// 1, 2 or 3.
    pub version: u8,
    /// The kind of its key, such as `EC P-256`.
    pub public_key: String,
    /// The algorithm of its signature.
    pub signature_algorithm: String,
    /// Whether it is a CA's.
    pub is_ca: bool,
    /// Its extensions in their order.
    pub extensions: Vec<ExtensionFacts>,
}

/// One extension.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionFacts {
    /// Its name in RFC 5280, or the object identifier.
    pub name: String,
    /// Its object identifier.
    pub oid: String,
    /// Whether a reader that does not know it must refuse the certificate.
    pub critical: bool,
    /// What it says; hex where this program does not know how to read it.
    pub value: String,
}

/// What a signing request says.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestFacts {
    /// Whom it names.
    pub subject: String,
    /// What its CN makes it at DPS, if it can be one.
    pub registration_id: Option<RegistrationId>,
    /// The kind of its key.
    pub public_key: String,
    /// The extensions that it asks for; none is granted.
    pub requested_extensions: Vec<String>,
}

impl From<&Certificate> for CertificateSummary {
    fn from(certificate: &Certificate) -> Self {
        Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial_number: certificate.serial_number().clone(),
            not_before: certificate.validity().not_before(),
            not_after: certificate.validity().not_after(),
            sha1_thumbprint: certificate.sha1_thumbprint(),
            sha256_thumbprint: certificate.sha256_thumbprint(),
        }
    }
}

impl From<&Certificate> for CertificateFacts {
    fn from(certificate: &Certificate) -> Self {
        let parsed = certificate.parsed();
        let extensions = parsed.tbs_certificate().extensions().map(Vec::as_slice);
        Self {
            summary: CertificateSummary::from(certificate),
            version: certificate.version(),
            public_key: public_key(&certificate.public_key()),
            signature_algorithm: name_of(parsed.signature_algorithm().oid),
            is_ca: certificate.is_ca(),
            extensions: extensions
                .unwrap_or_default()
                .iter()
                .map(Into::into)
                .collect(),
        }
    }
}

impl From<&SigningRequest> for RequestFacts {
    fn from(request: &SigningRequest) -> Self {
        Self {
            subject: request.subject().to_string(),
            registration_id: request
                .subject()
                .common_name()
                .and_then(|name| name.parse().ok()),
            public_key: public_key(request.public_key()),
            requested_extensions: request.requested_extensions(),
        }
    }
}

impl From<&Extension> for ExtensionFacts {
    fn from(extension: &Extension) -> Self {
        let octets = extension.extn_value.as_bytes();
        Self {
            name: name_of(extension.extn_id),
            oid: extension.extn_id.to_string(),
            critical: extension.critical,
            value: value_of(extension.extn_id, octets).unwrap_or_else(|| hex(octets)),
        }
    }
}

/// The kind of a public key in SubjectPublicKeyInfo DER: `EC P-256`, `RSA 2048`, `Ed25519`.
pub fn public_key(der: &[u8]) -> String {
    #[derive(Sequence)]
    struct RsaPublicKey<'a> {
        modulus: UintRef<'a>,
        public_exponent: UintRef<'a>,
    }
    let Ok(info) = SubjectPublicKeyInfoRef::from_der(der) else {
        return "unreadable".to_owned();
    };
    match info.algorithm.oid {
        RSA_ENCRYPTION => {
            let key = info
                .subject_public_key
                .as_bytes()
                .map(RsaPublicKey::from_der);
            match key {
                Some(Ok(key)) => format!("RSA {}", bit_length(key.modulus.as_bytes())),
                _ => "RSA, unreadable".to_owned(),
            }
        }
        ID_EC_PUBLIC_KEY => match info.algorithm.parameters_oid() {
            Ok(curve) => format!("EC {}", curve_name(curve)),
            Err(_) => "EC, unnamed curve".to_owned(),
        },
        const_oid::db::rfc8410::ID_ED_25519 => "Ed25519".to_owned(),
        other => name_of(other),
    }
}

fn curve_name(curve: ObjectIdentifier) -> String {
    match curve {
        const_oid::db::rfc5912::SECP_256_R_1 => "P-256".to_owned(),
        const_oid::db::rfc5912::SECP_384_R_1 => "P-384".to_owned(),
        const_oid::db::rfc5912::SECP_521_R_1 => "P-521".to_owned(),
        other => name_of(other),
    }
}

fn bit_length(octets: &[u8]) -> u32 {
    let leading = octets.first().map_or(0, |first| first.leading_zeros());
    let octets = u32::try_from(octets.len()).unwrap_or(u32::MAX);
    octets.saturating_mul(8).saturating_sub(leading)
}

/// An object identifier's name without its prefix, `basicConstraints` for `id-ce-basicConstraints`.
fn name_of(oid: ObjectIdentifier) -> String {
    match DB.by_oid(&oid) {
        Some(name) => name
            .trim_start_matches("id-ce-")
            .trim_start_matches("id-kp-")
            .to_owned(),
        None => oid.to_string(),
    }
}

fn value_of(oid: ObjectIdentifier, octets: &[u8]) -> Option<String> {
    let text = match oid {
        BasicConstraints::OID => basic_constraints(&BasicConstraints::from_der(octets).ok()?),
        KeyUsage::OID => key_usage(&KeyUsage::from_der(octets).ok()?),
        ExtendedKeyUsage::OID => {
            let purposes = ExtendedKeyUsage::from_der(octets).ok()?.0;
            purposes
                .into_iter()
                .map(name_of)
                .collect::<Vec<_>>()
                .join(", ")
        }
        SubjectKeyIdentifier::OID => hex(SubjectKeyIdentifier::from_der(octets).ok()?.0.as_bytes()),
        AuthorityKeyIdentifier::OID => {
            let identifier = AuthorityKeyIdentifier::from_der(octets).ok()?;
            hex(identifier.key_identifier?.as_bytes())
        }
        SubjectAltName::OID => {
            let names = SubjectAltName::from_der(octets).ok()?.0;
            names
                .iter()
                .map(general_name)
                .collect::<Option<Vec<_>>>()?
                .join(", ")
        }
        CrlDistributionPoints::OID => {
            let points = CrlDistributionPoints::from_der(octets).ok()?.0;
            points
                .iter()
                .map(distribution_point)
                .collect::<Option<Vec<_>>>()?
                .join(", ")
        }
        _ => return None,
    };
    Some(text)
}

/// The URLs of a place where CRLs can be fetched; one that is named in another way is left as hex.
fn distribution_point(point: &DistributionPoint) -> Option<String> {
    let DistributionPointName::FullName(names) = point.distribution_point.as_ref()? else {
        return None;
    };
    Some(
        names
            .iter()
            .map(general_name)
            .collect::<Option<Vec<_>>>()?
            .join(", "),
    )
}

fn basic_constraints(constraints: &BasicConstraints) -> String {
    match (constraints.ca, constraints.path_len_constraint) {
        (true, Some(length)) => format!("CA, path length {length}"),
        (true, None) => "CA".to_owned(),
        (false, _) => "not a CA".to_owned(),
    }
}

fn key_usage(usage: &KeyUsage) -> String {
    let bits = [
        ("digitalSignature", usage.digital_signature()),
        ("nonRepudiation", usage.non_repudiation()),
        ("keyEncipherment", usage.key_encipherment()),
        ("dataEncipherment", usage.data_encipherment()),
        ("keyAgreement", usage.key_agreement()),
        ("keyCertSign", usage.key_cert_sign()),
        ("cRLSign", usage.crl_sign()),
        ("encipherOnly", usage.encipher_only()),
        ("decipherOnly", usage.decipher_only()),
    ];
    bits.iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(", ")
}

fn general_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(format!("DNS:{}", name.as_str())),
        GeneralName::Rfc822Name(name) => Some(format!("email:{}", name.as_str())),
        GeneralName::UniformResourceIdentifier(name) => Some(format!("URI:{}", name.as_str())),
        GeneralName::DirectoryName(name) => Some(format!("DirName:{name}")),
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let four = <[u8; 4]>::try_from(octets).map(std::net::IpAddr::from);
            let address =
                four.or_else(|_| <[u8; 16]>::try_from(octets).map(std::net::IpAddr::from));
            address.ok().map(|address| format!("IP:{address}"))
        }
        _ => None,
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}

impl fmt::Display for CertificateFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = &self.summary;
        writeln!(f, "  subject     {}", Outside(&summary.subject))?;
        writeln!(f, "  issuer      {}", Outside(&summary.issuer))?;
        writeln!(f, "  serial      {}", summary.serial_number)?;
        writeln!(f, "  not before  {}", summary.not_before)?;
        writeln!(f, "  not after   {}", summary.not_after)?;
        writeln!(f, "  key         {}", self.public_key)?;
        writeln!(f, "  signature   {}", self.signature_algorithm)?;
        writeln!(f, "  SHA-1       {}", summary.sha1_thumbprint)?;
        write!(f, "  SHA-256     {}", summary.sha256_thumbprint)?;
        for extension in &self.extensions {
            write!(f, "\n  {extension}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ExtensionFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let critical = if self.critical { " (critical)" } else { "" };
        write!(
            f,
            "{}{critical}: {}",
            Outside(&self.name),
            Outside(&self.value)
        )
    }
}

impl fmt::Display for RequestFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  subject          {}", Outside(&self.subject))?;
        if let Some(id) = &self.registration_id {
            writeln!(f, "  registration ID  {id}")?;
        }
        write!(f, "  key              {}", self.public_key)?;
        if !self.requested_extensions.is_empty() {
            write!(
                f,
                "\n  asks for         {}",
                Outside(self.requested_extensions.join(", "))
            )?;
        }
        Ok(())
    }
}
