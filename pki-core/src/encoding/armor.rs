//! PEM written into a buffer that is there already, for the hot path; [`crate::pem`] does the rest.
//!
//! The base64 is laid into the buffer whole and then spread into lines in place, so that no copy of a
//! key is left anywhere else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::certificate::Certificate;

/// How a line of PEM ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineEnd {
    /// A line feed: in files.
    Feed,
    /// `\n`, two characters: inside of a JSON string (RFC 8259 §7). Nothing else in PEM needs escaping.
    Escaped,
}

impl LineEnd {
    fn octets(self) -> &'static [u8] {
        match self {
            Self::Feed => b"\n",
            Self::Escaped => b"\\n",
        }
    }
}

/// Characters of base64 in a line (RFC 7468 §2).
const WIDTH: usize = 64;

/// How many octets [`push`] will append.
pub(crate) fn length(label: &str, der: &[u8], line_end: LineEnd) -> usize {
    let body = der.len().div_ceil(3) * 4;
    let lines = body.div_ceil(WIDTH) + 2;
    body + lines * line_end.octets().len()
        + 2 * label.len()
        + "-----BEGIN ----------END -----".len()
}

/// Appends one block.
pub(crate) fn push(label: &str, der: &[u8], line_end: LineEnd, out: &mut Vec<u8>) {
    for part in [
        b"-----BEGIN ",
        label.as_bytes(),
        b"-----",
        line_end.octets(),
    ] {
        out.extend_from_slice(part);
    }
    push_body(der, line_end.octets(), out);
    for part in [b"-----END ", label.as_bytes(), b"-----", line_end.octets()] {
        out.extend_from_slice(part);
    }
}

#[expect(
    clippy::expect_used,
    reason = "the buffer is made as long as the base64 of its input"
)]
fn push_body(der: &[u8], end: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let encoded = der.len().div_ceil(3) * 4;
    let lines = encoded.div_ceil(WIDTH);
    out.resize(start + encoded + lines * end.len(), 0);
    let body = &mut out[start..];
    STANDARD
        .encode_slice(der, body)
        .expect("there is room for it");
    // From the last line to the first: each moves towards the end, over what has moved before.
    for line in (0..lines).rev() {
        let from = line * WIDTH;
        let width = WIDTH.min(encoded - from);
        let to = line * (WIDTH + end.len());
        body.copy_within(from..from + width, to);
        body[to + width..][..end.len()].copy_from_slice(end);
    }
}

/// The issuers of a batch, from the one that signs up to the root, as PEM made once.
pub(crate) struct ChainPem {
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) plain: Vec<u8>,
    pub(crate) escaped: Vec<u8>,
}

impl ChainPem {
    pub(crate) fn new(issuers: &[Certificate]) -> Self {
        let joined = |line_end| {
            let mut out = Vec::new();
            for issuer in issuers {
                push(CERTIFICATE, issuer.der(), line_end, &mut out);
            }
            out
        };
        Self {
            certificates: issuers.to_vec(),
            plain: joined(LineEnd::Feed),
            escaped: joined(LineEnd::Escaped),
        }
    }
}

/// The label of a certificate (RFC 7468 §5.1).
pub(crate) const CERTIFICATE: &str = "CERTIFICATE";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn blocks_are_those_of_the_pem_library(der in proptest::collection::vec(any::<u8>(), 0..700)) {
            let expected = crate::pem::block("PRIVATE KEY", &der);
            for (line_end, feed) in [(LineEnd::Feed, "\n"), (LineEnd::Escaped, "\\n")] {
                let mut out = b"before".to_vec();
                push("PRIVATE KEY", &der, line_end, &mut out);
                let text = String::from_utf8(out).expect("ASCII");
                prop_assert_eq!(text.len() - 6, length("PRIVATE KEY", &der, line_end));
                prop_assert_eq!(text, format!("before{}", expected.replace('\n', feed)));
            }
        }
    }
}
