//! A group leaves with all its devices, and what is read back is shown.

use std::fmt;

use dps_operations::deprovision::{Decided, GroupProof, LeavingGroup, NotGone, PreparedGroup};
use dps_operations::judge::Judged;
use pki_core::enrollment::ProvisioningStatus;
use pki_core::ids::{AuthorityName, EnrollmentGroupId, Generation};
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::{command_in, counted};
use serde::Serialize;

use super::{Leaving, Report, ask};
use crate::commands::everywhere::{Problems, Within};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};
use crate::execute::Failures;
use crate::hubs::refuse_unread;
use crate::planes::Planes;
use crate::snapshot::around;
use crate::unknown::with_nearest;

/// A group leaves every instance that has it, or has had it.
pub(super) fn group_everywhere(
    context: &Context,
    all: &[Planes<'_>],
    inventory: &mut SqliteInventory,
    id: &EnrollmentGroupId,
) -> CommandResult {
    let mut unread = Vec::new();
    let mut parts = Vec::new();
    for planes in all {
        let leaving = Leaving::new(context, planes, all.len());
        let seen = around(&context.settings, planes, inventory);
        match context.runtime.wait_for(LeavingGroup::gather(seen, id)) {
            Ok(group) => parts.push((leaving, group)),
            Err(error) => unread.push((leaving.dps, error)),
        }
    }
    let who = format!("the devices of enrollment group {id} are");
    let mut problems = Problems::default();
    problems.note_unread(unread, &who, !parts.is_empty())?;
    let mut concerned = Vec::new();
    for (leaving, group) in &parts {
        if group.is_known(around(&context.settings, leaving.planes, inventory))? {
            concerned.push((leaving, group));
        }
    }
    if let (Some((first, group)), true) = (parts.first(), concerned.is_empty()) {
        return Err(first.no_group(id, group));
    }
    let mut planned = Vec::new();
    for (leaving, group) in concerned {
        match leaving.planned(inventory, id, group) {
            Ok((prepared, judged)) => planned.push((leaving, prepared, judged)),
            Err(error) => problems.note(leaving.dps, Err(error))?,
        }
    }
    let asked: Vec<(&Leaving<'_>, &Judged)> = planned
        .iter()
        .map(|(leaving, _, judged)| (*leaving, judged))
        .collect();
    ask(context, inventory, &asked)?;
    let mut opened = Vec::new();
    for (leaving, prepared, judged) in planned {
        match leaving.open(inventory, &judged, Failures::Stop) {
            Ok(plan) => opened.push((leaving, prepared, judged, plan)),
            Err(error) => problems.note(leaving.dps, Err(error))?,
        }
    }
    for (leaving, prepared, judged, plan) in opened {
        let carried_out = leaving.carry_out(inventory, judged, plan);
        let done = carried_out.and_then(|(shown, _)| leaving.group(inventory, &prepared, shown));
        problems.note(leaving.dps, done)?;
    }
    problems.end()
}

impl Leaving<'_> {
    fn planned(
        &self,
        inventory: &SqliteInventory,
        id: &EnrollmentGroupId,
        group: &LeavingGroup,
    ) -> Result<(PreparedGroup, Judged), CommandError> {
        let seen = around(&self.context.settings, self.planes, inventory);
        let Some(prepared) = self.context.runtime.wait_for(group.prepare(seen))? else {
            return Err(self.no_group(id, group));
        };
        let judged = prepared.judge(seen)?;
        Ok((prepared, judged))
    }

    fn group(
        &self,
        inventory: &SqliteInventory,
        prepared: &PreparedGroup,
        mut shown: Report,
    ) -> Result<(), CommandError> {
        let proof = if self.context.settings.dry_run {
            None
        } else {
            let seen = around(&self.context.settings, self.planes, inventory);
            Some(self.context.runtime.wait_for(prepared.read_back(seen))?)
        };
        shown.proof = proof.as_ref().map(Proof::from);
        let dps = self.dps;
        self.context.ui.item(&Within { dps, result: shown })?;
        if let Some(proof) = proof {
            proof.check().map_err(|error| self.not_gone(&error))?;
            refuse_unread(&prepared.unread)?;
        }
        Ok(())
    }

    fn no_group(&self, id: &EnrollmentGroupId, group: &LeavingGroup) -> CommandError {
        let known: Vec<&str> = group.groups().map(EnrollmentGroupId::as_str).collect();
        let message = format!("DPS {} has no enrollment group {id}", self.planes.name());
        let error = CommandError::not_found(message);
        match known.as_slice() {
            [] => error,
            known => with_nearest(error, id.as_str(), known)
                .hint(format!("there are: {}", known.join(", "))),
        }
    }

    /// Who is let in still, and how to shut them out.
    fn not_gone(&self, error: &NotGone) -> CommandError {
        let conflict = CommandError::new(ErrorKind::Conflict, error.to_string());
        let NotGone::LetIn { devices, .. } = error else {
            return conflict.hint("run it again");
        };
        let devices: Vec<Leaves> = devices.iter().map(Leaves::from).collect();
        let conflict = conflict.lines(&devices);
        let dps = self.planes.name();
        let signers = devices
            .iter()
            .filter_map(|leaves| leaves.authority.as_ref());
        signers.fold(conflict, |error, name| {
            error.hint(format!(
                "shut them out with: {}",
                command_in(dps, format_args!("quarantine --authority {name}"))
            ))
        })
    }
}

/// What was read back.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Proof {
    enrollment_group: EnrollmentGroupId,
    /// `null` where the group is gone.
    status: Option<ProvisioningStatus>,
    /// What DPS decides now about the devices that the group decided about.
    devices: Vec<Leaves>,
}

/// Leaves about which DPS decides alike.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Leaves {
    /// Who signed them; `null` if that was done outside of this home.
    authority: Option<AuthorityName>,
    generation: Option<Generation>,
    leaves: u64,
    outcome: String,
}

impl From<&GroupProof> for Proof {
    fn from(proof: &GroupProof) -> Self {
        Self {
            enrollment_group: proof.id.clone(),
            status: proof.status.clone(),
            devices: proof.devices.iter().map(Leaves::from).collect(),
        }
    }
}

impl From<&Decided> for Leaves {
    fn from(decided: &Decided) -> Self {
        let signer = decided.signed_by.as_ref();
        Self {
            authority: signer.map(|signer| signer.name.clone()),
            generation: signer.map(|signer| signer.generation),
            leaves: decided.leaves,
            outcome: decided.outcome.to_string(),
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self
            .status
            .as_ref()
            .map_or("gone", ProvisioningStatus::as_str);
        let id = &self.enrollment_group;
        write!(f, "read back from DPS: enrollment group {id} is {state}")?;
        for leaves in &self.devices {
            write!(f, "\nread back from DPS: {leaves}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Leaves {
    /// `2 leaves of factory generation 1: refused: no enrollment …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&counted(self.leaves, "leaf", "leaves"))?;
        match (&self.authority, self.generation) {
            (Some(name), Some(generation)) => write!(f, " of {name} generation {generation}")?,
            _ => f.write_str(" of a foreign signer")?,
        }
        write!(f, ": {}", self.outcome)
    }
}
