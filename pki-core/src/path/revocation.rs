//! CRLs that are handed in (RFC 5280 §6.3), whole lists of a certificate's own issuer.

use crate::certificate::Certificate;
use crate::crl::Crl;
use crate::time::Time;

use super::report::{CheckName, PathCheck};

/// Whether a list of `issuer` revokes `certificate`. Lists under the issuer's name of which none can be relied
/// on are a failure: somebody may have put them there in place of the real one. Another key may have the same
/// name, before a roll or after, and lists of its own.
pub(super) fn check(
    certificate: &Certificate,
    issuer: &Certificate,
    crls: &[Crl],
    at: Time,
) -> PathCheck {
    let name = issuer.subject();
    let named: Vec<&Crl> = crls.iter().filter(|crl| *crl.issuer() == name).collect();
    let Some(first) = named.first() else {
        let why = format!("no CRL of {name} was given");
        return PathCheck::not_checked(CheckName::Revocation, why);
    };
    let mut own = named
        .iter()
        .filter(|crl| crl.verify(issuer).is_ok())
        .peekable();
    let problem = if own.peek().is_some() {
        own.find_map(|crl| problem(certificate, crl, at))
    } else {
        first.verify(issuer).err().map(|error| error.to_string())
    };
    PathCheck::new(CheckName::Revocation, problem)
}

fn problem(certificate: &Certificate, crl: &Crl, at: Time) -> Option<String> {
    if crl.version() == 1 {
        return Some(
            "the CRL is of version 1, without a number; have it made in version 2".to_owned(),
        );
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
