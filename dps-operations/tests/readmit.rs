//! A device that was shut out comes back, with its new leaf only.

use dps_operations::{Failures, PlanningError, quarantine, readmit};
use pki_core::lifecycle::{Effect, HubAction, ReadmitError};
use pki_core::testing::FixedClock;

use super::line::Line;
use super::site::{id, now, wait};

fn shut_out(line: &mut Line, device: &str) {
    let clock = FixedClock(now());
    let request = quarantine::Request {
        targets: vec![line.target(device)],
        reason: None,
        hub: HubAction::Disable,
    };
    let prepared = wait(request.prepare(line.around(&clock))).expect("prepared");
    let judged = prepared.judge(line.around(&clock), &request).expect("kept");
    line.carry_out(&judged, Failures::Stop).expect("done");
}

#[test]
fn a_new_leaf_lets_it_in_and_the_old_one_stays_out() {
    let mut line = Line::running();
    let clock = FixedClock(now());
    shut_out(&mut line, "sensor-1");
    let request = readmit::Request {
        id: id("SENSOR-1"),
        leaf: line.issue("sensor-1"),
    };
    let prepared = wait(request.prepare(line.around(&clock))).expect("prepared");
    assert!(prepared.is_known());
    assert_eq!(prepared.id(&request).as_str(), "sensor-1");
    let judged = prepared.judge(line.around(&clock), &request).expect("kept");
    assert_eq!(judged.impact.count(Effect::Gains), 1);

    let too_early = wait(prepared.read_back(line.around(&clock), &request));
    let error = too_early.expect_err("it is out still");
    assert!(
        matches!(error, readmit::NotBack::StillOut { .. }),
        "{error}"
    );
    line.carry_out(&judged, Failures::Stop).expect("done");
    let proof = wait(prepared.read_back(line.around(&clock), &request)).expect("in");
    assert!(proof.is_admitted());
    let enabled = "device sensor-1 on hub-1.azure-devices.net Enabled";
    assert!(line.state().contains(&enabled.to_owned()));
}

#[test]
fn the_leaf_that_was_shut_out_lets_nobody_in() {
    let mut line = Line::running();
    let clock = FixedClock(now());
    let leaf = line.target("sensor-1").leaf.expect("a leaf");
    shut_out(&mut line, "sensor-1");
    let request = readmit::Request {
        id: id("sensor-1"),
        leaf,
    };
    let prepared = wait(request.prepare(line.around(&clock))).expect("prepared");
    let refused = prepared.judge(line.around(&clock), &request);
    let Err(PlanningError::Readmit(ReadmitError::SameLeaf { .. })) = refused else {
        panic!("{refused:?}");
    };
}

#[test]
fn of_several_instances_those_are_concerned_that_shut_it_out() {
    let mut out = Line::running();
    let free = Line::running();
    let clock = FixedClock(now());
    shut_out(&mut out, "sensor-1");
    let request = readmit::Request {
        id: id("sensor-1"),
        leaf: out.issue("sensor-1"),
    };
    let mut found = Vec::new();
    for line in [&free, &out] {
        found.push(wait(request.prepare(line.around(&clock))).expect("prepared"));
    }
    assert_eq!(readmit::concerned(&found), [1]);
    found.pop();
    assert_eq!(readmit::concerned(&found), [0]);
}
