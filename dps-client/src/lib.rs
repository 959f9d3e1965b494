//! The client of Azure IoT Hub Device Provisioning Service (DPS) and of IoT Hub's identity registry.
//!
//! Four planes, each at an address of its own in Azure and all at one address in the emulator:
//!
//! | plane | what it holds | module | who signs in how |
//! | --- | --- | --- | --- |
//! | management | CA certificates, the instance and its keys | [`management`] | people and pipelines, by Entra ID |
//! | service | groups, enrollments, registration records | [`service`] | the same, or a shared access policy |
//! | device | registration | [`device`] | devices, by certificate or symmetric key |
//! | hub | device identities | [`hub`] | as for the service plane |
//!
//! What they share: a [`Plane`] authorizes ([`auth`]) an operation, waits its turn ([`limit`]), sends it
//! ([`transport`]), repeats it where that does no harm ([`retry`]) and turns every error of a service
//! into a [`ClientError`]. The documents are `pki-core`'s.
//!
//! Every write says what it expects to find ([`Expect`], [`IfMatch`]): there is no blind overwrite.
//!
//! | feature | adds |
//! | --- | --- |
//! | `entra` | `auth::Account`: signing in by the credentials of `azure_identity` |
//! | `testing` | `transport::ScriptedTransport`: documented exchanges instead of a network |
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use dps_client::auth::{ConnectionString, SasCredential};
//! use dps_client::service::Groups;
//! use dps_client::transport::{HttpOptions, HttpTransport, Trust};
//! use dps_client::{ApiVersion, Expect, Limit, Plane};
//! use pki_core::enrollment::ProvisioningStatus;
//! use pki_core::ports::Clock;
//!
//! # async fn example(clock: Arc<dyn Clock>, connection: &str, anchor: String) -> Result<(), Box<dyn std::error::Error>> {
//! let connection: ConnectionString = connection.parse()?;
//! let mut options = HttpOptions::default();
//! options.trust = Trust::Only(anchor); // the emulator's; leave it out for Azure
//!
//! let transport = Arc::new(HttpTransport::new(&options)?);
//! let plane = Plane::new(transport, connection.base_url().clone(), ApiVersion::SERVICE)
//!     .with_credential(Arc::new(SasCredential::new(connection, clock)))
//!     .with_limit(Limit::per_minute(Limit::DEFAULT_PER_MINUTE));
//!
//! let groups = Groups::new(plane);
//! let mut group = groups.get(&"line-1".parse()?).await?;
//! let as_read = group.etag.clone().ok_or("the service gave no tag")?;
//! group.provisioning_status = ProvisioningStatus::Disabled;
//! groups.put(&group, &Expect::Etag(as_read)).await?;
//! # Ok(())
//! # }
//! ```

pub mod api_version;
pub mod auth;
pub mod base_url;
mod cause;
pub mod device;
pub mod error;
pub mod expect;
pub mod hub;
pub mod limit;
pub mod management;
mod nullable;
pub mod page;
pub mod plane;
pub mod retry;
pub mod service;
pub mod transport;

pub use api_version::ApiVersion;
pub use base_url::BaseUrl;
pub use cause::BoxError;
pub use error::{ClientError, ServiceError};
pub use expect::{Expect, IfMatch};
pub use limit::Limit;
pub use plane::Plane;
pub use retry::RetryPolicy;
