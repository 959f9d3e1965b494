//! The algorithms: their names in `pki.toml`, and their identifiers in certificates.

use std::fmt;
use std::str::FromStr;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ID_EC_PUBLIC_KEY, RSA_ENCRYPTION, SECP_256_R_1,
    SECP_384_R_1, SHA_256_WITH_RSA_ENCRYPTION,
};
use const_oid::db::rfc8410::ID_ED_25519;
use der::Decode as _;
use der::asn1::{Any, Null, UintRef};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoRef};

use crate::text::serde_as_text;

/// A kind of key that we generate and sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256: the common choice for devices.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// Ed25519; Azure does not take it, other relying parties do.
    Ed25519,
    /// RSA with a modulus of 2048 bits.
    Rsa2048,
    /// RSA with a modulus of 3072 bits.
    Rsa3072,
    /// RSA with a modulus of 4096 bits.
    Rsa4096,
}

impl KeyAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 6] = [
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::Ed25519,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
    ];

    /// The name in `pki.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Ed25519 => "ed25519",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
        }
    }

    /// The kind of a public key in SubjectPublicKeyInfo DER, if it is one of ours.
    pub fn of_public_key(der: &[u8]) -> Option<Self> {
        let spki = SubjectPublicKeyInfoRef::from_der(der).ok()?;
        match (spki.algorithm.oid, spki.algorithm.parameters_oid().ok()) {
            (ID_EC_PUBLIC_KEY, Some(SECP_256_R_1)) => Some(Self::EcdsaP256),
            (ID_EC_PUBLIC_KEY, Some(SECP_384_R_1)) => Some(Self::EcdsaP384),
            (ID_ED_25519, None) => Some(Self::Ed25519),
            (RSA_ENCRYPTION, _) => {
                let key = RsaPublicKey::from_der(spki.subject_public_key.raw_bytes()).ok()?;
                match key.modulus.as_bytes().len() {
                    256 => Some(Self::Rsa2048),
                    384 => Some(Self::Rsa3072),
                    512 => Some(Self::Rsa4096),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// How a key of this kind signs.
    pub fn signature_algorithm(self) -> SignatureAlgorithm {
        match self {
            Self::EcdsaP256 => SignatureAlgorithm::EcdsaSha256,
            Self::EcdsaP384 => SignatureAlgorithm::EcdsaSha384,
            Self::Ed25519 => SignatureAlgorithm::Ed25519,
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => SignatureAlgorithm::RsaSha256,
        }
    }
}

/// RFC 8017 appendix A.1.1.
#[derive(der::Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

/// A name that is no key algorithm of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a key algorithm; known are ecdsa-p256, ecdsa-p384, ed25519, rsa-2048, rsa-3072 and rsa-4096"
)]
pub struct UnknownKeyAlgorithm(String);

impl FromStr for KeyAlgorithm {
    type Err = UnknownKeyAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownKeyAlgorithm> {
        let found = Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name);
        found.ok_or_else(|| UnknownKeyAlgorithm(name.to_owned()))
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

serde_as_text!(KeyAlgorithm);

/// A signature algorithm that we write into certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// ecdsa-with-SHA256 (RFC 5758 §3.2).
    EcdsaSha256,
    /// ecdsa-with-SHA384 (RFC 5758 §3.2).
    EcdsaSha384,
    /// id-Ed25519 (RFC 8410).
    Ed25519,
    /// sha256WithRSAEncryption (RFC 4055 §5).
    RsaSha256,
}

impl SignatureAlgorithm {
    /// The identifier inside and outside of what is signed: RSA with NULL, the others without
    /// parameters (RFC 4055 §5, RFC 5758 §3.2, RFC 8410 §3).
    pub fn identifier(self) -> AlgorithmIdentifierOwned {
        let oid: ObjectIdentifier = match self {
            Self::EcdsaSha256 => ECDSA_WITH_SHA_256,
            Self::EcdsaSha384 => ECDSA_WITH_SHA_384,
            Self::Ed25519 => ID_ED_25519,
            Self::RsaSha256 => SHA_256_WITH_RSA_ENCRYPTION,
        };
        let parameters = matches!(self, Self::RsaSha256).then(|| Any::from(Null));
        AlgorithmIdentifierOwned { oid, parameters }
    }
}
