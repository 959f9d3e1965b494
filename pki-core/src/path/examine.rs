//! What can be said of each certificate of a path by itself, beside the library's verdict.
//!
//! These are facts for the report; those of form and of CRLs also refuse. The algorithm of RFC 5280
//! §6.1 (names, policies, the building of the path) is the library's alone.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};

use super::report::{CheckName, CheckOutcome, PathCheck};
use super::validate::Question;
use super::{Purpose, revocation};
use crate::certificate::Certificate;
use crate::key::SignatureError;
use crate::lint;
use crate::wording::{counted, fitting};

/// Every check of the certificate at `depth` of a path that `holds` or does not, as the library says.
pub(super) fn checks(
    path: &[Certificate],
    depth: usize,
    holds: bool,
    question: &Question<'_>,
) -> Vec<PathCheck> {
    let certificate = &path[depth];
    let issuer = path.get(depth + 1);
    let mut checks = vec![
        signature(certificate, issuer, holds, question),
        validity(certificate, question),
    ];
    if depth > 0 {
        checks.push(PathCheck::new(CheckName::Authority, authority(certificate)));
        checks.push(path_length(path, depth));
    }
    checks.push(purpose(certificate, question));
    if question.options.is_strict() {
        checks.push(form(certificate, question));
    }
    if let Some(issuer) = issuer
        && !question.crls.is_empty()
    {
        let at = question.options.moment();
        let mut check = revocation::check(certificate, issuer, question.crls, at);
        if check.outcome == CheckOutcome::NotChecked && question.options.wants_every_list() {
            // As `openssl verify -crl_check_all`: what was not looked at is no comfort.
            check.outcome = CheckOutcome::Failed;
        }
        checks.push(check);
    }
    checks
}

/// The signature itself; without an issuer, why the path ends here.
fn signature(
    certificate: &Certificate,
    issuer: Option<&Certificate>,
    holds: bool,
    question: &Question<'_>,
) -> PathCheck {
    let Some(issuer) = issuer else {
        if question.anchors.contains(certificate) {
            return PathCheck::not_checked(CheckName::Signature, "it is trusted as it is");
        }
        return match impostor(certificate, question) {
            Some(problem) => PathCheck::new(CheckName::Signature, Some(problem)),
            None => PathCheck::not_checked(CheckName::Signature, "its issuer is not at hand"),
        };
    };
    // The library has verified every signature of a path that holds: a second time says nothing new.
    if holds {
        return PathCheck::new(CheckName::Signature, None);
    }
    // Algorithms that are not accepted here at all are left to the library.
    match certificate.verify_signature(&issuer.public_key()) {
        Err(SignatureError::Algorithm { algorithm }) => {
            let why = format!("the algorithm {algorithm} is judged by the library");
            PathCheck::not_checked(CheckName::Signature, why)
        }
        verified => PathCheck::new(
            CheckName::Signature,
            verified.err().map(|error| error.to_string()),
        ),
    }
}

/// A certificate at hand that has the issuer's name, but not its key.
fn impostor(certificate: &Certificate, question: &Question<'_>) -> Option<String> {
    let name = certificate.issuer();
    let mut known = question.intermediates.iter().chain(question.anchors);
    let other = known.find(|other| *other != certificate && other.subject() == name)?;
    let verified = certificate.verify_signature(&other.public_key());
    matches!(verified, Err(SignatureError::Mismatch)).then_some(())?;
    Some(format!(
        "the certificate at hand that is called {name} (serial number {}) has another key than the one that signed",
        other.serial_number()
    ))
}

fn validity(certificate: &Certificate, question: &Question<'_>) -> PathCheck {
    let validity = certificate.validity();
    let at = question.options.moment();
    let problem = if at > validity.not_after() {
        Some(format!("it expired on {}", validity.not_after()))
    } else if at < validity.not_before() {
        Some(format!("it is not valid before {}", validity.not_before()))
    } else {
        None
    };
    PathCheck::new(CheckName::Validity, problem)
}

fn authority(certificate: &Certificate) -> Option<String> {
    if !certificate.is_ca() {
        return Some("it is not a CA, but stands above another certificate".to_owned());
    }
    let usage = certificate.key_usage()?;
    let may = usage.key_cert_sign();
    (!may).then(|| "its key usage does not include keyCertSign".to_owned())
}

/// Authorities that issued themselves do not count (§4.2.1.9).
fn path_length(path: &[Certificate], depth: usize) -> PathCheck {
    let below = path[1..depth]
        .iter()
        .filter(|one| !one.is_self_issued())
        .count();
    let constraints = path[depth].basic_constraints();
    let most = constraints.and_then(|constraints| constraints.path_len_constraint);
    let problem = most.filter(|most| below > usize::from(*most)).map(|most| {
        let most = counted(most, "authority", "authorities");
        format!(
            "it allows {most} below it, and there {} {below}",
            fitting(below, "is", "are")
        )
    });
    PathCheck::new(CheckName::PathLength, problem)
}

/// No extended key usage means any (§4.2.1.12); of an authority it limits what is below.
fn purpose(certificate: &Certificate, question: &Question<'_>) -> PathCheck {
    let wanted: ObjectIdentifier = match question.options.wanted() {
        Purpose::Any => return PathCheck::not_checked(CheckName::Purpose, "any will do"),
        Purpose::Client => ID_KP_CLIENT_AUTH,
        Purpose::Server => ID_KP_SERVER_AUTH,
    };
    if question.anchors.contains(certificate) {
        return PathCheck::not_checked(CheckName::Purpose, "it is trusted as it is");
    }
    let usage = certificate.extended_key_usage();
    let fits = usage
        .is_none_or(|usage| usage.0.contains(&wanted) || usage.0.contains(&ANY_EXTENDED_KEY_USAGE));
    let problem = (!fits).then(|| {
        let name = const_oid::db::DB.by_oid(&wanted).unwrap_or_default();
        format!(
            "its extended key usage does not include {}",
            name.trim_start_matches("id-kp-")
        )
    });
    PathCheck::new(CheckName::Purpose, problem)
}

fn form(certificate: &Certificate, question: &Question<'_>) -> PathCheck {
    let findings = lint::form_errors(certificate, question.options.moment());
    let problem = findings.first().map(ToString::to_string);
    PathCheck::new(CheckName::Form, problem)
}
