//! The limits: nothing but the cryptography of the same work, on all cores.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, Signature,
    UnparsedPublicKey,
};
use graviola::signing::rsa;

use crate::measure::{Spent, here};

/// About the length of what is signed of a leaf.
const MESSAGE: [u8; 430] = [7; 430];

/// What an authority signs with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Authority {
    P256,
    P384,
    Rsa2048,
    Rsa4096,
}

impl Authority {
    /// As `pki.toml` says it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::P256 => "ecdsa-p256",
            Self::P384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa4096 => "rsa-4096",
        }
    }

    /// Signs once with a key of this kind.
    fn signing(self) -> Box<dyn Fn() + Sync> {
        let random = SystemRandom::new();
        let ecdsa = |key: EcdsaKeyPair, random: SystemRandom| -> Box<dyn Fn() + Sync> {
            Box::new(move || {
                black_box(key.sign(&random, &MESSAGE).expect("signed"));
            })
        };
        let rsa = |size: KeySize, random: SystemRandom| -> Box<dyn Fn() + Sync> {
            let key = RsaKeyPair::generate(size).expect("a key");
            Box::new(move || {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, &MESSAGE, &mut signature)
                    .expect("signed");
                black_box(signature);
            })
        };
        match self {
            Self::P256 => ecdsa(pair(&ECDSA_P256_SHA256_ASN1_SIGNING), random),
            Self::P384 => ecdsa(pair(&ECDSA_P384_SHA384_ASN1_SIGNING), random),
            Self::Rsa2048 => rsa(KeySize::Rsa2048, random),
            Self::Rsa4096 => rsa(KeySize::Rsa4096, random),
        }
    }
}

/// P-256 keys made, and as many signatures by an authority.
pub(crate) fn keys_and_signatures(authority: Authority, devices: u64) -> Spent {
    let sign = authority.signing();
    on_all_cores(devices, || {
        black_box(pair(&ECDSA_P256_SHA256_ASN1_SIGNING));
        sign();
    })
}

/// P-256 signatures of requests verified, and as many signatures by a P-256 authority.
pub(crate) fn verifications_and_signatures(devices: u64) -> Spent {
    /// Enough that the processor does not learn their verifications by heart: one that is always
    /// the same takes four per cent less.
    const DIFFERENT: usize = 1000;
    let sign = Authority::P256.signing();
    let requests: Vec<SelfSigned> = (0..DIFFERENT).map(|_| SelfSigned::new()).collect();
    let next = AtomicUsize::new(0);
    on_all_cores(devices, || {
        requests[next.fetch_add(1, Ordering::Relaxed) % DIFFERENT].verify();
        sign();
    })
}

/// A message signed by the key that it is about.
struct SelfSigned {
    public_key: Vec<u8>,
    signature: Signature,
}

impl SelfSigned {
    fn new() -> Self {
        let key = pair(&ECDSA_P256_SHA256_ASN1_SIGNING);
        let signature = key.sign(&SystemRandom::new(), &MESSAGE);
        Self {
            public_key: key.public_key().as_ref().to_vec(),
            signature: signature.expect("signed"),
        }
    }

    fn verify(&self) {
        let public_key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.public_key);
        let verified = public_key.verify(&MESSAGE, self.signature.as_ref());
        verified.expect("its own signature");
    }
}

/// RSA-2048 keys made by graviola, the fastest library that was measured.
pub(crate) fn rsa_keys(devices: u64) -> Spent {
    on_all_cores(devices, || {
        let key = rsa::SigningKey::generate(rsa::KeySize::Rsa2048);
        drop(black_box(key.expect("a key")));
    })
}

fn on_all_cores(times: u64, work: impl Fn() + Sync) -> Spent {
    let workers = u64::try_from(workers()).expect("a few");
    here(|| {
        thread::scope(|scope| {
            for worker in 0..workers {
                let share = times / workers + u64::from(worker < times % workers);
                let work = &work;
                scope.spawn(move || (0..share).for_each(|_| work()));
            }
        });
    })
}

pub(crate) fn workers() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

fn pair(algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    EcdsaKeyPair::generate(algorithm).expect("a key")
}
