//! Ways from a leaf up to an anchor, where names and keys allow more than one (RFC 4158 §2.3).
//!
//! OpenSSL follows one way, and does not turn back: of CAs that were cross-signed or renewed it may take the
//! certificate that leads nowhere, has expired or was revoked, by the order in which they were given. Here the
//! ways are listed; what one is worth is the library's verdict again.

use std::collections::HashMap;

use crate::certificate::Certificate;

/// Certificates between leaf and anchor, nearest first, and the anchor.
pub(super) struct Way<'a> {
    pub(super) intermediates: Vec<&'a Certificate>,
    pub(super) anchor: &'a Certificate,
}

/// More ways than any set of CAs has that people cross-sign; a hostile one would have them without end.
const MOST_WAYS: usize = 64;
/// As many signatures are looked at.
const MOST_SIGNATURES: usize = 500;
const LONGEST: usize = 16;

/// Whether there can be more than one: two certificates of one name.
pub(super) fn has_choice(intermediates: &[Certificate], anchors: &[Certificate]) -> bool {
    let mut named = HashMap::new();
    let mut all = intermediates.iter().chain(anchors);
    all.any(|one| {
        let other = named.insert(one.subject().to_der(), one);
        other.is_some_and(|other| other != one)
    })
}

/// The ways by names and signatures alone, those that were given first before the others.
pub(super) fn ways<'a>(
    leaf: &'a Certificate,
    intermediates: &'a [Certificate],
    anchors: &'a [Certificate],
) -> Vec<Way<'a>> {
    let mut search = Search {
        intermediates,
        anchors,
        signatures: MOST_SIGNATURES,
        ways: Vec::new(),
    };
    search.go_on(&mut vec![leaf]);
    search.ways
}

struct Search<'a> {
    intermediates: &'a [Certificate],
    anchors: &'a [Certificate],
    signatures: usize,
    ways: Vec<Way<'a>>,
}

impl<'a> Search<'a> {
    fn go_on(&mut self, path: &mut Vec<&'a Certificate>) {
        let Some(last) = path.last().copied() else {
            return;
        };
        for anchor in self.anchors {
            if self.is_issued_by(last, anchor) {
                self.ways.push(Way {
                    intermediates: path[1..].to_vec(),
                    anchor,
                });
            }
        }
        for issuer in self.intermediates {
            let is_room = path.len() < LONGEST && self.ways.len() < MOST_WAYS;
            if is_room && !path.contains(&issuer) && self.is_issued_by(last, issuer) {
                path.push(issuer);
                self.go_on(path);
                path.pop();
            }
        }
    }

    fn is_issued_by(&mut self, subject: &Certificate, issuer: &Certificate) -> bool {
        if self.signatures == 0 || subject.issuer() != issuer.subject() {
            return false;
        }
        self.signatures -= 1;
        subject.is_issued_by(issuer)
    }
}
