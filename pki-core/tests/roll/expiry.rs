//! An authority that ends: rolled slot by slot, finished or aborted, and what stands in the way.

use pki_core::admission::{ChainElement, PresentedChain};
use pki_core::enrollment::compose::by_signing_certificate;
use pki_core::enrollment::{Mechanism, X509Certificates};
use pki_core::inventory::GenerationState::{Current, Next, Pending, Retired};
use pki_core::key::KeyAlgorithm::EcdsaP256;
use pki_core::lifecycle::roll::{
    self, Devices, Finish, MovingDevice, Phase, RollError, Shown, Start,
};
use pki_core::testing::SampleDps;
use pki_core::time::Span;

use crate::roll::{Pki, devices, id, is_admitted, only, relaxed, steps};
use crate::support::now;

/// Intermediate held by groups, expiry: secondary slot; move devices; drop the old.
#[test]
fn an_intermediate_is_rolled_slot_by_slot_and_the_new_one_ends_in_the_primary() {
    let pki = Pki::new();
    let mut dps = pki.line_in_group();
    let old = pki.device(0, 0);
    let new = pki.device(1, 0);
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
            roll::status(&Devices::default(), &state, &[cut.view()]).phase,
            Phase::Finishing
        );
        cut.carry_out(&only(roll::finish(&Finish::default(), &state)));
        assert_eq!(cut.authorities.len(), 1);
        let state = pki.state("root", [Retired, Current], &cut);
        assert_eq!(
            roll::status(&Devices::default(), &state, &[cut.view()]).phase,
            Phase::Idle
        );
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
        shown: if moved { Shown::New } else { Shown::Unknown },
    };
    let fleet = [moving("a", true), moving("b", false), moving("c", false)];
    let left_behind = Devices::left_behind(fleet, 1);
    let status = roll::status(&left_behind, &state, &[dps.view()]);
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

/// A record does not tell which leaf was shown; the identity on the hub does, and where nobody can look
/// nobody knows.
#[test]
fn who_registered_again_with_the_old_leaf_has_not_moved() {
    let moving = |shown: Shown| MovingDevice {
        id: id("a"),
        new_leaf_since: Some(now()),
        registered_at: Some(now() + Span::from_seconds(1)),
        shown,
    };
    assert!(moving(Shown::New).has_moved());
    assert!(!moving(Shown::Old).has_moved());
    assert!(moving(Shown::Old).is_known() && !moving(Shown::Unknown).is_known());
    let pki = Pki::new();
    let mut dps = pki.line_in_group();
    dps.carry_out(&only(roll::start(
        &relaxed(),
        &pki.state("line", [Current, Pending], &dps),
    )));
    let state = pki.state("line", [Current, Next], &dps);
    let request = Finish {
        not_known: Devices::not_known([moving(Shown::Unknown)], 1),
        ..Finish::default()
    };
    let refused = roll::finish(&request, &state)
        .expect_err("not known")
        .to_string();
    assert!(
        refused.contains("nobody can tell with which leaf"),
        "{refused}"
    );
    let accepted = Finish {
        accept_stranded: 1,
        ..request
    };
    assert!(roll::finish(&accepted, &state).is_ok());
}
