//! A breach roll: the compromised generation is shut out first, the new one put in its place after.
//!
//! The plan of every instance begins with recording that it is compromised: after an interruption an `apply`
//! in another instance would put it back otherwise. What shuts out comes next, in every instance: taking the
//! CA certificate out of DPS, and the certificate out of the groups that hold it. Where a group refers to the CA
//! certificate the new one is put in its place, under its name, be it in DPS under another one already: a
//! service may refuse to delete what is referred to, and no other single write shuts out where several groups
//! admit by it. A disabled group on the compromised certificate keeps it out, and must stay: the service decides
//! by the nearest group, so without it a group above admits the leaves, also one that is made or enabled long
//! after. It is the first write where the others would admit somebody in between, and the last one where they
//! shut out by themselves. Only above a root no group can be.
//! A certificate that was renewed with its own key goes with the others of that key.
//! Invariant: after every write from the first on no compromised certificate is admitted, nor once a
//! group above is made or enabled.

use super::anchor::{admitted_by, anchored, is_admitted};
use super::expiry::{enabled_first, goal_of_aborting, goal_of_rolling, holders, settle};
use super::slots::{self, Side};
use super::upload::{deleted, deletion, uploaded};
use super::{Below, Condemned, HeldGeneration, Instance, InstancePlan, RollError, RollState};
use crate::admission::{DpsView, Outcome, Refusal};
use crate::authority::ChainBundle;
use crate::declaration::VerifiedBy;
use crate::enrollment::{EnrollmentGroup, ProvisioningStatus, RegistrationState};
use crate::ids::{AuthorityName, CertificateName, Generation, Sha1Thumbprint};
use crate::inventory::GenerationState;
use crate::lifecycle::below::blocking_group;
use crate::lifecycle::declared::is_same;
use crate::lifecycle::quarantine::{HubAction, HubIdentity, forget_registration, hub_step};
use crate::lifecycle::{CaAction, CaStep, Expectation, Plan, Step};
use crate::management::CaCertificate;
use crate::wording::command_in;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Breach {
    /// Which generation is compromised; if not given, the one whose place was taken already, else the current
    /// one.
    pub generation: Option<Generation>,
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

/// Plans the replacement of a compromised generation by the one after it, or what is left of that. Where
/// there are several instances, all of them shut it out before the first one is repaired.
///
/// # Errors
/// [`RollError`]: there is no generation to replace it, or its devices would not be admitted.
pub fn replace(request: &Breach, state: &RollState) -> Result<Vec<InstancePlan>, RollError> {
    let condemned = state.condemned(request.generation)?;
    let (old, new) = pair(state, condemned)?;
    let goal = format!(
        "{}, by generation {}",
        goal_of_replacing(&state.authority, old.number),
        new.number
    );
    let mut cuts = Vec::new();
    let mut repairs = Vec::new();
    for (index, instance) in state.instances.iter().enumerate() {
        let mut cut = cut(state, instance, (old, new))?;
        let mut changes = match condemned {
            Condemned::Current(_) => vec![
                (old.number, GenerationState::Compromised),
                (new.number, GenerationState::Current),
            ],
            Condemned::Retired(_) => vec![(old.number, GenerationState::Compromised)],
            Condemned::Replaced(_) => vec![],
        };
        if !changes.is_empty() {
            // Whatever is cut short, and wherever: from the first write on nobody takes the old one for current.
            let renewals = state.generations.renewals_of(old);
            changes.extend(renewals.map(|one| (one.number, GenerationState::Compromised)));
            cut.insert(0, settle(&state.authority, &changes));
        }
        let devices = request.devices.get(index).map_or(&[][..], Vec::as_slice);
        let repair = repair(state, instance, (old, new), request, devices)?;
        let plan = |steps, notes| InstancePlan {
            dps: instance.name.clone(),
            plan: Plan {
                steps,
                notes,
                ..Plan::new(&goal)
            },
        };
        let asked = request
            .with_intermediates
            .then(|| VERIFIES_BELOW.to_owned());
        let mut notes = stay_disabled(state, instance, (old, new));
        notes.extend(asked.clone());
        cuts.push(plan(cut, notes));
        repairs.push(plan(repair, asked.into_iter().collect()));
    }
    let below = below_it(request, state, old, cuts.iter().chain(&repairs))?;
    if let Some(first) = cuts.first_mut() {
        first.plan.notes.extend(below);
    }
    Ok(match (cuts.as_mut_slice(), repairs.as_mut_slice()) {
        ([cut], [repair]) => {
            cut.plan.steps.append(&mut repair.plan.steps);
            cuts
        }
        _ => cuts.into_iter().chain(repairs).collect(),
    })
}

/// The groups that somebody has disabled, as a quarantine does: they are repaired, and let nobody in.
fn stay_disabled(
    state: &RollState,
    instance: &Instance,
    (old, new): (&HeldGeneration, &HeldGeneration),
) -> Vec<String> {
    let old = Side::compromised(old, instance);
    // An earlier run may have repaired it already.
    let new = Side::of(new, instance);
    let is_held = |group: &&EnrollmentGroup| {
        group.provisioning_status == ProvisioningStatus::Disabled
            && (old.is_in(group) || new.is_in(group))
            && !state.is_block(group)
    };
    let disabled = instance.groups.iter().filter(is_held);
    let told = disabled.map(|group| {
        let id = &group.enrollment_group_id;
        format!("enrollment group {id} stays disabled, and refuses the new generation too; when its devices are to come back, enable it with: {}", command_in(&instance.name, format_args!("dps group enable {id}")))
    });
    told.collect()
}

/// What becomes of the authorities below whose way to a verified CA certificate leads through the compromised
/// one: what they sign from now on is refused too, and each has to be rolled after those above it.
fn below_it<'a>(
    request: &Breach,
    state: &RollState,
    old: &HeldGeneration,
    plans: impl Iterator<Item = &'a InstancePlan>,
) -> Result<Option<String>, RollError> {
    let views = after(state, plans)?;
    let is_refused = |below: &&Below| !(views.iter()).any(|view| is_admitted(state, view, below));
    let below = to_be_rolled(state, old);
    let named: Vec<String> = below
        .into_iter()
        .filter(is_refused)
        .map(|below| format!("{} generation {}", below.authority, below.generation))
        .collect();
    if named.is_empty() {
        return Ok(None);
    }
    let order = if named.len() > 1 {
        " in this order"
    } else {
        ""
    };
    let or_verified = if !request.with_intermediates && can_be_anchored(state, old)? {
        ", or are verified themselves (--with-intermediates)"
    } else {
        ""
    };
    Ok(Some(format!(
        "new leaves of {} are refused as well, until these are rolled{order}, each with dps-pki roll start{or_verified}",
        named.join(", ")
    )))
}

/// What the instances decide when these plans are carried out.
fn after<'a>(
    state: &RollState,
    plans: impl Iterator<Item = &'a InstancePlan>,
) -> Result<Vec<DpsView>, RollError> {
    let views = state.instances.iter().map(Instance::view);
    let mut views: Vec<DpsView> = views.collect::<Result<_, _>>()?;
    for InstancePlan { dps, plan } in plans {
        let index = state.instances.iter().position(|one| one.name == *dps);
        if let Some(index) = index {
            views[index] = plan.applied_to(&views[index])?;
        }
    }
    Ok(views)
}

/// The newest generations of authorities below whose chains go through the compromised certificate, those
/// above before those below.
fn to_be_rolled<'a>(state: &'a RollState, old: &HeldGeneration) -> Vec<&'a Below> {
    let mut left: Vec<(usize, &Below)> = Vec::new();
    for below in &state.below {
        let is_newer = |other: &Below| {
            other.authority == below.authority && other.generation > below.generation
        };
        let chain = ChainBundle::build(&below.certificate, &state.certificates);
        let chain = chain.certificates();
        if !state.below.iter().any(is_newer) && chain.contains(&old.certificate) {
            left.push((chain.len(), below));
        }
    }
    left.sort_by_key(|(depth, below)| (*depth, below.authority.clone()));
    left.into_iter().map(|(_, below)| below).collect()
}

/// Whether it would let devices stay in if authorities below were verified themselves.
fn can_be_anchored(state: &RollState, old: &HeldGeneration) -> Result<bool, RollError> {
    for instance in &state.instances {
        if !anchored(state, instance, [old])?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What every plan of a breach roll notes that was asked to have the authorities below verified: should it be cut,
/// the journal tells by it how it is to be completed.
pub const VERIFIES_BELOW: &str =
    "authorities below that lose their way to a verified CA certificate are verified themselves";

/// The words with which the goal of every plan begins that replaces this generation.
pub fn goal_of_replacing(authority: &AuthorityName, compromised: Generation) -> String {
    format!("replace {authority} generation {compromised}, which is compromised")
}

/// Whether a plan of this goal takes the place of an open one of another goal: a breach roll goes before whatever
/// else was begun with the generations of its authority.
pub fn goes_before(goal: &str, other: &str) -> bool {
    let Some(authority) = replaced_in(goal) else {
        return false;
    };
    let is_ordinary = other.starts_with(&goal_of_rolling(authority))
        || other.starts_with(&goal_of_aborting(authority));
    goal != other && (is_ordinary || replaced_in(other) == Some(authority))
}

/// The authority that a breach roll of this goal is about.
fn replaced_in(goal: &str) -> Option<&str> {
    let (authority, rest) = goal.strip_prefix("replace ")?.split_once(" generation ")?;
    rest.contains(", which is compromised").then_some(authority)
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
        for held in instance.uploads(&old.certificate) {
            let delete = CaAction::Delete {
                admitted: vec![],
                gives_way: instance.refers_to(&held.name),
            };
            plan.steps.push(deletion(held, old, delete));
        }
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
        for renewal in state.generations.renewals_of(old) {
            plan.steps.extend(deleted(instance, renewal));
            plan.steps.extend(for_later(state, instance, renewal)?);
        }
        if request.with_intermediates {
            plan.steps.extend(anchored(state, instance, [old])?);
        }
        let devices = request.devices.get(index).map_or(&[][..], Vec::as_slice);
        let reason = "its issuer was compromised";
        plan.steps.extend(
            devices
                .iter()
                .flat_map(|device| device.deregister(request.hub, reason)),
        );
        plan.notes.push(format!(
            "{} has no generation after {} yet: its key and certificate are made first, then put where the compromised one is",
            state.authority, old.number
        ));
        plans.push(InstancePlan {
            dps: instance.name.clone(),
            plan,
        });
    }
    let below = below_it(request, state, old, plans.iter())?;
    if let Some(first) = plans.first_mut() {
        first.plan.notes.extend(below);
    }
    Ok(plans)
}

/// The compromised generation and the one that replaces it; after a plan that was cut short, the one
/// that has replaced it already.
fn pair<'a>(
    state: &'a RollState,
    condemned: Condemned<'a>,
) -> Result<(&'a HeldGeneration, &'a HeldGeneration), RollError> {
    if condemned.is_replaced() {
        return Ok((condemned.generation(), state.current()?));
    }
    let (current, newcomer) = state.rolled()?;
    let new = newcomer.generation();
    if new.has_key_of(current) {
        return Err(RollError::SameKey {
            authority: state.authority.clone(),
            compromised: current.number,
            newcomer: new.number,
        });
    }
    Ok((current, new))
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

/// What shuts the compromised generation out of one instance: from the first step on, and for good. Earlier ones
/// go with it, where their breach roll was not done, and renewals with the same key.
fn cut(
    state: &RollState,
    instance: &Instance,
    (old, new): (&HeldGeneration, &HeldGeneration),
) -> Result<Vec<Step>, RollError> {
    let gone = gone_with(state, old);
    let sides: Vec<Side<'_>> = gone
        .iter()
        .map(|one| Side::compromised(one, instance))
        .collect();
    let sides: Vec<&Side<'_>> = sides.iter().collect();
    let new_side = Side::of(new, instance);
    let mut steps = Vec::new();
    for one in &gone {
        steps.extend(cut_out(state, instance, (one, new))?);
    }
    let inline = instance
        .groups
        .iter()
        .filter(|group| is_to_let_go(state, group, old, &sides));
    for group in enabled_first(inline) {
        steps.extend(slots::withdraw(group, &sides, &new_side));
    }
    with_blocks(state, instance, &gone, steps)
}

/// These steps, and the disabled groups that keep the generations out which they take away, for good. That of the
/// first one, which the roll is about, comes first where the steps do not shut it out by themselves; those of the
/// others never before it is out.
fn with_blocks(
    state: &RollState,
    instance: &Instance,
    gone: &[&HeldGeneration],
    mut steps: Vec<Step>,
) -> Result<Vec<Step>, RollError> {
    let mut first = None;
    let mut ahead = Vec::new();
    let mut behind = Vec::new();
    for (index, one) in gone.iter().enumerate() {
        if is_decided_otherwise(state, instance, one, &steps)? {
            // Of several groups with one certificate a disabled one wins.
            let block = blocking_group(&state.id(one.number), &one.certificate, &instance.groups)?;
            if index == 0 {
                first = block;
            } else {
                ahead.extend(block);
            }
        } else {
            // Behind the step that shuts out: that needs no room for one more group.
            behind.extend(for_later(state, instance, one)?);
        }
    }
    steps.splice(0..0, first);
    let after_first = steps.len().min(1);
    steps.splice(after_first..after_first, ahead);
    steps.extend(behind);
    Ok(steps)
}

/// A compromised generation, and those that go with it.
fn gone_with<'a>(state: &'a RollState, old: &'a HeldGeneration) -> Vec<&'a HeldGeneration> {
    let compromised = state.generations.compromised();
    let others = compromised.chain(state.generations.renewals_of(old));
    let mut gone = vec![old];
    gone.extend(others.filter(|one| one.number != old.number));
    gone
}

/// Whether a group is to let go of the certificate of a compromised generation. A disabled group on an earlier
/// one keeps that out.
fn is_to_let_go(
    state: &RollState,
    group: &EnrollmentGroup,
    old: &HeldGeneration,
    gone: &[&Side<'_>],
) -> bool {
    let is_enabled = group.provisioning_status == ProvisioningStatus::Enabled;
    let mut sides = gone.iter();
    let is_held = sides.any(|side| {
        let is_meant = is_enabled || side.generation.number == old.number;
        is_meant && side.is_in(group) && !side.is_referred_to_by(group)
    });
    is_held && !state.is_block(group)
}

/// Takes the CA certificate of the compromised generation out of DPS, and writes down whom it admitted: a run
/// that is cut short and said again finds that in the journal alone. Where a group refers to it the new one is
/// put in its place: whether the service deletes what is referred to is not known, and that it takes one
/// certificate under two names is.
fn cut_out(
    state: &RollState,
    instance: &Instance,
    (old, new): (&HeldGeneration, &HeldGeneration),
) -> Result<Vec<Step>, RollError> {
    let by_it = admitted_by(state, instance, old)?;
    let mut steps = Vec::new();
    for held in referred(instance, old) {
        let put = put_in_place(state, instance, (old, new), held, by_it.clone());
        steps.push(Step::Ca(put));
    }
    let uploads = instance.uploads(&old.certificate);
    for held in uploads.filter(|held| !instance.refers_to(&held.name)) {
        let delete = CaAction::Delete {
            admitted: by_it.clone(),
            gives_way: false,
        };
        steps.push(deletion(held, old, delete));
    }
    Ok(steps)
}

/// What an instance holds of a generation's CA certificate and groups refer to.
fn referred<'a>(
    instance: &'a Instance,
    generation: &'a HeldGeneration,
) -> impl Iterator<Item = &'a CaCertificate> {
    let uploads = instance.uploads(&generation.certificate);
    uploads.filter(|held| instance.refers_to(&held.name))
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
    generations: (&HeldGeneration, &HeldGeneration),
    request: &Breach,
    devices: &[RegisteredDevice],
) -> Result<Vec<Step>, RollError> {
    let (old, new) = generations;
    let gone = gone_with(state, old);
    let mut old_side = Side::compromised(old, instance);
    for one in &gone {
        let names = Side::of(one, instance).names.into_iter();
        let others: Vec<_> = names
            .filter(|name| !old_side.names.contains(name))
            .collect();
        old_side.names.extend(others);
    }
    let mut new_side = Side::of(new, instance);
    let former = former_name(instance, &old_side, &new_side);
    let replaced: Vec<&CaCertificate> = gone
        .iter()
        .flat_map(|one| referred(instance, one))
        .collect();
    let in_place = replaced.iter().map(|held| held.name.clone());
    new_side.names.extend(in_place);
    let superfluous = keep_one(&mut new_side.names);
    // What the groups are to let go of: all names but the one that is kept.
    old_side.names.retain(|name| !new_side.names.contains(name));
    old_side.names.extend(superfluous.iter().cloned());
    // Proven even if the old one was not: once that is gone nobody can tell, and said again the roll must end
    // alike.
    let kept_in_place = (replaced.iter()).find(|held| new_side.names.contains(&held.name));
    let mut steps = match kept_in_place {
        Some(held) => proven_in_place(state, instance, generations, held),
        None => uploaded(state, instance, former.as_ref(), &mut new_side)?,
    };
    steps.extend(withdrawn_by_name(state, instance, &old_side, &new_side));
    for name in &superfluous {
        steps.extend(deleted_beside(state, instance, generations, name));
    }
    if request.with_intermediates {
        // Once the old CA certificate is gone DPS tells nobody whom it admitted: a run that was cut short left
        // that in its journal.
        steps.extend(anchored(state, instance, [old])?);
    }
    let reason = "its issuer was compromised";
    steps.extend(
        devices
            .iter()
            .flat_map(|device| device.deregister(request.hub, reason)),
    );
    Ok(steps)
}

/// The name that the new certificate takes or succeeds, if the authority has one in an instance.
fn former_name(instance: &Instance, old: &Side<'_>, new: &Side<'_>) -> Option<CertificateName> {
    // A run that was cut short has put the new one in the place of the old one, and has not proven it.
    let is_in_place =
        |name: &&CertificateName| instance.declared.contains(name) || instance.refers_to(name);
    // Where a run that was cut short has deleted it, pki.toml tells the name.
    let is_free = |name: &&CertificateName| {
        let mut held = instance.authorities.iter();
        !held.any(|held| held.name == **name)
    };
    let in_place = new.names.iter().find(is_in_place);
    let former = in_place.or_else(|| old.names.first());
    former
        .or_else(|| instance.declared.iter().find(is_free))
        .cloned()
}

/// Of several names of one certificate the one that comes last stays, `root-2` beside `root`; returns the
/// others. It follows from the names alone, so that a run that was cut short and said again keeps the same.
fn keep_one(names: &mut Vec<CertificateName>) -> Vec<CertificateName> {
    names.sort_by_key(|name| (name.as_str().len(), name.clone()));
    let kept = names.pop();
    std::mem::replace(names, kept.into_iter().collect())
}

/// Deletes the new certificate under a name that it has beside the one that is kept.
fn deleted_beside(
    state: &RollState,
    instance: &Instance,
    (old, new): (&HeldGeneration, &HeldGeneration),
    name: &CertificateName,
) -> Option<Step> {
    let held = instance
        .authorities
        .iter()
        .find(|held| held.name == *name)?;
    if is_same(held, &new.certificate) {
        return Some(deletion(held, new, CaAction::deletion()));
    }
    let put = put_in_place(state, instance, (old, new), held, vec![]);
    Some(Step::Ca(put.then(CaAction::deletion())))
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
