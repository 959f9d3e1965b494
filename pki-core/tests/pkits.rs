//! NIST PKITS judges path validation: the signature, validity, name chaining, basic constraints and
//! key usage tests (§4.1 to §4.3, §4.6, §4.7, §4.16) as *basic*, those of name constraints (§4.13)
//! as *names*.
//!
//! `DPS_PKI_PKITS` names the folder `PKITS_data` of the Python package `cryptography-vectors`;
//! without it, this test says so and judges nothing. File names say what is expected.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "the suite is a folder")]

use std::path::{Path, PathBuf};

use openssl::x509::{X509, X509VerifyResult};
use pki_core::certificate::Certificate;
use pki_core::path::{PathOptions, Purpose, validate};
use pki_core::time::Time;

use crate::precedent::{Case, covered};
use crate::skip::skip_collection;

const BASIC: [&str; 22] = [
    "CertificatePath",
    "CASignature",
    "EESignature",
    "DSASignature",
    "DSAParameterInheritance",
    "CAnotBeforeDate",
    "CAnotAfterDate",
    "EEnotBeforeDate",
    "EEnotAfterDate",
    "pre2000UTC",
    "GeneralizedTimenot",
    "NameChaining",
    "NameUIDs",
    "RFC3280",
    "RolloverfromPrintableString",
    "UTF8String",
    "MissingbasicConstraints",
    "cAFalse",
    "pathLenConstraint",
    "SelfIssuedpathLenConstraint",
    "basicConstraintsNotCritical",
    "Unknown",
];
const KEY_USAGE: [&str; 3] = [
    "keyUsageCriticalkeyCertSign",
    "keyUsageNotCriticalkeyCertSign",
    "keyUsageNotCriticalTest",
];

/// The basic test that is answered differently. OpenSSL takes no DSA key whose parameters stand in
/// another certificate, as [`openssl_takes_no_inherited_dsa_parameters`] asks it:
/// `openssl verify -CAfile TrustAnchorRoot -untrusted DSACA+DSAParametersInheritedCA LEAF` says
/// "unable to get local issuer certificate", and `openssl x509 -pubkey` of that issuer "decode error".
const EXCEPTION: &str = "DSAParameterInheritanceTest5";

#[test]
fn basic_paths_are_answered_as_nist_expects_but_for_one_and_nine_in_ten_of_names() {
    let Some(folder) = certs() else {
        return;
    };
    let suite = Suite::read(&folder);
    let basic = suite.score(is_basic);
    let names = suite.score(is_about_names);
    println!("basic: {basic:?}\nnames: {names:?}");
    let wrong: Vec<&str> = basic.wrong.iter().map(|test| word(test)).collect();
    assert_eq!((basic.right, wrong), (46, vec![EXCEPTION]), "{basic:?}");
    assert!(
        names.right >= 9 * names.wrong.len() && names.right >= 30,
        "{names:?}"
    );
}

/// RSA and DSA are OpenSSL's: of its leaves none has a pattern.
#[test]
fn no_leaf_is_let_pass_for_another() {
    let Some(folder) = certs() else {
        return;
    };
    let suite = Suite::read(&folder);
    let leaves = suite.tests.iter().filter_map(|(_, _, leaf)| leaf.clone());
    let cases: Vec<Case> = leaves
        .map(|leaf| Case {
            leaf,
            intermediates: suite.authorities.clone(),
            anchors: vec![suite.anchor.clone()],
        })
        .collect();
    let (at, options) = question();
    assert_eq!(covered(&cases, options, at), 0);
}

/// OpenSSL compares the leaf's signature with the issuer's key before it completes that key from the
/// certificates above (RFC 5280 §6.1.4 e), and cannot decode it. If this fails, it has learned to,
/// and the exception goes.
#[test]
fn openssl_takes_no_inherited_dsa_parameters() {
    let Some(folder) = certs() else {
        return;
    };
    let read = |name: &str| {
        let der = std::fs::read(folder.join(name)).expect("file");
        X509::from_der(&der).expect("X.509")
    };
    let issuer = read("DSAParametersInheritedCACert.crt");
    let leaf = read("ValidDSAParameterInheritanceTest5EE.crt");
    assert!(issuer.public_key().is_err());
    assert_eq!(
        issuer.issued(&leaf).error_string(),
        "issuer certificate doesn't have a public key"
    );
    assert_eq!(
        read("DSACACert.crt").issued(&issuer),
        X509VerifyResult::OK,
        "parameters of its own"
    );
}

/// The certificates of the suite, if it is there.
fn certs() -> Option<PathBuf> {
    let folder = std::env::var_os("DPS_PKI_PKITS");
    if folder.is_none() {
        skip_collection("NIST PKITS (DPS_PKI_PKITS names no folder PKITS_data)");
    }
    folder.map(|folder| PathBuf::from(folder).join("certs"))
}

/// The name of a test without what was said of it.
fn word(test: &str) -> &str {
    test.split(' ').next().unwrap_or_default()
}

fn is_basic(test: &str) -> bool {
    let begins = |words: &[&str]| words.iter().any(|word| test.starts_with(word));
    // Extensions of CRLs have tests of their own.
    !test.starts_with("UnknownCRL") && (begins(&BASIC) || begins(&KEY_USAGE))
}

fn is_about_names(test: &str) -> bool {
    test.contains("nameConstraints")
}

struct Suite {
    anchor: Certificate,
    authorities: Vec<Certificate>,
    /// Name, whether it is to be accepted, and the certificate if it can be read at all.
    tests: Vec<(String, bool, Option<Certificate>)>,
}

#[derive(Debug, Default)]
struct Score {
    right: usize,
    wrong: Vec<String>,
}

impl Suite {
    fn read(folder: &Path) -> Self {
        let mut suite = Self {
            anchor: read(&folder.join("TrustAnchorRootCertificate.crt")).expect("anchor"),
            authorities: Vec::new(),
            tests: Vec::new(),
        };
        for entry in std::fs::read_dir(folder).expect("certs") {
            let path = entry.expect("entry").path();
            let name = path.file_stem().and_then(|name| name.to_str());
            let name = name.expect("UTF-8").to_owned();
            match name.strip_suffix("EE") {
                Some(test) => suite.add(test, read(&path)),
                None => suite.authorities.extend(read(&path)),
            }
        }
        suite
    }

    fn add(&mut self, test: &str, certificate: Option<Certificate>) {
        for (word, wanted) in [("Valid", true), ("Invalid", false)] {
            if let Some(test) = test.strip_prefix(word) {
                self.tests
                    .push((test.to_owned(), wanted, certificate.clone()));
            }
        }
    }

    fn score(&self, belongs: fn(&str) -> bool) -> Score {
        let mut score = Score::default();
        for (test, wanted, certificate) in self.tests.iter().filter(|test| belongs(&test.0)) {
            let problem = self.judge(certificate.as_ref());
            if problem.is_none() == *wanted {
                score.right += 1
            } else {
                score
                    .wrong
                    .push(format!("{test} wants {wanted}: {problem:?}"))
            }
        }
        score.wrong.sort();
        score
    }

    /// Why a leaf is refused. Its issuer is found among all authorities of the suite.
    fn judge(&self, certificate: Option<&Certificate>) -> Option<String> {
        let Some(certificate) = certificate else {
            return Some("cannot be read".to_owned());
        };
        let (_, options) = question();
        let anchors = std::slice::from_ref(&self.anchor);
        let report = validate(certificate, &self.authorities, anchors, options);
        report
            .failure
            .map(|failure| format!("{}: {}", failure.check, failure.reason))
    }
}

/// NIST signs with DSA of 1024 bits, which is refused as weak otherwise.
fn question() -> (Time, PathOptions<'static>) {
    let at: Time = "2026-06-01T00:00:00Z".parse().expect("time");
    let options = PathOptions::new(at).purpose(Purpose::Any).lenient().weak();
    (at, options)
}

fn read(path: &Path) -> Option<Certificate> {
    Certificate::from_der(&std::fs::read(path).expect("file")).ok()
}
