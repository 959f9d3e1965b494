//! Gathers what planners and admission take: DPS's documents, and the fleet of the inventory.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _};
use pki_core::admission::{ChainElement, DpsView, PresentedChain};
use pki_core::certificate::{Certificate, pem};
use pki_core::enrollment::{EnrollmentGroup, IndividualEnrollment};
use pki_core::ids::{AuthorityName, RegistrationId};
use pki_core::inventory::{AuthorityRecord, Inventory};
use pki_core::lifecycle::{DeclaredState, Impact};
use pki_core::management::{CaCertificate, CaCertificateProperties};
use pki_core::time::Time;

use crate::config::{NAMED, OutputFormat};
use crate::context::Context;
use crate::error::CommandError;
use crate::issuance::{certificate_of, issuers};
use crate::planes::Planes;

/// How many records a page is wished to have, since calls are limited; the service may give fewer.
const PAGE: u32 = 1000;

/// Up to so many devices, each one's entry is asked for.
pub(crate) const FEW: usize = 20;

/// So many entries of an instance are looked at for one that names a leaf under another ID than its CN. It
/// is a hint for who wrote a name wrong, for which a full instance is not read.
const LOOKED_AT: usize = 100;

/// What one DPS instance holds, as its planes told it.
#[derive(Debug, Clone, Default)]
pub(crate) struct DpsSnapshot {
    pub(crate) authorities: Vec<CaCertificate>,
    pub(crate) groups: Vec<EnrollmentGroup>,
    pub(crate) individuals: Vec<IndividualEnrollment>,
    /// When it is asked who is admitted; without a moment, dates do not matter.
    pub(crate) at: Option<Time>,
}

impl DpsSnapshot {
    /// Reads all CA certificates, groups and individual enrollments.
    pub(crate) async fn gather(planes: &Planes<'_>) -> Result<Self, CommandError> {
        Ok(Self {
            authorities: planes.certificates()?.list().await?,
            groups: planes.groups()?.list(Some(PAGE)).try_collect().await?,
            individuals: planes.individuals()?.list(Some(PAGE)).try_collect().await?,
            at: Some(planes.now()),
        })
    }

    /// Reads all that decides about these devices: of the individual enrollments theirs alone, as long as
    /// they are few: among a million others it takes no more calls.
    pub(crate) async fn about(
        planes: &Planes<'_>,
        ids: &[&RegistrationId],
    ) -> Result<Self, CommandError> {
        if ids.len() > FEW {
            return Self::gather(planes).await;
        }
        let entries = planes.individuals()?;
        let mut individuals = Vec::new();
        for id in ids {
            individuals.extend(entries.find(id).await?);
        }
        Ok(Self {
            authorities: planes.certificates()?.list().await?,
            groups: planes.groups()?.list(Some(PAGE)).try_collect().await?,
            individuals,
            at: Some(planes.now()),
        })
    }

    /// The same as [`Self::about`], with what people trip over: the first entries of an instance, which in a
    /// small one are all, may name a leaf under another ID than its CN.
    pub(crate) async fn around(
        planes: &Planes<'_>,
        ids: &[&RegistrationId],
    ) -> Result<Self, CommandError> {
        let mut snapshot = Self::about(planes, ids).await?;
        if ids.len() <= FEW {
            let page = u32::try_from(LOOKED_AT).ok();
            let first = planes.individuals()?.list(page).take(LOOKED_AT);
            let first: Vec<IndividualEnrollment> = first.try_collect().await?;
            let is_other = |entry: &IndividualEnrollment| !ids.contains(&&entry.registration_id);
            snapshot
                .individuals
                .extend(first.into_iter().filter(is_other));
        }
        Ok(snapshot)
    }

    /// The individual enrollment of a device.
    pub(crate) fn individual(&self, id: &RegistrationId) -> Option<&IndividualEnrollment> {
        let mut entries = self.individuals.iter();
        entries.find(|entry| entry.registration_id == *id)
    }

    /// What of it decides about devices.
    pub(crate) fn view(&self) -> Result<DpsView, CommandError> {
        let mut view = DpsView::from_documents(&self.authorities, &self.groups, &self.individuals)?;
        if let Some(at) = self.at {
            view.set_moment(at);
        }
        Ok(view)
    }

    /// The verified CA certificates, as DPS gave them or as the inventory has them under their thumbprints:
    /// the live service answers with null in the place of the certificate.
    pub(crate) fn verified(
        &self,
        inventory: &dyn Inventory,
    ) -> Result<Vec<Certificate>, CommandError> {
        let mut own = Vec::new();
        for authority in inventory.authorities()? {
            let recorded = authority.generations.into_iter();
            let recorded = recorded.filter_map(|generation| generation.certificate);
            own.extend(recorded.map(|recorded| recorded.certificate().clone()));
        }
        let verified = self
            .authorities
            .iter()
            .map(|held| &held.properties)
            .filter(|held| held.is_verified);
        let given = |held: &CaCertificateProperties| {
            let text = held.certificate.as_deref()?;
            pem::certificate_in_json(text)
        };
        let known = |held: &CaCertificateProperties| {
            let thumbprint = held.thumbprint?;
            let mut own = own.iter();
            own.find(|one| one.sha1_thumbprint() == thumbprint).cloned()
        };
        Ok(verified
            .filter_map(|held| given(held).or_else(|| known(held)))
            .collect())
    }

    /// What convergence compares the declaration with.
    pub(crate) fn declared_state(
        &self,
        inventory: &dyn Inventory,
    ) -> Result<DeclaredState, CommandError> {
        let mut certificates = Vec::<(AuthorityName, Certificate)>::new();
        let mut successors = BTreeMap::<AuthorityName, Vec<Certificate>>::new();
        for authority in inventory.authorities()? {
            // A roll uploads a generation before it is the next one.
            let coming = authority.next().into_iter().chain(authority.pending());
            let coming = coming.filter_map(|one| one.certificate.as_ref());
            let coming = coming.map(|recorded| recorded.certificate().clone());
            successors.insert(authority.name.clone(), coming.collect());
            if let Some(current) = AuthorityRecord::current(&authority) {
                let certificate = certificate_of(&authority.name, current)?;
                certificates.push((authority.name.clone(), certificate));
            }
        }
        Ok(DeclaredState {
            authorities: self.authorities.clone(),
            groups: self.groups.clone(),
            certificates: certificates.into_iter().collect(),
            successors,
            deprovisioned: BTreeSet::new(),
        })
    }
}

/// What a change does to the valid leaves of the inventory; the devices are named as far as the output
/// shows them.
pub(crate) fn impact(
    context: &Context,
    inventory: &dyn Inventory,
    before: &DpsView,
    after: &DpsView,
) -> Result<Impact, CommandError> {
    impact_at(context, inventory, before, after, context.now())
}

/// The same at a moment: of the leaves that are valid then.
pub(crate) fn impact_at(
    context: &Context,
    inventory: &dyn Inventory,
    before: &DpsView,
    after: &DpsView,
    at: Time,
) -> Result<Impact, CommandError> {
    Ok(Impact::over_inventory(
        before,
        after,
        inventory,
        at,
        names(context),
    )?)
}

/// How many devices of an impact are named: as many as the output shows.
pub(crate) fn names(context: &Context) -> Option<usize> {
    match context.settings.output {
        OutputFormat::Text => Some(NAMED),
        OutputFormat::Json => None,
    }
}

/// The chain of one of our leaves, from the inventory.
pub(crate) fn chain_of(
    inventory: &dyn Inventory,
    leaf: &Certificate,
) -> Result<PresentedChain, CommandError> {
    let issuers = issuers(inventory, leaf)?;
    let elements = [leaf].into_iter().chain(&issuers).map(ChainElement::from);
    Ok(PresentedChain::known(
        leaf.common_name(),
        elements.collect(),
    ))
}
