//! Carries plans out: the only code that changes DPS or a hub.
//!
//! A plan is put before a person or a policy, stored in the journal, and then followed step by step
//! (`run`); each step is sent with what the plan expects to find and journaled before and after. A run that
//! is cut short leaves an open plan, which [`Engine::resume`] carries on. A plan of the same goal takes its
//! place with what is left, made from what is there now; so does a breach roll whatever other roll of its
//! authority was begun. Any other plan about the same device, group or CA is refused until that is closed.
//! A step that finds something else than expected closes the plan with a conflict; what was done stays
//! done, and planning again goes on from there.
//!
//! The order of calls is the front end's: [`Engine::superseded`] before anybody is asked, then
//! [`Engine::check_keys`] once it is meant, [`Engine::carry_out`] when it is confirmed. Where several instances are
//! closed together, [`Engine::open`] for each comes before [`Engine::shut_out`] in the first, and
//! [`Engine::resume`] after it in the last: the journal knows them all, wherever that is cut.
//! Not here: words for a terminal, questions, and whoever listens for Ctrl-C ([`Interruption`]).
//! Invariant: nothing is sent that the checker has not passed ([`Checked`]) and the journal does not hold.

mod failure;
mod observer;
mod run;
mod send;
mod settle;

use std::collections::BTreeSet;

use pki_core::authority::IssuancePolicy;
use pki_core::ids::{DpsName, PlanId};
use pki_core::inventory::InventoryError;
use pki_core::journal::{Journal, NewPlan, PlanRecord, PlanSummary};
use pki_core::lifecycle::roll::goes_before;
use pki_core::lifecycle::{CaAction, CaStep, Checked, Found, Plan, Step};
use pki_core::ports::{Clock, Entropy};
use serde_json::Value;

use self::run::Run;
use crate::dps::Dps;
use crate::ports::{Keys, Locks, PlanLock};
use crate::proof::{OpenGeneration, ProofError};

pub use failure::{Difference, ExecuteError, Progress, StepError, StepFailure, Stopped};
pub use observer::{Event, Interruption, Observer};

/// What carrying plans out takes.
pub struct Engine<'a> {
    /// Which instance it is about.
    pub name: &'a DpsName,
    /// The instance, and its hubs.
    pub dps: &'a dyn Dps,
    /// Plans, and the inventory that they change.
    pub journal: &'a mut dyn Journal,
    /// Tells the time.
    pub clock: &'a dyn Clock,
    /// Gives serial numbers, and names to plans.
    pub entropy: &'a dyn Entropy,
    /// Opens the keys of authorities.
    pub keys: &'a dyn Keys,
    /// Tells which other runs are alive.
    pub locks: &'a dyn Locks,
    /// What holds for proofs of possession as for every certificate.
    pub policy: IssuancePolicy,
}

/// A plan that is to be carried out.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// The plan: nothing else can be carried out than what the checker passed.
    pub plan: &'a Checked,
    /// What happens after a step that failed for its record alone.
    pub failures: Failures,
    /// The record of a plan of one step as it was read.
    pub before: Option<&'a Value>,
    /// The plans whose place it takes, as [`Engine::superseded`] found them.
    pub superseded: Vec<PlanSummary>,
}

/// What happens after a step that failed for its record alone: it had changed, or was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failures {
    /// The plan stops.
    Stop,
    /// What follows on the same device is left alone, and the others go on.
    GoOn,
}

impl Failures {
    /// Devices stand for themselves; CA certificates and groups build on each other.
    pub fn of_plan(plan: &Plan) -> Self {
        if plan.steps.iter().all(Step::is_of_device) {
            Self::GoOn
        } else {
            Self::Stop
        }
    }
}

/// A plan in the journal that is to be carried out, with its lock held.
pub struct TakenUp {
    lock: Box<dyn PlanLock>,
    record: PlanRecord,
    failures: Failures,
    /// The record of a plan of one step as it was read.
    before: Option<Value>,
    /// Steps that have failed in this run, and those that depend on them.
    left: BTreeSet<usize>,
}

impl TakenUp {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.record.plan
    }
}

impl<'a> Order<'a> {
    /// A plan that stops at the first failure, in nobody's place.
    pub fn new(plan: &'a Checked) -> Self {
        Self {
            plan,
            failures: Failures::Stop,
            before: None,
            superseded: Vec::new(),
        }
    }
}

impl Engine<'_> {
    /// The plans that were interrupted and whose place this one takes, made from what is there now: one of the
    /// same goal, and before a breach roll whatever other roll of the authority.
    ///
    /// # Errors
    /// [`ExecuteError::InTheWay`] if another plan about one of its subjects is open, [`ExecuteError::Held`] if
    /// that or one of these is being carried out.
    pub fn superseded(&self, plan: &Plan) -> Result<Vec<PlanSummary>, ExecuteError> {
        let mut superseded = self
            .journal
            .plans_in_the_way(self.name, &plan.subject_keys())?;
        let stays = |other: &&PlanSummary| !gives_way(&other.goal, &plan.goal);
        if let Some(other) = superseded.iter().find(stays) {
            return Err(self.in_the_way(other.plan, other.goal.clone()));
        }
        // What one of them has left may be about something else.
        for open in self.left_open(&plan.goal)? {
            if open.goal != plan.goal && !superseded.contains(&open) {
                superseded.push(open);
            }
        }
        match superseded.iter().find(|one| self.locks.is_held(one.plan)) {
            Some(held) => Err(self.in_the_way(held.plan, held.goal.clone())),
            None => Ok(superseded),
        }
    }

    /// A plan that another run has begun in this moment is not interrupted, as its lock tells, nor is one that
    /// has ended since it was looked for.
    fn in_the_way(&self, plan: PlanId, goal: String) -> ExecuteError {
        if self.locks.is_held(plan) {
            return ExecuteError::Held { plan, goal };
        }
        match self.journal.plan(plan) {
            Ok(Some(record)) if !record.state.is_open() => ExecuteError::overtaken(&record),
            Ok(_) => ExecuteError::InTheWay { plan, goal },
            Err(error) => error.into(),
        }
    }

    /// Opens the keys that a plan needs, so that none is missing half way.
    ///
    /// # Errors
    /// [`ProofError`] if one does not open.
    pub fn check_keys(&self, plan: &Plan) -> Result<(), ProofError> {
        for step in &plan.steps {
            if let Step::Ca(CaStep {
                sha1_thumbprint,
                action: CaAction::Prove { authority },
                ..
            }) = step
            {
                OpenGeneration::with_certificate(
                    &*self.journal,
                    self.keys,
                    authority,
                    sha1_thumbprint,
                )?;
            }
        }
        Ok(())
    }

    /// Carries a plan out; returns the steps that failed while others went on.
    ///
    /// # Errors
    /// [`ExecuteError`] if the plan did not come to its end. It says how far it got, and what is done stays done.
    pub async fn carry_out(
        &mut self,
        order: &Order<'_>,
        observer: &mut dyn Observer,
        interruption: &Interruption,
    ) -> Result<Vec<StepFailure>, ExecuteError> {
        let opened = self.open(order, interruption).await?;
        self.resume(opened, observer, interruption).await
    }

    /// Stores a plan that is about to be carried out, in the place of those that it supersedes.
    ///
    /// # Errors
    /// [`ExecuteError`] if another one is in the way, or the journal cannot be written.
    pub async fn open(
        &mut self,
        order: &Order<'_>,
        interruption: &Interruption,
    ) -> Result<TakenUp, ExecuteError> {
        for open in &order.superseded {
            tokio::select! {
                superseded = self.supersede(open, &order.plan.plan().goal) => superseded?,
                () = interruption.asked(1) => return Err(ExecuteError::InterruptedBefore),
            }
        }
        self.store(order)
    }

    /// Carries out what shuts out: the steps up to the last one that decides who is let in. Returns the plan with
    /// the others left to do, and the steps that failed while others went on.
    ///
    /// # Errors
    /// As [`Self::carry_out`].
    pub async fn shut_out(
        &mut self,
        opened: TakenUp,
        observer: &mut dyn Observer,
        interruption: &Interruption,
    ) -> Result<(TakenUp, Vec<StepFailure>), ExecuteError> {
        let id = opened.record.id;
        let last = opened.record.plan.steps.iter().rposition(Step::decides);
        let end = last.map_or(0, |last| last + 1);
        let mut run = Run::new(self, opened.record, opened.failures, None);
        let ended = run.follow_to(end, observer, interruption).await;
        let (record, left, failed) = run.paused();
        if let Err(error) = ended {
            self.release(id, opened.lock)?;
            return Err(error);
        }
        let rest = TakenUp {
            record,
            left,
            ..opened
        };
        Ok((rest, failed))
    }

    /// Takes up a plan that was cut short, by its lock; there is none to take up of a plan that is closed.
    ///
    /// # Errors
    /// [`ExecuteError::Held`] while another run carries it out, [`ExecuteError::KeysWithheld`] if the journal does
    /// not hold all of it.
    pub fn take_up(&self, record: PlanRecord) -> Result<Option<TakenUp>, ExecuteError> {
        let lock = lock(self.locks, &record.summary())?;
        // Whoever held it may have finished it in between.
        let record = self.journal.plan(record.id)?.unwrap_or(record);
        if !record.state.is_open() {
            lock.remove();
            return Ok(None);
        }
        if record.keys_withheld {
            return Err(ExecuteError::KeysWithheld {
                plan: record.id,
                goal: record.plan.goal,
            });
        }
        let failures = match record.plan.subjects().len() {
            0 | 1 => Failures::Stop,
            _ => Failures::of_plan(&record.plan),
        };
        Ok(Some(TakenUp {
            lock,
            record,
            failures,
            before: None,
            left: BTreeSet::new(),
        }))
    }

    /// Carries out what is left of a plan, but for what depends on a step that has failed in this run; as
    /// [`Self::carry_out`].
    ///
    /// # Errors
    /// As [`Self::carry_out`].
    pub async fn resume(
        &mut self,
        taken_up: TakenUp,
        observer: &mut dyn Observer,
        interruption: &Interruption,
    ) -> Result<Vec<StepFailure>, ExecuteError> {
        let id = taken_up.record.id;
        let before = taken_up.before.as_ref();
        let ended = Run::new(self, taken_up.record, taken_up.failures, before)
            .without(taken_up.left)
            .follow(observer, interruption)
            .await;
        self.release(id, taken_up.lock)?;
        ended
    }

    /// The open plans that give way to one of this goal, of which nothing seems left to do: those of the same goal
    /// were cut between their last write and the note of it.
    ///
    /// # Errors
    /// [`InventoryError`] if the journal cannot be read.
    pub fn left_open(&self, goal: &str) -> Result<Vec<PlanSummary>, InventoryError> {
        const LATEST: usize = 100;
        let mut plans = self.journal.plans(LATEST)?;
        plans.retain(|other| {
            other.state.is_open() && other.dps == *self.name && gives_way(&other.goal, goal)
        });
        Ok(plans)
    }

    /// Notes what of an interrupted plan is done, and closes it, since one of this goal takes its place; nothing is
    /// sent.
    ///
    /// # Errors
    /// [`ExecuteError`] if it is being carried out or was meanwhile, or what it is about cannot be read.
    pub async fn supersede(&mut self, open: &PlanSummary, goal: &str) -> Result<(), ExecuteError> {
        let lock = lock(self.locks, open)?;
        let Some(record) = self.journal.plan(open.plan)? else {
            return Ok(());
        };
        if !record.state.is_open() {
            lock.remove();
            return Err(ExecuteError::overtaken(&record));
        }
        let reason = if open.goal == goal {
            "the same command was given again, and does what is left"
        } else {
            "a breach roll of the authority went first"
        };
        let ended = Run::new(self, record, Failures::GoOn, None)
            .note_what_is_done(reason)
            .await;
        self.release(open.plan, lock)?;
        ended
    }

    /// Reads the record that a step is about.
    ///
    /// # Errors
    /// [`StepError`] if it cannot be read.
    pub async fn read(&self, step: &Step) -> Result<Found, StepError> {
        self.find(step).await
    }

    /// Stores a plan. The steps that are carried out keep the keys that the journal does not.
    fn store(&mut self, order: &Order<'_>) -> Result<TakenUp, ExecuteError> {
        let id = PlanId::random(self.entropy)?;
        let new = NewPlan {
            id,
            dps: self.name.clone(),
            plan: order.plan.plan().clone(),
        };
        let held = self.locks.plan(id).map_err(ExecuteError::Lock)?;
        let lock = held.ok_or(ExecuteError::NameHeld { plan: id })?;
        match self.journal.open_plan(new, self.clock.now()) {
            Ok(record) => {
                let plan = order.plan.plan().clone();
                Ok(TakenUp {
                    lock,
                    record: PlanRecord { plan, ..record },
                    failures: order.failures,
                    before: order.before.cloned(),
                    left: BTreeSet::new(),
                })
            }
            Err(error) => {
                lock.remove();
                Err(match error {
                    InventoryError::PlanInTheWay { plan, goal } => self.in_the_way(plan, goal),
                    error => error.into(),
                })
            }
        }
    }

    /// The lock of a plan stays for as long as the plan is open.
    fn release(&self, plan: PlanId, lock: Box<dyn PlanLock>) -> Result<(), ExecuteError> {
        let record = self.journal.plan(plan)?;
        if record.is_some_and(|record| !record.state.is_open()) {
            lock.remove();
        }
        Ok(())
    }
}

/// Whether an open plan of another goal, or of the same, gives way to one of this goal.
fn gives_way(other: &str, goal: &str) -> bool {
    other == goal || goes_before(goal, other)
}

/// Takes the lock of a plan that was cut short.
///
/// # Errors
/// [`ExecuteError::Held`] while another run carries it out.
pub fn lock(locks: &dyn Locks, plan: &PlanSummary) -> Result<Box<dyn PlanLock>, ExecuteError> {
    let held = locks.plan(plan.plan).map_err(ExecuteError::Lock)?;
    held.ok_or_else(|| ExecuteError::Held {
        plan: plan.plan,
        goal: plan.goal.clone(),
    })
}
