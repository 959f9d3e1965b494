//! Issuance, judged by OpenSSL: what we sign, strict verification accepts.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking"
)]

use crate::support::{authority_spec, leaf_spec, now, openssl, pem_file, root, serial, signer};
use pki_core::authority::{AdoptError, ChainBundle, IssuancePolicy, SigningAuthority};
use pki_core::certificate::Certificate;
use pki_core::csr::{CsrError, RequestPolicy, SigningRequest, Stated};
use pki_core::ids::{Generation, LeafName};
use pki_core::issue::IssueError;
use pki_core::key::software::{SoftwareKeyGenerator, SoftwareSigner};
use pki_core::key::{KeyAlgorithm, Signer as _, read_private_key};
use pki_core::path::{PathOptions, Purpose, validate};
use pki_core::time::Span;

/// Runs `openssl verify -x509_strict` at the tests' moment.
fn strictly_verified(chain: &[&Certificate]) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("folder");
    let (root, rest) = chain.split_last().expect("chain");
    let (leaf, intermediates) = rest.split_first().expect("leaf");
    let root = pem_file(folder.path(), "root.pem", &[root]);
    let leaf = pem_file(folder.path(), "leaf.pem", &[leaf]);
    let intermediates = pem_file(folder.path(), "intermediates.pem", intermediates);
    let at = now().unix_seconds().to_string();
    let path = |path: &std::path::Path| path.to_str().expect("path").to_owned();
    let mut arguments = vec![
        "verify",
        "-x509_strict",
        "-purpose",
        "sslclient",
        "-attime",
        &at,
    ];
    let root = path(&root);
    let leaf = path(&leaf);
    let intermediates = path(&intermediates);
    arguments.extend(["-CAfile", &root]);
    if chain.len() > 2 {
        arguments.extend(["-untrusted", &intermediates]);
    }
    arguments.push(&leaf);
    let output = openssl(&arguments, b"");
    output
        .status
        .success()
        .then_some(())
        .ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn openssl_strictly_accepts_every_algorithm_at_depth_three() {
    for algorithm in KeyAlgorithm::ALL {
        let root = root("root", algorithm);
        let intermediate = root.intermediate("line", algorithm);
        let leaf = intermediate.leaf("device-1", algorithm);
        let chain = [&leaf, &intermediate.certificate, &root.certificate];
        assert_eq!(strictly_verified(&chain), Ok(()), "{algorithm}");
        let own = validate(
            &leaf,
            std::slice::from_ref(&intermediate.certificate),
            std::slice::from_ref(&root.certificate),
            PathOptions::new(now()),
        );
        assert!(own.holds(), "{algorithm}: {own:?}");
        assert_eq!(own.path.len(), 3);
    }
}

#[test]
fn the_proof_of_possession_is_an_end_entity_below_its_authority() {
    let root = root("root", KeyAlgorithm::EcdsaP384);
    let code = "7A69A4702DA903A41C3A5BC5575A8E3F49BEC5E5BA2D4CE1"
        .parse()
        .expect("code");
    let proof = root
        .signing()
        .prove_possession(&code, &SoftwareKeyGenerator, &serial(), now());
    let proof = proof.expect("proof").certificate().clone();
    assert_eq!(proof.common_name().as_deref(), Some(code.as_str()));
    assert!(!proof.is_ca());
    assert_eq!(strictly_verified(&[&proof, &root.certificate]), Ok(()));
}

/// RFC 5280 §4.1.2.4: the issuer field is the issuer's subject byte for byte, here of a CA whose
/// name OpenSSL wrote as PrintableString and T61String.
#[test]
fn the_issuer_name_of_an_imported_authority_keeps_its_bytes() {
    let folder = tempfile::tempdir().expect("folder");
    let key = folder.path().join("key.pem");
    let config = "[req]\nstring_mask=default\nprompt=no\ndistinguished_name=dn\nx509_extensions=ca\n\
                  [dn]\nC=DE\nO=Contoso\nCN=Imported CA\n\
                  [ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n";
    let file = folder.path().join("ca.cnf");
    std::fs::write(&file, config).expect("config");
    let key_path = key.to_str().expect("path");
    let config_path = file.to_str().expect("path");
    let arguments = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "30",
        "-keyout",
        key_path,
        "-config",
        config_path,
    ];
    let output = openssl(&arguments, b"");
    let certificate = pki_core::certificate::pem::certificate(&output.stdout).expect("certificate");
    let private_key = read_private_key(&std::fs::read(&key).expect("key"), None).expect("key");
    let signer = SoftwareSigner::new(&private_key).expect("signer");
    let now = certificate.validity().not_before() + Span::from_seconds(1);
    let subject = certificate.subject().to_der();
    assert!(
        subject.windows(2).any(|pair| pair == [0x13, 7]),
        "O is a PrintableString"
    );
    let name = "imported".parse().expect("name");
    let policy = IssuancePolicy::default();
    let authority = SigningAuthority::new(name, Generation::FIRST, certificate, &signer, policy);
    let public_key = crate::support::signer(KeyAlgorithm::EcdsaP256)
        .public_key()
        .to_vec();
    let leaf = authority
        .expect("authority")
        .issue_leaf(
            &"device-1".parse().expect("id"),
            public_key,
            &leaf_spec(1),
            &serial(),
            now,
        )
        .expect("leaf");
    assert_eq!(leaf.certificate().issuer().to_der(), subject);
}

#[test]
fn not_before_is_backdated_but_never_before_the_issuer() {
    let root = root("root", KeyAlgorithm::EcdsaP256);
    assert_eq!(
        root.certificate.validity().not_before(),
        now() - Span::from_seconds(300)
    );
    let later = now() + Span::from_days(1);
    let key = signer(KeyAlgorithm::EcdsaP256).public_key().to_vec();
    let id = "device-1".parse().expect("id");
    let leaf = root
        .signing()
        .issue_leaf(&id, key.clone(), &leaf_spec(1), &serial(), later)
        .expect("leaf");
    assert_eq!(
        leaf.certificate().validity().not_before(),
        later - Span::from_seconds(300)
    );
    let first = root
        .signing()
        .issue_leaf(&id, key, &leaf_spec(1), &serial(), now())
        .expect("leaf");
    assert_eq!(
        first.certificate().validity().not_before(),
        root.certificate.validity().not_before()
    );
}

fn refusal(error: IssueError) -> String {
    error.to_string()
}

/// RFC 5280 §6.1.3: a child never outlives its issuer, and an expired issuer signs nothing.
#[test]
fn a_leaf_that_would_outlive_its_issuer_is_refused() {
    let root = root("root", KeyAlgorithm::EcdsaP256);
    let key = signer(KeyAlgorithm::EcdsaP256).public_key().to_vec();
    let id = "device-1".parse().expect("id");
    let issue = |days, at| {
        root.signing()
            .issue_leaf(&id, key.clone(), &leaf_spec(days), &serial(), at)
    };
    assert!(issue(3650, now()).is_ok());
    let longer = refusal(issue(3651, now()).expect_err("outlives"));
    assert!(longer.contains("but its issuer only from"), "{longer}");
    let expired = refusal(issue(1, now() + Span::from_days(4000)).expect_err("expired"));
    assert!(
        expired.contains("the authority's own certificate expired on"),
        "{expired}"
    );
}

/// RFC 5280 §4.2.1.9.
#[test]
fn path_length_zero_allows_leaves_only() {
    let root = root("root", KeyAlgorithm::EcdsaP256);
    let line = signer(KeyAlgorithm::EcdsaP256);
    let spec = authority_spec("CN=line", 100, Some(0));
    let issued =
        root.signing()
            .issue_intermediate(&spec, line.public_key().to_vec(), &serial(), now());
    let certificate = issued.expect("line").certificate().clone();
    let policy = IssuancePolicy::default();
    let name = "line".parse().expect("name");
    let line =
        SigningAuthority::new(name, Generation::FIRST, certificate, &line, policy).expect("line");
    let key = signer(KeyAlgorithm::EcdsaP256).public_key().to_vec();
    let below = authority_spec("CN=below", 10, None);
    let error = refusal(
        line.issue_intermediate(&below, key.clone(), &serial(), now())
            .expect_err("refused"),
    );
    assert!(error.contains("path length 0"), "{error}");
    assert!(
        line.issue_leaf(
            &"d".parse().expect("id"),
            key,
            &leaf_spec(1),
            &serial(),
            now()
        )
        .is_ok()
    );
}

#[test]
fn the_longest_name_of_a_leaf_is_issued() {
    let root = root("root", KeyAlgorithm::EcdsaP256);
    let key = signer(KeyAlgorithm::EcdsaP256).public_key().to_vec();
    let id: LeafName = "d".repeat(64).parse().expect("id");
    let issued = root
        .signing()
        .issue_leaf(&id, key, &leaf_spec(1), &serial(), now());
    assert_eq!(issued.expect("leaf").registration_id(), Some(&*id));
}

#[test]
fn a_key_that_is_not_the_authoritys_is_refused() {
    let root = root("root", KeyAlgorithm::EcdsaP256);
    let other = signer(KeyAlgorithm::EcdsaP256);
    let leaf = root.leaf("device-1", KeyAlgorithm::EcdsaP256);
    let make = |certificate: &Certificate| {
        let name = "root".parse().expect("name");
        let policy = IssuancePolicy::default();
        SigningAuthority::new(name, Generation::FIRST, certificate.clone(), &other, policy).err()
    };
    assert!(matches!(
        make(&root.certificate),
        Some(AdoptError::KeyMismatch { .. })
    ));
    assert!(make(&leaf).is_some());
}

#[test]
fn openssl_requests_are_signed_and_ours_are_checked() {
    let root = root("root", KeyAlgorithm::EcdsaP256);
    for key in [
        ["ec", "ec_paramgen_curve:P-384"],
        ["rsa", "rsa_keygen_bits:2048"],
    ] {
        let arguments = [
            "req",
            "-new",
            "-newkey",
            key[0],
            "-pkeyopt",
            key[1],
            "-nodes",
            "-keyout",
            "/dev/null",
            "-subj",
            "/O=Maker/CN=Device:7",
            "-addext",
            "basicConstraints=CA:TRUE",
        ];
        let csr = openssl(&arguments, b"").stdout;
        let request = SigningRequest::read(&csr).expect("request");
        let id = RequestPolicy::default().admit(&request, Stated::default());
        let id = id.expect("admitted");
        assert_eq!(id.as_str(), "Device:7");
        assert_eq!(request.requested_extensions(), ["id-ce-basicConstraints"]);
        let issued = root.signing().issue_leaf(
            &id,
            request.public_key().to_vec(),
            &leaf_spec(30),
            &serial(),
            now(),
        );
        let leaf = issued.expect("leaf").certificate().clone();
        assert!(!leaf.is_ca(), "what a request asks for is not granted");
        assert_eq!(leaf.public_key(), request.public_key());
        assert_eq!(strictly_verified(&[&leaf, &root.certificate]), Ok(()));
        let mut forged = request.der().to_vec();
        *forged.last_mut().expect("octet") ^= 1;
        assert!(matches!(
            SigningRequest::read(&forged),
            Err(CsrError::SelfSignature(_))
        ));
    }
}

#[test]
fn weak_keys_are_not_certified() {
    let root = root("root", KeyAlgorithm::EcdsaP256);
    let id = "device-1".parse().expect("id");
    for (arguments, part) in [
        (
            [
                "genpkey",
                "-algorithm",
                "rsa",
                "-pkeyopt",
                "rsa_keygen_bits:1024",
            ],
            "1024 bits",
        ),
        (
            [
                "genpkey",
                "-algorithm",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:secp256k1",
            ],
            "not RSA, ECDSA",
        ),
    ] {
        let key = openssl(&arguments, b"").stdout;
        let public = openssl(&["pkey", "-pubout", "-outform", "DER"], &key).stdout;
        let issued = root
            .signing()
            .issue_leaf(&id, public, &leaf_spec(1), &serial(), now());
        let error = refusal(issued.expect_err("refused"));
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn bundles_are_ordered_and_complete_or_refused() {
    let root = root("root", KeyAlgorithm::EcdsaP256);
    let line = root.intermediate("line", KeyAlgorithm::EcdsaP256);
    let leaf = line.leaf("device-1", KeyAlgorithm::EcdsaP256);
    let others = [root.certificate.clone(), line.certificate.clone()];
    let bundle = ChainBundle::complete(&leaf, &others).expect("bundle");
    assert_eq!(
        bundle.certificates(),
        [
            leaf.clone(),
            line.certificate.clone(),
            root.certificate.clone()
        ]
    );
    let error = ChainBundle::complete(&leaf, &others[..1]).expect_err("broken");
    assert_eq!(
        error.to_string(),
        "CN=device-1 was not issued by any of the certificates at hand; its issuer is CN=line, O=Contoso"
    );
}

#[test]
fn a_path_without_its_intermediate_does_not_hold() {
    let root = root("root", KeyAlgorithm::EcdsaP256);
    let line = root.intermediate("line", KeyAlgorithm::EcdsaP256);
    let leaf = line.leaf("device-1", KeyAlgorithm::EcdsaP256);
    let anchors = [root.certificate.clone()];
    let report = validate(&leaf, &[], &anchors, PathOptions::new(now()));
    let failure = report.failure.expect("failure");
    assert!(failure.reason.contains("unable to get"), "{failure:?}");
    let server = PathOptions::new(now()).purpose(Purpose::Server);
    let chain = [line.certificate.clone()];
    assert!(
        !validate(&leaf, &chain, &anchors, server).holds(),
        "clientAuth only"
    );
    let late = PathOptions::new(now() + Span::from_days(366));
    assert!(
        validate(&leaf, &chain, &anchors, late)
            .failure
            .expect("expired")
            .reason
            .contains("expired")
    );
}
