//! `quarantine`: shut devices out everywhere, and prove it.

pub(super) mod below;
pub(super) mod target;
mod turns;

use std::fmt;

use dps_operations::hubs::UnreadHub;
use dps_operations::quarantine::{DeviceReport, Prepared, Request, is_out};
use pki_core::admission::Decision;
use pki_core::ids::{AuthorityName, RegistrationId};
use pki_core::inventory::Inventory as _;
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::{counted, fitting};
use serde::Serialize;

use self::target::{targets, who};
use self::turns::{Part, Turns, close_and_finish};
use super::everywhere::{LetIn, Problems, Within, elsewhere, instances};
use super::roll::HubChoice;
use crate::config::{NAMED, Settings};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};
use crate::planes::Planes;
use crate::render::plan::{Outline, PlanAndProof};
use crate::render::ui::Ui;
use crate::snapshot::around;
use crate::unknown::{near, unknown_device};

#[derive(clap::Args)]
#[command(after_help = "\
The registration ID is taken from the certificate wherever one is at hand: an entry under another ID
shuts nobody out. DPS and IoT Hub consult no CRL; this is what keeps a device out. Every DPS instance
of pki.toml is meant unless --dps names one; those that would still let the device in are named then.

Examples:
  dps-pki quarantine sensor-2 --reason stolen
  dps-pki quarantine sensor-2.cert.pem --hub delete --yes
  dps-pki quarantine stolen.txt --dry-run
  dps-pki quarantine --authority line-a --dry-run")]
pub(crate) struct Args {
    /// Registration ID, certificate file, serial number, thumbprint, or a file with a list of these, one
    /// a line; - for a list on standard input
    #[arg(value_name = "WHAT", required_unless_present = "authority")]
    what: Vec<String>,

    /// Shut out everything below this authority, also what nobody knows of: by a disabled group
    #[arg(long, value_name = "NAME", conflicts_with = "what")]
    authority: Option<AuthorityName>,

    /// Why, for the hub identity and the record
    #[arg(long)]
    reason: Option<String>,

    /// What to do with the hub's device identity
    #[arg(long, value_enum, default_value = "disable")]
    hub: HubChoice,

    /// A registration ID that neither the inventory nor DPS knows is meant: it is shut out before it comes
    #[arg(long, conflicts_with = "authority")]
    unknown: bool,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let mut inventory = context.home.inventory()?;
        if let Some(authority) = &self.authority {
            let below = below::below(&context.home, context.now(), &inventory, authority)?;
            let all = instances(context)?;
            return self.below_everywhere(context, &all, &mut inventory, (authority, &below));
        }
        let all = instances(context)?;
        let request = Request {
            targets: targets(context, &inventory, &self.what)?,
            reason: self.reason.clone(),
            hub: self.hub.into(),
        };
        self.devices_everywhere(context, &all, &mut inventory, &request)
    }

    fn devices_everywhere(
        &self,
        context: &Context,
        all: &[Planes<'_>],
        inventory: &mut SqliteInventory,
        request: &Request,
    ) -> CommandResult {
        let mut unread = Vec::new();
        let mut found = Vec::new();
        for planes in all {
            let dps = (all.len() > 1).then(|| planes.name());
            let prepared = request.prepare(around(&context.settings, planes, inventory));
            match context.runtime.wait_for(prepared) {
                Ok(prepared) => found.push((planes, dps, prepared)),
                Err(error) => unread.push((dps, error)),
            }
        }
        let prepared: Vec<&Prepared> = found.iter().map(|(_, _, prepared)| prepared).collect();
        if !prepared.is_empty() {
            self.check_known(&context.ui, inventory, request, &prepared)?;
        }
        let who = who(&request.targets);
        let mut problems = Problems::default();
        problems.note_unread(unread, &who, !found.is_empty())?;
        let mut parts = Vec::new();
        for (planes, dps, prepared) in found {
            match prepared.judge(around(&context.settings, planes, inventory), request) {
                Ok(judged) => parts.push(DevicesPart {
                    request,
                    turns: Turns::new(planes, dps, judged, request.failures()),
                    prepared,
                }),
                Err(error) => problems.note(dps, Err(error.into()))?,
            }
        }
        close_and_finish(parts, &who, context, inventory, &mut problems)?;
        let let_in = |planes: &Planes<'_>| self.let_in(context, planes, inventory, request);
        problems.note(None, elsewhere(context, let_in))?;
        problems.end()
    }

    /// Refuses devices that nothing knows, unless they are meant, and warns of those that are shut out by
    /// their ID alone.
    fn check_known(
        &self,
        ui: &Ui,
        inventory: &SqliteInventory,
        request: &Request,
        prepared: &[&Prepared],
    ) -> Result<(), CommandError> {
        let unknown = if self.unknown {
            Vec::new()
        } else {
            request.unknown(inventory, prepared)?
        };
        let error = match unknown.as_slice() {
            [] => {
                for prepared in prepared {
                    warn_of_unknown(ui, inventory, &request.by_id_alone(prepared))?;
                }
                return Ok(());
            }
            [only] => unknown_device(inventory, only)?,
            many => {
                let message = format!(
                    "{} are known neither to the inventory nor to DPS",
                    counted(many.len(), "device", "devices")
                );
                CommandError::not_found(message).lines(many)
            }
        };
        Err(error.hint("for a registration ID that nothing knows yet, say --unknown"))
    }

    /// Which of the devices an instance lets in.
    fn let_in(
        &self,
        context: &Context,
        planes: &Planes<'_>,
        inventory: &SqliteInventory,
        request: &Request,
    ) -> Result<LetIn, CommandError> {
        let decisions = request.read_back(around(&context.settings, planes, inventory));
        let decisions = context.runtime.wait_for(decisions)?;
        let mut lines = Vec::new();
        let mut ids = Vec::new();
        for (target, decision) in request.let_in(decisions) {
            lines.push(match target.leaf {
                Some(_) => format!("{} is {}", target.id, decision.outcome),
                None => format!("{} has no disabled entry there", target.id),
            });
            ids.push(target.id.as_str());
        }
        let unknown = if self.unknown { " --unknown" } else { "" };
        Ok(LetIn {
            lines,
            command: self.command(&format!("{}{unknown}", ids.join(" "))),
            ..LetIn::default()
        })
    }

    /// The command that shuts somebody out as it was asked for.
    fn command(&self, who: &str) -> String {
        let hub = self.hub.option();
        format!("quarantine {who}{hub}")
    }
}

/// What is to be done in one instance.
struct DevicesPart<'a> {
    request: &'a Request,
    turns: Turns<'a>,
    prepared: Prepared,
}

impl<'a> Part<'a> for DevicesPart<'a> {
    fn turns(&mut self) -> &mut Turns<'a> {
        &mut self.turns
    }

    fn unread(&self) -> &[UnreadHub] {
        self.prepared.unread()
    }

    fn tell(&self, context: &Context, inventory: &SqliteInventory) -> Result<(), CommandError> {
        let proofs = if context.settings.dry_run {
            Vec::new()
        } else {
            let seen = around(&context.settings, self.turns.planes, inventory);
            context.runtime.wait_for(self.request.read_back(seen))?
        };
        match self.request.targets.as_slice() {
            [only] => self.one(&context.ui, &only.id, proofs),
            _ => self.many(&context.settings, &context.ui, &proofs),
        }
    }
}

impl DevicesPart<'_> {
    fn one(
        &self,
        ui: &Ui,
        id: &RegistrationId,
        mut proofs: Vec<Decision>,
    ) -> Result<(), CommandError> {
        let proof = proofs.pop();
        if let Some(proof) = proof.as_ref().filter(|proof| !is_out(proof)) {
            let message = format!("{id} is still not shut out: {}", proof.outcome);
            return Err(CommandError::new(ErrorKind::Conflict, message).hint("run it again"));
        }
        let read_back = proof
            .iter()
            .map(|proof| format!("{id} is {}", proof.outcome));
        ui.item(&Within {
            dps: self.turns.dps,
            result: PlanAndProof {
                registration_id: id,
                planned: self.turns.outcome(),
                read_back: read_back.collect(),
                proof,
            },
        })
    }

    /// A line for each device, and an error that names those that are not out.
    fn many(&self, settings: &Settings, ui: &Ui, proofs: &[Decision]) -> Result<(), CommandError> {
        let dps = self.turns.dps;
        if settings.dry_run {
            return ui.item(&Within {
                dps,
                result: Outline(self.turns.outcome()),
            });
        }
        let execution = &self.turns.execution;
        let reports = self
            .request
            .report(&self.prepared, proofs, &execution.failed);
        let mut left = 0_usize;
        for report in &reports {
            left += usize::from(!report.is_shut_out());
            ui.item(&Within {
                dps,
                result: DeviceLine::of(report, execution.done),
            })?;
        }
        if left == 0 {
            return Ok(());
        }
        let message = format!(
            "{left} of {} {} not shut out everywhere",
            counted(reports.len(), "device", "devices"),
            fitting(left, "is", "are")
        );
        Err(CommandError::new(ErrorKind::PartlyFailed, message)
            .hint("the report says which; run it again for these"))
    }
}

/// Warns of devices that are about to be shut out by their ID alone: a name that is written wrong shuts
/// nobody out.
fn warn_of_unknown(
    ui: &Ui,
    inventory: &SqliteInventory,
    unknown: &[&RegistrationId],
) -> Result<(), CommandError> {
    for id in unknown.iter().take(NAMED) {
        let near = if inventory.certificates_of(id)?.is_empty() {
            near(inventory, id)?
        } else {
            None
        };
        let near = near.map(|near| format!("; did you mean {near}?"));
        ui.warning(format!(
            "the inventory has no valid leaf of {id}: it is shut out by its ID alone, which must be the CN of its leaf{}",
            near.unwrap_or_default()
        ));
    }
    if unknown.len() > NAMED {
        let more = counted(unknown.len() - NAMED, "more device", "more devices");
        ui.warning(format!("and of {more}"));
    }
    Ok(())
}

/// What became of one device of several.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceLine<'a> {
    pub(super) registration_id: &'a RegistrationId,
    pub(super) done: bool,
    pub(super) proof: &'a Decision,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl<'a> DeviceLine<'a> {
    fn of(report: &DeviceReport<'a>, is_done: bool) -> Self {
        let failure = report.failure.map(ToString::to_string);
        let unread = report.unread;
        Self {
            registration_id: report.registration_id,
            done: is_done && failure.is_none(),
            proof: report.proof,
            error: failure
                .or_else(|| unread.map(|hub| format!("its hub cannot be read: {}", hub.hub))),
        }
    }
}

impl fmt::Display for DeviceLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.registration_id, self.proof.outcome)?;
        match &self.error {
            Some(error) => write!(f, "; failed: {error}"),
            None => Ok(()),
        }
    }
}
