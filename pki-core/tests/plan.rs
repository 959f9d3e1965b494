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
        action: CaAction::Delete { admitted: vec![] },
        expect: expect.clone(),
    };
    let cut_off = CaStep {
        action: CaAction::Delete {
            admitted: vec![sha1_thumbprint],
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
    std::fs::write("/tmp/stored.ndjson", &stored).expect("w");
    assert_eq!(stored, STORED);
}

#[test]
fn stored_steps_are_read() {
    for (line, step) in STORED.lines().zip(every_step()) {
        let read: Step = serde_json::from_str(line).expect(line);
        assert_eq!(read, step);
    }
}

mod old {
    use pki_core::enrollment::*;
    use pki_core::ids::*;
    use pki_core::inventory::*;
    use pki_core::lifecycle::FieldChange;
    use serde::{Deserialize, Serialize};
    /// What a step expects to find; anything else is a conflict and stops the plan.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub enum Expectation {
        /// There is no such record.
        Absent,
        /// The record is as it was when the plan was made.
        Etag(Etag),
        /// The record is as the step before this one left it.
        AsLeftByPlan,
    }

    /// One thing to do.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(
        rename_all = "camelCase",
        rename_all_fields = "camelCase",
        tag = "action"
    )]
    #[non_exhaustive]
    pub enum Step {
        /// Upload a CA certificate to DPS.
        UploadCa {
            /// The name to give it.
            name: CertificateName,
            /// Whose certificate it is.
            authority: AuthorityName,
            /// The certificate, PEM.
            certificate: String,
            /// Its identity in ARM.
            sha1_thumbprint: Sha1Thumbprint,
            /// Its identity.
            sha256_thumbprint: Sha256Thumbprint,
            /// Whether it counts as verified at once, without a proof.
            self_attested: bool,
            /// The certificate in whose place it is put, if that is another one: what was verified by it is so
            /// no more.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            replaces: Option<Sha1Thumbprint>,
            /// As in [`Step::DeleteCa`], of the certificate in whose place it is put.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            admitted: Vec<Sha1Thumbprint>,
            /// What to find there.
            expect: Expectation,
        },
        /// Fetch a code, prove possession of the CA's key with it, and have DPS verify the proof.
        ProveCa {
            /// The certificate's name in DPS.
            name: CertificateName,
            /// Whose key signs the proof.
            authority: AuthorityName,
            /// The certificate that is to be proven.
            sha1_thumbprint: Sha1Thumbprint,
            /// What to find there.
            expect: Expectation,
        },
        /// Have DPS verify a proof of possession that was made elsewhere, for a code it gave before.
        SubmitProof {
            /// The certificate's name in DPS.
            name: CertificateName,
            /// The certificate that is to be proven.
            sha1_thumbprint: Sha1Thumbprint,
            /// The verification certificate, PEM.
            proof: String,
            /// What to find there.
            expect: Expectation,
        },
        /// Delete a CA certificate from DPS; groups that refer to it then admit nobody by it.
        DeleteCa {
            /// The certificate's name in DPS.
            name: CertificateName,
            /// The certificate that is to go.
            sha1_thumbprint: Sha1Thumbprint,
            /// The certificates of authorities below whose devices DPS admits by it and by nothing else; a breach
            /// roll writes them down, since DPS tells nobody any more once it is gone.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            admitted: Vec<Sha1Thumbprint>,
            /// What to find there.
            expect: Expectation,
        },
        /// Create or change an enrollment group.
        PutGroup {
            /// The whole record to write.
            group: Box<EnrollmentGroup>,
            /// What differs from what is there.
            changes: Vec<FieldChange>,
            /// What to find there.
            expect: Expectation,
        },
        /// Create or change an individual enrollment.
        PutIndividual {
            /// The whole record to write.
            enrollment: Box<IndividualEnrollment>,
            /// What differs from what is there.
            changes: Vec<FieldChange>,
            /// What to find there.
            expect: Expectation,
        },
        /// Delete an enrollment group; its devices fall through to a group above it, if there is one.
        DeleteGroup {
            /// Which group.
            id: EnrollmentGroupId,
            /// What to find there.
            expect: Expectation,
        },
        /// Delete an individual enrollment; its device falls through to its group, if there is one.
        DeleteIndividual {
            /// Whose entry.
            registration_id: RegistrationId,
            /// What to find there.
            expect: Expectation,
        },
        /// Delete a registration record, so that the device has to register again.
        DeleteRegistration {
            /// Whose record.
            registration_id: RegistrationId,
            /// What to find there.
            expect: Expectation,
        },
        /// Disable a hub's device identity: the hub refuses the device from then on.
        DisableHubDevice {
            /// On which hub.
            hub: HubHostName,
            /// Which device.
            device_id: DeviceId,
            /// Why, at most 128 characters.
            reason: String,
            /// What to find there.
            expect: Expectation,
        },
        /// Enable a hub's device identity that was disabled.
        EnableHubDevice {
            /// On which hub.
            hub: HubHostName,
            /// Which device.
            device_id: DeviceId,
            /// What to find there.
            expect: Expectation,
        },
        /// Delete a hub's device identity with its twin.
        DeleteHubDevice {
            /// On which hub.
            hub: HubHostName,
            /// Which device.
            device_id: DeviceId,
            /// What to find there.
            expect: Expectation,
        },
        /// Mark a certificate revoked in the inventory, for the next CRL.
        Revoke {
            /// Whose certificate.
            registration_id: RegistrationId,
            /// Which one.
            serial_number: SerialNumber,
            /// Its identity.
            sha256_thumbprint: Sha256Thumbprint,
        },
        /// Change the parts that an authority's generations play in the inventory, all together.
        SettleGenerations {
            /// Whose generations.
            authority: AuthorityName,
            /// What becomes of which.
            changes: Vec<GenerationChange>,
        },
    }
}
#[test]
fn old_reads_and_writes_the_same() {
    for step in every_step() {
        let text = serde_json::to_string(&step).expect("w");
        let read: old::Step = serde_json::from_str(&text).expect("old reads");
        assert_eq!(serde_json::to_string(&read).expect("w"), text);
    }
}
