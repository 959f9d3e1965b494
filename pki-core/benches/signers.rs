//! Signatures per second: a SoftHSM token beside keys in memory, by algorithm and number of threads.
//!
//! `cargo bench -p pki-core --bench signers`. The share says what of the software's rate is left when
//! the key is in the token; a hardware module has its own limit, which is measured with
//! `TEST_PKCS11_URI` (an object that exists, its PIN by `pin-source=env:NAME`) and `TEST_PKCS11_MODULE`.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints, measures time, and stops where it cannot go on"
)]

#[path = "../../tests/support/skip.rs"]
mod skip;
#[path = "../tests/support/softhsm.rs"]
mod softhsm;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pki_core::key::pkcs11::Module;
use pki_core::key::software::{SoftwareKeyGenerator, SoftwareSigner};
use pki_core::key::{KeyAlgorithm, KeyGenerator as _, Pkcs11Uri, Signer};
use pki_core::secret::SecretSource;
use secrecy::SecretString;
use softhsm::{PIN, SETTINGS, SoftHsm};

const MODULE: &str = "TEST_PKCS11_MODULE";
const URI: &str = "TEST_PKCS11_URI";
/// How long each figure is measured.
const SPAN: Duration = Duration::from_millis(1500);
/// About what is signed of a leaf.
const MESSAGE: [u8; 400] = [b'm'; 400];

fn main() {
    if let Some(module) = std::env::var_os(MODULE) {
        return measure(Path::new(&module));
    }
    let Some(softhsm) = SoftHsm::start() else {
        return;
    };
    softhsm.token("bench");
    let child = Command::new(std::env::current_exe().expect("this benchmark"))
        .env(SETTINGS, softhsm.settings())
        .env(MODULE, softhsm.module())
        .status();
    assert!(child.expect("started").success());
}

fn measure(module: &Path) {
    let module = Module::load(module).expect("the module");
    println!(
        "{:<12} {:>7} {:>12} {:>12} {:>6}",
        "KEY", "THREADS", "SOFTWARE/s", "TOKEN/s", "SHARE"
    );
    if let Ok(given) = std::env::var(URI) {
        let uri: Pkcs11Uri = given.parse().expect("a PKCS#11 URI");
        let found = module.find(&uri).expect("the token");
        let token = found.log_in(pin_of(&uri), 64).expect("logged in");
        return compare(&token.signer(&uri).expect("the key"));
    }
    let uri: Pkcs11Uri = "pkcs11:token=bench".parse().expect("a PKCS#11 URI");
    let found = module.find(&uri).expect("the token");
    let token = found
        .log_in(Some(SecretString::from(PIN)), 64)
        .expect("logged in");
    for algorithm in [
        KeyAlgorithm::EcdsaP256,
        KeyAlgorithm::EcdsaP384,
        KeyAlgorithm::Rsa2048,
        KeyAlgorithm::Rsa4096,
    ] {
        let object = uri.with_object(algorithm.to_string());
        compare(&token.generate(&object, algorithm).expect("a key"));
    }
}

fn pin_of(uri: &Pkcs11Uri) -> Option<SecretString> {
    match uri.pin_source.as_ref()? {
        SecretSource::Environment(name) => std::env::var(name).ok().map(SecretString::from),
        SecretSource::File(path) => {
            let content = std::fs::read_to_string(path).expect("the PIN file");
            Some(SecretString::from(content.trim_end()))
        }
    }
}

fn compare(token: &dyn Signer) {
    let algorithm = token.key_algorithm();
    let key = SoftwareKeyGenerator.generate(algorithm).expect("a key");
    let software = SoftwareSigner::new(&key).expect("a signer");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, cores, 4 * cores] {
        let software = rate(&software, threads);
        let token = rate(token, threads);
        let share = token / software;
        println!("{algorithm:<12} {threads:>7} {software:>12.0} {token:>12.0} {share:>6.2}");
    }
}

/// Signatures per second of some threads together.
fn rate(signer: &dyn Signer, threads: usize) -> f64 {
    let begin = Instant::now();
    let signed: u32 = std::thread::scope(|scope| {
        let work = || {
            let mut signed = 0;
            while begin.elapsed() < SPAN {
                signer.sign(&MESSAGE).expect("signed");
                signed += 1;
            }
            signed
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or(0))
            .sum()
    });
    f64::from(signed) / begin.elapsed().as_secs_f64()
}
