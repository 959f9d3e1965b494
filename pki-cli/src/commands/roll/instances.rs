//! What a roll depends on, gathered: every DPS instance as it is, and the authority with all that is
//! above and below it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use pki_core::admission::DpsView;
use pki_core::certificate::Certificate;
use pki_core::declaration::{DpsDeclaration, VerifiedBy};
use pki_core::ids::{AuthorityGeneration, AuthorityName, DpsName};
use pki_core::inventory::Inventory;
use pki_core::lifecycle::Fleet;
use pki_core::lifecycle::roll::{Below, HeldGeneration, Instance, RollState};
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::context::Context;
use crate::error::{CommandError, ErrorKind};
use crate::issuance::{authority_certificates, no_authority};
use crate::planes::{self, Planes};
use crate::snapshot::DpsSnapshot;

/// Every DPS instance of `pki.toml`, with what it holds.
pub(super) struct Instances<'a> {
    pub(super) planes: Vec<Planes<'a>>,
    pub(super) snapshots: Vec<DpsSnapshot>,
}

/// An instance in which something was not done, and why.
#[derive(Debug)]
pub(super) struct Unreached {
    pub(super) dps: DpsName,
    pub(super) error: CommandError,
}

impl<'a> Instances<'a> {
    pub(super) fn gather(context: &'a Context) -> Result<Self, CommandError> {
        let declared = declared(context)?.iter();
        let planes = declared.map(|(name, declared)| planes::of(context, name, declared));
        let planes: Vec<Planes<'a>> = planes.collect::<Result<_, _>>()?;
        let snapshots = context.block_on(read(&planes))?;
        Ok(Self { planes, snapshots })
    }

    /// The instances that can be read, and why the others cannot: what is compromised is shut out wherever
    /// that can be done.
    ///
    /// # Errors
    /// [`CommandError`] of the first one if none can be read.
    pub(super) fn reachable(context: &'a Context) -> Result<(Self, Vec<Unreached>), CommandError> {
        let mut reached = Self {
            planes: Vec::new(),
            snapshots: Vec::new(),
        };
        let mut unreached = Vec::new();
        for (name, declared) in declared(context)? {
            let read = planes::of(context, name, declared).and_then(|planes| {
                let snapshot = context.wait_for(DpsSnapshot::gather(&planes))?;
                Ok((planes, snapshot))
            });
            match read {
                Ok((planes, snapshot)) => {
                    reached.planes.push(planes);
                    reached.snapshots.push(snapshot);
                }
                Err(error) => unreached.push(Unreached::noted(name, error)?),
            }
        }
        if reached.planes.is_empty() && !unreached.is_empty() {
            return Err(unreached.swap_remove(0).error);
        }
        Ok((reached, unreached))
    }

    /// Reads an instance again.
    pub(super) fn read_back(
        &self,
        context: &Context,
        index: usize,
    ) -> Result<DpsView, CommandError> {
        let snapshot = context.wait_for(DpsSnapshot::gather(&self.planes[index]))?;
        Ok(snapshot.view()?)
    }

    pub(super) fn views(&self) -> Result<Vec<DpsView>, CommandError> {
        views(&self.snapshots)
    }

    /// The place of an instance.
    pub(super) fn index(&self, name: &DpsName) -> Option<usize> {
        self.planes.iter().position(|planes| planes.name() == name)
    }

    /// An authority with everything that rolling it depends on.
    pub(super) fn state(
        &self,
        context: &Context,
        inventory: &dyn Inventory,
        fleet: &Fleet,
        name: &AuthorityName,
    ) -> Result<RollState, CommandError> {
        let Some(record) = inventory.authority(name)? else {
            return Err(no_authority(context, name)?);
        };
        let generations = HeldGeneration::of(&record);
        let below = below(inventory, fleet, name, &generations)?;
        let instances = self.planes.iter().zip(&self.snapshots);
        Ok(RollState {
            authority: name.clone(),
            generations,
            certificates: authority_certificates(inventory)?,
            below,
            instances: instances
                .map(|(planes, snapshot)| instance(planes, snapshot, name))
                .collect(),
        })
    }
}

/// The instances of `pki.toml`, all of which a roll concerns.
fn declared(context: &Context) -> Result<&BTreeMap<DpsName, DpsDeclaration>, CommandError> {
    if context.settings.dps.is_some() {
        let message =
            "an authority is rolled in every DPS instance of pki.toml, so --dps means nothing here";
        return Err(CommandError::new(ErrorKind::Usage, message));
    }
    // One that is missing altogether gets its own error.
    let declared = &context.declaration()?.dps;
    if declared.is_empty() {
        context.dps()?;
    }
    Ok(declared)
}

impl Unreached {
    /// Takes note of an instance in which something was not done.
    ///
    /// # Errors
    /// The error itself, if it is none of the instance.
    pub(super) fn noted(dps: &DpsName, error: CommandError) -> Result<Self, CommandError> {
        let is_of_all = matches!(
            error.kind,
            ErrorKind::Interrupted | ErrorKind::OutputClosed | ErrorKind::Bug
        );
        if is_of_all {
            return Err(error);
        }
        Ok(Self {
            dps: dps.clone(),
            error,
        })
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DPS {}: {}", self.dps, self.error)
    }
}

impl Serialize for Unreached {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("Unreached", 2)?;
        line.serialize_field("dps", &self.dps)?;
        line.serialize_field("error", &self.error.to_string())?;
        line.end()
    }
}

async fn read(planes: &[Planes<'_>]) -> Result<Vec<DpsSnapshot>, CommandError> {
    let mut snapshots = Vec::with_capacity(planes.len());
    for planes in planes {
        snapshots.push(DpsSnapshot::gather(planes).await?);
    }
    Ok(snapshots)
}

fn views(snapshots: &[DpsSnapshot]) -> Result<Vec<DpsView>, CommandError> {
    let mut views = Vec::with_capacity(snapshots.len());
    for snapshot in snapshots {
        views.push(snapshot.view()?);
    }
    Ok(views)
}

fn instance(planes: &Planes<'_>, snapshot: &DpsSnapshot, name: &AuthorityName) -> Instance {
    let declared = || {
        let all = planes.declared().ca.iter();
        all.filter(|(_, ca)| ca.authority == *name)
    };
    let verified_by = declared().next().map(|(_, ca)| ca.verified_by);
    Instance {
        name: planes.name().clone(),
        authorities: snapshot.authorities.clone(),
        groups: snapshot.groups.clone(),
        declared: declared().map(|(name, _)| name.clone()).collect(),
        verified_by: verified_by.unwrap_or(VerifiedBy::Possession),
        cut_off: BTreeSet::new(),
    }
}

/// The generations of other authorities whose chains go through one of these.
fn below(
    inventory: &dyn Inventory,
    fleet: &Fleet,
    name: &AuthorityName,
    generations: &[HeldGeneration],
) -> Result<Vec<Below>, CommandError> {
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
) -> Result<Option<Certificate>, CommandError> {
    let record = inventory.authority(&id.name)?;
    let generation = record
        .as_ref()
        .and_then(|record| record.generation(id.generation));
    let recorded = generation.and_then(|generation| generation.certificate.as_ref());
    Ok(recorded.map(|recorded| recorded.certificate().clone()))
}
