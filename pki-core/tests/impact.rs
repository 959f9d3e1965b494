//! Impact by classes says what deciding about every leaf by itself says.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use crate::support::{TestAuthority, now, root};
use pki_core::admission::{ChainElement, DpsView, PresentedChain, UploadedCa, decide};
use pki_core::certificate::Certificate;
use pki_core::crl::RevocationReason;
use pki_core::enrollment::compose::{by_leaf, by_signing_certificate};
use pki_core::enrollment::{EnrollmentGroup, IndividualEnrollment, ProvisioningStatus};
use pki_core::ids::{AuthorityGeneration, Generation, RegistrationId};
use pki_core::inventory::{
    GenerationChange, GenerationState, Inventory, Labels, NewCertificate, NewGeneration, RowKey,
    Uniqueness,
};
use pki_core::key::KeyAlgorithm::EcdsaP256;
use pki_core::lifecycle::{Decider, Effect, Fleet, Impact, Verdict};
use pki_core::profile::Role;
use pki_core::testing::MemoryInventory;
use pki_core::time::{Span, Time};

fn generation_of(authority: &TestAuthority) -> AuthorityGeneration {
    AuthorityGeneration {
        name: authority.name.parse().expect("name"),
        generation: Generation::FIRST,
    }
}

/// An inventory with a root, two lines and their leaves.
struct Site {
    inventory: MemoryInventory,
    root: TestAuthority,
    lines: Vec<TestAuthority>,
    live: Vec<Certificate>,
}

impl Site {
    fn new() -> Self {
        let root = root("root", EcdsaP256);
        let lines: Vec<TestAuthority> = ["line-a", "line-b"]
            .into_iter()
            .map(|name| root.intermediate(name, EcdsaP256))
            .collect();
        let mut site = Self {
            inventory: MemoryInventory::new(),
            root,
            lines,
            live: Vec::new(),
        };
        let top = generation_of(&site.root);
        let certificate = site.root.certificate.clone();
        site.record_authority(Role::Root, "root", certificate, &top);
        for index in 0..2 {
            let (name, certificate) = {
                let line = &site.lines[index];
                (line.name, line.certificate.clone())
            };
            site.record_authority(Role::Intermediate, name, certificate, &top);
        }
        for (line, id) in [(0, "a-1"), (0, "a-2"), (0, "a-3"), (1, "b-1"), (1, "b-2")] {
            let leaf = site.lines[line].leaf(id, EcdsaP256);
            site.record_leaf(&leaf, Some(generation_of(&site.lines[line])));
            site.live.push(leaf);
        }
        site
    }

    fn record_authority(
        &mut self,
        role: Role,
        name: &str,
        certificate: Certificate,
        signed_by: &AuthorityGeneration,
    ) {
        let name = name.parse().expect(name);
        let generation = NewGeneration {
            authority: name,
            generation: Generation::FIRST,
            subject: certificate.subject(),
            key_reference: "key.pem".parse().expect("reference"),
        };
        let authority = generation.authority.clone();
        let new = NewCertificate {
            certificate,
            role,
            signed_by: Some(signed_by.clone()),
            registration_id: None,
            batch: None,
            labels: Labels::default(),
            request: None,
            uniqueness: Uniqueness::FromElsewhere,
        };
        self.inventory
            .record_authority(generation, new, now())
            .expect("recorded");
        let change = GenerationChange {
            generation: Generation::FIRST,
            to: GenerationState::Current,
        };
        self.inventory
            .settle_generations(&authority, &[change], now())
            .expect("settled");
    }

    fn record_leaf(
        &mut self,
        leaf: &Certificate,
        signed_by: Option<AuthorityGeneration>,
    ) -> RowKey {
        let id = leaf.common_name().expect("CN");
        let new = NewCertificate {
            certificate: leaf.clone(),
            role: Role::Leaf,
            signed_by,
            registration_id: Some(id.parse().expect("id")),
            batch: None,
            labels: Labels::default(),
            request: None,
            uniqueness: Uniqueness::FromElsewhere,
        };
        let recorded = self.inventory.record(vec![new], now()).expect("recorded");
        let row = recorded[0].row();
        self.inventory
            .mark_delivered(&[row], now())
            .expect("delivered");
        row
    }

    fn chain(&self, leaf: &Certificate) -> PresentedChain {
        let line = self
            .lines
            .iter()
            .find(|line| leaf.is_issued_by(&line.certificate));
        let path = [
            leaf,
            &line.expect("a line").certificate,
            &self.root.certificate,
        ];
        PresentedChain::known(leaf.common_name(), path.map(ChainElement::from).to_vec())
    }

    /// Every live leaf by itself: admitted before, admitted after, how many.
    fn by_hand(&self, before: &DpsView, after: &DpsView) -> [u64; 4] {
        let mut counts = [0; 4];
        for leaf in &self.live {
            let chain = self.chain(leaf);
            let admitted = |view| decide(view, &chain).is_admitted();
            let place = match (admitted(before), admitted(after)) {
                (true, false) => 0,
                (false, true) => 1,
                (true, true) => 2,
                (false, false) => 3,
            };
            counts[place] += 1;
        }
        counts
    }

    /// The impact of a change to what [`mixed`] holds, and what every leaf by itself comes to.
    fn change(&self, change: impl FnOnce(&mut DpsView)) -> (Impact, [u64; 4]) {
        let before = mixed(self);
        let mut after = before.clone();
        change(&mut after);
        let impact = self.impact(&before, &after, now(), 10);
        (impact, self.by_hand(&before, &after))
    }

    fn impact(&self, before: &DpsView, after: &DpsView, at: Time, names: usize) -> Impact {
        Impact::over_inventory(before, after, &self.inventory, at, Some(names)).expect("impact")
    }
}

fn counts(impact: &Impact) -> [u64; 4] {
    [
        Effect::Loses,
        Effect::Gains,
        Effect::StaysAdmitted,
        Effect::StaysOut,
    ]
    .map(|effect| impact.count(effect))
}

fn verified(view: &mut DpsView, certificate: &Certificate) {
    let uploaded = UploadedCa {
        sha1_thumbprint: certificate.sha1_thumbprint(),
        sha256_thumbprint: Some(certificate.sha256_thumbprint()),
        is_verified: true,
    };
    view.put_uploaded("root".parse().expect("name"), uploaded);
}

fn group(view: &mut DpsView, id: &str, certificate: &Certificate, status: ProvisioningStatus) {
    let attestation = by_signing_certificate(certificate);
    let mut group = EnrollmentGroup::new(id.parse().expect(id), attestation);
    group.provisioning_status = status;
    view.put_group(&group).expect("group");
}

fn entry(view: &mut DpsView, leaf: &Certificate, status: ProvisioningStatus) {
    let id = leaf.common_name().expect("CN").parse().expect("id");
    let mut entry = IndividualEnrollment::new(id, by_leaf(leaf));
    entry.provisioning_status = status;
    view.put_individual(&entry).expect("entry");
}

use ProvisioningStatus::{Disabled, Enabled};

fn id(text: &str) -> RegistrationId {
    text.parse().expect(text)
}

/// A group on the root, one on each line; device a-2 is shut out, device b-1 pinned.
fn mixed(site: &Site) -> DpsView {
    let mut view = DpsView::new();
    verified(&mut view, &site.root.certificate);
    group(&mut view, "all", &site.root.certificate, Enabled);
    group(&mut view, "line-a", &site.lines[0].certificate, Enabled);
    group(&mut view, "line-b", &site.lines[1].certificate, Disabled);
    entry(&mut view, &site.live[1], Disabled);
    entry(&mut view, &site.live[3], Enabled);
    view
}

/// Something that is done to DPS.
type Change<'a> = &'a dyn Fn(&mut DpsView);

#[test]
fn classes_and_exceptions_add_up_to_every_leaf_by_itself() {
    let site = Site::new();
    let name = |text: &str| text.parse().expect(text);
    let changes: [(&str, Change<'_>); 6] = [
        ("nothing", &|_| ()),
        ("no CA", &|view| {
            view.remove_ca(&"root".parse().expect("name"))
        }),
        ("no line-a", &|view| view.remove_group(&name("line-a"))),
        ("no line-b", &|view| view.remove_group(&name("line-b"))),
        ("a-2 let in", &|view| view.remove_individual(&id("a-2"))),
        ("a-1 shut out", &|view| entry(view, &site.live[0], Disabled)),
    ];
    for (what, change) in changes {
        let (impact, by_hand) = site.change(change);
        assert_eq!(counts(&impact), by_hand, "{what}");
    }
}

/// A device that has moved on loses an old leaf, and not its admission.
#[test]
fn devices_without_an_admitted_leaf_are_counted_by_themselves() {
    let mut site = Site::new();
    let moved = site.lines[1].leaf("a-1", EcdsaP256);
    site.record_leaf(&moved, Some(generation_of(&site.lines[1])));
    let mut before = DpsView::new();
    verified(&mut before, &site.root.certificate);
    for line in &site.lines {
        group(&mut before, line.name, &line.certificate, Enabled);
    }
    entry(&mut before, &site.live[2], Enabled);
    let left_out = |after: &DpsView| {
        let individual = before.individual_ids().chain(after.individual_ids());
        let fleet = Fleet::gather(&site.inventory, now(), individual).expect("fleet");
        let mut impact = Impact::compare(&before, after, &fleet);
        impact
            .count_devices_left_out(after, &fleet, &site.inventory, now())
            .expect("counted");
        (impact.count(Effect::Loses), impact.devices_left_out)
    };
    let mut after = before.clone();
    assert_eq!(left_out(&after), (0, Some(0)));
    after.remove_group(&"line-a".parse().expect("group"));
    assert_eq!(
        left_out(&after),
        (2, Some(1)),
        "a-3 has an entry of its own"
    );
    entry(&mut after, &site.live[2], Disabled);
    assert_eq!(left_out(&after), (3, Some(2)));
    after.remove_group(&"line-b".parse().expect("group"));
    assert_eq!(left_out(&after), (6, Some(5)));
}

#[test]
fn devices_that_fall_through_to_the_group_above_are_found() {
    let site = Site::new();
    let (impact, _) = site.change(|view| view.remove_group(&"line-b".parse().expect("group")));
    let fallen: Vec<_> = impact.falls_through().collect();
    assert_eq!(fallen.len(), 1);
    assert_eq!(
        (fallen[0].from.as_str(), fallen[0].to.as_str()),
        ("line-b", "all")
    );
    assert!(fallen[0].is_admitted);
    assert_eq!(fallen[0].leaves, 1, "b-1 has an entry of its own");
    let gains: Vec<_> = impact.with(Effect::Gains).collect();
    assert_eq!(gains[0].named, [id("b-2")]);
    assert_eq!(gains[0].signed_by, Some(generation_of(&site.lines[1])));
    let group = |name: &str| Decider::Group(name.parse().expect(name));
    assert_eq!(gains[0].before, Verdict::Disabled(group("line-b")));
    assert_eq!(gains[0].after, Verdict::Admitted(group("all")));
}

#[test]
fn only_as_many_names_as_are_wanted_are_looked_up() {
    let site = Site::new();
    let before = mixed(&site);
    let mut after = before.clone();
    after.remove_ca(&"root".parse().expect("name"));
    for (names, expected) in [(0, 0), (1, 1), (10, 2)] {
        let impact = site.impact(&before, &after, now(), names);
        let lost = impact.with(Effect::Loses).next().expect("line-a loses");
        assert_eq!((lost.leaves, lost.named.len()), (2, expected));
        assert!(
            !lost.named.contains(&id("a-2")),
            "it has an entry of its own"
        );
    }
}

/// DPS reads no revocation lists: what is revoked here it admits like any other leaf.
#[test]
fn revoked_leaves_count_and_expired_ones_do_not() {
    let mut site = Site::new();
    let leaf = site.lines[0].leaf("a-9", EcdsaP256);
    let signer = generation_of(&site.lines[0]);
    let row = site.record_leaf(&leaf, Some(signer.clone()));
    let reason = RevocationReason::KeyCompromise;
    site.inventory
        .revoke(&[row], reason, now())
        .expect("revoked");
    site.live.push(leaf);
    let fleet = Fleet::gather(&site.inventory, now(), []).expect("fleet");
    assert_eq!(fleet.leaves(), 6);
    assert_eq!(fleet.class_of(&signer).expect("a class").live_leaves(), 3);
    let ended = Fleet::gather(&site.inventory, now() + Span::from_days(366), []);
    assert_eq!(ended.expect("fleet").leaves(), 0);
    let (impact, by_hand) = site.change(|view| {
        view.remove_group(&"line-a".parse().expect("group"));
        view.remove_group(&"all".parse().expect("group"));
    });
    assert_eq!(counts(&impact), by_hand);
    let lost = impact.with(Effect::Loses).next().expect("line-a loses");
    assert_eq!(lost.named, [id("a-1"), id("a-3"), id("a-9")]);
}

/// So is a device with an entry of its own, by which DPS decides about its revoked leaf.
#[test]
fn a_revoked_leaf_of_a_device_with_its_own_entry_counts_once() {
    let mut site = Site::new();
    let leaf = site.lines[0].leaf("a-9", EcdsaP256);
    let row = site.record_leaf(&leaf, Some(generation_of(&site.lines[0])));
    site.inventory
        .revoke(&[row], RevocationReason::KeyCompromise, now())
        .expect("revoked");
    site.live.push(leaf.clone());
    let (impact, by_hand) = site.change(|view| entry(view, &leaf, Disabled));
    assert_eq!(counts(&impact), by_hand);
    assert_eq!(impact.count(Effect::Loses), 1);
}

/// A new leaf lets nobody in past a disabled entry of its own.
#[test]
fn the_worklist_leaves_out_who_was_shut_out_alone() {
    let site = Site::new();
    let mut view = DpsView::new();
    verified(&mut view, &site.root.certificate);
    group(
        &mut view,
        "quarantine",
        &site.lines[0].certificate,
        Disabled,
    );
    entry(&mut view, &site.live[2], Disabled);
    let fleet = Fleet::gather(&site.inventory, now(), view.individual_ids()).expect("fleet");
    let compromised = [site.lines[0].certificate.sha256_thumbprint()].into();
    let list = fleet.worklist(&compromised, &[view], &site.inventory, now());
    let shut_out = list.expect("a list").shut_out;
    assert_eq!(shut_out, [id("a-1"), id("a-2")].into(), "a-3 has left");
}

/// After a breach: who is out everywhere needs a new leaf, who has one is back. An instance that refuses it
/// still is told; one that holds nothing of its chain is not.
#[test]
fn the_worklist_tells_who_needs_a_new_leaf_and_who_is_back() {
    let mut site = Site::new();
    let moved = site.lines[1].leaf("a-1", EcdsaP256);
    site.record_leaf(&moved, Some(generation_of(&site.lines[1])));
    let mut view = DpsView::new();
    verified(&mut view, &site.root.certificate);
    group(
        &mut view,
        "quarantine",
        &site.lines[0].certificate,
        Disabled,
    );
    group(&mut view, "line-b", &site.lines[1].certificate, Enabled);
    entry(&mut view, &site.live[2], Enabled);
    let fleet = Fleet::gather(&site.inventory, now(), view.individual_ids()).expect("fleet");
    let compromised = [site.lines[0].certificate.sha256_thumbprint()].into();
    let mut closed = view.clone();
    group(&mut closed, "line-b", &site.lines[1].certificate, Disabled);
    let views = [view, closed, DpsView::new()];
    let list = fleet.worklist(&compromised, &views, &site.inventory, now());
    let list = list.expect("a list");
    assert_eq!(list.shut_out, [id("a-2")].into(), "a-3 has its own entry");
    assert_eq!(list.back, [id("a-1")].into());
    assert_eq!(list.refused, [[].into(), [id("a-1")].into(), [].into()]);
    let stays = fleet.own_entries_below(&compromised, &views[0]);
    assert_eq!(stays, [id("a-3")].into());
}

#[test]
fn leaves_of_a_foreign_signer_are_a_class_of_their_own() {
    let mut site = Site::new();
    let vendor = root("vendor", EcdsaP256);
    let leaf = vendor.leaf("v-1", EcdsaP256);
    site.record_leaf(&leaf, None);
    let (impact, _) = site.change(|view| entry(view, &leaf, Enabled));
    let gains: Vec<_> = impact.with(Effect::Gains).collect();
    assert_eq!(gains.len(), 1);
    assert_eq!(
        (&gains[0].signed_by, &gains[0].named),
        (&None, &vec![id("v-1")])
    );
    assert_eq!(gains[0].before, Verdict::NoEntry);
}

#[test]
fn an_impact_as_json_has_counts_and_names() {
    let site = Site::new();
    let (impact, _) = site.change(|view| view.remove_group(&"line-b".parse().expect("group")));
    let document = serde_json::to_value(impact).expect("JSON");
    assert_eq!(document["gains"], 1);
    let movements = document["movements"].as_array().expect("array");
    let gains = movements
        .iter()
        .find(|one| one["effect"] == "gains")
        .expect("gains");
    assert_eq!(gains["authority"], "line-b");
    assert_eq!(gains["generation"], 1);
    assert_eq!(gains["named"][0], "b-2");
    assert_eq!(
        gains["before"],
        "refused: enrollment group line-b is disabled"
    );
}
