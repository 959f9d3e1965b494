//! Whether the clock can be right by which a generation is to be made, and who can tell.
//!
//! The audit trail is a home's own witness of time; nothing may have happened in it for long. Then a
//! declared DPS is asked: every answer of it tells the time, and nobody need sign in for one. Where none
//! is reached, a person at the terminal is asked, and without one it takes the flag.

use pki_core::authority::{ClockAhead, refuse_clock_ahead};
use pki_core::ids::DpsName;
use pki_core::inventory::Inventory;
use pki_core::inventory::audit::AuditEntry;
use pki_core::time::Time;

use crate::context::Context;
use crate::error::CommandError;
use crate::issuance::policy;
use crate::planes;

/// The way to say that the clock is right.
const FLAG: &str = "if it is right, say so: --clock-is-right";

/// Refuses a clock that may be ahead, unless a witness or a person says that it is right. A dry run asks
/// nobody at the terminal.
pub(crate) fn check(
    context: &Context,
    inventory: &dyn Inventory,
    clock_is_right: bool,
) -> Result<(), CommandError> {
    if clock_is_right {
        return Ok(());
    }
    let begins = context.now() - policy(&context.home)?.backdate;
    let head = inventory.audit_head()?.map_or(0, |head| head.sequence);
    let last = inventory.audit_entries(head.saturating_sub(1), 1)?;
    let Err(ahead) = refuse_clock_ahead(begins, last.first().map(AuditEntry::at)) else {
        return Ok(());
    };
    let Some((name, told)) = time_of_a_dps(context) else {
        return ask(context, ahead);
    };
    if refuse_clock_ahead(begins, Some(told)).is_err() {
        let message = format!(
            "this machine's clock is ahead: it says {}, and DPS {name} says {told}",
            context.now()
        );
        return Err(CommandError::refused(message)
            .hint("set the clock")
            .hint(FLAG));
    }
    let last = ahead.last;
    context.ui.note(format!(
        "nothing has happened in this home since {last}; DPS {name} says as well that it is {told}"
    ));
    Ok(())
}

/// What the first declared DPS says that answers.
fn time_of_a_dps(context: &Context) -> Option<(DpsName, Time)> {
    let declared = &context.home.declaration().ok()?.dps;
    declared.iter().find_map(|(name, dps)| {
        let planes = planes::of(context, name, dps).ok()?;
        let told = context.runtime.block_on(async { Ok(planes.time().await?) });
        Some((name.clone(), told.ok()?))
    })
}

fn ask(context: &Context, ahead: ClockAhead) -> Result<(), CommandError> {
    let settings = &context.settings;
    // A yes that was given beforehand was not given to this.
    if context.dialog.can_ask() && !settings.yes && !settings.dry_run {
        let now = context.now();
        let last = ahead.last;
        return context.dialog.confirm(&format!(
            "Nothing has happened in this home since {last}, and no DPS tells the time.\n\
             This machine's clock says {now}. Is that right?"
        ));
    }
    Err(CommandError::refused(ahead.to_string()).hint(FLAG))
}
