//! Plans as data: every step survives the journal, and says what it concerns.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use pki_core::enrollment::{Attestation, EnrollmentGroup, IndividualEnrollment};
use pki_core::ids::{Etag, Generation, SerialNumber, Sha1Thumbprint, Sha256Thumbprint};
use pki_core::inventory::{GenerationChange, GenerationState};
use pki_core::lifecycle::{Expectation, FieldChange, Plan, Step, Subject};
use serde_json::json;

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect(text)
}

/// One step of each kind.
fn every_step() -> Vec<Step> {
    let sha1_thumbprint = Sha1Thumbprint::from_digest([1; 20]);
    let sha256_thumbprint = Sha256Thumbprint::from_digest([2; 32]);
    let expect = Expectation::Etag(Etag::new("\"1\""));
    let change = FieldChange {
        field: "provisioningStatus".into(),
        from: json!(null),
        to: json!("disabled"),
    };
    let attestation = Attestation::generated_keys();
    vec![
        Step::UploadCa {
            name: id("root"),
            authority: id("root"),
            certificate: "PEM".into(),
            sha1_thumbprint,
            sha256_thumbprint,
            self_attested: false,
            replaces: None,
            admitted: vec![],
            expect: Expectation::Absent,
        },
        Step::ProveCa {
            name: id("root"),
            authority: id("root"),
            sha1_thumbprint,
            expect: Expectation::AsLeftByPlan,
        },
        Step::DeleteCa {
            name: id("old"),
            sha1_thumbprint,
            admitted: vec![],
            expect: expect.clone(),
        },
        Step::PutGroup {
            group: Box::new(EnrollmentGroup::new(id("line"), attestation.clone())),
            changes: vec![change.clone()],
            expect: expect.clone(),
        },
        Step::DeleteGroup {
            id: id("gone"),
            expect: expect.clone(),
        },
        Step::PutIndividual {
            enrollment: Box::new(IndividualEnrollment::new(id("a"), attestation)),
            changes: vec![change],
            expect: expect.clone(),
        },
        Step::DeleteIndividual {
            registration_id: id("b"),
            expect: expect.clone(),
        },
        Step::DeleteRegistration {
            registration_id: id("c"),
            expect: expect.clone(),
        },
        Step::DisableHubDevice {
            hub: id("hub.azure-devices.net"),
            device_id: id("d"),
            reason: "stolen".into(),
            expect: expect.clone(),
        },
        Step::EnableHubDevice {
            hub: id("hub.azure-devices.net"),
            device_id: id("e"),
            expect: expect.clone(),
        },
        Step::DeleteHubDevice {
            hub: id("hub.azure-devices.net"),
            device_id: id("f"),
            expect,
        },
        Step::Revoke {
            registration_id: id("g"),
            serial_number: id::<SerialNumber>("0a0b"),
            sha256_thumbprint,
        },
        Step::SettleGenerations {
            authority: id("factory"),
            changes: vec![GenerationChange {
                generation: Generation::FIRST,
                to: GenerationState::Compromised,
            }],
        },
    ]
}

#[test]
fn every_step_survives_being_written_down() {
    let plan = Plan {
        steps: every_step(),
        ..Plan::new("try all")
    };
    let written = serde_json::to_string(&plan).expect("writes");
    let read: Plan = serde_json::from_str(&written).expect("reads");
    assert_eq!(read, plan);
}

#[test]
fn a_plan_names_what_it_concerns_once() {
    let plan = Plan {
        steps: every_step(),
        ..Plan::new("try all")
    };
    let devices = ["a", "b", "c", "d", "e", "f", "g"].map(|name| Subject::Device(id(name)));
    let others = [
        Subject::Ca(id("root")),
        Subject::Ca(id("old")),
        Subject::Authority(id("root")),
        Subject::Authority(id("factory")),
        Subject::Group(id("line")),
        Subject::Group(id("gone")),
    ];
    let expected: BTreeSet<Subject> = devices.into_iter().chain(others).collect();
    assert_eq!(plan.subjects(), expected);
}

#[test]
fn what_becomes_of_generations_is_told_in_words() {
    let steps = every_step();
    let settle = steps.last().expect("a step");
    assert_eq!(
        settle.to_string(),
        "in the inventory, make factory generation 1 compromised"
    );
}
