//! Files of a device: in an archive, in a folder, as PKCS#12.

use pki_core::certificate::pem;
use pki_core::encoding::PfxEncryption;
use pki_core::handout::{Access, Device, DeviceFiles, Form, KeyForm, Renderer, Shards};
use pki_core::key::KeyAlgorithm;
use secrecy::ExposeSecret as _;

use crate::format::{
    Made, files, issuers, listed, pfx, public_key_of, random_passphrase, rendered, stream,
};
use crate::support::openssl;

fn archive(made: &[Made], form: fn() -> Form) -> Vec<u8> {
    let renderer = Renderer::new(form(), &issuers());
    let mut archive = Vec::new();
    for made in made {
        let piece = stream(made.rendered(&renderer), &made.recorded);
        assert_eq!(piece.len() % 512, 0, "a device's files are whole records");
        archive.extend(piece);
    }
    archive.extend(renderer.ending());
    archive
}

#[test]
fn gnu_tar_lists_and_reads_the_archive() {
    let colons = ":".repeat(63) + "x";
    let made = ["line-7:1", &colons].map(|id| Made::new(id, KeyAlgorithm::EcdsaP256));
    let archive = archive(&made, || Form::Tar(DeviceFiles::Pem(KeyForm::Plain)));
    let list = listed("tar", &["-tvf", "-"], &archive);
    let long = "%3A".repeat(63) + "x";
    let expected: Vec<(&str, String)> = ["line-7%3A1", &long]
        .into_iter()
        .flat_map(|id| {
            [
                ("-rw-------", format!("{id}.key.pem")),
                ("-rw-r--r--", format!("{id}.cert.pem")),
                ("-rw-r--r--", format!("{id}-full-chain.cert.pem")),
            ]
        })
        .collect();
    assert_eq!(list.lines().count(), expected.len(), "{list}");
    for (line, (mode, name)) in list.lines().zip(&expected) {
        assert!(line.starts_with(mode) && line.ends_with(name), "{line}");
        assert!(line.contains("2026-06-01 11:55"), "notBefore: {line}");
    }
    for (made, id) in made.iter().zip(["line-7%3A1", &long]) {
        let extract =
            |ending: &str| listed("tar", &["-xOf", "-", &format!("{id}{ending}")], &archive);
        check_files(
            made,
            &extract(".key.pem"),
            &extract(".cert.pem"),
            &extract("-full-chain.cert.pem"),
        );
    }
}

fn check_files(made: &Made, key: &str, certificate: &str, full_chain: &str) {
    let leaf = made.issued.certificate();
    assert_eq!(public_key_of(key.as_bytes(), None), leaf.public_key());
    assert_eq!(certificate, leaf.to_pem());
    let chain = pem::certificates(full_chain.as_bytes()).expect("chain");
    let [line, root] = issuers();
    assert_eq!(chain, [leaf.clone(), line, root]);
}

/// An archive that was cut short is truncated to the last device that was delivered, and goes on.
#[test]
fn an_archive_goes_on_where_it_was_cut() {
    let made = ["a", "b"].map(|id| Made::new(id, KeyAlgorithm::EcdsaP256));
    let form = || Form::Tar(DeviceFiles::Pem(KeyForm::Plain));
    let whole = archive(&made, form);
    let first = stream(
        made[0].rendered(&Renderer::new(form(), &issuers())),
        &made[0].recorded,
    );
    let mut cut = whole[..first.len() + 700].to_vec();
    cut.truncate(first.len());
    let again = Renderer::new(form(), &issuers());
    cut.extend(stream(made[1].rendered(&again), &made[1].recorded));
    cut.extend(again.ending());
    assert!(cut == whole, "the same devices make the same archive");
}

#[test]
fn a_folder_gets_the_tutorials_files_sharded_by_a_thousand() {
    let made = Made::new("line-7:1", KeyAlgorithm::EcdsaP256);
    let form = Form::Folder(DeviceFiles::Pem(KeyForm::Plain), Shards::of(12_000));
    let device = Device {
        index: 11_999,
        ..made.device()
    };
    let rendered = rendered(&Renderer::new(form, &issuers()), &device);
    let entries = files(rendered.expect("rendered"), &made.recorded);
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry.path.as_str(), entry.access))
        .collect();
    assert_eq!(
        told,
        [
            ("011/line-7%3A1.key.pem", Access::Secret),
            ("011/line-7%3A1.cert.pem", Access::Public),
            ("011/line-7%3A1-full-chain.cert.pem", Access::Public),
        ]
    );
    let text = |index: usize| std::str::from_utf8(&entries[index].content).expect("text");
    check_files(&made, text(0), text(1), text(2));
}

#[test]
fn openssl_opens_both_kinds_of_pkcs12_file() {
    let secret = random_passphrase().secret().expose_secret().to_owned();
    let source = format!("pass:{secret}");
    for (encryption, told) in [
        (
            PfxEncryption::Modern,
            [
                "PBES2, PBKDF2, AES-256-CBC, Iteration 1000, PRF hmacWithSHA256",
                "MAC: sha256, Iteration 1000",
            ],
        ),
        (
            PfxEncryption::Legacy,
            [
                "pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 1000",
                "MAC: sha1, Iteration 1000",
            ],
        ),
    ] {
        for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048] {
            let made = Made::new("line-7:1", algorithm);
            let form = Form::Folder(DeviceFiles::Pfx(pfx(encryption)), Shards::of(1));
            let entries = files(
                made.rendered(&Renderer::new(form, &issuers())),
                &made.recorded,
            );
            let [entry] = entries.as_slice() else {
                panic!("one file a device");
            };
            assert_eq!(
                (entry.path.as_str(), entry.access),
                ("line-7%3A1.pfx", Access::Secret)
            );
            let arguments = ["pkcs12", "-info", "-nodes", "-passin", &source];
            let output = openssl(&arguments, &entry.content);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            for told in told {
                assert!(said.contains(told), "{said}");
            }
            assert!(String::from_utf8_lossy(&output.stdout).contains("friendlyName: line-7:1"));
            let leaf = made.issued.certificate();
            assert_eq!(public_key_of(&output.stdout, None), leaf.public_key());
            // Blocks with attributes around them, the key last: only the certificates are wanted.
            let only = ["pkcs12", "-nokeys", "-passin", &source];
            let found = pem::certificates(&openssl(&only, &entry.content).stdout).expect("chain");
            let [line, root] = issuers();
            assert_eq!(found, [leaf.clone(), line, root]);
            let wrong = openssl(
                &["pkcs12", "-nodes", "-passin", "pass:wrong"],
                &entry.content,
            );
            assert!(!wrong.status.success());
        }
    }
}

#[test]
fn pkcs12_files_fit_into_an_archive() {
    let made = ["a", "b"].map(|id| Made::new(id, KeyAlgorithm::EcdsaP256));
    let archive = archive(&made, || {
        Form::Tar(DeviceFiles::Pfx(pfx(PfxEncryption::Modern)))
    });
    assert_eq!(listed("tar", &["-tf", "-"], &archive), "a.pfx\nb.pfx\n");
}
