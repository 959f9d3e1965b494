//! A line of JSON for each device, and keys that are sealed under a passphrase.

use std::path::Path;

use pki_core::encoding::PfxEncryption;
use pki_core::handout::seal::KeySealer;
use pki_core::handout::{
    Device, DeviceFiles, Form, KeyForm, Released, RenderError, Rendered, Renderer, Shards,
};
use pki_core::inventory::Recorded;
use pki_core::key::{KeyAlgorithm, read_private_key};
use pki_core::pem;
use pki_core::secret::Passphrase;
use pki_core::testing::SeededEntropy;
use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use crate::format::{
    Made, check_line, files, issuers, json, pfx, public_key_of, random_passphrase, rendered,
    stream, text,
};
use crate::support::openssl;

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
    let line = rendered(&renderer, &device).expect("rendered");
    let line = stream(line, &made.recorded);
    assert!(json(&line).get("privateKey").is_none());
    let folder = Form::Folder(DeviceFiles::Pem(KeyForm::Plain), Shards::of(1));
    let in_folder = rendered(&Renderer::new(folder, &issuers()), &device);
    let names: Vec<String> = files(in_folder.expect("rendered"), &made.recorded)
        .into_iter()
        .map(|entry| entry.path)
        .collect();
    assert_eq!(names, ["device-1.cert.pem", "device-1-full-chain.cert.pem"]);
    let pfx = DeviceFiles::Pfx(pfx(PfxEncryption::Modern));
    let refused = rendered(&Renderer::new(Form::Tar(pfx), &issuers()), &device);
    assert!(matches!(refused.err(), Some(RenderError::NoKey { .. })));
}

/// Nothing leaves before the inventory has it.
#[test]
fn only_the_recorded_certificate_itself_releases_its_output() {
    let one = Made::new("device-1", KeyAlgorithm::EcdsaP256);
    let other = Made::new("device-1", KeyAlgorithm::EcdsaP256);
    let renderer = Renderer::new(Form::Ndjson(KeyForm::Plain), &issuers());
    let released = |made: &[&Made], recorded: &[&Made]| {
        let mut rendered = Rendered::default();
        for made in made {
            let added = renderer.render(&made.device(), &mut rendered);
            added.expect("rendered");
        }
        let recorded: Vec<Recorded> = recorded.iter().map(|made| made.recorded.clone()).collect();
        rendered.release(&recorded).is_ok()
    };
    assert!(released(&[&one], &[&one]));
    assert!(!released(&[&one], &[&other]));
    assert!(released(&[&one, &other], &[&one, &other]));
    assert!(!released(&[&one, &other], &[&other, &one]));
    assert!(!released(&[&one, &other], &[&one]));
    assert!(!released(&[&one], &[&one, &other]));
}

/// A stretch grows as it is added to, and one that is used again holds nothing of what it held.
#[test]
fn what_is_rendered_for_many_is_what_is_rendered_for_each() {
    let made = ["a", "bc", "d"].map(|id| Made::new(id, KeyAlgorithm::EcdsaP256));
    for form in [
        || Form::Ndjson(KeyForm::Plain),
        || Form::Tar(DeviceFiles::Pem(KeyForm::Plain)),
    ] {
        let renderer = Renderer::new(form(), &issuers());
        let one_by_one: Vec<Vec<u8>> = made.iter().map(|made| made.stream(form())).collect();
        let mut spent = Released::default();
        for count in [3, 1, 2] {
            let mut rendered = Rendered::reusing(spent);
            for made in &made[..count] {
                let added = renderer.render(&made.device(), &mut rendered);
                added.expect("rendered");
            }
            let recorded: Vec<Recorded> = made.iter().map(|made| made.recorded.clone()).collect();
            spent = rendered.release(&recorded[..count]).expect("released");
            assert!(*spent.stream == one_by_one[..count].concat());
        }
    }
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
