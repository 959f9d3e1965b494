//! Admission, by the worked examples of the DPS documentation
//! (https://learn.microsoft.com/azure/iot-dps/concepts-x509-attestation).
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use crate::support::{TestAuthority, root};
use pki_core::admission::{
    ChainElement, DpsView, Entry, Outcome, PresentedChain, Refusal, UploadedCa, decide,
    outcome_below,
};
use pki_core::certificate::Certificate;
use pki_core::enrollment::{
    Attestation, CertificateSlot, EnrollmentGroup, IndividualEnrollment, ProvisioningStatus, Slots,
    X509Certificates,
};
use pki_core::ids::{CertificateName, EnrollmentGroupId, RegistrationId};
use pki_core::key::KeyAlgorithm::EcdsaP256;
use pki_core::time::Span;

fn uploaded(certificate: &Certificate, is_verified: bool) -> UploadedCa {
    UploadedCa {
        sha1_thumbprint: certificate.sha1_thumbprint(),
        sha256_thumbprint: Some(certificate.sha256_thumbprint()),
        is_verified,
    }
}

fn group_id(id: &str) -> EnrollmentGroupId {
    id.parse().expect(id)
}

fn device_id(id: &str) -> RegistrationId {
    id.parse().expect(id)
}

fn ca_name(name: &str) -> CertificateName {
    name.parse().expect(name)
}

fn slot(certificate: &Certificate) -> Slots<CertificateSlot> {
    Slots::primary(CertificateSlot::from_pem(certificate.to_pem()))
}

fn group(id: &str, certificate: &Certificate, status: ProvisioningStatus) -> EnrollmentGroup {
    let attestation = Attestation::x509(X509Certificates::Signing(slot(certificate)));
    EnrollmentGroup {
        provisioning_status: status,
        ..EnrollmentGroup::new(group_id(id), attestation)
    }
}

fn individual(id: &str, leaf: &Certificate, status: ProvisioningStatus) -> IndividualEnrollment {
    let attestation = Attestation::x509(X509Certificates::Client(slot(leaf)));
    IndividualEnrollment {
        provisioning_status: status,
        ..IndividualEnrollment::new(device_id(id), attestation)
    }
}

fn admitted(id: &str) -> Outcome {
    Outcome::Admitted(Entry::Group(group_id(id)))
}

/// The five devices under certificates A and B, as the documentation tells their story.
struct FiveDevices {
    view: DpsView,
    root: TestAuthority,
    a: TestAuthority,
    b: TestAuthority,
    leaves: Vec<Certificate>,
}

impl FiveDevices {
    fn new() -> Self {
        let root = root("root", EcdsaP256);
        let a = root.intermediate("a", EcdsaP256);
        let b = root.intermediate("b", EcdsaP256);
        let leaf = |number: usize| {
            let signer = if number <= 3 { &a } else { &b };
            signer.leaf(&format!("device-{number}"), EcdsaP256)
        };
        let leaves = (1..=5).map(leaf).collect();
        let mut view = DpsView::new();
        view.put_uploaded(ca_name("root"), uploaded(&root.certificate, true));
        let all = group("all", &root.certificate, ProvisioningStatus::Enabled);
        view.put_group(&all).expect("group");
        Self {
            view,
            root,
            a,
            b,
            leaves,
        }
    }

    fn outcomes(&self) -> Vec<Outcome> {
        let sent = |index: usize| {
            let signer = if index < 3 { &self.a } else { &self.b };
            [signer.certificate.clone(), self.root.certificate.clone()]
        };
        let decide = |(index, leaf): (usize, &Certificate)| {
            let verified = [self.root.certificate.clone()];
            decide(
                &self.view,
                &PresentedChain::link(leaf, &sent(index), &verified),
            )
            .outcome
        };
        self.leaves.iter().enumerate().map(decide).collect()
    }
}

#[test]
fn one_group_on_the_root_admits_all_five_devices() {
    assert_eq!(FiveDevices::new().outcomes(), vec![admitted("all"); 5]);
}

#[test]
fn a_disabled_group_for_b_shuts_out_devices_four_and_five() {
    let mut story = FiveDevices::new();
    let disabled = group("b", &story.b.certificate, ProvisioningStatus::Disabled);
    story.view.put_group(&disabled).expect("group");
    let out = Outcome::Disabled(Entry::Group(group_id("b")));
    let expected = [
        admitted("all"),
        admitted("all"),
        admitted("all"),
        out.clone(),
        out,
    ];
    assert_eq!(story.outcomes(), expected);
}

#[test]
fn a_disabled_individual_enrollment_shuts_out_device_three_alone() {
    let mut story = FiveDevices::new();
    let entry = individual("device-3", &story.leaves[2], ProvisioningStatus::Disabled);
    story.view.put_individual(&entry).expect("entry");
    let out = Outcome::Disabled(Entry::Individual(device_id("device-3")));
    let expected = [
        admitted("all"),
        admitted("all"),
        out,
        admitted("all"),
        admitted("all"),
    ];
    assert_eq!(story.outcomes(), expected);
}

/// The entry counts by its registration ID, not by its certificate: under another ID it does nothing.
#[test]
fn a_disabled_entry_whose_id_is_not_the_common_name_shuts_nobody_out() {
    let mut story = FiveDevices::new();
    let entry = individual(
        "my-device-three",
        &story.leaves[2],
        ProvisioningStatus::Disabled,
    );
    story.view.put_individual(&entry).expect("entry");
    assert_eq!(story.outcomes(), vec![admitted("all"); 5]);
}

/// Root verified, group on intermediate2, chain root → intermediate1 → intermediate2 → device: the
/// device must send what lies between its leaf and the verified certificate.
#[test]
fn the_chain_must_reach_a_verified_certificate() {
    let root = root("root", EcdsaP256);
    let first = root.intermediate("intermediate1", EcdsaP256);
    let second = first.intermediate("intermediate2", EcdsaP256);
    let leaf = second.leaf("device", EcdsaP256);
    let mut view = DpsView::new();
    view.put_uploaded(ca_name("root"), uploaded(&root.certificate, true));
    view.put_group(&group(
        "g",
        &second.certificate,
        ProvisioningStatus::Enabled,
    ))
    .expect("group");
    let verified = [root.certificate.clone()];
    let outcome = |sent: &[&TestAuthority]| {
        let sent: Vec<Certificate> = sent
            .iter()
            .map(|authority| authority.certificate.clone())
            .collect();
        decide(&view, &PresentedChain::link(&leaf, &sent, &verified)).outcome
    };
    assert_eq!(outcome(&[&second, &first, &root]), admitted("g"));
    assert_eq!(
        outcome(&[&second, &first]),
        admitted("g"),
        "the verified root need not be sent"
    );
    assert_eq!(
        outcome(&[&second]),
        Outcome::Refused(Refusal::NoVerifiedCa(group_id("g")))
    );
    assert_eq!(outcome(&[]), Outcome::Refused(Refusal::NoEntry));
    assert_eq!(
        outcome(&[&first, &root]),
        Outcome::Refused(Refusal::NoEntry)
    );
}

#[test]
fn an_intermediate_can_be_the_verified_certificate() {
    let root = root("root", EcdsaP256);
    let line = root.intermediate("line", EcdsaP256);
    let leaf = line.leaf("device", EcdsaP256);
    let mut view = DpsView::new();
    view.put_uploaded(ca_name("line"), uploaded(&line.certificate, true));
    let mut entry = group("g", &line.certificate, ProvisioningStatus::Enabled);
    entry.attestation = Attestation::x509(X509Certificates::CaReferences(Slots::primary(ca_name(
        "LINE",
    ))));
    view.put_group(&entry).expect("group");
    let chain = PresentedChain::link(&leaf, &[], std::slice::from_ref(&line.certificate));
    assert_eq!(decide(&view, &chain).outcome, admitted("g"));
    view.put_uploaded(ca_name("line"), uploaded(&line.certificate, false));
    assert_eq!(
        decide(&view, &chain).outcome,
        Outcome::Refused(Refusal::NoVerifiedCa(group_id("g")))
    );
    view.remove_ca(&ca_name("line"));
    assert_eq!(
        decide(&view, &chain).outcome,
        Outcome::Refused(Refusal::NoEntry),
        "a dangling reference"
    );
}

/// A verified intermediate says nothing about a group further up: its own certificate must be verified, or
/// one above.
#[test]
fn a_verified_certificate_below_the_groups_own_does_not_count() {
    let mut story = FiveDevices::new();
    story.view.remove_ca(&ca_name("root"));
    story
        .view
        .put_uploaded(ca_name("a"), uploaded(&story.a.certificate, true));
    let refused = Outcome::Refused(Refusal::NoVerifiedCa(group_id("all")));
    assert_eq!(story.outcomes()[0], refused);
    let own = group("a", &story.a.certificate, ProvisioningStatus::Enabled);
    story.view.put_group(&own).expect("group");
    assert_eq!(story.outcomes()[0], admitted("a"));
}

/// "Once a certificate is in a disabled entry, every attempt with it fails": the name's order is nothing.
#[test]
fn of_two_groups_with_one_certificate_the_disabled_one_decides() {
    for disabled in ["a", "z"] {
        let mut story = FiveDevices::new();
        for id in ["a", "m", "z"] {
            let status = if id == disabled {
                ProvisioningStatus::Disabled
            } else {
                ProvisioningStatus::Enabled
            };
            let held = group(id, &story.a.certificate, status);
            story.view.put_group(&held).expect("group");
        }
        let outcome = Outcome::Disabled(Entry::Group(group_id(disabled)));
        assert_eq!(story.outcomes()[0], outcome);
    }
}

/// DPS answers 401 to a leaf that has expired, and to one below a CA that has.
#[test]
fn at_a_moment_expired_leaves_and_those_below_expired_cas_are_refused() {
    let mut story = FiveDevices::new();
    let ended = |certificate: &Certificate, outcome: &Outcome| {
        matches!(outcome, Outcome::Refused(Refusal::NotValid(found))
            if found.subject == certificate.subject().to_string())
    };
    for (certificate, is_leaf) in [
        (story.leaves[0].clone(), true),
        (story.a.certificate.clone(), false),
    ] {
        let last = certificate.validity().not_after();
        story.view.set_moment(last);
        if is_leaf {
            assert_eq!(story.outcomes()[0], admitted("all"), "its last moment");
        }
        story.view.set_moment(last + Span::from_seconds(1));
        let outcome = story.outcomes().remove(0);
        assert!(
            matches!(outcome, Outcome::Refused(Refusal::NotValid(_))),
            "{outcome}"
        );
        assert!(!is_leaf || !ended(&story.a.certificate, &outcome));
        let above = [&story.a, &story.root].map(|one| ChainElement::from(&one.certificate));
        let below = outcome_below(&story.view, &above);
        assert_eq!(ended(&story.a.certificate, &below), !is_leaf, "{below}");
    }
}

/// The first entry found decides, matching or not: nothing falls through to the group.
#[test]
fn an_individual_enrollment_decides_even_if_its_certificate_does_not_match() {
    let mut story = FiveDevices::new();
    let pinned = individual("DEVICE-1", &story.leaves[1], ProvisioningStatus::Enabled);
    story.view.put_individual(&pinned).expect("entry");
    let keys = IndividualEnrollment::new(device_id("device-2"), Attestation::generated_keys());
    story.view.put_individual(&keys).expect("entry");
    let outcomes = story.outcomes();
    assert_eq!(
        outcomes[0],
        Outcome::Refused(Refusal::OtherCertificate(device_id("device-1")))
    );
    assert_eq!(
        outcomes[1],
        Outcome::Refused(Refusal::OtherAttestation(device_id("device-2")))
    );
    let blocked = IndividualEnrollment {
        provisioning_status: ProvisioningStatus::Disabled,
        ..keys
    };
    story.view.put_individual(&blocked).expect("entry");
    assert_eq!(
        story.outcomes()[1],
        Outcome::Disabled(Entry::Individual(device_id("device-2")))
    );
}

#[test]
fn an_explanation_names_every_step() {
    let story = FiveDevices::new();
    let sent = [story.a.certificate.clone()];
    let chain = PresentedChain::link(
        &story.leaves[0],
        &sent,
        std::slice::from_ref(&story.root.certificate),
    );
    assert_eq!(
        decide(&story.view, &chain).to_string(),
        "no individual enrollment is named device-1\n\
         no enrollment group holds CN=a, O=Contoso\n\
         enrollment group all holds CN=root, O=Contoso and decides; it is enabled\n\
         CN=root, O=Contoso is a verified CA certificate\n\
         admitted by enrollment group all"
    );
}

/// Nobody guesses what a word of tomorrow means: its entry decides, and whether it lets devices in is not
/// known. Whoever has no such entry in his way is decided about as ever.
#[test]
fn a_status_that_nobody_knows_is_not_guessed() {
    let mut five = FiveDevices::new();
    let paused = ProvisioningStatus::Other("paused".to_owned());
    let held = group("a", &five.a.certificate, paused.clone());
    five.view.put_group(&held).expect("group");
    let entry = individual("device-5", &five.leaves[4], paused);
    five.view.put_individual(&entry).expect("entry");
    let outcomes = five.outcomes();
    let by_group = Outcome::NotKnown(Entry::Group(group_id("a")), "paused".to_owned());
    assert_eq!(outcomes[..3], vec![by_group.clone(); 3]);
    assert_eq!(outcomes[3], admitted("all"));
    let own = Outcome::NotKnown(
        Entry::Individual(device_id("device-5")),
        "paused".to_owned(),
    );
    assert_eq!(outcomes[4], own);
    assert_eq!(own.admits(), None);
    assert_eq!(
        by_group.to_string(),
        "not known: enrollment group a has the provisioning status \"paused\", and nobody here knows whether that lets devices in"
    );
    // A disabled group on the same certificate decides for certain.
    let block = group("z", &five.a.certificate, ProvisioningStatus::Disabled);
    five.view.put_group(&block).expect("group");
    assert_eq!(
        five.outcomes()[0],
        Outcome::Disabled(Entry::Group(group_id("z")))
    );
}
