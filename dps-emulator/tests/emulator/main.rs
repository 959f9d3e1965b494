//! The emulator over real HTTPS and mTLS, asked by a plain HTTP client.
#![expect(clippy::expect_used, reason = "a test that cannot go on stops")]

mod admission;
mod enrollment;
mod fixture;
mod hub;
mod lifecycle;
mod possession;
mod symmetric_key;
mod tls;
mod token;
