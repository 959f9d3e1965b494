//! A fleet, its PKI as the inventory has it, and the DPS instances and hubs that know it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pki_core::admission::DpsView;
use pki_core::certificate::Certificate;
use pki_core::declaration::{Declaration, DpsDeclaration, VerifiedBy};
use pki_core::enrollment::compose::{by_ca_reference, by_leaf, by_signing_certificate};
use pki_core::enrollment::{
    Attestation, CertificateSlot, EnrollmentGroup, IndividualEnrollment, Mechanism,
    ProvisioningStatus, RegistrationState, RegistrationStatus, X509Certificates,
};
use pki_core::hub::{HubDevice, HubDeviceStatus};
use pki_core::ids::{DpsName, EnrollmentGroupId, Etag, HubHostName, Sha1Thumbprint};
use pki_core::inventory::GenerationState;
use pki_core::lifecycle::roll::{Below, Instance, RegisteredDevice, RollState};
use pki_core::lifecycle::{
    AuthorityStep, Class, CompromisedGeneration, DeclaredState, Exception, Fleet, HubDeviceAction,
    HubIdentity, Step,
};
use pki_core::testing::{Copies, SampleDps, Service};
use pki_core::time::Time;

use crate::lifecycle_properties::judge::{Documents, lets_in_at};
use crate::support::{generations_of, now};
use crate::walks::draws::Draws;
use crate::walks::pki::{
    FACTORY, LINE_A, LINE_B, LINE_C, LINE_D, LINE_E, Leaf, LeafKey, OTHER_ROOT, Pki, ROOT, Signer,
    device_id, number,
};

pub(crate) const HUBS: [&str; 2] = ["hub-a.azure-devices.net", "hub-b.azure-devices.net"];

/// The groups that there may be, and what they hold.
const GROUPS: [(&str, &[usize]); 11] = [
    ("a", &[LINE_A]),
    ("a-again", &[LINE_A]),
    ("ab", &[LINE_A, LINE_B]),
    ("ba", &[LINE_B, LINE_A]),
    ("b", &[LINE_B]),
    ("c", &[LINE_C]),
    ("d", &[LINE_D]),
    ("e", &[LINE_E]),
    ("factory", &[FACTORY]),
    ("top", &[ROOT]),
    ("other", &[OTHER_ROOT]),
];

/// What the judge decides about a leaf in an instance.
pub(crate) type Admitted = BTreeMap<(usize, LeafKey), bool>;

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) instances: Vec<Site>,
    pub(crate) generations: Vec<Vec<GenerationState>>,
    pub(crate) devices: Vec<Device>,
    /// Which device identities hubs hold, and whether they are enabled.
    pub(crate) hubs: BTreeMap<(usize, usize), bool>,
    verified_by: VerifiedBy,
    /// What pki.toml says.
    declared: Option<Arc<Declaration>>,
}

/// An instance of DPS.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) dps: SampleDps,
    /// The groups that were deprovisioned.
    pub(crate) deprovisioned: BTreeSet<EnrollmentGroupId>,
    /// Who is registered, on which hub and with which leaf.
    pub(crate) registered: BTreeMap<usize, (usize, LeafKey)>,
    /// What the journal tells: whom the deletion of a CA certificate has cut off.
    cut_off: BTreeMap<Sha1Thumbprint, BTreeSet<Sha1Thumbprint>>,
}

#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) authority: usize,
    /// All its leaves, oldest first.
    pub(crate) leaves: Vec<LeafKey>,
    pub(crate) revoked: BTreeSet<LeafKey>,
}

impl World {
    pub(crate) fn drawn(draws: &mut Draws) -> Self {
        let service = Service {
            copies: [Copies::None, Copies::Shown, Copies::Stored][draws.below(3)],
            hides_certificates: draws.one_in(2),
            hides_authorities: draws.one_in(2),
            ..Service::default()
        };
        let verified_by = if draws.one_in(4) {
            VerifiedBy::SelfAttestation
        } else {
            VerifiedBy::Possession
        };
        let mut generations = vec![vec![GenerationState::Current]; Pki::authorities()];
        // Some authorities have been rolled before.
        for of_one in &mut generations {
            if draws.one_in(6) && of_one.len() < 2 {
                let gone = [GenerationState::Retired, GenerationState::Compromised];
                *of_one = vec![gone[draws.below(2)], GenerationState::Current];
            }
        }
        let mut world = Self {
            now: now(),
            instances: Vec::new(),
            generations,
            devices: Vec::new(),
            hubs: BTreeMap::new(),
            verified_by,
            declared: None,
        };
        let homes = [
            LINE_A, LINE_A, LINE_B, LINE_C, LINE_D, LINE_E, FACTORY, ROOT, OTHER_ROOT,
        ];
        for device in 0..6 + draws.below(15) {
            let authority = homes[draws.below(homes.len())];
            world.devices.push(Device {
                authority,
                leaves: Vec::new(),
                revoked: BTreeSet::new(),
            });
            world.issue(device);
        }
        for _ in 0..if draws.one_in(4) { 2 } else { 1 } {
            let site = Site {
                dps: SampleDps::of(service),
                deprovisioned: BTreeSet::new(),
                registered: BTreeMap::new(),
                cut_off: BTreeMap::new(),
            };
            world.instances.push(site);
            let place = world.instances.len() - 1;
            world.furnish(place, draws);
        }
        for device in 0..world.devices.len() {
            if !draws.one_in(3) {
                world.register(draws.below(2), device, draws.below(2));
            }
        }
        world.finish(service, draws);
        world
    }

    /// What came to the walks later: kept cases go on without it.
    fn finish(&mut self, service: Service, draws: &mut Draws) {
        let holds_each_once = draws.one_in(3);
        let refuses_dangling = draws.one_in(2);
        let service = Service {
            refuses_dangling,
            // No draw of its own: what follows in kept cases stays what it is.
            keeps_referred: refuses_dangling != service.hides_certificates,
            ..service
        };
        for site in &mut self.instances {
            site.dps.becomes(service);
            if holds_each_once {
                let held = &mut site.dps.authorities;
                held.retain(|held| held.name.as_str() != "old-root");
            }
        }
        self.declared = Some(Arc::new(self.declaration(draws)));
    }

    /// A `pki.toml` that fits what is there, more or less.
    fn declaration(&self, draws: &mut Draws) -> Declaration {
        let mut text = String::new();
        for authority in 0..Pki::authorities() {
            let name = Pki::name(authority);
            let issuer = Pki::above_of(authority);
            let issuer = issuer.map_or_else(String::new, |above| {
                format!("issuer = \"{}\"\n", Pki::name(above))
            });
            text.push_str(&format!(
                "[authority.{name}]\nsubject = \"CN={name}, O=Contoso\"\nkey = \"ecdsa-p256\"\nvalidity = \"{}d\"\n{issuer}",
                Pki::days(authority)
            ));
        }
        for place in 0..self.instances.len() {
            text.push_str(&self.declared_instance(place, draws));
        }
        Declaration::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn declared_instance(&self, place: usize, draws: &mut Draws) -> String {
        let name = format!("dps-{place}");
        let proof = match self.verified_by {
            VerifiedBy::SelfAttestation => "self-attestation",
            _ => "possession",
        };
        let mut text = format!(
            "[dps.{name}]\nservice = \"localhost:8443\"\nid-scope = \"0ne00000000\"\n\
             [dps.{name}.ca.root]\nverified-by = \"{proof}\"\n\
             [dps.{name}.ca.other-root]\nverified-by = \"{proof}\"\n"
        );
        for (id, holds) in GROUPS {
            let is_held = self.held_group(place, id);
            // Mostly what is there is what is declared.
            let likely = if is_held.is_some() { 2 } else { 6 };
            if holds.len() > 1 || !draws.one_in(likely) {
                continue;
            }
            let by_name = is_held.map_or_else(
                || Pki::is_root(holds[0]),
                |group| {
                    matches!(
                        group.attestation.mechanism,
                        Mechanism::X509(X509Certificates::CaReferences(_))
                    )
                },
            );
            let attestation = if by_name {
                "ca-reference"
            } else {
                "signing-certificate"
            };
            let is_disabled = is_held
                .is_some_and(|group| group.provisioning_status == ProvisioningStatus::Disabled);
            let status = if is_disabled { "disabled" } else { "enabled" };
            text.push_str(&format!(
                "[dps.{name}.group.{id}]\nauthority = \"{}\"\nattestation = \"{attestation}\"\nstatus = \"{status}\"\n",
                Pki::name(holds[0])
            ));
        }
        text
    }

    fn held_group(&self, place: usize, id: &str) -> Option<&EnrollmentGroup> {
        let mut groups = self.instances[place].dps.groups.iter();
        groups.find(|group| group.enrollment_group_id.as_str() == id)
    }

    pub(crate) fn declared(&self, place: usize) -> (&DpsName, &DpsDeclaration) {
        let declared = self.declared.as_ref().expect("a declaration");
        let declared = declared.dps.iter().nth(place);
        declared.expect("a declared instance")
    }

    pub(crate) fn declared_state(&self, place: usize) -> DeclaredState {
        let pki = Pki::shared();
        let site = &self.instances[place];
        let mut state = DeclaredState {
            authorities: site.dps.authorities.clone(),
            groups: site.dps.groups.clone(),
            deprovisioned: site.deprovisioned.clone(),
            ..DeclaredState::default()
        };
        for authority in 0..Pki::authorities() {
            let name = Pki::name(authority);
            for (generation, held) in self.generations[authority].iter().enumerate() {
                let signer = Signer {
                    authority,
                    generation,
                };
                let certificate = pki.certificate(signer).clone();
                match held {
                    GenerationState::Current => {
                        state.certificates.insert(name.clone(), certificate);
                    }
                    GenerationState::Next | GenerationState::Pending => {
                        let successors = state.successors.entry(name.clone());
                        successors.or_default().push(certificate);
                    }
                    GenerationState::Compromised => {
                        let path = Pki::path(signer).into_iter();
                        state.compromised.push(CompromisedGeneration {
                            generation: Pki::id(signer),
                            path: path.map(|one| pki.certificate(one).clone()).collect(),
                        });
                    }
                    _ => {}
                }
            }
        }
        state
    }

    pub(crate) fn is_compromised(&self, signer: Signer) -> bool {
        self.generations[signer.authority][signer.generation] == GenerationState::Compromised
    }

    fn furnish(&mut self, place: usize, draws: &mut Draws) {
        for (name, authority, rarely) in [
            ("root", ROOT, 8),
            ("other-root", OTHER_ROOT, 8),
            ("factory", FACTORY, 0),
            ("line-a", LINE_A, 0),
            ("line-d", LINE_D, 0),
            ("old-root", ROOT, 0),
        ] {
            let is_there = if rarely > 0 {
                !draws.one_in(rarely)
            } else {
                draws.one_in(7)
            };
            if is_there {
                let certificate = self.current(authority).clone();
                let dps = &mut self.instances[place].dps;
                dps.put_ca(&name.parse().expect("name"), &certificate, !draws.one_in(8));
            }
        }
        for (id, holds) in GROUPS {
            if draws.one_in(2) {
                self.put_group(place, id, holds, draws);
            }
        }
        for device in 0..self.devices.len() {
            if draws.one_in(5) {
                self.put_entry(place, device, draws);
            }
        }
    }

    pub(crate) fn put_group(&mut self, place: usize, id: &str, holds: &[usize], draws: &mut Draws) {
        let dps = &mut self.instances[place].dps;
        let name = Pki::name(holds[0]).to_string().parse().expect("name");
        let by_name = Pki::is_root(holds[0]) && !draws.one_in(3);
        let has_name = dps.authorities.iter().any(|held| held.name == name);
        let attestation = if by_name && has_name {
            by_ca_reference(name)
        } else {
            let certificate = Pki::shared().certificate(self.signer(holds[0]));
            let mut attestation = by_signing_certificate(certificate);
            if let (Some(second), Mechanism::X509(X509Certificates::Signing(slots))) =
                (holds.get(1), &mut attestation.mechanism)
            {
                let second = Pki::shared().certificate(self.signer(*second));
                slots.secondary = Some(CertificateSlot::from_pem(second.to_pem()));
            }
            attestation
        };
        let mut group = EnrollmentGroup::new(id.parse().expect("id"), attestation);
        if draws.one_in(4) {
            group.provisioning_status = ProvisioningStatus::Disabled;
        }
        self.instances[place].dps.put_group(&group);
    }

    pub(crate) fn put_entry(&mut self, place: usize, device: usize, draws: &mut Draws) {
        let pki = Pki::shared();
        let newest = *self.devices[device].leaves.last().expect("a leaf");
        let other = LeafKey { copy: 2, ..newest };
        let attestation = match draws.below(4) {
            0 => by_leaf(&pki.leaf(newest).certificate),
            1 => Attestation::generated_keys(),
            2 => by_leaf(&pki.leaf(other).certificate),
            _ => {
                let mut attestation = by_leaf(&pki.leaf(newest).certificate);
                if let Mechanism::X509(X509Certificates::Client(slots)) = &mut attestation.mechanism
                {
                    let second = pki.leaf(other).certificate.to_pem();
                    slots.secondary = Some(CertificateSlot::from_pem(second));
                }
                attestation
            }
        };
        // DPS keeps the spelling in which an entry was made.
        let id = format!("Device-{device}").parse().expect("id");
        let mut entry = IndividualEnrollment::new(id, attestation);
        if draws.one_in(3) {
            entry.provisioning_status = ProvisioningStatus::Disabled;
        }
        self.instances[place].dps.put_individual(&entry);
    }

    /// The generation that issues.
    pub(crate) fn signer(&self, authority: usize) -> Signer {
        let states = &self.generations[authority];
        let issues = |state: GenerationState| states.iter().rposition(|one| *one == state);
        let generation = issues(GenerationState::Next).or_else(|| issues(GenerationState::Current));
        Signer {
            authority,
            generation: generation.unwrap_or_default(),
        }
    }

    fn current(&self, authority: usize) -> &'static Certificate {
        Pki::shared().certificate(self.signer(authority))
    }

    /// A new leaf of a device, from the generation that issues.
    pub(crate) fn issue(&mut self, device: usize) -> Option<LeafKey> {
        let signer = self.signer(self.devices[device].authority);
        let device_held = &mut self.devices[device];
        let copy = device_held
            .leaves
            .iter()
            .filter(|leaf| leaf.signer == signer)
            .count();
        let key = LeafKey {
            device,
            signer,
            copy,
        };
        // Copy 2 is the leaf that nobody has issued, but that entries may name.
        (copy < 2).then(|| {
            device_held.leaves.push(key);
            key
        })
    }

    pub(crate) fn live(&self, device: usize) -> impl Iterator<Item = LeafKey> {
        let held = &self.devices[device];
        self.unexpired(device)
            .filter(|leaf| !held.revoked.contains(leaf))
    }

    /// Those that DPS may let in: it knows nothing of revocation.
    pub(crate) fn unexpired(&self, device: usize) -> impl Iterator<Item = LeafKey> {
        let leaves = self.devices[device].leaves.iter().copied();
        leaves.filter(|leaf| {
            let certificate = &Pki::shared().leaf(*leaf).certificate;
            certificate.validity().not_after() >= self.now
        })
    }

    /// A device shows one of its leaves at the door, and is let in or not.
    pub(crate) fn register(&mut self, hub: usize, device: usize, back: usize) {
        let leaves = &self.devices[device].leaves;
        let Some(leaf) = leaves
            .iter()
            .rev()
            .nth(back)
            .or_else(|| leaves.last())
            .copied()
        else {
            return;
        };
        for place in 0..self.instances.len() {
            if self.lets_in(place, leaf) {
                self.instances[place].registered.insert(device, (hub, leaf));
                self.hubs.entry((hub, device)).or_insert(true);
                return;
            }
        }
    }

    fn lets_in(&self, place: usize, leaf: LeafKey) -> bool {
        let documents = documents(&self.instances[place].dps);
        lets_in_at(
            &documents,
            &Pki::shared().leaf(leaf).presented,
            Some(self.unix()),
        )
    }

    fn unix(&self) -> i64 {
        self.now.unix_seconds()
    }

    /// What the judge says of every leaf, in every instance.
    pub(crate) fn admitted(&self) -> Admitted {
        let mut admitted = Admitted::new();
        for (place, site) in self.instances.iter().enumerate() {
            let documents = documents(&site.dps);
            for device in &self.devices {
                for key in &device.leaves {
                    let leaf: Arc<Leaf> = Pki::shared().leaf(*key);
                    let is_in = lets_in_at(&documents, &leaf.presented, Some(self.unix()));
                    admitted.insert((place, *key), is_in);
                }
            }
        }
        admitted
    }

    pub(crate) fn view(&self, place: usize) -> DpsView {
        let mut view = self.instances[place].dps.view();
        view.set_moment(self.now);
        view
    }

    pub(crate) fn entry(&self, place: usize, device: usize) -> Option<&IndividualEnrollment> {
        let mut entries = self.instances[place].dps.individuals.iter();
        entries.find(|entry| entry.registration_id == device_id(device))
    }

    /// The live leaves by classes, as the inventory would tell them; the devices of `also` by name.
    pub(crate) fn fleet(&self, place: usize, also: &[usize]) -> Fleet {
        let mut fleet = Fleet::default();
        let mut classes: BTreeMap<Signer, usize> = BTreeMap::new();
        for device in 0..self.devices.len() {
            let is_exception = also.contains(&device) || self.entry(place, device).is_some();
            for key in self.unexpired(device) {
                let class = *classes.entry(key.signer).or_insert_with(|| {
                    let above = Pki::shared().above(key.signer);
                    let class = Class::new(Some(Pki::id(key.signer)), above, 0);
                    fleet.classes.push(class);
                    fleet.classes.len() - 1
                });
                if is_exception {
                    fleet.exceptions.push(Exception {
                        id: device_id(device),
                        leaf: Pki::shared().leaf(key).certificate.sha256_thumbprint(),
                        class,
                        is_revoked: self.devices[device].revoked.contains(&key),
                    });
                } else {
                    fleet.classes[class].leaves += 1;
                }
            }
        }
        fleet
    }

    pub(crate) fn roll_state(&self, authority: usize) -> RollState {
        let pki = Pki::shared();
        let held = |authority: usize| {
            let states = self.generations[authority].iter().enumerate();
            states.map(move |(generation, state)| {
                let signer = Signer {
                    authority,
                    generation,
                };
                (signer, *state)
            })
        };
        let all = (0..Pki::authorities()).flat_map(held);
        let mut below = Vec::new();
        for (signer, _) in all
            .clone()
            .filter(|(signer, _)| signer.authority != authority)
        {
            let is_below = Pki::path(signer)
                .iter()
                .any(|one| one.authority == authority);
            if is_below {
                let leaves = (0..self.devices.len()).flat_map(|device| self.live(device));
                let leaves = leaves.filter(|leaf| leaf.signer == signer).count();
                below.push(Below {
                    authority: Pki::name(signer.authority),
                    generation: number(signer),
                    certificate: pki.certificate(signer).clone(),
                    leaves: u64::try_from(leaves).expect("a count"),
                });
            }
        }
        let declared = if Pki::is_root(authority) {
            vec![Pki::name(authority).to_string().parse().expect("name")]
        } else {
            vec![]
        };
        let instances = self.instances.iter().enumerate();
        RollState {
            authority: Pki::name(authority),
            generations: generations_of(
                held(authority).map(|(signer, state)| (state, pki.certificate(signer))),
            ),
            certificates: all
                .map(|(signer, _)| pki.certificate(signer).clone())
                .collect(),
            below,
            instances: instances
                .map(|(place, site)| Instance {
                    name: format!("dps-{place}").parse().expect("name"),
                    authorities: site.dps.authorities.clone(),
                    groups: site.dps.groups.clone(),
                    declared: declared.clone(),
                    verified_by: self.verified_by,
                    cut_off: BTreeSet::new(),
                })
                .collect(),
        }
    }

    pub(crate) fn registration(&self, place: usize, device: usize) -> Option<RegistrationState> {
        let (hub, _) = self.instances[place].registered.get(&device)?;
        let mut record = RegistrationState::new(device_id(device), RegistrationStatus::Assigned);
        record.assigned_hub = Some(hub_name(*hub));
        record.etag = Some(Etag::new("\"r\""));
        Some(record)
    }

    pub(crate) fn identities(&self, device: usize) -> Vec<HubIdentity> {
        let held = self.hubs.iter().filter(|((_, one), _)| *one == device);
        held.map(|((hub, _), is_enabled)| self.identity(*hub, device, *is_enabled))
            .collect()
    }

    fn identity(&self, hub: usize, device: usize, is_enabled: bool) -> HubIdentity {
        let id = device_id(device).to_string().parse().expect("id");
        let status = if is_enabled {
            HubDeviceStatus::Enabled
        } else {
            HubDeviceStatus::Disabled
        };
        HubIdentity {
            hub: hub_name(hub),
            device: HubDevice {
                device_id: id,
                status,
                status_reason: None,
                authentication: None,
                etag: Some(Etag::new("\"h\"")),
                other: serde_json::Map::new(),
            },
        }
    }

    /// The registered devices of an instance of which some leaf is below a generation.
    pub(crate) fn registered_below(
        &self,
        place: usize,
        old: Signer,
    ) -> Vec<(usize, RegisteredDevice)> {
        let registered = self.instances[place].registered.iter();
        let hit = registered.filter(|(device, _)| {
            self.unexpired(**device)
                .any(|leaf| Pki::path(leaf.signer).contains(&old))
        });
        hit.filter_map(|(device, (hub, _))| {
            let is_enabled = self.hubs.get(&(*hub, *device));
            let found = RegisteredDevice {
                registration: Some(self.registration(place, *device)?),
                hub_identity: is_enabled.map(|enabled| self.identity(*hub, *device, *enabled)),
            };
            Some((*device, found))
        })
        .collect()
    }

    /// Carries one step out.
    pub(crate) fn step(&mut self, place: usize, step: &Step) -> Result<(), String> {
        let refused = self.instances[place].dps.try_step(step);
        refused.map_err(|refused| refused.to_string())?;
        match step {
            Step::Registration(step) => {
                let registered = &mut self.instances[place].registered;
                registered.retain(|device, _| device_id(*device) != step.registration_id);
            }
            Step::HubDevice(step) => {
                let (hub, id) = (&step.hub, step.device_id.as_str());
                match step.action {
                    HubDeviceAction::Disable { .. } => *self.hub_device(hub, id) = false,
                    HubDeviceAction::Enable => *self.hub_device(hub, id) = true,
                    HubDeviceAction::Delete => self.hubs.retain(|(place, device), _| {
                        hub_name(*place) != *hub || device_id(*device).as_str() != id
                    }),
                }
            }
            Step::Leaf(step) => {
                for (index, device) in self.devices.iter_mut().enumerate() {
                    if device_id(index) == step.registration_id {
                        let leaves = device.leaves.iter().copied();
                        let is_it = |key: &LeafKey| {
                            let leaf = Pki::shared().leaf(*key);
                            leaf.certificate.sha256_thumbprint() == step.sha256_thumbprint
                        };
                        device.revoked.extend(leaves.filter(is_it));
                    }
                }
            }
            Step::Authority(AuthorityStep {
                authority, changes, ..
            }) => {
                let all = 0..Pki::authorities();
                let authority = all
                    .into_iter()
                    .find(|one| Pki::name(*one) == *authority)
                    .expect("an authority");
                for change in changes {
                    let place = usize::try_from(change.generation.number() - 1).expect("a place");
                    self.generations[authority][place] = change.to;
                }
            }
            _ => {}
        }
        self.note_cut_off(place, step);
        Ok(())
    }

    /// As the journal has it.
    fn note_cut_off(&mut self, place: usize, step: &Step) {
        let Step::Ca(step) = step else {
            return;
        };
        let cut_off = &mut self.instances[place].cut_off;
        if let Some((gone, admitted)) = step.cut_off() {
            cut_off.entry(*gone).or_default().extend(admitted);
        } else if step.verifies() {
            for of_ca in cut_off.values_mut() {
                of_ca.remove(&step.sha1_thumbprint);
            }
        }
    }

    /// What a breach roll of a generation depends on that is to have those below verified.
    pub(crate) fn breach_state(&self, old: Signer) -> RollState {
        let ca = Pki::shared().certificate(old).sha1_thumbprint();
        let mut state = self.roll_state(old.authority);
        for (instance, site) in state.instances.iter_mut().zip(&self.instances) {
            instance.cut_off = site.cut_off.get(&ca).cloned().unwrap_or_default();
        }
        state
    }

    fn hub_device(&mut self, hub: &HubHostName, id: &str) -> &mut bool {
        let found = self.hubs.iter_mut().find(|((place, device), _)| {
            hub_name(*place) == *hub && device_id(*device).as_str() == id
        });
        found.expect("a device identity").1
    }
}

pub(crate) fn hub_name(hub: usize) -> HubHostName {
    HUBS[hub].parse().expect("host")
}

fn documents(dps: &SampleDps) -> Documents {
    let json = |document: serde_json::Result<serde_json::Value>| document.expect("JSON");
    Documents {
        authorities: (dps.authorities.iter())
            .map(|one| json(serde_json::to_value(one)))
            .collect(),
        groups: (dps.groups.iter())
            .map(|one| json(serde_json::to_value(one)))
            .collect(),
        individuals: (dps.individuals.iter())
            .map(|one| json(serde_json::to_value(one)))
            .collect(),
    }
}
