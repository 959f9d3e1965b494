//! Checking signatures of certificates, CSRs and proofs of possession.
//!
//! One signature at a time; whether a whole path holds is [`crate::path`]'s question.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, ID_EC_PUBLIC_KEY, ID_RSASSA_PSS,
    RSA_ENCRYPTION, SECP_256_R_1, SECP_384_R_1, SECP_521_R_1, SHA_256_WITH_RSA_ENCRYPTION,
    SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
};
use const_oid::db::rfc8410::ID_ED_25519;
use der::{Decode as _, Encode as _};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::pss::Pss;

/// Why a signature was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The algorithm is weak (SHA-1, MD5), unknown, or does not go with the key.
    #[error("the signature algorithm {algorithm} is not accepted with this kind of key")]
    Algorithm {
        /// Its object identifier.
        algorithm: ObjectIdentifier,
    },
    /// The public key cannot be read.
    #[error("the public key cannot be read")]
    PublicKey,
    /// The signature was not made by this key over this content, or the RSA key is under 2048 bits.
    #[error("the signature does not match the public key")]
    Mismatch,
}

/// Checks a signature by the key in `public_key` (SubjectPublicKeyInfo DER) over `message`.
///
/// # Errors
/// [`SignatureError`]: which of algorithm, key and signature is at fault.
pub fn verify(
    public_key: &[u8],
    algorithm: ObjectIdentifier,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let public_key =
        SubjectPublicKeyInfoRef::from_der(public_key).map_err(|_| SignatureError::PublicKey)?;
    verify_with(&public_key, algorithm, message, signature)
}

/// As [`verify`], by an algorithm with its parameters and a key that was taken apart.
pub(crate) fn verify_identified(
    public_key: &SubjectPublicKeyInfoRef<'_>,
    algorithm: &AlgorithmIdentifierRef<'_>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let is_pss = algorithm.oid == ID_RSASSA_PSS && public_key.algorithm.oid == RSA_ENCRYPTION;
    if !is_pss {
        return verify_with(public_key, algorithm.oid, message, signature);
    }
    let refused = SignatureError::Algorithm {
        algorithm: algorithm.oid,
    };
    let pss = Pss::of(algorithm.parameters).ok_or(refused)?;
    let public_key = public_key.to_der().map_err(|_| SignatureError::PublicKey)?;
    match pss.holds(&public_key, message, signature) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(SignatureError::Mismatch),
    }
}

fn verify_with(
    public_key: &SubjectPublicKeyInfoRef<'_>,
    algorithm: ObjectIdentifier,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let accepted =
        acceptable(public_key, algorithm).ok_or(SignatureError::Algorithm { algorithm })?;
    let key = public_key
        .subject_public_key
        .as_bytes()
        .ok_or(SignatureError::PublicKey)?;
    UnparsedPublicKey::new(accepted, key)
        .verify(message, signature)
        .map_err(|_| SignatureError::Mismatch)
}

fn acceptable(
    spki: &SubjectPublicKeyInfoRef<'_>,
    algorithm: ObjectIdentifier,
) -> Option<&'static dyn VerificationAlgorithm> {
    match spki.algorithm.oid {
        RSA_ENCRYPTION => match algorithm {
            SHA_256_WITH_RSA_ENCRYPTION => Some(&RSA_PKCS1_2048_8192_SHA256),
            SHA_384_WITH_RSA_ENCRYPTION => Some(&RSA_PKCS1_2048_8192_SHA384),
            SHA_512_WITH_RSA_ENCRYPTION => Some(&RSA_PKCS1_2048_8192_SHA512),
            _ => None,
        },
        ID_EC_PUBLIC_KEY => {
            let curve = spki.algorithm.parameters_oid().ok()?;
            match (curve, algorithm) {
                (SECP_256_R_1, ECDSA_WITH_SHA_256) => Some(&ECDSA_P256_SHA256_ASN1),
                (SECP_256_R_1, ECDSA_WITH_SHA_384) => Some(&ECDSA_P256_SHA384_ASN1),
                (SECP_384_R_1, ECDSA_WITH_SHA_256) => Some(&ECDSA_P384_SHA256_ASN1),
                (SECP_384_R_1, ECDSA_WITH_SHA_384) => Some(&ECDSA_P384_SHA384_ASN1),
                (SECP_521_R_1, ECDSA_WITH_SHA_256) => Some(&ECDSA_P521_SHA256_ASN1),
                (SECP_521_R_1, ECDSA_WITH_SHA_384) => Some(&ECDSA_P521_SHA384_ASN1),
                (SECP_521_R_1, ECDSA_WITH_SHA_512) => Some(&ECDSA_P521_SHA512_ASN1),
                _ => None,
            }
        }
        ID_ED_25519 if algorithm == ID_ED_25519 => Some(&ED25519),
        _ => None,
    }
}
