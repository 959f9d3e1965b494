//! Azure's clouds: the domains that differ between them, and what tokens there are for.
//!
//! The cloud follows from the domain of the service plane. Entra ID names DPS and hubs by the public
//! cloud's names in every cloud, but for the hubs of the US government's (Azure IoT service SDKs:
//! `IotHubAuthenticationScopes`).

/// A cloud of Azure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cloud {
    /// The one that everybody can use.
    #[default]
    Public,
    /// Operated by 21Vianet in China.
    China,
    /// For the government of the United States.
    UsGovernment,
}

impl Cloud {
    const ALL: [Self; 3] = [Self::Public, Self::China, Self::UsGovernment];

    /// The cloud of a DPS or hub by this host name, and the instance's name.
    pub(super) fn of_instance(host: &str) -> Option<(Self, &str)> {
        Self::ALL.into_iter().find_map(|cloud| {
            let name = host.strip_suffix(cloud.provisioning_domain())?;
            (!name.is_empty()).then_some((cloud, name))
        })
    }

    /// What follows the name of a DPS.
    fn provisioning_domain(self) -> &'static str {
        match self {
            Self::Public => ".azure-devices-provisioning.net",
            Self::China => ".azure-devices-provisioning.cn",
            Self::UsGovernment => ".azure-devices-provisioning.us",
        }
    }

    /// The host of Azure Resource Manager.
    pub fn management_host(self) -> &'static str {
        match self {
            Self::Public => "management.azure.com",
            Self::China => "management.chinacloudapi.cn",
            Self::UsGovernment => "management.usgovcloudapi.net",
        }
    }

    /// The host where Entra ID gives tokens.
    pub fn authority_host(self) -> &'static str {
        match self {
            Self::Public => "login.microsoftonline.com",
            Self::China => "login.chinacloudapi.cn",
            Self::UsGovernment => "login.microsoftonline.us",
        }
    }

    /// What a token for Azure Resource Manager is asked for.
    pub fn management_scope(self) -> &'static str {
        match self {
            Self::Public => "https://management.azure.com/.default",
            Self::China => "https://management.chinacloudapi.cn/.default",
            Self::UsGovernment => "https://management.usgovcloudapi.net/.default",
        }
    }

    /// What a token for the service plane of DPS is asked for.
    pub fn service_scope(self) -> &'static str {
        "https://azure-devices-provisioning.net/.default"
    }

    /// What a token for the registry of a hub is asked for.
    pub fn hub_scope(self) -> &'static str {
        match self {
            Self::Public | Self::China => "https://iothubs.azure.net/.default",
            Self::UsGovernment => "https://iothubs.azure.us/.default",
        }
    }
}
