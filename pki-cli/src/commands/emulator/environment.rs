//! `emulator --print-env`: what Microsoft's SDKs, their samples and the Azure CLI read from the
//! environment, for a shell to take over.
//!
//! Names are those of the SDKs' own samples and of their HTTP stacks; what no client reads starts with
//! `DPS_EMULATOR_`.

use std::fmt;
use std::path::Path;

use dps_emulator::EmulatorHandle;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::{Map, Value};

/// Variables and their values. The keys among them open nothing but the one instance.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Environment(Map<String, Value>);

impl Environment {
    /// What leads to this emulator; `ca_file` is absolute, since programs run anywhere.
    pub(super) fn of(emulator: &EmulatorHandle, ca_file: &Path) -> Self {
        let ca_file = ca_file.display().to_string();
        let service = emulator.service_connection_string();
        let service = service.expose_secret();
        let host = emulator.base_url();
        let host = host.strip_prefix("https://").unwrap_or(&host);
        let mut variables = vec![
            // Trust: Python's requests, Node, and whatever uses OpenSSL's defaults.
            ("REQUESTS_CA_BUNDLE", ca_file.clone()),
            ("NODE_EXTRA_CA_CERTS", ca_file.clone()),
            ("SSL_CERT_FILE", ca_file),
            // Devices.
            ("PROVISIONING_HOST", host.to_owned()),
            ("PROVISIONING_IDSCOPE", emulator.id_scope().to_string()),
            ("DPS_EMULATOR_MQTT", emulator.mqtt_url()),
            // The service plane.
            ("PROVISIONING_CONNECTION_STRING", service.to_owned()),
            ("AZURE_DPS_CONNECTION_STRING", service.to_owned()),
            // The management plane.
            ("DPS_EMULATOR_ARM_ENDPOINT", emulator.base_url()),
            ("AZURE_SUBSCRIPTION_ID", emulator.subscription().to_owned()),
            ("AZURE_RESOURCE_GROUP", emulator.resource_group().to_owned()),
            ("DPS_EMULATOR_NAME", emulator.dps_name().to_owned()),
            // Faults, counters, dumps.
            ("DPS_EMULATOR_CONTROL_URL", emulator.control_url()),
            (
                "DPS_EMULATOR_CONTROL_TOKEN",
                emulator.control_token().expose_secret().to_owned(),
            ),
        ];
        if let Some(hub) = emulator.hubs().first() {
            let string = hub.connection_string.expose_secret().to_owned();
            variables.push(("IOTHUB_CONNECTION_STRING", string));
        }
        let members = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Value::String(value)));
        Self(members.collect())
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "# A local DPS emulator, not Azure. Its keys open nothing else."
        )?;
        for (name, value) in &self.0 {
            let value = value.as_str().unwrap_or_default();
            write!(f, "\nexport {name}='{}'", value.replace('\'', r"'\''"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_a_shell() {
        let variables = [("A".to_owned(), Value::String("it's; $HOME".to_owned()))];
        let text = Environment(variables.into_iter().collect()).to_string();
        assert!(text.starts_with("# A local DPS emulator, not Azure."));
        assert!(text.ends_with(r"export A='it'\''s; $HOME'"), "{text}");
    }
}
