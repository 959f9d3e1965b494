//! A line of devices: a root of which DPS knows, the group of its devices, and two that have registered.

use std::collections::BTreeMap;
use std::sync::Arc;

use dps_operations::judge::Judged;
use dps_operations::ports::Keys;
use dps_operations::roll::{Instances, Proof, Rolling};
use dps_operations::target::Target;
use dps_operations::testing::{MemoryDps, MemoryLocks, OneKey};
use dps_operations::{
    Engine, ExecuteError, Failures, Instance, Interruption, Order, PortError, StepFailure,
    Surroundings,
};
use pki_core::authority::{AuthoritySpec, IssuancePolicy, LeafSpec, SigningAuthority, create_root};
use pki_core::certificate::Certificate;
use pki_core::declaration::Declaration;
use pki_core::enrollment::{EnrollmentGroup, RegistrationState, RegistrationStatus, compose};
use pki_core::hub::HubDevice;
use pki_core::ids::{AuthorityGeneration, EnrollmentGroupId, Generation, SerialNumber};
use pki_core::inventory::{
    GenerationChange, GenerationState, Inventory as _, KeyReference, Labels, NewCertificate,
    NewGeneration, Uniqueness,
};
use pki_core::key::software::{SoftwareKeyGenerator, SoftwareSigner};
use pki_core::key::{KeyAlgorithm, KeyGenerator as _, Signer};
use pki_core::profile::{KeyPurpose, Role};
use pki_core::testing::{FixedClock, MemoryInventory, SeededEntropy};
use pki_core::time::Span;
use serde_json::json;

use super::faults::Fate;
use super::site::{hub, id, now, wait};

const DECLARED: &str = r#"
    [authority.root]
    subject = "CN=Contoso Root CA"
    key = "ecdsa-p256"
    validity = "10y"

    [dps.local]
    service = "localhost:1"
    id-scope = "0ne00000000"

    [dps.local.ca.root]
    verified-by = "possession"

    [dps.local.group.line-1]
    authority = "root"
"#;

/// A home's inventory and its DPS.
pub(crate) struct Line {
    pub(crate) dps: MemoryDps,
    pub(crate) journal: MemoryInventory,
    pub(crate) fate: Fate,
    declaration: Declaration,
    locks: MemoryLocks,
    keys: Ring,
    entropy: SeededEntropy,
    /// The generations of the root, oldest first.
    generations: Vec<Made>,
}

struct Made {
    id: AuthorityGeneration,
    certificate: Certificate,
    signer: SoftwareSigner,
}

/// The keys of the generations, by their places.
#[derive(Default)]
struct Ring(BTreeMap<String, OneKey>);

impl Keys for Ring {
    fn open(&self, key: &KeyReference) -> Result<Box<dyn Signer>, PortError> {
        self.0[key.as_str()].open(key)
    }
}

pub(crate) fn group() -> EnrollmentGroupId {
    id("line-1")
}

impl Line {
    /// The root was made, and DPS holds nothing.
    pub(crate) fn empty() -> Self {
        let fate = Fate::new();
        let mut line = Self {
            dps: MemoryDps::new(Arc::new(fate.clone())),
            journal: MemoryInventory::new(),
            fate,
            declaration: Declaration::parse(DECLARED).expect("declared"),
            locks: MemoryLocks::default(),
            keys: Ring::default(),
            entropy: SeededEntropy::new(7),
            generations: Vec::new(),
        };
        line.make_generation();
        let current = GenerationChange {
            generation: Generation::FIRST,
            to: GenerationState::Current,
        };
        line.journal
            .settle_generations(&id("root"), &[current], now())
            .expect("current");
        line
    }

    /// DPS holds what is declared, and `sensor-1` and `sensor-2` have registered.
    pub(crate) fn running() -> Self {
        let mut line = Self::empty();
        line.dps.link(&hub());
        line.dps.put_verified(&id("root"), line.root());
        let by_root = compose::by_ca_reference(id("root"));
        line.dps
            .overwrite_group(EnrollmentGroup::new(group(), by_root));
        for device in ["sensor-1", "sensor-2"] {
            let leaf = line.issue(device);
            line.register(device, &leaf);
        }
        line
    }

    /// `sensor-1` has moved to the second generation, on which the group is since; `above` lets in by the first,
    /// and has let `sensor-2` in.
    pub(crate) fn rolled() -> Self {
        let mut line = Self::running();
        line.make_generation();
        let second = &line.generations[1].certificate;
        line.dps.put_verified(&id("root-2"), second);
        let changes = [(0, GenerationState::Retired), (1, GenerationState::Current)];
        let changes = changes.map(|(place, to): (usize, _)| GenerationChange {
            generation: line.generations[place].id.generation,
            to,
        });
        line.journal
            .settle_generations(&id("root"), &changes, now())
            .expect("rolled");
        let by_first = compose::by_ca_reference(id("root"));
        line.dps
            .overwrite_group(EnrollmentGroup::new(id("above"), by_first));
        let by_second = compose::by_ca_reference(id("root-2"));
        line.dps
            .overwrite_group(EnrollmentGroup::new(group(), by_second));
        let leaf = line.issue("sensor-1");
        line.register("sensor-1", &leaf);
        let leaf = line.target("sensor-2").leaf.expect("a leaf");
        line.register_by(&id("above"), "sensor-2", &leaf);
        line
    }

    /// A generation of the root with a new key, beside those that are there.
    pub(crate) fn make_generation(&mut self) {
        let last = self.generations.last();
        let generation = AuthorityGeneration {
            name: id("root"),
            generation: last.map_or(Generation::FIRST, |last| last.id.generation.next()),
        };
        let key = SoftwareKeyGenerator
            .generate(KeyAlgorithm::EcdsaP256)
            .expect("key");
        let signer = SoftwareSigner::new(&key).expect("signer");
        let spec = AuthoritySpec {
            subject: id("CN=Contoso Root CA"),
            validity: Span::from_days(3650),
            path_length: None,
            digital_signature: false,
        };
        let made = create_root(
            generation.name.clone(),
            generation.generation,
            &spec,
            &signer,
            IssuancePolicy::default(),
            &SerialNumber::random(&self.entropy).expect("serial"),
            now(),
        );
        let certificate = made.expect("root").certificate().clone();
        let place = format!("authorities/root/{}.key.pem", generation.generation);
        let recorded = self.journal.record_authority(
            NewGeneration {
                authority: generation.name.clone(),
                generation: generation.generation,
                subject: certificate.subject(),
                key_reference: id(&place),
            },
            Self::new_certificate(certificate.clone(), Role::Root, &generation),
            now(),
        );
        recorded.expect("recorded");
        self.keys.0.insert(place, OneKey::new(&key));
        self.generations.push(Made {
            id: generation,
            certificate,
            signer,
        });
    }

    /// A generation by its place.
    pub(crate) fn generation(&self, place: usize) -> (AuthorityGeneration, Certificate) {
        let made = &self.generations[place];
        (made.id.clone(), made.certificate.clone())
    }

    fn root(&self) -> &Certificate {
        &self.generations[0].certificate
    }

    fn new_certificate(
        certificate: Certificate,
        role: Role,
        signed_by: &AuthorityGeneration,
    ) -> NewCertificate {
        NewCertificate {
            certificate,
            role,
            signed_by: Some(signed_by.clone()),
            registration_id: None,
            batch: None,
            labels: Labels::default(),
            request: None,
            uniqueness: Uniqueness::OnlyLeaf,
        }
    }

    /// A leaf with a new key of the newest generation, recorded and delivered. It renews one that is valid.
    pub(crate) fn issue(&mut self, device: &str) -> Certificate {
        let key = SoftwareKeyGenerator
            .generate(KeyAlgorithm::EcdsaP256)
            .expect("key");
        let public_key = SoftwareSigner::new(&key)
            .expect("signer")
            .public_key()
            .to_vec();
        let spec = LeafSpec {
            validity: Span::from_days(365),
            content: vec![KeyPurpose::ClientAuth].into(),
            alternative_names: Vec::new(),
        };
        let serial = SerialNumber::random(&self.entropy).expect("serial");
        let signer = self.generations.last().expect("a generation");
        let authority = SigningAuthority::new(
            signer.id.name.clone(),
            signer.id.generation,
            signer.certificate.clone(),
            &signer.signer,
            IssuancePolicy::default(),
        );
        let issued = authority.expect("authority").issue_leaf(
            &id(device),
            public_key,
            &spec,
            &serial,
            now(),
        );
        let leaf = issued.expect("leaf").certificate().clone();
        let renewed = self.journal.live_leaves(&id(device), now()).expect("read");
        let uniqueness = match renewed.first() {
            Some(entry) => Uniqueness::Renews(entry.recorded.row()),
            None => Uniqueness::OnlyLeaf,
        };
        let new = NewCertificate {
            registration_id: Some(id(device)),
            uniqueness,
            ..Self::new_certificate(leaf.clone(), Role::Leaf, &signer.id)
        };
        let recorded = self.journal.record(vec![new], now()).expect("recorded");
        self.journal
            .mark_delivered(&[recorded[0].row()], now())
            .expect("delivered");
        leaf
    }

    /// A device registers with a leaf: DPS has a record of it, and writes its thumbprint at the hub.
    pub(crate) fn register(&self, device: &str, leaf: &Certificate) {
        self.register_by(&group(), device, leaf);
    }

    /// The same by another group.
    pub(crate) fn register_by(&self, group: &EnrollmentGroupId, device: &str, leaf: &Certificate) {
        let mut record = RegistrationState::new(id(device), RegistrationStatus::Assigned);
        record.assigned_hub = Some(hub());
        record.device_id = Some(id(device));
        record.last_updated_date_time_utc = Some("2026-06-01T13:00:00Z".to_owned());
        self.dps.put_registration_by(group, record);
        let shown = leaf.sha1_thumbprint().to_string();
        let identity = json!({
            "deviceId": device,
            "status": "enabled",
            "authentication": {
                "type": "selfSigned",
                "x509Thumbprint": {"primaryThumbprint": shown, "secondaryThumbprint": null},
            },
        });
        let identity: HubDevice = serde_json::from_value(identity).expect("an identity");
        self.dps.put_identity(&hub(), identity);
    }

    /// From now on `pki.toml` declares neither groups nor CA certificates.
    pub(crate) fn declare_no_records(&mut self) {
        let (kept, _) = DECLARED
            .split_once("[dps.local.ca.root]")
            .expect("declared");
        self.declaration = Declaration::parse(kept).expect("declared");
    }

    /// Carries the parts of a roll out in their turns, and reads back what DPS decides.
    pub(crate) fn roll(&mut self, rolling: &Rolling) -> Result<Vec<Proof>, ExecuteError> {
        let clock = FixedClock(now());
        // The journal is written while the instance is looked at.
        let declaration = self.declaration.clone();
        let dps = self.dps.clone();
        let (name, declared) = declaration.dps.first_key_value().expect("one");
        let instance = Instance {
            name,
            declared,
            dps: &dps,
            clock: &clock,
        };
        let instances = wait(Instances::gather([instance])).expect("read");
        let passed = rolling.check(&instances, &self.journal).expect("kept");
        for (index, part) in &passed.turns {
            let judged = passed.judged(&instances, *index, part);
            self.carry_out(&judged, Failures::Stop)?;
        }
        Ok(wait(rolling.read_back(&instances, 0, &passed)).expect("as planned"))
    }

    /// What an operation sees. Deaths hit only whoever carries out: looking changes nothing.
    pub(crate) fn around<'a>(&'a self, clock: &'a FixedClock) -> Surroundings<'a> {
        let (name, declared) = self.declaration.dps.first_key_value().expect("one");
        Surroundings {
            instance: Instance {
                name,
                declared,
                dps: &self.dps,
                clock,
            },
            journal: &self.journal,
            named: None,
        }
    }

    pub(crate) fn root_serial(&self) -> String {
        self.root().serial_number().to_string()
    }

    pub(crate) fn target(&self, device: &str) -> Target {
        Target::named(&self.journal, device, now()).expect("a name")
    }

    /// Carries a plan out as front ends do; a plan of nothing closes what was cut after its last write.
    pub(crate) fn carry_out(
        &mut self,
        judged: &Judged,
        failures: Failures,
    ) -> Result<Vec<StepFailure>, ExecuteError> {
        let (name, _) = self.declaration.dps.first_key_value().expect("one");
        let mut engine = Engine {
            name,
            dps: &self.dps,
            journal: &mut self.journal,
            clock: &self.fate,
            entropy: &self.entropy,
            keys: &self.keys,
            locks: &self.locks,
            policy: IssuancePolicy::default(),
        };
        wait(async {
            let plan = judged.plan.plan();
            if plan.is_empty() {
                for open in engine.left_open(&plan.goal)? {
                    engine.supersede(&open, &plan.goal).await?;
                }
                return Ok(Vec::new());
            }
            let order = Order {
                failures,
                superseded: engine.superseded(plan)?,
                ..Order::new(&judged.plan)
            };
            engine.check_keys(plan)?;
            engine
                .carry_out(&order, &mut (), &Interruption::default())
                .await
        })
    }

    /// What DPS, hubs and inventory hold, but for tags and times.
    pub(crate) fn state(&self) -> Vec<String> {
        let mut state = self.dps.dump();
        for device in ["sensor-1", "sensor-2"] {
            for leaf in self.journal.certificates_of(&id(device)).expect("read") {
                state.push(format!("leaf of {device} {:?}", leaf.state.status()));
            }
        }
        state
    }
}
