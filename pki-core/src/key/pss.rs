//! RSASSA-PSS signatures by RSA keys (RFC 4055 §3.1), checked by OpenSSL: its own tools make the salt as
//! long as the key allows, which aws-lc does not take.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{ID_SHA_256, ID_SHA_384, ID_SHA_512};
use der::Sequence;
use der::asn1::AnyRef;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Verifier};
use spki::AlgorithmIdentifierRef;

/// RSASSA-PSS-params; what is left out is SHA-1 and a salt of its length.
#[derive(Sequence)]
struct Parameters<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    hash: Option<AlgorithmIdentifierRef<'a>>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    mask: Option<AlgorithmIdentifierRef<'a>>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    salt_length: Option<u16>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    trailer: Option<u8>,
}

/// How a signature is to be checked.
pub(super) struct Pss {
    digest: MessageDigest,
    salt_length: u16,
}

impl Pss {
    /// By the parameters of a signature algorithm, if its hashes are SHA-256 or better, and one.
    pub(super) fn of(parameters: Option<AnyRef<'_>>) -> Option<Self> {
        let read: Parameters<'_> = parameters?.decode_as().ok()?;
        let hash = read.hash?.oid;
        let mask: AlgorithmIdentifierRef<'_> = read.mask?.parameters?.decode_as().ok()?;
        let is_usual = mask.oid == hash && read.trailer.is_none_or(|trailer| trailer == 1);
        is_usual.then_some(Self {
            digest: digest(hash)?,
            salt_length: read.salt_length?,
        })
    }

    /// Whether the signature is that of an RSA key, as SubjectPublicKeyInfo DER, over a message.
    pub(super) fn holds(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, ErrorStack> {
        let key = PKey::public_key_from_der(public_key)?;
        let mut verifier = Verifier::new(self.digest, &key)?;
        verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
        verifier.set_rsa_mgf1_md(self.digest)?;
        verifier.set_rsa_pss_saltlen(RsaPssSaltlen::custom(self.salt_length.into()))?;
        verifier.verify_oneshot(signature, message)
    }
}

fn digest(oid: ObjectIdentifier) -> Option<MessageDigest> {
    match oid {
        ID_SHA_256 => Some(MessageDigest::sha256()),
        ID_SHA_384 => Some(MessageDigest::sha384()),
        ID_SHA_512 => Some(MessageDigest::sha512()),
        _ => None,
    }
}
