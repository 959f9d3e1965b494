//! Authorities that others made are taken over, from the layouts of the tools that made them, and what
//! must match is checked by name. OpenSSL makes what is taken over, and judges what is issued below.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod issued;

use dps_pki_tests::{Home, PASSPHRASE};

const DECLARATION: &str = r#"
[authority.root]
subject = "CN=Old Root, O=Contoso"
key = "ecdsa-p256"
validity = "20y"

[authority.factory]
issuer = "root"
subject = "CN=Old Factory, O=Contoso"
key = "ecdsa-p256"
validity = "5y"
path-length = 0

[profile.device]
key = "ecdsa-p256"
validity = "30d"
extended-key-usage = ["client-auth"]
"#;

const ROOT: &str = "/O=Contoso/CN=Old Root";
const FACTORY: &str = "/O=Contoso/CN=Old Factory";
const CA: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n";

/// A home that declares two authorities, and a root and an intermediate of OpenSSL's in `old`.
fn home() -> Home {
    let home = Home::empty();
    home.write("pki.toml", DECLARATION);
    home.write("old/ca.ext", CA);
    key(&home, "root");
    key(&home, "factory");
    self_signed(&home, "old/ca.ext", "-days 3650");
    signed(&home, "factory", FACTORY, "old/ca.ext", "-days 365");
    home
}

fn key(home: &Home, name: &str) {
    let line = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256";
    home.tool("openssl", &format!("{line} -out old/{name}.key"))
        .ok();
}

/// Subjects have blanks, so that requests are made from a file.
fn request(home: &Home, name: &str, subject: &str) {
    let (organization, common) = subject[3..].split_once("/CN=").expect("O and CN");
    home.write(
        "old/request.cnf",
        format!("[req]\nprompt=no\nstring_mask=utf8only\ndistinguished_name=dn\n[dn]\nO={organization}\nCN={common}\n"),
    );
    let line = format!("req -new -config old/request.cnf -key old/{name}.key -out old/{name}.csr");
    home.tool("openssl", &line).ok();
}

fn self_signed(home: &Home, extensions: &str, days: &str) {
    request(home, "root", ROOT);
    let line = format!(
        "x509 -req -in old/root.csr -signkey old/root.key {days} -extfile {extensions} -out old/root.pem"
    );
    home.tool("openssl", &line).ok();
}

fn signed(home: &Home, name: &str, subject: &str, extensions: &str, days: &str) {
    request(home, name, subject);
    let line = format!(
        "x509 -req -in old/{name}.csr -CA old/root.pem -CAkey old/root.key {days} -extfile {extensions} -out old/{name}.pem"
    );
    home.tool("openssl", &line).ok();
}

fn import_both(home: &Home) {
    home.dps_pki("authority import root --cert old/root.pem --key old/root.key")
        .ok();
    home.dps_pki("authority import factory --cert old/factory.pem --key old/factory.key")
        .ok();
}

/// Issues a leaf by the factory, in which OpenSSL trusts by the old root alone.
#[track_caller]
fn issues_what_openssl_verifies(home: &Home) {
    home.dps_pki("issue sensor-1 --authority factory --out devices")
        .ok();
    let chain = "devices/sensor-1-full-chain.cert.pem";
    home.tool(
        "openssl",
        &format!(
            "verify -x509_strict -CAfile old/root.pem -untrusted {chain} devices/sensor-1.cert.pem"
        ),
    )
    .ok();
}

#[test]
fn an_imported_authority_issues_what_openssl_verifies() {
    let home = home();
    import_both(&home);
    let again = home.json("authority import root --cert old/root.pem --key old/root.key");
    assert_eq!(again[0]["status"], "exists");
    issues_what_openssl_verifies(&home);
    // The key lies here encrypted under the home's own passphrase, for its owner alone.
    let key = home.key_of("factory");
    assert!(
        home.read(&key)
            .starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    );
    assert_eq!(home.mode(&key), 0o600);
    home.tool(
        "openssl",
        &format!("pkey -in {key} -passin file:passphrase -noout -check"),
    )
    .ok();
    home.dps_pki("audit verify").ok();
}

/// Where the key is, by tool, and in what form: RSA in PKCS#1, SEC1, PKCS#8, PEM with its own
/// encryption, encrypted PKCS#8, PKCS#12 modern and legacy.
#[test]
fn every_layout_is_read() {
    let encrypted = format!("-passout pass:{PASSPHRASE}");
    let layouts = [
        // certGen.sh: encrypted PEM of either age; step: SEC1 with its own encryption; easy-rsa:
        // pki/private/ca.key in PKCS#8; XCA: PKCS#8 or PKCS#12.
        ("ec -in old/root.key -out new", ""),
        ("ec -in old/root.key -outform DER -out new", ""),
        ("ec -in old/root.key -aes256 {encrypted} -out new", "key"),
        ("pkcs8 -topk8 -in old/root.key -nocrypt -out new", ""),
        ("pkcs8 -topk8 -in old/root.key {encrypted} -out new", "key"),
        (
            "pkcs8 -topk8 -scrypt -in old/root.key {encrypted} -out new",
            "key",
        ),
        (
            "pkcs12 -export -in old/root.pem -inkey old/root.key {encrypted} -out new",
            "pfx",
        ),
        (
            "pkcs12 -export -legacy -provider-path /usr/lib/x86_64-linux-gnu/ossl-modules -in old/root.pem -inkey old/root.key {encrypted} -out new",
            "pfx",
        ),
    ];
    let made = home();
    for (line, kind) in layouts {
        made.tool("openssl", &line.replace("{encrypted}", &encrypted))
            .ok();
        let home = Home::with_declaration_of(&made);
        home.write("root.pem", made.read("old/root.pem"));
        home.write("key", std::fs::read(made.path("new")).expect("new"));
        let import = match kind {
            "" => "--cert root.pem --key key",
            "key" => "--cert root.pem --key key --key-passphrase file:passphrase",
            _ => "--pfx key --key-passphrase file:passphrase",
        };
        let row = home.json(&format!("authority import root {import}"));
        assert_eq!(row[0]["status"], "imported", "{line}");
        if !kind.is_empty() {
            home.write("wrong", "battery staple");
            let again = Home::with_declaration_of(&made);
            again.write("root.pem", made.read("old/root.pem"));
            again.write("key", std::fs::read(made.path("new")).expect("new"));
            again.write("wrong", "battery staple");
            let import = import.replace("file:passphrase", "file:wrong");
            let run = again.dps_pki(&format!("authority import root {import}"));
            run.refused(4, "does not open");
            let import = import.replace("--key-passphrase file:wrong", "");
            let run = again.dps_pki(&format!("authority import root {import}"));
            run.refused(4, "it is encrypted and needs a passphrase");
            assert!(
                !again
                    .files()
                    .iter()
                    .any(|file| file.starts_with("authorities"))
            );
        }
    }
}

#[test]
fn an_intermediate_brings_the_certificates_above_it_along() {
    let home = home();
    let alone = "authority import factory --cert old/factory.pem --key old/factory.key";
    let run = home.dps_pki(alone);
    run.stderr_has("with --chain");
    run.refused(
        4,
        "the certificate of its issuer CN=Old Root, O=Contoso is missing",
    );
    home.dps_pki(&format!("{alone} --chain old/root.pem")).ok();
    home.dps_pki("issue sensor-1 --authority factory --out devices")
        .ok();
    let chain = home.read("devices/sensor-1-full-chain.cert.pem");
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 3, "{chain}");
    assert!(chain.ends_with(&home.read("old/root.pem")));
    home.dps_pki("audit verify").ok();
}

#[test]
fn each_check_that_fails_is_named() {
    let home = home();
    let import = |cert: &str, key: &str| {
        home.dps_pki(&format!("authority import root --cert {cert} --key {key}"))
    };
    import("old/root.pem", "old/factory.key").refused(
        4,
        "old/root.pem: the key does not belong to the certificate",
    );
    let cases = [
        (
            "basicConstraints=critical,CA:FALSE\n",
            "-days 9",
            "it is not a CA's, basicConstraints does not say CA:TRUE",
        ),
        (
            "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,cRLSign\n",
            "-days 9",
            "its key usage lacks keyCertSign",
        ),
        (
            "basicConstraints=critical,CA:TRUE,pathlen:0\n",
            "-days 9",
            "its pathLen is 0, but 1 authority is to stand below it",
        ),
        (
            CA,
            "-not_before 20200101000000Z -not_after 20210101000000Z",
            "it expired at 2021-01-01T00:00:00Z",
        ),
    ];
    for (extensions, days, sentence) in cases {
        home.write("old/bad.ext", extensions);
        if days.starts_with("-days") {
            self_signed(&home, "old/bad.ext", days)
        } else {
            expired(&home)
        }
        import("old/root.pem", "old/root.key").refused(4, sentence);
    }
    // Case is no matter of the name (RFC 5280 §7.1), anything else is.
    home.redeclare("CN=Old Root, O=Contoso", "CN=Old roots, O=Contoso");
    self_signed(&home, "old/ca.ext", "-days 9");
    import("old/root.pem", "old/root.key").refused(
        4,
        r#"the subject is "CN=Old Root, O=Contoso", but "CN=Old roots, O=Contoso" is wanted"#,
    );
    // Several at once are counted, and listed.
    let run = import("old/root.pem", "old/factory.key");
    run.stderr_has("the key does not belong to the certificate");
    run.refused(4, "old/root.pem: 2 checks failed");
    assert!(
        !home
            .files()
            .iter()
            .any(|file| file.starts_with("authorities"))
    );
}

/// `openssl x509` takes no dates before version 3.4, `openssl ca` does.
fn expired(home: &Home) {
    home.write("old/index.txt", "");
    home.write("old/serial", "01");
    home.write("old/ca.cnf", "[ca]\ndefault_ca=d\n[d]\ndatabase=old/index.txt\nserial=old/serial\nnew_certs_dir=old\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\nO=supplied\nCN=supplied\n");
    home.tool("openssl", "ca -batch -config old/ca.cnf -selfsign -in old/root.csr -keyfile old/root.key -extfile old/ca.ext -startdate 20200101000000Z -enddate 20210101000000Z -notext -out old/root.pem").ok();
}

/// RFC 5280 §4.1.2.4: `openssl` writes PrintableString or UTF8String by configuration, and a chain in
/// which both occur fails in half of the verifiers.
#[test]
fn an_issuer_name_of_another_string_type_is_told() {
    let home = home();
    let printable = home
        .read("old/request.cnf")
        .replace("utf8only", "default")
        .replace("CN=Old Factory", "CN=Old Root");
    home.write("old/printable.cnf", printable);
    home.tool("openssl", "req -x509 -new -config old/printable.cnf -key old/root.key -days 99 -addext basicConstraints=critical,CA:TRUE -out old/other-root.pem").ok();
    let run = home.dps_pki("authority import factory --cert old/factory.pem --key old/factory.key --chain old/other-root.pem");
    run.refused(4, "which is not byte for byte");
}

#[test]
fn bad_files_get_one_sentence() {
    let home = home();
    home.write("empty", "");
    home.write("text", "hello");
    let root = "authority import root";
    for (line, code, sentence) in [
        (
            "authority import nobody --cert old/root.pem --key old/root.key",
            8,
            "pki.toml declares no authority nobody",
        ),
        (
            "authority import root --cert none --key old/root.key",
            8,
            "none does not exist",
        ),
        (
            "authority import root --cert old/root.key --key old/root.key",
            3,
            "it holds a private key (PRIVATE KEY) where a certificate is wanted",
        ),
        (
            "authority import root --cert old/root.pem --key old/root.pem",
            3,
            "it holds CERTIFICATE where a private key is wanted",
        ),
        (
            "authority import root --cert old/root.pem --key empty",
            3,
            "empty: it is empty",
        ),
        (
            "authority import root --cert text --key old/root.key",
            3,
            "text: it is neither PEM nor a certificate in DER",
        ),
        (
            "authority import root --pfx text --key-passphrase file:passphrase",
            3,
            "text: it is not a PKCS#12 file",
        ),
        ("authority import root --cert old/root.pem", 2, "--key"),
        (
            "authority import root --cert old/root.pem --pkcs11 pkcs11:object=x",
            3,
            "nothing says which PKCS#11 module speaks to the token",
        ),
        (
            "authority adopt factory --cert old/factory.pem",
            8,
            "no generation of authority factory waits for a certificate",
        ),
    ] {
        let run = home.dps_pki(line);
        assert_eq!(run.code, code, "{run}");
        assert!(
            run.stderr.contains(sentence),
            "{sentence:?} is not in: {run}"
        );
    }
    let hint = home.dps_pki("authority import nobody --cert old/root.pem --key old/root.key");
    assert!(
        hint.stderr.contains("[authority.nobody]")
            && hint
                .stderr
                .contains(r#"subject = "CN=Old Root, O=Contoso""#),
        "{hint}"
    );
    home.dps_pki(&format!("{root} --cert old/root.pem --key old/root.key"))
        .ok();
    key(&home, "root");
    self_signed(&home, "old/ca.ext", "-days 9");
    let run = home.dps_pki(&format!("{root} --cert old/root.pem --key old/root.key"));
    run.refused(4, "its generation 1 has another certificate and issues");
}

/// The root stays where no network is; its holder signs our request with OpenSSL.
#[test]
fn an_offline_root_signs_a_request_and_the_answer_is_adopted() {
    let home = home();
    home.dps_pki("authority request factory --out factory.csr")
        .ok();
    let first = home.read("factory.csr");
    home.dps_pki("authority request factory --out factory.csr")
        .ok();
    let text = home
        .tool("openssl", "req -in factory.csr -verify -noout -text")
        .ok();
    assert!(
        text.stdout.contains("CA:TRUE, pathlen:0")
            && text.stdout.contains("Certificate Sign, CRL Sign"),
        "{text}"
    );
    assert!(
        text.stdout
            .contains("Subject: CN = Old Factory, O = Contoso")
            || text
                .stdout
                .contains("Subject: O = Contoso, CN = Old Factory"),
        "{text}"
    );
    assert_ne!(first, "");
    let waiting = home.json("authority list");
    let statuses: Vec<_> = waiting
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["status"].clone())
        .collect();
    assert_eq!(statuses, ["not made yet", "requested"]);

    // The extensions are the signer's to choose: here those of an OpenSSL configuration.
    home.tool("openssl", "x509 -req -in factory.csr -CA old/root.pem -CAkey old/root.key -days 99 -extfile old/ca.ext -out factory.pem").ok();
    let other = home.dps_pki("authority adopt factory --cert old/factory.pem --chain old/root.pem");
    other.refused(4, "the key does not belong to the certificate");
    let adopt = "authority adopt factory --cert factory.pem --chain old/root.pem";
    assert_eq!(home.json(adopt)[0]["status"], "adopted");
    assert_eq!(home.json(adopt)[0]["status"], "exists");
    issues_what_openssl_verifies(&home);

    // A second generation waits beside the one that issues, until it is rolled in.
    home.dps_pki("authority request factory --out second.csr")
        .ok();
    home.tool("openssl", "x509 -req -in second.csr -CA old/root.pem -CAkey old/root.key -days 99 -extfile old/ca.ext -out second.pem").ok();
    home.dps_pki("authority adopt factory --cert second.pem --chain old/root.pem")
        .ok();
    let shown = home.json("authority show factory");
    assert_eq!(
        (&shown[0]["status"], &shown[1]["status"]),
        (&"current".into(), &"pending".into())
    );
    home.dps_pki("audit verify").ok();
}
