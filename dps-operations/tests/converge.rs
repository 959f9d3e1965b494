//! An instance is brought to what is declared.

use dps_operations::Failures;
use dps_operations::converge::Request;
use pki_core::lifecycle::Effect;
use pki_core::testing::FixedClock;

use super::line::Line;
use super::site::{now, wait};

#[test]
fn what_is_declared_is_made_once() {
    let mut line = Line::empty();
    let clock = FixedClock(now());
    line.issue("sensor-1");
    let request = Request::default();
    let judged = wait(request.prepare(line.around(&clock))).expect("planned");
    assert_eq!(judged.impact.count(Effect::Gains), 1);
    line.carry_out(&judged, Failures::Stop).expect("done");
    let left = wait(request.prepare(line.around(&clock))).expect("planned");
    assert!(left.plan.plan().is_empty());
    let expected = [
        "ca root verified: true",
        "group line-1 Enabled by root",
        "leaf of sensor-1 Delivered",
    ];
    assert_eq!(line.state(), expected);
}
