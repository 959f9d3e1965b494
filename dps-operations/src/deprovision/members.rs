//! Who belongs to a group that leaves: the devices with an unexpired leaf below its certificates, revoked or
//! not, about which it decides or would decide if nothing of their own did, and what hubs and DPS have of them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use pki_core::admission::{ChainElement, DpsView, Outcome, Refusal, outcome_below};
use pki_core::enrollment::{
    CertificateSlot, EnrollmentGroup, IndividualEnrollment, Mechanism, ProvisioningStatus,
    RegistrationState, X509Certificates,
};
use pki_core::ids::{EnrollmentGroupId, RegistrationId};
use pki_core::inventory::{Inventory, InventoryError};
use pki_core::lifecycle::roll::RegisteredDevice;
use pki_core::lifecycle::{
    Fleet, GroupMembers, HubIdentity, MemberEntry, Purpose, Verdict, blocking_groups, is_pin,
};
use pki_core::time::Time;

use super::elsewhere::Elsewhere;
use super::group::{LeavingGroup, deleted_by};
use crate::devices::without_entry;
use crate::gather::chain_of;
use crate::hubs::{UnreadHub, registration_id};
use crate::instance::Surroundings;
use crate::planning::PlanningError;
use crate::registered::{Registered, ShownLeaf, records_of_groups, shown_leaf, with_identities};
use crate::target::Target;

/// The devices of a group that leaves, with what there is of them.
pub(super) struct Members {
    pub(super) planned: GroupMembers,
    /// Those that leave and that others let in by an earlier leaf, shut out already or not.
    pub(super) by_earlier_leaves: BTreeSet<RegistrationId>,
    /// Those whose hubs cannot be read.
    pub(super) unread: Vec<UnreadHub>,
    /// What is to be told of hubs that were not searched.
    pub(super) notes: Vec<String>,
}

/// The devices of a group that leaves, as the inventory and their individual enrollments tell.
struct Belonging {
    devices: BTreeSet<RegistrationId>,
    entries: Vec<MemberEntry>,
    elsewhere: Elsewhere,
}

impl Belonging {
    fn with(self, registered: Registered) -> Members {
        Members {
            notes: registered.notes().collect(),
            unread: registered.unread,
            by_earlier_leaves: self.elsewhere.by_earlier_leaves.keys().cloned().collect(),
            planned: GroupMembers {
                registered: registered.devices,
                by_earlier_leaves: self.elsewhere.without_entries(&self.entries),
                moved: self.elsewhere.moved,
                entries: self.entries,
            },
        }
    }
}

/// What tells the devices of a group from others.
pub(super) struct Membership<'a> {
    pub(super) inventory: &'a dyn Inventory,
    group: &'a EnrollmentGroupId,
    /// What DPS holds, without what shuts out a generation as a whole, and without a moment: a group's
    /// devices stay its devices when they are shut out, and when a certificate above them ends.
    view: DpsView,
}

impl Membership<'_> {
    /// Whether the group decides about leaves with these certificates above them.
    pub(super) fn is_below(&self, above: &[ChainElement]) -> bool {
        let decides = Verdict::from(outcome_below(&self.view, above));
        decides.group() == Some(self.group)
    }

    /// The devices with a leaf that has not ended, revoked or not, about which the group decides.
    fn devices(&self, at: Time) -> Result<BTreeSet<RegistrationId>, InventoryError> {
        let fleet = Fleet::gather(self.inventory, at, [])?;
        let mut devices = BTreeSet::new();
        for (index, class) in fleet.classes.iter().enumerate() {
            if self.is_below(&class.above) {
                fleet.name_members(index, self.inventory, at, |id| {
                    devices.insert(id);
                    ControlFlow::Continue(())
                })?;
            }
        }
        Ok(devices)
    }

    /// Whether the device is one of the group by the leaf that its identity shows; one that shows none was
    /// not made by a leaf of others.
    fn is_shown_by(&self, found: &HubIdentity) -> Result<bool, InventoryError> {
        Ok(match shown_leaf(self.inventory, found)? {
            ShownLeaf::Nothing => true,
            ShownLeaf::Unknown => false,
            ShownLeaf::Known(leaf) => {
                self.is_below(chain_of(self.inventory, leaf.recorded.certificate())?.above_leaf())
            }
        })
    }

    /// Whether an enabled entry is pinned to a leaf of the group, by which its device has come back.
    fn has_pinned(&self, entry: &IndividualEnrollment) -> Result<bool, InventoryError> {
        let Mechanism::X509(X509Certificates::Client(slots)) = &entry.attestation.mechanism else {
            return Ok(false);
        };
        if !is_pin(entry) {
            return Ok(false);
        }
        for thumbprint in slots.iter().filter_map(CertificateSlot::sha256_thumbprint) {
            if let Some(leaf) = self.inventory.by_sha256_thumbprint(&thumbprint)? {
                let chain = chain_of(self.inventory, leaf.recorded.certificate())?;
                return Ok(self.is_below(chain.above_leaf()));
            }
        }
        Ok(false)
    }
}

impl LeavingGroup {
    /// Who is on which hub, while the group can still tell: its registration records, and the identities of
    /// those of its devices that have none. A group that stays refuses its devices, and the record of a
    /// refused attempt is made again whenever the device knocks: it counts only if the group goes.
    pub(super) async fn members(
        &self,
        around: Surroundings<'_>,
        goes: bool,
    ) -> Result<Members, PlanningError> {
        let membership = self.membership(around.journal, None)?;
        let belonging = self.belonging(around, &membership, goes)?;
        let registered = self
            .registered(around, &membership, &belonging, goes)
            .await?;
        Ok(belonging.with(registered))
    }

    /// Those of the devices of a group that has gone that others let in by an earlier leaf. Whoever an entry has
    /// brought back since is there by what somebody asked for.
    pub(super) async fn members_of_gone(
        &self,
        around: Surroundings<'_>,
        gone: Option<&EnrollmentGroup>,
    ) -> Result<Members, PlanningError> {
        let membership = self.membership(around.journal, gone)?;
        let mut belonging = self.belonging(around, &membership, true)?;
        let back = of_purpose(&belonging.entries, Purpose::BringsBack);
        let elsewhere = &mut belonging.elsewhere.by_earlier_leaves;
        elsewhere.retain(|id, _| !back.contains(id));
        belonging.devices.retain(|id| elsewhere.contains_key(id));
        let registered = self
            .registered(around, &membership, &belonging, true)
            .await?;
        Ok(belonging.with(registered))
    }

    fn belonging(
        &self,
        around: Surroundings<'_>,
        membership: &Membership<'_>,
        goes: bool,
    ) -> Result<Belonging, PlanningError> {
        let now = around.now();
        let mut devices = membership.devices(now)?;
        let cut = self.open_plan(around)?;
        let cut: BTreeSet<&RegistrationId> = cut.iter().flat_map(deleted_by).collect();
        let entries = self.entries_of(membership, &devices, &cut, (goes, now))?;
        let own = of_purpose(&entries, Purpose::Own);
        devices.retain(|device| !own.contains(device));
        let elsewhere = Elsewhere::of(membership, &self.view, &devices, now)?;
        Ok(Belonging {
            devices,
            entries,
            elsewhere,
        })
    }

    async fn registered(
        &self,
        around: Surroundings<'_>,
        membership: &Membership<'_>,
        belonging: &Belonging,
        goes: bool,
    ) -> Result<Registered, PlanningError> {
        let earlier = &belonging.elsewhere.by_earlier_leaves;
        let own = of_purpose(&belonging.entries, Purpose::Own);
        let is_wanted = |group: &EnrollmentGroupId, record: &RegistrationState| {
            let id = &record.registration_id;
            let is_on_hub = record.assigned_hub.is_some();
            Ok::<_, PlanningError>(if *group == self.id {
                (goes || is_on_hub) && !own.contains(id)
            } else {
                is_on_hub && earlier.contains_key(id)
            })
        };
        let dps = around.instance.dps;
        let listing = self
            .groups()
            .filter(|id| **id == self.id || !earlier.is_empty());
        let records = records_of_groups(dps, listing, is_wanted).await?;
        let mut registered = with_identities(dps, records).await;
        // Whoever came back by an entry that is pinned is on no group's list.
        let mut pinned = of_purpose(&belonging.entries, Purpose::BringsBack);
        pinned.retain(|id| belonging.devices.contains(id));
        registered.add_recorded(dps, &pinned).await?;
        let told = registered.devices.len();
        let is_meant = |found: &HubIdentity| {
            let id = registration_id(&found.device);
            id.is_some_and(|id| earlier.contains_key(&id))
                || membership.is_shown_by(found).unwrap_or(false)
        };
        registered
            .add_unlisted(around, belonging.devices.clone(), is_meant)
            .await?;
        // A record that no list of this group has may be that of another, to which the device has moved.
        let more = registered.devices.split_off(told);
        let is_on_hub =
            |device: &RegisteredDevice| device.hub_identity.as_ref().is_some_and(is_meant);
        registered
            .devices
            .extend(more.into_iter().filter(is_on_hub));
        Ok(registered)
    }

    /// `gone` is the group as it was, if DPS has it no more.
    fn membership<'a>(
        &'a self,
        inventory: &'a dyn Inventory,
        gone: Option<&EnrollmentGroup>,
    ) -> Result<Membership<'a>, PlanningError> {
        let snapshot = &self.snapshot;
        let groups = snapshot.groups.iter().chain(gone);
        let mut view = DpsView::from_documents(&snapshot.authorities, groups, [])?;
        let authorities = inventory.authorities()?;
        for block in blocking_groups(&authorities, &snapshot.groups) {
            if *block != self.id {
                view.remove_group(block);
            }
        }
        Ok(Membership {
            inventory,
            group: &self.id,
            view,
        })
    }

    /// The individual enrollments of these devices, when the group goes or stays. `cut` are those that a plan
    /// which was cut was to delete.
    fn entries_of(
        &self,
        membership: &Membership<'_>,
        devices: &BTreeSet<RegistrationId>,
        cut: &BTreeSet<&RegistrationId>,
        (goes, now): (bool, Time),
    ) -> Result<Vec<MemberEntry>, InventoryError> {
        let mut after = self.view.clone();
        if goes {
            after.remove_group(membership.group);
        }
        let mut entries = Vec::new();
        for entry in &self.snapshot.individuals {
            if !devices.contains(&entry.registration_id) {
                continue;
            }
            let is_disabled = entry.provisioning_status == ProvisioningStatus::Disabled;
            let purpose = if is_disabled && !cut.contains(&entry.registration_id) {
                Purpose::ShutsOut
            } else if is_disabled || membership.has_pinned(entry)? {
                Purpose::BringsBack
            } else {
                Purpose::Own
            };
            let target = Target::without_leaf(entry.registration_id.clone());
            let then = without_entry(membership.inventory, &after, &target, now)?;
            entries.push(MemberEntry {
                entry: entry.clone(),
                purpose,
                is_held: then != Some(Outcome::Refused(Refusal::NoEntry)),
            });
        }
        Ok(entries)
    }
}

/// The devices whose entries are there for something.
fn of_purpose(entries: &[MemberEntry], purpose: Purpose) -> BTreeSet<RegistrationId> {
    let meant = entries.iter().filter(|member| member.purpose == purpose);
    meant
        .map(|member| member.entry.registration_id.clone())
        .collect()
}
