//! Commands that concern every DPS instance of `pki.toml` unless `--dps` names one, and what they say of
//! instances in which they were not done.

use std::fmt;

use dps_operations::judge::Judged;
use pki_core::ids::DpsName;
use pki_core::wording::{command_in, counted};
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::planes::{self, Planes};
use crate::render::plan::{Outline, PlanAndImpact};

/// The instance that `--dps` names, or all that are declared.
pub(super) fn instances(context: &Context) -> Result<Vec<Planes<'_>>, CommandError> {
    let declared = &context.home.declaration()?.dps;
    if context.settings.dps.is_some() || declared.len() < 2 {
        return Ok(vec![planes::chosen(context)?]);
    }
    declared
        .iter()
        .map(|(name, declared)| planes::of(context, name, declared))
        .collect()
}

/// The declared instances that `--dps` leaves out.
fn others(context: &Context) -> Result<Vec<Planes<'_>>, CommandError> {
    let Some(chosen) = &context.settings.dps else {
        return Ok(vec![]);
    };
    let declared = context.home.declaration()?.dps.iter();
    declared
        .filter(|(name, _)| *name != chosen)
        .map(|(name, declared)| planes::of(context, name, declared))
        .collect()
}

/// Who is let in by an instance that `--dps` leaves out.
#[derive(Default)]
pub(super) struct LetIn {
    /// A line each.
    pub(super) lines: Vec<String>,
    /// What shuts them out there, without `dps-pki` and `--dps`.
    pub(super) command: String,
    /// What stands for something in it, said behind it.
    pub(super) placeholder: &'static str,
}

/// Names the instances that `--dps` leaves out and that would let somebody in, as `let_in` tells of each, with the
/// commands that shut them out there.
pub(super) fn elsewhere(
    context: &Context,
    let_in: impl Fn(&Planes<'_>) -> Result<LetIn, CommandError>,
) -> Result<(), CommandError> {
    let mut left = Vec::new();
    let mut commands = Vec::new();
    for planes in others(context)? {
        let name = planes.name();
        match let_in(&planes) {
            Ok(found) if found.lines.is_empty() => {}
            Ok(found) => {
                let lines = found.lines.iter();
                left.extend(lines.map(|line| format!("DPS {name}: {line}")));
                let command = command_in(name, found.command);
                commands.push(format!("{command}{}", found.placeholder));
            }
            Err(error) => left.push(format!("DPS {name} cannot be asked: {error}")),
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    if context.settings.dry_run {
        left.iter().for_each(|line| context.ui.warning(line));
        return Ok(());
    }
    let message = "not shut out everywhere: --dps leaves other instances out";
    let error = CommandError::new(ErrorKind::PartlyFailed, message).lines(&left);
    Err(commands.into_iter().fold(error, |error, command| {
        error.hint(format!("shut out there as well, with: {command}"))
    }))
}

/// Shows what is to be done in all instances, and asks once.
pub(super) fn confirm(
    context: &Context,
    parts: &[(&Planes<'_>, &Judged)],
) -> Result<(), CommandError> {
    let meant = parts
        .iter()
        .filter(|(_, judged)| !judged.plan.plan().is_empty());
    let meant: Vec<&(&Planes<'_>, &Judged)> = meant.collect();
    let Some((_, first)) = meant.first() else {
        return Ok(());
    };
    if context.settings.dry_run {
        return Ok(());
    }
    let mut steps = 0;
    for (planes, judged) in &meant {
        steps += judged.plan.plan().steps.len();
        if !context.settings.yes {
            context.ui.note(Within {
                dps: Some(planes.name()),
                result: Outline(PlanAndImpact::proposed(judged)),
            });
        }
    }
    context.dialog.confirm(&format!(
        "{}: carry out {} in {}?",
        first.plan.plan().goal,
        counted(steps, "step", "steps"),
        counted(meant.len(), "DPS instance", "DPS instances")
    ))
}

/// A result in one of several instances; alone it is shown as it is.
#[derive(Serialize)]
pub(super) struct Within<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dps: Option<&'a DpsName>,
    #[serde(flatten)]
    pub(super) result: T,
}

impl<T: fmt::Display> fmt::Display for Within<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(dps) = self.dps {
            writeln!(f, "DPS {dps}:")?;
        }
        write!(f, "{}", self.result)
    }
}

/// What went wrong while the rest went on.
#[derive(Default)]
pub(super) struct Problems(Vec<(Option<DpsName>, CommandError)>);

impl Problems {
    /// Takes note of an instance in which something was not done, and goes on to the next; a refusal and
    /// an interruption end everything.
    pub(super) fn note(
        &mut self,
        dps: Option<&DpsName>,
        result: Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let Err(error) = result else {
            return Ok(());
        };
        let ends = matches!(
            error.kind,
            ErrorKind::Refused | ErrorKind::Interrupted | ErrorKind::OutputClosed | ErrorKind::Bug
        );
        if ends {
            return Err(error);
        }
        self.0.push((dps.cloned(), error));
        Ok(())
    }

    /// The same of an instance in which somebody was to be shut out: one that cannot be reached lets them in.
    /// `who` are they, with a verb: `sensor-2 is`.
    pub(super) fn note_let_in(
        &mut self,
        dps: Option<&DpsName>,
        who: &str,
        result: Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        match (dps, result) {
            (Some(dps), Err(error)) if error.kind == ErrorKind::Service => {
                let message = format!("{who} NOT shut out in DPS {dps}: {}", error.message);
                let error = CommandError {
                    kind: ErrorKind::PartlyFailed,
                    message,
                    ..error
                };
                let again = "say it again when it can be reached: it goes on there";
                self.0.push((None, error.hint(again)));
                Ok(())
            }
            (dps, result) => self.note(dps, result),
        }
    }

    /// The same of those that could not be read while others could; where none can, nobody was shut out anywhere.
    pub(super) fn note_unread(
        &mut self,
        unread: Vec<(Option<&DpsName>, CommandError)>,
        who: &str,
        is_any_read: bool,
    ) -> Result<(), CommandError> {
        for (dps, error) in unread {
            if is_any_read {
                self.note_let_in(dps, who, Err(error))?;
            } else {
                self.note(dps, Err(error))?;
            }
        }
        Ok(())
    }

    /// How the command ends.
    pub(super) fn end(mut self) -> CommandResult {
        if self.0.len() < 2 {
            let Some((dps, error)) = self.0.pop() else {
                return Ok(Outcome::Done);
            };
            let message = match dps {
                Some(dps) => format!("DPS {dps}: {}", error.message),
                None => error.message.clone(),
            };
            return Err(CommandError { message, ..error });
        }
        let message = "not everything was done; the report says what is left";
        let failed = CommandError::new(ErrorKind::PartlyFailed, message);
        let lines: Vec<String> = self
            .0
            .iter()
            .map(|(dps, error)| match dps {
                Some(dps) => format!("DPS {dps}: {error}"),
                None => error.to_string(),
            })
            .collect();
        let hints = self.0.into_iter().flat_map(|(_, error)| error.hints);
        let mut failed = failed.lines(&lines);
        for hint in hints {
            if !failed.hints.contains(&hint) {
                failed = failed.hint(hint);
            }
        }
        Err(failed)
    }
}
