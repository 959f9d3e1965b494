//! What an operation asks for: its words, whom it may take out or let in, and who must be out in the end.

use std::collections::BTreeSet;

use super::{Admission, Operation, Walk};

/// Which leaves an operation may take out, and which it may let in.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) out: BTreeSet<(usize, usize)>,
    pub(super) inside: BTreeSet<(usize, usize)>,
    /// These must be out when it has ended.
    pub(super) must: BTreeSet<(usize, usize)>,
}

impl Walk {
    /// The words of an operation, and what it may do; `None` if it means nothing here.
    pub(super) fn prepare(
        &mut self,
        operation: &Operation,
        before: &Admission,
    ) -> Option<(String, Asked)> {
        Some(match operation {
            Operation::Quarantine(numbers, hub) => {
                let devices: BTreeSet<usize> =
                    numbers.iter().map(|number| self.device(*number)).collect();
                self.remember(&devices, before);
                let leaves = self.of_devices(&devices);
                let asked = Asked {
                    out: leaves.clone(),
                    must: leaves,
                    ..Asked::default()
                };
                (
                    format!(
                        "quarantine {} --reason stolen --hub {hub} --yes",
                        self.ids(&devices)
                    ),
                    asked,
                )
            }
            Operation::Deprovision(numbers) => {
                let devices: BTreeSet<usize> =
                    numbers.iter().map(|number| self.device(*number)).collect();
                let leaves = self.of_devices(&devices);
                let asked = Asked {
                    out: leaves.clone(),
                    must: leaves,
                    ..Asked::default()
                };
                (format!("deprovision {} --yes", self.ids(&devices)), asked)
            }
            Operation::QuarantineAuthority(number) => {
                let authority = self.line(*number);
                self.connecting = self.connecting();
                let leaves = self.below(&authority, |_| true);
                let must = self.without_pinned(&leaves);
                let asked = Asked {
                    out: leaves,
                    must,
                    ..Asked::default()
                };
                (format!("quarantine --authority {authority} --yes"), asked)
            }
            Operation::DeprovisionGroup(number) => {
                let group = self.group(*number);
                self.leaving = self.held_by(&group);
                let must = self.of_members(&group);
                // Whoever is back by an entry that is pinned leaves with the group that holds its chain.
                let mut out = must.clone();
                out.extend(self.leaves().into_iter().filter(|(device, leaf)| {
                    let one = &self.fleet.devices[*device];
                    one.is_pinned && (group == "top" || one.leaves[*leaf].authority == group)
                }));
                let asked = Asked {
                    out,
                    must,
                    ..Asked::default()
                };
                (format!("deprovision --group {group} --yes"), asked)
            }
            Operation::Readmit(number) => {
                let device = self.device(*number);
                if !self.fleet.devices[device].is_out {
                    return None;
                }
                self.renew(device);
                let leaf = self.fleet.devices[device].leaves.len() - 1;
                let id = &self.fleet.devices[device].id;
                let files = &self.fleet.devices[device].leaves[leaf].files;
                let line = format!("readmit {id} --cert {files}/{id}.cert.pem --yes");
                let inside = [(device, leaf)].into();
                (
                    line,
                    Asked {
                        inside,
                        ..Asked::default()
                    },
                )
            }
            Operation::Renew(number) => {
                let device = self.device(*number);
                self.renew(device);
                return None;
            }
            Operation::RenewAll(number) => {
                let line = self.line(*number);
                let of_line =
                    |device: &usize| self.fleet.devices[*device].leaves[0].authority == line;
                let devices: Vec<usize> = (0..self.fleet.devices.len()).filter(of_line).collect();
                devices.into_iter().for_each(|device| self.renew(device));
                return None;
            }
            Operation::RollStart(number) => (
                format!("roll start {} --yes", self.line(*number)),
                Asked::default(),
            ),
            Operation::RollAbort(number) => (
                format!("roll abort {} --yes", self.line(*number)),
                Asked::default(),
            ),
            Operation::RollFinish(number) => {
                let authority = self.line(*number);
                let newest = self
                    .generations(&authority)
                    .last()
                    .map_or(1, |(number, _)| *number);
                let mut old = self.below(&authority, |generation| generation < newest);
                // Who shows an old leaf is still on it.
                old.retain(|(device, leaf)| {
                    let shown = &self.fleet.devices[*device].last_shown;
                    !shown.values().any(|last| last == leaf)
                });
                (
                    format!("roll finish {authority} --yes"),
                    Asked {
                        out: old,
                        ..Asked::default()
                    },
                )
            }
            Operation::RollCompromised(number) => {
                let authority = self.line(*number);
                let compromised = self.newest_in_state(&authority, &["current"])?;
                let leaves = self.below(&authority, |generation| generation == compromised);
                // One that was replaced already is not replaced again, but by its number.
                let is_replaced = self.newest_in_state(&authority, &["compromised"]).is_some();
                let newcomer = self.newest_in_state(&authority, &["next", "pending"]);
                let is_again = is_replaced && newcomer.is_none();
                let named = if is_replaced && newcomer.is_some() {
                    format!(" --generation {compromised}")
                } else {
                    String::new()
                };
                let must = if is_again {
                    BTreeSet::new()
                } else {
                    self.without_pinned(&leaves)
                };
                (
                    format!("roll start {authority} --compromised{named} --yes"),
                    Asked {
                        out: leaves,
                        must,
                        ..Asked::default()
                    },
                )
            }
            Operation::RollRoot => {
                let line = match self.newest_in_state("root", &["next"]) {
                    None => "roll start root --yes",
                    Some(_) => "roll finish root --with-intermediates --yes",
                };
                (line.to_owned(), Asked::default())
            }
            Operation::Apply { prune } => {
                let name = &self.fleet.site.instances[0].name;
                let prune = if *prune { " --prune" } else { "" };
                (format!("apply{prune} --dps {name} --yes"), Asked::default())
            }
            Operation::GroupDisable(number) => {
                let group = self.group(*number);
                let asked = Asked {
                    out: self.of_group(&group),
                    ..Asked::default()
                };
                let name = &self.fleet.site.instances[0].name;
                (
                    format!("dps group disable {group} --dps {name} --yes"),
                    asked,
                )
            }
            Operation::GroupEnable(_) => {
                let group = self.disabled.first()?.clone();
                let mut inside = self.of_group(&group);
                inside.retain(|(device, leaf)| {
                    let one = &self.fleet.devices[*device];
                    !one.is_out && !one.leaves[*leaf].is_barred
                });
                let name = &self.fleet.site.instances[0].name;
                let line = format!("dps group enable {group} --dps {name} --yes");
                (
                    line,
                    Asked {
                        inside,
                        ..Asked::default()
                    },
                )
            }
        })
    }

    pub(super) fn ids(&self, devices: &BTreeSet<usize>) -> String {
        let ids = devices
            .iter()
            .map(|device| self.fleet.devices[*device].id.as_str());
        ids.collect::<Vec<_>>().join(" ")
    }

    /// A device with an individual enrollment of its own is decided about by that.
    pub(super) fn without_pinned(
        &self,
        leaves: &BTreeSet<(usize, usize)>,
    ) -> BTreeSet<(usize, usize)> {
        let mut leaves = leaves.clone();
        leaves.retain(|(device, _)| !self.fleet.devices[*device].is_pinned);
        leaves
    }

    /// What devices are by their groups, to be compared when they are back.
    pub(super) fn remember(&mut self, devices: &BTreeSet<usize>, before: &Admission) {
        for device in devices {
            let one = &mut self.fleet.devices[*device];
            if one.is_out || one.is_pinned {
                continue;
            }
            one.before.clear();
            for ((instance, other, _), result) in before {
                if other == device && result.registered.is_in() {
                    one.before.insert(*instance, result.clone());
                }
            }
        }
    }

    pub(super) fn renew(&mut self, device: usize) {
        let folder = self.fleet.folder();
        let id = self.fleet.devices[device].id.clone();
        self.fleet.site.pass();
        let line = format!("renew {id} --new-key --out {folder}");
        let run = self.fleet.site.done(&line);
        self.typed.push(format!("{}   # {}", run.line, run.code));
        let leaf = self.fleet.newest(&id, &folder);
        self.fleet.devices[device].leaves.push(leaf);
    }
}
