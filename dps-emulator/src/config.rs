//! What an instance is to be: names, hubs, where it listens, which ports of the core it uses.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use pki_core::ids::{HubHostName, IdScope};
use pki_core::ports::system::{SystemClock, SystemEntropy};
use pki_core::ports::{Clock, Entropy};
use secrecy::SecretString;

use crate::behavior::{Behavior, BehaviorError};
use crate::policy::Right;
use crate::seed::Seed;
use crate::tls::TlsSettings;

/// The configuration of an emulator. [`EmulatorConfig::default`] is an instance named `emulator` with
/// one hub on a free port of the loopback interface.
#[derive(Clone)]
pub struct EmulatorConfig {
    /// Where to listen; port 0 takes a free one. Default: `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// Where to listen for MQTT; port 0 takes a free one. `None` is port 8883 of the address for HTTPS
    /// if that is free, else any. Default: `127.0.0.1:0`.
    pub mqtt_listen: Option<SocketAddr>,
    /// How TLS is spoken. Default: versions 1.2 and 1.3, with an ECDSA certificate.
    pub tls: TlsSettings,
    /// Who may reach it. Default: this machine.
    pub exposure: Exposure,
    /// The name of the DPS. Default: `emulator`.
    pub dps_name: String,
    /// The ID scope. Default: `0ne00000000`.
    pub id_scope: IdScope,
    /// The Azure subscription it seems to be in. Default: all zeros.
    pub subscription: String,
    /// The resource group it seems to be in. Default: `emulator`.
    pub resource_group: String,
    /// The linked hubs, besides those that the state knows; none is allowed, and lets registrations
    /// fail. Default: `hub-1.azure-devices.net`.
    pub hubs: Vec<HubHostName>,
    /// Host names that the server certificate holds besides the usual ones.
    pub server_names: Vec<String>,
    /// Shared access policies besides `provisioningserviceowner`: name and rights.
    pub policies: Vec<(String, Vec<Right>)>,
    /// The one bearer token that is accepted; by default any is.
    pub bearer_token: Option<SecretString>,
    /// How many polls are answered `assigning` before the result. Default: 1.
    pub assigning_rounds: u32,
    /// What devices are told to wait between polls, in seconds. Default: 3, as the live service says.
    pub retry_after_seconds: u32,
    /// Faults, limits and choices; all off by default.
    pub behavior: Behavior,
    /// A file that keeps what the instance holds, keys included: every write is there before it is
    /// answered. Made if there is none; one emulator uses it at a time. Default: nothing is kept.
    pub state: Option<PathBuf>,
    /// What the instance holds at the start, where its state does not say otherwise.
    pub seed: Seed,
    /// A file to which requests are logged, in the shape of the service's own logs.
    pub request_log: Option<PathBuf>,
    /// Tells the time by which certificates and tokens are judged. Default: the machine's.
    pub clock: Arc<dyn Clock>,
    /// Makes keys and identifiers. Default: the machine's.
    pub entropy: Arc<dyn Entropy>,
}

/// Who may reach an emulator. It holds keys and takes any bearer token: it is not made for a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exposure {
    /// Only programs on this machine: another address than loopback is refused.
    #[default]
    Loopback,
    /// Whoever can reach the address, by explicit consent.
    Network,
}

impl Default for EmulatorConfig {
    #[expect(
        clippy::expect_used,
        reason = "the literals below are valid, and tests start from them"
    )]
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            mqtt_listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            tls: TlsSettings::default(),
            exposure: Exposure::Loopback,
            dps_name: "emulator".to_owned(),
            id_scope: "0ne00000000".parse().expect("a valid ID scope"),
            subscription: "00000000-0000-0000-0000-000000000000".to_owned(),
            resource_group: "emulator".to_owned(),
            hubs: vec![
                "hub-1.azure-devices.net"
                    .parse()
                    .expect("a valid host name"),
            ],
            server_names: Vec::new(),
            policies: Vec::new(),
            bearer_token: None,
            assigning_rounds: 1,
            retry_after_seconds: 3,
            behavior: Behavior::default(),
            state: None,
            seed: Seed::default(),
            request_log: None,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }
    }
}

/// Why a configuration makes no instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The address can be reached from elsewhere, and nobody consented to that.
    #[error("{address} can be reached from other machines; this takes explicit consent")]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The name is none that ARM allows.
    #[error(
        "DPS name {name:?} must have 3 to 50 letters, digits and -, not only digits, no - at its ends"
    )]
    DpsName {
        /// The name.
        name: String,
    },
    /// A hub is linked twice.
    #[error("hub {name} is listed twice")]
    HubTwice {
        /// The hub.
        name: HubHostName,
    },
    /// Two policies have one name.
    #[error("shared access policy {name} is listed twice")]
    PolicyTwice {
        /// The policy.
        name: String,
    },
    /// The behavior makes no sense.
    #[error(transparent)]
    Behavior(#[from] BehaviorError),
    /// A segment of the resource's path is empty or not a single segment.
    #[error("{what} {text:?} must not be empty or contain /")]
    Segment {
        /// What it is.
        what: &'static str,
        /// The text.
        text: String,
    },
}

impl EmulatorConfig {
    /// Checks what the types do not say.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        for address in [Some(self.listen), self.mqtt_listen].into_iter().flatten() {
            if self.exposure == Exposure::Loopback && !address.ip().is_loopback() {
                return Err(ConfigError::NotLoopback { address });
            }
        }
        if !is_dps_name(&self.dps_name) {
            return Err(ConfigError::DpsName {
                name: self.dps_name.clone(),
            });
        }
        for (what, text) in [
            ("subscription", &self.subscription),
            ("resource group", &self.resource_group),
        ] {
            if text.is_empty() || text.contains('/') {
                let text = text.clone();
                return Err(ConfigError::Segment { what, text });
            }
        }
        let mut hubs: Vec<&HubHostName> = self.hubs.iter().collect();
        hubs.sort();
        if let Some(pair) = hubs.windows(2).find(|pair| pair[0] == pair[1]) {
            let name = pair[0].clone();
            return Err(ConfigError::HubTwice { name });
        }
        self.behavior.check()?;
        self.check_policies()
    }

    fn check_policies(&self) -> Result<(), ConfigError> {
        let mut names = vec![crate::policy::SERVICE_OWNER];
        for (name, _) in &self.policies {
            if names.contains(&name.as_str()) {
                return Err(ConfigError::PolicyTwice { name: name.clone() });
            }
            names.push(name);
        }
        Ok(())
    }
}

/// ARM: `^(?![0-9]+$)(?!-)[a-zA-Z0-9-]{2,49}[a-zA-Z0-9]$`.
pub(crate) fn is_dps_name(name: &str) -> bool {
    (3..=50).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.bytes().all(|byte| byte.is_ascii_digit())
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_are_let_in_by_consent_only() {
        let open = "0.0.0.0:0".parse().expect("address");
        let [mut https, mut mqtt] = [EmulatorConfig::default(), EmulatorConfig::default()];
        https.listen = open;
        mqtt.mqtt_listen = Some(open);
        for mut config in [https, mqtt] {
            assert!(matches!(
                config.check(),
                Err(ConfigError::NotLoopback { .. })
            ));
            config.exposure = Exposure::Network;
            assert_eq!(config.check(), Ok(()));
        }
    }

    #[test]
    fn dps_names_follow_the_pattern_of_arm() {
        for good in ["emulator", "a-1", "0a0"] {
            assert!(is_dps_name(good), "{good}");
        }
        for bad in ["ab", "123", "-ab", "ab-", "a_b", &"a".repeat(51)] {
            assert!(!is_dps_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_hub_is_linked_once() {
        let hub: HubHostName = "HUB-1.azure-devices.net".parse().expect("name");
        let mut config = EmulatorConfig::default();
        config.hubs.push(hub.clone());
        assert_eq!(config.check(), Err(ConfigError::HubTwice { name: hub }));
    }
}
