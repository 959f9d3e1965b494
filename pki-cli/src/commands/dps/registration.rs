//! `dps registration`: what became of devices' last attempts to register.

use std::num::NonZeroUsize;

use pki_core::enrollment::RegistrationState;
use pki_core::ids::{EnrollmentGroupId, RegistrationId};
use pki_core::lifecycle::{Expectation, Found, Step};

use super::entry::existing as existing_entry;
use super::first;
use crate::commands::change::{Change, deleted_before};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::planes::{self, Planes};
use crate::render::document::{Listed, Shown};
use crate::runtime::Runtime;

/// Registration records: which hub a device was given, or why not
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(ListArgs),
    Show(ShowArgs),
    Delete(DeleteArgs),
}

/// List the registration records of a group's devices
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps registration list --group factory")]
struct ListArgs {
    /// The enrollment group
    #[arg(long, value_name = "GROUP")]
    group: EnrollmentGroupId,

    /// How many at most
    #[arg(long, value_name = "N", default_value = "100")]
    limit: NonZeroUsize,
}

/// Show the registration record of a device
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps registration show sensor-1 --output json")]
struct ShowArgs {
    /// The registration ID
    id: RegistrationId,
}

/// Delete the registration record of a device, so that DPS forgets which hub it was given
///
/// This shuts nobody out: the device stays in its hub, and may register again.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps registration delete sensor-1 --dry-run")]
struct DeleteArgs {
    /// The registration ID
    id: RegistrationId,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        match &self.command {
            Command::List(args) => args.run(context),
            Command::Show(args) => args.run(context),
            Command::Delete(args) => args.run(context),
        }
    }
}

impl ListArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let planes = planes::of_group(context, &self.group)?;
        let records = planes.registrations()?.of_group(&self.group, None);
        let found = first(&context.runtime, &context.ui, records, self.limit)?;
        if found.is_empty() {
            // A group that was deleted may have left records behind; one that never was has none.
            existing_entry(&context.runtime, &planes, &planes.groups()?, &self.group)?;
        }
        let mut list = Listed::new(&["REGISTRATION ID", "STATUS", "HUB", "DEVICE ID", "UPDATED"]);
        for record in &found {
            list.push(record, cells(record));
        }
        context.ui.result(&list)?;
        Ok(Outcome::Done)
    }
}

fn cells(record: &RegistrationState) -> [String; 5] {
    [
        record.registration_id.to_string(),
        record.status.to_string(),
        or_nothing(record.assigned_hub.as_ref()),
        or_nothing(record.device_id.as_ref()),
        or_nothing(record.last_updated_date_time_utc.as_ref()),
    ]
}

fn or_nothing(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

impl ShowArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let record = existing(&context.runtime, &planes::chosen(context)?, &self.id)?;
        let error = record.error_code.as_ref().map(|code| {
            let message = record.error_message.as_deref().unwrap_or_default();
            format!("{code} {message}")
        });
        let [id, status, hub, device, updated] = cells(&record);
        let lines = vec![
            ("registration ID", id),
            ("status", status),
            ("substatus", or_nothing(record.substatus.as_ref())),
            ("hub", hub),
            ("hub device ID", device),
            ("error", error.unwrap_or_default()),
            ("created", or_nothing(record.created_date_time_utc.as_ref())),
            ("updated", updated),
        ];
        context.ui.result(&Shown::new(&record, lines))?;
        Ok(Outcome::Done)
    }
}

impl DeleteArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let planes = planes::chosen(context)?;
        let goal = format!("delete the registration record of {}", self.id);
        let before = match existing(&context.runtime, &planes, &self.id) {
            Ok(before) => before,
            Err(missing) => return deleted_before(context, &planes, &goal, missing),
        };
        let Some(etag) = before.etag.clone() else {
            let message = format!("DPS sent the record of {} without an ETag", self.id);
            return Err(CommandError::new(ErrorKind::Service, message));
        };
        let id = before.registration_id.clone();
        let step = Step::delete_registration(id, Expectation::Etag(etag));
        let change = Change {
            action: "registration-deleted",
            summary: goal,
            goal: None,
            subject: self.id.to_string(),
            place: format!("DPS {}", planes.name()),
            changes: vec![],
            notes: vec![
                "this shuts nobody out: the device stays in its hub, and may register again"
                    .to_owned(),
            ],
            impact: None,
        };
        let read = Found::Registration(Some(Box::new(before)));
        change.carry_out(context, &planes, step, &read)
    }
}

fn existing(
    runtime: &Runtime,
    planes: &Planes<'_>,
    id: &RegistrationId,
) -> Result<RegistrationState, CommandError> {
    let registrations = planes.registrations()?;
    let found = runtime.block_on(async { Ok(registrations.find(id).await?) })?;
    found.ok_or_else(|| {
        let message = format!("DPS {} has no registration record of {id}", planes.name());
        CommandError::not_found(message)
    })
}
