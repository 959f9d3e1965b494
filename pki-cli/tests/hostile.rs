//! Certificates of others (`fixtures/hostile`) and weak ones, through every command that reads some:
//! a verdict each, and no bug.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::World;

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/hostile");
    let files = std::fs::read_dir(folder).expect("fixtures");
    let files = files.map(|file| file.expect("a file").path());
    files
        .filter(|path| path.extension().is_some_and(|ending| ending == "pem"))
        .collect()
}

#[test]
fn no_certificate_of_others_is_a_bug() {
    let world = World::after(&["init", "authority create"]);
    let files = fixtures();
    assert!(files.len() > 15, "{files:?}");
    for file in files {
        let name = file
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        world.write(&name, std::fs::read(&file).expect("read"));
        for command in [
            "verify {} --anchor {}",
            "verify {} --anchor {} --lenient --purpose any",
            "verify {}",
            "inspect {}",
            "lint {}",
            "lint {} --role leaf",
            "explain --cert {}",
            "impact --cert {}",
            "inventory import {} --dry-run",
            "inventory import {} --yes",
            "inventory list",
            "convert {} --out converted.der --force",
        ] {
            for output in ["text", "json"] {
                let line = format!("{} --output {output}", command.replace("{}", &name));
                let run = world.run(&line);
                assert_ne!(run.code, 70, "{line}: {}", run.stderr);
            }
        }
    }
}

fn openssl(world: &World, line: &str) {
    let run = Command::new("openssl")
        .args(line.split(' '))
        .current_dir(world.path("."))
        .output()
        .expect("openssl");
    assert!(
        run.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
}

/// `--lenient` is about form alone: a signature that can be forged, or a key that can be broken, is none.
#[test]
fn what_is_weak_is_refused_with_and_without_lenient() {
    let strong = "ec -pkeyopt ec_paramgen_curve:P-256";
    for (what, root, leaf, digest, holds) in [
        ("nothing", strong, strong, "sha256", true),
        ("an MD5 signature", "rsa:2048", strong, "md5", false),
        ("a SHA-1 signature", "rsa:2048", strong, "sha1", false),
        (
            "an ECDSA signature with SHA-1",
            strong,
            strong,
            "sha1",
            false,
        ),
        ("a leaf with RSA-1024", strong, "rsa:1024", "sha256", false),
        ("a root with RSA-1024", "rsa:1024", strong, "sha256", false),
        (
            "a leaf with P-192",
            strong,
            "ec -pkeyopt ec_paramgen_curve:prime192v1",
            "sha256",
            false,
        ),
        (
            "a root with P-192",
            "ec -pkeyopt ec_paramgen_curve:prime192v1",
            strong,
            "sha256",
            false,
        ),
    ] {
        let world = World::new();
        world.write("leaf.ext", LEAF);
        for line in [
            format!(
                "req -x509 -newkey {root} -nodes -keyout root.key -subj /CN=root -days 36500 -sha256 -addext keyUsage=critical,keyCertSign -out root.pem"
            ),
            format!(
                "req -new -newkey {leaf} -nodes -keyout leaf.key -subj /CN=d-1 -sha256 -out leaf.csr"
            ),
            format!(
                "x509 -req -in leaf.csr -CA root.pem -CAkey root.key -CAcreateserial -days 36400 -{digest} -extfile leaf.ext -out leaf.pem"
            ),
        ] {
            openssl(&world, &line);
        }
        for lenient in ["", " --lenient"] {
            let line =
                format!("verify leaf.pem --anchor root.pem --at 2050-01-01T00:00:00Z{lenient}");
            let run = world.run(&line);
            let wanted = if holds { 0 } else { 4 };
            assert_eq!(
                run.code, wanted,
                "{what}{lenient}: {} {}",
                run.stdout, run.stderr
            );
        }
    }
}

const LEAF: &str = "basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=clientAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
";

/// CVE-2021-42574: a reader of the source must not see another text than the compiler.
#[test]
fn no_character_reorders_the_comment_of_a_header() {
    let world = World::new();
    openssl(
        &world,
        "req -x509 -newkey ed25519 -nodes -keyout x.key -utf8 -subj /CN=a\u{202e}b\u{2066}c\u{2028}d -days 9 -out x.pem",
    );
    let header = world.done("convert x.pem --to c-header").stdout;
    assert!(header.contains("CN=a_b_c_d"), "{header}");
}
