//! Coming back: readmission, its pins, and the checker that no plan gets past.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod leaving;

use std::collections::BTreeSet;
use std::convert::Infallible;

use crate::support::{TestAuthority, breach, now, root};
use pki_core::admission::{ChainElement, DpsView, Outcome, PresentedChain, Refusal, decide};
use pki_core::certificate::Certificate;
use pki_core::enrollment::compose::{by_leaf, by_signing_certificate};
use pki_core::enrollment::{
    Attestation, EnrollmentGroup, IndividualEnrollment, ProvisioningStatus,
};
use pki_core::hub::{HubDevice, HubDeviceStatus};
use pki_core::ids::{AuthorityGeneration, Etag, RegistrationId};
use pki_core::key::KeyAlgorithm::EcdsaP256;
use pki_core::lifecycle::{
    Breach, Checked, Deprovision, Expectation, Fleet, HubAction, HubIdentity, LeafStanding, Plan,
    Promise, Quarantine, QuarantineState, Readmit, ReadmitError, ReadmitState, Step, Subject, Who,
    deprovision, quarantine, quarantine_below, readmit, release_pins,
};
use pki_core::testing::SampleDps;
use pki_core::time::{Span, Time};

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect(text)
}

/// A verified root with a group on a line, and a device that was stolen.
struct Site {
    root: TestAuthority,
    line: TestAuthority,
    dps: SampleDps,
    stolen: Certificate,
    renewed: Certificate,
}

impl Site {
    fn new() -> Self {
        let root = root("root", EcdsaP256);
        let line = root.intermediate("line", EcdsaP256);
        let mut dps = SampleDps::default();
        dps.put_ca(&id("root"), &root.certificate, true);
        let attestation = by_signing_certificate(&line.certificate);
        dps.put_group(&EnrollmentGroup::new(id("line"), attestation));
        let [stolen, renewed] = [0, 1].map(|_| line.leaf("sensor-1", EcdsaP256));
        Self {
            root,
            line,
            dps,
            stolen,
            renewed,
        }
    }

    fn quarantined() -> Self {
        let mut site = Self::new();
        let request = Quarantine {
            registration_id: id("sensor-1"),
            leaf: Some(site.stolen.clone()),
            revoke: vec![site.stolen.clone()],
            reason: None,
            hub: HubAction::Disable,
        };
        let plan = quarantine(&request, &QuarantineState::default());
        site.dps.carry_out(&plan);
        site
    }

    fn above(&self) -> Vec<ChainElement> {
        [&self.line.certificate, &self.root.certificate]
            .map(ChainElement::from)
            .to_vec()
    }

    fn outcome(&self, leaf: &Certificate) -> Outcome {
        let elements = std::iter::once(ChainElement::from(leaf)).chain(self.above());
        let chain = PresentedChain::known(leaf.common_name(), elements.collect());
        decide(&self.dps.view(), &chain).outcome
    }

    fn is_in(&self, leaf: &Certificate) -> bool {
        matches!(self.outcome(leaf), Outcome::Admitted(_))
    }

    fn request(&self) -> Readmit {
        Readmit {
            registration_id: id("sensor-1"),
            leaf: self.renewed.clone(),
        }
    }

    fn state(&self) -> ReadmitState {
        ReadmitState {
            individual: self.dps.individuals.first().cloned(),
            leaf: LeafStanding::Valid,
            earlier: vec![self.stolen.clone()],
            hub_identities: vec![identity(HubDeviceStatus::Disabled)],
            groups: self.dps.groups.clone(),
            decides: Some(id("line")),
        }
    }

    fn readmitted() -> Self {
        let mut site = Self::quarantined();
        let plan = readmit(&site.request(), &site.state(), now()).expect("readmitted");
        site.dps.carry_out(&plan);
        site
    }

    fn released_by(&self, at: Time, above: Option<Vec<ChainElement>>) -> Vec<Step> {
        let individuals = &self.dps.individuals;
        let view = self.dps.view();
        let known = |_: &RegistrationId| Ok::<_, Infallible>(above.clone());
        release_pins(individuals, &view, at, known).expect("infallible")
    }

    fn released(&self, at: Time) -> Vec<Step> {
        self.released_by(at, Some(self.above()))
    }
}

fn identity(status: HubDeviceStatus) -> HubIdentity {
    let document = serde_json::json!({ "deviceId": "sensor-1" });
    let device: HubDevice = serde_json::from_value(document).expect("device");
    HubIdentity {
        hub: id("hub-1.azure-devices.net"),
        device: HubDevice {
            status,
            etag: Some(Etag::new("h1")),
            ..device
        },
    }
}

fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

#[test]
fn a_device_comes_back_with_its_new_leaf_only() {
    let mut site = Site::quarantined();
    let plan = readmit(&site.request(), &site.state(), now()).expect("readmitted");
    assert_eq!(
        steps(&plan),
        [
            "change individual enrollment sensor-1, enabled",
            "enable device identity sensor-1 on hub-1.azure-devices.net",
        ]
    );
    site.dps.carry_out(&plan);
    assert!(site.is_in(&site.renewed) && !site.is_in(&site.stolen));
    let again = readmit(
        &site.request(),
        &ReadmitState {
            hub_identities: vec![identity(HubDeviceStatus::Enabled)],
            ..site.state()
        },
        now(),
    );
    assert!(again.expect("done").is_empty());
}

#[test]
fn a_device_does_not_come_back_with_what_it_was_shut_out_with() {
    let site = Site::quarantined();
    let request = site.request();
    let state = site.state();
    let other = site.line.leaf("sensor-2", EcdsaP256);
    let refused = |request: &Readmit, state: &ReadmitState, at: Time| {
        readmit(request, state, at)
            .expect_err("refused")
            .to_string()
    };
    let with = |leaf: &Certificate| Readmit {
        leaf: leaf.clone(),
        ..request.clone()
    };
    let standing = |leaf: LeafStanding| ReadmitState {
        leaf,
        ..state.clone()
    };
    let earlier = ReadmitState {
        earlier: vec![same_key(&site.renewed, &site.line)],
        ..state.clone()
    };
    let entry = |individual: Option<IndividualEnrollment>| ReadmitState {
        individual,
        ..state.clone()
    };
    let enabled = IndividualEnrollment::new(id("sensor-1"), by_leaf(&site.stolen));
    let late = now() + Span::from_days(400);
    for (message, part) in [
        (refused(&with(&site.stolen), &state, now()), "shut out with"),
        (
            refused(&with(&other), &state, now()),
            "the leaf has the common name \"sensor-2\", not sensor-1",
        ),
        (
            refused(&request, &standing(LeafStanding::Unknown), now()),
            "not issued here",
        ),
        (
            refused(&request, &standing(LeafStanding::Revoked), now()),
            "marked revoked",
        ),
        (
            refused(&request, &earlier, now()),
            "the same key as an earlier one",
        ),
        (refused(&request, &state, late), "not now"),
        (
            refused(&request, &entry(None), now()),
            "has no individual enrollment",
        ),
        (
            refused(&request, &entry(Some(enabled)), now()),
            "is not disabled",
        ),
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(readmit(&request, &state, now()).is_ok());
}

/// Another certificate of the key that a leaf has.
fn same_key(leaf: &Certificate, line: &TestAuthority) -> Certificate {
    let id = "sensor-1".parse().expect("id");
    let spec = crate::support::leaf_spec(30);
    let serial = crate::support::serial();
    let issued = line
        .signing()
        .issue_leaf(&id, leaf.public_key(), &spec, &serial, now());
    issued.expect("leaf").certificate().clone()
}

#[test]
fn a_pin_goes_when_the_old_leaf_has_expired_and_a_group_admits_the_device() {
    let mut site = Site::readmitted();
    let before = site.stolen.validity().not_after();
    let after = site.stolen.validity().not_after() + Span::from_seconds(1);
    assert!(site.released(before).is_empty());
    let released = site.released(after);
    assert_eq!(released.len(), 1, "{released:?}");
    let unknown = site.released_by(after, None);
    assert!(unknown.is_empty(), "what nobody knows to be admitted stays");
    let with_group = site.dps.clone();
    site.dps.groups.clear();
    assert!(
        site.released(after).is_empty(),
        "nothing else admits the device"
    );
    site.dps = with_group;
    site.dps.step(&released[0]);
    assert!(site.is_in(&site.renewed));
}

/// An entry that somebody wanted for its own sake is neither marked nor deleted.
#[test]
fn an_enrollment_that_was_there_before_the_quarantine_stays() {
    let mut site = Site::new();
    let mut own = IndividualEnrollment::new(id("sensor-1"), by_leaf(&site.stolen));
    own.provisioning_status = ProvisioningStatus::Disabled;
    site.dps.put_individual(&own);
    let plan = readmit(&site.request(), &site.state(), now()).expect("readmitted");
    site.dps.carry_out(&plan);
    assert!(site.released(Time::FOREVER).is_empty());
}

/// It may keep devices out and may let them in: neither is changed by the way, and shutting out is possible.
#[test]
fn an_entry_of_which_nobody_knows_whom_it_lets_in_is_changed_only_in_so_many_words() {
    let mut site = Site::new();
    let mut group = site.dps.groups[0].clone();
    group.provisioning_status = ProvisioningStatus::Other("paused".to_owned());
    site.dps.put_group(&group);
    let group = site.dps.groups[0].clone();
    let view = site.dps.view();
    let elements = std::iter::once(ChainElement::from(&site.stolen)).chain(site.above());
    let chain = PresentedChain::known(site.stolen.common_name(), elements.collect());
    let fleet = Fleet::of_chains([&chain]);
    let to = |status: ProvisioningStatus| {
        let mut after = group.clone();
        after.provisioning_status = status;
        let step = Step::put_group(after, vec![], Expectation::of(group.etag.as_ref()));
        let mut plan = Plan::new("change it");
        plan.steps.push(step);
        plan
    };
    let nobody = Promise::default();
    let enabled = to(ProvisioningStatus::Enabled);
    let refused = Checked::new(enabled, &view, &fleet, &nobody);
    assert!(matches!(breach(&refused), Breach::LetsIn { leaves: 1, .. }));
    let disabled = to(ProvisioningStatus::Disabled);
    let refused = Checked::new(disabled.clone(), &view, &fleet, &nobody);
    assert!(matches!(
        breach(&refused),
        Breach::Refuses { leaves: 1, .. }
    ));
    let shuts_out = Promise {
        refuses: Who::Anybody,
        ..Promise::default()
    };
    Checked::new(disabled, &view, &fleet, &shuts_out).expect("that was asked for");
    // Nothing that leaves it as it is concerns it.
    let mut other = site.dps.groups[0].clone();
    other.enrollment_group_id = id("other");
    other.attestation = by_signing_certificate(&root("elsewhere", EcdsaP256).certificate);
    let mut plan = Plan::new("make another");
    plan.steps
        .push(Step::put_group(other, vec![], Expectation::Absent));
    Checked::new(plan, &view, &fleet, &nobody).expect("it is not concerned");
    let mut entry = Site::quarantined().dps.individuals[0].clone();
    entry.provisioning_status = ProvisioningStatus::Other("paused".to_owned());
    let state = ReadmitState {
        individual: Some(entry),
        ..site.state()
    };
    assert!(matches!(
        readmit(&site.request(), &state, now()),
        Err(ReadmitError::NotShutOut { .. })
    ));
}

#[test]
fn everything_below_an_intermediate_is_shut_out_by_a_disabled_group() {
    let mut site = Site::new();
    let generation = AuthorityGeneration {
        name: id("line"),
        generation: pki_core::ids::Generation::FIRST,
    };
    let plan = |site: &Site| {
        let authorities = &site.dps.authorities;
        let groups = &site.dps.groups;
        quarantine_below(
            &generation,
            &site.line.certificate,
            &[],
            authorities,
            groups,
        )
        .expect("plan")
    };
    let held = plan(&site);
    assert_eq!(steps(&held), ["change enrollment group line, disabled"]);
    let mut above = EnrollmentGroup::new(id("all"), by_signing_certificate(&site.root.certificate));
    above.etag = None;
    site.dps.groups.clear();
    site.dps.put_group(&above);
    assert!(site.is_in(&site.stolen));
    let fresh = plan(&site);
    assert_eq!(
        steps(&fresh),
        ["create enrollment group quarantine-line-1, disabled"]
    );
    site.dps.carry_out(&fresh);
    assert!(!site.is_in(&site.stolen));
    assert!(plan(&site).is_empty(), "it is done already");
}

/// What no planner may do: the checker finds it in a plan that was made by hand.
#[test]
fn the_checker_lets_no_broken_promise_pass() {
    let site = Site::quarantined();
    let view = site.dps.view();
    let chain = |leaf: &Certificate| {
        let elements = std::iter::once(ChainElement::from(leaf)).chain(site.above());
        PresentedChain::known(leaf.common_name(), elements.collect())
    };
    let neighbour = site.line.leaf("sensor-2", EcdsaP256);
    let mut fleet = Fleet::of_chains(&[chain(&site.stolen), chain(&neighbour)]);
    let signer = |name: &str| AuthorityGeneration {
        name: id(name),
        generation: pki_core::ids::Generation::FIRST,
    };
    for class in &mut fleet.classes {
        class.signed_by = Some(signer("line"));
    }
    let check = |view: &DpsView, steps: Vec<Step>, promise: &Promise| {
        let plan = Plan {
            steps,
            ..Plan::new("by hand")
        };
        Checked::new(plan, view, &fleet, promise)
    };
    let tag = || Expectation::Etag(Etag::new("\"1\""));
    let reopen = Step::delete_individual(id("sensor-1"), tag());
    let refuse = Step::delete_group(id("line"), tag());
    let nothing = Promise::default();
    let broken = check(&view, vec![reopen.clone()], &nothing);
    assert!(
        matches!(breach(&broken), Breach::Reopens { .. }),
        "{broken:?}"
    );
    let named = Promise {
        reopens: BTreeSet::from([Subject::Device(id("sensor-1"))]),
        ..Promise::default()
    };
    let broken = check(&view, vec![reopen.clone()], &named);
    assert!(
        matches!(breach(&broken), Breach::LetsIn { leaves: 1, .. }),
        "{broken:?}"
    );
    let asked = Promise {
        lets_in: Who::Devices(BTreeSet::from([id("sensor-1")])),
        ..named
    };
    assert!(check(&view, vec![reopen], &asked).is_ok());

    let back = Step::put_group(site.dps.groups[0].clone(), vec![], Expectation::Absent);
    let broken = check(&view, vec![refuse.clone(), back.clone()], &nothing);
    let message = broken.expect_err("refused in between").to_string();
    assert!(
        message.contains("\"delete enrollment group line\" 1 leaf would"),
        "{message}"
    );
    assert!(message.contains("sensor-2"), "{message}");
    let below = |name: &str| Promise {
        refuses: Who::SignedBy(BTreeSet::from([signer(name)])),
        ..Promise::default()
    };
    assert!(check(&view, vec![refuse.clone()], &below("line")).is_ok());
    let strands = check(&view, vec![refuse.clone()], &below("other"));
    let message = strands.expect_err("others").to_string();
    assert!(message.contains("among them sensor-2"), "{message}");
    let other = Promise {
        refuses: Who::Devices(BTreeSet::from([id("sensor-1")])),
        ..Promise::default()
    };
    assert!(check(&view, vec![refuse], &other).is_err());
    let keys = IndividualEnrollment::new(id("sensor-2"), Attestation::generated_keys());
    let put = Step::put_individual(keys, vec![], Expectation::Absent);
    assert!(
        check(&view, vec![put], &nothing).is_err(),
        "it shuts sensor-2 out by its keys"
    );
}

/// A device comes back as what it was: hubs, twin, policies, edge flag and whatever else its group says.
#[test]
fn readmission_takes_over_what_the_group_says() {
    let mut site = Site::new();
    let group = &mut site.dps.groups[0];
    group.iot_hubs = Some(vec![id("hub-2.azure-devices.net")]);
    group.initial_twin = Some(serde_json::json!({"tags": {"line": "a"}}));
    group.allocation_policy = serde_json::from_value(serde_json::json!("custom")).expect("policy");
    let webhook = serde_json::json!({"webhookUrl": "https://hook", "apiVersion": "1"});
    let edge = serde_json::json!({"iotEdge": true});
    for (name, value) in [
        ("customAllocationDefinition", &webhook),
        ("capabilities", &edge),
        (
            "createdDateTimeUtc",
            &serde_json::json!("2026-01-01T00:00:00Z"),
        ),
    ] {
        group.other.insert(name.to_owned(), value.clone());
    }
    let group = group.clone();
    let request = Quarantine {
        registration_id: id("sensor-1"),
        leaf: Some(site.stolen.clone()),
        revoke: vec![],
        reason: None,
        hub: HubAction::Disable,
    };
    let state = QuarantineState {
        group: Some(id("line")),
        ..QuarantineState::default()
    };
    site.dps.carry_out(&quarantine(&request, &state));
    // The service fills in what nobody said.
    site.dps.individuals[0]
        .other
        .insert("capabilities".into(), serde_json::json!({"iotEdge": false}));
    // What would decide today is another group; it came from the one that was noted.
    let state = ReadmitState {
        decides: None,
        ..site.state()
    };
    let plan = readmit(&site.request(), &state, now()).expect("readmitted");
    let [step @ Step::Individual(put), ..] = plan.steps.as_slice() else {
        panic!("{plan:?}");
    };
    let (enrollment, changes) = (put.document().expect("an entry"), step.changes());
    assert_eq!(enrollment.iot_hubs, group.iot_hubs);
    assert_eq!(enrollment.initial_twin, group.initial_twin);
    assert_eq!(enrollment.allocation_policy, group.allocation_policy);
    assert_eq!(enrollment.other["customAllocationDefinition"], webhook);
    assert_eq!(enrollment.other["capabilities"], edge);
    assert!(!enrollment.other.contains_key("createdDateTimeUtc"));
    for field in [
        "iotHubs",
        "initialTwin",
        "customAllocationDefinition",
        "capabilities",
    ] {
        assert!(
            changes.iter().any(|change| change.field == field),
            "{field}: {changes:?}"
        );
    }
    let gone = ReadmitState {
        groups: vec![],
        ..state
    };
    let plan = readmit(&site.request(), &gone, now()).expect("readmitted");
    assert!(
        plan.notes[0].contains("line, from which sensor-1 came, is gone"),
        "{:?}",
        plan.notes
    );
}

/// A group that is disabled today is enabled tomorrow.
#[test]
fn the_entry_stays_while_any_group_holds_the_chain() {
    let site = Site::new();
    let mut own = IndividualEnrollment::new(id("sensor-1"), by_leaf(&site.stolen));
    own.etag = Some(Etag::new("\"7\""));
    let state = QuarantineState {
        individual: Some(own),
        ..QuarantineState::default()
    };
    let group = pki_core::admission::Entry::Group(id("line"));
    for outcome in [
        Outcome::Disabled(group),
        Outcome::Refused(Refusal::NoVerifiedCa(id("line"))),
    ] {
        let request = Deprovision {
            registration_id: id("sensor-1"),
            leaf: Some(site.stolen.clone()),
            without_entry: Some(outcome),
        };
        let plan = deprovision(&request, &state);
        assert_eq!(
            steps(&plan),
            ["change individual enrollment sensor-1, disabled"]
        );
    }
}
