//! Devices and groups leave for good.

use dps_client::IfMatch;
use dps_operations::deprovision::{LeavingGroup, NotGone, Request};
use dps_operations::dps::{Dps as _, Record};
use dps_operations::quarantine::Below;
use dps_operations::{Failures, PlanningError, converge};
use pki_core::ids::{EnrollmentGroupId, RegistrationId};
use pki_core::inventory::Inventory as _;
use pki_core::lifecycle::{DeclaredError, Effect, HubAction};
use pki_core::testing::FixedClock;

use super::line::{Line, group};
use super::site::{hub, id, now, wait};

#[test]
fn a_device_leaves_and_its_group_lets_it_in_no_more() {
    let mut line = Line::running();
    first_leaves(&mut line);
    let state = line.state();
    assert!(!state.iter().any(|line| line.starts_with("device sensor-1")));
    assert!(!state.contains(&"registration sensor-1".to_owned()));
}

/// `sensor-1` leaves.
fn first_leaves(line: &mut Line) {
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
}

/// Its identity was deleted there.
#[test]
fn whoever_has_left_is_not_on_a_hub_that_cannot_be_read() {
    let mut line = Line::running();
    first_leaves(&mut line);
    line.dps.set_silent(&hub(), true);
    let unread = |line: &Line| {
        let clock = FixedClock(now());
        let below = Below::of(&line.journal, &id("root"), now()).expect("below");
        let prepared = below.prepare(line.around(&clock), HubAction::Disable, None);
        let unread = wait(prepared).expect("prepared").unread.into_iter();
        let unread = unread.map(|unread| unread.registration_id.to_string());
        unread.collect::<Vec<String>>()
    };
    assert_eq!(unread(&line), ["sensor-2"]);
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

/// The leaf that a device had before a roll, by which a group above lets it in, does not bring it back.
#[test]
fn a_device_of_a_leaving_group_is_not_let_in_by_an_earlier_leaf() {
    let mut line = Line::rolled();
    let clock = FixedClock(now());
    let earlier = line.journal.certificates_of(&id("sensor-1")).expect("read");
    let earlier = earlier.last().expect("two leaves").recorded.certificate();
    line.register_by(&id("above"), "sensor-1", earlier);
    leave(&mut line);
    let expected = [
        "ca root verified: true",
        "ca root-2 verified: true",
        "group above Enabled by root",
        "individual sensor-1 Disabled by 1 certificate",
        "registration sensor-2",
        "device sensor-2 on hub-1.azure-devices.net Enabled",
        "leaf of sensor-1 Delivered",
        "leaf of sensor-1 Delivered",
        "leaf of sensor-2 Delivered",
    ];
    assert_eq!(line.state(), expected);

    // Whoever is let in since is told, and shut out when it is said again.
    let first: RegistrationId = id("sensor-1");
    let entry = Record::Individual(&first);
    wait(line.dps.delete(entry, &IfMatch::Any)).expect("deleted");
    let leaving = wait(LeavingGroup::gather(line.around(&clock), &group())).expect("read");
    let prepared = wait(leaving.prepare(line.around(&clock))).expect("prepared");
    let proof = wait(
        prepared
            .expect("it has left")
            .read_back(line.around(&clock)),
    );
    let error = proof.expect("read").check().expect_err("it is let in");
    assert!(matches!(&error, NotGone::LetIn { .. }), "{error}");
    leave(&mut line);
    assert_eq!(line.state(), expected);
}

/// A device whose newest leaf is of another group has moved there, and is no longer this one's.
#[test]
fn a_device_that_has_moved_to_another_group_is_named_and_stays() {
    let mut line = Line::rolled();
    let clock = FixedClock(now());
    let above: EnrollmentGroupId = id("above");
    let leaving = wait(LeavingGroup::gather(line.around(&clock), &above)).expect("read");
    let prepared = wait(leaving.prepare(line.around(&clock))).expect("prepared");
    let judged = prepared.expect("there is one").judge(line.around(&clock));
    let judged = judged.expect("kept");
    line.carry_out(&judged, Failures::Stop).expect("done");
    let note = "1 device has moved to a leaf by which another group lets it in, and is left alone: sensor-1; to have it leave as well: dps-pki deprovision sensor-1";
    let notes = &judged.plan.plan().notes;
    assert!(notes.iter().any(|told| told == note), "{notes:?}");
    let state = line.state();
    assert!(state.contains(&"registration sensor-1".to_owned()));
    assert!(!state.contains(&"registration sensor-2".to_owned()));
}
