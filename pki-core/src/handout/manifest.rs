//! The manifest of a batch: what was issued, by whom, and the digest of the output.
//!
//! A manifest is a JSON object that people can read. Signed, it has one more member: a JWS over the
//! canonical form of all the others (RFC 8785), detached (RFC 7515 appendix F). Why not CMS is in
//! `docs/decisions/0006-batch-manifests.md`.
//! Not here: where the output and the authority's certificate come from.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::digest::{OutputDigest, OutputHash};
use super::jws::{self, JwsError, Of};
use crate::certificate::Certificate;
use crate::ids::{AuthorityName, Generation, ProfileName, SerialNumber, Sha256Thumbprint};
use crate::inventory::Label;
use crate::key::{KeyError, SignatureError, Signer};
use crate::text::serde_as_text;
use crate::time::Time;

serde_as_text!(Label);

/// What a batch's manifest states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The form of manifest: [`Manifest::FORM`].
    pub manifest_version: u32,
    /// The batch's name.
    pub batch: Label,
    /// Who signed the certificates.
    pub authority: AuthorityName,
    /// Which generation of it.
    pub generation: Generation,
    /// The SHA-256 thumbprint of that generation's certificate.
    pub authority_certificate: Sha256Thumbprint,
    /// The profile of the certificates.
    pub profile: ProfileName,
    /// How many devices there are.
    pub devices: u64,
    /// The serial number of the first device's certificate; none in an empty batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_serial_number: Option<SerialNumber>,
    /// The serial number of the last device's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_serial_number: Option<SerialNumber>,
    /// The output's file name, without folders; `-` for standard output. For a folder, the list of
    /// its files with their digests.
    pub output: String,
    /// The SHA-256 of the output's octets.
    pub output_sha256: OutputDigest,
    /// How many octets the output has.
    pub output_octets: u64,
    /// To whom the output is sealed; nobody if it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// When the batch was begun.
    pub started_at: Time,
    /// When its last device was delivered.
    pub completed_at: Time,
    /// What made it, with its version.
    pub tool: String,
    /// The authority's signature over all of the above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// Why a manifest is not accepted, or was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The input is no manifest.
    #[error("it is not a batch manifest")]
    Json(#[from] serde_json::Error),
    /// It is of a form that this version does not know.
    #[error(
        "the manifest is of form {version}; this version reads form {}",
        Manifest::FORM
    )]
    Version {
        /// The form it names.
        version: u32,
    },
    /// The output is longer or shorter than stated.
    #[error("the output has {found} bytes, the manifest says {stated}")]
    Length {
        /// What the manifest says.
        stated: u64,
        /// What the output has.
        found: u64,
    },
    /// The output is another one.
    #[error("the output's SHA-256 is {found}, the manifest says {stated}")]
    Digest {
        /// What the manifest says.
        stated: OutputDigest,
        /// What the output has.
        found: OutputDigest,
    },
    /// The output cannot be read.
    #[error("the output cannot be read")]
    Output(#[source] io::Error),
    /// The certificate is not that of the authority that the manifest names.
    #[error(
        "the manifest names the authority certificate {stated}, the one at hand is {found} (SHA-256)"
    )]
    Authority {
        /// What the manifest says.
        stated: Sha256Thumbprint,
        /// The certificate at hand.
        found: Sha256Thumbprint,
    },
    /// It carries no signature.
    #[error("the manifest is not signed")]
    Unsigned,
    /// The signature's form is broken or not one of ours.
    #[error("the manifest's signature cannot be read: {problem}")]
    SignatureForm {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The signature was not made by the authority's key over this manifest.
    #[error("the manifest was changed after it was signed, or signed by another key")]
    Signature(#[source] SignatureError),
    /// The key that was to sign is not that of the authority's certificate.
    #[error("the signing key does not belong to the authority's certificate")]
    KeyMismatch,
    /// The signer failed.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl From<JwsError> for ManifestError {
    fn from(error: JwsError) -> Self {
        match error {
            JwsError::Unsigned => Self::Unsigned,
            JwsError::Form { problem } => Self::SignatureForm { problem },
            JwsError::Signature(source) => Self::Signature(source),
            JwsError::Authority { stated, found } => Self::Authority { stated, found },
            JwsError::KeyMismatch => Self::KeyMismatch,
            JwsError::Key(error) => Self::Key(error),
            JwsError::Json(error) => Self::Json(error),
        }
    }
}

impl Manifest {
    /// The form of manifest that this version writes and reads.
    pub const FORM: u32 = 1;

    /// Reads a manifest, signed or not. Nothing is verified yet.
    ///
    /// # Errors
    /// [`ManifestError::Json`], also for members that are not known or occur twice;
    /// [`ManifestError::Version`].
    pub fn from_json(json: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_slice(json)?;
        match manifest.manifest_version {
            Self::FORM => Ok(manifest),
            version => Err(ManifestError::Version { version }),
        }
    }

    /// The manifest as a JSON document for people and programs.
    ///
    /// # Errors
    /// [`ManifestError::Json`]; it cannot happen with what a manifest holds.
    pub fn to_json(&self) -> Result<String, ManifestError> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// What is signed: the members but the signature, sorted by name, without white space
    /// (RFC 8785; there are strings and small whole numbers only).
    fn canonical(&self) -> Result<String, ManifestError> {
        let unsigned = Self {
            signature: None,
            ..self.clone()
        };
        Ok(jws::canonical(&unsigned)?)
    }

    /// Signs it with the authority's key.
    ///
    /// # Errors
    /// [`ManifestError`]: certificate or key is not that of the authority, or the signer failed.
    pub fn sign(
        mut self,
        authority: &Certificate,
        signer: &dyn Signer,
    ) -> Result<Self, ManifestError> {
        self.check_authority(authority)?;
        if authority.public_key() != signer.public_key() {
            return Err(ManifestError::KeyMismatch);
        }
        let payload = self.canonical()?;
        let thumbprint = self.authority_certificate;
        self.signature = Some(jws::sign(
            Of::Manifest,
            payload.as_bytes(),
            &thumbprint,
            signer,
        )?);
        Ok(self)
    }

    /// Checks the signature and the output.
    ///
    /// # Errors
    /// As [`Self::verify_signature`] and [`Self::verify_output`].
    pub fn verify(&self, output: impl Read, authority: &Certificate) -> Result<(), ManifestError> {
        self.verify_signature(authority)?;
        self.verify_output(output)
    }

    /// Checks that the authority signed this, by a certificate that the caller trusts.
    ///
    /// # Errors
    /// [`ManifestError`]: unsigned, changed, or signed by another.
    pub fn verify_signature(&self, authority: &Certificate) -> Result<(), ManifestError> {
        self.check_authority(authority)?;
        let signature = self.signature.as_deref().ok_or(ManifestError::Unsigned)?;
        let payload = self.canonical()?;
        Ok(jws::verify(
            Of::Manifest,
            signature,
            payload.as_bytes(),
            authority,
        )?)
    }

    /// Checks that the output is the one described.
    ///
    /// # Errors
    /// [`ManifestError::Length`], [`ManifestError::Digest`], [`ManifestError::Output`].
    pub fn verify_output(&self, output: impl Read) -> Result<(), ManifestError> {
        let hash = OutputHash::of(output).map_err(ManifestError::Output)?;
        let stated = self.output_octets;
        let found = hash.octets();
        if stated != found {
            return Err(ManifestError::Length { stated, found });
        }
        let stated = self.output_sha256;
        let found = hash.digest();
        if stated != found {
            return Err(ManifestError::Digest { stated, found });
        }
        Ok(())
    }

    fn check_authority(&self, certificate: &Certificate) -> Result<(), ManifestError> {
        let stated = self.authority_certificate;
        let found = certificate.sha256_thumbprint();
        if stated == found {
            Ok(())
        } else {
            Err(ManifestError::Authority { stated, found })
        }
    }
}
