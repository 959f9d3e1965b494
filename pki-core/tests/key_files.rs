//! Private keys in every form that OpenSSL writes, and has written: each opens with its passphrase,
//! and with no other.

#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that cannot be set up has failed; OpenSSL leaves its files for the test to read"
)]

use std::path::Path;
use std::process::Command;

use pki_core::key::{KeyFileError, PrivateKey, read_private_key, to_encrypted_pem};
use pki_core::testing::SeededEntropy;
use secrecy::SecretString;

const P256: &[&str] = &[
    "genpkey",
    "-algorithm",
    "EC",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
];
const RSA: &[&str] = &[
    "genpkey",
    "-algorithm",
    "RSA",
    "-pkeyopt",
    "rsa_keygen_bits:2048",
];
const P521: &[&str] = &[
    "genpkey",
    "-algorithm",
    "EC",
    "-pkeyopt",
    "ec_paramgen_curve:P-521",
];

/// A folder with one key in plain PKCS#8, to be rewritten by OpenSSL.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new(generate: &[&str]) -> Self {
        let bench = Self(tempfile::tempdir().expect("folder"));
        let mut generate = generate.to_vec();
        generate.extend(["-out", "plain.pem"]);
        bench.openssl(&generate);
        bench
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn openssl(&self, words: &[&str]) {
        let output = Command::new("openssl")
            .args(words)
            .current_dir(self.path())
            .output();
        let output = output.expect("openssl");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {words:?}: {said}");
    }

    /// What OpenSSL makes of the key.
    fn rewritten(&self, words: &[&str]) -> Vec<u8> {
        let mut words = words.to_vec();
        words.extend(["-in", "plain.pem", "-out", "other"]);
        self.openssl(&words);
        std::fs::read(self.path().join("other")).expect("written")
    }

    fn plain(&self) -> PrivateKey {
        let content = std::fs::read(self.path().join("plain.pem")).expect("plain");
        read_private_key(&content, None).expect("a plain key")
    }
}

fn opens(content: &[u8], passphrase: &str) -> Result<PrivateKey, KeyFileError> {
    read_private_key(content, Some(&SecretString::from(passphrase)))
}

/// RFC 8018, and RFC 7292 appendix C: the schemes of `openssl pkcs8`.
#[test]
fn encrypted_pkcs8_opens_whatever_its_scheme() {
    let legacy = ["-provider", "legacy", "-provider", "default"];
    let schemes: [&[&str]; 12] = [
        &["-v2", "aes-256-cbc"],
        &["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"],
        &[
            "-v2",
            "aes-192-cbc",
            "-v2prf",
            "hmacWithSHA512",
            "-iter",
            "100000",
        ],
        &["-v2", "des3"],
        &["-v2", "camellia-256-cbc"],
        &["-scrypt"],
        &["-v1", "PBE-SHA1-3DES"],
        &["-v1", "PBE-MD5-DES"],
        &["-v1", "PBE-SHA1-DES"],
        &["-v1", "PBE-SHA1-RC2-40"],
        &["-v1", "PBE-SHA1-RC4-128"],
        &["-v1", "PBE-SHA1-2DES"],
    ];
    let bench = Bench::new(P256);
    let plain = bench.plain();
    for scheme in schemes {
        for form in ["PEM", "DER"] {
            let mut words = vec![
                "pkcs8",
                "-topk8",
                "-passout",
                "pass:correct horse",
                "-outform",
                form,
            ];
            words.extend(scheme.iter().chain(&legacy));
            let content = bench.rewritten(&words);
            let key = opens(&content, "correct horse")
                .unwrap_or_else(|error| panic!("{scheme:?} {form}: {error}"));
            assert_eq!(key.public_key(), plain.public_key(), "{scheme:?} {form}");
            let wrong = opens(&content, "battery staple").err();
            assert_eq!(
                wrong,
                Some(KeyFileError::WrongPassphrase),
                "{scheme:?} {form}"
            );
            let none = read_private_key(&content, None).err();
            assert_eq!(
                none,
                Some(KeyFileError::PassphraseNeeded),
                "{scheme:?} {form}"
            );
        }
    }
}

/// RFC 8017 appendix A.1.2, RFC 5915, RFC 1421: what OpenSSL 1.0 and 1.1 wrote without being asked.
#[test]
fn traditional_forms_open() {
    for (generate, tool) in [(RSA, "rsa"), (P256, "ec")] {
        let bench = Bench::new(generate);
        let plain = bench.plain();
        let traditional: &[&str] = if tool == "rsa" {
            &["rsa", "-traditional"]
        } else {
            &["ec"]
        };
        for form in ["PEM", "DER"] {
            let mut words = traditional.to_vec();
            words.extend(["-outform", form]);
            let content = bench.rewritten(&words);
            let key = read_private_key(&content, None).expect("opens");
            assert_eq!(key.public_key(), plain.public_key(), "{tool} {form}");
        }
        for cipher in ["-aes256", "-aes128", "-des3", "-des"] {
            let mut words = traditional.to_vec();
            words.extend([cipher, "-passout", "pass:correct horse"]);
            words.extend(["-provider", "legacy", "-provider", "default"]);
            let content = bench.rewritten(&words);
            let text = String::from_utf8_lossy(&content);
            assert!(text.contains("Proc-Type: 4,ENCRYPTED"), "{text}");
            let key = opens(&content, "correct horse").expect("opens");
            assert_eq!(key.public_key(), plain.public_key(), "{tool} {cipher}");
            let none = read_private_key(&content, None).err();
            assert_eq!(none, Some(KeyFileError::PassphraseNeeded));
            assert_eq!(
                opens(&content, "staple").err(),
                Some(KeyFileError::WrongPassphrase)
            );
        }
    }
}

/// `openssl ecparam -genkey` writes the curve in front of the key, editors write CRLF.
#[test]
fn what_stands_around_a_key_does_not_matter() {
    let bench = Bench::new(P256);
    bench.openssl(&[
        "ecparam",
        "-name",
        "prime256v1",
        "-genkey",
        "-out",
        "both.pem",
    ]);
    let content = std::fs::read_to_string(bench.path().join("both.pem")).expect("written");
    assert!(content.starts_with("-----BEGIN EC PARAMETERS"));
    let key = read_private_key(content.as_bytes(), None).expect("opens");
    let windows = format!("\u{feff}{}", content.replace('\n', "\r\n"));
    let same = read_private_key(windows.as_bytes(), None).expect("opens");
    assert_eq!(key.public_key(), same.public_key());
}

#[test]
fn a_key_of_another_kind_is_named_as_such_even_behind_the_right_passphrase() {
    let bench = Bench::new(P521);
    let content = bench.rewritten(&["pkcs8", "-topk8", "-passout", "pass:x"]);
    let refused = opens(&content, "x").err().expect("refused");
    assert!(matches!(refused, KeyFileError::Key(_)), "{refused}");
    let content = bench.rewritten(&["ec"]);
    let refused = read_private_key(&content, None).err().expect("refused");
    assert!(matches!(refused, KeyFileError::Key(_)), "{refused}");
}

/// OpenSSL 3 and 1.1 both open PBES2 with HMAC-SHA-256 and AES-256-CBC.
#[test]
fn openssl_opens_what_is_written() {
    let bench = Bench::new(P256);
    let passphrase = SecretString::from("correct horse");
    let pem =
        to_encrypted_pem(&bench.plain(), &passphrase, &SeededEntropy::new(1)).expect("written");
    std::fs::write(bench.path().join("ours.pem"), pem).expect("file");
    bench.openssl(&[
        "pkey",
        "-in",
        "ours.pem",
        "-passin",
        "pass:correct horse",
        "-noout",
        "-check",
    ]);
}
