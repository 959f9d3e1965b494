//! The one live leaf of a device: what a new one says of the others, and what is in its way.
//!
//! Adapters ask within the transaction that records; how they find a device's leaves is theirs.

use std::fmt;

use super::{InventoryError, Label, NewCertificate, RowKey, Status};
use crate::ids::{RegistrationId, SerialNumber};
use crate::profile::Role;
use crate::time::Time;

/// Which other leaves a device may have when one more is recorded for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Uniqueness {
    /// None that is undelivered, and none that is delivered and has not expired.
    #[default]
    OnlyLeaf,
    /// It renews the leaf in this row: any up to that one, and none after it but what was voided.
    Renews(RowKey),
    /// It was given out elsewhere, and whoever did so has answered for it: any.
    FromElsewhere,
}

impl Uniqueness {
    /// Whether a leaf of the same device is in the way.
    pub(crate) fn is_broken_by(self, other: &LeafFacts, at: Time) -> bool {
        match (self, other.status) {
            (Self::FromElsewhere, _) | (_, Status::Voided) => false,
            (Self::Renews(renewed), _) => other.row > renewed,
            (Self::OnlyLeaf, Status::Undelivered) => true,
            // Also one that is valid from tomorrow on only: a clock was wrong.
            (Self::OnlyLeaf, Status::Delivered) => other.not_after >= at,
            (Self::OnlyLeaf, Status::Revoked) => false,
        }
    }
}

/// What decides whether a leaf is in another's way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeafFacts {
    pub(crate) row: RowKey,
    pub(crate) status: Status,
    pub(crate) not_after: Time,
}

/// A leaf that keeps another of the same device from being recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The device.
    pub id: RegistrationId,
    /// Where its leaf is.
    pub row: RowKey,
    /// The leaf's serial number.
    pub serial_number: SerialNumber,
    /// What became of it.
    pub status: Status,
    /// The batch that it was issued in.
    pub batch: Option<Label>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            serial_number,
            status,
            batch,
            ..
        } = self;
        write!(f, "{id} has a leaf already, serial number {serial_number}")?;
        if *status == Status::Undelivered {
            f.write_str(", not delivered yet")?;
        }
        match batch {
            Some(batch) => write!(f, ", in batch {:?}", batch.as_str()),
            None => Ok(()),
        }
    }
}

/// The leaves of a chunk that bear not just any other, sorted by their IDs.
///
/// # Errors
/// [`InventoryError::TwoLeaves`] if two are of one device.
pub(crate) fn only_leaves(
    chunk: &[NewCertificate],
) -> Result<Vec<(&RegistrationId, Uniqueness)>, InventoryError> {
    let bears_others = |new: &&NewCertificate| {
        new.role != Role::Leaf || new.uniqueness == Uniqueness::FromElsewhere
    };
    let leaves = chunk.iter().filter(|new| !bears_others(new));
    let mut leaves: Vec<_> = leaves
        .filter_map(|new| Some((new.registration_id.as_ref()?, new.uniqueness)))
        .collect();
    // Most lists are in order already, and those of a counter are.
    if !leaves.is_sorted_by_key(|(id, _)| *id) {
        leaves.sort_unstable_by_key(|(id, _)| *id);
    }
    match leaves.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        None => Ok(leaves),
        Some(pair) => Err(InventoryError::TwoLeaves {
            id: pair[0].0.clone(),
        }),
    }
}

/// Refuses what others are in the way of.
pub(crate) fn refuse_holders(holders: Vec<Holder>) -> Result<(), InventoryError> {
    let more = holders.len().saturating_sub(1);
    match holders.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(InventoryError::LeafExists {
            first: Box::new(first),
            more,
        }),
    }
}
