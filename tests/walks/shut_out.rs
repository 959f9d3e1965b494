//! Who is shut out of DPS, and who is not, by name: devices with leaves of two generations and with enrollments
//! of their own, and several instances.

use super::fleet::Shape;
use super::named::{fleet, plain};
use super::site::Death;

const TWO_INSTANCES: Shape = Shape {
    instances: 2,
    ..Shape::PLAIN
};

/// An expiry roll leaves each device the leaf that it had before, and the group above admits that.
#[test]
fn a_device_that_was_rolled_leaves_with_all_of_its_leaves() {
    let mut fleet = plain();
    fleet.site.done("roll start line-a --yes");
    for id in ["device-0", "device-2"] {
        let leaf = fleet.renewed(id);
        assert!(fleet.shows(id, leaf).is_in());
    }
    fleet.site.done("roll finish line-a --yes");
    assert!(fleet.shows("device-0", 0).is_in(), "by the group above");
    let line = "deprovision --group line-a --yes";
    let done = fleet.site.done(line);
    let told = "since another group lets them in by an earlier leaf: device-0, device-2";
    assert!(done.stdout.contains(told), "{done:#?}");
    for id in ["device-0", "device-2"] {
        for leaf in 0..2 {
            assert!(!fleet.shows(id, leaf).is_in(), "{id} {leaf}");
        }
        assert_eq!(fleet.on_hubs(id), Vec::<String>::new());
    }
    assert!(fleet.shows("device-1", 0).is_in());
    let again = fleet.site.done(line);
    assert!(again.stdout.starts_with("nothing to do"), "{again:#?}");
    let proof = "2 leaves of line-a generation 1: refused: its individual enrollment is disabled";
    assert!(again.stdout.contains(proof), "{again:#?}");

    // Whoever is let in since is not done already.
    fleet
        .site
        .done("dps device delete device-0 --let-device-in --yes");
    assert!(fleet.shows("device-0", 0).is_in());
    let again = fleet.site.done(line);
    assert!(again.stdout.starts_with("done"), "{again:#?}");
    assert!(!fleet.shows("device-0", 0).is_in());
}

#[test]
fn whoever_an_entry_of_its_own_lets_in_stays_on_its_hub() {
    let fleet = plain();
    fleet
        .site
        .done("dps device put device-0 --cert leaves-1/device-0.cert.pem --yes");
    assert!(fleet.shows("device-0", 0).is_in());
    fleet.site.done("quarantine --authority line-a --yes");
    assert!(fleet.shows("device-0", 0).is_in());
    assert_eq!(fleet.on_hubs("device-0"), ["enabled"]);
    assert_eq!(fleet.on_hubs("device-2"), ["disabled"]);
    fleet.site.done("dps registration show device-0");
    let again = fleet.site.done("quarantine --authority line-a --yes");
    assert!(again.stdout.starts_with("nothing to do"), "{again:#?}");
}

/// Somebody deletes the group that keeps a compromised generation out, and a declared one lets it in.
#[test]
fn apply_makes_the_group_again_that_keeps_a_compromised_generation_out() {
    let fleet = plain();
    fleet.site.done("roll start line-a --compromised --yes");
    fleet
        .site
        .done("dps group delete quarantine-line-a-1 --let-devices-in --yes");
    assert!(fleet.shows("device-0", 0).is_in());
    let planned = fleet.site.done("plan");
    let told = "create enrollment group quarantine-line-a-1, disabled";
    assert!(planned.stdout.contains(told), "{planned:#?}");
    fleet.site.done("apply --yes");
    assert!(!fleet.shows("device-0", 0).is_in());
    let again = fleet.site.done("apply --yes");
    assert!(again.stdout.starts_with("nothing to do"), "{again:#?}");
}

/// All instances are closed before the first hub is told.
#[test]
fn no_instance_is_open_while_the_hubs_of_another_are_seen_to() {
    for line in [
        "quarantine --authority line-a --yes",
        "quarantine device-0 --reason stolen --yes",
        "quarantine device-0 device-2 --reason stolen --yes",
    ] {
        let fleet = fleet(TWO_INSTANCES);
        let place = fleet.place("device-0");
        fleet.site.run_until(line, Some(Death::After(2)));
        for instance in 0..2 {
            let shown = fleet.register(instance, place, 0);
            assert!(!shown.registered.is_in(), "{line}: {instance}");
        }
        fleet.site.pass();
        fleet.site.done(line);
        assert_eq!(fleet.on_hubs("device-0"), ["disabled"]);
        let open = fleet.site.json("journal list --open");
        assert_eq!(open, serde_json::json!([]), "{line}");
    }
}

/// Who is let in still is told by name, and said again it goes on.
#[test]
fn an_instance_that_cannot_be_reached_is_told_with_whom_it_lets_in() {
    for (line, who) in [
        ("quarantine device-0 --reason stolen --yes", "device-0 is"),
        (
            "quarantine --authority line-a --yes",
            "what is below line-a is",
        ),
        ("deprovision device-0 --yes", "device-0 is"),
        (
            "deprovision --group line-a --yes",
            "the devices of enrollment group line-a are",
        ),
    ] {
        let fleet = fleet(TWO_INSTANCES);
        let place = fleet.place("device-0");
        let anchor = fleet.site.read("dps-b.pem");
        fleet.site.write("dps-b.pem", &fleet.site.read("dps-a.pem"));
        let run = fleet.ends_with(line, 7);
        let told = format!("{who} NOT shut out in DPS dps-b");
        assert!(run.stderr.contains(&told), "{run:#?}");
        assert!(!fleet.register(0, place, 0).registered.is_in(), "{line}");
        assert!(fleet.register(1, place, 0).registered.is_in(), "{line}");
        fleet.site.write("dps-b.pem", &anchor);
        fleet.site.done(line);
        for instance in 0..2 {
            assert!(!fleet.register(instance, place, 0).registered.is_in());
        }
    }
}
