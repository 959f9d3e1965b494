//! What has taken a certificate's place, so that nobody has to renew it.

use super::{AuthorityRecord, GenerationState, Inventory, InventoryEntry, InventoryError, Status};
use crate::profile::Role;

/// Whether nobody has to renew a certificate, also after its end: its device was issued another leaf that ends
/// later, another generation of its authority is in use or rolled in, or it was never to last.
///
/// # Errors
/// [`InventoryError`] if the inventory cannot be read.
pub fn has_successor(
    inventory: &dyn Inventory,
    authorities: &[AuthorityRecord],
    entry: &InventoryEntry,
) -> Result<bool, InventoryError> {
    let recorded = &entry.recorded;
    let not_after = recorded.certificate().validity().not_after();
    Ok(match (recorded.role(), recorded.registration_id()) {
        (Role::Leaf, Some(id)) => inventory.certificates_of(id)?.iter().any(|other| {
            other.state.status() == Status::Delivered
                && other.recorded.certificate().validity().not_after() > not_after
        }),
        (Role::Root | Role::Intermediate, _) => authorities
            .iter()
            .find(|authority| holds(authority, entry))
            .is_some_and(|authority| is_rolled(authority, entry)),
        (Role::Verification, _) => true,
        (Role::Leaf, None) => false,
    })
}

fn holds(authority: &AuthorityRecord, entry: &InventoryEntry) -> bool {
    authority
        .generations
        .iter()
        .filter_map(|generation| generation.certificate.as_ref())
        .any(|recorded| recorded.row() == entry.recorded.row())
}

/// Whether another generation of the authority issues or is being rolled in.
fn is_rolled(authority: &AuthorityRecord, entry: &InventoryEntry) -> bool {
    let mut others = authority.generations.iter().filter(|generation| {
        let certificate = generation.certificate.as_ref();
        certificate.is_some_and(|recorded| recorded.row() > entry.recorded.row())
    });
    others.any(|generation| {
        matches!(
            generation.state,
            GenerationState::Current | GenerationState::Next
        )
    })
}
