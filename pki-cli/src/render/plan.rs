//! A plan and its impact, for people and scripts.

use std::fmt;

use pki_core::lifecycle::{Impact, Movement, Plan, Step};
use serde::Serialize;

/// A plan with what it does to devices.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlanAndImpact<'a> {
    /// The plan.
    pub(crate) plan: &'a Plan,
    /// Who loses and who gains admission.
    pub(crate) impact: &'a Impact,
    /// Whether it was carried out.
    pub(crate) done: bool,
}

/// How many devices are named; JSON has all of them.
const NAMED: usize = 10;

impl fmt::Display for PlanAndImpact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.plan.is_empty() {
            writeln!(f, "nothing to do: {} is done already", self.plan.goal)?;
        } else {
            let word = if self.done { "done" } else { "plan" };
            writeln!(f, "{word}: {}", self.plan.goal)?;
        }
        for (index, step) in self.plan.steps.iter().enumerate() {
            writeln!(f, "  {}. {step}", index + 1)?;
            changes(f, step)?;
        }
        for note in &self.plan.notes {
            writeln!(f, "note: {note}")?;
        }
        write_impact(f, self.impact)
    }
}

fn changes(f: &mut fmt::Formatter<'_>, step: &Step) -> fmt::Result {
    let (Step::PutGroup { changes, .. } | Step::PutIndividual { changes, .. }) = step else {
        return Ok(());
    };
    for change in changes {
        writeln!(
            f,
            "       {}: {} -> {}",
            change.field, change.from, change.to
        )?;
    }
    Ok(())
}

/// Who loses and who gains admission, and how many are not concerned.
pub(crate) fn write_impact(f: &mut fmt::Formatter<'_>, impact: &Impact) -> fmt::Result {
    movements(f, "loses admission", &impact.loses)?;
    movements(f, "gains admission", &impact.gains)?;
    write!(
        f,
        "impact on the devices of the inventory: {} lose admission, {} gain it, {} stay admitted, {} stay out",
        impact.loses.len(),
        impact.gains.len(),
        impact.stays_admitted,
        impact.stays_out
    )
}

fn movements(f: &mut fmt::Formatter<'_>, what: &str, movements: &[Movement]) -> fmt::Result {
    for movement in movements.iter().take(NAMED) {
        writeln!(
            f,
            "  {} {what}: {}",
            movement.registration_id, movement.after
        )?;
    }
    if movements.len() > NAMED {
        writeln!(f, "  and {} more", movements.len() - NAMED)?;
    }
    Ok(())
}
