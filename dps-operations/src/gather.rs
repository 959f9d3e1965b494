//! Gathers what planners and admission take: DPS's documents, and the fleet of the inventory.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _};
use pki_core::admission::{ChainElement, DpsView, PresentedChain, ViewError};
use pki_core::certificate::{Certificate, pem};
use pki_core::enrollment::{EnrollmentGroup, IndividualEnrollment};
use pki_core::ids::{AuthorityGeneration, AuthorityName, RegistrationId};
use pki_core::inventory::{AuthorityRecord, GenerationState, Inventory, InventoryError};
use pki_core::lifecycle::{CompromisedGeneration, DeclaredState};
use pki_core::management::{CaCertificate, CaCertificateProperties};
use pki_core::time::Time;

use crate::class::Class;
use crate::dps::{DpsError, PAGE};
use crate::instance::Instance;
use crate::issuers::{NoCertificate, certificate_of, issuers};

/// Up to so many devices, each one's entry is asked for.
pub(crate) const FEW: usize = 20;

/// So many entries of an instance are looked at for one that names a leaf under another ID than its CN. It
/// is a hint for who wrote a name wrong, for which a full instance is not read.
const LOOKED_AT: u8 = 100;

/// Why something could not be gathered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatherError {
    /// DPS or a hub.
    #[error(transparent)]
    Dps(#[from] DpsError),
    /// The documents of DPS do not say who is admitted.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The inventory.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// A generation that issues has no certificate.
    #[error(transparent)]
    NoCertificate(#[from] NoCertificate),
}

impl GatherError {
    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Dps(error) => error.class(),
            Self::View(_) => Class::Service,
            Self::Inventory(error) => error.into(),
            Self::NoCertificate(_) => Class::Failed,
        }
    }
}

/// What one DPS instance holds, as its planes told it.
#[derive(Debug, Clone, Default)]
pub struct DpsSnapshot {
    /// Its CA certificates.
    pub authorities: Vec<CaCertificate>,
    /// Its enrollment groups.
    pub groups: Vec<EnrollmentGroup>,
    /// Its individual enrollments, as far as they were asked for.
    pub individuals: Vec<IndividualEnrollment>,
    /// When it is asked who is admitted; without a moment, dates do not matter.
    pub at: Option<Time>,
}

impl DpsSnapshot {
    /// Reads all CA certificates, groups and individual enrollments.
    ///
    /// # Errors
    /// [`GatherError`] if DPS does not tell them.
    pub async fn gather(instance: Instance<'_>) -> Result<Self, GatherError> {
        let dps = instance.dps;
        Ok(Self {
            authorities: dps.list_authorities().await?,
            groups: dps.list_groups().try_collect().await?,
            individuals: dps.list_individuals(PAGE).try_collect().await?,
            at: Some(instance.now()),
        })
    }

    /// Reads all that decides about these devices: of the individual enrollments theirs alone, as long as
    /// they are few: among a million others it takes no more calls.
    ///
    /// # Errors
    /// As [`Self::gather`].
    pub async fn about(
        instance: Instance<'_>,
        ids: &[&RegistrationId],
    ) -> Result<Self, GatherError> {
        if ids.len() > FEW {
            return Self::gather(instance).await;
        }
        let dps = instance.dps;
        let mut individuals = Vec::new();
        for id in ids {
            individuals.extend(dps.individual(id).await?);
        }
        Ok(Self {
            authorities: dps.list_authorities().await?,
            groups: dps.list_groups().try_collect().await?,
            individuals,
            at: Some(instance.now()),
        })
    }

    /// The same as [`Self::about`], with what people trip over: the first entries of an instance, which in a
    /// small one are all, may name a leaf under another ID than its CN.
    ///
    /// # Errors
    /// As [`Self::gather`].
    pub async fn around(
        instance: Instance<'_>,
        ids: &[&RegistrationId],
    ) -> Result<Self, GatherError> {
        let mut snapshot = Self::about(instance, ids).await?;
        if ids.len() <= FEW {
            let entries = instance.dps.list_individuals(LOOKED_AT.into());
            let first = entries.take(LOOKED_AT.into());
            let mut others: Vec<IndividualEnrollment> = first.try_collect().await?;
            others.retain(|entry| !ids.contains(&&entry.registration_id));
            snapshot.individuals.extend(others);
        }
        Ok(snapshot)
    }

    /// The individual enrollment of a device.
    pub fn individual(&self, id: &RegistrationId) -> Option<&IndividualEnrollment> {
        self.individuals
            .iter()
            .find(|entry| entry.registration_id == *id)
    }

    /// What of it decides about devices.
    ///
    /// # Errors
    /// [`ViewError`] if its documents do not say.
    pub fn view(&self) -> Result<DpsView, ViewError> {
        let mut view = DpsView::from_documents(&self.authorities, &self.groups, &self.individuals)?;
        if let Some(at) = self.at {
            view.set_moment(at);
        }
        Ok(view)
    }

    /// The verified CA certificates, as DPS gave them or as the inventory has them under their thumbprints:
    /// the live service answers with null in the place of the certificate.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    pub fn verified(&self, inventory: &dyn Inventory) -> Result<Vec<Certificate>, InventoryError> {
        let mut own = Vec::new();
        for authority in inventory.authorities()? {
            for generation in authority.generations {
                own.extend(generation.certificate.map(|one| one.certificate().clone()));
            }
        }
        let given = |held: &CaCertificateProperties| {
            let text = held.certificate.as_deref()?;
            pem::certificate_in_json(text)
        };
        let known = |held: &CaCertificateProperties| {
            let thumbprint = held.thumbprint?;
            own.iter()
                .find(|one| one.sha1_thumbprint() == thumbprint)
                .cloned()
        };
        Ok(self
            .authorities
            .iter()
            .map(|held| &held.properties)
            .filter(|held| held.is_verified)
            .filter_map(|held| given(held).or_else(|| known(held)))
            .collect())
    }

    /// What convergence compares the declaration with.
    ///
    /// # Errors
    /// [`GatherError`] if the inventory does not hold what it needs.
    pub fn declared_state(&self, inventory: &dyn Inventory) -> Result<DeclaredState, GatherError> {
        let mut certificates = BTreeMap::<AuthorityName, Certificate>::new();
        let mut successors = BTreeMap::<AuthorityName, Vec<Certificate>>::new();
        let mut compromised = Vec::new();
        for authority in inventory.authorities()? {
            // A roll uploads a generation before it is the next one.
            let coming = authority
                .next()
                .into_iter()
                .chain(authority.pending())
                .filter_map(|one| one.certificate.as_ref())
                .map(|recorded| recorded.certificate().clone());
            successors.insert(authority.name.clone(), coming.collect());
            compromised.extend(compromised_generations(inventory, &authority)?);
            if let Some(current) = AuthorityRecord::current(&authority) {
                let certificate = certificate_of(&authority.name, current)?;
                certificates.insert(authority.name.clone(), certificate);
            }
        }
        Ok(DeclaredState {
            authorities: self.authorities.clone(),
            groups: self.groups.clone(),
            certificates,
            successors,
            compromised,
            deprovisioned: BTreeSet::new(),
        })
    }
}

/// The generations of an authority that are compromised, each with its path.
fn compromised_generations(
    inventory: &dyn Inventory,
    authority: &AuthorityRecord,
) -> Result<Vec<CompromisedGeneration>, InventoryError> {
    let mut compromised = Vec::new();
    for record in &authority.generations {
        let Some(recorded) = &record.certificate else {
            continue;
        };
        if record.state == GenerationState::Compromised {
            let certificate = recorded.certificate();
            let mut path = vec![certificate.clone()];
            path.extend(issuers(inventory, certificate)?);
            compromised.push(CompromisedGeneration {
                generation: AuthorityGeneration {
                    name: authority.name.clone(),
                    generation: record.generation,
                },
                path,
            });
        }
    }
    Ok(compromised)
}

/// The chain of one of our leaves, from the inventory.
///
/// # Errors
/// [`InventoryError`] if the inventory cannot be read.
pub fn chain_of(
    inventory: &dyn Inventory,
    leaf: &Certificate,
) -> Result<PresentedChain, InventoryError> {
    let issuers = issuers(inventory, leaf)?;
    let elements = [leaf].into_iter().chain(&issuers).map(ChainElement::from);
    Ok(PresentedChain::known(
        leaf.common_name(),
        elements.collect(),
    ))
}
