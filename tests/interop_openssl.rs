//! OpenSSL judges what is made: certificates, keys and proofs, for every algorithm of `pki.toml`.

use dps_pki_tests::{Home, PASSPHRASE};

#[test]
fn ecdsa_p256() {
    judge("ecdsa-p256", "prime256v1");
}

#[test]
fn ecdsa_p384() {
    judge("ecdsa-p384", "secp384r1");
}

#[test]
fn ed25519() {
    judge("ed25519", "ED25519");
}

#[test]
fn rsa_2048() {
    judge("rsa-2048", "(2048 bit)");
}

#[test]
fn rsa_3072() {
    judge("rsa-3072", "(3072 bit)");
}

#[test]
fn rsa_4096() {
    judge("rsa-4096", "(4096 bit)");
}

/// Everything that one home writes, with keys that OpenSSL calls `known_as`.
fn judge(algorithm: &str, known_as: &str) {
    let home = home_of(algorithm);
    home.dps_pki("issue sensor:1 --authority factory --out devices")
        .ok();
    let leaf = "devices/sensor%3A1";
    holds(&home, "-untrusted factory.pem", &format!("{leaf}.cert.pem"));
    holds(
        &home,
        &format!("-untrusted {leaf}-full-chain.cert.pem"),
        &format!("{leaf}.cert.pem"),
    );
    let text = openssl(&home, &format!("x509 -in {leaf}.cert.pem -noout -text"));
    assert!(
        text.contains(known_as) && text.contains("Subject: CN=sensor:1"),
        "{text}"
    );
    let whole = openssl(
        &home,
        &format!("crl2pkcs7 -nocrl -certfile {leaf}-full-chain.cert.pem"),
    );
    home.write("chain.p7b", whole);
    let subjects = openssl(&home, "pkcs7 -in chain.p7b -print_certs -noout");
    let order: Vec<&str> = subjects
        .lines()
        .filter(|line| line.starts_with("subject"))
        .collect();
    assert_eq!(
        order,
        [
            "subject=CN=sensor:1",
            "subject=CN=Factory",
            "subject=CN=Root"
        ]
    );

    same_key(
        &home,
        &format!("{leaf}.key.pem"),
        &format!("{leaf}.cert.pem"),
    );
    openssl(&home, &format!("pkey -in {leaf}.key.pem -check -noout"));
    same_key(&home, &home.key_of("root"), "root.pem");
    same_key(&home, &home.key_of("factory"), "factory.pem");
    sealed(&home, &home.key_of("root"));

    signs_a_request(&home, algorithm);
    proves_possession(&home);
}

fn home_of(algorithm: &str) -> Home {
    let home = Home::declaring(&format!(
        r#"
[authority.root]
subject = "CN=Root"
key = "{algorithm}"
validity = "10y"

[authority.factory]
issuer = "root"
subject = "CN=Factory"
key = "{algorithm}"
validity = "2y"
path-length = 0

[profile.device]
key = "{algorithm}"
validity = "90d"
extended-key-usage = ["client-auth"]
"#
    ));
    for name in ["root", "factory"] {
        let certificate = home.dps_pki(&format!("authority export {name}")).ok();
        home.write(&format!("{name}.pem"), certificate.stdout);
    }
    home
}

/// A device makes its own key with OpenSSL; only its name and its public key are taken.
fn signs_a_request(home: &Home, algorithm: &str) {
    let new_key = match algorithm.split_once('-') {
        Some(("rsa", bits)) => format!("-newkey rsa:{bits}"),
        Some((_, "p384")) => "-newkey ec -pkeyopt ec_paramgen_curve:P-384".to_owned(),
        Some((_, _)) => "-newkey ec -pkeyopt ec_paramgen_curve:P-256".to_owned(),
        None => format!("-newkey {algorithm}"),
    };
    let line = format!(
        "req -new {new_key} -nodes -subj /O=Elsewhere/CN=sensor-2 -keyout sensor-2.key -out sensor-2.csr"
    );
    openssl(home, &line);
    home.dps_pki("sign sensor-2.csr --authority factory --out signed")
        .ok();
    holds(home, "-untrusted factory.pem", "signed/sensor-2.cert.pem");
    same_key(home, "sensor-2.key", "signed/sensor-2.cert.pem");
    let subject = openssl(home, "x509 -in signed/sensor-2.cert.pem -noout -subject");
    assert_eq!(subject, "subject=CN=sensor-2\n");
    assert!(!home.path("signed/sensor-2.key.pem").exists());
}

/// The verification certificate has the code as its CN and stands below the CA that it is for.
fn proves_possession(home: &Home) {
    let code = "7A69A4702DA903A41C3A5BC5575A8E3F49BEC5E5BA2D4CE1";
    home.dps_pki(&format!("possession root {code} --out proof.pem"))
        .ok();
    openssl(home, "verify -x509_strict -CAfile root.pem proof.pem");
    let subject = openssl(home, "x509 -in proof.pem -noout -subject");
    assert_eq!(subject, format!("subject=CN={code}\n"));
    home.dps_pki(&format!("possession factory {code} --out below.pem"))
        .ok();
    openssl(
        home,
        "verify -x509_strict -CAfile root.pem -untrusted factory.pem below.pem",
    );
}

fn holds(home: &Home, intermediates: &str, certificate: &str) {
    let line = format!(
        "verify -x509_strict -purpose sslclient -CAfile root.pem {intermediates} {certificate}"
    );
    assert_eq!(openssl(home, &line), format!("{certificate}: OK\n"));
}

/// The key opens with the passphrase of the home, if it is encrypted, and is the certificate's.
fn same_key(home: &Home, key: &str, certificate: &str) {
    assert_eq!(
        openssl(
            home,
            &format!("pkey -in {key} -passin file:passphrase -pubout")
        ),
        openssl(home, &format!("x509 -in {certificate} -noout -pubkey")),
        "{key} is not the key of {certificate}"
    );
}

fn sealed(home: &Home, key: &str) {
    let refused = home.tool(
        "openssl",
        &format!("pkey -in {key} -passin pass:not-{PASSPHRASE} -noout"),
    );
    assert_ne!(refused.code, 0, "{refused}");
    let sealed = home.read(key);
    assert!(
        sealed.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"),
        "{sealed}"
    );
}

/// What OpenSSL prints. Versions differ in whether they put blanks around the `=` in names.
fn openssl(home: &Home, line: &str) -> String {
    home.tool("openssl", line).ok().stdout.replace(" = ", "=")
}

/// What begins before 1970 is read as it stands, everywhere, and OpenSSL has the word on its path.
#[test]
fn a_certificate_from_before_1970_is_read() {
    const OLD: &str = "2030-06-01T00:00:00Z";
    let home = Home::from_template("quickstart");
    home.write(
        "old.pem",
        include_str!("../fixtures/hostile/before-1970.cert.pem"),
    );
    let facts = home.dps_pki("inspect old.pem --output json").ok();
    facts.stdout_has("\"1950-01-01T12:01:00Z\"");
    home.dps_pki(&format!("verify old.pem --anchor old.pem --at {OLD}"))
        .ok();
    home.dps_pki("verify old.pem --anchor old.pem --at 1960-01-01T00:00:00Z")
        .ok();
    let early = home.dps_pki("verify old.pem --anchor old.pem --at 1950-01-01T12:00:59Z");
    assert!(
        early.code != 0 && early.to_string().contains("not valid before 1950-01-01"),
        "{early}"
    );
    let linted = home.dps_pki(&format!("lint old.pem --as leaf --at {OLD}"));
    assert!(
        linted.to_string().contains("a time before 1970"),
        "{linted}"
    );
    home.dps_pki("inventory import old.pem").ok();
    let listed = home.dps_pki("inventory show test-only-device").ok();
    assert!(listed.to_string().contains("2034-12-30"), "{listed}");
    home.dps_pki("convert old.pem --to der --out old.der").ok();
    home.dps_pki("audit verify").ok();
}
