//! An operation whose process dies at any moment is asked for again, as a person would: it leads to where an
//! uninterrupted one leads, whatever of it was done.

use std::panic::{self, AssertUnwindSafe};

use dps_operations::deprovision::{self, LeavingGroup};
use dps_operations::quarantine::{self, Below};
use dps_operations::roll::{AuthorityRoll, BreachRequest, Instances, was_replaced};
use dps_operations::{Failures, converge, readmit};
use pki_core::inventory::Inventory as _;
use pki_core::journal::Journal as _;
use pki_core::lifecycle::HubAction;
use pki_core::testing::FixedClock;

use super::faults::Mishap;
use super::line::{Line, group};
use super::site::{id, now, wait};

fn quarantine(line: &mut Line) {
    let clock = FixedClock(now());
    let request = quarantine::Request {
        targets: vec![line.target("sensor-1"), line.target("sensor-2")],
        reason: None,
        hub: HubAction::Disable,
    };
    let prepared = wait(request.prepare(line.around(&clock))).expect("prepared");
    let judged = prepared.judge(line.around(&clock), &request).expect("kept");
    let failed = line.carry_out(&judged, request.failures()).expect("done");
    assert!(failed.is_empty());
}

fn quarantine_below(line: &mut Line) {
    let clock = FixedClock(now());
    let below = Below::of(&line.journal, &id("root"), now()).expect("below");
    let prepared = below.prepare(line.around(&clock), HubAction::Delete, None);
    let judged = wait(prepared).expect("prepared");
    let judged = judged.judge(line.around(&clock)).expect("kept");
    line.carry_out(&judged, Failures::Stop).expect("done");
}

fn deprovision(line: &mut Line) {
    let clock = FixedClock(now());
    let request = deprovision::Request {
        targets: vec![line.target("sensor-1"), line.target("sensor-2")],
    };
    let prepared = wait(request.prepare(line.around(&clock))).expect("prepared");
    let judged = prepared.judge(line.around(&clock), &request).expect("kept");
    let failed = line.carry_out(&judged, request.failures()).expect("done");
    assert!(failed.is_empty());
}

fn deprovision_group(line: &mut Line) {
    let clock = FixedClock(now());
    let leaving = wait(LeavingGroup::gather(line.around(&clock), &group())).expect("read");
    let prepared = wait(leaving.prepare(line.around(&clock))).expect("prepared");
    let prepared = prepared.expect("there is, or was, one");
    let judged = prepared.judge(line.around(&clock)).expect("kept");
    line.carry_out(&judged, Failures::Stop).expect("done");
    let proof = wait(prepared.read_back(line.around(&clock))).expect("read");
    proof.check().expect("all of them are out");
}

fn converge(line: &mut Line) {
    let clock = FixedClock(now());
    let judged = wait(converge::Request::default().prepare(line.around(&clock)));
    line.carry_out(&judged.expect("planned"), Failures::Stop)
        .expect("done");
}

fn readmit(line: &mut Line) {
    let clock = FixedClock(now());
    let leaf = line.target("sensor-1").leaf.expect("a leaf");
    let id = id("sensor-1");
    let request = readmit::Request { id, leaf };
    let prepared = wait(request.prepare(line.around(&clock))).expect("prepared");
    let judged = prepared.judge(line.around(&clock), &request).expect("kept");
    line.carry_out(&judged, Failures::Stop).expect("done");
    wait(prepared.read_back(line.around(&clock), &request)).expect("back");
}

fn breach_roll(line: &mut Line) {
    let clock = FixedClock(now());
    let around = line.around(&clock);
    let record = line.journal.authority(&id("root")).expect("read");
    let request = BreachRequest {
        hub: HubAction::Disable,
        with_intermediates: false,
        is_replaced: record.is_some_and(|record| was_replaced(&record)),
        is_shown: false,
    };
    let instances = wait(Instances::gather([around.instance])).expect("read");
    let roll = AuthorityRoll::gather(around.journal, &instances, &id("root"), (now(), None));
    let breach = wait(roll.expect("gathered").breach(request)).expect("planned");
    drop(instances);
    line.roll(&breach.rolling);
}

fn dies_at_every_moment(make: impl Fn() -> Line, operation: impl Fn(&mut Line)) {
    let mut line = make();
    let before = line.state();
    line.fate.set(Mishap::Nothing);
    operation(&mut line);
    let end = line.state();
    assert_ne!(before, end, "it changes something");
    let (moments, _) = line.fate.counted();
    assert!(moments > 10, "{moments}");
    for moment in 1..=moments {
        let mut line = make();
        line.fate.set(Mishap::Death(moment));
        let died = panic::catch_unwind(AssertUnwindSafe(|| operation(&mut line)));
        assert!(died.is_err(), "moment {moment}");
        line.fate.set(Mishap::Nothing);
        operation(&mut line);
        assert_eq!(line.state(), end, "dead at moment {moment}");
        let plans = line.journal.plans(10).expect("read");
        let open = plans.iter().filter(|plan| plan.state.is_open()).count();
        assert_eq!(open, 0, "dead at moment {moment}");
    }
}

#[test]
fn a_quarantine_survives_death_at_every_moment() {
    dies_at_every_moment(Line::running, quarantine);
}

#[test]
fn a_quarantine_below_an_authority_survives_death_at_every_moment() {
    dies_at_every_moment(Line::running, quarantine_below);
}

#[test]
fn a_readmission_survives_death_at_every_moment() {
    let shut_out = || {
        let mut line = Line::running();
        quarantine(&mut line);
        line.issue("sensor-1");
        line
    };
    dies_at_every_moment(shut_out, readmit);
}

#[test]
fn a_deprovisioning_survives_death_at_every_moment() {
    dies_at_every_moment(Line::running, deprovision);
}

#[test]
fn a_deprovisioning_of_a_group_survives_death_at_every_moment() {
    dies_at_every_moment(Line::running, deprovision_group);
}

/// Of a device that an earlier leaf would let in.
#[test]
fn a_deprovisioning_of_a_rolled_group_survives_death_at_every_moment() {
    let registered_by_the_earlier_leaf = || {
        let line = Line::rolled();
        let leaves = line.journal.certificates_of(&id("sensor-1")).expect("read");
        let earlier = leaves.last().expect("two leaves").recorded.certificate();
        line.register_by(&id("above"), "sensor-1", earlier);
        line
    };
    dies_at_every_moment(registered_by_the_earlier_leaf, deprovision_group);
}

#[test]
fn a_convergence_survives_death_at_every_moment() {
    dies_at_every_moment(Line::empty, converge);
}

#[test]
fn a_breach_roll_survives_death_at_every_moment() {
    let with_successor = || {
        let mut line = Line::running();
        line.make_generation();
        line
    };
    dies_at_every_moment(with_successor, breach_roll);
}
