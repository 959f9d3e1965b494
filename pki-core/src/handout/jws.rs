//! JSON Web Signatures in compact form with the payload left out (RFC 7515 §7.1, appendix F).
//!
//! The algorithm must be the one that the authority's key signs with (RFC 8725 §3.1): ES256, ES384,
//! EdDSA (RFC 8037) or RS256. JWS writes ECDSA signatures as two numbers of fixed length
//! (RFC 7518 §3.4), certificates as DER; OpenSSL converts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use serde::{Deserialize, Serialize};

use crate::certificate::Certificate;
use crate::ids::Sha256Thumbprint;
use crate::key::{
    KeyError, SignatureAlgorithm, SignatureError, Signer, verify as verify_signature,
};

/// What a signature is of, so that none is taken for another (RFC 8725 §3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Manifest,
    Checkpoint,
}

impl Of {
    fn type_word(self) -> &'static str {
        match self {
            Self::Manifest => "dps-pki-batch-manifest",
            Self::Checkpoint => "dps-pki-audit-checkpoint",
        }
    }
}

/// Why something was not signed, or a signature is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// There is no signature.
    #[error("it is not signed")]
    Unsigned,
    /// The signature's form is broken or not one of ours.
    #[error("its signature cannot be read: {problem}")]
    Form {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The signature was not made by the authority's key over this content.
    #[error("it was changed after it was signed, or signed by another key")]
    Signature(#[source] SignatureError),
    /// The certificate is not the one that is named.
    #[error("it names the authority certificate {stated}, the one at hand is {found} (SHA-256)")]
    Authority {
        /// What is named.
        stated: Sha256Thumbprint,
        /// The certificate at hand.
        found: Sha256Thumbprint,
    },
    /// The key that was to sign is not that of the authority's certificate.
    #[error("the signing key does not belong to the authority's certificate")]
    KeyMismatch,
    /// The signer failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It has no JSON form; it cannot happen with what is signed.
    #[error("it has no JSON form")]
    Json(#[from] serde_json::Error),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: Algorithm,
    typ: String,
    /// The signer's certificate (RFC 7515 §4.1.8).
    #[serde(rename = "x5t#S256")]
    certificate: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Algorithm {
    ES256,
    ES384,
    EdDSA,
    RS256,
}

impl Algorithm {
    fn of(algorithm: SignatureAlgorithm) -> Self {
        match algorithm {
            SignatureAlgorithm::EcdsaSha256 => Self::ES256,
            SignatureAlgorithm::EcdsaSha384 => Self::ES384,
            SignatureAlgorithm::Ed25519 => Self::EdDSA,
            SignatureAlgorithm::RsaSha256 => Self::RS256,
        }
    }

    fn signature_algorithm(self) -> SignatureAlgorithm {
        match self {
            Self::ES256 => SignatureAlgorithm::EcdsaSha256,
            Self::ES384 => SignatureAlgorithm::EcdsaSha384,
            Self::EdDSA => SignatureAlgorithm::Ed25519,
            Self::RS256 => SignatureAlgorithm::RsaSha256,
        }
    }

    /// How many octets each of the two numbers of an ECDSA signature has.
    fn width(self) -> Option<usize> {
        match self {
            Self::ES256 => Some(32),
            Self::ES384 => Some(48),
            Self::EdDSA | Self::RS256 => None,
        }
    }
}

/// Signs a payload: `header..signature`.
pub(super) fn sign(
    of: Of,
    payload: &[u8],
    certificate: &Sha256Thumbprint,
    signer: &dyn Signer,
) -> Result<String, JwsError> {
    let algorithm = Algorithm::of(signer.signature_algorithm());
    let header = Header {
        alg: algorithm,
        typ: of.type_word().to_owned(),
        certificate: URL_SAFE_NO_PAD.encode(certificate.as_octets()),
    };
    let header = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header)?);
    let signature = signer.sign(signing_input(&header, payload).as_bytes())?;
    let signature = match algorithm.width() {
        Some(width) => to_numbers(&signature, width).map_err(|_| KeyError::Backend {
            action: "make an ECDSA signature in DER",
        })?,
        None => signature,
    };
    Ok(format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Verifies a signature of a payload with a certificate's key.
pub(super) fn verify(
    of: Of,
    signature: &str,
    payload: &[u8],
    certificate: &Certificate,
) -> Result<(), JwsError> {
    let broken = |problem| JwsError::Form { problem };
    let (header_text, signature) = signature
        .split_once("..")
        .ok_or_else(|| broken("it is not a detached JWS"))?;
    let decode = |text| {
        URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| broken("it is not base64url"))
    };
    let header: Header = serde_json::from_slice(&decode(header_text)?)
        .map_err(|_| broken("its header is not one of ours"))?;
    if header.typ != of.type_word() {
        return Err(broken("it is a signature of something else"));
    }
    let thumbprint = certificate.sha256_thumbprint();
    if decode(&header.certificate)? != thumbprint.as_octets() {
        return Err(broken("it names another certificate"));
    }
    let signature = decode(signature)?;
    let signature = match header.alg.width() {
        Some(width) => {
            from_numbers(&signature, width).ok_or(JwsError::Signature(SignatureError::Mismatch))?
        }
        None => signature,
    };
    let algorithm = header.alg.signature_algorithm().identifier().oid;
    let input = signing_input(header_text, payload);
    verify_signature(
        &certificate.public_key(),
        algorithm,
        input.as_bytes(),
        &signature,
    )
    .map_err(JwsError::Signature)
}

/// A document in the form that is signed: the members sorted by name, without white space (RFC 8785;
/// there are strings and small whole numbers only).
pub(super) fn canonical(document: &impl Serialize) -> Result<String, JwsError> {
    let mut value = serde_json::to_value(document)?;
    value.sort_all_objects();
    Ok(value.to_string())
}

/// What is signed (RFC 7515 §5.1). It begins with the base64 of `{`, as no certificate does, so that
/// the authority's key cannot be made to sign one by way of a manifest.
fn signing_input(header: &str, payload: &[u8]) -> String {
    format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload))
}

fn to_numbers(der: &[u8], width: usize) -> Result<Vec<u8>, ErrorStack> {
    let signature = EcdsaSig::from_der(der)?;
    let width = i32::try_from(width).unwrap_or(i32::MAX);
    let mut numbers = signature.r().to_vec_padded(width)?;
    numbers.extend(signature.s().to_vec_padded(width)?);
    Ok(numbers)
}

fn from_numbers(numbers: &[u8], width: usize) -> Option<Vec<u8>> {
    if numbers.len() != 2 * width {
        return None;
    }
    let (r, s) = numbers.split_at(width);
    let r = BigNum::from_slice(r).ok()?;
    let s = BigNum::from_slice(s).ok()?;
    EcdsaSig::from_private_components(r, s).ok()?.to_der().ok()
}
