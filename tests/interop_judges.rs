//! Other judges accept what we issue, for every algorithm and paths of one to four authorities:
//! OpenSSL, GnuTLS `certtool`, Java PKIX, Python `cryptography`, pkilint. And what we revoke, OpenSSL
//! and `certtool` refuse by our CRL.
//!
//! A judge that is not installed is skipped and says so; in CI (`CI=true`) it must be there.
//! `DPS_PKI_PYTHON` names a Python that has `cryptography` and `pkilint`.

use std::path::PathBuf;
use std::process::Command;

use dps_pki_tests::skip::skip;
use dps_pki_tests::{Home, Run};

/// Authorities `ca-1` (the root) to `ca-DEPTH`, each below the one before.
fn home_of(algorithm: &str, depth: usize) -> Home {
    let mut declaration = format!(
        "[profile.device]\nkey = \"{algorithm}\"\nvalidity = \"90d\"\nextended-key-usage = [\"client-auth\"]\n"
    );
    for level in 1..=depth {
        let issuer = match level {
            1 => String::new(),
            _ => format!("issuer = \"ca-{}\"\n", level - 1),
        };
        declaration.push_str(&format!(
            "[authority.ca-{level}]\n{issuer}subject = \"CN=CA {level}, O=Contoso\"\nkey = \"{algorithm}\"\nvalidity = \"{}y\"\n",
            10 - level
        ));
    }
    let home = Home::declaring(&declaration);
    home.dps_pki(&format!(
        "issue sensor-1 --authority ca-{depth} --out devices"
    ))
    .ok();
    for level in 1..=depth {
        let certificate = home.dps_pki(&format!("authority export ca-{level}")).ok();
        home.write(&format!("ca-{level}.pem"), certificate.stdout);
    }
    let above: String = (2..=depth)
        .map(|level| home.read(&format!("ca-{level}.pem")))
        .collect();
    home.write("above.pem", above);
    home
}

const CHAIN: &str = "devices/sensor-1-full-chain.cert.pem";

#[test]
fn ecdsa_p256_is_accepted() {
    accepted("ecdsa-p256");
}

#[test]
fn ecdsa_p384_is_accepted() {
    accepted("ecdsa-p384");
}

#[test]
fn ed25519_is_accepted() {
    accepted("ed25519");
}

#[test]
fn rsa_2048_is_accepted() {
    accepted("rsa-2048");
}

#[test]
fn rsa_3072_is_accepted() {
    accepted("rsa-3072");
}

#[test]
fn rsa_4096_is_accepted() {
    accepted("rsa-4096");
}

/// Every judge that is there sees the same paths, of one to four authorities.
fn accepted(algorithm: &str) {
    let gnutls = is_there("certtool", &["--version"]);
    let java = is_there("keytool", &["-help"]);
    let pkilint = python("import pkilint");
    let python = python("import cryptography.x509.verification as v; v.ExtensionPolicy");
    let mut written = Vec::new();
    let homes = [1, 2, 3, 4].map(|depth| home_of(algorithm, depth));
    for (home, depth) in homes.iter().zip(1..) {
        let what = format!("{algorithm}, {depth} authorities");
        judged_by_openssl(home, &what);
        if gnutls {
            judged_by_gnutls(home, &what);
        }
        if java {
            judged_by_java(home, &what);
        }
        // Its policy is that of the public web, which has no Ed25519.
        if let Some(python) = python.as_deref().filter(|_| algorithm != "ed25519") {
            judged_by_python(home, python, &what);
        }
        written.extend(written_by(home, depth));
    }
    if let Some(python) = pkilint {
        let run = run_pkilint(&homes[0], &python, &written);
        let nothing = format!("{} judged, 0 objected to", written.len());
        assert_eq!((run.code, run.stdout.trim()), (0, &*nothing), "{run}");
    }
}

/// Everything for pkilint to read: the leaf, its authorities, and the CRL of the one that issued it.
fn written_by(home: &Home, depth: usize) -> Vec<PathBuf> {
    let crl = format!("ca-{depth}.crl");
    home.dps_pki(&format!("crl ca-{depth} --out {crl}")).ok();
    let authorities = (1..=depth).map(|level| format!("ca-{level}.pem"));
    let files = authorities.chain([crl, "devices/sensor-1.cert.pem".to_owned()]);
    files.map(|file| home.path(file)).collect()
}

/// pkilint takes long to start, so that it is started once for many files.
fn run_pkilint(home: &Home, python: &str, files: &[PathBuf]) -> Run {
    home.write("lint.py", include_str!("support/lint.py"));
    let files: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    home.tool(python, &format!("lint.py {}", files.join(" ")))
}

fn judged_by_gnutls(home: &Home, what: &str) {
    let line =
        format!("--verify --load-ca-certificate ca-1.pem --verify-profile medium --infile {CHAIN}");
    let run = home.tool("certtool", &line);
    assert!(
        run.code == 0 && run.stdout.contains("Chain verification output: Verified"),
        "{what}: {run}"
    );
}

fn judged_by_openssl(home: &Home, what: &str) {
    let untrusted = if home.read("above.pem").is_empty() {
        ""
    } else {
        "-untrusted above.pem"
    };
    let line = format!(
        "verify -x509_strict -purpose sslclient -CAfile ca-1.pem {untrusted} devices/sensor-1.cert.pem"
    );
    let run = home.tool("openssl", &line);
    assert_eq!(run.code, 0, "{what}: {run}");
}

/// `keytool` builds and validates the path by PKIX before it imports a reply chain.
fn judged_by_java(home: &Home, what: &str) {
    let store = "-keystore trust.p12 -storetype PKCS12 -storepass changeit -noprompt";
    home.tool(
        "keytool",
        &format!("-importcert -alias root -file ca-1.pem {store}"),
    )
    .ok();
    let printed = home
        .tool("keytool", &format!("-printcert -file {CHAIN}"))
        .ok();
    assert!(printed.stdout.contains("CN=sensor-1"), "{what}: {printed}");
    home.tool("openssl", &format!("pkcs12 -export -inkey devices/sensor-1.key.pem -in {CHAIN} -name device -passout pass:changeit -out device.p12")).ok();
    let certified = home.tool(
        "keytool",
        "-certreq -alias device -keystore device.p12 -storepass changeit -file device.csr",
    );
    certified.ok();
    let import = format!(
        "-importcert -alias device -file {CHAIN} -keystore device.p12 -storepass changeit -trustcacerts -noprompt"
    );
    home.tool(
        "keytool",
        "-importcert -alias root -file ca-1.pem -keystore device.p12 -storepass changeit -noprompt",
    )
    .ok();
    let run = home.tool("keytool", &import);
    assert_eq!(run.code, 0, "{what}: {run}");
}

fn judged_by_python(home: &Home, python: &str, what: &str) {
    home.write("judge.py", include_str!("support/judge.py"));
    let run = home.tool(python, &format!("judge.py {CHAIN} ca-1.pem"));
    assert_eq!(run.code, 0, "{what}: {run}");
}

/// That it finds nothing in ours says something only if it finds what is there.
#[test]
fn pkilint_objects_to_what_is_wrong() {
    let Some(python) = python("import pkilint") else {
        return;
    };
    let home = Home::empty();
    let hostile = include_str!("../fixtures/hostile/encipherment-on-ec.cert.pem");
    home.write("hostile.pem", hostile);
    let run = run_pkilint(&home, &python, &[home.path("hostile.pem")]);
    run.stdout_has("1 judged, 1 objected to");
}

#[test]
fn openssl_and_gnutls_refuse_what_our_crl_revokes() {
    let home = home_of("ecdsa-p256", 2);
    for name in ["ca-1", "ca-2"] {
        home.dps_pki(&format!("crl {name} --out {name}.crl")).ok();
    }
    let openssl = "verify -crl_check_all -x509_strict -CAfile ca-1.pem -untrusted above.pem -CRLfile ca-1.crl -CRLfile ca-2.crl devices/sensor-1.cert.pem";
    home.tool("openssl", openssl).ok();
    home.dps_pki("revoke sensor-1 --reason keyCompromise --yes")
        .ok();
    home.dps_pki("crl ca-2 --out ca-2.crl --force").ok();
    let refused = home.tool("openssl", openssl);
    assert!(
        refused.code != 0 && refused.stderr.contains("certificate revoked"),
        "{refused}"
    );
    if !is_there("certtool", &["--version"]) {
        return;
    }
    home.tool(
        "certtool",
        "--verify-crl --load-ca-certificate ca-2.pem --infile ca-2.crl",
    )
    .ok();
    let printed = home.tool("certtool", "--crl-info --infile ca-2.crl").ok();
    printed.stdout_has("Revoked certificates (1)");
    let line =
        format!("--verify --load-ca-certificate ca-1.pem --load-crl ca-2.crl --infile {CHAIN}");
    let refused = home.tool("certtool", &line);
    assert!(
        refused.code != 0 && refused.to_string().to_lowercase().contains("revoked"),
        "{refused}"
    );
}

/// Whether a program can be run. In CI it must be.
fn is_there(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    let there = output.is_ok_and(|output| output.status.success());
    if !there {
        skip(&format!("{program} {}", arguments.join(" ")));
    }
    there
}

/// A Python that can import something.
fn python(imports: &str) -> Option<String> {
    let python = std::env::var("DPS_PKI_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    is_there(&python, &["-c", imports]).then_some(python)
}
