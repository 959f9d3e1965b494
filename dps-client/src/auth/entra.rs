//! Microsoft Entra ID: bearer tokens, given or fetched.

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

#[cfg(feature = "entra")]
mod account {
    use std::sync::Arc;

    use azure_core::credentials::{Secret, TokenCredential};
    use azure_identity::{
        ClientSecretCredential, DeveloperToolsCredential, ManagedIdentityCredential,
        ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    };
    use futures::FutureExt as _;
    use futures::future::BoxFuture;
    use secrecy::{ExposeSecret as _, SecretString};

    use super::{Scope, bearer};
    use crate::auth::{Credential, CredentialError};

    /// Somebody known to Entra ID. Tokens are cached and renewed per scope.
    #[derive(Debug, Clone)]
    pub struct Account(Arc<dyn TokenCredential>);

    impl Account {
        /// Whoever is signed in to the Azure CLI or the Azure Developer CLI.
        ///
        /// # Errors
        /// [`azure_core::Error`] if neither can be used here.
        pub fn developer_tools() -> azure_core::Result<Self> {
            Ok(Self(DeveloperToolsCredential::new(None)?))
        }

        /// A service principal with a client secret.
        ///
        /// # Errors
        /// [`azure_core::Error`] if tenant, client or secret is malformed.
        pub fn client_secret(
            tenant: &str,
            client: &str,
            secret: &SecretString,
        ) -> azure_core::Result<Self> {
            let secret = Secret::from(secret.expose_secret().to_owned());
            Ok(Self(ClientSecretCredential::new(
                tenant,
                client.to_owned(),
                secret,
                None,
            )?))
        }

        /// The identity of the Azure machine that this runs on; `client` picks a user-assigned one.
        ///
        /// # Errors
        /// [`azure_core::Error`] if this machine has none.
        pub fn managed_identity(client: Option<&str>) -> azure_core::Result<Self> {
            let user_assigned_id = client.map(|id| UserAssignedId::ClientId(id.to_owned()));
            let options = ManagedIdentityCredentialOptions {
                user_assigned_id,
                ..Default::default()
            };
            Ok(Self(ManagedIdentityCredential::new(Some(options))?))
        }

        /// The federated identity of a Kubernetes workload or a CI job, as its environment describes it.
        ///
        /// # Errors
        /// [`azure_core::Error`] if the environment describes none.
        pub fn workload_identity() -> azure_core::Result<Self> {
            Ok(Self(WorkloadIdentityCredential::new(None)?))
        }

        /// The credential for one kind of plane.
        pub fn at(&self, scope: Scope) -> EntraCredential {
            EntraCredential {
                account: self.clone(),
                scope,
            }
        }
    }

    impl From<Arc<dyn TokenCredential>> for Account {
        fn from(credential: Arc<dyn TokenCredential>) -> Self {
            Self(credential)
        }
    }

    /// An [`Account`] at one kind of plane.
    #[derive(Debug, Clone)]
    pub struct EntraCredential {
        account: Account,
        scope: Scope,
    }

    impl Credential for EntraCredential {
        fn authorization(&self) -> BoxFuture<'_, Result<SecretString, CredentialError>> {
            async move {
                let scope = self.scope.as_str();
                let token = self.account.0.get_token(&[scope], None).await;
                let token = token.map_err(|error| CredentialError::Entra {
                    scope,
                    source: error.into(),
                })?;
                Ok(bearer(token.token.secret()))
            }
            .boxed()
        }
    }
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
