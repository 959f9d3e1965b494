//! Generations of a root are rolled: who has moved, whom a breach roll takes off a hub, who stays in.

use dps_operations::PlanningError;
use dps_operations::roll::{
    AuthorityRoll, BreachRequest, BreachRoll, FinishRequest, Instances, Moving, Rolling,
    StartRequest,
};
use pki_core::enrollment::{IndividualEnrollment, compose};
use pki_core::ids::{DeviceId, RegistrationId};
use pki_core::lifecycle::roll::RollError;
use pki_core::lifecycle::{HubAction, Step};
use pki_core::testing::FixedClock;

use super::line::Line;
use super::site::{hub, id, now, wait};

/// Does something with the roll of the root as it is now.
fn with_roll<T>(line: &Line, act: impl FnOnce(AuthorityRoll<'_>) -> T) -> T {
    let clock = FixedClock(now());
    let around = line.around(&clock);
    let instances = wait(Instances::gather([around.instance])).expect("read");
    let roll = AuthorityRoll::gather(around.journal, &instances, &id("root"), (now(), None));
    act(roll.expect("gathered"))
}

fn start(line: &Line) -> Result<Rolling, PlanningError> {
    with_roll(line, |roll| roll.start(StartRequest::default()))
}

fn moving(line: &Line) -> Moving {
    with_roll(line, |mut roll| wait(roll.moving()).expect("read"))
}

fn finish(line: &Line) -> Result<Rolling, PlanningError> {
    with_roll(line, |mut roll| {
        let moving = wait(roll.moving()).expect("read");
        roll.finish(FinishRequest::default(), moving)
    })
}

fn breach(line: &Line) -> BreachRoll {
    let request = BreachRequest {
        generation: None,
        hub: HubAction::Disable,
        with_intermediates: false,
        is_shown: false,
    };
    with_roll(line, |roll| wait(roll.breach(request)).expect("planned"))
}

fn admitted(proofs: &[dps_operations::roll::Proof]) -> Vec<u32> {
    let numbers = proofs
        .iter()
        .map(|proof| proof.generation.generation.number());
    numbers.collect()
}

#[test]
fn a_roll_waits_for_every_device_to_show_its_new_leaf() {
    let mut line = Line::running();
    line.make_generation();
    let rolling = start(&line).expect("planned");
    assert_eq!(admitted(&line.roll(&rolling).expect("done")), [1, 2]);

    let new = line.issue("sensor-1");
    // It has a new leaf, and its hub says that it showed the old one last.
    assert_eq!(moving(&line).left_behind.count, 2);
    line.register("sensor-1", &new);
    assert_eq!(moving(&line).left_behind.named, [id("sensor-2")]);
    let refused = finish(&line);
    assert!(
        matches!(
            refused,
            Err(PlanningError::Roll(RollError::LeftBehind { .. }))
        ),
        "{refused:?}"
    );

    let new = line.issue("sensor-2");
    line.register("sensor-2", &new);
    let rolling = finish(&line).expect("planned");
    assert_eq!(admitted(&line.roll(&rolling).expect("done")), [1, 2]);
    assert!(start(&line).is_err(), "nothing is left to roll to");
}

/// Of a device whose hub cannot be read nobody knows.
#[test]
fn a_hub_that_cannot_be_read_is_named_and_its_devices_are_not_known() {
    let mut line = Line::running();
    line.make_generation();
    let rolling = start(&line).expect("planned");
    line.roll(&rolling).expect("done");
    for device in ["sensor-1", "sensor-2"] {
        let new = line.issue(device);
        line.register(device, &new);
    }
    line.dps.set_silent(&hub(), true);
    let moving = moving(&line);
    assert_eq!(moving.not_known.count, 2);
    assert_eq!(moving.unread_hubs.len(), 1, "{:?}", moving.unread_hubs);
    assert!(matches!(
        finish(&line),
        Err(PlanningError::Roll(RollError::NotKnown { .. }))
    ));
}

/// Where an enrollment of its own names the leaf, its device stays in, and on its hub; it is named.
#[test]
fn a_breach_roll_takes_off_its_hub_whoever_is_not_let_in_otherwise() {
    let mut line = Line::running();
    let leaf = line.target("sensor-2").leaf.expect("a leaf");
    let own = IndividualEnrollment::new(id("sensor-2"), compose::by_leaf(&leaf));
    line.dps.overwrite_individual(own);
    line.make_generation();
    let breach = breach(&line);
    assert!(breach.unread.is_empty());
    let clock = FixedClock(now());
    let around = line.around(&clock);
    let instances = wait(Instances::gather([around.instance])).expect("read");
    let passed = breach.rolling.check(&instances, around.journal);
    let passed = passed.expect("kept");
    let stays: RegistrationId = id("sensor-2");
    assert_eq!(passed.planned[0].still_admitted, [stays]);
    let taken_off: Vec<&DeviceId> = passed.planned[0]
        .plan
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::HubDevice(step) => Some(&step.device_id),
            _ => None,
        })
        .collect();
    let first: DeviceId = id("sensor-1");
    assert_eq!(taken_off, [&first]);
    drop(passed);
    line.roll(&breach.rolling).expect("done");
    let disabled = "device sensor-1 on hub-1.azure-devices.net Disabled";
    assert!(line.state().contains(&disabled.to_owned()));
}
