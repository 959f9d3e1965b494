//! A walk: operations in a row as a user types them, some of them cut and said again, and after each what
//! real registrations show against what was asked for.

mod asked;
mod said;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use self::asked::Asked;
pub(crate) use self::said::{Operation, Said};
use crate::walks::fleet::{Fleet, Result};
use crate::walks::random::Random;
use crate::walks::site::Run;

/// Where each leaf stands, by instance, device and leaf.
type Admission = BTreeMap<(usize, usize, usize), Result>;

/// Walks on from a fleet that is all in.
pub(crate) struct Walk {
    pub(crate) fleet: Fleet,
    /// Groups that somebody has disabled for a while.
    disabled: BTreeSet<String>,
    /// The leaves below the group that is leaving, by instance.
    leaving: BTreeSet<(usize, String)>,
    /// The identities that let their devices connect before the operation, by instance and hub.
    connecting: BTreeSet<(usize, String, String)>,
    /// What was typed, for who reads of a failure.
    pub(crate) typed: Vec<String>,
    /// How many registrations were made.
    pub(crate) registrations: usize,
    /// How many runs were cut after they had written something.
    pub(crate) cut: usize,
    random: Random,
}

impl Walk {
    pub(crate) fn begin(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let fleet = Fleet::random(&mut random);
        let mut walk = Self {
            fleet,
            disabled: BTreeSet::new(),
            leaving: BTreeSet::new(),
            connecting: BTreeSet::new(),
            typed: Vec::new(),
            registrations: 0,
            cut: 0,
            random,
        };
        let admission = walk.admission();
        for (place, result) in &admission {
            assert!(result.registered.is_in(), "{place:?}: {result:?}");
        }
        if walk.random.one_in(3) {
            walk.roll_a_line();
        }
        if walk.random.one_in(3) {
            walk.pin_a_device();
        }
        walk
    }

    /// A line has been rolled before the walk: its devices have a leaf of either generation.
    fn roll_a_line(&mut self) {
        let number = self.random.below(self.fleet.lines.len());
        for operation in [
            Operation::RollStart(number),
            Operation::RenewAll(number),
            Operation::RollFinish(number),
        ] {
            self.step(&Said::uncut(operation));
        }
    }

    /// A device has come back before the walk, by an enrollment of its own.
    fn pin_a_device(&mut self) {
        let number = self.random.below(self.fleet.devices.len());
        for operation in [
            Operation::Quarantine(vec![number], "disable"),
            Operation::Readmit(number),
        ] {
            self.step(&Said::uncut(operation));
        }
    }

    /// Every leaf of every device registers everywhere, and a few are explained.
    fn admission(&mut self) -> Admission {
        let mut admission = Admission::new();
        for instance in 0..self.fleet.site.instances.len() {
            for device in 0..self.fleet.devices.len() {
                let count = self.fleet.devices[device].leaves.len();
                let mut order: Vec<usize> = (0..count).collect();
                if self.fleet.shows_old_last {
                    order.reverse();
                }
                for leaf in order {
                    let result = self.fleet.register(instance, device, leaf);
                    self.registrations += 1;
                    if result.registered.is_in() {
                        let shown = &mut self.fleet.devices[device].last_shown;
                        shown.insert(instance, leaf);
                    }
                    if self.random.one_in(5) {
                        self.explained(instance, device, leaf, &result);
                    }
                    admission.insert((instance, device, leaf), result);
                }
            }
        }
        admission
    }

    /// What `explain` says is what happens.
    fn explained(&self, instance: usize, device: usize, leaf: usize, result: &Result) {
        let (explained, _) = self.explain(instance, device, leaf);
        let real = match &result.registered {
            crate::walks::site::Registered::Assigned(_) => "admitted",
            crate::walks::site::Registered::Disabled => "disabled",
            crate::walks::site::Registered::Refused => "refused",
        };
        let leaf = &self.fleet.devices[device].leaves[leaf];
        assert_eq!(explained, real, "{leaf:?}");
    }

    /// What is decided about a leaf, and by which group.
    fn explain(&self, instance: usize, device: usize, leaf: usize) -> (String, Option<String>) {
        let id = &self.fleet.devices[device].id;
        let files = &self.fleet.devices[device].leaves[leaf].files;
        let name = &self.fleet.site.instances[instance].name;
        let line = format!("explain {files}/{id}.cert.pem --dps {name}");
        let told = self.fleet.site.json(&line);
        let outcome = &told["outcome"];
        let word = outcome["outcome"].as_str().expect("a word").to_owned();
        let by = &outcome["by"];
        let group = by["group"].as_str().or_else(|| by["noVerifiedCa"].as_str());
        (word, group.map(str::to_owned))
    }

    /// The leaves about which a group decides anywhere.
    fn of_group(&self, group: &str) -> BTreeSet<(usize, usize)> {
        let mut found = BTreeSet::new();
        for (device, leaf) in self.leaves() {
            for instance in 0..self.fleet.site.instances.len() {
                if self.explain(instance, device, leaf).1.as_deref() == Some(group) {
                    found.insert((device, leaf));
                }
            }
        }
        found
    }

    /// All leaves of the devices of a group, also those by which another one would let them in: their newest is
    /// decided about by the group, or no roll has come to its generation.
    fn of_members(&self, group: &str) -> BTreeSet<(usize, usize)> {
        let decided = self.of_group(group);
        let mut members: BTreeSet<usize> = decided.iter().map(|(device, _)| *device).collect();
        members.retain(|device| {
            let newest = self.fleet.devices[*device].leaves.len() - 1;
            decided.contains(&(*device, newest)) || !self.is_living(*device, newest)
        });
        let mut all = self.of_devices(&members);
        all.extend(decided);
        all
    }

    fn is_living(&self, device: usize, leaf: usize) -> bool {
        let leaf = &self.fleet.devices[device].leaves[leaf];
        let generations = self.generations(&leaf.authority);
        let mut own = generations
            .iter()
            .filter(|(number, _)| *number == leaf.generation);
        own.any(|(_, state)| state == "current" || state == "next")
    }

    /// The leaves below the certificates that a group holds, by instance and thumbprint.
    fn held_by(&self, group: &str) -> BTreeSet<(usize, String)> {
        let mut found = BTreeSet::new();
        for (instance, one) in self.fleet.site.instances.iter().enumerate() {
            let line = format!("dps group show {group} --dps {} --output json", one.name);
            let shown = self.fleet.site.run(&line);
            if shown.code == 8 {
                continue;
            }
            let slots = &shown.json()["attestation"]["x509"]["signingCertificates"];
            let held = ["primary", "secondary"]
                .map(|slot| slots[slot]["info"]["sha256Thumbprint"].clone());
            for line in &self.fleet.lines {
                let rows = self.fleet.site.json(&format!("authority show {line}"));
                let rows = rows.as_array().expect("rows").iter();
                let held = rows.filter(|row| held.contains(&row["sha256Thumbprint"]));
                let generations: Vec<u64> =
                    held.filter_map(|row| row["generation"].as_u64()).collect();
                let below = self.below(line, |generation| generations.contains(&generation));
                found.extend(below.into_iter().map(|(device, leaf)| {
                    let leaf = &self.fleet.devices[device].leaves[leaf];
                    (instance, leaf.thumbprint.clone())
                }));
            }
        }
        found
    }

    /// No hub knows a device by a leaf below the group that left, enabled or not.
    fn nobody_of_the_group_is_left(&self) {
        for (instance, hub, device) in self.on_hubs() {
            let shown = &device["authentication"]["x509Thumbprint"]["primaryThumbprint"];
            let shown = shown.as_str().unwrap_or_default().to_ascii_uppercase();
            assert!(
                !self.leaving.contains(&(instance, shown)),
                "left on {hub}: {device}\n{}",
                self.typed.join("\n")
            );
        }
    }

    fn leaves(&self) -> Vec<(usize, usize)> {
        let devices = self.fleet.devices.iter().enumerate();
        devices
            .flat_map(|(device, one)| (0..one.leaves.len()).map(move |leaf| (device, leaf)))
            .collect()
    }

    /// One operation, with all that is to be seen of it.
    pub(crate) fn step(&mut self, said: &Said) {
        let before = self.admission();
        let Some((line, asked)) = self.prepare(&said.operation, &before) else {
            return;
        };
        self.fleet.site.pass();
        let mut has_written = false;
        if let Some(moment) = said.cut {
            let run = self.fleet.site.run_until(&line, Some(moment));
            self.typed
                .push(format!("{line}   # cut at {moment:?}: {}", run.code));
            if run.code != 70 {
                // It did not come so far.
                self.ended(&said.operation, &run, false);
                self.check(&run, &before, &asked);
                self.settled(&said.operation, &run, &before);
                return;
            }
            has_written = run.requests.writes > 0;
            self.cut += usize::from(has_written);
            let now = self.admission();
            self.compare(&run, &before, &now, &asked);
            self.fleet.site.pass();
        }
        let run = self.fleet.site.run(&line);
        self.typed.push(format!("{line}   # {}", run.code));
        self.ended(&said.operation, &run, has_written);
        self.check(&run, &before, &asked);
        self.settled(&said.operation, &run, &before);
        if said.again && run.code == 0 && !line.starts_with("renew") {
            self.nothing_is_left(&said.operation, &line);
        }
        let open = self.fleet.site.json("journal list --open");
        assert_eq!(open, serde_json::json!([]), "{line}");
    }

    /// Said again there is nothing to do.
    fn nothing_is_left(&mut self, operation: &Operation, line: &str) {
        // A home takes note of a plan that is closed; what counts is that none is made.
        let plans = self.fleet.site.json("journal list");
        let again = self.fleet.site.run(line);
        self.typed.push(format!("{line}   # again: {}", again.code));
        assert_eq!(again.code, 0, "{operation:?}: {again:#?}");
        assert_eq!(self.fleet.site.json("journal list"), plans, "{again:#?}");
    }

    /// The exit codes that an operation may end with: done, or refused with nothing written.
    fn ended(&self, operation: &Operation, run: &Run, has_written: bool) {
        let codes: &[u8] = match operation {
            _ if has_written => &[0],
            Operation::Quarantine(..)
            | Operation::QuarantineAuthority(_)
            | Operation::Renew(_)
            | Operation::RenewAll(_)
            | Operation::Deprovision(_) => &[0],
            Operation::DeprovisionGroup(_)
            | Operation::GroupDisable(_)
            | Operation::GroupEnable(_) => &[0, 8],
            Operation::Readmit(_)
            | Operation::RollStart(_)
            | Operation::RollCompromised(_)
            | Operation::RollFinish(_)
            | Operation::RollAbort(_)
            | Operation::RollRoot
            | Operation::Apply { .. } => &[0, 4],
        };
        assert!(
            codes.contains(&run.code),
            "{operation:?}: {run:#?}\n{}",
            self.typed.join("\n")
        );
    }

    /// What it did is what was asked for.
    fn check(&mut self, run: &Run, before: &Admission, asked: &Asked) {
        let now = self.admission();
        self.compare(run, before, &now, asked);
        if run.code != 0 {
            return;
        }
        for (place @ (_, device, leaf), result) in &now {
            let is_in = result.registered.is_in();
            assert!(
                !is_in || !asked.must.contains(&(*device, *leaf)),
                "still in: {place:?} {run:#?}"
            );
        }
    }

    /// Nobody is let in or kept out whom nobody asked for.
    fn compare(&self, run: &Run, before: &Admission, now: &Admission, asked: &Asked) {
        for (place @ (_, device, leaf), result) in now {
            let one = &self.fleet.devices[*device];
            let what = format!(
                "{} with {:?} at {place:?}: {result:?}\n{run:#?}\n{}",
                one.id,
                one.leaves[*leaf],
                self.typed.join("\n")
            );
            let was_in = before.get(place).is_some_and(|was| was.registered.is_in());
            let is_in = result.registered.is_in();
            if is_in {
                assert!(!one.leaves[*leaf].is_barred, "barred and in: {what}");
                assert!(
                    !one.is_out || asked.inside.contains(&(*device, *leaf)),
                    "shut out and in: {what}"
                );
            }
            if is_in && !was_in {
                assert!(asked.inside.contains(&(*device, *leaf)), "let in: {what}");
            }
            if was_in && !is_in {
                assert!(asked.out.contains(&(*device, *leaf)), "kept out: {what}");
            }
        }
    }

    fn device(&self, number: usize) -> usize {
        number % self.fleet.devices.len()
    }

    fn line(&self, number: usize) -> String {
        self.fleet.lines[number % self.fleet.lines.len()].to_owned()
    }

    fn group(&self, number: usize) -> String {
        match number % 3 {
            2 if self.fleet.has_top => "top".to_owned(),
            _ => self.line(number),
        }
    }

    fn below(&self, authority: &str, is_meant: impl Fn(u64) -> bool) -> BTreeSet<(usize, usize)> {
        self.leaves()
            .into_iter()
            .filter(|(device, leaf)| {
                let leaf = &self.fleet.devices[*device].leaves[*leaf];
                leaf.authority == authority && is_meant(leaf.generation)
            })
            .collect()
    }

    fn of_devices(&self, devices: &BTreeSet<usize>) -> BTreeSet<(usize, usize)> {
        self.leaves()
            .into_iter()
            .filter(|(device, _)| devices.contains(device))
            .collect()
    }

    fn generations(&self, authority: &str) -> Vec<(u64, String)> {
        let shown = self.fleet.site.json(&format!("authority show {authority}"));
        let rows = shown.as_array().expect("rows").iter();
        rows.map(|row| {
            let number = row["generation"].as_u64().expect("a number");
            (number, row["status"].as_str().expect("a word").to_owned())
        })
        .collect()
    }

    fn newest_in_state(&self, authority: &str, states: &[&str]) -> Option<u64> {
        let generations = self.generations(authority);
        let meant = generations
            .iter()
            .filter(|(_, state)| states.contains(&state.as_str()));
        meant.map(|(number, _)| *number).max()
    }

    /// What holds from now on.
    fn settled(&mut self, operation: &Operation, run: &Run, before: &Admission) {
        if run.code != 0 {
            return;
        }
        match operation {
            Operation::Quarantine(numbers, _) => {
                for device in numbers
                    .iter()
                    .map(|number| self.device(*number))
                    .collect::<Vec<_>>()
                {
                    self.fleet.devices[device].is_out = true;
                    self.off_hubs(&[device].into());
                }
            }
            Operation::Deprovision(numbers) => {
                for device in numbers
                    .iter()
                    .map(|number| self.device(*number))
                    .collect::<Vec<_>>()
                {
                    self.fleet.devices[device].is_out = true;
                    self.fleet.devices[device].before.clear();
                    self.off_hubs(&[device].into());
                }
            }
            Operation::Readmit(number) => self.is_back(self.device(*number)),
            Operation::QuarantineAuthority(number) => {
                let leaves = self.below(&self.line(*number), |_| true);
                self.bar(&self.without_pinned(&leaves));
                self.pinned_stay_on_hubs();
            }
            Operation::RollCompromised(number) => {
                let authority = self.line(*number);
                if let Some(gone) = self.newest_in_state(&authority, &["compromised"]) {
                    let mut leaves = self.below(&authority, |generation| generation <= gone);
                    // A group above may let in the leaves of a generation that was retired: its key is nobody's.
                    let now = self.admission();
                    leaves.retain(|(device, leaf)| {
                        let of = self.fleet.devices[*device].leaves[*leaf].generation;
                        let mut places = 0..self.fleet.site.instances.len();
                        of == gone
                            || !places.any(|at| now[&(at, *device, *leaf)].registered.is_in())
                    });
                    self.bar(&self.without_pinned(&leaves));
                }
            }
            Operation::DeprovisionGroup(_) => {
                // Those that it took out: nobody may let them in again but by saying so.
                let now = self.admission();
                let lost = before.iter().filter(|(place, was)| {
                    was.registered.is_in() && !now[place].registered.is_in()
                });
                let lost: BTreeSet<_> = lost
                    .map(|((_, device, leaf), _)| (*device, *leaf))
                    .collect();
                self.bar(&lost);
                self.nobody_of_the_group_is_left();
            }
            Operation::GroupDisable(number) => {
                self.disabled.insert(self.group(*number));
            }
            Operation::GroupEnable(_) => {
                let group = self.disabled.first().cloned();
                group.map(|group| self.disabled.remove(&group));
            }
            _ => {}
        }
    }

    /// These leaves never come in again, and their devices are not left on a hub by them.
    fn bar(&mut self, leaves: &BTreeSet<(usize, usize)>) {
        let mut thumbprints = BTreeSet::new();
        for (device, leaf) in leaves {
            let leaf = &mut self.fleet.devices[*device].leaves[*leaf];
            leaf.is_barred = true;
            thumbprints.insert(leaf.thumbprint.clone());
        }
        for (_, hub, device) in self.on_hubs() {
            let shown = &device["authentication"]["x509Thumbprint"]["primaryThumbprint"];
            let is_left = device["status"] != "disabled"
                && shown
                    .as_str()
                    .is_some_and(|shown| thumbprints.contains(&shown.to_ascii_uppercase()));
            assert!(
                !is_left,
                "left on {hub}: {device}\n{}",
                self.typed.join("\n")
            );
        }
    }

    /// Whoever stays in by an enrollment of its own is on its hub as before.
    fn pinned_stay_on_hubs(&self) {
        for (instance, hub, device) in self.on_hubs() {
            let mut devices = self.fleet.devices.iter();
            let is_pinned = devices.any(|one| one.is_pinned && device["deviceId"] == one.id);
            let place = (instance, hub, device["deviceId"].to_string());
            assert!(
                !is_pinned || device["status"] != "disabled" || !self.connecting.contains(&place),
                "taken off its hub: {device}\n{}",
                self.typed.join("\n")
            );
        }
    }

    /// Which identities let their devices connect, by instance and hub.
    fn connecting(&self) -> BTreeSet<(usize, String, String)> {
        let all = self.on_hubs().into_iter();
        all.filter(|(_, _, device)| device["status"] != "disabled")
            .map(|(instance, hub, device)| (instance, hub, device["deviceId"].to_string()))
            .collect()
    }

    /// No hub lets these devices connect.
    fn off_hubs(&self, devices: &BTreeSet<usize>) {
        let ids: Vec<&str> = devices
            .iter()
            .map(|device| self.fleet.devices[*device].id.as_str())
            .collect();
        for (_, hub, device) in self.on_hubs() {
            let is_one = device["deviceId"]
                .as_str()
                .is_some_and(|id| ids.contains(&id));
            assert!(
                !is_one || device["status"] == "disabled",
                "left on {hub}: {device}\n{}",
                self.typed.join("\n")
            );
        }
    }

    fn on_hubs(&self) -> Vec<(usize, String, Value)> {
        let mut found = Vec::new();
        for instance in 0..self.fleet.site.instances.len() {
            let dump = self.fleet.site.dump(instance);
            for (hub, devices) in dump["hubs"].as_object().expect("hubs") {
                for device in devices.as_array().expect("a list") {
                    found.push((instance, hub.clone(), device.clone()));
                }
            }
        }
        found
    }

    /// A device that is back is what it was.
    fn is_back(&mut self, device: usize) {
        let newest = self.fleet.devices[device].leaves.len() - 1;
        let one = &mut self.fleet.devices[device];
        one.is_out = false;
        one.is_pinned = true;
        for leaf in &mut one.leaves[..newest] {
            leaf.is_barred = true;
        }
        let line = one.leaves[0].authority.clone();
        let earlier = std::mem::take(&mut one.before);
        for (instance, was) in earlier {
            let name = &self.fleet.site.instances[instance].name;
            let group = self
                .fleet
                .site
                .run(&format!("dps group show {line} --dps {name}"));
            if group.code != 0 {
                // The group is gone, and the plan has said so.
                continue;
            }
            let now = self.fleet.register(instance, device, newest);
            self.registrations += 1;
            assert_eq!(
                now,
                was,
                "{}\n{}",
                self.fleet.devices[device].id,
                self.typed.join("\n")
            );
        }
    }
}
