//! Outputs of a batch, judged by those who will read them: serde_json, GNU tar, OpenSSL and age.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and hands files to other programs"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use pki_core::certificate::Certificate;
use pki_core::format::digest::{HashingWriter, OutputHash};
use pki_core::format::manifest::{Manifest, ManifestError};
use pki_core::format::seal::{KeySealer, Passphrase, Recipient, SealError, SealedWriter};
use pki_core::format::{
    Access, Device, DeviceFiles, Entry, Form, KeyForm, Pfx, PfxEncryption, Released, RenderError,
    Rendered, Renderer, Shards, pem,
};
use pki_core::ids::{Generation, RegistrationId};
use pki_core::inventory::{Inventory as _, NewCertificate, Recorded};
use pki_core::issue::Issued;
use pki_core::key::software::SoftwareSigner;
use pki_core::key::{KeyAlgorithm, PrivateKey, Signer as _, read_private_key};
use pki_core::testing::{MemoryInventory, SeededEntropy};
use proptest::prelude::*;
use secrecy::{ExposeSecret as _, SecretString};
use support::{TestAuthority, leaf_spec, now, openssl, root, serial};

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
    id: RegistrationId,
    key: PrivateKey,
    issued: Issued,
    recorded: Recorded,
    labels: Vec<(String, String)>,
}

impl Made {
    fn new(id: &str, algorithm: KeyAlgorithm) -> Self {
        let key = support::key(algorithm);
        let public_key = SoftwareSigner::new(&key)
            .expect("signer")
            .public_key()
            .to_vec();
        let id: RegistrationId = id.parse().expect(id);
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
        renderer.render(&self.device()).expect("rendered")
    }

    fn stream(&self, form: Form) -> Vec<u8> {
        stream(
            self.rendered(&Renderer::new(form, &issuers())),
            &self.recorded,
        )
    }
}

fn stream(rendered: Rendered, recorded: &Recorded) -> Vec<u8> {
    match rendered.release(recorded).expect("released") {
        Released::Stream(piece) => piece.to_vec(),
        Released::Files(_) => panic!("a stream was asked for"),
    }
}

fn files(rendered: Rendered, recorded: &Recorded) -> Vec<Entry> {
    match rendered.release(recorded).expect("released") {
        Released::Files(entries) => entries,
        Released::Stream(_) => panic!("files were asked for"),
    }
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_line_is_json_and_says_what_is_true(
        id in "[A-Za-z0-9._:-]{0,63}[A-Za-z0-9-]",
        labels in proptest::collection::btree_map(".{1,20}", ".{0,40}", 0..5),
    ) {
        let mut made = Made::new(&id, KeyAlgorithm::EcdsaP256);
        made.labels = labels.into_iter().collect();
        check_line(&made.stream(Form::Ndjson(KeyForm::Plain)), &made);
    }
}

#[test]
fn every_algorithm_goes_into_a_line() {
    for algorithm in KeyAlgorithm::ALL {
        let made = Made::new("device-1", algorithm);
        check_line(&made.stream(Form::Ndjson(KeyForm::Plain)), &made);
    }
}

#[test]
fn a_device_that_made_its_key_has_none_in_the_output() {
    let made = Made::new("device-1", KeyAlgorithm::EcdsaP256);
    let device = Device {
        key: None,
        ..made.device()
    };
    let renderer = Renderer::new(Form::Ndjson(KeyForm::Plain), &issuers());
    let line = stream(renderer.render(&device).expect("rendered"), &made.recorded);
    assert!(json(&line).get("privateKey").is_none());
    let folder = Form::Folder(DeviceFiles::Pem(KeyForm::Plain), Shards::of(1));
    let rendered = Renderer::new(folder, &issuers()).render(&device);
    let names: Vec<String> = files(rendered.expect("rendered"), &made.recorded)
        .into_iter()
        .map(|entry| entry.path)
        .collect();
    assert_eq!(names, ["device-1.cert.pem", "device-1-full-chain.cert.pem"]);
    let pfx = DeviceFiles::Pfx(pfx(PfxEncryption::Modern));
    let refused = Renderer::new(Form::Tar(pfx), &issuers()).render(&device);
    assert!(matches!(refused.err(), Some(RenderError::NoKey { .. })));
}

/// Nothing leaves before the inventory has it.
#[test]
fn only_the_recorded_certificate_itself_releases_its_output() {
    let (one, other) = (
        Made::new("device-1", KeyAlgorithm::EcdsaP256),
        Made::new("device-1", KeyAlgorithm::EcdsaP256),
    );
    let renderer = Renderer::new(Form::Ndjson(KeyForm::Plain), &issuers());
    assert!(one.rendered(&renderer).release(&other.recorded).is_err());
    assert!(one.rendered(&renderer).release(&one.recorded).is_ok());
}

fn random_passphrase() -> Passphrase {
    Passphrase::random(&SeededEntropy::new(7)).expect("entropy")
}

fn sealed(passphrase: &Passphrase) -> KeyForm {
    KeyForm::Encrypted(KeySealer::new(passphrase, &SeededEntropy::new(3)).expect("sealer"))
}

#[test]
fn sealed_keys_open_under_their_passphrase_in_openssl_and_here() {
    let folder = tempfile::tempdir().expect("folder");
    for passphrase in [
        Passphrase::Chosen("correct horse".into()),
        random_passphrase(),
    ] {
        let renderer = Renderer::new(Form::Ndjson(sealed(&passphrase)), &issuers());
        let mut seen = Vec::new();
        for algorithm in KeyAlgorithm::ALL {
            let made = Made::new("device-1", algorithm);
            let line = json(&stream(made.rendered(&renderer), &made.recorded));
            let pem = text(&line, "privateKey");
            assert!(
                pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
                "{pem}"
            );
            let certified = made.issued.certificate().public_key();
            assert_eq!(
                public_key_of(pem.as_bytes(), Some(passphrase.secret())),
                certified
            );
            assert_eq!(
                opened_by_openssl(folder.path(), pem, &passphrase),
                certified
            );
            assert!(read_private_key(pem.as_bytes(), Some(&"wrong".into())).is_err());
            seen.push(vector_of(pem));
        }
        seen.sort();
        seen.dedup();
        assert_eq!(
            seen.len(),
            KeyAlgorithm::ALL.len(),
            "a vector was used twice"
        );
    }
}

fn opened_by_openssl(folder: &Path, pem: &str, passphrase: &Passphrase) -> Vec<u8> {
    let file = folder.join("passphrase");
    std::fs::write(&file, passphrase.secret().expose_secret()).expect("file");
    let source = format!("file:{}", file.display());
    let arguments = ["pkey", "-passin", &source, "-pubout", "-outform", "DER"];
    let output = openssl(&arguments, pem.as_bytes());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// The initialisation vector: what follows the OID of AES-256-CBC.
fn vector_of(pem: &str) -> Vec<u8> {
    const AES_256_CBC: [u8; 11] = [6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 42];
    let blocks = pem::blocks(pem.as_bytes()).expect("PEM").expect("PEM");
    let der = &blocks[0].der;
    let at = der.windows(11).position(|window| window == AES_256_CBC);
    der[at.expect("cipher") + 13..][..16].to_vec()
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

fn archive(made: &[Made], form: fn() -> Form) -> Vec<u8> {
    let renderer = Renderer::new(form(), &issuers());
    let mut archive = Vec::new();
    for made in made {
        let piece = stream(made.rendered(&renderer), &made.recorded);
        assert_eq!(piece.len() % 512, 0, "a device's files are whole records");
        archive.extend(piece);
    }
    archive.extend(renderer.ending());
    archive
}

#[test]
fn gnu_tar_lists_and_reads_the_archive() {
    let colons = ":".repeat(63) + "x";
    let made = ["line-7:1", &colons].map(|id| Made::new(id, KeyAlgorithm::EcdsaP256));
    let archive = archive(&made, || Form::Tar(DeviceFiles::Pem(KeyForm::Plain)));
    let list = listed("tar", &["-tvf", "-"], &archive);
    let long = "%3A".repeat(63) + "x";
    let expected: Vec<(&str, String)> = ["line-7%3A1", &long]
        .into_iter()
        .flat_map(|id| {
            [
                ("-rw-------", format!("{id}.key.pem")),
                ("-rw-r--r--", format!("{id}.cert.pem")),
                ("-rw-r--r--", format!("{id}-full-chain.cert.pem")),
            ]
        })
        .collect();
    assert_eq!(list.lines().count(), expected.len(), "{list}");
    for (line, (mode, name)) in list.lines().zip(&expected) {
        assert!(line.starts_with(mode) && line.ends_with(name), "{line}");
        assert!(line.contains("2026-06-01 11:55"), "notBefore: {line}");
    }
    for (made, id) in made.iter().zip(["line-7%3A1", &long]) {
        let extract =
            |ending: &str| listed("tar", &["-xOf", "-", &format!("{id}{ending}")], &archive);
        check_files(
            made,
            &extract(".key.pem"),
            &extract(".cert.pem"),
            &extract("-full-chain.cert.pem"),
        );
    }
}

fn check_files(made: &Made, key: &str, certificate: &str, full_chain: &str) {
    let leaf = made.issued.certificate();
    assert_eq!(public_key_of(key.as_bytes(), None), leaf.public_key());
    assert_eq!(certificate, leaf.to_pem());
    let chain = pem::certificates(full_chain.as_bytes()).expect("chain");
    let [line, root] = issuers();
    assert_eq!(chain, [leaf.clone(), line, root]);
}

/// An archive that was cut short is truncated to the last device that was delivered, and goes on.
#[test]
fn an_archive_goes_on_where_it_was_cut() {
    let made = ["a", "b"].map(|id| Made::new(id, KeyAlgorithm::EcdsaP256));
    let form = || Form::Tar(DeviceFiles::Pem(KeyForm::Plain));
    let whole = archive(&made, form);
    let first = stream(
        made[0].rendered(&Renderer::new(form(), &issuers())),
        &made[0].recorded,
    );
    let mut cut = whole[..first.len() + 700].to_vec();
    cut.truncate(first.len());
    let again = Renderer::new(form(), &issuers());
    cut.extend(stream(made[1].rendered(&again), &made[1].recorded));
    cut.extend(again.ending());
    assert!(cut == whole, "the same devices make the same archive");
}

#[test]
fn a_folder_gets_the_tutorials_files_sharded_by_a_thousand() {
    let made = Made::new("line-7:1", KeyAlgorithm::EcdsaP256);
    let form = Form::Folder(DeviceFiles::Pem(KeyForm::Plain), Shards::of(12_000));
    let device = Device {
        index: 11_999,
        ..made.device()
    };
    let rendered = Renderer::new(form, &issuers()).render(&device);
    let entries = files(rendered.expect("rendered"), &made.recorded);
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry.path.as_str(), entry.access))
        .collect();
    assert_eq!(
        told,
        [
            ("011/line-7%3A1.key.pem", Access::Secret),
            ("011/line-7%3A1.cert.pem", Access::Public),
            ("011/line-7%3A1-full-chain.cert.pem", Access::Public),
        ]
    );
    let text = |index: usize| std::str::from_utf8(&entries[index].content).expect("text");
    check_files(&made, text(0), text(1), text(2));
}

fn pfx(encryption: PfxEncryption) -> Pfx {
    Pfx {
        passphrase: random_passphrase(),
        encryption,
    }
}

#[test]
fn openssl_opens_both_kinds_of_pkcs12_file() {
    let secret = random_passphrase().secret().expose_secret().to_owned();
    let source = format!("pass:{secret}");
    for (encryption, told) in [
        (
            PfxEncryption::Modern,
            [
                "PBES2, PBKDF2, AES-256-CBC, Iteration 2048, PRF hmacWithSHA256",
                "MAC: sha256, Iteration 2048",
            ],
        ),
        (
            PfxEncryption::Legacy,
            [
                "pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 2048",
                "MAC: sha1, Iteration 2048",
            ],
        ),
    ] {
        for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048] {
            let made = Made::new("line-7:1", algorithm);
            let form = Form::Folder(DeviceFiles::Pfx(pfx(encryption)), Shards::of(1));
            let entries = files(
                made.rendered(&Renderer::new(form, &issuers())),
                &made.recorded,
            );
            let [entry] = entries.as_slice() else {
                panic!("one file a device");
            };
            assert_eq!(
                (entry.path.as_str(), entry.access),
                ("line-7%3A1.pfx", Access::Secret)
            );
            let arguments = ["pkcs12", "-info", "-nodes", "-passin", &source];
            let output = openssl(&arguments, &entry.content);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            for told in told {
                assert!(said.contains(told), "{said}");
            }
            assert!(String::from_utf8_lossy(&output.stdout).contains("friendlyName: line-7:1"));
            let leaf = made.issued.certificate();
            assert_eq!(public_key_of(&output.stdout, None), leaf.public_key());
            // Blocks with attributes around them, the key last: only the certificates are wanted.
            let only = ["pkcs12", "-nokeys", "-passin", &source];
            let found = pem::certificates(&openssl(&only, &entry.content).stdout).expect("chain");
            let [line, root] = issuers();
            assert_eq!(found, [leaf.clone(), line, root]);
            let wrong = openssl(
                &["pkcs12", "-nodes", "-passin", "pass:wrong"],
                &entry.content,
            );
            assert!(!wrong.status.success());
        }
    }
}

#[test]
fn pkcs12_files_fit_into_an_archive() {
    let made = ["a", "b"].map(|id| Made::new(id, KeyAlgorithm::EcdsaP256));
    let archive = archive(&made, || {
        Form::Tar(DeviceFiles::Pfx(pfx(PfxEncryption::Modern)))
    });
    assert_eq!(listed("tar", &["-tf", "-"], &archive), "a.pfx\nb.pfx\n");
}

fn sealed_output(recipients: &[Recipient], content: &[u8]) -> Vec<u8> {
    let mut writer = SealedWriter::new(Vec::new(), recipients).expect("sealed");
    for part in content.chunks(1_000) {
        writer.write_all(part).expect("written");
    }
    writer.finish().expect("finished")
}

#[test]
fn any_recipient_opens_a_sealed_output_and_nobody_a_cut_one() {
    let identities = [(); 2].map(|()| age::x25519::Identity::generate());
    let recipients = identities
        .each_ref()
        .map(|identity| identity.to_public().to_string().parse().expect("recipient"));
    let content: Vec<u8> = (0_u8..251).cycle().take(200_000).collect();
    let output = sealed_output(&recipients, &content);
    assert!(output.starts_with(b"age-encryption.org/v1\n"));
    let opened = |output: &[u8], identity: &age::x25519::Identity| {
        let mut plain = Vec::new();
        let decryptor = age::Decryptor::new(output).ok()?;
        let identities = [identity]
            .into_iter()
            .map(|identity| -> &dyn age::Identity { identity });
        let mut reader = decryptor.decrypt(identities).ok()?;
        reader.read_to_end(&mut plain).ok().map(|_| plain)
    };
    for identity in &identities {
        assert!(opened(&output, identity).is_some_and(|plain| plain == content));
    }
    assert!(opened(&output, &age::x25519::Identity::generate()).is_none());
    let cut = &output[..output.len() - 1];
    assert!(opened(cut, &identities[0]).is_none());
}

#[test]
fn the_age_program_opens_a_sealed_output() {
    if Command::new("age").arg("--version").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI may not skip: install age"
        );
        eprintln!("skipped: there is no age on this machine");
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let identity = age::x25519::Identity::generate();
    let file = folder.path().join("identity");
    std::fs::write(&file, identity.to_string().expose_secret()).expect("file");
    let recipient = identity.to_public().to_string().parse().expect("recipient");
    let made = Made::new("device-1", KeyAlgorithm::EcdsaP256);
    let output = sealed_output(&[recipient], &made.stream(Form::Ndjson(KeyForm::Plain)));
    let plain = listed("age", &["-d", "-i", file.to_str().expect("path")], &output);
    check_line(plain.as_bytes(), &made);
}

#[test]
fn a_recipient_is_a_public_key_and_there_is_one() {
    let identity = age::x25519::Identity::generate().to_string();
    let refused = identity.expose_secret().parse::<Recipient>();
    assert!(matches!(&refused, Err(SealError::Identity)), "{refused:?}");
    assert!(
        !refused
            .expect_err("refused")
            .to_string()
            .contains(identity.expose_secret())
    );
    assert!("age1abc".parse::<Recipient>().is_err());
    let nobody = SealedWriter::new(Vec::new(), &[]);
    assert!(matches!(nobody.err(), Some(SealError::Nobody)));
}

/// An output that was cut is read once more; the hash goes on from there.
#[test]
fn a_hash_goes_on_after_reading_what_is_there() {
    let mut whole = HashingWriter::new(Vec::new(), OutputHash::new());
    whole.write_all(b"one two three").expect("written");
    let before = OutputHash::of(&b"one two"[..]).expect("read");
    let mut rest = HashingWriter::new(Vec::new(), before);
    rest.write_all(b" three").expect("written");
    assert_eq!(rest.hash().octets(), 13);
    assert_eq!(rest.hash().digest(), whole.hash().digest());
    let judged = openssl(&["dgst", "-sha256", "-r"], b"one two three").stdout;
    let judged = String::from_utf8(judged).expect("text");
    assert_eq!(
        judged.split(' ').next(),
        Some(rest.hash().digest().to_string().as_str())
    );
}

const OUTPUT: &[u8] = b"{\"registrationId\":\"device-1\"}\n";

fn manifest(authority: &TestAuthority) -> Manifest {
    let hash = OutputHash::of(OUTPUT).expect("read");
    Manifest {
        manifest_version: Manifest::FORM,
        batch: "line 7, \"week\" 23".parse().expect("label"),
        authority: authority.name.parse().expect("name"),
        generation: Generation::FIRST,
        authority_certificate: authority.certificate.sha256_thumbprint(),
        profile: "device".parse().expect("profile"),
        devices: 1,
        first_serial_number: Some(serial()),
        last_serial_number: Some(serial()),
        output: "batch.ndjson".into(),
        output_sha256: hash.digest(),
        output_octets: hash.octets(),
        recipients: vec!["age1qqq".into()],
        started_at: now(),
        completed_at: now(),
        tool: "dps-pki 0.1.0".into(),
        signature: None,
    }
}

fn signed(authority: &TestAuthority) -> Manifest {
    manifest(authority)
        .sign(&authority.certificate, &authority.signer)
        .expect("signed")
}

#[test]
fn a_signed_manifest_verifies_with_every_algorithm() {
    for algorithm in KeyAlgorithm::ALL {
        let authority = root("line", algorithm);
        let json = signed(&authority).to_json().expect("JSON");
        let read = Manifest::from_json(json.as_bytes()).expect("manifest");
        read.verify(OUTPUT, &authority.certificate)
            .expect("verifies");
        let other = root("line", algorithm);
        let refused = read.verify(OUTPUT, &other.certificate);
        assert!(matches!(refused, Err(ManifestError::Authority { .. })));
    }
}

/// RFC 7515 §5.1, RFC 7518 §3.4: the signature without our own verifier.
#[test]
fn openssl_verifies_the_signature_of_a_manifest() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let folder = tempfile::tempdir().expect("folder");
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048] {
        let authority = root("line", algorithm);
        let manifest = signed(&authority);
        let jws = manifest.signature.clone().expect("signature");
        let (header, signature) = jws.split_once("..").expect("detached");
        let mut members = serde_json::to_value(&manifest).expect("JSON");
        members.as_object_mut().expect("object").remove("signature");
        let sorted: std::collections::BTreeMap<String, serde_json::Value> =
            serde_json::from_value(members).expect("object");
        let payload = serde_json::to_string(&sorted).expect("JSON");
        let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        let signature = match algorithm {
            KeyAlgorithm::Rsa2048 => signature,
            _ => ecdsa_der(&signature),
        };
        let write = |name: &str, octets: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, octets).expect("file");
            path.to_str().expect("path").to_owned()
        };
        let key = write(
            "key",
            pem::block("PUBLIC KEY", &authority.certificate.public_key()).as_bytes(),
        );
        let signature = write("signature", &signature);
        let arguments = ["dgst", "-sha256", "-verify", &key, "-signature", &signature];
        assert!(
            openssl(&arguments, input.as_bytes()).status.success(),
            "{algorithm}"
        );
        assert!(!openssl(&arguments, b"other").status.success());
    }
}

fn ecdsa_der(numbers: &[u8]) -> Vec<u8> {
    use openssl::bn::BigNum;
    let (r, s) = numbers.split_at(numbers.len() / 2);
    let number = |octets| BigNum::from_slice(octets).expect("number");
    let signature = openssl::ecdsa::EcdsaSig::from_private_components(number(r), number(s));
    signature.expect("signature").to_der().expect("DER")
}

#[test]
fn a_change_of_any_member_is_found() {
    let authority = root("line", KeyAlgorithm::EcdsaP256);
    let original = serde_json::to_value(signed(&authority)).expect("JSON");
    let other = root("line", KeyAlgorithm::EcdsaP256).certificate;
    let later = "2026-06-02T00:00:00Z";
    let changes = [
        ("manifestVersion", 2.into()),
        ("batch", "other".into()),
        ("authority", "other".into()),
        ("generation", 2.into()),
        (
            "authorityCertificate",
            other.sha256_thumbprint().to_string().into(),
        ),
        ("profile", "other".into()),
        ("devices", 2.into()),
        ("firstSerialNumber", "4711".into()),
        ("lastSerialNumber", serde_json::Value::Null),
        ("output", "other".into()),
        ("outputSha256", "0".repeat(64).into()),
        ("outputOctets", 1.into()),
        ("recipients", serde_json::json!([])),
        ("startedAt", later.into()),
        ("completedAt", later.into()),
        ("tool", "other".into()),
        ("signature", serde_json::Value::Null),
    ];
    let members: Vec<&String> = original.as_object().expect("object").keys().collect();
    assert_eq!(members, changes.each_ref().map(|(name, _)| *name));
    let verified = |value: &serde_json::Value| {
        let manifest = Manifest::from_json(value.to_string().as_bytes())?;
        manifest.verify_signature(&authority.certificate)
    };
    verified(&original).expect("as it was");
    for (name, value) in changes {
        let mut changed = original.clone();
        changed[name] = value;
        assert!(verified(&changed).is_err(), "{name}");
        changed.as_object_mut().expect("object").remove(name);
        assert!(verified(&changed).is_err(), "without {name}");
    }
    let mut more = original.clone();
    more["note"] = "more".into();
    assert!(verified(&more).is_err(), "one member more");
    let twice = original.to_string().replacen('{', "{\"devices\":1,", 1);
    assert!(
        Manifest::from_json(twice.as_bytes()).is_err(),
        "a member twice"
    );
}

#[test]
fn a_change_of_the_signature_is_found() {
    let authority = root("line", KeyAlgorithm::EcdsaP256);
    let manifest = signed(&authority);
    let signature = manifest.signature.clone().expect("signature");
    for index in 0..signature.len() {
        let mut changed = signature.clone().into_bytes();
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        let changed = Manifest {
            signature: Some(String::from_utf8(changed).expect("text")),
            ..manifest.clone()
        };
        assert!(
            changed.verify_signature(&authority.certificate).is_err(),
            "{index}"
        );
    }
}

#[test]
fn another_output_is_found() {
    let authority = root("line", KeyAlgorithm::EcdsaP256);
    let manifest = signed(&authority);
    let mut changed = OUTPUT.to_vec();
    changed[3] ^= 1;
    let digest = manifest.verify_output(changed.as_slice());
    assert!(matches!(digest, Err(ManifestError::Digest { .. })));
    let length = manifest.verify_output(&OUTPUT[1..]);
    assert!(matches!(length, Err(ManifestError::Length { .. })));
}

#[test]
fn only_the_authority_signs_its_manifests() {
    let (authority, other) = (
        root("line", KeyAlgorithm::EcdsaP256),
        root("line", KeyAlgorithm::EcdsaP256),
    );
    let by_other = manifest(&authority).sign(&authority.certificate, &other.signer);
    assert!(matches!(by_other, Err(ManifestError::KeyMismatch)));
    let for_other = manifest(&authority).sign(&other.certificate, &other.signer);
    assert!(matches!(for_other, Err(ManifestError::Authority { .. })));
    let unsigned = manifest(&authority).verify_signature(&authority.certificate);
    assert!(matches!(unsigned, Err(ManifestError::Unsigned)));
}
