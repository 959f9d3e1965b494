//! `readmit`: a device that was shut out comes back, with its new leaf only.

use std::path::PathBuf;

use dps_operations::readmit::{Prepared, Request, concerned};
use pki_core::certificate::pem;
use pki_core::ids::{DpsName, RegistrationId};
use pki_core::sqlite::SqliteInventory;

use super::everywhere::{Problems, Within, instances};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};
use crate::execute::Proposal;
use crate::planes::Planes;
use crate::render::plan::{PlanAndImpact, PlanAndProof};
use crate::snapshot::around;
use crate::unknown::unknown_device;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki readmit sensor-2 --cert renewed/sensor-2.cert.pem --dry-run")]
pub(crate) struct Args {
    /// The device
    #[arg(value_name = "ID")]
    id: RegistrationId,

    /// Its new leaf, with a new key, as renew makes it
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let all = instances(context)?;
        let mut inventory = context.home.inventory()?;
        let leaf = pem::certificate(&context.inputs.read(&self.cert)?)
            .map_err(|error| CommandError::in_file(&self.cert, &error))?;
        let request = Request {
            id: self.id.clone(),
            leaf,
        };
        let mut found = Vec::new();
        for planes in &all {
            let prepared = request.prepare(around(&context.settings, planes, &inventory));
            found.push(context.runtime.wait_for(prepared)?);
        }
        if !found.iter().any(Prepared::is_known) {
            return Err(unknown_device(&inventory, &self.id)?);
        }
        let mut problems = Problems::default();
        for index in concerned(&found) {
            let planes = &all[index];
            let dps = (all.len() > 1).then(|| planes.name());
            let readmission = (&request, &found[index]);
            let done = within(context, planes, dps, &mut inventory, readmission);
            problems.note(dps, done)?;
        }
        problems.end()
    }
}

fn within(
    context: &Context,
    planes: &Planes<'_>,
    dps: Option<&DpsName>,
    inventory: &mut SqliteInventory,
    (request, prepared): (&Request, &Prepared),
) -> Result<(), CommandError> {
    let id = prepared.id(request);
    let judged = prepared.judge(around(&context.settings, planes, inventory), request)?;
    let shown = PlanAndImpact::proposed(&judged);
    let proposal = Proposal::new(&judged.plan, &shown).within(dps);
    let done = proposal.carry_out(context, planes, inventory)?.done;
    let proof = if context.settings.dry_run {
        None
    } else {
        let read_back = prepared.read_back(around(&context.settings, planes, inventory), request);
        Some(context.runtime.wait_for(read_back)?)
    };
    let read_back = proof.iter().map(|proof| {
        let outcome = &proof.outcome;
        format!("with its new leaf {id} is {outcome}; every earlier leaf is refused")
    });
    context.ui.item(&Within {
        dps,
        result: PlanAndProof {
            registration_id: id,
            planned: PlanAndImpact { done, ..shown },
            read_back: read_back.collect(),
            proof,
        },
    })?;
    match prepared.unread() {
        Some(unread) if !context.settings.dry_run => {
            let message = format!(
                "{id} is let in by DPS, and its hub cannot be read: {}",
                unread.hub
            );
            Err(CommandError::new(ErrorKind::PartlyFailed, message).hint(
                "if its identity there is disabled, the hub refuses it; run it again when the hub can be read",
            ))
        }
        _ => Ok(()),
    }
}
