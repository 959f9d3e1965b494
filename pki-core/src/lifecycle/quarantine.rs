//! Quarantine: shut one device out everywhere.
//!
//! A disabled individual enrollment under the device's CN decides before any group does. It must
//! stay: DPS denies by registration ID, so deleting it lets the device, and a stolen copy of its
//! certificate, in again. With the leaf at hand the entry names it; without, a disabled symmetric-key
//! entry on the ID does the same, since a disabled entry decides whatever it attests by.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::pin::Mark;
use super::{
    Expectation, FieldChange, HubDeviceAction, HubDeviceStep, IndividualStep, LeafStep, Plan, Step,
};
use crate::certificate::Certificate;
use crate::enrollment::compose::by_leaf;
use crate::enrollment::{
    Attestation, IndividualEnrollment, ProvisioningStatus, RegistrationState, RegistrationStatus,
};
use crate::hub::{HubDevice, HubDeviceStatus};
use crate::ids::{EnrollmentGroupId, HubHostName, RegistrationId};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Quarantine {
    /// The device; with a leaf, its CN.
    pub registration_id: RegistrationId,
    /// The leaf to shut out, if it is at hand.
    pub leaf: Option<Certificate>,
    /// The leaves to mark revoked: every live one of the device that the inventory holds, since a disabled
    /// entry is for the device, and any of them may be the stolen one.
    pub revoke: Vec<Certificate>,
    /// Why; ends up in the hub identity's status reason.
    pub reason: Option<String>,
    /// What to do with the hub's device identity.
    pub hub: HubAction,
}

/// What happens to the device identity on the hub. DPS does not touch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HubAction {
    /// It stays, and the hub refuses the device.
    #[default]
    Disable,
    /// It goes, with its twin.
    Delete,
    /// It stays as it is: a connected device stays connected.
    Keep,
}

/// What is there of the device.
#[derive(Debug, Clone, Default)]
pub struct QuarantineState {
    /// Its individual enrollment.
    pub individual: Option<IndividualEnrollment>,
    /// Its registration record.
    pub registration: Option<RegistrationState>,
    /// Its identities: on the hub that the record names, or wherever it was found without one.
    pub hub_identities: Vec<HubIdentity>,
    /// The hub that the record names, with the reason why nobody could look into it.
    pub unread_hub: Option<String>,
    /// Hubs in which nobody could look for it, each with the reason.
    pub hubs_not_seen: Vec<String>,
    /// The group that decides about it as long as it has no individual enrollment.
    pub group: Option<EnrollmentGroupId>,
    /// Individual enrollments under other IDs that name the same leaf.
    pub entries_under_other_ids: Vec<RegistrationId>,
}

/// A device identity and the hub it is on.
#[derive(Debug, Clone)]
pub struct HubIdentity {
    /// The hub.
    pub hub: HubHostName,
    /// The identity.
    pub device: HubDevice,
}

impl HubIdentity {
    /// The step that does this to it, as it was read.
    pub(super) fn step(&self, action: HubDeviceAction) -> Step {
        Step::HubDevice(HubDeviceStep {
            hub: self.hub.clone(),
            device_id: self.device.device_id.clone(),
            action,
            expect: Expectation::of(self.device.etag.as_ref()),
        })
    }
}

/// Plans a quarantine. Nothing that is done already is planned again. The registration record goes
/// after the hub identity: it tells a run that goes on which hub that is.
pub fn quarantine(request: &Quarantine, state: &QuarantineState) -> Plan {
    let mut plan = Plan::new(format!("shut out {}", request.registration_id));
    plan.steps.extend(disabled_entry(request, state));
    plan.steps.extend(
        state
            .hub_identities
            .iter()
            .filter_map(|found| hub_step(request.hub, request.reason.as_deref(), found)),
    );
    // The record stays as long as its hub was not seen to. That of a refused attempt names none, and is made
    // again whenever the device knocks.
    let is_refused = |record: &RegistrationState| {
        record.assigned_hub.is_none()
            && matches!(
                record.status,
                RegistrationStatus::Disabled | RegistrationStatus::Failed
            )
    };
    let forgotten = state
        .registration
        .as_ref()
        .filter(|record| state.unread_hub.is_none() && !is_refused(record));
    plan.steps.extend(forgotten.map(forget_registration));
    plan.steps.extend(revocations(request));
    plan.notes.extend(state.entries_under_other_ids.iter().map(|id| {
        format!(
            "individual enrollment {id} names this leaf under another ID than its CN {}: it decides nothing and shuts nobody out",
            request.registration_id
        )
    }));
    if request.hub == HubAction::Keep && !state.hub_identities.is_empty() {
        let note = "the hub identity is kept: the device can still connect to its hub";
        plan.notes.push(note.into());
    }
    plan.notes.extend(state.unread_hub.iter().map(|hub| {
        format!(
            "the hub of {} cannot be read, {hub}: its device identity and registration record stay as they are until it can",
            request.registration_id
        )
    }));
    plan.notes.extend(state.hubs_not_seen.iter().map(|hub| {
        format!("the device's identity was not looked for on {hub}; disable it there if it has one")
    }));
    plan
}

/// Plans many quarantines as one: everybody is shut out of DPS before the first hub is told, and the
/// registration records go last.
pub fn quarantine_many(devices: &[(Quarantine, QuarantineState)]) -> Plan {
    let mut plan = Plan::new(match devices {
        [(only, _)] => format!("shut out {}", only.registration_id),
        _ => format!("shut out {} devices", devices.len()),
    });
    for (request, state) in devices {
        let one = quarantine(request, state);
        plan.steps.extend(one.steps);
        plan.notes.extend(one.notes);
    }
    let place = |step: &Step| match step {
        Step::Individual(_) => 0,
        Step::HubDevice(_) => 1,
        Step::Registration(_) => 2,
        _ => 3,
    };
    plan.steps.sort_by_key(place);
    plan
}

fn disabled_entry(request: &Quarantine, state: &QuarantineState) -> Option<Step> {
    match &state.individual {
        Some(existing) => disabled(existing).map(Step::Individual),
        None => {
            let id = request.registration_id.clone();
            Some(new_entry(id, request.leaf.as_ref(), state.group.clone()))
        }
    }
}

/// The step that disables an entry; none if it is.
pub(super) fn disabled(existing: &IndividualEnrollment) -> Option<IndividualStep> {
    if existing.provisioning_status == ProvisioningStatus::Disabled {
        return None;
    }
    let mut entry = existing.clone();
    entry.provisioning_status = ProvisioningStatus::Disabled;
    let change = FieldChange {
        field: "provisioningStatus".into(),
        from: json!(existing.provisioning_status),
        to: json!("disabled"),
    };
    // A record without an ETag cannot be guarded; expecting absence makes the service refuse it.
    let expect = existing
        .etag
        .clone()
        .map_or(Expectation::Absent, Expectation::Etag);
    Some(IndividualStep::put(entry, vec![change], expect))
}

/// The step that makes a disabled entry for a device, about which a group decided before.
pub(super) fn new_entry(
    id: RegistrationId,
    leaf: Option<&Certificate>,
    group: Option<EnrollmentGroupId>,
) -> Step {
    let attestation = match leaf {
        Some(leaf) => by_leaf(leaf),
        None => Attestation::generated_keys(),
    };
    let mut entry = IndividualEnrollment::new(id, attestation);
    entry.provisioning_status = ProvisioningStatus::Disabled;
    Mark::Quarantined(group).write(&mut entry);
    Step::put_individual(entry, vec![], Expectation::Absent)
}

pub(super) fn forget_registration(record: &RegistrationState) -> Step {
    let expect = Expectation::of(record.etag.as_ref());
    Step::delete_registration(record.registration_id.clone(), expect)
}

pub(super) fn hub_step(
    action: HubAction,
    reason: Option<&str>,
    found: &HubIdentity,
) -> Option<Step> {
    let action = match action {
        HubAction::Keep => return None,
        HubAction::Disable if found.device.status == HubDeviceStatus::Disabled => return None,
        HubAction::Disable => HubDeviceAction::Disable {
            reason: status_reason(reason),
        },
        HubAction::Delete => HubDeviceAction::Delete,
    };
    Some(found.step(action))
}

/// The hub holds at most 128 characters of it.
fn status_reason(reason: Option<&str>) -> String {
    const MOST: usize = 128;
    reason.unwrap_or("quarantined").chars().take(MOST).collect()
}

fn revocations(request: &Quarantine) -> impl Iterator<Item = Step> {
    request
        .revoke
        .iter()
        .map(|leaf| LeafStep::revoke(&request.registration_id, leaf))
}
