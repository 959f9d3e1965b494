//! What single extensions may say, for the role and the key of their certificate (RFC 5280 §4.2.1).

use const_oid::db::rfc5280::ANY_EXTENDED_KEY_USAGE;
use const_oid::db::rfc5912::RSA_ENCRYPTION;
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, ExtendedKeyUsage, PolicyConstraints,
    SubjectKeyIdentifier,
};

use super::{Candidate, Check, Finding, error, warning};
use crate::profile::Role;

/// What a relying party may refuse a path for.
pub(super) const FORM_CHECKS: [Check; 6] = [
    key_usage_is_of_an_authority,
    subject_key_identifier_is_not_critical,
    authority_key_identifier_is_there,
    policy_constraints_are_critical,
    information_access_is_not_critical,
    extended_key_usage_names_a_purpose,
];

pub(super) const CHECKS: [Check; 13] = [
    authority_is_marked_as_one,
    end_entity_is_no_authority,
    path_length_is_an_authoritys,
    key_usage_fits_the_role,
    key_usage_fits_the_key,
    key_usage_is_of_an_authority,
    extended_key_usage_names_a_purpose,
    subject_key_identifier_is_there,
    subject_key_identifier_is_not_critical,
    authority_key_identifier_is_there,
    authority_key_identifier_is_plain,
    policy_constraints_are_critical,
    information_access_is_not_critical,
];

fn authority_is_marked_as_one(candidate: &Candidate<'_>) -> Option<Finding> {
    const SOURCE: &str = "RFC 5280 §4.2.1.9";
    if !candidate.role.is_authority() {
        return None;
    }
    match candidate.extension::<x509_cert::ext::pkix::BasicConstraints>() {
        Some((true, constraints)) if constraints.ca => None,
        Some((false, constraints)) if constraints.ca => error(
            "basic-constraints",
            "an authority's basicConstraints must be critical",
            SOURCE,
        ),
        _ => error("basic-constraints", "an authority must say CA:TRUE", SOURCE),
    }
}

fn end_entity_is_no_authority(candidate: &Candidate<'_>) -> Option<Finding> {
    if candidate.role.is_authority() || !candidate.claims_authority() {
        return None;
    }
    let message = "an end entity must not say CA:TRUE";
    error("basic-constraints", message, "RFC 5280 §4.2.1.9")
}

fn path_length_is_an_authoritys(candidate: &Candidate<'_>) -> Option<Finding> {
    let constraints = candidate.basic_constraints()?;
    if constraints.ca || constraints.path_len_constraint.is_none() {
        return None;
    }
    let message = "it has a path length, but is no CA";
    error("basic-constraints", message, "RFC 5280 §4.2.1.9")
}

fn key_usage_fits_the_role(candidate: &Candidate<'_>) -> Option<Finding> {
    let role = candidate.role.as_str();
    let refuse = |message: String| error("key-usage", message, "RFC 5280 §4.2.1.3");
    let Some(usage) = candidate.key_usage() else {
        return refuse(format!("a {role} certificate needs a key usage"));
    };
    match candidate.role {
        Role::Root | Role::Intermediate if !usage.key_cert_sign() => refuse(format!(
            "the key usage of a {role} certificate lacks keyCertSign"
        )),
        // Without it, nothing of this authority can be revoked in a CRL that verifies.
        Role::Root | Role::Intermediate if !usage.crl_sign() => refuse(format!(
            "the key usage of a {role} certificate lacks cRLSign"
        )),
        Role::Leaf | Role::Verification if !usage.digital_signature() => refuse(format!(
            "the key usage of a {role} certificate lacks digitalSignature"
        )),
        Role::Leaf | Role::Verification if usage.crl_sign() => refuse(format!(
            "the key usage of a {role} certificate includes cRLSign"
        )),
        _ => None,
    }
}

/// Only RSA keys can wrap other keys.
fn key_usage_fits_the_key(candidate: &Candidate<'_>) -> Option<Finding> {
    let usage = candidate.key_usage()?;
    let is_rsa = candidate.tbs.subject_public_key_info().algorithm.oid == RSA_ENCRYPTION;
    if is_rsa || !(usage.key_encipherment() || usage.data_encipherment()) {
        return None;
    }
    let message = "its key usage includes encipherment, which its kind of key cannot do";
    error("key-usage-algorithm", message, "RFC 8813 §3; RFC 9295 §3")
}

fn key_usage_is_of_an_authority(candidate: &Candidate<'_>) -> Option<Finding> {
    if candidate.claims_authority() || !candidate.key_usage()?.key_cert_sign() {
        return None;
    }
    let message = "its key usage includes keyCertSign, but it is no CA";
    error("key-usage", message, "RFC 5280 §4.2.1.3")
}

fn extended_key_usage_names_a_purpose(candidate: &Candidate<'_>) -> Option<Finding> {
    let (_, usage) = candidate.extension::<ExtendedKeyUsage>()?;
    if usage.0.is_empty() {
        let message = "its extended key usage is empty";
        return error("extended-key-usage", message, "RFC 5280 §4.2.1.12");
    }
    if usage.0.contains(&ANY_EXTENDED_KEY_USAGE) {
        let message = "its extended key usage is anyExtendedKeyUsage, which many verifiers refuse";
        return warning("extended-key-usage", message, "RFC 5280 §4.2.1.12");
    }
    None
}

fn subject_key_identifier_is_there(candidate: &Candidate<'_>) -> Option<Finding> {
    let found = candidate.extension::<SubjectKeyIdentifier>();
    if found.is_some_and(|(_, identifier)| !identifier.0.as_bytes().is_empty()) {
        return None;
    }
    let message = "its subject key identifier is missing, empty or stands twice";
    if candidate.role.is_authority() {
        error("subject-key-identifier", message, "RFC 5280 §4.2.1.2")
    } else {
        warning("subject-key-identifier", message, "RFC 5280 §4.2.1.2")
    }
}

fn subject_key_identifier_is_not_critical(candidate: &Candidate<'_>) -> Option<Finding> {
    let (critical, _) = candidate.extension::<SubjectKeyIdentifier>()?;
    let message = "its subject key identifier is critical";
    critical.then_some(())?;
    error("subject-key-identifier", message, "RFC 5280 §4.2.1.2")
}

fn authority_key_identifier_is_there(candidate: &Candidate<'_>) -> Option<Finding> {
    const SOURCE: &str = "RFC 5280 §4.2.1.1";
    match candidate.extension::<AuthorityKeyIdentifier>() {
        Some((true, _)) => {
            let message = "its authority key identifier is critical";
            error("authority-key-identifier", message, SOURCE)
        }
        Some((false, found)) if found.key_identifier.is_some() => None,
        _ if candidate.is_self_issued() && candidate.is_self_signed() => None,
        _ => {
            let message = "its authority key identifier is missing, or does not name a key";
            error("authority-key-identifier", message, SOURCE)
        }
    }
}

/// Issuer and serial number there go wrong as soon as the issuer is renewed.
fn authority_key_identifier_is_plain(candidate: &Candidate<'_>) -> Option<Finding> {
    let (_, found) = candidate.extension::<AuthorityKeyIdentifier>()?;
    let by_serial = found.authority_cert_serial_number.is_some();
    if !by_serial && found.authority_cert_issuer.is_none() {
        return None;
    }
    let message = "its authority key identifier names the issuer's serial number: it breaks when the issuer is renewed";
    warning("authority-key-identifier", message, "RFC 4158 §3.5.12")
}

fn policy_constraints_are_critical(candidate: &Candidate<'_>) -> Option<Finding> {
    let (critical, _) = candidate.extension::<PolicyConstraints>()?;
    if critical {
        return None;
    }
    let message = "its policy constraints are not critical";
    error("policy-constraints", message, "RFC 5280 §4.2.1.11")
}

fn information_access_is_not_critical(candidate: &Candidate<'_>) -> Option<Finding> {
    let (critical, _) = candidate.extension::<AuthorityInfoAccessSyntax>()?;
    if !critical {
        return None;
    }
    let message = "its authority information access is critical";
    error("information-access", message, "RFC 5280 §4.2.2.1")
}
