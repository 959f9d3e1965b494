//! An expiry roll: the new generation beside the old one, then the old one away; or back.
//!
//! Invariant: no step takes away what admits a device with a valid leaf, unless that was accepted by
//! number.

use std::fmt;

use super::anchor::{anchored, keeps_those_below, stranded};
use super::slots::{self, Side};
use super::upload::{deleted, is_unverified, unproven, uploaded};
use super::{
    Devices, End, Former, HeldGeneration, Instance, InstancePlan, Newcomer, RollError, RollState,
};
use crate::admission::{Outcome, Refusal};
use crate::enrollment::{EnrollmentGroup, ProvisioningStatus};
use crate::ids::{AuthorityGeneration, AuthorityName, Generation};
use crate::inventory::{GenerationChange, GenerationState};
use crate::lifecycle::below::blocking_group;
use crate::lifecycle::{Plan, Step};
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

/// The words with which the goals of the start and of the end of a roll begin.
pub(super) fn goal_of_rolling(authority: impl fmt::Display) -> String {
    format!("roll {authority}: ")
}

/// The words with which the goal of an abort begins.
pub(super) fn goal_of_aborting(authority: impl fmt::Display) -> String {
    format!("abort the roll of {authority} to generation ")
}

/// Plans the start: the new generation verified where the old one was, and in the free slot of every
/// group that holds the old one. The new generation becomes *next* when all of that is done.
///
/// # Errors
/// [`RollError`]: there is no new generation, no free slot, no way to a verified CA certificate, or the
/// overlap is too short.
pub fn start(request: &Start, state: &RollState) -> Result<Vec<InstancePlan>, RollError> {
    let (old, newcomer) = state.rolled()?;
    let new = newcomer.generation();
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
        "{}put generation {} beside generation {}",
        goal_of_rolling(&state.authority),
        new.number,
        old.number
    );
    let mut plans = Vec::new();
    for instance in &state.instances {
        let plan = beside(state, instance, old, new, Plan::new(&goal))?;
        plans.push(InstancePlan {
            dps: instance.name.clone(),
            plan,
        });
    }
    if let (Newcomer::Pending(new), Some(last)) = (newcomer, plans.last_mut()) {
        let to_next = settle(&state.authority, &[(new.number, GenerationState::Next)]);
        last.plan.steps.push(to_next);
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
    let old_side = Side::of(old, instance);
    let mut new_side = Side::of(new, instance);
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
    instance
        .groups
        .iter()
        .filter(move |group| side.is_in(group) && !state.is_block(group))
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
    let next = match state.generations.newcomer() {
        Some(Newcomer::Next(next)) => Some(next),
        Some(Newcomer::Pending(_)) | None => None,
    };
    let stays = next.unwrap_or(current);
    let gone = state.generations.outgoing();
    let goal = format!(
        "{}generation {} takes the place of the old",
        goal_of_rolling(&state.authority),
        stays.number
    );
    if next.is_none() && !is_any_left(state, &gone) {
        return if state.generations.is_rolled() {
            Ok(nothing(state, &goal))
        } else {
            Err(RollError::NotUnderWay {
                authority: state.authority.clone(),
            })
        };
    }
    let oldest = gone.first().map_or(current, |one| &one.generation);
    has_moved(request, &state.authority, oldest.number)?;
    let mut plans = Vec::new();
    for instance in &state.instances {
        let mut plan = Plan::new(&goal);
        if request.with_intermediates {
            let gone = gone.iter().map(|one| &one.generation);
            plan.steps.extend(anchored(state, instance, gone)?);
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

/// The generations of authorities below whose devices would lose their way to a verified CA certificate if the
/// roll ended now.
///
/// # Errors
/// [`RollError`]: a group does not hold the new generation yet.
pub fn stranded_by_finish(state: &RollState) -> Result<Vec<AuthorityGeneration>, RollError> {
    let gone = state.generations.outgoing();
    let stays = match state.generations.newcomer() {
        Some(newcomer) => newcomer.generation(),
        None => state.current()?,
    };
    let mut found = Vec::new();
    for instance in &state.instances {
        let before = instance.view()?;
        let mut after = before.clone();
        for step in without(state, instance, &gone, stays)? {
            step.apply_to(&mut after)?;
        }
        let lost = stranded(state, &before, &after).into_iter();
        found.extend(lost.map(|below| AuthorityGeneration {
            name: below.authority.clone(),
            generation: below.generation,
        }));
    }
    Ok(found)
}

/// Whether an instance still has something of generations that go.
fn is_any_left(state: &RollState, gone: &[Former]) -> bool {
    state.instances.iter().any(|instance| {
        gone.iter().any(|one| {
            let side = Side::of_former(one, instance);
            let mut holders = holders(state, instance, &side);
            !side.names.is_empty() || holders.any(|group| !is_kept_out(group, &side))
        })
    })
}

/// Refuses to take a generation away from devices, but for as many as were accepted.
fn has_moved(
    request: &Finish,
    authority: &AuthorityName,
    generation: Generation,
) -> Result<(), RollError> {
    let accepted = request.accept_stranded;
    if request.left_behind.count > accepted {
        return Err(RollError::LeftBehind {
            authority: authority.clone(),
            generation,
            devices: request.left_behind.clone(),
            accepted,
        });
    }
    if request.left_behind.count + request.not_known.count > accepted {
        return Err(RollError::NotKnown {
            authority: authority.clone(),
            generation,
            devices: request.not_known.clone(),
            accepted,
        });
    }
    Ok(())
}

/// A plan without steps for each instance.
fn nothing(state: &RollState, goal: &str) -> Vec<InstancePlan> {
    let plans = state.instances.iter().map(|instance| InstancePlan {
        dps: instance.name.clone(),
        plan: Plan::new(goal),
    });
    plans.collect()
}

/// Takes generations out of the groups, then their certificates out of DPS.
fn without(
    state: &RollState,
    instance: &Instance,
    gone: &[Former],
    stays: &HeldGeneration,
) -> Result<Vec<Step>, RollError> {
    let stays = Side::of(stays, instance);
    let gone: Vec<Side<'_>> = gone
        .iter()
        .map(|one| Side::of_former(one, instance))
        .collect();
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
        && side.is_compromised
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

/// Plans the way back: the new generation goes, the old one stays as it was.
///
/// # Errors
/// [`RollError`]: no roll is under way, or devices have leaves of the new generation already.
pub fn abort(moved: &Devices, state: &RollState) -> Result<Vec<InstancePlan>, RollError> {
    let current = state.current()?;
    let newer = |one: &&Former| one.generation.number > current.number;
    let mut gone: Vec<Former> = (state.generations.former.iter())
        .filter(newer)
        .cloned()
        .collect();
    let withdrawn = state.generations.newcomer().map(|newcomer| match newcomer {
        Newcomer::Pending(pending) => pending.ended(End::Voided),
        Newcomer::Next(next) => next.ended(End::Retired),
    });
    gone.extend(withdrawn.clone());
    let Some(last) = gone.last() else {
        return Err(RollError::NotUnderWay {
            authority: state.authority.clone(),
        });
    };
    let last = last.generation.number;
    if moved.count > 0 {
        return Err(RollError::Moved {
            authority: state.authority.clone(),
            generation: last,
            devices: moved.clone(),
        });
    }
    let goal = format!("{}{last}", goal_of_aborting(&state.authority));
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
    if let (Some(withdrawn), Some(first)) = (withdrawn, plans.first_mut()) {
        let changes = [(withdrawn.generation.number, withdrawn.end.into())];
        first
            .plan
            .steps
            .insert(0, settle(&state.authority, &changes));
    }
    Ok(plans)
}
