//! The blocks of PEM, in and out (RFC 7468).
//!
//! Inputs may have CRLF line ends, a byte-order mark and text around the blocks. What a file holds is
//! told by its labels, so that a key where a certificate is wanted is named as such.
//! Not here: what a block means. Readers are beside what they read: [`crate::certificate::pem`],
//! [`crate::crl::pem`], [`crate::csr`], [`crate::key`].

use ::pem::{EncodeConfig, LineEnding, Pem};
use zeroize::Zeroizing;

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
}

/// One block: its label and its DER, wiped when dropped since it may be a key.
pub struct Block {
    /// The words after `BEGIN`.
    pub label: String,
    /// The content.
    pub der: Zeroizing<Vec<u8>>,
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
