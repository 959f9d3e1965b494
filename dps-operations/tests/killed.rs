//! An operation whose process dies at any moment is asked for again, as a person would: it leads to where an
//! uninterrupted one leads, whatever of it was done.

use std::panic::{self, AssertUnwindSafe};

use dps_operations::deprovision::{self, LeavingGroup};
use dps_operations::quarantine::{self, Below};
use dps_operations::roll::device::{DeviceRoll, Prepared};
use dps_operations::roll::{
    AuthorityRoll, BreachRequest, FinishRequest, Instances, Rolling, StartRequest,
};
use dps_operations::{Failures, PlanningError, Surroundings, converge, readmit};
use pki_core::certificate::Certificate;
use pki_core::enrollment::{IndividualEnrollment, compose};
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

/// Plans a roll of the root as it is now, and carries it out.
fn roll_root(line: &mut Line, plan: impl FnOnce(AuthorityRoll<'_>) -> Rolling) {
    let clock = FixedClock(now());
    let around = line.around(&clock);
    let instances = wait(Instances::gather([around.instance])).expect("read");
    let roll = AuthorityRoll::gather(around.journal, &instances, &id("root"), (now(), None));
    let rolling = plan(roll.expect("gathered"));
    drop(instances);
    line.roll(&rolling);
}

fn start_roll(line: &mut Line) {
    roll_root(line, |roll| {
        roll.start(StartRequest::default()).expect("planned")
    });
}

fn finish_roll(line: &mut Line) {
    roll_root(line, |mut roll| {
        let moving = wait(roll.moving()).expect("read");
        let finished = roll.finish(FinishRequest::default(), moving);
        finished.expect("planned")
    });
}

fn abort_roll(line: &mut Line) {
    roll_root(line, |roll| roll.abort().expect("planned"));
}

fn breach_roll(line: &mut Line) {
    let request = BreachRequest {
        hub: HubAction::Disable,
        with_intermediates: false,
        is_shown: false,
    };
    roll_root(line, |roll| {
        wait(roll.breach(request)).expect("planned").rolling
    });
}

/// Plans a roll of the leaf of `sensor-1` as it is now, and carries it out.
fn roll_leaf(
    line: &mut Line,
    plan: impl FnOnce(&DeviceRoll, Surroundings<'_>) -> Result<Prepared, PlanningError>,
) {
    let clock = FixedClock(now());
    let roll = wait(DeviceRoll::gather(line.around(&clock), &id("sensor-1")));
    let roll = roll.expect("read").expect("known");
    let prepared = plan(&roll, line.around(&clock)).expect("planned");
    let judged = prepared.judge(line.around(&clock), &roll).expect("kept");
    line.carry_out(&judged, Failures::Stop).expect("done");
    wait(roll.read_back(line.around(&clock), &prepared)).expect("as planned");
}

fn newest(roll: &DeviceRoll) -> &Certificate {
    roll.newest_leaf(now()).expect("a leaf")
}

fn start_leaf(line: &mut Line) {
    roll_leaf(line, |roll, _| roll.start(newest(roll)));
}

fn finish_leaf(line: &mut Line) {
    roll_leaf(line, |roll, around| roll.finish(around, false));
}

fn abort_leaf(line: &mut Line) {
    roll_leaf(line, |roll, around| roll.abort(around));
}

fn replace_leaf(line: &mut Line) {
    roll_leaf(line, |roll, _| {
        roll.replace(newest(roll), HubAction::Disable, now())
    });
}

fn dies_at_every_moment(make: impl Fn() -> Line, operation: impl Fn(&mut Line)) {
    let mut line = make();
    let before = line.state();
    line.fate.set(Mishap::Nothing);
    operation(&mut line);
    let end = line.state();
    assert_ne!(before, end, "it changes something");
    let (moments, _) = line.fate.counted();
    // A plan of one step alone lives through eight: it is looked for, journaled, written, journaled, closed.
    assert!(moments >= 8, "{moments}");
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

#[test]
fn a_convergence_survives_death_at_every_moment() {
    dies_at_every_moment(Line::empty, converge);
}

/// The root has a generation to be rolled to.
fn with_successor() -> Line {
    let mut line = Line::running();
    line.make_generation();
    line
}

/// Both generations are admitted, and nobody has moved.
fn in_overlap() -> Line {
    let mut line = with_successor();
    start_roll(&mut line);
    line
}

#[test]
fn a_breach_roll_survives_death_at_every_moment() {
    dies_at_every_moment(with_successor, breach_roll);
}

#[test]
fn a_breach_roll_in_an_overlap_survives_death_at_every_moment() {
    dies_at_every_moment(in_overlap, breach_roll);
}

#[test]
fn the_start_of_an_expiry_roll_survives_death_at_every_moment() {
    dies_at_every_moment(with_successor, start_roll);
}

#[test]
fn the_end_of_an_expiry_roll_survives_death_at_every_moment() {
    let all_have_moved = || {
        let mut line = in_overlap();
        for device in ["sensor-1", "sensor-2"] {
            let leaf = line.issue(device);
            line.register(device, &leaf);
        }
        line
    };
    dies_at_every_moment(all_have_moved, finish_roll);
}

#[test]
fn an_expiry_roll_that_is_given_up_survives_death_at_every_moment() {
    dies_at_every_moment(in_overlap, abort_roll);
}

/// `sensor-1` has an enrollment of its own with its leaf, and has been given the next one.
fn with_own_entry() -> Line {
    let mut line = Line::running();
    let leaf = line.target("sensor-1").leaf.expect("a leaf");
    let own = IndividualEnrollment::new(id("sensor-1"), compose::by_leaf(&leaf));
    line.dps.overwrite_individual(own);
    line.issue("sensor-1");
    line
}

/// Its enrollment holds both leaves.
fn with_both_leaves() -> Line {
    let mut line = with_own_entry();
    start_leaf(&mut line);
    line
}

#[test]
fn the_start_of_a_device_roll_survives_death_at_every_moment() {
    dies_at_every_moment(with_own_entry, start_leaf);
}

#[test]
fn the_end_of_a_device_roll_survives_death_at_every_moment() {
    let has_moved = || {
        let line = with_both_leaves();
        let leaf = line.target("sensor-1").leaf.expect("a leaf");
        line.register("sensor-1", &leaf);
        line
    };
    dies_at_every_moment(has_moved, finish_leaf);
}

#[test]
fn a_device_roll_that_is_given_up_survives_death_at_every_moment() {
    dies_at_every_moment(with_both_leaves, abort_leaf);
}

#[test]
fn the_replacement_of_a_compromised_leaf_survives_death_at_every_moment() {
    dies_at_every_moment(with_own_entry, replace_leaf);
}
