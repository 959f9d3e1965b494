//! What may happen to whom while an operation is carried out, and what must have happened when it is done.

use std::collections::{BTreeMap, BTreeSet};

use crate::walks::operation::{Operation, goes, lived, newest};
use crate::walks::pki::{LeafKey, Pki, Signer};
use crate::walks::world::{Admitted, World};

/// An operation that is being carried out, and who was admitted before.
pub(crate) struct Watch<'a> {
    operation: &'a Operation,
    before: Admitted,
    /// The generations that are meant.
    meant: Vec<Signer>,
    /// Who is on a hub and is to leave it.
    leaving: Vec<(usize, usize)>,
    /// The instances in which something was written that decides about devices.
    pub(crate) written: BTreeSet<usize>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(operation: &'a Operation, world: &World) -> Self {
        let meant = match operation {
            Operation::Breach { old, .. } => {
                // What was compromised before is kept out anew, if somebody has let it in.
                let lived = lived(world, old.authority).into_iter();
                let meant = lived.filter(|one| one == old || world.is_compromised(*one));
                meant.collect()
            }
            Operation::QuarantineAuthority { authority, .. } => lived(world, *authority),
            other => other.gone(world),
        };
        let leaving = match operation {
            Operation::Breach { old, .. } => (0..world.instances.len())
                .flat_map(|place| {
                    let hit = world.registered_below(place, *old).into_iter();
                    hit.map(move |(device, _)| (place, device))
                })
                .filter_map(|(place, device)| {
                    Some((world.instances[place].registered.get(&device)?.0, device))
                })
                .collect(),
            Operation::Quarantine { devices, .. } => (world.hubs.keys().copied())
                .filter(|(_, device)| devices.contains(device))
                .collect(),
            Operation::Deprovision { device, .. } => (world.hubs.keys().copied())
                .filter(|(_, one)| one == device)
                .collect(),
            _ => vec![],
        };
        Self {
            operation,
            before: world.admitted(),
            meant,
            leaving,
            written: BTreeSet::new(),
        }
    }

    /// What is wrong after a write.
    pub(crate) fn judge(&self, world: &World, is_done: bool) -> Result<Admitted, String> {
        let now = world.admitted();
        for ((place, leaf), was_in) in &self.before {
            let is_in = now[&(*place, *leaf)];
            if let Some(wrong) = self.wrong(world, *place, *leaf, (*was_in, is_in), is_done) {
                return Err(format!("{leaf:?} in dps-{place}: {wrong}"));
            }
        }
        if let Operation::Finish { accept: false, .. } = self.operation {
            self.nobody_is_stranded(world, &now)?;
        }
        if is_done {
            self.nobody_is_left_on_a_hub(world)?;
        }
        Ok(now)
    }

    fn wrong(
        &self,
        world: &World,
        place: usize,
        leaf: LeafKey,
        (was_in, is_in): (bool, bool),
        is_done: bool,
    ) -> Option<&'static str> {
        let has_entry = world.entry(place, leaf.device).is_some();
        let comes_in = !was_in && is_in;
        let unchanged = || (was_in != is_in).then_some("is not meant, and changed");
        let is_of = |device: usize, at: usize| leaf.device == device && place == at;
        match self.operation {
            Operation::Start { .. } => {
                if goes(&leaf, &self.meant) {
                    (was_in && !is_in).then_some("is refused though its generation comes")
                } else {
                    unchanged()
                }
            }
            Operation::Finish { .. } | Operation::Abort { .. } => {
                if goes(&leaf, &self.meant) {
                    comes_in.then_some("comes in though its generation goes")
                } else {
                    unchanged()
                }
            }
            Operation::Breach { old, .. } => {
                let is_direct = leaf.signer == *old;
                let is_cut = is_done || self.written.contains(&place);
                if is_direct && !has_entry && is_cut && is_in {
                    Some("is compromised, and admitted")
                } else if goes(&leaf, &self.meant) {
                    comes_in.then_some("comes in below a compromised generation")
                } else if leaf.signer == newest(world, old.authority) {
                    (was_in && !is_in).then_some("is of the generation that comes, and refused")
                } else {
                    unchanged()
                }
            }
            Operation::QuarantineAuthority { place: at, .. } => {
                if place != *at || !goes(&leaf, &self.meant) {
                    unchanged()
                } else if is_done && is_in && !has_entry {
                    Some("is not shut out")
                } else {
                    comes_in.then_some("comes in by a quarantine")
                }
            }
            Operation::Quarantine {
                place: at, devices, ..
            } => {
                if place != *at || !devices.contains(&leaf.device) {
                    unchanged()
                } else if is_done && is_in {
                    Some("is not shut out")
                } else {
                    comes_in.then_some("comes in by a quarantine")
                }
            }
            Operation::Readmit {
                place: at,
                device,
                leaf: new,
            } => {
                if !is_of(*device, *at) {
                    unchanged()
                } else if leaf == *new {
                    (is_done && !is_in).then_some("is not let back in")
                } else {
                    (comes_in || (is_done && is_in)).then_some("is an old leaf, and admitted")
                }
            }
            Operation::Deprovision { place: at, device } => {
                if !is_of(*device, *at) {
                    unchanged()
                } else {
                    (comes_in || (is_done && is_in)).then_some("has left, and is admitted")
                }
            }
            Operation::DeprovisionGroup { place: at, .. } => {
                if place == *at {
                    comes_in.then_some("comes in because a group has left")
                } else {
                    unchanged()
                }
            }
            Operation::StartDevice {
                place: at,
                device,
                leaf: new,
            } => {
                if is_of(*device, *at) && leaf == *new {
                    (was_in && !is_in).then_some("is the new leaf, and refused")
                } else {
                    unchanged()
                }
            }
            Operation::Converge { place: at, .. } => {
                if place != *at {
                    unchanged()
                } else if world.is_compromised(leaf.signer) {
                    (comes_in && !has_entry).then_some("is compromised, and comes in")
                } else {
                    (comes_in && has_entry).then_some("comes in by an entry of its own")
                }
            }
            Operation::FinishDevice {
                place: at,
                device,
                leaf: stays,
            }
            | Operation::AbortDevice {
                place: at,
                device,
                leaf: stays,
            } => {
                if is_of(*device, *at) && leaf != *stays {
                    comes_in.then_some("comes in though it goes")
                } else {
                    unchanged()
                }
            }
            Operation::ReplaceDevice {
                place: at,
                device,
                leaf: new,
                ..
            } => {
                if !is_of(*device, *at) {
                    unchanged()
                } else if leaf == *new {
                    (was_in && !is_in).then_some("is the new leaf, and refused")
                } else {
                    (comes_in || is_in).then_some("was compromised, and is admitted")
                }
            }
        }
    }

    /// Whoever had a live leaf that was admitted still has one.
    fn nobody_is_stranded(&self, world: &World, now: &Admitted) -> Result<(), String> {
        let by_device = |admitted: &Admitted| {
            let mut by_device: BTreeMap<(usize, usize), bool> = BTreeMap::new();
            for ((place, leaf), is_in) in admitted {
                let is_live = world.live(leaf.device).any(|live| live == *leaf);
                *by_device.entry((*place, leaf.device)).or_default() |= *is_in && is_live;
            }
            by_device
        };
        let after = by_device(now);
        let mut before = by_device(&self.before).into_iter();
        match before.find(|(key, was_in)| *was_in && !after[key]) {
            None => Ok(()),
            Some(((place, device), _)) => {
                Err(format!("device {device} is stranded in dps-{place}"))
            }
        }
    }

    fn nobody_is_left_on_a_hub(&self, world: &World) -> Result<(), String> {
        let mut leaving = self.leaving.iter();
        match leaving.find(|on| world.hubs.get(on) == Some(&true)) {
            None => Ok(()),
            Some((hub, device)) => Err(format!("device {device} is left on hub {hub}")),
        }
    }
}

/// Nobody below a generation that was replaced because it was compromised gets in again, whatever happens to
/// other groups.
pub(crate) fn burnt_stay_out(
    world: &World,
    burnt: &BTreeSet<(usize, Signer)>,
    admitted: &Admitted,
) -> Result<(), String> {
    let mut admitted = admitted.iter().filter(|(_, is_in)| **is_in);
    let is_burnt = |place: usize, leaf: &LeafKey| {
        burnt.contains(&(place, leaf.signer)) && world.entry(place, leaf.device).is_none()
    };
    match admitted.find(|((place, leaf), _)| is_burnt(*place, leaf)) {
        None => Ok(()),
        Some(((place, leaf), _)) => Err(format!(
            "{leaf:?} of {} was shut out for good, and is admitted in dps-{place}",
            Pki::id(leaf.signer)
        )),
    }
}
