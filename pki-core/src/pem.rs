//! The blocks of PEM, in and out (RFC 7468).
//!
//! Inputs may have CRLF line ends, a byte-order mark and text around the blocks. What a file holds is
//! told by its labels, so that a key where a certificate is wanted is named as such. What editors, shells and
//! mail make of a file is undone first (`plain`): UTF-16, a line feed behind DER, base64 without its armour.
//! Not here: what a block means. Readers are beside what they read: [`crate::certificate::pem`],
//! [`crate::crl::pem`], [`crate::csr`], [`crate::key`].

use ::pem::{EncodeConfig, LineEnding, Pem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use const_oid::db::rfc5911::ID_SIGNED_DATA;
use der::{Decode as _, Header, Reader as _, SliceReader, Tag};
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
    /// It holds a certificate with settings of OpenSSL's own, which would be lost.
    #[error(
        "it holds a TRUSTED CERTIFICATE, which is OpenSSL's own form with trust settings in it; turn it into a plain one with: openssl x509 -in FILE -out NEW"
    )]
    Trusted,
    /// It is PKCS#7 where single objects are wanted.
    #[error(
        "it is PKCS#7 where {wanted} is wanted; turn it into PEM with: dps-pki convert FILE --to pem --out NEW"
    )]
    Pkcs7 {
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

/// An input without what editors, shells and mail do to files: UTF-16 becomes UTF-8, base64 of DER without
/// armour DER, and white space behind DER goes. Anything else stays as it is.
pub(crate) fn plain(input: &[u8]) -> Zeroizing<Vec<u8>> {
    if let Some(text) = utf8_of_utf16(input) {
        return text;
    }
    if let Some(der) = der_before_blanks(input) {
        return Zeroizing::new(der.to_vec());
    }
    if let Some(der) = unarmoured(input) {
        return der;
    }
    Zeroizing::new(input.to_vec())
}

/// With its byte-order mark, as Windows PowerShell redirects output, or without.
fn utf8_of_utf16(input: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let to_unit: fn([u8; 2]) -> u16 = match input.get(..2)? {
        [0xff, 0xfe] | [b'-', 0] => u16::from_le_bytes,
        [0xfe, 0xff] | [0, b'-'] => u16::from_be_bytes,
        _ => return None,
    };
    let (pairs, _) = input.as_chunks();
    let units = pairs.iter().map(|pair| to_unit(*pair));
    // Room for all, so that nothing of a key is left behind in a smaller buffer.
    let mut text = Zeroizing::new(Vec::with_capacity(pairs.len() * 3));
    for character in char::decode_utf16(units) {
        let character = character.ok()?;
        if character != '\u{feff}' {
            text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Some(text)
}

/// The DER that nothing but white space follows.
fn der_before_blanks(input: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(input).ok()?;
    let der = reader.tlv_bytes().ok()?;
    let rest = input.get(der.len()..)?;
    let is_blank = !rest.is_empty() && rest.iter().all(u8::is_ascii_whitespace);
    is_blank.then_some(der)
}

/// Base64 of one DER structure, in lines of any length.
fn unarmoured(input: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut base64 = Zeroizing::new(Vec::with_capacity(input.len()));
    base64.extend(input.iter().filter(|octet| !octet.is_ascii_whitespace()));
    let der = Zeroizing::new(STANDARD.decode(&base64).ok()?);
    let mut reader = SliceReader::new(&der).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    let is_whole = header.tag() == Tag::Sequence
        && usize::try_from(header.length()).ok() == usize::try_from(reader.remaining_len()).ok();
    is_whole.then_some(der)
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

/// Refuses what holds certificates in a form that is not read among others: it would be left out.
pub(crate) fn refuse_wrapped(blocks: &[Block], wanted: &'static str) -> Result<(), InputError> {
    for block in blocks {
        match block.label.as_str() {
            "TRUSTED CERTIFICATE" => return Err(InputError::Trusted),
            "PKCS7" | "CMS" => return Err(InputError::Pkcs7 { wanted }),
            _ => {}
        }
    }
    Ok(())
}

/// Whether DER or BER begins as PKCS#7 does: with its object identifier.
pub(crate) fn is_pkcs7(input: &[u8]) -> bool {
    const HEADERS: usize = 16;
    let beginning = input.get(..HEADERS.min(input.len())).unwrap_or_default();
    beginning.first() == Some(&0x30) && contains(beginning, ID_SIGNED_DATA.as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;

    const DER: &[u8] = b"\x30\x03\x02\x01\x05";

    #[test]
    fn what_editors_and_shells_do_to_files_is_undone() {
        let text = "-----BEGIN X-----\nMAMCAQU=\n-----END X-----\n";
        let units: Vec<u16> = text.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        for utf16 in [
            [b"\xff\xfe", &little[..]].concat(),
            [b"\xfe\xff", &big[..]].concat(),
            little,
            big,
        ] {
            assert_eq!(*plain(&utf16), text.as_bytes());
        }
        for der in [&b"\x30\x03\x02\x01\x05\r\n"[..], b"MAMC\nAQU=\n", DER] {
            assert_eq!(*plain(der), DER);
        }
    }

    #[test]
    fn anything_else_stays_as_it_is() {
        for input in [
            &b""[..],
            b"hello",
            b"aGVsbG8=",
            b"\x30\x03\x02\x01\x05x",
            b"\xff\xfe\x00\xd8",
            b"-----BEGIN X-----",
        ] {
            assert_eq!(*plain(input), input);
        }
    }
}
