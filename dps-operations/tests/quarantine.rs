//! Devices are shut out, and what DPS decides then is read back.

use std::collections::BTreeSet;

use dps_operations::Failures;
use dps_operations::PlanningError;
use dps_operations::quarantine::{Below, Request, is_out};
use dps_operations::target::{Target, TargetError};
use pki_core::enrollment::{IndividualEnrollment, compose};
use pki_core::ids::RegistrationId;
use pki_core::lifecycle::{Effect, HubAction};
use pki_core::testing::FixedClock;

use super::line::Line;
use super::site::{hub, id, now, wait};

fn request(line: &Line, devices: &[&str]) -> Request {
    let targets = devices.iter().map(|device| line.target(device));
    Request {
        targets: targets.collect(),
        reason: Some("stolen".to_owned()),
        hub: HubAction::Disable,
    }
}

#[test]
fn a_device_is_out_by_its_own_entry_and_off_its_hub_and_nobody_else_is() {
    let mut line = Line::running();
    let clock = FixedClock(now());
    let request = request(&line, &["sensor-1"]);
    let prepared = wait(request.prepare(line.around(&clock))).expect("prepared");
    assert!(prepared.unread().is_empty());
    let judged = prepared.judge(line.around(&clock), &request).expect("kept");
    assert_eq!(judged.impact.count(Effect::Loses), 1);
    let failed = line.carry_out(&judged, request.failures()).expect("done");
    assert!(failed.is_empty());

    let proofs = wait(request.read_back(line.around(&clock))).expect("read");
    assert!(is_out(&proofs[0]), "{:?}", proofs[0].outcome);
    assert!(request.let_in(proofs).is_empty());
    let others = Request {
        targets: vec![line.target("sensor-2")],
        ..request
    };
    let proofs = wait(others.read_back(line.around(&clock))).expect("read");
    assert_eq!(others.let_in(proofs).len(), 1);
    let expected = [
        "ca root verified: true",
        "group line-1 Enabled by root",
        "individual sensor-1 Disabled by 1 certificate",
        "registration sensor-2",
        "device sensor-1 on hub-1.azure-devices.net Disabled",
        "device sensor-2 on hub-1.azure-devices.net Enabled",
        "leaf of sensor-1 Revoked",
        "leaf of sensor-2 Delivered",
    ];
    assert_eq!(line.state(), expected);
}

/// Whichever leaf has not ended may let a device in: DPS reads no revocation list.
#[test]
fn a_device_is_let_in_by_an_earlier_leaf_that_its_entry_names() {
    let mut line = Line::running();
    let clock = FixedClock(now());
    let old = line.target("sensor-1").leaf.expect("a leaf");
    line.issue("sensor-1");
    let own = IndividualEnrollment::new(id("sensor-1"), compose::by_leaf(&old));
    line.dps.overwrite_individual(own);
    let request = request(&line, &["sensor-1"]);
    let proofs = wait(request.read_back(line.around(&clock))).expect("read");
    assert_eq!(request.let_in(proofs).len(), 1);
}

/// DPS first: a hub that is away keeps nobody in, its record stays, and the same request goes on later.
#[test]
fn a_hub_that_cannot_be_read_is_told_and_seen_to_later() {
    let mut line = Line::running();
    let clock = FixedClock(now());
    let request = request(&line, &["sensor-1", "sensor-2"]);
    assert_eq!(request.failures(), Failures::GoOn);
    line.dps.set_silent(&hub(), true);
    let prepared = wait(request.prepare(line.around(&clock))).expect("prepared");
    let unread: Vec<&str> = prepared
        .unread()
        .iter()
        .map(|unread| unread.registration_id.as_str())
        .collect();
    assert_eq!(unread, ["sensor-1", "sensor-2"]);
    let judged = prepared.judge(line.around(&clock), &request).expect("kept");
    line.carry_out(&judged, request.failures()).expect("done");
    let proofs = wait(request.read_back(line.around(&clock))).expect("read");
    for report in request.report(&prepared, &proofs, &[]) {
        assert!(report.is_shut_out());
        assert!(report.unread.is_some(), "{}", report.registration_id);
    }
    assert!(line.state().contains(&"registration sensor-1".to_owned()));

    line.dps.set_silent(&hub(), false);
    let prepared = wait(request.prepare(line.around(&clock))).expect("prepared");
    assert!(prepared.unread().is_empty());
    let judged = prepared.judge(line.around(&clock), &request).expect("kept");
    line.carry_out(&judged, request.failures()).expect("done");
    let state = line.state();
    assert!(!state.iter().any(|line| line.starts_with("registration")));
    assert!(
        !state
            .iter()
            .any(|line| line.ends_with("Enabled") && line.starts_with("device"))
    );
}

#[test]
fn a_name_that_nothing_knows_is_told_and_one_that_is_meant_is_shut_out_by_its_id() {
    let line = Line::running();
    let clock = FixedClock(now());
    let request = request(&line, &["sensor-1", "sensor-9"]);
    let prepared = wait(request.prepare(line.around(&clock))).expect("prepared");
    let ninth: RegistrationId = id("sensor-9");
    let unknown = request.unknown(&line.journal, &[&prepared]).expect("read");
    assert_eq!(unknown, [&ninth]);
    assert_eq!(request.by_id_alone(&prepared), [&ninth]);
}

#[test]
fn a_ca_is_no_device() {
    let line = Line::running();
    let named = Target::named(&line.journal, &line.root_serial(), now());
    assert!(matches!(named, Err(TargetError::Ca { .. })), "{named:?}");
}

#[test]
fn everything_below_an_authority_is_shut_out_by_its_group() {
    let mut line = Line::running();
    let clock = FixedClock(now());
    let nobody = Below::of(&line.journal, &id("other"), now());
    assert!(matches!(nobody, Err(PlanningError::NoAuthority { .. })));
    let below = Below::of(&line.journal, &id("root"), now()).expect("below");
    let before = wait(below.read_back(line.around(&clock).instance)).expect("read");
    assert!(before.is_some(), "they are let in");
    let prepared = below.prepare(line.around(&clock), HubAction::Delete, None);
    let prepared = wait(prepared).expect("prepared");
    let judged = prepared.judge(line.around(&clock)).expect("kept");
    assert_eq!(judged.impact.count(Effect::Loses), 2);
    line.carry_out(&judged, Failures::Stop).expect("done");
    let after = wait(below.read_back(line.around(&clock).instance)).expect("read");
    assert_eq!(after, None);
    let state = line.state();
    assert!(state.contains(&"group line-1 Disabled by root".to_owned()));
    assert!(!state.iter().any(|line| line.starts_with("device")));
}

/// A device that an enrollment of its own lets in is not shut out: it stays on its hub, with its record.
#[test]
fn whoever_stays_in_by_an_entry_of_its_own_stays_on_its_hub() {
    let mut line = Line::running();
    let clock = FixedClock(now());
    let leaf = line.target("sensor-1").leaf.expect("a leaf");
    let own = IndividualEnrollment::new(id("sensor-1"), compose::by_leaf(&leaf));
    line.dps.overwrite_individual(own);
    let below = Below::of(&line.journal, &id("root"), now()).expect("below");
    let shut_out = |line: &mut Line| {
        let prepared = below.prepare(line.around(&clock), HubAction::Disable, None);
        let prepared = wait(prepared).expect("prepared");
        assert_eq!(prepared.staying, BTreeSet::from([id("sensor-1")]));
        let judged = prepared.judge(line.around(&clock)).expect("kept");
        line.carry_out(&judged, Failures::Stop).expect("done");
        judged.plan.plan().steps.len()
    };
    assert_eq!(shut_out(&mut line), 3);
    let expected = [
        "ca root verified: true",
        "group line-1 Disabled by root",
        "individual sensor-1 Enabled by 1 certificate",
        "registration sensor-1",
        "device sensor-1 on hub-1.azure-devices.net Enabled",
        "device sensor-2 on hub-1.azure-devices.net Disabled",
        "leaf of sensor-1 Delivered",
        "leaf of sensor-2 Delivered",
    ];
    assert_eq!(line.state(), expected);
    assert_eq!(shut_out(&mut line), 0, "said again nothing is to do");
}

/// A device that has a leaf below, and has registered with one that is not, is not shut out either.
#[test]
fn whoever_has_moved_away_stays_on_its_hub() {
    let mut line = Line::rolled();
    let clock = FixedClock(now());
    let first = line.generation(0);
    let below = Below::certificates(&line.journal, vec![first], now()).expect("below");
    let prepared = below.prepare(line.around(&clock), HubAction::Disable, None);
    let prepared = wait(prepared).expect("prepared");
    let judged = prepared.judge(line.around(&clock)).expect("kept");
    line.carry_out(&judged, Failures::Stop).expect("done");
    let state = line.state();
    assert!(
        state
            .iter()
            .any(|line| line.starts_with("group above Disabled"))
    );
    assert!(state.contains(&"registration sensor-1".to_owned()));
    assert!(state.contains(&"device sensor-1 on hub-1.azure-devices.net Enabled".to_owned()));
    assert!(state.contains(&"device sensor-2 on hub-1.azure-devices.net Disabled".to_owned()));
}
