//! `readmit`: a device that was shut out comes back, with its new leaf only.

use std::path::PathBuf;

use pki_core::admission::{Decision, DpsView, explain, outcome_below};
use pki_core::certificate::{Certificate, pem};
use pki_core::ids::{DpsName, RegistrationId};
use pki_core::inventory::{Inventory as _, InventoryEntry, Status};
use pki_core::lifecycle::{
    HubAction, LeafStanding, Promise, Readmit, ReadmitState, Subject, Verdict, Who, readmit,
};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;

use super::everywhere::{Problems, Within, instances};
use super::quarantine::state;
use super::quarantine::target::Target;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};
use crate::execute::Proposal;
use crate::hubs::UnreadHub;
use crate::judged;
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
        let all = instances(context)?;
        let mut inventory = context.inventory()?;
        let leaf = pem::certificate(&context.read(&self.cert)?);
        let leaf = leaf.map_err(|error| CommandError::in_file(&self.cert, &error))?;
        let mut found = Vec::new();
        for planes in &all {
            found.push((planes, self.found(context, planes, &inventory, &leaf)?));
        }
        let is_known = found.iter().any(|(_, found)| found.is_known);
        if !is_known {
            return Err(unknown_device(&inventory, &self.id)?);
        }
        // Of several instances it is those that shut the device out.
        if found
            .iter()
            .any(|(_, found)| found.state.individual.is_some())
        {
            found.retain(|(_, found)| found.state.individual.is_some());
        }
        let mut problems = Problems::default();
        for (planes, found) in &found {
            let dps = (all.len() > 1).then(|| planes.name());
            let done = self.within(context, planes, dps, &mut inventory, (&leaf, found));
            problems.note(dps, done)?;
        }
        problems.end()
    }

    fn within(
        &self,
        context: &Context,
        planes: &Planes<'_>,
        dps: Option<&DpsName>,
        inventory: &mut SqliteInventory,
        (leaf, found): (&Certificate, &Found),
    ) -> Result<(), CommandError> {
        let state = &found.state;
        let request = Readmit {
            registration_id: state
                .individual
                .as_ref()
                .map_or(&self.id, |entry| &entry.registration_id)
                .clone(),
            leaf: leaf.clone(),
        };
        let plan = readmit(&request, state, context.now())?;
        let promise = promise(&request.registration_id);
        let ids = [&request.registration_id];
        let judged = judged::plan_of_devices(
            context,
            planes,
            inventory,
            &found.view,
            plan,
            &promise,
            &ids,
        )?;
        let shown = PlanAndImpact::proposed(&judged);
        let proposal = Proposal::new(&judged.plan, &shown).within(dps);
        let done = proposal.carry_out(context, planes, inventory)?.done;
        let proof = if context.settings.dry_run {
            None
        } else {
            Some(prove(context, planes, inventory, &request, state)?)
        };
        let read_back = proof.iter().map(|proof| {
            let (id, outcome) = (&request.registration_id, &proof.outcome);
            format!("with its new leaf {id} is {outcome}; every earlier leaf is refused")
        });
        context.ui.item(&Within {
            dps,
            result: PlanAndProof {
                registration_id: &request.registration_id,
                planned: PlanAndImpact { done, ..shown },
                read_back: read_back.collect(),
                proof,
            },
        })?;
        match found.unread.first() {
            Some(unread) if !context.settings.dry_run => {
                let message = format!(
                    "{} is let in by DPS, and its hub cannot be read: {}",
                    request.registration_id, unread.hub
                );
                Err(CommandError::new(ErrorKind::PartlyFailed, message).hint(
                    "if its identity there is disabled, the hub refuses it; run it again when the hub can be read",
                ))
            }
            _ => Ok(()),
        }
    }

    fn found(
        &self,
        context: &Context,
        planes: &Planes<'_>,
        inventory: &SqliteInventory,
        leaf: &Certificate,
    ) -> Result<Found, CommandError> {
        let known = inventory.by_sha256_thumbprint(&leaf.sha256_thumbprint())?;
        let standing = known.map_or(LeafStanding::Unknown, |entry| standing(&entry));
        let mut earlier = inventory.certificates_of(&self.id)?;
        earlier.retain(|entry| {
            entry.recorded.role() == Role::Leaf && entry.recorded.certificate() != leaf
        });
        let target = [Target::without_leaf(self.id.clone())];
        let (snapshot, gathered) = context.block_on(async {
            let snapshot = DpsSnapshot::about(planes, &[&self.id]).await?;
            let action = HubAction::default();
            let gathered = state::gather(planes, inventory, &snapshot, &target, action).await?;
            Ok((snapshot, gathered))
        })?;
        let found = gathered.states.into_iter().next().unwrap_or_default();
        let is_known = found.individual.is_some()
            || found.registration.is_some()
            || standing != LeafStanding::Unknown
            || !earlier.is_empty();
        let view = snapshot.view()?;
        let chain = chain_of(inventory, leaf)?;
        let verdict = Verdict::from(outcome_below(&view, chain.above_leaf()));
        let state = ReadmitState {
            individual: found.individual,
            leaf: standing,
            earlier: earlier
                .iter()
                .map(|entry| entry.recorded.certificate().clone())
                .collect(),
            hub_identities: found.hub_identities,
            groups: snapshot.groups,
            decides: verdict.group().cloned(),
        };
        Ok(Found {
            is_known,
            view,
            state,
            unread: gathered.unread,
        })
    }
}

/// What there is of the device in one instance.
struct Found {
    is_known: bool,
    view: DpsView,
    state: ReadmitState,
    unread: Vec<UnreadHub>,
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
    let view = context.wait_for(DpsSnapshot::about(planes, &ids))?.view()?;
    let proof = explain(&view, &chain_of(inventory, &request.leaf)?);
    let wrong =
        |message: String| Err(CommandError::new(ErrorKind::Conflict, message).hint("run it again"));
    let id = &request.registration_id;
    if !proof.is_admitted() {
        return wrong(format!("{id} is still not let in: {}", proof.outcome));
    }
    for leaf in &state.earlier {
        let decision = explain(&view, &chain_of(inventory, leaf)?);
        if !decision.is_kept_out() {
            return wrong(format!(
                "leaf {} of {id} is not kept out: {}",
                leaf.serial_number(),
                decision.outcome
            ));
        }
    }
    Ok(proof)
}
