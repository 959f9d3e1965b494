//! `dps device put --from`: each device of a list or batch is let in with its leaf and no other.
//!
//! All devices are judged before the first call. The plan has the same name whenever the same is asked for,
//! so that what a run left which was cut short is found and goes on.

use std::collections::HashSet;
use std::path::Path;

use dps_operations::Failures;
use dps_operations::enroll::{Device, Request};
use pki_core::bulk::input::{BadLine, Place};
use pki_core::certificate::Certificate;
use pki_core::ids::RegistrationId;
use pki_core::inventory::{BatchRecord, Filter, Inventory as _, InventoryEntry, Label, Status};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::time::Time;
use pki_core::wording::counted;

use crate::bad_lines::{BadLines, ToldLines};
use crate::batch_file::{BatchFile, looks_like_one};
use crate::batch_input::{ListArgs, Source};
use crate::commands::quarantine::DeviceLine;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::execute::{Execution, Proposal};
use crate::planes;
use crate::render::plan::{Outline, PlanAndImpact};
use crate::snapshot::around;

/// Enrolls the devices of a list, a batch file, or a batch of the inventory.
pub(super) fn put(context: &Context, from: &str, identity: Option<&Path>) -> CommandResult {
    let mut inventory = context.home.inventory()?;
    let devices = devices(context, &inventory, from, identity)?;
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
    bad: BadLines,
}

fn devices(
    context: &Context,
    inventory: &SqliteInventory,
    from: &str,
    identity: Option<&Path>,
) -> Result<Vec<Device>, CommandError> {
    let path = Path::new(from);
    let mut found = Found {
        inventory,
        now: context.now(),
        devices: Vec::new(),
        seen: HashSet::new(),
        bad: BadLines::new(context.ui.is_json())?,
    };
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
            found.add_file(&BatchFile::new(&context.inputs, path, identity)?)?;
        }
        None => {
            let list = Source::list(&context.inputs, path, &ListArgs::default())?;
            found.add_list(&list)?;
        }
    }
    found.end(from)
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
    fn add_batch(&mut self, batch: &BatchRecord) -> Result<(), CommandError> {
        const PAGE: usize = 1000;
        let filter = Filter {
            batch: Some(batch.name.clone()),
            role: Some(Role::Leaf),
            status: Some(Status::Delivered),
            ..Filter::default()
        };
        let mut after = None;
        loop {
            let page = self.inventory.list(&filter, after.as_ref(), PAGE)?;
            for entry in page.entries {
                if let Some(id) = entry.recorded.registration_id().cloned() {
                    let leaf = entry.recorded.certificate().clone();
                    self.add(Place::File(id.to_string()), id, leaf, Some(&entry));
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
            self.add(Place::Line(number), device.id, leaf, entry.as_ref());
            Ok(())
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
                    self.add(device.place, id, leaf, Some(entry));
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
    ) {
        let status = entry.map(|entry| entry.state.status());
        let end = leaf.validity().not_after();
        if !self.seen.insert(id.clone()) {
            self.refuse(place, &id, "it stands there twice");
        } else if let Some(status) = status.filter(|status| *status != Status::Delivered) {
            let serial = leaf.serial_number();
            self.refuse(place, &id, &format!("its leaf {serial} is {status}"));
        } else if end < self.now {
            self.refuse(place, &id, &format!("its leaf has expired on {end}"));
        } else {
            self.devices.push(Device { id, leaf });
        }
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
            return Err(CommandError::invalid_input(message).bad_lines(lines));
        }
        if self.devices.is_empty() {
            let message = format!("{from} names no device");
            return Err(CommandError::invalid_input(message));
        }
        Ok(self.devices)
    }
}
