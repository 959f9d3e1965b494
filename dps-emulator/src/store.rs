//! What one instance holds: CA certificates, enrollments, registration records, hub registries.
//!
//! Records live in memory, in tables that mint and check their ETags; [`snapshot`] takes them to a
//! file and back. No rule of DPS lives here beyond that: those are [`crate::domain`]'s.
//! Invariant: `view` always says what the tables hold, so enrollments and CA certificates change
//! through the methods here and nowhere else.

mod etag;
pub(crate) mod hub;
pub(crate) mod snapshot;
mod table;

use std::collections::{BTreeMap, HashMap};

use pki_core::admission::{DpsView, ViewError};
use pki_core::certificate::Certificate;
use pki_core::enrollment::{EnrollmentGroup, IndividualEnrollment};
use pki_core::ids::{
    CertificateName, DeviceId, EnrollmentGroupId, Etag, HubHostName, RegistrationId,
};
use pki_core::time::Time;
use serde::{Deserialize, Serialize};

pub(crate) use etag::EtagMint;
pub(crate) use hub::Registry;
pub(crate) use table::{Conflict, Precondition, Record, Table};

use crate::domain::authority::Authority;
use crate::domain::registration::{Operation, Registration};

/// Everything that one instance holds.
#[derive(Default)]
pub(crate) struct Store {
    tables: Tables,
    view: DpsView,
    /// The last operation of each registration; its result is kept until the next one.
    pub(crate) operations: HashMap<RegistrationId, Operation>,
}

/// The part of the store that outlives the process in a snapshot.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Tables {
    mint: EtagMint,
    authorities: Table<CertificateName, Authority>,
    individuals: Table<RegistrationId, IndividualEnrollment>,
    groups: Table<EnrollmentGroupId, EnrollmentGroup>,
    registrations: Table<RegistrationId, Registration>,
    hubs: BTreeMap<HubHostName, Registry>,
}

impl Store {
    /// A store that holds what was held before.
    pub(crate) fn from_tables(tables: Tables) -> Result<Self, ViewError> {
        let mut view = DpsView::new();
        for (name, record) in tables.authorities.iter() {
            view.put_uploaded(name.clone(), record.value.uploaded());
        }
        for (_, record) in tables.groups.iter() {
            view.put_group(&record.value)?;
        }
        for (_, record) in tables.individuals.iter() {
            view.put_individual(&record.value)?;
        }
        Ok(Self {
            tables,
            view,
            operations: HashMap::new(),
        })
    }

    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The tables as admission sees them.
    pub(crate) fn view(&self) -> &DpsView {
        &self.view
    }

    pub(crate) fn authorities(&self) -> &Table<CertificateName, Authority> {
        &self.tables.authorities
    }

    pub(crate) fn individuals(&self) -> &Table<RegistrationId, IndividualEnrollment> {
        &self.tables.individuals
    }

    pub(crate) fn groups(&self) -> &Table<EnrollmentGroupId, EnrollmentGroup> {
        &self.tables.groups
    }

    pub(crate) fn registrations(&self) -> &Table<RegistrationId, Registration> {
        &self.tables.registrations
    }

    /// The CA certificates whose possession was proven or attested.
    pub(crate) fn verified(&self) -> Vec<Certificate> {
        let authorities = self.tables.authorities.iter();
        authorities
            .filter(|(_, record)| record.value.is_verified)
            .map(|(_, record)| record.value.certificate.clone())
            .collect()
    }

    pub(crate) fn put_authority(
        &mut self,
        name: &CertificateName,
        authority: Authority,
        precondition: &Precondition,
        now: Time,
    ) -> Result<(), Conflict> {
        let uploaded = authority.uploaded();
        let etag = self.tables.mint.resource();
        let table = &mut self.tables.authorities;
        table.put(name.clone(), authority, precondition, etag, now)?;
        self.view.put_uploaded(name.clone(), uploaded);
        Ok(())
    }

    pub(crate) fn remove_authority(
        &mut self,
        name: &CertificateName,
        precondition: &Precondition,
    ) -> Result<(), Conflict> {
        self.tables.authorities.remove(name, precondition)?;
        self.view.remove_ca(name);
        Ok(())
    }

    pub(crate) fn put_individual(
        &mut self,
        individual: IndividualEnrollment,
        precondition: &Precondition,
        now: Time,
    ) -> Result<(), PutError> {
        let table = &mut self.tables.individuals;
        table.check(&individual.registration_id, precondition)?;
        self.view.put_individual(&individual)?;
        let etag = self.tables.mint.enrollment(now);
        let id = individual.registration_id.clone();
        Ok(table.put(id, individual, precondition, etag, now)?)
    }

    pub(crate) fn remove_individual(
        &mut self,
        id: &RegistrationId,
        precondition: &Precondition,
    ) -> Result<(), Conflict> {
        self.tables.individuals.remove(id, precondition)?;
        self.view.remove_individual(id);
        Ok(())
    }

    pub(crate) fn put_group(
        &mut self,
        group: EnrollmentGroup,
        precondition: &Precondition,
        now: Time,
    ) -> Result<(), PutError> {
        let table = &mut self.tables.groups;
        table.check(&group.enrollment_group_id, precondition)?;
        self.view.put_group(&group)?;
        let etag = self.tables.mint.enrollment(now);
        let id = group.enrollment_group_id.clone();
        Ok(table.put(id, group, precondition, etag, now)?)
    }

    pub(crate) fn remove_group(
        &mut self,
        id: &EnrollmentGroupId,
        precondition: &Precondition,
    ) -> Result<(), Conflict> {
        self.tables.groups.remove(id, precondition)?;
        self.view.remove_group(id);
        Ok(())
    }

    /// Writes a registration record, whatever was there before.
    pub(crate) fn put_registration(
        &mut self,
        id: &RegistrationId,
        registration: Registration,
        now: Time,
    ) -> &Record<Registration> {
        let etag = self.tables.mint.registration(now);
        let table = &mut self.tables.registrations;
        table.put_anyhow(id.clone(), registration, etag, now)
    }

    /// Deletes a registration record, and with it the last operation's result. The hub's identity
    /// stays.
    pub(crate) fn remove_registration(
        &mut self,
        id: &RegistrationId,
        precondition: &Precondition,
    ) -> Result<(), Conflict> {
        self.tables.registrations.remove(id, precondition)?;
        self.operations.remove(id);
        Ok(())
    }

    /// The registry of a hub; empty if nothing was ever written to it.
    pub(crate) fn registry(&mut self, hub: &HubHostName) -> &mut Registry {
        self.tables.hubs.entry(hub.clone()).or_default()
    }

    /// The registry of a hub and the mint of its ETags.
    pub(crate) fn registry_and_mint(
        &mut self,
        hub: &HubHostName,
    ) -> (&mut Registry, &mut EtagMint) {
        let registry = self.tables.hubs.entry(hub.clone()).or_default();
        (registry, &mut self.tables.mint)
    }

    /// Takes a device out of a hub's registry, as a move to another hub does.
    pub(crate) fn take_device(
        &mut self,
        hub: &HubHostName,
        device: &DeviceId,
    ) -> Option<hub::Device> {
        self.registry(hub).take(device)
    }
}

/// Why a record was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PutError {
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error(transparent)]
    View(#[from] ViewError),
}

/// What a request says about the record it expects (RFC 9110 §13.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// Nothing.
    Absent,
    /// `*`: any record, as long as there is one.
    Any,
    /// The record with this ETag.
    Tag(Etag),
}

impl IfMatch {
    /// Reads the value of the header; `*` may come in quotes.
    pub(crate) fn from_header(value: Option<&str>) -> Self {
        match value.map(str::trim) {
            None => Self::Absent,
            Some("*" | "\"*\"") => Self::Any,
            Some(tag) => Self::Tag(Etag::new(tag)),
        }
    }

    /// The precondition of a write that replaces.
    pub(crate) fn replacing(self) -> Precondition {
        match self {
            Self::Absent | Self::Any => Precondition::Present,
            Self::Tag(etag) => Precondition::Matches(etag),
        }
    }
}
