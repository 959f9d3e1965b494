//! The harness of the end-to-end tests: the built binary, run in a folder of its own as a user would
//! run it, a local DPS beside it, and devices that register with curl.
//!
//! What a command means to the parts below is tested beside them; here only what is seen from outside
//! counts: exit codes, output, files, and what other programs make of them.
//! Invariant: no test waits for a time to pass. A program is ready when it has said so.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod binary;
mod device;
mod disk;
mod emulator;
mod home;
mod http;
mod portal;
mod run;
mod sdks;
pub mod skip;

pub use binary::binary;
pub use device::Device;
pub use disk::SmallDisk;
pub use emulator::{Emulator, SingleCertificate};
pub use home::{Home, PASSPHRASE};
pub use http::HttpAnswer;
pub use portal::Portal;
pub use run::Run;
pub use sdks::{Sdks, beside_no_sdk};
