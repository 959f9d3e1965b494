//! `dps device put --from`: each device of a list or batch is let in with its leaf and no other.
//!
//! All devices are judged before the first call. The plan has the same name whenever the same is asked for,
//! so that what a run left which was cut short is found and goes on.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use dps_operations::Failures;
use dps_operations::enroll::{Device, Request};
use pki_core::bulk::input::{BadLine, ListEncoding, ListForm, Place, Separator};
use pki_core::certificate::Certificate;
use pki_core::ids::{AuthorityGeneration, DpsName, RegistrationId};
use pki_core::inventory::{
    BatchRecord, Filter, GenerationState, Inventory as _, InventoryEntry, Label, Status,
};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::time::Time;
use pki_core::wording::{command_in, counted};

use crate::bad_lines::{BadLines, ToldLines};
use crate::batch_file::{BatchFile, looks_like_one};
use crate::batch_input::Source;
use crate::commands::quarantine::DeviceLine;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::execute::{Execution, Proposal};
use crate::planes;
use crate::render::plan::{Outline, PlanAndImpact};
use crate::snapshot::around;

// How what --from names is read.
#[derive(clap::Args)]
pub(super) struct ReadArgs {
    /// The file with the age identity that opens a sealed batch
    #[arg(long, value_name = "FILE", requires = "from")]
    identity: Option<PathBuf>,

    /// What stands between the columns of a list: comma, semicolon or tab [default: what its header has]
    #[arg(long, value_name = "WHICH", requires = "from")]
    separator: Option<Separator>,

    /// A list's column of registration IDs [default: registration_id]
    #[arg(long, value_name = "NAME", requires = "from")]
    id_column: Option<String>,

    /// What a list is written in: utf-8, utf-16, utf-16be or windows-1252 [default: utf-8, or what its
    /// byte-order mark says]
    #[arg(long, value_name = "ENCODING", requires = "from")]
    encoding: Option<ListEncoding>,

    /// Leaves of a batch file that the inventory does not know are meant: it is of another home, or of
    /// nobody who is declared here
    #[arg(long, requires = "from")]
    unknown: bool,
}

impl ReadArgs {
    fn list_form(&self) -> ListForm {
        ListForm {
            separator: self.separator,
            id_column: self.id_column.clone(),
            encoding: self.encoding,
        }
    }
}

/// Enrolls the devices of a list, a batch file, or a batch of the inventory.
pub(super) fn put(context: &Context, from: &str, args: &ReadArgs) -> CommandResult {
    let mut inventory = context.home.inventory()?;
    let devices = devices(context, &inventory, from, args)?;
    let counted = counted(devices.len(), "device", "devices");
    let request = Request {
        called: format!("enroll {counted} of {from}"),
        devices,
    };
    let planes = planes::chosen(context)?;
    let settings = &context.settings;
    let prepared = request.prepare(around(settings, &planes, &inventory));
    let prepared = context.runtime.wait_for(prepared)?;
    let judged = prepared.judge(around(settings, &planes, &inventory), &request)?;
    let shown = Outline(PlanAndImpact::proposed(&judged));
    let proposal = Proposal {
        failures: match request.devices.len() {
            1 => Failures::Stop,
            _ => Failures::GoOn,
        },
        ..Proposal::new(&judged.plan, &shown)
    };
    let execution = proposal.carry_out(context, &planes, &mut inventory)?;
    if settings.dry_run {
        context.ui.item(&shown)?;
        return Ok(Outcome::Done);
    }
    let proofs = request.read_back(around(settings, &planes, &inventory));
    let proofs = context.runtime.wait_for(proofs)?;
    let Execution { done, failed } = &execution;
    for report in request.report(&proofs, failed) {
        context.ui.item(&DeviceLine {
            registration_id: report.registration_id,
            done: *done && report.failure.is_none(),
            proof: report.proof,
            error: report.failure.map(ToString::to_string),
        })?;
    }
    execution.check()
}

/// The devices that are found, and what is wrong with others.
struct Found<'a> {
    inventory: &'a SqliteInventory,
    now: Time,
    devices: Vec<Device>,
    seen: HashSet<RegistrationId>,
    /// Generations whose leaves let nobody in any more.
    compromised: HashSet<AuthorityGeneration>,
    /// Whether leaves that the inventory does not know are meant.
    unknown: bool,
    bad: BadLines,
    /// What to do about the devices that are refused.
    hints: BTreeSet<String>,
    dps: &'a DpsName,
}

const MEANT: &str = "if leaves that the inventory does not know are meant, say --unknown";

fn devices(
    context: &Context,
    inventory: &SqliteInventory,
    from: &str,
    args: &ReadArgs,
) -> Result<Vec<Device>, CommandError> {
    let path = Path::new(from);
    let mut found = Found {
        inventory,
        now: context.now(),
        devices: Vec::new(),
        seen: HashSet::new(),
        compromised: compromised(inventory)?,
        unknown: args.unknown,
        bad: BadLines::new(context.ui.is_json())?,
        hints: BTreeSet::new(),
        dps: context.home.dps()?.0,
    };
    let identity = args.identity.as_deref();
    let is_file = from == "-" || (context.files.exists(path) && !context.files.is_folder(path));
    match batch_named(inventory, from)? {
        Some(_) if is_file => {
            let message =
                format!("{from} is a batch of the inventory, and a file of that name is here");
            return Err(CommandError::refused(message)
                .hint(format!("for the file write ./{from}, else move it away")));
        }
        Some(batch) => found.add_batch(&batch)?,
        None if !is_file => {
            let message = format!("there is no file {from}, and no batch of that name");
            return Err(CommandError::not_found(message).hint("see them with: dps-pki batch list"));
        }
        None if identity.is_some() || looks_like_one(&context.files, path)? => {
            found.add_file(&BatchFile::new(context, path, identity)?)?;
        }
        None => {
            let list = Source::list(&context.inputs, path, args.list_form())?;
            found.add_list(&list)?;
        }
    }
    found.end(from)
}

fn compromised(inventory: &SqliteInventory) -> Result<HashSet<AuthorityGeneration>, CommandError> {
    let mut found = HashSet::new();
    for authority in inventory.authorities()? {
        for record in authority.generations {
            if record.state == GenerationState::Compromised {
                found.insert(AuthorityGeneration {
                    name: authority.name.clone(),
                    generation: record.generation,
                });
            }
        }
    }
    Ok(found)
}

fn batch_named(
    inventory: &SqliteInventory,
    name: &str,
) -> Result<Option<BatchRecord>, CommandError> {
    match name.parse::<Label>() {
        Ok(name) => Ok(inventory.batch(&name)?),
        Err(_) => Ok(None),
    }
}

impl Found<'_> {
    /// The delivered leaves first: those of the same batch whose place they took are not meant.
    fn add_batch(&mut self, batch: &BatchRecord) -> Result<(), CommandError> {
        self.add_leaves(batch, Some(Status::Delivered))?;
        self.add_leaves(batch, None)
    }

    /// The leaves of a batch, of devices of which it has none yet that is delivered.
    fn add_leaves(
        &mut self,
        batch: &BatchRecord,
        status: Option<Status>,
    ) -> Result<(), CommandError> {
        const PAGE: usize = 1000;
        let filter = Filter {
            batch: Some(batch.name.clone()),
            role: Some(Role::Leaf),
            status,
            ..Filter::default()
        };
        let mut after = None;
        loop {
            let page = self.inventory.list(&filter, after.as_ref(), PAGE)?;
            for entry in page.entries {
                let Some(id) = entry.recorded.registration_id().cloned() else {
                    continue;
                };
                if status.is_some() || !self.seen.contains(&id) {
                    let leaf = entry.recorded.certificate().clone();
                    self.add(Place::File(id.to_string()), id, leaf, Some(&entry))?;
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn add_file(&mut self, batch: &BatchFile) -> Result<(), CommandError> {
        let mut number = 0;
        batch.each(|device| {
            number += 1;
            let leaf = device.certificate().clone();
            let entry = self
                .inventory
                .by_sha256_thumbprint(&leaf.sha256_thumbprint())?;
            self.add(Place::Line(number), device.id, leaf, entry.as_ref())
        })
    }

    fn add_list(&mut self, list: &Source) -> Result<(), CommandError> {
        for device in list.devices()? {
            let device = match device {
                Ok(device) => device,
                Err(line) => {
                    self.bad.push(line);
                    continue;
                }
            };
            let id: RegistrationId = (*device.id).clone();
            let leaves = self.inventory.live_leaves(&id, self.now)?;
            match leaves.first() {
                Some(entry) => {
                    let leaf = entry.recorded.certificate().clone();
                    self.add(device.place, id, leaf, Some(entry))?;
                }
                None => self.refuse(device.place, &id, "the inventory has no valid leaf of it"),
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        place: Place,
        id: RegistrationId,
        leaf: Certificate,
        entry: Option<&InventoryEntry>,
    ) -> Result<(), CommandError> {
        let problem = if self.seen.insert(id.clone()) {
            self.problem(&id, &leaf, entry)?
        } else {
            Some("it stands there twice".to_owned())
        };
        match problem {
            Some(problem) => self.refuse(place, &id, &problem),
            None => self.devices.push(Device { id, leaf }),
        }
        Ok(())
    }

    /// Why a device is not let in with a leaf, if so.
    fn problem(
        &mut self,
        id: &RegistrationId,
        leaf: &Certificate,
        entry: Option<&InventoryEntry>,
    ) -> Result<Option<String>, CommandError> {
        let serial = leaf.serial_number();
        if let Some(entry) = entry {
            let status = entry.state.status();
            if status != Status::Delivered {
                return Ok(Some(format!("its leaf {serial} is {status}")));
            }
            let signed_by = entry.recorded.signed_by();
            if let Some(signed_by) =
                signed_by.filter(|signed_by| self.compromised.contains(signed_by))
            {
                return Ok(Some(format!(
                    "its leaf {serial} was signed by {signed_by}, which is compromised"
                )));
            }
        }
        let end = leaf.validity().not_after();
        if end < self.now {
            return Ok(Some(format!("its leaf has expired on {end}")));
        }
        let live = self.inventory.live_leaves(id, self.now)?;
        let newest = live.first().map(|entry| entry.recorded.certificate());
        if let Some(newest) = newest.filter(|newest| *newest != leaf) {
            let newest_of = command_in(self.dps, format_args!("dps device put --from LIST.csv"));
            self.hints.insert(format!(
                "a list of the devices takes their newest leaves: {newest_of}"
            ));
            let newest = newest.serial_number();
            return Ok(Some(format!(
                "its leaf {serial} is not its newest valid one, which is {newest}"
            )));
        }
        if entry.is_none() && !self.unknown {
            self.hints.insert(MEANT.to_owned());
            return Ok(Some(format!(
                "the inventory does not know its leaf {serial}"
            )));
        }
        Ok(None)
    }

    fn refuse(&mut self, place: Place, id: &RegistrationId, reason: &str) {
        self.bad.push(BadLine {
            place,
            value: id.to_string(),
            reason: reason.to_owned(),
        });
    }

    fn end(self, from: &str) -> Result<Vec<Device>, CommandError> {
        if self.bad.count() > 0 {
            let devices = counted(self.bad.count(), "device", "devices");
            let message = format!("{from}: {devices} cannot be enrolled; nothing was written");
            let none = BadLines::new(false)?;
            let lines = ToldLines::of(self.bad, none)?;
            let refused = CommandError::invalid_input(message).bad_lines(lines);
            return Err(self.hints.into_iter().fold(refused, CommandError::hint));
        }
        if self.devices.is_empty() {
            let message = format!("{from} names no device");
            return Err(CommandError::invalid_input(message));
        }
        Ok(self.devices)
    }
}
