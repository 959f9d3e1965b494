//! A command over several instances, cut at every write: what `check` prints is all that somebody knows of it.

use std::collections::BTreeSet;

use super::fleet::Fleet;
use super::named::two_lines;
use super::site::Death;

/// Does what `check` says, until no plan is open any more.
fn as_check_says(fleet: &Fleet) {
    let mut done = BTreeSet::new();
    loop {
        let findings = fleet.site.run("check --output json").json();
        let findings = findings.as_array().expect("a list").iter();
        let mut open = findings.filter(|finding| finding["kind"] == "open-plan");
        let Some(finding) = open.next() else {
            return;
        };
        let command = finding["command"].as_str().expect("a command");
        let command = command.strip_prefix("dps-pki ").expect("a command");
        assert!(done.insert(command.to_owned()), "twice: {command}");
        fleet.site.done(&format!("{command} --yes"));
    }
}

/// Cuts a command before every write and after it, and does what `check` says: the device is out everywhere.
fn ends_everywhere(line: &str, on_hub: &[&str]) {
    let writes = two_lines(2).site.done(line).requests.writes;
    let before = (1..=writes).map(Death::Before);
    let after = (1..=writes).map(Death::After);
    for death in before.chain(after) {
        let fleet = two_lines(2);
        let cut = fleet.site.run_until(line, Some(death));
        assert_eq!(cut.code, 70, "{death:?}: {cut:#?}");
        as_check_says(&fleet);
        for instance in 0..2 {
            assert_eq!(
                fleet.on_hubs_of(instance, "device-0"),
                on_hub,
                "{death:?} in {instance}"
            );
            let told = fleet.register(instance, 0, 0).registered;
            assert!(!told.is_in(), "{death:?} in {instance}: {told:?}");
        }
        assert!(fleet.register(0, 1, 0).registered.is_in(), "{death:?}");
    }
}

#[test]
fn a_quarantine_that_was_cut_is_completed_in_every_instance() {
    ends_everywhere("quarantine device-0 --yes", &["disabled"]);
}

#[test]
fn a_line_that_was_being_shut_out_is_out_of_every_instance() {
    ends_everywhere("quarantine --authority line-a --yes", &["disabled"]);
}

#[test]
fn a_device_that_was_leaving_leaves_every_instance() {
    ends_everywhere("deprovision device-0 --yes", &[]);
}

/// Said again it takes the place of all of them, and revokes the leaf once.
#[test]
fn a_quarantine_that_was_cut_and_is_said_again_leaves_no_plan_open() {
    let line = "quarantine device-0 --yes";
    let fleet = two_lines(2);
    fleet.site.run_until(line, Some(Death::After(1)));
    let open = fleet.site.json("journal list --open");
    assert_eq!(open.as_array().map(Vec::len), Some(2), "{open}");
    fleet.site.done(line);
    assert_eq!(
        fleet.site.json("journal list --open"),
        serde_json::json!([])
    );
    assert_eq!(fleet.site.done(line).requests.writes, 0);
}

/// Another plan is in the way in the first instance: that keeps nobody in in the other.
#[test]
fn an_instance_with_a_plan_in_the_way_is_told_after_the_others_are_closed() {
    let fleet = two_lines(2);
    let before = "quarantine device-0 device-1 --dps dps-a --yes";
    fleet.site.run_until(before, Some(Death::After(1)));
    let refused = fleet.ends_with("quarantine device-0 --yes", 4);
    refused.stderr_has("dps-pki journal resume");
    assert!(!fleet.register(1, 0, 0).registered.is_in());
}
