//! What is declared of a DPS instance: where it is, how to sign in, which CAs and groups it holds.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::Value;

use super::cloud::Cloud;
use crate::enrollment::{AllocationPolicy, ProvisioningStatus, ReprovisionPolicy};
use crate::ids::{AuthorityName, CertificateName, EnrollmentGroupId, HubHostName, IdScope};
use crate::secret::SecretSource;
use crate::text::read_as_text;

/// A declared DPS instance.
#[derive(Debug, Clone, PartialEq)]
pub struct DpsDeclaration {
    /// The service plane: enrollments, groups, registration records.
    pub service: Endpoint,
    /// Where devices register, if declared; Azure has one address for all instances, and outside of
    /// Azure it is that of the service plane.
    pub device: Option<Endpoint>,
    /// The ID scope that devices name; registering needs it, nothing else does.
    pub id_scope: Option<IdScope>,
    /// How to sign in to the service plane. `None` only outside of Azure, where nothing is declared.
    pub sign_in: Option<SignIn>,
    /// What a token of Entra ID for the service plane is asked for, if not what its cloud takes.
    pub token_scope: Option<String>,
    /// Who signs in where [`SignIn::Entra`] is chosen.
    pub entra: EntraIdentity,
    /// Where Entra ID gives tokens, if not where its cloud does.
    pub authority_host: Option<Endpoint>,
    /// The management plane. `None` only for an instance in Azure that does not declare it.
    pub management: Option<ManagementDeclaration>,
    /// A PEM file whose certificates alone are trusted as the server's, as for an emulator. The
    /// machine's trust store applies if `None`.
    pub trust_anchor: Option<String>,
    /// Other versions of the APIs than those that the client is pinned to.
    pub api_versions: ApiVersions,
    /// Requests per minute; the client's own limit if `None`.
    pub rate: Option<NonZeroU32>,
    /// Linked hubs that need more said than their name.
    pub hubs: BTreeMap<HubHostName, HubDeclaration>,
    /// The CA certificates that DPS must hold, by their names there.
    pub ca: BTreeMap<CertificateName, CaDeclaration>,
    /// The enrollment groups.
    pub groups: BTreeMap<EnrollmentGroupId, GroupDeclaration>,
}

impl DpsDeclaration {
    /// The cloud that the instance is in; the public one for what stands in for Azure.
    pub fn cloud(&self) -> Cloud {
        self.service.cloud().unwrap_or_default()
    }

    /// The host, and perhaps the port, of the management plane.
    pub fn management_host(&self) -> &str {
        let declared = self.management.as_ref();
        let endpoint = declared.and_then(|declared| declared.endpoint.as_ref());
        endpoint.map_or_else(|| self.cloud().management_host(), Endpoint::as_str)
    }

    /// Where Entra ID gives tokens, if it is not the public cloud's address.
    pub fn authority_host(&self) -> Option<&str> {
        let cloud = self.cloud();
        let of_cloud = (cloud != Cloud::Public).then(|| cloud.authority_host());
        self.authority_host
            .as_ref()
            .map(Endpoint::as_str)
            .or(of_cloud)
    }

    /// What a token of Entra ID for the management plane is asked for.
    pub fn management_scope(&self) -> &str {
        let declared = self.management.as_ref();
        let scope = declared.and_then(|declared| declared.token_scope.as_deref());
        scope.unwrap_or_else(|| self.cloud().management_scope())
    }

    /// What a token of Entra ID for the service plane is asked for.
    pub fn service_scope(&self) -> &str {
        let declared = self.token_scope.as_deref();
        declared.unwrap_or_else(|| self.cloud().service_scope())
    }

    /// What a token of Entra ID for this hub's registry is asked for.
    pub fn hub_scope(&self, hub: &HubHostName) -> &str {
        let declared = self.hubs.get(hub);
        let scope = declared.and_then(|declared| declared.token_scope.as_deref());
        scope.unwrap_or_else(|| self.cloud().hub_scope())
    }

    /// The name and declaration of the CA that holds this authority's certificate.
    pub fn ca_of(&self, authority: &AuthorityName) -> Option<(&CertificateName, &CaDeclaration)> {
        self.ca.iter().find(|(_, ca)| ca.authority == *authority)
    }
}

/// The management plane of an instance: its address in Azure Resource Manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagementDeclaration {
    /// Where the plane is, unless it is its cloud's own address.
    pub endpoint: Option<Endpoint>,
    /// What a token of Entra ID is asked for, if not what its cloud takes.
    pub token_scope: Option<String>,
    /// The subscription's ID.
    pub subscription: String,
    /// The resource group.
    pub resource_group: String,
    /// The instance's resource name.
    pub name: String,
    /// How to sign in; never with a connection string. `None` as in [`DpsDeclaration::sign_in`].
    pub sign_in: Option<SignIn>,
}

/// A linked hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubDeclaration {
    /// Where its registry is, unless at its host name.
    pub endpoint: Option<Endpoint>,
    /// How to sign in to its registry.
    pub sign_in: Option<SignIn>,
    /// What a token of Entra ID is asked for, if not what its cloud's hubs take.
    pub token_scope: Option<String>,
}

/// How to sign in to a plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignIn {
    /// With the shared access key of a connection string.
    ConnectionString(SecretSource),
    /// With a bearer token that somebody else fetched.
    Token(SecretSource),
    /// With a token that Entra ID gives to [`DpsDeclaration::entra`].
    Entra,
}

/// Who signs in with Entra ID.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum EntraIdentity {
    /// Whoever is signed in to the Azure CLI or the Azure Developer CLI.
    #[default]
    DeveloperTools,
    /// The identity of the machine, or the user-assigned one with this client ID.
    ManagedIdentity {
        /// The client ID of a user-assigned identity.
        client: Option<String>,
    },
    /// The federated identity that the environment describes, as in Kubernetes or CI.
    WorkloadIdentity,
    /// A service principal.
    ClientSecret {
        /// The tenant's ID.
        tenant: String,
        /// The application's client ID.
        client: String,
        /// Where its secret is.
        secret: SecretSource,
    },
}

/// API versions that replace the client's, by plane. The text is the client's to check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiVersions {
    /// The management plane's.
    pub management: Option<String>,
    /// The service plane's.
    pub service: Option<String>,
    /// The device plane's.
    pub device: Option<String>,
    /// The hub registries'.
    pub hub: Option<String>,
}

/// A CA certificate that DPS must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaDeclaration {
    /// Whose current certificate it is.
    pub authority: AuthorityName,
    /// How DPS comes to trust it.
    pub verified_by: VerifiedBy,
}

/// How DPS comes to trust a CA certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifiedBy {
    /// By a certificate over a code that DPS gave, signed with the CA's key.
    Possession,
    /// By the word of whoever uploads it.
    SelfAttestation,
}

/// An enrollment group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupDeclaration {
    /// Whose devices it admits.
    pub authority: AuthorityName,
    /// How it recognises them.
    pub attestation: GroupAttestation,
    /// Whether it lets them in.
    pub status: ProvisioningStatus,
    /// The hubs to choose from; all linked hubs if empty.
    pub hubs: Vec<HubHostName>,
    /// What happens when a device registers again; the service's default if `None`.
    pub reprovision: Option<ReprovisionPolicy>,
    /// How a hub is chosen; the service's default if `None`.
    pub allocation: Option<AllocationPolicy>,
    /// The twin that a device starts with, as the service takes it.
    pub initial_twin: Option<Value>,
}

/// How a group recognises its devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupAttestation {
    /// It holds the authority's certificate.
    SigningCertificate,
    /// It names the CA that DPS holds.
    CaReference(CertificateName),
}

/// A host and perhaps a port; always reached over TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(String);

/// A text that is no [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a host; write it as mydps.azure-devices-provisioning.net or localhost:8443, without https://"
)]
pub struct EndpointError(String);

impl Endpoint {
    /// `host` or `host:port`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without the port.
    pub fn host(&self) -> &str {
        match self.0.rsplit_once(':') {
            Some((host, _)) if !self.0.ends_with(']') => host,
            _ => &self.0,
        }
    }

    /// The port, if one stands there.
    pub fn port(&self) -> Option<u16> {
        let rest = &self.0[self.host().len()..];
        rest.strip_prefix(':')?.parse().ok()
    }

    /// The name of the instance, if this is a DPS in Azure: the first label of the host.
    pub fn azure_instance(&self) -> Option<&str> {
        Cloud::of_instance(&self.0).map(|(_, name)| name)
    }

    /// The cloud, if this is a DPS in Azure.
    pub fn cloud(&self) -> Option<Cloud> {
        Cloud::of_instance(&self.0).map(|(cloud, _)| cloud)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Reads `host`, `host:port` or `[IPv6]:port`; upper case is folded.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let refuse = || EndpointError(text.to_owned());
        let endpoint = Self(text.to_ascii_lowercase());
        let host = endpoint.host();
        let port = endpoint.0[host.len()..].strip_prefix(':');
        let is_name = host.parse::<HubHostName>().is_ok();
        let is_address = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
        let port_is_good = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
        if !(is_name || is_address) || !port_is_good {
            return Err(refuse());
        }
        Ok(endpoint)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

read_as_text!(Endpoint);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_a_host_and_perhaps_a_port() {
        for (text, host) in [
            ("localhost:8443", "localhost"),
            (
                "MyDps.azure-devices-provisioning.net",
                "mydps.azure-devices-provisioning.net",
            ),
            ("[::1]:8443", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1:443", "127.0.0.1"),
        ] {
            assert_eq!(text.parse::<Endpoint>().expect(text).host(), host);
        }
        for bad in [
            "",
            "https://host",
            "host/path",
            "host:",
            "host:0",
            "host:70000",
            "a b",
            ":1",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_instance_in_azure_is_known_by_its_domain() {
        let instance = |text: &str| {
            let endpoint: Endpoint = text.parse().expect(text);
            endpoint.azure_instance().map(str::to_owned)
        };
        assert_eq!(
            instance("mydps.azure-devices-provisioning.net").as_deref(),
            Some("mydps")
        );
        assert_eq!(instance("localhost:8443"), None);
        assert_eq!(instance("azure-devices-provisioning.net.example.com"), None);
    }
}
