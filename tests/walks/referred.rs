//! A compromised root that groups refer to by its name, on a service that deletes such a CA certificate and on
//! one that refuses to: nobody below it is admitted after any write.

use serde_json::json;

use crate::walks::cut_off::held;
use crate::walks::fleet::{Fleet, Shape};
use crate::walks::named::fleet;
use crate::walks::site::Death;

const BREACH: &str = "roll start root --compromised --yes";

fn below_a_reference(keeps_referred: bool) -> Fleet {
    fleet(Shape {
        top_by_name: true,
        devices: 2,
        keeps_referred,
        ..Shape::PLAIN
    })
}

#[track_caller]
fn nobody_is_in(fleet: &Fleet, when: &str) {
    for id in ["device-0", "device-1"] {
        assert!(!fleet.shows(id, 0).is_in(), "{id} {when}");
    }
}

fn is_out_from_the_first_write_on(keeps_referred: bool) {
    let whole = below_a_reference(keeps_referred);
    let run = whole.site.done(BREACH);
    run.stdout_has("2. replace CA certificate root");
    assert_eq!(held(&whole), [json!([["root", true]])]);
    for write in 1..=run.requests.writes {
        let fleet = below_a_reference(keeps_referred);
        fleet.site.run_until(BREACH, Some(Death::After(write)));
        nobody_is_in(&fleet, &format!("after write {write}"));
        fleet.site.done(BREACH);
        nobody_is_in(&fleet, &format!("cut after write {write} and said again"));
        assert_eq!(held(&fleet), held(&whole), "cut after write {write}");
        let again = fleet.site.done(BREACH);
        again.stdout_has("nothing to do");
        let applied = fleet.site.done("apply --yes");
        applied.stdout_has("nothing to do");
    }
}

#[test]
fn a_root_that_groups_refer_to_is_out_from_the_first_write_on() {
    is_out_from_the_first_write_on(false);
}

#[test]
fn it_is_on_a_service_that_deletes_no_ca_that_a_group_refers_to() {
    is_out_from_the_first_write_on(true);
}

/// The new one is there already under a name of its own, and is put in the place of the old one as well: also
/// where groups below would admit by the old one, whatever the group that refers to it lets go of.
#[test]
fn a_root_that_is_found_compromised_in_its_overlap_is_out_on_either_service() {
    let cases = [
        (false, false, 1),
        (true, false, 1),
        (true, true, 1),
        (false, false, 2),
    ];
    for (keeps_referred, has_lines, instances) in cases {
        let shape = Shape {
            has_lines,
            top_by_name: true,
            devices: 2,
            keeps_referred,
            instances,
            ..Shape::PLAIN
        };
        let line = "roll start root --yes";
        let whole = fleet(shape);
        whole.site.done(line);
        let run = whole.site.done(BREACH);
        assert_eq!(held(&whole), vec![json!([["root-2", true]]); instances]);
        for write in 1..=run.requests.writes {
            let fleet = fleet(shape);
            fleet.site.done(line);
            fleet.site.run_until(BREACH, Some(Death::After(write)));
            nobody_is_in(&fleet, &format!("after write {write}"));
            fleet.site.done(BREACH);
            nobody_is_in(&fleet, &format!("cut after write {write} and said again"));
            assert_eq!(held(&fleet), held(&whole), "cut after write {write}");
        }
    }
}

/// The plan that puts it there is another one than the plan that proves it.
#[test]
fn what_was_put_in_its_place_is_proven_in_every_instance() {
    let shape = Shape {
        top_by_name: true,
        devices: 2,
        instances: 2,
        ..Shape::PLAIN
    };
    let writes = fleet(shape).site.done(BREACH).requests.writes;
    for write in [1, 2, 3, writes] {
        let fleet = fleet(shape);
        fleet.site.run_until(BREACH, Some(Death::After(write)));
        fleet.site.done(BREACH);
        nobody_is_in(&fleet, &format!("cut after write {write} and said again"));
        let root = json!([["root", true]]);
        assert_eq!(held(&fleet), [root.clone(), root], "cut after {write}");
    }
}
