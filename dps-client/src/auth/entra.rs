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

/// What a token is for, as Entra ID names it: a resource and `/.default`. It differs between clouds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// The scope of this name, such as `https://iothubs.azure.net/.default`.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The scope as Entra ID names it.
    pub fn as_str(&self) -> &str {
        &self.0
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
