//! A batch of renewals: its devices with what their next leaves take over from their last ones.
//!
//! The last leaves are looked up once nobody else may issue to their devices, and go on as a copy, so that
//! the run does not depend on what is recorded meanwhile.

use std::io::{BufWriter, Write as _};

use pki_core::bulk::input::{BadLine, Device, DeviceKey, SoundInput, Tally};
use pki_core::bulk::renewal::{Renewal, last_leaf};
use pki_core::bulk::requests::write_device;
use pki_core::delivery::void_cut_short;
use pki_core::handout::digest::OutputHash;
use pki_core::inventory::{
    BatchRecord, Inventory as _, InventoryEntry, Label, Recorded, RowKey, Status,
};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::counted;

use super::run::BatchRun;
use crate::bad_lines::BadLines;
use crate::batch_input::{Source, rejected};
use crate::error::CommandError;
use crate::render::progress::ProgressLine;
use crate::request_input::Judge;
use crate::spool::{CopyError, PrivateCopy};

/// How the devices of a batch are renewed.
pub(crate) struct Renewals<'a> {
    /// Knows which keys each profile lets in.
    pub(crate) judge: Judge<'a>,
    /// Whether devices that made their own keys get new ones.
    pub(crate) new_keys: bool,
    /// Whether the authority was named: then devices of others come under it.
    pub(crate) moves: bool,
}

/// What was found of the devices of a batch of renewals.
struct Following<'r> {
    run: &'r BatchRun<'r>,
    renewals: &'r Renewals<'r>,
    batch: Label,
    /// What a run left behind that was cut short.
    left: Vec<RowKey>,
    expired: u64,
    revoked: u64,
}

impl BatchRun<'_> {
    /// The devices with their last leaves, and what they hold. Of those that the batch has delivered nothing
    /// is refused any more.
    pub(super) fn follow(
        &self,
        inventory: &mut SqliteInventory,
        batch: Option<&BatchRecord>,
        renewals: &Renewals<'_>,
        total: u64,
    ) -> Result<(Source, SoundInput), CommandError> {
        let context = self.batch.context;
        let delivered = batch.map_or(0, |batch| batch.delivered);
        let mut unfit = BadLines::new(context.ui.is_json())?;
        let mut duplicates = BadLines::new(context.ui.is_json())?;
        let mut tally = Tally::default();
        let mut following = Following {
            run: self,
            renewals,
            batch: self.name()?,
            left: Vec::new(),
            expired: 0,
            revoked: 0,
        };
        let mut line = ProgressLine::new(&context.ui, "devices looked up", total, 0);
        let (copy, ()) = PrivateCopy::make(|file| {
            let mut spool = BufWriter::new(file);
            for (index, device) in (0..).zip(self.source.devices()?) {
                let Ok(device) = device else { continue };
                self.refuse_stopped()?;
                let given = device.clone();
                let device = match following.device(inventory, device)? {
                    Ok(device) => device,
                    Err(bad) if index >= delivered => {
                        unfit.push(bad);
                        continue;
                    }
                    // It is skipped, and no key is made for it.
                    Err(_) => Device {
                        key: DeviceKey::Unchecked(String::new()),
                        ..given
                    },
                };
                tally.count(&device);
                write_device(device, &mut spool).map_err(CopyError)?;
                line.show(index);
            }
            spool.flush().map_err(CopyError)?;
            Ok::<_, CommandError>(())
        })?;
        line.end();
        let source = Source::judged(copy, OutputHash::new().digest(), self.source.to_string());
        let devices = || source.devices().into_iter().flatten();
        let sound = tally.end(devices, &mut |line| duplicates.push(line));
        let Some(checked) = sound.filter(|_| unfit.count() == 0) else {
            return Err(rejected(self.source, unfit, duplicates));
        };
        // Parts of a list are rehearsed, each, before the first is issued; once is enough.
        if self.rehearses == context.settings.dry_run {
            following.tell();
        }
        if !self.rehearses {
            void_cut_short(inventory, &following.left, context.now())?;
        }
        Ok((source, checked))
    }
}

/// Whether it is a leaf that another run left which was cut short. Those of this batch are voided with it.
pub(super) fn is_left(entry: &InventoryEntry, batch: &Label) -> bool {
    entry.recorded.role() == Role::Leaf
        && entry.state.status() == Status::Undelivered
        && entry.recorded.batch() != Some(batch)
}

impl Following<'_> {
    /// A device as its next leaf is to be, or why it cannot be renewed.
    fn device(
        &mut self,
        inventory: &SqliteInventory,
        device: Device,
    ) -> Result<Result<Device, BadLine>, CommandError> {
        let place = device.place.clone();
        let id = device.id.clone();
        let bad = |reason: String| BadLine {
            place,
            value: id.to_string(),
            reason,
        };
        let all = inventory.certificates_of(&device.id)?;
        for entry in &all {
            if is_left(entry, &self.batch) {
                self.left.push(entry.recorded.row());
            }
        }
        let Some(last) = last_leaf(all) else {
            return Ok(Err(bad("the inventory has no leaf of it".to_owned())));
        };
        if let Some(reason) = self.another_authority(&last.recorded) {
            return Ok(Err(bad(reason)));
        }
        let policy = match self.renewals.judge.policy(&device) {
            Ok(policy) => policy,
            Err(bad) => return Ok(Err(bad)),
        };
        let renewal = Renewal {
            policy,
            new_keys: self.renewals.new_keys,
        };
        let kept = if device.key == DeviceKey::New && !renewal.new_keys {
            inventory.request(last.recorded.row())?
        } else {
            None
        };
        let followed = renewal.follow(device, &last, kept.as_deref());
        if followed.is_ok() {
            self.count(&last);
        }
        Ok(followed.map_err(|error| bad(error.to_string())))
    }

    /// Why a device stays out of the batch of an authority that nobody named for it.
    fn another_authority(&self, last: &Recorded) -> Option<String> {
        let authority = &self.run.batch.target.authority;
        if self.renewals.moves {
            return None;
        }
        match last.signed_by() {
            Some(signed_by) if signed_by.name == *authority => None,
            Some(signed_by) => Some(format!(
                "its last leaf is from {}, the first device's from {authority}; for one authority name it with --authority",
                signed_by.name
            )),
            None => Some(
                "its last leaf was signed outside of this home; name an authority with --authority"
                    .to_owned(),
            ),
        }
    }

    fn count(&mut self, last: &InventoryEntry) {
        if last.state.status() == Status::Revoked {
            self.revoked += 1;
        } else if last.recorded.certificate().validity().not_after() < self.run.now {
            self.expired += 1;
        }
    }

    /// Says which of the last leaves do not stay valid.
    fn tell(&self) {
        for (count, what) in [(self.expired, "expired"), (self.revoked, "revoked")] {
            if count > 0 {
                let leaves = counted(count, "last leaf is", "last leaves are");
                self.run.batch.context.ui.note(format!("{leaves} {what}"));
            }
        }
    }
}
