//! Quarantine: devices are shut out of an instance and off its hubs, and what DPS decides then is read back.
//!
//! A [`Request`] is prepared for each instance, and judged when its turn comes; the plan is carried out by
//! [`crate::Engine`]. Everything below an authority is [`Below`].
//! Not here: which words name a device (the front end's), and what becomes of a plan on the way.

mod below;

use pki_core::admission::{Decision, DpsView, Entry, Outcome, PresentedChain, explain};
use pki_core::certificate::Certificate;
use pki_core::ids::RegistrationId;
use pki_core::inventory::{Inventory, InventoryError, Status};
use pki_core::lifecycle::{HubAction, Plan, Quarantine, QuarantineState, Step, quarantine_many};
use pki_core::time::Time;

use crate::devices::{self, Gathered, unexpired};
use crate::execute::{Failures, StepFailure};
use crate::gather::{DpsSnapshot, GatherError, chain_of};
use crate::hubs::UnreadHub;
use crate::instance::Surroundings;
use crate::judge::{Judge, JudgeError, Judged};
use crate::target::Target;

pub use below::{Below, PreparedBelow};

/// Who is shut out, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// The devices, each once.
    pub targets: Vec<Target>,
    /// Why; for the hub identities and the record.
    pub reason: Option<String>,
    /// What happens to the hub identities.
    pub hub: HubAction,
}

/// What is to be done in one instance.
#[derive(Debug)]
pub struct Prepared {
    plan: Plan,
    view: DpsView,
    gathered: Gathered,
}

/// What became of a device, read back.
#[derive(Debug)]
pub struct DeviceReport<'a> {
    /// The device.
    pub registration_id: &'a RegistrationId,
    /// What DPS decides about it.
    pub proof: &'a Decision,
    /// The step that failed for it.
    pub failure: Option<&'a StepFailure>,
    /// Its hub, if that cannot be read.
    pub unread: Option<&'a UnreadHub>,
}

impl Request {
    /// Looks at an instance, and plans what is to be done there.
    ///
    /// # Errors
    /// [`GatherError`] if DPS or the inventory cannot be read.
    pub async fn prepare(&self, around: Surroundings<'_>) -> Result<Prepared, GatherError> {
        let snapshot = DpsSnapshot::around(around.instance, &self.ids()).await?;
        let gathered = devices::gather(around, &snapshot, &self.targets, self.hub).await?;
        let now = around.now();
        let mut asked: Vec<(Quarantine, QuarantineState)> = Vec::new();
        for (target, state) in self.targets.iter().zip(&gathered.states) {
            let revoke = revoked(around.journal, target, now)?;
            asked.push((self.one(target, revoke), state.clone()));
        }
        Ok(Prepared {
            plan: quarantine_many(&asked),
            view: snapshot.view()?,
            gathered,
        })
    }

    fn one(&self, target: &Target, revoke: Vec<Certificate>) -> Quarantine {
        Quarantine {
            registration_id: target.id.clone(),
            leaf: target.leaf.clone(),
            revoke,
            reason: self.reason.clone(),
            hub: self.hub,
        }
    }

    /// The devices that neither the inventory nor any of these instances knows. A name that nothing knows
    /// shuts nobody out: it is somebody else's thumbprint or serial number, or written wrong.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    pub fn unknown(
        &self,
        inventory: &dyn Inventory,
        instances: &[&Prepared],
    ) -> Result<Vec<&RegistrationId>, InventoryError> {
        let mut unknown = Vec::new();
        for (index, target) in self.targets.iter().enumerate() {
            let is_there = |prepared: &&Prepared| prepared.gathered.is_there(index);
            let is_known = target.leaf.is_some()
                || instances.iter().any(is_there)
                || !inventory.certificates_of(&target.id)?.is_empty();
            if !is_known {
                unknown.push(&target.id);
            }
        }
        Ok(unknown)
    }

    /// The devices that a plan shuts out by their ID alone: it must be the CN of their leaves.
    pub fn by_id_alone<'a>(&'a self, prepared: &Prepared) -> Vec<&'a RegistrationId> {
        let is_put = |id: &RegistrationId| {
            prepared.plan.steps.iter().any(|step| match step {
                Step::Individual(step) => step.id() == id,
                _ => false,
            })
        };
        let unknown = self
            .targets
            .iter()
            .filter(|target| target.leaf.is_none() && is_put(&target.id));
        unknown.map(|target| &target.id).collect()
    }

    /// One device's plan stops at its first failure; of several the others go on.
    pub fn failures(&self) -> Failures {
        match self.targets.len() {
            0 | 1 => Failures::Stop,
            _ => Failures::GoOn,
        }
    }

    /// Reads everything back, and decides again about each device, in their order.
    ///
    /// # Errors
    /// [`GatherError`] if DPS or the inventory cannot be read.
    pub async fn read_back(&self, around: Surroundings<'_>) -> Result<Vec<Decision>, GatherError> {
        read_back(around, &self.targets).await
    }

    /// Those of the devices that an instance which was left out would let in, by whichever leaf; without a leaf
    /// at hand only a disabled entry keeps a device out for sure.
    pub fn let_in<'a>(&'a self, decisions: Vec<Decision>) -> Vec<(&'a Target, Decision)> {
        let decided = self.targets.iter().zip(decisions);
        let is_in = |(target, decision): &(&'a Target, Decision)| {
            !decision.is_kept_out() || (target.leaf.is_none() && !is_out(decision))
        };
        decided.filter(is_in).collect()
    }

    /// What became of each device.
    pub fn report<'a>(
        &'a self,
        prepared: &'a Prepared,
        proofs: &'a [Decision],
        failed: &'a [StepFailure],
    ) -> Vec<DeviceReport<'a>> {
        let decided = self.targets.iter().zip(proofs);
        decided
            .map(|(target, proof)| DeviceReport {
                registration_id: &target.id,
                proof,
                failure: failed
                    .iter()
                    .find(|failure| failure.subject.eq_ignore_ascii_case(target.id.as_str())),
                unread: prepared
                    .unread()
                    .iter()
                    .find(|unread| unread.registration_id == target.id),
            })
            .collect()
    }

    fn ids(&self) -> Vec<&RegistrationId> {
        self.targets.iter().map(|target| &target.id).collect()
    }
}

impl Prepared {
    /// Puts the plan through the checker: it refuses these devices, and nobody else.
    ///
    /// # Errors
    /// [`JudgeError`]: it would do more, or the inventory cannot be read.
    pub fn judge(&self, around: Surroundings<'_>, request: &Request) -> Result<Judged, JudgeError> {
        let judge = Judge::of(around, &self.view);
        let rate = around.instance.rate();
        judge.plan_that_refuses(self.plan.clone(), rate, &request.ids())
    }

    /// The devices whose hubs cannot be read.
    pub fn unread(&self) -> &[UnreadHub] {
        &self.gathered.unread
    }
}

impl DeviceReport<'_> {
    /// Whether a disabled entry keeps it out, and nothing failed on the way.
    pub fn is_shut_out(&self) -> bool {
        is_out(self.proof) && self.failure.is_none()
    }
}

/// Whether a device is out by a disabled entry.
pub fn is_out(decision: &Decision) -> bool {
    matches!(decision.outcome, Outcome::Disabled(_))
}

/// Reads an instance again, and decides about devices, in their order: of all leaves that got out and have not
/// ended about one that is let in, if there is any.
pub(crate) async fn read_back(
    around: Surroundings<'_>,
    targets: &[Target],
) -> Result<Vec<Decision>, GatherError> {
    let ids: Vec<&RegistrationId> = targets.iter().map(|target| &target.id).collect();
    let view = DpsSnapshot::about(around.instance, &ids).await?.view()?;
    let mut decisions = Vec::with_capacity(targets.len());
    for target in targets {
        decisions.push(decision(around, &view, target)?);
    }
    Ok(decisions)
}

/// What is decided about a device, by the leaf that lets it in where one does.
fn decision(
    around: Surroundings<'_>,
    view: &DpsView,
    target: &Target,
) -> Result<Decision, InventoryError> {
    let chain = match &target.leaf {
        Some(leaf) => chain_of(around.journal, leaf)?,
        None => PresentedChain::known(Some(target.id.to_string()), vec![]),
    };
    let named = explain(view, &chain);
    // A disabled entry of its own decides about every leaf.
    let is_out_for_all = matches!(named.outcome, Outcome::Disabled(Entry::Individual(_)));
    if is_out_for_all || !named.is_kept_out() {
        return Ok(named);
    }
    for leaf in unexpired(around.journal, target, around.now())? {
        let decision = explain(view, &chain_of(around.journal, &leaf)?);
        if !decision.is_kept_out() {
            return Ok(decision);
        }
    }
    Ok(named)
}

/// The leaves that are revoked with a device: the one that was named, and every other one that is valid,
/// since any of them may be the stolen one.
fn revoked(
    inventory: &dyn Inventory,
    target: &Target,
    at: Time,
) -> Result<Vec<Certificate>, InventoryError> {
    let mut leaves = inventory.live_leaves(&target.id, at)?;
    if let Some(named) = &target.entry
        && named.state.status() == Status::Delivered
    {
        leaves.retain(|leaf| leaf.recorded.row() != named.recorded.row());
        leaves.insert(0, named.clone());
    }
    Ok(leaves
        .iter()
        .map(|leaf| leaf.recorded.certificate().clone())
        .collect())
}
