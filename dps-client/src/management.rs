//! The management plane: the DPS instance as an Azure resource, and the CA certificates that it holds
//! (ARM `Microsoft.Devices/provisioningServices`, api-version 2022-12-12).
//!
//! Not here: making the verification certificate for a code, which is `pki-core`'s, and changing the
//! instance itself.

mod certificates;
mod instance;

use std::fmt;
use std::str::FromStr;

pub use certificates::{Certificates, Verification};
pub use instance::{
    Instance, LinkedHub, ProvisioningService, ProvisioningServiceProperties, SharedAccessPolicy,
};

/// A DPS instance's place in Azure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceId {
    /// The subscription's ID.
    pub subscription: String,
    /// The resource group's name.
    pub resource_group: String,
    /// The instance's name.
    pub name: String,
}

/// Why a text is no [`InstanceId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not /subscriptions/…/resourceGroups/…/providers/Microsoft.Devices/provisioningServices/…"
)]
pub struct InstanceIdError {
    text: String,
}

impl InstanceId {
    /// The resource's path, followed by these segments.
    fn path<'a>(&'a self, below: &[&'a str]) -> Vec<&'a str> {
        let resource = [
            "subscriptions",
            &self.subscription,
            "resourceGroups",
            &self.resource_group,
            "providers",
            "Microsoft.Devices",
            "provisioningServices",
            &self.name,
        ];
        resource.into_iter().chain(below.iter().copied()).collect()
    }
}

impl FromStr for InstanceId {
    type Err = InstanceIdError;

    /// Reads a resource ID as Azure prints it; the fixed words may be in any case.
    fn from_str(text: &str) -> Result<Self, InstanceIdError> {
        let parts: Vec<&str> = text.trim().trim_matches('/').split('/').collect();
        let words = [
            "subscriptions",
            "resourceGroups",
            "providers",
            "Microsoft.Devices",
            "provisioningServices",
        ];
        match parts.as_slice() {
            [a, subscription, b, resource_group, c, d, e, name]
                if [a, b, c, d, e]
                    .into_iter()
                    .zip(words)
                    .all(|(part, word)| part.eq_ignore_ascii_case(word))
                    && ![subscription, resource_group, name]
                        .iter()
                        .any(|part| part.is_empty()) =>
            {
                Ok(Self {
                    subscription: (*subscription).to_owned(),
                    resource_group: (*resource_group).to_owned(),
                    name: (*name).to_owned(),
                })
            }
            _ => Err(InstanceIdError {
                text: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.path(&[]).join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_ids_are_read_as_azure_prints_them() {
        let text = "/subscriptions/0000-1111/resourceGroups/my-rg/providers/Microsoft.Devices/provisioningServices/my-dps";
        let id: InstanceId = text.parse().expect("resource ID");
        assert_eq!(id.to_string(), text);
        assert_eq!(
            text.to_lowercase()
                .parse::<InstanceId>()
                .expect("lower case")
                .name,
            "my-dps"
        );
        for bad in [
            "",
            "my-dps",
            &text.replace("Microsoft.Devices", "Microsoft.Storage"),
            &text.replace("my-rg", ""),
        ] {
            assert!(bad.parse::<InstanceId>().is_err(), "{bad}");
        }
    }
}
