//! Carries plans out: the only code that changes DPS.
//!
//! A plan is shown, confirmed, stored in the journal, and then followed step by step ([`run`]); each
//! step is sent with what the plan expects to find and journaled before and after. A run that is cut
//! short leaves an open plan, which `journal resume` carries on. The same command takes its place with a plan
//! of what is left, made from what is there now. Any other plan about the same device, group or CA is refused
//! until that is closed.
//! A step that finds something else than expected closes the plan with a conflict; what was done stays
//! done, and planning again goes on from there.

mod interrupt;
mod run;
mod send;

use std::fmt::{self, Display};

use pki_core::ids::{DpsName, PlanId};
use pki_core::inventory::InventoryError;
use pki_core::journal::{Journal, NewPlan, PlanRecord, PlanSummary};
use pki_core::lifecycle::{Checked, Plan, Step};
use pki_core::wording::counted;
use serde::Serialize;
use serde_json::Value;

use self::run::Executor;
use self::send::Sender;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::files::Lock;
use crate::issuance::OpenAuthority;
use crate::planes::Planes;

/// A plan that is to be carried out, and how it is spoken of.
pub(crate) struct Proposal<'a> {
    /// The plan: nothing else can be carried out than what the checker passed.
    pub(crate) plan: &'a Checked,
    /// The plan with its impact, for who is asked.
    pub(crate) shown: &'a dyn Display,
    /// What is asked.
    pub(crate) question: String,
    /// What happens after a step that failed for its record alone.
    pub(crate) failures: Failures,
    /// The record of a plan of one step as it was read.
    pub(crate) before: Option<&'a Value>,
}

/// What happens after a step that failed for its record alone: it had changed, or was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failures {
    /// The plan stops.
    Stop,
    /// What follows on the same device is left alone, and the others go on.
    GoOn,
}

/// What became of a plan.
#[derive(Debug, Default)]
pub(crate) struct Execution {
    /// Whether it was carried out at all.
    pub(crate) done: bool,
    /// What failed while the rest went on.
    pub(crate) failed: Vec<StepFailure>,
}

/// A step that failed while others went on.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StepFailure {
    /// The device or record.
    pub(crate) subject: String,
    /// What was not done.
    pub(crate) step: String,
    /// Why.
    pub(crate) error: String,
}

impl Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.subject, self.step, self.error)
    }
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
                plan.goal,
                counted(plan.steps.len(), "step", "steps")
            ),
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
        if self.plan.is_empty() {
            close_same(context, planes, journal, &self.plan.goal)?;
            return Ok(Execution::default());
        }
        let interrupted = interrupted(context, planes, journal, self.plan)?;
        tell_estimate(context, planes, self.plan);
        if context.settings.dry_run {
            return Ok(Execution::default());
        }
        check_keys(context, journal, self.plan)?;
        if !context.settings.yes {
            context.ui.note(self.shown);
        }
        context.confirm(&self.question)?;
        if let Some(open) = interrupted {
            let lock = lock(context, &open)?;
            supersede(context, planes, journal, &open, lock)?;
        }
        let (lock, record) = self.store(context, planes, journal)?;
        let (id, failures) = (record.id, self.failures);
        let executor = Executor::new(context, planes, journal, record, failures, self.before);
        let ended = executor.run();
        finish(journal, id, lock, ended)
    }

    /// Stores the plan. The steps that are carried out keep the keys that the journal does not.
    fn store(
        &self,
        context: &Context,
        planes: &Planes<'_>,
        journal: &mut dyn Journal,
    ) -> Result<(Lock, PlanRecord), CommandError> {
        let id = PlanId::random(context.entropy.as_ref())?;
        let new = NewPlan {
            id,
            dps: planes.name().clone(),
            plan: Plan::clone(self.plan),
        };
        let Some(lock) = context.files.lock(&context.home.plan_lock(id))? else {
            return Err(CommandError::failed(format!("plan {id} is held already")));
        };
        let opened = journal.open_plan(new, context.now());
        match opened.map_err(|error| in_the_way(context, error)) {
            Ok(record) => {
                let plan = Plan::clone(self.plan);
                Ok((lock, PlanRecord { plan, ..record }))
            }
            Err(error) => {
                lock.remove();
                Err(error)
            }
        }
    }
}

/// Carries on a plan that was cut short.
pub(crate) fn resume(
    context: &Context,
    planes: &Planes<'_>,
    journal: &mut dyn Journal,
    record: PlanRecord,
) -> Result<Execution, CommandError> {
    let lock = lock(context, &record.summary())?;
    // Whoever held it may have finished it in between.
    let record = journal.plan(record.id)?.unwrap_or(record);
    if !record.state.is_open() {
        lock.remove();
        return Ok(Execution::default());
    }
    refuse_without_keys(&record)?;
    check_keys(context, journal, &record.plan)?;
    let failures = match record.plan.subjects().len() {
        0 | 1 => Failures::Stop,
        _ => Failures::of_plan(&record.plan),
    };
    let id = record.id;
    let ended = Executor::new(context, planes, journal, record, failures, None).run();
    finish(journal, id, lock, ended)
}

/// Reads the record that a step is about, without keys.
pub(crate) fn read(
    context: &Context,
    planes: &Planes<'_>,
    journal: &mut dyn Journal,
    step: &Step,
) -> Result<Option<Value>, CommandError> {
    let sender = Sender {
        context,
        planes,
        journal,
    };
    let found = context.block_on(async { Ok(sender.find(step).await?) })?;
    Ok(run::document(&found))
}

impl Failures {
    /// Devices stand for themselves; CA certificates and groups build on each other.
    fn of_plan(plan: &Plan) -> Self {
        let is_of_device = |step: &Step| {
            matches!(
                step,
                Step::PutIndividual { .. }
                    | Step::DeleteIndividual { .. }
                    | Step::DeleteRegistration { .. }
                    | Step::DisableHubDevice { .. }
                    | Step::EnableHubDevice { .. }
                    | Step::DeleteHubDevice { .. }
                    | Step::Revoke { .. }
            )
        };
        match plan.steps.iter().all(is_of_device) {
            true => Self::GoOn,
            false => Self::Stop,
        }
    }
}

/// The lock file stays for as long as the plan is open.
fn finish(
    journal: &dyn Journal,
    plan: PlanId,
    lock: Lock,
    ended: Result<Vec<StepFailure>, CommandError>,
) -> Result<Execution, CommandError> {
    let record = journal.plan(plan)?;
    if record.is_some_and(|record| !record.state.is_open()) {
        lock.remove();
    }
    Ok(Execution {
        done: true,
        failed: ended?,
    })
}

/// Takes the lock of a plan that was cut short.
pub(crate) fn lock(context: &Context, plan: &PlanSummary) -> Result<Lock, CommandError> {
    let held = context.files.lock(&context.home.plan_lock(plan.plan))?;
    held.ok_or_else(|| under_way(plan.plan, &plan.goal))
}

/// Whether another process is carrying an open plan out; if not, it was interrupted. Nothing is made for
/// the look, so that it may be taken in a home that cannot be written.
pub(crate) fn is_under_way(context: &Context, plan: PlanId) -> bool {
    let path = context.home.plan_lock(plan);
    context.files.exists(&path) && matches!(context.files.lock(&path), Ok(None))
}

fn under_way(plan: PlanId, goal: &str) -> CommandError {
    let message = format!("plan {plan} is being carried out by another process: {goal}");
    CommandError::refused(message).hint("wait until it has ended")
}

/// The plan of the same goal that was interrupted: this one was made from what is there now, and takes its
/// place.
///
/// # Errors
/// `Refused` if another plan about one of its subjects is open.
fn interrupted(
    context: &Context,
    planes: &Planes<'_>,
    journal: &dyn Journal,
    plan: &Plan,
) -> Result<Option<PlanSummary>, CommandError> {
    let others = journal.plans_in_the_way(planes.name(), &plan.subject_keys())?;
    match others.as_slice() {
        [] => Ok(None),
        [only] if only.goal == plan.goal => Ok(Some(only.clone())),
        [first, ..] => {
            let plan = first.plan;
            let goal = first.goal.clone();
            Err(in_the_way(
                context,
                InventoryError::PlanInTheWay { plan, goal },
            ))
        }
    }
}

/// Notes what of an interrupted plan is done, and closes it; nothing is sent.
fn supersede(
    context: &Context,
    planes: &Planes<'_>,
    journal: &mut dyn Journal,
    open: &PlanSummary,
    lock: Lock,
) -> Result<(), CommandError> {
    let Some(record) = journal.plan(open.plan)? else {
        return Ok(());
    };
    let ended = Executor::new(context, planes, journal, record, Failures::GoOn, None)
        .note_what_is_done()
        .map(|()| vec![]);
    finish(journal, open.plan, lock, ended)?;
    Ok(())
}

/// Says how to get an interrupted plan out of the way. One that another process has begun in this moment is
/// not interrupted: its lock tells.
fn in_the_way(context: &Context, error: InventoryError) -> CommandError {
    let plan = match &error {
        InventoryError::PlanInTheWay { plan, goal } if is_under_way(context, *plan) => {
            return under_way(*plan, goal);
        }
        InventoryError::PlanInTheWay { plan, .. } => *plan,
        _ => return error.into(),
    };
    let message = format!("{error}: it was interrupted, and is about the same");
    CommandError {
        message,
        ..CommandError::from(error)
    }
    .hint(format!("go on with it: dps-pki journal resume {plan}"))
    .hint(format!("or give it up: dps-pki journal abandon {plan}"))
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
    const LATEST: usize = 100;
    let mut found = false;
    for other in journal.plans(LATEST)? {
        let is_same = other.dps == *planes.name() && other.goal == goal;
        if !other.state.is_open() || !is_same {
            continue;
        }
        found = true;
        if context.settings.dry_run {
            let id = other.plan;
            context.ui.warning(if is_under_way(context, id) {
                format!("plan {id} is being carried out by another process in this moment")
            } else {
                format!(
                    "plan {id} was interrupted, though nothing seems left of it; without --dry-run it is closed"
                )
            });
            continue;
        }
        let lock = lock(context, &other)?;
        supersede(context, planes, journal, &other, lock)?;
        context.ui.note(format!(
            "plan {} was interrupted after its last step; it is closed now",
            other.plan
        ));
    }
    Ok(found)
}

/// Opens the keys that a plan needs, so that none is missing half way.
fn check_keys(
    context: &Context,
    journal: &mut dyn Journal,
    plan: &Plan,
) -> Result<(), CommandError> {
    for step in &plan.steps {
        if let Step::ProveCa {
            authority,
            sha1_thumbprint,
            ..
        } = step
        {
            OpenAuthority::open_with_certificate(context, journal, authority, sha1_thumbprint)?;
        }
    }
    Ok(())
}

fn refuse_without_keys(record: &PlanRecord) -> Result<(), CommandError> {
    if !record.keys_withheld {
        return Ok(());
    }
    let id = record.id;
    let message = format!(
        "plan {id} writes symmetric keys, which the journal does not keep: {}",
        record.plan.goal
    );
    Err(CommandError::refused(message).hint(format!(
        "give it up with dps-pki journal abandon {id}, and run its command again"
    )))
}

/// Says what a plan costs that takes more than a moment.
fn tell_estimate(context: &Context, planes: &Planes<'_>, plan: &Plan) {
    const MOMENT: usize = 20;
    if plan.steps.len() > MOMENT {
        let estimate = plan.estimate(planes.rate());
        context
            .ui
            .note(format!("estimate: {} steps, {estimate}", plan.steps.len()));
    }
}
