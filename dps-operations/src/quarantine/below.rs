//! Everything below an authority: a disabled group, and the registered devices off their hubs.
//!
//! The group decides before any group above it does, and must stay: deleting it lets its devices fall
//! through to an enabled group above. Devices with an entry of their own are decided about by that.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use pki_core::admission::{ChainElement, DpsView, Outcome, outcome_below, outcome_of};
use pki_core::certificate::Certificate;
use pki_core::enrollment::{ProvisioningStatus, RegistrationState};
use pki_core::ids::{
    AuthorityGeneration, AuthorityName, EnrollmentGroupId, RegistrationId, Sha256Thumbprint,
};
use pki_core::inventory::{AuthorityRecord, GenerationState, Inventory, InventoryError};
use pki_core::lifecycle::roll::RegisteredDevice;
use pki_core::lifecycle::{Class, Fleet, HubAction, Plan, Promise, Step, Who, quarantine_below};
use pki_core::time::Time;

use crate::gather::{DpsSnapshot, GatherError, chain_of};
use crate::hubs::UnreadHub;
use crate::instance::{Instance, Surroundings};
use crate::judge::{Judge, JudgeError, Judged};
use crate::planning::PlanningError;
use crate::registered::{
    Registered, ShownLeaf, id_of, records_of_groups, shown_leaf, with_identities,
};

/// An authority's generations and every class of leaves below them.
#[derive(Debug)]
pub struct Below {
    /// The authorities, by name.
    names: String,
    /// The generations and those below, nearest to the authority first, with their certificates.
    held: Vec<(AuthorityGeneration, Certificate)>,
    fleet: Fleet,
    thumbprints: BTreeSet<Sha256Thumbprint>,
}

/// How many devices are named in the notes of a plan.
const NAMED: usize = 10;

/// What is to be done in one instance.
#[derive(Debug)]
pub struct PreparedBelow {
    plan: Plan,
    view: DpsView,
    /// The devices below that an enrollment of their own lets in still.
    pub staying: BTreeSet<RegistrationId>,
    /// The devices whose hubs cannot be read.
    pub unread: Vec<UnreadHub>,
}

impl Below {
    /// Below every generation of an authority that came to life.
    ///
    /// # Errors
    /// [`PlanningError::NoAuthority`] if there is none; the inventory cannot be read.
    pub fn of(
        inventory: &dyn Inventory,
        name: &AuthorityName,
        at: Time,
    ) -> Result<Self, PlanningError> {
        let record = inventory.authority(name)?;
        let own = record.as_ref().map(certificates).unwrap_or_default();
        if own.is_empty() {
            Err(PlanningError::NoAuthority { name: name.clone() })
        } else {
            Ok(Self::certificates(inventory, own, at)?)
        }
    }

    /// Below these generations.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    pub fn certificates(
        inventory: &dyn Inventory,
        own: Vec<(AuthorityGeneration, Certificate)>,
        at: Time,
    ) -> Result<Self, InventoryError> {
        let names: BTreeSet<&str> = own.iter().map(|(id, _)| id.name.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let names = names.join(", ");
        let thumbprints = own.iter().map(|(_, held)| held.sha256_thumbprint());
        let thumbprints: BTreeSet<Sha256Thumbprint> = thumbprints.collect();
        let fleet = Fleet::gather(inventory, at, [])?;
        let is_below = |id: &AuthorityGeneration| {
            let class = fleet
                .classes
                .iter()
                .find(|class| class.signed_by.as_ref() == Some(id));
            class.is_some_and(|class| goes_through(&class.above, &thumbprints))
        };
        let mut held = own;
        for other in inventory.authorities()? {
            for (id, certificate) in certificates(&other) {
                let is_own = thumbprints.contains(&certificate.sha256_thumbprint());
                if !is_own && is_below(&id) {
                    held.push((id, certificate));
                }
            }
        }
        Ok(Self {
            names,
            held,
            fleet,
            thumbprints,
        })
    }

    /// The classes of leaves below.
    fn classes(&self) -> impl Iterator<Item = &Class> {
        self.fleet
            .classes
            .iter()
            .filter(|class| goes_through(&class.above, &self.thumbprints))
    }

    /// The devices below that have a leaf.
    fn members(
        &self,
        inventory: &dyn Inventory,
        at: Time,
    ) -> Result<BTreeSet<RegistrationId>, InventoryError> {
        let mut ids = BTreeSet::new();
        for (index, class) in self.fleet.classes.iter().enumerate() {
            if goes_through(&class.above, &self.thumbprints) {
                self.fleet.name_members(index, inventory, at, |id| {
                    ids.insert(id);
                    ControlFlow::Continue(())
                })?;
            }
        }
        Ok(ids)
    }

    /// Groups for the authority itself, and for those below it that another group would still admit.
    ///
    /// # Errors
    /// [`PlanningError`] if a group cannot be named, or the documents do not say who is admitted.
    pub fn plan(&self, snapshot: &DpsSnapshot, before: &DpsView) -> Result<Plan, PlanningError> {
        let mut plan = Plan::new(format!("shut out everything below {}", self.names));
        let mut view = before.clone();
        let is_own = |certificate: &&Certificate| {
            self.thumbprints.contains(&certificate.sha256_thumbprint())
        };
        let held = self.held.iter().map(|(_, certificate)| certificate);
        let own: Vec<Certificate> = held.filter(is_own).cloned().collect();
        for (id, certificate) in &self.held {
            let is_own = self.thumbprints.contains(&certificate.sha256_thumbprint());
            let class = self
                .fleet
                .classes
                .iter()
                .find(|one| one.signed_by.as_ref() == Some(id));
            let is_in = class.is_some_and(|class| is_admitted(&view, &class.above));
            if !is_own && !is_in {
                continue;
            }
            let one = quarantine_below(
                id,
                certificate,
                &own,
                &snapshot.authorities,
                &snapshot.groups,
            )?;
            for step in one.steps {
                if !plan.steps.contains(&step) {
                    step.apply_to(&mut view)?;
                    plan.steps.push(step);
                }
            }
            for note in one.notes {
                if !plan.notes.contains(&note) {
                    plan.notes.push(note);
                }
            }
        }
        Ok(plan)
    }

    /// What an instance decides about the first devices below that are not kept out; `None` if all are.
    pub fn not_kept_out(&self, view: &DpsView) -> Option<Outcome> {
        let admitted = self
            .classes()
            .find(|class| is_admitted(view, &class.above))?;
        Some(outcome_below(view, &admitted.above))
    }

    /// Reads an instance, and tells what [`Self::not_kept_out`] does.
    ///
    /// # Errors
    /// [`GatherError`] if DPS cannot be read.
    pub async fn read_back(&self, instance: Instance<'_>) -> Result<Option<Outcome>, GatherError> {
        let view = DpsSnapshot::gather(instance).await?.view()?;
        Ok(self.not_kept_out(&view))
    }

    /// Looks at an instance, and plans what is to be done there: the groups, and the registered devices off
    /// their hubs.
    ///
    /// # Errors
    /// [`PlanningError`] if there is no plan, or something cannot be read.
    pub async fn prepare(
        &self,
        around: Surroundings<'_>,
        hub: HubAction,
        reason: Option<&str>,
    ) -> Result<PreparedBelow, PlanningError> {
        let snapshot = DpsSnapshot::gather(around.instance).await?;
        let view = snapshot.view()?;
        let mut plan = self.plan(&snapshot, &view)?;
        let after = plan.applied_to(&view)?;
        let staying = self.own_entries(around, &after)?;
        plan.notes.extend(self.notes_of(&staying));
        let mut unread = Vec::new();
        if hub == HubAction::Keep {
            let note = "the hub identities are kept: devices that are connected stay connected";
            plan.notes.push(note.into());
        } else {
            let registered = self.registered(around, &snapshot, (&plan, &after)).await?;
            let reason = reason.unwrap_or("its issuer is shut out");
            for device in &registered.devices {
                plan.steps.extend(device.deregister(hub, reason));
            }
            plan.notes.extend(registered.notes());
            unread = registered.unread;
        }
        Ok(PreparedBelow {
            plan,
            view,
            staying,
            unread,
        })
    }

    /// The devices below that an enrollment of their own lets in: nothing that happens to a group shuts them out.
    fn own_entries(
        &self,
        around: Surroundings<'_>,
        after: &DpsView,
    ) -> Result<BTreeSet<RegistrationId>, InventoryError> {
        let fleet = Fleet::gather(around.journal, around.now(), after.individual_ids())?;
        Ok(fleet.own_entries_below(&self.thumbprints, after))
    }

    fn notes_of(&self, staying: &BTreeSet<RegistrationId>) -> Vec<String> {
        let names = &self.names;
        let mut notes: Vec<String> = staying
            .iter()
            .take(NAMED)
            .map(|id| {
                format!("{id} has an individual enrollment that lets it in with a leaf below {names}; shut it out with: dps-pki quarantine {id}")
            })
            .collect();
        if staying.len() > NAMED {
            notes.push(format!("and {} more have one", staying.len() - NAMED));
        }
        notes
    }

    /// The registered devices below, those of the groups that are disabled of which the inventory knows no
    /// leaf, and those that a hub knows without a record; but for those that are let in after the plan.
    async fn registered(
        &self,
        around: Surroundings<'_>,
        snapshot: &DpsSnapshot,
        (plan, after): (&Plan, &DpsView),
    ) -> Result<Registered, PlanningError> {
        let inventory = around.journal;
        let now = around.now();
        let disabled: BTreeSet<&EnrollmentGroupId> = plan
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Group(step) => Some(step.id()),
                _ => None,
            })
            .collect();
        let signers: BTreeSet<&AuthorityGeneration> = self
            .classes()
            .filter_map(|class| class.signed_by.as_ref())
            .collect();
        let is_below =
            |group: &EnrollmentGroupId, id: &RegistrationId| -> Result<bool, InventoryError> {
                let leaves = inventory.unexpired_leaves(id, now)?;
                let mut known = leaves.iter().filter_map(|leaf| leaf.recorded.signed_by());
                Ok(if leaves.is_empty() {
                    disabled.contains(group)
                } else {
                    known.any(|signer| signers.contains(signer))
                })
            };
        let groups = snapshot
            .groups
            .iter()
            .map(|group| &group.enrollment_group_id);
        let wanted = |group: &EnrollmentGroupId, record: &RegistrationState| {
            Ok::<_, PlanningError>(
                record.assigned_hub.is_some() && is_below(group, &record.registration_id)?,
            )
        };
        let members = self.members(inventory, now)?;
        let dps = around.instance.dps;
        let records = records_of_groups(dps, groups, wanted).await?;
        let mut registered = with_identities(dps, records).await;
        registered.add_unlisted(around, members, |_| true).await?;
        registered
            .unread
            .retain(|unread| !has_own_entry(after, &unread.registration_id));
        let mut devices = Vec::new();
        for device in registered.devices {
            if self.is_taken_off(inventory, after, &device)? {
                devices.push(device);
            }
        }
        registered.devices = devices;
        Ok(registered)
    }

    /// Whether a device leaves its hub: the leaf that it showed there last tells, where that is known.
    fn is_taken_off(
        &self,
        inventory: &dyn Inventory,
        after: &DpsView,
        device: &RegisteredDevice,
    ) -> Result<bool, InventoryError> {
        let Some(id) = id_of(device) else {
            return Ok(false);
        };
        let shown = match &device.hub_identity {
            Some(found) => shown_leaf(inventory, found)?,
            None => ShownLeaf::Nothing,
        };
        let ShownLeaf::Known(leaf) = shown else {
            return Ok(!has_own_entry(after, &id));
        };
        let leaf = leaf.recorded.certificate();
        let chain = chain_of(inventory, leaf)?;
        let above = chain.above_leaf();
        let outcome = outcome_of(after, &id, &leaf.sha256_thumbprint(), above);
        Ok(goes_through(above, &self.thumbprints) && outcome.admits() != Some(true))
    }
}

impl PreparedBelow {
    /// Puts the plan through the checker: it lets nobody in.
    ///
    /// # Errors
    /// [`JudgeError`]: it would, or the inventory cannot be read.
    pub fn judge(&self, around: Surroundings<'_>) -> Result<Judged, JudgeError> {
        let promise = Promise {
            refuses: Who::Anybody,
            ..Promise::default()
        };
        let judge = Judge::of(around, &self.view);
        judge.plan(self.plan.clone(), &promise, around.instance.rate())
    }
}

/// The generations that came to life.
fn certificates(record: &AuthorityRecord) -> Vec<(AuthorityGeneration, Certificate)> {
    let lived = record.generations.iter().filter(|one| {
        !matches!(
            one.state,
            GenerationState::Voided | GenerationState::Pending
        )
    });
    let held = lived.filter_map(|one| {
        let id = AuthorityGeneration {
            name: record.name.clone(),
            generation: one.generation,
        };
        Some((id, one.certificate.as_ref()?.certificate().clone()))
    });
    held.collect()
}

fn goes_through(above: &[ChainElement], thumbprints: &BTreeSet<Sha256Thumbprint>) -> bool {
    above
        .iter()
        .any(|element| thumbprints.contains(&element.sha256_thumbprint))
}

/// Whether a device has an individual enrollment that is enabled, which decides before any group.
fn has_own_entry(view: &DpsView, id: &RegistrationId) -> bool {
    let entry = view.individual(id);
    entry.is_some_and(|entry| entry.status == ProvisioningStatus::Enabled)
}

/// Whether devices are let in, as far as anybody can tell.
fn is_admitted(view: &DpsView, above: &[ChainElement]) -> bool {
    outcome_below(view, above).admits() != Some(false)
}
