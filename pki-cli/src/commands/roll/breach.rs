//! A breach roll of an authority: shut out wherever DPS can be reached.

use dps_operations::roll::{BreachRequest, Instances};
use pki_core::ids::{AuthorityName, Generation};
use pki_core::lifecycle::roll::{Condemned, Generations};
use pki_core::sqlite::SqliteInventory;

use super::StartArgs;
use super::authority::{generations_of, roll_of};
use super::instances::{Reachable, reachable};
use super::rolling::Carrying;
use crate::commands::authority::{check_clock, declared, successor};
use crate::context::Context;
use crate::error::{CommandResult, ErrorKind};
use crate::hubs::refuse_unread;
use crate::issuance::{generation_of, refuse_not_begun};
use crate::planes::Planes;
use crate::typed::breach_roll;

impl StartArgs {
    pub(super) fn breach(
        &self,
        context: &Context,
        mut inventory: SqliteInventory,
        name: &AuthorityName,
    ) -> CommandResult {
        let generations = generations_of(&context.home, &inventory, name)?;
        if self.generation.is_some() {
            generation_of(&context.home, &inventory, name, self.generation)?;
        }
        let condemned = generations.condemned(name, self.generation)?;
        let hub = self.hub.into();
        let command = breach_roll(name, self.generation, hub, self.with_intermediates);
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
        // The hour in which one wants to know whom it hits is not that in which keys are made.
        let is_shown = context.settings.dry_run
            && !condemned.is_replaced()
            && generations.newcomer().is_none();
        if is_shown {
            check_clock(context, &inventory, self.clock_is_right)?;
        } else {
            if !condemned.is_replaced() && !context.settings.dry_run {
                let current = Some(condemned.generation().number);
                let declared = declared(context, name)?;
                successor(
                    context,
                    &mut inventory,
                    declared,
                    current,
                    self.clock_is_right,
                )?;
            }
            refuse_not_begun(context.now(), &inventory, name)?;
        }
        let instances = Instances::of(planes.iter().map(Planes::instance).zip(snapshots));
        let request = BreachRequest {
            generation: self.meant(condemned),
            hub,
            with_intermediates: self.with_intermediates,
            is_shown,
        };
        let roll = roll_of(context, &inventory, &instances, name)?;
        let breach = context.runtime.wait_for(roll.breach(request))?;
        for note in &breach.notes {
            context.ui.warning(note);
        }
        if condemned.is_replaced() && self.generation.is_none() {
            self.note_which(context, &generations, name);
        }
        let ended = Carrying::new(context, &planes, &instances, &breach.rolling)
            .without(unreached, command)
            .carry_out(&mut inventory)?;
        if !context.settings.dry_run {
            refuse_unread(&breach.unread)?;
        }
        Ok(ended)
    }

    /// The generation that is asked for, also if another process replaces it meanwhile; none where the one that
    /// was replaced before is meant only because no other was named.
    fn meant(&self, condemned: Condemned<'_>) -> Option<Generation> {
        match condemned {
            Condemned::Current(current) => Some(current.number),
            Condemned::Retired(_) | Condemned::Replaced(_) => self.generation,
        }
    }

    /// Tells which generation is not meant, since none was named.
    fn note_which(&self, context: &Context, generations: &Generations, name: &AuthorityName) {
        if let Some(current) = generations.current() {
            let number = current.number;
            let hub = self.hub.into();
            let command = breach_roll(name, Some(number), hub, self.with_intermediates);
            context.ui.note(format!(
                "generation {number} stays; if it is compromised as well: {command}"
            ));
        }
    }
}
