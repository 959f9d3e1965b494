//! The fields of a certificate and the list of its extensions (RFC 5280 §4.1, §4.2).

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{
    ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_BASIC_CONSTRAINTS, ID_CE_CERTIFICATE_POLICIES,
    ID_CE_CRL_DISTRIBUTION_POINTS, ID_CE_EXT_KEY_USAGE, ID_CE_FRESHEST_CRL,
    ID_CE_INHIBIT_ANY_POLICY, ID_CE_ISSUER_ALT_NAME, ID_CE_KEY_USAGE, ID_CE_NAME_CONSTRAINTS,
    ID_CE_POLICY_CONSTRAINTS, ID_CE_POLICY_MAPPINGS, ID_CE_SUBJECT_ALT_NAME,
    ID_CE_SUBJECT_KEY_IDENTIFIER, ID_PE_AUTHORITY_INFO_ACCESS, ID_PE_SUBJECT_INFO_ACCESS,
};
use const_oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, ID_RSASSA_PSS,
    SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
};
use const_oid::db::rfc8410::ID_ED_25519;
use der::{Decode, Encode};
use x509_cert::certificate::Version;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage,
    KeyUsage, NameConstraints, PolicyConstraints, SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::time::Time as DerTime;

use super::{Candidate, Check, Finding, error, warning};
use crate::time::Time;

/// What a relying party may refuse a path for.
pub(super) const FORM_CHECKS: [Check; 7] = [
    version_is_three,
    serial_number_is_positive,
    signature_algorithms_agree,
    times_are_encoded_as_profiled,
    no_extension_stands_twice,
    critical_extensions_are_known,
    extensions_can_be_read,
];

pub(super) const CHECKS: [Check; 13] = [
    version_is_three,
    serial_number_is_positive,
    serial_number_is_hard_to_guess,
    signature_algorithms_agree,
    signature_algorithm_is_strong,
    issuer_has_a_name,
    times_are_encoded_as_profiled,
    times_are_after_1970,
    validity_is_not_over,
    no_extension_stands_twice,
    critical_extensions_are_known,
    extensions_can_be_read,
    no_netscape_extensions,
];

fn version_is_three(candidate: &Candidate<'_>) -> Option<Finding> {
    if candidate.tbs.version() == Version::V3 {
        return None;
    }
    let message = "it is not of version 3, and cannot say what it is for";
    error("version", message, "RFC 5280 §4.1.2.1")
}

fn serial_number_is_positive(candidate: &Candidate<'_>) -> Option<Finding> {
    let octets = candidate.tbs.serial_number().as_bytes();
    let positive = octets.first().is_some_and(|octet| octet & 0x80 == 0)
        && octets.iter().any(|octet| *octet != 0);
    if positive && octets.len() <= 20 {
        return None;
    }
    let message = "its serial number is zero, negative or longer than 20 bytes";
    error("serial-number", message, "RFC 5280 §4.1.2.2")
}

fn serial_number_is_hard_to_guess(candidate: &Candidate<'_>) -> Option<Finding> {
    let octets = candidate.tbs.serial_number().as_bytes().len();
    if octets >= 8 {
        return None;
    }
    let message = format!("its serial number has {octets} bytes, too few to be random");
    warning("serial-entropy", message, "CA/Browser Forum BR §7.1")
}

/// The identifier is inside of what is signed as well, so that it cannot be exchanged.
fn signature_algorithms_agree(candidate: &Candidate<'_>) -> Option<Finding> {
    let outside = candidate.signature_algorithm?;
    if outside == candidate.tbs.signature() {
        return None;
    }
    let message = "the signature algorithms inside and outside of it differ";
    error("signature-algorithm", message, "RFC 5280 §4.1.1.2")
}

fn signature_algorithm_is_strong(candidate: &Candidate<'_>) -> Option<Finding> {
    const STRONG: [ObjectIdentifier; 8] = [
        ECDSA_WITH_SHA_256,
        ECDSA_WITH_SHA_384,
        ECDSA_WITH_SHA_512,
        SHA_256_WITH_RSA_ENCRYPTION,
        SHA_384_WITH_RSA_ENCRYPTION,
        SHA_512_WITH_RSA_ENCRYPTION,
        ID_RSASSA_PSS,
        ID_ED_25519,
    ];
    let found = candidate.tbs.signature().oid;
    if STRONG.contains(&found) {
        return None;
    }
    let message = format!("its signature algorithm {found} is weak or unknown");
    error("weak-signature", message, "RFC 9155; NIST SP 800-131A §3")
}

fn issuer_has_a_name(candidate: &Candidate<'_>) -> Option<Finding> {
    if !candidate.tbs.issuer().is_empty() {
        return None;
    }
    error("issuer-name", "its issuer has no name", "RFC 5280 §4.1.2.4")
}

fn times_are_encoded_as_profiled(candidate: &Candidate<'_>) -> Option<Finding> {
    let validity = candidate.tbs.validity();
    let early = |time: &DerTime| match time {
        DerTime::UtcTime(_) => false,
        DerTime::GeneralTime(time) => time.to_date_time().year() < 2050,
    };
    if !early(&validity.not_before) && !early(&validity.not_after) {
        return None;
    }
    let message = "a time before 2050 is not encoded as UTCTime";
    error("time-encoding", message, "RFC 5280 §4.1.2.5")
}

/// Readers that count seconds from 1970 without a sign, rustls among them, refuse the whole certificate.
fn times_are_after_1970(candidate: &Candidate<'_>) -> Option<Finding> {
    let begin = candidate.validity?.not_before();
    if begin >= Time::EPOCH {
        return None;
    }
    let message = format!(
        "it is valid from {begin} on, a time before 1970 that not every TLS library can read"
    );
    warning("early-validity", message, "POSIX time; rustls-webpki")
}

fn validity_is_not_over(candidate: &Candidate<'_>) -> Option<Finding> {
    const SOURCE: &str = "RFC 5280 §4.1.2.5";
    let at = candidate.options.at;
    let Some(validity) = candidate.validity else {
        return error("validity", "the validity is empty", SOURCE);
    };
    if validity.not_after() <= at {
        let message = format!("it expired on {}", validity.not_after());
        return error("validity", message, SOURCE);
    }
    if validity.not_before() > at {
        let message = format!("it is not valid before {}", validity.not_before());
        return warning("validity", message, SOURCE);
    }
    None
}

fn extensions<'a>(candidate: &'a Candidate<'_>) -> &'a [Extension] {
    let extensions = candidate.tbs.extensions();
    extensions.map(Vec::as_slice).unwrap_or_default()
}

fn no_extension_stands_twice(candidate: &Candidate<'_>) -> Option<Finding> {
    let extensions = extensions(candidate);
    let twice = extensions.iter().enumerate().find(|(place, extension)| {
        extensions[..*place]
            .iter()
            .any(|other| other.extn_id == extension.extn_id)
    });
    let (_, extension) = twice?;
    let message = format!("its extension {} stands there twice", extension.extn_id);
    error("duplicate-extension", message, "RFC 5280 §4.2")
}

fn critical_extensions_are_known(candidate: &Candidate<'_>) -> Option<Finding> {
    const KNOWN: [ObjectIdentifier; 16] = [
        ID_CE_AUTHORITY_KEY_IDENTIFIER,
        ID_CE_BASIC_CONSTRAINTS,
        ID_CE_CERTIFICATE_POLICIES,
        ID_CE_CRL_DISTRIBUTION_POINTS,
        ID_CE_EXT_KEY_USAGE,
        ID_CE_FRESHEST_CRL,
        ID_CE_INHIBIT_ANY_POLICY,
        ID_CE_ISSUER_ALT_NAME,
        ID_CE_KEY_USAGE,
        ID_CE_NAME_CONSTRAINTS,
        ID_CE_POLICY_CONSTRAINTS,
        ID_CE_POLICY_MAPPINGS,
        ID_CE_SUBJECT_ALT_NAME,
        ID_CE_SUBJECT_KEY_IDENTIFIER,
        ID_PE_AUTHORITY_INFO_ACCESS,
        ID_PE_SUBJECT_INFO_ACCESS,
    ];
    let mut critical = extensions(candidate).iter().filter(|found| found.critical);
    let unknown = critical.find(|found| !KNOWN.contains(&found.extn_id))?;
    let message = format!("nobody knows its critical extension {}", unknown.extn_id);
    error("critical-extension", message, "RFC 5280 §4.2")
}

/// Known extensions decode, and encode to the same octets again: they are DER.
fn extensions_can_be_read(candidate: &Candidate<'_>) -> Option<Finding> {
    let broken = extensions(candidate).iter().find(|found| !is_der(found))?;
    let name = const_oid::db::DB
        .by_oid(&broken.extn_id)
        .map_or_else(|| broken.extn_id.to_string(), str::to_owned);
    let message = format!("its extension {name} cannot be read as DER");
    error("extension-encoding", message, "RFC 5280 §4.2")
}

fn is_der(extension: &Extension) -> bool {
    fn read<'a, T: Decode<'a> + Encode>(octets: &'a [u8]) -> bool {
        let value = T::from_der(octets).ok();
        let again = value.and_then(|value| value.to_der().ok());
        again.is_some_and(|again| again == octets)
    }
    let octets = extension.extn_value.as_bytes();
    match extension.extn_id {
        ID_CE_AUTHORITY_KEY_IDENTIFIER => read::<AuthorityKeyIdentifier>(octets),
        ID_CE_BASIC_CONSTRAINTS => read::<BasicConstraints>(octets),
        ID_CE_EXT_KEY_USAGE => read::<ExtendedKeyUsage>(octets),
        ID_CE_KEY_USAGE => read::<KeyUsage>(octets),
        ID_CE_NAME_CONSTRAINTS => read::<NameConstraints>(octets),
        ID_CE_POLICY_CONSTRAINTS => read::<PolicyConstraints>(octets),
        ID_CE_SUBJECT_ALT_NAME => read::<SubjectAltName>(octets),
        ID_CE_SUBJECT_KEY_IDENTIFIER => read::<SubjectKeyIdentifier>(octets),
        ID_PE_AUTHORITY_INFO_ACCESS => read::<AuthorityInfoAccessSyntax>(octets),
        _ => true,
    }
}

fn no_netscape_extensions(candidate: &Candidate<'_>) -> Option<Finding> {
    const NETSCAPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113730.1");
    let found = extensions(candidate)
        .iter()
        .find(|found| found.extn_id.parent() == Some(NETSCAPE))?;
    let message = format!(
        "its Netscape extension {} says nothing to anybody",
        found.extn_id
    );
    warning("netscape-extension", message, "dps-pki certificate profile")
}
