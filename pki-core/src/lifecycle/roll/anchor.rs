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
    let mut lost = stranded(state, &before, &after);
    for below in cut_off(state, instance, &after) {
        // While DPS has the old certificate under another name still, those are stranded by that as well.
        if !lost.iter().any(|one| one.certificate == below.certificate) {
            lost.push(below);
        }
    }
    let mut steps = Vec::new();
    for below in lost {
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
