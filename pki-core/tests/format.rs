//! Outputs of a batch, judged by those who will read them: serde_json, GNU tar, OpenSSL and age.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and hands files to other programs"
)]

mod files;
mod manifest;
mod seal;
mod stream;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use pki_core::certificate::Certificate;
use pki_core::encoding::{Pfx, PfxEncryption};
use pki_core::handout::{Device, Entry, Form, Released, RenderError, Rendered, Renderer};
use pki_core::ids::LeafName;
use pki_core::inventory::{Inventory as _, NewCertificate, Recorded};
use pki_core::issue::Issued;
use pki_core::key::software::SoftwareSigner;
use pki_core::key::{KeyAlgorithm, PrivateKey, Signer as _, read_private_key};
use pki_core::secret::Passphrase;
use pki_core::testing::{MemoryInventory, SeededEntropy};
use secrecy::SecretString;

use crate::support::{TestAuthority, leaf_spec, now, root, serial};

/// A root and the authority below it that issues everything here.
static PKI: LazyLock<(TestAuthority, TestAuthority)> = LazyLock::new(|| {
    let root = root("root", KeyAlgorithm::EcdsaP384);
    let line = root.intermediate("line", KeyAlgorithm::EcdsaP256);
    (root, line)
});

fn issuers() -> [Certificate; 2] {
    [PKI.1.certificate.clone(), PKI.0.certificate.clone()]
}

/// A device with its key and its certificate, recorded.
struct Made {
    id: LeafName,
    key: PrivateKey,
    issued: Issued,
    recorded: Recorded,
    labels: Vec<(String, String)>,
}

impl Made {
    fn new(id: &str, algorithm: KeyAlgorithm) -> Self {
        let key = crate::support::key(algorithm);
        let public_key = SoftwareSigner::new(&key)
            .expect("signer")
            .public_key()
            .to_vec();
        let id: LeafName = id.parse().expect(id);
        let issued = PKI
            .1
            .signing()
            .issue_leaf(&id, public_key, &leaf_spec(365), &serial(), now());
        let issued = issued.expect("leaf");
        // As signed elsewhere: the inventory need not know the authority then.
        let new = NewCertificate {
            signed_by: None,
            ..issued.clone().into()
        };
        let recorded = MemoryInventory::new().record(vec![new], now());
        Self {
            id,
            key,
            issued,
            recorded: recorded.expect("recorded").remove(0),
            labels: Vec::new(),
        }
    }

    fn device(&self) -> Device<'_> {
        Device {
            id: &self.id,
            index: 0,
            issued: &self.issued,
            key: Some(&self.key),
            labels: &self.labels,
        }
    }

    fn rendered(&self, renderer: &Renderer) -> Rendered {
        rendered(renderer, &self.device()).expect("rendered")
    }

    fn stream(&self, form: Form) -> Vec<u8> {
        stream(
            self.rendered(&Renderer::new(form, &issuers())),
            &self.recorded,
        )
    }
}

fn rendered(renderer: &Renderer, device: &Device<'_>) -> Result<Rendered, RenderError> {
    let mut rendered = Rendered::default();
    renderer.render(device, &mut rendered)?;
    Ok(rendered)
}

fn released(rendered: Rendered, recorded: &Recorded) -> Released {
    let released = rendered.release(std::slice::from_ref(recorded));
    released.expect("released")
}

fn stream(rendered: Rendered, recorded: &Recorded) -> Vec<u8> {
    let released = released(rendered, recorded);
    assert!(released.files.is_empty(), "a stream was asked for");
    released.stream.to_vec()
}

fn files(rendered: Rendered, recorded: &Recorded) -> Vec<Entry> {
    let released = released(rendered, recorded);
    assert!(released.stream.is_empty(), "files were asked for");
    released.files
}

fn json(line: &[u8]) -> serde_json::Value {
    assert_eq!(line.iter().filter(|octet| **octet == b'\n').count(), 1);
    serde_json::from_slice(line.strip_suffix(b"\n").expect("a line")).expect("JSON")
}

fn public_key_of(pem: &[u8], passphrase: Option<&SecretString>) -> Vec<u8> {
    let key = read_private_key(pem, passphrase).expect("key");
    SoftwareSigner::new(&key)
        .expect("signer")
        .public_key()
        .to_vec()
}

fn text<'a>(object: &'a serde_json::Value, name: &str) -> &'a str {
    object[name].as_str().expect(name)
}

fn check_line(line: &[u8], made: &Made) {
    let object = json(line);
    let certificate = made.issued.certificate();
    let validity = certificate.validity();
    for (name, expected) in [
        ("registrationId", made.id.to_string()),
        ("serialNumber", certificate.serial_number().to_string()),
        ("sha1Thumbprint", certificate.sha1_thumbprint().to_string()),
        (
            "sha256Thumbprint",
            certificate.sha256_thumbprint().to_string(),
        ),
        ("notBefore", validity.not_before().to_string()),
        ("notAfter", validity.not_after().to_string()),
        ("certificate", certificate.to_pem()),
        ("chain", issuers().map(|issuer| issuer.to_pem()).concat()),
        ("privateKey", made.key.expose_pkcs8_pem().to_string()),
    ] {
        assert_eq!(text(&object, name), expected, "{name}");
    }
    let labels = made.labels.iter();
    let labels: serde_json::Map<String, serde_json::Value> = labels
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    let expected = (!labels.is_empty()).then(|| labels.into());
    assert_eq!(object.get("labels"), expected.as_ref());
    let members = object.as_object().expect("object").len();
    assert_eq!(members, if made.labels.is_empty() { 9 } else { 10 });
}

fn random_passphrase() -> Passphrase {
    Passphrase::random(&SeededEntropy::new(7)).expect("entropy")
}

/// Runs a program on an archive that is in its input.
fn listed(program: &str, arguments: &[&str], archive: &[u8]) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect(program);
    let mut input = child.stdin.take().expect("stdin");
    input.write_all(archive).expect("input");
    drop(input);
    let output = child.wait_with_output().expect("output");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{program}: {said}"
    );
    String::from_utf8(output.stdout).expect("text")
}

fn pfx(encryption: PfxEncryption) -> Pfx {
    Pfx {
        passphrase: random_passphrase(),
        encryption,
    }
}
