//! Microsoft Entra ID: bearer tokens, given or fetched.

#[cfg(feature = "entra")]
mod account;

use std::fmt;

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Credential, CredentialError};

#[cfg(feature = "entra")]
pub use account::{Account, EntraCredential};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// The management plane.
    Arm,
    /// The service plane of DPS. The device plane takes no tokens of Entra ID.
    Dps,
    /// The hub's registry.
    Hub,
}

impl Scope {
    /// The scope as Entra ID names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arm => "https://management.azure.com/.default",
            Self::Dps => "https://azure-devices-provisioning.net/.default",
            Self::Hub => "https://iothubs.azure.net/.default",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A token that somebody else fetched, such as `az account get-access-token`. It is never renewed.
#[derive(Debug)]
pub struct BearerToken(SecretString);

impl BearerToken {
    /// Takes the token without the word `Bearer`.
    pub fn new(token: SecretString) -> Self {
        Self(token)
    }
}

impl Credential for BearerToken {
    fn authorization(&self) -> BoxFuture<'_, Result<SecretString, CredentialError>> {
        ready(Ok(bearer(self.0.expose_secret()))).boxed()
    }
}

fn bearer(token: &str) -> SecretString {
    SecretString::from(format!("Bearer {token}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_token_becomes_a_bearer_header_and_never_prints() {
        let token = BearerToken::new(SecretString::from("eyJ0"));
        let header = token
            .authorization()
            .now_or_never()
            .expect("ready")
            .expect("header");
        assert_eq!(header.expose_secret(), "Bearer eyJ0");
        assert!(!format!("{token:?}").contains("eyJ0"));
    }
}
