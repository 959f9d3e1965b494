//! Readmission: a device that was shut out comes back, with its new leaf only.
//!
//! The entry that shuts it out becomes an enabled one that is *pinned* to the new leaf. Deleting it
//! instead would let the old leaf in again, and with it whoever has stolen it.

use serde_json::{Value, json};

use super::pin::Mark;
use super::quarantine::HubIdentity;
use super::roll::device_slot_changes;
use super::{Expectation, FieldChange, HubDeviceAction, Plan, Step, differences};
use crate::certificate::Certificate;
use crate::enrollment::compose::by_leaf;
use crate::enrollment::{
    EnrollmentGroup, IndividualEnrollment, Mechanism, ProvisioningStatus, X509Certificates,
};
use crate::hub::HubDeviceStatus;
use crate::ids::{EnrollmentGroupId, RegistrationId};
use crate::time::Time;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Readmit {
    /// The device.
    pub registration_id: RegistrationId,
    /// Its new leaf.
    pub leaf: Certificate,
}

/// What is there of the device.
#[derive(Debug, Clone, Default)]
pub struct ReadmitState {
    /// Its individual enrollment.
    pub individual: Option<IndividualEnrollment>,
    /// What the inventory says of the new leaf.
    pub leaf: LeafStanding,
    /// Every other leaf of the device that the inventory has.
    pub earlier: Vec<Certificate>,
    /// Its identities on hubs.
    pub hub_identities: Vec<HubIdentity>,
    /// The groups of the instance.
    pub groups: Vec<EnrollmentGroup>,
    /// The group that would decide about it without an individual enrollment.
    pub decides: Option<EnrollmentGroupId>,
}

/// What the inventory says of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeafStanding {
    /// It is not in it.
    #[default]
    Unknown,
    /// It is in it, and valid.
    Valid,
    /// It was revoked.
    Revoked,
}

/// Why a device is not let back in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadmitError {
    /// No entry shuts the device out.
    #[error(
        "{id} has no individual enrollment: it is not shut out, and its group decides about it"
    )]
    NoEntry {
        /// Which device.
        id: RegistrationId,
    },
    /// The entry is enabled and names other leaves.
    #[error(
        "individual enrollment {id} is not disabled: the device is not shut out; to change its leaf, roll it"
    )]
    NotShutOut {
        /// Which device.
        id: RegistrationId,
    },
    /// The leaf is another device's.
    #[error(
        "the leaf has {}, not {id}: DPS would not match it with the enrollment",
        .found.as_ref().map_or_else(|| "no common name".to_owned(), |found| format!("the common name {found:?}"))
    )]
    OtherDevice {
        /// Which device.
        id: RegistrationId,
        /// The leaf's common name.
        found: Option<String>,
    },
    /// The leaf is one that is shut out.
    #[error("this is the leaf that {id} was shut out with; issue a new one")]
    SameLeaf {
        /// Which device.
        id: RegistrationId,
    },
    /// The leaf has the key of one that is shut out.
    #[error(
        "the new leaf of {id} has the same key as an earlier one: whoever has that key would be let in; make a new key"
    )]
    SameKey {
        /// Which device.
        id: RegistrationId,
    },
    /// The leaf was revoked.
    #[error("the new leaf of {id} is marked revoked in the inventory; issue a new one")]
    Revoked {
        /// Which device.
        id: RegistrationId,
    },
    /// The inventory does not have the leaf.
    #[error("the leaf for {id} is not in the inventory: it was not issued here")]
    NotOurs {
        /// Which device.
        id: RegistrationId,
    },
    /// The leaf is not valid now.
    #[error("the new leaf of {id} is valid from {not_before} to {not_after}, not now")]
    NotValid {
        /// Which device.
        id: RegistrationId,
        /// Its first moment.
        not_before: Time,
        /// Its last moment.
        not_after: Time,
    },
}

/// Plans a readmission. Nothing that is done already is planned again.
///
/// # Errors
/// [`ReadmitError`]: the device is not shut out, or the leaf is not a new one of ours for it.
pub fn readmit(request: &Readmit, state: &ReadmitState, at: Time) -> Result<Plan, ReadmitError> {
    let id = &request.registration_id;
    check_leaf(request, state, at)?;
    let no_entry = || ReadmitError::NoEntry { id: id.clone() };
    let before = state.individual.as_ref().ok_or_else(no_entry)?;
    let mut plan = Plan::new(format!("let {id} back in with its new leaf only"));
    let pinned = by_leaf(&request.leaf);
    // The service shows a single certificate in both slots.
    let held = slots(before);
    let wanted = request.leaf.sha256_thumbprint();
    let is_pinned = !held.is_empty() && held.iter().all(|held| *held == wanted);
    let is_enabled = before.provisioning_status == ProvisioningStatus::Enabled;
    let is_disabled = before.provisioning_status == ProvisioningStatus::Disabled;
    let is_back = is_enabled && is_pinned;
    if !is_disabled && !is_back {
        return Err(ReadmitError::NotShutOut { id: id.clone() });
    }
    if is_disabled {
        let mut after = before.clone();
        after.provisioning_status = ProvisioningStatus::Enabled;
        after.attestation = pinned;
        let mut changes = vec![FieldChange {
            field: "provisioningStatus".into(),
            from: json!("disabled"),
            to: json!("enabled"),
        }];
        changes.extend(device_slot_changes(&before.attestation, &after.attestation));
        let mark = Mark::of(before);
        // An entry that was somebody's own before the quarantine has kept all that it said.
        if let Some(Mark::Quarantined(group)) = &mark {
            let id = group.as_ref().or(state.decides.as_ref());
            plan.notes.push(take_over(&mut after, id, &state.groups));
            changes.extend(taken_over(before, &after));
        }
        if mark.is_some() {
            Mark::Pinned(old_leaves_end(before, &state.earlier)).write(&mut after);
        }
        let expect = Expectation::of(before.etag.as_ref());
        plan.steps
            .push(Step::put_individual(after, changes, expect));
    }
    plan.steps
        .extend(state.hub_identities.iter().filter_map(enabled));
    plan.notes.push(format!(
        "the entry must stay until the old leaf of {id} has expired; `apply` deletes it then if it was made by a quarantine"
    ));
    Ok(plan)
}

/// What the service keeps in a group by itself.
const OF_THE_GROUP: [&str; 3] = ["etag", "createdDateTimeUtc", "lastUpdatedDateTimeUtc"];

/// Gives the entry what the group says of its devices, where the entry says nothing itself: hubs,
/// allocation, twin and whatever else, so that the device comes back as what it was. Says where that is
/// from.
fn take_over(
    entry: &mut IndividualEnrollment,
    id: Option<&EnrollmentGroupId>,
    groups: &[EnrollmentGroup],
) -> String {
    let device = &entry.registration_id;
    let Some(id) = id else {
        return format!(
            "nobody knows from which enrollment group {device} came: its hub, initial twin and policies are the instance's defaults"
        );
    };
    let Some(group) = groups.iter().find(|group| group.enrollment_group_id == *id) else {
        return format!(
            "enrollment group {id}, from which {device} came, is gone: its hub, initial twin and policies are the instance's defaults"
        );
    };
    let note = format!("hubs, initial twin and policies are those of enrollment group {id}");
    let own = &mut *entry;
    let reprovision_policy = own.reprovision_policy.take();
    own.reprovision_policy = reprovision_policy.or_else(|| group.reprovision_policy.clone());
    let allocation_policy = own.allocation_policy.take();
    own.allocation_policy = allocation_policy.or_else(|| group.allocation_policy.clone());
    let iot_hubs = own.iot_hubs.take();
    own.iot_hubs = iot_hubs.or_else(|| group.iot_hubs.clone());
    let initial_twin = own.initial_twin.take();
    own.initial_twin = initial_twin.or_else(|| group.initial_twin.clone());
    for (name, value) in &group.other {
        let is_set = own.other.get(name).is_some_and(|own| !says_nothing(own));
        if !is_set && !OF_THE_GROUP.contains(&name.as_str()) {
            own.other.insert(name.clone(), value.clone());
        }
    }
    note
}

/// Whether the value of a member is what the service fills in where nothing was said.
fn says_nothing(value: &Value) -> bool {
    value.is_null() || *value == json!({ "iotEdge": false })
}

/// The members that came from the group, for who reads the plan.
fn taken_over(before: &IndividualEnrollment, after: &IndividualEnrollment) -> Vec<FieldChange> {
    let shown_elsewhere = ["provisioningStatus", "attestation"];
    let mut changes = differences(&json!(before), &json!(after));
    changes.retain(|change| !shown_elsewhere.contains(&change.field.as_str()));
    changes
}

fn check_leaf(request: &Readmit, state: &ReadmitState, at: Time) -> Result<(), ReadmitError> {
    let id = request.registration_id.clone();
    let leaf = &request.leaf;
    let found = leaf.common_name();
    let named = found
        .as_deref()
        .and_then(|name| name.parse::<RegistrationId>().ok());
    let is_disabled =
        |entry: &&IndividualEnrollment| entry.provisioning_status == ProvisioningStatus::Disabled;
    let shut_out = state.individual.as_ref().filter(is_disabled).map(slots);
    let thumbprint = leaf.sha256_thumbprint();
    if named.as_ref() != Some(&id) {
        return Err(ReadmitError::OtherDevice { id, found });
    }
    if shut_out.is_some_and(|leaves| leaves.contains(&thumbprint)) {
        return Err(ReadmitError::SameLeaf { id });
    }
    match state.leaf {
        LeafStanding::Unknown => return Err(ReadmitError::NotOurs { id }),
        LeafStanding::Revoked => return Err(ReadmitError::Revoked { id }),
        LeafStanding::Valid => {}
    }
    let earlier = state.earlier.iter().filter(|earlier| *earlier != leaf);
    if earlier
        .map(Certificate::public_key)
        .any(|key| key == leaf.public_key())
    {
        return Err(ReadmitError::SameKey { id });
    }
    let validity = leaf.validity();
    if validity.contains(at) {
        Ok(())
    } else {
        Err(ReadmitError::NotValid {
            id,
            not_before: validity.not_before(),
            not_after: validity.not_after(),
        })
    }
}

fn slots(entry: &IndividualEnrollment) -> Vec<crate::ids::Sha256Thumbprint> {
    match &entry.attestation.mechanism {
        Mechanism::X509(X509Certificates::Client(slots)) => slots
            .iter()
            .filter_map(|slot| slot.sha256_thumbprint())
            .collect(),
        _ => vec![],
    }
}

/// When the last of the leaves that are kept out ends: those of the inventory, and those of the entry.
fn old_leaves_end(entry: &IndividualEnrollment, earlier: &[Certificate]) -> Option<Time> {
    let known = earlier.iter().map(|leaf| leaf.validity().not_after());
    let told = match &entry.attestation.mechanism {
        Mechanism::X509(X509Certificates::Client(slots)) => slots
            .iter()
            .filter_map(|slot| slot.info.as_ref()?.not_after_utc.parse().ok())
            .max(),
        _ => None,
    };
    known.max().max(told)
}

fn enabled(found: &HubIdentity) -> Option<Step> {
    let is_disabled = found.device.status == HubDeviceStatus::Disabled;
    is_disabled.then(|| found.step(HubDeviceAction::Enable))
}
