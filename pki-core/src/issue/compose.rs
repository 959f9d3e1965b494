//! Request and issuer to the to-be-signed certificate (RFC 5280 §4.1.2). Pure.
//!
//! The structure is written here, through `der`, with the issuer's name as raw bytes: builders that
//! take a parsed name encode it anew, and an imported authority's may then differ from what its
//! children say.

use der::asn1::{Any, AnyRef};
use der::{Decode as _, Encode as _, Sequence};
use spki::AlgorithmIdentifierOwned;
use x509_cert::TbsCertificate;
use x509_cert::certificate::Version;
use x509_cert::ext::Extensions;
use x509_cert::serial_number::SerialNumber as DerSerialNumber;
use x509_cert::time::{Time as DerTime, Validity as DerValidity};

use super::{Issuer, Request};
use crate::ids::{LeafName, SerialNumber};
use crate::profile::{ExtensionFacts, Role, key_identifier};
use crate::time::{Span, Time, Validity};

/// A certificate that is put together but neither checked nor signed.
pub struct Composed {
    pub(super) role: Role,
    pub(super) leaf_name: Option<LeafName>,
    pub(super) serial_number: SerialNumber,
    pub(super) validity: Validity,
    pub(super) issuer: Issuer,
    pub(super) warehouse_time: Option<Span>,
    pub(super) tbs_der: Vec<u8>,
    pub(super) tbs: TbsCertificate,
}

/// Why the parts do not make a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// The public key is not a SubjectPublicKeyInfo.
    #[error("the public key cannot be read")]
    PublicKey(#[source] der::Error),
    /// Something cannot be encoded.
    #[error("the certificate cannot be encoded")]
    Encoding(#[source] der::Error),
}

#[derive(Sequence)]
struct ToBeSigned<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: Version,
    serial_number: DerSerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: AnyRef<'a>,
    validity: DerValidity,
    subject: Any,
    subject_public_key_info: AnyRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Extensions,
}

/// Puts a certificate together.
///
/// # Errors
/// [`ComposeError`]: which part is not what it should be.
pub fn compose(
    request: &Request,
    issuer: &Issuer,
    serial_number: &SerialNumber,
) -> Result<Composed, ComposeError> {
    let issuer_key_identifier = issuer_key_identifier(issuer)?;
    let facts = ExtensionFacts {
        role: request.role,
        path_length: request.path_length,
        digital_signature: request.digital_signature,
        purposes: &request.content.purposes,
        crl_distribution_point: request.content.crl_distribution_point.as_ref(),
        alternative_names: &request.alternative_names,
        subject_key: &request.public_key,
        issuer_key_identifier: &issuer_key_identifier,
    };
    let extensions = facts.extensions().map_err(ComposeError::PublicKey)?;
    let tbs_der =
        encode(request, issuer, serial_number, extensions).map_err(ComposeError::Encoding)?;
    let tbs = TbsCertificate::from_der(&tbs_der).map_err(ComposeError::Encoding)?;
    Ok(Composed {
        role: request.role,
        leaf_name: request.leaf_name.clone(),
        serial_number: serial_number.clone(),
        validity: request.validity,
        issuer: issuer.clone(),
        warehouse_time: request.content.warehouse_time,
        tbs_der,
        tbs,
    })
}

/// The issuer's own subject key identifier, whatever made it; by method 1 if it has none.
fn issuer_key_identifier(issuer: &Issuer) -> Result<Vec<u8>, ComposeError> {
    let own = issuer
        .certificate
        .as_ref()
        .and_then(|certificate| certificate.subject_key_identifier());
    match own {
        Some(identifier) => Ok(identifier),
        None => key_identifier(&issuer.public_key).map_err(ComposeError::PublicKey),
    }
}

fn encode(
    request: &Request,
    issuer: &Issuer,
    serial_number: &SerialNumber,
    extensions: Extensions,
) -> Result<Vec<u8>, der::Error> {
    let subject_der = request.subject.to_der();
    ToBeSigned {
        version: Version::V3,
        serial_number: DerSerialNumber::new(serial_number.as_be_octets())?,
        signature: issuer.algorithm.identifier(),
        issuer: AnyRef::from_der(&issuer.subject_der)?,
        validity: validity(request.validity)?,
        subject: Any::from_der(&subject_der)?,
        subject_public_key_info: AnyRef::from_der(&request.public_key)?,
        extensions,
    }
    .to_der()
}

fn validity(validity: Validity) -> Result<DerValidity, der::Error> {
    Ok(DerValidity::new(
        moment(validity.not_before())?,
        moment(validity.not_after())?,
    ))
}

/// UTCTime through 2049, GeneralizedTime from 2050 on (RFC 5280 §4.1.2.5); the encoder chooses.
pub(crate) fn moment(time: Time) -> Result<DerTime, der::Error> {
    let seconds = u64::try_from(time.unix_seconds()).unwrap_or_default();
    let moment = der::DateTime::from_unix_duration(std::time::Duration::from_secs(seconds))?;
    Ok(DerTime::from(moment))
}
