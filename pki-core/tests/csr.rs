//! Signing requests: which are read, which are signed and for whom. OpenSSL makes them.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use crate::support::{openssl, signer};
use pki_core::bulk::input::{BadLine, Device, DeviceKey, Place};
use pki_core::bulk::requests::{Judged, Judgement, Spool, judge_all};
use pki_core::csr::{self, CsrError, IdFrom, PolicyError, RequestPolicy, SigningRequest, Stated};
use pki_core::ids::RegistrationId;
use pki_core::key::{KeyAlgorithm, SignatureError};
use pki_core::pem::InputError;

const P256: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// A request that OpenSSL makes.
fn made(subject: &str, key: &[&str], options: &[&str]) -> Vec<u8> {
    let fixed = [
        "req",
        "-new",
        "-nodes",
        "-keyout",
        "/dev/null",
        "-subj",
        subject,
    ];
    openssl(&[&fixed[..], key, options].concat(), b"").stdout
}

fn id(text: &str) -> RegistrationId {
    text.parse().expect(text)
}

fn admitted(request: &[u8], id_from: IdFrom, stated: Stated<'_>) -> Result<String, PolicyError> {
    let request = SigningRequest::read(request).expect("request");
    let policy = RequestPolicy {
        id_from,
        keys: None,
    };
    policy.admit(&request, stated).map(|id| id.to_string())
}

#[test]
fn weak_keys_and_signatures_are_refused() {
    let problem = |key: &[&str]| match SigningRequest::read(&made("/CN=a", key, &[])) {
        Err(CsrError::Key { problem }) => problem,
        other => panic!("{other:?}"),
    };
    assert!(problem(&["-newkey", "rsa:1024"]).contains("1024 bits"));
    let small_exponent = ["-newkey", "rsa:2048", "-pkeyopt", "rsa_keygen_pubexp:3"];
    assert!(problem(&small_exponent).contains("exponent"));
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"];
    assert!(problem(&curve).contains("is not RSA, ECDSA P-256"));
    let read = SigningRequest::read(&made("/CN=a", &["-newkey", "rsa:2048"], &["-sha1"]));
    assert!(
        matches!(
            read,
            Err(CsrError::SelfSignature(SignatureError::Algorithm { .. }))
        ),
        "{read:?}"
    );
    assert!(SigningRequest::read(&made("/CN=a", &["-newkey", "rsa:2048"], &[])).is_ok());
}

#[test]
fn one_request_is_wanted_and_many_can_be_read() {
    let one = made("/CN=a", &P256, &[]);
    let two = made("/CN=b", &P256, &[]);
    let both = [&one[..], &two].concat();
    assert_eq!(csr::requests(&both).map(|found| found.len()), Ok(2));
    let read = SigningRequest::read(&both);
    assert!(matches!(read, Err(CsrError::Several { count: 2 })));
    let text = String::from_utf8(one.clone()).expect("PEM");
    let der = csr::request_in_text(&text).expect("PEM");
    let base64: String = text
        .lines()
        .filter(|line| !line.contains("-----"))
        .collect();
    assert_eq!(csr::request_in_text(&base64).as_ref(), Ok(&der));
    assert_eq!(csr::requests(&der), Ok(vec![der.clone()]));
    let other = csr::request_in_text("not base64!");
    let expected = InputError::NeitherPemNorBase64 {
        wanted: "a certificate signing request",
    };
    assert_eq!(other, Err(CsrError::Input(expected)));
}

#[test]
fn the_policy_says_where_the_registration_id_stands() {
    let san = ["-addext", "subjectAltName=DNS:gw-1.example"];
    let request = made("/O=Maker/CN=Device:7", &P256, &san);
    let none = Stated::default();
    let file = Stated {
        file_name: Some("unit-9"),
        ..none
    };
    let found = |id_from| admitted(&request, id_from, file);
    assert_eq!(found(IdFrom::CommonName).as_deref(), Ok("Device:7"));
    assert_eq!(
        found(IdFrom::AlternativeName).as_deref(),
        Ok("gw-1.example")
    );
    assert_eq!(found(IdFrom::FileName).as_deref(), Ok("unit-9"));
    let nameless = made("/O=Maker", &P256, &[]);
    for (id_from, problem) in [
        (IdFrom::CommonName, "no single CN"),
        (IdFrom::AlternativeName, "asks for 0 DNS names"),
        (IdFrom::FileName, "came in no file"),
    ] {
        let refused = admitted(&nameless, id_from, none).expect_err(problem);
        assert!(refused.to_string().contains(problem), "{refused}");
    }
    let long = made(&format!("/CN={}", "x".repeat(60)), &P256, &[]);
    assert!(admitted(&long, IdFrom::CommonName, none).is_ok());
    let bad = admitted(&made("/CN=two words", &P256, &[]), IdFrom::CommonName, none);
    assert!(matches!(bad, Err(PolicyError::RegistrationId { .. })));
}

/// A line that names one device and carries the request of another would give the one the other's key.
#[test]
fn what_the_input_states_must_agree_with_the_request() {
    let named = made("/CN=sensor-1", &P256, &[]);
    let same = id("SENSOR-1");
    let other = id("sensor-2");
    let stated = |id| Stated {
        id: Some(id),
        file_name: None,
    };
    let admit = |request: &[u8], id| admitted(request, IdFrom::CommonName, stated(id));
    assert_eq!(admit(&named, &same).as_deref(), Ok("SENSOR-1"));
    let refused = admit(&named, &other).expect_err("another device's");
    let sentence = "it is the request of sensor-1, not of sensor-2";
    assert_eq!(refused.to_string(), sentence);
    let nameless = made("/", &P256, &[]);
    assert_eq!(admit(&nameless, &other).as_deref(), Ok("sensor-2"));
    // A subject without a CN is somebody, but not this device for sure.
    assert!(admit(&made("/O=Maker", &P256, &[]), &other).is_err());
}

#[test]
fn a_profile_may_let_only_some_keys_in() {
    let policy = RequestPolicy {
        id_from: IdFrom::CommonName,
        keys: Some(vec![KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa3072]),
    };
    let admit = |algorithm| {
        let request = SigningRequest::make(&id("a-1"), &signer(algorithm)).expect("request");
        policy.admit(&request, Stated::default())
    };
    assert!(admit(KeyAlgorithm::EcdsaP256).is_ok());
    assert!(admit(KeyAlgorithm::Rsa3072).is_ok());
    let refused = admit(KeyAlgorithm::Rsa2048).expect_err("not listed");
    let sentence = "its key is rsa-2048; the profile takes ecdsa-p256, rsa-3072";
    assert_eq!(refused.to_string(), sentence);
}

#[test]
fn openssl_verifies_the_requests_that_we_make() {
    for algorithm in KeyAlgorithm::ALL {
        let request = SigningRequest::make(&id("Line-7:1"), &signer(algorithm)).expect("request");
        let judged = openssl(
            &["req", "-verify", "-noout", "-subject"],
            request.to_pem().as_bytes(),
        );
        assert!(judged.status.success(), "{algorithm}");
        let subject = String::from_utf8_lossy(&judged.stdout).replace(' ', "");
        assert_eq!(subject.trim(), "subject=CN=Line-7:1", "{algorithm}");
    }
}

/// Requests for these IDs, each by a key of its own and with its ID for its place.
fn requests_of(names: &[String]) -> Vec<(String, Vec<u8>)> {
    let request = |name: &String| {
        let key = signer(KeyAlgorithm::EcdsaP256);
        let request = SigningRequest::make(&id(name), &key).expect("request");
        (name.clone(), request.der().to_vec())
    };
    names.iter().map(request).collect()
}

/// The spool and the judgement that requests come to, and what cannot be used.
fn judged(requests: &[(String, Vec<u8>)], jobs: usize) -> (Vec<u8>, Judgement, Vec<BadLine>) {
    let judge = |(name, der): &(String, Vec<u8>)| {
        let place = Place::File(name.clone());
        let policy = RequestPolicy::default();
        let rest = |id| Device {
            labels: vec![("site".into(), "Ulm".into())],
            ..Device::new(place.clone(), id)
        };
        let stated = Stated::default();
        vec![Judged::request(&place, der, stated, &policy, rest)]
    };
    let mut spool = Vec::new();
    let mut bad = Vec::new();
    let mut refuse = |line| bad.push(line);
    let judgement = judge_all(requests.iter(), judge, jobs, &mut spool, &mut refuse);
    (spool, judgement.expect("written"), bad)
}

/// In the order of the input whatever the number of threads, with every bad one told.
#[test]
fn what_was_judged_comes_back_from_the_spool() {
    let names: Vec<String> = (0..600).map(|number| format!("unit-{number:03}")).collect();
    let mut requests = requests_of(&names);
    let forged = &mut requests[317].1;
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for jobs in [1, 3] {
        let (spool, judgement, bad) = judged(&requests, jobs);
        let sound = judgement.sound;
        assert_eq!((judgement.bad, bad.len()), (1, 1));
        assert_eq!(bad[0].place, Place::File("unit-317".into()));
        let devices: Vec<Device> = Spool::new(&spool[..])
            .map(|device| device.expect("sound"))
            .collect();
        let ids: Vec<&str> = devices.iter().map(|device| device.id.as_str()).collect();
        let expected = names.iter().filter(|name| *name != "unit-317");
        assert_eq!(ids, expected.collect::<Vec<_>>());
        let DeviceKey::Proven(proven) = &devices[0].key else {
            panic!("it has a key");
        };
        assert_eq!(proven.request(), requests[0].1);
        assert_eq!(devices[0].labels, [("site".into(), "Ulm".into())]);
        let checked = sound.end(|| Spool::new(&spool[..]), &mut |bad| panic!("{bad}"));
        let checked = checked.expect("no ID twice");
        assert_eq!((checked.devices, checked.new_keys), (599, 0));
        let ends = ["unit-000", "unit-599"].map(|name| name.parse().expect(name));
        assert_eq!(checked.ends, Some(ends.into()));
    }
}

/// However far apart they stand, and whoever judged them.
#[test]
fn a_second_request_for_the_same_id_is_told() {
    let mut names: Vec<String> = (0..600).map(|number| format!("unit-{number:03}")).collect();
    names.push("UNIT-002".into());
    let (spool, judgement, _) = judged(&requests_of(&names), 3);
    let mut told = Vec::new();
    let mut refuse = |bad: BadLine| told.push(bad.to_string());
    let ended = judgement.sound.end(|| Spool::new(&spool[..]), &mut refuse);
    assert_eq!(ended, None);
    let sentence = "UNIT-002: the same registration ID stands in unit-002 already";
    assert_eq!(told, [sentence]);
}

/// However far apart they stand: a key is one device's.
#[test]
fn a_second_request_for_the_same_key_is_told() {
    let names: Vec<String> = (0..600).map(|number| format!("unit-{number:03}")).collect();
    let mut requests = requests_of(&names);
    let key = signer(KeyAlgorithm::EcdsaP256);
    for place in [3, 590] {
        let request = SigningRequest::make(&id(&names[place]), &key).expect("request");
        requests[place].1 = request.der().to_vec();
    }
    let (spool, judgement, _) = judged(&requests, 3);
    let mut told = Vec::new();
    let mut refuse = |bad: BadLine| told.push(bad.to_string());
    let ended = judgement.sound.end(|| Spool::new(&spool[..]), &mut refuse);
    assert_eq!(ended, None);
    assert_eq!(
        told,
        ["unit-590: the request in unit-003 is for the same key"]
    );
}
