//! Deprovisioning: devices and groups leave for good, in two halves and in this order: disenrolled in
//! DPS, then deregistered from the hub with their registration records.
//!
//! A device that a group admits cannot be disenrolled by deleting anything of its own: a disabled
//! entry keeps it out. A group is disabled first, so that nobody comes back while its devices leave.

use super::below::disabled;
use super::quarantine::{HubAction, Quarantine, QuarantineState, quarantine};
use super::roll::RegisteredDevice;
use super::{Expectation, Plan, Step};
use crate::admission::{Outcome, Refusal};
use crate::certificate::Certificate;
use crate::enrollment::{EnrollmentGroup, ProvisioningStatus};
use crate::ids::{EnrollmentGroupId, RegistrationId};

/// What the goals of these plans begin with, in the journal too.
pub const GOAL_OF_DEPROVISIONING: &str = "deprovision ";

/// A device that is to leave.
#[derive(Debug, Clone)]
pub struct Deprovision {
    /// The device.
    pub registration_id: RegistrationId,
    /// Its leaf, if it is at hand.
    pub leaf: Option<Certificate>,
    /// What DPS would decide without an individual enrollment, of all its leaves about the one that is
    /// nearest to admission; `None` if that cannot be told.
    pub without_entry: Option<Outcome>,
}

/// Plans that a device leaves. Its entry is deleted only where no group holds anything of its chain,
/// since a group that is disabled today is enabled tomorrow; and never if it is disabled: then it is what
/// keeps the device out.
pub fn deprovision(request: &Deprovision, state: &QuarantineState) -> Plan {
    let id = &request.registration_id;
    let stays_out = request.without_entry == Some(Outcome::Refused(Refusal::NoEntry));
    let entry = state.individual.as_ref();
    let is_disabled =
        entry.is_some_and(|entry| entry.provisioning_status == ProvisioningStatus::Disabled);
    let shut_out = Quarantine {
        registration_id: id.clone(),
        leaf: request.leaf.clone(),
        revoke: vec![],
        reason: Some("deprovisioned".into()),
        hub: HubAction::Delete,
    };
    let mut plan = quarantine(&shut_out, state);
    plan.goal = format!("{GOAL_OF_DEPROVISIONING}{id}");
    if is_disabled {
        plan.notes.push(format!(
            "individual enrollment {id} is disabled and stays: deleting it may let the device in"
        ));
    } else if stays_out {
        plan.steps
            .retain(|step| !matches!(step, Step::PutIndividual { .. }));
        let delete = entry.map(|entry| Step::DeleteIndividual {
            registration_id: id.clone(),
            expect: Expectation::of(entry.etag.as_ref()),
        });
        plan.steps.splice(0..0, delete);
    } else {
        let why = match &request.without_entry {
            Some(Outcome::Admitted(_)) => format!("a group admits {id}"),
            Some(_) => format!("a group holds a certificate of {id}'s chain"),
            None => format!("nobody knows what group holds the chain of {id}"),
        };
        plan.notes.push(format!(
            "{why}, so a disabled individual enrollment keeps it out, and must stay"
        ));
    }
    plan
}

/// Plans that a group and all its devices leave. `falls_to` are the groups that would decide about its
/// devices if it were deleted, enabled or not, since those that are disabled today are enabled tomorrow:
/// then it stays, disabled.
pub fn deprovision_group(
    group: &EnrollmentGroup,
    devices: &[RegisteredDevice],
    falls_to: &[EnrollmentGroupId],
) -> Plan {
    let id = &group.enrollment_group_id;
    let mut plan = Plan::new(format!(
        "{GOAL_OF_DEPROVISIONING}enrollment group {id} and its devices"
    ));
    let disable = disabled(group);
    let expect = match &disable {
        None => Expectation::of(group.etag.as_ref()),
        Some(_) => Expectation::AsLeftByPlan,
    };
    plan.steps.extend(disable);
    let leave = |device: &RegisteredDevice| device.deregister(HubAction::Delete, "deprovisioned");
    plan.steps.extend(devices.iter().flat_map(leave));
    if falls_to.is_empty() {
        plan.steps.push(Step::DeleteGroup {
            id: id.clone(),
            expect,
        });
    } else {
        let groups: Vec<&str> = falls_to.iter().map(EnrollmentGroupId::as_str).collect();
        plan.notes.push(format!(
            "enrollment group {id} stays, disabled: without it {} would decide about its devices",
            groups.join(", ")
        ));
    }
    plan
}
