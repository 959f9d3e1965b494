//! Renewals: what the next leaf of a device takes over from its last one.
//!
//! The last leaf stays as it is, valid until its end. That nobody renewed it meanwhile is decided by the
//! transaction that records the next one ([`crate::inventory::Uniqueness::Renews`]).

use super::input::{Device, DeviceKey};
use crate::alternative_name::AlternativeName;
use crate::crl::RevocationReason;
use crate::csr::{PolicyError, ProvenKey, RequestPolicy, SigningRequest};
use crate::ids::{IdError, LeafName};
use crate::inventory::{CertificateState, InventoryEntry};
use crate::profile::Role;

/// How devices are renewed.
#[derive(Debug, Clone, Copy)]
pub struct Renewal<'a> {
    /// Which of the keys that devices made themselves are let in again.
    pub policy: &'a RequestPolicy,
    /// Whether keys are made here, also for devices that made their own.
    pub new_keys: bool,
}

/// Why a device cannot be renewed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenewalError {
    /// The last leaf has an ID that no leaf can have.
    #[error(transparent)]
    Id(#[from] IdError),
    /// What the inventory keeps as the request of the last leaf is for another key.
    #[error("the request that is kept is not the one of its leaf; the inventory was changed")]
    AnotherRequest,
    /// The last leaf was revoked, and its key is the device's own.
    #[error("its last leaf was revoked ({0}), and the device made its key")]
    Revoked(RevocationReason),
    /// The profile lets in no such keys any more.
    #[error(transparent)]
    Key(#[from] PolicyError),
}

/// The leaf that a device's next one follows, of all its certificates, newest first: the newest that the
/// device got, whatever became of it since.
pub fn last_leaf(newest_first: Vec<InventoryEntry>) -> Option<InventoryEntry> {
    newest_first
        .into_iter()
        .find(|entry| entry.recorded.role() == Role::Leaf && entry.was_delivered())
}

impl Renewal<'_> {
    /// The device as its next leaf is to be: the CN in the case that it was first written in, the key that
    /// the device made, and alternative names and labels where the input says nothing else. `kept` is the
    /// request of the last leaf, if the device made its key.
    ///
    /// # Errors
    /// [`RenewalError`].
    pub fn follow(
        &self,
        device: Device,
        last: &InventoryEntry,
        kept: Option<&[u8]>,
    ) -> Result<Device, RenewalError> {
        let recorded = &last.recorded;
        let id = match recorded.registration_id() {
            Some(id) => LeafName::try_from(id.clone())?,
            None => device.id,
        };
        let key = match (device.key, kept) {
            (DeviceKey::New, Some(kept)) if !self.new_keys => {
                DeviceKey::Proven(self.kept_key(last, kept)?)
            }
            (key, _) => key,
        };
        let alternative_names = if device.alternative_names.is_empty() {
            AlternativeName::of(recorded.certificate())
        } else {
            device.alternative_names
        };
        let mut labels = device.labels;
        for (name, value) in recorded.labels().iter() {
            if !labels.iter().any(|(said, _)| said == name) {
                labels.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(Device {
            id,
            key,
            alternative_names,
            labels,
            replaces: Some(recorded.row()),
            ..device
        })
    }

    /// The key of the last leaf, which its device made.
    fn kept_key(&self, last: &InventoryEntry, kept: &[u8]) -> Result<ProvenKey, RenewalError> {
        let request = SigningRequest::from_der(kept).map_err(|_| RenewalError::AnotherRequest)?;
        if request.public_key() != last.recorded.certificate().public_key() {
            return Err(RenewalError::AnotherRequest);
        }
        if let CertificateState::Revoked { reason, .. } = &last.state {
            return Err(RenewalError::Revoked(*reason));
        }
        self.policy.check_key(&request)?;
        Ok(request.into_proven_key())
    }
}
