//! Signing what was checked, once.

use der::Encode as _;

use super::Issuer;
use crate::certificate::{Certificate, CertificateError};
use crate::ids::{AuthorityName, Generation, RegistrationId};
use crate::inventory::{AuthorityGeneration, NewCertificate};
use crate::key::{KeyError, SignatureError, Signer};
use crate::profile::Role;
use crate::signed::Signed;

/// A certificate that passed every check and may be signed, once.
pub struct Linted {
    pub(super) role: Role,
    pub(super) issuer: Issuer,
    pub(super) tbs_der: Vec<u8>,
    pub(super) warnings: Vec<super::Finding>,
}

/// A signed certificate that the inventory does not know yet: nothing may write it out.
#[derive(Debug, Clone)]
pub struct Issued {
    certificate: Certificate,
    role: Role,
    authority: AuthorityName,
    generation: Generation,
}

/// Why a checked certificate was not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The signer's key is not the one in the issuer's certificate.
    #[error("the key of authority {authority} does not belong to its certificate")]
    KeyMismatch {
        /// Whose key.
        authority: AuthorityName,
    },
    /// The backend failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signature does not verify with the issuer's public key: a failing backend.
    #[error("the new signature does not verify with the issuer's key; nothing was issued")]
    Signature(#[source] SignatureError),
    /// The result cannot be read back.
    #[error("the signed certificate cannot be read back")]
    Certificate(#[source] CertificateError),
    /// The result cannot be put together.
    #[error("the signed certificate cannot be encoded")]
    Encoding(#[source] der::Error),
}

impl Linted {
    /// What the checks found worth saying without refusing.
    pub fn warnings(&self) -> &[super::Finding] {
        &self.warnings
    }

    /// Signs, and verifies the signature with the issuer's public key.
    ///
    /// # Errors
    /// [`SignError`]; nothing was issued then.
    pub fn sign(self, signer: &dyn Signer) -> Result<Issued, SignError> {
        if signer.public_key() != self.issuer.public_key {
            return Err(SignError::KeyMismatch {
                authority: self.issuer.name,
            });
        }
        let signature = signer.sign(&self.tbs_der)?;
        let algorithm = self.issuer.algorithm.identifier();
        let der =
            Signed::assemble(&self.tbs_der, algorithm, &signature).map_err(SignError::Encoding)?;
        let certificate = Certificate::from_der(&der).map_err(SignError::Certificate)?;
        certificate
            .verify_signature(&self.issuer.public_key)
            .map_err(SignError::Signature)?;
        Ok(Issued {
            certificate,
            role: self.role,
            authority: self.issuer.name,
            generation: self.issuer.generation,
        })
    }
}

impl Issued {
    /// The certificate; for looking at, not for handing out.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The authority whose key signed it; a root's own name for a root.
    pub fn authority(&self) -> &AuthorityName {
        &self.authority
    }

    /// The generation of that authority.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The device, if it is a leaf.
    pub fn registration_id(&self) -> Option<RegistrationId> {
        let name = (self.role == Role::Leaf)
            .then(|| self.certificate.common_name())
            .flatten();
        name.and_then(|name| name.parse().ok())
    }
}

impl From<Issued> for NewCertificate {
    fn from(issued: Issued) -> Self {
        Self {
            registration_id: issued.registration_id(),
            certificate: issued.certificate,
            role: issued.role,
            signed_by: Some(AuthorityGeneration {
                name: issued.authority,
                generation: issued.generation,
            }),
            batch: None,
            label: None,
        }
    }
}

/// Whether two names are the same bytes.
pub(super) fn same_name(left: &x509_cert::name::Name, right: &[u8]) -> bool {
    left.to_der().is_ok_and(|der| der == right)
}

#[cfg(test)]
mod tests {
    use der::Decode as _;

    use super::same_name;
    use crate::name::DistinguishedName;

    #[test]
    fn names_are_compared_by_their_bytes() {
        let name: DistinguishedName = "CN=a".parse().expect("name");
        let parsed = x509_cert::name::Name::from_der(&name.to_der()).expect("name");
        assert!(same_name(&parsed, &name.to_der()));
        assert!(!same_name(&parsed, b"x"));
    }
}
