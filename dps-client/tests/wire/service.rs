//! The service plane: enrollments, bulk operations, registration records, what is retried.

use std::sync::Arc;
use std::time::Duration;

use dps_client::auth::{BearerToken, Credential};
use dps_client::service::{BulkMode, Groups, Registrations};
use dps_client::{ApiVersion, ClientError, Expect, IfMatch};
use futures::TryStreamExt as _;
use pki_core::enrollment::{
    Attestation, CertificateSlot, EnrollmentGroup, ErrorCode, IndividualEnrollment,
    ProvisioningStatus, RegistrationStatus, Slots, X509Certificates,
};
use pki_core::ids::Etag;
use tokio::time::Instant;

use crate::{Wire, code};

const PEM: &str = "-----BEGIN CERTIFICATE-----\nTUFERSBVUA==\n-----END CERTIFICATE-----\n";
/// Base64 of a word in quotes, which goes back as it came.
const ETAG: &str = "ImU4MDAyMTI2LTAwMDAtMDEwMC0wMDAwLTVmNmIyYTU3MDAwMCI=";

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
        (
            result.errors[0].id.as_str(),
            result.errors[0]
                .error_code
                .as_ref()
                .and_then(ErrorCode::number)
        ),
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
