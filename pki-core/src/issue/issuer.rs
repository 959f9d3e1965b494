//! Who signs.

use crate::certificate::Certificate;
use crate::ids::{AuthorityName, Generation};
use crate::key::{SignatureAlgorithm, Signer};

use super::Request;

/// The signing side of an issuance: an authority's certificate, or a root's own request.
#[derive(Debug, Clone)]
pub struct Issuer {
    pub(super) name: AuthorityName,
    pub(super) generation: Generation,
    pub(super) algorithm: SignatureAlgorithm,
    pub(super) subject_der: Vec<u8>,
    pub(super) public_key: Vec<u8>,
    pub(super) certificate: Option<Certificate>,
}

impl Issuer {
    /// A generation of an authority that exists, with the signer of its key.
    pub fn authority(
        name: AuthorityName,
        generation: Generation,
        certificate: Certificate,
        signer: &dyn Signer,
    ) -> Self {
        Self {
            name,
            generation,
            algorithm: signer.signature_algorithm(),
            subject_der: certificate.subject().to_der(),
            public_key: certificate.public_key(),
            certificate: Some(certificate),
        }
    }

    /// A root about to sign itself.
    pub fn self_signed(
        name: AuthorityName,
        generation: Generation,
        request: &Request,
        signer: &dyn Signer,
    ) -> Self {
        Self {
            name,
            generation,
            algorithm: signer.signature_algorithm(),
            subject_der: request.subject.to_der(),
            public_key: signer.public_key().to_vec(),
            certificate: None,
        }
    }
}
