//! The management plane: CA certificates, proofs of possession, the instance and its keys.

use dps_client::management::{Certificates, Instance, Verification};
use dps_client::{ApiVersion, ClientError, Expect, IfMatch};
use pki_core::ids::Etag;

use crate::{Wire, code, instance_id, tracking_id};

const CA: &[u8] = b"CA certificate in DER";
const PROOF: &[u8] = b"verification certificate in DER";
const CODE: &str = "7A69A4702DA903A41C3A5BC5575A8E3F49BEC5E5BA2D4CE1";

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
    let expect = Expect::Etag(Etag::new(
        "IjA1MDA2YmVhLTAwMDAtMDcwMC0wMDAwLTYyNzE2YjRiMDAwMCI=",
    ));
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
        .delete(
            &name,
            &IfMatch::Etag(Etag::new(
                "IjA1MDA2YmVhLTAwMDAtMDcwMC0wMDAwLTYyNzE2YjRiMDAwMCI=",
            )),
        )
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
    let stale = IfMatch::Etag(Etag::new(
        "IjA1MDA2YmVhLTAwMDAtMDcwMC0wMDAwLTYyNzE2YjRiMDAwMCI=",
    ));
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
