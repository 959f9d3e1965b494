//! Authorities and profiles: who issues whom, for how long, with what key.

use pki_core::declaration::AuthorityKey;
use pki_core::ids::AuthorityName;
use pki_core::key::KeyAlgorithm;

use super::{AUTHORITIES, name, parsed, refused, refused_dps, refused_with};

#[test]
fn issuers_come_before_those_that_they_issue() {
    let declaration = parsed(AUTHORITIES);
    let names: Vec<_> = declaration
        .authorities
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["root", "plant", "line"]);
    let line: AuthorityName = name("line");
    let above: Vec<_> = declaration
        .ancestry(&line)
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(above, ["line", "plant", "root"]);
    let below: Vec<_> = declaration
        .issued_by(&name("root"))
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(below, ["plant"]);
}

/// RFC 7512 for the place, our own names for the kind.
#[test]
fn a_key_is_in_the_home_or_in_a_token() {
    let key = |text: &str| {
        let text = AUTHORITIES.replace("key = \"ecdsa-p384\"", text);
        parsed(&text).authorities[0].key.clone()
    };
    let uri = name("pkcs11:token=t;object=o");
    assert_eq!(
        key("key = \"pkcs11:token=t;object=o\""),
        AuthorityKey::InToken(uri)
    );
    let made = AuthorityKey::MadeInToken {
        algorithm: KeyAlgorithm::Rsa3072,
        store: name("pkcs11:token=t"),
    };
    assert_eq!(
        key("key = \"rsa-3072\"\nkey-store = \"pkcs11:token=t\""),
        made
    );
    for (text, sentence) in [
        (
            "key = \"pkcs11:token=t\"",
            "line 16: [authority.root] key: the URI names no object; add object=LABEL, or give the kind of key here and the token as key-store",
        ),
        (
            "key = \"pkcs11:object=o?pin-value=1\"",
            "line 16: [authority.root] key: a PIN never stands in a URI; write pin-source=file:PATH or pin-source=env:NAME",
        ),
        (
            "key = \"pkcs11:object=o\"\nkey-store = \"pkcs11:token=t\"",
            "line 17: [authority.root] key-store: key is an object of a token already; with key-store it must be the kind of key to make",
        ),
        (
            "key = \"rsa-2048\"\nkey-store = \"pkcs11:id=%01\"",
            "line 17: [authority.root] key-store: an object that is made here is named by object=LABEL, not by id",
        ),
    ] {
        assert_eq!(refused_with("key = \"ecdsa-p384\"", text), sentence);
    }
}

#[test]
fn issuers_must_exist_and_never_go_in_a_circle() {
    assert_eq!(
        refused_with("issuer = \"root\"", "issuer = \"roto\""),
        r#"line 9: [authority.plant] issuer: no authority is named "roto"; did you mean "root"?"#
    );
    assert_eq!(
        refused_with("issuer = \"root\"", "issuer = \"line\""),
        "line 3: [authority.line] issuer: the issuers go in a circle: line is issued by plant is issued by line; one of them must be a root without issuer"
    );
    assert_eq!(
        refused_with("issuer = \"root\"", "issuer = \"plant\""),
        "line 9: [authority.plant] issuer: the issuers go in a circle: plant is issued by plant; one of them must be a root without issuer"
    );
}

/// RFC 5280 §4.2.1.9.
#[test]
fn path_lengths_leave_room_for_what_is_below() {
    let limited = |table: &str, limit: u8| {
        let head = format!("[authority.{table}]");
        AUTHORITIES.replace(&head, &format!("{head}\npath-length = {limit}"))
    };
    parsed(&limited("root", 2));
    parsed(&limited("plant", 1));
    parsed(&limited("line", 0));
    assert_eq!(
        refused(&limited("plant", 0)).to_string(),
        "line 9: [authority.plant] path-length: plant has path-length 0, so at most 0 authorities may stand below it, but with line there would be 1"
    );
    assert!(
        refused(&limited("root", 1))
            .to_string()
            .contains("with line there would be 2")
    );
}

#[test]
fn nothing_outlives_its_issuer() {
    assert_eq!(
        refused_with("validity = \"1y\"", "validity = \"6y\""),
        "line 6: [authority.line] validity: 6y is longer than the 5y of plant; a certificate never outlives its issuer"
    );
    parsed(&AUTHORITIES.replace("\"1y\"", "\"5y\""));
    let profile = "[profile.device]\nkey = \"ecdsa-p256\"\nvalidity = \"21y\"\n";
    assert_eq!(
        refused_dps(profile),
        "line 20: [profile.device] validity: 21y is longer than the 20y of the longest-lived authority; no authority could issue such a leaf"
    );
}

#[test]
fn ed25519_is_for_authorities_that_dps_never_sees() {
    let text = AUTHORITIES.replace("ecdsa-p384", "ed25519");
    parsed(&text);
    let table = "[dps.dev]\nservice = \"localhost\"\n[dps.dev.ca.plant]\n";
    let error = refused(&format!("{text}{table}")).to_string();
    assert_eq!(
        error,
        "line 20: [dps.dev.ca.plant]: root has the key algorithm ed25519, which DPS does not accept; declare an ECDSA or RSA key for it"
    );
}
