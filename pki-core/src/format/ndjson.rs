//! One JSON object a line and device (newline-delimited JSON, RFC 8259).
//!
//! `registrationId`, `serialNumber`, `sha1Thumbprint`, `sha256Thumbprint`, `notBefore`, `notAfter`,
//! `labels` if there are any, `certificate` (PEM), `chain` (PEM: the issuers, the one that signed
//! first, the root last, so that `certificate` + `chain` is the file that a device presents) and
//! `privateKey` (PKCS#8 PEM; absent where the device made its own).
//!
//! The line is written by hand, member by member: none but labels can hold a character that JSON
//! escapes, and this is most of what rendering costs.

use std::fmt::Display;
use std::io::Write as _;

use serde::Serializer as _;

use super::armor::{self, ChainPem, LineEnd};
use super::render::{Device, KeyBlock, KeyForm, RenderError};
use super::rendered::Piece;

/// More than all members take that are not PEM, with an ID of 64 characters.
const ROOM: usize = 512;

pub(super) fn line(
    device: &Device<'_>,
    chain: &ChainPem,
    keys: &KeyForm,
) -> Result<Piece, RenderError> {
    let key = KeyBlock::of(device, keys)?;
    let certificate = device.issued.certificate();
    let key_length = key.as_ref().map_or(0, |key| key.length(LineEnd::Escaped));
    let der = certificate.der();
    let pem_length = armor::length(armor::CERTIFICATE, der, LineEnd::Escaped);
    let room = ROOM + pem_length + chain.escaped.len() + key_length;
    let mut line = Vec::with_capacity(room);
    line.extend_from_slice(b"{\"registrationId\":\"");
    line.extend_from_slice(device.id.as_str().as_bytes());
    let (sha1, sha256) = (
        certificate.sha1_thumbprint(),
        certificate.sha256_thumbprint(),
    );
    let validity = certificate.validity();
    push_member("serialNumber", certificate.serial_number(), &mut line);
    push_member("sha1Thumbprint", &sha1, &mut line);
    push_member("sha256Thumbprint", &sha256, &mut line);
    push_member("notBefore", &validity.not_before(), &mut line);
    push_member("notAfter", &validity.not_after(), &mut line);
    line.push(b'"');
    push_labels(device.labels, &mut line);
    line.extend_from_slice(b",\"certificate\":\"");
    armor::push(armor::CERTIFICATE, der, LineEnd::Escaped, &mut line);
    line.extend_from_slice(b"\",\"chain\":\"");
    line.extend_from_slice(&chain.escaped);
    let mut secret = 0..0;
    if let Some(key) = key {
        let name = b"\",\"privateKey\":\"";
        line.reserve(name.len() + key_length + END.len());
        line.extend_from_slice(name);
        secret = key.push(LineEnd::Escaped, &mut line);
    }
    line.extend_from_slice(END);
    Ok(Piece::with_secret(line, secret))
}

const END: &[u8] = b"\"}\n";

/// Ends the string before it and begins the next member's with a text that needs no escaping.
#[expect(clippy::expect_used, reason = "a vector takes whatever is written")]
fn push_member(name: &str, text: &impl Display, line: &mut Vec<u8>) {
    line.extend_from_slice(b"\",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":\"");
    write!(line, "{text}").expect("nothing can fail");
}

#[expect(
    clippy::expect_used,
    reason = "strings can be written into a vector whatever is in them"
)]
fn push_labels(labels: &[(String, String)], line: &mut Vec<u8>) {
    if labels.is_empty() {
        return;
    }
    line.extend_from_slice(b",\"labels\":");
    serde_json::Serializer::new(line)
        .collect_map(labels.iter().map(|(name, value)| (name, value)))
        .expect("nothing can fail");
}
