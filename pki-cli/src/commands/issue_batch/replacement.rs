//! A batch that was lost: its leaves are withdrawn, and its devices get others under its name.
//!
//! Which leaves they are is found before the run; that none of their devices got another one meanwhile is
//! looked at once nobody else may issue to them. The inventory withdraws and begins anew in one transaction.

use pki_core::bulk::renewal::last_leaf;
use pki_core::delivery::void_cut_short;
use pki_core::inventory::{Inventory as _, Label, LostLeaves, RowKey};
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::counted;

use super::renewals::is_left;
use super::run::BatchRun;
use crate::error::CommandError;

/// What is replaced.
pub(crate) struct Replacement {
    pub(crate) batch: Label,
    /// What becomes of the lost leaves, in a word.
    pub(crate) fate: &'static str,
    /// The leaves that are withdrawn; none once a run has begun anew.
    pub(crate) lost: Vec<LostLeaves>,
}

impl Replacement {
    /// What tells this replacement from others of the same batch, besides where it goes.
    pub(super) fn fingerprint(&self) -> String {
        format!("{} {}", self.fate, self.batch)
    }

    pub(super) fn question(&self) -> String {
        let count: usize = self.lost.iter().map(|leaves| leaves.rows.len()).sum();
        let leaves = counted(count, "leaf", "leaves");
        let fate = self.fate;
        format!(
            "{fate} {leaves} of batch {}, and issue them anew?",
            self.batch
        )
    }

    fn is_begun(&self) -> bool {
        self.lost.is_empty()
    }
}

impl BatchRun<'_> {
    /// Voids what runs left of the devices that were cut short, and refuses devices that got another leaf
    /// since the lost ones were found.
    pub(super) fn settle(
        &self,
        inventory: &mut SqliteInventory,
        replacement: &Replacement,
    ) -> Result<(), CommandError> {
        let context = self.batch.context;
        let mut left: Vec<RowKey> = Vec::new();
        let mut served = Vec::new();
        for device in self.source.devices()?.filter_map(Result::ok) {
            self.refuse_stopped()?;
            let all = inventory.certificates_of(&device.id)?;
            let of_others = all
                .iter()
                .filter(|entry| is_left(entry, &replacement.batch));
            left.extend(of_others.map(|entry| entry.recorded.row()));
            let last = last_leaf(all).map(|last| last.recorded.row());
            if last != device.replaces && !replacement.is_begun() {
                served.push(device.id);
            }
        }
        if let Some(first) = served.first() {
            let devices = counted(served.len(), "device", "devices");
            let batch = &replacement.batch;
            let message = format!(
                "batch {batch}: {devices} got another leaf meanwhile, {first} the first; nothing was issued"
            );
            let hint = format!("another run may have replaced it: dps-pki batch show {batch}");
            return Err(CommandError::refused(message).hint(hint));
        }
        if !self.rehearses {
            void_cut_short(inventory, &left, context.now())?;
        }
        Ok(())
    }
}
