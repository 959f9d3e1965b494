//! Every signer keeps the contract: keys in memory, and keys in a SoftHSM token.
#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "what fails here is the test; a token is found through the environment"
)]

use std::path::Path;
use std::process::Command;

use crate::softhsm::{PIN, SETTINGS, SoftHsm};
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use pki_core::key::pkcs11::{Module, Token, TokenError};
use pki_core::key::software::{SoftwareKeyGenerator, SoftwareSigner};
use pki_core::key::{KeyAlgorithm, KeyGenerator as _, Pkcs11Uri, Signer as _};
use pki_core::testing::signer_contract;
use secrecy::SecretString;

const MODULE: &str = "TEST_PKCS11_MODULE";

#[test]
fn keys_in_memory_keep_the_contract() {
    for algorithm in KeyAlgorithm::ALL {
        let key = SoftwareKeyGenerator.generate(algorithm).expect("key");
        signer_contract(&SoftwareSigner::new(&key).expect("signer"));
    }
}

#[test]
fn keys_in_a_token_keep_the_contract() {
    in_a_child("signers::inside::keys_keep_the_contract");
}

#[test]
fn a_token_tells_what_is_wrong() {
    in_a_child("signers::inside::what_is_wrong_is_told");
}

#[test]
fn a_module_that_cannot_be_loaded_is_named() {
    for path in ["/nonexistent/module.so", "/dev/null"] {
        let error = Module::load(Path::new(path)).expect_err(path);
        assert!(matches!(error, TokenError::Module { .. }));
        let expected = format!("the PKCS#11 module {path} cannot be used: ");
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

/// Runs an ignored test of this file in a process whose environment names a folder with two tokens.
fn in_a_child(test: &str) {
    let Some(softhsm) = SoftHsm::start() else {
        return;
    };
    softhsm.token("factory");
    softhsm.token("spare");
    let ran = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(SETTINGS, softhsm.settings())
        .env(MODULE, softhsm.module())
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// What runs where SoftHSM finds its tokens.
mod inside {
    use super::*;

    fn uri(text: &str) -> Pkcs11Uri {
        text.parse().expect(text)
    }

    fn module() -> Module {
        let path = std::env::var_os(MODULE).expect("run by the tests above");
        Module::load(Path::new(&path)).expect("SoftHSM")
    }

    fn log_in(token: &str, pin: &str) -> Result<Token, TokenError> {
        let found = module().find(&uri(token))?;
        found.log_in(Some(SecretString::from(pin)), 4)
    }

    #[test]
    #[ignore = "run in a child by the tests above"]
    fn keys_keep_the_contract() {
        let token = log_in("pkcs11:token=factory", PIN).expect("logged in");
        for algorithm in KeyAlgorithm::ALL {
            let object = uri(&format!("pkcs11:object={algorithm}"));
            let made = token.generate(&object, algorithm).expect("made");
            assert_eq!(made.key_algorithm(), algorithm);
            signer_contract(&made);
            let found = token.signer(&object).expect("found");
            assert_eq!(found.public_key(), made.public_key());
        }
    }

    #[test]
    #[ignore = "run in a child by the tests above"]
    fn what_is_wrong_is_told() {
        let said = |result: Result<Token, TokenError>| result.expect_err("refused").to_string();
        let none = said(log_in("pkcs11:token=nowhere", PIN));
        assert!(
            none.starts_with("there is no token pkcs11:token=nowhere; present are "),
            "{none}"
        );
        assert!(none.contains("factory") && none.contains("spare"), "{none}");
        let both = said(log_in("pkcs11:model=SoftHSM%20v2", PIN));
        assert!(
            both.starts_with("several tokens are pkcs11:model=SoftHSM%20v2: "),
            "{both}"
        );
        let wrong = said(log_in("pkcs11:token=factory", "000000"));
        assert_eq!(wrong, "the token factory refuses the PIN");
        let found = module().find(&uri("pkcs11:token=factory")).expect("found");
        assert!(found.needs_pin());
        assert_eq!(said(found.log_in(None, 1)), "the token factory wants a PIN");

        let token = log_in("pkcs11:token=factory", PIN).expect("logged in");
        let signer = |text: &str| token.signer(&uri(text)).expect_err(text).to_string();
        assert_eq!(
            signer("pkcs11:object=a"),
            "the token factory holds no private key object=a; it holds none"
        );
        assert!(signer("pkcs11:token=factory").starts_with("the URI names no object"));
        let make = |text: &str| token.generate(&uri(text), KeyAlgorithm::EcdsaP256);
        make("pkcs11:object=a").expect("made");
        let again = make("pkcs11:object=a").expect_err("taken").to_string();
        assert_eq!(again, "the token factory holds a key object=a already");
        let other = signer("pkcs11:object=b");
        assert_eq!(
            other,
            "the token factory holds no private key object=b; present are a"
        );
        key_that_always_asks();
        assert_eq!(
            signer("pkcs11:object=asks"),
            "the key object=asks in the token factory wants the PIN before every single signature (CKA_ALWAYS_AUTHENTICATE), which is not supported; use a key without that attribute"
        );
        // Another token, another key of the same name: the login is per token.
        let spare = log_in("pkcs11:token=spare", PIN).expect("logged in");
        assert!(matches!(
            spare.signer(&uri("pkcs11:object=a")),
            Err(TokenError::NoKey { .. })
        ));
    }

    /// Makes a key, called `asks`, that the token signs with after a login for that signature alone.
    fn key_that_always_asks() {
        let library = std::env::var_os(MODULE).expect("run by the tests above");
        let library = Pkcs11::new(library).expect("SoftHSM");
        let found = module().find(&uri("pkcs11:token=factory")).expect("found");
        let mut slots = library.get_slots_with_initialized_token().expect("slots");
        slots.retain(|slot| {
            let info = library.get_token_info(*slot).expect("a token");
            info.label() == found.label()
        });
        // The login of the test is the process's.
        let session = library.open_rw_session(slots[0]).expect("a session");
        let named = [
            Attribute::Token(true),
            Attribute::Label(b"asks".to_vec()),
            Attribute::Id(vec![7]),
        ];
        let curve = vec![6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        let public = [&named[..], &[Attribute::EcParams(curve)]].concat();
        let private = [
            Attribute::Private(true),
            Attribute::Sign(true),
            Attribute::AlwaysAuthenticate(true),
        ];
        let private = [&named[..], &private].concat();
        session
            .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
            .expect("made");
    }
}
