//! Rolling an authority, in every DPS instance. What is compromised is in [`super::breach`].

use dps_operations::PlanningError;
use dps_operations::roll::{
    AuthorityRoll, FinishRequest, Instances, StartRequest, generations, open_plans,
};
use pki_core::ids::AuthorityName;
use pki_core::inventory::Inventory as _;
use pki_core::lifecycle::roll::{AuthorityState, Generations};
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::{counted, fitting};

use super::instances::{Reachable, Unreached, all, gather, reachable};
use super::report::{OpenPlan, Status, Statuses};
use super::rolling::Carrying;
use super::{FinishArgs, Rolled, StartArgs, StatusArgs, device, refuse_option, resolve};
use crate::commands::authority::{declared, successor};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::home::Home;
use crate::issuance::{no_authority, refuse_not_begun};
use crate::planes::Planes;
use crate::render::ui::Ui;
use crate::snapshot::names;

impl StartArgs {
    pub(super) fn authority(
        &self,
        context: &Context,
        mut inventory: SqliteInventory,
        name: &AuthorityName,
    ) -> CommandResult {
        refuse_option(self.cert.is_some(), "--cert", "an authority")?;
        if self.compromised {
            return self.breach(context, inventory, name);
        }
        let generations = generations_of(&context.home, &inventory, name)?;
        let planes = all(context)?;
        let instances = gather(&context.runtime, &planes)?;
        // Before a key is made that would be of no use.
        let mut roll = roll_of(context, &inventory, &instances, name)?;
        roll.check_issuer()?;
        context.runtime.wait_for(roll.check_breach())?;
        if !context.settings.dry_run {
            let current = generations.current().map(|held| held.number);
            let declared = declared(context, name)?;
            successor(
                context,
                &mut inventory,
                declared,
                current,
                self.clock_is_right,
            )?;
        } else if let AuthorityState::Active { .. } | AuthorityState::Requested { .. } =
            generations.state
        {
            return Err(not_made(name));
        }
        refuse_not_begun(context.now(), &inventory, name)?;
        let request = StartRequest {
            overlap: self.overlap,
            accept_stranded: self.accept_stranded,
        };
        let rolling = roll_of(context, &inventory, &instances, name)?.start(request)?;
        Carrying::new(context, &planes, &instances, &rolling).carry_out(&mut inventory)
    }
}

impl FinishArgs {
    pub(super) fn authority(
        &self,
        context: &Context,
        mut inventory: SqliteInventory,
        name: &AuthorityName,
    ) -> CommandResult {
        let planes = all(context)?;
        let instances = gather(&context.runtime, &planes)?;
        let mut roll = roll_of(context, &inventory, &instances, name)?;
        let moving = context.runtime.wait_for(roll.moving())?;
        warn_of_unread(&context.ui, &moving.unread_hubs);
        let request = FinishRequest {
            accept_stranded: self.accept_stranded,
            with_intermediates: self.with_intermediates,
        };
        let rolling = roll.finish(request, moving)?;
        Carrying::new(context, &planes, &instances, &rolling).carry_out(&mut inventory)
    }
}

/// Takes the new generation away again.
pub(super) fn abort(
    context: &Context,
    mut inventory: SqliteInventory,
    name: &AuthorityName,
) -> CommandResult {
    let planes = all(context)?;
    let instances = gather(&context.runtime, &planes)?;
    let rolling = roll_of(context, &inventory, &instances, name)?.abort()?;
    Carrying::new(context, &planes, &instances, &rolling).carry_out(&mut inventory)
}

impl StatusArgs {
    pub(super) fn run(&self, context: &Context, inventory: &SqliteInventory) -> CommandResult {
        let names = match &self.name {
            None => inventory
                .authorities()?
                .into_iter()
                .map(|record| record.name)
                .collect(),
            Some(name) => match resolve(context, inventory, name, self.device)? {
                Rolled::Authority(name) => vec![name],
                Rolled::Device(id) => {
                    let status = device::status(context, inventory, &id)?;
                    return self.show(context, inventory, vec![status]);
                }
            },
        };
        let Reachable {
            planes,
            snapshots,
            unreached,
        } = reachable(context)?;
        let instances = Instances::of(planes.iter().map(Planes::instance).zip(snapshots));
        let mut statuses = Vec::with_capacity(names.len());
        for name in &names {
            statuses.push(status(context, inventory, &instances, name)?);
        }
        let shown = self.show(context, inventory, statuses)?;
        refuse_unreached(&unreached)?;
        Ok(shown)
    }

    fn show(
        &self,
        context: &Context,
        inventory: &SqliteInventory,
        mut statuses: Vec<Status>,
    ) -> CommandResult {
        for status in &mut statuses {
            let open = open_plans(inventory, context, &status.name)?;
            status.open_plans = open.into_iter().map(OpenPlan::from).collect();
        }
        let is_waiting = statuses.iter().any(Status::is_waiting);
        context.ui.result(&Statuses(statuses))?;
        if self.detailed_exitcode && is_waiting {
            Ok(Outcome::SomethingToDo)
        } else {
            Ok(Outcome::Done)
        }
    }
}

fn status(
    context: &Context,
    inventory: &SqliteInventory,
    instances: &Instances<'_>,
    name: &AuthorityName,
) -> Result<Status, CommandError> {
    let mut roll = roll_of(context, inventory, instances, name)?;
    let found = context.runtime.wait_for(roll.status())?;
    warn_of_unread(&context.ui, &found.unread_hubs);
    for hub in &found.worklist.unread_hubs {
        let warning = format!("whom it keeps out cannot be told: {hub}");
        context.ui.warning(warning);
    }
    let names = names(&context.settings).unwrap_or(usize::MAX);
    Ok(Status::of(&found.status, &found.left_behind)
        .with_worklist(&found.worklist, names)
        .with_unfinished(name, found.unfinished.as_ref()))
}

/// Says of which instances nothing is known; the others were told.
fn refuse_unreached(unreached: &[Unreached]) -> Result<(), CommandError> {
    if unreached.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} cannot be read, and what is told leaves {} out",
        counted(unreached.len(), "DPS instance", "DPS instances"),
        fitting(unreached.len(), "it", "them")
    );
    Err(CommandError::new(ErrorKind::PartlyFailed, message).lines(unreached))
}

/// The generations of an authority.
///
/// # Errors
/// `NotFound` if there is no such authority.
pub(super) fn generations_of(
    home: &Home,
    inventory: &SqliteInventory,
    name: &AuthorityName,
) -> Result<Generations, CommandError> {
    match generations(inventory, name)? {
        Some(generations) => Ok(generations),
        None => Err(no_authority(home, name)?),
    }
}

/// The roll of an authority as it is now.
///
/// # Errors
/// `NotFound` if there is no such authority.
pub(super) fn roll_of<'a>(
    context: &Context,
    inventory: &'a SqliteInventory,
    instances: &'a Instances<'a>,
    name: &AuthorityName,
) -> Result<AuthorityRoll<'a>, CommandError> {
    let now = (context.now(), names(&context.settings));
    match AuthorityRoll::gather(inventory, instances, name, now) {
        Err(PlanningError::NoAuthority { name }) => Err(no_authority(&context.home, &name)?),
        roll => Ok(roll?),
    }
}

fn warn_of_unread(ui: &Ui, hubs: &[String]) {
    for hub in hubs {
        ui.warning(format!(
            "which leaves devices showed last cannot be told: {hub}"
        ));
    }
}

fn not_made(name: &AuthorityName) -> CommandError {
    let message =
        format!("authority {name} has no generation to be rolled to yet, and a dry run makes none");
    CommandError::refused(message).hint(format!(
        "make it with: dps-pki authority create {name} --next; DPS does not change by that"
    ))
}
