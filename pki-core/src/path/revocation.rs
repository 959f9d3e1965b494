//! CRLs that are handed in (RFC 5280 §6.3), whole lists of a certificate's own issuer.

use crate::certificate::Certificate;
use crate::crl::Crl;
use crate::time::Time;

use super::report::{CheckName, PathCheck};

/// Whether a list of `issuer` revokes `certificate`. A list under the issuer's name that cannot be
/// relied on is a failure: somebody may have put it there in place of the real one.
pub(super) fn check(
    certificate: &Certificate,
    issuer: &Certificate,
    crls: &[Crl],
    at: Time,
) -> PathCheck {
    let name = issuer.subject();
    let mut lists = crls.iter().filter(|crl| *crl.issuer() == name).peekable();
    if lists.peek().is_none() {
        let why = format!("no CRL of {name} was given");
        return PathCheck::not_checked(CheckName::Revocation, why);
    }
    let problem = lists.find_map(|crl| problem(certificate, issuer, crl, at));
    PathCheck::new(CheckName::Revocation, problem)
}

fn problem(certificate: &Certificate, issuer: &Certificate, crl: &Crl, at: Time) -> Option<String> {
    if let Err(error) = crl.verify(issuer) {
        return Some(error.to_string());
    }
    if crl.number().is_none() {
        return Some("the CRL has no number".to_owned());
    }
    if at < crl.this_update() {
        return Some(format!("the CRL holds only from {} on", crl.this_update()));
    }
    match crl.next_update() {
        Some(next) if at > next => {
            return Some(format!("the CRL is stale: the next was due on {next}"));
        }
        Some(_) => {}
        None => return Some("the CRL does not say when the next is due".to_owned()),
    }
    // A date in the future means that the issuer knows of a leak before that day: refused as well.
    let entry = crl.entry(certificate.serial_number())?;
    Some(format!("it was revoked on {}: {}", entry.at, entry.reason))
}
