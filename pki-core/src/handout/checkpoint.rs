//! Checkpoints of the audit trail as small files, to be kept where the people of a home cannot change
//! them.
//!
//! A checkpoint names the last entry of a trail. A trail that holds that entry still is the one that it
//! was then, and has only grown since. Signed, it carries a detached JWS as batch manifests do
//! (`docs/decisions/0006-batch-manifests.md`), of a type of its own.

use serde::{Deserialize, Serialize};

use super::jws::{self, JwsError, Of};
use crate::certificate::Certificate;
use crate::ids::{AuthorityName, Generation, Sha256Thumbprint};
use crate::inventory::audit::{AuditHash, AuditHead};
use crate::key::Signer;
use crate::time::Time;

/// What a checkpoint states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Checkpoint {
    /// The form of checkpoint: [`Checkpoint::FORM`].
    pub checkpoint_version: u32,
    /// The number of the last entry.
    pub sequence: u64,
    /// Its hash.
    pub hash: AuditHash,
    /// How many certificates the inventory holds, voided ones included.
    pub certificates: u64,
    /// When the checkpoint was made.
    pub made_at: Time,
    /// What made it, with its version.
    pub tool: String,
    /// Who signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<CheckpointSigner>,
    /// The signature over all of the above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// The authority that signs a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckpointSigner {
    /// Its name.
    pub authority: AuthorityName,
    /// Which generation of it.
    pub generation: Generation,
    /// The SHA-256 thumbprint of that generation's certificate.
    pub certificate: Sha256Thumbprint,
}

/// Why an input is no checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointFileError {
    /// The input is something else.
    #[error("it is not an audit checkpoint")]
    Json(#[from] serde_json::Error),
    /// It is of a form that this version does not know.
    #[error(
        "the checkpoint is of form {version}; this version reads form {}",
        Checkpoint::FORM
    )]
    Version {
        /// The form it names.
        version: u32,
    },
}

impl Checkpoint {
    /// The form of checkpoint that this version writes and reads.
    pub const FORM: u32 = 1;

    /// Reads a checkpoint, signed or not. Nothing is verified yet.
    ///
    /// # Errors
    /// [`CheckpointFileError`].
    pub fn from_json(json: &[u8]) -> Result<Self, CheckpointFileError> {
        let checkpoint: Self = serde_json::from_slice(json)?;
        match checkpoint.checkpoint_version {
            Self::FORM => Ok(checkpoint),
            version => Err(CheckpointFileError::Version { version }),
        }
    }

    /// The entry that it names.
    pub fn head(&self) -> AuditHead {
        AuditHead {
            sequence: self.sequence,
            hash: self.hash,
        }
    }

    /// Signs it with an authority's key.
    ///
    /// # Errors
    /// [`JwsError`]: the certificate is another one, the key is not its, or the signer failed.
    pub fn sign(
        mut self,
        by: CheckpointSigner,
        certificate: &Certificate,
        signer: &dyn Signer,
    ) -> Result<Self, JwsError> {
        by.check(certificate)?;
        if certificate.public_key() != signer.public_key() {
            return Err(JwsError::KeyMismatch);
        }
        let thumbprint = by.certificate;
        self.signed_by = Some(by);
        let payload = self.canonical()?;
        let signature = jws::sign(Of::Checkpoint, payload.as_bytes(), &thumbprint, signer)?;
        self.signature = Some(signature);
        Ok(self)
    }

    /// Checks that the authority signed this, by a certificate that the caller trusts.
    ///
    /// # Errors
    /// [`JwsError`]: unsigned, changed, or signed by another.
    pub fn verify_signature(&self, certificate: &Certificate) -> Result<(), JwsError> {
        let signed = self.signature.as_deref().zip(self.signed_by.as_ref());
        let (signature, by) = signed.ok_or(JwsError::Unsigned)?;
        by.check(certificate)?;
        let payload = self.canonical()?;
        jws::verify(Of::Checkpoint, signature, payload.as_bytes(), certificate)
    }

    fn canonical(&self) -> Result<String, JwsError> {
        jws::canonical(&Self {
            signature: None,
            ..self.clone()
        })
    }
}

impl CheckpointSigner {
    fn check(&self, certificate: &Certificate) -> Result<(), JwsError> {
        let stated = self.certificate;
        let found = certificate.sha256_thumbprint();
        if stated == found {
            Ok(())
        } else {
            Err(JwsError::Authority { stated, found })
        }
    }
}
