//! Edges of incidents, by name: groups that leave with devices that were shut out or have come back, single
//! writes and rolls that were cut, commands that begin at once, hubs that cannot be read.

use std::fs::File;

use serde_json::{Value, json};

use super::fleet::{Fleet, Shape};
use super::named::{fleet, group_on, lock, lock_hub, plain};
use super::site::{Death, Registered};

const ONE_GROUP: Shape = Shape {
    has_top: false,
    ..Shape::PLAIN
};

/// `device-0` was shut out, and is back with its second leaf.
fn with_one_that_is_back(shape: Shape) -> Fleet {
    let mut fleet = fleet(shape);
    fleet.site.done("quarantine device-0 --reason stolen --yes");
    let leaf = fleet.renewed("device-0");
    let files = &fleet.devices[fleet.place("device-0")].leaves[leaf].files;
    fleet.site.done(&format!(
        "readmit device-0 --cert {files}/device-0.cert.pem --yes"
    ));
    assert!(fleet.shows("device-0", leaf).is_in());
    fleet.site.pass();
    fleet
}

fn status_of(fleet: &Fleet, id: &str) -> Option<String> {
    let shown = fleet
        .site
        .run(&format!("dps device show {id} --output json"));
    (shown.code != 8).then(|| {
        shown.json()["provisioningStatus"]
            .as_str()
            .expect("a status")
            .to_owned()
    })
}

fn open_plans(fleet: &Fleet) -> Value {
    fleet.site.json("journal list --open")
}

/// Its leaf is revoked and its record gone, and the hub knows it still.
#[test]
fn a_device_that_was_shut_out_leaves_its_hub_with_its_group() {
    let fleet = fleet(ONE_GROUP);
    fleet.site.done("quarantine device-0 --reason stolen --yes");
    assert_eq!(fleet.on_hubs("device-0"), ["disabled"]);
    let done = fleet.site.done("deprovision --group line-a --yes");
    let told =
        "1 individual enrollment keeps a device of the group out and must stay, disabled: device-0";
    done.stdout_has(told);
    assert_eq!(fleet.on_hubs("device-0"), Vec::<String>::new());
    assert_eq!(fleet.on_hubs("device-1"), ["enabled"]);
    assert_eq!(status_of(&fleet, "device-0").as_deref(), Some("disabled"));
    fleet.site.done("apply --make-again line-a --yes");
    assert_eq!(fleet.shows("device-0", 0), Registered::Disabled);
    assert!(fleet.shows("device-2", 0).is_in());
}

/// DPS reads no revocation lists: a revoked leaf is one of the group like any other.
#[test]
fn a_device_whose_leaf_is_revoked_leaves_its_hub_with_its_group() {
    let fleet = fleet(ONE_GROUP);
    fleet.site.done("revoke device-0 --yes");
    fleet.site.done("dps registration delete device-0 --yes");
    fleet.site.done("deprovision --group line-a --yes");
    assert_eq!(fleet.on_hubs("device-0"), Vec::<String>::new());
}

/// The entry that lets it in is the toolkit's own: it goes with the group, after it.
#[test]
fn a_device_that_came_back_leaves_with_its_group() {
    let fleet = with_one_that_is_back(ONE_GROUP);
    let planned = fleet.site.done("deprovision --group line-a --dry-run");
    let steps: Vec<&str> = planned
        .stdout
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    assert_eq!(
        [&steps[0][3..], &steps[1][3..]],
        [
            "change enrollment group line-a, disabled",
            "change individual enrollment device-0, disabled"
        ],
        "{planned:#?}"
    );
    let place = |what: &str| {
        planned
            .stdout
            .find(what)
            .unwrap_or_else(|| panic!("{what}: {planned:#?}"))
    };
    assert!(
        place("delete enrollment group line-a") < place("delete individual enrollment device-0")
    );
    let done = fleet.site.done("deprovision --group line-a --yes");
    let told = "device-0 loses admission with its leaf of line-a generation 1";
    planned.stdout_has(told);
    done.stdout_has("read back from DPS: enrollment group line-a is gone");
    for leaf in 0..2 {
        assert_eq!(fleet.shows("device-0", leaf), Registered::Refused);
    }
    assert_eq!(status_of(&fleet, "device-0"), None);
    assert_eq!(fleet.on_hubs("device-0"), Vec::<String>::new());
    fleet.ends_with("dps registration show device-0", 8);
    let again = fleet.site.done("deprovision --group line-a --yes");
    assert!(again.stdout.starts_with("nothing to do"), "{again:#?}");
}

/// The group stays, disabled, where another one would decide, and so does what keeps out its device.
#[test]
fn a_device_that_came_back_stays_out_while_any_group_holds_its_chain() {
    let fleet = with_one_that_is_back(Shape::PLAIN);
    fleet.site.done("deprovision --group line-a --yes");
    assert_eq!(status_of(&fleet, "device-0").as_deref(), Some("disabled"));
    assert_eq!(fleet.on_hubs("device-0"), Vec::<String>::new());
    fleet.site.done("dps group enable line-a --yes");
    for leaf in 0..2 {
        assert_eq!(fleet.shows("device-0", leaf), Registered::Disabled);
    }
    assert!(fleet.shows("device-2", 0).is_in());
}

/// Somebody wants the device by itself: it is told, and the group leaves without it.
#[test]
fn a_device_with_an_enrollment_of_its_own_does_not_leave_with_a_group() {
    let fleet = fleet(ONE_GROUP);
    fleet
        .site
        .done("dps device put device-0 --cert leaves-1/device-0.cert.pem --yes");
    let done = fleet.site.done("deprovision --group line-a --yes");
    done.stdout_has("dps-pki deprovision device-0");
    assert_eq!(fleet.on_hubs("device-0"), ["enabled"]);
    assert!(fleet.shows("device-0", 0).is_in());
    assert_eq!(fleet.on_hubs("device-2"), Vec::<String>::new());
    fleet.site.done("deprovision device-0 --yes");
    assert_eq!(fleet.shows("device-0", 0), Registered::Refused);
}

/// Wherever it is cut, nobody is let in by the entry of the device that was back, and it ends the same.
#[test]
fn a_group_with_a_device_that_came_back_leaves_whatever_cuts_it() {
    let line = "deprovision --group line-a --yes";
    let whole = with_one_that_is_back(ONE_GROUP);
    let moments = whole.site.done(line).requests.moments();
    for moment in (1..=moments).rev().step_by(3) {
        let fleet = with_one_that_is_back(ONE_GROUP);
        let cut = fleet.site.run_until(line, Some(Death::Moment(moment)));
        assert_eq!(cut.code, 70);
        if cut.requests.writes > 1 {
            for leaf in 0..2 {
                assert!(!fleet.shows("device-0", leaf).is_in(), "cut at {moment}");
            }
        }
        fleet.site.done(line);
        assert_eq!(status_of(&fleet, "device-0"), None, "cut at {moment}");
        assert_eq!(fleet.on_hubs("device-0"), Vec::<String>::new(), "{moment}");
        assert_eq!(open_plans(&fleet), json!([]), "cut at {moment}");
    }
}

/// Said again it has nothing to do, and the plan that was cut after its write is closed.
#[test]
fn a_single_write_that_was_cut_after_it_was_acted_on_is_done_when_it_is_said_again() {
    let lines = [
        "dps group disable line-a",
        "dps group enable line-a",
        "dps group put line-a --file group.json",
        "dps device put device-0 --cert leaves-1/device-0.cert.pem",
        "dps device disable device-0",
        "dps device enable device-0",
        "dps device delete device-0",
        "hub device disable device-0",
        "hub device enable device-0",
        "hub device delete device-0 --hub hub-1.azure-devices.net",
        "dps registration delete device-0",
        "dps group delete line-a",
        "dps ca delete root",
    ];
    let fleet = fleet(ONE_GROUP);
    let mut document = fleet.site.json("dps group show line-a");
    document["initialTwin"]["tags"]["shelf"] = json!(7);
    for line in lines {
        if line.contains("group.json") {
            document["etag"] = fleet.site.json("dps group show line-a")["etag"].clone();
            fleet.site.write("group.json", &document.to_string());
        }
        let line = format!("{line} --yes");
        let cut = fleet.site.run_until(&line, Some(Death::After(1)));
        assert_eq!(cut.code, 70, "{cut:#?}");
        assert_ne!(open_plans(&fleet), json!([]), "{line}");
        let looked = fleet.site.run(&line.replace("--yes", "--dry-run"));
        assert_eq!(looked.code, 0, "{looked:#?}");
        assert_ne!(open_plans(&fleet), json!([]), "a dry run closes nothing");
        let again = fleet.site.done(&line);
        assert!(again.stdout.starts_with("nothing to do"), "{again:#?}");
        assert_eq!(open_plans(&fleet), json!([]), "{line}");
        let third = fleet.site.run(&line);
        let wanted = if line.contains(" delete ") { 8 } else { 0 };
        assert_eq!(third.code, wanted, "nothing is open any more: {third:#?}");
        fleet.site.pass();
    }
}

/// Whom the deletion of a CA certificate refuses is told, also where nobody was asked.
#[test]
fn who_loses_admission_by_a_deletion_is_told() {
    let fleet = plain();
    let told = fleet.site.done("dps ca delete root --yes");
    told.stdout_has("device-0 loses admission");
    told.stdout_has("4 lose admission");
}

/// What was never written is written when it is said again.
#[test]
fn a_document_whose_writing_was_cut_before_it_is_written_when_it_is_said_again() {
    let fleet = fleet(ONE_GROUP);
    let document = json!({
        "enrollmentGroupId": "line-c",
        "attestation": {"type": "symmetricKey", "symmetricKey": {}},
    });
    fleet.site.write("group.json", &document.to_string());
    let line = "dps group put line-c --file group.json --yes";
    for death in [Death::Before(1), Death::After(1)] {
        let cut = fleet.site.run_until(line, Some(death));
        assert_eq!(cut.code, 70, "{cut:#?}");
    }
    fleet.site.done(line);
    assert_eq!(open_plans(&fleet), json!([]));
    fleet.site.done("dps group show line-c");
}

/// A roll that was cut says so where one looks for it.
#[test]
fn roll_status_names_the_plan_that_is_open() {
    let fleet = fleet(ONE_GROUP);
    let idle = fleet.site.done("roll status line-a --detailed-exitcode");
    assert!(!idle.stdout.contains("interrupted"), "{idle:#?}");
    let line = "roll start line-a --yes";
    let cut = fleet.site.run_until(line, Some(Death::After(1)));
    assert_eq!(cut.code, 70, "{cut:#?}");
    let plan = open_plans(&fleet)[0]["plan"].clone();
    let plan = plan.as_str().expect("an ID");
    let status = fleet.ends_with("roll status line-a --detailed-exitcode", 10);
    assert!(
        status.stdout.contains("interrupted in DPS dps-a: ")
            && status
                .stdout
                .contains(&format!("dps-pki journal resume {plan}")),
        "{status:#?}"
    );
    let told = fleet.site.json("roll status line-a");
    assert_eq!(told[0]["openPlans"][0]["plan"], plan, "{told}");
    assert_eq!(told[0]["openPlans"][0]["isUnderWay"], false, "{told}");
    let other = fleet.site.json("roll status line-b");
    assert_eq!(other[0]["openPlans"], Value::Null, "{other}");
    fleet.site.done(line);
    let done = fleet.site.done("roll status line-a");
    assert!(!done.stdout.contains("interrupted"), "{done:#?}");
}

/// A plan that another process is carrying out is not interrupted: its lock tells.
#[test]
fn what_another_process_is_carrying_out_is_not_called_interrupted() {
    let fleet = fleet(ONE_GROUP);
    let line = "roll start line-a --yes";
    fleet.site.run_until(line, Some(Death::After(1)));
    let plan = open_plans(&fleet)[0]["plan"].clone();
    let plan = plan.as_str().expect("an ID");
    let lock = File::open(fleet.site.path(&format!("plan-{plan}.lock"))).expect("the lock");
    lock.try_lock().expect("nobody has it");
    let status = fleet.site.done("roll status line-a");
    status.stdout_has("under way in DPS dps-a: ");
    let disable = fleet.ends_with("dps group disable line-a --yes", 4);
    for refused in [fleet.ends_with(line, 4), disable] {
        refused.stderr_has("carried out by another process");
        assert!(!refused.stderr.contains("interrupted"), "{refused:#?}");
    }
    drop(lock);
    let refused = fleet.ends_with("dps group disable line-a --yes", 4);
    refused.stderr_has("it was interrupted");
    fleet.site.done(line);
}

/// DPS first; what the hub keeps is told, and said again it goes on.
#[test]
fn readmission_is_done_in_dps_though_the_hub_cannot_be_read() {
    let mut fleet = plain();
    fleet.site.done("quarantine device-0 --reason stolen --yes");
    let leaf = fleet.renewed("device-0");
    let (file, right) = lock_hub(&fleet.site);
    let files = fleet.devices[fleet.place("device-0")].leaves[leaf]
        .files
        .clone();
    let line = format!("readmit device-0 --cert {files}/device-0.cert.pem --yes");
    let run = fleet.ends_with(&line, 7);
    run.stderr_has("device-0 is let in by DPS, and its hub cannot be read");
    run.stderr_has("hub-1.azure-devices.net");
    assert_eq!(status_of(&fleet, "device-0").as_deref(), Some("enabled"));
    assert_eq!(fleet.on_hubs("device-0"), ["disabled"]);
    fleet.site.write(&file, &right);
    fleet.site.done(&line);
    assert_eq!(fleet.on_hubs("device-0"), ["enabled"]);
    assert!(fleet.shows("device-0", leaf).is_in());
    assert!(!fleet.shows("device-0", 0).is_in());
    assert_eq!(open_plans(&fleet), json!([]));
}

/// The same where the leaf of an individual enrollment is replaced.
#[test]
fn a_compromised_leaf_is_replaced_though_the_hub_cannot_be_read() {
    let mut fleet = fleet(ONE_GROUP);
    fleet
        .site
        .done("dps device put device-0 --cert leaves-1/device-0.cert.pem --yes");
    assert!(fleet.shows("device-0", 0).is_in());
    let leaf = fleet.renewed("device-0");
    let record = fleet.site.json("dps registration show device-0");
    let hub = record["assignedHub"].as_str().expect("a hub");
    let (file, right) = lock(&fleet.site, hub);
    let line = "roll start device-0 --compromised --yes";
    let run = fleet.ends_with(line, 7);
    run.stderr_has(&format!("device-0: {hub}"));
    assert_eq!(fleet.on_hubs("device-0"), ["enabled"], "not seen to yet");
    fleet.site.done("dps registration show device-0");
    fleet.site.write(&file, &right);
    fleet.site.done(line);
    assert_eq!(fleet.on_hubs("device-0"), ["disabled"]);
    assert_eq!(fleet.shows("device-0", 0), Registered::Refused);
    assert!(fleet.shows("device-0", leaf).is_in());
}

/// The record is gone, and the hub knows the device by the leaf that is compromised.
#[test]
fn a_compromised_leaf_leaves_its_hub_though_no_record_names_it() {
    let mut fleet = fleet(ONE_GROUP);
    fleet
        .site
        .done("dps device put device-0 --cert leaves-1/device-0.cert.pem --yes");
    assert!(fleet.shows("device-0", 0).is_in());
    fleet.renewed("device-0");
    fleet.site.done("dps registration delete device-0 --yes");
    fleet.site.done("roll start device-0 --compromised --yes");
    assert_eq!(fleet.on_hubs("device-0"), ["disabled"]);
}

/// Its devices are out of DPS and named; the group stays, disabled, so that the same command goes on.
#[test]
fn a_group_leaves_though_a_hub_cannot_be_read() {
    let fleet = fleet(ONE_GROUP);
    // Without a record, every hub is searched.
    fleet.site.done("dps registration delete device-0 --yes");
    let (file, right) = lock_hub(&fleet.site);
    let line = "deprovision --group line-a --yes";
    let run = fleet.ends_with(line, 7);
    for id in ["device-0", "device-2"] {
        run.stderr_has(&format!("{id}: hub-1.azure-devices.net"));
        assert_eq!(fleet.on_hubs(id), ["enabled"]);
    }
    run.stdout_has("stays, disabled, until the hubs of its devices can be read");
    assert_eq!(fleet.shows("device-2", 0), Registered::Disabled);
    fleet.site.write(&file, &right);
    fleet.site.done(line);
    for id in ["device-0", "device-2"] {
        assert_eq!(fleet.on_hubs(id), Vec::<String>::new(), "{id}");
    }
    assert_eq!(fleet.on_hubs("device-1"), ["enabled"]);
    assert_eq!(fleet.shows("device-2", 0), Registered::Refused);
    fleet.ends_with("dps group show line-a", 8);
}

/// The same in a breach roll; said again it goes on.
#[test]
fn a_compromised_line_is_replaced_though_a_hub_cannot_be_read() {
    let fleet = fleet(ONE_GROUP);
    fleet.site.done("dps registration delete device-0 --yes");
    let (file, right) = lock_hub(&fleet.site);
    let line = "roll start line-a --compromised --yes";
    let run = fleet.ends_with(line, 7);
    for id in ["device-0", "device-2"] {
        run.stderr_has(&format!("{id}: hub-1.azure-devices.net"));
        assert!(!fleet.shows(id, 0).is_in());
    }
    let status = fleet.ends_with("roll status line-a --detailed-exitcode", 10);
    let left = "device-2 to be taken off its hub";
    assert!(status.stdout.contains(left), "{status:#?}");
    fleet.site.write(&file, &right);
    fleet.site.done(line);
    let status = fleet.site.done("roll status line-a");
    assert!(!status.stdout.contains(left), "{status:#?}");
    for id in ["device-0", "device-2"] {
        assert_eq!(fleet.on_hubs(id), ["disabled"], "{id}");
    }
    assert_eq!(fleet.on_hubs("device-1"), ["enabled"]);
}

/// A group that holds what is compromised keeps its devices out until somebody says whom he means.
#[test]
fn a_group_with_a_compromised_certificate_is_enabled_only_in_so_many_words() {
    let fleet = plain();
    let certificate = fleet.site.done("authority export line-a").stdout;
    fleet.site.done("roll start line-a --compromised --yes");
    let group = "quarantine-line-a-1";
    let refused = fleet.ends_with(&format!("dps group enable {group} --yes"), 4);
    assert!(
        refused
            .stderr
            .contains("holds line-a generation 1, which is compromised")
            && refused.stderr.contains("--let-devices-in"),
        "{refused:#?}"
    );
    let later = group_on("later", &certificate).to_string();
    fleet.site.write("group.json", &later);
    let put = "dps group put later --file group.json --yes";
    let refused = fleet.ends_with(put, 4);
    refused.stderr_has("later holds line-a generation 1, which is compromised");
    refused.stderr_has("--let-devices-in");
    fleet.site.done(&format!("{put} --let-devices-in"));
    assert!(!fleet.shows("device-0", 0).is_in());
    fleet.site.done("dps group delete later --yes");
    let looked = fleet.site.done(&format!(
        "dps group enable {group} --let-devices-in --dry-run"
    ));
    looked.stdout_has("device-0 gains admission");
    fleet.site.done("dps group disable line-b --yes");
    fleet.site.done("dps group enable line-b --yes");
    fleet
        .site
        .done(&format!("dps group enable {group} --let-devices-in --yes"));
    assert!(fleet.shows("device-0", 0).is_in());
}

/// The records outlive the group, each can be told and deleted, and nobody lists them any more.
#[test]
fn registration_records_stay_when_their_group_is_deleted() {
    let fleet = fleet(ONE_GROUP);
    let looked = fleet.site.done("dps group delete line-a --dry-run");
    looked.stdout_has("2 registration records of its devices stay and count");
    fleet.site.done("dps group delete line-a --yes");
    let listed = fleet.site.json("dps registration list --group line-a");
    let listed = listed.as_array().expect("a list").iter();
    let ids: Vec<&str> = listed
        .filter_map(|record| record["registrationId"].as_str())
        .collect();
    assert_eq!(ids, ["device-0", "device-2"]);
    let record = fleet.site.json("dps registration show device-0");
    assert_eq!(record["assignedHub"], "hub-1.azure-devices.net");
    fleet.site.done("dps registration delete device-0 --yes");
    fleet.ends_with("dps registration show device-0", 8);
    fleet.site.done("deprovision device-2 --yes");
    fleet.ends_with("dps registration show device-2", 8);
    assert_eq!(fleet.on_hubs("device-2"), Vec::<String>::new());
}

/// What DPS answers depends on when it is asked: leaves and CA certificates end.
#[test]
fn explain_and_impact_judge_at_the_moment_that_is_asked_about() {
    let fleet = plain();
    let leaf = fleet.site.json("inventory show device-0")[0].clone();
    let end = leaf["notAfter"].as_str().expect("a moment");
    let explained = |at: &str| {
        let told = fleet.site.json(&format!("explain device-0 --at {at}"));
        (told["at"].clone(), told["outcome"]["outcome"].clone())
    };
    assert_eq!(explained(end), (json!(end), json!("admitted")));
    let later = "2027-06-02T12:00:00Z";
    assert!(later > end, "{end}");
    assert_eq!(explained(later), (json!(later), json!("refused")));
    let refused = fleet.site.done(&format!("explain device-0 --at {later}"));
    refused.stdout_has(&format!("to {end} only"));
    let hit = |at: &str| {
        let told = fleet
            .site
            .json(&format!("impact authority line-a --at {at}"));
        told["impact"]["loses"].clone()
    };
    assert_eq!(hit(end), json!(2));
    assert_eq!(hit(later), json!(0));
    let device = fleet
        .site
        .json(&format!("impact device device-0 --at {later}"));
    assert_eq!(device["impact"]["loses"], json!(0), "{device}");
    let now = fleet.site.json("impact device device-0");
    assert_eq!(now["impact"]["loses"], json!(1), "{now}");
    fleet.ends_with("explain device-0 --at yesterday", 2);
}

/// The group is disabled, and it stays in by an entry of its own: that is told.
#[test]
fn who_stays_in_when_a_line_is_shut_out_is_named() {
    let fleet = with_one_that_is_back(Shape::PLAIN);
    for _ in 0..2 {
        let run = fleet.site.done("quarantine --authority line-a --yes");
        run.stdout_has("shut it out with: dps-pki quarantine device-0");
        assert!(!run.stdout.contains("quarantine device-2"), "{run:#?}");
    }
    assert!(fleet.shows("device-0", 1).is_in());
    fleet.site.done("quarantine device-0 --yes");
    let run = fleet.site.done("quarantine --authority line-a --yes");
    assert!(!run.stdout.contains("quarantine device-0"), "{run:#?}");
}
