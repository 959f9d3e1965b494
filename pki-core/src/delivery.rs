//! Delivery: recorded before it leaves.
//!
//! A certificate goes through three durable moments: the inventory has it, the outlet has it, the
//! inventory knows that it was delivered; [`crate::bulk`] sees to that. A run that was cut between them
//! leaves an undelivered record; [`resume`] finishes it if everything had arrived, and voids it otherwise,
//! because its key is gone.

use std::collections::BTreeSet;

use crate::ids::RegistrationId;
use crate::inventory::{
    CertificateState, Filter, Inventory, InventoryEntry, InventoryError, NewCertificate, Recorded,
    RowKey, Status, Uniqueness,
};
use crate::profile::Role;
use crate::time::Time;

/// Why what a run left behind is void: its key is gone.
const CUT_SHORT: &str = "cut short before it was delivered";

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

/// The leaf that a device has already: the one for which [`Inventory::record`] would refuse another, once
/// what runs left undelivered is void. Read whole, so it was compared with the audit trail.
///
/// # Errors
/// [`InventoryError`].
pub fn served(
    inventory: &dyn Inventory,
    id: &RegistrationId,
    at: Time,
) -> Result<Option<Recorded>, InventoryError> {
    let all = inventory.certificates_of(id)?;
    Ok(all
        .into_iter()
        .find(|entry| {
            entry.state.status() == Status::Delivered && entry.breaks(Uniqueness::OnlyLeaf, at)
        })
        .map(|entry| entry.recorded))
}

/// As [`served`], those of many devices that have a leaf.
///
/// # Errors
/// [`InventoryError`].
pub fn served_among(
    inventory: &dyn Inventory,
    ids: &[RegistrationId],
    at: Time,
) -> Result<BTreeSet<RegistrationId>, InventoryError> {
    Ok(inventory
        .holders(ids, at)?
        .into_iter()
        .filter(|holder| holder.status == Status::Delivered)
        .map(|holder| holder.id)
        .collect())
}

/// Finishes or voids what an earlier run left undelivered of a device, and returns what only lacked its mark;
/// `has_arrived` tells whether all of a certificate is where it was to go. The caller knows that no such run
/// is alive: what one has on its way looks the same.
///
/// # Errors
/// [`InventoryError`].
pub fn resume(
    inventory: &mut dyn Inventory,
    id: &RegistrationId,
    has_arrived: impl Fn(&Recorded) -> bool,
    at: Time,
) -> Result<Vec<Recorded>, InventoryError> {
    let mut left = inventory.certificates_of(id)?;
    left.retain(|entry| {
        entry.recorded.role() == Role::Leaf && entry.state == CertificateState::Undelivered
    });
    let (finished, voided): (Vec<Recorded>, Vec<Recorded>) = left
        .into_iter()
        .map(|entry: InventoryEntry| entry.recorded)
        .partition(has_arrived);
    let rows =
        |certificates: &[Recorded]| certificates.iter().map(Recorded::row).collect::<Vec<_>>();
    if !finished.is_empty() {
        inventory.mark_delivered(&rows(&finished), at)?;
    }
    void_cut_short(inventory, &rows(&voided), at)?;
    Ok(finished)
}

/// Voids leaves that a run left undelivered which was cut short. The caller knows that no such run is alive.
///
/// # Errors
/// [`InventoryError`].
pub fn void_cut_short(
    inventory: &mut dyn Inventory,
    rows: &[RowKey],
    at: Time,
) -> Result<(), InventoryError> {
    if rows.is_empty() {
        Ok(())
    } else {
        inventory.void(rows, CUT_SHORT, at)
    }
}

/// As [`resume`], of many devices whose keys went nowhere but into a batch that is another one: voids what
/// was left of them, and returns those that have a leaf.
///
/// # Errors
/// [`InventoryError`].
pub fn resume_all(
    inventory: &mut dyn Inventory,
    ids: &[RegistrationId],
    at: Time,
) -> Result<BTreeSet<RegistrationId>, InventoryError> {
    loop {
        let found = inventory.holders(ids, at)?;
        let left = found
            .iter()
            .filter(|holder| holder.status == Status::Undelivered);
        let rows: Vec<RowKey> = left.map(|holder| holder.row).collect();
        if rows.is_empty() {
            return Ok(found.into_iter().map(|holder| holder.id).collect());
        }
        // Behind each there may be another one.
        void_cut_short(inventory, &rows, at)?;
    }
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
