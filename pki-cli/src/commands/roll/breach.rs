//! A breach roll of an authority: shut out wherever DPS can be reached, then repaired, and its devices off
//! their hubs, but for those that stay in.

use std::collections::BTreeSet;

use pki_core::admission::DpsView;
use pki_core::hub::HubDeviceStatus;
use pki_core::ids::{AuthorityName, RegistrationId, Sha256Thumbprint};
use pki_core::inventory::{AuthorityRecord, GenerationRecord, GenerationState, Inventory as _};
use pki_core::journal::Journal as _;
use pki_core::lifecycle::roll::{
    self, Below, Breach, HeldGeneration, InstancePlan, RegisteredDevice,
};
use pki_core::lifecycle::{Fleet, Promise, Who};
use pki_core::sqlite::SqliteInventory;

use super::StartArgs;
use super::authority::{AuthorityRoll, has_successor};
use super::instances::Instances;
use super::left_behind::{ShutOut, names};
use super::report::LeftBehind;
use super::rolling::Rolling;
use crate::commands::authority::{check_clock, declared, successor};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::hubs::{Hubs, UnreadHub, refuse_unread, registration_id};
use crate::issuance::refuse_not_begun;

impl StartArgs {
    pub(super) fn breach(
        &self,
        context: &Context,
        mut inventory: SqliteInventory,
        name: &AuthorityName,
    ) -> CommandResult {
        let again = || {
            format!("say it again when it can be reached: dps-pki roll start {name} --compromised")
        };
        let (instances, unreached) =
            Instances::reachable(context).map_err(|error| error.hint(again()))?;
        for one in &unreached {
            context.ui.warning(format!("{one}; it is left out"));
        }
        let record = inventory.authority(name)?;
        let is_replaced = record.is_some_and(|record| was_replaced(&record));
        // The hour in which one wants to know whom it hits is not that in which keys are made.
        let is_shown =
            context.settings.dry_run && !is_replaced && !has_successor(&inventory, name)?;
        if !is_replaced && !context.settings.dry_run {
            let declared = declared(context, name)?;
            successor(context, &mut inventory, declared, self.clock_is_right)?;
        }
        if is_shown {
            check_clock(context, &inventory, self.clock_is_right)?;
        } else {
            refuse_not_begun(context, &inventory, name)?;
        }
        let mut roll = AuthorityRoll::gather(context, &inventory, &instances, name)?;
        if self.with_intermediates {
            roll.recall_cut_off()?;
        }
        let (plans, unread) = self.plans(&roll, is_shown)?;
        let promise = roll.shuts_out(is_replaced);
        let compromised = roll.compromised().map(|held| held.number);
        if is_replaced && plans.iter().all(|one| one.plan.is_empty()) {
            context.ui.note(format!(
                "if the present generation is compromised as well, make the next one first: dps-pki authority create {name} --next"
            ));
        }
        let state = roll.state;
        let ended = Rolling::new(context, &instances, &state, &promise)
            .of_breach(compromised, unreached)
            .carry_out(&mut inventory, plans)?;
        if !context.settings.dry_run {
            refuse_unread(&unread)?;
        }
        Ok(ended)
    }

    /// What is done in every instance, and the devices whose hubs cannot be read. Who is taken off a hub
    /// follows from who is admitted when the rest is done.
    fn plans(
        &self,
        roll: &AuthorityRoll<'_>,
        is_shown: bool,
    ) -> Result<(Vec<InstancePlan>, Vec<UnreadHub>), CommandError> {
        let plans = |devices| {
            let request = Breach {
                devices,
                hub: self.hub.into(),
                with_intermediates: self.with_intermediates,
            };
            if is_shown {
                roll::shut_out(&request, &roll.state)
            } else {
                roll::replace(&request, &roll.state)
            }
        };
        let without_hubs = plans(vec![])?;
        let mut after = roll.instances.views()?;
        for InstancePlan { dps, plan } in &without_hubs {
            if let Some(index) = roll.instances.index(dps) {
                after[index] = plan.applied_to(&after[index])?;
            }
        }
        let (devices, unread) = roll.compromised_devices(&after)?;
        Ok((plans(devices)?, unread))
    }
}

impl AuthorityRoll<'_> {
    /// Reads in the journal whom a run that was cut short has cut off.
    fn recall_cut_off(&mut self) -> Result<(), CommandError> {
        let Some(old) = self.compromised() else {
            return Ok(());
        };
        let ca = old.certificate.sha1_thumbprint();
        let goal = roll::goal_of_replacing(&self.state.authority, old.number);
        for instance in &mut self.state.instances {
            instance.cut_off = self.inventory.cut_off(&instance.name, &goal, &ca)?;
        }
        Ok(())
    }

    /// The authorities below that a run that was cut short has cut off somewhere.
    fn cut_off(&self) -> Vec<HeldGeneration> {
        let is_cut_off = |below: &&Below| {
            let thumbprint = below.certificate.sha1_thumbprint();
            let mut instances = self.state.instances.iter();
            instances.any(|instance| instance.cut_off.contains(&thumbprint))
        };
        let below = self.state.below.iter().filter(is_cut_off);
        below
            .map(|below| HeldGeneration {
                number: below.generation,
                state: GenerationState::Current,
                certificate: below.certificate.clone(),
            })
            .collect()
    }

    /// From its first step on a breach roll refuses whom it hits, and lets in nobody but those who have
    /// leaves of the new generation, or of an authority below that it is to have verified and has cut off
    /// before.
    fn shuts_out(&self, is_replaced: bool) -> Promise {
        let comes = |state| match state {
            GenerationState::Next | GenerationState::Pending => true,
            GenerationState::Current => is_replaced,
            _ => false,
        };
        let generations = self.state.generations.iter();
        let mut coming: Vec<HeldGeneration> = generations
            .filter(|held| comes(held.state))
            .cloned()
            .collect();
        coming.extend(self.cut_off());
        Promise {
            refuses: Who::Anybody,
            lets_in: Who::SignedBy(self.signers_below(&coming).into_iter().collect()),
            ..Promise::default()
        }
    }

    /// The generation that is compromised: the current one, or after a breach roll the one that was.
    fn compromised(&self) -> Option<&HeldGeneration> {
        let current = self.in_state(GenerationState::Current);
        if self.has_newcomer() {
            current
        } else {
            self.in_state(GenerationState::Compromised).or(current)
        }
    }

    /// The devices that a breach roll takes off their hubs, by instance, and those whose hubs cannot be read.
    /// `after` is what the instances decide when the rest is done.
    fn compromised_devices(
        &self,
        after: &[DpsView],
    ) -> Result<(Vec<Vec<RegisteredDevice>>, Vec<UnreadHub>), CommandError> {
        let Some(old) = self.compromised() else {
            return Ok((vec![], vec![]));
        };
        let signers = self.signers_below(std::slice::from_ref(old));
        let mut devices = Vec::new();
        let mut unread = Vec::new();
        for (index, (instance, after)) in self.state.instances.iter().zip(after).enumerate() {
            let shut_out = ShutOut {
                fleet: &self.fleet,
                signers: &signers,
                after,
                is_again: old.state == GenerationState::Compromised,
            };
            let is_holder = |group: &_| instance.holds(group, old);
            let registered = self
                .question()
                .registered_below(index, &shut_out, is_holder)?;
            for note in registered.notes() {
                self.context.ui.warning(note);
            }
            devices.push(registered.devices);
            unread.extend(registered.unread);
        }
        Ok((devices, unread))
    }

    /// The devices below a compromised generation that no instance lets in, each of which needs a new leaf;
    /// and those that are let in again and that a hub keeps out.
    pub(super) fn worklist(&self) -> Result<(LeftBehind, LeftBehind), CommandError> {
        let compromised = self.state.generations.iter();
        let compromised: BTreeSet<Sha256Thumbprint> = compromised
            .filter(|held| held.state == GenerationState::Compromised)
            .map(|held| held.certificate.sha256_thumbprint())
            .collect();
        if compromised.is_empty() {
            return Ok((LeftBehind::default(), LeftBehind::default()));
        }
        let views = self.instances.views()?;
        let individual = views.iter().flat_map(DpsView::individual_ids);
        let now = self.context.now();
        let fleet = Fleet::gather(self.inventory, now, individual)?;
        let list = fleet.worklist(&compromised, &views, self.inventory, now)?;
        let kept_off = self.kept_off_hubs(&list.back)?;
        let names = names(self.context);
        Ok((
            LeftBehind::of(&list.shut_out, names),
            LeftBehind::of(&kept_off, names),
        ))
    }

    /// Those of some devices that a hub knows and none lets connect.
    fn kept_off_hubs(
        &self,
        ids: &BTreeSet<RegistrationId>,
    ) -> Result<BTreeSet<RegistrationId>, CommandError> {
        let mut disabled = BTreeSet::new();
        let mut enabled = BTreeSet::new();
        if ids.is_empty() {
            return Ok(disabled);
        }
        for planes in &self.instances.planes {
            let (found, unread) = self.context.block_on(async {
                let known = match planes.known_hubs().await {
                    Ok(known) => known,
                    Err(_) => planes.declared_hubs(),
                };
                Ok(Hubs::of(planes).find_all(&known, ids).await)
            })?;
            for hub in unread {
                self.context
                    .ui
                    .warning(format!("whom it keeps out cannot be told: {hub}"));
            }
            for identity in found {
                if let Some(id) = registration_id(&identity.device) {
                    match identity.device.status {
                        HubDeviceStatus::Disabled => disabled.insert(id),
                        HubDeviceStatus::Enabled => enabled.insert(id),
                    };
                }
            }
        }
        Ok(&disabled - &enabled)
    }
}

/// Whether a breach roll has run, and no further generation is there.
fn was_replaced(record: &AuthorityRecord) -> bool {
    let is_compromised = |one: &GenerationRecord| one.state == GenerationState::Compromised;
    let newest = record.generations.last();
    record.generations.iter().any(is_compromised)
        && newest.is_some_and(|newest| newest.state == GenerationState::Current)
}
