//! Whom a breach roll has left with something to do: devices that need a new leaf, and those that are let in
//! and that an instance or a hub keeps out still.

use std::collections::{BTreeMap, BTreeSet};

use pki_core::admission::{DpsView, Outcome, outcome_of};
use pki_core::hub::{HubDevice, HubDeviceStatus};
use pki_core::ids::{DpsName, HubHostName, RegistrationId, Sha256Thumbprint};
use pki_core::inventory::{InventoryEntry, InventoryError};
use pki_core::lifecycle::{Fleet, HubDeviceAction, Step};

use super::authority::AuthorityRoll;
use crate::hubs::{Hubs, registration_id};
use crate::planning::PlanningError;
use crate::registered::{is_shown, thumbprint};

/// The devices below compromised generations.
#[derive(Debug, Default)]
pub struct Worklist {
    /// Those that no instance lets in, each of which needs a new leaf.
    pub shut_out: BTreeSet<RegistrationId>,
    /// Those that one instance lets in again, by the instance that refuses them.
    pub refused: BTreeMap<DpsName, BTreeSet<RegistrationId>>,
    /// Those that are let in, and that a hub keeps out.
    pub kept_off_hubs: Vec<KeptOff>,
    /// The hubs that do not tell whom they keep out, and why.
    pub unread_hubs: Vec<String>,
}

/// The devices that a hub keeps out.
#[derive(Debug)]
pub struct KeptOff {
    /// The instance that is linked to it.
    pub dps: DpsName,
    /// The hub.
    pub hub: HubHostName,
    /// The devices.
    pub devices: BTreeSet<RegistrationId>,
}

impl AuthorityRoll<'_> {
    /// The devices below compromised generations that need a new leaf, or their hub's leave.
    pub(super) async fn worklist(&self, views: &[DpsView]) -> Result<Worklist, PlanningError> {
        let compromised: BTreeSet<Sha256Thumbprint> = self
            .state
            .generations
            .compromised()
            .map(|held| held.certificate.sha256_thumbprint())
            .collect();
        if compromised.is_empty() {
            return Ok(Worklist::default());
        }
        let individual = views.iter().flat_map(DpsView::individual_ids);
        let fleet = Fleet::gather(self.inventory, self.at, individual)?;
        let list = fleet.worklist(&compromised, views, self.inventory, self.at)?;
        let mut let_in = list.back;
        for id in self.taken_off()? {
            if self.is_let_in(&fleet, views, &id)? {
                let_in.insert(id);
            }
        }
        let (kept_off_hubs, unread_hubs) = self.kept_off_hubs(&fleet, views, &let_in).await?;
        let names = self.instances.all().iter().map(|one| one.name.clone());
        let refused = names.zip(list.refused);
        Ok(Worklist {
            shut_out: list.shut_out,
            refused: refused.filter(|(_, ids)| !ids.is_empty()).collect(),
            kept_off_hubs,
            unread_hubs,
        })
    }

    /// The devices that breach rolls have disabled on hubs, as the journal tells.
    fn taken_off(&self) -> Result<BTreeSet<RegistrationId>, InventoryError> {
        let mut ids = BTreeSet::new();
        for held in self.state.generations.compromised() {
            let plans = self.plans_of_breach(held.number)?;
            for step in plans.iter().flat_map(|plan| &plan.steps) {
                if let Step::HubDevice(step) = step
                    && matches!(step.action, HubDeviceAction::Disable { .. })
                {
                    ids.extend(step.device_id.as_str().parse::<RegistrationId>());
                }
            }
        }
        Ok(ids)
    }

    /// Whether an instance lets a device in with a leaf that is valid.
    fn is_let_in(
        &self,
        fleet: &Fleet,
        views: &[DpsView],
        id: &RegistrationId,
    ) -> Result<bool, InventoryError> {
        let leaves = self.inventory.live_leaves(id, self.at)?;
        let mut leaves = leaves.iter();
        Ok(leaves.any(|leaf| is_admitted(fleet, views, id, leaf)))
    }

    /// Whether an identity is one of a leaf that no instance lets in: enabled again, it would let that connect.
    fn is_of_leaf_kept_out(
        &self,
        fleet: &Fleet,
        views: &[DpsView],
        id: &RegistrationId,
        identity: &HubDevice,
    ) -> Result<bool, InventoryError> {
        let Some(shown) = thumbprint(identity) else {
            return Ok(false);
        };
        let leaves = self.inventory.certificates_of(id)?;
        let mut leaves = leaves.iter();
        let leaf = leaves.find(|leaf| is_shown(leaf.recorded.certificate(), shown));
        Ok(leaf.is_some_and(|leaf| !is_admitted(fleet, views, id, leaf)))
    }

    /// Those of some devices that hubs know and none lets connect, and the hubs that do not tell. Whoever showed a
    /// leaf there last that is kept out has to register with another one first.
    async fn kept_off_hubs(
        &self,
        fleet: &Fleet,
        views: &[DpsView],
        ids: &BTreeSet<RegistrationId>,
    ) -> Result<(Vec<KeptOff>, Vec<String>), InventoryError> {
        let mut kept_off = BTreeMap::<(DpsName, HubHostName), BTreeSet<RegistrationId>>::new();
        let mut enabled = BTreeSet::new();
        let mut unread_hubs = Vec::new();
        if ids.is_empty() {
            return Ok((vec![], unread_hubs));
        }
        for instance in self.instances.all() {
            let known = match instance.known_hubs().await {
                Ok(known) => known,
                Err(_) => instance.declared_hubs(),
            };
            let (found, unread) = Hubs::of(instance.dps).find_all(&known, ids).await;
            unread_hubs.extend(unread);
            for identity in found {
                let Some(id) = registration_id(&identity.device) else {
                    continue;
                };
                match identity.device.status {
                    HubDeviceStatus::Enabled => {
                        enabled.insert(id);
                    }
                    HubDeviceStatus::Disabled => {
                        if self.is_of_leaf_kept_out(fleet, views, &id, &identity.device)? {
                            continue;
                        }
                        let place = (instance.name.clone(), identity.hub);
                        kept_off.entry(place).or_default().insert(id);
                    }
                }
            }
        }
        let kept_off = kept_off.into_iter().map(|((dps, hub), devices)| KeptOff {
            dps,
            hub,
            devices: &devices - &enabled,
        });
        let kept_off = kept_off.filter(|one| !one.devices.is_empty());
        Ok((kept_off.collect(), unread_hubs))
    }
}

/// Whether an instance lets a leaf in, whatever its dates.
fn is_admitted(
    fleet: &Fleet,
    views: &[DpsView],
    id: &RegistrationId,
    leaf: &InventoryEntry,
) -> bool {
    let signer = leaf.recorded.signed_by();
    let Some(class) = signer.and_then(|signer| fleet.class_of(signer)) else {
        return false;
    };
    let thumbprint = leaf.recorded.certificate().sha256_thumbprint();
    views.iter().any(|view| {
        let outcome = outcome_of(view, id, &thumbprint, &class.above);
        matches!(outcome, Outcome::Admitted(_))
    })
}
