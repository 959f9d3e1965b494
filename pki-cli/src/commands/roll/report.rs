//! What a roll would do or has done, instance by instance, and what was read back.

use std::collections::BTreeSet;
use std::fmt;

use dps_operations::judge::Scope;
use pki_core::ids::{AuthorityName, DpsName, Generation, RegistrationId};
use pki_core::journal::Estimate;
use pki_core::lifecycle::roll::{Deadline, Devices, RollStatus};
use pki_core::lifecycle::{Impact, Plan};
use pki_core::time::Time;
use pki_core::wording::counted;
use serde::Serialize;

use super::open::OpenPlan;
use crate::render::plan::PlanAndImpact;

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
#[derive(Serialize)]
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
    /// The devices below a compromised generation that are let in again, and that a hub keeps out.
    pub(super) kept_off_hubs: LeftBehind,
    pub(super) deadlines: Vec<End>,
}

/// The devices that have not moved.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct LeftBehind {
    count: u64,
    named: Vec<String>,
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
            open_plans: vec![],
            left_behind: LeftBehind {
                count: left_behind.count,
                named: left_behind.named.iter().map(ToString::to_string).collect(),
            },
            shut_out: LeftBehind::default(),
            kept_off_hubs: LeftBehind::default(),
            deadlines: status.deadlines.iter().map(End::from).collect(),
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waits.is_empty() || !self.open_plans.is_empty()
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
            if status.kept_off_hubs.count > 0 {
                write!(
                    f,
                    "\n  let in again, and disabled on the hub (dps-pki hub device enable ID): {}",
                    status.kept_off_hubs
                )?;
            }
            for End { at, what } in &status.deadlines {
                write!(f, "\n  {at}: {what}")?;
            }
        }
        Ok(())
    }
}
