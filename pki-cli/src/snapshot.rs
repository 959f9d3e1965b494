//! Gathers what planners and admission take: DPS's documents, and the fleet of the inventory.

use futures::TryStreamExt as _;
use pki_core::admission::{ChainElement, DpsView, PresentedChain};
use pki_core::certificate::Certificate;
use pki_core::enrollment::{EnrollmentGroup, IndividualEnrollment};
use pki_core::format::pem;
use pki_core::ids::{AuthorityName, RegistrationId};
use pki_core::inventory::{AuthorityRecord, Inventory};
use pki_core::lifecycle::{DeclaredState, Impact};
use pki_core::management::CaCertificate;
use pki_core::time::Time;

use crate::config::OutputFormat;
use crate::context::Context;
use crate::error::CommandError;
use crate::issuance::{certificate_of, issuers};
use crate::planes::Planes;
use crate::render::plan::NAMED;

/// How many records a page is wished to have, since calls are limited; the service may give fewer.
const PAGE: u32 = 1000;

/// Up to so many devices, each one's entry is asked for.
const FEW: usize = 20;

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

    /// The verified CA certificates, as far as DPS gave them.
    pub(crate) fn verified(&self) -> Vec<Certificate> {
        let verified = self
            .authorities
            .iter()
            .filter(|held| held.properties.is_verified);
        let texts = verified.filter_map(|held| held.properties.certificate.as_deref());
        texts.filter_map(pem::certificate_in_json).collect()
    }

    /// What convergence compares the declaration with.
    pub(crate) fn declared_state(
        &self,
        inventory: &dyn Inventory,
    ) -> Result<DeclaredState, CommandError> {
        let mut certificates = Vec::<(AuthorityName, Certificate)>::new();
        for authority in inventory.authorities()? {
            if let Some(current) = AuthorityRecord::current(&authority) {
                let certificate = certificate_of(&authority.name, current)?;
                certificates.push((authority.name.clone(), certificate));
            }
        }
        Ok(DeclaredState {
            authorities: self.authorities.clone(),
            groups: self.groups.clone(),
            certificates: certificates.into_iter().collect(),
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
