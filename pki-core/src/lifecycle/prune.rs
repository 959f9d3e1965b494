//! Pruning: what DPS holds beyond the declaration is deleted, only where that was asked for.
//!
//! A CA certificate is declared by what it is, not by its name alone: a roll gives each generation of an
//! authority another name. Groups go before the CA certificates that they may refer to. A disabled group keeps devices out for as
//! long as it is there, so it is never pruned: it has to be declared, or deleted by name.

use super::declared::{keep_out, let_in, strangers};
use super::{
    CaAction, CaStep, DeclaredError, DeclaredState, Effect, Expectation, Fleet, Impact, Plan, Step,
};
use crate::admission::{DpsView, ViewError};
use crate::declaration::DpsDeclaration;
use crate::enrollment::{EnrollmentGroup, Mechanism, ProvisioningStatus, X509Certificates};
use crate::ids::AuthorityGeneration;
use crate::ids::{CertificateName, EnrollmentGroupId};
use crate::wording::counted;

/// Why something cannot be pruned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// The group is disabled.
    #[error(
        "enrollment group {group} is not in pki.toml and is disabled: deleting it may let its devices in through another group"
    )]
    KeepsOut {
        /// The group.
        group: EnrollmentGroupId,
    },
    /// A group that stays refers to the CA certificate.
    #[error("CA certificate {name} is not in pki.toml, and enrollment group {group} refers to it")]
    Referred {
        /// The certificate's name in DPS.
        name: CertificateName,
        /// The group.
        group: EnrollmentGroupId,
    },
    /// Devices that are kept out now would fall through to another group.
    #[error(
        "pruning lets in {} kept out now",
        counted(*.leaves, "leaf that is", "leaves that are")
    )]
    LetsIn {
        /// How many leaves.
        leaves: u64,
    },
    /// The leaves of a compromised generation would fall through to another group.
    #[error("pruning lets in leaves of {generation}, which is compromised")]
    LetsCompromisedIn {
        /// Which generation.
        generation: AuthorityGeneration,
    },
    /// Groups that stay admit devices by the CA certificate.
    #[error(
        "delete CA certificate {name}: it is not in pki.toml, and {} would be refused that groups admit by it",
        counted(*.leaves, "leaf", "leaves")
    )]
    Admits {
        /// The certificate's name in DPS.
        name: CertificateName,
        /// How many leaves.
        leaves: u64,
    },
    /// The documents cannot be judged.
    #[error(transparent)]
    View(#[from] ViewError),
    /// A compromised generation cannot be kept out.
    #[error(transparent)]
    Declared(#[from] DeclaredError),
    /// The service gave no tag, so that nothing guards the deletion.
    #[error("{what} came without an ETag; it cannot be deleted safely")]
    NoTag {
        /// What it is.
        what: String,
    },
}

/// Adds to a plan of convergence the steps that delete what is not declared, and keeps out the compromised
/// generations that a declared group lets in once another that decided about them is deleted.
///
/// Gives how many steps of the plan come before those that delete.
///
/// # Errors
/// [`PruneError`].
pub fn prune(
    plan: &mut Plan,
    declared: &DpsDeclaration,
    state: &DeclaredState,
) -> Result<usize, PruneError> {
    let mut of_what_stays = strangers(declared, state);
    of_what_stays.extend(let_in(plan, state)?);
    plan.notes.retain(|note| !of_what_stays.contains(note));
    let deletions = deletions(declared, state)?;
    let deleted = deletions.len();
    plan.steps.extend(deletions);
    keep_out(plan, declared, state)?;
    plan.notes.extend(let_in(plan, state)?);
    Ok(plan.steps.len() - deleted)
}

/// Looks at what the steps that prune do after those that converge, `kept`. Pruning takes away what is not
/// declared, and with it the admission of those whom only that lets in; beyond that nobody is let in, and
/// nobody loses a group that stays.
///
/// # Errors
/// [`PruneError`].
pub fn check_pruning(
    state: &DeclaredState,
    before: &DpsView,
    fleet: &Fleet,
    (kept, pruned): (&[Step], &[Step]),
) -> Result<(), PruneError> {
    let mut view = before.clone();
    for step in kept {
        step.apply_to(&mut view)?;
    }
    let mut without_groups = view.clone();
    for step in pruned {
        if !matches!(step, Step::Ca(_)) {
            step.apply_to(&mut without_groups)?;
        }
    }
    let gains = Impact::compare(&view, &without_groups, fleet).count(Effect::Gains);
    if gains > 0 {
        return Err(PruneError::LetsIn { leaves: gains });
    }
    let mut compromised = state.compromised.iter();
    if let Some(one) =
        compromised.find(|one| one.is_let_in(&without_groups) && !one.is_let_in(&view))
    {
        return Err(PruneError::LetsCompromisedIn {
            generation: one.generation.clone(),
        });
    }
    // Each of two may be enough for the same leaves, so that one of them has to stay.
    let mut without = without_groups;
    for step in pruned {
        if let Step::Ca(CaStep { name, .. }) = step {
            let with = without.clone();
            step.apply_to(&mut without)?;
            let leaves = Impact::compare(&with, &without, fleet).count(Effect::Loses);
            if leaves > 0 {
                let name = name.clone();
                return Err(PruneError::Admits { name, leaves });
            }
        }
    }
    Ok(())
}

fn deletions(declared: &DpsDeclaration, state: &DeclaredState) -> Result<Vec<Step>, PruneError> {
    let mut steps = Vec::new();
    let is_declared = |group: &&EnrollmentGroup| {
        declared.groups.contains_key(&group.enrollment_group_id)
            || state.kept_out_by(group).is_some()
    };
    for group in state.groups.iter().filter(|group| !is_declared(group)) {
        let id = group.enrollment_group_id.clone();
        if group.provisioning_status == ProvisioningStatus::Disabled {
            return Err(PruneError::KeepsOut { group: id });
        }
        let etag = group.etag.clone().ok_or_else(|| PruneError::NoTag {
            what: format!("enrollment group {id}"),
        })?;
        steps.push(Step::delete_group(id, Expectation::Etag(etag)));
    }
    for held in &state.authorities {
        let name = &held.name;
        if declared.ca.contains_key(name) || state.is_living(declared, held) {
            continue;
        }
        let mut staying = state.groups.iter().filter(is_declared);
        if let Some(group) = staying.find(|group| refers_to(group, name)) {
            return Err(PruneError::Referred {
                name: name.clone(),
                group: group.enrollment_group_id.clone(),
            });
        }
        let (Some(thumbprint), Some(etag)) = (held.properties.thumbprint, held.etag.clone()) else {
            let what = format!("CA certificate {name}");
            return Err(PruneError::NoTag { what });
        };
        steps.push(Step::Ca(CaStep {
            name: name.clone(),
            sha1_thumbprint: thumbprint,
            action: CaAction::deletion(),
            expect: Expectation::Etag(etag),
        }));
    }
    Ok(steps)
}

fn refers_to(group: &EnrollmentGroup, name: &CertificateName) -> bool {
    match &group.attestation.mechanism {
        Mechanism::X509(X509Certificates::CaReferences(slots)) => {
            slots.iter().any(|held| held == name)
        }
        _ => false,
    }
}
