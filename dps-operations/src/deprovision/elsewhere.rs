//! Who of a leaving group's devices others let in by another leaf: an expiry roll leaves each device the leaf
//! that it had before, and a group above may admit that.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use pki_core::admission::{DpsView, outcome_below};
use pki_core::certificate::Certificate;
use pki_core::ids::{AuthorityGeneration, RegistrationId};
use pki_core::inventory::{GenerationState, Inventory, InventoryEntry, InventoryError};
use pki_core::lifecycle::{EarlierLeaf, Fleet, MemberEntry};
use pki_core::time::Time;

use super::members::Membership;
use crate::gather::chain_of;
use crate::target::newest_leaf;

/// The devices of a group that a group of others lets in, whatever their individual enrollments say.
pub(super) struct Elsewhere {
    /// Those that have not moved, with their newest leaves.
    pub(super) by_earlier_leaves: BTreeMap<RegistrationId, Certificate>,
    /// Those that have.
    pub(super) moved: Vec<RegistrationId>,
}

impl Elsewhere {
    /// Those of these devices. `view` is what DPS holds.
    pub(super) fn of(
        membership: &Membership<'_>,
        view: &DpsView,
        devices: &BTreeSet<RegistrationId>,
        at: Time,
    ) -> Result<Self, InventoryError> {
        let inventory = membership.inventory;
        let living = living(inventory)?;
        let mut found = Self {
            by_earlier_leaves: BTreeMap::new(),
            moved: Vec::new(),
        };
        for id in let_in_by_others(membership, view, devices, at)? {
            let Some(newest) = newest_leaf(inventory, &id, at)? else {
                continue;
            };
            if has_moved(membership, &newest, &living)? {
                found.moved.push(id);
            } else {
                let newest = newest.recorded.certificate().clone();
                found.by_earlier_leaves.insert(id, newest);
            }
        }
        Ok(found)
    }

    /// Those that leave and have no individual enrollment, which would decide before any group.
    pub(super) fn without_entries(&self, entries: &[MemberEntry]) -> Vec<EarlierLeaf> {
        let has_entry = |id: &RegistrationId| {
            entries
                .iter()
                .any(|member| member.entry.registration_id == *id)
        };
        let without = self
            .by_earlier_leaves
            .iter()
            .filter(|(id, _)| !has_entry(id));
        without
            .map(|(id, newest)| EarlierLeaf {
                registration_id: id.clone(),
                newest: newest.clone(),
            })
            .collect()
    }
}

/// Whether a device is another group's by now: its newest leaf is not the leaving group's, and of a generation
/// that is in use, or of others. The leaf of a roll that was aborted moves nobody.
fn has_moved(
    membership: &Membership<'_>,
    newest: &InventoryEntry,
    living: &BTreeSet<AuthorityGeneration>,
) -> Result<bool, InventoryError> {
    let chain = chain_of(membership.inventory, newest.recorded.certificate())?;
    let signer = newest.recorded.signed_by();
    Ok(!membership.is_below(chain.above_leaf())
        && signer.is_none_or(|signer| living.contains(signer)))
}

/// The generations that issue, or are being rolled in.
fn living(inventory: &dyn Inventory) -> Result<BTreeSet<AuthorityGeneration>, InventoryError> {
    let mut living = BTreeSet::new();
    for authority in inventory.authorities()? {
        for one in &authority.generations {
            if matches!(one.state, GenerationState::Current | GenerationState::Next) {
                living.insert(AuthorityGeneration {
                    name: authority.name.clone(),
                    generation: one.generation,
                });
            }
        }
    }
    Ok(living)
}

fn let_in_by_others(
    membership: &Membership<'_>,
    view: &DpsView,
    devices: &BTreeSet<RegistrationId>,
    at: Time,
) -> Result<BTreeSet<RegistrationId>, InventoryError> {
    let fleet = Fleet::gather(membership.inventory, at, [])?;
    let mut let_in = BTreeSet::new();
    for (index, class) in fleet.classes.iter().enumerate() {
        let is_out = outcome_below(view, &class.above).admits() == Some(false);
        if is_out || membership.is_below(&class.above) {
            continue;
        }
        fleet.name_members(index, membership.inventory, at, |id| {
            if devices.contains(&id) {
                let_in.insert(id);
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(let_in)
}
