//! Plans of a roll that are open: cut short, or being carried out in this moment.

use pki_core::ids::{AuthorityName, RegistrationId};
use pki_core::inventory::InventoryError;
use pki_core::journal::{Journal, PlanRecord, PlanSummary};
use pki_core::lifecycle::Subject;

use crate::ports::Locks;

/// A plan that has not been carried out to its end.
#[derive(Debug, Clone)]
pub struct OpenPlan {
    /// The plan.
    pub summary: PlanSummary,
    /// Whether another process is at it; if not, it was interrupted.
    pub is_under_way: bool,
}

/// The open plans about an authority or a device of this name, oldest first.
///
/// # Errors
/// [`InventoryError`] if the journal cannot be read.
pub fn open_plans(
    journal: &dyn Journal,
    locks: &dyn Locks,
    name: &str,
) -> Result<Vec<OpenPlan>, InventoryError> {
    let mut open = Vec::new();
    for summary in journal.plans(usize::MAX)? {
        if !summary.state.is_open() {
            continue;
        }
        let record = journal.plan(summary.plan)?;
        if record.is_some_and(|record| is_about(&record, name)) {
            open.push(OpenPlan {
                is_under_way: locks.is_held(summary.plan),
                summary,
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
