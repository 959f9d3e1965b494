//! Certificate revocation lists: compose, sign and read them (RFC 5280 §5).
//!
//! Which serial numbers belong in one, and its number, is the inventory's answer; whether one shuts
//! a path is [`crate::path`]'s. DPS and IoT Hub consult no CRL: to keep a device out, quarantine it.
//! Whole lists only: no deltas, no partitions.
//! Invariant: the CRL number only grows per authority (§5.2.3), so it comes from the inventory.

pub mod pem;
mod reason;

use std::fmt;

use const_oid::AssociatedOid as _;
use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, OctetString, Uint};
use der::{Decode as _, Encode as _, Sequence};
use spki::AlgorithmIdentifierOwned;
use x509_cert::certificate::Version;
use x509_cert::crl::RevokedCert;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, CrlNumber as CrlNumberExtension, CrlReason};
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::Name;
use x509_cert::time::Time as DerTime;

use crate::certificate::Certificate;
use crate::ids::SerialNumber;
use crate::issue::moment;
use crate::key::{KeyError, SignatureError, Signer};
use crate::name::DistinguishedName;
use crate::profile::key_identifier;
use crate::signed::Signed;
use crate::time::Time;

pub use reason::RevocationReason;

/// The number of a CRL: grows with each list of an authority (§5.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct CrlNumber(u64);

impl CrlNumber {
    /// Takes a number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One revoked certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedEntry {
    /// Its serial number at the issuer of the list.
    pub serial_number: SerialNumber,
    /// When it was revoked.
    pub at: Time,
    /// Why.
    pub reason: RevocationReason,
}

/// What a CRL is to say.
#[derive(Debug, Clone)]
pub struct CrlContent {
    /// Its number.
    pub number: CrlNumber,
    /// From when on it holds.
    pub this_update: Time,
    /// When the next one is there at the latest: after it, this one is refused.
    pub next_update: Time,
    /// Every revoked certificate.
    pub revoked: Vec<RevokedEntry>,
}

/// Why there is no CRL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// The bytes are not the DER of a CRL.
    #[error("not a CRL in DER")]
    Der(#[source] der::Error),
    /// A field cannot be worked with.
    #[error("the CRL's {field} cannot be read")]
    Field {
        /// Which field.
        field: &'static str,
    },
    /// The list is a delta or covers a part only, or says something else that must not be ignored.
    #[error(
        "the CRL has the critical extension {oid}: it is a delta or covers a part only, which is not read"
    )]
    Partial {
        /// The extension.
        oid: ObjectIdentifier,
    },
    /// It would be over before it began.
    #[error("the next update of a CRL must come after this one")]
    NextUpdate,
    /// The signer's key is not the issuer's.
    #[error("the key does not belong to the certificate of the CRL's issuer")]
    KeyMismatch,
    /// The issuer's certificate does not allow it to sign CRLs (RFC 5280 §4.2.1.3).
    #[error("the issuer's key usage does not include cRLSign")]
    MayNotSign,
    /// The key failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signature is not the issuer's.
    #[error("the CRL was not signed by {issuer}")]
    Signature {
        /// Who should have signed it.
        issuer: String,
        /// What is wrong with the signature.
        source: SignatureError,
    },
}

/// A CRL, as it was read or made.
#[derive(Clone)]
pub struct Crl {
    der: Vec<u8>,
    version: u8,
    issuer: DistinguishedName,
    number: Option<CrlNumber>,
    this_update: Time,
    next_update: Option<Time>,
    /// In the order of their serial numbers.
    revoked: Vec<RevokedEntry>,
}

#[derive(Sequence)]
struct ToBeSigned<'a> {
    version: Version,
    signature: AlgorithmIdentifierOwned,
    issuer: AnyRef<'a>,
    this_update: DerTime,
    next_update: DerTime,
    #[asn1(optional = "true")]
    revoked: Option<Vec<RevokedCert>>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    extensions: Extensions,
}

/// What is signed of a list of either version: the first has no extensions (§5.1.2).
#[derive(Sequence)]
struct TbsCertList {
    #[asn1(optional = "true")]
    version: Option<Version>,
    _signature: AlgorithmIdentifierOwned,
    issuer: Name,
    this_update: DerTime,
    #[asn1(optional = "true")]
    next_update: Option<DerTime>,
    #[asn1(optional = "true")]
    revoked: Option<Vec<RevokedCert>>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Extensions>,
}

impl Crl {
    /// Composes a list and signs it with the key of `issuer`.
    ///
    /// # Errors
    /// [`CrlError::KeyMismatch`], [`CrlError::MayNotSign`], [`CrlError::NextUpdate`],
    /// [`CrlError::Key`].
    pub fn issue(
        issuer: &Certificate,
        signer: &dyn Signer,
        content: CrlContent,
    ) -> Result<Self, CrlError> {
        if signer.public_key() != issuer.public_key() {
            return Err(CrlError::KeyMismatch);
        }
        if !may_sign(issuer) {
            return Err(CrlError::MayNotSign);
        }
        if content.next_update <= content.this_update {
            return Err(CrlError::NextUpdate);
        }
        let algorithm = signer.signature_algorithm().identifier();
        let tbs = encode(issuer, algorithm.clone(), content).map_err(CrlError::Der)?;
        let signature = signer.sign(&tbs)?;
        let der = Signed::assemble(&tbs, algorithm, &signature).map_err(CrlError::Der)?;
        let crl = Self::from_der(&der)?;
        crl.verify(issuer)?;
        Ok(crl)
    }

    /// Reads DER.
    ///
    /// # Errors
    /// [`CrlError::Der`], [`CrlError::Field`], [`CrlError::Partial`].
    pub fn from_der(der: &[u8]) -> Result<Self, CrlError> {
        let signed = Signed::from_der(der).map_err(CrlError::Der)?;
        let tbs = TbsCertList::from_der(signed.content()).map_err(CrlError::Der)?;
        let extensions = tbs.extensions.unwrap_or_default();
        if let Some(critical) = extensions.iter().find(|extension| extension.critical) {
            let oid = critical.extn_id;
            return Err(CrlError::Partial { oid });
        }
        let next_update = match &tbs.next_update {
            Some(time) => Some(read_time(time, "nextUpdate")?),
            None => None,
        };
        let revoked = tbs.revoked.unwrap_or_default();
        let mut revoked = revoked.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        revoked.sort_by(|one, other| one.serial_number.cmp(&other.serial_number));
        Ok(Self {
            der: der.to_vec(),
            version: if tbs.version.is_some() { 2 } else { 1 },
            issuer: DistinguishedName::from_name(tbs.issuer),
            number: number(&extensions)?,
            this_update: read_time(&tbs.this_update, "thisUpdate")?,
            next_update,
            revoked,
        })
    }

    /// The DER as it was read or made.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The list as PEM text.
    pub fn to_pem(&self) -> String {
        crate::pem::block("X509 CRL", &self.der)
    }

    /// 1 or 2.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Whose list it is.
    pub fn issuer(&self) -> &DistinguishedName {
        &self.issuer
    }

    /// Its number; lists of version 1 have none.
    pub fn number(&self) -> Option<CrlNumber> {
        self.number
    }

    /// From when on it holds.
    pub fn this_update(&self) -> Time {
        self.this_update
    }

    /// When the next one is there at the latest.
    pub fn next_update(&self) -> Option<Time> {
        self.next_update
    }

    /// What it revokes, in the order of the serial numbers.
    pub fn revoked(&self) -> &[RevokedEntry] {
        &self.revoked
    }

    /// What it says of a serial number.
    pub fn entry(&self, serial: &SerialNumber) -> Option<&RevokedEntry> {
        let place = self
            .revoked
            .binary_search_by(|entry| entry.serial_number.cmp(serial));
        place.ok().and_then(|place| self.revoked.get(place))
    }

    /// That `issuer`, which must be allowed to, has signed it.
    ///
    /// # Errors
    /// [`CrlError::MayNotSign`], [`CrlError::Signature`].
    pub fn verify(&self, issuer: &Certificate) -> Result<(), CrlError> {
        if !may_sign(issuer) {
            return Err(CrlError::MayNotSign);
        }
        let signed = Signed::from_der(&self.der).map_err(CrlError::Der)?;
        let verified = signed.verify(&issuer.public_key());
        verified.map_err(|source| CrlError::Signature {
            issuer: issuer.subject().to_string(),
            source,
        })
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crl({}, {} revoked)", self.issuer, self.revoked.len())
    }
}

/// A key without a stated usage may be used for anything (§4.2.1.3).
fn may_sign(issuer: &Certificate) -> bool {
    issuer.key_usage().is_none_or(|usage| usage.crl_sign())
}

fn encode(
    issuer: &Certificate,
    signature: AlgorithmIdentifierOwned,
    content: CrlContent,
) -> Result<Vec<u8>, der::Error> {
    let subject = issuer.subject().to_der();
    let revoked = content
        .revoked
        .iter()
        .map(revoked_certificate)
        .collect::<Result<Vec<_>, _>>()?;
    ToBeSigned {
        version: Version::V2,
        signature,
        issuer: AnyRef::from_der(&subject)?,
        this_update: moment(content.this_update)?,
        next_update: moment(content.next_update)?,
        // The list is left out when it is empty (§5.1.2.6).
        revoked: (!revoked.is_empty()).then_some(revoked),
        extensions: extensions(issuer, content.number)?,
    }
    .to_der()
}

fn revoked_certificate(entry: &RevokedEntry) -> Result<RevokedCert, der::Error> {
    let serial = entry.serial_number.as_be_octets();
    Ok(RevokedCert {
        serial_number: x509_cert::serial_number::SerialNumber::new(serial)?,
        revocation_date: moment(entry.at)?,
        crl_entry_extensions: reason_extension(entry.reason)?.map(|reason| vec![reason]),
    })
}

/// `unspecified` is said by saying nothing (§5.3.1).
fn reason_extension(reason: RevocationReason) -> Result<Option<Extension>, der::Error> {
    let reason = match reason {
        RevocationReason::Unspecified => return Ok(None),
        RevocationReason::KeyCompromise => CrlReason::KeyCompromise,
        RevocationReason::CaCompromise => CrlReason::CaCompromise,
        RevocationReason::AffiliationChanged => CrlReason::AffiliationChanged,
        RevocationReason::Superseded => CrlReason::Superseded,
        RevocationReason::CessationOfOperation => CrlReason::CessationOfOperation,
        RevocationReason::CertificateHold => CrlReason::CertificateHold,
        RevocationReason::PrivilegeWithdrawn => CrlReason::PrivilegeWithdrawn,
        RevocationReason::AaCompromise => CrlReason::AaCompromise,
    };
    extension(CrlReason::OID, &reason).map(Some)
}

fn extensions(issuer: &Certificate, number: CrlNumber) -> Result<Extensions, der::Error> {
    let identifier = match issuer.subject_key_identifier() {
        Some(identifier) => identifier,
        None => key_identifier(&issuer.public_key())?,
    };
    let authority = AuthorityKeyIdentifier {
        key_identifier: Some(OctetString::new(identifier)?),
        authority_cert_issuer: None,
        authority_cert_serial_number: None,
    };
    let number = CrlNumberExtension(Uint::new(&number.0.to_be_bytes())?);
    Ok(vec![
        extension(AuthorityKeyIdentifier::OID, &authority)?,
        extension(CrlNumberExtension::OID, &number)?,
    ])
}

fn extension(oid: ObjectIdentifier, value: &impl der::Encode) -> Result<Extension, der::Error> {
    Ok(Extension {
        extn_id: oid,
        critical: false,
        extn_value: OctetString::new(value.to_der()?)?,
    })
}

fn number(extensions: &[Extension]) -> Result<Option<CrlNumber>, CrlError> {
    let field = || CrlError::Field { field: "crlNumber" };
    let found = extensions
        .iter()
        .find(|extension| extension.extn_id == CrlNumberExtension::OID);
    let Some(found) = found else {
        return Ok(None);
    };
    let number = CrlNumberExtension::from_der(found.extn_value.as_bytes()).map_err(|_| field())?;
    let octets = number.0.as_bytes();
    // RFC 5280 §5.2.3 allows 20 octets; a number that large orders nothing here and is left out.
    let wide: Option<u64> = octets.iter().try_fold(0u64, |sum, octet| {
        sum.checked_mul(256)?.checked_add(u64::from(*octet))
    });
    Ok(wide.map(CrlNumber))
}

fn entry(revoked: &RevokedCert) -> Result<RevokedEntry, CrlError> {
    let serial = SerialNumber::from_be_octets(revoked.serial_number.as_bytes());
    let extensions = revoked.crl_entry_extensions.as_deref().unwrap_or_default();
    if let Some(critical) = extensions.iter().find(|extension| extension.critical) {
        let oid = critical.extn_id;
        return Err(CrlError::Partial { oid });
    }
    Ok(RevokedEntry {
        serial_number: serial.map_err(|_| CrlError::Field {
            field: "serial number of a revoked certificate",
        })?,
        at: read_time(&revoked.revocation_date, "revocationDate")?,
        reason: reason(extensions)?,
    })
}

fn reason(extensions: &[Extension]) -> Result<RevocationReason, CrlError> {
    let found = extensions
        .iter()
        .find(|extension| extension.extn_id == CrlReason::OID);
    let Some(found) = found else {
        return Ok(RevocationReason::Unspecified);
    };
    let field = |_| CrlError::Field { field: "reason" };
    let reason = CrlReason::from_der(found.extn_value.as_bytes()).map_err(field)?;
    Ok(match reason {
        CrlReason::Unspecified | CrlReason::RemoveFromCRL => RevocationReason::Unspecified,
        CrlReason::KeyCompromise => RevocationReason::KeyCompromise,
        CrlReason::CaCompromise => RevocationReason::CaCompromise,
        CrlReason::AffiliationChanged => RevocationReason::AffiliationChanged,
        CrlReason::Superseded => RevocationReason::Superseded,
        CrlReason::CessationOfOperation => RevocationReason::CessationOfOperation,
        CrlReason::CertificateHold => RevocationReason::CertificateHold,
        CrlReason::PrivilegeWithdrawn => RevocationReason::PrivilegeWithdrawn,
        CrlReason::AaCompromise => RevocationReason::AaCompromise,
    })
}

fn read_time(time: &DerTime, field: &'static str) -> Result<Time, CrlError> {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).ok();
    let time = seconds.and_then(|seconds| Time::from_unix_seconds(seconds).ok());
    time.ok_or(CrlError::Field { field })
}
