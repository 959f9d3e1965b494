//! Shared access signatures: tokens for the service plane, the hub and devices, and the keys of
//! devices in a group ([DPS, control access](https://learn.microsoft.com/azure/iot-dps/how-to-control-access)).
//!
//! A token is computed afresh for each request: it costs microseconds, and one that is never kept
//! never expires in use.
//! Invariant: what is signed is the percent-encoded resource, exactly as it stands in the token.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use percent_encoding::utf8_percent_encode;
use pki_core::enrollment::SymmetricKey;
use pki_core::ids::{IdScope, RegistrationId};
use pki_core::ports::Clock;
use pki_core::time::Time;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::{ConnectionString, Credential, CredentialError};
use crate::base_url::UNRESERVED;

/// How long a token is good for: long enough for clocks that disagree and requests that queue.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Why a shared access key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key is not base64.
    #[error("the key is not base64")]
    NotBase64,
    /// There is no key.
    #[error("the key is empty")]
    Empty,
}

/// Signs with a policy of the service plane or of a hub.
pub struct SasCredential {
    connection: ConnectionString,
    clock: Arc<dyn Clock>,
}

impl SasCredential {
    /// Signs as this connection string's policy; `clock` dates the tokens.
    pub fn new(connection: ConnectionString, clock: Arc<dyn Clock>) -> Self {
        Self { connection, clock }
    }
}

impl fmt::Debug for SasCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SasCredential")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

impl Credential for SasCredential {
    fn authorization(&self) -> BoxFuture<'_, Result<SecretString, CredentialError>> {
        let ConnectionString {
            host, policy, key, ..
        } = &self.connection;
        let expires = expiry(self.clock.now());
        let token = sas_token(host, key.expose_secret(), expires, Some(policy));
        ready(token.map_err(CredentialError::from)).boxed()
    }
}

/// Signs as a device with a symmetric key: its own, or the one derived from its group's.
pub struct DeviceSasCredential {
    resource: String,
    key: SymmetricKey,
    clock: Arc<dyn Clock>,
}

impl DeviceSasCredential {
    /// Signs as this device with this key; `clock` dates the tokens.
    pub fn new(
        id_scope: &IdScope,
        registration_id: &RegistrationId,
        key: SymmetricKey,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            resource: format!("{id_scope}/registrations/{registration_id}"),
            key,
            clock,
        }
    }
}

impl fmt::Debug for DeviceSasCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceSasCredential")
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

impl Credential for DeviceSasCredential {
    fn authorization(&self) -> BoxFuture<'_, Result<SecretString, CredentialError>> {
        // The policy of devices always has this name.
        let policy = Some("registration");
        let token = sas_token(
            &self.resource,
            self.key.expose_base64(),
            expiry(self.clock.now()),
            policy,
        );
        ready(token.map_err(CredentialError::from)).boxed()
    }
}

/// The token for a resource: an `Authorization` header, or a password over MQTT.
///
/// `expires` counts seconds since 1970; `policy` is left out for a device that has none.
///
/// # Errors
/// [`KeyError`] if the key is empty or not base64.
pub fn sas_token(
    resource: &str,
    key_base64: &str,
    expires: i64,
    policy: Option<&str>,
) -> Result<SecretString, KeyError> {
    let resource = encoded(resource);
    let text = format!("{resource}\n{expires}");
    let signature = encoded(&signed(key_base64, text.as_bytes())?);
    let policy = policy
        .map(|policy| format!("&skn={}", encoded(policy)))
        .unwrap_or_default();
    let token = format!("SharedAccessSignature sr={resource}&sig={signature}&se={expires}{policy}");
    Ok(SecretString::from(token))
}

/// The key of one device in a symmetric-key group.
///
/// The ID is signed in lower case, as the documentation's scripts do it.
///
/// # Errors
/// [`KeyError`] if the group's key is empty or not base64.
pub fn derive_device_key(
    group_key: &SymmetricKey,
    registration_id: &RegistrationId,
) -> Result<SymmetricKey, KeyError> {
    signed(
        group_key.expose_base64(),
        registration_id.folded().as_bytes(),
    )
    .map(SymmetricKey::from_base64)
}

fn expiry(now: Time) -> i64 {
    now.unix_seconds()
        .saturating_add_unsigned(LIFETIME.as_secs())
}

fn signed(key_base64: &str, text: &[u8]) -> Result<String, KeyError> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &decoded(key_base64)?);
    Ok(STANDARD.encode(hmac::sign(&key, text)))
}

pub(super) fn decoded(key_base64: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let key = STANDARD
        .decode(key_base64)
        .map(Zeroizing::new)
        .map_err(|_| KeyError::NotBase64)?;
    if key.is_empty() {
        Err(KeyError::Empty)
    } else {
        Ok(key)
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `0123456789abcdef0123456789abcdef`.
    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> Time {
            Time::from_unix_seconds(1_800_000_000).expect("time")
        }
    }

    fn header(credential: &dyn Credential) -> String {
        let header = credential
            .authorization()
            .now_or_never()
            .expect("ready")
            .expect("header");
        header.expose_secret().to_owned()
    }

    /// Expected values by Python's `hmac` and `urllib.parse.quote`.
    #[test]
    fn service_tokens_sign_the_host_with_its_port() {
        for (host, signature) in [
            (
                "my-dps.azure-devices-provisioning.net",
                "sr=my-dps.azure-devices-provisioning.net&sig=TnbuUkTWc8EGDxRZcM%2BzvMVW8qFoTg6RYmI8%2BJjMrUg%3D",
            ),
            (
                "localhost:8443",
                "sr=localhost%3A8443&sig=zpzF5Sjp7Te%2FSSC%2BnaArVo2ZQiBZDdtPm%2B1pM7AtWUU%3D",
            ),
        ] {
            let text = format!(
                "SharedAccessKey={KEY};HostName={host};SharedAccessKeyName=provisioningserviceowner"
            );
            let credential = SasCredential::new(text.parse().expect(host), Arc::new(Fixed));
            assert_eq!(
                header(&credential),
                format!(
                    "SharedAccessSignature {signature}&se=1800003600&skn=provisioningserviceowner"
                )
            );
        }
    }

    /// Expected value by Python's `hmac` and `urllib.parse.quote`.
    #[test]
    fn device_tokens_sign_the_encoded_path_as_registration() {
        let scope = "0ne000956C5".parse().expect("scope");
        let id = "sn-007:a".parse().expect("id");
        let credential =
            DeviceSasCredential::new(&scope, &id, SymmetricKey::from_base64(KEY), Arc::new(Fixed));
        assert_eq!(
            header(&credential),
            "SharedAccessSignature sr=0ne000956C5%2Fregistrations%2Fsn-007%3Aa\
             &sig=OO5%2BcIevG3swdavtfxXe%2FWct3nywhF28zgIqpQ74808%3D&se=1800003600&skn=registration"
        );
    }

    /// Expected value by Python's `hmac`.
    #[test]
    fn a_device_key_is_the_group_key_over_the_lower_case_id() {
        let group_key = SymmetricKey::from_base64(KEY);
        for id in [
            "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6",
            "SN-007-888-ABC-mac-a1-b2-c3-d4-e5-f6",
        ] {
            let key = derive_device_key(&group_key, &id.parse().expect(id)).expect("key");
            assert_eq!(
                key.expose_base64(),
                "UDW+GwvkZWmqYs9A0d/WMRQwQwJcmU2oYq11YE9nBsg="
            );
        }
    }

    #[test]
    fn nothing_here_prints_a_key() {
        let text = format!("HostName=a;SharedAccessKeyName=o;SharedAccessKey={KEY}");
        let credential = SasCredential::new(text.parse().expect("string"), Arc::new(Fixed));
        assert!(!format!("{credential:?}").contains(KEY));
    }
}
