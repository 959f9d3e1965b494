//! Readmission: a device that was shut out comes back, with its new leaf only.

use pki_core::admission::{Decision, DpsView, Outcome, explain, outcome_below};
use pki_core::certificate::Certificate;
use pki_core::ids::{RegistrationId, SerialNumber};
use pki_core::inventory::{Inventory, InventoryEntry, InventoryError, Status};
use pki_core::lifecycle::{
    self, HubAction, LeafStanding, Promise, Readmit, ReadmitState, Subject, Verdict, Who,
};
use pki_core::profile::Role;

use crate::class::Class;
use crate::devices;
use crate::gather::{DpsSnapshot, GatherError, chain_of};
use crate::hubs::UnreadHub;
use crate::instance::Surroundings;
use crate::judge::{Judge, Judged};
use crate::planning::PlanningError;
use crate::target::Target;

/// Who comes back, and with what.
#[derive(Debug, Clone)]
pub struct Request {
    /// The device.
    pub id: RegistrationId,
    /// Its new leaf, with a new key.
    pub leaf: Certificate,
}

/// What there is of the device in one instance.
#[derive(Debug)]
pub struct Prepared {
    is_known: bool,
    view: DpsView,
    state: ReadmitState,
    unread: Vec<UnreadHub>,
}

/// Why a device is not back as it was to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotBack {
    /// The new leaf does not let it in.
    #[error("{id} is still not let in: {outcome}")]
    StillOut {
        /// The device.
        id: RegistrationId,
        /// What DPS decides.
        outcome: Outcome,
    },
    /// An earlier leaf is not kept out.
    #[error("leaf {serial} of {id} is not kept out: {outcome}")]
    OldLeaf {
        /// The device.
        id: RegistrationId,
        /// The leaf.
        serial: SerialNumber,
        /// What DPS decides.
        outcome: Outcome,
    },
    /// DPS or the inventory cannot be read.
    #[error(transparent)]
    Gather(#[from] GatherError),
    /// The inventory cannot be read.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
}

impl NotBack {
    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::StillOut { .. } | Self::OldLeaf { .. } => Class::Conflict,
            Self::Gather(error) => error.class(),
            Self::Inventory(error) => error.into(),
        }
    }
}

impl Request {
    /// Looks at what an instance, its hubs and the inventory have of the device.
    ///
    /// # Errors
    /// [`GatherError`] if one of them cannot be read.
    pub async fn prepare(&self, around: Surroundings<'_>) -> Result<Prepared, GatherError> {
        let inventory = around.journal;
        let known = inventory.by_sha256_thumbprint(&self.leaf.sha256_thumbprint())?;
        let standing = known.map_or(LeafStanding::Unknown, |entry| standing(&entry));
        let earlier = self.earlier(inventory)?;
        let target = [Target::without_leaf(self.id.clone())];
        let snapshot = DpsSnapshot::about(around.instance, &[&self.id]).await?;
        let gathered = devices::gather(around, &snapshot, &target, HubAction::default()).await?;
        let found = gathered.states.into_iter().next().unwrap_or_default();
        let view = snapshot.view()?;
        let chain = chain_of(inventory, &self.leaf)?;
        let verdict = Verdict::from(outcome_below(&view, chain.above_leaf()));
        Ok(Prepared {
            is_known: found.individual.is_some()
                || found.registration.is_some()
                || standing != LeafStanding::Unknown
                || !earlier.is_empty(),
            view,
            state: ReadmitState {
                individual: found.individual,
                leaf: standing,
                earlier,
                hub_identities: found.hub_identities,
                groups: snapshot.groups,
                decides: verdict.group().cloned(),
            },
            unread: gathered.unread,
        })
    }

    /// Every other leaf of the device that the inventory has.
    fn earlier(&self, inventory: &dyn Inventory) -> Result<Vec<Certificate>, InventoryError> {
        let leaves = inventory.certificates_of(&self.id)?;
        let earlier = leaves.iter().filter(|entry| {
            entry.recorded.role() == Role::Leaf && *entry.recorded.certificate() != self.leaf
        });
        Ok(earlier
            .map(|entry| entry.recorded.certificate().clone())
            .collect())
    }
}

/// Those instances that shut the device out, by their place; all of them if none does.
pub fn concerned(instances: &[Prepared]) -> Vec<usize> {
    let shuts_out = |one: &Prepared| one.state.individual.is_some();
    let none = !instances.iter().any(shuts_out);
    let places = 0..instances.len();
    places
        .filter(|index| none || shuts_out(&instances[*index]))
        .collect()
}

impl Prepared {
    /// Whether the instance or the inventory knows the device.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// The device, as the instance writes its name.
    pub fn id<'a>(&'a self, request: &'a Request) -> &'a RegistrationId {
        let entry = self.state.individual.as_ref();
        entry.map_or(&request.id, |entry| &entry.registration_id)
    }

    /// Its hub, if that cannot be read: it may refuse the device still.
    pub fn unread(&self) -> Option<&UnreadHub> {
        self.unread.first()
    }

    /// Plans the readmission, and puts it through the checker: nobody but the device is let in, and nothing
    /// but its own entry is enabled.
    ///
    /// # Errors
    /// [`PlanningError`]: the device is not shut out, or the leaf is not a new one of ours for it.
    pub fn judge(
        &self,
        around: Surroundings<'_>,
        request: &Request,
    ) -> Result<Judged, PlanningError> {
        let id = self.id(request);
        let asked = Readmit {
            registration_id: id.clone(),
            leaf: request.leaf.clone(),
        };
        let plan = lifecycle::readmit(&asked, &self.state, around.now())?;
        let promise = Promise {
            lets_in: Who::Devices([id.clone()].into()),
            reopens: [Subject::Device(id.clone())].into(),
            ..Promise::default()
        };
        let judge = Judge::of(around, &self.view);
        Ok(judge.plan_of_devices(plan, &promise, around.instance.rate(), &[id])?)
    }

    /// Reads DPS again: the new leaf must be in, and every earlier one out.
    ///
    /// # Errors
    /// [`NotBack`] if they are not, or something cannot be read.
    pub async fn read_back(
        &self,
        around: Surroundings<'_>,
        request: &Request,
    ) -> Result<Decision, NotBack> {
        let id = self.id(request);
        let snapshot = DpsSnapshot::about(around.instance, &[id]).await?;
        let view = snapshot.view().map_err(GatherError::from)?;
        let proof = explain(&view, &chain_of(around.journal, &request.leaf)?);
        if !proof.is_admitted() {
            return Err(NotBack::StillOut {
                id: id.clone(),
                outcome: proof.outcome,
            });
        }
        for leaf in &self.state.earlier {
            let decision = explain(&view, &chain_of(around.journal, leaf)?);
            if !decision.is_kept_out() {
                return Err(NotBack::OldLeaf {
                    id: id.clone(),
                    serial: leaf.serial_number().clone(),
                    outcome: decision.outcome,
                });
            }
        }
        Ok(proof)
    }
}

fn standing(entry: &InventoryEntry) -> LeafStanding {
    match entry.state.status() {
        Status::Delivered => LeafStanding::Valid,
        Status::Revoked => LeafStanding::Revoked,
        Status::Undelivered | Status::Voided => LeafStanding::Unknown,
    }
}
