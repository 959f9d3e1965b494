//! Quarantine of everything below an intermediate: a disabled group on it.
//!
//! A group on the intermediate decides before any group above it does, so a disabled one shuts out
//! every device below, also those whose leaves nobody knows of. It must stay: deleting it lets the
//! devices fall through to an enabled group above. Devices with an enabled individual enrollment are
//! decided about before any group, and stay in.

use std::collections::BTreeSet;

use serde_json::json;

use super::declared::is_same;
use super::{Expectation, FieldChange, GroupStep, Plan, Step};
use crate::certificate::Certificate;
use crate::enrollment::compose::by_signing_certificate;
use crate::enrollment::{
    CertificateSlot, EnrollmentGroup, Mechanism, ProvisioningStatus, X509Certificates,
};
use crate::ids::{AuthorityGeneration, EnrollmentGroupId, IdError};
use crate::inventory::AuthorityRecord;
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
}

/// Plans to shut out everything below a generation of an authority: disables the groups that hold it, or
/// makes a disabled one. `shut_out` are all certificates below which nobody is to be admitted. A group
/// that holds another one as well stays as it is, since the devices below that one are not meant: a new
/// group, disabled, decides first. Where one certificate is in several groups, a disabled one wins.
///
/// # Errors
/// [`BelowError`].
pub fn quarantine_below(
    generation: &AuthorityGeneration,
    certificate: &Certificate,
    shut_out: &[Certificate],
    authorities: &[CaCertificate],
    groups: &[EnrollmentGroup],
) -> Result<Plan, BelowError> {
    let mut plan = Plan::new(format!("shut out everything below {generation}"));
    let block = blocking_id(generation, certificate, groups)?;
    let holders = groups.iter().filter(|group| {
        group.enrollment_group_id != block && holds(group, certificate, authorities)
    });
    let (shared, own): (Vec<&EnrollmentGroup>, Vec<&EnrollmentGroup>) =
        holders.partition(|group| holds_another(group, certificate, shut_out, authorities));
    let is_enabled =
        |group: &&EnrollmentGroup| group.provisioning_status == ProvisioningStatus::Enabled;
    if own.is_empty() || shared.iter().any(&is_enabled) {
        let made = blocking_group(generation, certificate, groups)?;
        plan.notes.extend(made.is_some().then(|| {
            format!("enrollment group {block} must stay disabled: deleting it lets its devices fall through to a group above, or to one that holds the same certificate")
        }));
        plan.steps.extend(made);
    }
    plan.notes.extend(shared.iter().copied().filter(is_enabled).map(|group| {
        format!(
            "enrollment group {} holds another certificate beside that of {generation} and stays enabled: {block} shuts out those below {generation} alone",
            group.enrollment_group_id
        )
    }));
    plan.steps
        .extend(own.into_iter().filter_map(disabled).map(Step::Group));
    Ok(plan)
}

/// The name of the group that shuts out a generation: of the one that does, or the first that no other group has.
fn blocking_id(
    generation: &AuthorityGeneration,
    certificate: &Certificate,
    groups: &[EnrollmentGroup],
) -> Result<EnrollmentGroupId, BelowError> {
    let mut blocks = groups
        .iter()
        .filter(|group| is_block(generation, certificate, group));
    if let Some(block) = blocks.next() {
        return Ok(block.enrollment_group_id.clone());
    }
    let mut name = blocking_name(generation);
    let mut number = 1_u32;
    loop {
        let id: EnrollmentGroupId = name.parse().map_err(|source| BelowError::Id {
            generation: generation.clone(),
            source,
        })?;
        if groups.iter().all(|group| group.enrollment_group_id != id) {
            return Ok(id);
        }
        number += 1;
        name = format!("{}-{number}", blocking_name(generation));
    }
}

fn blocking_name(generation: &AuthorityGeneration) -> String {
    format!("quarantine-{}-{}", generation.name, generation.generation)
}

/// The step after which a disabled group of the toolkit's own holds a certificate; none if one does.
///
/// # Errors
/// [`BelowError`].
pub(super) fn blocking_group(
    generation: &AuthorityGeneration,
    certificate: &Certificate,
    groups: &[EnrollmentGroup],
) -> Result<Option<Step>, BelowError> {
    let id = blocking_id(generation, certificate, groups)?;
    let mut held = groups
        .iter()
        .filter(|group| group.enrollment_group_id == id);
    if let Some(held) = held.next() {
        return Ok(disabled(held).map(Step::Group));
    }
    let mut group = EnrollmentGroup::new(id, by_signing_certificate(certificate));
    group.provisioning_status = ProvisioningStatus::Disabled;
    Ok(Some(Step::put_group(group, vec![], Expectation::Absent)))
}

/// Whether a group is one that [`blocking_group`] makes for a generation. Rolls leave it alone: what
/// it holds must stay shut out for as long as a group above would admit it. The name alone does not tell: somebody
/// else may have given it to a group that holds something else, and then ours has a number behind it.
pub(super) fn is_block(
    generation: &AuthorityGeneration,
    certificate: &Certificate,
    group: &EnrollmentGroup,
) -> bool {
    // The service takes the IDs of groups in any case.
    let name = blocking_name(generation).to_ascii_lowercase();
    let id = group.enrollment_group_id.as_str().to_ascii_lowercase();
    let is_named = id.strip_prefix(&name).is_some_and(|rest| {
        let number = rest.strip_prefix('-').map(str::parse::<u32>);
        rest.is_empty() || matches!(number, Some(Ok(_)))
    });
    is_named && holds_alone(group, certificate)
}

/// The groups that a quarantine or a breach roll has made to shut out a generation, of these authorities.
pub fn blocking_groups<'a>(
    authorities: &'a [AuthorityRecord],
    groups: &'a [EnrollmentGroup],
) -> impl Iterator<Item = &'a EnrollmentGroupId> {
    let generations = authorities.iter().flat_map(|authority| {
        authority.generations.iter().filter_map(|record| {
            let id = AuthorityGeneration {
                name: authority.name.clone(),
                generation: record.generation,
            };
            Some((id, record.certificate.as_ref()?.certificate()))
        })
    });
    generations.flat_map(move |(id, certificate)| {
        let block = groups
            .iter()
            .find(|group| is_block(&id, certificate, group));
        block.map(|group| &group.enrollment_group_id)
    })
}

fn holds_alone(group: &EnrollmentGroup, certificate: &Certificate) -> bool {
    let Mechanism::X509(X509Certificates::Signing(slots)) = &group.attestation.mechanism else {
        return false;
    };
    let wanted = Some(certificate.sha256_thumbprint());
    let mut held = slots.iter().map(CertificateSlot::sha256_thumbprint);
    held.next() == Some(wanted) && held.next().is_none()
}

/// Whether a group admits by a certificate that is not to be shut out.
fn holds_another(
    group: &EnrollmentGroup,
    certificate: &Certificate,
    shut_out: &[Certificate],
    authorities: &[CaCertificate],
) -> bool {
    let goes = |held: &CaCertificate| {
        let mut all = shut_out.iter().chain([certificate]);
        all.any(|certificate| is_same(held, certificate))
    };
    match &group.attestation.mechanism {
        Mechanism::X509(X509Certificates::Signing(slots)) => {
            let all = shut_out.iter().chain([certificate]);
            let all: BTreeSet<_> = all.map(Certificate::sha256_thumbprint).collect();
            let mut held = slots.iter().map(CertificateSlot::sha256_thumbprint);
            held.any(|held| held.is_none_or(|held| !all.contains(&held)))
        }
        Mechanism::X509(X509Certificates::CaReferences(slots)) => slots.iter().any(|name| {
            // A reference to nothing admits nobody.
            let mut held = authorities.iter().filter(|held| held.name == *name);
            held.any(|held| !goes(held))
        }),
        _ => false,
    }
}

/// Whether a group holds a certificate, itself or by the name of a CA certificate of the instance.
pub(super) fn holds(
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
pub(super) fn disabled(group: &EnrollmentGroup) -> Option<GroupStep> {
    if group.provisioning_status == ProvisioningStatus::Disabled {
        return None;
    }
    let mut after = group.clone();
    after.provisioning_status = ProvisioningStatus::Disabled;
    let change = FieldChange {
        field: "provisioningStatus".into(),
        from: json!(group.provisioning_status),
        to: json!("disabled"),
    };
    let expect = Expectation::of(group.etag.as_ref());
    Some(GroupStep::put(after, vec![change], expect))
}
