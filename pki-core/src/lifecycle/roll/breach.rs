//! A breach roll: the compromised generation is shut out first, the new one put in its place after.
//!
//! What shuts out comes before everything else, in every instance: taking the CA certificate out of DPS, and
//! the certificate out of the groups that hold it. Where a group refers to the CA certificate the new one is
//! put in its place, under its name: a service may refuse to delete what is referred to. A disabled group on the
//! compromised certificate keeps it out, and must stay: the service decides by the nearest group, so without
//! it a group above admits the leaves, also one that is made or enabled long after. It is the first step where
//! the others would admit somebody in between, and the last one where they shut out by themselves. Only above
//! a root no group can be.
//! Invariant: after every step from the first on no compromised certificate is admitted, nor once a
//! group above is made or enabled.

use super::expiry::{
    admitted_by, anchored, deleted, deletion, enabled_first, holders, settle, uploaded,
};
use super::slots::{self, Side};
use super::{HeldGeneration, Instance, InstancePlan, RollError, RollState};
use crate::admission::{Outcome, Refusal};
use crate::declaration::VerifiedBy;
use crate::enrollment::{EnrollmentGroup, ProvisioningStatus, RegistrationState};
use crate::ids::{AuthorityName, CertificateName, Generation, Sha1Thumbprint};
use crate::inventory::GenerationState;
use crate::lifecycle::below::blocking_group;
use crate::lifecycle::quarantine::{HubAction, HubIdentity, forget_registration, hub_step};
use crate::lifecycle::{CaAction, CaStep, Expectation, Plan, Step};
use crate::management::CaCertificate;

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
        "{}, by generation {}",
        goal_of_replacing(&state.authority, old.number),
        new.number
    );
    let (mut cuts, mut repairs) = (Vec::new(), Vec::new());
    for (index, instance) in state.instances.iter().enumerate() {
        let exit = exit(state, instance, old, new)?;
        let cut = cut(state, instance, (old, new), &exit)?;
        let devices = request.devices.get(index).map_or(&[][..], Vec::as_slice);
        let repair = repair(state, instance, (old, new), &exit, request, devices)?;
        let plan = |steps, notes| InstancePlan {
            dps: instance.name.clone(),
            plan: Plan {
                steps,
                notes,
                ..Plan::new(&goal)
            },
        };
        let mut notes = stay_disabled(state, instance, old);
        if matches!(exit, Exit::Deleted) {
            notes.extend(deleted_though_referred(instance, old));
        }
        notes.extend(below_it(request, state, instance, old)?);
        cuts.push(plan(cut, notes));
        repairs.push(plan(repair, vec![]));
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

/// What to do if the service refuses the deletion with which the plan begins. Disabled groups admit nobody, so
/// the plan that is made then lets the groups go of the CA certificate before it is deleted.
fn deleted_though_referred(instance: &Instance, old: &HeldGeneration) -> Vec<String> {
    instance
        .uploads(&old.certificate)
        .filter(|held| instance.refers_to(&held.name))
        .map(|held| {
            format!(
                "a group refers to CA certificate {}, which is deleted first; if the service refuses that, the roll stops there: disable the groups on it and on authorities below it, then ask for the roll again",
                held.name
            )
        })
        .collect()
}

/// The groups that somebody has disabled, as a quarantine does: they are repaired, and let nobody in.
fn stay_disabled(state: &RollState, instance: &Instance, old: &HeldGeneration) -> Vec<String> {
    let side = Side::compromised(old, instance);
    holders(state, instance, &side)
        .filter(|group| group.provisioning_status == ProvisioningStatus::Disabled)
        .map(|group| {
            let id = &group.enrollment_group_id;
            format!("enrollment group {id} stays disabled, and refuses the new generation too; when its devices are to come back, enable it with: dps-pki dps group enable {id}")
        })
        .collect()
}

/// What becomes of the authorities below that the cut leaves without a way to a verified CA certificate: a new
/// leaf of them is refused like the old ones.
fn below_it(
    request: &Breach,
    state: &RollState,
    instance: &Instance,
    old: &HeldGeneration,
) -> Result<Option<String>, RollError> {
    if request.with_intermediates {
        return Ok(None);
    }
    let cut_off = admitted_by(state, instance, old)?;
    let below = state.below.iter();
    let below = below.filter(|below| cut_off.contains(&below.certificate.sha1_thumbprint()));
    let named: Vec<String> = below
        .map(|below| format!("{} generation {}", below.authority, below.generation))
        .collect();
    if named.is_empty() {
        return Ok(None);
    }
    let or_verified = if anchored(state, instance, &[old])?.is_empty() {
        ""
    } else {
        ", or are verified themselves (--with-intermediates)"
    };
    Ok(Some(format!(
        "new leaves of {} are refused as well, until these are rolled, each with dps-pki roll start{or_verified}",
        named.join(", ")
    )))
}

/// The words with which the goal of every plan begins that replaces this generation.
pub fn goal_of_replacing(authority: &AuthorityName, compromised: Generation) -> String {
    format!("replace {authority} generation {compromised}, which is compromised")
}

/// What [`replace`] would do before there is a generation to take the place of the current one: it shuts
/// that out, has the authorities below verified if that was asked for, and takes its devices off their hubs.
/// For a look beforehand; the repair is not in it.
///
/// # Errors
/// [`RollError`]: no generation issues, or the group that shuts it out cannot be made.
pub fn shut_out(request: &Breach, state: &RollState) -> Result<Vec<InstancePlan>, RollError> {
    let old = state.current()?;
    let mut plans = Vec::new();
    for (index, instance) in state.instances.iter().enumerate() {
        let mut plan = Plan::new(format!(
            "shut out {} generation {}, which is compromised",
            state.authority, old.number
        ));
        let side = Side::compromised(old, instance);
        let inline = holders(state, instance, &side).filter(|group| !side.is_referred_to_by(group));
        let inline: Vec<&EnrollmentGroup> = inline.collect();
        plan.steps = deleted(instance, old);
        let referred = instance.uploads(&old.certificate);
        let referred = referred.filter(|held| instance.refers_to(&held.name));
        plan.notes.extend(referred.map(|held| {
            format!(
                "a group refers to CA certificate {}: the new generation is put in its place, which shuts out the same",
                held.name
            )
        }));
        plan.notes.extend(inline.iter().map(|group| {
            format!(
                "the new generation takes the place of generation {} in enrollment group {}",
                old.number, group.enrollment_group_id
            )
        }));
        let is_root = old.certificate.is_self_issued();
        if !is_root || !inline.is_empty() || plan.steps.is_empty() {
            let block = blocking_group(&state.id(old.number), &old.certificate, &instance.groups)?;
            plan.steps.splice(0..0, block);
        }
        if request.with_intermediates {
            plan.steps.extend(anchored(state, instance, &[old])?);
        }
        let devices = request.devices.get(index).map_or(&[][..], Vec::as_slice);
        let reason = "its issuer was compromised";
        let deregistered = devices.iter();
        plan.steps
            .extend(deregistered.flat_map(|device| device.deregister(request.hub, reason)));
        plan.notes.push(format!(
            "{} has no generation after {} yet: its key and certificate are made first, then put where the compromised one is",
            state.authority, old.number
        ));
        plans.push(InstancePlan {
            dps: instance.name.clone(),
            plan,
        });
    }
    Ok(plans)
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

/// How the CA certificate of the compromised generation leaves an instance. Whether the service deletes one
/// that a group refers to is not known: where a group does, the order must be right if it refuses, too.
enum Exit<'a> {
    /// It is deleted: no group refers to it, or only so it is out by the first write.
    Deleted,
    /// The new certificate is put in its place, under its name: out by one write, whoever refers to it.
    Replaced(&'a CaCertificate),
    /// The new one is uploaded already, and by the first of these steps the groups let go of the old one so
    /// that nobody is admitted by it; it is deleted when nothing refers to it.
    Withdrawn(Vec<Step>),
}

fn exit<'a>(
    state: &RollState,
    instance: &'a Instance,
    old: &'a HeldGeneration,
    new: &HeldGeneration,
) -> Result<Exit<'a>, RollError> {
    let uploads = instance.uploads(&old.certificate);
    let referred: Vec<&CaCertificate> = uploads
        .filter(|held| instance.refers_to(&held.name))
        .collect();
    let [referred] = referred[..] else {
        return Ok(Exit::Deleted);
    };
    if instance.uploads(&new.certificate).next().is_none() {
        return Ok(Exit::Replaced(referred));
    }
    let old_side = Side::compromised(old, instance);
    let withdrawn = withdrawn_by_name(state, instance, &old_side, &Side::of(new, instance));
    let Some(first) = withdrawn.first() else {
        return Ok(Exit::Deleted);
    };
    let mut view = instance.view()?;
    first.apply_to(&mut view)?;
    Ok(if state.admits_below(&view, &old.certificate) {
        Exit::Deleted
    } else {
        Exit::Withdrawn(withdrawn)
    })
}

/// Takes the compromised generation out of the groups that refer to its CA certificate.
fn withdrawn_by_name(
    state: &RollState,
    instance: &Instance,
    old: &Side<'_>,
    new: &Side<'_>,
) -> Vec<Step> {
    let by_name = holders(state, instance, old).filter(|group| old.is_referred_to_by(group));
    let by_name = enabled_first(by_name).into_iter();
    by_name
        .filter_map(|group| slots::withdraw(group, &[old], new))
        .collect()
}

/// What shuts the compromised generation out of one instance: from the first step on, and for good.
fn cut(
    state: &RollState,
    instance: &Instance,
    (old, new): (&HeldGeneration, &HeldGeneration),
    exit: &Exit<'_>,
) -> Result<Vec<Step>, RollError> {
    let old_side = Side::compromised(old, instance);
    let new_side = Side::of(new, instance);
    let mut steps = cut_out(state, instance, (old, new), exit)?;
    let gone = &[&old_side];
    let inline =
        holders(state, instance, &old_side).filter(|group| !old_side.is_referred_to_by(group));
    for group in enabled_first(inline) {
        steps.extend(slots::withdraw(group, gone, &new_side));
    }
    if is_decided_otherwise(state, instance, old, &steps)? {
        // Of several groups with one certificate a disabled one wins.
        let block = blocking_group(&state.id(old.number), &old.certificate, &instance.groups)?;
        steps.splice(0..0, block);
    } else {
        // Behind the step that shuts out: that needs no room for one more group.
        steps.extend(for_later(state, instance, old)?);
    }
    let is_earlier = |one: &&HeldGeneration| {
        one.state == GenerationState::Compromised && one.number != old.number
    };
    for earlier in state.generations.iter().filter(is_earlier) {
        steps.extend(deleted(instance, earlier));
        steps.extend(for_later(state, instance, earlier)?);
    }
    Ok(steps)
}

/// Takes the CA certificate of the compromised generation out of DPS, and writes down whom it admitted: a run
/// that is cut short and said again finds that in the journal alone.
fn cut_out(
    state: &RollState,
    instance: &Instance,
    (old, new): (&HeldGeneration, &HeldGeneration),
    exit: &Exit<'_>,
) -> Result<Vec<Step>, RollError> {
    let mut steps = match exit {
        Exit::Withdrawn(steps) => steps.clone(),
        Exit::Deleted | Exit::Replaced(_) => vec![],
    };
    let by_it = admitted_by(state, instance, old)?;
    for held in instance.uploads(&old.certificate) {
        match exit {
            Exit::Replaced(in_place) if in_place.name == held.name => {
                let put = put_in_place(state, instance, (old, new), held, by_it.clone());
                steps.insert(0, Step::Ca(put));
            }
            Exit::Replaced(_) | Exit::Deleted | Exit::Withdrawn(_) => {
                steps.push(deletion(held, old, by_it.clone()));
            }
        }
    }
    Ok(steps)
}

/// The step that puts the new certificate in the place of the compromised one, under its name.
fn put_in_place(
    state: &RollState,
    instance: &Instance,
    (old, new): (&HeldGeneration, &HeldGeneration),
    held: &CaCertificate,
    admitted: Vec<Sha1Thumbprint>,
) -> CaStep {
    CaStep {
        name: held.name.clone(),
        sha1_thumbprint: new.certificate.sha1_thumbprint(),
        action: CaAction::Upload {
            authority: state.authority.clone(),
            certificate: new.certificate.to_pem(),
            sha256_thumbprint: new.certificate.sha256_thumbprint(),
            self_attested: instance.verified_by == VerifiedBy::SelfAttestation,
            replaces: Some(old.certificate.sha1_thumbprint()),
            admitted,
        },
        expect: Expectation::of(held.etag.as_ref()),
    }
}

/// Whether the steps that take the compromised certificate away admit it in between, or another entry
/// decides about it when they are done: also one that admits nobody today, since it may be enabled or its
/// CA verified tomorrow.
fn is_decided_otherwise(
    state: &RollState,
    instance: &Instance,
    old: &HeldGeneration,
    steps: &[Step],
) -> Result<bool, RollError> {
    let mut view = instance.view()?;
    let mut is_admitted = false;
    for step in steps {
        step.apply_to(&mut view)?;
        is_admitted |= matches!(state.outcome(&view, &old.certificate), Outcome::Admitted(_));
    }
    let outcome = state.outcome(&view, &old.certificate);
    Ok(is_admitted || outcome != Outcome::Refused(Refusal::NoEntry))
}

/// The disabled group that keeps a compromised generation out whatever group is made above it one day.
fn for_later(
    state: &RollState,
    instance: &Instance,
    old: &HeldGeneration,
) -> Result<Option<Step>, RollError> {
    if old.certificate.is_self_issued() {
        return Ok(None);
    }
    let generation = state.id(old.number);
    Ok(blocking_group(
        &generation,
        &old.certificate,
        &instance.groups,
    )?)
}

/// Brings the new generation in, and takes the devices of the old one off their hubs.
fn repair(
    state: &RollState,
    instance: &Instance,
    (old, new): (&HeldGeneration, &HeldGeneration),
    exit: &Exit<'_>,
    request: &Breach,
    devices: &[RegisteredDevice],
) -> Result<Vec<Step>, RollError> {
    let mut old_side = Side::compromised(old, instance);
    let mut new_side = Side::of(new, instance);
    // Where a run that was cut short has deleted it, pki.toml tells the name.
    let is_free = |name: &&CertificateName| {
        let mut held = instance.authorities.iter();
        !held.any(|held| held.name == **name)
    };
    let declared = instance.declared.iter().find(is_free);
    let is_declared = |name: &CertificateName| instance.declared.contains(name);
    // Proven even if the old one was not: once that is gone nobody can tell, and said again the roll must end
    // alike.
    let mut steps = match exit {
        Exit::Replaced(held) => {
            new_side.names.push(held.name.clone());
            old_side.names.retain(|name| *name != held.name);
            proven_in_place(state, instance, (old, new), held)
        }
        Exit::Deleted | Exit::Withdrawn(_) => {
            // A run that was cut short has put it in the place of the old one, and has not proven it.
            let is_in_place =
                |name: &&CertificateName| is_declared(name) || instance.refers_to(name);
            let in_place = new_side.names.iter().find(is_in_place).cloned();
            let former = in_place
                .as_ref()
                .or_else(|| old_side.names.first())
                .or(declared);
            uploaded(state, instance, former, &mut new_side)?
        }
    };
    if !matches!(exit, Exit::Withdrawn(_)) {
        steps.extend(withdrawn_by_name(state, instance, &old_side, &new_side));
    }
    if request.with_intermediates {
        // Once the old CA certificate is gone DPS tells nobody whom it admitted: a run that was cut short left
        // that in its journal.
        steps.extend(anchored(state, instance, &[old])?);
    }
    let reason = "its issuer was compromised";
    let deregistered = devices.iter();
    steps.extend(deregistered.flat_map(|device| device.deregister(request.hub, reason)));
    Ok(steps)
}

/// Proves the certificate that was put in the place of another one, where that is asked for.
fn proven_in_place(
    state: &RollState,
    instance: &Instance,
    generations: (&HeldGeneration, &HeldGeneration),
    held: &CaCertificate,
) -> Vec<Step> {
    if instance.verified_by == VerifiedBy::SelfAttestation {
        return vec![];
    }
    let put = put_in_place(state, instance, generations, held, vec![]);
    vec![Step::Ca(put.then(CaAction::Prove {
        authority: state.authority.clone(),
    }))]
}
