//! Proof that one certificate was recorded, checked without the inventory and without the others.
//!
//! It leads from the certificate's statement through the Merkle tree of its chunk to the entry that
//! recorded it, and from there to a checkpoint. An entry is bound to the one before and to an
//! earlier one, so the way takes few steps: at most a hundred or so through the twenty thousand
//! entries of ten million certificates.
//! What it proves: that whoever made the checkpoint had recorded the certificate by then. Not
//! whether it was delivered or revoked since.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::merkle::{self, InclusionProof};
use super::{Action, AuditEntry, AuditHash, AuditHead, CertificateStatement, Links, Rows};
use crate::ids::{
    AuthorityGeneration, AuthorityName, Generation, RegistrationId, Sha256Thumbprint,
};
use crate::inventory::{
    Inventory, InventoryEntry, InventoryError, Label, Labels, NamedLabel, Recorded, RowKey,
};
use crate::profile::Role;
use crate::time::Time;

const FORMAT: &str = "dps-pki audit proof 1";

/// Proof that a certificate was recorded, as a small JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditProof {
    format: String,
    certificate: ProvenCertificate,
    /// Where the certificate is among those of its entry.
    inclusion: InclusionProof,
    /// The entry that recorded it.
    entry: ProvenEntry,
    /// The way from there to the checkpoint, each entry bound to the one before it in this list.
    steps: Vec<Step>,
    checkpoint: AuditHead,
}

/// What the trail binds of the certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProvenCertificate {
    sha256_thumbprint: Sha256Thumbprint,
    role: Role,
    authority: Option<AuthorityName>,
    generation: Option<Generation>,
    registration_id: Option<String>,
    batch: Option<String>,
    labels: BTreeMap<String, String>,
    /// The SHA-256 of the request that is kept of it, if the entry binds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<AuditHash>,
}

/// Everything that an entry's hash is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProvenEntry {
    sequence: u64,
    at: Time,
    action: String,
    subject: String,
    /// The JSON exactly as it is in the trail.
    detail: String,
    certificates: String,
    content: AuditHash,
    previous: AuditHash,
    earlier: AuditHash,
}

/// An entry on the way, reduced to what binds it to the step before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Step {
    sequence: u64,
    /// The other of the two entries that it is bound to.
    beside: AuditHash,
    /// The hash of what it says.
    body: AuditHash,
}

/// Why a proof does not prove what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// It is of a format that is not known.
    #[error("{format:?} is not a format of audit proofs")]
    Format {
        /// What it says of itself.
        format: String,
    },
    /// It is about another certificate.
    #[error("the proof is about the certificate with the SHA-256 thumbprint {proven}")]
    OtherCertificate {
        /// The certificate that it is about.
        proven: Sha256Thumbprint,
    },
    /// What it says of the certificate cannot be true of any.
    #[error("the proof has a broken {what}")]
    Broken {
        /// What is broken.
        what: &'static str,
    },
    /// The certificate, as described, is not among those that the entry recorded.
    #[error("audit entry {sequence} did not record this certificate")]
    NotIncluded {
        /// The entry.
        sequence: u64,
    },
    /// The entries do not lead to the checkpoint.
    #[error("the proof does not lead to the checkpoint {checkpoint}")]
    NotLinked {
        /// The checkpoint.
        checkpoint: AuditHead,
    },
    /// It leads to another checkpoint than the one that is trusted.
    #[error("the proof leads to the checkpoint {proven}, not to {trusted}")]
    OtherCheckpoint {
        /// Where it leads.
        proven: AuditHead,
        /// Where it should lead.
        trusted: AuditHead,
    },
}

impl AuditProof {
    /// Proves that the certificate in a row was recorded, towards the checkpoint `until` or else
    /// the last entry.
    ///
    /// # Errors
    /// [`InventoryError::CertificateNotFound`]; [`InventoryError::CheckpointUnknown`] if `until` is
    /// not in the trail, or before the certificate.
    pub fn of<I: Inventory + ?Sized>(
        inventory: &I,
        row: RowKey,
        until: Option<&AuditHead>,
    ) -> Result<Self, InventoryError> {
        let proven = certificate(inventory, row)?;
        let entry = entry(inventory, proven.recorded_in)?;
        let checkpoint = match until {
            Some(until) => known(inventory, &entry, until)?,
            None => inventory.audit_head()?.unwrap_or_else(|| entry.head()),
        };
        Ok(Self {
            format: FORMAT.to_owned(),
            certificate: ProvenCertificate::of(&proven.recorded, request(inventory, &entry, row)?),
            inclusion: inclusion(inventory, &entry, row)?,
            steps: steps(inventory, entry.sequence, checkpoint.sequence)?,
            entry: ProvenEntry::of(inventory, entry)?,
            checkpoint,
        })
    }

    /// Checks that a certificate, given as DER, was recorded as the proof says. Without a `trusted`
    /// checkpoint it is as good as [`Self::checkpoint`], which whoever made the proof may have made
    /// up.
    ///
    /// # Errors
    /// [`ProofError`] says what does not fit.
    pub fn verify(&self, der: &[u8], trusted: Option<&AuditHead>) -> Result<(), ProofError> {
        let thumbprint = Sha256Thumbprint::from_digest(*AuditHash::of(der).as_octets());
        self.verify_thumbprint(&thumbprint, trusted)
    }

    /// As [`Self::verify`], for a certificate of which only the thumbprint is known.
    ///
    /// # Errors
    /// [`ProofError`] says what does not fit.
    pub fn verify_thumbprint(
        &self,
        thumbprint: &Sha256Thumbprint,
        trusted: Option<&AuditHead>,
    ) -> Result<(), ProofError> {
        if self.format != FORMAT {
            let format = self.format.clone();
            return Err(ProofError::Format { format });
        }
        if *thumbprint != self.certificate.sha256_thumbprint {
            let proven = self.certificate.sha256_thumbprint;
            return Err(ProofError::OtherCertificate { proven });
        }
        self.verify_inclusion()?;
        if self.walk()? != Some(self.checkpoint) {
            let checkpoint = self.checkpoint;
            return Err(ProofError::NotLinked { checkpoint });
        }
        match trusted {
            Some(trusted) if *trusted != self.checkpoint => Err(ProofError::OtherCheckpoint {
                proven: self.checkpoint,
                trusted: *trusted,
            }),
            _ => Ok(()),
        }
    }

    /// The checkpoint that it leads to.
    pub fn checkpoint(&self) -> AuditHead {
        self.checkpoint
    }

    /// The number of the entry that recorded the certificate.
    pub fn recorded_in(&self) -> u64 {
        self.entry.sequence
    }

    /// When the certificate was recorded.
    pub fn recorded_at(&self) -> Time {
        self.entry.at
    }

    /// The device that the certificate is for, as the entry says.
    pub fn registration_id(&self) -> Option<&str> {
        self.certificate.registration_id.as_deref()
    }

    /// The certificate that it is about.
    pub fn sha256_thumbprint(&self) -> Sha256Thumbprint {
        self.certificate.sha256_thumbprint
    }

    fn verify_inclusion(&self) -> Result<(), ProofError> {
        let leaf = self.certificate.leaf_hash()?;
        let recorded = self.entry.action == Action::CertificatesRecorded.as_str()
            && self.inclusion.size == self.entry.rows()?.count()
            && self.inclusion.verify(&leaf, &self.entry.content);
        if recorded {
            Ok(())
        } else {
            Err(ProofError::NotIncluded {
                sequence: self.entry.sequence,
            })
        }
    }

    /// Goes all steps, and tells where they end; `None` if one does not follow from the one before.
    fn walk(&self) -> Result<Option<AuditHead>, ProofError> {
        let mut reached = self.entry.head()?;
        for step in &self.steps {
            let Some(links) = step.links(reached) else {
                return Ok(None);
            };
            reached = AuditHead {
                sequence: step.sequence,
                hash: links.hash(step.sequence, &step.body),
            };
        }
        Ok(Some(reached))
    }
}

impl ProvenCertificate {
    fn of(recorded: &Recorded, request: Option<AuditHash>) -> Self {
        let signed_by = recorded.signed_by();
        let id = recorded.registration_id();
        let labels = recorded.labels().iter();
        Self {
            sha256_thumbprint: recorded.certificate().sha256_thumbprint(),
            role: recorded.role(),
            authority: signed_by.map(|by| by.name.clone()),
            generation: signed_by.map(|by| by.generation),
            registration_id: id.map(|id| id.as_str().to_owned()),
            batch: recorded.batch().map(ToString::to_string),
            labels: labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            request,
        }
    }

    fn leaf_hash(&self) -> Result<AuditHash, ProofError> {
        let signed_by = match (&self.authority, self.generation) {
            (None, None) => None,
            (Some(name), Some(generation)) => Some(AuthorityGeneration {
                name: name.clone(),
                generation,
            }),
            _ => return Err(ProofError::Broken { what: "signer" }),
        };
        let id: Option<RegistrationId> =
            parsed(self.registration_id.as_deref(), "registration ID")?;
        let batch: Option<Label> = parsed(self.batch.as_deref(), "batch")?;
        let labels = self
            .labels
            .iter()
            .map(|(name, value)| NamedLabel::new(name, value))
            .collect::<Result<Labels, _>>()
            .map_err(|_| ProofError::Broken { what: "label" })?;
        let statement = CertificateStatement {
            thumbprint: self.sha256_thumbprint,
            role: self.role,
            signed_by: signed_by.as_ref(),
            registration_id: id.as_ref(),
            batch: batch.as_ref(),
            labels: &labels,
            request: self.request,
        };
        Ok(statement.leaf_hash())
    }
}

impl ProvenEntry {
    fn of<I: Inventory + ?Sized>(inventory: &I, entry: AuditEntry) -> Result<Self, InventoryError> {
        let content = entry.content.ok_or_else(|| broken(entry.sequence))?;
        Ok(Self {
            sequence: entry.sequence,
            at: entry.at,
            action: entry.action,
            subject: entry.subject,
            detail: entry.detail,
            certificates: entry.rows.to_string(),
            content,
            previous: hash(inventory, entry.sequence - 1)?,
            earlier: hash(inventory, Links::earlier_than(entry.sequence))?,
        })
    }

    fn rows(&self) -> Result<Rows, ProofError> {
        let broken = |_| ProofError::Broken {
            what: "set of certificates",
        };
        self.certificates.parse().map_err(broken)
    }

    fn head(&self) -> Result<AuditHead, ProofError> {
        let entry = AuditEntry {
            sequence: self.sequence,
            at: self.at,
            action: self.action.clone(),
            subject: self.subject.clone(),
            detail: self.detail.clone(),
            rows: self.rows()?,
            content: Some(self.content),
            hash: AuditHash::NONE,
        };
        let previous = self.previous;
        let earlier = self.earlier;
        Ok(AuditHead {
            sequence: self.sequence,
            hash: entry.hash_after(Links { previous, earlier }),
        })
    }
}

impl Step {
    /// What this entry is bound to, if the one that was reached is one of the two.
    fn links(&self, reached: AuditHead) -> Option<Links> {
        if reached.sequence.checked_add(1) == Some(self.sequence) {
            Some(Links {
                previous: reached.hash,
                earlier: self.beside,
            })
        } else if Links::earlier_than(self.sequence) == reached.sequence {
            Some(Links {
                previous: self.beside,
                earlier: reached.hash,
            })
        } else {
            None
        }
    }
}

/// Where the certificate in a row is among those of its entry.
fn inclusion<I: Inventory + ?Sized>(
    inventory: &I,
    entry: &AuditEntry,
    row: RowKey,
) -> Result<InclusionProof, InventoryError> {
    let mut leaves = Vec::new();
    let mut index = None;
    for number in entry.rows.ranges().flat_map(|(first, last)| first..=last) {
        let key = RowKey::new(number);
        if key == row {
            index = Some(leaves.len());
        }
        let recorded = certificate(inventory, key)?.recorded;
        let mut statement = recorded.statement();
        statement.request = request(inventory, entry, key)?;
        leaves.push(statement.leaf_hash());
    }
    let proof = index.and_then(|index| merkle::prove(&leaves, index));
    proof.ok_or_else(|| broken(entry.sequence))
}

/// The SHA-256 of the request that is kept of a certificate, if the entry that recorded it binds it.
fn request<I: Inventory + ?Sized>(
    inventory: &I,
    entry: &AuditEntry,
    row: RowKey,
) -> Result<Option<AuditHash>, InventoryError> {
    if !entry.binds_requests() {
        return Ok(None);
    }
    let request = inventory.request(row)?;
    Ok(request.map(|der| AuditHash::of(&der)))
}

/// The way from an entry to a later one: as far back each time as the entries allow.
fn steps<I: Inventory + ?Sized>(
    inventory: &I,
    from: u64,
    to: u64,
) -> Result<Vec<Step>, InventoryError> {
    let mut steps = Vec::new();
    let mut sequence = to;
    while sequence > from {
        let previous = sequence - 1;
        let earlier = Links::earlier_than(sequence);
        let (next, beside) = if earlier >= from {
            (earlier, previous)
        } else {
            (previous, earlier)
        };
        steps.push(Step {
            sequence,
            beside: hash(inventory, beside)?,
            body: entry(inventory, sequence)?.body_hash(),
        });
        sequence = next;
    }
    steps.reverse();
    Ok(steps)
}

fn certificate<I: Inventory + ?Sized>(
    inventory: &I,
    row: RowKey,
) -> Result<InventoryEntry, InventoryError> {
    let found = inventory.certificate(row)?;
    found.ok_or(InventoryError::CertificateNotFound { row })
}

fn entry<I: Inventory + ?Sized>(
    inventory: &I,
    sequence: u64,
) -> Result<AuditEntry, InventoryError> {
    let after = sequence.saturating_sub(1);
    let found = inventory.audit_entries(after, 1)?.pop();
    found
        .filter(|entry| entry.sequence == sequence)
        .ok_or_else(|| broken(sequence))
}

/// The hash of an entry, or what stands before the first one.
fn hash<I: Inventory + ?Sized>(inventory: &I, sequence: u64) -> Result<AuditHash, InventoryError> {
    match sequence {
        0 => Ok(AuditHash::NONE),
        _ => Ok(entry(inventory, sequence)?.hash),
    }
}

/// A checkpoint, if the trail has it and it is not before an entry.
fn known<I: Inventory + ?Sized>(
    inventory: &I,
    from: &AuditEntry,
    checkpoint: &AuditHead,
) -> Result<AuditHead, InventoryError> {
    let after = checkpoint.sequence.saturating_sub(1);
    let found = inventory.audit_entries(after, 1)?.pop();
    let known = found.is_some_and(|entry| entry.head() == *checkpoint);
    if known && checkpoint.sequence >= from.sequence {
        Ok(*checkpoint)
    } else {
        Err(InventoryError::CheckpointUnknown {
            checkpoint: *checkpoint,
        })
    }
}

fn parsed<T: std::str::FromStr>(
    text: Option<&str>,
    what: &'static str,
) -> Result<Option<T>, ProofError> {
    let broken = |_| ProofError::Broken { what };
    text.map(|text| text.parse().map_err(broken)).transpose()
}

fn broken(sequence: u64) -> InventoryError {
    InventoryError::corrupt(format!("audit entry {sequence} is missing or broken"))
}
