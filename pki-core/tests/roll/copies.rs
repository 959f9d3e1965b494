//! A single certificate may be answered in both slots, stored there or only shown: one certificate and a
//! free slot all the same, in every story.

use pki_core::enrollment::compose::{by_leaf, by_signing_certificate};
use pki_core::enrollment::{
    Attestation, EnrollmentGroup, IndividualEnrollment, Mechanism, ProvisioningStatus,
    X509Certificates,
};
use pki_core::ids::Sha256Thumbprint;
use pki_core::inventory::GenerationState::{Compromised, Current, Next, Pending};
use pki_core::key::KeyAlgorithm::EcdsaP256;
use pki_core::lifecycle::roll::{self, Breach, Devices, Finish, MovingDevice, Shown, device};
use pki_core::lifecycle::{
    CaAction, HubAction, Quarantine, QuarantineState, Step, differences, quarantine,
};
use pki_core::testing::{Copies, SampleDps, Service};
use pki_core::time::Span;
use serde_json::json;

use crate::roll::{Pki, id, is_admitted, only, relaxed};
use crate::support::now;

fn services() -> impl Iterator<Item = Service> {
    let copies = [Copies::None, Copies::Shown, Copies::Stored];
    copies.into_iter().flat_map(|copies| {
        [false, true].map(|hides_certificates| Service {
            copies,
            hides_certificates,
            hides_authorities: hides_certificates,
            ..Service::default()
        })
    })
}

fn held(attestation: &Attestation) -> Vec<Option<Sha256Thumbprint>> {
    match &attestation.mechanism {
        Mechanism::X509(X509Certificates::Client(slots) | X509Certificates::Signing(slots)) => {
            slots.iter().map(|slot| slot.sha256_thumbprint()).collect()
        }
        _ => vec![],
    }
}

fn line_in_group(pki: &Pki, service: Service) -> SampleDps {
    let mut dps = SampleDps::of(service);
    dps.put_ca(&id("root"), &pki.roots[0].certificate, true);
    let attestation = by_signing_certificate(&pki.lines[0].certificate);
    dps.put_group(&EnrollmentGroup::new(id("line"), attestation));
    dps
}

#[test]
fn a_group_is_rolled_on_every_kind_of_service() {
    for service in services() {
        let pki = Pki::new();
        let [old, new] = [pki.device(0, 0), pki.device(1, 0)];
        let mut dps = line_in_group(&pki, service);
        let start = roll::start(&relaxed(), &pki.state("line", [Current, Pending], &dps));
        for step in &only(start).steps {
            dps.step(step);
            assert!(is_admitted(&dps, &old), "{service:?} after: {step}");
        }
        assert!(is_admitted(&dps, &new), "{service:?}");
        let overlap = pki.state("line", [Current, Next], &dps);
        assert!(only(roll::start(&relaxed(), &overlap)).is_empty());

        let mut back = dps.clone();
        back.carry_out(&only(roll::abort(&Devices::default(), &overlap)));
        assert!(
            is_admitted(&back, &old) && !is_admitted(&back, &new),
            "{service:?}"
        );

        dps.carry_out(&only(roll::finish(&Finish::default(), &overlap)));
        assert!(
            !is_admitted(&dps, &old) && is_admitted(&dps, &new),
            "{service:?}"
        );
        let line = Some(pki.lines[1].certificate.sha256_thumbprint());
        assert_eq!(held(&dps.groups[0].attestation), [line], "{service:?}");
        let done = pki.state(
            "line",
            [pki_core::inventory::GenerationState::Retired, Current],
            &dps,
        );
        assert!(
            only(roll::finish(&Finish::default(), &done)).is_empty(),
            "{service:?}"
        );
    }
}

#[test]
fn a_compromised_certificate_is_in_no_slot_of_any_kind_of_service() {
    for service in services() {
        let pki = Pki::new();
        let mut dps = line_in_group(&pki, service);
        let state = pki.state("line", [Current, Pending], &dps);
        dps.carry_out(&only(roll::replace(&Breach::default(), &state)));
        let line = Some(pki.lines[1].certificate.sha256_thumbprint());
        assert_eq!(held(&dps.groups[0].attestation), [line], "{service:?}");
        let done = pki.state("line", [Compromised, Current], &dps);
        assert!(
            only(roll::replace(&Breach::default(), &done)).is_empty(),
            "{service:?}"
        );
    }
}

#[test]
fn a_device_is_rolled_and_shut_out_on_every_kind_of_service() {
    for service in services() {
        let pki = Pki::new();
        let [old, new] = [0, 1].map(|_| pki.lines[0].leaf("sensor-1", EcdsaP256));
        let mut dps = SampleDps::of(service);
        dps.put_individual(&IndividualEnrollment::new(id("sensor-1"), by_leaf(&old)));
        let state = |dps: &SampleDps| device::DeviceState {
            individual: dps.individuals.first().cloned(),
            registration: None,
            hub_identity: None,
        };
        dps.carry_out(&device::start(&id("sensor-1"), &new, &state(&dps)).expect("start"));
        let both = [&old, &new].map(|leaf| Some(leaf.sha256_thumbprint()));
        assert_eq!(held(&dps.individuals[0].attestation), both, "{service:?}");
        let moving = MovingDevice {
            id: id("sensor-1"),
            new_leaf_since: Some(now()),
            registered_at: Some(now() + Span::from_seconds(1)),
            shown: Shown::New,
        };
        let finish = device::finish(&moving, &new, false, &state(&dps));
        dps.carry_out(&finish.expect("finish"));
        let alone = Some(new.sha256_thumbprint());
        assert_eq!(
            held(&dps.individuals[0].attestation),
            [alone],
            "{service:?}"
        );
        let request = Quarantine {
            registration_id: id("sensor-1"),
            leaf: Some(new.clone()),
            revoke: vec![old.clone(), new.clone()],
            reason: None,
            hub: HubAction::Disable,
        };
        let state = QuarantineState {
            individual: dps.individuals.first().cloned(),
            ..QuarantineState::default()
        };
        let shut_out = quarantine(&request, &state);
        let revoked = |step: &&Step| matches!(step, Step::Leaf(_));
        assert_eq!(
            shut_out.steps.iter().filter(revoked).count(),
            2,
            "every live leaf"
        );
        dps.carry_out(&shut_out);
        let entry = &dps.individuals[0];
        assert_eq!(entry.provisioning_status, ProvisioningStatus::Disabled);
        assert_eq!(held(&entry.attestation), [alone], "{service:?}");
    }
}

/// Drift: what was just written is what is read.
#[test]
fn what_is_answered_twice_is_no_drift() {
    for service in services() {
        let pki = Pki::new();
        let attestation = by_signing_certificate(&pki.lines[0].certificate);
        let wanted = EnrollmentGroup::new(id("line"), attestation);
        let mut dps = SampleDps::of(service);
        dps.put_group(&wanted);
        assert_eq!(
            differences(&json!(dps.groups[0]), &json!(wanted)),
            [],
            "{service:?}"
        );
    }
}

/// Without a tag nothing guards a write: whatever is planned expects an absent record then, and finds one.
#[test]
fn a_record_that_came_without_a_tag_is_never_overwritten() {
    let pki = Pki::new();
    let mut dps = line_in_group(&pki, Service::default());
    for group in &mut dps.groups {
        group.etag = None;
    }
    for held in &mut dps.authorities {
        held.etag = None;
    }
    let line = pki.state("line", [Current, Pending], &dps);
    let root = pki.state("root", [Current, Pending], &dps);
    let plans = [
        roll::start(&relaxed(), &line),
        roll::replace(&Breach::default(), &line),
        roll::start(&relaxed(), &root),
        roll::replace(&Breach::default(), &root),
    ];
    let mut writes = 0;
    for plan in plans.map(only) {
        for (step, earlier) in plan.steps.iter().zip(plan.predecessors()) {
            let touches = match step {
                Step::Group(step) => {
                    let mut groups = dps.groups.iter();
                    groups.any(|held| held.enrollment_group_id == *step.id())
                }
                Step::Ca(step) => matches!(step.action, CaAction::Delete { .. }),
                _ => false,
            };
            if touches && earlier.is_none() {
                writes += 1;
                assert!(dps.try_step(step).is_err(), "{step}");
            }
        }
    }
    assert!(writes >= 3, "{writes}");
}
