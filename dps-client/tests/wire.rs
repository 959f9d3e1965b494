//! The client against documented exchanges: request line, headers, bodies, answers and errors.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use dps_client::auth::{BearerToken, Credential};
use dps_client::device::{Outcome, Polling, Registrar};
use dps_client::hub::Devices;
use dps_client::management::{Certificates, Instance, InstanceId, Verification};
use dps_client::service::{BulkMode, Groups, Individuals, Registrations};
use dps_client::transport::{Script, ScriptedTransport};
use dps_client::{ApiVersion, ClientError, Expect, IfMatch, Plane};
use futures::TryStreamExt as _;
use http::StatusCode;
use pki_core::enrollment::{
    Attestation, CertificateSlot, EnrollmentGroup, IndividualEnrollment, ProvisioningStatus,
    RegistrationStatus, Slots, X509Certificates,
};
use pki_core::hub::HubDeviceStatus;
use pki_core::ids::Etag;
use tokio::time::Instant;

const PEM: &str = "-----BEGIN CERTIFICATE-----\nTUFERSBVUA==\n-----END CERTIFICATE-----\n";
const CA: &[u8] = b"CA certificate in DER";
const PROOF: &[u8] = b"verification certificate in DER";
const CODE: &str = "7A69A4702DA903A41C3A5BC5575A8E3F49BEC5E5BA2D4CE1";
const ETAG: &str = "\"e8002126-0000-0100-0000-5f6b2a570000\"";

/// A conversation out of `fixtures/dps-wire`, and the plane that must keep to it.
struct Wire {
    transport: Arc<ScriptedTransport>,
    plane: Plane,
}

impl Wire {
    fn script(name: &str, api_version: ApiVersion) -> Self {
        let path = format!(
            "{}/../fixtures/dps-wire/{api_version}/{name}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = std::fs::read_to_string(&path).expect(&path);
        let script: Script = serde_json::from_str(&text).expect(&path);
        let transport = Arc::new(ScriptedTransport::new(script.exchanges));
        let base = "https://localhost:8443".parse().expect("base");
        let plane = Plane::new(transport.clone(), base, api_version);
        Self { transport, plane }
    }

    fn management(name: &str) -> (Self, Certificates) {
        let wire = Self::script(name, ApiVersion::MANAGEMENT);
        let certificates = Certificates::new(wire.plane.clone(), instance_id());
        (wire, certificates)
    }

    fn groups(name: &str) -> (Self, Groups) {
        let wire = Self::script(name, ApiVersion::SERVICE);
        let groups = Groups::new(wire.plane.clone());
        (wire, groups)
    }

    fn individuals(name: &str) -> (Self, Individuals) {
        let wire = Self::script(name, ApiVersion::SERVICE);
        let individuals = Individuals::new(wire.plane.clone());
        (wire, individuals)
    }

    fn registrar(name: &str) -> (Self, Registrar) {
        let wire = Self::script(name, ApiVersion::DEVICE);
        let registrar = Registrar::new(wire.plane.clone(), "0ne000956C5".parse().expect("scope"));
        (wire, registrar)
    }

    fn hub(name: &str) -> (Self, Devices) {
        let wire = Self::script(name, ApiVersion::HUB);
        let devices = Devices::new(wire.plane.clone());
        (wire, devices)
    }

    fn end(self) {
        assert_eq!(self.transport.left(), 0, "exchanges that never took place");
    }
}

fn instance_id() -> InstanceId {
    InstanceId {
        subscription: "91d12660-3dec-467a-be2a-213b5544ddc0".to_owned(),
        resource_group: "my-rg".to_owned(),
        name: "my-dps".to_owned(),
    }
}

fn group() -> EnrollmentGroup {
    let slots = Slots::primary(CertificateSlot::from_pem(PEM));
    EnrollmentGroup::new(
        "line-1".parse().expect("ID"),
        Attestation::x509(X509Certificates::Signing(slots)),
    )
}

fn individual(id: &str) -> IndividualEnrollment {
    let slots = Slots::primary(CertificateSlot::from_pem(PEM));
    IndividualEnrollment::new(
        id.parse().expect(id),
        Attestation::x509(X509Certificates::Client(slots)),
    )
}

fn code(error: &ClientError) -> &str {
    error
        .service()
        .and_then(|error| error.code.as_deref())
        .unwrap_or("-")
}

fn tracking_id(error: &ClientError) -> &str {
    error
        .service()
        .and_then(|error| error.tracking_id.as_deref())
        .unwrap_or("-")
}

#[tokio::test]
async fn each_step_of_a_proof_carries_the_tag_of_the_one_before() {
    let (wire, certificates) = Wire::management("ca-prove");
    let name = "root".parse().expect("name");
    let tag = |etag: Option<Etag>| IfMatch::Etag(etag.expect("etag"));
    let uploaded = certificates
        .put(&name, CA, Verification::Possession, &Expect::Absent)
        .await;
    let uploaded = uploaded.expect("uploaded");
    assert!(!uploaded.properties.is_verified);
    let asked = certificates
        .generate_verification_code(&name, &tag(uploaded.etag))
        .await
        .expect("code");
    assert_eq!(
        asked.properties.verification_code,
        Some(CODE.parse().expect("code"))
    );
    let proven = certificates
        .verify(&name, PROOF, &tag(asked.etag))
        .await
        .expect("proven");
    assert!(proven.properties.is_verified);
    wire.end();
}

#[tokio::test]
async fn a_ca_may_be_attested_by_whoever_uploads_it() {
    let (wire, certificates) = Wire::management("ca-self-attest");
    let expect = Expect::Etag(Etag::new("AAAAAAExpNs="));
    let name = "root".parse().expect("name");
    let ca = certificates
        .put(&name, CA, Verification::SelfAttestation, &expect)
        .await
        .expect("put");
    assert!(ca.properties.is_verified);
    wire.end();
}

#[tokio::test]
async fn older_versions_of_arm_take_the_certificate_flat() {
    let wire = Wire::script("ca-upload", "2021-10-15".parse().expect("version"));
    let certificates = Certificates::new(wire.plane.clone(), instance_id());
    let name = "root".parse().expect("name");
    certificates
        .put(&name, CA, Verification::SelfAttestation, &Expect::Absent)
        .await
        .expect("put");
    wire.end();
}

#[tokio::test]
async fn certificates_are_listed_and_deleted() {
    let (wire, certificates) = Wire::management("ca-list");
    let list = certificates.list().await.expect("list");
    let names: Vec<_> = list
        .iter()
        .map(|ca| (ca.name.as_str(), ca.properties.is_verified))
        .collect();
    assert_eq!(names, [("root", false), ("next-root", true)]);
    wire.end();

    let (wire, certificates) = Wire::management("ca-delete");
    let name = "root".parse().expect("name");
    certificates
        .delete(&name, &IfMatch::Etag(Etag::new("AAAAAAExpNs=")))
        .await
        .expect("by tag");
    certificates
        .delete(&name, &IfMatch::Any)
        .await
        .expect("whatever its state");
    wire.end();
}

#[tokio::test]
async fn a_stale_tag_is_a_failed_precondition_with_its_correlation_identifier() {
    let (wire, certificates) = Wire::management("ca-stale-etag");
    let stale = IfMatch::Etag(Etag::new("AAAAAAExpNs="));
    let error = certificates
        .verify(&"root".parse().expect("name"), PROOF, &stale)
        .await
        .expect_err("412");
    assert!(error.is_precondition_failed() && !error.is_transient());
    assert_eq!(code(&error), "412001");
    assert_eq!(tracking_id(&error), "6b2f8a0c-1d4e-4b7a-9c55-0d3d5a1f2e77");
    wire.end();
}

#[tokio::test]
async fn an_instance_tells_its_scope_hosts_and_keys() {
    let wire = Wire::script("instance", ApiVersion::MANAGEMENT);
    let instance = Instance::new(wire.plane.clone(), instance_id());
    let service = instance.get().await.expect("instance");
    assert_eq!(service.properties.id_scope.as_str(), "0ne000956C5");
    assert_eq!(
        service.properties.service_operations_host_name.as_deref(),
        Some("my-dps.azure-devices-provisioning.net")
    );
    assert_eq!(
        service.properties.iot_hubs[0].name.as_deref(),
        Some("my-hub.azure-devices.net")
    );
    let policies = instance.keys().await.expect("keys");
    assert_eq!(
        policies,
        [instance.key("provisioningserviceowner").await.expect("key")]
    );
    assert!(policies[0].rights.contains("EnrollmentWrite"));
    assert!(!format!("{policies:?}").contains("cHJpbWFyeQ"));
    wire.end();
}

#[tokio::test]
async fn keys_are_followed_over_pages_but_never_to_another_host() {
    let wire = Wire::script("keys-pages", ApiVersion::MANAGEMENT);
    let policies = Instance::new(wire.plane.clone(), instance_id())
        .keys()
        .await
        .expect("keys");
    let names: Vec<_> = policies
        .iter()
        .map(|policy| policy.key_name.as_str())
        .collect();
    assert_eq!(names, ["first", "second"]);
    wire.end();

    let wire = Wire::script("keys-elsewhere", ApiVersion::MANAGEMENT);
    let error = Instance::new(wire.plane.clone(), instance_id())
        .keys()
        .await
        .expect_err("refused");
    assert!(matches!(error, ClientError::Elsewhere { .. }), "{error}");
    wire.end();
}

#[tokio::test]
async fn an_instance_without_hubs_may_say_null() {
    let wire = Wire::script("instance-bare", ApiVersion::MANAGEMENT);
    let service = Instance::new(wire.plane.clone(), instance_id())
        .get()
        .await
        .expect("instance");
    assert!(service.properties.iot_hubs.is_empty());
    wire.end();
}

#[tokio::test]
async fn errors_of_arm_itself_are_read_too() {
    let wire = Wire::script("instance-missing", ApiVersion::MANAGEMENT);
    let error = Instance::new(wire.plane.clone(), instance_id())
        .get()
        .await
        .expect_err("404");
    assert!(error.is_not_found());
    assert_eq!(code(&error), "ResourceNotFound");
    assert_eq!(tracking_id(&error), "0ec0a1f3-6a0e-4a53-8b43-6f4a3a3a8d11");
    wire.end();
}

#[tokio::test]
async fn a_put_that_expects_nothing_only_creates() {
    let (wire, groups) = Wire::groups("group-create");
    let made = groups
        .put(&group(), &Expect::Absent)
        .await
        .expect("created");
    assert_eq!(made.etag, Some(Etag::new(ETAG)));
    let error = groups
        .put(&group(), &Expect::Absent)
        .await
        .expect_err("409");
    assert!(error.is_conflict());
    assert_eq!(code(&error), "409202");
    wire.end();
}

#[tokio::test]
async fn a_document_goes_back_as_it_came_and_only_if_nobody_changed_it() {
    let (wire, groups) = Wire::groups("group-disable");
    let read = groups
        .find(&"line-1".parse().expect("ID"))
        .await
        .expect("read")
        .expect("there");
    let expect = Expect::Etag(read.etag.clone().expect("etag"));
    let disabled = EnrollmentGroup {
        provisioning_status: ProvisioningStatus::Disabled,
        ..read
    };
    let written = groups.put(&disabled, &expect).await.expect("written");
    assert_ne!(written.etag, disabled.etag);
    let error = groups.put(&disabled, &expect).await.expect_err("412");
    assert!(error.is_precondition_failed());
    wire.end();
}

#[tokio::test]
async fn a_list_follows_continuation_tokens_to_the_last_page() {
    let (wire, groups) = Wire::groups("groups-list");
    let all: Vec<EnrollmentGroup> = groups.list(Some(2)).try_collect().await.expect("all");
    let ids: Vec<_> = all
        .iter()
        .map(|group| group.enrollment_group_id.as_str())
        .collect();
    assert_eq!(ids, ["line-1", "line-2", "line-3"]);
    wire.end();
}

#[tokio::test]
async fn pages_are_asked_for_as_they_are_read() {
    let (wire, groups) = Wire::groups("groups-list");
    let mut list = groups.list(Some(2));
    assert_eq!(wire.transport.left(), 2);
    list.try_next().await.expect("first").expect("there");
    assert_eq!(wire.transport.left(), 1);
}

#[tokio::test]
async fn an_absent_enrollment_is_none_and_its_id_is_encoded() {
    let (wire, individuals) = Wire::individuals("individual-missing");
    assert_eq!(
        individuals
            .find(&"sn:007".parse().expect("ID"))
            .await
            .expect("answer"),
        None
    );
    wire.end();
}

#[tokio::test]
async fn an_enrollment_is_deleted_by_tag_or_in_whatever_state() {
    let (wire, individuals) = Wire::individuals("individual-delete");
    let id = "device-001".parse().expect("ID");
    individuals
        .delete(&id, &IfMatch::Etag(Etag::new(ETAG)))
        .await
        .expect("by tag");
    individuals
        .delete(&id, &IfMatch::Any)
        .await
        .expect("whatever its state");
    wire.end();
}

/// A put without keys would make the service invent new ones and lock the device out.
#[tokio::test]
async fn a_put_keeps_the_keys_that_a_get_did_not_show() {
    let (wire, individuals) = Wire::individuals("individual-keys");
    let mut entry = IndividualEnrollment::new(
        "device-001".parse().expect("ID"),
        Attestation::generated_keys(),
    );
    entry.provisioning_status = ProvisioningStatus::Disabled;
    entry.etag = Some(Etag::new(ETAG));
    individuals
        .put(&entry, &Expect::Etag(Etag::new(ETAG)))
        .await
        .expect("put");
    wire.end();
}

#[tokio::test]
async fn a_bulk_operation_reports_each_failure() {
    let (wire, individuals) = Wire::individuals("individual-bulk");
    let entries = ["device-001", "device-002"].map(individual);
    let result = individuals
        .bulk(BulkMode::Create, &entries)
        .await
        .expect("answer");
    assert!(!result.is_successful);
    assert_eq!(
        (result.errors[0].id.as_str(), result.errors[0].error_code),
        ("device-002", Some(409201))
    );
    wire.end();

    let (wire, groups) = Wire::groups("group-bulk");
    let entry = EnrollmentGroup {
        etag: Some(Etag::new(ETAG)),
        ..group()
    };
    assert!(
        groups
            .bulk(BulkMode::UpdateIfMatchEtag, &[entry])
            .await
            .expect("answer")
            .is_successful
    );
    wire.end();
}

#[tokio::test]
async fn more_than_ten_at_once_are_refused_before_anything_is_sent() {
    let (wire, individuals) = Wire::individuals("individual-bulk");
    let entries: Vec<_> = (0..11)
        .map(|number| individual(&format!("device-{number}")))
        .collect();
    let error = individuals
        .bulk(BulkMode::Create, &entries)
        .await
        .expect_err("too many");
    assert!(matches!(
        error,
        ClientError::TooManyRecords {
            count: 11,
            most: 10
        }
    ));
    assert_eq!(wire.transport.left(), 1);
}

#[tokio::test]
async fn registration_records_are_read_listed_and_deleted() {
    let wire = Wire::script("registration", ApiVersion::SERVICE);
    let registrations = Registrations::new(wire.plane.clone());
    let id = "device-001".parse().expect("ID");
    let record = registrations.get(&id).await.expect("record");
    assert_eq!(record.status, RegistrationStatus::Assigned);
    registrations
        .delete(&id, &IfMatch::Etag(record.etag.expect("etag")))
        .await
        .expect("deleted");
    let of_group = registrations.of_group(&"line-1".parse().expect("ID"), None);
    let statuses: Vec<_> = of_group
        .map_ok(|record| record.status)
        .try_collect()
        .await
        .expect("records");
    assert_eq!(
        statuses,
        [RegistrationStatus::Assigned, RegistrationStatus::Disabled]
    );
    wire.end();
}

#[tokio::test(start_paused = true)]
async fn a_throttled_creation_waits_as_long_as_it_is_told_and_goes_through() {
    let (wire, groups) = Wire::groups("throttled");
    let start = Instant::now();
    groups
        .put(&group(), &Expect::Absent)
        .await
        .expect("created");
    assert_eq!(start.elapsed(), Duration::from_secs(7));
    wire.end();
}

#[tokio::test(start_paused = true)]
async fn a_read_outlives_failures_and_a_creation_does_not() {
    let (wire, groups) = Wire::groups("unavailable");
    let start = Instant::now();
    groups
        .get(&"line-1".parse().expect("ID"))
        .await
        .expect("third time");
    assert!(
        start.elapsed() >= Duration::from_secs(5 + 2),
        "{:?}",
        start.elapsed()
    );
    for _ in 0..2 {
        let error = groups
            .put(&group(), &Expect::Absent)
            .await
            .expect_err("not repeated");
        assert!(error.is_transient());
    }
    wire.end();
}

#[tokio::test(start_paused = true)]
async fn a_registration_is_polled_as_the_service_asks_until_it_is_assigned() {
    let (wire, registrar) = Wire::registrar("register-assigned");
    let start = Instant::now();
    let outcome = registrar
        .register(
            &"device-001".parse().expect("ID"),
            None,
            &Polling::default(),
        )
        .await;
    let Ok(Outcome::Assigned { state }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        state.assigned_hub.expect("hub").as_str(),
        "my-hub.azure-devices.net"
    );
    assert_eq!(start.elapsed(), Duration::from_secs(6));
    wire.end();
}

#[tokio::test(start_paused = true)]
async fn disabled_and_failed_are_outcomes_and_refused_is_an_error() {
    let id = "device-001".parse().expect("ID");
    let (wire, registrar) = Wire::registrar("register-disabled");
    let outcome = registrar.register(&id, None, &Polling::default()).await;
    assert!(
        matches!(outcome, Ok(Outcome::Disabled { .. })),
        "{outcome:?}"
    );
    wire.end();

    let (wire, registrar) = Wire::registrar("register-failed");
    let outcome = registrar.register(&id, None, &Polling::default()).await;
    let Ok(Outcome::Failed { state }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(state.error_code, Some(400208));
    wire.end();

    let (wire, registrar) = Wire::registrar("register-refused");
    let error = registrar
        .register(&id, None, &Polling::default())
        .await
        .expect_err("401");
    assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(code(&error), "401002");
    wire.end();
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_takes_too_long_is_given_up() {
    let (_, registrar) = Wire::registrar("register-assigned");
    let polling = Polling {
        deadline: Duration::from_secs(5),
        ..Polling::default()
    };
    let error = registrar
        .register(&"device-001".parse().expect("ID"), None, &polling)
        .await;
    let error = error.expect_err("deadline");
    assert!(
        matches!(error, ClientError::Deadline { .. }) && error.is_transient(),
        "{error}"
    );
}

#[tokio::test]
async fn a_lookup_brings_the_record_without_an_envelope() {
    let (wire, registrar) = Wire::registrar("lookup");
    let record = registrar
        .lookup(&"device-001".parse().expect("ID"))
        .await
        .expect("record");
    assert_eq!(record.status, RegistrationStatus::Assigned);
    wire.end();
}

#[tokio::test]
async fn a_hub_device_is_disabled_as_a_whole_and_only_once() {
    let (wire, devices) = Wire::hub("device-disable");
    let id = "Device-001".parse().expect("ID");
    for _ in 0..2 {
        let device = devices
            .set_status(&id, HubDeviceStatus::Disabled, Some("stolen"))
            .await;
        assert_eq!(device.expect("disabled").status, HubDeviceStatus::Disabled);
    }
    wire.end();
}

#[tokio::test]
async fn the_hub_wants_its_wildcard_in_quotes() {
    let (wire, devices) = Wire::hub("device-delete");
    let id = "Device-001".parse().expect("ID");
    devices.delete(&id, &IfMatch::Any).await.expect("deleted");
    let error = devices
        .delete(&id, &IfMatch::Etag(Etag::new("AAAAAAAAAAE=")))
        .await
        .expect_err("412");
    assert!(error.is_precondition_failed());
    assert_eq!(code(&error), "PreconditionFailed");
    wire.end();
}

#[tokio::test]
async fn the_hub_is_understood_in_both_of_its_forms() {
    let (wire, devices) = Wire::hub("device-missing");
    let id = "Device-001".parse().expect("ID");
    let old = devices.get(&id).await.expect_err("404");
    assert_eq!(
        (code(&old), tracking_id(&old)),
        ("DeviceNotFound", "a1b2-G:11-TimeStamp:07/16/2016 00:12:41")
    );
    let new = devices.get(&id).await.expect_err("404");
    assert_eq!((code(&new), tracking_id(&new)), ("404001", "c3d4"));
    assert!(old.is_not_found() && new.is_not_found());
    wire.end();
}

/// Retried requests are authorized anew: a token may have expired meanwhile.
#[tokio::test(start_paused = true)]
async fn every_attempt_is_authorized() {
    let (wire, _) = Wire::groups("throttled");
    let credential: Arc<dyn Credential> = Arc::new(BearerToken::new("eyJ0".into()));
    let groups = Groups::new(wire.plane.clone().with_credential(credential));
    groups
        .put(&group(), &Expect::Absent)
        .await
        .expect("created");
    assert_eq!(
        wire.transport.authorizations(),
        vec![Some("Bearer eyJ0".to_owned()); 2]
    );
    wire.end();
}

#[tokio::test]
async fn an_etag_that_would_break_out_of_its_header_is_not_sent() {
    let (wire, individuals) = Wire::individuals("individual-delete");
    let tag = IfMatch::Etag(Etag::new("a\r\nX-Evil: 1"));
    let error = individuals
        .delete(&"device-001".parse().expect("ID"), &tag)
        .await
        .expect_err("refused");
    assert!(matches!(error, ClientError::Header { .. }), "{error}");
    assert_eq!(wire.transport.left(), 2);
}
