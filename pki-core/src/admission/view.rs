//! What DPS holds, reduced to what decides: small enough to keep a million entries at hand.

use std::collections::{BTreeMap, HashMap};

use crate::certificate::{Certificate, pem};
use crate::enrollment::{
    CertificateSlot, EnrollmentGroup, IndividualEnrollment, Mechanism, ProvisioningStatus, Slots,
    X509Certificates,
};
use crate::ids::{
    CertificateName, EnrollmentGroupId, RegistrationId, Sha1Thumbprint, Sha256Thumbprint,
};
use crate::management::CaCertificate;
use crate::time::Time;

use super::ChainElement;

/// What one DPS instance holds.
#[derive(Debug, Clone, Default)]
pub struct DpsView {
    authorities: BTreeMap<CertificateName, UploadedCa>,
    individuals: HashMap<RegistrationId, IndividualEntry>,
    groups: BTreeMap<EnrollmentGroupId, GroupEntry>,
    holders: HashMap<Sha256Thumbprint, Vec<EnrollmentGroupId>>,
    at: Option<Time>,
}

/// A CA certificate in DPS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedCa {
    /// Its identity as ARM shows it.
    pub sha1_thumbprint: Sha1Thumbprint,
    /// Its identity, where ARM also gave the certificate.
    pub sha256_thumbprint: Option<Sha256Thumbprint>,
    /// Whether possession of its key was proven.
    pub is_verified: bool,
}

impl UploadedCa {
    /// Whether it is this certificate.
    pub fn is(&self, element: &ChainElement) -> bool {
        match self.sha256_thumbprint {
            Some(thumbprint) => thumbprint == element.sha256_thumbprint,
            None => self.sha1_thumbprint == element.sha1_thumbprint,
        }
    }
}

/// An individual enrollment, reduced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndividualEntry {
    /// Whether it lets its device in.
    pub status: ProvisioningStatus,
    /// The leaves it names, primary first; `None` for attestation without certificates.
    pub certificates: Option<Vec<Sha256Thumbprint>>,
}

/// An enrollment group, reduced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEntry {
    /// Whether it lets its devices in.
    pub status: ProvisioningStatus,
    /// The signing certificates it names.
    pub signing: Vec<Sha256Thumbprint>,
    /// The CA certificates it refers to.
    pub references: Vec<CertificateName>,
}

/// A document from which admission cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// A slot holds neither a readable certificate nor the service's information about it.
    #[error(
        "{record} has a certificate slot that can be identified neither by info nor by certificate"
    )]
    UnknownCertificate {
        /// Which record.
        record: String,
    },
    /// A CA certificate comes without thumbprint and certificate.
    #[error("CA certificate {name} comes without thumbprint and certificate")]
    UnknownCa {
        /// Which one.
        name: CertificateName,
    },
}

impl DpsView {
    /// An instance that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reduces the documents of an instance.
    ///
    /// # Errors
    /// [`ViewError`] names the first document that cannot be identified.
    pub fn from_documents<'a>(
        authorities: impl IntoIterator<Item = &'a CaCertificate>,
        groups: impl IntoIterator<Item = &'a EnrollmentGroup>,
        individuals: impl IntoIterator<Item = &'a IndividualEnrollment>,
    ) -> Result<Self, ViewError> {
        let mut view = Self::new();
        for authority in authorities {
            view.put_ca(authority)?;
        }
        for group in groups {
            view.put_group(group)?;
        }
        for individual in individuals {
            view.put_individual(individual)?;
        }
        Ok(view)
    }

    /// Says when decisions are taken: chains are then refused that are not valid at that moment. Without
    /// one, dates do not matter.
    pub fn set_moment(&mut self, at: Time) {
        self.at = Some(at);
    }

    /// When decisions are taken.
    pub(super) fn at(&self) -> Option<Time> {
        self.at
    }

    /// Adds or replaces a CA certificate.
    ///
    /// # Errors
    /// [`ViewError::UnknownCa`].
    pub fn put_ca(&mut self, authority: &CaCertificate) -> Result<(), ViewError> {
        let properties = &authority.properties;
        let certificate = properties
            .certificate
            .as_deref()
            .and_then(pem::certificate_in_json);
        let sha1 = certificate
            .as_ref()
            .map(Certificate::sha1_thumbprint)
            .or(properties.thumbprint);
        let entry = UploadedCa {
            sha1_thumbprint: sha1.ok_or_else(|| ViewError::UnknownCa {
                name: authority.name.clone(),
            })?,
            sha256_thumbprint: certificate.as_ref().map(Certificate::sha256_thumbprint),
            is_verified: properties.is_verified,
        };
        self.authorities.insert(authority.name.clone(), entry);
        Ok(())
    }

    /// Adds a CA certificate that was read elsewhere.
    pub fn put_uploaded(&mut self, name: CertificateName, authority: UploadedCa) {
        self.authorities.insert(name, authority);
    }

    /// Notes that possession of a CA certificate's key was proven.
    pub fn mark_verified(&mut self, name: &CertificateName) {
        if let Some(authority) = self.authorities.get_mut(name) {
            authority.is_verified = true;
        }
    }

    /// Individual enrollments that name this leaf, whatever their registration ID. Looks at all of
    /// them: for explanations, not for decisions.
    pub fn individuals_naming(&self, leaf: &Sha256Thumbprint) -> Vec<&RegistrationId> {
        let names = |entry: &IndividualEntry| {
            entry
                .certificates
                .as_ref()
                .is_some_and(|certificates| certificates.contains(leaf))
        };
        let mut naming: Vec<_> = self
            .individuals
            .iter()
            .filter(|(_, entry)| names(entry))
            .map(|(id, _)| id)
            .collect();
        naming.sort();
        naming
    }

    /// Takes a CA certificate away.
    pub fn remove_ca(&mut self, name: &CertificateName) {
        self.authorities.remove(name);
    }

    /// Adds or replaces a group.
    ///
    /// # Errors
    /// [`ViewError::UnknownCertificate`].
    pub fn put_group(&mut self, group: &EnrollmentGroup) -> Result<(), ViewError> {
        let record = || format!("enrollment group {}", group.enrollment_group_id);
        let (signing, references) = match &group.attestation.mechanism {
            Mechanism::X509(X509Certificates::Signing(slots)) => {
                (thumbprints(slots, record)?, vec![])
            }
            Mechanism::X509(X509Certificates::CaReferences(slots)) => {
                (vec![], slots.iter().cloned().collect())
            }
            _ => (vec![], vec![]),
        };
        self.remove_group(&group.enrollment_group_id);
        for thumbprint in &signing {
            let holders = self.holders.entry(*thumbprint).or_default();
            holders.push(group.enrollment_group_id.clone());
            holders.sort();
        }
        let entry = GroupEntry {
            status: group.provisioning_status.clone(),
            signing,
            references,
        };
        self.groups.insert(group.enrollment_group_id.clone(), entry);
        Ok(())
    }

    /// Takes a group away.
    pub fn remove_group(&mut self, id: &EnrollmentGroupId) {
        for thumbprint in self
            .groups
            .remove(id)
            .map(|group| group.signing)
            .unwrap_or_default()
        {
            if let Some(holders) = self.holders.get_mut(&thumbprint) {
                holders.retain(|holder| holder != id);
            }
        }
    }

    /// Adds or replaces an individual enrollment.
    ///
    /// # Errors
    /// [`ViewError::UnknownCertificate`].
    pub fn put_individual(&mut self, individual: &IndividualEnrollment) -> Result<(), ViewError> {
        let record = || format!("individual enrollment {}", individual.registration_id);
        let certificates = match &individual.attestation.mechanism {
            Mechanism::X509(X509Certificates::Client(slots)) => Some(thumbprints(slots, record)?),
            Mechanism::X509(_) => Some(vec![]),
            _ => None,
        };
        let entry = IndividualEntry {
            status: individual.provisioning_status.clone(),
            certificates,
        };
        self.individuals
            .insert(individual.registration_id.clone(), entry);
        Ok(())
    }

    /// Takes an individual enrollment away.
    pub fn remove_individual(&mut self, id: &RegistrationId) {
        self.individuals.remove(id);
    }

    /// The individual enrollment of this registration ID.
    pub fn individual(&self, id: &RegistrationId) -> Option<&IndividualEntry> {
        self.individuals.get(id)
    }

    /// The registration IDs of all individual enrollments, in no order.
    pub fn individual_ids(&self) -> impl Iterator<Item = &RegistrationId> {
        self.individuals.keys()
    }

    /// The groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = (&EnrollmentGroupId, &GroupEntry)> {
        self.groups.iter()
    }

    /// The CA certificates that DPS holds, by name.
    pub fn authorities(&self) -> impl Iterator<Item = (&CertificateName, &UploadedCa)> {
        self.authorities.iter()
    }

    /// The group of this name.
    pub fn group(&self, id: &EnrollmentGroupId) -> Option<&GroupEntry> {
        self.groups.get(id)
    }

    /// The CA certificate that DPS holds under this name.
    pub fn authority(&self, name: &CertificateName) -> Option<&UploadedCa> {
        self.authorities.get(name)
    }

    /// The group that holds this certificate, inline or by reference. Of several a disabled one: "once a
    /// certificate is in a disabled entry, every attempt with it fails, even if another one enables it"
    /// (DPS, how to disenroll). Else the first by name.
    pub(super) fn group_holding(
        &self,
        element: &ChainElement,
    ) -> Option<(&EnrollmentGroupId, &GroupEntry)> {
        let inline = self
            .holders
            .get(&element.sha256_thumbprint)
            .into_iter()
            .flatten()
            .filter_map(|id| self.groups.get_key_value(id));
        let referring = self.groups.iter().filter(|(_, group)| {
            group
                .references
                .iter()
                .filter_map(|name| self.authorities.get(name))
                .any(|authority| authority.is(element))
        });
        inline.chain(referring).min_by_key(|(id, group)| {
            let rank = match group.status {
                ProvisioningStatus::Disabled => 0,
                // It may keep its devices out, too.
                ProvisioningStatus::Other(_) => 1,
                ProvisioningStatus::Enabled => 2,
            };
            (rank, *id)
        })
    }

    /// Whether this certificate is one that DPS has verified.
    pub(super) fn is_verified(&self, element: &ChainElement) -> bool {
        self.authorities
            .values()
            .any(|authority| authority.is_verified && authority.is(element))
    }
}

fn thumbprints(
    slots: &Slots<CertificateSlot>,
    record: impl Fn() -> String,
) -> Result<Vec<Sha256Thumbprint>, ViewError> {
    let identify = |slot: &CertificateSlot| {
        slot.sha256_thumbprint()
            .ok_or_else(|| ViewError::UnknownCertificate { record: record() })
    };
    slots.iter().map(identify).collect()
}
