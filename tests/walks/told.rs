//! What `check` finds in an instance, and who is told of whom: each finding with the command that mends it.

use serde_json::{Value, json};

use super::fleet::{Fleet, Shape};
use super::named::{fleet, lock, lock_hub, plain, two_lines};
use super::site::{Death, HUBS, Registered};

const CHECK: &str = "check --dps dps-a";

/// The severity and command of the findings of a kind.
fn found(fleet: &Fleet, kind: &str) -> Vec<(String, String)> {
    let run = fleet.site.run(&format!("{CHECK} --output json"));
    let findings = run.json();
    let findings = findings.as_array().expect("findings").iter();
    let text = |finding: &Value, member: &str| finding[member].as_str().expect("text").to_owned();
    findings
        .filter(|finding| finding["kind"] == kind)
        .map(|finding| (text(finding, "severity"), text(finding, "command")))
        .collect()
}

/// The one finding of a kind; its command does what it says.
#[track_caller]
fn mended(fleet: &Fleet, kind: &str, severity: &str) {
    let told = found(fleet, kind);
    let [(found_severity, command)] = told.as_slice() else {
        panic!("one of {kind}: {told:?}");
    };
    assert_eq!(found_severity, severity);
    let metrics = fleet.site.run(&format!("{CHECK} --format prometheus"));
    metrics.stdout_has(&format!("dps_pki_findings{{kind=\"{kind}\"}} 1\n"));
    let command = command.strip_prefix("dps-pki ").expect("a command");
    fleet.site.done(&format!("{command} --yes"));
    assert_eq!(found(fleet, kind), [], "{command}");
}

#[test]
fn a_fleet_that_is_all_in_has_nothing_to_see_to() {
    let run = plain().site.done(CHECK);
    assert_eq!(run.stdout.trim(), "nothing to see to");
}

#[test]
fn a_breach_roll_that_was_cut_is_told_with_the_command_that_completes_it() {
    let fleet = two_lines(1);
    let line = "roll start root --compromised --hub delete --yes";
    fleet.site.run_until(line, Some(Death::After(2)));
    let run = fleet.ends_with(CHECK, 4);
    run.stdout_has("the breach roll that shuts out root generation 1 is not done in DPS dps-a");
    assert!(run.stdout.starts_with("wrong"), "the worst first: {run:#?}");
    fleet.site.done(line);
    assert_eq!(found(&fleet, "breach-unfinished"), []);
}

#[test]
fn a_breach_roll_whose_hub_was_not_seen_to_is_told() {
    let fleet = plain();
    let (file, right) = lock_hub(&fleet.site);
    fleet.ends_with("roll start line-a --compromised --yes", 7);
    fleet.ends_with(CHECK, 4);
    fleet.site.write(&file, &right);
    mended(&fleet, "breach-unfinished", "wrong");
    assert_eq!(fleet.on_hubs("device-0"), ["disabled"]);
}

/// DPS reads no revocation list.
#[test]
fn a_device_that_comes_in_by_a_revoked_leaf_is_told() {
    let fleet = plain();
    fleet
        .site
        .done("revoke device-0 --reason keyCompromise --yes");
    fleet.ends_with(CHECK, 4);
    mended(&fleet, "revoked-let-in", "wrong");
    assert_eq!(fleet.shows("device-0", 0), Registered::Disabled);
    fleet.site.done("revoke device-2 --reason superseded --yes");
    assert_eq!(found(&fleet, "revoked-let-in"), []);
}

/// An entry of its own decides before any group.
#[test]
fn a_device_that_comes_in_by_a_compromised_leaf_is_told() {
    let fleet = plain();
    let put = "dps device put device-0 --cert leaves-1/device-0.cert.pem --yes";
    fleet.site.done(put);
    fleet.site.done("roll start line-a --compromised --yes");
    assert!(fleet.shows("device-0", 0).is_in());
    mended(&fleet, "revoked-let-in", "wrong");
    assert_eq!(fleet.shows("device-0", 0), Registered::Disabled);
}

#[test]
fn a_compromised_generation_that_a_group_lets_in_is_told() {
    let fleet = plain();
    fleet.site.done("roll start line-a --compromised --yes");
    fleet
        .site
        .done("dps group delete quarantine-line-a-1 --let-devices-in --yes");
    assert!(fleet.shows("device-0", 0).is_in());
    mended(&fleet, "compromised-let-in", "wrong");
    assert_eq!(fleet.shows("device-0", 0), Registered::Disabled);
}

/// Of two groups with one certificate the disabled one decides.
#[test]
fn a_line_that_a_disabled_group_of_others_keeps_out_is_told() {
    let fleet = plain();
    let certificate = fleet.site.done("authority export line-a").stdout;
    let group = json!({
        "enrollmentGroupId": "hold",
        "provisioningStatus": "disabled",
        "attestation": {
            "type": "x509",
            "x509": {"signingCertificates": {"primary": {"certificate": certificate}}},
        },
    });
    fleet.site.write("hold.json", &group.to_string());
    fleet.site.done("dps group put hold --file hold.json --yes");
    assert!(!fleet.shows("device-0", 0).is_in());
    let applied = fleet.site.done("apply --yes");
    applied.stdout_has("devices of enrollment group line-a are refused: enrollment group hold");
    applied.stdout_has("dps-pki dps group delete hold --let-devices-in --dps dps-a");
    fleet.ends_with(CHECK, 4);
    mended(&fleet, "group-kept-out", "wrong");
    assert!(fleet.shows("device-0", 0).is_in());
}

/// What somebody has decided waits for its end: it is due, not wrong.
#[test]
fn a_quarantine_is_due() {
    let mut fleet = two_lines(1);
    fleet.site.done("quarantine device-0 --reason stolen --yes");
    fleet.site.done(CHECK);
    fleet.renewed("device-0");
    let run = fleet.ends_with(CHECK, 10);
    run.stdout_has("DPS dps-a refuses 1 device with a valid leaf by a disabled individual enrollment, the first: device-0");
    run.stdout_has("dps-pki explain device-0 --dps dps-a");
    // Whoever has left is not waited for.
    fleet.site.done("deprovision device-0 device-1 --yes");
    fleet.site.done(CHECK);
}

/// The cause is the hub's: no other device's request is in it, and nobody is named who has left.
#[test]
fn a_hub_that_cannot_be_read_is_told_of_those_alone_who_may_be_on_it() {
    let fleet = fleet(Shape {
        has_top: false,
        ..Shape::PLAIN
    });
    fleet.site.done("deprovision device-0 --yes");
    fleet.site.done("dps registration delete device-2 --yes");
    for hub in HUBS {
        lock(&fleet.site, hub);
    }
    let run = fleet.ends_with("quarantine --authority line-a --yes", 7);
    run.stderr_has("1 device may still be on its hub, which cannot be read");
    run.stderr_has("device-2: hub-");
    assert!(!run.stderr.contains("device-0"), "{run:#?}");
    assert!(!run.stderr.contains("/devices/"), "{run:#?}");
}
