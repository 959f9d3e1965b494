//! `pki.toml`: what is accepted, and the one sentence for each mistake.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod authorities;
mod instances;
mod mistakes;

use pki_core::declaration::{
    AuthorityKey, Declaration, DeclarationError, DpsDeclaration, GroupAttestation, VerifiedBy,
};
use pki_core::enrollment::ProvisioningStatus;
use pki_core::ids::DpsName;
use pki_core::key::KeyAlgorithm;
use pki_core::profile::KeyPurpose;

/// The example of the command-line contract, word for word.
const CONTRACT: &str = r#"
[authority.root]
subject = "CN=Contoso Devices Root CA, O=Contoso"
key = "ecdsa-p384"                 # ecdsa-p256, ecdsa-p384, ed25519, rsa-2048, rsa-3072, rsa-4096
validity = "20y"

[authority.factory-1]
issuer = "root"
subject = "CN=Contoso Factory 1 CA, O=Contoso"
key = "ecdsa-p256"
validity = "5y"
path-length = 0

[profile.device]                    # what leaves look like; the default profile is "device"
key = "ecdsa-p256"
validity = "1y"
extended-key-usage = ["client-auth"]

[dps.dev]
service = "localhost:8443"          # or mydps.azure-devices-provisioning.net
id-scope = "0ne00000000"
# how to sign in, and where the management plane is: see docs

[dps.dev.ca.root]                   # CA certificates that DPS must hold, and how they are verified
verified-by = "possession"          # or "self-attestation"

[dps.dev.group.line-1]
authority = "factory-1"
hubs = ["hub-1.azure-devices.net"]
"#;

/// Two authorities below a root, to be varied; line 1 is empty.
const AUTHORITIES: &str = r#"
[authority.line]
issuer = "plant"
subject = "CN=Line"
key = "ecdsa-p256"
validity = "1y"

[authority.plant]
issuer = "root"
subject = "CN=Plant"
key = "ecdsa-p256"
validity = "5y"

[authority.root]
subject = "CN=Root"
key = "ecdsa-p384"
validity = "20y"
"#;

fn parsed(text: &str) -> Declaration {
    Declaration::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(text: &str) -> DeclarationError {
    Declaration::parse(text).expect_err("must be refused")
}

/// The sentence about the three authorities when one text is replaced by another.
fn refused_with(from: &str, to: &str) -> String {
    assert!(AUTHORITIES.contains(from), "{from}");
    refused(&AUTHORITIES.replacen(from, to, 1)).to_string()
}

/// The sentence about a DPS table after the three authorities.
fn refused_dps(table: &str) -> String {
    refused(&format!("{AUTHORITIES}{table}")).to_string()
}

fn dps(table: &str) -> DpsDeclaration {
    let mut declaration = parsed(&format!("{AUTHORITIES}{table}"));
    declaration
        .dps
        .remove(&name::<DpsName>("dev"))
        .expect("dev")
}

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect(text)
}

#[test]
fn the_example_of_the_contract_is_accepted_word_for_word() {
    let declaration = parsed(CONTRACT);
    let [root, factory] = &declaration.authorities[..] else {
        panic!("two authorities");
    };
    assert_eq!(
        (&root.key, root.issuer.as_ref()),
        (&AuthorityKey::Home(KeyAlgorithm::EcdsaP384), None)
    );
    assert_eq!(factory.issuer, Some(name("root")));
    assert_eq!(
        (factory.path_length, factory.validity),
        (Some(0), name("5y"))
    );
    let profile = &declaration.profiles[&name(Declaration::DEFAULT_PROFILE)];
    assert_eq!(profile.extended_key_usage, [KeyPurpose::ClientAuth]);
    assert_eq!(declaration.backdate, name("5min"));
    let dev = &declaration.dps[&name("dev")];
    assert_eq!(dev.service.as_str(), "localhost:8443");
    assert_eq!(dev.id_scope, Some(name("0ne00000000")));
    assert_eq!(dev.ca[&name("root")].verified_by, VerifiedBy::Possession);
    let group = &dev.groups[&name("LINE-1")];
    assert_eq!(group.attestation, GroupAttestation::SigningCertificate);
    assert_eq!(group.status, ProvisioningStatus::Enabled);
    assert_eq!(group.hubs, [name("hub-1.azure-devices.net")]);
}

#[test]
fn every_template_is_accepted() {
    for (file, text) in [
        (
            "quickstart",
            include_str!("../../templates/quickstart.toml"),
        ),
        ("factory", include_str!("../../templates/factory.toml")),
        ("tutorial", include_str!("../../templates/tutorial.toml")),
    ] {
        let declaration =
            Declaration::parse(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(
            !declaration.dps.is_empty() && !declaration.profiles.is_empty(),
            "{file}"
        );
    }
}
