//! A compromised authority: out from the first step on.

use pki_core::enrollment::compose::{by_ca_reference, by_signing_certificate};
use pki_core::enrollment::{EnrollmentGroup, RegistrationState, RegistrationStatus};
use pki_core::inventory::GenerationState::{Compromised, Current, Pending};
use pki_core::lifecycle::HubAction;
use pki_core::lifecycle::roll::{self, Breach, Instance, RegisteredDevice};

use crate::{Pki, id, is_admitted, only, relaxed, steps};

/// Intermediate held by groups, breach: replaced at once; deregister the devices below it.
#[test]
fn a_compromised_intermediate_is_out_from_the_first_step_on() {
    let pki = Pki::new();
    let mut dps = pki.line_in_group();
    let compromised = pki.device(0, 0);
    let record = RegistrationState::new(id("sensor-1"), RegistrationStatus::Assigned);
    let request = Breach {
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
