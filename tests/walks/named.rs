//! Rules by name, each on a fleet with a group above the lines, two lines and two hubs.

use dps_emulator::SingleCertificate;
use serde_json::{Value, json};

use crate::walks::fleet::{Fleet, Shape};
use crate::walks::site::{Death, HUBS, Registered, Run, Site};

/// Two lines with a group each below a root that no group refers to, with one device each.
pub(crate) fn two_lines(instances: usize) -> Fleet {
    fleet(Shape {
        has_top: false,
        instances,
        devices: 2,
        ..Shape::PLAIN
    })
}

/// Two lines whose devices have registered everywhere; those of `line-a` are `device-0` and `device-2`.
pub(crate) fn fleet(shape: Shape) -> Fleet {
    let fleet = Fleet::of(shape);
    for instance in 0..shape.instances {
        for device in 0..shape.devices {
            assert!(fleet.register(instance, device, 0).registered.is_in());
        }
    }
    fleet.site.pass();
    fleet
}

/// An enabled group that holds a certificate.
pub(crate) fn group_on(id: &str, certificate: &str) -> Value {
    json!({
        "enrollmentGroupId": id,
        "attestation": {
            "type": "x509",
            "x509": {"signingCertificates": {"primary": {"certificate": certificate}}},
        },
    })
}

pub(crate) fn plain() -> Fleet {
    fleet(Shape::PLAIN)
}

fn number(id: &str) -> usize {
    let number = id.strip_prefix("device-").expect("a device");
    number.parse().expect("a number")
}

impl Fleet {
    pub(crate) fn place(&self, id: &str) -> usize {
        self.devices
            .iter()
            .position(|device| device.id == id)
            .expect("a device")
    }

    pub(crate) fn shows(&self, id: &str, leaf: usize) -> Registered {
        self.register(0, self.place(id), leaf).registered
    }

    #[track_caller]
    pub(crate) fn ends_with(&self, line: &str, code: u8) -> Run {
        let run = self.site.run(line);
        assert_eq!(run.code, code, "{run:#?}");
        run
    }

    /// A new leaf with a new key.
    pub(crate) fn renewed(&mut self, id: &str) -> usize {
        self.site.pass();
        let folder = self.folder();
        self.site
            .done(&format!("renew {id} --new-key --out {folder}"));
        let leaf = self.newest(id, &folder);
        let place = self.place(id);
        self.devices[place].leaves.push(leaf);
        self.site.pass();
        self.devices[place].leaves.len() - 1
    }

    /// The status of a device's identities on the hubs.
    pub(crate) fn on_hubs(&self, id: &str) -> Vec<String> {
        self.on_hubs_of(0, id)
    }

    /// The same on the hubs of an instance.
    pub(crate) fn on_hubs_of(&self, instance: usize, id: &str) -> Vec<String> {
        let dump = self.site.dump(instance);
        let hubs = dump["hubs"].as_object().expect("hubs").values();
        let all = hubs.flat_map(|hub| hub.as_array().expect("a list"));
        let own = all.filter(|device| device["deviceId"] == id);
        own.map(|device| device["status"].as_str().unwrap_or("enabled").to_owned())
            .collect()
    }
}

/// Shuts the hub of `line-a` by a key that does not open it; returns the one that does.
pub(crate) fn lock_hub(site: &Site) -> (String, String) {
    lock(site, HUBS[0])
}

/// Shuts a hub by a key of nobody; returns the file with the one that opens it.
pub(crate) fn lock(site: &Site, hub: &str) -> (String, String) {
    let file = format!("dps-a-{hub}.txt");
    let right = site.read(&file);
    let (opens, _) = right.split_once("SharedAccessKey=").expect("a key");
    let nobody = "bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm8=";
    site.write(&file, &format!("{opens}SharedAccessKey={nobody}"));
    (file, right)
}

/// DPS holds the root as `root-2` after a roll.
#[test]
fn pruning_leaves_the_root_that_was_rolled() {
    let mut fleet = fleet(Shape {
        has_top: false,
        ..Shape::PLAIN
    });
    fleet.site.done("roll start root --yes");
    let planned = fleet.site.done("plan --prune");
    assert!(planned.stdout.starts_with("nothing to do"), "{planned:#?}");
    // Those below are verified themselves, which nobody declares: pruning takes no device's way in.
    fleet
        .site
        .done("roll finish root --with-intermediates --yes");
    let refused = fleet.ends_with("apply --prune --yes", 4);
    refused.stderr_has("would be refused that groups admit by it");
    let leaf = fleet.renewed("device-0");
    assert!(fleet.shows("device-0", leaf).is_in());
    assert!(fleet.shows("device-1", 0).is_in());
}

/// DPS first; what the hub keeps is told by device, and said again it goes on.
#[test]
fn a_hub_that_cannot_be_read_holds_nothing_up() {
    let fleet = plain();
    let (file, right) = lock_hub(&fleet.site);
    let run = fleet.ends_with("quarantine device-0 --reason stolen --yes", 7);
    assert!(run.stderr.contains(HUBS[0]), "{run:#?}");
    assert_eq!(fleet.shows("device-0", 0), Registered::Disabled);
    assert_eq!(fleet.on_hubs("device-0"), ["enabled"]);
    fleet.site.done("dps registration show device-0");
    // Its record names no hub any more once it has knocked and was refused, and the hub knows it still.
    fleet.site.write(&file, &right);
    fleet.site.done("dps registration delete device-0 --yes");
    lock_hub(&fleet.site);
    fleet.ends_with("quarantine device-0 --yes", 7);
    assert_eq!(fleet.on_hubs("device-0"), ["enabled"]);
    // In a list the others are done as a whole.
    let run = fleet.ends_with("quarantine device-0 device-2 device-1 --yes", 7);
    run.stdout_has("its hub cannot be read");
    assert_eq!(fleet.shows("device-2", 0), Registered::Disabled);
    assert_eq!(fleet.on_hubs("device-1"), ["disabled"]);
    fleet.site.write(&file, &right);
    fleet
        .site
        .done("quarantine device-0 device-2 device-1 --yes");
    for id in ["device-0", "device-1", "device-2"] {
        assert_eq!(fleet.on_hubs(id), ["disabled"], "{id}");
        // It may have knocked since, and been refused.
        let record = fleet
            .site
            .run(&format!("dps registration show {id} --output json"));
        assert!(
            record.code == 8 || record.json()["assignedHub"].is_null(),
            "{record:#?}"
        );
    }
    assert!(fleet.shows("device-3", 0).is_in());
}

/// The hub that is kept is not asked.
#[test]
fn a_hub_that_is_kept_need_not_be_read() {
    let fleet = plain();
    lock_hub(&fleet.site);
    fleet.site.done("quarantine device-0 --hub keep --yes");
    assert_eq!(fleet.shows("device-0", 0), Registered::Disabled);
}

/// The same where a whole line is shut out, and where one leaves.
#[test]
fn a_line_is_shut_out_though_its_hub_cannot_be_read() {
    let fleet = plain();
    let (file, right) = lock_hub(&fleet.site);
    fleet.ends_with("quarantine --authority line-a --yes", 7);
    assert_eq!(fleet.shows("device-0", 0), Registered::Disabled);
    fleet.ends_with("deprovision device-1 device-2 --yes", 7);
    assert_eq!(fleet.on_hubs("device-1"), Vec::<String>::new());
    fleet.site.write(&file, &right);
    fleet.site.done("quarantine --authority line-a --yes");
    assert_eq!(fleet.on_hubs("device-0"), ["disabled"]);
    fleet.site.done("deprovision device-1 device-2 --yes");
    assert_eq!(fleet.on_hubs("device-2"), Vec::<String>::new());
}

/// It is somebody else's, and shuts nobody out.
#[test]
fn a_thumbprint_that_nobody_knows_is_no_registration_id() {
    let fleet = plain();
    let stranger = "0123456789ABCDEF0123456789ABCDEF01234567";
    for line in ["quarantine", "deprovision"] {
        let run = fleet.ends_with(&format!("{line} {stranger} --yes"), 8);
        run.stderr_has("no certificate has the thumbprint");
        fleet.ends_with(&format!("{line} device-00 --yes"), 8);
    }
    fleet.site.write("list", &format!("device-0\n{stranger}\n"));
    fleet.ends_with("quarantine list --yes", 8);
    assert!(
        fleet.shows("device-0", 0).is_in(),
        "nothing is done by halves"
    );
    fleet.site.done("quarantine device-00 --unknown --yes");
    let known = &fleet.devices[0].leaves[0].thumbprint;
    fleet.site.done(&format!("quarantine {known} --yes"));
    assert_eq!(fleet.shows("device-0", 0), Registered::Disabled);
}

/// Everywhere is every declared instance.
#[test]
fn every_instance_is_meant_and_those_left_out_are_named() {
    let fleet = fleet(Shape {
        instances: 2,
        ..Shape::PLAIN
    });
    let place = fleet.place("device-0");
    let run = fleet.ends_with("quarantine device-0 --dps dps-a --yes", 7);
    run.stderr_has("DPS dps-b: device-0 is admitted");
    assert!(fleet.register(1, place, 0).registered.is_in());
    fleet.site.done("quarantine device-0 --yes");
    let run = fleet.ends_with("quarantine --authority line-b --dps dps-b --yes", 7);
    run.stderr_has("dps-a");
    fleet.site.done("quarantine --authority line-b --yes");
    fleet.site.done("deprovision device-2 --yes");
    for instance in 0..2 {
        for id in ["device-0", "device-1", "device-2", "device-3"] {
            let found = fleet
                .register(instance, number_of(&fleet, id), 0)
                .registered;
            assert_eq!(found, Registered::Disabled, "{id} in {instance}");
        }
    }
}

fn number_of(fleet: &Fleet, id: &str) -> usize {
    assert!(number(id) < fleet.devices.len());
    fleet.place(id)
}

/// A group that is disabled today is enabled tomorrow.
#[test]
fn a_device_that_left_stays_out_when_its_group_is_enabled() {
    let fleet = fleet(Shape {
        has_top: false,
        ..Shape::PLAIN
    });
    fleet
        .site
        .done("dps device put device-0 --cert leaves-1/device-0.cert.pem --yes");
    fleet.site.done("dps group disable line-a --yes");
    fleet.site.done("deprovision device-0 --yes");
    fleet.site.done("dps group enable line-a --yes");
    assert_eq!(fleet.shows("device-0", 0), Registered::Disabled);
    assert!(fleet.shows("device-2", 0).is_in());
}

/// What has left is not made again because pki.toml still says so.
#[test]
fn apply_refuses_to_make_a_group_again_that_was_deprovisioned() {
    let fleet = fleet(Shape {
        has_top: false,
        ..Shape::PLAIN
    });
    let run = fleet.ends_with("deprovision --group line-a --yes", 0);
    run.stdout_has("pki.toml declares enrollment group line-a");
    let refused = fleet.ends_with("apply --yes", 4);
    refused.stderr_has("--make-again line-a");
    fleet.ends_with("plan", 4);
    assert_eq!(fleet.shows("device-0", 0), Registered::Refused);
    fleet.site.done("apply --make-again line-a --yes");
    assert!(fleet.shows("device-0", 0).is_in());
    let again = fleet.site.done("apply --make-again line-a --yes");
    assert!(again.stdout.starts_with("nothing to do"), "{again:#?}");
    again.stdout_has("there is nothing to make again");
}

/// A device that has a new leaf and registers with its old one is still on that.
#[test]
fn a_roll_does_not_end_while_a_device_shows_its_old_leaf() {
    let mut fleet = fleet(Shape {
        has_top: false,
        single: SingleCertificate::Once,
        ..Shape::PLAIN
    });
    fleet.site.done("roll start line-a --yes");
    let [new, _] = ["device-0", "device-2"].map(|id| fleet.renewed(id));
    assert!(fleet.shows("device-2", new).is_in());
    assert!(fleet.shows("device-0", 0).is_in(), "the old leaf again");
    let refused = fleet.ends_with("roll finish line-a --yes", 4);
    refused.stderr_has("1 device (device-0)");
    assert!(fleet.shows("device-0", new).is_in());
    let (file, right) = lock_hub(&fleet.site);
    let refused = fleet.ends_with("roll finish line-a --yes", 4);
    refused.stderr_has("nobody can tell with which leaf");
    fleet.site.write(&file, &right);
    fleet.site.done("roll finish line-a --yes");
    assert!(fleet.shows("device-0", new).is_in());
    assert!(!fleet.shows("device-0", 0).is_in());
}

/// The record is gone by then, and the hub knows the device still.
#[test]
fn nobody_is_left_on_a_hub_when_a_group_leaves() {
    let fleet = fleet(Shape {
        has_top: false,
        ..Shape::PLAIN
    });
    fleet.site.done("quarantine --authority line-a --yes");
    assert_eq!(fleet.on_hubs("device-0"), ["disabled"]);
    fleet.site.done("deprovision --group line-a --yes");
    assert_eq!(fleet.on_hubs("device-0"), Vec::<String>::new());
    assert_eq!(fleet.on_hubs("device-1"), ["enabled"]);
}

/// The group that could list the devices was deleted beforehand.
#[test]
fn nobody_is_left_on_a_hub_when_the_group_of_a_compromised_line_is_gone() {
    let fleet = fleet(Shape {
        has_top: false,
        ..Shape::PLAIN
    });
    let run = fleet.site.done("dps group delete line-a --dry-run");
    run.stdout_has("2 registration records of its devices stay and count");
    fleet.site.done("dps group delete line-a --yes");
    assert_eq!(fleet.on_hubs("device-0"), ["enabled"]);
    fleet.site.done("roll start line-a --compromised --yes");
    assert_eq!(fleet.on_hubs("device-0"), ["disabled"]);
    assert_eq!(fleet.on_hubs("device-1"), ["enabled"]);
}

/// Wherever it is cut, it ends as if it was not.
#[test]
fn a_group_leaves_whatever_cuts_it() {
    let whole = plain();
    let line = "deprovision --group line-a --yes";
    let end = |fleet: &Fleet| {
        let dump = fleet.site.dump(0);
        let groups = dump["enrollmentGroups"].as_array().expect("groups").iter();
        let groups: Vec<Value> = groups
            .map(|group| json!([group["enrollmentGroupId"], group["provisioningStatus"]]))
            .collect();
        (groups, fleet.on_hubs("device-0"), fleet.on_hubs("device-1"))
    };
    let moments = whole.site.done(line).requests.moments();
    let wanted = end(&whole);
    for moment in (1..=moments).rev().step_by(3) {
        let fleet = plain();
        assert_eq!(
            fleet.site.run_until(line, Some(Death::Moment(moment))).code,
            70
        );
        fleet.site.done(line);
        assert_eq!(end(&fleet), wanted, "cut at {moment}");
        assert_eq!(
            fleet.site.json("journal list --open"),
            json!([]),
            "{moment}"
        );
    }
}

/// A group holds the certificate of the root itself, so no name is left when the CA is deleted.
#[test]
fn a_compromised_root_is_replaced_whatever_cuts_it() {
    let shape = Shape {
        devices: 2,
        ..Shape::PLAIN
    };
    let line = "roll start root --compromised --yes";
    let whole = fleet(shape);
    let moments = whole.site.done(line).requests.moments();
    let names = |fleet: &Fleet| {
        let held = fleet.site.json("dps ca list");
        let held = held.as_array().expect("a list").iter();
        held.map(|ca| ca["name"].to_string()).collect::<Vec<_>>()
    };
    for moment in (1..=moments).rev().step_by(4) {
        let fleet = fleet(shape);
        fleet.site.run_until(line, Some(Death::Moment(moment)));
        let again = fleet.site.run(line);
        assert_eq!(again.code, 0, "cut at {moment}: {again:#?}");
        assert_eq!(names(&fleet), names(&whole), "cut at {moment}");
        assert!(!fleet.shows("device-0", 0).is_in());
    }
}

/// What a person would expect of a list.
#[test]
fn a_list_may_hold_certificate_files() {
    let fleet = plain();
    fleet
        .site
        .write("list", "leaves-1/device-0.cert.pem\ndevice-2\n# no more\n");
    fleet.site.done("quarantine list --yes");
    assert_eq!(fleet.shows("device-0", 0), Registered::Disabled);
    assert_eq!(fleet.shows("device-2", 0), Registered::Disabled);
    fleet.site.write("outer", "list\n");
    let refused = fleet.ends_with("quarantine outer --yes", 3);
    refused.stderr_has("a list in a list");
}

/// One device costs what it costs, whatever else the instance holds.
#[test]
fn one_device_is_shut_out_at_the_same_cost_in_a_full_instance() {
    let cost = |others: usize| {
        let fleet = plain();
        let ids: Vec<String> = (0..others)
            .map(|number| format!("other-{number}"))
            .collect();
        if !ids.is_empty() {
            fleet.site.write("others", &ids.join("\n"));
            fleet.site.done("quarantine others --unknown --yes");
        }
        let run = fleet.site.done("quarantine device-0 --yes");
        let explained = fleet.site.done("explain device-2");
        [run.requests.moments(), explained.requests.moments()]
    };
    assert_eq!(cost(300), cost(0));
}

/// C: whoever has one of its keys may have all.
#[test]
fn every_live_leaf_of_a_device_is_revoked() {
    let mut fleet = plain();
    fleet.renewed("device-0");
    fleet.site.done("quarantine device-0 --yes");
    let known = fleet.site.json("inventory show device-0");
    let known = known.as_array().expect("rows").iter();
    assert!(
        known.clone().all(|row| row["status"] == "revoked"),
        "{known:?}"
    );
    let id = "device-1";
    let folder = "leaves-2";
    fleet.site.done(&format!(
        "dps device put {id} --cert {folder}/{id}.cert.pem --yes"
    ));
    fleet.renewed(id);
    fleet.renewed(id);
    fleet
        .site
        .done(&format!("roll start {id} --compromised --yes"));
    let known = fleet.site.json(&format!("inventory show {id}"));
    let states: Vec<&Value> = known
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| &row["status"])
        .collect();
    assert_eq!(states, ["delivered", "revoked", "revoked"]);
    assert_eq!(fleet.on_hubs(id), ["disabled"], "one default");
}

/// C: hub, twin and flags of a device that is back are those that it had, over random fleets.
#[test]
fn a_device_that_is_readmitted_is_what_it_was() {
    let mut random = crate::walks::random::Random::new(16);
    for round in 0..4 {
        let mut fleet = Fleet::random(&mut random);
        let device = random.below(fleet.devices.len());
        let before = fleet.register(0, device, 0);
        let id = fleet.devices[device].id.clone();
        let hub = ["disable", "delete"][round % 2];
        fleet
            .site
            .done(&format!("quarantine {id} --hub {hub} --yes"));
        let leaf = fleet.renewed(&id);
        let files = fleet.devices[device].leaves[leaf].files.clone();
        let run = fleet
            .site
            .done(&format!("readmit {id} --cert {files}/{id}.cert.pem --yes"));
        run.stdout_has("iotHubs");
        assert_eq!(fleet.register(0, device, leaf), before, "{id}");
    }
}
