//! What somebody has to see to: what is wrong, what ends soon, and what was left open.
//!
//! What is found in the inventory needs no network; what DPS decides otherwise than it should is found by
//! [`in_dps`], in one instance.

mod dps;
mod finding;

use std::collections::BTreeMap;

use pki_core::declaration::Declaration;
use pki_core::ids::{AuthorityGeneration, DpsName};
use pki_core::inventory::{
    AuthorityRecord, Filter, GenerationRecord, InventoryEntry, InventoryError, Status,
    has_successor,
};
use pki_core::journal::Journal;
use pki_core::lifecycle::refusals_as_declared;
use pki_core::profile::Role;
use pki_core::time::{Span, Time};

use crate::deprovisioned::Deprovisioned;
use crate::issuers::issuers_among;
use crate::planning::PlanningError;
use crate::ports::Locks;

pub use dps::in_dps;
pub use finding::{Finding, Leaves, Severity};

/// Where is looked.
#[derive(Clone, Copy)]
pub struct Checkup<'a> {
    /// The inventory with its journal.
    pub journal: &'a dyn Journal,
    /// Tells which plans are being carried out at this moment.
    pub locks: &'a dyn Locks,
    /// What is declared.
    pub declaration: &'a Declaration,
    /// The present moment.
    pub at: Time,
    /// How near an end is to be told.
    pub within: Span,
}

impl Checkup<'_> {
    /// What is found in the inventory.
    ///
    /// # Errors
    /// [`PlanningError`] if it cannot be read.
    pub fn findings(&self) -> Result<Vec<Finding>, PlanningError> {
        let horizon = self.at.checked_add(self.within)?;
        let authorities = self.journal.authorities()?;
        let mut findings = Vec::new();
        findings.extend(self.audit_trail()?);
        for authority in &authorities {
            if self.declaration.authority(&authority.name).is_some() {
                findings.extend(self.authority(authority, horizon));
            }
        }
        findings.extend(self.leaves(&authorities, horizon)?);
        findings.extend(self.open_plans()?);
        Ok(findings)
    }

    fn audit_trail(&self) -> Result<Option<Finding>, InventoryError> {
        let report = self.journal.verify_audit(&[])?;
        let Some(first) = report.findings.first() else {
            return Ok(None);
        };
        let told = u64::try_from(report.findings.len()).unwrap_or(u64::MAX);
        Ok(Some(Finding::AuditTrail {
            findings: told.saturating_add(report.further_findings),
            first: first.to_string(),
        }))
    }

    /// One that is not declared any more is retired, and may end.
    fn authority(&self, authority: &AuthorityRecord, horizon: Time) -> Vec<Finding> {
        let mut findings = Vec::new();
        if authority.next().is_some() {
            findings.push(Finding::Roll {
                authority: authority.name.clone(),
            });
        }
        let issuing = authority.issuing();
        let Some((record, at)) = issuing.and_then(|record| Some((record, end_of(record)?))) else {
            return findings;
        };
        let generation = AuthorityGeneration {
            name: authority.name.clone(),
            generation: record.generation,
        };
        if at < self.at {
            findings.push(Finding::AuthorityExpired { generation, at });
        } else if at < horizon {
            findings.push(Finding::AuthorityEnds { generation, at });
        } else {
            findings.extend(self.short_leaves(generation, at, horizon));
        }
        findings
    }

    /// Of an authority that others stand below in `pki.toml`, nobody expects leaves.
    fn short_leaves(
        &self,
        generation: AuthorityGeneration,
        end: Time,
        horizon: Time,
    ) -> Option<Finding> {
        let mut declared = self.declaration.authorities.iter();
        if declared.any(|one| one.issuer.as_ref() == Some(&generation.name)) {
            return None;
        }
        let profiles = self.declaration.profiles.iter();
        let mut default =
            profiles.filter(|(name, _)| name.as_str() == Declaration::DEFAULT_PROFILE);
        let (_, profile) = default.next()?;
        let validity = profile.validity;
        let last = end - validity;
        (last < horizon).then_some(Finding::ShortLeaves {
            generation,
            validity,
            last,
        })
    }

    fn leaves(
        &self,
        authorities: &[AuthorityRecord],
        horizon: Time,
    ) -> Result<Vec<Finding>, InventoryError> {
        const PAGE: usize = 500;
        let ends_soon = Filter {
            status: Some(Status::Delivered),
            role: Some(Role::Leaf),
            expiring_before: Some(horizon),
            ..Filter::default()
        };
        let mut departures = None;
        let mut expired = None;
        let mut ending = None;
        let mut after = None;
        loop {
            let page = self.journal.list(&ends_soon, after.as_ref(), PAGE)?;
            for entry in &page.entries {
                if has_successor(self.journal, authorities, entry)?
                    || self.has_left(authorities, &mut departures, entry)?
                {
                    continue;
                }
                let certificate = entry.recorded.certificate();
                let at = certificate.validity().not_after();
                let leaves = if at < self.at {
                    &mut expired
                } else {
                    &mut ending
                };
                let counted = leaves.get_or_insert_with(|| Leaves {
                    count: 0,
                    first: match entry.recorded.registration_id() {
                        Some(id) => id.to_string(),
                        None => certificate.subject().to_string(),
                    },
                    at,
                });
                counted.count += 1;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let expired = expired.map(Finding::LeavesExpired);
        let ending = ending.map(Finding::LeavesEnd);
        Ok(expired.into_iter().chain(ending).collect())
    }

    /// Whether the device of a leaf has left every instance that would let it in by a group. `departures` are
    /// read when they are needed.
    fn has_left(
        &self,
        authorities: &[AuthorityRecord],
        departures: &mut Option<Departures>,
        entry: &InventoryEntry,
    ) -> Result<bool, InventoryError> {
        let Some(id) = entry.recorded.registration_id() else {
            return Ok(false);
        };
        if departures.is_none() {
            *departures = Some(self.departures()?);
        }
        let mut others = BTreeMap::new();
        let mut has_left = false;
        for (name, left) in departures.get_or_insert_default() {
            if left.has(self.journal, id)? {
                has_left = true;
            } else if let Some(declared) = self.declaration.dps.get(name)
                && !declared.groups.is_empty()
            {
                others.insert(name.clone(), declared.clone());
            }
        }
        if !has_left || others.is_empty() {
            return Ok(has_left);
        }
        let certificate = entry.recorded.certificate();
        let above = issuers_among(self.journal, authorities, certificate)?;
        Ok(!refusals_as_declared(&others, authorities, &above).is_empty())
    }

    fn departures(&self) -> Result<Departures, InventoryError> {
        let mut departures = Departures::new();
        for name in self.declaration.dps.keys() {
            departures.insert(name.clone(), Deprovisioned::of(self.journal, name)?);
        }
        Ok(departures)
    }

    /// Those that no run is carrying out at this moment.
    fn open_plans(&self) -> Result<Vec<Finding>, InventoryError> {
        let plans = self.journal.plans(usize::MAX)?.into_iter();
        let cut = plans.filter(|plan| plan.state.is_open() && !self.locks.is_held(plan.plan));
        let findings = cut.map(|plan| Finding::OpenPlan {
            plan: plan.plan,
            dps: plan.dps,
            goal: plan.goal,
        });
        Ok(findings.collect())
    }
}

/// Who has left, by instance.
type Departures = BTreeMap<DpsName, Deprovisioned>;

fn end_of(record: &GenerationRecord) -> Option<Time> {
    let recorded = record.certificate.as_ref()?;
    Some(recorded.certificate().validity().not_after())
}

/// Puts the worst first.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by_key(|finding| {
        let mut kinds = Finding::KINDS.iter();
        let place = kinds.position(|kind| *kind == finding.kind());
        (finding.severity(), place)
    });
}
