//! The walk of `dps-pki quickstart`, without the command line: a root's certificate is uploaded to a DPS and
//! its possession proven, a group refers to it, a device registers, is shut out, and is refused. The DPS is the
//! emulator, in this process.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use dps_client::auth::DeviceIdentity;
use dps_client::device::{Outcome, Polling, Registrar};
use dps_client::transport::{HttpOptions, HttpTransport, ProxyUse, Trust};
use dps_client::{ApiVersion, Plane};
use dps_emulator::{Emulator, EmulatorConfig, EmulatorHandle};
use dps_operations::judge::Judged;
use dps_operations::planes::Way;
use dps_operations::ports::Secrets;
use dps_operations::target::Target;
use dps_operations::testing::{MemoryLocks, OneKey};
use dps_operations::{
    Class, Engine, Event, Interruption, Observer, Order, Planes, PortError, Surroundings, converge,
    quarantine,
};
use pki_core::authority::{AuthoritySpec, IssuancePolicy, LeafSpec, SigningAuthority, create_root};
use pki_core::certificate::Certificate;
use pki_core::declaration::Declaration;
use pki_core::ids::{
    AuthorityGeneration, AuthorityName, Generation, LeafName, RegistrationId, SerialNumber,
};
use pki_core::inventory::{
    GenerationChange, GenerationState, Inventory as _, Labels, NewCertificate, NewGeneration,
    Uniqueness,
};
use pki_core::key::software::{SoftwareKeyGenerator, SoftwareSigner};
use pki_core::key::{KeyAlgorithm, KeyGenerator as _, PrivateKey, Signer as _};
use pki_core::lifecycle::HubAction;
use pki_core::ports::Clock as _;
use pki_core::ports::system::{SystemClock, SystemEntropy};
use pki_core::profile::{KeyPurpose, Role};
use pki_core::secret::SecretSource;
use pki_core::testing::MemoryInventory;
use pki_core::time::Span;
use secrecy::SecretString;

#[tokio::main]
#[expect(
    clippy::disallowed_methods,
    reason = "an example is a front end: it owns its runtime"
)]
async fn main() -> Result<(), Box<dyn Error>> {
    let log = walk().await?;
    assert_eq!(log.last().map(String::as_str), Some("sensor-1 is refused"));
    Ok(())
}

/// Goes the whole way; returns what happened, line by line.
///
/// # Errors
/// Whatever goes wrong on the way.
pub(crate) async fn walk() -> Result<Vec<String>, Box<dyn Error>> {
    let emulator = Emulator::start(EmulatorConfig {
        dps_name: "local".to_owned(),
        resource_group: "local".to_owned(),
        ..EmulatorConfig::default()
    })
    .await?;
    let declaration = Declaration::parse(&declared(&emulator))?;
    let (name, declared) = declaration.dps.first_key_value().ok_or("no DPS")?;
    let mut home = Home::new()?;
    let mut log = Log::default();

    // The clients of the instance.
    let options = Planes::options(declared, Some(emulator.trust_anchor_pem().to_owned()));
    let way = Way {
        transport: Arc::new(HttpTransport::new(&options)?),
        routes: options.routes,
        clock: Arc::new(SystemClock),
        secrets: &NoSecrets,
    };
    let planes = Planes::new(name, declared, way);

    // DPS is brought to what is declared. The checker has looked at every step before anybody is asked.
    let request = converge::Request::default();
    let judged = request.prepare(home.around(&planes)).await?;
    assert!(judged.impact.is_none(), "no device has a leaf yet");
    home.carry_out(&planes, &judged, &mut log).await?;
    let left = request.prepare(home.around(&planes)).await?;
    assert!(
        left.plan.plan().is_empty(),
        "DPS holds what is declared now"
    );

    // A device gets a leaf, and registers with it.
    let id: RegistrationId = "sensor-1".parse()?;
    let (leaf, key) = home.issue(&id)?;
    let outcome = register(&emulator, &id, &leaf, &key).await?;
    log.0.push(format!("{id} is {outcome}"));

    // It is stolen. What DPS decides about it then is read back.
    let stolen = quarantine::Request {
        targets: vec![Target::named(
            &home.inventory,
            id.as_str(),
            SystemClock.now(),
        )?],
        reason: Some("stolen".to_owned()),
        hub: HubAction::Disable,
    };
    let prepared = stolen.prepare(home.around(&planes)).await?;
    let judged = prepared.judge(home.around(&planes), &stolen)?;
    home.carry_out(&planes, &judged, &mut log).await?;
    let proofs = stolen.read_back(home.around(&planes)).await?;
    assert!(proofs.iter().all(quarantine::is_out));
    let outcome = register(&emulator, &id, &leaf, &key).await?;
    log.0.push(format!("{id} is {outcome}"));
    emulator.shutdown().await?;
    Ok(log.0)
}

/// Registers a device over mutual TLS.
async fn register(
    emulator: &EmulatorHandle,
    id: &RegistrationId,
    leaf: &Certificate,
    key: &PrivateKey,
) -> Result<&'static str, Box<dyn Error>> {
    let mut options = HttpOptions::default();
    options.trust = Trust::Only(emulator.trust_anchor_pem().to_owned());
    options.proxy = ProxyUse::Direct;
    let key = SecretString::from(key.expose_pkcs8_pem().to_string());
    options.identity = Some(DeviceIdentity::new(leaf.to_pem(), key));
    let transport = Arc::new(HttpTransport::new(&options)?);
    let plane = Plane::new(transport, emulator.base_url().parse()?, ApiVersion::DEVICE);
    let registrar = Registrar::new(plane, emulator.id_scope().clone());
    let polling = Polling {
        floor: Duration::from_millis(50),
        ..Polling::default()
    };
    Ok(match registrar.register(id, None, &polling).await? {
        Outcome::Assigned { .. } => "assigned",
        Outcome::Disabled { .. } => "refused",
        _ => "not assigned",
    })
}

/// The inventory of a home, in memory, and the key of its root.
struct Home {
    inventory: MemoryInventory,
    root: Certificate,
    key: PrivateKey,
    locks: MemoryLocks,
}

impl Home {
    /// The first generation of `root` is made, recorded and current.
    fn new() -> Result<Self, Box<dyn Error>> {
        let key = SoftwareKeyGenerator.generate(KeyAlgorithm::EcdsaP256)?;
        let spec = AuthoritySpec {
            subject: "CN=Contoso Root CA".parse()?,
            validity: Span::from_days(3650),
            path_length: None,
            digital_signature: false,
        };
        let root = root()?;
        let issued = create_root(
            root.name.clone(),
            root.generation,
            &spec,
            &SoftwareSigner::new(&key)?,
            IssuancePolicy::default(),
            &SerialNumber::random(&SystemEntropy)?,
            SystemClock.now(),
        )?;
        let mut home = Self {
            inventory: MemoryInventory::new(),
            root: issued.certificate().clone(),
            key,
            locks: MemoryLocks::default(),
        };
        home.record_root(&root)?;
        Ok(home)
    }

    fn record_root(&mut self, root: &AuthorityGeneration) -> Result<(), Box<dyn Error>> {
        let now = SystemClock.now();
        let generation = NewGeneration {
            authority: root.name.clone(),
            generation: root.generation,
            subject: self.root.subject(),
            key_reference: "authorities/root/1.key.pem".parse()?,
        };
        let certificate = new_certificate(self.root.clone(), Role::Root, None)?;
        self.inventory
            .record_authority(generation, certificate, now)?;
        let current = GenerationChange {
            generation: root.generation,
            to: GenerationState::Current,
        };
        self.inventory
            .settle_generations(&root.name, &[current], now)?;
        Ok(())
    }

    /// A leaf with a new key. It is recorded before anybody gets it.
    fn issue(&mut self, id: &RegistrationId) -> Result<(Certificate, PrivateKey), Box<dyn Error>> {
        let now = SystemClock.now();
        let key = SoftwareKeyGenerator.generate(KeyAlgorithm::EcdsaP256)?;
        let spec = LeafSpec {
            validity: Span::from_days(365),
            content: vec![KeyPurpose::ClientAuth].into(),
            alternative_names: Vec::new(),
        };
        let root = root()?;
        let signer = SoftwareSigner::new(&self.key)?;
        let authority = SigningAuthority::new(
            root.name,
            root.generation,
            self.root.clone(),
            &signer,
            IssuancePolicy::default(),
        )?;
        let public_key = SoftwareSigner::new(&key)?.public_key().to_vec();
        let serial = SerialNumber::random(&SystemEntropy)?;
        let name = LeafName::try_from(id.clone())?;
        let issued = authority.issue_leaf(&name, public_key, &spec, &serial, now)?;
        let leaf = issued.certificate().clone();
        let new = new_certificate(leaf.clone(), Role::Leaf, Some(id.clone()))?;
        let recorded = self.inventory.record(vec![new], now)?;
        let rows: Vec<_> = recorded.iter().map(|recorded| recorded.row()).collect();
        self.inventory.mark_delivered(&rows, now)?;
        Ok((leaf, key))
    }

    fn around<'a>(&'a self, planes: &'a Planes<'_>) -> Surroundings<'a> {
        Surroundings {
            instance: planes.instance(),
            journal: &self.inventory,
            named: Some(10),
        }
    }

    /// A plan is stored in the journal, and followed step by step.
    async fn carry_out(
        &mut self,
        planes: &Planes<'_>,
        judged: &Judged,
        log: &mut Log,
    ) -> Result<(), Box<dyn Error>> {
        let mut engine = Engine {
            name: planes.name(),
            dps: planes,
            journal: &mut self.inventory,
            clock: &SystemClock,
            entropy: &SystemEntropy,
            keys: &OneKey::new(&self.key),
            locks: &self.locks,
            policy: IssuancePolicy::default(),
        };
        let order = Order {
            superseded: engine.superseded(judged.plan.plan())?,
            ..Order::new(&judged.plan)
        };
        engine.check_keys(judged.plan.plan())?;
        let failed = engine
            .carry_out(&order, log, &Interruption::default())
            .await?;
        assert!(failed.is_empty());
        Ok(())
    }
}

fn root() -> Result<AuthorityGeneration, Box<dyn Error>> {
    let name: AuthorityName = "root".parse()?;
    let generation = Generation::FIRST;
    Ok(AuthorityGeneration { name, generation })
}

fn new_certificate(
    certificate: Certificate,
    role: Role,
    registration_id: Option<RegistrationId>,
) -> Result<NewCertificate, Box<dyn Error>> {
    Ok(NewCertificate {
        certificate,
        role,
        signed_by: Some(root()?),
        registration_id,
        batch: None,
        labels: Labels::default(),
        request: None,
        uniqueness: Uniqueness::OnlyLeaf,
    })
}

fn declared(emulator: &EmulatorHandle) -> String {
    let port = emulator.address().port();
    format!(
        r#"
        [authority.root]
        subject = "CN=Contoso Root CA"
        key = "ecdsa-p256"
        validity = "10y"

        [dps.local]
        service = "localhost:{port}"
        id-scope = "0ne00000000"

        [dps.local.ca.root]
        verified-by = "possession"

        [dps.local.group.line-1]
        authority = "root"
        "#
    )
}

/// The emulator takes any token.
struct NoSecrets;

impl Secrets for NoSecrets {
    fn secret(&self, _: &SecretSource, what: &str) -> Result<SecretString, PortError> {
        Err(PortError::new(
            Class::NotFound,
            format!("there is no {what}"),
        ))
    }
}

/// Keeps what was done.
#[derive(Default)]
struct Log(Vec<String>);

impl Observer for Log {
    fn observe(&mut self, event: Event<'_>) {
        if let Event::Done { step, .. } = event {
            self.0.push(step.to_string());
        }
    }
}
