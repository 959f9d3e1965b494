//! What must hold of every plan, over random fleets: an expiry roll never refuses a valid leaf, a
//! breach roll never admits a compromised one, nothing widens admission unless that was asked for.
//!
//! The judge is [`judge`], a second implementation of the rules of DPS; core's own admission is
//! compared with it on every fleet.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

pub(crate) mod judge;
mod world;

use self::judge::lets_in;
use self::world::{DEVICES, Pki, Signer, World, documents, world};
use crate::support::now;
use pki_core::admission::{decide, outcome_of};
use pki_core::enrollment::{Attestation, IndividualEnrollment};
use pki_core::inventory::GenerationState::{Current, Next, Pending};
use pki_core::lifecycle::roll::{self, Breach, Devices, Finish, InstancePlan, RollError, Start};
use pki_core::lifecycle::{
    Checked, Effect, HubAction, Impact, LeafStanding, Plan, Promise, Quarantine, QuarantineState,
    Readmit, ReadmitState, Step, Who, quarantine_many, readmit,
};
use pki_core::time::Span;
use proptest::prelude::*;

fn start() -> Start {
    Start {
        overlap_until: now() + Span::from_days(365),
        leaves_beyond: 0,
        accept_stranded: 0,
    }
}

/// The one plan of one instance; `None` where the roll is refused for a reason that a random fleet may
/// give.
fn only(plans: Result<Vec<InstancePlan>, RollError>) -> Option<Plan> {
    match plans {
        Ok(mut plans) => plans.pop().map(|one| one.plan),
        Err(RollError::StrandsBelow { .. } | RollError::NotUnderWay { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// A few seconds' worth, thousands in all; `PROPTEST_CASES` asks for more of each.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.max(400),
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn core_and_the_judge_agree(world in world()) {
        let view = world.dps.view();
        let documents = documents(&world.dps);
        for device in 0..world.signers.len() {
            for signer in [Signer::Line, Signer::Other, Signer::Root, Signer::NewLine, Signer::NewRoot] {
                let leaf = Pki::shared().leaf(device, signer);
                let judged = lets_in(&documents, &leaf.presented);
                let decision = decide(&view, &leaf.chain);
                prop_assert_eq!(decision.is_admitted(), judged, "{}", decision);
                let id = leaf.certificate.common_name().expect("CN").parse().expect("id");
                let thumbprint = leaf.certificate.sha256_thumbprint();
                let outcome = outcome_of(&view, &id, &thumbprint, leaf.chain.above_leaf());
                prop_assert_eq!(outcome, decision.outcome);
            }
        }
    }

    /// Impact by classes counts what the judge counts device by device.
    #[test]
    fn impact_counts_what_the_judge_counts(before in world(), other in world()) {
        let after = World { dps: other.dps, signers: before.signers.clone() };
        // The fleet must know every device that has an entry before or after.
        let mut fleet = World { dps: before.dps.clone(), ..before.clone() };
        for entry in &after.dps.individuals {
            let id = entry.registration_id.clone();
            let known = IndividualEnrollment::new(id, Attestation::generated_keys());
            fleet.dps.put_individual(&known);
        }
        let impact = Impact::compare(&before.dps.view(), &after.dps.view(), &fleet.fleet());
        let judged = before.admitted().into_iter().zip(after.admitted());
        let mut counts = [0; 4];
        for pair in judged {
            counts[match pair { (true, false) => 0, (false, true) => 1, (true, true) => 2, _ => 3 }] += 1;
        }
        let effects = [Effect::Loses, Effect::Gains, Effect::StaysAdmitted, Effect::StaysOut];
        prop_assert_eq!(effects.map(|effect| impact.count(effect)), counts);
    }

    /// At any prefix of an expiry roll of an intermediate, and whichever devices have moved.
    #[test]
    fn an_expiry_roll_refuses_no_valid_leaf_and_lets_nobody_in(world in world(), order in Just((0..DEVICES).collect::<Vec<_>>()).prop_shuffle()) {
        let before = world.admitted();
        let state = world.line_state([Current, Pending]);
        let plan = only(roll::start(&start(), &state)).expect("nothing stands in the way");
        prop_assert_eq!(Some(plan.clone()), only(roll::start(&start(), &state)));
        let promise = Promise::default();
        prop_assert!(Checked::new(plan.clone(), &world.dps.view(), &world.fleet(), &promise).is_ok());
        let mut world = world;
        for step in &plan.steps {
            world = world.after(step);
            prop_assert_eq!(&world.admitted(), &before, "after: {}", step);
        }
        // A device with an entry of its own is rolled by that, not by its group.
        let moves = |world: &World, device: usize| {
            world.signers.get(device) == Some(&Signer::Line) && !world.has_entry(device)
        };
        for device in order {
            if moves(&world, device) {
                world.signers[device] = Signer::NewLine;
                prop_assert_eq!(&world.admitted(), &before, "device {} moved", device);
            }
        }
        let Some(finish) = only(roll::finish(&Finish::default(), &world.line_state([Current, Next]))) else {
            return Ok(());
        };
        for step in &finish.steps {
            world = world.after(step);
            prop_assert_eq!(&world.admitted(), &before, "after: {}", step);
        }
    }

    /// The intermediates below the root, and their devices, outlive it.
    #[test]
    fn a_root_goes_without_refusing_those_below_its_intermediates(world in world()) {
        let before = world.admitted();
        let plan = only(roll::start(&start(), &world.root_state([Current, Pending])));
        let mut world = world;
        for step in &plan.expect("nothing stands in the way").steps {
            world = world.after(step);
            prop_assert_eq!(&world.admitted(), &before, "after: {}", step);
        }
        for (device, was_in) in before.iter().enumerate() {
            if world.signers[device] == Signer::Root && !world.has_entry(device) {
                world.signers[device] = Signer::NewRoot;
                prop_assert_eq!(world.lets_in(device, Signer::NewRoot), *was_in);
            }
        }
        let request = Finish { with_intermediates: true, ..Finish::default() };
        let Some(finish) = only(roll::finish(&request, &world.root_state([Current, Next]))) else {
            return Ok(());
        };
        let checked = Checked::new(finish.clone(), &world.dps.view(), &world.fleet(), &Promise::default());
        for step in &finish.steps {
            world = world.after(step);
            let after = world.admitted();
            let lost = before.iter().zip(&after).position(|(was, is)| *was && !*is);
            prop_assert_eq!(lost, None, "after: {}", step);
        }
        prop_assert!(checked.is_ok() || world.admitted() != before, "{:?}", checked);
    }

    /// From the step on that shuts it out; with one holder and nothing above it, from the first.
    #[test]
    fn a_breach_roll_admits_no_compromised_leaf_and_hits_nobody_else(world in world()) {
        let before = world.admitted();
        let plans = roll::replace(&Breach::default(), &world.line_state([Current, Pending]));
        let plan = only(plans).expect("nothing stands in the way");
        prop_assert!(matches!(plan.steps[0], Step::Authority(_)), "recorded first: {}", plan.steps[0]);
        let cut = plan.steps.iter().rposition(|step| matches!(step, Step::Group(_))).unwrap_or(0);
        let compromised = |world: &World| {
            let devices = (0..world.signers.len()).filter(|device| !world.has_entry(*device));
            devices.into_iter().any(|device| world.lets_in(device, Signer::Line))
        };
        let mut now = world.clone();
        for (index, step) in plan.steps.iter().enumerate() {
            now = now.after(step);
            prop_assert!(index < cut || !compromised(&now), "after: {}", step);
            for (device, signer) in now.signers.iter().enumerate() {
                let is_hit = *signer == Signer::Line && !now.has_entry(device);
                let is_in = now.lets_in(device, *signer);
                prop_assert!(is_hit || is_in == before[device], "device {} after: {}", device, step);
            }
        }
        prop_assert!(cut > 1 || plan.steps.len() < 2 || !compromised(&world.after(&plan.steps[1])));
    }

    /// Many at once: all of them out, nobody else concerned; and each back in with a new leaf only.
    #[test]
    fn quarantine_and_readmission_concern_those_named(world in world(), picked in prop::collection::vec(any::<bool>(), DEVICES)) {
        let pki = Pki::shared();
        let before = world.admitted();
        let named: Vec<usize> = (0..world.signers.len()).filter(|device| picked[*device]).collect();
        let requests: Vec<_> = named.iter().map(|device| {
            let request = Quarantine {
                registration_id: format!("device-{device}").parse().expect("id"),
                leaf: Some(pki.leaf(*device, world.signers[*device]).certificate.clone()),
                revoke: vec![pki.leaf(*device, world.signers[*device]).certificate.clone()],
                reason: None,
                hub: HubAction::Disable,
            };
            let state = QuarantineState { individual: world.entry(*device).cloned(), ..QuarantineState::default() };
            (request, state)
        }).collect();
        let plan = quarantine_many(&requests);
        let ids = requests.iter().map(|(request, _)| request.registration_id.clone()).collect();
        let promise = Promise { refuses: Who::Devices(ids), ..Promise::default() };
        let mut fleet = world.clone();
        fleet.dps.carry_out(&plan);
        let checked = Checked::new(plan.clone(), &world.dps.view(), &fleet.fleet(), &promise);
        prop_assert!(checked.is_ok(), "{:?}", checked);
        let mut world = world;
        for step in &plan.steps {
            world = world.after(step);
            let widened = before.iter().zip(world.admitted()).any(|(was, is)| !was && is);
            prop_assert!(!widened, "after: {}", step);
        }
        let out = world.admitted();
        for device in 0..world.signers.len() {
            prop_assert_eq!(out[device], before[device] && !picked[device]);
        }
        for device in &named {
            let request = Readmit {
                registration_id: format!("device-{device}").parse().expect("id"),
                leaf: pki.leaf(*device, Signer::NewLine).certificate.clone(),
            };
            let state = ReadmitState {
                individual: world.entry(*device).cloned(),
                leaf: LeafStanding::Valid,
                earlier: vec![pki.leaf(*device, world.signers[*device]).certificate.clone()],
                ..ReadmitState::default()
            };
            world.dps.carry_out(&readmit(&request, &state, now()).expect("readmitted"));
            prop_assert!(world.lets_in(*device, Signer::NewLine));
        }
        prop_assert_eq!(world.admitted(), out, "the old leaves stay out");
    }

    #[test]
    fn an_aborted_roll_changes_nothing(world in world()) {
        let before = world.admitted();
        let mut world = world;
        let started = only(roll::start(&start(), &world.root_state([Current, Pending])));
        world.dps.carry_out(&started.expect("nothing stands in the way"));
        let aborted = only(roll::abort(&Devices::default(), &world.root_state([Current, Next])));
        for step in &aborted.expect("a way back").steps {
            world = world.after(step);
            prop_assert_eq!(&world.admitted(), &before, "after: {}", step);
        }
    }
}
