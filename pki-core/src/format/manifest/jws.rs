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

use super::ManifestError;
use crate::certificate::Certificate;
use crate::ids::Sha256Thumbprint;
use crate::key::{
    KeyError, SignatureAlgorithm, SignatureError, Signer, verify as verify_signature,
};

/// What a signature is of, so that none is taken for another (RFC 8725 §3.11).
const TYPE: &str = "dps-pki-batch-manifest";

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
    payload: &[u8],
    certificate: &Sha256Thumbprint,
    signer: &dyn Signer,
) -> Result<String, ManifestError> {
    let algorithm = Algorithm::of(signer.signature_algorithm());
    let header = Header {
        alg: algorithm,
        typ: TYPE.to_owned(),
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
    signature: &str,
    payload: &[u8],
    certificate: &Certificate,
) -> Result<(), ManifestError> {
    let broken = |problem| ManifestError::SignatureForm { problem };
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
    if header.typ != TYPE {
        return Err(broken("it is a signature of something else"));
    }
    let thumbprint = certificate.sha256_thumbprint();
    if decode(&header.certificate)? != thumbprint.as_octets() {
        return Err(broken("it names another certificate"));
    }
    let signature = decode(signature)?;
    let signature = match header.alg.width() {
        Some(width) => from_numbers(&signature, width)
            .ok_or(ManifestError::Signature(SignatureError::Mismatch))?,
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
    .map_err(ManifestError::Signature)
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
    let (r, s) = (BigNum::from_slice(r).ok()?, BigNum::from_slice(s).ok()?);
    EcdsaSig::from_private_components(r, s).ok()?.to_der().ok()
}
