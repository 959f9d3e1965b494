//! A breach roll: the compromised generation is shut out first, the new one put in its place after.
//!
//! What shuts out comes before everything else, in every instance: deleting the CA certificate that
//! groups refer to, and taking the certificate out of the groups that hold it. Where a group above
//! would then admit the chain, a disabled group holds the compromised certificate, and must stay.
//! Where one step is enough, no compromised certificate is admitted from that step on.

use super::expiry::{anchored, deleted, enabled_first, holders, settle, uploaded};
use super::slots::{self, Side};
use super::{HeldGeneration, Instance, InstancePlan, RollError, RollState};
use crate::admission::{DpsView, Outcome};
use crate::enrollment::RegistrationState;
use crate::ids::CertificateName;
use crate::inventory::{AuthorityGeneration, GenerationState};
use crate::lifecycle::below::blocking_group;
use crate::lifecycle::quarantine::{HubAction, HubIdentity, forget_registration, hub_step};
use crate::lifecycle::{Plan, Step};

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Breach {
    /// The devices below the compromised generation, by instance in the order of
    /// [`RollState::instances`]: their hubs know them until they are deregistered.
    pub devices: Vec<Vec<RegisteredDevice>>,
    /// What happens to their hub identities.
    pub hub: HubAction,
    /// Whether authorities below whose own keys are safe are to be verified themselves, where they
    /// lose their way to a verified CA certificate.
    pub with_intermediates: bool,
}

/// A device as DPS and its hubs know it.
#[derive(Debug, Clone)]
pub struct RegisteredDevice {
    /// Its registration record; `None` if it was deleted, and the hub knows the device still.
    pub registration: Option<RegistrationState>,
    /// Its identity on the hub that the record names, or that it was found on without one.
    pub hub_identity: Option<HubIdentity>,
}

impl RegisteredDevice {
    /// The steps that take it off its hub and forget its registration, in this order: the record tells a
    /// run that goes on which hub that is.
    pub fn deregister(&self, hub: HubAction, reason: &str) -> impl Iterator<Item = Step> + use<> {
        let found = self.hub_identity.as_ref();
        let from_hub = found.and_then(|found| hub_step(hub, Some(reason), found));
        from_hub
            .into_iter()
            .chain(self.registration.as_ref().map(forget_registration))
    }
}

/// Plans the replacement of the current generation, which is compromised, by the one after it. Where
/// there are several instances, all of them shut it out before the first one is repaired.
///
/// # Errors
/// [`RollError`]: there is no generation to replace it, or its devices would not be admitted.
pub fn replace(request: &Breach, state: &RollState) -> Result<Vec<InstancePlan>, RollError> {
    let (old, new) = pair(state)?;
    let goal = format!(
        "replace {} generation {}, which is compromised, by generation {}",
        state.authority, old.number, new.number
    );
    let (mut cuts, mut repairs) = (Vec::new(), Vec::new());
    for (index, instance) in state.instances.iter().enumerate() {
        let cut = cut(state, instance, old, new)?;
        let devices = request.devices.get(index).map_or(&[][..], Vec::as_slice);
        let repair = repair(state, instance, (old, new), request, devices)?;
        let plan = |steps| InstancePlan {
            dps: instance.name.clone(),
            plan: Plan {
                steps,
                ..Plan::new(&goal)
            },
        };
        cuts.push(plan(cut));
        repairs.push(plan(repair));
    }
    if let Some(last) = cuts.last_mut()
        && old.state == GenerationState::Current
    {
        let changes = [
            (old.number, GenerationState::Compromised),
            (new.number, GenerationState::Current),
        ];
        last.plan.steps.push(settle(&state.authority, &changes));
    }
    Ok(match (cuts.as_mut_slice(), repairs.as_mut_slice()) {
        ([cut], [repair]) => {
            cut.plan.steps.append(&mut repair.plan.steps);
            cuts
        }
        _ => cuts.into_iter().chain(repairs).collect(),
    })
}

/// The compromised generation and the one that replaces it; after a plan that was cut short, the one
/// that has replaced it already.
fn pair(state: &RollState) -> Result<(&HeldGeneration, &HeldGeneration), RollError> {
    let current = state.current()?;
    let compromised = state.in_state(GenerationState::Compromised);
    match (state.newcomer(), compromised) {
        (None, Some(compromised)) if compromised.number < current.number => {
            Ok((compromised, current))
        }
        _ => Ok((current, state.successor(current)?)),
    }
}

/// What shuts the compromised generation out of one instance.
fn cut(
    state: &RollState,
    instance: &Instance,
    old: &HeldGeneration,
    new: &HeldGeneration,
) -> Result<Vec<Step>, RollError> {
    let (old_side, new_side) = (Side::of(old, instance), Side::of(new, instance));
    let mut steps = deleted(instance, old);
    let gone = std::slice::from_ref(&old_side);
    let inline = holders(instance, &old_side).filter(|group| !old_side.is_referred_to_by(group));
    for group in enabled_first(inline) {
        steps.extend(slots::withdraw(group, gone, &new_side));
    }
    let mut after = instance.view()?;
    apply(&steps, &mut after)?;
    if matches!(
        state.outcome(&after, &old.certificate),
        Outcome::Admitted(_)
    ) {
        let generation = AuthorityGeneration {
            name: state.authority.clone(),
            generation: old.number,
        };
        steps.push(blocking_group(
            &generation,
            &old.certificate,
            &instance.groups,
        )?);
    }
    Ok(steps)
}

/// Brings the new generation in, and takes the devices of the old one off their hubs.
fn repair(
    state: &RollState,
    instance: &Instance,
    (old, new): (&HeldGeneration, &HeldGeneration),
    request: &Breach,
    devices: &[RegisteredDevice],
) -> Result<Vec<Step>, RollError> {
    let (old_side, mut new_side) = (Side::of(old, instance), Side::of(new, instance));
    // What the first step deletes is gone when a plan that was cut is made again, and groups that hold the
    // certificate itself tell no name: the declared one does.
    let mut old_side = old_side;
    if old_side.names.is_empty() {
        let is_gone =
            |name: &&CertificateName| !instance.authorities.iter().any(|held| held.name == **name);
        let deleted = instance.declared.iter().filter(is_gone);
        old_side.names.extend(deleted.cloned());
    }
    let mut steps = uploaded(state, instance, &old_side, &mut new_side)?;
    let gone = std::slice::from_ref(&old_side);
    let by_name = holders(instance, &old_side).filter(|group| old_side.is_referred_to_by(group));
    for group in enabled_first(by_name) {
        steps.extend(slots::withdraw(group, gone, &new_side));
    }
    if request.with_intermediates {
        steps.extend(anchored(state, instance, &[old])?);
    }
    let reason = "its issuer was compromised";
    let deregistered = devices.iter();
    steps.extend(deregistered.flat_map(|device| device.deregister(request.hub, reason)));
    Ok(steps)
}

fn apply(steps: &[Step], view: &mut DpsView) -> Result<(), RollError> {
    for step in steps {
        step.apply_to(view)?;
    }
    Ok(())
}
