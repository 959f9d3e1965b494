//! The clients of a declared DPS instance: addresses, trust and sign-in from `pki.toml`.
//!
//! Secrets come from where the declaration says they are. An instance outside of Azure for which no
//! sign-in is declared is a stand-in such as the emulator, and is shown a token that opens nothing.

mod port;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dps_client::auth::{Account, BearerToken, ConnectionString, Credential, SasCredential, Scope};
use dps_client::hub::Devices;
use dps_client::management::{Certificates, InstanceId};
use dps_client::service::{Groups, Individuals, Registrations};
use dps_client::transport::{HttpOptions, ProxyUse, Routes, Transport, Trust};
use dps_client::{ApiVersion, BaseUrl, Limit, Plane};
use pki_core::declaration::{DpsDeclaration, Endpoint, EntraIdentity, SignIn};
use pki_core::ids::{DpsName, HubHostName};
use pki_core::ports::Clock;
use pki_core::secret::SecretSource;
use pki_core::time::Time;
use secrecy::{ExposeSecret as _, SecretString};

use crate::dps::{DpsError, PlaneError};
use crate::instance::Instance;
use crate::ports::Secrets;

/// What stand-ins are shown that want a token and look at none.
const NO_TOKEN: &str = "local";

/// The planes of one DPS instance.
pub struct Planes<'a> {
    name: &'a DpsName,
    declared: &'a DpsDeclaration,
    clock: Arc<dyn Clock>,
    secrets: &'a dyn Secrets,
    transport: Arc<dyn Transport>,
    /// Where the transport dials hubs that a stand-in has.
    routes: Routes,
    limit: Limit,
    rate: NonZeroU32,
    // Signing in may take a process or a call of its own: what is set up once is kept.
    service: OnceLock<Plane>,
    hubs: Mutex<BTreeMap<HubHostName, Devices>>,
}

/// What leads to the services of an instance.
pub struct Way<'a> {
    /// Carries requests.
    pub transport: Arc<dyn Transport>,
    /// The routes of the options that the transport was made with: hubs of a stand-in are added.
    pub routes: Routes,
    /// Tells the time, for tokens.
    pub clock: Arc<dyn Clock>,
    /// Reads what signing in takes.
    pub secrets: &'a dyn Secrets,
}

impl<'a> Planes<'a> {
    /// What the transport to a declared instance is set up with; `trust_anchor` is the PEM file that the
    /// declaration names, if it names one.
    pub fn options(declared: &DpsDeclaration, trust_anchor: Option<String>) -> HttpOptions {
        let mut options = HttpOptions::default();
        // A stand-in is near; only Azure is reached through a proxy.
        if declared.service.azure_instance().is_none() {
            options.proxy = ProxyUse::Direct;
        }
        if let Some(anchor) = trust_anchor {
            options.trust = Trust::Only(anchor);
        }
        options
    }

    /// Sets up the connection; nothing is sent yet.
    pub fn new(name: &'a DpsName, declared: &'a DpsDeclaration, way: Way<'a>) -> Self {
        let rate = declared.rate.unwrap_or(Limit::DEFAULT_PER_MINUTE);
        Self {
            name,
            declared,
            clock: way.clock,
            secrets: way.secrets,
            transport: way.transport,
            routes: way.routes,
            limit: Limit::per_minute(rate),
            rate,
            service: OnceLock::new(),
            hubs: Mutex::default(),
        }
    }

    /// Which instance this is.
    pub fn name(&self) -> &DpsName {
        self.name
    }

    /// The present moment.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// How many calls a minute its service plane gets at most.
    pub fn rate(&self) -> NonZeroU32 {
        self.rate
    }

    /// What is declared of it.
    pub fn declared(&self) -> &DpsDeclaration {
        self.declared
    }

    /// Its enrollment groups.
    ///
    /// # Errors
    /// [`PlaneError`] if the declaration, or a secret that it names, does not lead there.
    pub fn groups(&self) -> Result<Groups, PlaneError> {
        Ok(Groups::new(self.service()?))
    }

    /// Its individual enrollments.
    ///
    /// # Errors
    /// [`PlaneError`] if the declaration, or a secret that it names, does not lead there.
    pub fn individuals(&self) -> Result<Individuals, PlaneError> {
        Ok(Individuals::new(self.service()?))
    }

    /// Its registration records.
    ///
    /// # Errors
    /// [`PlaneError`] if the declaration, or a secret that it names, does not lead there.
    pub fn registrations(&self) -> Result<Registrations, PlaneError> {
        Ok(Registrations::new(self.service()?))
    }

    /// Its CA certificates.
    ///
    /// # Errors
    /// [`PlaneError`] if the declaration, or a secret that it names, does not lead there.
    pub fn certificates(&self) -> Result<Certificates, PlaneError> {
        let (plane, id) = self.management()?;
        Ok(Certificates::new(plane, id))
    }

    /// What time it is there, by the head of any answer. Nobody signs in for it.
    ///
    /// # Errors
    /// [`DpsError`]: its address is none, it is not reached, or its answer does not tell.
    pub async fn time(&self) -> Result<Time, DpsError> {
        let plane = self.plane(self.declared.service.as_str(), ApiVersion::SERVICE)?;
        Ok(plane.time().await?)
    }

    fn management(&self) -> Result<(Plane, InstanceId), PlaneError> {
        let Some(management) = &self.declared.management else {
            let dps = self.name.clone();
            return Err(PlaneError::NoManagement { dps });
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

    /// The instance as operations see it.
    pub fn instance(&self) -> Instance<'_> {
        Instance {
            name: self.name,
            declared: self.declared,
            dps: self,
            clock: self.clock.as_ref(),
        }
    }

    /// The identity registry of a hub: where it is declared to be, at the one address of a stand-in, or
    /// at its own name. A stand-in tells its hubs apart by name, so it is called by the hub's wherever it is.
    ///
    /// # Errors
    /// [`PlaneError`] if the declaration, or a secret that it names, does not lead there.
    pub fn hub(&self, hub: &HubHostName) -> Result<Devices, PlaneError> {
        let mut opened = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(devices) = opened.get(hub) {
            return Ok(devices.clone());
        }
        let devices = self.open_hub(hub)?;
        opened.insert(hub.clone(), devices.clone());
        Ok(devices)
    }

    fn open_hub(&self, hub: &HubHostName) -> Result<Devices, PlaneError> {
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
            return Err(PlaneError::NoSignIn {
                dps: self.name.clone(),
                hub: hub.clone(),
            });
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

    fn service(&self) -> Result<Plane, PlaneError> {
        if let Some(plane) = self.service.get() {
            return Ok(plane.clone());
        }
        let plane = self.open_service()?;
        Ok(self.service.get_or_init(|| plane).clone())
    }

    fn open_service(&self) -> Result<Plane, PlaneError> {
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

    fn plane(&self, host: &str, version: ApiVersion) -> Result<Plane, PlaneError> {
        let parsed = host.parse::<BaseUrl>();
        let base = parsed.map_err(|reason| PlaneError::Address {
            dps: self.name.clone(),
            reason,
        })?;
        Ok(Plane::new(self.transport.clone(), base, version))
    }

    fn version(
        &self,
        declared: Option<&str>,
        pinned: ApiVersion,
    ) -> Result<ApiVersion, PlaneError> {
        let Some(text) = declared else {
            return Ok(pinned);
        };
        let parsed = text.parse::<ApiVersion>();
        parsed.map_err(|reason| PlaneError::Version {
            dps: self.name.clone(),
            reason,
        })
    }

    /// The credential for a plane that is at one of these hosts.
    fn credential(
        &self,
        sign_in: Option<&SignIn>,
        scope: Scope,
        hosts: &[&str],
    ) -> Result<Arc<dyn Credential>, PlaneError> {
        let clock = self.clock.clone();
        Ok(match sign_in {
            None => Arc::new(BearerToken::new(SecretString::from(NO_TOKEN))),
            Some(SignIn::Token(source)) => {
                Arc::new(BearerToken::new(self.secret(source, "the token")?))
            }
            Some(SignIn::ConnectionString(source)) => {
                let text = self.secret(source, "the connection string")?;
                let parsed = text.expose_secret().parse::<ConnectionString>();
                let connection = parsed.map_err(|reason| PlaneError::ConnectionString {
                    place: source.clone(),
                    reason,
                })?;
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
    ) -> Result<(), PlaneError> {
        let own = connection.host();
        if hosts.iter().any(|host| is_same_host(host, own)) {
            return Ok(());
        }
        Err(PlaneError::OtherHost {
            dps: self.name.clone(),
            place: source.clone(),
            own: own.to_owned(),
            declared: hosts.first().copied().unwrap_or_default().to_owned(),
        })
    }

    fn account(&self) -> Result<Account, PlaneError> {
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
        account.map_err(|error| PlaneError::SignIn {
            dps: self.name.clone(),
            source: error.into(),
        })
    }

    fn secret(&self, source: &SecretSource, what: &str) -> Result<SecretString, PlaneError> {
        let what = format!("{what} of DPS {}", self.name);
        Ok(self.secrets.secret(source, &what)?)
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
