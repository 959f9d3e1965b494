//! Those below a generation that goes: who loses the way to a verified CA certificate, and how they keep one.

use super::slots::Side;
use super::upload::{free_name, verify_as};
use super::{Below, HeldGeneration, Instance, RollError, RollState};
use crate::admission::{DpsView, Outcome};
use crate::ids::{CertificateName, Generation, Sha1Thumbprint};
use crate::lifecycle::{Plan, Step};

/// Has the authorities right below verified themselves, where their devices reach a verified CA
/// certificate only by one that goes.
///
/// DPS wants *some* certificate of the chain verified, not the root: an intermediate that is verified
/// keeps admitting the leaves below it with the chains that they present already. A certificate of the
/// same intermediate under the new root (cross-signing) would do as well, but only once every device
/// presents it.
pub(super) fn anchored<'a>(
    state: &RollState,
    instance: &Instance,
    gone: impl IntoIterator<Item = &'a HeldGeneration>,
) -> Result<Vec<Step>, RollError> {
    let before = instance.view()?;
    let after = without_uploads(instance, &before, gone);
    let mut steps = Vec::new();
    for below in &state.below {
        let is_lost = is_stranded(state, &before, &after, below)
            || is_cut_off(state, instance, &after, below);
        if !is_lost {
            continue;
        }
        let generation = HeldGeneration {
            number: below.generation,
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

/// The certificates of authorities below whose devices are admitted only by the CA certificate of a
/// generation.
pub(super) fn admitted_by(
    state: &RollState,
    instance: &Instance,
    generation: &HeldGeneration,
) -> Result<Vec<Sha1Thumbprint>, RollError> {
    let before = instance.view()?;
    let after = without_uploads(instance, &before, [generation]);
    let lost = stranded(state, &before, &after);
    Ok(lost
        .into_iter()
        .map(|below| below.certificate.sha1_thumbprint())
        .collect())
}

/// What an instance decides by without the CA certificates of these generations.
fn without_uploads<'a>(
    instance: &Instance,
    view: &DpsView,
    gone: impl IntoIterator<Item = &'a HeldGeneration>,
) -> DpsView {
    let mut after = view.clone();
    for generation in gone {
        for held in instance.uploads(&generation.certificate) {
            after.remove_ca(&held.name);
        }
    }
    after
}

/// Whether an earlier run has cut an authority below off, as the journal tells, and its devices are not
/// admitted.
fn is_cut_off(state: &RollState, instance: &Instance, view: &DpsView, below: &Below) -> bool {
    let thumbprint = below.certificate.sha1_thumbprint();
    instance.cut_off.contains(&thumbprint) && !is_admitted(state, view, below)
}

/// Authorities below whose devices are admitted before and not after.
pub(super) fn stranded<'a>(
    state: &'a RollState,
    before: &DpsView,
    after: &DpsView,
) -> Vec<&'a Below> {
    let below = state.below.iter();
    below
        .filter(|below| is_stranded(state, before, after, below))
        .collect()
}

fn is_stranded(state: &RollState, before: &DpsView, after: &DpsView, below: &Below) -> bool {
    below.leaves > 0 && is_admitted(state, before, below) && !is_admitted(state, after, below)
}

pub(super) fn is_admitted(state: &RollState, view: &DpsView, below: &Below) -> bool {
    let outcome = state.outcome(view, &below.certificate);
    matches!(outcome, Outcome::Admitted(_))
}

pub(super) fn keeps_those_below(
    state: &RollState,
    instance: &Instance,
    plan: &Plan,
) -> Result<(), RollError> {
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
