//! ECDSA: signatures, and new keys that are encoded by patching.
//!
//! For each encoding of a key aws-lc computes the affine form of its public point anew, a field
//! inversion; a new pair has it at hand already. PKCS#8 and SubjectPublicKeyInfo of one curve differ
//! in scalar and point alone, both of fixed length. So the library encodes the first key of a
//! process, and the others are patched into what it made.
//! Invariant: byte for byte what the library encodes; a test holds both equal.

use std::ops::Range;
use std::sync::OnceLock;

use aws_lc_rs::digest::{Algorithm, digest};
use aws_lc_rs::encoding::{AsBigEndian as _, AsDer as _, EcPrivateKeyBin, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair as _,
};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Failed, Made};

pub(super) fn p256() -> Result<Made, Failed> {
    static STENCIL: OnceLock<Stencil> = OnceLock::new();
    make(&ECDSA_P256_SHA256_ASN1_SIGNING, &STENCIL)
}

pub(super) fn p384() -> Result<Made, Failed> {
    static STENCIL: OnceLock<Stencil> = OnceLock::new();
    make(&ECDSA_P384_SHA384_ASN1_SIGNING, &STENCIL)
}

fn make(
    algorithm: &'static EcdsaSigningAlgorithm,
    stencil: &OnceLock<Stencil>,
) -> Result<Made, Failed> {
    let pair = EcdsaKeyPair::generate(algorithm)?;
    if stencil.get().is_none() {
        // Of two threads that are first, either's will do.
        let _ = stencil.set(Stencil::of(&pair)?);
    }
    stencil.get().ok_or(Failed)?.stamp(&pair)
}

/// Signs the digest instead of the message: the library then copies no state of a hash for it.
pub(super) fn sign(
    pair: &EcdsaKeyPair,
    algorithm: &'static Algorithm,
    message: &[u8],
) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
    let signature = pair.sign_digest(&digest(algorithm, message))?;
    Ok(signature.as_ref().to_vec())
}

/// The encodings of a key, with the places of what differs from key to key.
struct Stencil {
    /// Zeros stand for the scalar.
    pkcs8: Vec<u8>,
    scalar: Range<usize>,
    point: Range<usize>,
    public_key: Vec<u8>,
    public_point: Range<usize>,
}

impl Stencil {
    fn of(pair: &EcdsaKeyPair) -> Result<Self, Failed> {
        let document = pair.to_pkcs8v1()?;
        let public_key: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
        let scalar = scalar_of(pair)?;
        let point = pair.public_key().as_ref();
        let scalar = place(document.as_ref(), scalar.as_ref())?;
        let mut pkcs8 = Zeroizing::new(document.as_ref().to_vec());
        // The stencil lives as long as the process, and this is the key of one device.
        pkcs8[scalar.clone()].zeroize();
        Ok(Self {
            point: place(&pkcs8, point)?,
            scalar,
            public_point: place(public_key.as_ref(), point)?,
            pkcs8: std::mem::take(&mut *pkcs8),
            public_key: public_key.as_ref().to_vec(),
        })
    }

    fn stamp(&self, pair: &EcdsaKeyPair) -> Result<Made, Failed> {
        let scalar = scalar_of(pair)?;
        let point = pair.public_key().as_ref();
        let mut made = Made::new(&self.pkcs8, &self.public_key);
        made.pkcs8[self.scalar.clone()].copy_from_slice(scalar.as_ref());
        made.pkcs8[self.point.clone()].copy_from_slice(point);
        made.public_key[self.public_point.clone()].copy_from_slice(point);
        Ok(made)
    }
}

/// The private scalar, big-endian, of fixed length; wiped when dropped.
fn scalar_of(pair: &EcdsaKeyPair) -> Result<EcPrivateKeyBin<'static>, Failed> {
    Ok(pair.private_key().as_be_bytes()?)
}

/// Where `part` stands; it is random, and cannot stand twice.
fn place(whole: &[u8], part: &[u8]) -> Result<Range<usize>, Failed> {
    let start = whole
        .windows(part.len())
        .position(|window| window == part)
        .ok_or(Failed)?;
    Ok(start..start + part.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_as_the_library_encodes_them() {
        for algorithm in [
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            &ECDSA_P384_SHA384_ASN1_SIGNING,
        ] {
            let pair = || EcdsaKeyPair::generate(algorithm).expect("a pair");
            let Ok(stencil) = Stencil::of(&pair()) else {
                panic!("no stencil of {algorithm:?}");
            };
            assert!(
                stencil.pkcs8[stencil.scalar.clone()]
                    .iter()
                    .all(|octet| *octet == 0)
            );
            // Enough that some scalars begin with a zero.
            for _ in 0..2000 {
                let pair = pair();
                let Ok(made) = stencil.stamp(&pair) else {
                    panic!("a pair does not fit");
                };
                let public_key: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("DER");
                assert_eq!(*made.pkcs8, pair.to_pkcs8v1().expect("DER").as_ref());
                assert_eq!(made.public_key, public_key.as_ref());
            }
        }
    }
}
