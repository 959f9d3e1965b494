//! `dps group`: the enrollment groups of a DPS instance.

use std::collections::BTreeSet;
use std::path::PathBuf;

use dps_client::service::Groups;
use futures::{StreamExt as _, TryStreamExt as _};
use pki_core::enrollment::{
    CertificateSlot, EnrollmentGroup, Mechanism, ProvisioningStatus, RegistrationState,
    X509Certificates,
};
use pki_core::ids::{EnrollmentGroupId, Sha256Thumbprint};
use pki_core::inventory::{GenerationState, Inventory as _};
use pki_core::lifecycle::{Expectation, FieldChange, Found, Promise, Step, Who};
use pki_core::wording::{command_in, counted};

use super::entry::{self, Record, Wording};
use super::{declared, impact};
use crate::commands::change::{Change, deleted_before};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::planes::{self, Planes};
use crate::render::document::{Listed, Shown, attestation};
use crate::runtime::Runtime;

/// Enrollment groups: all devices below a certificate
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(ListArgs),
    Show(ShowArgs),
    Put(PutArgs),
    Disable(DisableArgs),
    Enable(EnableArgs),
    Delete(DeleteArgs),
}

/// List the enrollment groups
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps group list")]
struct ListArgs {}

/// Show an enrollment group; its keys, if it has any, are left out
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps group show factory --output json")]
struct ShowArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    id: EnrollmentGroupId,
}

/// Create or change an enrollment group as pki.toml declares it, or from a document
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps group put factory --dry-run
  dps-pki dps group put line-9 --file line-9.json --dry-run")]
struct PutArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    id: EnrollmentGroupId,

    /// The document to put as it is, as "show --output json" prints it; - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Also where the document is enabled and holds the certificate of a generation that was compromised
    #[arg(long, requires = "file")]
    let_devices_in: bool,
}

/// Disable an enrollment group: its devices are refused when they register
///
/// Devices with an individual enrollment of their own are not concerned. Those that are connected to
/// their hub stay connected: DPS is asked only when a device registers.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps group disable factory --dry-run")]
struct DisableArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    id: EnrollmentGroupId,
}

/// Enable an enrollment group: its devices are let in
///
/// Devices with a disabled individual enrollment of their own stay out.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps group enable factory --dry-run")]
struct EnableArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    id: EnrollmentGroupId,

    /// Also where it holds the certificate of a generation that was compromised; apply disables a group again
    /// that was made to keep one out
    #[arg(long)]
    let_devices_in: bool,
}

/// Delete an enrollment group; its devices fall through to other groups that hold their chain
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps group delete factory --dry-run")]
struct DeleteArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    id: EnrollmentGroupId,

    /// Also where devices that the group keeps out are let in by another group
    #[arg(long)]
    let_devices_in: bool,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        match &self.command {
            Command::List(args) => args.run(context),
            Command::Show(args) => args.run(context),
            Command::Put(args) => args.run(context),
            Command::Disable(args) => set_status(context, &args.id, ProvisioningStatus::Disabled),
            Command::Enable(args) => args.run(context),
            Command::Delete(args) => args.run(context),
        }
    }
}

impl Record for EnrollmentGroup {
    const WORD: &'static str = "enrollment group";
    const DEVICES: &'static str = "its devices";
    const WRITTEN: &'static str = "group-written";
    const ENABLED: &'static str = "group-enabled";
    const DISABLED: &'static str = "group-disabled";
    const NONE: Found = Found::Group(None);
    const DELETED: &'static str = "group-deleted";
    const ENABLE: &'static str = "dps group enable";

    fn put(&self, changes: Vec<FieldChange>, expect: Expectation) -> Step {
        Step::put_group(self.clone(), changes, expect)
    }

    fn found(&self) -> Found {
        Found::Group(Some(Box::new(self.clone())))
    }
}

impl ListArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let groups = all(&context.runtime, &planes::chosen(context)?.groups()?)?;
        let mut list = Listed::new(&["GROUP", "STATUS", "HUBS", "ATTESTATION"]);
        for group in &groups {
            let cells = [
                group.enrollment_group_id.to_string(),
                group.provisioning_status.as_str().to_owned(),
                hubs(group),
                attestation(&group.attestation),
            ];
            list.push(group, cells);
        }
        context.ui.result(&list)?;
        Ok(Outcome::Done)
    }
}

impl ShowArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let planes = planes::of_group(context, &self.id)?;
        let group = entry::existing(&context.runtime, &planes, &planes.groups()?, &self.id)?;
        let lines = vec![
            ("group", group.enrollment_group_id.to_string()),
            ("status", group.provisioning_status.as_str().to_owned()),
            ("attestation", attestation(&group.attestation)),
            ("hubs", hubs(&group)),
            (
                "allocation",
                group
                    .allocation_policy
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            ),
        ];
        context.ui.result(&Shown::new(&group, lines))?;
        Ok(Outcome::Done)
    }
}

impl PutArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let Some(file) = &self.file else {
            return declared::put_group(context, &self.id);
        };
        let document: EnrollmentGroup = entry::document(&context.inputs, file, &self.id)?;
        let planes = planes::of_group(context, &self.id)?;
        let groups = planes.groups()?;
        let before = context
            .runtime
            .block_on(async { Ok(groups.find(&self.id).await?) })?;
        if entry::is_written(before.as_ref(), &document) {
            return entry::written_before(context, &planes, &document);
        }
        entry::check_document(planes.name(), before.as_ref(), &document)?;
        if document.provisioning_status != ProvisioningStatus::Disabled && !self.let_devices_in {
            refuse_compromised(context, &document)?;
        }
        let impact = impact::on_fleet(context, &planes, |view| view.put_group(&document))?;
        let wording = Wording {
            action: EnrollmentGroup::WRITTEN,
            summary: entry::summary(before.as_ref(), &document),
            notes: entry::document_notes(before.as_ref(), &document),
            impact,
        };
        entry::write(context, &planes, before.as_ref(), &document, wording)
    }
}

impl EnableArgs {
    fn run(&self, context: &Context) -> CommandResult {
        if !self.let_devices_in {
            let planes = planes::of_group(context, &self.id)?;
            let group = entry::existing(&context.runtime, &planes, &planes.groups()?, &self.id)?;
            refuse_compromised(context, &group)?;
        }
        set_status(context, &self.id, ProvisioningStatus::Enabled)
    }
}

/// A group that keeps a compromised generation out, or would let one in, is not enabled by the way.
fn refuse_compromised(context: &Context, group: &EnrollmentGroup) -> Result<(), CommandError> {
    let Mechanism::X509(X509Certificates::Signing(slots)) = &group.attestation.mechanism else {
        return Ok(());
    };
    let held: BTreeSet<Sha256Thumbprint> = slots
        .iter()
        .filter_map(CertificateSlot::sha256_thumbprint)
        .collect();
    for authority in context.home.inventory()?.authorities()? {
        for generation in &authority.generations {
            let certificate = generation.certificate.as_ref();
            let is_held = certificate
                .is_some_and(|recorded| held.contains(&recorded.certificate().sha256_thumbprint()));
            if is_held && generation.state == GenerationState::Compromised {
                let message = format!(
                    "enrollment group {} holds {} generation {}, which is compromised",
                    group.enrollment_group_id, authority.name, generation.generation
                );
                return Err(CommandError::refused(message)
                    .hint("if whoever has its key is to be let in, say --let-devices-in"));
            }
        }
    }
    Ok(())
}

fn set_status(
    context: &Context,
    id: &EnrollmentGroupId,
    status: ProvisioningStatus,
) -> CommandResult {
    let planes = planes::of_group(context, id)?;
    let groups = planes.groups()?;
    let before = entry::existing(&context.runtime, &planes, &groups, id)?;
    let note = if status == ProvisioningStatus::Enabled {
        "every device below its certificates is let in, unless it has an individual enrollment of its own"
    } else {
        "devices that are connected to their hub stay connected until the hub refuses them as well"
    };
    let notes = vec![note.to_owned()];
    entry::set_status(context, &planes, &before, status, notes, |after| {
        impact::on_fleet(context, &planes, |view| view.put_group(after))
    })
}

impl DeleteArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let planes = planes::of_group(context, &self.id)?;
        let groups = planes.groups()?;
        let goal = entry::goal_of_deletion::<EnrollmentGroup>(&self.id);
        let before = match entry::existing(&context.runtime, &planes, &groups, &self.id) {
            Ok(before) => before,
            Err(missing) => return deleted_before(context, &planes, &goal, missing),
        };
        let others = self.others(all(&context.runtime, &groups)?);
        self.refuse_fall_through(&before, &others)?;
        let change = self.change(context, &planes, &others)?;
        if !self.let_devices_in {
            change.refuse_gains("if that is meant, say --let-devices-in")?;
        }
        let expect = Expectation::Etag(entry::tag(&before)?);
        let step = Step::delete_group(self.id.clone(), expect);
        // What was said above about disabled groups, the checker is told: this one was named.
        let promise = Promise {
            refuses: Who::Anybody,
            lets_in: if self.let_devices_in {
                Who::Anybody
            } else {
                Who::Nobody
            },
            falls_through: Who::Anybody,
            reopens: step.subjects().into_iter().collect(),
        };
        change.carry_out_as(context, &planes, step, &before.found(), &promise)
    }

    fn others(&self, groups: Vec<EnrollmentGroup>) -> Vec<EnrollmentGroup> {
        let mut others = groups;
        others.retain(|group| group.enrollment_group_id != self.id);
        others
    }

    /// A disabled group keeps its devices out only as long as it is there. The inventory need not know
    /// all of them, so its impact does not settle this.
    fn refuse_fall_through(
        &self,
        group: &EnrollmentGroup,
        others: &[EnrollmentGroup],
    ) -> Result<(), CommandError> {
        let keeps_out = group.provisioning_status == ProvisioningStatus::Disabled;
        if !keeps_out || self.let_devices_in || others.is_empty() {
            return Ok(());
        }
        let message = format!(
            "enrollment group {} is disabled; deleting it lets in those of its devices whose chain another group holds ({})",
            self.id,
            names(others)
        );
        Err(CommandError::refused(message).hint("if that is meant, say --let-devices-in"))
    }

    /// Its devices' records outlive the group, and nobody can list them any more.
    fn what_stays(&self, runtime: &Runtime, planes: &Planes<'_>) -> Result<String, CommandError> {
        const LOOKED_AT: usize = 1000;
        let page = u32::try_from(LOOKED_AT).ok();
        let records = planes.registrations()?.of_group(&self.id, page);
        let records: Vec<RegistrationState> =
            runtime.block_on(async { Ok(records.take(LOOKED_AT).try_collect().await?) })?;
        let count = match records.len() {
            0 => return Ok("hub identities of its devices stay, if there are any".to_owned()),
            LOOKED_AT => format!("{LOOKED_AT} registration records or more"),
            count => counted(count, "registration record", "registration records"),
        };
        Ok(format!(
            "{count} of its devices stay and count against the quota of the instance, and so do their hub identities; to have them go as well: {}",
            command_in(
                planes.name(),
                format_args!("deprovision --group {}", self.id)
            )
        ))
    }

    fn change(
        &self,
        context: &Context,
        planes: &Planes<'_>,
        others: &[EnrollmentGroup],
    ) -> Result<Change, CommandError> {
        let mut notes = vec![self.what_stays(&context.runtime, planes)?];
        if !others.is_empty() {
            notes.push(format!(
                "a device whose chain another group holds falls through to that group: {}",
                names(others)
            ));
        }
        let impact = impact::on_fleet(context, planes, |view| {
            view.remove_group(&self.id);
            Ok(())
        })?;
        Ok(entry::deletion::<EnrollmentGroup>(
            planes, &self.id, notes, impact,
        ))
    }
}

fn all(runtime: &Runtime, groups: &Groups) -> Result<Vec<EnrollmentGroup>, CommandError> {
    runtime.block_on(async { Ok(groups.list(None).try_collect().await?) })
}

fn names(groups: &[EnrollmentGroup]) -> String {
    groups
        .iter()
        .map(|group| group.enrollment_group_id.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn hubs(group: &EnrollmentGroup) -> String {
    group
        .iot_hubs
        .iter()
        .flatten()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
