//! Breach rolls by name: what shuts out, where, for good, and whom it leaves on its hub.

use serde_json::{Value, json};

use crate::walks::fleet::{Fleet, Shape};
use crate::walks::named::{fleet, group_on};
use crate::walks::site::Registered;

const BREACH: &str = "roll start line-a --compromised --yes";

/// Two lines without a group above, in one instance.
fn flat() -> Fleet {
    fleet(Shape {
        has_top: false,
        ..Shape::PLAIN
    })
}

impl Fleet {
    fn status(&self, authority: &str) -> Value {
        let told = self.site.json(&format!("roll status {authority}"));
        told[0].clone()
    }
}

/// Said again when the other instance can be reached, it goes on there.
#[test]
fn an_instance_that_cannot_be_reached_holds_no_other_up() {
    let fleet = fleet(Shape {
        instances: 2,
        ..Shape::PLAIN
    });
    let place = fleet.place("device-0");
    let anchor = fleet.site.read("dps-b.pem");
    fleet.site.write("dps-b.pem", &fleet.site.read("dps-a.pem"));
    let told = fleet.ends_with("roll start line-a --compromised --dry-run", 7);
    told.stderr_has("DPS dps-b");
    let run = fleet.ends_with(BREACH, 7);
    run.stderr_has("DPS dps-b: ");
    run.stderr_has("dps-pki roll start line-a --compromised");
    run.stdout_has("read back from DPS dps-a");
    assert!(!fleet.register(0, place, 0).registered.is_in());
    assert!(fleet.register(1, place, 0).registered.is_in());
    fleet.site.write("dps-b.pem", &anchor);
    fleet.site.done(BREACH);
    for instance in 0..2 {
        assert!(!fleet.register(instance, place, 0).registered.is_in());
    }
    let again = fleet.site.done(BREACH);
    again.stderr_has("dps-pki roll start line-a --compromised --generation 2");
}

/// None can be reached: nothing is done, and what to say again is told.
#[test]
fn a_breach_roll_that_reaches_nobody_says_what_to_say_again() {
    let fleet = flat();
    fleet
        .site
        .write("dps-a.pem", &fleet.site.read("passphrase"));
    let run = fleet.site.run(BREACH);
    assert!(run.code != 0 && run.code != 7, "{run:#?}");
    run.stderr_has("dps-pki roll start line-a --compromised");
}

/// An expiry roll concerns all instances or none.
#[test]
fn an_expiry_roll_wants_every_instance() {
    let fleet = fleet(Shape {
        instances: 2,
        ..Shape::PLAIN
    });
    fleet.site.write("dps-b.pem", &fleet.site.read("dps-a.pem"));
    fleet.ends_with("roll start line-a --yes", 5);
}

/// What was asked for is proven, also when the run that did it was another one.
#[test]
fn a_breach_roll_proves_that_the_old_generation_is_refused_whenever_it_is_said() {
    let fleet = flat();
    let proof = "devices of line-a generation 1 are refused";
    let run = fleet.site.done(BREACH);
    run.stdout_has(proof);
    let again = fleet.site.done(BREACH);
    again.stdout_has("nothing to do");
    again.stdout_has(proof);
    let root = fleet.site.done("roll start root --compromised --yes");
    root.stdout_has("devices of root generation 1 are refused");
}

/// In the hour in which one wants to look there is no new key yet.
#[test]
fn a_dry_run_before_there_is_a_new_key_tells_whom_it_hits() {
    let fleet = flat();
    let run = fleet.site.done("roll start line-a --compromised --dry-run");
    run.stdout_has("line-a has no generation after 1 yet");
    run.stdout_has("2 lose admission");
    run.stdout_has("disable device identity device-0");
    assert!(fleet.shows("device-0", 0).is_in());
    let shown = fleet.site.json("authority show line-a");
    assert_eq!(shown.as_array().expect("rows").len(), 1);
}

/// DPS knows nothing of revocation lists.
#[test]
fn leaves_that_are_revoked_count_as_admitted() {
    let fleet = flat();
    fleet.site.done("revoke device-0 --yes");
    let told = fleet.site.json("roll start line-a --compromised --dry-run");
    assert_eq!(told["plans"][0]["impact"]["loses"], 2, "{told}");
    fleet.site.done(BREACH);
    assert_eq!(fleet.on_hubs("device-0"), ["disabled"]);
}

/// The group that shuts out is there before anybody makes one above.
#[test]
fn a_group_declared_above_later_lets_no_compromised_leaf_in() {
    let fleet = flat();
    fleet.site.done(BREACH);
    let declared = fleet.site.read("pki.toml");
    let top = "[dps.dps-a.group.top]\nauthority = \"root\"\n";
    fleet.site.write("pki.toml", &format!("{declared}\n{top}"));
    fleet.site.done("apply --yes");
    assert!(!fleet.shows("device-0", 0).is_in());
    assert!(fleet.shows("device-1", 0).is_in());
}

/// Whose authority below is verified itself stays in, and stays on its hub.
#[test]
fn devices_that_stay_admitted_stay_on_their_hubs() {
    let fleet = flat();
    let line = "roll start root --compromised --with-intermediates --yes";
    for _ in 0..2 {
        fleet.site.done(line);
        for id in ["device-0", "device-1", "device-2"] {
            assert_eq!(fleet.on_hubs(id), ["enabled"], "{id}");
            assert!(fleet.shows(id, 0).is_in(), "{id}");
        }
    }
    // Without the flag the second time nothing else follows.
    fleet.site.done("roll start root --compromised --yes");
    assert_eq!(fleet.on_hubs("device-0"), ["enabled"]);
}

/// The leaf that was shown last tells who has moved already. Who comes back later is let in by DPS, and a hub
/// that keeps the device out is told.
#[test]
fn who_has_moved_in_the_overlap_stays_and_the_worklist_tells_the_rest() {
    let mut fleet = flat();
    fleet.site.done("roll start line-a --yes");
    let moved = fleet.renewed("device-0");
    assert!(fleet.shows("device-0", moved).is_in());
    for _ in 0..2 {
        fleet.site.done(BREACH);
        assert_eq!(fleet.on_hubs("device-0"), ["enabled"]);
        assert_eq!(fleet.on_hubs("device-2"), ["disabled"]);
    }
    assert!(!fleet.shows("device-0", 0).is_in());
    let status = fleet.status("line-a");
    assert_eq!(status["shutOut"]["named"], json!(["device-2"]), "{status}");
    assert_eq!(status["keptOffHubs"]["count"], 0, "{status}");
    let back = fleet.renewed("device-2");
    assert!(fleet.shows("device-2", back).is_in());
    let status = fleet.status("line-a");
    assert_eq!(status["shutOut"]["count"], 0, "{status}");
    assert_eq!(
        status["keptOffHubs"]["named"],
        json!(["device-2"]),
        "{status}"
    );
    let text = fleet.site.done("roll status line-a");
    text.stdout_has("disabled on the hub");
    fleet.site.done("hub device enable device-2 --yes");
    assert_eq!(fleet.status("line-a")["keptOffHubs"]["count"], 0);
}

/// Whoever has an enrollment of its own is named: nothing that happens to a group shuts it out.
#[test]
fn who_stays_in_by_an_entry_of_its_own_is_named_and_stays_on_its_hub() {
    let fleet = flat();
    let put = "dps device put device-0 --cert leaves-1/device-0.cert.pem --yes";
    fleet.site.done(put);
    assert!(fleet.shows("device-0", 0).is_in());
    let told = fleet.site.json(BREACH);
    assert_eq!(
        told["plans"][0]["stillAdmitted"],
        json!(["device-0"]),
        "{told}"
    );
    assert!(fleet.shows("device-0", 0).is_in());
    assert_eq!(fleet.on_hubs("device-0"), ["enabled"]);
    assert_eq!(fleet.on_hubs("device-2"), ["disabled"]);
    let again = fleet.site.done(BREACH);
    again.stdout_has("dps-pki quarantine device-0");
}

/// What keeps a compromised generation out is as good as declared; where it was opened, that is told, and `apply`
/// closes it.
#[test]
fn pruning_keeps_the_group_that_shuts_out_and_its_opening_is_told() {
    let fleet = fleet(Shape::PLAIN);
    fleet.site.done(BREACH);
    let pruned = fleet.site.done("apply --prune --yes");
    pruned.stdout_has("nothing to do");
    pruned.stdout_has("quarantine-line-a-1");
    let opened = "lets in leaves of generation 1";
    let told = fleet.site.done("roll status line-a");
    assert!(!told.stdout.contains(opened), "{told:#?}");
    fleet
        .site
        .done("dps group enable quarantine-line-a-1 --let-devices-in --yes");
    assert!(fleet.shows("device-0", 0).is_in());
    let told = fleet.ends_with("roll status line-a --detailed-exitcode", 10);
    told.stdout_has(opened);
    let told = fleet.ends_with("check --dps dps-a", 4);
    told.stdout_has("quarantine-line-a-1 in DPS dps-a lets in leaves of line-a generation 1");
    let planned = fleet.ends_with("plan --detailed-exitcode", 10);
    planned.stdout_has("change enrollment group quarantine-line-a-1, disabled");
    fleet.site.done("apply --yes");
    assert_eq!(fleet.shows("device-0", 0), Registered::Disabled);
    let told = fleet.ends_with("roll status line-a --detailed-exitcode", 10);
    assert!(!told.stdout.contains(opened), "{told:#?}");
    told.stdout_has("to get a new leaf");
}

/// Somebody else's group has the name of the one that shuts out, in one instance: it stays, and nobody is kept in.
#[test]
fn a_group_that_happens_to_have_the_name_stops_no_breach_roll_and_no_quarantine() {
    let fleet = fleet(Shape {
        instances: 2,
        devices: 2,
        ..Shape::PLAIN
    });
    let certificate = fleet.site.done("authority export root").stdout;
    let mut kept = Vec::new();
    for id in ["quarantine-line-a-1", "quarantine-line-b-1"] {
        let document = group_on(id, &certificate).to_string();
        fleet.site.write("group.json", &document);
        let put = format!("dps group put {id} --file group.json --dps dps-a --yes");
        fleet.site.done(&put);
        let show = format!("dps group show {id} --dps dps-a");
        kept.push((fleet.site.json(&show), show));
    }
    for line in [BREACH, "quarantine --authority line-b --yes"] {
        fleet.site.done(line);
        fleet.site.done(line).stdout_has("nothing to do");
    }
    for instance in 0..2 {
        for device in 0..2 {
            let told = fleet.register(instance, device, 0).registered;
            assert_eq!(told, Registered::Disabled, "{device} in {instance}");
        }
    }
    fleet
        .site
        .done("dps group show quarantine-line-a-1-2 --dps dps-a");
    fleet
        .site
        .done("dps group show quarantine-line-a-1 --dps dps-b");
    for (document, show) in kept {
        assert_eq!(fleet.site.json(&show), document);
    }
}

/// A quarantine has disabled its group: the roll repairs it, lets nobody in, and says how that ends.
#[test]
fn a_group_that_was_disabled_is_told_to_stay_so() {
    let mut fleet = flat();
    fleet.site.done("quarantine --authority line-a --yes");
    let run = fleet.site.done(BREACH);
    run.stdout_has("dps-pki dps group enable line-a");
    let leaf = fleet.renewed("device-0");
    assert_eq!(fleet.shows("device-0", leaf), Registered::Disabled);
    fleet
        .site
        .done("dps group enable line-a --let-devices-in --yes");
    assert!(fleet.shows("device-0", leaf).is_in());
    assert!(!fleet.shows("device-2", 0).is_in());
}

/// The authorities below a root have a compromised issuer: their new leaves do not come in either.
#[test]
fn a_breach_roll_of_a_root_names_the_authorities_that_are_to_be_rolled_as_well() {
    let mut fleet = flat();
    let run = fleet.site.done("roll start root --compromised --yes");
    run.stdout_has("new leaves of line-a generation 1, line-b generation 1 are refused");
    let status = fleet.site.done("roll status line-a");
    assert!(status.stdout.starts_with("line-a: refused"), "{status:#?}");
    status.stdout_has("roll this one as well: dps-pki roll start line-a");
    let renewal = fleet.site.done("renew device-0 --out later --dry-run");
    renewal.stderr_has("root generation 1, above line-a generation 1, is compromised");
    let leaf = fleet.renewed("device-0");
    assert!(!fleet.shows("device-0", leaf).is_in());
    fleet.site.done("roll start line-a --yes");
    let leaf = fleet.renewed("device-0");
    assert!(fleet.shows("device-0", leaf).is_in());
    fleet.site.done("roll finish line-a --yes");
    assert!(fleet.shows("device-0", leaf).is_in());
    assert!(!fleet.shows("device-1", 0).is_in());
}
