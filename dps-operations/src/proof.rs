//! Proofs of possession: the key of a generation is opened, and signs what DPS wants to see.

use pki_core::authority::{AdoptError, IssuancePolicy, PossessionError, SigningAuthority};
use pki_core::certificate::Certificate;
use pki_core::ids::{AuthorityName, Generation, Sha1Thumbprint};
use pki_core::inventory::{Inventory, InventoryError, Recorded};
use pki_core::key::Signer;
use pki_core::ports::EntropyError;

use crate::class::{Class, PortError};
use crate::ports::Keys;

/// Why possession of a CA's key was not proven.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The certificate is of no generation that the inventory has.
    #[error("no generation of authority {authority} has the certificate {sha1_thumbprint}")]
    NoGeneration {
        /// The authority.
        authority: AuthorityName,
        /// The certificate.
        sha1_thumbprint: Sha1Thumbprint,
    },
    /// The key was not opened.
    #[error(transparent)]
    Key(PortError),
    /// The key may not sign.
    #[error(transparent)]
    Authority(#[from] AdoptError),
    /// The proof was not made.
    #[error(transparent)]
    Possession(#[from] PossessionError),
    /// There was no serial number for it.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// Other runs cannot be told from this one.
    #[error(transparent)]
    Lock(PortError),
    /// The inventory was not read or written.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
}

impl ProofError {
    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::NoGeneration { .. } => Class::NotFound,
            Self::Key(error) | Self::Lock(error) => error.class,
            Self::Authority(_) => Class::InvalidInput,
            Self::Possession(error) => error.into(),
            Self::Entropy(_) => Class::Failed,
            Self::Inventory(error) => error.into(),
        }
    }
}

/// A generation of an authority with its key open.
pub(crate) struct OpenGeneration {
    name: AuthorityName,
    generation: Generation,
    certificate: Certificate,
    signer: Box<dyn Signer>,
}

impl OpenGeneration {
    /// Opens the generation of an authority that has a certificate.
    pub(crate) fn with_certificate(
        inventory: &dyn Inventory,
        keys: &dyn Keys,
        authority: &AuthorityName,
        sha1_thumbprint: &Sha1Thumbprint,
    ) -> Result<Self, ProofError> {
        let record = inventory.authority(authority)?;
        let generations = record.iter().flat_map(|record| &record.generations);
        for one in generations {
            let certificate = one.certificate.as_ref().map(Recorded::certificate);
            if let Some(certificate) = certificate
                && certificate.sha1_thumbprint() == *sha1_thumbprint
            {
                return Ok(Self {
                    name: authority.clone(),
                    generation: one.generation,
                    certificate: certificate.clone(),
                    signer: keys.open(&one.key_reference).map_err(ProofError::Key)?,
                });
            }
        }
        Err(ProofError::NoGeneration {
            authority: authority.clone(),
            sha1_thumbprint: *sha1_thumbprint,
        })
    }

    /// The authority, ready to sign.
    pub(crate) fn signing(
        &self,
        policy: IssuancePolicy,
    ) -> Result<SigningAuthority<'_>, ProofError> {
        Ok(SigningAuthority::new(
            self.name.clone(),
            self.generation,
            self.certificate.clone(),
            self.signer.as_ref(),
            policy,
        )?)
    }
}
