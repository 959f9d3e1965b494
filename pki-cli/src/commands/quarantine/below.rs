//! Everything below an authority, in every instance.

use std::fmt;

use dps_operations::PlanningError;
use dps_operations::hubs::UnreadHub;
use dps_operations::judge::Judged;
use dps_operations::quarantine::{Below, PreparedBelow};
use pki_core::admission::Outcome;
use pki_core::ids::AuthorityName;
use pki_core::sqlite::SqliteInventory;
use pki_core::time::Time;
use serde::Serialize;

use super::Args;
use super::turns::{Part, Turns, close_and_finish};
use crate::commands::everywhere::{LetIn, Problems, Within, elsewhere};
use crate::config::Settings;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};
use crate::execute::Failures;
use crate::home::Home;
use crate::issuance::no_authority;
use crate::planes::Planes;
use crate::render::plan::Outline;
use crate::runtime::Runtime;
use crate::snapshot::around;

/// Everything below an authority of the inventory.
///
/// # Errors
/// `NotFound` if there is none.
pub(in crate::commands) fn below(
    home: &Home,
    now: Time,
    inventory: &SqliteInventory,
    name: &AuthorityName,
) -> Result<Below, CommandError> {
    match Below::of(inventory, name, now) {
        Err(PlanningError::NoAuthority { name }) => Err(no_authority(home, &name)?),
        below => Ok(below?),
    }
}

impl Args {
    pub(super) fn below_everywhere(
        &self,
        context: &Context,
        all: &[Planes<'_>],
        inventory: &mut SqliteInventory,
        (authority, below): (&AuthorityName, &Below),
    ) -> CommandResult {
        let who = format!("what is below {authority} is");
        let mut unread = Vec::new();
        let mut parts = Vec::new();
        for planes in all {
            let dps = (all.len() > 1).then(|| planes.name());
            match self.prepared(
                &context.settings,
                &context.runtime,
                planes,
                inventory,
                below,
            ) {
                Ok((prepared, judged)) => parts.push(BelowPart {
                    authority,
                    below,
                    turns: Turns::new(planes, dps, judged, Failures::Stop),
                    prepared,
                }),
                Err(error) => unread.push((dps, error)),
            }
        }
        let mut problems = Problems::default();
        problems.note_unread(unread, &who, !parts.is_empty())?;
        close_and_finish(parts, &who, context, inventory, &mut problems)?;
        let let_in = |planes: &Planes<'_>| {
            let outcome = context
                .runtime
                .wait_for(below.read_back(planes.instance()))?;
            let line = outcome.map(|outcome| not_shut_out(authority, &outcome));
            Ok(LetIn {
                lines: line.into_iter().collect(),
                command: self.command(&format!("--authority {authority}")),
                ..LetIn::default()
            })
        };
        problems.note(None, elsewhere(context, let_in))?;
        problems.end()
    }

    fn prepared(
        &self,
        settings: &Settings,
        runtime: &Runtime,
        planes: &Planes<'_>,
        inventory: &SqliteInventory,
        below: &Below,
    ) -> Result<(PreparedBelow, Judged), CommandError> {
        let seen = around(settings, planes, inventory);
        let prepared = below.prepare(seen, self.hub.into(), self.reason.as_deref());
        let prepared = runtime.wait_for(prepared)?;
        let judged = prepared.judge(seen)?;
        Ok((prepared, judged))
    }
}

/// What is to be done in one instance.
struct BelowPart<'a> {
    authority: &'a AuthorityName,
    below: &'a Below,
    turns: Turns<'a>,
    prepared: PreparedBelow,
}

impl<'a> Part<'a> for BelowPart<'a> {
    fn turns(&mut self) -> &mut Turns<'a> {
        &mut self.turns
    }

    fn unread(&self) -> &[UnreadHub] {
        &self.prepared.unread
    }

    fn tell(&self, context: &Context, _: &SqliteInventory) -> Result<(), CommandError> {
        let instance = self.turns.planes.instance();
        if !context.settings.dry_run
            && let Some(outcome) = context.runtime.wait_for(self.below.read_back(instance))?
        {
            let message = not_shut_out(self.authority, &outcome);
            return Err(CommandError::new(ErrorKind::Conflict, message).hint("run it again"));
        }
        let shown = ShutOut {
            outline: Outline(self.turns.outcome()),
            read_back: (!context.settings.dry_run).then_some(self.authority),
        };
        context.ui.item(&Within {
            dps: self.turns.dps,
            result: shown,
        })
    }
}

/// What was done, and below which authority nobody is let in since, as DPS says.
#[derive(Serialize)]
struct ShutOut<'a> {
    #[serde(flatten)]
    outline: Outline<'a>,
    #[serde(skip)]
    read_back: Option<&'a AuthorityName>,
}

impl fmt::Display for ShutOut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.outline)?;
        match self.read_back {
            Some(authority) => write!(
                f,
                "\nread back from DPS: no group lets in a device below {authority}"
            ),
            None => Ok(()),
        }
    }
}

fn not_shut_out(authority: &AuthorityName, outcome: &Outcome) -> String {
    format!("devices below {authority} are still not shut out: {outcome}")
}
