//! A certificate beside its issuer's (RFC 5280 §6.1.3, §6.1.4).

use x509_cert::ext::pkix::{AuthorityKeyIdentifier, SubjectKeyIdentifier};

use super::{Candidate, Check, Finding, error};
use crate::name::same_name;

pub(super) const CHECKS: [Check; 7] = [
    issuer_is_valid_now,
    validity_lies_within_the_issuer,
    issuer_name_is_its_subject,
    issuer_may_sign,
    path_length_allows,
    authority_key_identifier_is_the_issuers,
    subject_key_identifier_is_its_own,
];

/// What can be checked only once there is a signature.
pub(super) const SIGNED_CHECKS: [Check; 1] = [issuer_made_the_signature];

fn issuer_is_valid_now(candidate: &Candidate<'_>) -> Option<Finding> {
    let validity = candidate.issuer?.certificate?.validity();
    let at = candidate.options.at;
    if validity.contains(at) {
        return None;
    }
    let message = if at > validity.not_after() {
        format!(
            "the authority's own certificate expired on {}",
            validity.not_after()
        )
    } else {
        format!(
            "the authority's own certificate is not valid before {}",
            validity.not_before()
        )
    };
    error("issuer-validity", message, "RFC 5280 §6.1.3")
}

fn validity_lies_within_the_issuer(candidate: &Candidate<'_>) -> Option<Finding> {
    let issuer = candidate.issuer?.certificate?.validity();
    let validity = candidate.validity?;
    if issuer.encloses(validity) {
        return None;
    }
    let message = format!(
        "it would be valid from {} to {}, but its issuer only from {} to {}",
        validity.not_before(),
        validity.not_after(),
        issuer.not_before(),
        issuer.not_after()
    );
    error("nested-validity", message, "RFC 5280 §6.1.3")
}

fn issuer_name_is_its_subject(candidate: &Candidate<'_>) -> Option<Finding> {
    if same_name(candidate.tbs.issuer(), &candidate.issuer?.subject_der) {
        return None;
    }
    let message = "the issuer field differs from the issuer's subject in its bytes";
    error("issuer-name", message, "RFC 5280 §4.1.2.4")
}

fn issuer_may_sign(candidate: &Candidate<'_>) -> Option<Finding> {
    let issuer = candidate.issuer?.certificate?;
    if !issuer.is_ca() {
        let message = "the issuer's certificate is not that of a CA (basicConstraints)";
        return error("issuer-ca", message, "RFC 5280 §4.2.1.9");
    }
    if issuer
        .key_usage()
        .is_some_and(|usage| !usage.key_cert_sign())
    {
        let message = "the issuer's key usage does not allow signing certificates";
        return error("issuer-ca", message, "RFC 5280 §4.2.1.3");
    }
    None
}

fn path_length_allows(candidate: &Candidate<'_>) -> Option<Finding> {
    if !candidate.role.is_authority() || candidate.is_self_issued() {
        return None;
    }
    let constraints = candidate.issuer?.certificate?.basic_constraints()?;
    let allowed = constraints.path_len_constraint?;
    let own = candidate
        .basic_constraints()
        .and_then(|constraints| constraints.path_len_constraint);
    if allowed > 0 && own.is_none_or(|own| own < allowed) {
        return None;
    }
    let message = match own {
        Some(own) if allowed > 0 => {
            format!("its path length {own} does not fit below the issuer's {allowed}")
        }
        _ => "the issuer's path length 0 allows no authority below it".into(),
    };
    error("path-length", message, "RFC 5280 §4.2.1.9")
}

fn authority_key_identifier_is_the_issuers(candidate: &Candidate<'_>) -> Option<Finding> {
    let issuer = candidate.issuer?.certificate?.subject_key_identifier()?;
    let (_, found) = candidate.extension::<AuthorityKeyIdentifier>()?;
    let named = found.key_identifier?;
    if named.as_bytes() == issuer {
        return None;
    }
    let message = "its authority key identifier is not the issuer's subject key identifier";
    error("authority-key-identifier", message, "RFC 5280 §4.2.1.1")
}

/// Path builders find issuers by this identifier, and go in circles if two keys share one.
fn subject_key_identifier_is_its_own(candidate: &Candidate<'_>) -> Option<Finding> {
    let issuer = candidate.issuer?;
    let (_, own) = candidate.extension::<SubjectKeyIdentifier>()?;
    let same = issuer.certificate?.subject_key_identifier()? == own.0.as_bytes();
    let key = der::Encode::to_der(candidate.tbs.subject_public_key_info()).ok()?;
    if !same || key == issuer.public_key {
        return None;
    }
    let message = "its subject key identifier is copied from its issuer, whose key is another";
    error("subject-key-identifier", message, "RFC 5280 §4.2.1.2")
}

fn issuer_made_the_signature(candidate: &Candidate<'_>) -> Option<Finding> {
    let verified = candidate
        .certificate?
        .verify_signature(&candidate.issuer?.public_key);
    let problem = verified.err()?;
    error("signature", problem.to_string(), "RFC 5280 §6.1.3")
}
