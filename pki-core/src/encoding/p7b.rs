//! Certificates in a PKCS#7 file: SignedData without signers (RFC 5652 §5.1), as Windows and Java
//! exchange chains.
//!
//! OpenSSL reads them, since others write BER and keep an order that DER forbids; what is written is
//! DER, whose sets are sorted: the order of a chain is in its names, not in the file.

use cms::cert::CertificateChoices;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{CertificateSet, EncapsulatedContentInfo, SignedData, SignerInfos};
use const_oid::db::rfc5911::{ID_DATA, ID_SIGNED_DATA};
use der::asn1::SetOfVec;
use der::{Any, Decode as _, Encode as _};
use openssl::pkcs7::Pkcs7;

use crate::certificate::{Certificate, CertificateError};

/// The label of a PKCS#7 file in PEM (RFC 7468 §9).
pub const LABEL: &str = "PKCS7";

/// Why a PKCS#7 file was not read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum P7bError {
    /// It is no PKCS#7, or no SignedData.
    #[error("it is not readable as PKCS#7 with certificates")]
    Unreadable,
    /// There are no certificates in it.
    #[error("the PKCS#7 file holds no certificate")]
    Empty,
    /// A certificate in it is broken.
    #[error("certificate {number} in the PKCS#7 file is broken: {source}")]
    Certificate {
        /// Its place in the file, counted from 1.
        number: usize,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// The certificates cannot be put into one.
    #[error("the certificates cannot be put into a PKCS#7 file: {0}")]
    Encoding(der::Error),
}

/// Reads every certificate of a PKCS#7 file in DER or BER, in the order of the file.
///
/// # Errors
/// [`P7bError`], but for `Encoding`.
pub fn certificates(input: &[u8]) -> Result<Vec<Certificate>, P7bError> {
    let file = Pkcs7::from_der(input).map_err(|_| P7bError::Unreadable)?;
    let signed = file.signed().ok_or(P7bError::Unreadable)?;
    let stack = signed.certificates().ok_or(P7bError::Empty)?;
    let read = |(index, certificate): (usize, &openssl::x509::X509Ref)| {
        let der = certificate.to_der().map_err(|_| P7bError::Unreadable)?;
        Certificate::from_der(&der).map_err(|source| P7bError::Certificate {
            number: index + 1,
            source,
        })
    };
    let certificates: Vec<_> = stack
        .iter()
        .enumerate()
        .map(read)
        .collect::<Result<_, _>>()?;
    if certificates.is_empty() {
        Err(P7bError::Empty)
    } else {
        Ok(certificates)
    }
}

/// Puts certificates into a PKCS#7 file, in DER.
///
/// # Errors
/// [`P7bError::Empty`] if there is none; [`P7bError::Encoding`].
pub fn write(certificates: &[Certificate]) -> Result<Vec<u8>, P7bError> {
    if certificates.is_empty() {
        return Err(P7bError::Empty);
    }
    let choices = certificates
        .iter()
        .map(|certificate| CertificateChoices::from_der(certificate.der()))
        .collect::<der::Result<Vec<_>>>();
    choices.and_then(signers_less).map_err(P7bError::Encoding)
}

/// SignedData of version 1: no content, no signer, nothing but certificates (RFC 5652 §5.1).
fn signers_less(certificates: Vec<CertificateChoices>) -> der::Result<Vec<u8>> {
    let signed = SignedData {
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::new(),
        encap_content_info: EncapsulatedContentInfo {
            econtent_type: ID_DATA,
            econtent: None,
        },
        certificates: Some(CertificateSet::try_from(certificates)?),
        crls: None,
        signer_infos: SignerInfos(SetOfVec::new()),
    };
    ContentInfo {
        content_type: ID_SIGNED_DATA,
        content: Any::encode_from(&signed)?,
    }
    .to_der()
}
