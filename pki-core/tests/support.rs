//! A small PKI for the tests of this crate, and OpenSSL as a judge.
#![allow(dead_code, reason = "a benchmark uses a part of it")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and hands files to OpenSSL"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pki_core::authority::{AuthoritySpec, IssuancePolicy, LeafSpec, SigningAuthority, create_root};
use pki_core::certificate::Certificate;
use pki_core::ids::{Generation, SerialNumber};
use pki_core::inventory::GenerationState;
use pki_core::key::software::{SoftwareKeyGenerator, SoftwareSigner};
use pki_core::key::{KeyAlgorithm, KeyGenerator as _, PrivateKey, Signer as _};
use pki_core::lifecycle::roll::{GenerationRow, Generations};
use pki_core::lifecycle::{Breach, CheckError, Checked};
use pki_core::profile::KeyPurpose;
use pki_core::testing::SeededEntropy;
use pki_core::time::{Span, Time};

/// The first breach of a plan that the checker refuses.
pub(crate) fn breach(refused: &Result<Checked, CheckError>) -> &Breach {
    match refused {
        Err(CheckError::Breaches(breaches)) => breaches.first().expect("a breach"),
        other => panic!("not refused for a breach: {other:?}"),
    }
}

/// The generations of an authority by what part each plays, oldest first.
pub(crate) fn generations_of<'a>(
    parts: impl IntoIterator<Item = (GenerationState, &'a Certificate)>,
) -> Generations {
    let rows = (1..)
        .zip(parts)
        .map(|(number, (state, certificate))| GenerationRow {
            number: Generation::new(number).expect("not zero"),
            state,
            certificate: Some(certificate.clone()),
        });
    let name = "authority".parse().expect("a name");
    Generations::from_rows(&name, rows).expect("no contradiction")
}

/// The moment at which the tests take place.
pub(crate) fn now() -> Time {
    "2026-06-01T12:00:00Z".parse().expect("time")
}

/// An authority of one generation, with its key in memory.
pub(crate) struct TestAuthority {
    pub(crate) name: &'static str,
    pub(crate) certificate: Certificate,
    pub(crate) signer: SoftwareSigner,
}

pub(crate) fn key(algorithm: KeyAlgorithm) -> PrivateKey {
    SoftwareKeyGenerator.generate(algorithm).expect("key")
}

pub(crate) fn signer(algorithm: KeyAlgorithm) -> SoftwareSigner {
    SoftwareSigner::new(&key(algorithm)).expect("signer")
}

/// A serial number that no other call returns.
pub(crate) fn serial() -> SerialNumber {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let entropy = SeededEntropy::new(NEXT.fetch_add(1, Ordering::Relaxed));
    SerialNumber::random(&entropy).expect("serial")
}

pub(crate) fn authority_spec(subject: &str, days: u64, path_length: Option<u8>) -> AuthoritySpec {
    let subject = subject.parse().expect(subject);
    AuthoritySpec {
        subject,
        validity: Span::from_days(days),
        path_length,
        digital_signature: false,
    }
}

pub(crate) fn leaf_spec(days: u64) -> LeafSpec {
    LeafSpec {
        validity: Span::from_days(days),
        content: vec![KeyPurpose::ClientAuth].into(),
        alternative_names: Vec::new(),
    }
}

pub(crate) fn root(name: &'static str, algorithm: KeyAlgorithm) -> TestAuthority {
    let signer = signer(algorithm);
    let spec = authority_spec(&format!("CN={name}, O=Contoso"), 3650, None);
    let policy = IssuancePolicy::default();
    let generation = Generation::FIRST;
    let issued = create_root(
        name.parse().expect(name),
        generation,
        &spec,
        &signer,
        policy,
        &serial(),
        now(),
    );
    let certificate = issued.expect("root").certificate().clone();
    TestAuthority {
        name,
        certificate,
        signer,
    }
}

impl TestAuthority {
    pub(crate) fn signing(&self) -> SigningAuthority<'_> {
        let name = self.name.parse().expect("name");
        let policy = IssuancePolicy::default();
        let certificate = self.certificate.clone();
        SigningAuthority::new(name, Generation::FIRST, certificate, &self.signer, policy)
            .expect("authority")
    }

    pub(crate) fn intermediate(&self, name: &'static str, algorithm: KeyAlgorithm) -> Self {
        let signer = signer(algorithm);
        let spec = authority_spec(&format!("CN={name}, O=Contoso"), 1825, None);
        let public_key = signer.public_key().to_vec();
        let issued = self
            .signing()
            .issue_intermediate(&spec, public_key, &serial(), now());
        Self {
            name,
            certificate: issued.expect("intermediate").certificate().clone(),
            signer,
        }
    }

    /// Another certificate of an authority below, for the same key.
    pub(crate) fn renewed(&self, below: &Self) -> Certificate {
        let public_key = below.signer.public_key().to_vec();
        let spec = authority_spec(&below.certificate.subject().to_string(), 1825, None);
        let issued = self
            .signing()
            .issue_intermediate(&spec, public_key, &serial(), now());
        issued.expect("intermediate").certificate().clone()
    }

    pub(crate) fn leaf(&self, id: &str, algorithm: KeyAlgorithm) -> Certificate {
        let public_key = signer(algorithm).public_key().to_vec();
        let id = id.parse().expect(id);
        let issued = self
            .signing()
            .issue_leaf(&id, public_key, &leaf_spec(365), &serial(), now());
        issued.expect("leaf").certificate().clone()
    }
}

/// Writes certificates as one PEM file.
pub(crate) fn pem_file(folder: &Path, name: &str, certificates: &[&Certificate]) -> PathBuf {
    let path = folder.join(name);
    let text: String = certificates
        .iter()
        .map(|certificate| certificate.to_pem())
        .collect();
    std::fs::write(&path, text).expect("file");
    path
}

/// Runs the system's `openssl` with some input.
pub(crate) fn openssl(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    child
        .stdin
        .take()
        .expect("stdin")
        .write_all(input)
        .expect("input");
    child.wait_with_output().expect("output")
}
