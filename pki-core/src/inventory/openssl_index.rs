//! The database of `openssl ca`: one certificate a line, tab-separated (openssl-ca(1), `database`).
//!
//! `status  expiry  revocation[,reason]  serial  file  subject`. Only what the certificates themselves
//! do not say is taken from it: which of them were revoked, when and why.

use crate::crl::RevocationReason;
use crate::ids::SerialNumber;
use crate::time::Time;

/// One line of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The line, counted from 1.
    pub line: usize,
    /// The certificate's serial number.
    pub serial_number: SerialNumber,
    /// Its subject, as openssl writes it on one line: `/O=Contoso/CN=sensor-1`.
    pub subject: String,
    /// When and why it was revoked, if it was.
    pub revoked: Option<(Time, RevocationReason)>,
}

impl IndexEntry {
    /// Whether the line names this common name. `openssl` writes each octet that is not printable ASCII
    /// as `\xHH`.
    pub fn names(&self, common_name: &str) -> bool {
        let written = format!("/CN={}", escaped(common_name));
        let mut rest = self.subject.as_str();
        while let Some((_, behind)) = rest.split_once(&written) {
            if behind.is_empty() || behind.starts_with('/') {
                return true;
            }
            rest = behind;
        }
        false
    }
}

fn escaped(name: &str) -> String {
    let octets = name.bytes().map(|octet| match octet {
        b' '..=b'~' => char::from(octet).to_string(),
        _ => format!("\\x{octet:02X}"),
    });
    octets.collect()
}

/// Whether a text begins like an index: its first line is one.
pub fn is_index(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty());
    first.is_some_and(|line| entry(line, 1).is_ok())
}

/// A line that is not one of the database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct IndexError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Reads an `index.txt`.
///
/// # Errors
/// [`IndexError`]: the first line that is wrong.
pub fn read(text: &str) -> Result<Vec<IndexEntry>, IndexError> {
    let lines = text.lines().zip(1..);
    lines
        .filter(|(content, _)| !content.trim().is_empty())
        .map(|(content, line)| entry(content, line).map_err(|problem| IndexError { line, problem }))
        .collect()
}

fn entry(content: &str, line: usize) -> Result<IndexEntry, &'static str> {
    let columns: Vec<&str> = content.split('\t').collect();
    let [status, _expiry, revocation, serial, _file, subject] = columns[..] else {
        return Err("it has not the six columns of an index.txt of openssl ca");
    };
    let revoked = match status {
        "V" | "E" => None,
        "R" => Some(revocation_of(revocation)?),
        _ => return Err("its status is neither V, E nor R"),
    };
    Ok(IndexEntry {
        line,
        serial_number: serial_number(serial).ok_or("its serial number is not hexadecimal")?,
        subject: subject.to_owned(),
        revoked,
    })
}

fn serial_number(text: &str) -> Option<SerialNumber> {
    text.to_ascii_lowercase().parse().ok()
}

fn revocation_of(text: &str) -> Result<(Time, RevocationReason), &'static str> {
    let (at, reason) = text.split_once(',').unwrap_or((text, "unspecified"));
    let at = moment(at).ok_or("its time of revocation cannot be read")?;
    Ok((
        at,
        reason_of(reason).ok_or("its reason is none of RFC 5280")?,
    ))
}

/// The reasons of RFC 5280 §5.3.1 in any case, and those of openssl that have an argument.
fn reason_of(text: &str) -> Option<RevocationReason> {
    let word = text.split(',').next().unwrap_or_default();
    match word {
        "holdInstruction" => Some(RevocationReason::CertificateHold),
        "keyTime" => Some(RevocationReason::KeyCompromise),
        "CAkeyTime" => Some(RevocationReason::CaCompromise),
        word => RevocationReason::ALL
            .iter()
            .find(|reason| reason.as_str().eq_ignore_ascii_case(word))
            .copied(),
    }
}

/// UTCTime or GeneralizedTime (RFC 5280 §4.1.2.5): two digits of a year are 1950 to 2049.
fn moment(text: &str) -> Option<Time> {
    let digits = text.strip_suffix('Z')?;
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let digits = match digits.len() {
        12 if digits < "50" => format!("20{digits}"),
        12 => format!("19{digits}"),
        14 => digits.to_owned(),
        _ => return None,
    };
    let part = |range| digits.get(range);
    let date = [part(0..4)?, part(4..6)?, part(6..8)?].join("-");
    let time = [part(8..10)?, part(10..12)?, part(12..14)?].join(":");
    format!("{date}T{time}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_openssl_are_read() {
        let text = "V\t270101000000Z\t\t0A01\tunknown\t/CN=a\n\
            R\t270101000000Z\t250203040506Z,keyCompromise\t0A02\tunknown\t/CN=b\n\
            R\t20510101000000Z\t20500203040506Z,CACompromise\t0A03\tunknown\t/CN=c\n\
            R\t270101000000Z\t250203040506Z,holdInstruction,1.2.3\t0A04\tunknown\t/CN=d\n\
            E\t200101000000Z\t\t0A05\tnewcerts/0A05.pem\t/CN=e\n";
        let read = read(text).expect("an index");
        let at = |text: &str| -> Time { text.parse().expect(text) };
        let revoked: Vec<_> = read.iter().map(|entry| entry.revoked).collect();
        assert_eq!(
            revoked,
            [
                None,
                Some((at("2025-02-03T04:05:06Z"), RevocationReason::KeyCompromise)),
                Some((at("2050-02-03T04:05:06Z"), RevocationReason::CaCompromise)),
                Some((
                    at("2025-02-03T04:05:06Z"),
                    RevocationReason::CertificateHold
                )),
                None,
            ]
        );
        assert!(read[0].names("a") && !read[0].names("b"));
        assert!(is_index(text) && !is_index("a\tb\tc\td\te\tf\n") && !is_index(""));
        let written = |subject: &str| IndexEntry {
            subject: subject.to_owned(),
            ..read[0].clone()
        };
        assert!(written("/O=x/CN=a/b").names("a/b"));
        assert!(!written("/O=x/CN=ab").names("a"));
        assert!(written("/CN=Ger\\xC3\\xA4t/OU=y").names("Ger\u{e4}t"));
        assert_eq!(
            (read[4].line, read[4].serial_number.to_string()),
            (5, "0a05".to_owned())
        );
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let said = |line: &str| read(&format!("\n{line}")).expect_err(line).to_string();
        assert_eq!(
            said("hello"),
            "line 2: it has not the six columns of an index.txt of openssl ca"
        );
        assert_eq!(
            said("X\ta\t\t01\tb\tc"),
            "line 2: its status is neither V, E nor R"
        );
        assert_eq!(
            said("V\ta\t\tzz\tb\tc"),
            "line 2: its serial number is not hexadecimal"
        );
        assert_eq!(
            said("R\ta\tnow\t01\tb\tc"),
            "line 2: its time of revocation cannot be read"
        );
        assert_eq!(
            said("R\ta\t250203040506Z,why\t01\tb\tc"),
            "line 2: its reason is none of RFC 5280"
        );
    }
}
