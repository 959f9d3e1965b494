//! A local Azure Device Provisioning Service with linked IoT Hubs, over HTTPS and MQTT.
//!
//! It verifies for real: X.509 chains by the order of operations of DPS ([`pki_core::admission`]),
//! proofs of possession by their signatures, tokens by their keys, writes by their ETags. All planes
//! (management, service, devices, hub registries) are on one port, told apart by path, and MQTT over
//! WebSocket with them; MQTT over TLS has a port of its own. The server certificate holds the names of
//! DPS, hubs and ARM; its throw-away CA is made at each start. Microsoft's own SDKs are among its
//! clients.
//!
//! Not here: AMQP, TPM attestation, issuing of certificates, CRLs (which neither DPS nor IoT Hub reads).
//! What nobody has confirmed about the real service is decided in one place, [`Choices`] and its
//! module; faults and limits are in [`Behavior`].
//!
//! ```
//! # async fn example() -> Result<(), dps_emulator::EmulatorError> {
//! use dps_emulator::{Emulator, EmulatorConfig};
//!
//! let emulator = Emulator::start(EmulatorConfig::default()).await?;
//! println!("{} trusts\n{}", emulator.base_url(), emulator.trust_anchor_pem());
//! emulator.shutdown().await
//! # }
//! ```

mod behavior;
mod choices;
mod config;
mod domain;
mod emulator;
mod error;
mod faults;
mod log;
mod mqtt;
mod nesting;
mod own_file;
mod planes;
mod policy;
mod possession;
mod random;
mod sas;
mod seed;
mod server;
mod store;
mod tls;
mod webhook;
mod websocket;

pub use behavior::{Behavior, BehaviorError, Quotas, Throttle};
pub use choices::{Choices, SingleCertificate};
pub use config::{ConfigError, EmulatorConfig, Exposure};
pub use emulator::{Emulator, EmulatorError, EmulatorHandle, Hub};
pub use policy::Right;
pub use seed::{Seed, SeedError, Sown};
pub use store::keeper::StateError;
pub use tls::{ServerKey, TlsError, TlsSettings, TlsVersions};
