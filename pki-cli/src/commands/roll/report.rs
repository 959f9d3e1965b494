//! What a roll would do or has done, instance by instance, and what was read back.

use std::collections::BTreeSet;
use std::fmt;

use dps_operations::judge::Scope;
use dps_operations::roll::{self, Unfinished, Worklist};
use pki_core::ids::{AuthorityName, DpsName, Generation, HubHostName, PlanId, RegistrationId};
use pki_core::journal::Estimate;
use pki_core::lifecycle::roll::{Deadline, Devices, RollStatus};
use pki_core::lifecycle::{Impact, Plan};
use pki_core::time::Time;
use pki_core::wording::{command_in, counted};
use serde::Serialize;

use crate::config::NAMED;
use crate::render::plan::PlanAndImpact;
use crate::typed::breach_roll;

/// A plan for one instance with what it does there to devices.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Planned {
    pub(super) dps: DpsName,
    pub(super) plan: Plan,
    pub(super) impact: Impact,
    pub(super) estimate: Estimate,
    /// Who stays in with a leaf below a compromised generation, by an enrollment of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) still_admitted: Vec<RegistrationId>,
}

/// What was planned in every instance, and what came of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) plans: Vec<Planned>,
    pub(super) done: bool,
    pub(super) proof: Vec<Proof>,
}

/// What an instance decides about the devices below a generation, read back.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Proof {
    pub(super) dps: DpsName,
    pub(super) authority: AuthorityName,
    pub(super) generation: Generation,
    pub(super) outcome: String,
}

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

impl Report {
    pub(super) fn of(planned: Vec<roll::Planned>, done: bool, proofs: Vec<roll::Proof>) -> Self {
        Self {
            plans: planned.into_iter().map(Planned::from).collect(),
            done,
            proof: proofs.into_iter().map(Proof::from).collect(),
        }
    }
}

impl From<roll::Planned> for Planned {
    fn from(planned: roll::Planned) -> Self {
        let mut plan = planned.plan;
        plan.notes.extend(notes_of(&planned.still_admitted));
        Self {
            dps: planned.dps,
            plan,
            impact: planned.impact,
            estimate: planned.estimate,
            still_admitted: planned.still_admitted,
        }
    }
}

fn notes_of(still_admitted: &[RegistrationId]) -> Vec<String> {
    let named = still_admitted.iter().take(NAMED).map(|id| {
        format!("{id} has an individual enrollment that lets it in with a leaf below the compromised certificate; shut it out with: dps-pki quarantine {id}")
    });
    let mut notes: Vec<String> = named.collect();
    if still_admitted.len() > NAMED {
        notes.push(format!(
            "and {} more have one; all of them are named with --output json",
            still_admitted.len() - NAMED
        ));
    }
    notes
}

impl From<roll::Proof> for Proof {
    fn from(proof: roll::Proof) -> Self {
        Self {
            dps: proof.dps,
            authority: proof.generation.name,
            generation: proof.generation.generation,
            outcome: proof.outcome.to_string(),
        }
    }
}

impl From<roll::OpenPlan> for OpenPlan {
    fn from(open: roll::OpenPlan) -> Self {
        let summary = open.summary;
        Self {
            plan: summary.plan,
            dps: summary.dps,
            goal: summary.goal,
            done: summary.done,
            steps: summary.steps,
            is_under_way: open.is_under_way,
        }
    }
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several = self.plans.len() > 1;
        for (index, planned) in self.plans.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            if several {
                writeln!(f, "DPS {}:", planned.dps)?;
            }
            let shown = PlanAndImpact {
                scope: Scope::Inventory,
                plan: &planned.plan,
                impact: &planned.impact,
                estimate: &planned.estimate,
                done: self.done,
            };
            write!(f, "{shown}")?;
        }
        for proof in &self.proof {
            write!(
                f,
                "\nread back from DPS {}: devices of {} generation {} are {}",
                proof.dps, proof.authority, proof.generation, proof.outcome
            )?;
        }
        Ok(())
    }
}

/// Where rolls stand.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Statuses(pub(super) Vec<Status>);

/// Where one roll stands.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    /// The authority or the device.
    pub(super) name: String,
    pub(super) phase: &'static str,
    pub(super) waits: Vec<String>,
    /// What was cut short of it, or is being done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) open_plans: Vec<OpenPlan>,
    pub(super) left_behind: LeftBehind,
    /// The devices below a compromised generation that are not let in any more.
    pub(super) shut_out: LeftBehind,
    /// Those that one instance lets in again, by the instance that refuses them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) refused_by: Vec<RefusedBy>,
    /// The devices below a compromised generation that are let in, and that a hub keeps out.
    pub(super) kept_off_hubs: LeftBehind,
    /// The same by hub.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) kept_off_by: Vec<KeptOffBy>,
    pub(super) deadlines: Vec<End>,
}

/// The devices that have not moved.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct LeftBehind {
    count: u64,
    named: Vec<String>,
}

/// The devices that an instance refuses and another one lets in.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RefusedBy {
    dps: DpsName,
    devices: LeftBehind,
}

/// The devices that a hub keeps out and an instance lets in.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeptOffBy {
    dps: DpsName,
    hub: HubHostName,
    devices: LeftBehind,
}

/// A moment at which something stops working.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct End {
    pub(super) at: Time,
    pub(super) what: String,
}

impl Status {
    pub(super) fn of(status: &RollStatus, left_behind: &Devices) -> Self {
        Self {
            name: status.authority.to_string(),
            phase: status.phase.as_str(),
            waits: status.waits.iter().map(ToString::to_string).collect(),
            left_behind: LeftBehind {
                count: left_behind.count,
                named: left_behind.named.iter().map(ToString::to_string).collect(),
            },
            deadlines: status.deadlines.iter().map(End::from).collect(),
            ..Self::default()
        }
    }

    /// Adds the devices that need a new leaf, an instance or a hub; `names` of each are named.
    pub(super) fn with_worklist(self, list: &Worklist, names: usize) -> Self {
        let kept_off = list.kept_off_hubs.iter().flat_map(|one| &one.devices);
        let kept_off: BTreeSet<RegistrationId> = kept_off.cloned().collect();
        let refused_by = list.refused.iter().map(|(dps, devices)| RefusedBy {
            dps: dps.clone(),
            devices: LeftBehind::of(devices, names),
        });
        let kept_off_by = list.kept_off_hubs.iter().map(|one| KeptOffBy {
            dps: one.dps.clone(),
            hub: one.hub.clone(),
            devices: LeftBehind::of(&one.devices, names),
        });
        Self {
            shut_out: LeftBehind::of(&list.shut_out, names),
            refused_by: refused_by.collect(),
            kept_off_hubs: LeftBehind::of(&kept_off, names),
            kept_off_by: kept_off_by.collect(),
            ..self
        }
    }

    /// Adds what a breach roll has left to do, with the command that does it.
    pub(super) fn with_unfinished(
        mut self,
        authority: &AuthorityName,
        unfinished: Option<&Unfinished>,
    ) -> Self {
        let Some(unfinished) = unfinished else {
            return self;
        };
        let request = &unfinished.request;
        let command = breach_roll(authority, None, request.hub, request.with_intermediates);
        let generation = unfinished.compromised;
        for (dps, steps) in &unfinished.steps {
            let left = counted(steps.len(), "step", "steps");
            let next = steps.first().map(ToString::to_string).unwrap_or_default();
            self.waits.push(format!(
                "the breach roll of generation {generation} in DPS {dps}: {left} left, next: {next}; complete it with: {command}"
            ));
        }
        for unread in &unfinished.unread {
            self.waits.push(format!(
                "{} to be taken off its hub: {}; complete it with: {command}",
                unread.registration_id, unread.hub
            ));
        }
        if let Some(obstacle) = &unfinished.obstacle {
            self.waits.push(format!(
                "the breach roll of generation {generation}, which cannot go on: {obstacle}"
            ));
        }
        self
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waits.is_empty()
            || !self.open_plans.is_empty()
            || self.shut_out.count > 0
            || !self.refused_by.is_empty()
            || !self.kept_off_by.is_empty()
    }
}

impl LeftBehind {
    /// Counts devices, and names the first `names` of them.
    pub(super) fn of(devices: &BTreeSet<RegistrationId>, names: usize) -> Self {
        let named = devices.iter().take(names);
        Self {
            count: u64::try_from(devices.len()).unwrap_or(u64::MAX),
            named: named.map(ToString::to_string).collect(),
        }
    }
}

impl fmt::Display for LeftBehind {
    /// `3 devices (a, b, …)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&counted(self.count, "device", "devices"))?;
        let is_all = u64::try_from(self.named.len()).is_ok_and(|named| named == self.count);
        let more = if is_all { "" } else { ", …" };
        write!(f, " ({}{more})", self.named.join(", "))
    }
}

impl From<&Deadline> for End {
    fn from(deadline: &Deadline) -> Self {
        Self {
            at: deadline.at,
            what: deadline.what.clone(),
        }
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, status) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}: {}", status.name, status.phase)?;
            for wait in &status.waits {
                write!(f, "\n  waiting: {wait}")?;
            }
            for open in &status.open_plans {
                write!(f, "\n  {open}")?;
            }
            if status.shut_out.count > 0 {
                write!(f, "\n  shut out, to get a new leaf: {}", status.shut_out)?;
            }
            for RefusedBy { dps, devices } in &status.refused_by {
                write!(
                    f,
                    "\n  let in elsewhere, and refused by DPS {dps}: {devices}"
                )?;
            }
            for KeptOffBy { dps, hub, devices } in &status.kept_off_by {
                write!(
                    f,
                    "\n  let in, and disabled on the hub ({}): {devices}",
                    command_in(dps, format_args!("hub device enable ID --hub {hub}"))
                )?;
            }
            for End { at, what } in &status.deadlines {
                write!(f, "\n  {at}: {what}")?;
            }
        }
        Ok(())
    }
}
