//! Batches: one run over a list of devices, resumable at the chunk where it was cut.
//!
//! A batch is opened, advanced with each chunk that reached its output, and completed with its
//! manifest. One that was lost is opened anew under its name. Opening and completing are entries of the audit trail; how far it got stands in the
//! entries that mark its chunks as delivered.
//! Not here: the certificates, which name their batch, and the pipeline that issues them.
//! Invariant: progress only grows and ends at the total; a completed batch never changes again, unless it is
//! replaced as a whole.

use super::audit::{Draft, Rows};
use super::{CertificateState, InventoryError, Label, RowKey};
use crate::crl::RevocationReason;
use crate::ids::AuthorityGeneration;
use crate::text::words;
use crate::time::Time;

/// A batch that is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBatch {
    /// What people call it.
    pub name: Label,
    /// The generation that signs its certificates.
    pub signed_by: AuthorityGeneration,
    /// What tells this input and these options from all others: a SHA-256 that the caller makes.
    pub fingerprint: [u8; 32],
    /// How many devices it has.
    pub total: u64,
    /// Where its output goes, as the caller names it.
    pub output: String,
    /// The format of the output.
    pub format: String,
}

/// What becomes of leaves whose batch was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawal {
    /// They count as never issued, because nobody got them.
    Voided,
    /// They belong into their issuer's CRL, because somebody may have got them.
    Revoked(RevocationReason),
}

/// Leaves of a batch that was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostLeaves {
    /// Where they are.
    pub rows: Vec<RowKey>,
    /// What becomes of them.
    pub withdrawal: Withdrawal,
}

impl Withdrawal {
    const LOST: &str = "its batch was lost";

    pub(crate) fn state(self, at: Time) -> CertificateState {
        match self {
            Self::Voided => CertificateState::Voided {
                at,
                reason: Self::LOST.to_owned(),
            },
            Self::Revoked(reason) => CertificateState::Revoked { at, reason },
        }
    }

    pub(crate) fn draft(self, rows: Rows, at: Time) -> Draft {
        match self {
            Self::Voided => Draft::voided(rows, Self::LOST, at),
            Self::Revoked(reason) => Draft::revoked(rows, reason, at, at),
        }
    }
}

impl LostLeaves {
    /// The rows of all of them.
    pub(crate) fn all(lost: &[Self]) -> Rows {
        let rows: Vec<RowKey> = lost
            .iter()
            .flat_map(|leaves| &leaves.rows)
            .copied()
            .collect();
        Rows::of(&rows)
    }
}

/// Whether a batch goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BatchState {
    /// Not all of its output is written.
    Open,
    /// All of it is, and its manifest says so.
    Complete,
}

words!(BatchState {
    Open = "open",
    Complete = "complete",
});

/// How far a batch has got once a chunk was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchProgress {
    /// The batch.
    pub batch: Label,
    /// How many devices of the input were delivered: the first ones, in the order of the input.
    pub delivered: u64,
    /// How many octets of output are durable with them.
    pub output_octets: u64,
}

/// A batch as the inventory holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRecord {
    /// What people call it.
    pub name: Label,
    /// The generation that signs its certificates.
    pub signed_by: AuthorityGeneration,
    /// What tells its input and options from all others.
    pub fingerprint: [u8; 32],
    /// How many devices it has.
    pub total: u64,
    /// How many of them were delivered: the first ones, in the order of the input.
    pub delivered: u64,
    /// How many octets of output are durable with them.
    pub output_octets: u64,
    /// Where its output goes.
    pub output: String,
    /// The format of the output.
    pub format: String,
    /// Whether it goes on.
    pub state: BatchState,
    /// When it was opened.
    pub started_at: Time,
    /// When it was completed.
    pub completed_at: Option<Time>,
    /// What was delivered, as JSON; there is one once it is complete.
    pub manifest: Option<String>,
}

impl BatchRecord {
    /// The record of a batch that begins.
    pub(crate) fn begin(new: NewBatch, at: Time) -> Self {
        Self {
            name: new.name,
            signed_by: new.signed_by,
            fingerprint: new.fingerprint,
            total: new.total,
            delivered: 0,
            output_octets: 0,
            output: new.output,
            format: new.format,
            state: BatchState::Open,
            started_at: at,
            completed_at: None,
            manifest: None,
        }
    }

    /// Takes note of a delivered chunk.
    pub(crate) fn advance(&mut self, progress: &BatchProgress) -> Result<(), InventoryError> {
        self.refuse_complete()?;
        let grows =
            progress.delivered >= self.delivered && progress.output_octets >= self.output_octets;
        if !grows || progress.delivered > self.total {
            return Err(InventoryError::BatchProgress {
                batch: self.name.clone(),
                delivered: progress.delivered,
                before: self.delivered,
                total: self.total,
            });
        }
        self.delivered = progress.delivered;
        self.output_octets = progress.output_octets;
        Ok(())
    }

    /// Ends the batch.
    pub(crate) fn complete(&mut self, manifest: &str, at: Time) -> Result<(), InventoryError> {
        self.refuse_complete()?;
        if self.delivered < self.total {
            return Err(InventoryError::BatchUnfinished {
                batch: self.name.clone(),
                delivered: self.delivered,
                total: self.total,
            });
        }
        self.state = BatchState::Complete;
        self.completed_at = Some(at);
        self.manifest = Some(manifest.to_owned());
        Ok(())
    }

    /// Begins anew, once it was complete.
    pub(crate) fn replace(&mut self, new: NewBatch, at: Time) -> Result<(), InventoryError> {
        if self.state == BatchState::Open {
            return Err(InventoryError::BatchUnfinished {
                batch: self.name.clone(),
                delivered: self.delivered,
                total: self.total,
            });
        }
        *self = Self::begin(new, at);
        Ok(())
    }

    /// Refuses changes of a batch that is complete.
    pub(crate) fn refuse_complete(&self) -> Result<(), InventoryError> {
        match self.state {
            BatchState::Open => Ok(()),
            BatchState::Complete => Err(InventoryError::BatchComplete {
                batch: self.name.clone(),
            }),
        }
    }
}

/// The batch that goes on when one is opened: an open one with the same fingerprint, or one with
/// the same name and fingerprint in any state, so that the same command run twice finds its work.
///
/// # Errors
/// [`InventoryError::BatchExists`] if another batch has the name.
pub(crate) fn resumed(
    new: &NewBatch,
    open_with_fingerprint: Option<BatchRecord>,
    with_name: Option<BatchRecord>,
) -> Result<Option<BatchRecord>, InventoryError> {
    match (open_with_fingerprint, with_name) {
        (_, Some(named)) if named.fingerprint == new.fingerprint => Ok(Some(named)),
        (Some(open), _) => Ok(Some(open)),
        (None, Some(_)) => Err(InventoryError::BatchExists {
            batch: new.name.clone(),
        }),
        (None, None) => Ok(None),
    }
}
