//! A breach roll of an authority: shut out wherever DPS can be reached.

use dps_operations::roll::{BreachRequest, Instances, generations};
use pki_core::ids::AuthorityName;
use pki_core::lifecycle::HubAction;
use pki_core::sqlite::SqliteInventory;

use super::StartArgs;
use super::authority::roll_of;
use super::instances::{Reachable, reachable};
use super::rolling::Carrying;
use crate::commands::authority::{check_clock, declared, successor};
use crate::context::Context;
use crate::error::{CommandResult, ErrorKind};
use crate::hubs::refuse_unread;
use crate::issuance::refuse_not_begun;
use crate::planes::Planes;

impl StartArgs {
    pub(super) fn breach(
        &self,
        context: &Context,
        mut inventory: SqliteInventory,
        name: &AuthorityName,
    ) -> CommandResult {
        let command = command(name, self.hub.into(), self.with_intermediates);
        let Reachable {
            planes,
            snapshots,
            unreached,
        } = reachable(context).map_err(|error| match error.kind {
            ErrorKind::Usage => error.hint(format!("say it without --dps: {command}")),
            _ => error.hint(format!("say it again when it can be reached: {command}")),
        })?;
        for one in &unreached {
            context.ui.warning(format!("{one}; it is left out"));
        }
        let generations = generations(&inventory, name)?;
        let is_replaced = (generations.as_ref()).is_some_and(|held| held.replaced().is_some());
        let has_newcomer = (generations.as_ref()).is_some_and(|held| held.newcomer().is_some());
        // The hour in which one wants to know whom it hits is not that in which keys are made.
        let is_shown = context.settings.dry_run && !is_replaced && !has_newcomer;
        if !is_replaced && !context.settings.dry_run {
            let declared = declared(context, name)?;
            successor(context, &mut inventory, declared, self.clock_is_right)?;
        }
        if is_shown {
            check_clock(context, &inventory, self.clock_is_right)?;
        } else {
            refuse_not_begun(context.now(), &inventory, name)?;
        }
        let instances = Instances::of(planes.iter().map(Planes::instance).zip(snapshots));
        let request = BreachRequest {
            hub: self.hub.into(),
            with_intermediates: self.with_intermediates,
            is_shown,
        };
        let roll = roll_of(context, &inventory, &instances, name)?;
        let breach = context.runtime.wait_for(roll.breach(request))?;
        for note in &breach.notes {
            context.ui.warning(note);
        }
        if is_replaced && breach.rolling.is_empty() {
            context.ui.note(format!(
                "if the present generation is compromised as well, make the next one first: dps-pki authority create {name} --next"
            ));
        }
        let ended = Carrying::new(context, &planes, &instances, &breach.rolling)
            .without(unreached, command)
            .carry_out(&mut inventory)?;
        if !context.settings.dry_run {
            refuse_unread(&breach.unread)?;
        }
        Ok(ended)
    }
}

/// The command that says a breach roll again as it was asked for.
pub(in crate::commands) fn command(
    name: &AuthorityName,
    hub: HubAction,
    with_intermediates: bool,
) -> String {
    let hub = match hub {
        HubAction::Disable => "",
        HubAction::Delete => " --hub delete",
        HubAction::Keep => " --hub keep",
    };
    let below = if with_intermediates {
        " --with-intermediates"
    } else {
        ""
    };
    format!("dps-pki roll start {name} --compromised{below}{hub}")
}
