//! Devices and groups leave for good.

use dps_operations::deprovision::{LeavingGroup, Request};
use dps_operations::{Failures, PlanningError, converge};
use pki_core::ids::{EnrollmentGroupId, RegistrationId};
use pki_core::lifecycle::{DeclaredError, Effect};
use pki_core::testing::FixedClock;

use super::line::{Line, group};
use super::site::{hub, id, now, wait};

#[test]
fn a_device_leaves_and_its_group_lets_it_in_no_more() {
    let mut line = Line::running();
    let clock = FixedClock(now());
    let request = Request {
        targets: vec![line.target("sensor-1")],
    };
    let prepared = wait(request.prepare(line.around(&clock))).expect("prepared");
    let seen = [(line.around(&clock), &prepared)];
    assert_eq!(request.unknown(&seen).expect("read"), None);
    let judged = prepared.judge(line.around(&clock), &request).expect("kept");
    line.carry_out(&judged, request.failures()).expect("done");
    let proofs = wait(request.read_back(line.around(&clock))).expect("read");
    assert!(proofs[0].is_kept_out(), "{:?}", proofs[0].outcome);
    let state = line.state();
    assert!(!state.iter().any(|line| line.starts_with("device sensor-1")));
    assert!(!state.contains(&"registration sensor-1".to_owned()));
}

/// What left before is known by the journal alone.
#[test]
fn a_device_that_nobody_knows_is_told() {
    let line = Line::running();
    let clock = FixedClock(now());
    let request = Request {
        targets: vec![line.target("sensor-1"), line.target("sensor-9")],
    };
    let prepared = wait(request.prepare(line.around(&clock))).expect("prepared");
    let seen = [(line.around(&clock), &prepared)];
    let ninth: RegistrationId = id("sensor-9");
    let unknown = request.unknown(&seen).expect("read");
    assert_eq!(unknown, Some(&ninth));
}

fn leave(line: &mut Line) {
    let clock = FixedClock(now());
    let leaving = wait(LeavingGroup::gather(line.around(&clock), &group())).expect("read");
    let prepared = wait(leaving.prepare(line.around(&clock))).expect("prepared");
    let prepared = prepared.expect("there is one");
    let judged = prepared.judge(line.around(&clock)).expect("kept");
    line.carry_out(&judged, Failures::Stop).expect("done");
    let proof = wait(prepared.read_back(line.around(&clock))).expect("read");
    proof.check().expect("all of them are out");
    assert_eq!(proof.status, None, "it is gone");
}

#[test]
fn a_group_leaves_with_its_devices_and_is_not_made_again_unasked() {
    let mut line = Line::running();
    let clock = FixedClock(now());
    leave(&mut line);
    let expected = [
        "ca root verified: true",
        "leaf of sensor-1 Delivered",
        "leaf of sensor-2 Delivered",
    ];
    assert_eq!(line.state(), expected);
    // Asked again nothing is left to do, and that is proven again.
    leave(&mut line);

    let unasked = wait(converge::Request::default().prepare(line.around(&clock)));
    let Err(PlanningError::Declared(DeclaredError::Deprovisioned { group: named })) = unasked
    else {
        panic!("{unasked:?}");
    };
    assert_eq!(named, group());
    let asked = converge::Request {
        make_again: vec![group()],
        ..converge::Request::default()
    };
    let judged = wait(asked.prepare(line.around(&clock))).expect("planned");
    assert_eq!(judged.impact.count(Effect::Gains), 2);
}

#[test]
fn a_group_stays_disabled_until_the_hub_of_its_devices_can_be_read() {
    let mut line = Line::running();
    let clock = FixedClock(now());
    line.dps.set_silent(&hub(), true);
    let leaving = wait(LeavingGroup::gather(line.around(&clock), &group())).expect("read");
    let prepared = wait(leaving.prepare(line.around(&clock))).expect("prepared");
    let prepared = prepared.expect("there is one");
    assert_eq!(prepared.unread.len(), 2);
    let judged = prepared.judge(line.around(&clock)).expect("kept");
    line.carry_out(&judged, Failures::Stop).expect("done");
    let proof = wait(prepared.read_back(line.around(&clock))).expect("read");
    proof.check().expect("all of them are out");
    assert!(
        line.state()
            .contains(&"group line-1 Disabled by root".to_owned())
    );
    line.dps.set_silent(&hub(), false);
    leave(&mut line);
}

#[test]
fn a_group_that_was_never_there_has_no_plan() {
    let line = Line::running();
    let clock = FixedClock(now());
    let other: EnrollmentGroupId = id("line-9");
    let leaving = wait(LeavingGroup::gather(line.around(&clock), &other)).expect("read");
    assert!(!leaving.is_known(line.around(&clock)).expect("read"));
    let prepared = wait(leaving.prepare(line.around(&clock))).expect("read");
    assert!(prepared.is_none());
    let groups: Vec<_> = leaving.groups().collect();
    assert_eq!(groups, [&group()]);
}
