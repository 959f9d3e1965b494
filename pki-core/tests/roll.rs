//! The roll table: each subject and cause, from start to finish, and every refusal.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use pki_core::admission::{ChainElement, PresentedChain, decide};
use pki_core::certificate::Certificate;
use pki_core::declaration::VerifiedBy;
use pki_core::enrollment::compose::{by_ca_reference, by_leaf, by_signing_certificate};
use pki_core::enrollment::{
    EnrollmentGroup, IndividualEnrollment, Mechanism, ProvisioningStatus, RegistrationState,
    RegistrationStatus, X509Certificates,
};
use pki_core::ids::Generation;
use pki_core::inventory::GenerationState::{self, Compromised, Current, Next, Pending, Retired};
use pki_core::key::KeyAlgorithm::EcdsaP256;
use pki_core::lifecycle::roll::{
    self, Below, Breach, Devices, Finish, HeldGeneration, Instance, InstancePlan, MovingDevice,
    Phase, RegisteredDevice, RollError, RollState, Start, device,
};
use pki_core::lifecycle::{HubAction, Plan, Step};
use pki_core::testing::SampleDps;
use pki_core::time::Span;
use support::{TestAuthority, now, root};

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect(text)
}

fn number(number: u32) -> Generation {
    Generation::new(number).expect("not zero")
}

/// Two generations of a root and of a line; the second line is below the first root.
struct Pki {
    roots: [TestAuthority; 2],
    lines: [TestAuthority; 2],
}

impl Pki {
    fn new() -> Self {
        let roots = [root("root", EcdsaP256), root("root", EcdsaP256)];
        let lines = [0, 1].map(|_| roots[0].intermediate("line", EcdsaP256));
        Self { roots, lines }
    }

    fn certificates(&self) -> Vec<Certificate> {
        let all = self.roots.iter().chain(&self.lines);
        all.map(|authority| authority.certificate.clone()).collect()
    }

    /// A leaf below a line, with the chain that its device presents.
    fn device(&self, line: usize, root: usize) -> PresentedChain {
        let leaf = self.lines[line].leaf("sensor-1", EcdsaP256);
        let above = [&self.lines[line].certificate, &self.roots[root].certificate];
        let elements = [&leaf].into_iter().chain(above).map(ChainElement::from);
        PresentedChain::known(leaf.common_name(), elements.collect())
    }

    fn state(
        &self,
        authority: &str,
        generations: [GenerationState; 2],
        dps: &SampleDps,
    ) -> RollState {
        let held = match authority {
            "root" => &self.roots,
            _ => &self.lines,
        };
        let generations = [1, 2].into_iter().zip(generations).zip(held);
        RollState {
            authority: id(authority),
            generations: generations
                .map(|((generation, state), authority)| HeldGeneration {
                    number: number(generation),
                    state,
                    certificate: authority.certificate.clone(),
                })
                .collect(),
            certificates: self.certificates(),
            below: vec![],
            instances: vec![Instance {
                name: id("dev"),
                authorities: dps.authorities.clone(),
                groups: dps.groups.clone(),
                declared: vec![id("root")],
                verified_by: VerifiedBy::Possession,
            }],
        }
    }

    /// The state of the root's roll, with the lines below its first generation.
    fn root_state(&self, generations: [GenerationState; 2], dps: &SampleDps) -> RollState {
        RollState {
            below: vec![Below {
                authority: id("line"),
                generation: number(1),
                certificate: self.lines[0].certificate.clone(),
                leaves: 7,
            }],
            ..self.state("root", generations, dps)
        }
    }

    /// The first root verified, a group on the first line.
    fn line_in_group(&self) -> SampleDps {
        let mut dps = SampleDps::default();
        dps.put_ca(&id("root"), &self.roots[0].certificate, true);
        let attestation = by_signing_certificate(&self.lines[0].certificate);
        dps.put_group(&EnrollmentGroup::new(id("line"), attestation));
        dps
    }

    /// The first root verified, and a group that refers to it.
    fn root_in_group(&self) -> SampleDps {
        let mut dps = SampleDps::default();
        dps.put_ca(&id("root"), &self.roots[0].certificate, true);
        let attestation = by_ca_reference(id("root"));
        dps.put_group(&EnrollmentGroup::new(id("all"), attestation));
        dps
    }
}

fn relaxed() -> Start {
    Start {
        overlap_until: now() + Span::from_days(365),
        leaves_beyond: 0,
        accept_stranded: 0,
    }
}

fn only(plans: Result<Vec<InstancePlan>, RollError>) -> Plan {
    let mut plans = plans.expect("a plan");
    assert_eq!(plans.len(), 1);
    plans.remove(0).plan
}

fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

fn is_admitted(dps: &SampleDps, chain: &PresentedChain) -> bool {
    decide(&dps.view(), chain).is_admitted()
}

fn devices(count: u64) -> Devices {
    Devices {
        count,
        named: vec![id("sensor-1")],
    }
}

/// Intermediate held by groups, expiry: secondary slot; move devices; drop the old.
#[test]
fn an_intermediate_is_rolled_slot_by_slot_and_the_new_one_ends_in_the_primary() {
    let pki = Pki::new();
    let mut dps = pki.line_in_group();
    let (old, new) = (pki.device(0, 0), pki.device(1, 0));
    let start = only(roll::start(
        &relaxed(),
        &pki.state("line", [Current, Pending], &dps),
    ));
    assert_eq!(
        steps(&start),
        [
            "change enrollment group line, enabled",
            "in the inventory, make line generation 2 next",
        ]
    );
    dps.carry_out(&start);
    assert!(is_admitted(&dps, &old) && is_admitted(&dps, &new));
    let again = only(roll::start(
        &relaxed(),
        &pki.state("line", [Current, Next], &dps),
    ));
    assert!(again.is_empty(), "{:?}", steps(&again));

    let state = pki.state("line", [Current, Next], &dps);
    let finish = only(roll::finish(&Finish::default(), &state));
    assert_eq!(
        steps(&finish),
        [
            "in the inventory, make line generation 1 retired, generation 2 current",
            "change enrollment group line, enabled",
        ]
    );
    dps.carry_out(&finish);
    assert!(!is_admitted(&dps, &old) && is_admitted(&dps, &new));
    let Mechanism::X509(X509Certificates::Signing(slots)) = &dps.groups[0].attestation.mechanism
    else {
        panic!("signing certificates");
    };
    let primary = slots
        .primary
        .as_ref()
        .and_then(|slot| slot.sha256_thumbprint());
    assert_eq!(primary, Some(pki.lines[1].certificate.sha256_thumbprint()));
    assert_eq!(slots.secondary, None);
}

/// Root held as CA reference, expiry: upload and prove the new one, secondary, then delete the old.
#[test]
fn a_root_is_rolled_under_a_name_of_its_own() {
    let pki = Pki::new();
    let mut dps = pki.root_in_group();
    let start = only(roll::start(
        &relaxed(),
        &pki.state("root", [Current, Pending], &dps),
    ));
    assert_eq!(
        steps(&start),
        [
            "upload CA certificate root-2",
            "prove possession of CA certificate root-2 with the key of root",
            "change enrollment group all, enabled",
            "in the inventory, make root generation 2 next",
        ]
    );
    dps.carry_out(&start);
    let state = pki.state("root", [Current, Next], &dps);
    let finish = only(roll::finish(&Finish::default(), &state));
    assert_eq!(
        steps(&finish),
        [
            "in the inventory, make root generation 1 retired, generation 2 current",
            "change enrollment group all, enabled",
            "delete CA certificate root",
        ]
    );
    dps.carry_out(&finish);
    let leaf = pki.roots[1].leaf("sensor-1", EcdsaP256);
    let path = [&leaf, &pki.roots[1].certificate].map(ChainElement::from);
    let chain = PresentedChain::known(leaf.common_name(), path.to_vec());
    assert!(is_admitted(&dps, &chain));
}

/// A plan that was cut short anywhere is completed by asking again.
#[test]
fn start_and_finish_go_on_where_they_stopped() {
    let pki = Pki::new();
    let dps = pki.root_in_group();
    let start = only(roll::start(
        &relaxed(),
        &pki.state("root", [Current, Pending], &dps),
    ));
    let mut whole = dps.clone();
    whole.carry_out(&start);
    for stopped in 0..start.steps.len() {
        let mut cut = dps.clone();
        start.steps[..stopped]
            .iter()
            .for_each(|step| cut.step(step));
        let rest = only(roll::start(
            &relaxed(),
            &pki.state("root", [Current, Pending], &cut),
        ));
        cut.carry_out(&rest);
        assert_eq!(
            cut.groups[0].attestation, whole.groups[0].attestation,
            "{stopped}"
        );
        assert!(
            cut.authorities
                .iter()
                .all(|held| held.properties.is_verified)
        );
    }
    let state = pki.state("root", [Current, Next], &whole);
    let finish = only(roll::finish(&Finish::default(), &state));
    for stopped in 1..finish.steps.len() {
        let mut cut = whole.clone();
        finish.steps[..stopped]
            .iter()
            .for_each(|step| cut.step(step));
        let state = pki.state("root", [Retired, Current], &cut);
        assert_eq!(
            roll::status(&Devices::default(), &state).phase,
            Phase::Finishing
        );
        cut.carry_out(&only(roll::finish(&Finish::default(), &state)));
        assert_eq!(cut.authorities.len(), 1);
        let state = pki.state("root", [Retired, Current], &cut);
        assert_eq!(roll::status(&Devices::default(), &state).phase, Phase::Idle);
        let again = only(roll::finish(&Finish::default(), &state));
        assert!(again.is_empty(), "{again:?}");
    }
}

/// What never began has not ended either, nor has what was given up.
#[test]
fn a_roll_that_did_not_end_is_not_taken_for_one_that_did() {
    let pki = Pki::new();
    let dps = pki.line_in_group();
    for generations in [[Current, Pending], [Current, Retired]] {
        let state = pki.state("line", generations, &dps);
        let refused = roll::finish(&Finish::default(), &state);
        assert!(
            matches!(refused, Err(RollError::NotUnderWay { .. })),
            "{generations:?}: {refused:?}"
        );
    }
}

#[test]
fn an_aborted_roll_leaves_everything_as_it_was() {
    let pki = Pki::new();
    for (before, authority) in [(pki.line_in_group(), "line"), (pki.root_in_group(), "root")] {
        let mut dps = before.clone();
        dps.carry_out(&only(roll::start(
            &relaxed(),
            &pki.state(authority, [Current, Pending], &dps),
        )));
        let state = pki.state(authority, [Current, Next], &dps);
        let abort = only(roll::abort(&Devices::default(), &state));
        let settled = format!("in the inventory, make {authority} generation 2 retired");
        assert_eq!(steps(&abort)[0], settled);
        dps.carry_out(&abort);
        assert_eq!(dps.groups[0].attestation, before.groups[0].attestation);
        assert_eq!(dps.authorities.len(), before.authorities.len());
        let refused = roll::abort(&devices(1), &state).expect_err("moved");
        assert!(
            refused.to_string().contains("1 device (sensor-1)"),
            "{refused}"
        );
    }
}

/// Every refusal, each against a baseline that is one fact away from a plan.
#[test]
fn refusals_say_what_stands_in_the_way() {
    let pki = Pki::new();
    let mut dps = pki.line_in_group();
    let none = roll::start(&relaxed(), &pki.state("line", [Retired, Current], &dps));
    assert!(
        none.expect_err("no successor")
            .to_string()
            .contains("has no generation after 2 yet")
    );

    let short = Start {
        leaves_beyond: 3,
        accept_stranded: 2,
        ..relaxed()
    };
    let state = pki.state("line", [Current, Pending], &dps);
    let refused = roll::start(&short, &state)
        .expect_err("too short")
        .to_string();
    assert!(
        refused.contains("3 leaves of line generation 1 are valid beyond"),
        "{refused}"
    );
    let accepted = Start {
        accept_stranded: 3,
        ..short
    };
    assert!(roll::start(&accepted, &state).is_ok());

    let refused = roll::finish(
        &Finish::default(),
        &pki.state("line", [Current, Next], &dps),
    );
    let refused = refused.expect_err("not held yet").to_string();
    assert!(
        refused.contains("group line in DPS dev does not hold line generation 2"),
        "{refused}"
    );

    let mut taken = dps.groups[0].clone();
    if let Mechanism::X509(X509Certificates::Signing(slots)) = &mut taken.attestation.mechanism {
        slots.secondary.clone_from(&slots.primary);
        let foreign = by_signing_certificate(&pki.roots[1].certificate);
        if let Mechanism::X509(X509Certificates::Signing(other)) = foreign.mechanism {
            slots.secondary = other.primary;
        }
    }
    dps.put_group(&taken);
    let refused = roll::start(&relaxed(), &pki.state("line", [Current, Pending], &dps));
    let refused = refused.expect_err("taken").to_string();
    assert!(
        refused.contains("both slots of enrollment group line"),
        "{refused}"
    );
}

#[test]
fn a_new_generation_that_reaches_no_verified_ca_is_refused() {
    let mut pki = Pki::new();
    pki.lines[1] = pki.roots[1].intermediate("line", EcdsaP256);
    let dps = pki.line_in_group();
    let refused = roll::start(&relaxed(), &pki.state("line", [Current, Pending], &dps));
    let refused = refused.expect_err("unverified").to_string();
    assert!(
        refused.contains("the chain reaches no verified CA certificate"),
        "{refused}"
    );
}

#[test]
fn devices_that_have_not_moved_stand_in_the_way_of_the_end() {
    let pki = Pki::new();
    let mut dps = pki.line_in_group();
    dps.carry_out(&only(roll::start(
        &relaxed(),
        &pki.state("line", [Current, Pending], &dps),
    )));
    let state = pki.state("line", [Current, Next], &dps);
    let moving = |name: &str, moved: bool| MovingDevice {
        id: id(name),
        new_leaf_since: Some(now()),
        registered_at: moved.then(|| now() + Span::from_seconds(1)),
    };
    let fleet = [moving("a", true), moving("b", false), moving("c", false)];
    let left_behind = Devices::left_behind(fleet, 1);
    let status = roll::status(&left_behind, &state);
    assert_eq!(status.phase, Phase::Overlap);
    assert_eq!(
        status.waits[0].to_string(),
        "2 devices (b, …) to register with a new leaf"
    );
    let request = Finish {
        left_behind,
        ..Finish::default()
    };
    let refused = roll::finish(&request, &state)
        .expect_err("left")
        .to_string();
    assert!(
        refused.contains("of line generation 1: 2 devices (b, …)"),
        "{refused}"
    );
    let accepted = Finish {
        accept_stranded: 2,
        ..request
    };
    assert!(roll::finish(&accepted, &state).is_ok());
}

/// Rolling a root: the devices below its intermediates reach it alone. DPS wants some certificate of
/// the chain verified, so the intermediate itself can take the root's place.
#[test]
fn the_intermediates_of_a_root_stop_its_end_or_are_verified_themselves() {
    let pki = Pki::new();
    let mut dps = pki.line_in_group();
    let device = pki.device(0, 0);
    let state = |dps: &SampleDps, states| pki.root_state(states, dps);
    dps.carry_out(&only(roll::start(
        &relaxed(),
        &state(&dps, [Current, Pending]),
    )));
    let refused = roll::finish(&Finish::default(), &state(&dps, [Current, Next]));
    let refused = refused.expect_err("strands line").to_string();
    assert!(
        refused.contains("7 leaves of line generation 1"),
        "{refused}"
    );
    let request = Finish {
        with_intermediates: true,
        ..Finish::default()
    };
    let finish = only(roll::finish(&request, &state(&dps, [Current, Next])));
    assert_eq!(
        steps(&finish),
        [
            "in the inventory, make root generation 1 retired, generation 2 current",
            "upload CA certificate line",
            "prove possession of CA certificate line with the key of line",
            "delete CA certificate root",
        ]
    );
    for step in &finish.steps {
        dps.step(step);
        assert!(is_admitted(&dps, &device), "after: {step}");
    }
}

/// Intermediate held by groups, breach: replaced at once; deregister the devices below it.
#[test]
fn a_compromised_intermediate_is_out_from_the_first_step_on() {
    let pki = Pki::new();
    let mut dps = pki.line_in_group();
    let compromised = pki.device(0, 0);
    let record = RegistrationState::new(id("sensor-1"), RegistrationStatus::Assigned);
    let request = Breach {
        devices: vec![vec![RegisteredDevice {
            registration: record,
            hub_identity: None,
        }]],
        hub: HubAction::Delete,
        with_intermediates: false,
    };
    let plan = only(roll::replace(
        &request,
        &pki.state("line", [Current, Pending], &dps),
    ));
    assert_eq!(
        steps(&plan),
        [
            "change enrollment group line, enabled",
            "in the inventory, make line generation 1 compromised, generation 2 current",
            "delete the registration record of sensor-1",
        ]
    );
    for step in &plan.steps {
        dps.step(step);
        assert!(!is_admitted(&dps, &compromised), "after: {step}");
    }
    assert!(is_admitted(&dps, &pki.device(1, 0)));
}

/// A group above would admit what the group no longer holds.
#[test]
fn a_compromised_intermediate_below_an_enabled_group_gets_a_disabled_one() {
    let pki = Pki::new();
    let mut dps = pki.line_in_group();
    dps.put_group(&EnrollmentGroup::new(
        id("all"),
        by_ca_reference(id("root")),
    ));
    let plan = only(roll::replace(
        &Breach::default(),
        &pki.state("line", [Current, Pending], &dps),
    ));
    assert_eq!(
        steps(&plan)[..2],
        [
            "change enrollment group line, enabled",
            "create enrollment group quarantine-line-1, disabled",
        ]
    );
    dps.carry_out(&plan);
    assert!(!is_admitted(&dps, &pki.device(0, 0)));
    assert!(is_admitted(&dps, &pki.device(1, 0)));
}

/// Root held as CA reference, breach: delete it, prove the new one, put it in the primary slot.
#[test]
fn a_compromised_root_goes_first_and_a_plan_that_was_cut_is_completed() {
    let pki = Pki::new();
    let before = pki.root_in_group();
    let plan = only(roll::replace(
        &Breach::default(),
        &pki.state("root", [Current, Pending], &before),
    ));
    assert_eq!(
        steps(&plan),
        [
            "delete CA certificate root",
            "in the inventory, make root generation 1 compromised, generation 2 current",
            "upload CA certificate root-2",
            "prove possession of CA certificate root-2 with the key of root",
            "change enrollment group all, enabled",
        ]
    );
    let compromised = pki.device(0, 0);
    for stopped in 1..=plan.steps.len() {
        let mut dps = before.clone();
        for step in &plan.steps[..stopped] {
            dps.step(step);
            assert!(!is_admitted(&dps, &compromised), "after: {step}");
        }
        let states = match stopped {
            1 => [Current, Pending],
            _ => [Compromised, Current],
        };
        if stopped > 1 {
            let rest = roll::replace(&Breach::default(), &pki.state("root", states, &dps));
            dps.carry_out(&only(rest));
            let names: Vec<_> = dps
                .authorities
                .iter()
                .map(|held| held.name.as_str())
                .collect();
            assert_eq!(names, ["root-2"], "stopped after {stopped}");
            let expected = by_ca_reference(id("root-2"));
            assert_eq!(
                dps.groups[0].attestation, expected,
                "stopped after {stopped}"
            );
        }
    }
}

#[test]
fn several_groups_and_instances_roll_together_and_breaches_cut_everywhere_first() {
    let pki = Pki::new();
    let mut dps = pki.line_in_group();
    let second = by_signing_certificate(&pki.lines[0].certificate);
    dps.put_group(&EnrollmentGroup::new(id("line-b"), second));
    let mut state = pki.state("line", [Current, Pending], &dps);
    state.instances.push(Instance {
        name: id("prod"),
        ..state.instances[0].clone()
    });
    let plans = roll::start(&relaxed(), &state).expect("plans");
    let counts: Vec<_> = plans
        .iter()
        .map(|one| (one.dps.as_str(), one.plan.steps.len()))
        .collect();
    assert_eq!(
        counts,
        [("dev", 2), ("prod", 3)],
        "the inventory changes at the end"
    );
    let plans = roll::replace(&Breach::default(), &state).expect("plans");
    let order: Vec<_> = plans.iter().map(|one| one.dps.as_str()).collect();
    assert_eq!(order, ["dev", "prod", "dev", "prod"]);
}

/// Device with an individual enrollment: secondary slot, then the old one out; a disabled entry stays
/// disabled.
#[test]
fn the_leaf_of_an_individual_enrollment_is_rolled_in_its_slots() {
    let pki = Pki::new();
    let [old, new] = [0, 1].map(|_| pki.lines[0].leaf("sensor-1", EcdsaP256));
    let mut dps = SampleDps::default();
    let mut entry = IndividualEnrollment::new(id("sensor-1"), by_leaf(&old));
    entry.provisioning_status = ProvisioningStatus::Disabled;
    dps.put_individual(&entry);
    let state = |dps: &SampleDps| device::DeviceState {
        individual: dps.individuals.first().cloned(),
        registration: None,
        hub_identity: None,
    };
    dps.carry_out(&device::start(&id("sensor-1"), &new, &state(&dps)).expect("start"));
    let third = pki.lines[0].leaf("sensor-1", EcdsaP256);
    let full = device::start(&id("sensor-1"), &third, &state(&dps));
    assert!(
        matches!(full, Err(RollError::DeviceSlotsTaken { .. })),
        "{full:?}"
    );
    let moving = |moved: bool| MovingDevice {
        id: id("sensor-1"),
        new_leaf_since: Some(now()),
        registered_at: moved.then(|| now() + Span::from_seconds(1)),
    };
    let left = device::finish(&moving(false), &new, false, &state(&dps));
    assert!(
        matches!(left, Err(RollError::DeviceLeftBehind { .. })),
        "{left:?}"
    );
    let back = device::abort(&moving(false), &old, &state(&dps)).expect("abort");
    let finish = device::finish(&moving(true), &new, false, &state(&dps)).expect("finish");
    for (plan, stays) in [(back, &old), (finish, &new)] {
        let mut dps = dps.clone();
        dps.carry_out(&plan);
        let entry = &dps.individuals[0];
        assert_eq!(entry.attestation, by_leaf(stays));
        assert_eq!(entry.provisioning_status, ProvisioningStatus::Disabled);
    }
}

#[test]
fn a_compromised_leaf_leaves_its_enrollment_at_once() {
    let pki = Pki::new();
    let [old, new] = [0, 1].map(|_| pki.lines[0].leaf("sensor-1", EcdsaP256));
    let state = device::DeviceState {
        individual: Some(IndividualEnrollment::new(id("sensor-1"), by_leaf(&old))),
        registration: Some(RegistrationState::new(
            id("sensor-1"),
            RegistrationStatus::Assigned,
        )),
        hub_identity: None,
    };
    let compromised = [old.clone()];
    let plan = device::replace(
        &id("sensor-1"),
        &new,
        &compromised,
        HubAction::Delete,
        &state,
    );
    let plan = plan.expect("plan");
    let Step::PutIndividual { enrollment, .. } = &plan.steps[0] else {
        panic!("{plan:?}");
    };
    assert_eq!(enrollment.attestation, by_leaf(&new));
    assert_eq!(plan.steps.len(), 3);
    let foreign = pki.lines[0].leaf("sensor-2", EcdsaP256);
    let refused = device::start(&id("sensor-1"), &foreign, &state);
    assert!(
        matches!(refused, Err(RollError::OtherDevice { .. })),
        "{refused:?}"
    );
}
