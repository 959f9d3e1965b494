//! The hub's registry of device identities.

use dps_client::IfMatch;
use pki_core::hub::HubDeviceStatus;
use pki_core::ids::Etag;

use crate::{Wire, code, tracking_id};

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
async fn the_hub_wants_its_tags_in_quotes_and_the_wildcard_bare() {
    let (wire, devices) = Wire::hub("device-delete");
    let id = "Device-001".parse().expect("ID");
    devices.delete(&id, &IfMatch::Any).await.expect("deleted");
    let error = devices
        .delete(&id, &IfMatch::Etag(Etag::new("MzQzMDYwMzU2")))
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
