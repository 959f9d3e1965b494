//! A compromised authority: recorded, then out from the first write on.

use pki_core::admission::{ChainElement, PresentedChain};
use pki_core::enrollment::compose::{by_ca_reference, by_signing_certificate};
use pki_core::enrollment::{
    CertificateSlot, EnrollmentGroup, Mechanism, ProvisioningStatus, RegistrationState,
    RegistrationStatus, X509Certificates,
};
use pki_core::ids::{AuthorityGeneration, Generation};
use pki_core::inventory::GenerationState::{Compromised, Current, Next, Pending, Retired};
use pki_core::key::KeyAlgorithm::EcdsaP256;
use pki_core::lifecycle::roll::{self, Breach, Finish, Instance, RegisteredDevice, RollError};
use pki_core::lifecycle::{HubAction, Plan, quarantine_below};
use pki_core::testing::{SampleDps, Service};

use crate::roll::{Pki, id, is_admitted, number, only, relaxed, steps};
use crate::support::generations_of;

/// Intermediate held by groups, breach: replaced at once; deregister the devices below it.
#[test]
fn a_compromised_intermediate_is_out_from_the_first_write_on() {
    let pki = Pki::new();
    let mut dps = pki.line_in_group();
    let compromised = pki.device(0, 0);
    let record = RegistrationState::new(id("sensor-1"), RegistrationStatus::Assigned);
    let request = Breach {
        generation: None,
        devices: vec![vec![RegisteredDevice {
            registration: Some(record),
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
            "in the inventory, make line generation 1 compromised, generation 2 current",
            "change enrollment group line, enabled",
            "create enrollment group quarantine-line-1, disabled",
            "delete the registration record of sensor-1",
        ]
    );
    for step in &plan.steps[1..] {
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
        steps(&plan)[1..3],
        [
            "create enrollment group quarantine-line-1, disabled",
            "change enrollment group line, enabled",
        ]
    );
    for step in &plan.steps[1..] {
        dps.step(step);
        assert!(!is_admitted(&dps, &pki.device(0, 0)), "after: {step}");
    }
    assert!(is_admitted(&dps, &pki.device(1, 0)));
}

fn group<'a>(dps: &'a SampleDps, name: &str) -> &'a EnrollmentGroup {
    let mut groups = dps.groups.iter();
    let held = groups.find(|group| group.enrollment_group_id.as_str() == name);
    held.expect("the group")
}

fn set_status(dps: &mut SampleDps, name: &str, status: ProvisioningStatus) {
    let changed = EnrollmentGroup {
        provisioning_status: status,
        ..group(dps, name).clone()
    };
    dps.put_group(&changed);
}

/// The line in its group, a group on the root above it, and what a breach roll of the line plans.
fn below_top(pki: &Pki) -> (SampleDps, Plan) {
    let mut dps = pki.line_in_group();
    dps.put_group(&EnrollmentGroup::new(
        id("top"),
        by_ca_reference(id("root")),
    ));
    let state = pki.state("line", [Current, Pending], &dps);
    let plan = only(roll::replace(&Breach::default(), &state));
    (dps, plan)
}

/// Cut after any write: the same, said again, completes what is left and nothing else.
#[test]
fn the_group_that_shuts_out_is_known_again_wherever_the_roll_was_cut() {
    let pki = Pki::new();
    let (before, plan) = below_top(&pki);
    let mut undisturbed = before.clone();
    undisturbed.carry_out(&plan);
    for cut in 0..=plan.steps.len() {
        let mut dps = before.clone();
        for step in &plan.steps[..cut] {
            dps.step(step);
        }
        let states = match cut {
            0 => [Current, Pending],
            _ => [Compromised, Current],
        };
        let again = roll::replace(&Breach::default(), &pki.state("line", states, &dps));
        let rest = only(again);
        assert_eq!(steps(&rest), steps(&plan)[cut..], "cut after {cut}");
        dps.carry_out(&rest);
        assert_eq!(
            dps.view().groups().count(),
            undisturbed.view().groups().count()
        );
        assert!(!is_admitted(&dps, &pki.device(0, 0)));
        assert!(is_admitted(&dps, &pki.device(1, 0)));
    }
}

/// A group above that is disabled may be enabled tomorrow.
#[test]
fn enabling_a_group_above_lets_no_compromised_leaf_in() {
    let pki = Pki::new();
    let (mut dps, _) = below_top(&pki);
    set_status(&mut dps, "top", ProvisioningStatus::Disabled);
    let state = pki.state("line", [Current, Pending], &dps);
    let plan = only(roll::replace(&Breach::default(), &state));
    dps.carry_out(&plan);
    let again = pki.state("line", [Compromised, Current], &dps);
    assert!(only(roll::replace(&Breach::default(), &again)).is_empty());
    let block = group(&dps, "quarantine-line-1");
    assert_eq!(
        block.attestation,
        by_signing_certificate(&pki.lines[0].certificate)
    );
    set_status(&mut dps, "top", ProvisioningStatus::Enabled);
    assert!(!is_admitted(&dps, &pki.device(0, 0)));
    assert!(is_admitted(&dps, &pki.device(1, 0)));
}

/// Not there today, and made tomorrow: the service decides by the nearest group, so a disabled one must be
/// there beforehand.
#[test]
fn a_group_made_above_later_lets_no_compromised_leaf_in() {
    let pki = Pki::new();
    let mut dps = pki.line_in_group();
    let state = pki.state("line", [Current, Pending], &dps);
    dps.carry_out(&only(roll::replace(&Breach::default(), &state)));
    dps.put_group(&EnrollmentGroup::new(
        id("top"),
        by_ca_reference(id("root")),
    ));
    assert!(!is_admitted(&dps, &pki.device(0, 0)));
    assert!(is_admitted(&dps, &pki.device(1, 0)));
}

/// The service decides for itself in each instance, also in one that holds nothing of the line yet.
#[test]
fn an_instance_without_the_line_keeps_it_out_too() {
    let pki = Pki::new();
    let mut dps = SampleDps::default();
    dps.put_ca(&id("root"), &pki.roots[0].certificate, true);
    let state = pki.state("line", [Current, Pending], &dps);
    dps.carry_out(&only(roll::replace(&Breach::default(), &state)));
    dps.put_group(&EnrollmentGroup::new(
        id("top"),
        by_ca_reference(id("root")),
    ));
    assert!(!is_admitted(&dps, &pki.device(0, 0)));
}

/// A disabled group must stay: who enables it lets everybody in, and `roll status` says so.
#[test]
fn what_lets_a_compromised_generation_in_is_told_and_shut_by_the_roll_said_again() {
    let pki = Pki::new();
    let (mut dps, plan) = below_top(&pki);
    dps.carry_out(&plan);
    let waits = |dps: &SampleDps| {
        let state = pki.state("line", [Compromised, Current], dps);
        roll::status(&roll::Devices::default(), &state, &[dps.view()])
    };
    assert!(!waits(&dps).is_waiting());
    set_status(&mut dps, "quarantine-line-1", ProvisioningStatus::Enabled);
    let status = waits(&dps);
    assert!(status.is_waiting());
    let told: Vec<String> = status.waits.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "enrollment group quarantine-line-1 in DPS dev lets in leaves of generation 1, which is compromised; start the breach roll again to shut them out"
        ]
    );
    let state = pki.state("line", [Compromised, Current], &dps);
    dps.carry_out(&only(roll::replace(&Breach::default(), &state)));
    assert!(!is_admitted(&dps, &pki.device(0, 0)));
    assert!(!waits(&dps).is_waiting());
}

/// Of several compromised generations each is kept out.
#[test]
fn a_breach_roll_keeps_every_compromised_generation_out() {
    let pki = Pki::new();
    let (mut dps, plan) = below_top(&pki);
    dps.carry_out(&plan);
    dps.groups
        .retain(|group| group.enrollment_group_id.as_str() != "quarantine-line-1");
    let third = pki.roots[0].intermediate("line", EcdsaP256);
    let state = pki.state_with_third([Compromised, Current, Pending], &third, &dps);
    assert!(is_admitted(&dps, &pki.device(0, 0)));
    let second = Breach {
        generation: Some(number(2)),
        ..Breach::default()
    };
    dps.carry_out(&only(roll::replace(&second, &state)));
    assert!(!is_admitted(&dps, &pki.device(0, 0)));
    assert!(!is_admitted(&dps, &pki.device(1, 0)));
}

/// Its theft is found out after an ordinary roll had retired it: the current one stays.
#[test]
fn a_retired_generation_is_shut_out_by_its_number() {
    let pki = Pki::new();
    let (mut dps, plan) = below_top(&pki);
    dps.carry_out(&plan);
    dps.groups
        .retain(|group| group.enrollment_group_id.as_str() != "quarantine-line-1");
    assert!(is_admitted(&dps, &pki.device(0, 0)));
    let first = Breach {
        generation: Some(number(1)),
        ..Breach::default()
    };
    let plan = only(roll::replace(
        &first,
        &pki.state("line", [Retired, Current], &dps),
    ));
    assert_eq!(
        steps(&plan),
        [
            "in the inventory, make line generation 1 compromised",
            "create enrollment group quarantine-line-1, disabled",
        ]
    );
    dps.carry_out(&plan);
    assert!(!is_admitted(&dps, &pki.device(0, 0)));
    assert!(is_admitted(&dps, &pki.device(1, 0)));
    let again = roll::replace(&first, &pki.state("line", [Compromised, Current], &dps));
    assert!(only(again).is_empty());
}

/// Its breach roll was never carried out in this instance: it goes with the next one.
#[test]
fn a_breach_roll_takes_out_what_an_earlier_one_has_left() {
    let pki = Pki::new();
    let mut dps = pki.line_in_group();
    let third = pki.roots[0].intermediate("line", EcdsaP256);
    let second = Breach {
        generation: Some(number(2)),
        ..Breach::default()
    };
    let state = pki.state_with_third([Compromised, Current, Pending], &third, &dps);
    dps.carry_out(&only(roll::replace(&second, &state)));
    assert!(!is_admitted(&dps, &pki.device(0, 0)));
    let state = pki.state_with_third([Compromised, Compromised, Current], &third, &dps);
    let again = only(roll::replace(&second, &state));
    assert!(again.is_empty(), "{:?}", steps(&again));
    let held = group(&dps, "line");
    let Mechanism::X509(X509Certificates::Signing(slots)) = &held.attestation.mechanism else {
        panic!("{held:?}");
    };
    let held: Vec<_> = slots
        .iter()
        .map(CertificateSlot::sha256_thumbprint)
        .collect();
    assert_eq!(held, [Some(third.certificate.sha256_thumbprint())]);
}

/// Once the old CA certificate is gone nobody can tell whether it was verified: the new one is proven either
/// way, so that a roll that was cut ends as an undisturbed one does.
#[test]
fn the_successor_of_an_unverified_ca_is_proven_wherever_the_roll_was_cut() {
    let pki = Pki::new();
    let mut before = SampleDps::default();
    before.put_ca(&id("root"), &pki.roots[0].certificate, false);
    before.put_group(&EnrollmentGroup::new(
        id("all"),
        by_ca_reference(id("root")),
    ));
    let state = pki.state("root", [Current, Pending], &before);
    let plan = only(roll::replace(&Breach::default(), &state));
    let is_verified = |dps: &SampleDps| -> Vec<(String, bool)> {
        let held = dps.authorities.iter();
        held.map(|held| (held.name.to_string(), held.properties.is_verified))
            .collect()
    };
    for cut in 0..=plan.steps.len() {
        let mut dps = before.clone();
        for step in &plan.steps[..cut] {
            dps.step(step);
        }
        let states = if cut < 2 {
            [Current, Pending]
        } else {
            [Compromised, Current]
        };
        let again = roll::replace(&Breach::default(), &pki.state("root", states, &dps));
        dps.carry_out(&only(again));
        assert_eq!(
            is_verified(&dps),
            [("root".to_owned(), true)],
            "cut after {cut}"
        );
    }
}

/// Who was shut out by `quarantine --authority` stays out at every step of the roll that follows.
#[test]
fn a_breach_roll_after_a_quarantine_lets_nobody_in() {
    let pki = Pki::new();
    let (mut dps, _) = below_top(&pki);
    let generation = AuthorityGeneration {
        name: id("line"),
        generation: Generation::FIRST,
    };
    let line = &pki.lines[0].certificate;
    let shut_out = quarantine_below(&generation, line, &[], &dps.authorities, &dps.groups);
    dps.carry_out(&shut_out.expect("plan"));
    let state = pki.state("line", [Current, Pending], &dps);
    let plan = only(roll::replace(&Breach::default(), &state));
    for step in &plan.steps {
        dps.step(step);
        assert!(!is_admitted(&dps, &pki.device(0, 0)), "after: {step}");
    }
    assert_eq!(
        group(&dps, "line").provisioning_status,
        ProvisioningStatus::Disabled,
        "what somebody disabled stays so"
    );
}

/// The group that keeps the compromised generation out is no part of later rolls.
#[test]
fn a_later_expiry_roll_can_be_started_and_finished() {
    let mut pki = Pki::new();
    let (mut dps, plan) = below_top(&pki);
    dps.carry_out(&plan);
    let third = pki.roots[0].intermediate("line", EcdsaP256);
    let made = pki.state_with_third([Compromised, Current, Pending], &third, &dps);
    let start = only(roll::start(&relaxed(), &made));
    assert_eq!(
        steps(&start),
        [
            "change enrollment group line, enabled",
            "in the inventory, make line generation 3 next",
        ]
    );
    dps.carry_out(&start);
    let moved = pki.state_with_third([Compromised, Current, Next], &third, &dps);
    let finish = roll::finish(&Finish::default(), &moved);
    dps.carry_out(&only(finish));
    assert!(!is_admitted(&dps, &pki.device(0, 0)));
    let block = group(&dps, "quarantine-line-1");
    assert_eq!(block.provisioning_status, ProvisioningStatus::Disabled);
    pki.lines[1] = third;
    assert!(is_admitted(&dps, &pki.device(1, 0)));
}

/// The service keeps a certificate that it is shown by `info` only in the slot that holds it.
#[test]
fn another_authority_in_the_primary_slot_stays_there() {
    let pki = Pki::new();
    let other = pki.roots[0].intermediate("other", EcdsaP256);
    let mut dps = SampleDps::of(Service {
        hides_certificates: true,
        ..Service::default()
    });
    dps.put_ca(&id("root"), &pki.roots[0].certificate, true);
    let mut shared = EnrollmentGroup::new(id("both"), by_signing_certificate(&other.certificate));
    if let Mechanism::X509(X509Certificates::Signing(slots)) = &mut shared.attestation.mechanism {
        let line = pki.lines[0].certificate.to_pem();
        slots.secondary = Some(CertificateSlot::from_pem(line));
    }
    dps.put_group(&shared);
    let state = pki.state("line", [Current, Pending], &dps);
    dps.carry_out(&only(roll::replace(&Breach::default(), &state)));
    let Mechanism::X509(X509Certificates::Signing(slots)) =
        &group(&dps, "both").attestation.mechanism
    else {
        panic!("certificates");
    };
    let held: Vec<_> = slots
        .iter()
        .map(CertificateSlot::sha256_thumbprint)
        .collect();
    let wanted = [&other.certificate, &pki.lines[1].certificate];
    assert_eq!(held, wanted.map(|one| Some(one.sha256_thumbprint())));
    assert!(!is_admitted(&dps, &pki.device(0, 0)));
}

/// Somebody else's group has the name of ours: it stays as it is, and ours gets a number.
#[test]
fn a_group_of_the_name_that_shuts_nobody_out_is_left_alone() {
    let pki = Pki::new();
    let other = pki.roots[0].intermediate("other", EcdsaP256);
    let strangers = EnrollmentGroup::new(
        id("Quarantine-line-1"),
        by_signing_certificate(&other.certificate),
    );
    let mut dps = pki.line_in_group();
    dps.put_group(&strangers);
    let generation = AuthorityGeneration {
        name: id("line"),
        generation: Generation::FIRST,
    };
    let line = &pki.lines[0].certificate;
    dps.groups
        .retain(|group| group.enrollment_group_id.as_str() != "line");
    let shut_out = quarantine_below(&generation, line, &[], &dps.authorities, &dps.groups);
    let made = "create enrollment group quarantine-line-1-2, disabled";
    assert_eq!(steps(&shut_out.expect("plan")), [made]);
    let mut dps = pki.line_in_group();
    dps.put_group(&strangers);
    let state = pki.state("line", [Current, Pending], &dps);
    let plan = only(roll::replace(&Breach::default(), &state));
    assert!(steps(&plan).contains(&made.to_owned()), "{plan:?}");
    dps.carry_out(&plan);
    let kept = group(&dps, "Quarantine-line-1");
    assert_eq!(kept.attestation, strangers.attestation);
    assert_eq!(kept.provisioning_status, ProvisioningStatus::Enabled);
    assert!(!is_admitted(&dps, &pki.device(0, 0)));
    let again = pki.state("line", [Compromised, Current], &dps);
    let again = only(roll::replace(&Breach::default(), &again));
    assert!(again.is_empty(), "said again: {again:?}");
}

/// Of a group that two authorities share, one is shut out and the other is not.
#[test]
fn a_shared_group_stays_enabled_when_one_of_its_authorities_is_shut_out() {
    let pki = Pki::new();
    let other = pki.roots[0].intermediate("other", EcdsaP256);
    let mut dps = pki.line_in_group();
    let mut shared = group(&dps, "line").clone();
    if let Mechanism::X509(X509Certificates::Signing(slots)) = &mut shared.attestation.mechanism {
        slots.secondary = Some(CertificateSlot::from_pem(other.certificate.to_pem()));
    }
    dps.put_group(&shared);
    let generation = AuthorityGeneration {
        name: id("line"),
        generation: Generation::FIRST,
    };
    let line = &pki.lines[0].certificate;
    let shut_out = quarantine_below(&generation, line, &[], &dps.authorities, &dps.groups);
    let shut_out = shut_out.expect("plan");
    assert_eq!(
        steps(&shut_out),
        ["create enrollment group quarantine-line-1, disabled"]
    );
    assert!(
        shut_out.notes[1].contains("line holds another certificate"),
        "{:?}",
        shut_out.notes
    );
    dps.carry_out(&shut_out);
    assert!(!is_admitted(&dps, &pki.device(0, 0)));
    let leaf = other.leaf("sensor-9", EcdsaP256);
    let path = [&leaf, &other.certificate, &pki.roots[0].certificate].map(ChainElement::from);
    let neighbour = PresentedChain::known(leaf.common_name(), path.to_vec());
    assert!(is_admitted(&dps, &neighbour));
    let again = quarantine_below(&generation, line, &[], &dps.authorities, &dps.groups);
    assert!(again.expect("plan").is_empty(), "said again");
}

/// Root held as CA reference, breach: the new one takes its place, whether the service would delete what a
/// group refers to or not.
#[test]
fn a_compromised_root_goes_first_and_a_plan_that_was_cut_is_completed() {
    let pki = Pki::new();
    let mut before = pki.root_in_group();
    before.becomes(Service {
        keeps_referred: true,
        ..Service::default()
    });
    let plan = only(roll::replace(
        &Breach::default(),
        &pki.state("root", [Current, Pending], &before),
    ));
    assert_eq!(
        steps(&plan),
        [
            "in the inventory, make root generation 1 compromised, generation 2 current",
            "replace CA certificate root",
            "prove possession of CA certificate root with the key of root",
        ]
    );
    let compromised = pki.device(0, 0);
    for stopped in 1..=plan.steps.len() {
        let mut dps = before.clone();
        for step in &plan.steps[1..stopped] {
            dps.step(step);
            assert!(!is_admitted(&dps, &compromised), "after: {step}");
        }
        let state = pki.state("root", [Compromised, Current], &dps);
        let rest = roll::replace(&Breach::default(), &state);
        dps.carry_out(&only(rest));
        let names: Vec<_> = dps
            .authorities
            .iter()
            .map(|held| held.name.as_str())
            .collect();
        assert_eq!(names, ["root"], "stopped after {stopped}");
        let expected = by_ca_reference(id("root"));
        assert_eq!(
            dps.groups[0].attestation, expected,
            "stopped after {stopped}"
        );
    }
}

/// In the overlap several groups admit by the old one, and those below it by groups of their own: one write has
/// it out, whatever the service deletes.
#[test]
fn a_root_in_its_overlap_is_out_from_the_first_write_on() {
    let pki = Pki::new();
    let mut dps = pki.root_in_group();
    let by_root = by_ca_reference(id("root"));
    dps.put_group(&EnrollmentGroup::new(id("second"), by_root));
    let by_line = by_signing_certificate(&pki.lines[0].certificate);
    dps.put_group(&EnrollmentGroup::new(id("line"), by_line));
    dps.becomes(Service {
        keeps_referred: true,
        refuses_dangling: true,
        ..Service::default()
    });
    let made = pki.state("root", [Current, Pending], &dps);
    dps.carry_out(&only(roll::start(&relaxed(), &made)));
    let compromised = pki.device(0, 0);
    assert!(is_admitted(&dps, &compromised));
    let overlap = pki.state("root", [Current, Next], &dps);
    let plan = only(roll::replace(&Breach::default(), &overlap));
    assert_eq!(
        steps(&plan),
        [
            "in the inventory, make root generation 1 compromised, generation 2 current",
            "replace CA certificate root",
            "change enrollment group all, enabled",
            "change enrollment group second, enabled",
            "delete CA certificate root",
        ]
    );
    for step in &plan.steps[1..] {
        dps.step(step);
        assert!(!is_admitted(&dps, &compromised), "after: {step}");
    }
    let held: Vec<_> = dps
        .authorities
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(held, ["root-2"]);
    for name in ["all", "second"] {
        let attestation = &group(&dps, name).attestation;
        assert_eq!(*attestation, by_ca_reference(id("root-2")), "{name}");
    }
}

/// What is shown before there is a certificate to put in its place says what the roll will do.
#[test]
fn a_look_beforehand_says_that_a_root_that_groups_refer_to_is_replaced() {
    let pki = Pki::new();
    let dps = pki.root_in_group();
    let mut state = pki.state("root", [Current, Pending], &dps);
    state.generations = generations_of([(Current, &pki.roots[0].certificate)]);
    let shown = only(roll::shut_out(&Breach::default(), &state));
    assert_eq!(steps(&shown), ["replace CA certificate root"]);
    let replaced = pki.state("root", [Current, Pending], &dps);
    let plan = only(roll::replace(&Breach::default(), &replaced));
    assert_eq!(steps(&plan)[1], steps(&shown)[0]);
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

/// Whoever has the key of a certificate has that of the one before it, if that was renewed with its own key.
#[test]
fn what_was_renewed_with_its_own_key_goes_with_the_other_and_does_not_replace_it() {
    let mut pki = Pki::new();
    pki.lines[1].certificate = pki.roots[0].renewed(&pki.lines[0]);
    let mut dps = pki.line_in_group();
    let both = pki.state("line", [Current, Pending], &dps);
    assert_eq!(
        roll::replace(&Breach::default(), &both),
        Err(RollError::SameKey {
            authority: id("line"),
            compromised: number(1),
            newcomer: number(2),
        })
    );
    let third = pki.roots[0].intermediate("line", EcdsaP256);
    let state = pki.state_with_third([Retired, Current, Pending], &third, &dps);
    let plan = only(roll::replace(&Breach::default(), &state));
    assert_eq!(
        plan.steps[0].to_string(),
        "in the inventory, make line generation 2 compromised, generation 3 current, generation 1 compromised"
    );
    dps.put_group(&EnrollmentGroup::new(
        id("all"),
        by_ca_reference(id("root")),
    ));
    let state = pki.state_with_third([Retired, Current, Pending], &third, &dps);
    dps.carry_out(&only(roll::replace(&Breach::default(), &state)));
    assert!(!is_admitted(&dps, &pki.device(0, 0)));
    // The same leaf, with the renewed certificate above it.
    let leaf = pki.lines[0].leaf("sensor-1", EcdsaP256);
    let above = [&pki.lines[1].certificate, &pki.roots[0].certificate];
    let elements = [&leaf].into_iter().chain(above).map(ChainElement::from);
    let renewed = PresentedChain::known(leaf.common_name(), elements.collect());
    assert!(!is_admitted(&dps, &renewed));
}
