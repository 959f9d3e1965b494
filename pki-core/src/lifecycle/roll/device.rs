//! Rolling the leaf of a device that has an individual enrollment.
//!
//! A device of a group needs none of this: its new leaf is admitted by the group at once. Here the
//! enrollment names leaves, so the new one goes into the free slot, and the old one out when the
//! device has registered again. A disabled entry stays disabled.

use super::{MovingDevice, RollError, slots};
use crate::certificate::Certificate;
use crate::enrollment::{
    CertificateSlot, IndividualEnrollment, Mechanism, RegistrationState, Slots, X509Certificates,
};
use crate::ids::RegistrationId;
use crate::lifecycle::quarantine::{HubAction, HubIdentity, forget_registration, hub_step};
use crate::lifecycle::step::LeafStep;
use crate::lifecycle::{Expectation, Plan, Step};

/// What is there of the device.
#[derive(Debug, Clone)]
pub struct DeviceState {
    /// Its individual enrollment.
    pub individual: Option<IndividualEnrollment>,
    /// Its registration record.
    pub registration: Option<RegistrationState>,
    /// Its identity on the hub that the record names.
    pub hub_identity: Option<HubIdentity>,
}

/// Plans the start: the new leaf beside the old one.
///
/// # Errors
/// [`RollError`]: the entry names no leaf, has no free slot, or the new leaf is another device's.
pub fn start(
    id: &RegistrationId,
    new: &Certificate,
    state: &DeviceState,
) -> Result<Plan, RollError> {
    check_name(id, new)?;
    let mut plan = Plan::new(format!("roll the leaf of {id}"));
    let change = |slots: &mut Slots<CertificateSlot>| {
        if slots.iter().any(|slot| is(slot, new)) {
            return Ok(());
        }
        let slot = CertificateSlot::from_pem(new.to_pem());
        slots::fill(slots, slot).map_err(|_| RollError::DeviceSlotsTaken { id: id.clone() })
    };
    plan.steps.extend(changed(id, state, change)?);
    Ok(plan)
}

/// What the plan of [`finish`] is for, as the journal keeps it.
pub fn finish_goal(id: &RegistrationId) -> String {
    format!("finish rolling the leaf of {id}")
}

/// What the plan of [`abort`] is for, as the journal keeps it.
pub fn abort_goal(id: &RegistrationId) -> String {
    format!("abort rolling the leaf of {id}")
}

/// Plans the end: the leaf that stays moves into the primary slot, all others go.
///
/// # Errors
/// [`RollError`]: the leaf is in no slot, or the device has not registered since it is.
pub fn finish(
    moving: &MovingDevice,
    stays: &Certificate,
    accept_stranded: bool,
    state: &DeviceState,
) -> Result<Plan, RollError> {
    let id = &moving.id;
    if !moving.has_moved() && !accept_stranded {
        return Err(RollError::DeviceLeftBehind { id: id.clone() });
    }
    if !moving.is_known() && !accept_stranded {
        return Err(RollError::DeviceNotKnown { id: id.clone() });
    }
    let mut plan = Plan::new(finish_goal(id));
    plan.steps.extend(alone(id, stays, state)?);
    Ok(plan)
}

/// Plans the way back: the old leaf alone.
///
/// # Errors
/// [`RollError`]: the old leaf is in no slot, or the device has registered since the new one is.
pub fn abort(
    moving: &MovingDevice,
    old: &Certificate,
    state: &DeviceState,
) -> Result<Plan, RollError> {
    let id = &moving.id;
    if moving.has_moved() {
        return Err(RollError::DeviceMoved { id: id.clone() });
    }
    let mut plan = Plan::new(abort_goal(id));
    plan.steps.extend(alone(id, old, state)?);
    Ok(plan)
}

/// Plans the replacement of every leaf that the entry names, which are compromised, by a new one: at
/// once, with the hub identity and the registration record, and with the old leaves revoked.
///
/// # Errors
/// [`RollError`]: the entry names no leaf, or the new leaf is another device's.
pub fn replace(
    id: &RegistrationId,
    new: &Certificate,
    compromised: &[Certificate],
    hub: HubAction,
    state: &DeviceState,
) -> Result<Plan, RollError> {
    check_name(id, new)?;
    let mut plan = Plan::new(format!("replace the compromised leaf of {id}"));
    let only = |slots: &mut Slots<CertificateSlot>| {
        keep_alone(slots, new);
        Ok(())
    };
    plan.steps.extend(changed(id, state, only)?);
    let found = state.hub_identity.as_ref();
    // Whoever is back with the new leaf stays: its hub lets in nobody with another one.
    if !found.is_some_and(|found| found.device.shows(new)) {
        let reason = Some("its leaf was compromised");
        plan.steps
            .extend(found.and_then(|found| hub_step(hub, reason, found)));
        plan.steps
            .extend(state.registration.as_ref().map(forget_registration));
    }
    plan.steps.extend(
        compromised
            .iter()
            .filter(|leaf| *leaf != new)
            .map(|leaf| LeafStep::revoke(id, leaf)),
    );
    Ok(plan)
}

fn check_name(id: &RegistrationId, leaf: &Certificate) -> Result<(), RollError> {
    let found = leaf.common_name();
    let named = found
        .as_deref()
        .and_then(|name| name.parse::<RegistrationId>().ok());
    if named.as_ref() == Some(id) {
        Ok(())
    } else {
        Err(RollError::OtherDevice {
            id: id.clone(),
            found,
        })
    }
}

fn alone(
    id: &RegistrationId,
    stays: &Certificate,
    state: &DeviceState,
) -> Result<Option<Step>, RollError> {
    changed(id, state, |slots| {
        if !slots.iter().any(|slot| is(slot, stays)) {
            return Err(RollError::LeafNotHeld { id: id.clone() });
        }
        keep_alone(slots, stays);
        Ok(())
    })
}

fn keep_alone(slots: &mut Slots<CertificateSlot>, stays: &Certificate) {
    let slot = CertificateSlot::from_pem(stays.to_pem());
    slots::promote(slots, slot, |slot| is(slot, stays), |_| true);
}

fn is(slot: &CertificateSlot, leaf: &Certificate) -> bool {
    slot.sha256_thumbprint() == Some(leaf.sha256_thumbprint())
}

/// The step that writes the entry with its slots changed; none if they are as they were.
fn changed(
    id: &RegistrationId,
    state: &DeviceState,
    change: impl FnOnce(&mut Slots<CertificateSlot>) -> Result<(), RollError>,
) -> Result<Option<Step>, RollError> {
    let no_entry = || RollError::NoLeafEntry { id: id.clone() };
    let before = state.individual.as_ref().ok_or_else(no_entry)?;
    let mut after = before.clone();
    let Mechanism::X509(X509Certificates::Client(slots)) = &mut after.attestation.mechanism else {
        return Err(no_entry());
    };
    change(slots)?;
    let changes = slots::changes(&before.attestation, &after.attestation);
    let expect = Expectation::of(before.etag.as_ref());
    Ok((!changes.is_empty()).then(|| Step::put_individual(after, changes, expect)))
}
