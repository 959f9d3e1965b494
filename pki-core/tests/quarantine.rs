//! Quarantine: one device is out, everybody else is where they were, and again changes nothing.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use crate::support::root;
use pki_core::admission::{
    ChainElement, DpsView, Entry, Outcome, PresentedChain, UploadedCa, decide,
};
use pki_core::certificate::Certificate;
use pki_core::enrollment::compose::{by_leaf, by_signing_certificate};
use pki_core::enrollment::{
    EnrollmentGroup, IndividualEnrollment, Mechanism, ProvisioningStatus, RegistrationState,
    RegistrationStatus,
};
use pki_core::hub::HubDevice;
use pki_core::ids::Etag;
use pki_core::key::KeyAlgorithm::EcdsaP256;
use pki_core::lifecycle::{
    Effect, Expectation, Fleet, HubAction, HubIdentity, Impact, Quarantine, QuarantineState, Step,
    quarantine,
};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

fn request(id: &str, leaf: Option<&Certificate>) -> Quarantine {
    Quarantine {
        registration_id: id.parse().expect(id),
        leaf: leaf.cloned(),
        revoke: leaf.into_iter().cloned().collect(),
        reason: Some("stolen".into()),
        hub: HubAction::Disable,
    }
}

fn hub_identity(id: &str) -> HubIdentity {
    let device: HubDevice = serde_json::from_value(serde_json::json!({
        "deviceId": id, "status": "enabled", "etag": "AAAAAAAAAAE=", "later": {"kept": true}
    }))
    .expect("device");
    HubIdentity {
        hub: "hub-1.azure-devices.net".parse().expect("hub"),
        device,
    }
}

fn registered(id: &str) -> RegistrationState {
    let mut record = RegistrationState::new(id.parse().expect(id), RegistrationStatus::Assigned);
    record.etag = Some(Etag::new("\"r1\""));
    record
}

#[test]
fn a_group_device_is_shut_out_in_four_steps() {
    let root = root("root", EcdsaP256);
    let leaf = root.leaf("device-1", EcdsaP256);
    let state = QuarantineState {
        registration: Some(registered("device-1")),
        hub_identities: vec![hub_identity("device-1")],
        ..QuarantineState::default()
    };
    let plan = quarantine(&request("device-1", Some(&leaf)), &state);
    let lines: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "create individual enrollment device-1, disabled".to_owned(),
            "disable device identity device-1 on hub-1.azure-devices.net".to_owned(),
            "delete the registration record of device-1".to_owned(),
            format!(
                "mark leaf {} of device-1 revoked in the inventory",
                leaf.serial_number()
            ),
        ]
    );
}

#[test]
fn a_hub_that_could_not_be_looked_at_is_told() {
    let state = QuarantineState {
        hubs_not_seen: vec!["hub-2.azure-devices.net (no sign-in)".into()],
        ..QuarantineState::default()
    };
    let plan = quarantine(&request("device-1", None), &state);
    assert!(
        plan.notes[0].contains("not looked for on hub-2"),
        "{:?}",
        plan.notes
    );
}

#[test]
fn without_the_leaf_the_entry_is_a_disabled_symmetric_key_one() {
    let plan = quarantine(&request("device-1", None), &QuarantineState::default());
    let [Step::Individual(step)] = plan.steps.as_slice() else {
        panic!("one step: {plan:?}");
    };
    assert_eq!(step.expect, Expectation::Absent);
    let enrollment = step.document().expect("an entry");
    assert_eq!(
        enrollment.attestation.mechanism,
        Mechanism::SymmetricKey(None)
    );
    assert_eq!(enrollment.provisioning_status, ProvisioningStatus::Disabled);
}

#[test]
fn an_existing_entry_keeps_everything_but_its_status() {
    let root = root("root", EcdsaP256);
    let leaf = root.leaf("device-1", EcdsaP256);
    let mut entry = IndividualEnrollment::new("device-1".parse().expect("id"), by_leaf(&leaf));
    entry.etag = Some(Etag::new("\"e1\""));
    entry.other.insert(
        "optionalDeviceInformation".into(),
        serde_json::json!({"rack": 7}),
    );
    let state = QuarantineState {
        individual: Some(entry.clone()),
        ..QuarantineState::default()
    };
    let plan = quarantine(&request("device-1", None), &state);
    let Some(step @ Step::Individual(put)) = plan.steps.first() else {
        panic!("an entry is written: {plan:?}");
    };
    let enrollment = put.document().expect("an entry");
    assert_eq!(step.changes().len(), 1);
    assert_eq!(put.expect, Expectation::Etag(Etag::new("\"e1\"")));
    entry.provisioning_status = ProvisioningStatus::Disabled;
    assert_eq!(*enrollment, entry);
}

#[test]
fn what_is_done_already_is_not_planned_again() {
    let mut entry = IndividualEnrollment::new(
        "device-1".parse().expect("id"),
        pki_core::enrollment::Attestation::generated_keys(),
    );
    entry.provisioning_status = ProvisioningStatus::Disabled;
    let mut identity = hub_identity("device-1");
    identity.device.status = pki_core::hub::HubDeviceStatus::Disabled;
    let state = QuarantineState {
        individual: Some(entry),
        hub_identities: vec![identity],
        ..QuarantineState::default()
    };
    assert!(quarantine(&request("device-1", None), &state).is_empty());
}

/// The worked mistake of the DPS documentation: the entry counts by its ID, not by its certificate.
#[test]
fn an_entry_under_another_id_is_told_and_a_right_one_is_made() {
    let root = root("root", EcdsaP256);
    let leaf = root.leaf("device-3", EcdsaP256);
    let state = QuarantineState {
        entries_under_other_ids: vec!["my-device-three".parse().expect("id")],
        ..QuarantineState::default()
    };
    let plan = quarantine(&request("device-3", Some(&leaf)), &state);
    assert!(
        plan.notes[0].contains("shuts nobody out"),
        "{:?}",
        plan.notes
    );
    assert_eq!(
        plan.steps[0].to_string(),
        "create individual enrollment device-3, disabled"
    );
}

/// A device of a random fleet: which line it is below, and what entry it has.
#[derive(Debug, Clone)]
struct Device {
    line: usize,
    entry: Option<(bool, ProvisioningStatus)>,
}

fn status() -> impl Strategy<Value = ProvisioningStatus> {
    prop::sample::select(vec![
        ProvisioningStatus::Enabled,
        ProvisioningStatus::Disabled,
    ])
}

fn fleet() -> impl Strategy<Value = (Vec<Option<ProvisioningStatus>>, Vec<Device>, usize)> {
    let device = (0..3_usize, prop::option::of((any::<bool>(), status())))
        .prop_map(|(line, entry)| Device { line, entry });
    let groups = prop::collection::vec(prop::option::of(status()), 4);
    (groups, prop::collection::vec(device, 1..12)).prop_flat_map(|(groups, devices)| {
        let count = devices.len();
        (Just(groups), Just(devices), 0..count)
    })
}

/// A PKI of one root and three lines, made once: the fleets differ in what DPS holds of it.
struct Pki {
    authorities: Vec<Certificate>,
    leaves: Vec<Vec<Certificate>>,
}

impl Pki {
    fn shared() -> &'static Self {
        static PKI: std::sync::OnceLock<Pki> = std::sync::OnceLock::new();
        PKI.get_or_init(|| {
            let root = root("root", EcdsaP256);
            let lines = ["a", "b", "c"].map(|name| root.intermediate(name, EcdsaP256));
            let leaves = lines
                .iter()
                .map(|line| {
                    (0..12)
                        .map(|n| line.leaf(&format!("d-{n}"), EcdsaP256))
                        .collect()
                })
                .collect();
            let mut authorities = vec![root.certificate.clone()];
            authorities.extend(lines.iter().map(|line| line.certificate.clone()));
            Self {
                authorities,
                leaves,
            }
        })
    }

    fn view(
        &self,
        groups: &[Option<ProvisioningStatus>],
        devices: &[Device],
    ) -> (DpsView, Vec<IndividualEnrollment>) {
        let mut view = DpsView::new();
        let root = &self.authorities[0];
        view.put_uploaded(
            "root".parse().expect("name"),
            UploadedCa {
                sha1_thumbprint: root.sha1_thumbprint(),
                sha256_thumbprint: Some(root.sha256_thumbprint()),
                is_verified: true,
            },
        );
        for (index, status) in groups.iter().enumerate() {
            let Some(status) = status else { continue };
            let id = format!("g-{index}").parse().expect("id");
            let mut group =
                EnrollmentGroup::new(id, by_signing_certificate(&self.authorities[index]));
            group.provisioning_status = status.clone();
            view.put_group(&group).expect("group");
        }
        let mut entries = Vec::new();
        for (index, device) in devices.iter().enumerate() {
            let Some((own, status)) = device.entry.clone() else {
                continue;
            };
            let line = if own {
                device.line
            } else {
                (device.line + 1) % 3
            };
            let id = format!("D-{index}").parse().expect("id");
            let mut entry = IndividualEnrollment::new(id, by_leaf(&self.leaves[line][index]));
            entry.provisioning_status = status;
            entry.etag = Some(Etag::new(format!("\"{index}\"")));
            view.put_individual(&entry).expect("entry");
            entries.push(entry);
        }
        (view, entries)
    }

    fn chain(&self, device: &Device, index: usize) -> PresentedChain {
        let leaf = &self.leaves[device.line][index];
        let path = [
            leaf,
            &self.authorities[device.line + 1],
            &self.authorities[0],
        ];
        PresentedChain::known(leaf.common_name(), path.map(ChainElement::from).to_vec())
    }
}

proptest! {
    #[test]
    fn quarantine_shuts_out_one_device_and_touches_no_other((groups, devices, target) in fleet(), with_leaf in any::<bool>()) {
        let pki = Pki::shared();
        let (before, entries) = pki.view(&groups, &devices);
        let chains: Vec<PresentedChain> =
            devices.iter().enumerate().map(|(index, device)| pki.chain(device, index)).collect();
        let id = format!("d-{target}");
        let leaf = with_leaf.then(|| &pki.leaves[devices[target].line][target]);
        let state = QuarantineState {
            individual: entries.iter().find(|entry| entry.registration_id.as_str().eq_ignore_ascii_case(&id)).cloned(),
            ..QuarantineState::default()
        };
        let plan = quarantine(&request(&id, leaf), &state);
        let after = plan.applied_to(&before).expect("view");
        let outcome = decide(&after, &chains[target]).outcome;
        prop_assert_eq!(outcome, Outcome::Disabled(Entry::Individual(id.parse().expect("id"))));
        let impact = Impact::compare(&before, &after, &Fleet::of_chains(&chains));
        prop_assert_eq!(impact.count(Effect::Gains), 0);
        prop_assert!(impact.with(Effect::Loses).flat_map(|movement| &movement.named).all(|lost| lost.as_str() == id));
        prop_assert_eq!(plan.clone(), quarantine(&request(&id, leaf), &state));
    }
}

/// The record tells which hub it is, to the run that can read the hub.
#[test]
fn a_record_stays_as_long_as_its_hub_cannot_be_read() {
    let state = QuarantineState {
        registration: Some(registered("device-1")),
        unread_hub: Some("hub-1.azure-devices.net (401)".into()),
        ..QuarantineState::default()
    };
    let plan = quarantine(&request("device-1", None), &state);
    let lines: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["create individual enrollment device-1, disabled"]);
    assert!(
        plan.notes[0].contains("hub-1.azure-devices.net (401)"),
        "{:?}",
        plan.notes
    );
}

/// Whoever has one key of the device may have all of them.
#[test]
fn every_live_leaf_is_revoked() {
    let root = root("root", EcdsaP256);
    let [named, other] = [0, 1].map(|_| root.leaf("device-1", EcdsaP256));
    let request = Quarantine {
        revoke: vec![named.clone(), other.clone()],
        ..request("device-1", Some(&named))
    };
    let plan = quarantine(&request, &QuarantineState::default());
    let revoked = plan.steps.iter().filter_map(|step| match step {
        Step::Leaf(leaf) => Some(leaf.sha256_thumbprint),
        _ => None,
    });
    let revoked: Vec<_> = revoked.collect();
    assert_eq!(
        revoked,
        [named.sha256_thumbprint(), other.sha256_thumbprint()]
    );
}
