//! A breach roll of a root that has those below verified, cut at every write and said again: once the old CA
//! certificate is gone DPS tells nobody whom it admitted, and the journal does.

use serde_json::{Value, json};

use crate::walks::fleet::Fleet;
use crate::walks::named::two_lines;
use crate::walks::site::Death;

const BREACH: &str = "roll start root --compromised --with-intermediates --yes";

/// The names of the CA certificates in each instance, and whether they are verified.
pub(crate) fn held(fleet: &Fleet) -> Vec<Value> {
    let dumps = (0..fleet.site.instances.len()).map(|instance| {
        let name = &fleet.site.instances[instance].name;
        let held = fleet.site.json(&format!("dps ca list --dps {name}"));
        let held = held.as_array().expect("a list").iter();
        let rows = held.map(|ca| json!([ca["name"], ca["properties"]["isVerified"]]));
        rows.collect()
    });
    dumps.collect()
}

fn ends_as_undisturbed(instances: usize) {
    let whole = two_lines(instances);
    let writes = whole.site.done(BREACH).requests.writes;
    let wanted = held(&whole);
    for write in 1..=writes {
        let fleet = two_lines(instances);
        let cut = fleet.site.run_until(BREACH, Some(Death::After(write)));
        assert_eq!(cut.code, 70, "cut after write {write}: {cut:#?}");
        let again = fleet.site.done(BREACH);
        assert_eq!(held(&fleet), wanted, "cut after write {write}: {again:#?}");
        for instance in 0..instances {
            for id in ["device-0", "device-1"] {
                let told = fleet.register(instance, fleet.place(id), 0).registered;
                assert!(told.is_in(), "cut after write {write}: {id} in {instance}");
            }
        }
        assert_eq!(fleet.on_hubs("device-0"), ["enabled"], "{write}");
        assert_eq!(fleet.site.json("journal list --open"), json!([]), "{write}");
        let third = fleet.site.done(BREACH);
        third.stdout_has("nothing to do");
    }
}

#[test]
fn those_below_a_compromised_root_are_verified_whatever_cuts_the_roll() {
    ends_as_undisturbed(1);
}

/// The plan that deleted the CA certificate was closed before the one that verifies was opened.
#[test]
fn those_below_a_compromised_root_are_verified_in_every_instance() {
    ends_as_undisturbed(2);
}

/// Nobody comes in by the journal who was not in before: a line whose group was disabled stays out.
#[test]
fn a_line_that_was_out_before_stays_out() {
    let fleet = two_lines(1);
    fleet.site.done("dps group disable line-a --yes");
    fleet.site.run_until(BREACH, Some(Death::After(1)));
    fleet.site.done("dps group enable line-a --yes");
    fleet.site.done(BREACH);
    assert!(!fleet.shows("device-0", 0).is_in());
    assert!(fleet.shows("device-1", 0).is_in());
}

/// It was not asked for at first, and is later.
#[test]
fn those_below_are_verified_when_that_is_said_afterwards() {
    let fleet = two_lines(1);
    fleet.site.done("roll start root --compromised --yes");
    assert!(!fleet.shows("device-0", 0).is_in());
    fleet.site.done(BREACH);
    assert!(fleet.shows("device-0", 0).is_in());
}

/// What was verified since, and taken away by somebody, is not brought back by the journal.
#[test]
fn a_line_whose_ca_was_deleted_later_stays_out() {
    let fleet = two_lines(1);
    fleet.site.done(BREACH);
    assert!(fleet.shows("device-0", 0).is_in());
    fleet.site.done("dps ca delete line-a --yes");
    let again = fleet.site.done(BREACH);
    assert!(
        !again.stdout.contains("CA certificate line-a"),
        "{again:#?}"
    );
    assert!(!fleet.shows("device-0", 0).is_in());
    assert!(fleet.shows("device-1", 0).is_in());
}
