//! Certificates in PEM and DER, as people and services hand them in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Certificate, CertificateError};
use crate::pem::{self, Block, InputError};

/// Why an input does not hold certificates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateInputError {
    /// It holds something else.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A certificate in it cannot be read.
    #[error("certificate {number} in it is broken: {source}")]
    Certificate {
        /// Its place among the certificates, counted from 1.
        number: usize,
        /// What is wrong with it.
        source: CertificateError,
    },
}

/// Reads every certificate of a PEM bundle, or the one of a DER file, in the order of the file.
///
/// # Errors
/// [`CertificateInputError`]: what the input is instead.
pub fn certificates(input: &[u8]) -> Result<Vec<Certificate>, CertificateInputError> {
    const WANTED: &str = "a certificate";
    let input = &pem::plain(input);
    let Some(blocks) = pem::blocks(input)? else {
        return Ok(vec![in_der(input, WANTED)?]);
    };
    let wanted =
        |block: &&Block| matches!(block.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE");
    pem::refuse_private_keys(&blocks, WANTED)?;
    pem::refuse_wrapped(&blocks, WANTED)?;
    let found: Vec<&Block> = blocks.iter().filter(wanted).collect();
    if found.is_empty() {
        return Err(pem::wrong_kind(&blocks, WANTED).into());
    }
    let read = |(index, block): (usize, &Block)| {
        Certificate::from_der(&block.der).map_err(|source| CertificateInputError::Certificate {
            number: index + 1,
            source,
        })
    };
    found.into_iter().enumerate().map(read).collect()
}

fn in_der(input: &[u8], wanted: &'static str) -> Result<Certificate, CertificateInputError> {
    Certificate::from_der(input).map_err(|error| match error {
        CertificateError::Der(_) if pem::is_pkcs7(input) => InputError::Pkcs7 { wanted }.into(),
        CertificateError::Der(_) => InputError::NeitherPemNorDer { wanted }.into(),
        source => CertificateInputError::Certificate { number: 1, source },
    })
}

/// Reads the one certificate of an input; of a bundle, the first.
///
/// # Errors
/// As [`certificates`].
pub fn certificate(input: &[u8]) -> Result<Certificate, CertificateInputError> {
    certificates(input)?
        .into_iter()
        .next()
        .ok_or_else(|| InputError::Empty.into())
}

/// Reads the certificate in a member of a JSON document, where services and their clients write PEM
/// text, base64 of DER, or base64 of PEM, with or without line breaks. Of several, the first.
pub fn certificate_in_json(text: &str) -> Option<Certificate> {
    if text.contains("-----BEGIN ") {
        return certificate(text.as_bytes()).ok();
    }
    let base64: String = text
        .chars()
        .filter(|character| !character.is_whitespace())
        .collect();
    certificate(&STANDARD.decode(base64).ok()?).ok()
}
