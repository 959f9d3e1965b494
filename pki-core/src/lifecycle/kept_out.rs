//! Declared groups whose devices are refused by a group that nobody declares.
//!
//! Of several groups that hold one certificate DPS takes a disabled one. Convergence does not touch it, since
//! somebody may have made it to shut the devices out; it is named, with the command that lets them in.

use std::fmt;

use super::DeclaredState;
use super::below::holds;
use crate::declaration::DpsDeclaration;
use crate::enrollment::{EnrollmentGroup, ProvisioningStatus};
use crate::ids::EnrollmentGroupId;

/// A declared group whose devices are refused although it is to be enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptOut {
    /// The declared group.
    pub group: EnrollmentGroupId,
    /// The disabled one, which holds the same certificate and is not declared.
    pub by: EnrollmentGroupId,
}

/// The declared groups of an instance whose devices others refuse.
pub fn kept_out(declared: &DpsDeclaration, state: &DeclaredState) -> Vec<KeptOut> {
    let is_disabled_stranger = |held: &&EnrollmentGroup| {
        held.provisioning_status == ProvisioningStatus::Disabled
            && !declared.groups.contains_key(&held.enrollment_group_id)
    };
    let mut found = Vec::new();
    for (id, group) in &declared.groups {
        if group.status != ProvisioningStatus::Enabled {
            continue;
        }
        for other in state.groups.iter().filter(is_disabled_stranger) {
            let mut living = state.living_of(&group.authority);
            if living.any(|certificate| holds(other, certificate, &state.authorities)) {
                found.push(KeptOut {
                    group: id.clone(),
                    by: other.enrollment_group_id.clone(),
                });
            }
        }
    }
    found
}

impl fmt::Display for KeptOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "devices of enrollment group {} are refused: enrollment group {}, which is not in pki.toml, holds the same certificate and is disabled",
            self.group, self.by
        )
    }
}
