//! The hub's identity registry (IoT Hub service API 2021-04-12): devices as the hub knows them.
//!
//! DPS makes these identities and never removes them: shutting a device out is only whole when it is
//! shut out here as well.

mod devices;

pub use devices::Devices;
