//! What a roll depends on, gathered: every DPS instance as it is, and the authority with all that is
//! above and below it.

use std::collections::BTreeSet;

use pki_core::admission::{DpsView, ViewError};
use pki_core::certificate::Certificate;
use pki_core::declaration::VerifiedBy;
use pki_core::ids::{AuthorityGeneration, AuthorityName, DpsName};
use pki_core::inventory::{Inventory, InventoryError};
use pki_core::lifecycle::Fleet;
use pki_core::lifecycle::roll::{self, Below, Generations, RollError, RollState};

use crate::gather::{DpsSnapshot, GatherError};
use crate::instance::Instance;
use crate::issuers::authority_certificates;
use crate::planning::PlanningError;

/// The DPS instances that a roll concerns, with what they hold.
pub struct Instances<'a> {
    all: Vec<Instance<'a>>,
    snapshots: Vec<DpsSnapshot>,
}

impl<'a> Instances<'a> {
    /// Looks at each of them.
    ///
    /// # Errors
    /// [`GatherError`] of the first one that cannot be read.
    pub async fn gather(
        instances: impl IntoIterator<Item = Instance<'a>>,
    ) -> Result<Self, GatherError> {
        let mut read = Vec::new();
        for instance in instances {
            read.push((instance, DpsSnapshot::gather(instance).await?));
        }
        Ok(Self::of(read))
    }

    /// Those that were read already: what is compromised is shut out wherever that can be done.
    pub fn of(read: impl IntoIterator<Item = (Instance<'a>, DpsSnapshot)>) -> Self {
        let (all, snapshots) = read.into_iter().unzip();
        Self { all, snapshots }
    }

    /// The instances, in the order in which they were given.
    pub fn all(&self) -> &[Instance<'a>] {
        &self.all
    }

    /// What an instance holds, by its place.
    pub(super) fn snapshot(&self, index: usize) -> &DpsSnapshot {
        &self.snapshots[index]
    }

    /// Each with what it holds.
    pub(super) fn read(&self) -> impl Iterator<Item = (&Instance<'a>, &DpsSnapshot)> {
        self.all.iter().zip(&self.snapshots)
    }

    /// The place of an instance.
    pub fn index(&self, name: &DpsName) -> Option<usize> {
        self.all.iter().position(|instance| instance.name == name)
    }

    /// What of each decides about devices.
    ///
    /// # Errors
    /// [`ViewError`] if the documents of one do not say.
    pub fn views(&self) -> Result<Vec<DpsView>, ViewError> {
        self.snapshots.iter().map(DpsSnapshot::view).collect()
    }

    /// An authority with everything that rolling it depends on.
    pub(super) fn state(
        &self,
        inventory: &dyn Inventory,
        fleet: &Fleet,
        name: &AuthorityName,
    ) -> Result<RollState, PlanningError> {
        let Some(record) = inventory.authority(name)? else {
            return Err(PlanningError::NoAuthority { name: name.clone() });
        };
        let generations = Generations::of(&record).map_err(RollError::from)?;
        let below = below(inventory, fleet, name, &generations)?;
        let instances = self
            .read()
            .map(|(instance, snapshot)| held(instance, snapshot, name));
        Ok(RollState {
            authority: name.clone(),
            generations,
            certificates: authority_certificates(inventory)?,
            below,
            instances: instances.collect(),
        })
    }
}

fn held(instance: &Instance<'_>, snapshot: &DpsSnapshot, name: &AuthorityName) -> roll::Instance {
    let declared = instance.declared.ca.iter();
    let declared: Vec<_> = declared.filter(|(_, ca)| ca.authority == *name).collect();
    let verified_by = declared.first().map(|(_, ca)| ca.verified_by);
    roll::Instance {
        name: instance.name.clone(),
        authorities: snapshot.authorities.clone(),
        groups: snapshot.groups.clone(),
        declared: declared.iter().map(|(name, _)| (*name).clone()).collect(),
        verified_by: verified_by.unwrap_or(VerifiedBy::Possession),
        cut_off: BTreeSet::new(),
    }
}

/// The generations of other authorities whose chains go through one of these.
fn below(
    inventory: &dyn Inventory,
    fleet: &Fleet,
    name: &AuthorityName,
    generations: &Generations,
) -> Result<Vec<Below>, InventoryError> {
    let generations = generations.all();
    let mut below = Vec::new();
    for class in &fleet.classes {
        let Some(signer) = class.signed_by.as_ref().filter(|one| one.name != *name) else {
            continue;
        };
        let is_below = generations.iter().any(|held| {
            let thumbprint = held.certificate.sha256_thumbprint();
            class
                .above
                .iter()
                .any(|above| above.sha256_thumbprint == thumbprint)
        });
        if is_below && let Some(certificate) = certificate_of(inventory, signer)? {
            below.push(Below {
                authority: signer.name.clone(),
                generation: signer.generation,
                certificate,
                leaves: class.live_leaves(),
            });
        }
    }
    Ok(below)
}

fn certificate_of(
    inventory: &dyn Inventory,
    id: &AuthorityGeneration,
) -> Result<Option<Certificate>, InventoryError> {
    let record = inventory.authority(&id.name)?;
    let generation = record
        .as_ref()
        .and_then(|record| record.generation(id.generation));
    let recorded = generation.and_then(|generation| generation.certificate.as_ref());
    Ok(recorded.map(|recorded| recorded.certificate().clone()))
}
