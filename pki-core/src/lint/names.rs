//! Subjects, alternative names and name constraints (RFC 5280 §4.1.2.6, §4.2.1.6, §4.2.1.10).

use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{NameConstraints, SubjectAltName};

use super::{Candidate, Check, Finding, error, warning};

pub(super) const CHECKS: [Check; 6] = [
    authority_has_a_subject,
    alternative_name_stands_for_an_empty_subject,
    alternative_names_are_well_formed,
    name_constraints_are_an_authoritys,
    name_constraints_are_critical,
    name_constraints_are_well_formed,
];

fn authority_has_a_subject(candidate: &Candidate<'_>) -> Option<Finding> {
    if !candidate.claims_authority() || !candidate.tbs.subject().is_empty() {
        return None;
    }
    let message = "it is a CA without a subject";
    error("subject", message, "RFC 5280 §4.1.2.6")
}

fn alternative_name_stands_for_an_empty_subject(candidate: &Candidate<'_>) -> Option<Finding> {
    const SOURCE: &str = "RFC 5280 §4.2.1.6";
    let empty = candidate.tbs.subject().is_empty();
    match candidate.extension::<SubjectAltName>() {
        Some((false, _)) if empty => {
            let message = "its subject is empty, but its alternative name is not critical";
            error("subject-alternative-name", message, SOURCE)
        }
        Some((true, _)) if !empty => {
            let message = "its alternative name is critical, although it has a subject";
            warning("subject-alternative-name", message, SOURCE)
        }
        _ => None,
    }
}

fn alternative_names_are_well_formed(candidate: &Candidate<'_>) -> Option<Finding> {
    const SOURCE: &str = "RFC 5280 §4.2.1.6";
    let (_, names) = candidate.extension::<SubjectAltName>()?;
    if names.0.is_empty() {
        let message = "its alternative name is empty";
        return error("subject-alternative-name", message, SOURCE);
    }
    let problem = names.0.iter().find_map(name_problem)?;
    error("subject-alternative-name", problem, SOURCE)
}

fn name_problem(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => {
            let text = name.as_str();
            // A wildcard stands for the first label (RFC 9525 §6.3).
            let fixed = text.strip_prefix("*.").unwrap_or(text);
            let fits = is_host_name(fixed) && text.parse::<std::net::IpAddr>().is_err();
            (!fits).then(|| format!("its alternative name {text:?} is no DNS name"))
        }
        GeneralName::Rfc822Name(name) => {
            let text = name.as_str();
            (!is_mailbox(text)).then(|| format!("its alternative name {text:?} is no mailbox"))
        }
        GeneralName::IpAddress(address) => {
            let octets = address.as_bytes().len();
            let fits = matches!(octets, 4 | 16);
            (!fits).then(|| format!("an IP address in its alternative name has {octets} bytes"))
        }
        _ => None,
    }
}

/// Preferred name syntax: letters, digits and dashes (RFC 1034 §3.5, RFC 1123 §2.1).
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// `local-part@domain`, one `@` (RFC 5321 §4.1.2).
fn is_mailbox(text: &str) -> bool {
    match text.split_once('@') {
        Some((local, domain)) => !local.is_empty() && is_host_name(domain),
        None => false,
    }
}

fn name_constraints_are_an_authoritys(candidate: &Candidate<'_>) -> Option<Finding> {
    candidate.extension::<NameConstraints>()?;
    if candidate.claims_authority() {
        return None;
    }
    let message = "it has name constraints, but is no CA";
    error("name-constraints", message, "RFC 5280 §4.2.1.10")
}

fn name_constraints_are_critical(candidate: &Candidate<'_>) -> Option<Finding> {
    let (critical, _) = candidate.extension::<NameConstraints>()?;
    if critical {
        return None;
    }
    let message = "its name constraints are not critical";
    error("name-constraints", message, "RFC 5280 §4.2.1.10")
}

fn name_constraints_are_well_formed(candidate: &Candidate<'_>) -> Option<Finding> {
    const SOURCE: &str = "RFC 5280 §4.2.1.10";
    let (_, constraints) = candidate.extension::<NameConstraints>()?;
    let permitted = constraints.permitted_subtrees.unwrap_or_default();
    let excluded = constraints.excluded_subtrees.unwrap_or_default();
    if permitted.is_empty() && excluded.is_empty() {
        let message = "its name constraints constrain nothing";
        return error("name-constraints", message, SOURCE);
    }
    let problem = permitted
        .iter()
        .chain(&excluded)
        .find_map(subtree_problem)?;
    error("name-constraints", problem, SOURCE)
}

fn subtree_problem(subtree: &GeneralSubtree) -> Option<String> {
    match &subtree.base {
        GeneralName::DnsName(name) => {
            let text = name.as_str();
            let fits = text.is_empty() || is_host_name(text);
            (!fits).then(|| format!("its name constraint {text:?} is no DNS name"))
        }
        GeneralName::Rfc822Name(name) => {
            let text = name.as_str();
            let host = text.strip_prefix('.').unwrap_or(text);
            let fits = is_mailbox(text) || is_host_name(host);
            (!fits).then(|| format!("its name constraint {text:?} is neither mailbox nor host"))
        }
        GeneralName::IpAddress(address) => {
            let octets = address.as_bytes().len();
            let fits = matches!(octets, 8 | 32);
            (!fits).then(|| format!("an IP range in its name constraints has {octets} bytes"))
        }
        _ => None,
    }
}
