//! Shared access policies: a name, two keys, and what may be done with them.
//!
//! The instance has `provisioningserviceowner`, each hub has `iothubowner`; more can be configured.
//! Tokens are verified in [`crate::sas`].

use std::fmt;

use pki_core::enrollment::SymmetricKeys;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// The policy that every DPS has, with all rights.
pub(crate) const SERVICE_OWNER: &str = "provisioningserviceowner";

/// The policy that every IoT Hub has, with all rights.
pub(crate) const HUB_OWNER: &str = "iothubowner";

/// What a shared access policy of DPS allows
/// ([permissions](https://learn.microsoft.com/azure/iot-dps/how-to-control-access)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Right {
    /// Changing the service.
    ServiceConfig,
    /// Reading enrollments and groups.
    EnrollmentRead,
    /// Writing enrollments and groups.
    EnrollmentWrite,
    /// Registering devices.
    DeviceConnect,
    /// Reading registration records.
    RegistrationStatusRead,
    /// Deleting registration records.
    RegistrationStatusWrite,
}

impl Right {
    /// Every right there is.
    pub const ALL: [Self; 6] = [
        Self::ServiceConfig,
        Self::EnrollmentRead,
        Self::EnrollmentWrite,
        Self::DeviceConnect,
        Self::RegistrationStatusRead,
        Self::RegistrationStatusWrite,
    ];
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A policy with its keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) rights: Vec<Right>,
    #[serde(flatten)]
    pub(crate) keys: SymmetricKeys,
}

impl Policy {
    pub(crate) fn new(name: &str, rights: &[Right], keys: SymmetricKeys) -> Self {
        Self {
            name: name.to_owned(),
            rights: rights.to_vec(),
            keys,
        }
    }

    pub(crate) fn allows(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    /// The rights as ARM lists them: all of them as three words, which is how the live service lists those
    /// of its own policy.
    pub(crate) fn rights_text(&self) -> String {
        if Right::ALL.iter().all(|right| self.rights.contains(right)) {
            return "ServiceConfig, DeviceConnect, EnrollmentWrite".to_owned();
        }
        let words: Vec<String> = self.rights.iter().map(Right::to_string).collect();
        words.join(", ")
    }

    /// A connection string with the primary key.
    pub(crate) fn connection_string(&self, host_name: &str) -> SecretString {
        let key = self.keys.primary_key.as_ref();
        SecretString::from(format!(
            "HostName={host_name};SharedAccessKeyName={};SharedAccessKey={}",
            self.name,
            key.map_or("", |key| key.expose_base64()),
        ))
    }
}
