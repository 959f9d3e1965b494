//! The checker: what every plan must hold to, whoever made it.
//!
//! Planners are written to hold to it, and this module does not trust them: it carries a plan out on
//! a copy of what DPS holds, step by step, and looks at who is admitted. Only a [`Checked`] plan is
//! carried out, and it can be made in no other way, but for a single write that somebody asked for.

use std::collections::BTreeSet;
use std::ops::Deref;

use serde::Serialize;

use super::{Effect, Fleet, Impact, Plan, Step, Subject};
use crate::admission::{DpsView, ViewError};
use crate::enrollment::ProvisioningStatus;
use crate::ids::RegistrationId;
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
    /// At most so many leaves.
    AtMost(u64),
    /// Whoever it hits: that is what was asked for.
    Anybody,
}

/// What is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
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
    /// The documents cannot be judged.
    #[error(transparent)]
    View(#[from] ViewError),
}

impl Checked {
    /// Carries a plan out on a copy of what DPS holds. Where nobody may be refused, the fleet is looked
    /// at after every step; else at the end.
    ///
    /// # Errors
    /// [`CheckError`] names the first step that breaks the promise.
    pub fn new(
        plan: Plan,
        before: &DpsView,
        fleet: &Fleet,
        promise: &Promise,
    ) -> Result<Self, CheckError> {
        promise.kept_by(plan.steps.iter(), before, fleet)?;
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
        let steps = plans.iter().flat_map(|plan| &plan.steps);
        promise.kept_by(steps, before, fleet)?;
        Ok(plans.into_iter().map(Self).collect())
    }

    /// A single write that was asked for by the name of its record, and shown: whatever it does was asked
    /// for. There is nothing to look at, nor always a way to look, as for those who may not read all.
    pub fn asked_for(goal: impl Into<String>, step: Step) -> Self {
        Self(Plan {
            steps: vec![step],
            ..Plan::new(goal)
        })
    }
}

impl Deref for Checked {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.0
    }
}

impl Promise {
    /// Whoever it refuses or lets in: that is shown and asked about. What is disabled stays so.
    pub fn as_shown() -> Self {
        Self {
            refuses: Who::Anybody,
            lets_in: Who::Anybody,
            ..Self::default()
        }
    }

    fn kept_by<'a>(
        &self,
        steps: impl Iterator<Item = &'a Step>,
        before: &DpsView,
        fleet: &Fleet,
    ) -> Result<(), CheckError> {
        let mut view = before.clone();
        let mut last = None;
        for step in steps {
            self.check_reopening(step, &view)?;
            step.apply_to(&mut view)?;
            if self.refuses == Who::Nobody && step.changes_admission() {
                self.check(step, &Impact::compare(before, &view, fleet))?;
            }
            last = Some(step);
        }
        match last {
            Some(step) => self.check(step, &Impact::compare(before, &view, fleet)),
            None => Ok(()),
        }
    }

    fn check(&self, step: &Step, impact: &Impact) -> Result<(), CheckError> {
        let step = || step.to_string();
        if let Some((leaves, example)) = self.refuses.exceeded(impact, Effect::Loses) {
            return Err(CheckError::Refuses {
                step: step(),
                leaves,
                example,
            });
        }
        match self.lets_in.exceeded(impact, Effect::Gains) {
            None => Ok(()),
            Some((leaves, example)) => Err(CheckError::LetsIn {
                step: step(),
                leaves,
                example,
            }),
        }
    }

    /// What a disabled entry keeps out, it keeps out of devices that the inventory does not know, too.
    fn check_reopening(&self, step: &Step, view: &DpsView) -> Result<(), CheckError> {
        let disabled = Some(ProvisioningStatus::Disabled);
        let is_disabled = match step {
            Step::PutGroup { group, .. }
                if group.provisioning_status == ProvisioningStatus::Disabled =>
            {
                false
            }
            Step::PutIndividual { enrollment, .. }
                if enrollment.provisioning_status == ProvisioningStatus::Disabled =>
            {
                false
            }
            Step::PutGroup { group, .. } => {
                view.group(&group.enrollment_group_id)
                    .map(|group| group.status)
                    == disabled
            }
            Step::DeleteGroup { id, .. } => view.group(id).map(|group| group.status) == disabled,
            Step::PutIndividual { enrollment, .. } => {
                let entry = view.individual(&enrollment.registration_id);
                entry.map(|entry| entry.status) == disabled
            }
            Step::DeleteIndividual {
                registration_id, ..
            } => view.individual(registration_id).map(|entry| entry.status) == disabled,
            _ => false,
        };
        let unasked = |subject: &Subject| !self.reopens.contains(subject);
        match step.subjects().into_iter().find(unasked) {
            Some(subject) if is_disabled => Err(CheckError::Reopens {
                step: step.to_string(),
                subject,
            }),
            _ => Ok(()),
        }
    }
}

impl Who {
    /// How many leaves see an effect that they should not, and one of them in words.
    fn exceeded(&self, impact: &Impact, effect: Effect) -> Option<(u64, String)> {
        let all = impact.count(effect);
        let beyond = match self {
            Self::Anybody => 0,
            Self::Nobody => all,
            Self::AtMost(most) if all <= *most => 0,
            Self::AtMost(_) => all,
            Self::Devices(asked) => {
                let named = impact.with(effect).flat_map(|movement| &movement.named);
                let asked = named.filter(|id| asked.contains(*id)).count();
                all.saturating_sub(u64::try_from(asked).unwrap_or(u64::MAX))
            }
        };
        let example = || {
            let movement = impact.with(effect).next()?;
            let whose = match (&movement.signed_by, movement.named.first()) {
                (_, Some(id)) => id.to_string(),
                (Some(signer), None) => format!("those of {signer}"),
                (None, None) => "those of a foreign signer".to_owned(),
            };
            Some(format!(", among them {whose}: {}", movement.after))
        };
        (beyond > 0).then(|| (beyond, example().unwrap_or_default()))
    }
}
