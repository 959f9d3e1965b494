//! The checker: what every plan must hold to, whoever made it.
//!
//! Planners are written to hold to it, and this module does not trust them: it carries a plan out on
//! a copy of what DPS holds, and looks after every step at who is admitted. Only a [`Checked`] plan is
//! carried out, and it can be made in no other way.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use serde::Serialize;

use super::{Effect, Fleet, Impact, Movement, Plan, Step, Subject};
use crate::admission::{DpsView, ViewError};
use crate::enrollment::ProvisioningStatus;
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
    /// Carries a plan out on a copy of what DPS holds, and looks at the fleet after every step: at the one
    /// device that the step is about, or at all of them.
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

    /// A single write that was asked for by the name of its record, by somebody who may not be able to read
    /// everything: `status` is that of the record as it was read, and `impact` what the write does as far as
    /// that could be told.
    ///
    /// # Errors
    /// [`CheckError`] if it takes away what keeps devices out, or does more than was promised.
    pub fn asked_for(
        goal: impl Into<String>,
        step: Step,
        status: Option<ProvisioningStatus>,
        impact: Option<&Impact>,
        promise: &Promise,
    ) -> Result<Self, CheckError> {
        if status == Some(ProvisioningStatus::Disabled) {
            promise.check_disabled(&step)?;
        }
        if let Some(impact) = impact {
            promise.check(&step, impact)?;
        }
        Ok(Self(Plan {
            steps: vec![step],
            ..Plan::new(goal)
        }))
    }
}

impl Deref for Checked {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.0
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

    fn kept_by<'a>(
        &self,
        steps: impl Iterator<Item = &'a Step>,
        before: &DpsView,
        fleet: &Fleet,
    ) -> Result<(), CheckError> {
        let mut exceptions: BTreeMap<&RegistrationId, Vec<usize>> = BTreeMap::new();
        for (index, one) in fleet.exceptions.iter().enumerate() {
            exceptions.entry(&one.id).or_default().push(index);
        }
        let mut view = before.clone();
        for step in steps {
            self.check_reopening(step, &view)?;
            self.check_deletion(step, &view, fleet)?;
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
            self.check(step, &impact)?;
        }
        Ok(())
    }

    /// What an entry decides about falls through to another one when it is deleted.
    fn check_deletion(&self, step: &Step, view: &DpsView, fleet: &Fleet) -> Result<(), CheckError> {
        let deletes = matches!(step, Step::DeleteGroup { .. } | Step::DeleteCa { .. });
        if !deletes || self.lets_in != Who::Anybody || self.falls_through == Who::Anybody {
            return Ok(());
        }
        let mut after = view.clone();
        step.apply_to(&mut after)?;
        let impact = Impact::compare(view, &after, fleet);
        match self.falls_through.exceeded(&impact, Effect::Gains) {
            None => Ok(()),
            Some((leaves, example)) => Err(CheckError::LetsIn {
                step: step.to_string(),
                leaves,
                example,
            }),
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
        let disabled = Some(&ProvisioningStatus::Disabled);
        let is_disabled = match step {
            Step::PutGroup { group, .. } => {
                view.group(&group.enrollment_group_id)
                    .map(|group| &group.status)
                    == disabled
            }
            Step::DeleteGroup { id, .. } => view.group(id).map(|group| &group.status) == disabled,
            Step::PutIndividual { enrollment, .. } => {
                let entry = view.individual(&enrollment.registration_id);
                entry.map(|entry| &entry.status) == disabled
            }
            Step::DeleteIndividual {
                registration_id, ..
            } => view.individual(registration_id).map(|entry| &entry.status) == disabled,
            _ => false,
        };
        if is_disabled {
            self.check_disabled(step)
        } else {
            Ok(())
        }
    }

    /// Refuses to take away a disabled entry that nobody asked to take away.
    fn check_disabled(&self, step: &Step) -> Result<(), CheckError> {
        let takes_away = match step {
            Step::PutGroup { group, .. } => {
                group.provisioning_status != ProvisioningStatus::Disabled
            }
            Step::PutIndividual { enrollment, .. } => {
                enrollment.provisioning_status != ProvisioningStatus::Disabled
            }
            Step::DeleteGroup { .. } | Step::DeleteIndividual { .. } => true,
            _ => false,
        };
        let unasked = |subject: &Subject| !self.reopens.contains(subject);
        match step.subjects().into_iter().find(unasked) {
            Some(subject) if takes_away => Err(CheckError::Reopens {
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
