//! Signing what was checked, once.

use std::sync::Arc;

use super::Issuer;
use crate::certificate::Certificate;
use crate::ids::{AuthorityGeneration, AuthorityName, LeafName, RegistrationId, SerialNumber};
use crate::key::{KeyError, SignatureError, Signer};
use crate::profile::Role;
use crate::signed::Signed;
use crate::time::Validity;

/// A certificate that passed every check and may be signed, once.
pub struct Linted {
    pub(super) role: Role,
    pub(super) leaf_name: Option<LeafName>,
    pub(super) serial_number: SerialNumber,
    pub(super) validity: Validity,
    pub(super) issuer: Arc<Issuer>,
    pub(super) tbs_der: Vec<u8>,
    pub(super) warnings: Vec<super::Finding>,
}

/// A signed certificate that the inventory does not know yet: nothing may write it out.
#[derive(Debug, Clone)]
pub struct Issued {
    certificate: Certificate,
    role: Role,
    leaf_name: Option<LeafName>,
    signed_by: AuthorityGeneration,
    warnings: Vec<super::Finding>,
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
    /// The result cannot be put together.
    #[error("the signed certificate cannot be encoded")]
    Encoding(#[source] der::Error),
}

impl Linted {
    /// What the checks found worth saying without refusing.
    pub fn warnings(&self) -> &[super::Finding] {
        &self.warnings
    }

    /// When it is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Signs, and verifies the signature with the issuer's public key.
    ///
    /// # Errors
    /// [`SignError`]; nothing was issued then.
    pub fn sign(self, signer: &dyn Signer) -> Result<Issued, SignError> {
        let issuer = Arc::clone(&self.issuer);
        let issued = self.sign_unverified(signer)?;
        issued
            .certificate
            .verify_signature(&issuer.public_key)
            .map_err(SignError::Signature)?;
        Ok(issued)
    }

    /// Signs without verifying the signature, which takes longer than making it. For bulk issuance,
    /// where one of each chunk is verified: a failing backend fails more than once.
    ///
    /// # Errors
    /// [`SignError`]; nothing was issued then.
    pub fn sign_unverified(self, signer: &dyn Signer) -> Result<Issued, SignError> {
        let issuer = &self.issuer;
        if signer.public_key() != issuer.public_key {
            return Err(SignError::KeyMismatch {
                authority: issuer.name.clone(),
            });
        }
        let signature = signer.sign(&self.tbs_der)?;
        let algorithm = issuer.algorithm.identifier();
        let der =
            Signed::assemble(&self.tbs_der, algorithm, &signature).map_err(SignError::Encoding)?;
        Ok(Issued {
            certificate: Certificate::just_signed(der, self.serial_number, self.validity),
            role: self.role,
            leaf_name: self.leaf_name,
            signed_by: AuthorityGeneration {
                name: issuer.name.clone(),
                generation: issuer.generation,
            },
            warnings: self.warnings,
        })
    }
}

impl Issued {
    /// The certificate; for looking at, not for handing out.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What the checks found worth saying without refusing.
    pub fn warnings(&self) -> &[super::Finding] {
        &self.warnings
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whose key signed it; a root's own for a root.
    pub fn signed_by(&self) -> &AuthorityGeneration {
        &self.signed_by
    }

    /// The device, if it is a leaf.
    pub fn registration_id(&self) -> Option<&RegistrationId> {
        self.leaf_name.as_deref()
    }

    /// The certificate, what it is for, whose key signed it, and the device if it is a leaf: for the
    /// inventory, which alone may take it apart.
    pub(crate) fn into_parts(
        self,
    ) -> (
        Certificate,
        Role,
        AuthorityGeneration,
        Option<RegistrationId>,
    ) {
        (
            self.certificate,
            self.role,
            self.signed_by,
            self.leaf_name.map(RegistrationId::from),
        )
    }
}
