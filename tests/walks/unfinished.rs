//! A breach roll that is not done everywhere: nothing puts the compromised generation back, and its status tells
//! what is missing, by instance and hub, with the command that completes it.

use serde_json::json;

use crate::walks::fleet::Shape;
use crate::walks::named::{fleet, two_lines};
use crate::walks::site::Death;

const ROOT: &str = "roll start root --compromised --yes";
const STATUS: &str = "roll status root --detailed-exitcode";

/// Each instance has a plan of its own, so that of the other is not in the way of this.
#[test]
fn no_apply_puts_a_compromised_root_back() {
    for write in 1..=3 {
        let fleet = two_lines(2);
        let cut = fleet.site.run_until(ROOT, Some(Death::After(write)));
        assert_eq!(cut.code, 70, "{cut:#?}");
        let status = fleet.ends_with(STATUS, 10);
        let command = "complete it with: dps-pki roll start root --compromised";
        assert!(status.stdout.contains(command), "{status:#?}");
        for name in ["dps-a", "dps-b"] {
            fleet.site.run(&format!("apply --dps {name} --yes"));
        }
        for instance in 0..write.min(2) {
            let told = fleet.register(instance, 0, 0).registered;
            assert!(
                !told.is_in(),
                "cut after write {write}, in {instance}: {told:?}"
            );
        }
        fleet.site.done(ROOT);
        for instance in 0..2 {
            assert!(!fleet.register(instance, 0, 0).registered.is_in());
        }
        let status = fleet.ends_with(STATUS, 10);
        assert!(!status.stdout.contains("breach roll"), "{status:#?}");
    }
}

/// A third generation beside the one that is not in DPS yet would hide what the breach roll lacks.
#[test]
fn no_other_roll_is_started_before_the_breach_roll_is_done() {
    let fleet = two_lines(2);
    fleet.site.run_until(ROOT, Some(Death::After(2)));
    let refused = fleet.ends_with("roll start root --yes", 4);
    refused.stderr_has(
        "the breach roll of authority root generation 1 comes first, and is not done: in DPS dps-a",
    );
    refused.stderr_has("dps-pki roll status root");
    let shown = fleet.site.json("authority show root");
    let generations = shown.as_array().expect("a list");
    assert_eq!(generations.len(), 2, "no key was made: {shown}");
    fleet.site.done(ROOT);
    fleet.site.done("roll start root --yes");
}

/// What was taken up by `journal resume` is one plan; the roll is more than that.
#[test]
fn a_plan_that_was_resumed_does_not_complete_the_roll() {
    let fleet = two_lines(2);
    fleet.site.run_until(ROOT, Some(Death::After(1)));
    let open = fleet.site.json("journal list --open");
    let plan = open[0]["plan"].as_str().expect("a name");
    fleet.site.done(&format!("journal resume {plan} --yes"));
    assert_eq!(fleet.site.json("journal list --open"), json!([]));
    let status = fleet.ends_with(STATUS, 10);
    for name in ["dps-a", "dps-b"] {
        let left = format!("the breach roll of generation 1 in DPS {name}");
        assert!(status.stdout.contains(&left), "{status:#?}");
    }
}

/// One instance is done with all that was asked for, and the other has not begun its repair.
#[test]
fn the_status_tells_what_each_instance_lacks_as_it_was_asked_for() {
    let breach = "roll start root --compromised --with-intermediates --yes";
    let whole = two_lines(2);
    let writes = whole.site.done(breach).requests.writes;
    whole.ends_with(STATUS, 0);
    let half = writes / 2 + 1;
    let fleet = two_lines(2);
    for before in [2, half + 1] {
        fleet.site.run_until(breach, Some(Death::Before(before)));
        let status = fleet.ends_with(STATUS, 10);
        let left = "the breach roll of generation 1 in DPS dps-b";
        assert!(status.stdout.contains(left), "{status:#?}");
        let command = "dps-pki roll start root --compromised --with-intermediates";
        assert!(status.stdout.contains(command), "{status:#?}");
    }
    fleet.site.done(breach);
    fleet.ends_with(STATUS, 0);
}

#[test]
fn a_device_that_one_instance_refuses_is_told() {
    let mut fleet = two_lines(2);
    fleet.site.done("quarantine --authority line-a --yes");
    fleet.site.done("roll start line-a --compromised --yes");
    let leaf = fleet.renewed("device-0");
    let enable = "dps group enable line-a --let-devices-in --yes --dps";
    fleet.site.done(&format!("{enable} dps-a"));
    assert!(fleet.register(0, 0, leaf).registered.is_in());
    let status = fleet.ends_with("roll status line-a --detailed-exitcode", 10);
    let told = "refused by DPS dps-b: 1 device (device-0)";
    assert!(status.stdout.contains(told), "{status:#?}");
    fleet.site.done(&format!("{enable} dps-b"));
    let status = fleet.site.done("roll status line-a");
    assert!(!status.stdout.contains("refused by"), "{status:#?}");
}

/// They were taken off their hubs before those above them were verified themselves.
#[test]
fn whom_a_hub_keeps_out_is_told_when_the_authorities_below_are_verified_afterwards() {
    let fleet = two_lines(1);
    fleet.site.done(ROOT);
    fleet
        .site
        .done("roll start root --compromised --with-intermediates --yes");
    assert!(fleet.shows("device-0", 0).is_in());
    let status = fleet.ends_with(STATUS, 10);
    let told =
        "hub device enable ID --hub hub-1.azure-devices.net --dps dps-a): 1 device (device-0)";
    assert!(status.stdout.contains(told), "{status:#?}");
}

/// What a line signs below an old plant is refused: the plant comes first.
#[test]
fn authorities_below_a_compromised_root_are_rolled_from_the_top() {
    let mut fleet = fleet(Shape {
        has_plant: true,
        devices: 2,
        ..Shape::PLAIN
    });
    let order = "new leaves of plant generation 1, line-a generation 1, line-b generation 1 are refused as well, until these are rolled in this order";
    let run = fleet.site.done("roll start root --compromised --dry-run");
    assert!(run.stdout.contains(order), "{run:#?}");
    for _ in 0..2 {
        let run = fleet.site.done(ROOT);
        assert!(run.stdout.contains(order), "{run:#?}");
    }
    let refused = fleet.ends_with("roll start line-a --yes", 4);
    assert!(
        refused.stderr.contains("dps-pki roll start plant"),
        "{refused:#?}"
    );
    let shown = fleet.site.json("authority show line-a");
    assert_eq!(shown.as_array().expect("rows").len(), 1, "no key was made");
    fleet.site.done("roll start plant --yes");
    fleet.site.done("roll start line-a --yes");
    let leaf = fleet.renewed("device-0");
    assert!(fleet.shows("device-0", leaf).is_in());
    let run = fleet.site.done(ROOT);
    assert!(
        run.stdout
            .contains("new leaves of line-b generation 1 are refused"),
        "{run:#?}"
    );
}

/// One that was made beforehand is below the old plant.
#[test]
fn a_generation_that_was_made_below_a_compromised_root_is_given_up_first() {
    let fleet = two_lines(1);
    fleet.site.done("authority create line-a --next");
    fleet.site.done(ROOT);
    let refused = fleet.ends_with("roll start line-a --yes", 4);
    let abort = "dps-pki roll abort line-a";
    assert!(refused.stderr.contains(abort), "{refused:#?}");
    fleet
        .site
        .done(&format!("{} --yes", abort.trim_start_matches("dps-pki ")));
    fleet.site.done("roll start line-a --yes");
}

/// Its devices reach the root by their own authority's group.
#[test]
fn the_roll_of_an_authority_waits_for_its_own_devices_alone() {
    let fleet = fleet(Shape {
        has_plant: true,
        devices: 2,
        ..Shape::PLAIN
    });
    fleet.site.done("roll start plant --yes");
    let status = fleet.site.done("roll status plant");
    assert!(status.stdout.contains("finish it"), "{status:#?}");
    fleet.site.done("roll finish plant --yes");
}

#[test]
fn an_instance_that_cannot_be_read_is_named_beside_the_others() {
    let fleet = two_lines(2);
    fleet.site.write("dps-b.pem", &fleet.site.read("dps-a.pem"));
    let status = fleet.ends_with("roll status", 7);
    assert!(status.stdout.contains("root: idle"), "{status:#?}");
    assert!(status.stderr.contains("DPS dps-b: "), "{status:#?}");
}

/// Without the flag the same command throws the fleet out.
#[test]
fn a_hint_repeats_the_flags_that_were_given() {
    let fleet = two_lines(2);
    let line = "roll start root --compromised --with-intermediates --hub keep --yes --dps dps-a";
    let run = fleet.ends_with(line, 2);
    let hint =
        "without --dps: dps-pki roll start root --compromised --with-intermediates --hub keep";
    assert!(run.stderr.contains(hint), "{run:#?}");
}
