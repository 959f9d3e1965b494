//! What a precedent covers is what OpenSSL lets pass: shown on leaves of which each byte was changed
//! before they were signed, here and on the leaves of the suites ([`crate::limbo`], [`crate::pkits`]).
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::HashMap;

use der::Encode as _;
use der::asn1::BitString;
use pki_core::certificate::Certificate;
use pki_core::key::{KeyAlgorithm, Signer as _};
use pki_core::path::{LeafPattern, PathOptions, PathReport, Precedent, validate};
use pki_core::time::{Span, Time};

use crate::support::{TestAuthority, now, root};

const P256: KeyAlgorithm = KeyAlgorithm::EcdsaP256;

/// The question that a service asks which takes what others made.
fn options(at: Time) -> PathOptions<'static> {
    PathOptions::new(at).lenient().weak()
}

/// Leaves, each with what is at hand above it.
pub(crate) struct Case {
    pub(crate) leaf: Certificate,
    pub(crate) intermediates: Vec<Certificate>,
    pub(crate) anchors: Vec<Certificate>,
}

impl Case {
    fn validate(&self, options: PathOptions<'_>) -> PathReport {
        validate(&self.leaf, &self.intermediates, &self.anchors, options)
    }

    fn precedent(&self, options: PathOptions<'_>) -> Option<Precedent> {
        let report = self.validate(options);
        let (intermediates, anchors) = (&self.intermediates, &self.anchors);
        Precedent::new(&self.leaf, intermediates, anchors, options, &report)
    }
}

/// Asks every precedent that these cases make about every leaf among them, and OpenSSL about those that
/// are covered. Gives how many are.
pub(crate) fn covered(cases: &[Case], options: PathOptions<'_>, at: Time) -> usize {
    let mut alike: HashMap<LeafPattern, Vec<&Case>> = HashMap::new();
    for case in cases {
        if let Some(pattern) = LeafPattern::of(&case.leaf) {
            alike.entry(pattern).or_default().push(case);
        }
    }
    let mut count = 0;
    for (pattern, cases) in alike {
        for case in &cases {
            let Some(precedent) = case.precedent(options) else {
                continue;
            };
            for other in &cases {
                let leaf = &other.leaf;
                if !precedent.covers(leaf, pattern, at) {
                    continue;
                }
                let report = validate(leaf, &case.intermediates, &case.anchors, options);
                assert!(report.holds(), "{leaf:?}: {report:?}");
                count += 1;
            }
        }
    }
    count
}

fn covers(precedent: &Precedent, leaf: &Certificate, at: Time) -> bool {
    LeafPattern::of(leaf).is_some_and(|pattern| precedent.covers(leaf, pattern, at))
}

struct Line {
    issuing: TestAuthority,
    case: Case,
}

/// A leaf of ours below an intermediate that it comes with.
fn line() -> Line {
    let root = root("factory", P256);
    let issuing = root.intermediate("line-1", P256);
    let case = Case {
        leaf: issuing.leaf("device-0001", P256),
        intermediates: vec![issuing.certificate.clone()],
        anchors: vec![root.certificate.clone()],
    };
    Line { issuing, case }
}

/// The same certificate with other content, signed by whoever signs ours.
fn signed_again(
    issuing: &TestAuthority,
    leaf: &Certificate,
    content: &[u8],
) -> Option<Certificate> {
    let signature = issuing.signer.sign(content).expect("a signature");
    let signature = BitString::from_bytes(&signature).expect("bits");
    let algorithm = leaf.parsed().signature_algorithm().to_der().expect("DER");
    let parts = [content, &algorithm, &signature.to_der().expect("DER")].concat();
    let length = u16::try_from(parts.len()).expect("short").to_be_bytes();
    let der = [&[0x30, 0x82], &length[..], &parts].concat();
    Certificate::from_der(&der).ok()
}

fn content(leaf: &Certificate) -> Vec<u8> {
    leaf.parsed().tbs_certificate().to_der().expect("DER")
}

#[test]
fn the_next_leaf_of_a_line_is_covered_by_the_first() {
    let line = line();
    let precedent = line.case.precedent(options(now())).expect("a precedent");
    let next = line.issuing.leaf("device-0002", P256);
    let later = now() + Span::from_days(30);
    for at in [now() + Span::from_seconds(1), later] {
        assert!(covers(&precedent, &next, at), "at {at}");
    }
}

#[test]
fn what_a_precedent_does_not_say_is_for_openssl() {
    let line = line();
    let (case, at) = (&line.case, now() + Span::from_days(1));
    let precedent = case.precedent(options(now())).expect("a precedent");

    let validity = case.leaf.validity();
    let (begin, end, day) = (
        validity.not_before(),
        validity.not_after(),
        Span::from_days(1),
    );
    for other in [begin - day, begin, end, end + day] {
        assert!(!covers(&precedent, &case.leaf, other), "at {other}");
    }
    let stranger = root("factory", P256).intermediate("line-1", P256);
    let forged = stranger.leaf("device-0001", P256);
    assert!(!covers(&precedent, &forged, at), "another key signed");
    let larger = line.issuing.leaf("device-0001", KeyAlgorithm::EcdsaP384);
    assert!(!covers(&precedent, &larger, at), "another kind of key");
    let authority = line.issuing.intermediate("line-2", P256).certificate;
    assert!(!covers(&precedent, &authority, at), "an authority");
    let own_name = line.issuing.leaf("line-1", P256);
    let pattern = LeafPattern::of(&own_name);
    assert_eq!(pattern, None, "named like its issuer");
}

#[test]
fn no_precedent_comes_of_a_no_nor_of_another_question() {
    let line = line();
    let case = &line.case;
    assert!(case.precedent(PathOptions::new(now())).is_none(), "strict");
    let strong = PathOptions::new(now()).lenient();
    assert!(case.precedent(strong).is_none(), "strength of keys");
    let late = options(now() + Span::from_days(4000));
    assert!(case.precedent(late).is_none(), "it does not hold");
    let alone = Case {
        leaf: case.leaf.clone(),
        intermediates: Vec::new(),
        anchors: vec![case.leaf.clone()],
    };
    assert!(
        alone.precedent(options(now())).is_none(),
        "trusted as it is"
    );
}

/// Every byte of what is signed, changed in five ways, and signed by the issuer again.
#[test]
fn a_changed_leaf_that_is_covered_passes_openssl_as_well() {
    let line = line();
    let case = &line.case;
    let at = now() + Span::from_days(1);
    let precedent = case.precedent(options(at)).expect("a precedent");
    let original = content(&case.leaf);
    let (mut covered, mut refused) = (0, 0);
    for place in 0..original.len() {
        for change in [0x01, 0x02, 0x20, 0x80, 0xff] {
            let mut changed = original.clone();
            changed[place] ^= change;
            let Some(leaf) = signed_again(&line.issuing, &case.leaf, &changed) else {
                continue;
            };
            if !covers(&precedent, &leaf, at) {
                refused += 1;
                continue;
            }
            let report = validate(&leaf, &case.intermediates, &case.anchors, options(at));
            assert!(report.holds(), "octet {place} ^ {change:#x}: {report:?}");
            covered += 1;
        }
    }
    println!("{covered} covered, {refused} not");
    // Serial number, dates, common name and key identifier; and the extensions.
    assert!(
        covered >= 150 && refused >= 200,
        "{covered} covered, {refused} not"
    );
}
