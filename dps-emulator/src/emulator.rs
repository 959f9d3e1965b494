//! Starting an instance, and what its starter gets to know of it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use pki_core::enrollment::{AllocationPolicy, OtherMembers};
use pki_core::ids::{HubHostName, IdScope};
use pki_core::ports::EntropyError;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::behavior::{Behavior, BehaviorError};
use crate::config::{ConfigError, EmulatorConfig};
use crate::domain::{Dps, Settings, service_host_name};
use crate::log::RequestLog;
use crate::policy::{HUB_OWNER, Policy, Right, SERVICE_OWNER};
use crate::random::Random;
use crate::seed::{Seed, SeedError};
use crate::server::{Protocol, Server};
use crate::store::resource::{LinkedHub, Resource};
use crate::store::sqlite::SqliteKeeper;
use crate::store::{StateError, Store};
use crate::tls::{ServerIdentity, TRUST_ANCHOR_NAME, TlsError};
use crate::webhook::HttpWebhooks;

/// The host name of the device plane that all of Azure shares.
const GLOBAL_HOST: &str = "global.azure-devices-provisioning.net";

/// Every DPS and every hub of each cloud, one label below; also those that are linked later.
const ANY_HOSTS: [&str; 6] = [
    "*.azure-devices-provisioning.net",
    "*.azure-devices.net",
    "*.azure-devices-provisioning.cn",
    "*.azure-devices.cn",
    "*.azure-devices-provisioning.us",
    "*.azure-devices.us",
];

/// The port that HTTPS has if none is named. Some clients cannot read another one in a host name.
const HTTPS_PORT: u16 = 443;

/// The port that most clients of MQTT over TLS have built in.
const MQTT_PORT: u16 = 8883;

/// The host name of ARM.
const MANAGEMENT_HOST: &str = "management.azure.com";

/// A local DPS with linked hubs.
#[derive(Debug)]
pub struct Emulator;

/// A running emulator. Dropping it ends the service at once.
pub struct EmulatorHandle {
    address: SocketAddr,
    mqtt_address: SocketAddr,
    trust_anchor_pem: String,
    dps: Arc<Dps>,
    end: DropGuard,
    server: JoinHandle<()>,
}

/// A hub of a running emulator.
#[derive(Debug)]
pub struct Hub {
    /// Its name, as registration records give it to devices.
    pub host_name: HubHostName,
    /// Where its registry is reached. All hubs share the emulator's port; which one is meant follows
    /// from the `Host` header if it is the hub's name, else from the key that signed the token.
    pub base_url: String,
    /// Its policy `iothubowner` under the emulator's own address.
    pub connection_string: SecretString,
}

/// Why an emulator did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server's identity could not be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The keys could not be made.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The seed holds what cannot be put in.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The request log cannot be written.
    #[error("{} cannot be written", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state could not be read or kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// The server ended by a panic, which is a bug.
    #[error("the server task failed")]
    Server(#[source] tokio::task::JoinError),
}

impl Emulator {
    /// The common name of the CA that clients have to trust; its key is gone when the emulator ends.
    pub const TRUST_ANCHOR_NAME: &str = TRUST_ANCHOR_NAME;

    /// Starts an emulator; it answers as soon as this returns.
    ///
    /// # Errors
    /// [`EmulatorError`]: the configuration, the address, the state, or the machine's randomness.
    pub async fn start(config: EmulatorConfig) -> Result<EmulatorHandle, EmulatorError> {
        config.check()?;
        let (https, address) = listen(config.listen).await?;
        let (mqtt, mqtt_address) = listen_for_mqtt(&config).await?;

        let names = host_names(&config);
        let addresses = addresses(address.ip());
        let any = ANY_HOSTS.iter().copied();
        let certified: Vec<&str> = names.iter().map(String::as_str).chain(any).collect();
        let identity = ServerIdentity::make(&certified, &addresses, config.tls)?;
        let known = addresses.iter().map(IpAddr::to_string);
        let host_names = names.into_iter().chain(known).collect();
        let dps = Arc::new(instance(config, host_names)?);
        let kept = dps.progress.kept_since(0).await;
        kept.map_err(StateError::NotKept)?;

        let end = CancellationToken::new();
        let acceptor = TlsAcceptor::from(identity.config);
        let listeners = vec![(https, Protocol::Https), (mqtt, Protocol::Mqtt)];
        let serving = Server::new(acceptor, Arc::clone(&dps), end.clone()).serve(listeners);
        let server = tokio::spawn(serving);
        tracing::info!(%address, %mqtt_address, id_scope = %dps.settings.id_scope, "the emulator listens");
        Ok(EmulatorHandle {
            address,
            mqtt_address,
            trust_anchor_pem: identity.trust_anchor_pem,
            dps,
            end: end.drop_guard(),
            server,
        })
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), EmulatorError> {
    let failed = |source| EmulatorError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

async fn listen_for_mqtt(
    config: &EmulatorConfig,
) -> Result<(TcpListener, SocketAddr), EmulatorError> {
    if let Some(address) = config.mqtt_listen {
        return listen(address).await;
    }
    let ip = config.listen.ip();
    match listen(SocketAddr::new(ip, MQTT_PORT)).await {
        Ok(listening) => Ok(listening),
        Err(_) => listen(SocketAddr::new(ip, 0)).await,
    }
}

/// Every name that the server certificate holds.
fn host_names(config: &EmulatorConfig) -> Vec<String> {
    let own = ["localhost", GLOBAL_HOST, MANAGEMENT_HOST].map(str::to_owned);
    let hubs = config.hubs.iter().map(HubHostName::to_string);
    let mut names: Vec<String> = own
        .into_iter()
        .chain([service_host_name(&config.dps_name)])
        .chain(hubs)
        .chain(config.server_names.iter().cloned())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn addresses(listening: IpAddr) -> Vec<IpAddr> {
    let mut addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    if !listening.is_unspecified() && !addresses.contains(&listening) {
        addresses.push(listening);
    }
    addresses
}

fn instance(config: EmulatorConfig, host_names: Vec<String>) -> Result<Dps, EmulatorError> {
    let (mut store, kept) = match &config.state {
        Some(path) => Store::open(Box::new(SqliteKeeper::open(path)?))?,
        None => (Store::default(), None),
    };
    let resource = resource(&config, kept, &mut store)?;
    store.put_resource(&resource)?;
    store.commit()?;
    let control_token = Random(config.entropy.as_ref()).control_token()?.into();
    let settings = Settings {
        name: config.dps_name,
        id_scope: config.id_scope,
        subscription: config.subscription,
        resource_group: config.resource_group,
        bearer_token: config.bearer_token,
        assigning_rounds: config.assigning_rounds,
        retry_after_seconds: config.retry_after_seconds,
        host_names,
        control_token,
    };
    let mut dps = Dps::new(
        settings,
        resource,
        config.behavior,
        config.clock,
        config.entropy,
        store,
        Arc::new(HttpWebhooks),
    );
    config.seed.sow(&dps)?;
    if let Some(path) = config.request_log {
        dps.log =
            RequestLog::append_to(&path).map_err(|source| EmulatorError::Log { path, source })?;
    }
    Ok(dps)
}

/// What was kept, and the policies and hubs of the configuration that were not among it.
fn resource(
    config: &EmulatorConfig,
    kept: Option<Resource>,
    store: &mut Store,
) -> Result<Resource, EntropyError> {
    let random = Random(config.entropy.as_ref());
    let mut resource = kept.unwrap_or_else(|| Resource {
        policies: Vec::new(),
        hubs: Vec::new(),
        allocation: AllocationPolicy::Hashed,
        tags: OtherMembers::new(),
        etag: store.mint().resource(),
        other: OtherMembers::new(),
    });
    let owner = (SERVICE_OWNER.to_owned(), Right::ALL.to_vec());
    for (name, rights) in std::iter::once(&owner).chain(&config.policies) {
        match resource
            .policies
            .iter_mut()
            .find(|policy| policy.name == *name)
        {
            Some(policy) => policy.rights.clone_from(rights),
            None => {
                let policy = Policy::new(name, rights, random.keys()?);
                resource.policies.push(policy);
            }
        }
    }
    for host_name in &config.hubs {
        if resource.hub(host_name).is_none() {
            let policy = Policy::new(HUB_OWNER, &[], random.keys()?);
            resource
                .hubs
                .push(LinkedHub::new(host_name.clone(), policy));
        }
    }
    Ok(resource)
}

impl EmulatorHandle {
    /// The address it listens on, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address it listens on for MQTT, with the port that was taken.
    pub fn mqtt_address(&self) -> SocketAddr {
        self.mqtt_address
    }

    /// Where MQTT is spoken over TLS: `mqtts://localhost:PORT`, or with the address if that is not the
    /// default. Over WebSocket it is at `/$iothub/websocket` below [`Self::base_url`].
    pub fn mqtt_url(&self) -> String {
        format!("mqtts://{}", host_and_port(self.mqtt_address))
    }

    /// The base of all URLs: `https://localhost:PORT`, or with the address if that is not the default;
    /// without the port if that is 443.
    pub fn base_url(&self) -> String {
        format!("https://{}", self.host_and_port())
    }

    /// The CA certificate that clients have to trust, as PEM. It is another one after each start.
    pub fn trust_anchor_pem(&self) -> &str {
        &self.trust_anchor_pem
    }

    /// The ID scope that devices name.
    pub fn id_scope(&self) -> &IdScope {
        &self.dps.settings.id_scope
    }

    /// The name of the DPS.
    pub fn dps_name(&self) -> &str {
        &self.dps.settings.name
    }

    /// The host name of the service plane in Azure's style, for clients that are led here by name.
    pub fn service_host_name(&self) -> String {
        self.dps.settings.service_host_name()
    }

    /// The path of the DPS in ARM: `/subscriptions/…/provisioningServices/NAME`.
    pub fn resource_id(&self) -> String {
        self.dps.settings.resource_id()
    }

    /// The subscription in that path.
    pub fn subscription(&self) -> &str {
        &self.dps.settings.subscription
    }

    /// The resource group in that path.
    pub fn resource_group(&self) -> &str {
        &self.dps.settings.resource_group
    }

    /// The connection string of the policy `provisioningserviceowner`.
    pub fn service_connection_string(&self) -> SecretString {
        self.connection_string(SERVICE_OWNER).unwrap_or_default()
    }

    /// The connection string of a policy of the service, if there is one of this name.
    pub fn connection_string(&self, policy: &str) -> Option<SecretString> {
        let resource = self.dps.resource();
        let policy = resource
            .policies
            .iter()
            .find(|known| known.name == policy)?;
        Some(policy.connection_string(&self.host_and_port()))
    }

    /// Where the control endpoint is: what the instance holds, how it behaves, what it counted. For
    /// programs on this machine, with [`Self::control_token`] as bearer token.
    pub fn control_url(&self) -> String {
        format!("{}/$emulator", self.base_url())
    }

    /// Opens the control endpoint; another one after each start.
    pub fn control_token(&self) -> &SecretString {
        &self.dps.settings.control_token
    }

    /// How the instance behaves.
    pub fn behavior(&self) -> Behavior {
        self.dps.faults.behavior().as_ref().clone()
    }

    /// Makes the instance behave otherwise from now on.
    ///
    /// # Errors
    /// [`BehaviorError`] if it makes no sense; nothing has changed then.
    pub fn set_behavior(&self, behavior: Behavior) -> Result<(), BehaviorError> {
        behavior.check()?;
        self.dps.faults.set(behavior);
        Ok(())
    }

    /// What the instance holds, keys included, as a document that makes the same one elsewhere.
    pub fn dump(&self) -> Seed {
        Seed::of(&self.dps)
    }

    /// The linked hubs, in the order in which they were linked.
    pub fn hubs(&self) -> Vec<Hub> {
        self.dps
            .resource()
            .hubs
            .iter()
            .map(|linked| Hub {
                host_name: linked.host_name.clone(),
                base_url: self.base_url(),
                connection_string: linked.policy.connection_string(&self.host_and_port()),
            })
            .collect()
    }

    /// Ends the service: no new connections, open requests are finished.
    ///
    /// # Errors
    /// [`EmulatorError::Server`] after a panic.
    pub async fn shutdown(self) -> Result<(), EmulatorError> {
        self.end.disarm().cancel();
        let ended = self.server.await.map_err(EmulatorError::Server);
        self.dps.store().close();
        ended
    }

    fn host_and_port(&self) -> String {
        match self.address.port() {
            HTTPS_PORT => host(self.address.ip()),
            _ => host_and_port(self.address),
        }
    }
}

fn host_and_port(address: SocketAddr) -> String {
    format!("{}:{}", host(address.ip()), address.port())
}

/// How an address is written in a URL: by name where that leads to it.
fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST) => "localhost".to_owned(),
        ip if ip.is_unspecified() => "localhost".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

impl std::fmt::Debug for EmulatorHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmulatorHandle")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
