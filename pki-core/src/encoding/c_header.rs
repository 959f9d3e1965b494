//! A C header with an identity compiled into a firmware image.
//!
//! Every certificate is an array of its DER, which TLS stacks on small devices take without a parser
//! for PEM; the full chain is there as PEM too, ended by NUL as mbed TLS wants it.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::identity::IdentityParts;
use crate::pem;

/// Octets in a line of an array.
const WIDTH: usize = 12;

/// Writes the header. `name` becomes the prefix of every C identifier, with what C does not allow
/// turned into underscores.
pub fn write(identity: IdentityParts<'_>, name: &str) -> Zeroizing<String> {
    let prefix = identifier(name);
    let guard = prefix.to_uppercase();
    let mut out = Zeroizing::new(String::with_capacity(expected_length(identity)));
    line(
        &mut out,
        format_args!("#ifndef {guard}_H\n#define {guard}_H\n"),
    );
    for (index, certificate) in identity.certificates.iter().enumerate() {
        let role = match index {
            0 => "certificate".to_owned(),
            above => format!("issuer_{above}"),
        };
        comment(&mut out, &certificate.subject().to_string());
        array(&mut out, &format!("{prefix}_{role}"), certificate.der());
    }
    if !identity.certificates.is_empty() {
        comment(
            &mut out,
            "the full chain in PEM, from the certificate upwards",
        );
        full_chain(&mut out, &prefix, identity);
    }
    if let Some(key) = identity.key {
        comment(&mut out, "the private key: PKCS#8 in DER, not encrypted");
        array(
            &mut out,
            &format!("{prefix}_private_key"),
            key.expose_pkcs8_der(),
        );
    }
    line(&mut out, format_args!("#endif"));
    out
}

/// Room for everything from the start: a text that grows leaves copies of the key behind.
fn expected_length(identity: IdentityParts<'_>) -> usize {
    const PER_OCTET: usize = "0x00, ".len() + 2;
    let octets: usize = identity
        .certificates
        .iter()
        .map(|certificate| 2 * certificate.der().len())
        .sum();
    let key = identity.key.map_or(0, |key| key.expose_pkcs8_der().len());
    (octets + key) * PER_OCTET + 4096 * (identity.certificates.len() + 2)
}

fn identifier(name: &str) -> String {
    let mut identifier: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if identifier.starts_with(|c: char| c.is_ascii_digit()) || identifier.is_empty() {
        identifier.insert(0, '_');
    }
    identifier
}

fn array(out: &mut String, name: &str, octets: &[u8]) {
    line(
        out,
        format_args!("static const unsigned char {name}[] = {{"),
    );
    for row in octets.chunks(WIDTH) {
        out.push_str("   ");
        for octet in row {
            part(out, format_args!(" 0x{octet:02x},"));
        }
        out.push('\n');
    }
    let length = octets.len();
    line(
        out,
        format_args!("}};\nstatic const unsigned int {name}_len = {length};\n"),
    );
}

fn full_chain(out: &mut String, prefix: &str, identity: IdentityParts<'_>) {
    line(
        out,
        format_args!("static const char {prefix}_full_chain_pem[] ="),
    );
    for certificate in identity.certificates {
        for row in pem::block("CERTIFICATE", certificate.der()).lines() {
            line(out, format_args!("    \"{row}\\n\""));
        }
    }
    line(out, format_args!("    ;\n"));
}

/// A subject may hold anything; inside of a comment nothing may end it.
fn comment(out: &mut String, text: &str) {
    let harmless: String = text
        .chars()
        .map(|c| {
            if c.is_control() || reorders(c) || c == '*' || c == '\\' {
                '_'
            } else {
                c
            }
        })
        .collect();
    line(out, format_args!("/* {harmless} */"));
}

/// Whether a character makes a reader see another text than the compiler does (CVE-2021-42574), or ends a
/// line for one of them.
fn reorders(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    part(out, text);
    out.push('\n');
}

/// Writing into a text does not fail.
fn part(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers_of_c() {
        assert_eq!(identifier("sensor-1.a:b"), "sensor_1_a_b");
        assert_eq!(identifier("7up"), "_7up");
        assert_eq!(identifier(""), "_");
    }

    #[test]
    fn a_comment_cannot_be_ended_from_inside() {
        let mut out = String::new();
        comment(&mut out, "CN=a*/ #include <x> \\\n/*");
        assert_eq!(out, "/* CN=a_/ #include <x> __/_ */\n");
    }
}
