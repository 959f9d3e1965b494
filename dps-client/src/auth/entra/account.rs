//! Accounts of Entra ID, by the credentials of `azure_identity`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, Secret, TokenCredential};
use azure_core::http::ClientOptions;
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use pki_core::ports::Clock;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use super::{Scope, bearer};
use crate::auth::{Credential, CredentialError};

/// How long before its end a token is renewed.
const MARGIN: Duration = Duration::from_secs(300);

/// Somebody known to Entra ID.
#[derive(Debug, Clone)]
pub struct Account(Arc<dyn TokenCredential>);

impl Account {
    /// Whoever is signed in to the Azure CLI or the Azure Developer CLI, in the cloud that these are set
    /// to (`az cloud set`).
    ///
    /// # Errors
    /// [`azure_core::Error`] if neither can be used here.
    pub fn developer_tools() -> azure_core::Result<Self> {
        Ok(Self(DeveloperToolsCredential::new(None)?))
    }

    /// A service principal with a client secret, which gets its tokens at `authority`, a host; at that
    /// of the public cloud if `None`.
    ///
    /// # Errors
    /// [`azure_core::Error`] if tenant, client, secret or authority is malformed.
    pub fn client_secret(
        tenant: &str,
        client: &str,
        secret: &SecretString,
        authority: Option<&str>,
    ) -> azure_core::Result<Self> {
        Self::client_secret_by(tenant, client, secret, at_authority(authority))
    }

    fn client_secret_by(
        tenant: &str,
        client: &str,
        secret: &SecretString,
        client_options: ClientOptions,
    ) -> azure_core::Result<Self> {
        let secret = Secret::from(secret.expose_secret().to_owned());
        let options = ClientSecretCredentialOptions { client_options };
        Ok(Self(ClientSecretCredential::new(
            tenant,
            client.to_owned(),
            secret,
            Some(options),
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

    /// The federated identity of a Kubernetes workload or a CI job, as its environment describes it,
    /// which gets its tokens at `authority`, a host; at that of the public cloud if `None`.
    ///
    /// # Errors
    /// [`azure_core::Error`] if the environment describes none.
    pub fn workload_identity(authority: Option<&str>) -> azure_core::Result<Self> {
        let options = WorkloadIdentityCredentialOptions {
            credential_options: ClientAssertionCredentialOptions {
                client_options: at_authority(authority),
            },
            ..Default::default()
        };
        Ok(Self(WorkloadIdentityCredential::new(Some(options))?))
    }

    /// The credential for one kind of plane; `clock` tells when its token must be renewed.
    pub fn at(&self, scope: Scope, clock: Arc<dyn Clock>) -> EntraCredential {
        EntraCredential {
            account: self.clone(),
            scope,
            clock,
            token: Mutex::new(None),
        }
    }
}

/// Without a word the library asks the public cloud, or what `AZURE_AUTHORITY_HOST` says.
fn at_authority(host: Option<&str>) -> ClientOptions {
    let cloud = host.map(|host| {
        let mut custom = CustomConfiguration::default();
        custom.authority_host = format!("https://{host}");
        Arc::new(CloudConfiguration::from(custom))
    });
    ClientOptions {
        cloud,
        ..Default::default()
    }
}

impl From<Arc<dyn TokenCredential>> for Account {
    fn from(credential: Arc<dyn TokenCredential>) -> Self {
        Self(credential)
    }
}

/// An [`Account`] at one kind of plane.
///
/// It keeps its token until shortly before it ends: some accounts run a program for each token.
pub struct EntraCredential {
    account: Account,
    scope: Scope,
    clock: Arc<dyn Clock>,
    token: Mutex<Option<AccessToken>>,
}

impl EntraCredential {
    async fn token(&self) -> Result<SecretString, CredentialError> {
        // Held while a token is fetched, so that of many requests at once only one fetches.
        let mut kept = self.token.lock().await;
        let token = match kept.take().filter(|token| self.is_fresh(token)) {
            Some(token) => token,
            None => self.fetch().await?,
        };
        let header = bearer(token.token.secret());
        *kept = Some(token);
        Ok(header)
    }

    async fn fetch(&self) -> Result<AccessToken, CredentialError> {
        let scope = self.scope.as_str();
        let token = self.account.0.get_token(&[scope], None).await;
        token.map_err(|error| CredentialError::Entra {
            scope: scope.to_owned(),
            source: error.into(),
        })
    }

    fn is_fresh(&self, token: &AccessToken) -> bool {
        let renewal = token
            .expires_on
            .unix_timestamp()
            .saturating_sub_unsigned(MARGIN.as_secs());
        self.clock.now().unix_seconds() < renewal
    }
}

impl fmt::Debug for EntraCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntraCredential")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Credential for EntraCredential {
    fn authorization(&self) -> BoxFuture<'_, Result<SecretString, CredentialError>> {
        self.token().boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use azure_core::credentials::TokenRequestOptions;
    use azure_core::http::headers::Headers;
    use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request, StatusCode, Transport};
    use azure_core::time::OffsetDateTime;
    use pki_core::time::Time;

    use super::*;

    /// A clock that is set by hand, and an account whose tokens are numbered and last an hour.
    #[derive(Debug, Default)]
    struct Fake {
        now: AtomicI64,
        tokens: AtomicI64,
    }

    impl Clock for Fake {
        fn now(&self) -> Time {
            Time::from_unix_seconds(self.now.load(Ordering::Relaxed)).expect("time")
        }
    }

    #[async_trait::async_trait]
    impl TokenCredential for Fake {
        async fn get_token(
            &self,
            scopes: &[&str],
            _: Option<TokenRequestOptions<'_>>,
        ) -> azure_core::Result<AccessToken> {
            let number = self.tokens.fetch_add(1, Ordering::Relaxed);
            let end = self.now.load(Ordering::Relaxed) + 3_600;
            let expires_on = OffsetDateTime::from_unix_timestamp(end).expect("time");
            Ok(AccessToken::new(
                format!("{} {number}", scopes.join(" ")),
                expires_on,
            ))
        }
    }

    async fn header(credential: &EntraCredential) -> String {
        credential
            .authorization()
            .await
            .expect("header")
            .expose_secret()
            .to_owned()
    }

    #[tokio::test]
    async fn a_token_is_kept_until_shortly_before_its_end() {
        let fake = Arc::new(Fake::default());
        let account: Arc<dyn TokenCredential> = fake.clone();
        let account = Account::from(account);
        let credential = account.at(
            Scope::new("https://iothubs.azure.net/.default"),
            fake.clone(),
        );
        let first = "Bearer https://iothubs.azure.net/.default 0";
        for now in [0, 3_299] {
            fake.now.store(now, Ordering::Relaxed);
            assert_eq!(header(&credential).await, first);
        }
        fake.now.store(3_300, Ordering::Relaxed);
        assert_eq!(
            header(&credential).await,
            "Bearer https://iothubs.azure.net/.default 1"
        );
        assert!(!format!("{credential:?}").contains("default 1"));
    }

    /// Notes where a token is asked for, and for what; nothing goes to a network.
    #[derive(Debug, Default)]
    struct Recorder(std::sync::Mutex<Vec<String>>);

    #[async_trait::async_trait]
    impl HttpClient for Recorder {
        async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
            let Body::Bytes(body) = request.body() else {
                panic!("a form is expected");
            };
            let form = url::form_urlencoded::parse(body);
            let scope = form
                .filter(|(name, _)| name == "scope")
                .map(|(_, value)| value);
            let asked = format!("{} {}", request.url(), scope.collect::<String>());
            self.0.lock().expect("lock").push(asked);
            let token = r#"{"token_type":"Bearer","expires_in":3600,"access_token":"eyJ0"}"#;
            Ok(AsyncRawResponse::from_bytes(
                StatusCode::Ok,
                Headers::new(),
                token,
            ))
        }
    }

    #[tokio::test]
    async fn a_token_is_asked_of_the_authority_for_the_scope_that_are_named() {
        for (authority, host) in [
            (Some("login.chinacloudapi.cn"), "login.chinacloudapi.cn"),
            (Some("login.microsoftonline.us"), "login.microsoftonline.us"),
            (None, "login.microsoftonline.com"),
        ] {
            let recorder = Arc::new(Recorder::default());
            let options = ClientOptions {
                transport: Some(Transport::new(recorder.clone())),
                ..at_authority(authority)
            };
            let secret = SecretString::from("secret");
            let account = Account::client_secret_by("tenant", "client", &secret, options);
            let scope = Scope::new("https://management.example/.default");
            let credential = account
                .expect("an account")
                .at(scope, Arc::new(Fake::default()));
            assert_eq!(header(&credential).await, "Bearer eyJ0");
            let asked = recorder.0.lock().expect("lock").clone();
            let expected = format!(
                "https://{host}/tenant/oauth2/v2.0/token https://management.example/.default"
            );
            assert_eq!(asked, [expected]);
        }
    }
}
