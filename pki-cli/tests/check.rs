//! `check` and `needs-renewal`: what somebody has to see to, before it stops.

use std::sync::Arc;

use crate::support::site::Site;
use crate::support::{Run, World, now};
use pki_core::testing::FixedClock;
use pki_core::time::Span;
use serde_json::Value;

/// A run so many days later.
fn after(home: &World, days: u64, line: &str) -> Run {
    let mut later = home.copy();
    later.clock = Arc::new(FixedClock(now() + Span::from_days(days)));
    later.run(line)
}

fn kinds(run: &Run) -> Vec<(String, String)> {
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let findings = run.json();
    let findings = findings.as_array().into_iter().flatten();
    findings
        .map(|finding| (text(finding, "severity"), text(finding, "kind")))
        .collect()
}

fn line_with_leaf() -> World {
    let home = World::after(&["init --template quickstart", "authority create"]);
    home.done("issue sensor-1 --authority factory --out leaves");
    home
}

fn days_until(run: &Run, member: &str) -> u64 {
    let found: pki_core::time::Time = run.json()[0][member]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("{run:#?}"));
    let seconds = found.unix_seconds() - now().unix_seconds();
    u64::try_from(seconds).unwrap_or_else(|_| panic!("{run:#?}")) / 86_400
}

#[test]
fn what_ends_is_told_before_it_ends_and_afterwards() {
    let home = line_with_leaf();
    let run = home.run("check");
    assert_eq!((run.code, run.stdout.trim()), (0, "nothing to see to"));
    let leaf_ends = days_until(
        &home.done("inventory list --id sensor-1 --output json"),
        "notAfter",
    );
    let soon = after(&home, leaf_ends - 10, "check");
    soon.ends_with(10);
    soon.stdout_has("due    the leaf of sensor-1 ends on ");
    soon.stdout_has("dps-pki inventory list --expiring-within 30d");
    after(&home, leaf_ends - 10, "check --within 5d").ends_with(0);
    let later = after(&home, leaf_ends + 1, "check --output json");
    later.ends_with(10);
    assert_eq!(kinds(&later), [("due".into(), "leaves-expired".into())]);
}

#[test]
fn an_authority_is_told_before_its_leaves_become_short_and_when_it_has_ended() {
    let home = line_with_leaf();
    let ends = days_until(
        &home.done("authority show factory --output json"),
        "notAfter",
    );
    let leaf = days_until(
        &home.done("inventory list --id sensor-1 --output json"),
        "notAfter",
    );
    let short = after(&home, ends - leaf - 10, "check --output json");
    short.ends_with(10);
    assert!(
        kinds(&short).contains(&("due".into(), "short-leaves".into())),
        "{short:#?}"
    );
    let near = after(&home, ends - 10, "check");
    near.ends_with(10);
    near.stdout_has("factory generation 1 ends on ");
    near.stdout_has("; see: dps-pki roll start factory");
    let over = after(&home, ends + 1, "check");
    over.ends_with(4);
    over.stdout_has("wrong  factory generation 1 expired on ");
    over.stderr_has("error: 1 thing is wrong");
    let first = over.stdout.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("wrong"),
        "the worst comes first: {over:#?}"
    );
}

#[test]
fn metrics_have_a_line_for_each_kind() {
    let home = line_with_leaf();
    let run = home.done("check --format prometheus");
    run.stdout_has("dps_pki_findings{kind=\"leaves-end\"} 0\n");
    run.stdout_has("dps_pki_authority_not_after_seconds{authority=\"factory\"} ");
    let now = now().unix_seconds();
    run.stdout_has(&format!("\ndps_pki_check_seconds {now}\n"));
    let late = after(&home, 366, "check --format prometheus");
    late.stdout_has("dps_pki_findings{kind=\"leaves-expired\"} 1\n");
}

/// Nobody waits for a new leaf of a device that has left for good.
#[test]
fn the_leaf_of_a_device_that_was_deprovisioned_is_not_waited_for() {
    let site = Site::new();
    let late = |site: &Site| after(&site.world, 85, "check");
    late(&site).ends_with(10).stdout_has("2 leaves end soon");
    site.done("deprovision sensor-1 --yes");
    let run = late(&site);
    run.ends_with(10).stdout_has("the leaf of sensor-2 ends on");
    site.done("deprovision sensor-2 --yes");
    late(&site).ends_with(0);
    // By its entry it is back.
    site.done("dps device enable sensor-2 --yes");
    late(&site).ends_with(10).stdout_has("the leaf of sensor-2");
}

/// DPS is looked at where it is named.
#[test]
fn an_instance_that_is_not_as_declared_is_told() {
    let site = Site::new();
    site.run("check --dps local").ends_with(0);
    site.done("dps group disable factory --yes");
    site.run("check").ends_with(0);
    let run = site.run("check --dps local");
    run.ends_with(10);
    run.stdout_has(
        "due    DPS local is not as declared: enrollment group factory is disabled in DPS",
    );
    site.done("dps group delete factory --yes");
    let run = site.run("check --dps local");
    run.ends_with(10);
    run.stdout_has(
        "due    DPS local is not as declared: 1 step, the first: create enrollment group factory",
    );
    // What was found in the inventory is told beside an instance that cannot be read.
    let declaration = site.world.read("pki.toml");
    let elsewhere = declaration.replace("emulator-ca.pem", "nowhere.pem");
    site.world.write("pki.toml", elsewhere);
    let run = site.run("check --dps local --within 100d");
    run.ends_with(8);
    run.stdout_has("2 leaves end soon");
    let run = site.run("check --dps local");
    run.ends_with(8);
    assert_eq!(run.stdout, "");
}

#[test]
fn a_file_tells_whether_its_end_is_near() {
    let home = line_with_leaf();
    let leaf = "leaves/sensor-1.cert.pem";
    let line = format!("needs-renewal {leaf}");
    home.run(&line)
        .ends_with(0)
        .stdout_has("not yet: CN=sensor-1");
    after(&home, 59, &line).ends_with(0);
    after(&home, 61, &line)
        .ends_with(10)
        .stdout_has("renew: CN=sensor-1");
    after(&home, 61, &format!("{line} --within 25%")).ends_with(0);
    after(&home, 71, &format!("{line} --within 20d")).ends_with(10);
    after(&home, 69, &format!("{line} --within 20d")).ends_with(0);
    let expired = after(&home, 91, &format!("{line} --within 0% --output json"));
    expired.ends_with(10);
    assert_eq!(expired.json()[0]["expired"], true, "{expired:#?}");
    // Of a chain the one that ends first counts.
    let chain = home.run("needs-renewal leaves/sensor-1-full-chain.cert.pem --within 365d");
    chain.ends_with(10).stdout_has("renew: CN=sensor-1");
    let whole = home.run("needs-renewal leaves/sensor-1-full-chain.cert.pem --within 100%");
    whole.ends_with(10).stdout_has("renew: CN=sensor-1");
    home.run("needs-renewal leaves/sensor-1.key.pem")
        .ends_with(3);
    home.run("needs-renewal nowhere.pem").ends_with(8);
    for wrong in ["101%", "x", "-1d", "%"] {
        home.run(&format!("{line} --within {wrong}")).ends_with(2);
    }
}
