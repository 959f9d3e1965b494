//! An expiry roll: the new generation beside the old one, then the old one away; or back.
//!
//! Invariant: no step takes away what admits a device with a valid leaf, unless that was accepted by
//! number.

use super::slots::{self, Side};
use super::{Below, Devices, HeldGeneration, Instance, InstancePlan, RollError, RollState};
use crate::admission::{DpsView, Outcome, Refusal};
use crate::declaration::VerifiedBy;
use crate::enrollment::{EnrollmentGroup, ProvisioningStatus};
use crate::ids::{AuthorityName, CertificateName, Generation, IdError, Sha1Thumbprint};
use crate::inventory::{GenerationChange, GenerationState};
use crate::lifecycle::below::blocking_group;
use crate::lifecycle::{CaAction, CaStep, Expectation, Plan, Step};
use crate::management::CaCertificate;
use crate::time::Time;

/// What is asked for when a roll starts.
#[derive(Debug, Clone)]
pub struct Start {
    /// Until when the old generation is to stand beside the new one.
    pub overlap_until: Time,
    /// How many leaves of the old generation are valid longer than that.
    pub leaves_beyond: u64,
    /// How many of them may be refused from then on.
    pub accept_stranded: u64,
}

/// What is asked for when a roll ends.
#[derive(Debug, Clone, Default)]
pub struct Finish {
    /// The devices that have not moved.
    pub left_behind: Devices,
    /// The devices of which nobody knows if they have.
    pub not_known: Devices,
    /// How many of them may be refused from then on.
    pub accept_stranded: u64,
    /// Whether authorities below that would lose their way to a verified CA certificate are to be
    /// verified themselves: their devices then need neither a new leaf nor a new chain.
    pub with_intermediates: bool,
}

/// Plans the start: the new generation verified where the old one was, and in the free slot of every
/// group that holds the old one. The new generation becomes *next* when all of that is done.
///
/// # Errors
/// [`RollError`]: there is no new generation, no free slot, no way to a verified CA certificate, or the
/// overlap is too short.
pub fn start(request: &Start, state: &RollState) -> Result<Vec<InstancePlan>, RollError> {
    let old = state.current()?;
    let new = state.successor(old)?;
    if request.leaves_beyond > request.accept_stranded {
        return Err(RollError::Stranded {
            authority: state.authority.clone(),
            generation: old.number,
            until: request.overlap_until,
            leaves: request.leaves_beyond,
            accepted: request.accept_stranded,
        });
    }
    let goal = format!(
        "roll {}: put generation {} beside generation {}",
        state.authority, new.number, old.number
    );
    let mut plans = Vec::new();
    for instance in &state.instances {
        let plan = beside(state, instance, old, new, Plan::new(&goal))?;
        plans.push(InstancePlan {
            dps: instance.name.clone(),
            plan,
        });
    }
    if let Some(last) = plans.last_mut() {
        let to_next = (new.state == GenerationState::Pending)
            .then(|| settle(&state.authority, &[(new.number, GenerationState::Next)]));
        last.plan.steps.extend(to_next);
    }
    Ok(plans)
}

fn beside(
    state: &RollState,
    instance: &Instance,
    old: &HeldGeneration,
    new: &HeldGeneration,
    mut plan: Plan,
) -> Result<Plan, RollError> {
    let (old_side, mut new_side) = (Side::of(old, instance), Side::of(new, instance));
    let former = old_side.names.first();
    let mut verified = uploaded(state, instance, former, &mut new_side)?;
    if is_unverified(instance, &old_side) {
        verified = unproven(instance, new, verified);
    }
    plan.steps.extend(verified);
    for group in holders(state, instance, &old_side) {
        let added = slots::add(group, &new_side).map_err(|_| RollError::SlotsTaken {
            dps: instance.name.clone(),
            group: group.enrollment_group_id.clone(),
            authority: state.authority.clone(),
            old: old.number,
            new: new.number,
        })?;
        plan.steps.extend(added);
    }
    admits_as_before(state, instance, old, new, &plan)?;
    if !old_side.names.is_empty() || holders(state, instance, &old_side).next().is_some() {
        return Ok(plan);
    }
    plan.notes.push(format!(
        "DPS {} holds nothing of {}: nothing changes there",
        instance.name, state.authority
    ));
    Ok(plan)
}

/// Uploads a generation under a name after that of the old certificate, `former`, and proves it, as far as
/// that is not done; tells `new` the name.
pub(super) fn uploaded(
    state: &RollState,
    instance: &Instance,
    former: Option<&CertificateName>,
    new: &mut Side<'_>,
) -> Result<Vec<Step>, RollError> {
    let Some(former) = former else {
        return Ok(vec![]);
    };
    let generation = new.generation;
    let name = match new.names.first() {
        Some(name) => name.clone(),
        None => successor_name(state, instance, generation.number, former)?,
    };
    let steps = verify_as(&state.authority, instance, generation, &name);
    if new.names.is_empty() {
        new.names.push(name);
    }
    Ok(steps)
}

/// What is left of these steps beside an old certificate that is not verified: what is not admitted by the
/// old one is not by the new one.
fn unproven(instance: &Instance, new: &HeldGeneration, steps: Vec<Step>) -> Vec<Step> {
    let is_there = instance.uploads(&new.certificate).next().is_some();
    let mut uploads = Vec::new();
    for step in steps {
        if let Step::Ca(mut step) = step
            && let CaAction::Upload { self_attested, .. } = &mut step.action
            && !is_there
        {
            *self_attested = false;
            uploads.push(Step::Ca(step));
        }
    }
    uploads
}

/// Whether DPS has a generation's certificate and has not verified it under any name.
pub(super) fn is_unverified(instance: &Instance, side: &Side<'_>) -> bool {
    let mut uploads = instance.uploads(&side.generation.certificate).peekable();
    uploads.peek().is_some() && uploads.all(|held| !held.properties.is_verified)
}

/// The steps after which a certificate is verified under a name.
pub(super) fn verify_as(
    authority: &AuthorityName,
    instance: &Instance,
    generation: &HeldGeneration,
    name: &CertificateName,
) -> Vec<Step> {
    let certificate = &generation.certificate;
    let held = instance.authorities.iter().find(|held| held.name == *name);
    if held.is_some_and(|held| held.properties.is_verified) {
        return vec![];
    }
    let self_attested = instance.verified_by == VerifiedBy::SelfAttestation;
    let etag = held.and_then(|held| held.etag.as_ref());
    let upload = CaStep {
        name: name.clone(),
        sha1_thumbprint: certificate.sha1_thumbprint(),
        action: CaAction::Upload {
            authority: authority.clone(),
            certificate: certificate.to_pem(),
            sha256_thumbprint: certificate.sha256_thumbprint(),
            self_attested,
            replaces: None,
            admitted: vec![],
        },
        expect: Expectation::of(etag),
    };
    if self_attested {
        return vec![Step::Ca(upload)];
    }
    let prove = CaAction::Prove {
        authority: authority.clone(),
    };
    if held.is_none() {
        let proof = upload.then(prove);
        return vec![Step::Ca(upload), Step::Ca(proof)];
    }
    vec![Step::Ca(CaStep {
        action: prove,
        ..upload
    })]
}

/// `root` is followed by `root-2`, that by `root-3`.
fn successor_name(
    state: &RollState,
    instance: &Instance,
    generation: Generation,
    old: &CertificateName,
) -> Result<CertificateName, RollError> {
    let text = old.to_string();
    let numbered = text.rsplit_once('-').filter(|(_, number)| {
        let number = number.parse().ok().and_then(Generation::new);
        number.is_some_and(|number| number < generation)
    });
    let base = numbered.map_or(text.as_str(), |(base, _)| base);
    free_name(instance, &state.authority, format!("{base}-{generation}"))
}

/// The devices of the new generation must be admitted where those of the old one are.
fn admits_as_before(
    state: &RollState,
    instance: &Instance,
    old: &HeldGeneration,
    new: &HeldGeneration,
    plan: &Plan,
) -> Result<(), RollError> {
    let before = instance.view()?;
    let after = plan.applied_to(&before)?;
    let is_admitted = |outcome: &Outcome| matches!(outcome, Outcome::Admitted(_));
    let outcome = state.outcome(&after, &new.certificate);
    if is_admitted(&outcome) || !is_admitted(&state.outcome(&before, &old.certificate)) {
        return Ok(());
    }
    Err(RollError::NotAdmitted {
        dps: instance.name.clone(),
        authority: state.authority.clone(),
        generation: new.number,
        why: outcome.to_string(),
    })
}

/// The groups that admit by a generation, without the one that the toolkit made to keep it out.
pub(super) fn holders<'a>(
    state: &'a RollState,
    instance: &'a Instance,
    side: &'a Side<'_>,
) -> impl Iterator<Item = &'a EnrollmentGroup> {
    let groups = instance.groups.iter();
    groups.filter(move |group| side.is_in(group) && !state.is_block(group))
}

pub(super) fn settle(authority: &AuthorityName, changes: &[(Generation, GenerationState)]) -> Step {
    let change = |(generation, to): &(Generation, GenerationState)| GenerationChange {
        generation: *generation,
        to: *to,
    };
    Step::settle(authority.clone(), changes.iter().map(change).collect())
}

/// Plans the end: the new generation issues, moves into the primary slot, and the old one goes. Asked
/// again after a plan was cut short, it takes away what is left; asked when that is nothing, it plans
/// nothing.
///
/// # Errors
/// [`RollError`]: no roll is under way or has ended, devices are left behind, a group does not hold the new
/// generation, or an authority below would lose its way to a verified CA certificate.
pub fn finish(request: &Finish, state: &RollState) -> Result<Vec<InstancePlan>, RollError> {
    let current = state.current()?;
    let next = state.in_state(GenerationState::Next);
    let (stays, mut gone) = match next {
        Some(next) => (next, vec![current]),
        None => (current, vec![]),
    };
    gone.extend(state.leftovers());
    let is_left = |instance: &Instance| {
        let mut sides = gone.iter().map(|one| Side::of(one, instance));
        sides.any(|side| {
            let mut holders = holders(state, instance, &side);
            !side.names.is_empty() || holders.any(|group| !is_kept_out(group, &side))
        })
    };
    let goal = format!(
        "roll {}: generation {} takes the place of the old",
        state.authority, stays.number
    );
    if next.is_none() && !state.instances.iter().any(is_left) {
        return if state.is_rolled() {
            Ok(nothing(state, &goal))
        } else {
            Err(RollError::NotUnderWay {
                authority: state.authority.clone(),
            })
        };
    }
    if request.left_behind.count > request.accept_stranded {
        return Err(RollError::LeftBehind {
            authority: state.authority.clone(),
            generation: gone.first().map_or(current.number, |one| one.number),
            devices: request.left_behind.clone(),
            accepted: request.accept_stranded,
        });
    }
    if request.left_behind.count + request.not_known.count > request.accept_stranded {
        return Err(RollError::NotKnown {
            authority: state.authority.clone(),
            generation: gone.first().map_or(current.number, |one| one.number),
            devices: request.not_known.clone(),
            accepted: request.accept_stranded,
        });
    }
    let mut plans = Vec::new();
    for instance in &state.instances {
        let mut plan = Plan::new(&goal);
        if request.with_intermediates {
            plan.steps.extend(anchored(state, instance, &gone)?);
        }
        plan.steps.extend(without(state, instance, &gone, stays)?);
        keeps_those_below(state, instance, &plan)?;
        plans.push(InstancePlan {
            dps: instance.name.clone(),
            plan,
        });
    }
    // First of all: from then on nobody gets a leaf that is about to be refused.
    if let (Some(next), Some(first)) = (next, plans.first_mut()) {
        let changes = [
            (current.number, GenerationState::Retired),
            (next.number, GenerationState::Current),
        ];
        first
            .plan
            .steps
            .insert(0, settle(&state.authority, &changes));
    }
    Ok(plans)
}

/// A plan without steps for each instance.
fn nothing(state: &RollState, goal: &str) -> Vec<InstancePlan> {
    let instances = state.instances.iter();
    let plans = instances.map(|instance| InstancePlan {
        dps: instance.name.clone(),
        plan: Plan::new(goal),
    });
    plans.collect()
}

/// Takes generations out of the groups, then their certificates out of DPS.
fn without(
    state: &RollState,
    instance: &Instance,
    gone: &[&HeldGeneration],
    stays: &HeldGeneration,
) -> Result<Vec<Step>, RollError> {
    let stays = Side::of(stays, instance);
    let gone: Vec<Side<'_>> = gone.iter().map(|one| Side::of(one, instance)).collect();
    let mut steps = Vec::new();
    for group in enabled_first(&instance.groups) {
        if state.is_block(group) {
            continue;
        }
        let is_to_go = |side: &&Side<'_>| side.is_in(group) && !is_kept_out(group, side);
        let gone: Vec<&Side<'_>> = gone.iter().filter(is_to_go).collect();
        if !gone.is_empty() && !stays.is_in(group) {
            return Err(RollError::NotHeldYet {
                dps: instance.name.clone(),
                group: group.enrollment_group_id.clone(),
                authority: state.authority.clone(),
                generation: stays.generation.number,
            });
        }
        let withdrawn = slots::withdraw(group, &gone, &stays);
        if withdrawn.is_some() && group.provisioning_status == ProvisioningStatus::Disabled {
            // Of a newer generation that is withdrawn again nobody has a leaf.
            let older = |side: &&&Side<'_>| side.generation.number < stays.generation.number;
            for side in gone.iter().filter(older) {
                let block = kept_out(state, instance, side, withdrawn.as_ref())?;
                steps.extend(block.filter(|block| !steps.contains(block)));
            }
        }
        steps.extend(withdrawn);
    }
    for side in &gone {
        steps.extend(deleted(instance, side.generation));
    }
    Ok(steps)
}

/// Whether a disabled group holds a compromised generation: that keeps it out, and is not taken away.
fn is_kept_out(group: &EnrollmentGroup, side: &Side<'_>) -> bool {
    group.provisioning_status == ProvisioningStatus::Disabled
        && side.generation.state == GenerationState::Compromised
        && side.is_in(group)
}

/// What keeps a generation out that a disabled group lets go of, where another group would then decide
/// about its leaves.
fn kept_out(
    state: &RollState,
    instance: &Instance,
    side: &Side<'_>,
    withdrawn: Option<&Step>,
) -> Result<Option<Step>, RollError> {
    let certificate = &side.generation.certificate;
    let mut after = instance.view()?;
    if let Some(step) = withdrawn {
        step.apply_to(&mut after)?;
    }
    if state.outcome(&after, certificate) == Outcome::Refused(Refusal::NoEntry) {
        return Ok(None);
    }
    let generation = state.id(side.generation.number);
    Ok(blocking_group(&generation, certificate, &instance.groups)?)
}

/// In the order in which groups may lose a certificate: where a disabled and an enabled group hold the
/// same one, the disabled group must be the last to let go.
pub(super) fn enabled_first<'a>(
    groups: impl IntoIterator<Item = &'a EnrollmentGroup>,
) -> Vec<&'a EnrollmentGroup> {
    let mut groups: Vec<&EnrollmentGroup> = groups.into_iter().collect();
    groups.sort_by_key(|group| group.provisioning_status == ProvisioningStatus::Disabled);
    groups
}

pub(super) fn deleted(instance: &Instance, generation: &HeldGeneration) -> Vec<Step> {
    let uploads = instance.uploads(&generation.certificate);
    uploads
        .map(|held| deletion(held, generation, vec![]))
        .collect()
}

/// The deletion of what DPS holds of a generation; `admitted` are those below that it admits by nothing else.
pub(super) fn deletion(
    held: &CaCertificate,
    generation: &HeldGeneration,
    admitted: Vec<Sha1Thumbprint>,
) -> Step {
    Step::Ca(CaStep {
        name: held.name.clone(),
        sha1_thumbprint: generation.certificate.sha1_thumbprint(),
        action: CaAction::Delete { admitted },
        expect: Expectation::of(held.etag.as_ref()),
    })
}

/// Has the authorities right below verified themselves, where their devices reach a verified CA
/// certificate only by one that goes.
///
/// DPS wants *some* certificate of the chain verified, not the root: an intermediate that is verified
/// keeps admitting the leaves below it with the chains that they present already. A certificate of the
/// same intermediate under the new root (cross-signing) would do as well, but only once every device
/// presents it.
pub(super) fn anchored(
    state: &RollState,
    instance: &Instance,
    gone: &[&HeldGeneration],
) -> Result<Vec<Step>, RollError> {
    let before = instance.view()?;
    let after = without_uploads(instance, &before, gone);
    let mut lost = stranded(state, &before, &after);
    lost.extend(cut_off(state, instance, &after));
    let mut steps = Vec::new();
    for below in lost {
        let generation = HeldGeneration {
            number: below.generation,
            state: GenerationState::Current,
            certificate: below.certificate.clone(),
        };
        let names = Side::of(&generation, instance).names;
        let name = match names.into_iter().next() {
            Some(name) => name,
            None => anchor_name(instance, below)?,
        };
        let verified = verify_as(&below.authority, instance, &generation, &name);
        // A group on the CA certificate that goes wants that one verified, or one above: then it helps
        // nobody to have the authority below verified.
        let mut helped = after.clone();
        for step in &verified {
            step.apply_to(&mut helped)?;
        }
        if is_admitted(state, &helped, below) {
            steps.extend(verified);
        }
    }
    Ok(steps)
}

/// `factory-1` as it is, its later generations with their number.
fn anchor_name(instance: &Instance, below: &Below) -> Result<CertificateName, RollError> {
    let text = match below.generation {
        Generation::FIRST => below.authority.to_string(),
        number => format!("{}-{number}", below.authority),
    };
    free_name(instance, &below.authority, text)
}

fn free_name(
    instance: &Instance,
    authority: &AuthorityName,
    text: String,
) -> Result<CertificateName, RollError> {
    let error = |name: String, problem: String| RollError::Name {
        dps: instance.name.clone(),
        authority: authority.clone(),
        name,
        problem,
    };
    let name: CertificateName =
        (text.parse()).map_err(|problem: IdError| error(text.clone(), problem.to_string()))?;
    if instance.authorities.iter().any(|held| held.name == name) {
        Err(error(text, "another certificate has it".into()))
    } else {
        Ok(name)
    }
}

/// The certificates of authorities below whose devices are admitted only by the CA certificate of a
/// generation.
pub(super) fn admitted_by(
    state: &RollState,
    instance: &Instance,
    generation: &HeldGeneration,
) -> Result<Vec<Sha1Thumbprint>, RollError> {
    let before = instance.view()?;
    let after = without_uploads(instance, &before, &[generation]);
    let lost = stranded(state, &before, &after);
    Ok(lost
        .into_iter()
        .map(|below| below.certificate.sha1_thumbprint())
        .collect())
}

/// What an instance decides by without the CA certificates of these generations.
fn without_uploads(instance: &Instance, view: &DpsView, gone: &[&HeldGeneration]) -> DpsView {
    let mut after = view.clone();
    for generation in gone {
        for held in instance.uploads(&generation.certificate) {
            after.remove_ca(&held.name);
        }
    }
    after
}

/// Authorities below that an earlier run has cut off, as the journal tells, and whose devices are not
/// admitted.
fn cut_off<'a>(state: &'a RollState, instance: &Instance, view: &DpsView) -> Vec<&'a Below> {
    let is_cut_off = |below: &&Below| {
        instance
            .cut_off
            .contains(&below.certificate.sha1_thumbprint())
            && !is_admitted(state, view, below)
    };
    state.below.iter().filter(is_cut_off).collect()
}

/// Authorities below whose devices are admitted before and not after.
fn stranded<'a>(state: &'a RollState, before: &DpsView, after: &DpsView) -> Vec<&'a Below> {
    let is_stranded = |below: &&Below| {
        below.leaves > 0 && is_admitted(state, before, below) && !is_admitted(state, after, below)
    };
    state.below.iter().filter(is_stranded).collect()
}

fn is_admitted(state: &RollState, view: &DpsView, below: &Below) -> bool {
    let outcome = state.outcome(view, &below.certificate);
    matches!(outcome, Outcome::Admitted(_))
}

fn keeps_those_below(state: &RollState, instance: &Instance, plan: &Plan) -> Result<(), RollError> {
    let before = instance.view()?;
    let after = plan.applied_to(&before)?;
    match stranded(state, &before, &after).first() {
        None => Ok(()),
        Some(below) => Err(RollError::StrandsBelow {
            dps: instance.name.clone(),
            below: below.authority.clone(),
            generation: below.generation,
            leaves: below.leaves,
            why: state.outcome(&after, &below.certificate).to_string(),
        }),
    }
}

/// Plans the way back: the new generation goes, the old one stays as it was.
///
/// # Errors
/// [`RollError`]: no roll is under way, or devices have leaves of the new generation already.
pub fn abort(moved: &Devices, state: &RollState) -> Result<Vec<InstancePlan>, RollError> {
    let current = state.current()?;
    let newer = |one: &&HeldGeneration| one.number > current.number;
    let mut gone: Vec<&HeldGeneration> = state.leftovers().into_iter().filter(newer).collect();
    let newcomer = state.newcomer();
    gone.extend(newcomer);
    let Some(last) = gone.last() else {
        return Err(RollError::NotUnderWay {
            authority: state.authority.clone(),
        });
    };
    if moved.count > 0 {
        return Err(RollError::Moved {
            authority: state.authority.clone(),
            generation: last.number,
            devices: moved.clone(),
        });
    }
    let goal = format!(
        "abort the roll of {} to generation {}",
        state.authority, last.number
    );
    let mut plans = Vec::new();
    for instance in &state.instances {
        let steps = without(state, instance, &gone, current)?;
        let plan = Plan {
            steps,
            ..Plan::new(&goal)
        };
        plans.push(InstancePlan {
            dps: instance.name.clone(),
            plan,
        });
    }
    // First of all: from then on nobody gets a leaf of it.
    if let (Some(newcomer), Some(first)) = (newcomer, plans.first_mut()) {
        let to = match newcomer.state {
            GenerationState::Pending => GenerationState::Voided,
            _ => GenerationState::Retired,
        };
        let change = settle(&state.authority, &[(newcomer.number, to)]);
        first.plan.steps.insert(0, change);
    }
    Ok(plans)
}
