//! The client of Azure IoT Hub Device Provisioning Service and of IoT Hub's identity registry.

pub mod api_version;
pub mod auth;
pub mod base_url;
pub mod device;
pub mod error;
pub mod expect;
pub mod hub;
pub mod limit;
pub mod management;
pub mod page;
pub mod plane;
pub mod retry;
pub mod service;
pub mod transport;

pub use api_version::ApiVersion;
pub use base_url::BaseUrl;
pub use error::{ClientError, ServiceError};
pub use expect::{Expect, IfMatch};
pub use limit::Limit;
pub use plane::Plane;
pub use retry::RetryPolicy;
