//! PEM and DER in, PEM out (RFC 7468).
//!
//! Inputs may have CRLF line ends, a byte-order mark, text around the blocks, or be DER. What a file
//! holds is told by its labels, so that a key where a certificate is wanted is named as such.

use ::pem::{EncodeConfig, LineEnding, Pem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::certificate::{Certificate, CertificateError};
use crate::crl::{Crl, CrlError};

/// Why an input does not hold what was wanted of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It begins like PEM, but a block is cut off or its base64 is broken.
    #[error("it is not readable as PEM: a block is cut off or its base64 is broken")]
    BrokenPem,
    /// It is neither PEM nor the DER of what was wanted.
    #[error("it is neither PEM nor {wanted} in DER")]
    NeitherPemNorDer {
        /// What was wanted.
        wanted: &'static str,
    },
    /// It is neither PEM nor base64.
    #[error("it is neither PEM nor base64 of {wanted} in DER")]
    NeitherPemNorBase64 {
        /// What was wanted.
        wanted: &'static str,
    },
    /// It holds a private key where something public was wanted.
    #[error(
        "it holds a private key ({label}) where {wanted} is wanted; nothing was sent or stored"
    )]
    PrivateKey {
        /// The block's label.
        label: String,
        /// What was wanted.
        wanted: &'static str,
    },
    /// It holds blocks, but none of the wanted kind.
    #[error("it holds {found} where {wanted} is wanted")]
    WrongKind {
        /// The labels that were found.
        found: String,
        /// What was wanted.
        wanted: &'static str,
    },
    /// A certificate in it cannot be read.
    #[error("certificate {number} in it is broken: {source}")]
    Certificate {
        /// Its place among the certificates, counted from 1.
        number: usize,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// A CRL in it cannot be read.
    #[error("CRL {number} in it is broken: {source}")]
    Crl {
        /// Its place among the CRLs, counted from 1.
        number: usize,
        /// What is wrong with it.
        source: CrlError,
    },
}

/// One block: its label and its DER, wiped when dropped since it may be a key.
pub struct Block {
    /// The words after `BEGIN`.
    pub label: String,
    /// The content.
    pub der: Zeroizing<Vec<u8>>,
}

/// Reads every certificate of a PEM bundle, or the one of a DER file, in the order of the file.
///
/// # Errors
/// [`InputError`]: what the input is instead.
pub fn certificates(input: &[u8]) -> Result<Vec<Certificate>, InputError> {
    const WANTED: &str = "a certificate";
    let Some(blocks) = blocks(input)? else {
        let certificate = Certificate::from_der(input)
            .map_err(|_| InputError::NeitherPemNorDer { wanted: WANTED })?;
        return Ok(vec![certificate]);
    };
    let wanted =
        |block: &&Block| matches!(block.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE");
    refuse_private_keys(&blocks, WANTED)?;
    let found: Vec<&Block> = blocks.iter().filter(wanted).collect();
    if found.is_empty() {
        return Err(wrong_kind(&blocks, WANTED));
    }
    let read = |(index, block): (usize, &Block)| {
        Certificate::from_der(&block.der).map_err(|source| InputError::Certificate {
            number: index + 1,
            source,
        })
    };
    found.into_iter().enumerate().map(read).collect()
}

/// Reads every CRL of a PEM file, or the one of a DER file.
///
/// # Errors
/// [`InputError`]: what the input is instead.
pub fn crls(input: &[u8]) -> Result<Vec<Crl>, InputError> {
    const WANTED: &str = "a CRL";
    let read = |(index, der): (usize, &[u8])| {
        Crl::from_der(der).map_err(|source| InputError::Crl {
            number: index + 1,
            source,
        })
    };
    let Some(blocks) = blocks(input)? else {
        return Ok(vec![read((0, input))?]);
    };
    refuse_private_keys(&blocks, WANTED)?;
    let lists = blocks
        .iter()
        .filter(|block| matches!(block.label.as_str(), "X509 CRL" | "CRL"));
    let lists: Vec<&[u8]> = lists.map(|block| block.der.as_slice()).collect();
    if lists.is_empty() {
        return Err(wrong_kind(&blocks, WANTED));
    }
    lists.into_iter().enumerate().map(read).collect()
}

/// Reads the one certificate of an input; of a bundle, the first.
///
/// # Errors
/// As [`certificates`].
pub fn certificate(input: &[u8]) -> Result<Certificate, InputError> {
    certificates(input)?
        .into_iter()
        .next()
        .ok_or(InputError::Empty)
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

/// The blocks of a PEM file, or `None` if the input does not look like PEM.
///
/// # Errors
/// [`InputError::Empty`] or [`InputError::BrokenPem`].
pub fn blocks(input: &[u8]) -> Result<Option<Vec<Block>>, InputError> {
    let input = input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input);
    if input.iter().all(u8::is_ascii_whitespace) {
        return Err(InputError::Empty);
    }
    if !contains(input, b"-----BEGIN ") {
        return Ok(None);
    }
    let parsed = ::pem::parse_many(input).map_err(|_| InputError::BrokenPem)?;
    // The parser skips what it cannot pair; every opening line must have become a block.
    if parsed.is_empty() || parsed.len() != count(input, b"-----BEGIN ") {
        return Err(InputError::BrokenPem);
    }
    let block = |pem: Pem| Block {
        label: pem.tag().to_owned(),
        der: Zeroizing::new(pem.into_contents()),
    };
    Ok(Some(parsed.into_iter().map(block).collect()))
}

pub(crate) fn refuse_private_keys(
    blocks: &[Block],
    wanted: &'static str,
) -> Result<(), InputError> {
    match blocks
        .iter()
        .find(|block| block.label.ends_with("PRIVATE KEY"))
    {
        Some(block) => Err(InputError::PrivateKey {
            label: block.label.clone(),
            wanted,
        }),
        None => Ok(()),
    }
}

pub(crate) fn wrong_kind(blocks: &[Block], wanted: &'static str) -> InputError {
    let mut found: Vec<&str> = blocks.iter().map(|block| block.label.as_str()).collect();
    found.dedup();
    InputError::WrongKind {
        found: found.join(", "),
        wanted,
    }
}

/// One PEM block, lines of 64 characters, ended by a line feed.
pub fn block(label: &str, der: &[u8]) -> String {
    ::pem::encode_config(
        &Pem::new(label, der),
        EncodeConfig::new().set_line_ending(LineEnding::LF),
    )
}

pub(crate) fn secret_block(label: &str, der: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(block(label, der))
}

fn contains(input: &[u8], part: &[u8]) -> bool {
    input.windows(part.len()).any(|window| window == part)
}

fn count(input: &[u8], part: &[u8]) -> usize {
    input
        .windows(part.len())
        .filter(|window| *window == part)
        .count()
}
