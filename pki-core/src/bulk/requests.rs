//! Requests of devices that made their own keys: judged on all cores, all of them before the first
//! is signed.
//!
//! What was found sound goes into a spool, so that the run that follows neither verifies a signature
//! a second time nor depends on files that may change in between. A device is three parts there, each
//! behind its length: what the input says of it as JSON, its public key and its request as they are,
//! since a spool is read several times.
//! Invariant: a [`ProvenKey`] of a spool was proven by whoever wrote the spool; it must be a file that
//! nobody else can write.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::in_order::in_order;
use super::input::{BadLine, Device, DeviceKey, Place, Tally, beginning};
use crate::alternative_name::AlternativeName;
use crate::csr::{ProvenKey, RequestPolicy, SigningRequest, Stated};
use crate::ids::{LeafName, ProfileName};
use crate::inventory::RowKey;
use crate::time::Span;

/// One device of the input, judged.
pub struct Judged {
    /// The device, its key proven or to be made; or what is wrong with it.
    pub device: Result<Device, BadLine>,
    /// Names of the extensions that its request asks for; none is granted.
    pub asked: Vec<String>,
}

/// What a whole input came to.
#[derive(Debug, Default)]
pub struct Judgement {
    /// How many cannot be used; but for IDs that are there twice.
    pub bad: u64,
    /// What was found sound, counted.
    pub sound: Tally,
    /// The extensions that are asked for and not granted, and by how many requests.
    pub asked: BTreeMap<String, u64>,
}

impl Judged {
    /// A device that needs no judging.
    pub fn sound(device: Device) -> Self {
        Self {
            device: Ok(device),
            asked: Vec::new(),
        }
    }

    /// Something that cannot be used.
    pub fn unusable(bad: BadLine) -> Self {
        Self {
            device: Err(bad),
            asked: Vec::new(),
        }
    }

    /// As [`Self::unusable`], in its parts.
    pub fn bad(place: Place, value: impl Into<String>, reason: impl ToString) -> Self {
        Self::unusable(BadLine {
            place,
            value: beginning(&value.into()),
            reason: reason.to_string(),
        })
    }

    /// Reads a request and judges it; `rest` makes the device of the ID that it is for.
    pub fn request(
        place: &Place,
        der: &[u8],
        stated: Stated<'_>,
        policy: &RequestPolicy,
        rest: impl FnOnce(LeafName) -> Device,
    ) -> Self {
        let value = || stated.id.map(ToString::to_string).unwrap_or_default();
        let request = match SigningRequest::from_der(der) {
            Ok(request) => request,
            Err(error) => return Self::bad(place.clone(), value(), error),
        };
        match policy.admit(&request, stated) {
            Err(error) => Self::bad(place.clone(), value(), error),
            Ok(id) => Self {
                asked: request.requested_extensions(),
                device: Ok(Device {
                    key: DeviceKey::Proven(request.into_proven_key()),
                    ..rest(id)
                }),
            },
        }
    }
}

/// Judges all of an input on `jobs` threads and writes what is sound to the spool, in order. What cannot
/// be used is refused in the order of the input.
///
/// # Errors
/// The spool's.
pub fn judge_all<T: Send>(
    mut items: impl Iterator<Item = T> + Send,
    judge: impl Fn(T) -> Vec<Judged> + Sync,
    jobs: usize,
    spool: &mut impl Write,
    refuse: &mut dyn FnMut(BadLine),
) -> io::Result<Judgement> {
    /// Items that a thread judges before it hands them on: enough for that to cost nothing.
    const PIECE: usize = 256;
    let pieces = std::iter::from_fn(move || {
        let piece: Vec<T> = items.by_ref().take(PIECE).collect();
        (!piece.is_empty()).then_some(piece)
    });
    let mut whole = Judgement::default();
    let worker = || |piece, lines| judge_piece(piece, &judge, lines);
    in_order(pieces, jobs, worker, |piece: io::Result<_>| {
        let Piece {
            lines,
            bad,
            judgement,
        } = piece?;
        spool.write_all(&lines)?;
        whole.add(judgement);
        bad.into_iter().for_each(&mut *refuse);
        Ok(lines)
    })
    .map(|()| whole)
}

impl Judgement {
    /// Adds that of what comes next in the input.
    fn add(&mut self, next: Self) {
        self.bad += next.bad;
        self.sound.add(next.sound);
        for (name, count) in next.asked {
            *self.asked.entry(name).or_default() += count;
        }
    }
}

/// A piece of the input, judged.
struct Piece {
    /// What goes into the spool.
    lines: Vec<u8>,
    bad: Vec<BadLine>,
    judgement: Judgement,
}

/// Judges a piece; what goes into the spool takes the place of what is in `lines`.
fn judge_piece<T>(
    piece: Vec<T>,
    judge: &impl Fn(T) -> Vec<Judged>,
    mut lines: Vec<u8>,
) -> io::Result<Piece> {
    let mut judgement = Judgement::default();
    let mut bad = Vec::new();
    lines.clear();
    for judged in piece.into_iter().flat_map(judge) {
        match judged.device {
            Ok(device) => {
                judgement.sound.count(&device);
                write_device(device, &mut lines)?;
            }
            Err(line) => bad.push(line),
        }
        for name in judged.asked {
            *judgement.asked.entry(name).or_default() += 1;
        }
    }
    judgement.bad = u64::try_from(bad.len()).unwrap_or(u64::MAX);
    Ok(Piece {
        lines,
        bad,
        judgement,
    })
}

/// What the input says of a device, as it stands in a spool.
#[derive(Serialize, Deserialize)]
struct Said {
    place: Place,
    id: LeafName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<ProfileName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    validity: Option<Span>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    alternative_names: Vec<AlternativeName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaces: Option<i64>,
}

/// Appends a device to a spool. One whose key is to be made has empty parts for it.
///
/// # Errors
/// The spool's.
pub fn write_device(device: Device, spool: &mut impl Write) -> io::Result<()> {
    let key = match device.key {
        DeviceKey::Proven(key) => Some(key),
        DeviceKey::New | DeviceKey::Unchecked(_) => None,
    };
    let said = serde_json::to_vec(&Said {
        place: device.place,
        id: device.id,
        profile: device.profile,
        validity: device.validity,
        labels: device.labels,
        alternative_names: device.alternative_names,
        replaces: device.replaces.map(RowKey::number),
    })?;
    let (public_key, request) = key
        .as_ref()
        .map_or_else(Default::default, |key| (key.public_key(), key.request()));
    for part in [&said, public_key, request] {
        let length = u32::try_from(part.len()).map_err(io::Error::other)?;
        spool.write_all(&length.to_le_bytes())?;
        spool.write_all(part)?;
    }
    Ok(())
}

/// Reads a spool from its beginning.
pub struct Spool<R> {
    reader: R,
    said: Vec<u8>,
}

impl<R: BufRead> Spool<R> {
    /// A spool that [`judge_all`] or [`write_device`] wrote.
    pub fn new(reader: R) -> Self {
        let said = Vec::new();
        Self { reader, said }
    }

    fn device(&mut self) -> io::Result<Device> {
        let mut said = std::mem::take(&mut self.said);
        self.part(&mut said)?;
        let read: Said = serde_json::from_slice(&said)?;
        self.said = said;
        let mut public_key = Vec::new();
        let mut request = Vec::new();
        self.part(&mut public_key)?;
        self.part(&mut request)?;
        let key = if public_key.is_empty() {
            DeviceKey::New
        } else {
            DeviceKey::Proven(ProvenKey {
                public_key,
                request,
            })
        };
        Ok(Device {
            profile: read.profile,
            validity: read.validity,
            labels: read.labels,
            alternative_names: read.alternative_names,
            key,
            replaces: read.replaces.map(RowKey::new),
            ..Device::new(read.place, read.id)
        })
    }

    /// Reads the next part in place of what is in `part`.
    fn part(&mut self, part: &mut Vec<u8>) -> io::Result<()> {
        let mut length = [0; 4];
        self.reader.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
        part.clear();
        part.resize(length, 0);
        self.reader.read_exact(part)
    }
}

impl<R: BufRead> Iterator for Spool<R> {
    type Item = Result<Device, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.reader.fill_buf() {
            Ok([]) => None,
            Ok(_) => Some(self.device().map_err(|_| damaged())),
            Err(_) => Some(Err(damaged())),
        }
    }
}

fn damaged() -> BadLine {
    BadLine {
        place: Place::File("the copy of what was checked".into()),
        value: String::new(),
        reason: "it cannot be read any more".into(),
    }
}
