//! Delivery: recorded before it leaves.
//!
//! One certificate goes through three durable moments: the inventory has it, the outlet has it, the
//! inventory knows that it was delivered. A run that was cut between them leaves an undelivered
//! record; [`resume`] finishes it if everything had arrived, and voids it otherwise, because its key
//! is gone. Bulk issuance does the same by the chunk.
//! Invariant: an [`Outlet`] is handed [`Recorded`] certificates only.

use crate::ids::RegistrationId;
use crate::inventory::{
    CertificateState, Filter, Inventory, InventoryEntry, InventoryError, NewCertificate, Recorded,
};
use crate::key::PrivateKey;
use crate::profile::Role;
use crate::time::Time;

/// Where certificates and their keys go: a folder, a pipe.
pub trait Outlet {
    /// Why it could not take something.
    type Error;

    /// Takes a certificate, and its key if it was made here. What was taken is durable on return.
    ///
    /// # Errors
    /// Whatever keeps it from taking all of it.
    fn deliver(&mut self, recorded: &Recorded, key: Option<&PrivateKey>)
    -> Result<(), Self::Error>;

    /// Whether all of this certificate has arrived already, in a run that was cut short after it.
    fn holds(&self, recorded: &Recorded) -> bool;
}

/// Why a certificate was not delivered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError<E> {
    /// The inventory could not record it, or not that it was delivered.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// The outlet could not take it. It stays recorded as undelivered.
    #[error("{0}")]
    Outlet(E),
}

/// What became of records that a run left undelivered.
#[derive(Debug, Default)]
pub struct Resumed {
    /// Everything had arrived: only the mark was missing.
    pub finished: Vec<Recorded>,
    /// Their keys are gone: they count as never issued.
    pub voided: Vec<Recorded>,
}

/// Records a certificate, hands it to the outlet, and marks it delivered.
///
/// # Errors
/// [`DeliveryError`]; a certificate that was recorded by then stays undelivered for [`resume`].
pub fn deliver<O: Outlet>(
    inventory: &mut dyn Inventory,
    new: impl Into<NewCertificate>,
    key: Option<&PrivateKey>,
    outlet: &mut O,
    at: Time,
) -> Result<Recorded, DeliveryError<O::Error>> {
    let recorded = record(inventory, new, at)?;
    outlet
        .deliver(&recorded, key)
        .map_err(DeliveryError::Outlet)?;
    inventory.mark_delivered(&[recorded.row()], at)?;
    Ok(recorded)
}

/// Records a certificate, and nothing else yet.
///
/// # Errors
/// [`InventoryError`]; nothing is recorded then.
pub fn record(
    inventory: &mut dyn Inventory,
    new: impl Into<NewCertificate>,
    at: Time,
) -> Result<Recorded, InventoryError> {
    let recorded = inventory.record(vec![new.into()], at)?;
    let lost = || InventoryError::Corrupt {
        what: "it recorded nothing and said nothing".into(),
    };
    recorded.into_iter().next().ok_or_else(lost)
}

/// Finishes or voids what an earlier run left undelivered of a device. The caller knows that no such run
/// is alive: what one has on its way looks the same.
///
/// # Errors
/// [`InventoryError`].
pub fn resume<O: Outlet>(
    inventory: &mut dyn Inventory,
    id: &RegistrationId,
    outlet: &O,
    at: Time,
) -> Result<Resumed, InventoryError> {
    let mut left = inventory.certificates_of(id)?;
    left.retain(|entry| {
        entry.recorded.role() == Role::Leaf && entry.state == CertificateState::Undelivered
    });
    let (finished, voided): (Vec<Recorded>, Vec<Recorded>) = left
        .into_iter()
        .map(|entry: InventoryEntry| entry.recorded)
        .partition(|recorded| outlet.holds(recorded));
    let rows =
        |certificates: &[Recorded]| certificates.iter().map(Recorded::row).collect::<Vec<_>>();
    if !finished.is_empty() {
        inventory.mark_delivered(&rows(&finished), at)?;
    }
    if !voided.is_empty() {
        inventory.void(&rows(&voided), "cut short before it was delivered", at)?;
    }
    Ok(Resumed { finished, voided })
}

/// Voids every proof of possession that was recorded and never delivered: its key was never kept,
/// and a new code needs a new proof anyway. The caller knows that nobody else is about to deliver one.
///
/// # Errors
/// [`InventoryError`].
pub fn void_proofs(inventory: &mut dyn Inventory, at: Time) -> Result<(), InventoryError> {
    let filter = Filter {
        role: Some(Role::Verification),
        ..Filter::default()
    };
    let left = inventory.undelivered(&filter)?;
    let rows: Vec<_> = left.iter().map(|entry| entry.recorded.row()).collect();
    if rows.is_empty() {
        Ok(())
    } else {
        inventory.void(&rows, "the proof was not completed", at)
    }
}
