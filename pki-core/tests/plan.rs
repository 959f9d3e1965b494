//! Plans as data: every step survives the journal, and says what it concerns.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use pki_core::enrollment::{Attestation, EnrollmentGroup, IndividualEnrollment};
use pki_core::ids::{Etag, Generation, SerialNumber, Sha1Thumbprint, Sha256Thumbprint};
use pki_core::inventory::{GenerationChange, GenerationState};
use pki_core::lifecycle::{
    CaAction, CaStep, Expectation, FieldChange, HubDeviceAction, HubDeviceStep, LeafAction,
    LeafStep, Plan, Step, Subject,
};
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
    let upload = |self_attested, expect| CaStep {
        name: id("root"),
        sha1_thumbprint,
        action: CaAction::Upload {
            authority: id("root"),
            certificate: "PEM".into(),
            sha256_thumbprint,
            self_attested,
            replaces: None,
            admitted: vec![],
        },
        expect,
    };
    let mut replace = upload(true, expect.clone());
    if let CaAction::Upload {
        replaces, admitted, ..
    } = &mut replace.action
    {
        *replaces = Some(sha1_thumbprint);
        admitted.push(sha1_thumbprint);
    }
    let made = upload(false, Expectation::Absent);
    let prove = made.then(CaAction::Prove {
        authority: id("root"),
    });
    let submit = CaStep {
        action: CaAction::Submit {
            proof: "PEM".into(),
        },
        expect: expect.clone(),
        ..made.clone()
    };
    let delete = CaStep {
        name: id("old"),
        sha1_thumbprint,
        action: CaAction::deletion(),
        expect: expect.clone(),
    };
    let cut_off = CaStep {
        action: CaAction::Delete {
            admitted: vec![sha1_thumbprint],
            gives_way: false,
        },
        ..delete.clone()
    };
    let group = EnrollmentGroup::new(id("line"), attestation.clone());
    let entry = IndividualEnrollment::new(id("a"), attestation);
    let on_hub = |device: &str, action| {
        Step::HubDevice(HubDeviceStep {
            hub: id("hub.azure-devices.net"),
            device_id: id(device),
            action,
            expect: expect.clone(),
        })
    };
    vec![
        Step::Ca(made.clone()),
        Step::Ca(prove),
        Step::Ca(submit),
        Step::Ca(upload(true, expect.clone())),
        Step::Ca(replace),
        Step::Ca(delete),
        Step::Ca(cut_off),
        Step::put_group(group, vec![change.clone()], expect.clone()),
        Step::delete_group(id("gone"), expect.clone()),
        Step::put_individual(entry, vec![change], expect.clone()),
        Step::delete_individual(id("b"), expect.clone()),
        Step::delete_registration(id("c"), expect.clone()),
        on_hub(
            "d",
            HubDeviceAction::Disable {
                reason: "stolen".into(),
            },
        ),
        on_hub("e", HubDeviceAction::Enable),
        on_hub("f", HubDeviceAction::Delete),
        Step::Leaf(LeafStep {
            action: LeafAction::Revoke,
            registration_id: id("g"),
            serial_number: id::<SerialNumber>("0a0b"),
            sha256_thumbprint,
        }),
        Step::settle(
            id("factory"),
            vec![GenerationChange {
                generation: Generation::FIRST,
                to: GenerationState::Compromised,
            }],
        ),
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

/// The stored form of a step of each kind, as the first version wrote it: plans that were opened by it are
/// in homes, and their digests in audit trails.
const STORED: &str = include_str!("plan/stored.ndjson");

#[test]
fn steps_are_stored_as_they_always_were() {
    let mut stored = String::new();
    for step in every_step() {
        stored += &serde_json::to_string(&step).expect("writes");
        stored.push('\n');
    }
    assert_eq!(stored, STORED);
}

#[test]
fn stored_steps_are_read() {
    assert_eq!(STORED.lines().count(), every_step().len());
    for (line, step) in STORED.lines().zip(every_step()) {
        let read: Step = serde_json::from_str(line).expect(line);
        assert_eq!(read, step);
    }
}
