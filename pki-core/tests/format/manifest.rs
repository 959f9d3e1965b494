//! What a batch says of its output: a hash that goes on, and a signed manifest.

use std::io::Write as _;

use pki_core::handout::digest::{HashingWriter, OutputHash};
use pki_core::handout::manifest::{Manifest, ManifestError};
use pki_core::ids::Generation;
use pki_core::key::KeyAlgorithm;
use pki_core::pem;

use crate::support::{TestAuthority, now, openssl, root, serial};

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
    let authority = root("line", KeyAlgorithm::EcdsaP256);
    let other = root("line", KeyAlgorithm::EcdsaP256);
    let by_other = manifest(&authority).sign(&authority.certificate, &other.signer);
    assert!(matches!(by_other, Err(ManifestError::KeyMismatch)));
    let for_other = manifest(&authority).sign(&other.certificate, &other.signer);
    assert!(matches!(for_other, Err(ManifestError::Authority { .. })));
    let unsigned = manifest(&authority).verify_signature(&authority.certificate);
    assert!(matches!(unsigned, Err(ManifestError::Unsigned)));
}
