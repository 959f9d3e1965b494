//! The one live leaf of a device: what a new one says of the others, and what is in its way; and the one
//! device of a key.
//!
//! Adapters ask within the transaction that records; how they find a device's leaves is theirs.

use std::fmt;

use super::{
    CertificateState, InventoryEntry, InventoryError, Label, NewCertificate, RowKey, Status,
};
use crate::crl::RevocationReason;
use crate::ids::{RegistrationId, SerialNumber};
use crate::key::KeyIdentity;
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

impl InventoryEntry {
    /// Whether this is a leaf that is in the way of another one of its device.
    pub(crate) fn breaks(&self, uniqueness: Uniqueness, at: Time) -> bool {
        let facts = LeafFacts {
            row: self.recorded.row(),
            status: self.state.status(),
            not_after: self.recorded.certificate().validity().not_after(),
        };
        self.recorded.role() == Role::Leaf && uniqueness.is_broken_by(&facts, at)
    }
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

/// A leaf that keeps a request for the same key from being signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHolder {
    /// The device whose request it is.
    pub id: RegistrationId,
    /// The device whose leaf has the key.
    pub holder: RegistrationId,
    /// The leaf's serial number.
    pub serial_number: SerialNumber,
    /// Why it was revoked, if it was.
    pub revoked: Option<RevocationReason>,
}

impl KeyHolder {
    /// What a leaf with the key of a request means for the request. The same key may be certified again
    /// for its own device, or for another once the leaf has ended or was revoked for a reason that says
    /// nothing about its key.
    pub(crate) fn of(id: &RegistrationId, entry: &InventoryEntry, at: Time) -> Option<Self> {
        let recorded = &entry.recorded;
        let holder = recorded.registration_id()?;
        if recorded.role() != Role::Leaf {
            return None;
        }
        let revoked = match &entry.state {
            CertificateState::Voided { .. } => return None,
            CertificateState::Revoked { reason, .. } if is_harmless(*reason) => return None,
            CertificateState::Revoked { reason, .. } => Some(*reason),
            CertificateState::Undelivered | CertificateState::Delivered { .. } => {
                let has_ended = recorded.certificate().validity().not_after() < at;
                if has_ended || holder == id {
                    return None;
                }
                None
            }
        };
        Some(Self {
            id: id.clone(),
            holder: holder.clone(),
            serial_number: recorded.certificate().serial_number().clone(),
            revoked,
        })
    }

    /// Why the request is refused, where it is clear whose it is.
    pub fn reason(&self) -> String {
        format!("the request is for {}", self.key())
    }

    /// Whose key it is, and what became of it.
    fn key(&self) -> String {
        let serial = &self.serial_number;
        let whose = if self.holder == self.id {
            format!("its leaf {serial}")
        } else {
            format!("{}'s leaf {serial}", self.holder)
        };
        match self.revoked {
            Some(reason) => format!("the key of {whose}, which was revoked ({reason})"),
            None => format!("the key of {whose}"),
        }
    }
}

impl fmt::Display for KeyHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request of {} is for {}", self.id, self.key())
    }
}

/// Whether a revocation leaves open that nobody but the device has its key.
fn is_harmless(reason: RevocationReason) -> bool {
    matches!(
        reason,
        RevocationReason::Superseded | RevocationReason::CessationOfOperation
    )
}

/// The devices of a chunk that bring keys of their own, with these.
///
/// # Errors
/// [`InventoryError::KeyTwice`] if two bring the same.
pub(crate) fn keys_brought(
    chunk: &[NewCertificate],
) -> Result<Vec<(&RegistrationId, KeyIdentity)>, InventoryError> {
    let is_asked = |new: &&NewCertificate| {
        new.role == Role::Leaf
            && new.request.is_some()
            && new.uniqueness != Uniqueness::FromElsewhere
    };
    let brought = chunk.iter().filter(is_asked).filter_map(|new| {
        let id = new.registration_id.as_ref()?;
        Some((id, new.certificate.key_identity()))
    });
    let mut keys: Vec<_> = brought.collect();
    keys.sort_unstable_by_key(|(_, key)| *key);
    match keys.windows(2).find(|pair| pair[0].1 == pair[1].1) {
        None => Ok(keys),
        Some(pair) => Err(InventoryError::KeyTwice {
            id: pair[0].0.clone(),
            other: pair[1].0.clone(),
        }),
    }
}

/// Refuses requests whose keys others have.
pub(crate) fn refuse_key_holders(holders: Vec<KeyHolder>) -> Result<(), InventoryError> {
    let more = holders.len().saturating_sub(1);
    match holders.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(InventoryError::KeyTaken {
            first: Box::new(first),
            more,
        }),
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
    let mut leaves: Vec<_> = chunk
        .iter()
        .filter(|new| !bears_others(new))
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
