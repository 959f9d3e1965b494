//! Quarantine of everything below an intermediate: a disabled group on it.
//!
//! A group on the intermediate decides before any group above it does, so a disabled one shuts out
//! every device below, also those whose leaves nobody knows of. It must stay: deleting it lets the
//! devices fall through to an enabled group above. Devices with an enabled individual enrollment are
//! decided about before any group, and stay in.

use serde_json::json;

use super::declared::is_same;
use super::{Expectation, FieldChange, Plan, Step};
use crate::certificate::Certificate;
use crate::enrollment::compose::by_signing_certificate;
use crate::enrollment::{EnrollmentGroup, Mechanism, ProvisioningStatus, X509Certificates};
use crate::ids::{EnrollmentGroupId, IdError};
use crate::inventory::AuthorityGeneration;
use crate::management::CaCertificate;

/// Why a group cannot be put on an intermediate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BelowError {
    /// The name of the group would not be one.
    #[error("the group that shuts out {generation} cannot be named")]
    Id {
        /// What is to be shut out.
        generation: AuthorityGeneration,
        /// What is wrong with the name.
        source: IdError,
    },
    /// Another group has the name.
    #[error("enrollment group {id} exists and holds something else; rename it first")]
    Taken {
        /// The group.
        id: EnrollmentGroupId,
    },
}

/// Plans to shut out everything below a generation of an authority: disables the groups that hold it,
/// or makes a disabled one where none does.
///
/// # Errors
/// [`BelowError`].
pub fn quarantine_below(
    generation: &AuthorityGeneration,
    certificate: &Certificate,
    authorities: &[CaCertificate],
    groups: &[EnrollmentGroup],
) -> Result<Plan, BelowError> {
    let mut plan = Plan::new(format!("shut out everything below {generation}"));
    let holds = |group: &&EnrollmentGroup| holds(group, certificate, authorities);
    let holders: Vec<&EnrollmentGroup> = groups.iter().filter(holds).collect();
    if holders.is_empty() {
        plan.steps
            .push(blocking_group(generation, certificate, groups)?);
        plan.notes.push(
            "the new group must stay disabled: deleting it lets its devices fall through to a group above"
                .into(),
        );
    }
    plan.steps.extend(holders.into_iter().filter_map(disabled));
    Ok(plan)
}

/// The step that makes a disabled group for a certificate that no group holds.
///
/// # Errors
/// [`BelowError`].
pub(super) fn blocking_group(
    generation: &AuthorityGeneration,
    certificate: &Certificate,
    groups: &[EnrollmentGroup],
) -> Result<Step, BelowError> {
    let id = format!("quarantine-{}-{}", generation.name, generation.generation);
    let id: EnrollmentGroupId = id.parse().map_err(|source| BelowError::Id {
        generation: generation.clone(),
        source,
    })?;
    if groups.iter().any(|group| group.enrollment_group_id == id) {
        return Err(BelowError::Taken { id });
    }
    let mut group = EnrollmentGroup::new(id, by_signing_certificate(certificate));
    group.provisioning_status = ProvisioningStatus::Disabled;
    Ok(Step::PutGroup {
        group: Box::new(group),
        changes: vec![],
        expect: Expectation::Absent,
    })
}

fn holds(
    group: &EnrollmentGroup,
    certificate: &Certificate,
    authorities: &[CaCertificate],
) -> bool {
    match &group.attestation.mechanism {
        Mechanism::X509(X509Certificates::Signing(slots)) => {
            let wanted = Some(certificate.sha256_thumbprint());
            slots.iter().any(|slot| slot.sha256_thumbprint() == wanted)
        }
        Mechanism::X509(X509Certificates::CaReferences(slots)) => {
            let is_it = |held: &&CaCertificate| is_same(held, certificate);
            let mut names = authorities.iter().filter(is_it).map(|held| &held.name);
            names.any(|name| slots.iter().any(|slot| slot == name))
        }
        _ => false,
    }
}

/// The step that disables a group; none if it is.
pub(super) fn disabled(group: &EnrollmentGroup) -> Option<Step> {
    if group.provisioning_status == ProvisioningStatus::Disabled {
        return None;
    }
    let mut after = group.clone();
    after.provisioning_status = ProvisioningStatus::Disabled;
    Some(Step::PutGroup {
        group: Box::new(after),
        changes: vec![FieldChange {
            field: "provisioningStatus".into(),
            from: json!("enabled"),
            to: json!("disabled"),
        }],
        expect: Expectation::of(group.etag.as_ref()),
    })
}
