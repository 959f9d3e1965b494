//! `readmit`: a device that was shut out comes back, with its new leaf only.

use std::path::PathBuf;

use pki_core::admission::{Decision, DpsView, explain};
use pki_core::certificate::Certificate;
use pki_core::format::pem;
use pki_core::ids::RegistrationId;
use pki_core::inventory::sqlite::SqliteInventory;
use pki_core::inventory::{Inventory as _, InventoryEntry, Status};
use pki_core::lifecycle::{LeafStanding, Promise, Readmit, ReadmitState, Subject, Who, readmit};
use pki_core::profile::Role;

use super::quarantine::state;
use super::quarantine::target::Target;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::execute::Proposal;
use crate::judged::Judged;
use crate::planes::Planes;
use crate::render::plan::{PlanAndImpact, PlanAndProof};
use crate::snapshot::{DpsSnapshot, chain_of};
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
        let planes = Planes::chosen(context)?;
        let mut inventory = context.inventory()?;
        let leaf = pem::certificate(&context.read(&self.cert)?);
        let leaf = leaf.map_err(|error| CommandError::in_file(&self.cert, &error))?;
        let (view, state) = self.state(context, &planes, &inventory, &leaf)?;
        let request = Readmit {
            registration_id: state
                .individual
                .as_ref()
                .map_or(&self.id, |entry| &entry.registration_id)
                .clone(),
            leaf,
        };
        let plan = readmit(&request, &state, context.now())?;
        let promise = promise(&request.registration_id);
        let judged = Judged::new(context, &planes, &inventory, &view, plan, &promise)?;
        let shown = PlanAndImpact::proposed(&judged);
        let proposal = Proposal::new(&judged.plan, &shown);
        let done = proposal.carry_out(context, &planes, &mut inventory)?.done;
        let proof = match context.settings.dry_run {
            true => None,
            false => Some(prove(context, &planes, &inventory, &request, &state)?),
        };
        let read_back = proof.iter().map(|proof| {
            let (id, outcome) = (&request.registration_id, &proof.outcome);
            format!("with its new leaf {id} is {outcome}; every earlier leaf is refused")
        });
        context.ui.result(&PlanAndProof {
            registration_id: &request.registration_id,
            planned: PlanAndImpact { done, ..shown },
            read_back: read_back.collect(),
            proof,
        })?;
        Ok(Outcome::Done)
    }

    fn state(
        &self,
        context: &Context,
        planes: &Planes<'_>,
        inventory: &SqliteInventory,
        leaf: &Certificate,
    ) -> Result<(DpsView, ReadmitState), CommandError> {
        let known = inventory.by_sha256_thumbprint(&leaf.sha256_thumbprint())?;
        let standing = known.map_or(LeafStanding::Unknown, |entry| standing(&entry));
        let mut earlier = inventory.certificates_of(&self.id)?;
        earlier.retain(|entry| {
            entry.recorded.role() == Role::Leaf && entry.recorded.certificate() != leaf
        });
        let target = Target {
            id: self.id.clone(),
            leaf: None,
            entry: None,
        };
        let (snapshot, found) = context.block_on(async {
            let snapshot = DpsSnapshot::gather(planes).await?;
            let found = state::gather(planes, &snapshot, std::slice::from_ref(&target)).await?;
            Ok((snapshot, found))
        })?;
        let found = found.into_iter().next().unwrap_or_default();
        let is_known = found.individual.is_some()
            || found.registration.is_some()
            || standing != LeafStanding::Unknown
            || !earlier.is_empty();
        if !is_known {
            return Err(unknown_device(inventory, &self.id)?);
        }
        let state = ReadmitState {
            individual: found.individual,
            leaf: standing,
            earlier: earlier
                .iter()
                .map(|entry| entry.recorded.certificate().clone())
                .collect(),
            hub_identities: found.hub_identities,
        };
        Ok((snapshot.view()?, state))
    }
}

fn standing(entry: &InventoryEntry) -> LeafStanding {
    match entry.state.status() {
        Status::Delivered => LeafStanding::Valid,
        Status::Revoked => LeafStanding::Revoked,
        Status::Undelivered | Status::Voided => LeafStanding::Unknown,
    }
}

/// Nobody but the device is let in, and nothing but its own entry is enabled.
fn promise(id: &RegistrationId) -> Promise {
    Promise {
        lets_in: Who::Devices([id.clone()].into()),
        reopens: [Subject::Device(id.clone())].into(),
        ..Promise::default()
    }
}

/// Reads DPS again: the new leaf must be in, and every earlier one out.
fn prove(
    context: &Context,
    planes: &Planes<'_>,
    inventory: &SqliteInventory,
    request: &Readmit,
    state: &ReadmitState,
) -> Result<Decision, CommandError> {
    let ids = [&request.registration_id];
    let view = context.block_on(DpsSnapshot::about(planes, &ids))?.view()?;
    let proof = explain(&view, &chain_of(inventory, &request.leaf)?);
    let wrong =
        |message: String| Err(CommandError::new(ErrorKind::Conflict, message).hint("run it again"));
    let id = &request.registration_id;
    if !proof.is_admitted() {
        return wrong(format!("{id} is still not let in: {}", proof.outcome));
    }
    for leaf in &state.earlier {
        let decision = explain(&view, &chain_of(inventory, leaf)?);
        if decision.is_admitted() {
            return wrong(format!(
                "leaf {} of {id} is not kept out: {}",
                leaf.serial_number(),
                decision.outcome
            ));
        }
    }
    Ok(proof)
}
