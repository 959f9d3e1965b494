//! Keys in memory: made, read and used by aws-lc, RSA keys made by graviola where the CPU allows.
//!
//! aws-lc is the fastest signer we measured, and the fastest to make EC and Ed25519 keys; its RSA
//! key generation is the slowest, so that goes to graviola on CPUs that have what it needs.
#![expect(
    clippy::disallowed_types,
    reason = "aws-lc's ECDSA and RSA signing take a source of randomness, and it uses its own"
)]

mod ecdsa;

use aws_lc_rs::digest::{SHA256, SHA384};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use const_oid::db::rfc5912::{ID_EC_PUBLIC_KEY, RSA_ENCRYPTION, SECP_256_R_1, SECP_384_R_1};
use const_oid::db::rfc8410::ID_ED_25519;
use der::Decode as _;
use pkcs8::PrivateKeyInfoRef;
use zeroize::Zeroizing;

use super::{KeyAlgorithm, KeyError, KeyGenerator, PrivateKey, Signer};

/// Makes keys in memory, from the library's own cryptographic randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SoftwareKeyGenerator;

impl KeyGenerator for SoftwareKeyGenerator {
    fn generate(&self, algorithm: KeyAlgorithm) -> Result<PrivateKey, KeyError> {
        let failed = |_| KeyError::Backend {
            action: "make a key",
        };
        let made = match algorithm {
            KeyAlgorithm::EcdsaP256 => ecdsa::p256(),
            KeyAlgorithm::EcdsaP384 => ecdsa::p384(),
            KeyAlgorithm::Ed25519 => ed25519(),
            KeyAlgorithm::Rsa2048 => rsa_key(2048),
            KeyAlgorithm::Rsa3072 => rsa_key(3072),
            KeyAlgorithm::Rsa4096 => rsa_key(4096),
        };
        let Made { pkcs8, public_key } = made.map_err(failed)?;
        Ok(PrivateKey {
            algorithm,
            pkcs8,
            public_key,
        })
    }
}

/// The backend's refusal; it tells no more.
struct Failed;

impl From<aws_lc_rs::error::Unspecified> for Failed {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self
    }
}

impl From<graviola::Error> for Failed {
    fn from(_: graviola::Error) -> Self {
        Self
    }
}

/// A new key. Its public half is taken before the pair is encoded: decoding it again costs as much as
/// making it.
struct Made {
    pkcs8: Zeroizing<Vec<u8>>,
    public_key: Vec<u8>,
}

impl Made {
    fn new(pkcs8: &[u8], public_key: &[u8]) -> Self {
        Self {
            pkcs8: Zeroizing::new(pkcs8.to_vec()),
            public_key: public_key.to_vec(),
        }
    }
}

fn ed25519() -> Result<Made, Failed> {
    let pair = Ed25519KeyPair::generate()?;
    let public_key: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
    Ok(Made::new(pair.to_pkcs8v1()?.as_ref(), public_key.as_ref()))
}

fn rsa_key(bits: u16) -> Result<Made, Failed> {
    if graviola::util::is_cpu_supported() {
        return rsa_by_graviola(bits);
    }
    let size = match bits {
        2048 => rsa::KeySize::Rsa2048,
        3072 => rsa::KeySize::Rsa3072,
        _ => rsa::KeySize::Rsa4096,
    };
    let pair = rsa::KeyPair::generate(size)?;
    let document: Pkcs8V1Der<'_> = pair.as_der()?;
    let public_key: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
    Ok(Made::new(document.as_ref(), public_key.as_ref()))
}

fn rsa_by_graviola(bits: u16) -> Result<Made, Failed> {
    use graviola::signing::rsa::{KeySize, SigningKey};
    let size = match bits {
        2048 => KeySize::Rsa2048,
        3072 => KeySize::Rsa3072,
        _ => KeySize::Rsa4096,
    };
    let key = SigningKey::generate(size)?;
    let mut buffer = Zeroizing::new([0; 4096]);
    let mut public_buffer = [0; 1024];
    let public_key = key.public_key().to_spki_der(&mut public_buffer)?;
    Ok(Made::new(key.to_pkcs8_der(&mut *buffer)?, public_key))
}

impl PrivateKey {
    /// Reads PKCS#8 DER and checks that it is a usable key.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] for other kinds of keys, and for broken ones; [`KeyError::ExplicitCurve`].
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        if has_explicit_curve(der) {
            return Err(KeyError::ExplicitCurve);
        }
        let pair = Pair::from_pkcs8(der)?;
        let public_key = pair.public_key().map_err(|_| KeyError::Unsupported)?;
        Ok(Self {
            algorithm: pair.algorithm(),
            pkcs8: Zeroizing::new(der.to_vec()),
            public_key: public_key.as_ref().to_vec(),
        })
    }
}

fn has_explicit_curve(pkcs8: &[u8]) -> bool {
    PrivateKeyInfoRef::try_from(pkcs8).is_ok_and(|key| {
        key.algorithm.oid == ID_EC_PUBLIC_KEY && key.algorithm.parameters_oid().is_err()
    })
}

/// A signer whose key is in memory.
pub struct SoftwareSigner {
    pair: Pair,
    public_key: Vec<u8>,
}

enum Pair {
    EcdsaP256(EcdsaKeyPair),
    EcdsaP384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(KeyAlgorithm, RsaKeyPair),
}

impl SoftwareSigner {
    /// Takes a key into use.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] if the backend does not accept it.
    pub fn new(key: &PrivateKey) -> Result<Self, KeyError> {
        let pair = Pair::from_pkcs8(key.expose_pkcs8_der())?;
        let public_key = pair.public_key().map_err(|_| KeyError::Unsupported)?;
        Ok(Self {
            pair,
            public_key: public_key.as_ref().to_vec(),
        })
    }
}

impl Signer for SoftwareSigner {
    fn key_algorithm(&self) -> KeyAlgorithm {
        self.pair.algorithm()
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |_| KeyError::Backend { action: "sign" };
        match &self.pair {
            Pair::EcdsaP256(pair) => ecdsa::sign(pair, &SHA256, message).map_err(failed),
            Pair::EcdsaP384(pair) => ecdsa::sign(pair, &SHA384, message).map_err(failed),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(_, pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let random = SystemRandom::new();
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
        }
    }
}

impl Pair {
    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let info = PrivateKeyInfoRef::from_der(der).map_err(|_| KeyError::Unsupported)?;
        let curve = info.algorithm.parameters_oid().ok();
        let pair = match (info.algorithm.oid, curve) {
            (ID_EC_PUBLIC_KEY, Some(SECP_256_R_1)) => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).map(Self::EcdsaP256)
            }
            (ID_EC_PUBLIC_KEY, Some(SECP_384_R_1)) => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, der).map(Self::EcdsaP384)
            }
            (ID_ED_25519, None) => Ed25519KeyPair::from_pkcs8(der).map(Self::Ed25519),
            (RSA_ENCRYPTION, _) => return Self::rsa(der),
            _ => return Err(KeyError::Unsupported),
        };
        pair.map_err(|_| KeyError::Unsupported)
    }

    fn rsa(der: &[u8]) -> Result<Self, KeyError> {
        let pair = RsaKeyPair::from_pkcs8(der).map_err(|_| KeyError::Unsupported)?;
        let algorithm = match pair.public_modulus_len() {
            256 => KeyAlgorithm::Rsa2048,
            384 => KeyAlgorithm::Rsa3072,
            512 => KeyAlgorithm::Rsa4096,
            _ => return Err(KeyError::Unsupported),
        };
        Ok(Self::Rsa(algorithm, pair))
    }

    fn algorithm(&self) -> KeyAlgorithm {
        match self {
            Self::EcdsaP256(_) => KeyAlgorithm::EcdsaP256,
            Self::EcdsaP384(_) => KeyAlgorithm::EcdsaP384,
            Self::Ed25519(_) => KeyAlgorithm::Ed25519,
            Self::Rsa(algorithm, _) => *algorithm,
        }
    }

    fn public_key(&self) -> Result<PublicKeyX509Der<'static>, aws_lc_rs::error::Unspecified> {
        match self {
            Self::EcdsaP256(pair) | Self::EcdsaP384(pair) => pair.public_key().as_der(),
            Self::Ed25519(pair) => pair.public_key().as_der(),
            Self::Rsa(_, pair) => pair.public_key().as_der(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::verify;

    #[test]
    fn every_algorithm_signs_what_its_public_key_verifies() {
        for algorithm in KeyAlgorithm::ALL {
            let key = SoftwareKeyGenerator.generate(algorithm).expect("key");
            let signer = SoftwareSigner::new(&key).expect("signer");
            assert_eq!(signer.key_algorithm(), algorithm);
            assert_eq!(signer.public_key(), key.public_key());
            let signature = signer.sign(b"message").expect("signature");
            let oid = signer.signature_algorithm().identifier().oid;
            assert_eq!(
                verify(signer.public_key(), oid, b"message", &signature),
                Ok(())
            );
            assert!(verify(signer.public_key(), oid, b"massage", &signature).is_err());
        }
    }

    #[test]
    fn a_broken_key_is_refused() {
        assert!(PrivateKey::from_pkcs8_der(&[0x30, 0]).is_err());
    }
}
