//! What was recorded of the live services: the client reads it, keeps it and writes it back without loss.

#[path = "../../../tests/support/facts.rs"]
mod facts;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use dps_client::management::{Certificates, Verification};
use dps_client::service::{BulkMode, Individuals, Registrations};
use dps_client::{Expect, IfMatch};
use futures::TryStreamExt as _;
use pki_core::enrollment::{
    AllocationPolicy, Attestation, CertificateSlot, EnrollmentGroup, IndividualEnrollment,
    Mechanism, ProvisioningStatus, RegistrationState, RegistrationStatus, ReprovisionPolicy, Slots,
    X509Certificates,
};
use pki_core::hub::{HubDevice, HubDeviceStatus};
use pki_core::ids::Etag;
use pki_core::management::CaCertificate;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::facts::Answer;
use crate::{Wire, code, instance_id, tracking_id};

const PEM: &str = "-----BEGIN CERTIFICATE-----\nTUFERSBVUA==\n-----END CERTIFICATE-----\n";
const TAG: &str = "IjBhMDA5ZjQxLTAwMDAtMDgwMC0wMDAwLTY0NjgwMWViMDAwMCI=";

/// Every file of `fixtures/dps-wire`, as JSON.
fn scripts() -> Vec<(String, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/dps-wire");
    let mut found = Vec::new();
    let folders = fs::read_dir(root)
        .expect("fixtures")
        .map(|entry| entry.expect("entry").path());
    for folder in folders.filter(|path| path.is_dir()) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("entry").path();
            let text = fs::read_to_string(&path).expect("a script");
            let script = serde_json::from_str(&text).expect("JSON");
            found.push((path.display().to_string(), script));
        }
    }
    found
}

/// The exchanges that have a name, as they were recorded.
fn exchanges() -> BTreeMap<String, (String, Answer)> {
    let headers = |part: &Value| {
        let members = part["headers"].as_object().cloned().unwrap_or_default();
        let text =
            |(name, value): (String, Value)| (name, value.as_str().expect("text").to_owned());
        members.into_iter().map(text).collect::<BTreeMap<_, _>>()
    };
    let mut named = BTreeMap::new();
    for (_, script) in scripts() {
        for exchange in script["exchanges"].as_array().expect("exchanges") {
            let Some(name) = exchange["exchange"].as_str() else {
                continue;
            };
            let response = &exchange["response"];
            let answer = Answer {
                status: response["status"]
                    .as_u64()
                    .and_then(|status| status.try_into().ok())
                    .expect("status"),
                headers: headers(response),
                body: response.get("body").cloned(),
                request: headers(&exchange["request"]),
            };
            let target = exchange["request"]["target"]
                .as_str()
                .expect("a target")
                .to_owned();
            assert!(
                named.insert(name.to_owned(), (target, answer)).is_none(),
                "twice: {name}"
            );
        }
    }
    named
}

/// What is done to a record between reading and writing it.
#[derive(Clone, Copy, PartialEq)]
enum Done {
    Nothing,
    /// One member gets another value.
    OneChange,
}

fn copy<T: Serialize + DeserializeOwned>(
    document: &Value,
    done: Done,
    change: impl FnOnce(&mut T),
) -> Value {
    let mut read: T = serde_json::from_value(document.clone()).expect("it is read");
    if done == Done::OneChange {
        change(&mut read);
    }
    serde_json::to_value(read).expect("it is written")
}

/// A document read and written by the client's type for it, with what is done in between, and where that
/// shows; `None` where the client has no type.
fn through_the_client(target: &str, body: &Value, done: Done) -> Option<(Value, &'static str)> {
    let has = |member: &str| body.get(member).is_some();
    match () {
        () if has("enrollmentGroupId") => {
            let change = |group: &mut EnrollmentGroup| {
                group.provisioning_status = other_than(&group.provisioning_status);
            };
            Some((copy(body, done, change), "/provisioningStatus"))
        }
        () if has("attestation") => {
            let change = |entry: &mut IndividualEnrollment| {
                entry.provisioning_status = other_than(&entry.provisioning_status);
            };
            Some((copy(body, done, change), "/provisioningStatus"))
        }
        () if target.contains("/attestationmechanism") => {
            Some((copy(body, done, |_: &mut Attestation| ()), ""))
        }
        () if has("assignedHub") => {
            let change = |record: &mut RegistrationState| {
                record.status = match record.status {
                    RegistrationStatus::Disabled => RegistrationStatus::Assigned,
                    _ => RegistrationStatus::Disabled,
                };
            };
            Some((copy(body, done, change), "/status"))
        }
        () if target.contains("/certificates") && has("properties") => {
            let change = |ca: &mut CaCertificate| {
                ca.properties.is_verified = !ca.properties.is_verified;
            };
            Some((copy(body, done, change), "/properties/isVerified"))
        }
        () if has("generationId") => {
            let change = |device: &mut HubDevice| {
                device.status = match device.status {
                    HubDeviceStatus::Disabled => HubDeviceStatus::Enabled,
                    HubDeviceStatus::Enabled => HubDeviceStatus::Disabled,
                };
            };
            Some((copy(body, done, change), "/status"))
        }
        () => None,
    }
}

fn other_than(status: &ProvisioningStatus) -> ProvisioningStatus {
    match status {
        ProvisioningStatus::Disabled => ProvisioningStatus::Enabled,
        _ => ProvisioningStatus::Disabled,
    }
}

/// The records in a body: itself, those of a list, or those of a page.
fn records(body: &Value) -> Vec<&Value> {
    let page = body.get("value").unwrap_or(body);
    match page {
        Value::Array(items) => items.iter().collect(),
        _ => vec![body],
    }
}

/// The places of all objects in a document, as JSON pointers.
fn objects(document: &Value, place: &str, found: &mut Vec<String>) {
    match document {
        Value::Object(members) => {
            found.push(place.to_owned());
            for (name, value) in members {
                objects(value, &format!("{place}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                objects(item, &format!("{place}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// The exchanges agree with the table of facts, both as they stand and as the client writes them back,
/// which is to the last member what it read.
#[test]
fn every_recorded_shape_is_read_kept_and_written_back() {
    let mut answers = BTreeMap::new();
    let mut read = 0;
    for (name, (target, answer)) in exchanges() {
        for record in answer.body.iter().flat_map(records) {
            if let Some((back, _)) = through_the_client(&target, record, Done::Nothing) {
                assert_eq!(back, *record, "{name}");
                read += 1;
            }
        }
        answers.insert(name, answer);
    }
    assert!(read >= 25, "{read}");
    let problems = facts::judge("exchanges", &answers);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The service may say more one day, at any level of a record: it stays when something else is changed, null
/// or not, and nothing else comes with it.
#[test]
fn members_that_nobody_knows_stay_at_every_level_of_every_recorded_body() {
    let more = [json!({"deep": [1, null, {"er": false}]}), json!(null)];
    let mut tried = 0;
    for (name, (target, answer)) in exchanges() {
        for record in answer.body.iter().flat_map(records) {
            if through_the_client(&target, record, Done::Nothing).is_none() {
                continue;
            }
            let mut places = Vec::new();
            objects(record, "", &mut places);
            for (place, more) in places
                .iter()
                .flat_map(|place| more.iter().map(move |more| (place, more)))
            {
                let mut document = record.clone();
                document.pointer_mut(place).expect(place)["memberOfTomorrow"] = more.clone();
                let (back, changed) = through_the_client(&target, &document, Done::OneChange)
                    .unwrap_or_else(|| panic!("{name}: {document}"));
                let mut wanted = document.clone();
                match (wanted.pointer_mut(changed), back.pointer(changed)) {
                    (Some(wanted), Some(back)) if !changed.is_empty() => {
                        assert_ne!(wanted, back, "{name}: {changed} is to change");
                        *wanted = back.clone();
                    }
                    (None, Some(back)) => wanted[changed.trim_start_matches('/')] = back.clone(),
                    _ => {}
                }
                assert_eq!(back, wanted, "{name}: at {place:?}");
                tried += 1;
            }
        }
    }
    assert!(tried >= 200, "{tried}");
}

#[test]
fn every_conversation_says_where_it_comes_from() {
    for (path, script) in scripts() {
        let source = script["source"].as_str().expect("a source");
        let is_told = source.starts_with("recorded") || source.starts_with("documented: ");
        assert!(is_told, "{path}: {source}");
    }
}

/// A group as py-dps has it: made, listed, read, changed with the tag as it came, deleted.
#[tokio::test]
async fn tags_go_back_to_dps_as_they_came() {
    let (wire, groups) = Wire::groups("group-lifecycle");
    let slots = Slots::primary(CertificateSlot::from_pem(PEM));
    let group = EnrollmentGroup {
        reprovision_policy: Some(ReprovisionPolicy::default()),
        allocation_policy: Some(AllocationPolicy::Hashed),
        ..EnrollmentGroup::new(
            "line-1".parse().expect("ID"),
            Attestation::x509(X509Certificates::Signing(slots)),
        )
    };
    let made = groups.put(&group, &Expect::Absent).await.expect("made");
    let Mechanism::X509(X509Certificates::Signing(slots)) = &made.attestation.mechanism else {
        panic!("{made:?}")
    };
    assert_eq!(slots.primary, slots.secondary, "shown in both");
    let listed: Vec<EnrollmentGroup> = groups.list(None).try_collect().await.expect("listed");
    assert_eq!(listed, [made]);
    let mut read = groups.get(&group.enrollment_group_id).await.expect("read");
    assert_eq!(read.etag.as_ref().map(Etag::as_str), Some(TAG));
    let expect = Expect::Etag(read.etag.clone().expect("a tag"));
    read.provisioning_status = ProvisioningStatus::Disabled;
    read.allocation_policy = Some(AllocationPolicy::Custom);
    let webhook = json!({"webhookUrl": "https://hook.example", "apiVersion": "2019-03-31"});
    read.other
        .insert("customAllocationDefinition".to_owned(), webhook);
    groups.put(&read, &expect).await.expect("changed");
    let error = groups.put(&group, &Expect::Absent).await.expect_err("409");
    assert!(error.is_conflict());
    let deleted = groups
        .delete(&group.enrollment_group_id, &IfMatch::Any)
        .await;
    deleted.expect("deleted");
    wire.end();
}

/// A status that is null stays null when it goes back, and acts as enabled.
#[tokio::test]
async fn a_null_status_is_enabled_and_stays_null() {
    let (wire, groups) = Wire::groups("group-keys");
    let document = json!({
        "enrollmentGroupId": "keys-1", "provisioningStatus": null, "reprovisionPolicy": null,
        "attestation": {"type": "symmetricKey",
            "symmetricKey": {"primaryKey": null, "secondaryKey": null}},
        "allocationPolicy": "static",
    });
    let group: EnrollmentGroup = serde_json::from_value(document).expect("a group");
    let made = groups.put(&group, &Expect::Absent).await.expect("made");
    assert_eq!(made.provisioning_status, ProvisioningStatus::Enabled);
    let read = groups.get(&group.enrollment_group_id).await.expect("read");
    assert_eq!(read.attestation.mechanism, Mechanism::SymmetricKey(None));
    let listed: Vec<EnrollmentGroup> = groups.list(None).try_collect().await.expect("listed");
    assert_eq!(listed, [read]);
    let keys = groups
        .attestation_mechanism(&group.enrollment_group_id)
        .await
        .expect("keys");
    assert_eq!(keys, made.attestation);
    wire.end();
}

#[tokio::test]
async fn an_update_in_bulk_without_tags_fails_item_by_item() {
    let (wire, groups) = Wire::groups("group-bulk-update");
    let entries = ["line-1", "line-2"].map(|id| {
        let slots = Slots::primary(CertificateSlot::from_pem(PEM));
        EnrollmentGroup::new(
            id.parse().expect(id),
            Attestation::x509(X509Certificates::Signing(slots)),
        )
    });
    for (mode, codes) in [
        (BulkMode::Create, vec![]),
        (BulkMode::Update, vec![Some(409_202.into()); 2]),
        (BulkMode::Delete, vec![]),
    ] {
        let result = groups.bulk(mode, &entries).await.expect("an answer");
        let told = result.errors.iter().map(|error| error.error_code.clone());
        let told: Vec<_> = told.collect();
        assert_eq!((result.is_successful, told), (codes.is_empty(), codes));
    }
    let individuals = Individuals::new(wire.plane.clone());
    let slots = Slots::primary(CertificateSlot::from_pem(PEM));
    let entry = IndividualEnrollment::new(
        "device-001".parse().expect("ID"),
        Attestation::x509(X509Certificates::Client(slots)),
    );
    let result = individuals
        .bulk(BulkMode::Update, &[entry])
        .await
        .expect("an answer");
    assert_eq!(result.errors[0].error_code, Some(409_201.into()));
    wire.end();
}

/// Before its device registered, an entry says that it is unassigned.
#[tokio::test]
async fn the_state_inside_of_an_entry_is_read() {
    let (wire, individuals) = Wire::individuals("individual-lifecycle");
    let slots = Slots::primary(CertificateSlot::from_pem(PEM));
    let entry = IndividualEnrollment {
        device_id: Some("machine-1".parse().expect("ID")),
        reprovision_policy: Some(ReprovisionPolicy::default()),
        allocation_policy: Some(AllocationPolicy::Hashed),
        ..IndividualEnrollment::new(
            "device-001".parse().expect("ID"),
            Attestation::x509(X509Certificates::Client(slots)),
        )
    };
    let made = individuals
        .put(&entry, &Expect::Absent)
        .await
        .expect("made");
    assert_eq!(made.registration_state(), None);
    let listed: Vec<IndividualEnrollment> =
        individuals.list(None).try_collect().await.expect("listed");
    assert_eq!(listed, [made]);
    let read = individuals.get(&entry.registration_id).await.expect("read");
    let state = read.registration_state().expect("a state");
    assert_eq!(state.status, RegistrationStatus::Unassigned);
    individuals
        .delete(&entry.registration_id, &IfMatch::Any)
        .await
        .expect("deleted");
    wire.end();
}

/// Uploaded, proven and deleted with tags as they came; the certificate is null but beside a code.
#[tokio::test]
async fn a_ca_goes_its_way_without_being_shown() {
    let wire = Wire::script("ca-lifecycle", "2021-10-15".parse().expect("version"));
    let certificates = Certificates::new(wire.plane.clone(), instance_id());
    let root = "root".parse().expect("name");
    let der: &[u8] = b"CA certificate in DER";
    let put = certificates
        .put(&root, der, Verification::Possession, &Expect::Absent)
        .await;
    let made = put.expect("uploaded");
    assert_eq!(made.properties.certificate, None);
    let same = "same-root".parse().expect("name");
    let put = certificates
        .put(&same, der, Verification::SelfAttestation, &Expect::Absent)
        .await;
    assert!(put.expect("uploaded").properties.is_verified);
    assert_eq!(certificates.list().await.expect("listed").len(), 2);
    let read = certificates.get(&root).await.expect("read");
    assert_eq!(read, made);
    let tag = |ca: &CaCertificate| ca.etag.clone().expect("a tag");
    let expect = Expect::Etag(tag(&read));
    let put = certificates
        .put(&root, der, Verification::Possession, &expect)
        .await;
    let expect = IfMatch::Etag(tag(&put.expect("replaced")));
    let coded = certificates
        .generate_verification_code(&root, &expect)
        .await
        .expect("a code");
    assert!(coded.properties.certificate.is_some());
    let proof: &[u8] = b"verification certificate in DER";
    let proven = certificates
        .verify(&root, proof, &IfMatch::Etag(tag(&coded)))
        .await;
    let proven = proven.expect("proven");
    certificates
        .delete(&root, &IfMatch::Etag(tag(&proven)))
        .await
        .expect("deleted");
    let error = certificates.get(&root).await.expect_err("404");
    assert!(error.is_not_found());
    assert_eq!(code(&error), "404015");
    assert_eq!(tracking_id(&error), "6d3cc6b0-5f97-41b2-b41e-ed9753bcdffc");
    wire.end();
}

/// A disabled device keeps what was null, and a stale tag is a failed precondition with its versions.
#[tokio::test]
async fn an_identity_goes_back_with_its_nulls() {
    let (_, (_, first)) = exchanges().remove_entry("device get").expect("recorded");
    let device: HubDevice = serde_json::from_value(first.body.expect("a body")).expect("read");
    let script = json!({"source": "", "exchanges": scripts().into_iter()
        .find(|(path, _)| path.ends_with("device-lifecycle.json")).expect("there").1["exchanges"]
        .as_array().expect("exchanges")[1..].to_vec()});
    let (wire, devices) = Wire::hub_of(script);
    let id = device.device_id.clone();
    let changed = devices
        .set_status(&id, HubDeviceStatus::Disabled, None)
        .await
        .expect("changed");
    assert_eq!(changed.status, HubDeviceStatus::Disabled);
    let disabled = HubDevice {
        status: HubDeviceStatus::Disabled,
        ..device.clone()
    };
    let expect = Expect::Etag(device.etag.expect("a tag"));
    let error = devices.put(&disabled, &expect).await.expect_err("412");
    assert!(error.is_precondition_failed());
    assert_eq!(code(&error), "PreconditionFailed");
    assert_eq!(
        tracking_id(&error),
        "e4a9090fbc2f4a78b13ba7a01fb30ffe-G:12-TimeStamp:07/07/2021 20:45:26"
    );
    devices.delete(&id, &IfMatch::Any).await.expect("deleted");
    wire.end();
}

#[tokio::test]
async fn a_registration_record_is_read_with_its_decimals() {
    let wire = Wire::script("registration", dps_client::ApiVersion::SERVICE);
    let registrations = Registrations::new(wire.plane.clone());
    let record = registrations
        .get(&"device-001".parse().expect("ID"))
        .await
        .expect("read");
    assert_eq!(
        record.last_updated_date_time_utc.as_deref(),
        Some("2022-08-27T17:53:19.7519141Z")
    );
}
