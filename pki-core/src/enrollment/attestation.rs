//! How an entry recognises its devices: certificates in two slots, CA references, or keys.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::OtherMembers;
use crate::certificate::Certificate;
use crate::certificate::pem::certificate_in_json;
use crate::document::{keeps_nulls, same, told};
use crate::ids::{CertificateName, Sha1Thumbprint, Sha256Thumbprint};

/// The `attestation` member of an enrollment or group.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "WireAttestation", into = "WireAttestation")]
pub struct Attestation {
    /// The mechanism and what it needs.
    pub mechanism: Mechanism,
    /// Members beside the mechanism that this crate does not know, or that were null.
    pub other: OtherMembers,
    /// Members of `x509` that this crate does not know, or that were null.
    pub other_x509: OtherMembers,
}

/// An attestation mechanism.
#[expect(
    clippy::large_enum_variant,
    reason = "documents are read one by one; a box would only stand in the way of matching"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mechanism {
    /// X.509 certificates.
    X509(X509Certificates),
    /// Shared keys; `None` where the service left them out of its answer.
    SymmetricKey(Option<SymmetricKeys>),
    /// A trusted platform module; kept as the service wrote it.
    Tpm(Value),
    /// A mechanism that this crate does not know; its members are in [`Attestation::other`].
    Other(String),
}

/// The certificates of an X.509 attestation. DPS allows exactly one of the three kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum X509Certificates {
    /// The leaf itself, in an individual enrollment.
    Client(Slots<CertificateSlot>),
    /// The certificate right above the leaves (or further up), in a group.
    Signing(Slots<CertificateSlot>),
    /// Names of CA certificates that DPS holds, in a group.
    CaReferences(Slots<CertificateName>),
}

/// The two slots that let a certificate be rolled: equal at admission.
///
/// DPS answers a single certificate in both slots, and nobody has recorded whether it stores the copy or
/// only shows it. So two slots with one certificate are one certificate and a free slot here: what reads
/// slots reads [`Self::iter`], and what writes a record back leaves the copy out
/// ([`Attestation::without_copies`]). The service then either fills the free slot again or does not, and
/// both mean the same.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(remote = "Self", bound(deserialize = "T: serde::de::DeserializeOwned"))]
pub struct Slots<T> {
    /// The primary slot. A record with only a secondary makes Microsoft's C# SDK throw.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub primary: Option<T>,
    /// The secondary slot.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub secondary: Option<T>,
    /// Members that this crate does not know, and those that were null.
    #[serde(flatten, serialize_with = "told")]
    pub other: OtherMembers,
}

keeps_nulls!(Slots<T>);

/// Null is absent.
impl<T: PartialEq> PartialEq for Slots<T> {
    fn eq(&self, other: &Self) -> bool {
        self.primary == other.primary
            && self.secondary == other.secondary
            && same(&self.other, &other.other)
    }
}

impl<T: Eq> Eq for Slots<T> {}

impl<T> Slots<T> {
    /// The primary slot alone.
    pub fn primary(value: T) -> Self {
        Self {
            primary: Some(value),
            secondary: None,
            other: OtherMembers::new(),
        }
    }
}

/// What can be in a slot.
pub trait SlotContent {
    /// Whether both are the same certificate.
    fn is_same(&self, other: &Self) -> bool;
}

impl SlotContent for CertificateSlot {
    fn is_same(&self, other: &Self) -> bool {
        match (self.sha256_thumbprint(), other.sha256_thumbprint()) {
            (Some(one), Some(two)) => one == two,
            // Of a slot that cannot be told nothing is known; it is not taken for a copy.
            _ => false,
        }
    }
}

impl SlotContent for CertificateName {
    fn is_same(&self, other: &Self) -> bool {
        self == other
    }
}

impl<T: SlotContent> Slots<T> {
    /// What the slots hold, primary first; a copy of it in the secondary slot is left out.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let secondary = self.secondary.iter().filter(|_| !self.has_copy());
        self.primary.iter().chain(secondary)
    }

    /// Whether the secondary slot holds the certificate of the primary one again.
    pub fn has_copy(&self) -> bool {
        match (&self.primary, &self.secondary) {
            (Some(primary), Some(secondary)) => primary.is_same(secondary),
            _ => false,
        }
    }

    /// Empties the secondary slot if it holds a copy.
    pub fn free_copy(&mut self) {
        if self.has_copy() {
            self.secondary = None;
        }
    }
}

/// A certificate in a slot. What goes in is `certificate`; what comes back may be `info` alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct CertificateSlot {
    /// PEM text, base64 of DER or base64 of PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// What the service read in the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<CertificateInfo>,
    /// Members that this crate does not know, and those that were null.
    #[serde(flatten, serialize_with = "told")]
    pub other: OtherMembers,
}

/// What the service tells of a certificate (`X509CertificateInfo`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct CertificateInfo {
    /// The subject in .NET's order and style: `CN=device-001, O=Contoso`.
    pub subject_name: String,
    /// SHA-1 of the DER.
    pub sha1_thumbprint: Sha1Thumbprint,
    /// SHA-256 of the DER.
    pub sha256_thumbprint: Sha256Thumbprint,
    /// The issuer, as the subject.
    pub issuer_name: String,
    /// First moment of validity, ISO 8601.
    pub not_before_utc: String,
    /// Last moment of validity, ISO 8601.
    pub not_after_utc: String,
    /// Upper-case hex, big-endian, as .NET prints it.
    pub serial_number: String,
    /// 1 or 3.
    pub version: u8,
    /// Members that this crate does not know, and those that were null.
    #[serde(flatten, serialize_with = "told")]
    pub other: OtherMembers,
}

impl CertificateInfo {
    /// What DPS tells of a certificate in enrollments.
    pub fn of(certificate: &Certificate) -> Self {
        Self {
            subject_name: certificate.subject().to_string(),
            sha1_thumbprint: certificate.sha1_thumbprint(),
            sha256_thumbprint: certificate.sha256_thumbprint(),
            issuer_name: certificate.issuer().to_string(),
            not_before_utc: certificate.validity().not_before().to_string(),
            not_after_utc: certificate.validity().not_after().to_string(),
            serial_number: certificate.serial_number().to_string().to_ascii_uppercase(),
            version: certificate.version(),
            other: OtherMembers::new(),
        }
    }
}

/// A shared key in base64. It travels in the documents of the wire, so it serialises; it never prints.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SymmetricKey(String);

impl SymmetricKey {
    /// Takes a key in base64.
    pub fn from_base64(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The key in base64; for the wire and for signing tokens only.
    pub fn expose_base64(&self) -> &str {
        &self.0
    }
}

impl Drop for SymmetricKey {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

impl fmt::Debug for SymmetricKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The two keys of a symmetric-key attestation. The service makes those that are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct SymmetricKeys {
    /// The primary key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_key: Option<SymmetricKey>,
    /// The secondary key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secondary_key: Option<SymmetricKey>,
    /// Members that this crate does not know, and those that were null.
    #[serde(flatten, serialize_with = "told")]
    pub other: OtherMembers,
}

keeps_nulls!(CertificateSlot);
keeps_nulls!(CertificateInfo);
keeps_nulls!(SymmetricKeys);

/// Null is absent.
impl PartialEq for Attestation {
    fn eq(&self, other: &Self) -> bool {
        self.mechanism == other.mechanism
            && same(&self.other, &other.other)
            && same(&self.other_x509, &other.other_x509)
    }
}

impl Eq for Attestation {}

impl Attestation {
    /// An attestation by these certificates.
    pub fn x509(certificates: X509Certificates) -> Self {
        Self::from(Mechanism::X509(certificates))
    }

    /// An attestation by keys that the service makes.
    pub fn generated_keys() -> Self {
        Self::from(Mechanism::SymmetricKey(None))
    }

    /// The attestation as it is to be written back: with one certificate in one slot. A copy that the
    /// service only showed could not be kept: it would be sent with `info` alone for a slot that holds
    /// nothing.
    #[must_use]
    pub fn without_copies(&self) -> Self {
        let mut written = self.clone();
        match &mut written.mechanism {
            Mechanism::X509(X509Certificates::Client(slots) | X509Certificates::Signing(slots)) => {
                slots.free_copy();
            }
            Mechanism::X509(X509Certificates::CaReferences(slots)) => slots.free_copy(),
            Mechanism::SymmetricKey(_) | Mechanism::Tpm(_) | Mechanism::Other(_) => {}
        }
        written
    }

    /// The mechanism's word on the wire.
    pub fn kind(&self) -> &str {
        match &self.mechanism {
            Mechanism::X509(_) => "x509",
            Mechanism::SymmetricKey(_) => "symmetricKey",
            Mechanism::Tpm(_) => "tpm",
            Mechanism::Other(word) => word,
        }
    }
}

impl From<Mechanism> for Attestation {
    fn from(mechanism: Mechanism) -> Self {
        Self {
            mechanism,
            other: OtherMembers::new(),
            other_x509: OtherMembers::new(),
        }
    }
}

impl CertificateSlot {
    /// A slot that holds this PEM text.
    pub fn from_pem(pem: impl Into<String>) -> Self {
        Self {
            certificate: Some(pem.into()),
            ..Self::default()
        }
    }

    /// The identity of the certificate in the slot: as the service tells it, else by reading the
    /// certificate; `None` if neither is there or readable.
    pub fn sha256_thumbprint(&self) -> Option<Sha256Thumbprint> {
        self.info
            .as_ref()
            .map(|info| info.sha256_thumbprint)
            .or_else(|| {
                Some(certificate_in_json(self.certificate.as_deref()?)?.sha256_thumbprint())
            })
    }
}

/// The attestation as it stands on the wire: a word, and one member of that name.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
struct WireAttestation {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x509: Option<WireX509>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    symmetric_key: Option<SymmetricKeys>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tpm: Option<Value>,
    #[serde(flatten, serialize_with = "told")]
    other: OtherMembers,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
struct WireX509 {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_certificates: Option<Slots<CertificateSlot>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signing_certificates: Option<Slots<CertificateSlot>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_references: Option<Slots<CertificateName>>,
    #[serde(flatten, serialize_with = "told")]
    other: OtherMembers,
}

keeps_nulls!(WireAttestation);
keeps_nulls!(WireX509);

/// Why an attestation document makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum AttestationError {
    #[error(
        "attestation of type x509 needs exactly one of clientCertificates, signingCertificates and caReferences"
    )]
    NotOneKind,
    #[error("attestation of type x509 has no member x509")]
    NoX509,
}

impl TryFrom<WireAttestation> for Attestation {
    type Error = AttestationError;

    fn try_from(wire: WireAttestation) -> Result<Self, AttestationError> {
        let mut other_x509 = OtherMembers::new();
        let mechanism = match wire.kind.as_str() {
            "x509" => {
                let mut x509 = wire.x509.ok_or(AttestationError::NoX509)?;
                other_x509 = std::mem::take(&mut x509.other);
                Mechanism::X509(x509.try_into()?)
            }
            "symmetricKey" => Mechanism::SymmetricKey(wire.symmetric_key),
            "tpm" => Mechanism::Tpm(wire.tpm.unwrap_or_default()),
            _ => Mechanism::Other(wire.kind),
        };
        Ok(Self {
            mechanism,
            other: wire.other,
            other_x509,
        })
    }
}

impl TryFrom<WireX509> for X509Certificates {
    type Error = AttestationError;

    fn try_from(wire: WireX509) -> Result<Self, AttestationError> {
        match (
            wire.client_certificates,
            wire.signing_certificates,
            wire.ca_references,
        ) {
            (Some(slots), None, None) => Ok(Self::Client(slots)),
            (None, Some(slots), None) => Ok(Self::Signing(slots)),
            (None, None, Some(slots)) => Ok(Self::CaReferences(slots)),
            _ => Err(AttestationError::NotOneKind),
        }
    }
}

impl From<Attestation> for WireAttestation {
    fn from(attestation: Attestation) -> Self {
        let kind = attestation.kind().to_owned();
        let mut wire = Self {
            kind,
            x509: None,
            symmetric_key: None,
            tpm: None,
            other: attestation.other,
        };
        match attestation.mechanism {
            Mechanism::X509(certificates) => {
                let x509 = WireX509::from(certificates);
                wire.x509 = Some(WireX509 {
                    other: attestation.other_x509,
                    ..x509
                });
            }
            Mechanism::SymmetricKey(keys) => wire.symmetric_key = keys,
            Mechanism::Tpm(value) => wire.tpm = Some(value),
            Mechanism::Other(_) => {}
        }
        wire
    }
}

impl From<X509Certificates> for WireX509 {
    fn from(certificates: X509Certificates) -> Self {
        let mut wire = Self::default();
        match certificates {
            X509Certificates::Client(slots) => wire.client_certificates = Some(slots),
            X509Certificates::Signing(slots) => wire.signing_certificates = Some(slots),
            X509Certificates::CaReferences(slots) => wire.ca_references = Some(slots),
        }
        wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn round_trip(document: &Value) -> Value {
        let attestation: Attestation = serde_json::from_value(document.clone()).expect("reads");
        serde_json::to_value(attestation).expect("writes")
    }

    #[test]
    fn every_mechanism_survives_a_round_trip_with_what_we_do_not_know() {
        for document in [
            json!({"type":"x509","x509":{"caReferences":{"primary":"root","later":1},"newer":[1]},"more":true}),
            json!({"type":"x509","x509":{"clientCertificates":{"primary":{"certificate":"PEM","new":"x"}}}}),
            json!({"type":"symmetricKey"}),
            json!({"type":"symmetricKey","symmetricKey":{"primaryKey":"YQ==","secondaryKey":"Yg=="}}),
            json!({"type":"tpm","tpm":{"endorsementKey":"YQ==","storageRootKey":null}}),
            json!({"type":"dice","dice":{"alias":1}}),
            json!({"type":"x509","tpm":null,"x509":{"caReferences":null,"signingCertificates":{
                "primary":{"certificate":null},"secondary":null}}}),
            json!({"type":"symmetricKey","symmetricKey":{"primaryKey":null,"secondaryKey":null}}),
        ] {
            assert_eq!(round_trip(&document), document);
        }
    }

    /// Service API: exactly one of the three members of `x509`.
    #[test]
    fn two_kinds_of_certificates_are_refused() {
        let both = json!({"type":"x509","x509":{"caReferences":{},"signingCertificates":{}}});
        let neither = json!({"type":"x509","x509":{"clientCertificates":null}});
        for document in [both, neither] {
            let error = serde_json::from_value::<Attestation>(document).expect_err("refused");
            assert!(error.to_string().contains("exactly one"), "{error}");
        }
    }

    /// Recorded: a single certificate is answered in both slots, with `info`.
    #[test]
    fn two_slots_with_one_certificate_are_one_certificate_and_a_free_slot() {
        let info = |digit: &str| {
            json!({"info": {
                "subjectName": "CN=a", "issuerName": "CN=a", "serialNumber": "01", "version": 3,
                "sha1Thumbprint": digit.repeat(40), "sha256Thumbprint": digit.repeat(64),
                "notBeforeUtc": "2026-01-01T00:00:00Z", "notAfterUtc": "2027-01-01T00:00:00Z",
            }})
        };
        let read = |secondary: Value| -> Slots<CertificateSlot> {
            let slots = json!({"primary": info("0"), "secondary": secondary});
            serde_json::from_value(slots).expect("slots")
        };
        let mut copied = read(info("0"));
        assert!(copied.has_copy());
        assert_eq!(copied.iter().count(), 1);
        copied.free_copy();
        assert_eq!(
            copied,
            Slots::primary(copied.primary.clone().expect("held"))
        );
        let mut two = read(info("1"));
        assert_eq!(two.iter().count(), 2);
        two.free_copy();
        assert!(two.secondary.is_some(), "another certificate stays");
        assert_eq!(read(json!({})).iter().count(), 2, "nobody knows what it is");
    }

    #[test]
    fn keys_do_not_print() {
        let keys = SymmetricKeys {
            primary_key: Some(SymmetricKey::from_base64("c2VjcmV0")),
            ..SymmetricKeys::default()
        };
        assert!(!format!("{keys:?}").contains("c2VjcmV0"));
    }
}
