//! What somebody has to see to: what is wrong, what ends soon, and what was left open.
//!
//! Everything but [`Finding::Drift`] is found in the inventory, so a look needs no network.

use std::fmt;

use pki_core::declaration::Declaration;
use pki_core::ids::{AuthorityGeneration, AuthorityName, DpsName, PlanId};
use pki_core::inventory::{
    AuthorityRecord, Filter, GenerationRecord, InventoryError, Status, has_successor,
};
use pki_core::journal::Journal;
use pki_core::lifecycle::DeclaredError;
use pki_core::profile::Role;
use pki_core::time::{Span, Time};
use pki_core::wording::counted;

use crate::converge;
use crate::instance::Surroundings;
use crate::planning::PlanningError;
use crate::ports::Locks;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It does not work, or cannot be trusted.
    Wrong,
    /// It works, and somebody has to do something.
    Due,
}

/// Something that somebody has to see to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The inventory is not as its audit trail says.
    AuditTrail {
        /// How many findings there are.
        findings: u64,
        /// The first of them.
        first: String,
    },
    /// The certificate by which an authority issues has ended.
    AuthorityExpired {
        /// Which generation.
        generation: AuthorityGeneration,
        /// When it ended.
        at: Time,
    },
    /// It ends soon, and no other generation is rolled in.
    AuthorityEnds {
        /// Which generation.
        generation: AuthorityGeneration,
        /// When it ends.
        at: Time,
    },
    /// After a day that is near or past, an authority signs no leaf that is valid as long as declared.
    ShortLeaves {
        /// Which generation.
        generation: AuthorityGeneration,
        /// How long leaves are to be valid.
        validity: Span,
        /// The last moment at which it can sign one.
        last: Time,
    },
    /// Leaves have ended, and nothing has taken their place.
    LeavesExpired(Leaves),
    /// Leaves end soon, and nothing has taken their place.
    LeavesEnd(Leaves),
    /// An authority is being rolled.
    Roll {
        /// Which one.
        authority: AuthorityName,
    },
    /// A plan was cut short.
    OpenPlan {
        /// Which one.
        plan: PlanId,
        /// The instance that it changes.
        dps: DpsName,
        /// What it is for.
        goal: String,
    },
    /// An instance is not as declared.
    Drift {
        /// Which one.
        dps: DpsName,
        /// How many steps bring it there.
        steps: usize,
        /// The first of them.
        first: String,
    },
    /// An instance is not as declared, and no plan may bring it there.
    Contradiction {
        /// Which one.
        dps: DpsName,
        /// Why not.
        why: DeclaredError,
    },
}

/// Leaves that somebody has to renew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaves {
    /// How many.
    pub count: u64,
    /// The first that ends: its device, or its subject.
    pub first: String,
    /// When that is.
    pub at: Time,
}

impl Finding {
    /// The words of all kinds, the worst first.
    pub const KINDS: [&'static str; 9] = [
        "audit-trail",
        "authority-expired",
        "leaves-expired",
        "drift",
        "open-plan",
        "authority-ends",
        "short-leaves",
        "leaves-end",
        "roll",
    ];

    /// The word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::AuditTrail { .. } => "audit-trail",
            Self::AuthorityExpired { .. } => "authority-expired",
            Self::AuthorityEnds { .. } => "authority-ends",
            Self::ShortLeaves { .. } => "short-leaves",
            Self::LeavesExpired(_) => "leaves-expired",
            Self::LeavesEnd(_) => "leaves-end",
            Self::Roll { .. } => "roll",
            Self::OpenPlan { .. } => "open-plan",
            Self::Drift { .. } | Self::Contradiction { .. } => "drift",
        }
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Self::AuditTrail { .. } | Self::AuthorityExpired { .. } => Severity::Wrong,
            _ => Severity::Due,
        }
    }
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Due => "due",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AuditTrail { findings, first } => {
                let findings = counted(*findings, "finding", "findings");
                write!(
                    f,
                    "the audit trail is not intact: {findings}, the first: {first}"
                )
            }
            Self::AuthorityExpired { generation, at } => {
                write!(
                    f,
                    "{generation} expired on {at} and issues nothing that is valid"
                )
            }
            Self::AuthorityEnds { generation, at } => {
                write!(
                    f,
                    "{generation} ends on {at}, and no other generation is there"
                )
            }
            Self::ShortLeaves {
                generation,
                validity,
                last,
            } => write!(f, "{generation} signs no leaf for {validity} after {last}"),
            Self::LeavesExpired(leaves) => leaves.write(f, ["expired on", "expired"]),
            Self::LeavesEnd(leaves) => leaves.write(f, ["ends on", "end soon"]),
            Self::Roll { authority } => write!(f, "authority {authority} is being rolled"),
            Self::OpenPlan { plan, dps, goal } => {
                write!(f, "plan {plan} in DPS {dps} was cut short: {goal}")
            }
            Self::Contradiction { dps, why } => write!(f, "DPS {dps} is not as declared: {why}"),
            Self::Drift { dps, steps, first } => {
                let steps = counted(*steps, "step", "steps");
                write!(
                    f,
                    "DPS {dps} is not as declared: {steps}, the first: {first}"
                )
            }
        }
    }
}

impl Leaves {
    fn write(&self, f: &mut fmt::Formatter<'_>, [one, many]: [&str; 2]) -> fmt::Result {
        let Self { count, first, at } = self;
        if *count == 1 {
            return write!(f, "the leaf of {first} {one} {at}, and has no successor");
        }
        write!(
            f,
            "{count} leaves {many} and have no successor, the first: {first} on {at}"
        )
    }
}

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
        let mut expired = None;
        let mut ending = None;
        let mut after = None;
        loop {
            let page = self.journal.list(&ends_soon, after.as_ref(), PAGE)?;
            for entry in &page.entries {
                if has_successor(self.journal, authorities, entry)? {
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

fn end_of(record: &GenerationRecord) -> Option<Time> {
    let recorded = record.certificate.as_ref()?;
    Some(recorded.certificate().validity().not_after())
}

/// Puts the worst first.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by_key(|finding| {
        let mut kinds = Finding::KINDS.iter();
        kinds.position(|kind| *kind == finding.kind())
    });
}

/// Whether an instance is as declared.
///
/// # Errors
/// [`PlanningError`] if it cannot be read.
pub async fn drift(around: Surroundings<'_>) -> Result<Option<Finding>, PlanningError> {
    let dps = around.instance.name.clone();
    let judged = match converge::Request::default().prepare(around).await {
        Err(PlanningError::Declared(why)) => return Ok(Some(Finding::Contradiction { dps, why })),
        judged => judged?,
    };
    let steps = &judged.plan.plan().steps;
    Ok(steps.first().map(|first| Finding::Drift {
        dps,
        steps: steps.len(),
        first: first.to_string(),
    }))
}
