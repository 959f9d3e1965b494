//! The clients of a declared DPS instance: addresses, trust and sign-in from `pki.toml`.
//!
//! Secrets come from where the declaration says they are. An instance outside of Azure for which no
//! sign-in is declared is a stand-in such as the emulator, and is shown a token that opens nothing.

use std::num::NonZeroU32;
use std::sync::Arc;

use dps_client::auth::{Account, BearerToken, ConnectionString, Credential, SasCredential, Scope};
use dps_client::hub::Devices;
use dps_client::management::{Certificates, Instance, InstanceId};
use dps_client::service::{Groups, Individuals, Registrations};
use dps_client::transport::{HttpOptions, ProxyUse, Routes, Transport, Trust};
use dps_client::{ApiVersion, BaseUrl, Limit, Plane};
use pki_core::declaration::{DpsDeclaration, Endpoint, EntraIdentity, SignIn};
use pki_core::ids::{DpsName, HubHostName};
use pki_core::secret::SecretSource;
use pki_core::time::Time;
use secrecy::{ExposeSecret as _, SecretString};

use crate::context::Context;
use crate::error::CommandError;
use crate::secret::SecretWord;

/// What stand-ins are shown that want a token and look at none.
const NO_TOKEN: &str = "local";

/// The planes of one DPS instance.
pub(crate) struct Planes<'a> {
    context: &'a Context,
    name: &'a DpsName,
    declared: &'a DpsDeclaration,
    transport: Arc<dyn Transport>,
    /// Where the transport dials hubs that a stand-in has.
    routes: Routes,
    limit: Limit,
    rate: NonZeroU32,
}

impl<'a> Planes<'a> {
    /// The instance that this run is about.
    ///
    /// # Errors
    /// [`CommandError`]: none is declared or chosen, or as [`Planes::new`].
    pub(crate) fn chosen(context: &'a Context) -> Result<Self, CommandError> {
        let (name, declared) = context.dps()?;
        Self::new(context, name, declared)
    }

    /// Sets up the connection; nothing is sent yet.
    pub(crate) fn new(
        context: &'a Context,
        name: &'a DpsName,
        declared: &'a DpsDeclaration,
    ) -> Result<Self, CommandError> {
        let mut options = HttpOptions::default();
        if declared.service.azure_instance().is_none() {
            options.proxy = ProxyUse::Direct;
        }
        if let Some(path) = &declared.trust_anchor {
            let path = context.home.resolve(path);
            let text = context.files.read_text(&path).map_err(|error| {
                error.hint(format!("it holds the CA of DPS {name}'s server; dps-pki emulator writes it when it starts"))
            })?;
            options.trust = Trust::Only(text);
        }
        let transport = context.network.transport(&options).map_err(|error| {
            let error = CommandError::from(error);
            match &declared.trust_anchor {
                Some(path) => CommandError {
                    message: format!("{path}: {}", error.message),
                    ..error
                },
                None => error,
            }
        })?;
        let routes = options.routes;
        let rate = declared.rate.unwrap_or(Limit::DEFAULT_PER_MINUTE);
        Ok(Self {
            context,
            name,
            declared,
            transport,
            routes,
            limit: Limit::per_minute(rate),
            rate,
        })
    }

    /// Which instance this is.
    pub(crate) fn name(&self) -> &DpsName {
        self.name
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Time {
        self.context.now()
    }

    /// How many calls a minute its service plane gets at most.
    pub(crate) fn rate(&self) -> NonZeroU32 {
        self.rate
    }

    /// What is declared of it.
    pub(crate) fn declared(&self) -> &DpsDeclaration {
        self.declared
    }

    /// Its enrollment groups.
    pub(crate) fn groups(&self) -> Result<Groups, CommandError> {
        Ok(Groups::new(self.service()?))
    }

    /// Its individual enrollments.
    pub(crate) fn individuals(&self) -> Result<Individuals, CommandError> {
        Ok(Individuals::new(self.service()?))
    }

    /// Its registration records.
    pub(crate) fn registrations(&self) -> Result<Registrations, CommandError> {
        Ok(Registrations::new(self.service()?))
    }

    /// Its CA certificates.
    pub(crate) fn certificates(&self) -> Result<Certificates, CommandError> {
        let (plane, id) = self.management()?;
        Ok(Certificates::new(plane, id))
    }

    fn management(&self) -> Result<(Plane, InstanceId), CommandError> {
        let Some(management) = &self.declared.management else {
            let message = format!(
                "DPS {} has no management plane in pki.toml, and CA certificates are held there",
                self.name
            );
            let hint = format!(
                "add [dps.{}.management] with subscription and resource-group",
                self.name
            );
            return Err(CommandError::invalid_input(message).hint(hint));
        };
        let host = self.declared.management_host();
        let declared = self.declared.api_versions.management.as_deref();
        let plane = self.plane(host, self.version(declared, ApiVersion::MANAGEMENT)?)?;
        let scope = Scope::new(self.declared.management_scope());
        let credential = self.credential(management.sign_in.as_ref(), scope, &[])?;
        let id = InstanceId {
            subscription: management.subscription.clone(),
            resource_group: management.resource_group.clone(),
            name: management.name.clone(),
        };
        Ok((plane.with_credential(credential), id))
    }

    /// Every hub that is known: those that the instance is linked to, if the management plane is
    /// declared, and those that `pki.toml` names.
    pub(crate) async fn known_hubs(&self) -> Result<Vec<HubHostName>, CommandError> {
        let mut hubs = self.declared_hubs();
        if self.declared.management.is_some() {
            let (plane, id) = self.management()?;
            let instance = Instance::new(plane, id).get().await?;
            let linked = instance
                .properties
                .iot_hubs
                .into_iter()
                .filter_map(|hub| hub.name);
            hubs.extend(linked.filter_map(|name| name.parse().ok()));
        }
        hubs.sort();
        hubs.dedup();
        Ok(hubs)
    }

    /// The hubs that `pki.toml` names.
    pub(crate) fn declared_hubs(&self) -> Vec<HubHostName> {
        let of_groups = self.declared.groups.values().flat_map(|group| &group.hubs);
        let hubs = self.declared.hubs.keys().chain(of_groups);
        hubs.cloned().collect()
    }

    /// The identity registry of a hub: where it is declared to be, at the one address of a stand-in, or
    /// at its own name. A stand-in tells its hubs apart by name, so it is called by the hub's wherever it is.
    pub(crate) fn hub(&self, hub: &HubHostName) -> Result<Devices, CommandError> {
        let declared = self.declared.hubs.get(hub);
        let endpoint = declared.and_then(|declared| declared.endpoint.as_ref());
        let in_azure = self.declared.service.azure_instance().is_some();
        let dialled = match endpoint {
            Some(endpoint) => endpoint.as_str(),
            None if in_azure => hub.as_str(),
            None => self.declared.service.as_str(),
        };
        let host = if in_azure {
            dialled.to_owned()
        } else {
            self.led_to(hub, endpoint.unwrap_or(&self.declared.service))
        };
        // A connection string of DPS opens no hub; an Entra sign-in opens both.
        let shared = self
            .declared
            .sign_in
            .as_ref()
            .filter(|sign_in| matches!(sign_in, SignIn::Entra));
        let sign_in = declared
            .and_then(|declared| declared.sign_in.as_ref())
            .or(shared);
        if sign_in.is_none() && in_azure {
            let message = format!("pki.toml does not say how to sign in to {hub}");
            let hint = format!(
                "add [dps.{}.hub.\"{hub}\"] with a connection-string from env:NAME or file:PATH",
                self.name
            );
            return Err(CommandError::invalid_input(message).hint(hint));
        }
        let version = self.version(self.declared.api_versions.hub.as_deref(), ApiVersion::HUB)?;
        let scope = Scope::new(self.declared.hub_scope(hub));
        let credential = self.credential(sign_in, scope, &[hub.as_str(), dialled])?;
        let plane = self.plane(&host, version)?.with_credential(credential);
        Ok(Devices::new(plane))
    }

    /// The address of a hub by its name, which leads to another host from now on.
    fn led_to(&self, hub: &HubHostName, dialled: &Endpoint) -> String {
        self.routes.lead(hub.as_str(), dialled.host());
        match dialled.port() {
            Some(port) => format!("{hub}:{port}"),
            None => hub.to_string(),
        }
    }

    fn service(&self) -> Result<Plane, CommandError> {
        let version = self.version(
            self.declared.api_versions.service.as_deref(),
            ApiVersion::SERVICE,
        )?;
        let service = self.declared.service.as_str();
        let scope = Scope::new(self.declared.service_scope());
        let credential = self.credential(self.declared.sign_in.as_ref(), scope, &[service])?;
        let plane = self.plane(service, version)?;
        Ok(plane
            .with_limit(self.limit.clone())
            .with_credential(credential))
    }

    fn plane(&self, host: &str, version: ApiVersion) -> Result<Plane, CommandError> {
        let base: BaseUrl = host
            .parse()
            .map_err(|error: dps_client::base_url::BaseUrlError| {
                CommandError::invalid_input(format!("DPS {}: {error}", self.name))
            })?;
        Ok(Plane::new(self.transport.clone(), base, version))
    }

    fn version(
        &self,
        declared: Option<&str>,
        pinned: ApiVersion,
    ) -> Result<ApiVersion, CommandError> {
        let Some(text) = declared else {
            return Ok(pinned);
        };
        let parsed = text.parse::<ApiVersion>();
        parsed.map_err(|error| CommandError::invalid_input(format!("DPS {}: {error}", self.name)))
    }

    /// The credential for a plane that is at one of these hosts.
    fn credential(
        &self,
        sign_in: Option<&SignIn>,
        scope: Scope,
        hosts: &[&str],
    ) -> Result<Arc<dyn Credential>, CommandError> {
        let clock = self.context.clock.clone();
        Ok(match sign_in {
            None => Arc::new(BearerToken::new(SecretString::from(NO_TOKEN))),
            Some(SignIn::Token(source)) => {
                Arc::new(BearerToken::new(self.secret(source, "the token")?))
            }
            Some(SignIn::ConnectionString(source)) => {
                let text = self.secret(source, "the connection string")?;
                let connection: ConnectionString = text.expose_secret().parse().map_err(
                    |error: dps_client::auth::ConnectionStringError| {
                        CommandError::invalid_input(format!("{source}: {error}"))
                    },
                )?;
                self.check_host(&connection, source, hosts)?;
                Arc::new(SasCredential::new(connection, clock))
            }
            Some(SignIn::Entra) => Arc::new(self.account()?.at(scope, clock)),
        })
    }

    /// A key is shown to nobody but the host that it is for. Ports may differ: that of a container is not
    /// the one outside.
    fn check_host(
        &self,
        connection: &ConnectionString,
        source: &SecretSource,
        hosts: &[&str],
    ) -> Result<(), CommandError> {
        let own = connection.host();
        if hosts.iter().any(|host| is_same_host(host, own)) {
            return Ok(());
        }
        let declared = hosts.first().copied().unwrap_or_default();
        let message = format!(
            "{source}: the connection string is for {own}, and pki.toml declares {declared} for DPS {}",
            self.name
        );
        let hint = format!("take the connection string of {declared}, or declare {own}");
        Err(CommandError::invalid_input(message).hint(hint))
    }

    fn account(&self) -> Result<Account, CommandError> {
        let authority = self.declared.authority_host();
        let account = match &self.declared.entra {
            EntraIdentity::DeveloperTools => Account::developer_tools(),
            EntraIdentity::ManagedIdentity { client } => {
                Account::managed_identity(client.as_deref())
            }
            EntraIdentity::WorkloadIdentity => Account::workload_identity(authority),
            EntraIdentity::ClientSecret {
                tenant,
                client,
                secret,
            } => {
                let secret = self.secret(secret, "the client secret")?;
                Account::client_secret(tenant, client, &secret, authority)
            }
        };
        account.map_err(|error| {
            let message = format!(
                "the sign-in to Entra ID for DPS {} cannot be set up",
                self.name
            );
            CommandError::invalid_input(message).because(error)
        })
    }

    fn secret(&self, source: &SecretSource, what: &str) -> Result<SecretString, CommandError> {
        let word = match SecretWord::from(source) {
            SecretWord::File(path) => SecretWord::File(self.context.home.resolve(path)),
            word => word,
        };
        self.context
            .secret(&word, &format!("{what} of DPS {}: ", self.name))
    }
}

/// Whether two hosts are the same but for their ports; the names and addresses of this machine are.
fn is_same_host(one: &str, other: &str) -> bool {
    let name = |text: &str| {
        let endpoint = text.parse::<Endpoint>().ok()?;
        match endpoint.host() {
            "127.0.0.1" | "[::1]" => Some("localhost".to_owned()),
            host => Some(host.to_owned()),
        }
    };
    name(one).is_some_and(|one| name(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_the_same_but_for_case_port_and_the_names_of_this_machine() {
        for (one, other, is_same) in [
            ("localhost:8443", "127.0.0.1:9443", true),
            ("[::1]:8443", "localhost", true),
            ("X.azure-devices.net", "x.azure-devices.net:443", true),
            ("x.azure-devices.net", "y.azure-devices.net", false),
            ("x.azure-devices.net", "x.azure-devices.cn", false),
            ("", "", false),
        ] {
            assert_eq!(is_same_host(one, other), is_same, "{one} {other}");
        }
    }
}
