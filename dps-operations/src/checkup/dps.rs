//! What is found in one DPS instance: who is let in that must not be, who is refused that should not be, and what
//! differs from the declaration.

use std::collections::BTreeSet;

use pki_core::admission::{ChainElement, DpsView, Entry, Outcome, outcome_below, outcome_of};
use pki_core::crl::RevocationReason;
use pki_core::enrollment::{IndividualEnrollment, ProvisioningStatus};
use pki_core::ids::{AuthorityGeneration, EnrollmentGroupId, RegistrationId, Sha256Thumbprint};
use pki_core::inventory::{CertificateState, Filter, InventoryEntry, InventoryError, Status};
use pki_core::lifecycle::{DeclaredState, Fleet, blocking_groups, kept_out};
use pki_core::profile::Role;

use super::Finding;
use crate::converge;
use crate::deprovisioned::Deprovisioned;
use crate::gather::{DpsSnapshot, chain_of};
use crate::instance::Surroundings;
use crate::planning::PlanningError;
use crate::roll::{AuthorityRoll, Instances};

/// How many devices a finding names.
const NAMED: usize = 10;

/// How many leaves are read at once.
const PAGE: usize = 500;

/// An instance that is looked at.
struct Look<'a> {
    around: Surroundings<'a>,
    snapshot: DpsSnapshot,
    view: DpsView,
    state: DeclaredState,
}

/// What is found in an instance.
///
/// # Errors
/// [`PlanningError`] if it cannot be read.
pub async fn in_dps(around: Surroundings<'_>) -> Result<Vec<Finding>, PlanningError> {
    let snapshot = DpsSnapshot::gather(around.instance).await?;
    let look = Look {
        around,
        view: snapshot.view()?,
        state: snapshot.declared_state(around.journal)?,
        snapshot,
    };
    let mut findings = look.breaches().await?;
    findings.extend(look.compromised_let_in());
    findings.extend(look.revoked_let_in()?);
    findings.extend(look.groups_kept_out()?);
    findings.extend(look.devices_kept_out()?);
    findings.extend(drift(around).await?);
    Ok(findings)
}

impl Look<'_> {
    /// The breach rolls that lack something here.
    async fn breaches(&self) -> Result<Vec<Finding>, PlanningError> {
        let journal = self.around.journal;
        let instance = self.around.instance;
        let rolled = self
            .state
            .compromised
            .iter()
            .map(|one| &one.generation.name);
        let rolled: BTreeSet<_> = rolled.collect();
        let mut findings = Vec::new();
        for name in rolled {
            let instances = Instances::of([(instance, self.snapshot.clone())]);
            let moment = (self.around.now(), self.around.named);
            let mut roll = AuthorityRoll::gather(journal, &instances, name, moment)?;
            if let Some(unfinished) = roll.unfinished().await? {
                findings.push(Finding::BreachUnfinished {
                    dps: instance.name.clone(),
                    generation: AuthorityGeneration {
                        name: name.clone(),
                        generation: unfinished.compromised,
                    },
                    left: unfinished.left(),
                    request: unfinished.request,
                });
            }
        }
        Ok(findings)
    }

    /// The compromised generations whose leaves a group lets in.
    fn compromised_let_in(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for one in &self.state.compromised {
            if let Outcome::Admitted(by) = one.outcome(&self.view) {
                findings.push(Finding::CompromisedLetIn {
                    dps: self.around.instance.name.clone(),
                    generation: one.generation.clone(),
                    by,
                });
            }
        }
        findings
    }

    /// The devices that come in by a leaf that is revoked, or by an entry of their own with one below a compromised
    /// generation; whom a group lets in with such a leaf, [`Self::compromised_let_in`] tells.
    fn revoked_let_in(&self) -> Result<Option<Finding>, InventoryError> {
        let journal = self.around.journal;
        let now = self.around.now();
        let fleet = Fleet::gather(journal, now, self.view.individual_ids())?;
        let compromised = self.compromised();
        let mut devices = fleet.own_entries_below(&compromised, &self.view);
        let revoked = Filter {
            status: Some(Status::Revoked),
            role: Some(Role::Leaf),
            expiring_from: Some(now),
            ..Filter::default()
        };
        let mut after = None;
        loop {
            let page = journal.list(&revoked, after.as_ref(), PAGE)?;
            for entry in &page.entries {
                devices.extend(self.let_in_by(&fleet, &compromised, entry)?);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let count = u64::try_from(devices.len()).unwrap_or(u64::MAX);
        Ok((count > 0).then(|| Finding::RevokedLetIn {
            dps: self.around.instance.name.clone(),
            count,
            named: devices.into_iter().take(NAMED).collect(),
        }))
    }

    /// The device of a leaf that is revoked, if that lets it in. Of a leaf that another one has replaced, nobody
    /// has said that its key is known.
    fn let_in_by(
        &self,
        fleet: &Fleet,
        compromised: &BTreeSet<Sha256Thumbprint>,
        entry: &InventoryEntry,
    ) -> Result<Option<RegistrationId>, InventoryError> {
        let is_replaced = matches!(
            entry.state,
            CertificateState::Revoked {
                reason: RevocationReason::Superseded,
                ..
            }
        );
        let Some(id) = entry.recorded.registration_id().filter(|_| !is_replaced) else {
            return Ok(None);
        };
        let leaf = entry.recorded.certificate();
        let class = entry
            .recorded
            .signed_by()
            .and_then(|signer| fleet.class_of(signer));
        let above: Vec<ChainElement> = match class {
            Some(class) => class.above.clone(),
            None => chain_of(self.around.journal, leaf)?.above_leaf().to_vec(),
        };
        let is_in = match outcome_of(&self.view, id, &leaf.sha256_thumbprint(), &above) {
            Outcome::Admitted(Entry::Individual(_)) => true,
            Outcome::Admitted(Entry::Group(_)) => {
                let mut thumbprints = above.iter().map(|element| &element.sha256_thumbprint);
                !thumbprints.any(|thumbprint| compromised.contains(thumbprint))
            }
            _ => false,
        };
        Ok(is_in.then(|| id.clone()))
    }

    /// The certificates of the compromised generations.
    fn compromised(&self) -> BTreeSet<Sha256Thumbprint> {
        let certificates = self
            .state
            .compromised
            .iter()
            .filter_map(|one| one.path.first());
        certificates.map(|one| one.sha256_thumbprint()).collect()
    }

    /// The declared groups whose devices a group refuses that is not declared.
    fn groups_kept_out(&self) -> Result<Vec<Finding>, InventoryError> {
        let instance = self.around.instance;
        let authorities = self.around.journal.authorities()?;
        let blocks: BTreeSet<&EnrollmentGroupId> =
            blocking_groups(&authorities, &self.snapshot.groups).collect();
        let refused = kept_out(instance.declared, &self.state).into_iter();
        let findings = refused.map(|kept_out| Finding::GroupKeptOut {
            dps: instance.name.clone(),
            is_quarantine: blocks.contains(&kept_out.by),
            kept_out,
        });
        Ok(findings.collect())
    }

    /// The devices that a declared group would let in with a valid leaf, and that an entry of their own refuses.
    /// Whoever was deprovisioned is not waited for.
    fn devices_kept_out(&self) -> Result<Option<Finding>, InventoryError> {
        let disabled = |entry: &&IndividualEnrollment| {
            entry.provisioning_status == ProvisioningStatus::Disabled
        };
        let mut entries = self.snapshot.individuals.iter().filter(disabled).peekable();
        if entries.peek().is_none() {
            return Ok(None);
        }
        let journal = self.around.journal;
        let dps = self.around.instance.name;
        let left = Deprovisioned::of(journal, dps)?;
        let mut count = 0;
        let mut first = None;
        for entry in entries {
            let id = &entry.registration_id;
            if self.would_be_let_in(id)? && !left.has(journal, id)? {
                count += 1;
                first.get_or_insert_with(|| id.clone());
            }
        }
        Ok(first.map(|first| Finding::DevicesKeptOut {
            dps: dps.clone(),
            count,
            first,
        }))
    }

    /// Whether a declared group would let a device in with its newest valid leaf.
    fn would_be_let_in(&self, id: &RegistrationId) -> Result<bool, InventoryError> {
        let leaves = self.around.journal.live_leaves(id, self.around.now())?;
        let Some(newest) = leaves.first() else {
            return Ok(false);
        };
        let chain = chain_of(self.around.journal, newest.recorded.certificate())?;
        let outcome = outcome_below(&self.view, chain.above_leaf());
        let declared = &self.around.instance.declared.groups;
        Ok(match outcome {
            Outcome::Admitted(Entry::Group(group)) => declared.contains_key(&group),
            _ => false,
        })
    }
}

/// Whether an instance is as declared.
async fn drift(around: Surroundings<'_>) -> Result<Option<Finding>, PlanningError> {
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
