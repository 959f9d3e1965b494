//! Several instances: whom the one lets in that `--dps` leaves out, and how often it is asked.

use super::fleet::{Fleet, Shape};
use super::named::fleet;
use super::site::{Death, Run};

fn two_instances() -> Fleet {
    fleet(Shape {
        instances: 2,
        ..Shape::PLAIN
    })
}

/// An entry in the second instance names the leaf that `device-0` had first; it has a newer one since.
fn with_old_leaf_elsewhere() -> Fleet {
    let mut fleet = two_instances();
    let put = "dps device put device-0 --cert leaves-1/device-0.cert.pem --dps dps-b --yes";
    fleet.site.done(put);
    let place = fleet.place("device-0");
    assert!(fleet.register(1, place, 0).registered.is_in());
    fleet.renewed("device-0");
    fleet
}

/// The command that a run hints at, as it is to be typed.
fn hinted(run: &Run) -> String {
    let commands = run.stderr.lines().filter_map(|line| {
        let (_, command) = line.split_once("with: dps-pki ")?;
        Some(command.to_owned())
    });
    let commands: Vec<String> = commands.collect();
    let [command] = commands.as_slice() else {
        panic!("one command: {run:#?}");
    };
    command.clone()
}

/// Whichever of its leaves lets it in there: DPS reads no revocation list.
#[test]
fn an_old_leaf_that_another_instance_lets_in_is_told_with_the_command_that_shuts_it_out() {
    let fleet = with_old_leaf_elsewhere();
    let place = fleet.place("device-0");
    let run = fleet.ends_with("quarantine device-0 --dps dps-a --hub delete --yes", 7);
    run.stderr_has("DPS dps-b: device-0 is admitted by individual enrollment device-0");
    assert!(fleet.register(1, place, 0).registered.is_in());
    let command = hinted(&run);
    assert_eq!(command, "quarantine device-0 --hub delete --dps dps-b");
    fleet.site.done(&format!("{command} --yes"));
    assert!(!fleet.register(1, place, 0).registered.is_in());
    fleet
        .site
        .done("quarantine device-0 --dps dps-a --hub delete --yes");
}

/// The same of a device that leaves one instance.
#[test]
fn a_device_that_leaves_one_instance_and_is_let_in_by_another_is_told() {
    let fleet = two_instances();
    let place = fleet.place("device-0");
    let run = fleet.ends_with("deprovision device-0 --dps dps-a --yes", 7);
    run.stderr_has("DPS dps-b: device-0 is admitted by enrollment group line-a");
    assert!(fleet.register(1, place, 0).registered.is_in());
    let command = hinted(&run);
    assert_eq!(command, "deprovision device-0 --dps dps-b");
    fleet.site.done(&format!("{command} --yes"));
    assert!(!fleet.register(1, place, 0).registered.is_in());
    fleet.site.done("deprovision device-0 --dps dps-a --yes");
}

/// The same where the compromised leaf of an entry is replaced; the new one may come in anywhere.
#[test]
fn a_compromised_leaf_that_another_instance_lets_in_is_told() {
    let fleet = with_old_leaf_elsewhere();
    let place = fleet.place("device-0");
    let put = "dps device put device-0 --cert leaves-1/device-0.cert.pem --dps dps-a --yes";
    fleet.site.done(put);
    let line = "roll start device-0 --compromised --dps dps-a --yes";
    let run = fleet.ends_with(line, 7);
    run.stderr_has("DPS dps-b: device-0 is admitted by individual enrollment device-0");
    let command = hinted(&run);
    assert_eq!(command, "roll start device-0 --compromised --dps dps-b");
    fleet.site.done(&format!("{command} --yes"));
    assert!(!fleet.register(1, place, 0).registered.is_in());
    assert!(fleet.register(1, place, 1).registered.is_in());
    fleet.site.done(line);
}

/// A group lets the compromised leaf in there: an entry that names the new one alone keeps it out.
#[test]
fn a_compromised_leaf_that_a_group_of_another_instance_lets_in_is_told() {
    let mut fleet = two_instances();
    let put = "dps device put device-0 --cert leaves-1/device-0.cert.pem --dps dps-a --yes";
    fleet.site.done(put);
    fleet.renewed("device-0");
    let place = fleet.place("device-0");
    let file = format!("{}/device-0.cert.pem", fleet.devices[place].leaves[1].files);
    let line = format!("roll start device-0 --compromised --cert {file} --dps dps-a --yes");
    let run = fleet.ends_with(&line, 7);
    run.stderr_has("DPS dps-b: device-0 is admitted by enrollment group line-a");
    let command = hinted(&run);
    assert_eq!(
        command,
        format!("dps device put device-0 --cert {file} --dps dps-b")
    );
    fleet.site.done(&format!("{command} --yes"));
    assert!(!fleet.register(1, place, 0).registered.is_in());
    assert!(fleet.register(1, place, 1).registered.is_in());
    fleet.site.done(&line);
}

/// All instances are judged before anybody leaves one of them, and asked about at once.
#[test]
fn who_leaves_several_instances_is_asked_about_once() {
    for (line, steps) in [
        ("deprovision device-0", "6 steps"),
        ("deprovision --group line-a", "10 steps"),
        ("quarantine device-0", "8 steps"),
    ] {
        let fleet = two_instances();
        let refused = fleet.ends_with(line, 4);
        refused.stderr_has(&format!("carry out {steps} in 2 DPS instances?"));
        refused.stderr_has("DPS dps-a:\nplan: ");
        refused.stderr_has("DPS dps-b:\nplan: ");
        let place = fleet.place("device-0");
        for instance in 0..2 {
            assert!(fleet.register(instance, place, 0).registered.is_in());
        }
        fleet.site.done(&format!("{line} --yes"));
        for instance in 0..2 {
            assert!(!fleet.register(instance, place, 0).registered.is_in());
        }
    }
}

/// What stands in the way in the second instance is told before anybody leaves the first.
#[test]
fn nobody_leaves_an_instance_while_another_one_cannot_be_left() {
    for line in [
        "deprovision device-0 --yes",
        "deprovision --group line-a --yes",
    ] {
        let fleet = two_instances();
        let open = if line.contains("--group") {
            "dps group disable line-a --dps dps-b --yes"
        } else {
            "quarantine device-0 --dps dps-b --yes"
        };
        let cut = fleet.site.run_until(open, Some(Death::Before(1)));
        assert_eq!(cut.code, 70, "{cut:#?}");
        let refused = fleet.ends_with(line, 4);
        refused.stderr_has("dps-pki journal resume");
        let place = fleet.place("device-0");
        assert!(fleet.register(0, place, 0).registered.is_in(), "{line}");
    }
}
