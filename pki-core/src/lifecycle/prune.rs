//! Pruning: what DPS holds beyond the declaration is deleted, only where that was asked for.
//!
//! A CA certificate is declared by what it is, not by its name alone: a roll gives each generation of an
//! authority another name. Groups go before the CA certificates that they may refer to. A disabled group keeps devices out for as
//! long as it is there, so it is never pruned: it has to be declared, or deleted by name.

use super::declared::strangers;
use super::{DeclaredState, Expectation, Plan, Step};
use crate::declaration::DpsDeclaration;
use crate::enrollment::{EnrollmentGroup, Mechanism, ProvisioningStatus, X509Certificates};
use crate::ids::{CertificateName, EnrollmentGroupId};

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
    /// The service gave no tag, so that nothing guards the deletion.
    #[error("{what} came without an ETag; it cannot be deleted safely")]
    NoTag {
        /// What it is.
        what: String,
    },
}

/// Adds to a plan of convergence the steps that delete what is not declared.
///
/// # Errors
/// [`PruneError`].
pub fn prune(
    plan: &mut Plan,
    declared: &DpsDeclaration,
    state: &DeclaredState,
) -> Result<(), PruneError> {
    let left_alone = strangers(declared, state);
    plan.notes.retain(|note| !left_alone.contains(note));
    plan.steps.extend(deletions(declared, state)?);
    Ok(())
}

fn deletions(declared: &DpsDeclaration, state: &DeclaredState) -> Result<Vec<Step>, PruneError> {
    let mut steps = Vec::new();
    let is_declared =
        |group: &&EnrollmentGroup| declared.groups.contains_key(&group.enrollment_group_id);
    for group in state.groups.iter().filter(|group| !is_declared(group)) {
        let id = group.enrollment_group_id.clone();
        if group.provisioning_status == ProvisioningStatus::Disabled {
            return Err(PruneError::KeepsOut { group: id });
        }
        let etag = group.etag.clone().ok_or_else(|| PruneError::NoTag {
            what: format!("enrollment group {id}"),
        })?;
        let expect = Expectation::Etag(etag);
        steps.push(Step::DeleteGroup { id, expect });
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
        steps.push(Step::DeleteCa {
            name: name.clone(),
            sha1_thumbprint: thumbprint,
            expect: Expectation::Etag(etag),
        });
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
