//! Single steps of what `apply` does as a whole: one declared CA certificate or group.

use dps_operations::judge::Judge;
use pki_core::declaration::DpsDeclaration;
use pki_core::ids::{CertificateName, EnrollmentGroupId};
use pki_core::lifecycle::{CaAction, Plan, Promise, Step, converge};
use pki_core::wording::command_in;

use super::ca_proof;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::execute::Proposal;
use crate::planes::{self, Planes};
use crate::render::plan::PlanAndImpact;
use crate::snapshot::{DpsSnapshot, around};

/// Uploads a declared CA certificate unless DPS holds it.
pub(super) fn upload_ca(context: &Context, name: &CertificateName) -> CommandResult {
    let planes = planes::chosen(context)?;
    let wanted = only_ca(&planes, name)?;
    let goal = format!("upload CA certificate {name} to DPS {}", planes.name());
    carry_out(context, &planes, &wanted, goal, |plan| {
        plan.steps.retain(is_upload);
        Ok(())
    })
}

/// Proves possession of a declared CA certificate that DPS holds, unless that is done.
pub(super) fn prove_ca(context: &Context, name: &CertificateName) -> CommandResult {
    let planes = planes::chosen(context)?;
    let wanted = only_ca(&planes, name)?;
    let goal = ca_proof::goal(&planes, name);
    carry_out(context, &planes, &wanted, goal, |plan| {
        match plan.steps.first() {
            Some(step) if is_upload(step) => {
                let message = format!(
                    "CA certificate {name} is not in DPS yet, or declared as self-attested"
                );
                Err(CommandError::not_found(message).hint(format!(
                    "upload it with: {}",
                    command_in(planes.name(), format_args!("dps ca upload {name}"))
                )))
            }
            _ => Ok(()),
        }
    })
}

fn is_upload(step: &Step) -> bool {
    let Step::Ca(step) = step else {
        return false;
    };
    matches!(step.action, CaAction::Upload { .. })
}

/// Creates or changes a group as it is declared.
pub(super) fn put_group(context: &Context, id: &EnrollmentGroupId) -> CommandResult {
    let planes = planes::of_group(context, id)?;
    let Some(group) = planes.declared().groups.get(id) else {
        return Err(
            undeclared(&planes, "enrollment group", "group", id.as_str())
                .hint("or put a document with --file"),
        );
    };
    let wanted = DpsDeclaration {
        ca: [].into(),
        groups: [(id.clone(), group.clone())].into(),
        ..planes.declared().clone()
    };
    let goal = format!(
        "bring enrollment group {id} in DPS {} to what pki.toml declares",
        planes.name()
    );
    carry_out(context, &planes, &wanted, goal, |_| Ok(()))
}

/// The declaration without anything but one CA certificate.
fn only_ca(planes: &Planes<'_>, name: &CertificateName) -> Result<DpsDeclaration, CommandError> {
    let Some(ca) = planes.declared().ca.get(name) else {
        return Err(undeclared(planes, "CA certificate", "ca", name.as_str()));
    };
    Ok(DpsDeclaration {
        ca: [(name.clone(), ca.clone())].into(),
        groups: [].into(),
        ..planes.declared().clone()
    })
}

fn undeclared(planes: &Planes<'_>, what: &str, table: &str, name: &str) -> CommandError {
    let dps = planes.name();
    CommandError::not_found(format!("pki.toml declares no {what} {name} for DPS {dps}"))
        .hint(format!("add a table [dps.{dps}.{table}.{name}]"))
}

fn carry_out(
    context: &Context,
    planes: &Planes<'_>,
    wanted: &DpsDeclaration,
    goal: String,
    narrow: impl FnOnce(&mut Plan) -> Result<(), CommandError>,
) -> CommandResult {
    let mut inventory = context.home.inventory()?;
    let snapshot = context
        .runtime
        .wait_for(DpsSnapshot::gather(planes.instance()))?;
    let state = snapshot.declared_state(&inventory)?;
    let mut plan = Plan {
        goal,
        // What else DPS holds is no news here.
        notes: Vec::new(),
        ..converge(planes.name(), wanted, &state)?
    };
    narrow(&mut plan)?;
    let before = snapshot.view()?;
    let promise = Promise::as_shown();
    let judged = Judge::of(around(&context.settings, planes, &inventory), &before).plan(
        plan,
        &promise,
        planes.rate(),
    )?;
    let shown = PlanAndImpact::proposed(&judged);
    let proposal = Proposal::new(&judged.plan, &shown);
    let execution = proposal.carry_out(context, planes, &mut inventory)?;
    context.ui.result(&PlanAndImpact {
        done: execution.done,
        ..shown
    })?;
    Ok(Outcome::Done)
}
