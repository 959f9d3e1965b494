//! A whole output that only its recipients can open.

use std::io::{Read as _, Write as _};
use std::process::Command;

use pki_core::handout::seal::{Recipient, SealError, SealedWriter};
use pki_core::handout::{Form, KeyForm};
use pki_core::key::KeyAlgorithm;
use secrecy::ExposeSecret as _;

use crate::format::{Made, check_line, listed};
use crate::skip::skip;

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
        skip("age");
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
