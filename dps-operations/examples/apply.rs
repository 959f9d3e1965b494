//! What `dps-pki apply` does, without the command line: a root's certificate is uploaded to a DPS, its
//! possession proven, and a group made that refers to it. The DPS is the emulator, in this process.

use std::error::Error;
use std::sync::Arc;

use dps_client::transport::HttpTransport;
use dps_emulator::{Emulator, EmulatorConfig, EmulatorHandle};
use dps_operations::gather::DpsSnapshot;
use dps_operations::judge::Judge;
use dps_operations::planes::Way;
use dps_operations::ports::Secrets;
use dps_operations::testing::{MemoryLocks, OneKey};
use dps_operations::{Class, Engine, Event, Interruption, Observer, Order, Planes, PortError};
use pki_core::authority::{AuthoritySpec, IssuancePolicy, create_root};
use pki_core::declaration::Declaration;
use pki_core::ids::{AuthorityGeneration, AuthorityName, Generation, SerialNumber};
use pki_core::inventory::{
    GenerationChange, GenerationState, Inventory as _, Labels, NewCertificate, NewGeneration,
    Uniqueness,
};
use pki_core::key::software::{SoftwareKeyGenerator, SoftwareSigner};
use pki_core::key::{KeyAlgorithm, KeyGenerator as _, PrivateKey};
use pki_core::lifecycle::{Promise, converge};
use pki_core::ports::Clock as _;
use pki_core::ports::system::{SystemClock, SystemEntropy};
use pki_core::profile::Role;
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
    let steps = apply().await?;
    assert_eq!(steps.len(), 3);
    Ok(())
}

/// Applies a declaration to a DPS that holds nothing; returns what was done, step by step.
///
/// # Errors
/// Whatever goes wrong on the way.
pub(crate) async fn apply() -> Result<Vec<String>, Box<dyn Error>> {
    let emulator = Emulator::start(EmulatorConfig {
        dps_name: "local".to_owned(),
        resource_group: "local".to_owned(),
        ..EmulatorConfig::default()
    })
    .await?;
    let declaration = Declaration::parse(&declared(&emulator))?;
    let (name, declared) = declaration.dps.first_key_value().ok_or("no DPS")?;
    let key = SoftwareKeyGenerator.generate(KeyAlgorithm::EcdsaP256)?;
    let mut inventory = inventory_with_root(&key)?;

    // The clients of the instance, and what it holds.
    let options = Planes::options(declared, Some(emulator.trust_anchor_pem().to_owned()));
    let way = Way {
        transport: Arc::new(HttpTransport::new(&options)?),
        routes: options.routes,
        clock: Arc::new(SystemClock),
        secrets: &NoSecrets,
    };
    let planes = Planes::new(name, declared, way);
    let snapshot = DpsSnapshot::gather(&planes).await?;

    // The core plans; the checker looks at every step before anybody is asked.
    let plan = converge(name, declared, &snapshot.declared_state(&inventory)?)?;
    let judged = Judge {
        inventory: &inventory,
        before: &snapshot.view()?,
        at: SystemClock.now(),
        named: Some(10),
    }
    .plan(plan, &Promise::as_shown(), planes.rate())?;
    assert!(judged.impact.is_none(), "no device has a leaf yet");

    // It is stored, and followed step by step.
    let mut engine = Engine {
        name,
        dps: &planes,
        journal: &mut inventory,
        clock: &SystemClock,
        entropy: &SystemEntropy,
        keys: &OneKey::new(&key),
        locks: &MemoryLocks::default(),
        policy: IssuancePolicy::default(),
    };
    let order = Order {
        superseded: engine.superseded(judged.plan.plan())?,
        ..Order::new(&judged.plan)
    };
    engine.check_keys(judged.plan.plan())?;
    let mut log = Log::default();
    let failed = engine
        .carry_out(&order, &mut log, &Interruption::default())
        .await?;
    assert!(failed.is_empty());

    // DPS holds it now, and the same declaration leaves nothing to do.
    let after = DpsSnapshot::gather(&planes).await?;
    let left = converge(name, declared, &after.declared_state(&inventory)?)?;
    assert!(left.is_empty());
    emulator.shutdown().await?;
    Ok(log.0)
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

/// An inventory in memory, with the first generation of `root`.
fn inventory_with_root(key: &PrivateKey) -> Result<MemoryInventory, Box<dyn Error>> {
    let name: AuthorityName = "root".parse()?;
    let generation = Generation::FIRST;
    let now = SystemClock.now();
    let spec = AuthoritySpec {
        subject: "CN=Contoso Root CA".parse()?,
        validity: Span::from_days(3650),
        path_length: None,
    };
    let signer = SoftwareSigner::new(key)?;
    let serial = SerialNumber::random(&SystemEntropy)?;
    let policy = IssuancePolicy::default();
    let issued = create_root(
        name.clone(),
        generation,
        &spec,
        &signer,
        policy,
        &serial,
        now,
    )?;
    let certificate = issued.certificate().clone();

    let mut inventory = MemoryInventory::new();
    inventory.record_authority(
        NewGeneration {
            authority: name.clone(),
            generation,
            subject: certificate.subject(),
            key_reference: "authorities/root/1.key.pem".parse()?,
        },
        NewCertificate {
            certificate,
            role: Role::Root,
            signed_by: Some(AuthorityGeneration {
                name: name.clone(),
                generation,
            }),
            registration_id: None,
            batch: None,
            labels: Labels::default(),
            request: None,
            uniqueness: Uniqueness::OnlyLeaf,
        },
        now,
    )?;
    let to = GenerationState::Current;
    inventory.settle_generations(&name, &[GenerationChange { generation, to }], now)?;
    Ok(inventory)
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
