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

use super::render::{Device, KeyBlock, KeyForm, RenderError};
use super::rendered::Piece;
use crate::certificate::Certificate;
use crate::encoding::armor::{self, ChainPem, LineEnd};

/// More than all members take but the ID, the labels and what is PEM.
const ROOM: usize = 512;

/// Appends the line of a device.
pub(super) fn push_line(
    device: &Device<'_>,
    chain: &ChainPem,
    keys: &KeyForm,
    lines: &mut Piece,
) -> Result<(), RenderError> {
    let block = |key| KeyBlock::of(device.id, key, keys);
    let key = device.key.map(block).transpose()?;
    let id = device.id.as_str().as_bytes();
    let labels = labels_member(device.labels);
    let certificate = device.issued.certificate();
    let key_length = key.as_ref().map_or(0, |key| key.length(LineEnd::Escaped));
    let pem_length = armor::length(armor::CERTIFICATE, certificate.der(), LineEnd::Escaped);
    let room = ROOM + id.len() + labels.len() + pem_length + chain.escaped.len() + key_length;
    lines.push(room, |line| {
        line.extend_from_slice(b"{\"registrationId\":\"");
        line.extend_from_slice(id);
        push_facts(certificate, line);
        line.extend_from_slice(&labels);
        line.extend_from_slice(b",\"certificate\":\"");
        let der = certificate.der();
        armor::push(armor::CERTIFICATE, der, LineEnd::Escaped, line);
        line.extend_from_slice(b"\",\"chain\":\"");
        line.extend_from_slice(&chain.escaped);
        let mut secret = 0..0;
        if let Some(key) = &key {
            line.extend_from_slice(b"\",\"privateKey\":\"");
            secret = key.push(LineEnd::Escaped, line);
        }
        line.extend_from_slice(b"\"}\n");
        secret
    });
    Ok(())
}

/// What the certificate says, after the ID.
fn push_facts(certificate: &Certificate, line: &mut Vec<u8>) {
    let sha1 = certificate.sha1_thumbprint();
    let sha256 = certificate.sha256_thumbprint();
    let validity = certificate.validity();
    push_member("serialNumber", certificate.serial_number(), line);
    push_member("sha1Thumbprint", &sha1, line);
    push_member("sha256Thumbprint", &sha256, line);
    push_member("notBefore", &validity.not_before(), line);
    push_member("notAfter", &validity.not_after(), line);
    line.push(b'"');
}

/// Ends the string before it and begins the next member's with a text that needs no escaping.
#[expect(clippy::expect_used, reason = "a vector takes whatever is written")]
fn push_member(name: &str, text: &impl Display, line: &mut Vec<u8>) {
    line.extend_from_slice(b"\",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":\"");
    write!(line, "{text}").expect("nothing can fail");
}

/// The labels as a member, or nothing if there are none.
#[expect(
    clippy::expect_used,
    reason = "strings can be written into a vector whatever is in them"
)]
fn labels_member(labels: &[(String, String)]) -> Vec<u8> {
    if labels.is_empty() {
        return Vec::new();
    }
    let mut member = b",\"labels\":".to_vec();
    serde_json::Serializer::new(&mut member)
        .collect_map(labels.iter().map(|(name, value)| (name, value)))
        .expect("nothing can fail");
    member
}
