//! The device plane: registrations, polled to their end.

use std::time::Duration;

use dps_client::ClientError;
use dps_client::device::{Outcome, Polling};
use http::StatusCode;
use pki_core::enrollment::RegistrationStatus;
use tokio::time::Instant;

use crate::{Wire, code};

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
    assert_eq!(state.error_code, Some(400_208.into()));
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
