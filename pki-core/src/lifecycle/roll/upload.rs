//! CA certificates of generations in an instance: uploaded under a name, verified, deleted.

use super::slots::Side;
use super::{HeldGeneration, Instance, RollError, RollState};
use crate::declaration::VerifiedBy;
use crate::ids::{AuthorityName, CertificateName, Generation, IdError};
use crate::lifecycle::{CaAction, CaStep, Expectation, Step};
use crate::management::CaCertificate;

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
pub(super) fn unproven(instance: &Instance, new: &HeldGeneration, steps: Vec<Step>) -> Vec<Step> {
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

pub(super) fn free_name(
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

pub(super) fn deleted(instance: &Instance, generation: &HeldGeneration) -> Vec<Step> {
    let uploads = instance.uploads(&generation.certificate);
    uploads
        .map(|held| deletion(held, generation, CaAction::deletion()))
        .collect()
}

/// The step that deletes what DPS holds of a generation.
pub(super) fn deletion(
    held: &CaCertificate,
    generation: &HeldGeneration,
    action: CaAction,
) -> Step {
    Step::Ca(CaStep {
        name: held.name.clone(),
        sha1_thumbprint: generation.certificate.sha1_thumbprint(),
        action,
        expect: Expectation::of(held.etag.as_ref()),
    })
}
