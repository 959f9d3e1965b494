//! The press and the ordinary path make the same bytes.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::OnceLock;

use crate::support::{TestAuthority, now, openssl, root, signer};
use pki_core::ids::{Generation, LeafName, SerialNumber};
use pki_core::issue::{Issuer, LeafPress, Request, compose};
use pki_core::key::{KeyAlgorithm, Signer as _};
use pki_core::profile::KeyPurpose;
use pki_core::time::{Span, Validity};
use proptest::prelude::{any, prop, prop_assert_eq, proptest};

const PURPOSES: [KeyPurpose; 1] = [KeyPurpose::ClientAuth];

/// An Ed25519 authority, since its signatures depend on nothing but key and message.
fn authority() -> &'static TestAuthority {
    static AUTHORITY: OnceLock<TestAuthority> = OnceLock::new();
    AUTHORITY.get_or_init(|| root("root", KeyAlgorithm::Ed25519))
}

fn keys() -> &'static [Vec<u8>] {
    static KEYS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let algorithms = [
            KeyAlgorithm::EcdsaP256,
            KeyAlgorithm::EcdsaP256,
            KeyAlgorithm::EcdsaP384,
            KeyAlgorithm::Ed25519,
            KeyAlgorithm::Rsa2048,
        ];
        algorithms
            .map(|algorithm| signer(algorithm).public_key().to_vec())
            .to_vec()
    })
}

fn issuer() -> Issuer {
    let authority = authority();
    let certificate = authority.certificate.clone();
    Issuer::authority(
        "root".parse().expect("name"),
        Generation::FIRST,
        certificate,
        &authority.signer,
    )
}

fn validity() -> Validity {
    Validity::starting(now(), Span::from_days(365), Span::from_seconds(0)).expect("validity")
}

proptest! {
    #[test]
    fn a_pressed_leaf_is_the_composed_one_byte_for_byte(
        leaves in prop::collection::vec(
            ("[A-Za-z0-9._:-]{0,63}[A-Za-z0-9-]", 0..5_usize, any::<[u8; 16]>(), 8..=20_usize),
            1..20,
        )
    ) {
        let mut press = LeafPress::new(issuer(), validity(), PURPOSES.to_vec(), now());
        for (name, key, octets, length) in leaves {
            let id: LeafName = name.parse().expect("an ID");
            let mut serial = [0x41; 20];
            serial[1..17].copy_from_slice(&octets);
            let serial = SerialNumber::from_be_octets(&serial[..length]).expect("serial");
            let key = &keys()[key];
            let pressed = press.stamp(&id, key, &serial).expect("stamped");
            let pressed = pressed.sign(&authority().signer).expect("signed");
            let request = Request::leaf(&id, key.clone(), validity(), PURPOSES.to_vec()).expect("request");
            let composed = compose(&request, &issuer(), &serial).expect("composed");
            let composed = composed.lint(now()).expect("linted").sign(&authority().signer).expect("signed");
            prop_assert_eq!(pressed.certificate().der(), composed.certificate().der());
            prop_assert_eq!(pressed.registration_id(), Some(&*id));
            prop_assert_eq!(pressed.certificate().serial_number(), &serial);
        }
    }
}

#[test]
fn the_press_refuses_what_the_checks_refuse() {
    let mut press = LeafPress::new(issuer(), validity(), PURPOSES.to_vec(), now());
    let serial = SerialNumber::from_random([1; 16]);
    let key = openssl(
        &[
            "genpkey",
            "-algorithm",
            "rsa",
            "-pkeyopt",
            "rsa_keygen_bits:1024",
        ],
        b"",
    )
    .stdout;
    let weak = openssl(&["pkey", "-pubout", "-outform", "DER"], &key).stdout;
    let id: LeafName = "d".parse().expect("id");
    let error = press
        .stamp(&id, &weak, &serial)
        .err()
        .expect("refused")
        .to_string();
    assert!(error.contains("1024 bits"), "{error}");
    let ended =
        Validity::new(now() - Span::from_days(2), now() - Span::from_days(1)).expect("validity");
    let mut press = LeafPress::new(issuer(), ended, PURPOSES.to_vec(), now());
    assert!(press.stamp(&id, &keys()[0], &serial).is_err());
}
