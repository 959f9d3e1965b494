//! A small PKI, the DPS that it is for, and a plan that changes every kind of record.

use std::sync::Arc;

use dps_operations::execute::Progress;
use dps_operations::testing::{Calls, MemoryDps, MemoryLocks, OneKey};
use dps_operations::{Engine, ExecuteError, Failures, Interruption, Observer, Order, StepFailure};
use pki_core::admission::DpsView;
use pki_core::authority::{AuthoritySpec, IssuancePolicy, create_root};
use pki_core::certificate::Certificate;
use pki_core::enrollment::{
    EnrollmentGroup, IndividualEnrollment, ProvisioningStatus, RegistrationState,
    RegistrationStatus, compose,
};
use pki_core::hub::{HubDevice, HubDeviceStatus};
use pki_core::ids::{
    AuthorityGeneration, AuthorityName, CertificateName, DeviceId, DpsName, Etag, Generation,
    HubHostName, SerialNumber,
};
use pki_core::inventory::{
    GenerationChange, GenerationState, Inventory as _, Labels, NewCertificate, NewGeneration,
    Uniqueness,
};
use pki_core::journal::{PlanRecord, PlanSummary};
use pki_core::key::software::{SoftwareKeyGenerator, SoftwareSigner};
use pki_core::key::{KeyAlgorithm, KeyGenerator as _};
use pki_core::lifecycle::{
    CaAction, CaStep, Checked, Expectation, Fleet, HubDeviceAction, HubDeviceStep, Plan, Promise,
    Step,
};
use pki_core::ports::Clock;
use pki_core::profile::Role;
use pki_core::testing::{MemoryInventory, SeededEntropy};
use pki_core::time::{Span, Time};

/// A home's inventory and its DPS; a clone goes its own way.
pub(crate) struct Site {
    pub(crate) dps: MemoryDps,
    pub(crate) journal: MemoryInventory,
    pub(crate) locks: MemoryLocks,
    name: DpsName,
    keys: OneKey,
    entropy: SeededEntropy,
    root: Certificate,
}

pub(crate) fn now() -> Time {
    "2026-06-01T12:00:00Z".parse().expect("time")
}

pub(crate) fn hub() -> HubHostName {
    "hub-1.azure-devices.net".parse().expect("hub")
}

pub(crate) fn id<T: std::str::FromStr>(text: &str) -> T {
    text.parse().ok().expect("a name")
}

impl Site {
    /// `sensor-1` has registered; its authority `root` has made two generations.
    pub(crate) fn new(calls: Arc<dyn Calls>) -> Self {
        let key = SoftwareKeyGenerator
            .generate(KeyAlgorithm::EcdsaP256)
            .expect("key");
        let signer = SoftwareSigner::new(&key).expect("signer");
        let spec = AuthoritySpec {
            subject: "CN=Contoso Root CA".parse().expect("subject"),
            validity: Span::from_days(3650),
            path_length: None,
            digital_signature: false,
        };
        let entropy = SeededEntropy::new(1);
        let serial = SerialNumber::random(&entropy).expect("serial");
        let policy = IssuancePolicy::default();
        let first = Generation::FIRST;
        let root = create_root(id("root"), first, &spec, &signer, policy, &serial, now());
        let root = root.expect("root").certificate().clone();
        let mut site = Self {
            dps: MemoryDps::new(calls),
            journal: MemoryInventory::new(),
            locks: MemoryLocks::default(),
            name: id("dev"),
            keys: OneKey::new(&key),
            entropy,
            root,
        };
        site.record_root();
        site.register();
        site
    }

    fn record_root(&mut self) {
        let name: AuthorityName = id("root");
        let generation = Generation::FIRST;
        let recorded = self.journal.record_authority(
            NewGeneration {
                authority: name.clone(),
                generation,
                subject: self.root.subject(),
                key_reference: id("authorities/root/1.key.pem"),
            },
            NewCertificate {
                certificate: self.root.clone(),
                role: Role::Root,
                signed_by: Some(AuthorityGeneration { name, generation }),
                registration_id: None,
                batch: None,
                labels: Labels::default(),
                request: None,
                uniqueness: Uniqueness::OnlyLeaf,
            },
            now(),
        );
        recorded.expect("recorded");
    }

    fn register(&self) {
        let record = RegistrationState::new(id("sensor-1"), RegistrationStatus::Assigned);
        self.dps.put_registration(record);
        for device in ["sensor-1", "sensor-2"] {
            let device = HubDevice {
                device_id: id(device),
                status: HubDeviceStatus::Enabled,
                status_reason: None,
                authentication: None,
                etag: None,
                other: serde_json::Map::new(),
            };
            self.dps.put_identity(&hub(), device);
        }
    }

    /// A CA certificate with its proof, a group, entries of devices in one call and alone, a registration
    /// record, hub identities, and the inventory.
    pub(crate) fn plan(&self) -> Checked {
        let ca: CertificateName = id("root");
        let attestation = compose::by_ca_reference(ca.clone());
        let group = EnrollmentGroup::new(id("line-1"), attestation);
        let upload = CaStep {
            name: ca,
            sha1_thumbprint: self.root.sha1_thumbprint(),
            action: CaAction::Upload {
                authority: id("root"),
                certificate: self.root.to_pem(),
                sha256_thumbprint: self.root.sha256_thumbprint(),
                self_attested: false,
                replaces: None,
                admitted: vec![],
            },
            expect: Expectation::Absent,
        };
        let prove = upload.then(CaAction::Prove {
            authority: id("root"),
        });
        let mut steps = vec![
            Step::Ca(upload),
            Step::Ca(prove),
            Step::put_group(group, vec![], Expectation::Absent),
        ];
        for device in ["sensor-1", "sensor-2", "sensor-3"] {
            let attestation = compose::by_leaf(&self.root);
            let mut entry = IndividualEnrollment::new(id(device), attestation);
            entry.provisioning_status = ProvisioningStatus::Disabled;
            steps.push(Step::put_individual(entry, vec![], Expectation::Absent));
        }
        let tag = |text: &str| Expectation::Etag(Etag::new(text));
        steps.push(Step::delete_registration(id("sensor-1"), tag("\"1\"")));
        steps.push(Step::HubDevice(HubDeviceStep {
            hub: hub(),
            device_id: id::<DeviceId>("sensor-1"),
            action: HubDeviceAction::Disable {
                reason: "stolen".to_owned(),
            },
            expect: tag("\"2\""),
        }));
        steps.push(Step::HubDevice(HubDeviceStep {
            hub: hub(),
            device_id: id::<DeviceId>("sensor-2"),
            action: HubDeviceAction::Delete,
            expect: tag("\"3\""),
        }));
        let change = GenerationChange {
            generation: Generation::FIRST,
            to: GenerationState::Current,
        };
        steps.push(Step::settle(id("root"), vec![change]));
        self.checked(Plan {
            steps,
            ..Plan::new("change one of each")
        })
    }

    /// What the checker makes of a plan where no device has a leaf yet.
    pub(crate) fn checked(&self, plan: Plan) -> Checked {
        let nobody = Fleet::of_leaves([]);
        let checked = Checked::new(plan, &DpsView::default(), &nobody, &Promise::as_shown());
        checked.expect("a plan that keeps its promise")
    }

    /// Carries a plan out, or what is left of it.
    pub(crate) fn carry_out(
        &mut self,
        clock: &dyn Clock,
        plan: &Checked,
        observer: &mut dyn Observer,
        interruption: &Interruption,
    ) -> Result<Vec<StepFailure>, ExecuteError> {
        wait(async {
            let mut engine = self.engine(clock);
            let superseded = engine.superseded(plan.plan())?;
            engine.check_keys(plan.plan())?;
            let order = Order {
                failures: Failures::Stop,
                superseded,
                ..Order::new(plan)
            };
            engine.carry_out(&order, observer, interruption).await
        })
    }

    pub(crate) fn resume(
        &mut self,
        clock: &dyn Clock,
        record: PlanRecord,
    ) -> Result<Vec<StepFailure>, ExecuteError> {
        let interruption = Interruption::default();
        let mut engine = self.engine(clock);
        let Some(taken_up) = engine.take_up(record)? else {
            return Ok(Vec::new());
        };
        engine.check_keys(taken_up.plan())?;
        wait(engine.resume(taken_up, &mut (), &interruption))
    }

    /// Closes a plan as one that takes its place does.
    pub(crate) fn supersede(
        &mut self,
        clock: &dyn Clock,
        open: &PlanSummary,
    ) -> Result<(), ExecuteError> {
        wait(self.engine(clock).supersede(open, &open.goal))
    }

    /// What DPS, hubs and inventory hold, but for tags and times.
    pub(crate) fn state(&self) -> Vec<String> {
        let mut state = self.dps.dump();
        let authority = self.journal.authority(&id("root")).expect("read");
        for generation in authority.expect("there").generations {
            state.push(format!("generation {:?}", generation.state));
        }
        state
    }

    fn engine<'a>(&'a mut self, clock: &'a dyn Clock) -> Engine<'a> {
        Engine {
            name: &self.name,
            dps: &self.dps,
            journal: &mut self.journal,
            clock,
            entropy: &self.entropy,
            keys: &self.keys,
            locks: &self.locks,
            policy: IssuancePolicy::default(),
        }
    }
}

/// How far a plan got, if its error says so.
pub(crate) fn progress(error: &ExecuteError) -> Option<Progress> {
    match error {
        ExecuteError::Interrupted(progress)
        | ExecuteError::InterruptedInStep(progress)
        | ExecuteError::Unrecorded { progress, .. } => Some(*progress),
        ExecuteError::Stopped(stopped) => Some(stopped.progress),
        _ => None,
    }
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("runtime");
    runtime.block_on(future)
}
