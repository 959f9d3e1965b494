//! What `lint` must find in certificates that others made (`fixtures/hostile`), and that it finds
//! nothing wrong in ours.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use crate::support::{now, root};
use pki_core::authority::ChainBundle;
use pki_core::certificate::{Certificate, pem};
use pki_core::key::KeyAlgorithm;
use pki_core::lint::{self, LintOptions, Severity};
use pki_core::profile::Role;
use pki_core::time::Span;

/// What is found in the first certificate of a file, and in its chain as a whole, as `check` words.
fn found(file: &str, severity: Severity) -> Vec<&'static str> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/hostile/");
    #[expect(clippy::disallowed_methods, reason = "a fixture is a file")]
    let content = std::fs::read(format!("{folder}{file}.cert.pem")).expect("fixture");
    let chain = pem::certificates(&content).expect("certificates");
    let findings = lint::chain(&chain, Some(Role::Leaf), LintOptions::new(now()));
    let all = findings.certificates[0].iter().chain(&findings.chain);
    all.filter(|finding| finding.severity == severity)
        .map(|finding| finding.check)
        .collect()
}

#[test]
fn what_other_tools_make_is_flagged() {
    for (file, errors) in [
        (
            "az-self-signed-device",
            &["basic-constraints", "client-auth"][..],
        ),
        (
            "az-chained-device",
            &["basic-constraints", "subject-key-identifier", "client-auth"],
        ),
        ("encipherment-on-ec", &["key-usage-algorithm"]),
        ("no-registration-id", &["registration-id"]),
        ("name-constraints-in-leaf", &["name-constraints"]),
        ("weak-rsa", &["public-key"]),
        ("any-purpose", &["client-auth"]),
        ("no-extensions", &["key-usage", "client-auth"]),
    ] {
        let found = found(file, Severity::Error);
        for error in errors {
            assert!(
                found.contains(error),
                "{file}: {error} is not among {found:?}"
            );
        }
    }
}

#[test]
fn what_will_hurt_later_is_a_warning() {
    for (file, warnings) in [
        (
            "certgen-device",
            &[
                "serial-entropy",
                "netscape-extension",
                "authority-key-identifier",
            ][..],
        ),
        ("long-lived", &["long-validity"]),
        ("before-1970", &["early-validity"]),
        ("any-purpose", &["extended-key-usage"]),
    ] {
        let found = found(file, Severity::Warning);
        for warning in warnings {
            assert!(
                found.contains(warning),
                "{file}: {warning} is not among {found:?}"
            );
        }
    }
}

#[test]
fn every_finding_says_where_the_rule_stands() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/hostile/");
    #[expect(clippy::disallowed_methods, reason = "a fixture is a file")]
    let content = std::fs::read(format!("{folder}az-chained-device.cert.pem")).expect("fixture");
    let chain = pem::certificates(&content).expect("certificates");
    let findings = lint::chain(&chain, Some(Role::Leaf), LintOptions::new(now()));
    assert!(!findings.certificates[0].is_empty());
    for finding in findings.certificates.iter().flatten() {
        assert!(
            !finding.source.is_empty() && !finding.message.is_empty(),
            "{finding:?}"
        );
    }
}

#[test]
fn nothing_is_wrong_with_ours() {
    for algorithm in [
        KeyAlgorithm::EcdsaP256,
        KeyAlgorithm::Ed25519,
        KeyAlgorithm::Rsa2048,
    ] {
        let chain = ours(algorithm);
        let findings = lint::chain(&chain, None, LintOptions::new(now()));
        assert!(findings.chain.is_empty(), "{:?}", findings.chain);
        let all: Vec<_> = findings.certificates.into_iter().flatten().collect();
        assert!(all.is_empty(), "{algorithm}: {all:?}");
    }
}

/// A leaf that expires on the shelf is refused, one that lasts just as long is not.
#[test]
fn a_leaf_must_outlast_the_warehouse() {
    let chain = ours(KeyAlgorithm::EcdsaP256);
    let rest = chain[0].validity().not_after() - now();
    for (shelf, errors) in [(rest, 0), (Span::from_seconds(rest.seconds() + 1), 1)] {
        let options = LintOptions {
            warehouse_time: Some(shelf),
            ..LintOptions::new(now())
        };
        let found = lint::certificate(&chain[0], Role::Leaf, Some(&chain[1]), options);
        let found: Vec<_> = found
            .iter()
            .filter(|one| one.check == "warehouse-time")
            .collect();
        assert_eq!(found.len(), errors, "{found:?}");
    }
}

#[test]
fn a_chain_out_of_order_or_without_its_verified_ca_is_found() {
    let mut chain = ours(KeyAlgorithm::EcdsaP256);
    let above = chain[1..].to_vec();
    let root = chain[2].clone();
    assert_eq!(lint::reaches_verified_ca(&above, &[root]), None);
    let other = ours(KeyAlgorithm::EcdsaP256).remove(2);
    let missing = lint::reaches_verified_ca(&above, &[other]).expect("a finding");
    assert_eq!(missing.check, "verified-ca");
    chain.swap(0, 1);
    let findings = lint::chain(&chain, None, LintOptions::new(now()));
    assert_eq!(findings.chain[0].check, "chain-order");
}

/// Leaf, intermediate and root.
fn ours(algorithm: KeyAlgorithm) -> Vec<Certificate> {
    let root = root("root", algorithm);
    let factory = root.intermediate("factory", algorithm);
    let leaf = factory.leaf("sensor-1", algorithm);
    let others = [factory.certificate.clone(), root.certificate.clone()];
    let bundle = ChainBundle::complete(&leaf, &others).expect("a chain");
    bundle.certificates().to_vec()
}
