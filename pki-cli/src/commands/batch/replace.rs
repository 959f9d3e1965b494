//! `batch replace`: the leaves of a batch that was lost are withdrawn, and issued anew under its name.
//!
//! Its devices are known by their leaves: what these say of names, labels, length and keys is what the new
//! ones say. A device that has got a later leaf since gets none, but what was lost is revoked if the others are.

use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use clap::ValueEnum as _;
use pki_core::bulk::input::{Device, DeviceKey, Place, Tally};
use pki_core::bulk::renewal::{Renewal, last_leaf};
use pki_core::bulk::requests::{Judgement, write_device};
use pki_core::crl::RevocationReason;
use pki_core::csr::RequestPolicy;
use pki_core::declaration::Declaration;
use pki_core::handout::digest::OutputHash;
use pki_core::ids::{AuthorityName, LeafName, ProfileName, RegistrationId};
use pki_core::inventory::{
    BatchRecord, BatchState, CertificateState, Filter, Inventory as _, InventoryEntry, Label,
    LostLeaves, Page, RowKey, Status, Withdrawal,
};
use pki_core::sqlite::SqliteInventory;
use pki_core::time::{Span, Validity};
use pki_core::wording::counted;

use super::super::issue::{Target, profile_named};
use super::super::issue_batch::{Batch, BatchOptions, Format, KeyArgs, Purpose, Replacement};
use super::{not_found, parsed};
use crate::bad_lines::BadLines;
use crate::batch_input::{Input, Source};
use crate::config::NAMED;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::request_input::policy;
use crate::spool::{CopyError, PrivateCopy};

/// Withdraw the leaves of a batch that was lost, and issue them anew under its name
#[derive(clap::Args)]
#[command(after_help = "\
DPS and IoT Hub consult no CRL: what keeps out whoever may have keys of the lost batch is a
quarantine of its devices, until they have their new leaves.

Examples:
  dps-pki batch replace line-7 --leaves void --out line-7-again.ndjson --plain-keys --dry-run
  dps-pki batch replace line-7 --leaves revoke --out line-7-again.ndjson --plain-keys --yes")]
pub(super) struct ReplaceArgs {
    /// Its name
    #[arg(id = "lost_batch", value_name = "NAME")]
    name: Label,

    /// What becomes of the leaves that were lost
    #[arg(long, value_enum)]
    leaves: Fate,

    /// Which authority signs [default: the one that signed the batch]
    #[arg(long)]
    authority: Option<AuthorityName>,

    /// Which profile of pki.toml the leaves have [default: the batch's]
    #[arg(long)]
    profile: Option<ProfileName>,

    /// The file or folder to write to, or - for standard output
    #[arg(long, value_name = "PATH")]
    out: PathBuf,

    #[command(flatten)]
    options: BatchOptions,

    #[command(flatten)]
    keys: KeyArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Fate {
    /// They count as never issued: nobody got the keys, and nobody will
    Void,
    /// They go into the next CRL: somebody may have the keys. Those of devices that keep their own keys
    /// as superseded, all others as compromised
    Revoke,
}

impl Fate {
    fn word(self) -> &'static str {
        match self {
            Self::Void => "void",
            Self::Revoke => "revoke",
        }
    }

    /// What becomes of leaves whose keys were made here, and of those whose devices keep their own.
    fn withdrawals(self) -> [Withdrawal; 2] {
        match self {
            Self::Void => [Withdrawal::Voided; 2],
            Self::Revoke => [
                Withdrawal::Revoked(RevocationReason::KeyCompromise),
                Withdrawal::Revoked(RevocationReason::Superseded),
            ],
        }
    }
}

/// The leaves of a batch that was lost.
struct Lost<'a> {
    context: &'a Context,
    inventory: &'a SqliteInventory,
    policy: RequestPolicy,
    usual: Span,
    backdate: Span,
    tally: Tally,
    fate: Fate,
    made_here: Vec<RowKey>,
    own: Vec<RowKey>,
    followed: Followed,
}

/// The lost leaves of devices that have got later ones since.
#[derive(Default)]
struct Followed {
    made_here: Vec<RowKey>,
    own: Vec<RowKey>,
    /// The first devices, for people.
    named: Vec<RegistrationId>,
}

impl ReplaceArgs {
    pub(super) fn run(&self, context: &Context) -> CommandResult {
        if self.options.names_a_batch() {
            let message = "a batch is replaced under its own name; leave --batch out";
            return Err(CommandError::new(ErrorKind::Usage, message));
        }
        let inventory = context.home.inventory()?;
        let batch = inventory
            .batch(&self.name)?
            .ok_or_else(|| not_found(&self.name))?;
        let rows = rows(&inventory, &batch)?;
        let profile = self.profile(&batch)?;
        let target = Target {
            authority: self
                .authority
                .clone()
                .unwrap_or_else(|| batch.signed_by.name.clone()),
            profile,
            out: self.out.clone(),
            labels: Vec::new(),
        };
        let format = Format::from_str(&batch.format, false).unwrap_or(Format::Ndjson);
        let mut lost = Lost::new(context, &inventory, &target.profile, self.leaves)?;
        let source = lost.read(&batch, rows)?;
        let fate = self.leaves.word();
        let tally = lost.tally.clone();
        let lots = match batch.state {
            BatchState::Open => Vec::new(),
            BatchState::Complete => lost.lots(),
        };
        let replacement = Replacement {
            batch: self.name.clone(),
            fate,
            lost: lots,
        };
        let anew = Batch {
            context,
            target: &target,
            options: &self.options,
            keys: &self.keys,
            format: self.options.format_or(format),
            purpose: &Purpose::Replace(replacement),
        };
        anew.check_usage()?;
        let bad = BadLines::new(context.ui.is_json())?;
        let judgement = Judgement {
            sound: tally,
            ..Judgement::default()
        };
        let done = anew.run(|| Input::judged(&context.ui, source, judgement, bad))?;
        if self.leaves == Fate::Revoke && matches!(done, Outcome::Done) && !context.settings.dry_run
        {
            context.ui.warning(
                "DPS and IoT Hub consult no CRL: shut out whoever may have keys of the lost batch with dps-pki quarantine",
            );
        }
        Ok(done)
    }

    fn profile(&self, batch: &BatchRecord) -> Result<ProfileName, CommandError> {
        if let Some(named) = &self.profile {
            return Ok(named.clone());
        }
        let manifest = batch.manifest.as_deref().and_then(parsed);
        let stated = manifest
            .as_ref()
            .and_then(|manifest| manifest["profile"].as_str());
        Ok(stated.unwrap_or(Declaration::DEFAULT_PROFILE).parse()?)
    }
}

/// The leaves that a replacement was begun for, or those that one may begin with.
fn rows(inventory: &SqliteInventory, batch: &BatchRecord) -> Result<Vec<RowKey>, CommandError> {
    let name = &batch.name;
    if batch.state == BatchState::Open {
        let begun = inventory.lost_leaves(name)?;
        if begun.is_empty() {
            let message = format!(
                "batch {name} is not complete: {} of {} are delivered",
                batch.delivered, batch.total
            );
            return Err(CommandError::refused(message).hint("the command that began it goes on"));
        }
        return Ok(begun);
    }
    let filter = Filter {
        batch: Some(name.clone()),
        status: Some(Status::Delivered),
        ..Filter::default()
    };
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let Page { entries, next } = inventory.list(&filter, after.as_ref(), 1000)?;
        rows.extend(entries.iter().map(|entry| entry.recorded.row()));
        after = next;
        if after.is_none() {
            break;
        }
    }
    rows.sort_unstable();
    Ok(rows)
}

impl<'a> Lost<'a> {
    fn new(
        context: &'a Context,
        inventory: &'a SqliteInventory,
        profile: &ProfileName,
        fate: Fate,
    ) -> Result<Self, CommandError> {
        Ok(Self {
            context,
            inventory,
            policy: policy(&context.home, profile)?,
            usual: profile_named(context, profile)?.validity,
            backdate: context.home.declaration()?.backdate,
            tally: Tally::default(),
            fate,
            made_here: Vec::new(),
            own: Vec::new(),
            followed: Followed::default(),
        })
    }

    /// The devices of the lost leaves, as their new leaves are to be.
    fn read(&mut self, batch: &BatchRecord, rows: Vec<RowKey>) -> Result<Source, CommandError> {
        let name = &batch.name;
        let (copy, ()) = PrivateCopy::make(|file| {
            let mut spool = BufWriter::new(file);
            for row in rows {
                let Some(device) = self.device(row, batch)? else {
                    continue;
                };
                self.tally.count(&device);
                write_device(device, &mut spool).map_err(CopyError)?;
            }
            spool.flush().map_err(CopyError)?;
            Ok::<_, CommandError>(())
        })?;
        if let Some(note) = self.followed.told(self.fate) {
            self.context.ui.note(note);
        }
        if batch.state == BatchState::Complete && self.made_here.is_empty() && self.own.is_empty() {
            let message = format!("batch {name} has no leaf that could be replaced");
            return Err(CommandError::refused(message)
                .hint("its leaves are revoked, void, or followed by later ones")
                .hint(
                    "what was lost and is valid still is withdrawn with: dps-pki revoke SERIAL",
                ));
        }
        let mut of_name = OutputHash::new();
        of_name.update(name.as_str().as_bytes());
        let called = format!("batch {name}");
        Ok(Source::judged(copy, of_name.digest(), called))
    }

    /// The device of a lost leaf; none if it has a later one.
    fn device(&mut self, row: RowKey, batch: &BatchRecord) -> Result<Option<Device>, CommandError> {
        let missing = || CommandError::failed(format!("certificate {row} is not in the inventory"));
        let entry = self.inventory.certificate(row)?.ok_or_else(missing)?;
        let id: RegistrationId = entry
            .recorded
            .registration_id()
            .cloned()
            .ok_or_else(missing)?;
        if self.is_followed(row, &id, batch)? {
            if batch.state == BatchState::Complete {
                self.leave_alone(row, id)?;
            }
            return Ok(None);
        }
        let entry = InventoryEntry {
            // That it was withdrawn since is this command's own doing.
            state: CertificateState::Delivered {
                at: entry.recorded_at,
            },
            ..entry
        };
        let kept = self.inventory.request(row)?;
        let renewal = Renewal {
            policy: &self.policy,
            new_keys: false,
        };
        let place = Place::File(format!("certificate {row}"));
        let device = Device {
            validity: self.own_span(entry.recorded.certificate().validity()),
            ..Device::new(place, LeafName::try_from(id.clone())?)
        };
        let device = renewal
            .follow(device, &entry, kept.as_deref())
            .map_err(|error| CommandError::refused(format!("{id}: {error}")))?;
        match device.key {
            DeviceKey::New => self.made_here.push(row),
            DeviceKey::Unchecked(_) | DeviceKey::Proven(_) => self.own.push(row),
        }
        Ok(Some(device))
    }

    /// Whether the device of a lost leaf had a later one when its batch was replaced, or has one if it is not
    /// yet.
    fn is_followed(
        &self,
        row: RowKey,
        id: &RegistrationId,
        batch: &BatchRecord,
    ) -> Result<bool, CommandError> {
        let mut all = self.inventory.certificates_of(id)?;
        if batch.state == BatchState::Open {
            // Later ones of the batch itself are what it is replaced with.
            all.retain(|entry| {
                let recorded = &entry.recorded;
                recorded.row() == row
                    || (recorded.batch() != Some(&batch.name)
                        && entry.recorded_at <= batch.started_at)
            });
        }
        Ok(last_leaf(all).is_some_and(|last| last.recorded.row() != row))
    }

    fn leave_alone(&mut self, row: RowKey, id: RegistrationId) -> Result<(), CommandError> {
        if self.inventory.request(row)?.is_some() {
            self.followed.own.push(row);
        } else {
            self.followed.made_here.push(row);
        }
        if self.followed.named.len() < NAMED {
            self.followed.named.push(id);
        }
        Ok(())
    }

    /// How long a leaf was valid, if that is not what its profile says.
    fn own_span(&self, validity: Validity) -> Option<Span> {
        let begin = validity.not_before().unix_seconds();
        let length = validity.not_after().unix_seconds() - begin;
        let length = u64::try_from(length).unwrap_or_default();
        let span = Span::from_seconds(length.saturating_sub(self.backdate.seconds()));
        (span != self.usual).then_some(span)
    }

    fn lots(mut self) -> Vec<LostLeaves> {
        if self.fate == Fate::Revoke {
            self.made_here.append(&mut self.followed.made_here);
            self.own.append(&mut self.followed.own);
        }
        let [made_here, own] = self.fate.withdrawals();
        let lots = [(self.made_here, made_here), (self.own, own)];
        let lots = lots.into_iter().filter(|(rows, _)| !rows.is_empty());
        lots.map(|(rows, withdrawal)| LostLeaves { rows, withdrawal })
            .collect()
    }
}

impl Followed {
    /// What becomes of them, if there are any.
    fn told(&self, fate: Fate) -> Option<String> {
        let count = self.made_here.len() + self.own.len();
        if count == 0 {
            return None;
        }
        let devices = counted(count, "device has", "devices have");
        let named: Vec<&str> = self.named.iter().map(RegistrationId::as_str).collect();
        let named = named.join(", ");
        let more = match count - self.named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let fate = match fate {
            Fate::Void => "stays valid: revoke it by its serial number, or say --leaves revoke",
            Fate::Revoke => "is revoked, and nothing is issued instead of it",
        };
        Some(format!(
            "{devices} got a later leaf since: {named}{more}; what was lost {fate}"
        ))
    }
}
