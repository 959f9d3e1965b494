//! Gathers what planners and admission take: DPS's documents, and the fleet of the inventory.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use pki_core::admission::{ChainElement, DpsView, PresentedChain};
use pki_core::certificate::Certificate;
use pki_core::enrollment::{EnrollmentGroup, IndividualEnrollment};
use pki_core::format::pem;
use pki_core::ids::AuthorityName;
use pki_core::inventory::{AuthorityRecord, Filter, Inventory, PageKey, Status};
use pki_core::lifecycle::DeclaredState;
use pki_core::management::CaCertificate;
use pki_core::profile::Role;
use pki_core::time::Time;

use crate::error::CommandError;
use crate::issuance::{certificate_of, issuers};
use crate::planes::Planes;

/// What one DPS instance holds, as its planes told it.
#[derive(Debug, Clone, Default)]
pub(crate) struct DpsSnapshot {
    pub(crate) authorities: Vec<CaCertificate>,
    pub(crate) groups: Vec<EnrollmentGroup>,
    pub(crate) individuals: Vec<IndividualEnrollment>,
}

impl DpsSnapshot {
    /// Reads all CA certificates, groups and individual enrollments.
    pub(crate) async fn gather(planes: &Planes<'_>) -> Result<Self, CommandError> {
        Ok(Self {
            authorities: planes.certificates()?.list().await?,
            groups: planes.groups()?.list(None).try_collect().await?,
            individuals: planes.individuals()?.list(None).try_collect().await?,
        })
    }

    /// What of it decides about devices.
    pub(crate) fn view(&self) -> Result<DpsView, CommandError> {
        Ok(DpsView::from_documents(
            &self.authorities,
            &self.groups,
            &self.individuals,
        )?)
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

/// The chain of every leaf that is delivered, not revoked and valid at a moment.
pub(crate) fn fleet(
    inventory: &dyn Inventory,
    at: Time,
) -> Result<Vec<PresentedChain>, CommandError> {
    const PAGE: usize = 1000;
    let filter = Filter {
        role: Some(Role::Leaf),
        status: Some(Status::Delivered),
        expiring_from: Some(at),
        ..Filter::default()
    };
    let mut chains = Chains {
        inventory,
        above: HashMap::new(),
    };
    let mut fleet = Vec::new();
    let mut after: Option<PageKey> = None;
    loop {
        let page = inventory.list(&filter, after.as_ref(), PAGE)?;
        for entry in page.entries.iter().filter(|entry| entry.is_live(at)) {
            fleet.push(chains.of(entry.recorded.certificate())?);
        }
        after = page.next;
        if after.is_none() {
            return Ok(fleet);
        }
    }
}

/// The chain of one of our leaves, from the inventory.
pub(crate) fn chain_of(
    inventory: &dyn Inventory,
    leaf: &Certificate,
) -> Result<PresentedChain, CommandError> {
    Chains {
        inventory,
        above: HashMap::new(),
    }
    .of(leaf)
}

/// Chains of our leaves; what stands above them is looked up once per issuer.
struct Chains<'a> {
    inventory: &'a dyn Inventory,
    above: HashMap<Vec<u8>, Vec<ChainElement>>,
}

impl Chains<'_> {
    fn of(&mut self, leaf: &Certificate) -> Result<PresentedChain, CommandError> {
        let key = leaf
            .authority_key_identifier()
            .unwrap_or_else(|| leaf.issuer().to_der());
        if !self.above.contains_key(&key) {
            let issuers = issuers(self.inventory, leaf)?;
            self.above.insert(
                key.clone(),
                issuers.iter().map(ChainElement::from).collect(),
            );
        }
        let above = self.above.get(&key).cloned().unwrap_or_default();
        let elements = [ChainElement::from(leaf)]
            .into_iter()
            .chain(above)
            .collect();
        Ok(PresentedChain::known(leaf.common_name(), elements))
    }
}
