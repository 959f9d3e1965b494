//! What rendering and sealing cost a device: cargo bench -p pki-core --bench render
//!
//! One thread, the best of nine rounds, a P-256 leaf under an intermediate and a root.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures, prints, and fails by panicking"
)]

#[path = "../tests/support.rs"]
mod support;

use std::hint::black_box;
use std::io::{Write as _, sink};
use std::time::Instant;

use pki_core::encoding::{Pfx, PfxEncryption};
use pki_core::handout::seal::{KeySealer, SealedWriter};
use pki_core::handout::{Device, DeviceFiles, Form, KeyForm, Rendered, Renderer, Shards};
use pki_core::key::software::SoftwareSigner;
use pki_core::key::{KeyAlgorithm, Signer as _};
use pki_core::secret::Passphrase;
use pki_core::testing::SeededEntropy;

fn main() {
    let root = support::root("root", KeyAlgorithm::EcdsaP384);
    let line = root.intermediate("line", KeyAlgorithm::EcdsaP256);
    let key = support::key(KeyAlgorithm::EcdsaP256);
    let public_key = SoftwareSigner::new(&key).expect("signer");
    let id = "factory-1-000042".parse().expect("id");
    let spec = support::leaf_spec(365);
    let serial = support::serial();
    let now = support::now();
    let public_key = public_key.public_key().to_vec();
    let issued = line
        .signing()
        .issue_leaf(&id, public_key, &spec, &serial, now)
        .expect("leaf");
    let device = Device {
        id: &id,
        index: 0,
        issued: &issued,
        key: Some(&key),
        labels: &[],
    };
    let issuers = [line.certificate.clone(), root.certificate.clone()];
    for (name, rounds, form) in forms() {
        let renderer = Renderer::new(form, &issuers);
        measure(name, rounds, || {
            let mut rendered = Rendered::default();
            let added = renderer.render(&device, &mut rendered);
            added.expect("rendered");
            drop(black_box(rendered));
        });
    }
    let recipient = age::x25519::Identity::generate().to_public();
    let recipients = [recipient.to_string().parse().expect("recipient")];
    let mut sealed = SealedWriter::new(sink(), &recipients).expect("sealed");
    let line = [b'x'; 2_600];
    measure("age, a line of 2 600 octets", 20_000, || {
        sealed.write_all(black_box(&line)).expect("written");
    });
}

fn forms() -> [(&'static str, u32, Form); 5] {
    let passphrase = || Passphrase::random(&SeededEntropy::new(1)).expect("entropy");
    let sealer = KeySealer::new(&passphrase(), &SeededEntropy::new(2)).expect("sealer");
    let pfx = Pfx {
        passphrase: passphrase(),
        encryption: PfxEncryption::Modern,
    };
    let pem = || DeviceFiles::Pem(KeyForm::Plain);
    [
        ("ndjson", 20_000, Form::Ndjson(KeyForm::Plain)),
        (
            "ndjson, keys sealed",
            20_000,
            Form::Ndjson(KeyForm::Encrypted(sealer)),
        ),
        ("tar", 20_000, Form::Tar(pem())),
        ("folder", 20_000, Form::Folder(pem(), Shards::of(1))),
        (
            "pfx, random passphrase",
            20,
            Form::Tar(DeviceFiles::Pfx(pfx)),
        ),
    ]
}

fn measure(name: &str, rounds: u32, mut work: impl FnMut()) {
    let round = |_| {
        let begun = Instant::now();
        (0..rounds).for_each(|_| work());
        begun.elapsed() / rounds
    };
    let best = (0..9).map(round).min().expect("rounds");
    println!("{name}: {:.2} us a device", best.as_secs_f64() * 1e6);
}
