//! What a walk starts with: a random fleet, declared, applied, and with its devices registered.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dps_emulator::{Choices, SingleCertificate};
use serde_json::Value;

use crate::walks::random::Random;
use crate::walks::site::{HUBS, Registered, Site};

/// A leaf of a device, with its files.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub(crate) files: String,
    pub(crate) authority: String,
    pub(crate) generation: u64,
    pub(crate) thumbprint: String,
    /// It must not come in any more, whatever happens.
    pub(crate) is_barred: bool,
}

/// What a device is told when it registers, and what its hub holds of it then.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Result {
    pub(crate) registered: Registered,
    pub(crate) tags: Value,
    pub(crate) capabilities: Value,
}

#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) id: String,
    /// Oldest first.
    pub(crate) leaves: Vec<Leaf>,
    /// It was shut out or has left: none of its leaves may come in.
    pub(crate) is_out: bool,
    /// It has an individual enrollment that names one leaf.
    pub(crate) is_pinned: bool,
    /// What it was by its group, before it was shut out, by instance.
    pub(crate) before: BTreeMap<usize, Result>,
    /// Which of its leaves an instance has let in last.
    pub(crate) last_shown: BTreeMap<usize, usize>,
}

pub(crate) struct Fleet {
    pub(crate) site: Site,
    pub(crate) devices: Vec<Device>,
    pub(crate) lines: Vec<&'static str>,
    pub(crate) has_top: bool,
    /// Devices show their old leaves last, as those do that go back to a spare.
    pub(crate) shows_old_last: bool,
    /// How many folders of leaves there are.
    pub(crate) folders: usize,
}

/// What a fleet is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) instances: usize,
    /// A tier between root and lines.
    pub(crate) has_plant: bool,
    /// An enabled group on what stands above the lines.
    pub(crate) has_top: bool,
    /// A group on each line.
    pub(crate) has_lines: bool,
    /// It refers to the CA by its name.
    pub(crate) top_by_name: bool,
    /// The devices of the first line are edge devices.
    pub(crate) has_edge: bool,
    pub(crate) proof: &'static str,
    pub(crate) devices: usize,
    pub(crate) shows_old_last: bool,
    /// What the service makes of a single certificate.
    pub(crate) single: SingleCertificate,
    /// Whether the service deletes no CA certificate that a group refers to.
    pub(crate) keeps_referred: bool,
    /// Whether the service knows more words for a provisioning status than we do.
    pub(crate) takes_unknown_statuses: bool,
}

impl Shape {
    /// Two lines of two devices below a group on the root, in one instance.
    pub(crate) const PLAIN: Self = Self {
        instances: 1,
        has_plant: false,
        has_top: true,
        has_lines: true,
        top_by_name: false,
        has_edge: false,
        proof: "possession",
        devices: 4,
        shows_old_last: false,
        single: SingleCertificate::Shown,
        keeps_referred: false,
        takes_unknown_statuses: false,
    };

    fn random(random: &mut Random) -> Self {
        let has_plant = random.one_in(3);
        Self {
            has_plant,
            has_top: random.one_in(2) || has_plant,
            has_lines: true,
            top_by_name: !has_plant && random.one_in(2),
            has_edge: random.one_in(2),
            instances: if random.one_in(3) { 2 } else { 1 },
            proof: ["possession", "self-attestation"][random.below(2)],
            devices: 3 + random.below(3),
            shows_old_last: random.one_in(4),
            single: [
                SingleCertificate::Shown,
                SingleCertificate::Stored,
                SingleCertificate::Once,
            ][random.below(3)],
            keeps_referred: random.one_in(2),
            takes_unknown_statuses: false,
        }
    }
}

impl Fleet {
    /// A fleet that is all in.
    pub(crate) fn random(random: &mut Random) -> Self {
        Self::of(Shape::random(random))
    }

    /// A fleet that was declared, applied and issued.
    pub(crate) fn of(shape: Shape) -> Self {
        let lines = vec!["line-a", "line-b"];
        let above = if shape.has_plant { "plant" } else { "root" };
        let declared = authorities(shape.has_plant, above, &lines);
        let site = Site::new(
            &declared,
            &instance(shape, above),
            shape.instances,
            Choices {
                single_certificate: shape.single,
                delete_referred_certificates: !shape.keeps_referred,
                take_unknown_statuses: shape.takes_unknown_statuses,
                ..Choices::default()
            },
        );
        for one in &site.instances {
            site.done(&format!("apply --dps {} --yes", one.name));
        }
        if shape.has_edge {
            give_edge(&site, "line-a");
        }
        let mut fleet = Self {
            site,
            devices: Vec::new(),
            lines,
            has_top: shape.has_top,
            shows_old_last: shape.shows_old_last,
            folders: 0,
        };
        let count = shape.devices;
        for line in fleet.lines.clone() {
            let ids: Vec<String> = (0..count)
                .filter(|number| number % 2 == usize::from(line == "line-b"))
                .map(|number| format!("device-{number}"))
                .collect();
            let folder = fleet.folder();
            let line = format!("issue {} --authority {line} --out {folder}", ids.join(" "));
            fleet.site.done(&line);
            for id in ids {
                let leaf = fleet.newest(&id, &folder);
                fleet.devices.push(Device {
                    id,
                    leaves: vec![leaf],
                    is_out: false,
                    is_pinned: false,
                    before: BTreeMap::new(),
                    last_shown: BTreeMap::new(),
                });
            }
        }
        fleet
    }

    /// A new folder for leaves.
    pub(crate) fn folder(&mut self) -> String {
        self.folders += 1;
        format!("leaves-{}", self.folders)
    }

    /// The newest leaf of a device, which is in a folder.
    pub(crate) fn newest(&self, id: &str, folder: &str) -> Leaf {
        let shown = self.site.json(&format!("inventory show {id}"));
        let row = &shown.as_array().expect("rows")[0];
        let text = |name: &str| row[name].as_str().expect(name).to_owned();
        Leaf {
            files: folder.to_owned(),
            authority: text("authority"),
            generation: row["generation"].as_u64().expect("a number"),
            thumbprint: text("sha256Thumbprint"),
            is_barred: false,
        }
    }

    /// A device registers; it is told where it belongs, and the hub holds it.
    pub(crate) fn register(&self, instance: usize, device: usize, leaf: usize) -> Result {
        let device = &self.devices[device];
        let files = &device.leaves[leaf].files;
        let registered = self.site.register(instance, &device.id, files);
        let mut result = Result {
            tags: Value::Null,
            capabilities: Value::Null,
            registered,
        };
        if let Registered::Assigned(hub) = &result.registered {
            let dump = self.site.dump(instance);
            let held = dump["hubs"][hub].as_array().expect("a list").iter();
            let mut held = held.filter(|held| held["deviceId"] == device.id.as_str());
            let held = held
                .next()
                .unwrap_or_else(|| panic!("{} is not on {hub}", device.id));
            result.tags = held["twin"]["tags"].clone();
            result.capabilities = held["capabilities"].clone();
        }
        result
    }
}

fn authorities(has_plant: bool, above: &str, lines: &[&str]) -> String {
    let mut text = String::new();
    let mut add = |name: &str, issuer: Option<&str>, years: u32| {
        let issuer = issuer.map(|issuer| format!("issuer = \"{issuer}\"\n"));
        writeln!(
            text,
            "[authority.{name}]\nsubject = \"CN=Walk {name}\"\nkey = \"ecdsa-p256\"\nvalidity = \"{years}y\"\n{}",
            issuer.unwrap_or_default()
        )
        .expect("text");
    };
    add("root", None, 20);
    if has_plant {
        add("plant", Some("root"), 10);
    }
    for line in lines {
        add(line, Some(above), 5);
    }
    text.push_str("[profile.device]\nkey = \"ecdsa-p256\"\nvalidity = \"1y\"\nextended-key-usage = [\"client-auth\"]\n\n");
    text
}

/// What an instance is declared to hold: the root, a group for each line on a hub of its own, and perhaps
/// one above both.
fn instance(shape: Shape, above: &str) -> String {
    let proof = shape.proof;
    let [one, two] = HUBS;
    let mut text = format!(
        "\n[dps.NAME]\nservice = \"localhost:PORT\"\nid-scope = \"0ne00000000\"\ntrust-anchor = \"NAME.pem\"\n\n[dps.NAME.ca.root]\nverified-by = \"{proof}\"\n\n"
    );
    let lines = [("line-a", one), ("line-b", two)];
    for (line, hub) in lines.into_iter().filter(|_| shape.has_lines) {
        writeln!(
            text,
            "[dps.NAME.group.{line}]\nauthority = \"{line}\"\nhubs = [\"{hub}\"]\n[dps.NAME.group.{line}.initial-twin]\ntags = {{ line = \"{line}\" }}\n"
        )
        .expect("text");
    }
    if shape.has_top {
        let by = if shape.top_by_name {
            "attestation = \"ca-reference\"\n"
        } else {
            "attestation = \"signing-certificate\"\n"
        };
        writeln!(
            text,
            "[dps.NAME.group.top]\nauthority = \"{above}\"\n{by}hubs = [\"{one}\", \"{two}\"]\n"
        )
        .expect("text");
    }
    text
}

/// Devices of this group are edge devices, which `pki.toml` cannot say.
fn give_edge(site: &Site, group: &str) {
    for one in &site.instances {
        let name = &one.name;
        let mut document = site.json(&format!("dps group show {group} --dps {name}"));
        document["capabilities"] = serde_json::json!({"iotEdge": true});
        site.write("group.json", &document.to_string());
        site.done(&format!(
            "dps group put {group} --file group.json --dps {name} --yes"
        ));
    }
}
