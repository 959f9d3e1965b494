//! The leaf that an individual enrollment names.

use pki_core::certificate::Certificate;
use pki_core::enrollment::compose::by_leaf;
use pki_core::enrollment::{
    IndividualEnrollment, ProvisioningStatus, RegistrationState, RegistrationStatus,
};
use pki_core::key::KeyAlgorithm::EcdsaP256;
use pki_core::lifecycle::roll::{MovingDevice, RollError, Shown, device};
use pki_core::lifecycle::{HubAction, HubIdentity, Step};
use pki_core::testing::SampleDps;
use pki_core::time::Span;

use crate::roll::{Pki, id};
use crate::support::now;

/// Device with an individual enrollment: secondary slot, then the old one out; a disabled entry stays
/// disabled.
#[test]
fn the_leaf_of_an_individual_enrollment_is_rolled_in_its_slots() {
    let pki = Pki::new();
    let [old, new] = [0, 1].map(|_| pki.lines[0].leaf("sensor-1", EcdsaP256));
    let mut dps = SampleDps::default();
    let mut entry = IndividualEnrollment::new(id("sensor-1"), by_leaf(&old));
    entry.provisioning_status = ProvisioningStatus::Disabled;
    dps.put_individual(&entry);
    let state = |dps: &SampleDps| device::DeviceState {
        individual: dps.individuals.first().cloned(),
        registration: None,
        hub_identity: None,
    };
    dps.carry_out(&device::start(&id("sensor-1"), &new, &state(&dps)).expect("start"));
    let third = pki.lines[0].leaf("sensor-1", EcdsaP256);
    let full = device::start(&id("sensor-1"), &third, &state(&dps));
    assert!(
        matches!(full, Err(RollError::DeviceSlotsTaken { .. })),
        "{full:?}"
    );
    let moving = |moved: bool| MovingDevice {
        id: id("sensor-1"),
        new_leaf_since: Some(now()),
        registered_at: moved.then(|| now() + Span::from_seconds(1)),
        shown: if moved { Shown::New } else { Shown::Unknown },
    };
    let left = device::finish(&moving(false), &new, false, &state(&dps));
    assert!(
        matches!(left, Err(RollError::DeviceLeftBehind { .. })),
        "{left:?}"
    );
    let back = device::abort(&moving(false), &old, &state(&dps)).expect("abort");
    let finish = device::finish(&moving(true), &new, false, &state(&dps)).expect("finish");
    for (plan, stays) in [(back, &old), (finish, &new)] {
        let mut dps = dps.clone();
        dps.carry_out(&plan);
        let entry = &dps.individuals[0];
        assert_eq!(entry.attestation, by_leaf(stays));
        assert_eq!(entry.provisioning_status, ProvisioningStatus::Disabled);
    }
}

#[test]
fn a_compromised_leaf_leaves_its_enrollment_at_once() {
    let pki = Pki::new();
    let [old, new] = [0, 1].map(|_| pki.lines[0].leaf("sensor-1", EcdsaP256));
    let state = device::DeviceState {
        individual: Some(IndividualEnrollment::new(id("sensor-1"), by_leaf(&old))),
        registration: Some(RegistrationState::new(
            id("sensor-1"),
            RegistrationStatus::Assigned,
        )),
        hub_identity: None,
    };
    let compromised = [old.clone()];
    let plan = device::replace(
        &id("sensor-1"),
        &new,
        &compromised,
        HubAction::Delete,
        &state,
    );
    let plan = plan.expect("plan");
    let Step::Individual(step) = &plan.steps[0] else {
        panic!("{plan:?}");
    };
    let enrollment = step.document().expect("an entry");
    assert_eq!(enrollment.attestation, by_leaf(&new));
    assert_eq!(plan.steps.len(), 3);
    let foreign = pki.lines[0].leaf("sensor-2", EcdsaP256);
    let refused = device::start(&id("sensor-1"), &foreign, &state);
    assert!(
        matches!(refused, Err(RollError::OtherDevice { .. })),
        "{refused:?}"
    );
}

/// Said again after the device came back: its hub has the new leaf, and lets in nobody with another one.
#[test]
fn a_device_that_is_back_with_its_new_leaf_keeps_its_hub() {
    let pki = Pki::new();
    let [old, new] = [0, 1].map(|_| pki.lines[0].leaf("sensor-1", EcdsaP256));
    let steps = |shown: &Certificate| {
        let device = serde_json::json!({
            "deviceId": "sensor-1",
            "authentication": {
                "type": "selfSigned",
                "x509Thumbprint": {"primaryThumbprint": shown.sha256_thumbprint().to_string()},
            },
        });
        let state = device::DeviceState {
            individual: Some(IndividualEnrollment::new(id("sensor-1"), by_leaf(&new))),
            registration: Some(RegistrationState::new(
                id("sensor-1"),
                RegistrationStatus::Assigned,
            )),
            hub_identity: Some(HubIdentity {
                hub: "hub-1.azure-devices.net".parse().expect("a hub"),
                device: serde_json::from_value(device).expect("a device"),
            }),
        };
        let plan = device::replace(&id("sensor-1"), &new, &[], HubAction::Disable, &state);
        plan.expect("plan").steps.len()
    };
    assert_eq!(steps(&new), 0);
    // Cut before the hub was seen to, it shows the old leaf still.
    assert_eq!(steps(&old), 2);
}
