//! The device plane (device API 2021-06-01): a device registers over HTTPS and learns its hub.
//!
//! A device proves itself by its certificate in the TLS handshake (give [`crate::auth::DeviceIdentity`]
//! to the transport) or by a token made with its symmetric key. Entra ID has no access here.

mod operation;
mod register;

pub use operation::Polling;
pub use register::{Outcome, Registrar};
