//! Certificates with a time before 1970 (RFC 5280 §4.1.2.5.1: UTCTime begins with 1950).
//!
//! `x509-cert` holds no such time and refuses the whole certificate. Here it is read once more, with
//! the two times as they stand, and decoded with 1970 in their place. Reading only: what we issue is
//! composed with the library's types and begins no earlier.
//! Invariant: nothing but the times differs between what was read and what was decoded.

use der::asn1::{AnyRef, BitStringRef};
use der::{Decode as _, Encode as _, Sequence, Tag, Tagged as _};
use spki::AlgorithmIdentifierRef;

use crate::time::Time;

/// A certificate that `x509-cert` does not decode for its times alone.
pub(super) struct Early {
    /// All of it, but 1970 for what lies before.
    pub(super) parsed: x509_cert::Certificate,
    /// Its first moment of validity.
    pub(super) not_before: Time,
    /// Its last moment of validity.
    pub(super) not_after: Time,
}

#[derive(Sequence)]
struct Envelope<'a> {
    content: Content<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

/// A to-be-signed certificate of which only the times are of interest.
#[derive(Sequence)]
struct Content<'a> {
    #[asn1(context_specific = "0", optional = "true")]
    version: Option<AnyRef<'a>>,
    serial_number: AnyRef<'a>,
    signature: AnyRef<'a>,
    issuer: AnyRef<'a>,
    validity: Times<'a>,
    subject: AnyRef<'a>,
    public_key: AnyRef<'a>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    issuer_unique_id: Option<BitStringRef<'a>>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    subject_unique_id: Option<BitStringRef<'a>>,
    #[asn1(context_specific = "3", optional = "true")]
    extensions: Option<AnyRef<'a>>,
}

#[derive(Sequence)]
struct Times<'a> {
    not_before: AnyRef<'a>,
    not_after: AnyRef<'a>,
}

/// Reads a certificate that has a time before 1970; `None` if that is not what is amiss with it.
pub(super) fn read(der: &[u8]) -> Option<Early> {
    let mut envelope = Envelope::from_der(der).ok()?;
    let times = &mut envelope.content.validity;
    let [not_before, not_after] = [moment(times.not_before)?, moment(times.not_after)?];
    times.not_before = no_earlier_than_1970(times.not_before, not_before)?;
    times.not_after = no_earlier_than_1970(times.not_after, not_after)?;
    Some(Early {
        parsed: x509_cert::Certificate::from_der(&envelope.to_der().ok()?).ok()?,
        not_before,
        not_after,
    })
}

/// A time as certificates write it, in UTC with seconds: `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`.
fn moment(encoded: AnyRef<'_>) -> Option<Time> {
    let text = str::from_utf8(encoded.value()).ok()?;
    let digits = text.strip_suffix('Z')?;
    let digits = match encoded.tag() {
        Tag::UtcTime if digits < "50" => format!("20{digits}"),
        Tag::UtcTime => format!("19{digits}"),
        Tag::GeneralizedTime => digits.to_owned(),
        _ => return None,
    };
    if digits.len() != 14 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let (date, clock) = digits.split_at(8);
    let [year, month, day] = [&date[..4], &date[4..6], &date[6..]];
    let [hour, minute, second] = [&clock[..2], &clock[2..4], &clock[4..]];
    let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    text.parse().ok()
}

fn no_earlier_than_1970(encoded: AnyRef<'_>, moment: Time) -> Option<AnyRef<'_>> {
    let first: &[u8] = match encoded.tag() {
        _ if moment >= Time::EPOCH => return Some(encoded),
        Tag::UtcTime => b"700101000000Z",
        _ => b"19700101000000Z",
    };
    AnyRef::new(encoded.tag(), first).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(tag: Tag, text: &str) -> Option<String> {
        let encoded = AnyRef::new(tag, text.as_bytes()).expect("short");
        moment(encoded).map(|moment| moment.to_string())
    }

    /// RFC 5280 §4.1.2.5.1: two digits from 50 on are of the twentieth century.
    #[test]
    fn two_digits_are_years_from_1950_to_2049() {
        for (text, moment) in [
            ("500101120100Z", "1950-01-01T12:01:00Z"),
            ("691231235959Z", "1969-12-31T23:59:59Z"),
            ("491231235959Z", "2049-12-31T23:59:59Z"),
            ("000229000000Z", "2000-02-29T00:00:00Z"),
        ] {
            assert_eq!(read_as(Tag::UtcTime, text).as_deref(), Some(moment));
        }
        let general = read_as(Tag::GeneralizedTime, "19650203040506Z");
        assert_eq!(general.as_deref(), Some("1965-02-03T04:05:06Z"));
    }

    #[test]
    fn what_is_no_time_of_a_certificate_is_not_read() {
        for text in [
            "",
            "Z",
            "5001011201Z",
            "500101120100",
            "500101120100+0000",
            "501301120100Z",
            "500230120100Z",
            "50010112010éZ",
            "19500101120100Z",
        ] {
            assert_eq!(read_as(Tag::UtcTime, text), None, "{text}");
        }
        for text in ["500101120100Z", "19491231235959Z", "19500101120100.5Z"] {
            assert_eq!(read_as(Tag::GeneralizedTime, text), None, "{text}");
        }
        assert_eq!(read_as(Tag::PrintableString, "500101120100Z"), None);
    }
}
