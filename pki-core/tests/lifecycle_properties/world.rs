//! Random small instances of DPS, and devices with a leaf below each of the authorities that they may hold.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use super::judge::{Documents, Presented, lets_in};
use crate::support::{TestAuthority, generations_of, root};
use pki_core::admission::{ChainElement, PresentedChain};
use pki_core::certificate::Certificate;
use pki_core::declaration::VerifiedBy;
use pki_core::enrollment::compose::{by_ca_reference, by_leaf, by_signing_certificate};
use pki_core::enrollment::{
    Attestation, EnrollmentGroup, IndividualEnrollment, ProvisioningStatus,
};
use pki_core::ids::Generation;
use pki_core::inventory::GenerationState;
use pki_core::key::KeyAlgorithm::EcdsaP256;
use pki_core::lifecycle::roll::{Below, Instance, RollState};
use pki_core::lifecycle::{Class, Exception, Fleet, Step};
use pki_core::testing::{Copies, SampleDps, Service};
use proptest::prelude::*;

pub(super) const DEVICES: usize = 6;

/// Certificates that all fleets share: a root and a line of two generations each, another line, and
/// for every device a leaf below each of them.
pub(super) struct Pki {
    pub(super) roots: [TestAuthority; 2],
    pub(super) lines: [TestAuthority; 3],
    pub(super) leaves: Vec<[Leaf; 5]>,
}

pub(super) struct Leaf {
    pub(super) certificate: Certificate,
    pub(super) chain: PresentedChain,
    pub(super) presented: Vec<Presented>,
}

/// Who signed a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signer {
    /// The line that is rolled, first generation.
    Line,
    /// The other line.
    Other,
    /// The root itself.
    Root,
    /// The line's second generation.
    NewLine,
    /// The root's second generation.
    NewRoot,
}

impl Pki {
    pub(super) fn shared() -> &'static Self {
        static PKI: OnceLock<Pki> = OnceLock::new();
        PKI.get_or_init(|| {
            let roots = [root("root", EcdsaP256), root("root", EcdsaP256)];
            let lines =
                ["line", "other", "line"].map(|name| roots[0].intermediate(name, EcdsaP256));
            let leaves = (0..DEVICES)
                .map(|device| {
                    let leaf = |signer: &TestAuthority, above: &[&TestAuthority]| {
                        Leaf::new(signer.leaf(&format!("device-{device}"), EcdsaP256), above)
                    };
                    [
                        leaf(&lines[0], &[&lines[0], &roots[0]]),
                        leaf(&lines[1], &[&lines[1], &roots[0]]),
                        leaf(&roots[0], &[&roots[0]]),
                        leaf(&lines[2], &[&lines[2], &roots[0]]),
                        leaf(&roots[1], &[&roots[1]]),
                    ]
                })
                .collect();
            Self {
                roots,
                lines,
                leaves,
            }
        })
    }

    pub(super) fn leaf(&self, device: usize, signer: Signer) -> &Leaf {
        let place = match signer {
            Signer::Line => 0,
            Signer::Other => 1,
            Signer::Root => 2,
            Signer::NewLine => 3,
            Signer::NewRoot => 4,
        };
        &self.leaves[device][place]
    }

    pub(super) fn certificates(&self) -> Vec<Certificate> {
        let all = self.roots.iter().chain(&self.lines);
        all.map(|authority| authority.certificate.clone()).collect()
    }
}

impl Leaf {
    pub(super) fn new(certificate: Certificate, above: &[&TestAuthority]) -> Self {
        let path = || {
            let above = above.iter().map(|authority| &authority.certificate);
            std::iter::once(&certificate).chain(above)
        };
        let elements = path().map(ChainElement::from).collect();
        let presented = path().map(|one| Presented::from_der(one.der()));
        Self {
            chain: PresentedChain::known(certificate.common_name(), elements),
            presented: presented.collect(),
            certificate,
        }
    }
}

/// A fleet and what DPS holds of it.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) signers: Vec<Signer>,
    pub(super) dps: SampleDps,
}

/// What an individual enrollment of a device is like.
#[derive(Debug, Clone, Copy)]
pub(super) enum EntryKind {
    None,
    Own,
    AnotherLeaf,
    Keys,
}

pub(super) fn status() -> impl Strategy<Value = ProvisioningStatus> {
    prop_oneof![
        3 => Just(ProvisioningStatus::Enabled),
        1 => Just(ProvisioningStatus::Disabled),
    ]
}

pub(super) fn entry() -> impl Strategy<Value = (EntryKind, ProvisioningStatus)> {
    let kind = prop_oneof![
        4 => Just(EntryKind::None),
        1 => Just(EntryKind::Own),
        1 => Just(EntryKind::AnotherLeaf),
        1 => Just(EntryKind::Keys),
    ];
    (kind, status())
}

/// Groups on the root by reference, on the root by certificate, on the line twice, on the other line.
pub(super) fn world() -> impl Strategy<Value = World> {
    let signer = prop_oneof![
        3 => Just(Signer::Line),
        1 => Just(Signer::Other),
        1 => Just(Signer::Root),
    ];
    let devices = prop::collection::vec((signer, entry()), 1..=DEVICES);
    let groups = prop::collection::vec(prop::option::of(status()), 5);
    let verified = prop::collection::vec(prop::option::weighted(0.8, prop::bool::weighted(0.8)), 2);
    (devices, groups, verified, service()).prop_map(|(devices, groups, verified, service)| {
        let mut dps = SampleDps::of(service);
        put_authorities(&mut dps, &verified);
        put_groups(&mut dps, &groups);
        for (index, (signer, (kind, status))) in devices.iter().enumerate() {
            put_entry(&mut dps, index, *signer, *kind, status.clone());
        }
        let signers = devices.into_iter().map(|(signer, _)| signer).collect();
        World { signers, dps }
    })
}

/// What nobody knows of the service: a plan holds with every answer.
pub(super) fn service() -> impl Strategy<Value = Service> {
    let copies = prop_oneof![
        Just(Copies::None),
        Just(Copies::Shown),
        Just(Copies::Stored)
    ];
    (copies, any::<bool>()).prop_map(|(copies, hides_certificates)| Service {
        copies,
        hides_certificates,
        ..Service::default()
    })
}

pub(super) fn put_authorities(dps: &mut SampleDps, verified: &[Option<bool>]) {
    let pki = Pki::shared();
    let named = [("root", &pki.roots[0]), ("other", &pki.lines[1])];
    for ((name, authority), is_verified) in named.into_iter().zip(verified) {
        if let Some(is_verified) = is_verified {
            dps.put_ca(
                &name.parse().expect("name"),
                &authority.certificate,
                *is_verified,
            );
        }
    }
}

pub(super) fn put_groups(dps: &mut SampleDps, groups: &[Option<ProvisioningStatus>]) {
    let pki = Pki::shared();
    let on = |authority: &TestAuthority| by_signing_certificate(&authority.certificate);
    let attestations = [
        (
            "all-by-name",
            by_ca_reference("root".parse().expect("name")),
        ),
        ("root", on(&pki.roots[0])),
        ("line-a", on(&pki.lines[0])),
        ("line-b", on(&pki.lines[0])),
        ("other", on(&pki.lines[1])),
    ];
    for ((id, attestation), status) in attestations.into_iter().zip(groups) {
        if let Some(status) = status {
            dps.put_group(&EnrollmentGroup {
                provisioning_status: status.clone(),
                ..EnrollmentGroup::new(id.parse().expect("id"), attestation)
            });
        }
    }
}

pub(super) fn put_entry(
    dps: &mut SampleDps,
    device: usize,
    signer: Signer,
    kind: EntryKind,
    status: ProvisioningStatus,
) {
    let pki = Pki::shared();
    let attestation = match kind {
        EntryKind::None => return,
        EntryKind::Own => by_leaf(&pki.leaf(device, signer).certificate),
        EntryKind::AnotherLeaf => by_leaf(&pki.leaf(device, Signer::NewRoot).certificate),
        EntryKind::Keys => Attestation::generated_keys(),
    };
    let id = format!("Device-{device}").parse().expect("id");
    dps.put_individual(&IndividualEnrollment {
        provisioning_status: status,
        ..IndividualEnrollment::new(id, attestation)
    });
}

impl World {
    /// What the judge says of a device that shows a leaf.
    pub(super) fn lets_in(&self, device: usize, signer: Signer) -> bool {
        lets_in(
            &documents(&self.dps),
            &Pki::shared().leaf(device, signer).presented,
        )
    }

    /// What the judge says of every device with the leaf that it has.
    pub(super) fn admitted(&self) -> Vec<bool> {
        let documents = documents(&self.dps);
        let signers = self.signers.iter().enumerate();
        let leaves = signers.map(|(device, signer)| Pki::shared().leaf(device, *signer));
        leaves
            .map(|leaf| lets_in(&documents, &leaf.presented))
            .collect()
    }

    pub(super) fn has_entry(&self, device: usize) -> bool {
        self.entry(device).is_some()
    }

    pub(super) fn entry(&self, device: usize) -> Option<&IndividualEnrollment> {
        let id = format!("Device-{device}");
        let mut entries = self.dps.individuals.iter();
        entries.find(|entry| entry.registration_id.as_str().eq_ignore_ascii_case(&id))
    }

    pub(super) fn after(&self, step: &Step) -> Self {
        let mut after = self.clone();
        after.dps.step(step);
        after
    }

    /// The fleet by classes, as the inventory would tell it.
    pub(super) fn fleet(&self) -> Fleet {
        let mut fleet = Fleet::default();
        for (device, signer) in self.signers.iter().enumerate() {
            let leaf = Pki::shared().leaf(device, *signer);
            let above = leaf.chain.above_leaf().to_vec();
            let class = fleet.classes.iter().position(|class| class.above == above);
            let class = class.unwrap_or_else(|| {
                fleet.classes.push(Class::new(None, above, 0));
                fleet.classes.len() - 1
            });
            if !self.has_entry(device) {
                fleet.classes[class].leaves += 1
            } else {
                fleet.exceptions.push(Exception {
                    id: format!("device-{device}").parse().expect("id"),
                    leaf: leaf.certificate.sha256_thumbprint(),
                    class,
                    is_revoked: false,
                })
            }
        }
        fleet
    }

    pub(super) fn line_state(&self, generations: [GenerationState; 2]) -> RollState {
        let pki = Pki::shared();
        self.state("line", generations, [&pki.lines[0], &pki.lines[2]], vec![])
    }

    pub(super) fn root_state(&self, generations: [GenerationState; 2]) -> RollState {
        let pki = Pki::shared();
        let below = |name: &str, line: usize, signer: Signer| Below {
            authority: name.parse().expect("name"),
            generation: Generation::FIRST,
            certificate: pki.lines[line].certificate.clone(),
            leaves: u64::try_from(self.signers.iter().filter(|one| **one == signer).count())
                .expect("a count"),
        };
        let below = vec![
            below("line", 0, Signer::Line),
            below("other", 1, Signer::Other),
        ];
        self.state("root", generations, [&pki.roots[0], &pki.roots[1]], below)
    }

    pub(super) fn state(
        &self,
        name: &str,
        states: [GenerationState; 2],
        authorities: [&TestAuthority; 2],
        below: Vec<Below>,
    ) -> RollState {
        let certificates = authorities.map(|authority| &authority.certificate);
        RollState {
            authority: name.parse().expect("name"),
            generations: generations_of(states.into_iter().zip(certificates)),
            certificates: Pki::shared().certificates(),
            below,
            instances: vec![Instance {
                name: "dev".parse().expect("name"),
                authorities: self.dps.authorities.clone(),
                groups: self.dps.groups.clone(),
                declared: vec![],
                verified_by: VerifiedBy::Possession,
                cut_off: BTreeSet::new(),
            }],
        }
    }
}

pub(super) fn documents(dps: &SampleDps) -> Documents {
    let json =
        |document: &dyn Fn() -> serde_json::Result<serde_json::Value>| document().expect("JSON");
    Documents {
        authorities: dps
            .authorities
            .iter()
            .map(|one| json(&|| serde_json::to_value(one)))
            .collect(),
        groups: dps
            .groups
            .iter()
            .map(|one| json(&|| serde_json::to_value(one)))
            .collect(),
        individuals: dps
            .individuals
            .iter()
            .map(|one| json(&|| serde_json::to_value(one)))
            .collect(),
    }
}
