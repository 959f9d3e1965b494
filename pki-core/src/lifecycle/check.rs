//! The checker: what every plan must hold to, whoever made it.
//!
//! Planners are written to hold to it, and this module does not trust them: it carries a plan out on
//! a copy of what DPS holds, and looks after every step at who is admitted. Only a [`Checked`] plan is
//! carried out, and it can be made in no other way.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Serialize;

use super::{
    CaAction, CaStep, Effect, Expectation, Fleet, Found, GroupAction, GroupStep, Impact, Movement,
};
use super::{Plan, Step, Subject};
use crate::admission::{DpsView, ViewError};
use crate::ids::{AuthorityGeneration, RegistrationId};
use crate::wording::counted;

/// A plan that keeps its promise.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Checked(Plan);

/// What a plan was asked to do to the devices that are there; everything else is a mistake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Promise {
    /// Who may lose admission.
    pub refuses: Who,
    /// Who may gain it.
    pub lets_in: Who,
    /// Who may gain it by a deletion, falling through to another entry, even where anybody may gain it.
    pub falls_through: Who,
    /// Disabled entries that may be enabled or deleted, each by name.
    pub reopens: BTreeSet<Subject>,
}

/// A part of the fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Who {
    /// Nobody, after any step.
    #[default]
    Nobody,
    /// These devices.
    Devices(BTreeSet<RegistrationId>),
    /// The devices of leaves that one of these generations has signed.
    SignedBy(BTreeSet<AuthorityGeneration>),
    /// Whoever it hits: that is what was asked for.
    Anybody,
}

/// Why a plan is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// It breaks its promise, in all of these places.
    #[error("{}", sentences(.0))]
    Breaches(Vec<Breach>),
    /// The documents cannot be judged.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// A step that breaks the promise of its plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Breach {
    /// Devices would be refused that nobody asked to refuse.
    #[error(
        "after \"{step}\" {} admitted now{example}",
        counted(*.leaves, "leaf would be refused that is", "leaves would be refused that are")
    )]
    Refuses {
        /// The step.
        step: String,
        /// How many.
        leaves: u64,
        /// One of them, in words.
        example: String,
    },
    /// Devices would be let in that nobody asked to let in.
    #[error(
        "after \"{step}\" {} kept out now{example}",
        counted(*.leaves, "leaf would be let in that is", "leaves would be let in that are")
    )]
    LetsIn {
        /// The step.
        step: String,
        /// How many.
        leaves: u64,
        /// One of them, in words.
        example: String,
    },
    /// A disabled entry would be enabled or deleted on the way.
    #[error("\"{step}\" takes away what keeps devices out, which was not asked for")]
    Reopens {
        /// The step.
        step: String,
        /// What it is about.
        subject: Subject,
    },
    /// The step does not go with the record that it is said to be made from.
    #[error("\"{step}\" was not made from the record that was read")]
    OtherRecord {
        /// The step.
        step: String,
    },
    /// The step that the plan expects before this one on the same record is not in it.
    #[error("\"{step}\" follows no earlier step on its record: nothing guards the record")]
    Unguarded {
        /// The step.
        step: String,
    },
}

/// The breaches that are found, in the order of the steps.
#[derive(Default)]
struct Breaches(Vec<Breach>);

impl Checked {
    /// Carries a plan out on a copy of what DPS holds, and looks at the fleet after every step: at the one
    /// device that the step is about, or at all of them.
    ///
    /// # Errors
    /// [`CheckError`] has every breach of the promise.
    pub fn new(
        plan: Plan,
        before: &DpsView,
        fleet: &Fleet,
        promise: &Promise,
    ) -> Result<Self, CheckError> {
        promise.kept_by(std::slice::from_ref(&plan), before, fleet)?;
        Ok(Self(plan))
    }

    /// The same for plans that are carried out one after the other and keep a promise together.
    ///
    /// # Errors
    /// As [`Checked::new`].
    pub fn each(
        plans: Vec<Plan>,
        before: &DpsView,
        fleet: &Fleet,
        promise: &Promise,
    ) -> Result<Vec<Self>, CheckError> {
        promise.kept_by(&plans, before, fleet)?;
        Ok(plans.into_iter().map(Self).collect())
    }

    /// A single write to a record that was read by its name, by somebody who may not be able to read
    /// everything: `read` is the record that the step was made from, and `impact` what the write does, as far as
    /// that could be told. What cannot be told is not held against it; what keeps devices out in the record
    /// itself is.
    ///
    /// # Errors
    /// [`CheckError`] if the step was not made from that record, takes away what keeps devices out, or does
    /// more than was promised.
    pub fn single(
        goal: impl Into<String>,
        step: Step,
        read: &Found,
        impact: Option<&Impact>,
        promise: &Promise,
    ) -> Result<Self, CheckError> {
        let plan = Plan {
            steps: vec![step],
            ..Plan::new(goal)
        };
        let step = &plan.steps[0];
        let mut breaches = Breaches::default();
        breaches.note(unguarded([step]));
        if !step.is_made_from(read) {
            breaches.note(Some(Breach::OtherRecord {
                step: step.to_string(),
            }));
        }
        if read.is_disabled() && step.takes_away() {
            breaches.note(promise.reopened(step));
        }
        if let Some(impact) = impact {
            promise.compare(step, impact, &mut breaches);
        }
        breaches.into_result()?;
        Ok(Self(plan))
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.0
    }
}

impl Breaches {
    /// A loss that is there after every later step as well is noted once.
    fn note(&mut self, breach: Option<Breach>) {
        let Some(breach) = breach else {
            return;
        };
        if !self.0.iter().any(|noted| noted.is_of_same_leaves(&breach)) {
            self.0.push(breach);
        }
    }

    fn into_result(self) -> Result<(), CheckError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(CheckError::Breaches(self.0))
        }
    }
}

impl Breach {
    fn is_of_same_leaves(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Refuses {
                    leaves, example, ..
                },
                Self::Refuses {
                    leaves: others,
                    example: another,
                    ..
                },
            )
            | (
                Self::LetsIn {
                    leaves, example, ..
                },
                Self::LetsIn {
                    leaves: others,
                    example: another,
                    ..
                },
            ) => leaves == others && example == another,
            _ => false,
        }
    }
}

impl Promise {
    /// Whoever it refuses or lets in: that is shown and asked about. What is disabled stays so, and nobody
    /// comes in because an entry is deleted.
    pub fn as_shown() -> Self {
        Self {
            refuses: Who::Anybody,
            lets_in: Who::Anybody,
            ..Self::default()
        }
    }

    fn kept_by(&self, plans: &[Plan], before: &DpsView, fleet: &Fleet) -> Result<(), CheckError> {
        let mut exceptions: BTreeMap<&RegistrationId, Vec<usize>> = BTreeMap::new();
        for (index, one) in fleet.exceptions.iter().enumerate() {
            exceptions.entry(&one.id).or_default().push(index);
        }
        let mut breaches = Breaches::default();
        breaches.note(unguarded(plans.iter().flat_map(|plan| &plan.steps)));
        let mut view = before.clone();
        for step in plans.iter().flat_map(|plan| &plan.steps) {
            // What a disabled entry keeps out, it keeps out of devices that the inventory does not know, too.
            if step.reopens(&view) {
                breaches.note(self.reopened(step));
            }
            breaches.note(self.fallen_through(step, &view, fleet)?);
            step.apply_to(&mut view)?;
            if !step.changes_admission() {
                continue;
            }
            // Thousands of devices are shut out by as many steps: each is looked at for its own device.
            let impact = match step.device() {
                Some(id) => {
                    let leaves = exceptions.get(id).map_or(&[][..], Vec::as_slice);
                    Impact::of_exceptions(before, &view, fleet, leaves)
                }
                None => Impact::compare(before, &view, fleet),
            };
            self.compare(step, &impact, &mut breaches);
        }
        breaches.into_result()
    }

    /// What an entry decides about falls through to another one when it is deleted.
    fn fallen_through(
        &self,
        step: &Step,
        view: &DpsView,
        fleet: &Fleet,
    ) -> Result<Option<Breach>, CheckError> {
        let deletes = matches!(
            step,
            Step::Group(GroupStep {
                action: GroupAction::Delete { .. },
                ..
            }) | Step::Ca(CaStep {
                action: CaAction::Delete { .. },
                ..
            })
        );
        if !deletes || self.lets_in != Who::Anybody || self.falls_through == Who::Anybody {
            return Ok(None);
        }
        let mut after = view.clone();
        step.apply_to(&mut after)?;
        let impact = Impact::compare(view, &after, fleet);
        let beyond = self.falls_through.exceeded(&impact, Effect::Gains);
        Ok(beyond.map(|(leaves, example)| Breach::LetsIn {
            step: step.to_string(),
            leaves,
            example,
        }))
    }

    fn compare(&self, step: &Step, impact: &Impact, breaches: &mut Breaches) {
        let refused = self.refuses.exceeded(impact, Effect::Loses);
        breaches.note(refused.map(|(leaves, example)| Breach::Refuses {
            step: step.to_string(),
            leaves,
            example,
        }));
        let let_in = self.lets_in.exceeded(impact, Effect::Gains);
        breaches.note(let_in.map(|(leaves, example)| Breach::LetsIn {
            step: step.to_string(),
            leaves,
            example,
        }));
    }

    /// The disabled entry that a step takes away, if nobody asked for that.
    fn reopened(&self, step: &Step) -> Option<Breach> {
        let mut subjects = step.subjects().into_iter();
        let subject = subjects.find(|subject| !self.reopens.contains(subject))?;
        Some(Breach::Reopens {
            step: step.to_string(),
            subject,
        })
    }
}

/// The first step that expects a record as an earlier step left it, where there is none.
fn unguarded<'a>(steps: impl IntoIterator<Item = &'a Step>) -> Option<Breach> {
    let mut written = HashSet::new();
    for step in steps {
        let follows = matches!(step.expect(), Some(Expectation::AsLeftByPlan(_)));
        let is_first = written.insert(step.key());
        if follows && is_first {
            return Some(Breach::Unguarded {
                step: step.to_string(),
            });
        }
    }
    None
}

/// The first few breaches in a sentence.
fn sentences(breaches: &[Breach]) -> String {
    const TOLD: usize = 3;
    let told: Vec<String> = breaches.iter().take(TOLD).map(Breach::to_string).collect();
    let more = breaches.len().saturating_sub(TOLD);
    if more > 0 {
        format!("{}; and {more} more", told.join("; "))
    } else {
        told.join("; ")
    }
}

impl Who {
    /// How many leaves see an effect that they should not, and one of them in words.
    fn exceeded(&self, impact: &Impact, effect: Effect) -> Option<(u64, String)> {
        let all = impact.count(effect);
        let beyond = match self {
            Self::Anybody => 0,
            Self::Nobody => all,
            Self::SignedBy(_) => {
                let others = impact
                    .with(effect)
                    .filter(|movement| self.is_beyond(movement));
                others.map(|movement| movement.leaves).sum()
            }
            Self::Devices(asked) => {
                let named = impact.with(effect).flat_map(|movement| &movement.named);
                let asked = named.filter(|id| asked.contains(*id)).count();
                all.saturating_sub(u64::try_from(asked).unwrap_or(u64::MAX))
            }
        };
        let example = || {
            let movement = impact
                .with(effect)
                .find(|movement| self.is_beyond(movement))?;
            let asked =
                |id: &&RegistrationId| matches!(self, Self::Devices(asked) if asked.contains(*id));
            let named = movement.named.iter().find(|id| !asked(id));
            let whose = match (&movement.signed_by, named) {
                (_, Some(id)) => id.to_string(),
                (Some(signer), None) => format!("those of {signer}"),
                (None, None) => "those of a foreign signer".to_owned(),
            };
            Some(format!(", among them {whose}: {}", movement.after))
        };
        (beyond > 0).then(|| (beyond, example().unwrap_or_default()))
    }

    /// Whether a movement has leaves that were not asked about.
    fn is_beyond(&self, movement: &Movement) -> bool {
        match self {
            Self::Nobody => true,
            Self::Anybody => false,
            Self::SignedBy(signers) => {
                let signer = movement.signed_by.as_ref();
                !signer.is_some_and(|signer| signers.contains(signer))
            }
            Self::Devices(asked) => {
                let named = u64::try_from(movement.named.len()).unwrap_or(u64::MAX);
                named < movement.leaves || movement.named.iter().any(|id| !asked.contains(id))
            }
        }
    }
}
