//! Whether a batch can be issued, judged as a whole before the first key is made.
//!
//! A dry run ends here; a run that is gone on with comes by again, since clock and `pki.toml` went on
//! meanwhile.
//! Invariant: no file is written here, and nothing to the inventory but that a leaf is void which a run
//! left that was cut short.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};

use pki_core::bulk::input::{BadLine, Device, SoundInput, brought_keys};
use pki_core::bulk::{LeafTerms, Rehearsal};
use pki_core::delivery;
use pki_core::ids::RegistrationId;
use pki_core::inventory::{
    BatchRecord, BatchState, Filter, Inventory as _, InventoryError, KeyHolder, Status,
};
use pki_core::key::software::SoftwareKeyGenerator;
use pki_core::sqlite::SqliteInventory;
use pki_core::time::Time;

use super::Purpose;
use super::run::BatchRun;
use crate::bad_lines::BadLines;
use crate::batch_input::rejected;
use crate::batch_output::{LIST, check_manifest_name, check_name, check_no_part};
use crate::error::{CommandError, ErrorKind};

/// Devices that are looked up at once.
const CHUNK: usize = 1000;

/// What of the devices is looked for in the inventory.
struct Known<'i> {
    inventory: &'i mut SqliteInventory,
    /// Whether they have leaves already.
    ids: bool,
    /// Whether the keys that they bring are known.
    keys: bool,
}

impl BatchRun<'_> {
    /// Judges a batch that is to be opened now: its name, its places, and every leaf.
    pub(super) fn judge_new(
        &self,
        inventory: &mut SqliteInventory,
        checked: &SoundInput,
    ) -> Result<(), CommandError> {
        self.judge_name(inventory)?;
        self.check_places()?;
        // The key belongs to the certificate, and that may sign.
        self.authority.signing()?;
        self.judge_usual(self.now)?;
        let may_be_known = match &checked.ends {
            // Otherwise it is known which leaf each device has.
            Some((least, greatest)) if matches!(self.batch.purpose, Purpose::Issue) => {
                inventory.any_id_between(least, greatest)?
            }
            _ => false,
        };
        let knows_keys = inventory.any_key(&checked.keys)?;
        if may_be_known || knows_keys || checked.special > 0 {
            let mut known = Known {
                inventory,
                ids: may_be_known,
                keys: knows_keys,
            };
            self.judge_each(&mut known, self.now, 0)?;
        }
        Ok(())
    }

    /// Refuses the name of another batch, and to replace one that goes on.
    fn judge_name(&self, inventory: &SqliteInventory) -> Result<(), CommandError> {
        let name = self.name()?;
        let Some(batch) = inventory.batch(&name)? else {
            return Ok(());
        };
        if !matches!(self.batch.purpose, Purpose::Replace(_)) {
            return Err(InventoryError::BatchExists { batch: name }.into());
        }
        if batch.state == BatchState::Complete {
            return Ok(());
        }
        let message = format!(
            "batch {name} is being replaced already, {} of {} in {}",
            batch.delivered, batch.total, batch.output
        );
        Err(CommandError::refused(message).hint("the command that began it goes on"))
    }

    /// Judges what is left of a batch that was opened earlier: its leaves begin when it was opened.
    pub(super) fn judge_rest(
        &self,
        inventory: &mut SqliteInventory,
        batch: &BatchRecord,
        checked: &SoundInput,
    ) -> Result<(), CommandError> {
        if batch.delivered == batch.total {
            return Ok(());
        }
        self.check_out()?;
        self.authority.signing()?;
        let begin = batch.started_at;
        let mut judged = self.judge_usual(begin);
        let knows_keys = inventory.any_key(&checked.keys)?;
        if judged.is_ok() && (knows_keys || checked.special > 0) {
            let mut known = Known {
                inventory,
                ids: false,
                keys: knows_keys,
            };
            judged = self.judge_each(&mut known, begin, batch.delivered);
        }
        judged.map_err(|error| {
            error.hint(format!(
                "its leaves begin on {begin}, when the batch was opened; what is left of it goes into \
                 another one, with --batch and --out"
            ))
        })
    }

    /// Refuses to call a batch complete whose output is not where it was delivered to: its keys were
    /// nowhere else.
    pub(super) fn check_output_is_here(
        &self,
        inventory: &SqliteInventory,
        batch: &BatchRecord,
    ) -> Result<(), CommandError> {
        let has_live = self.has_live_leaf(inventory, batch)?;
        if !has_live {
            let name = &batch.name;
            let warning = format!("no leaf of batch {name} is valid any more");
            self.batch.context.ui.warning(warning);
        }
        let manifest = batch.manifest.as_deref().unwrap_or_default();
        let manifest: serde_json::Value = serde_json::from_str(manifest).unwrap_or_default();
        let octets = manifest["outputOctets"].as_u64();
        let problem = match (self.octets_here(), octets) {
            _ if self.batch.to_stdout() => "is written to standard output once only".to_owned(),
            (Some(octets), Some(delivered)) if octets == delivered => return Ok(()),
            (Some(octets), Some(delivered)) => {
                format!("is another one: it has {octets} bytes, not {delivered}")
            }
            _ => "is not here any more".to_owned(),
        };
        let name = &batch.name;
        let out = self.batch.target.out.display();
        let digest = manifest["outputSha256"].as_str().unwrap_or("unknown");
        let missing = CommandError::not_found(format!(
            "batch {name} is complete, but its output {out} {problem}"
        ))
        .hint(format!(
            "its keys cannot be made again: find where it was moved to, by its SHA-256 {digest}"
        ));
        let anew =
            "the same command with --batch ANOTHER-NAME and another --out issues for them anew";
        Err(if has_live {
            missing.hint(format!(
                "if it is lost: dps-pki batch replace {name} --leaves void or revoke, and another --out"
            ))
        } else {
            missing.hint(anew)
        })
    }

    /// How long the stream is that was delivered, or the list of a folder, if it is there.
    fn octets_here(&self) -> Option<u64> {
        let out = self.batch.context.files.resolve(&self.batch.target.out);
        let stream = if self.batch.format.is_folder() {
            out.join(LIST)
        } else {
            out
        };
        let found = std::fs::metadata(stream).ok()?;
        found.is_file().then_some(found.len())
    }

    fn has_live_leaf(
        &self,
        inventory: &SqliteInventory,
        batch: &BatchRecord,
    ) -> Result<bool, CommandError> {
        let filter = Filter {
            batch: Some(batch.name.clone()),
            status: Some(Status::Delivered),
            ..Filter::default()
        };
        Ok(!inventory.list(&filter, None, 1)?.entries.is_empty())
    }

    /// Refuses places that no output may have, before a lock is put beside them.
    pub(super) fn keep_off_homes(&self) -> Result<(), CommandError> {
        let files = &self.batch.context.files;
        if !self.batch.to_stdout() {
            files.keep_off_homes(&self.batch.target.out)?;
            check_name(&self.batch.target.out)?;
        }
        match self.batch.manifest_path() {
            Some(manifest) => {
                files.keep_off_homes(&manifest)?;
                check_manifest_name(&manifest)
            }
            None => Ok(()),
        }
    }

    fn check_places(&self) -> Result<(), CommandError> {
        self.check_out()?;
        if !self.batch.to_stdout() {
            let out = &self.batch.target.out;
            check_no_part(&self.batch.context.files.resolve(out), out)?;
        }
        match self.batch.manifest_path() {
            Some(manifest) => self.batch.context.files.check_output(&manifest),
            None => Ok(()),
        }
    }

    fn check_out(&self) -> Result<(), CommandError> {
        let files = &self.batch.context.files;
        let out: &Path = &self.batch.target.out;
        if self.batch.to_stdout() {
            return Ok(());
        }
        if self.batch.format.is_folder() {
            files.check_new_folder(out)?;
        }
        files.check_output(out)
    }

    /// Judges the leaf that most devices get. Told once, and not for every device.
    fn judge_usual(&self, begin: Time) -> Result<(), CommandError> {
        let first = self.source.devices()?.find_map(Result::ok);
        let Some(device) = first else {
            return Ok(());
        };
        let usual = Device::new(device.place, device.id);
        let terms = self.terms_of(&usual, begin)?;
        match self.problem(&mut self.rehearsal()?, &usual, &terms) {
            None => Ok(()),
            Some(reason) => Err(CommandError::refused(format!(
                "no leaf of profile {} can be issued: {reason}",
                self.batch.target.profile
            ))),
        }
    }

    /// Judges the devices behind the first `skip`, those that the inventory knows among them.
    fn judge_each(
        &self,
        known: &mut Known<'_>,
        begin: Time,
        skip: u64,
    ) -> Result<(), CommandError> {
        let context = self.batch.context;
        let mut unfit = BadLines::new(context.ui.is_json())?;
        let jobs = self.batch.options.jobs().max(1);
        let rehearsals: Result<Vec<Rehearsal>, _> = (0..jobs).map(|_| self.rehearsal()).collect();
        let mut rehearsals = rehearsals?;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let devices = self.source.devices()?.skip(skip);
        let mut devices = devices.filter_map(Result::ok).peekable();
        while devices.peek().is_some() {
            self.refuse_stopped()?;
            let chunk: Vec<Device> = devices.by_ref().take(CHUNK).collect();
            let live = if known.ids {
                self.live(known.inventory, &chunk)?
            } else {
                BTreeSet::new()
            };
            let keys = if known.keys {
                self.known_keys(known.inventory, &chunk)?
            } else {
                BTreeMap::new()
            };
            let refusals = self.refusals(&mut rehearsals, &chunk, begin);
            for (device, refusal) in chunk.into_iter().zip(refusals) {
                let reason = match refusal {
                    None if live.contains(&*device.id) => "it has a valid leaf already".to_owned(),
                    None => match keys.get(&*device.id) {
                        Some(holder) => holder.reason(),
                        None => continue,
                    },
                    Some(reason) => reason,
                };
                unfit.push(BadLine {
                    place: device.place,
                    value: device.id.to_string(),
                    reason,
                });
            }
        }
        if unfit.count() == 0 {
            return Ok(());
        }
        let others = BadLines::new(context.ui.is_json())?;
        Err(rejected(self.source, unfit, others))
    }

    /// Those of a chunk that have a leaf. A run voids what one left that was cut short; a dry run leaves it.
    fn live(
        &self,
        inventory: &mut SqliteInventory,
        chunk: &[Device],
    ) -> Result<BTreeSet<RegistrationId>, CommandError> {
        let mut ids: Vec<RegistrationId> =
            chunk.iter().map(|device| (*device.id).clone()).collect();
        ids.sort();
        if self.rehearses {
            return Ok(delivery::served_among(inventory, &ids, self.now)?);
        }
        let now = self.batch.context.now();
        Ok(delivery::resume_all(inventory, &ids, now)?)
    }

    /// Those of a chunk that bring a key which is another device's, or was compromised.
    fn known_keys(
        &self,
        inventory: &SqliteInventory,
        chunk: &[Device],
    ) -> Result<BTreeMap<RegistrationId, KeyHolder>, CommandError> {
        let holders = inventory.key_holders(&brought_keys(chunk), self.now)?;
        Ok(holders
            .into_iter()
            .map(|holder| (holder.id.clone(), holder))
            .collect())
    }

    /// As [`Self::refusal`], of a chunk on all cores.
    fn refusals(
        &self,
        rehearsals: &mut [Rehearsal],
        chunk: &[Device],
        begin: Time,
    ) -> Vec<Option<String>> {
        let share = chunk.len().div_ceil(rehearsals.len()).max(1);
        thread::scope(|scope| {
            let shares = chunk.chunks(share).zip(rehearsals);
            let judging = shares.map(|(devices, rehearsal)| {
                scope.spawn(move || {
                    let refusal = |device| self.refusal(rehearsal, device, begin);
                    devices.iter().map(refusal).collect::<Vec<_>>()
                })
            });
            // All are begun before the first is waited for.
            let judging: Vec<_> = judging.collect();
            let judged = judging.into_iter().map(ScopedJoinHandle::join);
            judged
                .flat_map(|share| share.unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        })
    }

    /// Why the leaf of a device would be refused whose line says something of it.
    fn refusal(&self, rehearsal: &mut Rehearsal, device: &Device, begin: Time) -> Option<String> {
        if !device.is_special() {
            return None;
        }
        match self.terms_of(device, begin) {
            Err(error) => Some(error.to_string()),
            Ok(terms) => self.problem(rehearsal, device, &terms),
        }
    }

    /// Why a leaf would be refused, if so.
    fn problem(
        &self,
        rehearsal: &mut Rehearsal,
        device: &Device,
        terms: &LeafTerms,
    ) -> Option<String> {
        let end = terms.validity.not_after();
        let authority = self.authority.certificate().validity().not_after();
        if end > authority {
            return Some(format!(
                "it would be valid until {end}, its authority only until {authority}"
            ));
        }
        if end <= self.now {
            return Some(format!("it would have ended already, on {end}"));
        }
        let judged = rehearsal.judge(device, terms);
        judged.err().map(|error| error.to_string())
    }

    /// Ends what only looks when Ctrl-C was pressed.
    pub(super) fn refuse_stopped(&self) -> Result<(), CommandError> {
        if self.is_stopped() {
            let interrupted = CommandError::new(ErrorKind::Interrupted, "interrupted");
            return Err(interrupted.hint("nothing was issued; run it again"));
        }
        Ok(())
    }

    fn rehearsal(&self) -> Result<Rehearsal, CommandError> {
        let issuer = self.authority.issuer();
        Ok(Rehearsal::new(issuer, self.now, &SoftwareKeyGenerator)?)
    }
}
