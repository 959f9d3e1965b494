//! Rolling the leaf that an individual enrollment names.

use dps_operations::PlanningError;
use dps_operations::roll::device::{DeviceRoll, Phase, Prepared};
use pki_core::admission::{self, Entry};
use pki_core::certificate::{Certificate, pem};
use pki_core::ids::RegistrationId;
use pki_core::inventory::Inventory as _;
use pki_core::sqlite::SqliteInventory;
use pki_core::time::Time;
use pki_core::wording::command_in;
use serde::Serialize;

use super::report::{End, Status};
use super::{FinishArgs, StartArgs, refuse_option, with_near_names};
use crate::commands::everywhere::{LetIn, Problems, elsewhere};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::execute::Proposal;
use crate::hubs::refuse_unread;
use crate::inputs::Inputs;
use crate::planes::{self, Planes};
use crate::render::plan::{PlanAndImpact, PlanAndProof};
use crate::snapshot::around;

impl StartArgs {
    pub(super) fn device(
        &self,
        context: &Context,
        mut inventory: SqliteInventory,
        id: &RegistrationId,
    ) -> CommandResult {
        refuse_option(self.overlap.is_some(), "--overlap", "a device")?;
        refuse_option(self.accept_stranded > 0, "--accept-stranded", "a device")?;
        refuse_option(self.with_intermediates, "--with-intermediates", "a device")?;
        let planes = planes::chosen(context)?;
        let mut roll = gather(context, &planes, &inventory, id)?;
        if self.compromised {
            let looked = roll.look_on_every_hub(around(&context.settings, &planes, &inventory));
            for note in context.runtime.wait_for(looked)? {
                context.ui.warning(note);
            }
        }
        let new = self.new_leaf(&context.inputs, context.now(), &inventory, &roll)?;
        let prepared = if self.compromised {
            roll.replace(&new, self.hub.into(), context.now())?
        } else {
            roll.start(&new)?
        };
        let ended = carry_out(context, &planes, &mut inventory, (&roll, &prepared))?;
        if !self.compromised {
            return Ok(ended);
        }
        let mut problems = Problems::default();
        // Only a compromised leaf's identity has to go from its hub.
        if !context.settings.dry_run {
            problems.note(None, refuse_unread(&roll.unread))?;
        }
        let let_in = |other: &Planes<'_>| self.let_in(context, other, &inventory, (&roll, &new));
        problems.note(None, elsewhere(context, let_in))?;
        problems.end()
    }

    /// Whether another instance lets the device in by a leaf that is compromised.
    fn let_in(
        &self,
        context: &Context,
        other: &Planes<'_>,
        inventory: &SqliteInventory,
        (roll, new): (&DeviceRoll, &Certificate),
    ) -> Result<LetIn, CommandError> {
        let seen = around(&context.settings, other, inventory);
        let outcome = context.runtime.wait_for(roll.let_in_by_others(seen, new))?;
        let Some(outcome) = outcome else {
            return Ok(LetIn::default());
        };
        let id = &roll.id;
        let mut placeholder = "";
        // A quarantine would revoke the new leaf as well; an entry that names it alone keeps out the others.
        let command = match outcome {
            admission::Outcome::Admitted(Entry::Individual(_)) => {
                let device = if self.named.device { " --device" } else { "" };
                let hub = self.hub.option();
                format!("roll start {id}{device} --compromised{hub}")
            }
            _ => match &self.cert {
                Some(path) => format!("dps device put {id} --cert {}", path.display()),
                None => {
                    placeholder = "; FILE is its new leaf";
                    format!("dps device put {id} --cert FILE")
                }
            },
        };
        Ok(LetIn {
            lines: vec![format!("{id} is {outcome} with a leaf that is compromised")],
            command,
            placeholder,
        })
    }

    /// The leaf that is named, or the newest one that is valid.
    fn new_leaf(
        &self,
        inputs: &Inputs,
        now: Time,
        inventory: &SqliteInventory,
        roll: &DeviceRoll,
    ) -> Result<Certificate, CommandError> {
        let id = &roll.id;
        if let Some(path) = &self.cert {
            let leaf = pem::certificate(&inputs.read(path)?);
            let leaf = leaf.map_err(|error| CommandError::in_file(path, &error))?;
            let known = inventory.by_sha256_thumbprint(&leaf.sha256_thumbprint())?;
            return if known.is_some_and(|entry| entry.is_live(now)) {
                Ok(leaf)
            } else {
                Err(CommandError::refused(format!(
                    "{}: it is no valid leaf of this inventory",
                    path.display()
                ))
                .hint(format!("a new one comes from: dps-pki renew {id}")))
            };
        }
        match roll.newest_leaf(now) {
            Some(leaf) => Ok(leaf.clone()),
            None => Err(CommandError::refused(format!(
                "the inventory has no valid leaf of {id} to roll to"
            ))
            .hint(format!("make one with: dps-pki renew {id}"))),
        }
    }
}

impl FinishArgs {
    pub(super) fn device(
        &self,
        context: &Context,
        mut inventory: SqliteInventory,
        id: &RegistrationId,
    ) -> CommandResult {
        refuse_option(self.with_intermediates, "--with-intermediates", "a device")?;
        let planes = planes::chosen(context)?;
        let roll = gather(context, &planes, &inventory, id)?;
        let seen = around(&context.settings, &planes, &inventory);
        let prepared = roll
            .finish(seen, self.accept_stranded > 0)
            .map_err(|error| not_ended(&planes, error))?;
        carry_out(context, &planes, &mut inventory, (&roll, &prepared))
    }
}

/// Takes the new leaf out of the entry again.
pub(super) fn abort(
    context: &Context,
    mut inventory: SqliteInventory,
    id: &RegistrationId,
) -> CommandResult {
    let planes = planes::chosen(context)?;
    let roll = gather(context, &planes, &inventory, id)?;
    let prepared = roll
        .abort(around(&context.settings, &planes, &inventory))
        .map_err(|error| not_ended(&planes, error))?;
    carry_out(context, &planes, &mut inventory, (&roll, &prepared))
}

/// Why the roll of a leaf does not end. What an entry holds that nobody knows is put by name.
fn not_ended(planes: &Planes<'_>, error: PlanningError) -> CommandError {
    let PlanningError::ForeignLeaf { id } = &error else {
        return error.into();
    };
    let put = format_args!("dps device put {id} --cert FILE");
    let hint = format!(
        "put what it is to hold with: {}",
        command_in(planes.name(), put)
    );
    CommandError::from(error).hint(hint)
}

/// Where the roll of a device stands.
pub(super) fn status(
    context: &Context,
    inventory: &SqliteInventory,
    id: &RegistrationId,
) -> Result<Status, CommandError> {
    let planes = planes::chosen(context)?;
    let roll = gather(context, &planes, inventory, id)?;
    let (phase, waits) = match roll.phase() {
        Phase::Idle => ("idle", vec![]),
        Phase::Moved => {
            let text = "it has registered since its enrollment holds the new leaf: finish it";
            ("overlap", vec![text.to_owned()])
        }
        Phase::Waiting => (
            "overlap",
            vec![format!("{id} to register with its new leaf")],
        ),
    };
    let held = roll.held();
    let ends = held.iter().map(|leaf| End {
        at: leaf.validity().not_after(),
        what: format!("leaf {} of {id} ends", leaf.serial_number()),
    });
    let mut deadlines: Vec<End> = ends.collect();
    deadlines.sort_by_key(|end| end.at);
    Ok(Status {
        name: id.to_string(),
        phase,
        waits,
        deadlines,
        ..Status::default()
    })
}

fn gather(
    context: &Context,
    planes: &Planes<'_>,
    inventory: &SqliteInventory,
    id: &RegistrationId,
) -> Result<DeviceRoll, CommandError> {
    let seen = around(&context.settings, planes, inventory);
    if let Some(roll) = context.runtime.wait_for(DeviceRoll::gather(seen, id))? {
        return Ok(roll);
    }
    let message = format!(
        "there is no authority {id}, and no device {id}: neither the inventory nor DPS knows it"
    );
    let unknown = CommandError::not_found(message);
    Err(with_near_names(unknown, &context.home, inventory, id)?)
}

fn carry_out(
    context: &Context,
    planes: &Planes<'_>,
    inventory: &mut SqliteInventory,
    (roll, prepared): (&DeviceRoll, &Prepared),
) -> CommandResult {
    let judged = prepared.judge(around(&context.settings, planes, inventory), roll)?;
    let shown = PlanAndImpact::proposed(&judged);
    let done = Proposal::new(&judged.plan, &shown)
        .carry_out(context, planes, inventory)?
        .done;
    let proofs = if context.settings.dry_run {
        vec![]
    } else {
        let seen = around(&context.settings, planes, inventory);
        context.runtime.wait_for(roll.read_back(seen, prepared))?
    };
    let proof: Vec<Proof> = proofs
        .iter()
        .map(|proof| Proof {
            serial_number: proof.serial_number.to_string(),
            outcome: proof.outcome.to_string(),
        })
        .collect();
    let read_back = proof.iter().map(|proof| {
        let Proof {
            serial_number,
            outcome,
        } = proof;
        format!("leaf {serial_number} of {} is {outcome}", roll.id)
    });
    context.ui.result(&PlanAndProof {
        registration_id: &roll.id,
        planned: PlanAndImpact { done, ..shown },
        read_back: read_back.collect(),
        proof,
    })?;
    Ok(Outcome::Done)
}

/// What DPS decides about a leaf, read back.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Proof {
    serial_number: String,
    outcome: String,
}
