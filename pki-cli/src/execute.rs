//! Carries plans out for a person: shows, asks, has the engine do it, and tells how it went.
//!
//! What happens to DPS, hubs and journal is [`dps_operations::execute`]'s. Here are the question, `--dry-run`,
//! the lines of progress, Ctrl-C, and the sentences about what to type next.

mod ports;
mod told;

use std::fmt::Display;

use dps_operations::execute::{self, StepFailure};
use dps_operations::ports::PlanLock;
use dps_operations::{Engine, ExecuteError, Interruption, Order, TakenUp};
use pki_core::ids::DpsName;
use pki_core::journal::{Journal, PlanRecord, PlanSummary};
use pki_core::lifecycle::{Checked, Plan, Step};
use pki_core::wording::counted;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use self::told::Told;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::issuance::policy;
use crate::planes::Planes;
use crate::render::ui::Ui;

pub(crate) use dps_operations::Failures;

/// A plan that is to be carried out, and how it is spoken of.
pub(crate) struct Proposal<'a> {
    /// The plan: nothing else can be carried out than what the checker passed.
    pub(crate) plan: &'a Checked,
    /// The plan with its impact, for who is asked.
    pub(crate) shown: &'a dyn Display,
    /// What is asked.
    pub(crate) question: String,
    /// Whether that was answered beforehand, together with others.
    pub(crate) is_answered: bool,
    /// What happens after a step that failed for its record alone.
    pub(crate) failures: Failures,
    /// The record of a plan of one step as it was read.
    pub(crate) before: Option<&'a Value>,
}

/// What became of a plan.
#[derive(Debug, Default)]
pub(crate) struct Execution {
    /// Whether it was carried out at all.
    pub(crate) done: bool,
    /// What failed while the rest went on.
    pub(crate) failed: Vec<StepFailure>,
}

impl Execution {
    /// How the command ends: with the steps that failed, if there are any.
    pub(crate) fn check(&self) -> CommandResult {
        if self.failed.is_empty() {
            return Ok(Outcome::Done);
        }
        let failed = counted(self.failed.len(), "step", "steps");
        let message = format!("{failed} failed; the rest is done");
        Err(CommandError::new(ErrorKind::PartlyFailed, message)
            .lines(&self.failed)
            .hint("run it again to see what is left to do"))
    }
}

impl<'a> Proposal<'a> {
    /// A plan that stops at the first failure.
    pub(crate) fn new(plan: &'a Checked, shown: &'a dyn Display) -> Self {
        Self {
            plan,
            shown,
            question: format!(
                "{}: carry out {}?",
                plan.plan().goal,
                counted(plan.plan().steps.len(), "step", "steps")
            ),
            is_answered: false,
            failures: Failures::Stop,
            before: None,
        }
    }

    /// The same, asked about by the name of its instance where there are several.
    pub(crate) fn within(self, dps: Option<&DpsName>) -> Self {
        match dps {
            None => self,
            Some(dps) => Self {
                question: format!("DPS {dps}: {}", self.question),
                ..self
            },
        }
    }

    /// Asks, and carries the plan out; `--yes` has answered beforehand. Nothing is asked about an empty
    /// plan. With `--dry-run` nothing is done, without an error.
    pub(crate) fn carry_out(
        &self,
        context: &Context,
        planes: &Planes<'_>,
        journal: &mut dyn Journal,
    ) -> Result<Execution, CommandError> {
        match self.open(context, planes, journal)? {
            Some(opened) => follow(context, planes, journal, opened),
            None => Ok(Execution::default()),
        }
    }

    /// Asks, and stores the plan in the journal; `None` where nothing is to be carried out. Where several instances
    /// change together this comes before the first write in any: wherever that is cut, the journal tells what is
    /// left.
    pub(crate) fn open(
        &self,
        context: &Context,
        planes: &Planes<'_>,
        journal: &mut dyn Journal,
    ) -> Result<Option<TakenUp>, CommandError> {
        let plan = self.plan.plan();
        if plan.is_empty() {
            close_same(context, planes, journal, &plan.goal)?;
            return Ok(None);
        }
        let mut engine = engine(context, planes, journal)?;
        let superseded = engine.superseded(plan)?;
        for open in superseded.iter().filter(|open| open.goal != plan.goal) {
            let id = open.plan;
            let goal = &open.goal;
            let note = format!("plan {id} was interrupted, and gives way to this: {goal}");
            context.ui.note(note);
        }
        tell_estimate(&context.ui, planes, plan);
        if context.settings.dry_run {
            return Ok(None);
        }
        engine.check_keys(plan)?;
        if !self.is_answered {
            self.ask(context)?;
        }
        let order = Order {
            failures: self.failures,
            before: self.before,
            superseded,
            ..Order::new(self.plan)
        };
        let interrupt = CtrlC::listen(context.runtime.get()?);
        let opened = engine.open(&order, &interrupt.interruption);
        Ok(Some(context.runtime.get()?.block_on(opened)?))
    }

    fn ask(&self, context: &Context) -> Result<(), CommandError> {
        if !context.settings.yes {
            context.ui.note(self.shown);
        }
        context.dialog.confirm(&self.question)
    }
}

/// Refuses a plan in whose way another one is, as carrying it out would.
pub(crate) fn check_in_the_way(
    context: &Context,
    planes: &Planes<'_>,
    journal: &mut dyn Journal,
    plan: &Plan,
) -> Result<(), CommandError> {
    engine(context, planes, journal)?.superseded(plan)?;
    Ok(())
}

/// Carries on a plan that was cut short.
pub(crate) fn resume(
    context: &Context,
    planes: &Planes<'_>,
    journal: &mut dyn Journal,
    record: PlanRecord,
) -> Result<Execution, CommandError> {
    let engine = engine(context, planes, journal)?;
    let Some(taken_up) = engine.take_up(record)? else {
        return Ok(Execution::default());
    };
    // It may ask for a passphrase, where Ctrl-C is to end it at once.
    engine.check_keys(taken_up.plan())?;
    follow(context, planes, journal, taken_up)
}

/// Carries out what is left of a plan that was opened.
pub(crate) fn follow(
    context: &Context,
    planes: &Planes<'_>,
    journal: &mut dyn Journal,
    opened: TakenUp,
) -> Result<Execution, CommandError> {
    let mut engine = engine(context, planes, journal)?;
    let mut told = Told::new(context, planes)?;
    let interrupt = CtrlC::listen(context.runtime.get()?);
    let followed = engine.resume(opened, &mut told, &interrupt.interruption);
    let ended = context.runtime.get()?.block_on(followed);
    told.end();
    Ok(Execution {
        done: true,
        failed: ended?,
    })
}

/// Carries out what shuts out of a plan that was opened; the rest is to be followed.
pub(crate) fn shut_out(
    context: &Context,
    planes: &Planes<'_>,
    journal: &mut dyn Journal,
    opened: TakenUp,
) -> Result<(TakenUp, Execution), CommandError> {
    let mut engine = engine(context, planes, journal)?;
    let mut told = Told::new(context, planes)?;
    let interrupt = CtrlC::listen(context.runtime.get()?);
    let shut_out = engine.shut_out(opened, &mut told, &interrupt.interruption);
    let ended = context.runtime.get()?.block_on(shut_out);
    told.end();
    let (rest, failed) = ended?;
    Ok((rest, Execution { done: true, failed }))
}

/// Reads the record that a step is about, without keys.
pub(crate) fn read(
    context: &Context,
    planes: &Planes<'_>,
    journal: &mut dyn Journal,
    step: &Step,
) -> Result<Option<Value>, CommandError> {
    let engine = engine(context, planes, journal)?;
    let found = context
        .runtime
        .block_on(async { Ok(engine.read(step).await?) })?;
    Ok(dps_operations::document::document(&found))
}

/// Takes the lock of a plan that was cut short.
pub(crate) fn lock(
    context: &Context,
    plan: &PlanSummary,
) -> Result<Box<dyn PlanLock>, CommandError> {
    Ok(execute::lock(context, plan)?)
}

fn engine<'a>(
    context: &'a Context,
    planes: &'a Planes<'_>,
    journal: &'a mut dyn Journal,
) -> Result<Engine<'a>, CommandError> {
    Ok(Engine {
        name: planes.name(),
        dps: planes,
        journal,
        clock: context.clock.as_ref(),
        entropy: context.entropy.as_ref(),
        keys: &context.keys,
        locks: context,
        policy: policy(&context.home)?,
    })
}

/// Nothing is left to do, and yet a plan for just that is open: it was cut between its last write and the
/// note of it. What is found done is noted, nothing is sent, and the plan is closed. Tells whether there
/// was one.
pub(crate) fn close_same(
    context: &Context,
    planes: &Planes<'_>,
    journal: &mut dyn Journal,
    goal: &str,
) -> Result<bool, CommandError> {
    let mut engine = engine(context, planes, journal)?;
    let left_open = engine.left_open(goal)?;
    for open in &left_open {
        let id = open.plan;
        if context.settings.dry_run {
            context.ui.warning(if engine.locks.is_held(id) {
                format!("plan {id} is being carried out by another process in this moment")
            } else {
                format!(
                    "plan {id} was interrupted, though nothing seems left of it; without --dry-run it is closed"
                )
            });
            continue;
        }
        let closed = context
            .runtime
            .block_on(async { Ok(engine.supersede(open, goal).await) })?;
        match closed {
            Ok(()) => context.ui.note(if open.goal == goal {
                format!("plan {id} was interrupted after its last step; it is closed now")
            } else {
                format!("plan {id} was interrupted, and gives way to this; it is closed now")
            }),
            // Another process was at it when it was looked for, and has ended.
            Err(ExecuteError::Overtaken { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(!left_open.is_empty())
}

/// The plan of another goal that was interrupted and is in the way of this one.
///
/// # Errors
/// [`CommandError`] if one in the way is being carried out, or the journal cannot be read.
pub(crate) fn in_the_way(
    context: &Context,
    planes: &Planes<'_>,
    journal: &mut dyn Journal,
    plan: &Plan,
) -> Result<Option<CommandError>, CommandError> {
    match engine(context, planes, journal)?.superseded(plan) {
        Ok(_) => Ok(None),
        Err(error @ ExecuteError::InTheWay { .. }) => Ok(Some(error.into())),
        Err(error) => Err(error.into()),
    }
}

/// Says what a plan costs that takes more than a moment.
fn tell_estimate(ui: &Ui, planes: &Planes<'_>, plan: &Plan) {
    const MOMENT: usize = 20;
    if plan.steps.len() > MOMENT {
        let estimate = plan.estimate(planes.rate());
        ui.note(format!("estimate: {} steps, {estimate}", plan.steps.len()));
    }
}

/// Ctrl-C while a plan is carried out: the first ends it after the step that is under way, the second at
/// once. It is listened to for as long as this lives.
struct CtrlC {
    interruption: Interruption,
    listener: JoinHandle<()>,
}

impl CtrlC {
    fn listen(runtime: &Runtime) -> Self {
        let interruption = Interruption::default();
        let asked = interruption.clone();
        let listener = runtime.spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                asked.ask();
            }
        });
        Self {
            interruption,
            listener,
        }
    }
}

impl Drop for CtrlC {
    fn drop(&mut self) {
        self.listener.abort();
    }
}
