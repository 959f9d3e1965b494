//! Who asks: how a request proves where it comes from.
//!
//! | plane | credential |
//! | --- | --- |
//! | management | Entra ID, [`BearerToken`] or `Account` (feature `entra`) |
//! | service, hub | [`SasCredential`] from a connection string, or Entra ID |
//! | device | [`DeviceIdentity`] in the TLS handshake, or [`DeviceSasCredential`] |
//!
//! Invariant: secrets live in [`SecretString`], and what this module makes out of them goes into the
//! `Authorization` header and nowhere else.

mod connection_string;
mod entra;
mod sas;
mod x509;

use futures::future::BoxFuture;
use secrecy::SecretString;

use crate::cause::BoxError;

pub use connection_string::{ConnectionString, ConnectionStringError};
#[cfg(feature = "entra")]
pub use entra::{Account, EntraCredential};
pub use entra::{BearerToken, Scope};
pub use sas::{DeviceSasCredential, KeyError, SasCredential, derive_device_key, sas_token};
pub use x509::DeviceIdentity;

/// Gives the `Authorization` header of a request.
pub trait Credential: Send + Sync {
    /// The header's value, good for a request that is sent now.
    fn authorization(&self) -> BoxFuture<'_, Result<SecretString, CredentialError>>;
}

/// Why there is no `Authorization` header.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The shared access key cannot be used.
    #[error("the shared access key cannot be used")]
    Key(#[from] KeyError),
    /// Entra ID gave no token.
    #[error("Entra ID gave no token for {scope}")]
    Entra {
        /// What the token was for.
        scope: String,
        /// What the sign-in said.
        source: BoxError,
    },
}
