//! One write to DPS or a hub that was asked for by name: shown, asked about, and carried out by
//! [`crate::execute`] as a plan of one step.
//!
//! Invariant: what keeps a device out is taken away only where that was asked for in so many words, and
//! only what was read is overwritten.

use std::fmt;

use dps_operations::document::document;
use pki_core::lifecycle::{Checked, Effect, FieldChange, Found, Impact, Promise, Step, Who};
use serde::Serialize;
use serde_json::Value;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::execute::{self, Proposal};
use crate::planes::Planes;
use crate::render::plan::write_impact;
use crate::render::ui::Ui;

/// A write, before anything is sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    /// What kind of change it is: `group-disabled`.
    pub(crate) action: &'static str,
    /// What is done, in the imperative: `disable enrollment group line-1`.
    pub(crate) summary: String,
    /// What the journal calls it, where that is not the summary: a command that was cut says the same again,
    /// whatever of it is done.
    #[serde(skip)]
    pub(crate) goal: Option<String>,
    /// The record's ID.
    pub(crate) subject: String,
    /// The DPS instance or hub that holds it.
    pub(crate) place: String,
    /// What differs in the record.
    pub(crate) changes: Vec<FieldChange>,
    /// What follows from it.
    pub(crate) notes: Vec<String>,
    /// Who loses and gains admission; `None` where it does not matter or cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) impact: Option<Impact>,
}

impl Change {
    /// Refuses what lets in a device that is kept out now; `hint` says how it could be meant.
    pub(crate) fn refuse_gains(&self, hint: &str) -> Result<(), CommandError> {
        let Some(impact) = &self.impact else {
            return Ok(());
        };
        let Some(first) = impact.with(Effect::Gains).next() else {
            return Ok(());
        };
        let named = first.named.first().map(ToString::to_string);
        let others = match impact.count(Effect::Gains) {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let message = format!(
            "{} lets in {}{others}: {} now, {} afterwards",
            self.summary,
            named.as_deref().unwrap_or("a device"),
            first.before,
            first.after
        );
        Err(CommandError::refused(message).hint(hint))
    }

    /// Shows it, asks, and carries it out as a plan of one step; a dry run only shows it. `read` is
    /// the record that the step was made from, to tell what somebody else has changed since. It lets nobody in.
    pub(crate) fn carry_out(
        self,
        context: &Context,
        planes: &Planes<'_>,
        step: Step,
        read: &Found,
    ) -> CommandResult {
        let promise = Promise {
            refuses: Who::Anybody,
            ..Promise::default()
        };
        self.carry_out_as(context, planes, step, read, &promise)
    }

    /// The same where more was asked for.
    pub(crate) fn carry_out_as(
        self,
        context: &Context,
        planes: &Planes<'_>,
        step: Step,
        read: &Found,
        promise: &Promise,
    ) -> CommandResult {
        let mut inventory = context.home.inventory()?;
        let impact = self.impact.as_ref();
        let goal = self.goal.as_ref().unwrap_or(&self.summary);
        let plan = Checked::single(goal, step, read, impact, promise)?;
        let before = document(read);
        let proposal = Proposal {
            question: format!("{}: {}?", self.place, self.summary),
            before: before.as_ref(),
            ..Proposal::new(&plan, &self)
        };
        let execution = proposal.carry_out(context, planes, &mut inventory)?;
        let document = if execution.done {
            execute::read(context, planes, &mut inventory, &plan.plan().steps[0])?
        } else {
            None
        };
        let was_shown = !context.settings.yes;
        self.report(&context.ui, execution.done, was_shown, document)
    }

    fn report(
        self,
        ui: &Ui,
        done: bool,
        was_shown: bool,
        document: Option<Value>,
    ) -> CommandResult {
        ui.result(&Report {
            done,
            was_shown,
            document,
            change: self,
        })?;
        Ok(Outcome::Done)
    }
}

/// Says that a record is as it should be already. A plan for just that which is open was cut after its write:
/// it is closed.
pub(crate) fn nothing_to_do(
    context: &Context,
    planes: &Planes<'_>,
    goal: &str,
    state: &str,
) -> CommandResult {
    execute::close_same(context, planes, &mut context.home.inventory()?, goal)?;
    context.ui.result(&NothingToDo { done: false, state })?;
    Ok(Outcome::Done)
}

/// What is to be deleted is not there. If a plan to delete it is open, that was cut after its write: it is
/// closed, and nothing is left to do. Else `missing` is what is wrong.
pub(crate) fn deleted_before(
    context: &Context,
    planes: &Planes<'_>,
    goal: &str,
    missing: CommandError,
) -> CommandResult {
    let is_known = missing.kind == ErrorKind::NotFound
        && execute::close_same(context, planes, &mut context.home.inventory()?, goal)?;
    if !is_known {
        return Err(missing);
    }
    let state = &missing.message;
    context.ui.result(&NothingToDo { done: false, state })?;
    Ok(Outcome::Done)
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.summary)?;
        for change in &self.changes {
            write!(f, "\n  {change}")?;
        }
        for note in &self.notes {
            write!(f, "\nnote: {note}")?;
        }
        match &self.impact {
            Some(impact) => {
                writeln!(f)?;
                write_impact(f, impact)
            }
            None => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct Report {
    done: bool,
    /// Whether its impact was shown before it was done.
    #[serde(skip)]
    was_shown: bool,
    #[serde(flatten)]
    change: Change,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Value>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.done {
            return write!(f, "would do in {}", self.change);
        }
        write!(f, "done in {}: {}", self.change.place, self.change.summary)?;
        match &self.change.impact {
            Some(impact) if !self.was_shown && impact.count(Effect::Loses) > 0 => {
                writeln!(f)?;
                write_impact(f, impact)
            }
            _ => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct NothingToDo<'a> {
    done: bool,
    state: &'a str,
}

impl fmt::Display for NothingToDo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing to do: {}", self.state)
    }
}
