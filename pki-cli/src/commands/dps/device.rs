//! `dps device`: the individual enrollments of a DPS instance.

mod many;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use dps_client::service::Individuals;
use pki_core::certificate::{Certificate, pem};
use pki_core::enrollment::compose::by_leaf;
use pki_core::enrollment::{IndividualEnrollment, Mechanism, ProvisioningStatus, X509Certificates};
use pki_core::ids::{DpsName, RegistrationId};
use pki_core::inventory::{CertificateState, Inventory as _};
use pki_core::lifecycle::{Expectation, FieldChange, Found, Promise, Step, Who};
use pki_core::wording::command_in;

use super::entry::{self, Record, Wording};
use super::{first, impact};
use crate::commands::change::{Change, deleted_before};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::home::Home;
use crate::planes::{self, Planes};
use crate::render::document::{Listed, Shown, attestation};
use crate::render::ui::Ui;
use crate::runtime::Runtime;

/// Individual enrollments: single devices, let in or kept out before any group is asked
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

/// List individual enrollments, in the service's order
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps device list --limit 20")]
struct ListArgs {
    /// How many at most
    #[arg(long, value_name = "N", default_value = "100")]
    limit: NonZeroUsize,
}

/// Show an individual enrollment; its keys, if it has any, are left out
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps device show sensor-1 --output json")]
struct ShowArgs {
    /// The registration ID
    id: RegistrationId,
}

/// Create or change individual enrollments: pinned to a leaf, from a document, or of many devices
///
/// With --cert the device is let in with that leaf and no other, whatever the groups say. What else
/// an existing enrollment says stays as it is: a disabled one stays disabled. With --from the same is done
/// for every device of a list or batch, ten a call; a run that is cut goes on with the same command. Nothing
/// is written if one of them has got a newer leaf since, or a leaf that is revoked, void, of a compromised
/// authority, or not in the inventory.
#[derive(clap::Args)]
#[command(
    group = clap::ArgGroup::new("source").required(true),
    after_help = "\
Examples:
  dps-pki dps device put sensor-1 --cert sensor-1.cert.pem --dry-run
  dps-pki dps device put sensor-9 --file sensor-9.json --dry-run
  dps-pki dps device put --from order-4711.csv --dry-run"
)]
struct PutArgs {
    /// The registration ID; with --cert the CN of the leaf
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    id: Option<RegistrationId>,

    /// The leaf, alone or before its chain; - for standard input
    #[arg(long = "cert", value_name = "FILE", group = "source")]
    certificate: Option<PathBuf>,

    /// The document to put as it is, as "show --output json" prints it; - for standard input
    #[arg(long, value_name = "FILE", group = "source")]
    file: Option<PathBuf>,

    /// A list of devices, as dps-pki issue reads it (their newest valid leaves of the inventory are taken);
    /// a batch as a file, sealed or not; or the name of a batch of the inventory
    #[arg(long, value_name = "WHAT", group = "source")]
    from: Option<String>,

    #[command(flatten)]
    read: many::ReadArgs,
}

/// Disable an individual enrollment: the device is refused when it registers
///
/// A device that has no individual enrollment is shut out with "dps-pki quarantine", which also sees
/// to its registration record and its hub identity.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps device disable sensor-1 --dry-run")]
struct DisableArgs {
    /// The registration ID
    id: RegistrationId,
}

/// Enable an individual enrollment: the device is let in with what the enrollment names
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps device enable sensor-1 --dry-run")]
struct EnableArgs {
    /// The registration ID
    id: RegistrationId,
}

/// Delete an individual enrollment; from then on groups decide about the device
///
/// Refused for a disabled enrollment, and for one that keeps out a leaf of the device, unless
/// --let-device-in says that this is meant.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps device delete sensor-1 --dry-run")]
struct DeleteArgs {
    /// The registration ID
    id: RegistrationId,

    /// Also where this lets in a device or a leaf that is kept out now
    #[arg(long)]
    let_device_in: bool,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        match &self.command {
            Command::List(args) => args.run(context),
            Command::Show(args) => args.run(context),
            Command::Put(args) => args.run(context),
            Command::Disable(args) => set_status(context, &args.id, ProvisioningStatus::Disabled),
            Command::Enable(args) => set_status(context, &args.id, ProvisioningStatus::Enabled),
            Command::Delete(args) => args.run(context),
        }
    }
}

impl Record for IndividualEnrollment {
    const WORD: &'static str = "individual enrollment";
    const DEVICES: &'static str = "the device";
    const WRITTEN: &'static str = "enrollment-written";
    const ENABLED: &'static str = "enrollment-enabled";
    const DISABLED: &'static str = "enrollment-disabled";
    const NONE: Found = Found::Individual(None);
    const DELETED: &'static str = "enrollment-deleted";
    const ENABLE: &'static str = "dps device enable";

    fn put(&self, changes: Vec<FieldChange>, expect: Expectation) -> Step {
        Step::put_individual(self.clone(), changes, expect)
    }

    fn found(&self) -> Found {
        Found::Individual(Some(Box::new(self.clone())))
    }
}

impl ListArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let individuals = planes::chosen(context)?.individuals()?;
        let found = first(
            &context.runtime,
            &context.ui,
            individuals.list(None),
            self.limit,
        )?;
        let mut list = Listed::new(&["REGISTRATION ID", "STATUS", "ATTESTATION"]);
        for individual in &found {
            let cells = [
                individual.registration_id.to_string(),
                individual.provisioning_status.as_str().to_owned(),
                attestation(&individual.attestation),
            ];
            list.push(individual, cells);
        }
        context.ui.result(&list)?;
        Ok(Outcome::Done)
    }
}

impl ShowArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let planes = planes::chosen(context)?;
        let individual = existing(&context.runtime, &planes, &planes.individuals()?, &self.id)?;
        let lines = vec![
            ("registration ID", individual.registration_id.to_string()),
            ("status", individual.provisioning_status.as_str().to_owned()),
            ("attestation", attestation(&individual.attestation)),
            ("hub device ID", individual.hub_device_id().to_string()),
        ];
        context.ui.result(&Shown::new(&individual, lines))?;
        Ok(Outcome::Done)
    }
}

impl PutArgs {
    fn run(&self, context: &Context) -> CommandResult {
        match (&self.id, &self.from) {
            (Some(id), _) => self.put(context, id),
            (None, Some(from)) => many::put(context, from, &self.read),
            (None, None) => Err(CommandError::new(ErrorKind::Usage, "no device is named")),
        }
    }

    fn put(&self, context: &Context, id: &RegistrationId) -> CommandResult {
        let leaf = self.certificate.as_deref();
        let leaf = leaf.map(|path| leaf_of(context, id, path)).transpose()?;
        let document = self.file.as_deref();
        let document = document.map(|path| entry::document(&context.inputs, path, id));
        let document: Option<IndividualEnrollment> = document.transpose()?;
        let planes = planes::chosen(context)?;
        let individuals = planes.individuals()?;
        let before = context
            .runtime
            .block_on(async { Ok(individuals.find(id).await?) })?;
        let after = match (&leaf, document) {
            (Some(leaf), _) => pinned(id, before.as_ref(), leaf),
            (None, Some(document)) if entry::is_written(before.as_ref(), &document) => document,
            (None, Some(document)) => {
                entry::check_document(planes.name(), before.as_ref(), &document)?;
                document
            }
            (None, None) => {
                return Err(CommandError::failed("neither --cert nor --file was given"));
            }
        };
        if entry::is_written(before.as_ref(), &after) {
            return entry::written_before(context, &planes, &after);
        }
        let notes = match &leaf {
            Some(_) => pin_notes(planes.name(), &after),
            None => [
                entry::document_notes(before.as_ref(), &after),
                foreign_leaves(&after),
            ]
            .concat(),
        };
        let present = before.as_ref();
        let impact = impact::on_device(context, &planes, present, id, leaf.as_ref(), |view| {
            view.put_individual(&after)
        })?;
        let wording = Wording {
            action: IndividualEnrollment::WRITTEN,
            summary: entry::summary(present, &after),
            notes,
            impact,
        };
        entry::write(context, &planes, present, &after, wording)
    }
}

/// The leaf of a file, if it is one, of this device, and not revoked.
fn leaf_of(
    context: &Context,
    id: &RegistrationId,
    path: &Path,
) -> Result<Certificate, CommandError> {
    let leaf = pem::certificate(&context.inputs.read(path)?)
        .map_err(|error| CommandError::in_file(path, &error))?;
    let path = path.display();
    if leaf.is_ca() {
        return Err(CommandError::refused(format!(
            "{path} holds a CA certificate ({}), not a leaf",
            leaf.subject()
        )));
    }
    let common_name = leaf.common_name().unwrap_or_default();
    if common_name.parse().ok().as_ref() != Some(id) {
        let message = format!("the CN of the leaf in {path} is {common_name:?}, not {id}");
        return Err(CommandError::refused(message)
            .hint("DPS looks enrollments up by CN: one under another ID decides nothing"));
    }
    if let Some(reason) = revoked(&context.home, &leaf)? {
        let message = format!("the leaf in {path} is marked revoked in the inventory: {reason}");
        return Err(CommandError::refused(message)
            .hint(format!("issue a new one with: dps-pki issue {id}")));
    }
    if leaf.validity().not_after() < context.now() {
        context
            .ui
            .warning(format!("the leaf in {path} has expired"));
    }
    Ok(leaf)
}

fn pinned(
    id: &RegistrationId,
    before: Option<&IndividualEnrollment>,
    leaf: &Certificate,
) -> IndividualEnrollment {
    match before {
        Some(before) => IndividualEnrollment {
            attestation: by_leaf(leaf),
            ..before.clone()
        },
        None => IndividualEnrollment::new(id.clone(), by_leaf(leaf)),
    }
}

/// Why the inventory says that a leaf is revoked, if it does.
fn revoked(home: &Home, leaf: &Certificate) -> Result<Option<String>, CommandError> {
    let entry = home
        .inventory()?
        .by_sha256_thumbprint(&leaf.sha256_thumbprint())?;
    Ok(match entry.map(|entry| entry.state) {
        Some(CertificateState::Revoked { reason, .. }) => Some(reason.to_string()),
        _ => None,
    })
}

fn pin_notes(dps: &DpsName, after: &IndividualEnrollment) -> Vec<String> {
    let id = &after.registration_id;
    vec![match &after.provisioning_status {
        ProvisioningStatus::Enabled => {
            "the device is let in with this leaf and no other, whatever the groups say".to_owned()
        }
        ProvisioningStatus::Disabled => format!(
            "the enrollment stays disabled and the device out; let it in with: {}",
            command_in(dps, format_args!("dps device enable {id}"))
        ),
        ProvisioningStatus::Other(word) => format!(
            "the enrollment keeps its status {word:?}, and nobody here knows whether that lets the device in"
        ),
    }]
}

/// Leaves in a document whose CN is not the ID: DPS takes them, and they never match a device.
fn foreign_leaves(individual: &IndividualEnrollment) -> Vec<String> {
    let Mechanism::X509(X509Certificates::Client(slots)) = &individual.attestation.mechanism else {
        return Vec::new();
    };
    let names = slots
        .iter()
        .filter_map(|slot| slot.certificate.as_deref())
        .filter_map(pem::certificate_in_json)
        .map(|leaf| leaf.common_name().unwrap_or_default());
    let id = &individual.registration_id;
    names
        .filter(|name| name.parse().ok().as_ref() != Some(id))
        .map(|name| format!("a leaf with the CN {name:?} never matches an enrollment named {id}"))
        .collect()
}

fn set_status(context: &Context, id: &RegistrationId, status: ProvisioningStatus) -> CommandResult {
    let planes = planes::chosen(context)?;
    let individuals = planes.individuals()?;
    let before = existing(&context.runtime, &planes, &individuals, id)?;
    let notes = if status == ProvisioningStatus::Enabled {
        enable_notes(&context.home, &context.ui, &before)?
    } else {
        vec![format!(
            "a device that is connected to its hub stays connected: see {}",
            command_in(planes.name(), format_args!("hub device disable {id}"))
        )]
    };
    entry::set_status(context, &planes, &before, status, notes, |after| {
        impact::on_device(context, &planes, Some(&before), id, None, |view| {
            view.put_individual(after)
        })
    })
}

/// With what the device will be let in; a leaf that was revoked is named.
fn enable_notes(
    home: &Home,
    ui: &Ui,
    individual: &IndividualEnrollment,
) -> Result<Vec<String>, CommandError> {
    let mut notes = vec![format!(
        "device {} is let in with: {}",
        individual.registration_id,
        attestation(&individual.attestation)
    )];
    let Mechanism::X509(X509Certificates::Client(slots)) = &individual.attestation.mechanism else {
        return Ok(notes);
    };
    let inventory = home.inventory()?;
    for thumbprint in slots.iter().filter_map(|slot| slot.sha256_thumbprint()) {
        let entry = inventory.by_sha256_thumbprint(&thumbprint)?;
        if let Some(CertificateState::Revoked { reason, .. }) = entry.map(|entry| entry.state) {
            let warning = format!(
                "leaf {thumbprint} is marked revoked ({reason}), and this lets in whoever holds its key"
            );
            ui.warning(&warning);
            notes.push(warning);
        }
    }
    Ok(notes)
}

impl DeleteArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let planes = planes::chosen(context)?;
        let individuals = planes.individuals()?;
        let goal = entry::goal_of_deletion::<IndividualEnrollment>(&self.id);
        let before = match existing(&context.runtime, &planes, &individuals, &self.id) {
            Ok(before) => before,
            Err(missing) => return deleted_before(context, &planes, &goal, missing),
        };
        self.refuse_disabled(&before)?;
        let change = self.change(context, &planes, &before)?;
        if !self.let_device_in {
            change.refuse_gains("if that is meant, say --let-device-in")?;
        }
        let expect = Expectation::Etag(entry::tag(&before)?);
        let step = Step::delete_individual(self.id.clone(), expect);
        let (lets_in, reopens) = if self.let_device_in {
            (Who::Anybody, step.subjects())
        } else {
            (Who::Nobody, vec![])
        };
        let promise = Promise {
            refuses: Who::Anybody,
            lets_in,
            reopens: reopens.into_iter().collect(),
            ..Promise::default()
        };
        change.carry_out_as(context, &planes, step, &before.found(), &promise)
    }

    fn refuse_disabled(&self, individual: &IndividualEnrollment) -> Result<(), CommandError> {
        let keeps_out = individual.provisioning_status == ProvisioningStatus::Disabled;
        if !keeps_out || self.let_device_in {
            return Ok(());
        }
        let message = format!(
            "individual enrollment {} is disabled and keeps the device out; deleting it lets the device, and a stolen copy of its certificate, in again through its group",
            self.id
        );
        Err(CommandError::refused(message)
            .hint("if that is meant, say --let-device-in")
            .hint("an entry that names its new leaf lets it in with that one only; keep the entry until the old leaf has expired"))
    }

    fn change(
        &self,
        context: &Context,
        planes: &Planes<'_>,
        before: &IndividualEnrollment,
    ) -> Result<Change, CommandError> {
        let impact = impact::on_device(context, planes, Some(before), &self.id, None, |view| {
            view.remove_individual(&self.id);
            Ok(())
        })?;
        if impact.is_none() && !self.let_device_in {
            let message = "whether this lets in a leaf that is kept out now cannot be told";
            return Err(CommandError::refused(message)
                .hint("to delete it all the same, say --let-device-in"));
        }
        let mut notes = vec![
            "from then on groups decide about the device; its registration record and hub identity stay"
                .to_owned(),
        ];
        if before.provisioning_status == ProvisioningStatus::Disabled {
            notes.push("this lets the device in again if a group holds its chain".to_owned());
        }
        Ok(entry::deletion::<IndividualEnrollment>(
            planes, &self.id, notes, impact,
        ))
    }
}

/// The individual enrollment of a device, which has to be there.
fn existing(
    runtime: &Runtime,
    planes: &Planes<'_>,
    individuals: &Individuals,
    id: &RegistrationId,
) -> Result<IndividualEnrollment, CommandError> {
    entry::existing(runtime, planes, individuals, id).map_err(|error| {
        error.hint("a device of a group needs none; to shut it out: dps-pki quarantine")
    })
}
