//! One certificate: its bytes, its identity and what it says (RFC 5280 §4).
//!
//! Reading only; composing and signing are [`crate::issue`], judging a path is [`crate::path`].
//! Invariant: the DER is kept as it was read; thumbprints and signatures are over those bytes.

mod early;
pub mod pem;

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use const_oid::AssociatedOid;
use der::{Decode, Encode as _};
use openssl::error::ErrorStack;
use openssl::x509::X509;
use x509_cert::certificate::Version;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier,
};

use crate::ids::{SerialNumber, Sha1Thumbprint, Sha256Thumbprint};
use crate::key::{KeyIdentity, SignatureError};
use crate::name::DistinguishedName;
use crate::signed::Signed;
use crate::time::{Time, Validity};

/// An X.509 certificate. Clones share one copy of it.
#[derive(Clone)]
pub struct Certificate(Arc<Facts>);

struct Facts {
    der: Vec<u8>,
    serial_number: SerialNumber,
    validity: Validity,
    /// Decoded when first asked for: certificates that were just made in bulk never are, and take no
    /// room for it.
    parsed: OnceLock<Box<x509_cert::Certificate>>,
    sha1_thumbprint: OnceLock<Sha1Thumbprint>,
    sha256_thumbprint: OnceLock<Sha256Thumbprint>,
    key_identity: OnceLock<KeyIdentity>,
    /// What OpenSSL made of it. It takes longer to read one than to check a signature, and a trusted
    /// certificate stands in many paths.
    library: OnceLock<X509>,
    /// The public key that made its signature, once one was found to.
    signer: OnceLock<Box<[u8]>>,
}

impl Facts {
    fn new(der: Vec<u8>, serial_number: SerialNumber, validity: Validity) -> Self {
        Self {
            der,
            serial_number,
            validity,
            parsed: OnceLock::new(),
            sha1_thumbprint: OnceLock::new(),
            sha256_thumbprint: OnceLock::new(),
            key_identity: OnceLock::new(),
            library: OnceLock::new(),
            signer: OnceLock::new(),
        }
    }
}

/// Why bytes are no certificate that can be worked with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The bytes are not the DER of a certificate.
    #[error("not a certificate in DER")]
    Der(#[source] der::Error),
    /// The serial number is negative or longer than 20 octets (RFC 5280 §4.1.2.2).
    #[error("the certificate's serial number is negative or longer than 20 bytes")]
    SerialNumber,
    /// The certificate ends before it begins, or outside of the years 1950 to 9999.
    #[error("the certificate's validity is empty or out of range")]
    Validity,
}

impl Certificate {
    /// Reads DER.
    ///
    /// # Errors
    /// [`CertificateError`] says which part cannot be read.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let (parsed, validity) = decode(der)?;
        let tbs = parsed.tbs_certificate();
        let serial = tbs.serial_number().as_bytes();
        if serial.first().is_some_and(|octet| octet & 0x80 != 0) {
            return Err(CertificateError::SerialNumber);
        }
        let serial_number =
            SerialNumber::from_be_octets(serial).map_err(|_| CertificateError::SerialNumber)?;
        let validity = validity.ok_or(CertificateError::Validity)?;
        let facts = Facts {
            parsed: Box::new(parsed).into(),
            ..Facts::new(der.to_vec(), serial_number, validity)
        };
        Ok(Self(Arc::new(facts)))
    }

    /// A certificate of ours whose to-be-signed part was decoded and checked before it was signed, so
    /// that it need not be decoded again.
    pub(crate) fn just_signed(
        der: Vec<u8>,
        serial_number: SerialNumber,
        validity: Validity,
    ) -> Self {
        Self(Arc::new(Facts::new(der, serial_number, validity)))
    }

    /// The DER as it was read.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// The certificate as PEM text, lines of 64, ended by a line feed.
    pub fn to_pem(&self) -> String {
        crate::pem::block("CERTIFICATE", &self.0.der)
    }

    /// SHA-1 of the DER: an identifier, as ARM and the portal show it.
    pub fn sha1_thumbprint(&self) -> Sha1Thumbprint {
        *self.0.sha1_thumbprint.get_or_init(|| {
            let mut octets = [0; 20];
            octets.copy_from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, self.der()).as_ref());
            Sha1Thumbprint::from_digest(octets)
        })
    }

    /// SHA-256 of the DER.
    pub fn sha256_thumbprint(&self) -> Sha256Thumbprint {
        *self.0.sha256_thumbprint.get_or_init(|| {
            let mut octets = [0; 32];
            octets.copy_from_slice(digest(&SHA256, self.der()).as_ref());
            Sha256Thumbprint::from_digest(octets)
        })
    }

    /// The serial number.
    pub fn serial_number(&self) -> &SerialNumber {
        &self.0.serial_number
    }

    /// When it is valid.
    pub fn validity(&self) -> Validity {
        self.0.validity
    }

    /// Whose certificate it is.
    pub fn subject(&self) -> DistinguishedName {
        DistinguishedName::from_name(self.parsed().tbs_certificate().subject().clone())
    }

    /// Who signed it.
    pub fn issuer(&self) -> DistinguishedName {
        DistinguishedName::from_name(self.parsed().tbs_certificate().issuer().clone())
    }

    /// The subject's common name, if there is exactly one: the registration ID of a device.
    pub fn common_name(&self) -> Option<String> {
        self.subject().common_name()
    }

    /// The public key as SubjectPublicKeyInfo DER.
    pub fn public_key(&self) -> Vec<u8> {
        self.parsed()
            .tbs_certificate()
            .subject_public_key_info()
            .to_der()
            .unwrap_or_default()
    }

    /// Which public key it is for. Nothing else of the certificate is decoded for it.
    pub fn key_identity(&self) -> KeyIdentity {
        *self.0.key_identity.get_or_init(|| {
            let read = KeyIdentity::in_certificate(self.der());
            read.unwrap_or_else(|| KeyIdentity::of(&self.public_key()))
        })
    }

    /// 1, 2 or 3.
    pub fn version(&self) -> u8 {
        match self.parsed().tbs_certificate().version() {
            Version::V1 => 1,
            Version::V2 => 2,
            Version::V3 => 3,
        }
    }

    /// The whole structure, for readers that want more than the methods here. A time before 1970 is
    /// 1970 there: [`Certificate::validity`] is what stands in the certificate.
    #[expect(
        clippy::expect_used,
        reason = "what was signed was decoded before, see just_signed"
    )]
    pub fn parsed(&self) -> &x509_cert::Certificate {
        let decode =
            || x509_cert::Certificate::from_der(self.der()).expect("a decodable certificate");
        self.0.parsed.get_or_init(|| Box::new(decode()))
    }

    /// Whether basicConstraints says CA:TRUE (RFC 5280 §4.2.1.9).
    pub fn is_ca(&self) -> bool {
        self.basic_constraints()
            .is_some_and(|constraints| constraints.ca)
    }

    /// Basic constraints, if present and readable.
    pub fn basic_constraints(&self) -> Option<BasicConstraints> {
        self.extension()
    }

    /// Key usage, if present and readable.
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.extension()
    }

    /// Extended key usage, if present and readable.
    pub fn extended_key_usage(&self) -> Option<ExtendedKeyUsage> {
        self.extension()
    }

    /// The octets of the subject key identifier.
    pub fn subject_key_identifier(&self) -> Option<Vec<u8>> {
        self.extension::<SubjectKeyIdentifier>()
            .map(|identifier| identifier.0.as_bytes().to_vec())
    }

    /// The octets of the authority key identifier's keyIdentifier.
    pub fn authority_key_identifier(&self) -> Option<Vec<u8>> {
        let identifier = self.extension::<AuthorityKeyIdentifier>()?.key_identifier?;
        Some(identifier.as_bytes().to_vec())
    }

    /// Whether subject and issuer are the same name.
    pub fn is_self_issued(&self) -> bool {
        let tbs = self.parsed().tbs_certificate();
        tbs.subject() == tbs.issuer()
    }

    /// Whether `issuer`'s name is this certificate's issuer and its key made this signature. Nothing
    /// else is checked: no dates, no constraints.
    pub fn is_issued_by(&self, issuer: &Self) -> bool {
        self.parsed().tbs_certificate().issuer() == issuer.parsed().tbs_certificate().subject()
            && self.verify_signature(&issuer.public_key()).is_ok()
    }

    /// Checks this certificate's signature with a public key (SubjectPublicKeyInfo DER).
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify_signature(&self, public_key: &[u8]) -> Result<(), SignatureError> {
        let signer = &self.0.signer;
        if signer.get().is_some_and(|known| **known == *public_key) {
            return Ok(());
        }
        let signed = Signed::from_der(self.der()).map_err(|_| SignatureError::Mismatch)?;
        signed.verify(public_key)?;
        signer.get_or_init(|| public_key.into());
        Ok(())
    }

    /// The certificate as OpenSSL reads it.
    pub(crate) fn library(&self) -> Result<X509, ErrorStack> {
        if let Some(read) = self.0.library.get() {
            return Ok(read.clone());
        }
        let read = X509::from_der(self.der())?;
        Ok(self.0.library.get_or_init(|| read).clone())
    }

    fn extension<'a, T: Decode<'a> + AssociatedOid>(&'a self) -> Option<T> {
        let (_, value) = self
            .parsed()
            .tbs_certificate()
            .get_extension::<T>()
            .ok()
            .flatten()?;
        Some(value)
    }
}

/// Decodes a certificate, and when it is valid, unless that is empty or out of range.
fn decode(der: &[u8]) -> Result<(x509_cert::Certificate, Option<Validity>), CertificateError> {
    match x509_cert::Certificate::from_der(der) {
        Ok(parsed) => {
            let validity = parsed.tbs_certificate().validity();
            let validity = validity_of(&validity.not_before, &validity.not_after);
            Ok((parsed, validity))
        }
        Err(error) => {
            let early = early::read(der).ok_or(CertificateError::Der(error))?;
            Ok((
                early.parsed,
                Validity::new(early.not_before, early.not_after),
            ))
        }
    }
}

pub(crate) fn validity_of(
    not_before: &x509_cert::time::Time,
    not_after: &x509_cert::time::Time,
) -> Option<Validity> {
    let moment = |time: &x509_cert::time::Time| {
        let seconds = i64::try_from(time.to_unix_duration().as_secs()).ok()?;
        Time::from_unix_seconds(seconds).ok()
    };
    Validity::new(moment(not_before)?, moment(not_after)?)
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.der() == other.der()
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Certificate({}, serial {})",
            self.subject(),
            self.serial_number()
        )
    }
}
