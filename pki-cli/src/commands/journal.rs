//! `journal`: the plans that changed DPS or were about to, and what to do with those that were cut short.

use std::fmt;

use pki_core::ids::PlanId;
use pki_core::inventory::InventoryError;
use pki_core::journal::{Journal as _, PlanRecord, PlanState, PlanSummary, Settled, StepState};
use pki_core::lifecycle::Step;
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::counted;
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::execute;
use crate::planes;
use crate::render::document::Listed;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(ListArgs),
    Show(ShowArgs),
    Resume(ResumeArgs),
    Abandon(AbandonArgs),
}

/// List plans, newest first
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki journal list
  dps-pki journal list --open --output json")]
struct ListArgs {
    /// Only plans that are still to be carried out
    #[arg(long)]
    open: bool,

    /// How many at most
    #[arg(long, value_name = "N", default_value = "20")]
    limit: usize,
}

/// Show a plan and where each of its steps stands
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki journal show 0a1b2c3d4e5f")]
struct ShowArgs {
    /// The plan, as journal list shows it
    plan: PlanId,
}

/// Carry on a plan that was cut short
///
/// Steps that may have reached the service are read back first, and sent again only if they are not
/// done. What somebody else changed in between is told and not overwritten.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki journal resume 0a1b2c3d4e5f --yes")]
struct ResumeArgs {
    /// The plan, as journal list shows it
    plan: PlanId,
}

/// Give up a plan that was cut short: what was done stays done
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki journal abandon 0a1b2c3d4e5f --reason superseded --yes")]
struct AbandonArgs {
    /// The plan, as journal list shows it
    plan: PlanId,

    /// Why, for the journal and the audit trail
    #[arg(long, default_value = "abandoned by its user")]
    reason: String,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let inventory = context.home.inventory()?;
        match &self.command {
            Command::List(args) => args.run(context, &inventory),
            Command::Show(args) => args.run(context, &inventory),
            Command::Resume(args) => args.run(context, inventory),
            Command::Abandon(args) => args.run(context, inventory),
        }
    }
}

impl ListArgs {
    fn run(&self, context: &Context, inventory: &SqliteInventory) -> CommandResult {
        let all = if self.open { usize::MAX } else { self.limit };
        let mut plans = inventory.plans(all)?;
        plans.retain(|plan| !self.open || plan.state.is_open());
        plans.truncate(self.limit);
        let mut list = Listed::new(&["PLAN", "STATUS", "DPS", "DONE", "OPENED", "GOAL"]);
        for plan in &plans {
            let cells = [
                plan.plan.to_string(),
                plan.state.as_str().to_owned(),
                plan.dps.to_string(),
                format!("{} of {}", plan.done, plan.steps),
                plan.opened_at.to_string(),
                plan.goal.clone(),
            ];
            list.push(plan, cells);
        }
        context.ui.result(&list)?;
        Ok(Outcome::Done)
    }
}

impl ShowArgs {
    fn run(&self, context: &Context, inventory: &SqliteInventory) -> CommandResult {
        let record = known(inventory, self.plan)?;
        context.ui.result(&Shown::new(&record))?;
        Ok(Outcome::Done)
    }
}

impl ResumeArgs {
    fn run(&self, context: &Context, mut inventory: SqliteInventory) -> CommandResult {
        let record = known(&inventory, self.plan)?;
        // What was given up is not done, and never will be.
        if matches!(record.state, PlanState::Abandoned { .. }) {
            return Err(InventoryError::PlanClosed { plan: self.plan }.into());
        }
        if !record.state.is_open() || context.settings.dry_run {
            context.ui.result(&Shown::brief(&record))?;
            return Ok(Outcome::Done);
        }
        if !context.settings.yes {
            context.ui.note(Shown::brief(&record));
        }
        context
            .dialog
            .confirm(&format!("{}: go on with it?", record.plan.goal))?;
        let declared = &context.home.declaration()?.dps;
        let Some((name, declared)) = declared.get_key_value(&record.dps) else {
            let message = format!(
                "plan {} is for DPS {}, which pki.toml does not declare any more",
                record.id, record.dps
            );
            return Err(CommandError::not_found(message));
        };
        let planes = planes::of(context, name, declared)?;
        let execution = execute::resume(context, &planes, &mut inventory, record)?;
        context
            .ui
            .result(&Shown::brief(&known(&inventory, self.plan)?))?;
        execution.check()
    }
}

impl AbandonArgs {
    fn run(&self, context: &Context, mut inventory: SqliteInventory) -> CommandResult {
        let record = known(&inventory, self.plan)?;
        let summary = record.summary();
        if context.settings.dry_run {
            context.ui.result(&Shown::new(&record))?;
            return Ok(Outcome::Done);
        }
        if !record.state.is_open() {
            return Err(InventoryError::PlanClosed { plan: self.plan }.into());
        }
        // Whoever carries it out must have stopped.
        let lock = execute::lock(context, &summary)?;
        context.dialog.confirm(&format!(
            "{}: give it up with {} of {} done?",
            summary.goal,
            summary.done,
            counted(summary.steps, "step", "steps")
        ))?;
        inventory.close_plan(self.plan, Some(&self.reason), context.now())?;
        lock.remove();
        let record = known(&inventory, self.plan)?;
        context.ui.result(&Shown::new(&record))?;
        Ok(Outcome::Done)
    }
}

fn known(inventory: &SqliteInventory, plan: PlanId) -> Result<PlanRecord, CommandError> {
    let record = inventory.plan(plan)?;
    record.ok_or_else(|| {
        CommandError::not_found(format!("no plan {plan} in the journal"))
            .hint("see them with: dps-pki journal list")
    })
}

/// From how many steps on they are told in brief, and how many of them.
const MANY: usize = 20;

/// A plan and where its steps stand.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    #[serde(flatten)]
    summary: PlanSummary,
    notes: &'a [String],
    plan_steps: Vec<ShownStep<'a>>,
    /// Whether people are told of many steps only what is left, and of that the beginning.
    #[serde(skip)]
    is_brief: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownStep<'a> {
    number: usize,
    what: String,
    #[serde(flatten)]
    state: &'a StepState,
}

impl<'a> Shown<'a> {
    fn new(record: &'a PlanRecord) -> Self {
        let steps = (1..).zip(&record.plan.steps).zip(&record.steps);
        let shown = |((number, step), state): ((usize, &Step), &'a StepState)| ShownStep {
            number,
            what: step.to_string(),
            state,
        };
        Self {
            summary: record.summary(),
            notes: &record.plan.notes,
            plan_steps: steps.map(shown).collect(),
            is_brief: false,
        }
    }

    fn brief(record: &'a PlanRecord) -> Self {
        Self {
            is_brief: record.steps.len() > MANY,
            ..Self::new(record)
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlanSummary {
            plan,
            dps,
            goal,
            state,
            steps,
            done,
            ..
        } = &self.summary;
        write!(
            f,
            "plan {plan} for DPS {dps}: {goal}\n{}, {done} of {} done",
            state.as_str(),
            counted(*steps, "step", "steps")
        )?;
        if let PlanState::Abandoned { reason, .. } = state {
            write!(f, ": {reason}")?;
        }
        let is_told =
            |step: &&ShownStep<'_>| !self.is_brief || !matches!(step.state, StepState::Done { .. });
        let told: Vec<&ShownStep<'_>> = self.plan_steps.iter().filter(is_told).collect();
        let most = if self.is_brief { MANY } else { told.len() };
        for step in told.iter().take(most) {
            write!(
                f,
                "\n  {}. {}: {}",
                step.number,
                step.what,
                state_of(step.state)
            )?;
        }
        if told.len() > most {
            let more = told.len() - most;
            write!(f, "\n  and {more} more: dps-pki journal show {plan}")?;
        }
        for note in self.notes {
            write!(f, "\nnote: {note}")?;
        }
        Ok(())
    }
}

fn state_of(state: &StepState) -> String {
    match state {
        StepState::Begun { at, .. } => format!("begun at {at}, how it ended is not known"),
        StepState::Done { at, outcome } => match outcome.how {
            Settled::Sent => format!("done at {at}"),
            Settled::Found => format!("found done at {at}"),
        },
        StepState::Failed { at, reason } => format!("failed at {at}: {reason}"),
        state => state.as_str().to_owned(),
    }
}
