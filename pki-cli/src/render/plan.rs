//! A plan and its impact, for people and scripts.

use std::collections::BTreeMap;
use std::fmt;

use dps_operations::judge::{Judged, Scope};
use pki_core::enrollment::ProvisioningStatus;
use pki_core::ids::RegistrationId;
use pki_core::journal::Estimate;
use pki_core::lifecycle::{Effect, HubDeviceAction, Impact, Movement, Plan, Step};
use pki_core::wording::{counted, fitting};
use serde::Serialize;

use crate::config::NAMED;

/// A plan with what it does to devices and what it costs.
#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlanAndImpact<'a> {
    /// The plan.
    pub(crate) plan: &'a Plan,
    /// Who loses and who gains admission.
    pub(crate) impact: &'a Impact,
    /// What it costs.
    pub(crate) estimate: &'a Estimate,
    /// Whether it was carried out.
    pub(crate) done: bool,
    /// Whose leaves the impact counts.
    #[serde(skip)]
    pub(crate) scope: Scope,
}

impl<'a> PlanAndImpact<'a> {
    /// What nobody has carried out yet.
    pub(crate) fn proposed(judged: &'a Judged) -> Self {
        Self {
            plan: judged.plan.plan(),
            impact: &judged.impact,
            estimate: &judged.estimate,
            done: false,
            scope: judged.scope,
        }
    }
}

/// A plan for one device, what became of it, and what DPS decides about the device since.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlanAndProof<'a, P> {
    /// The device.
    pub(crate) registration_id: &'a RegistrationId,
    /// What was planned.
    #[serde(flatten)]
    pub(crate) planned: PlanAndImpact<'a>,
    /// The decisions, read back.
    pub(crate) proof: P,
    /// What they say to people, a line each.
    #[serde(skip)]
    pub(crate) read_back: Vec<String>,
}

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
            for change in step.changes() {
                writeln!(f, "       {change}")?;
            }
        }
        for note in &self.plan.notes {
            writeln!(f, "note: {note}")?;
        }
        write_impact_of(f, self.impact, self.scope)
    }
}

impl<P> fmt::Display for PlanAndProof<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.planned)?;
        for line in &self.read_back {
            write!(f, "\nread back from DPS: {line}")?;
        }
        Ok(())
    }
}

/// [`PlanAndImpact`] of a plan that may be long: of many steps only how many there are of each kind. JSON
/// has all of them.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Outline<'a>(pub(crate) PlanAndImpact<'a>);

impl fmt::Display for Outline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MANY: usize = 20;
        let plan = self.0.plan;
        if plan.steps.len() <= MANY {
            return write!(f, "{}", self.0);
        }
        writeln!(f, "plan: {}", plan.goal)?;
        let mut kinds = BTreeMap::<&str, usize>::new();
        for step in &plan.steps {
            *kinds.entry(kind(step)).or_default() += 1;
        }
        for (kind, count) in kinds {
            writeln!(f, "  {count} × {kind}")?;
        }
        for note in plan.notes.iter().take(NAMED) {
            writeln!(f, "note: {note}")?;
        }
        if plan.notes.len() > NAMED {
            let more = plan.notes.len() - NAMED;
            writeln!(f, "and {}", counted(more, "more note", "more notes"))?;
        }
        write_impact_of(f, self.0.impact, self.0.scope)
    }
}

fn kind(step: &Step) -> &'static str {
    match step {
        Step::Individual(step) => match step.document() {
            None => "delete an individual enrollment",
            Some(entry) if entry.provisioning_status == ProvisioningStatus::Enabled => {
                "an enabled individual enrollment, pinned to a leaf"
            }
            Some(_) => "a disabled individual enrollment",
        },
        Step::Group(step) if step.document().is_some() => "a disabled enrollment group",
        Step::Group(_) => "delete an enrollment group",
        Step::Registration(_) => "delete a registration record",
        Step::HubDevice(step) => match step.action {
            HubDeviceAction::Disable { .. } => "disable a device identity on its hub",
            HubDeviceAction::Delete => "delete a device identity on its hub",
            HubDeviceAction::Enable => "another step",
        },
        Step::Leaf(_) => "mark a leaf revoked in the inventory",
        Step::Ca(_) | Step::Authority(_) => "another step",
    }
}

/// Which leaves lose and gain admission, how many are not concerned, and whom that leaves without one.
pub(crate) fn write_impact(f: &mut fmt::Formatter<'_>, impact: &Impact) -> fmt::Result {
    write_impact_of(f, impact, Scope::Inventory)
}

fn write_impact_of(f: &mut fmt::Formatter<'_>, impact: &Impact, scope: Scope) -> fmt::Result {
    let whose = match scope {
        Scope::Inventory => "the leaves of the inventory",
        Scope::Devices => "the leaves of what was named",
    };
    for (effect, word) in [(Effect::Loses, "loses"), (Effect::Gains, "gains")] {
        let mut named = 0;
        for movement in impact.with(effect) {
            named += movements(f, word, movement, NAMED - named)?;
        }
        more(f, impact.count(effect), named)?;
    }
    for falls in impact.falls_through() {
        let what = if falls.is_admitted {
            "admits"
        } else {
            "refuses"
        };
        writeln!(
            f,
            "  {} of enrollment group {} {} through to {}, which {what} {}",
            counted(falls.leaves, "leaf", "leaves"),
            falls.from,
            fitting(falls.leaves, "falls", "fall"),
            falls.to,
            fitting(falls.leaves, "it", "them")
        )?;
    }
    let leaves = |effect, one, many| counted(impact.count(effect), one, many);
    write!(
        f,
        "impact on {whose}: {} admission, {} it, {} admitted, {} out",
        leaves(Effect::Loses, "loses", "lose"),
        leaves(Effect::Gains, "gains", "gain"),
        leaves(Effect::StaysAdmitted, "stays", "stay"),
        leaves(Effect::StaysOut, "stays", "stay")
    )?;
    let not_known = impact.count(Effect::NotKnown);
    if not_known > 0 {
        let are = fitting(not_known, "is", "are");
        write!(f, ", of {not_known} nobody knows whether it {are} admitted")?;
    }
    match impact.devices_left_out {
        Some(devices) if impact.count(Effect::Loses) > 0 => {
            write!(f, "\ndevices left without an admitted leaf: {devices}")
        }
        _ => Ok(()),
    }
}

/// Names the devices of the first leaves of a movement, and says how many that were.
fn movements(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    movement: &Movement,
    most: usize,
) -> Result<usize, fmt::Error> {
    let named = movement.named.iter().take(most);
    let leaf = movement.signed_by.as_ref().map(|signer| {
        let name = &signer.name;
        let generation = signer.generation;
        format!(" with its leaf of {name} generation {generation}")
    });
    let leaf = leaf.unwrap_or_default();
    for id in named.clone() {
        writeln!(f, "  {id} {what} admission{leaf}: {}", movement.after)?;
    }
    Ok(named.len())
}

fn more(f: &mut fmt::Formatter<'_>, all: u64, named: usize) -> fmt::Result {
    match all.saturating_sub(u64::try_from(named).unwrap_or(u64::MAX)) {
        0 => Ok(()),
        count => writeln!(f, "  and {count} more"),
    }
}
