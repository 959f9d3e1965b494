//! The emulator over real TLS, asked by plain HTTP and MQTT clients.
#![allow(
    clippy::disallowed_methods,
    reason = "tests make files as anybody does"
)]
#![expect(clippy::expect_used, reason = "a test that cannot go on stops")]

mod admission;
mod az;
mod behavior;
mod control;
mod edge;
mod enrollment;
mod fixture;
mod hostile;
mod hub;
#[cfg(unix)]
mod killed;
mod lifecycle;
mod mqtt;
mod mqtt_client;
mod mqtt_hub;
mod operations;
mod possession;
mod recorded;
mod remembered;
mod resource;
#[path = "../../../tests/support/skip.rs"]
mod skip;
mod symmetric_key;
mod tls;
mod token;
mod twin;
mod webhook;
mod websocket;
