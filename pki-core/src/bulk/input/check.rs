//! The check of an input as a whole: how much there is of what, and that nothing stands there twice.

use std::collections::HashMap;

use super::{BadLine, Device, DeviceKey, Place, bad, digest};
use crate::ids::{LeafName, ProfileName};

/// What an input holds that was found sound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SoundInput {
    /// How many devices there are.
    pub devices: u64,
    /// How many of them get a key that is made here.
    pub new_keys: u64,
    /// How many are to be judged by themselves: [`Device::is_special`].
    pub special: u64,
    /// The least and the greatest of their IDs.
    pub ends: Option<(LeafName, LeafName)>,
    /// The [`digest`]s of their IDs, sorted; empty where nobody had to go through them.
    pub digests: Vec<u128>,
    /// The beginnings of the identities of the keys that they bring, sorted.
    pub keys: Vec<u128>,
}

/// Counts the devices of an input, and finds those whose registration ID, or whose own key, stood there
/// before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    checked: SoundInput,
    digests: Vec<u128>,
    /// Of the keys that devices bring.
    keys: Vec<u128>,
}

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, device: &Device) {
        self.digests.push(digest(&device.id));
        self.keys.extend(key_digest(device));
        self.checked.devices += 1;
        self.checked.new_keys += u64::from(device.key == DeviceKey::New);
        self.checked.special += u64::from(device.is_special());
        self.checked.widen(&device.id);
    }

    /// Adds what others counted.
    pub fn add(&mut self, others: Self) {
        self.digests.extend(others.digests);
        self.keys.extend(others.keys);
        self.checked.add(&others.checked);
    }

    /// What was counted, if no ID is there twice (without regard to case) and no key; else every device
    /// whose ID or key stood there before is refused. `devices` begins at the first that was counted; it
    /// is called only to name duplicates.
    pub fn end<I>(
        mut self,
        devices: impl FnOnce() -> I,
        refuse: &mut dyn FnMut(BadLine),
    ) -> Option<SoundInput>
    where
        I: Iterator<Item = Result<Device, BadLine>>,
    {
        let ids = repeated(&mut self.digests);
        let keys = repeated(&mut self.keys);
        if ids.is_empty() && keys.is_empty() {
            return Some(SoundInput {
                digests: self.digests,
                keys: self.keys,
                ..self.checked
            });
        }
        // They are as many as the duplicates need; those of all devices are not needed any more.
        drop(self.digests);
        drop(self.keys);
        refuse_duplicates(devices().flatten(), ids, keys, refuse);
        None
    }
}

/// Those that are there more than once. Where each stands first is not known yet.
fn repeated(digests: &mut [u128]) -> HashMap<u128, Option<Place>> {
    digests.sort_unstable();
    let twice = digests.windows(2).filter(|pair| pair[0] == pair[1]);
    twice.map(|pair| (pair[0], None)).collect()
}

/// Refuses the devices that stood there before. `ids` and `keys` have the digests of which there are
/// several, and get where each stands first.
fn refuse_duplicates(
    devices: impl Iterator<Item = Device>,
    mut ids: HashMap<u128, Option<Place>>,
    mut keys: HashMap<u128, Option<Place>>,
    refuse: &mut dyn FnMut(BadLine),
) {
    for device in devices {
        let place = &device.place;
        let key = key_digest(&device).and_then(|key| stood_before(&mut keys, key, place));
        let reason = match stood_before(&mut ids, digest(&device.id), place) {
            Some(first) => format!("the same registration ID stands in {first} already"),
            None => match key {
                Some(first) => format!("the request in {first} is for the same key"),
                None => continue,
            },
        };
        refuse(bad(place, device.id.as_str(), reason));
    }
}

/// Where one of several stood before; the first of them is taken note of.
fn stood_before(
    firsts: &mut HashMap<u128, Option<Place>>,
    digest: u128,
    place: &Place,
) -> Option<Place> {
    let first = firsts.get_mut(&digest)?;
    if first.is_none() {
        *first = Some(place.clone());
        return None;
    }
    first.clone()
}

/// As [`digest`], of the key that a device brings.
fn key_digest(device: &Device) -> Option<u128> {
    match &device.key {
        DeviceKey::Proven(key) => Some(key.identity().beginning()),
        DeviceKey::New | DeviceKey::Unchecked(_) => None,
    }
}

impl SoundInput {
    fn add(&mut self, others: &Self) {
        self.devices += others.devices;
        self.new_keys += others.new_keys;
        self.special += others.special;
        if let Some((least, greatest)) = &others.ends {
            self.widen(least);
            self.widen(greatest);
        }
    }

    fn widen(&mut self, id: &LeafName) {
        match &mut self.ends {
            None => self.ends = Some((id.clone(), id.clone())),
            Some((least, _)) if id < least => *least = id.clone(),
            Some((_, greatest)) if id > greatest => *greatest = id.clone(),
            Some(_) => {}
        }
    }
}

/// Goes through the whole input and says what it holds, if all of it can be used. `devices` begins at
/// the start whenever it is called; a second time only to name duplicates.
///
/// Every bad line is refused: unreadable, out of the rules, with an unknown profile; then those with a
/// registration ID that stood there before (without regard to case). Of each kind they come in the order
/// of the input, one by one, so that memory does not grow with their number.
pub fn check<I>(
    devices: impl Fn() -> I,
    profile_is_known: impl Fn(&ProfileName) -> bool,
    refuse: &mut dyn FnMut(BadLine),
) -> Option<SoundInput>
where
    I: Iterator<Item = Result<Device, BadLine>>,
{
    let mut tally = Tally::default();
    let mut is_sound = true;
    for device in devices() {
        match device {
            Err(line) => {
                is_sound = false;
                refuse(line);
            }
            Ok(device) => {
                let unknown = device.profile.as_ref();
                if let Some(profile) = unknown.filter(|profile| !profile_is_known(profile)) {
                    is_sound = false;
                    refuse(unknown_profile(&device.place, profile));
                }
                tally.count(&device);
            }
        }
    }
    tally.end(devices, refuse).filter(|_| is_sound)
}

/// What is wrong with a device whose profile nobody declared.
pub fn unknown_profile(place: &Place, profile: &ProfileName) -> BadLine {
    let reason = "pki.toml declares no such profile".to_owned();
    bad(place, profile.as_str(), reason)
}
