//! Rolling the leaf that an individual enrollment names, in one instance.

use pki_core::admission::{DpsView, Outcome, decide};
use pki_core::certificate::Certificate;
use pki_core::enrollment::{CertificateSlot, IndividualEnrollment, Mechanism, X509Certificates};
use pki_core::ids::{RegistrationId, SerialNumber, Sha256Thumbprint};
use pki_core::inventory::{CertificateState, InventoryEntry, InventoryError, Status};
use pki_core::journal::PlanRecord;
use pki_core::lifecycle::roll::device::{self, DeviceState};
use pki_core::lifecycle::roll::{MovingDevice, RollError, Shown};
use pki_core::lifecycle::{HubAction, Plan, Promise, Step, Subject, Who};
use pki_core::profile::Role;
use pki_core::time::Time;

use super::left_behind::registered_at;
use crate::class::Class;
use crate::gather::{DpsSnapshot, GatherError, chain_of};
use crate::hubs::UnreadHub;
use crate::instance::Surroundings;
use crate::judge::{Judge, Judged};
use crate::planning::PlanningError;
use crate::registered::{Registered, is_shown, thumbprint, with_identities};

/// A device with everything that rolling its leaf depends on.
#[derive(Debug)]
pub struct DeviceRoll {
    /// The device, as DPS writes its name if it knows it.
    pub id: RegistrationId,
    /// Its hub, if that cannot be read.
    pub unread: Vec<UnreadHub>,
    snapshot: DpsSnapshot,
    state: DeviceState,
    /// Its leaves of the inventory that got out, newest first.
    leaves: Vec<InventoryEntry>,
}

/// What is to be done.
#[derive(Debug)]
pub struct Prepared {
    plan: Plan,
    before: DpsView,
    after: DpsView,
    refuses: Who,
}

/// Where the roll of a device stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is rolled.
    Idle,
    /// Its enrollment holds two leaves, and it has not registered with the new one as far as is known.
    Waiting,
    /// It has registered since its enrollment holds both.
    Moved,
}

/// What DPS decides about a leaf, read back.
#[derive(Debug, Clone)]
pub struct LeafProof {
    /// The leaf.
    pub serial_number: SerialNumber,
    /// What DPS decides.
    pub outcome: Outcome,
}

/// Why a roll of a leaf is not what it was to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeafNotAsPlanned {
    /// DPS decides otherwise.
    #[error("DPS decides otherwise than planned: {id} is {outcome}")]
    Otherwise {
        /// The device.
        id: RegistrationId,
        /// What it decides.
        outcome: Outcome,
    },
    /// DPS or the inventory cannot be read.
    #[error(transparent)]
    Gather(#[from] GatherError),
}

impl LeafNotAsPlanned {
    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Otherwise { .. } => Class::Conflict,
            Self::Gather(error) => error.class(),
        }
    }
}

impl DeviceRoll {
    /// Looks at what there is of a device; `None` if neither DPS nor the inventory knows it.
    ///
    /// # Errors
    /// [`GatherError`] if one of them cannot be read.
    pub async fn gather(
        around: Surroundings<'_>,
        id: &RegistrationId,
    ) -> Result<Option<Self>, GatherError> {
        let dps = around.instance.dps;
        let snapshot = DpsSnapshot::gather(around.instance).await?;
        let record = dps.registration(id).await?;
        let registered = with_identities(dps, record.iter().cloned().collect()).await;
        let mut leaves = around.journal.certificates_of(id)?;
        leaves.retain(|entry| {
            let got_out = matches!(entry.state.status(), Status::Delivered | Status::Revoked);
            got_out && entry.recorded.role() == Role::Leaf
        });
        let entry = snapshot.individual(id).cloned();
        if entry.is_none() && record.is_none() && leaves.is_empty() {
            return Ok(None);
        }
        let own_name = entry.as_ref().map(|entry| &entry.registration_id);
        Ok(Some(Self {
            id: own_name.unwrap_or(id).clone(),
            state: DeviceState {
                individual: entry,
                registration: record,
                hub_identity: registered
                    .devices
                    .into_iter()
                    .find_map(|device| device.hub_identity),
            },
            unread: registered.unread,
            snapshot,
            leaves,
        }))
    }

    /// Looks for the identity wherever it may be, if no record names its hub: somebody may have deleted that.
    /// Returns what is to be told of hubs that were not searched.
    ///
    /// # Errors
    /// [`GatherError`] if DPS cannot be read.
    pub async fn look_on_every_hub(
        &mut self,
        around: Surroundings<'_>,
    ) -> Result<Vec<String>, GatherError> {
        let record = self.state.registration.as_ref();
        if record.is_some_and(|record| record.assigned_hub.is_some()) {
            return Ok(vec![]);
        }
        let mut registered = Registered::default();
        let ids = [self.id.clone()].into();
        registered.add_unlisted(around, ids, |_| true).await?;
        let notes = registered.notes().collect();
        self.state.hub_identity = registered
            .devices
            .into_iter()
            .find_map(|device| device.hub_identity);
        self.unread.extend(registered.unread);
        Ok(notes)
    }

    /// Its newest valid leaf.
    pub fn newest_leaf(&self, at: Time) -> Option<&Certificate> {
        let newest = self.leaves.iter().find(|entry| entry.is_live(at))?;
        Some(newest.recorded.certificate())
    }

    /// Puts a new leaf beside the old one.
    ///
    /// # Errors
    /// [`PlanningError`]: the leaf is not the device's, or its enrollment has no room.
    pub fn start(&self, new: &Certificate) -> Result<Prepared, PlanningError> {
        let plan = device::start(&self.id, new, &self.state)?;
        self.prepared(self.seen_to(plan), Who::Nobody)
    }

    /// Puts a new leaf in the place of the old one, which is compromised: whoever has one key may have all.
    ///
    /// # Errors
    /// [`PlanningError`]: the leaf is not a new one of the device.
    pub fn replace(
        &self,
        new: &Certificate,
        hub: HubAction,
        at: Time,
    ) -> Result<Prepared, PlanningError> {
        let plan = device::replace(&self.id, new, &self.live(at), hub, &self.state)?;
        self.prepared(self.seen_to(plan), self.itself())
    }

    /// Takes the old leaf away.
    ///
    /// # Errors
    /// [`PlanningError`]: none is rolled, or the device has not registered with the new one.
    pub fn finish(
        &self,
        around: Surroundings<'_>,
        accept_stranded: bool,
    ) -> Result<Prepared, PlanningError> {
        let plan = match self.ended(around, &device::finish_goal(&self.id))? {
            Some(nothing) => nothing,
            None => {
                let (_, stays) = self.pair()?;
                device::finish(&self.moving(), &stays, accept_stranded, &self.state)?
            }
        };
        self.prepared(plan, self.itself())
    }

    /// Takes the new leaf out of the entry again.
    ///
    /// # Errors
    /// [`PlanningError`]: none is rolled, or the device has registered with the new one.
    pub fn abort(&self, around: Surroundings<'_>) -> Result<Prepared, PlanningError> {
        let plan = match self.ended(around, &device::abort_goal(&self.id))? {
            Some(nothing) => nothing,
            None => {
                let (old, _) = self.pair()?;
                device::abort(&self.moving(), &old, &self.state)?
            }
        };
        self.prepared(plan, self.itself())
    }

    /// Where the roll stands.
    pub fn phase(&self) -> Phase {
        match self.held().len() {
            0 | 1 => Phase::Idle,
            _ if self.moving().has_moved() => Phase::Moved,
            _ => Phase::Waiting,
        }
    }

    /// The leaves of the inventory that the entry holds, newest first.
    pub fn held(&self) -> Vec<Certificate> {
        let slots = self.slots();
        let leaves = self.leaves.iter().map(|entry| entry.recorded.certificate());
        let held = leaves.filter(|leaf| slots.contains(&leaf.sha256_thumbprint()));
        held.cloned().collect()
    }

    /// Reads DPS again and decides about each leaf that has not ended: as planned.
    ///
    /// # Errors
    /// [`LeafNotAsPlanned`] if it does not, or something cannot be read.
    pub async fn read_back(
        &self,
        around: Surroundings<'_>,
        prepared: &Prepared,
    ) -> Result<Vec<LeafProof>, LeafNotAsPlanned> {
        let snapshot = DpsSnapshot::about(around.instance, &[&self.id]).await?;
        let found = snapshot.view().map_err(GatherError::from)?;
        let now = around.now();
        let mut proofs = Vec::new();
        for entry in &self.leaves {
            let leaf = entry.recorded.certificate();
            if leaf.validity().not_after() < now {
                continue;
            }
            let chain = chain_of(around.journal, leaf).map_err(GatherError::from)?;
            let outcome = decide(&found, &chain).outcome;
            if outcome != decide(&prepared.after, &chain).outcome {
                let id = self.id.clone();
                return Err(LeafNotAsPlanned::Otherwise { id, outcome });
            }
            proofs.push(LeafProof {
                serial_number: leaf.serial_number().clone(),
                outcome,
            });
        }
        Ok(proofs)
    }

    /// What an instance decides about a leaf of the device that is compromised, where it lets the device in by
    /// one: all that have not ended are, but the new one.
    ///
    /// # Errors
    /// [`GatherError`] if DPS or the inventory cannot be read.
    pub async fn let_in_by_others(
        &self,
        around: Surroundings<'_>,
        new: &Certificate,
    ) -> Result<Option<Outcome>, GatherError> {
        let snapshot = DpsSnapshot::about(around.instance, &[&self.id]).await?;
        let view = snapshot.view()?;
        let now = around.now();
        for entry in &self.leaves {
            let leaf = entry.recorded.certificate();
            if leaf == new || leaf.validity().not_after() < now {
                continue;
            }
            let decision = decide(&view, &chain_of(around.journal, leaf)?);
            if !decision.is_kept_out() {
                return Ok(Some(decision.outcome));
            }
        }
        Ok(None)
    }

    fn itself(&self) -> Who {
        Who::Devices([self.id.clone()].into())
    }

    fn prepared(&self, plan: Plan, refuses: Who) -> Result<Prepared, PlanningError> {
        let before = self.snapshot.view()?;
        let after = plan.applied_to(&before)?;
        Ok(Prepared {
            plan,
            before,
            after,
            refuses,
        })
    }

    /// The record stays as long as its hub was not seen to: it tells which that is.
    fn seen_to(&self, mut plan: Plan) -> Plan {
        if !self.unread.is_empty() {
            plan.steps
                .retain(|step| !matches!(step, Step::Registration(_)));
        }
        plan
    }

    fn slots(&self) -> Vec<Sha256Thumbprint> {
        let entry = self.state.individual.as_ref();
        entry.map(slots).unwrap_or_default()
    }

    /// Its valid leaves, and whatever else the entry holds: whoever has one key may have them all.
    fn live(&self, at: Time) -> Vec<Certificate> {
        let slots = self.slots();
        let is_meant = |entry: &&InventoryEntry| {
            let leaf = entry.recorded.certificate();
            entry.is_live(at) || slots.contains(&leaf.sha256_thumbprint())
        };
        let meant = self.leaves.iter().filter(is_meant);
        meant
            .map(|entry| entry.recorded.certificate().clone())
            .collect()
    }

    /// A plan without steps where one of this goal was carried out, and the entry is as that left it.
    fn ended(&self, around: Surroundings<'_>, goal: &str) -> Result<Option<Plan>, InventoryError> {
        let subject = Subject::Device(self.id.clone());
        let name = around.instance.name;
        let left_so = |step: &Step| match step {
            Step::Individual(step) => step
                .document()
                .is_some_and(|entry| slots(entry) == self.slots()),
            _ => false,
        };
        let mut earlier = interrupted(around, goal, &subject)?;
        earlier.extend(around.journal.finished_plan(name, goal, &subject)?);
        let ended = earlier
            .into_iter()
            .find(|record| record.plan.steps.iter().any(left_so));
        Ok(ended.map(|record| Plan::new(record.plan.goal)))
    }

    /// The old and the new leaf of a roll that is under way.
    fn pair(&self) -> Result<(Certificate, Certificate), PlanningError> {
        let id = self.id.clone();
        let slots = self.slots();
        match (self.held().as_slice(), slots.len()) {
            ([new, old], _) => Ok((old.clone(), new.clone())),
            (_, 0) => Err(RollError::NoLeafEntry { id }.into()),
            (_, 1) => Err(PlanningError::NotRolled { id }),
            _ => Err(PlanningError::ForeignLeaf { id }),
        }
    }

    /// The entry's last change put the new leaf into it; what registered afterwards may have shown it.
    fn moving(&self) -> MovingDevice {
        let entry = self.state.individual.as_ref();
        let changed = entry.and_then(|entry| entry.other.get("lastUpdatedDateTimeUtc")?.as_str());
        let changed: Option<Time> = changed.and_then(|changed| changed.parse().ok());
        let delivered = self.leaves.first().and_then(|entry| match entry.state {
            CertificateState::Delivered { at } => Some(at),
            _ => None,
        });
        MovingDevice {
            id: self.id.clone(),
            new_leaf_since: changed.max(delivered),
            registered_at: self.state.registration.as_ref().and_then(registered_at),
            shown: self.shown(),
        }
    }

    /// Which of its leaves it showed last, as its identity on the hub tells: the newest is the new one.
    fn shown(&self) -> Shown {
        let identity = self.state.hub_identity.as_ref();
        let Some(thumbprint) = identity.and_then(|found| thumbprint(&found.device)) else {
            return Shown::Unknown;
        };
        let mut held = self.held().into_iter();
        match held.position(|leaf| is_shown(&leaf, thumbprint)) {
            Some(0) => Shown::New,
            Some(_) => Shown::Old,
            None => Shown::Unknown,
        }
    }
}

impl Prepared {
    /// Puts the plan through the checker: nobody but the device is let in.
    ///
    /// # Errors
    /// [`PlanningError`]: it would do more, or the inventory cannot be read.
    pub fn judge(
        &self,
        around: Surroundings<'_>,
        roll: &DeviceRoll,
    ) -> Result<Judged, PlanningError> {
        let promise = Promise {
            refuses: self.refuses.clone(),
            lets_in: roll.itself(),
            ..Promise::default()
        };
        let judge = Judge::of(around, &self.before);
        Ok(judge.plan(self.plan.clone(), &promise, around.instance.rate())?)
    }
}

/// The plans of this goal that are open. One may have been cut between its last write and the note of it.
fn interrupted(
    around: Surroundings<'_>,
    goal: &str,
    subject: &Subject,
) -> Result<Vec<PlanRecord>, InventoryError> {
    let mut interrupted = Vec::new();
    for summary in around.journal.plans(usize::MAX)? {
        if summary.state.is_open()
            && summary.dps == *around.instance.name
            && summary.goal == goal
            && let Some(record) = around.journal.plan(summary.plan)?
            && record.is_about(subject)
        {
            interrupted.push(record);
        }
    }
    Ok(interrupted)
}

/// The leaves that an entry names.
fn slots(entry: &IndividualEnrollment) -> Vec<Sha256Thumbprint> {
    match &entry.attestation.mechanism {
        Mechanism::X509(X509Certificates::Client(slots)) => slots
            .iter()
            .filter_map(CertificateSlot::sha256_thumbprint)
            .collect(),
        _ => vec![],
    }
}
