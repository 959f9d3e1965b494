//! Plans of a roll that are open: cut short, or being carried out in this moment.

use std::fmt;

use dps_operations::ports::Locks as _;
use pki_core::ids::{AuthorityName, DpsName, PlanId, RegistrationId};
use pki_core::journal::{Journal, PlanRecord};
use pki_core::lifecycle::Subject;
use pki_core::wording::counted;
use serde::Serialize;

use crate::context::Context;
use crate::error::CommandError;

/// A plan that has not been carried out to its end.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OpenPlan {
    plan: PlanId,
    dps: DpsName,
    goal: String,
    done: usize,
    steps: usize,
    /// Whether another process is at it; if not, it was interrupted.
    is_under_way: bool,
}

/// The open plans about an authority or a device, oldest first.
pub(super) fn plans_of(
    context: &Context,
    journal: &dyn Journal,
    name: &str,
) -> Result<Vec<OpenPlan>, CommandError> {
    let mut open = Vec::new();
    for summary in journal.plans(usize::MAX)? {
        if !summary.state.is_open() {
            continue;
        }
        let Some(record) = journal.plan(summary.plan)? else {
            continue;
        };
        if is_about(&record, name) {
            open.push(OpenPlan {
                plan: summary.plan,
                dps: summary.dps,
                goal: summary.goal,
                done: summary.done,
                steps: summary.steps,
                is_under_way: context.is_held(summary.plan),
            });
        }
    }
    open.reverse();
    Ok(open)
}

/// A roll of an authority in several instances settles its generations in one plan alone; the others name
/// it in their goal.
fn is_about(record: &PlanRecord, name: &str) -> bool {
    let authority = name.parse::<AuthorityName>().ok().map(Subject::Authority);
    let device = name.parse::<RegistrationId>().ok().map(Subject::Device);
    let subjects = [authority, device];
    let mut words = record.plan.goal.split_whitespace();
    subjects
        .iter()
        .flatten()
        .any(|subject| record.is_about(subject))
        || words.any(|word| word.trim_end_matches([':', ',']) == name)
}

impl fmt::Display for OpenPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            plan,
            dps,
            goal,
            done,
            steps,
            ..
        } = self;
        let steps = counted(*steps, "step", "steps");
        if self.is_under_way {
            write!(
                f,
                "under way in DPS {dps}: {goal} (plan {plan}, {done} of {steps} done)"
            )
        } else {
            write!(
                f,
                "interrupted in DPS {dps}: {goal} (plan {plan}, {done} of {steps} done); say its command again, or go on: dps-pki journal resume {plan}"
            )
        }
    }
}
