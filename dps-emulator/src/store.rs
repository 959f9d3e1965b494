//! What one instance holds: CA certificates, enrollments, registration records, hub registries.
//!
//! Records live in memory, in tables that mint and check their ETags; a [`Keeper`] has what outlives
//! the process, and a [`Writer`] hands it what changed. No rule of DPS lives here beyond that: those
//! are [`crate::domain`]'s.
//! Invariants: `view` always says what the tables hold, so enrollments and CA certificates change
//! through the methods here and nowhere else; what was committed is what the next process finds.

pub(crate) mod authority;
mod etag;
pub(crate) mod hub;
pub(crate) mod keeper;
pub(crate) mod metadata;
pub(crate) mod registration;
pub(crate) mod resource;
pub(crate) mod sqlite;
mod table;
pub(crate) mod writer;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pki_core::admission::{DpsView, ViewError};
use pki_core::certificate::Certificate;
use pki_core::enrollment::{EnrollmentGroup, IndividualEnrollment};
use pki_core::ids::{
    CertificateName, DeviceId, EnrollmentGroupId, Etag, HubHostName, RegistrationId,
};
use pki_core::time::Time;
use serde::Serialize;

pub(crate) use etag::{EtagMint, device_version};
pub(crate) use hub::Registry;
pub(crate) use keeper::{Keeper, StateError};
pub(crate) use table::{Conflict, Precondition, Record, Table};
pub(crate) use writer::Progress;

use authority::Authority;
use keeper::{Changes, RecordKey, Row};
use registration::{Operation, Registration};
use resource::Resource;
use writer::Writer;

/// The spaces of kept rows; a hub's devices are in `hub/` and its name.
const MINT: &str = "mint";
const RESOURCE: &str = "resource";
const AUTHORITY: &str = "authority";
const INDIVIDUAL: &str = "individual";
const GROUP: &str = "group";
const REGISTRATION: &str = "registration";
const HUB: &str = "hub/";

/// Everything that one instance holds.
pub(crate) struct Store {
    tables: Tables,
    view: DpsView,
    /// The last operation of each registration; its result is kept until the next one. Devices whose
    /// operation is forgotten register again, so that these do not outlive the process.
    pub(crate) operations: HashMap<RegistrationId, Operation>,
    /// Changes of the service in ARM, all of which are made: how often each is still told to be running.
    pub(crate) arm_operations: HashMap<String, u32>,
    trust: Arc<Trust>,
    keeping: Keeping,
    /// The resource, if it was written since the last commit.
    new_resource: Option<String>,
}

/// Whether anything outlives the process.
enum Keeping {
    Nothing,
    By(Writer),
    /// Another process may have what is kept: what comes now is refused.
    Ended,
}

/// The CA certificates whose possession was proven or attested.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    /// Another one after each change of a CA certificate.
    pub(crate) generation: u64,
    pub(crate) verified: Vec<Certificate>,
}

/// The part of the store that outlives the process.
#[derive(Default)]
struct Tables {
    mint: EtagMint,
    authorities: Table<CertificateName, Authority>,
    individuals: Table<RegistrationId, IndividualEnrollment>,
    groups: Table<EnrollmentGroupId, EnrollmentGroup>,
    registrations: Table<RegistrationId, Registration>,
    hubs: BTreeMap<HubHostName, Registry>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new(Tables::default(), DpsView::new(), Keeping::Nothing)
    }
}

impl Store {
    fn new(tables: Tables, view: DpsView, keeping: Keeping) -> Self {
        Self {
            trust: Arc::new(tables.trust(0)),
            tables,
            view,
            operations: HashMap::new(),
            arm_operations: HashMap::new(),
            keeping,
            new_resource: None,
        }
    }

    /// A store with what a keeper has, and the resource that was kept, if any.
    pub(crate) fn open(
        mut keeper: Box<dyn Keeper>,
    ) -> Result<(Self, Option<Resource>), StateError> {
        let mut tables = Tables::default();
        let mut resource = None;
        for row in keeper.load()? {
            match row.space.as_str() {
                RESOURCE => resource = Some(read(&row)?),
                _ => tables.restore(&row)?,
            }
        }
        let view = tables.view()?;
        let writer = Writer::start(keeper).map_err(StateError::Thread)?;
        Ok((Self::new(tables, view, Keeping::By(writer)), resource))
    }

    /// Hands over what changed since the last time, to be kept: [`Self::progress`] tells when it is.
    pub(crate) fn commit(&mut self) -> Result<(), StateError> {
        match &mut self.keeping {
            Keeping::Nothing => {}
            Keeping::By(writer) => {
                let changes = self.tables.changes(self.new_resource.as_deref())?;
                if !changes.is_empty() {
                    writer.hand_over(changes)?;
                }
            }
            Keeping::Ended => return Err(StateError::Ended),
        }
        self.tables.settle();
        self.new_resource = None;
        Ok(())
    }

    /// How much of what was committed is kept.
    pub(crate) fn progress(&self) -> Progress {
        match &self.keeping {
            Keeping::By(writer) => writer.progress(),
            Keeping::Nothing | Keeping::Ended => Progress::of_nothing(),
        }
    }

    /// Lets go of what is kept, so that another process may have it.
    pub(crate) fn close(&mut self) {
        self.keeping = Keeping::Ended;
    }

    /// Writes what the service is itself.
    pub(crate) fn put_resource(&mut self, resource: &Resource) -> Result<(), StateError> {
        self.new_resource = Some(text(resource)?);
        Ok(())
    }

    pub(crate) fn mint(&mut self) -> &mut EtagMint {
        &mut self.tables.mint
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

    /// The CA certificates that devices may be below.
    pub(crate) fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.trust)
    }

    fn trust_anew(&mut self) {
        self.trust = Arc::new(self.tables.trust(self.trust.generation + 1));
    }

    pub(crate) fn put_authority(
        &mut self,
        name: &CertificateName,
        authority: Authority,
        precondition: &Precondition,
        now: Time,
    ) -> Result<(), Conflict> {
        let uploaded = authority.uploaded();
        let etag = self.tables.mint.record(now);
        let table = &mut self.tables.authorities;
        table.put(name.clone(), authority, precondition, etag, now)?;
        self.view.put_uploaded(name.clone(), uploaded);
        self.trust_anew();
        Ok(())
    }

    pub(crate) fn remove_authority(
        &mut self,
        name: &CertificateName,
        precondition: &Precondition,
    ) -> Result<(), Conflict> {
        self.tables.authorities.remove(name, precondition)?;
        self.view.remove_ca(name);
        self.trust_anew();
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
        let etag = self.tables.mint.record(now);
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
        let etag = self.tables.mint.record(now);
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
        let etag = self.tables.mint.record(now);
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

impl Tables {
    fn restore(&mut self, row: &Row) -> Result<(), StateError> {
        match row.space.as_str() {
            MINT => self.mint = read(row)?,
            AUTHORITY => self.authorities.restore(row)?,
            INDIVIDUAL => self.individuals.restore(row)?,
            GROUP => self.groups.restore(row)?,
            REGISTRATION => self.registrations.restore(row)?,
            space => {
                let hub = space
                    .strip_prefix(HUB)
                    .and_then(|name| name.parse().ok())
                    .ok_or_else(|| StateError::key(row))?;
                self.hubs.entry(hub).or_default().devices.restore(row)?;
            }
        }
        Ok(())
    }

    fn trust(&self, generation: u64) -> Trust {
        let verified = self
            .authorities
            .iter()
            .filter(|(_, record)| record.value.is_verified)
            .map(|(_, record)| record.value.certificate.clone());
        Trust {
            generation,
            verified: verified.collect(),
        }
    }

    /// The tables as admission sees them.
    fn view(&self) -> Result<DpsView, ViewError> {
        let mut view = DpsView::new();
        for (name, record) in self.authorities.iter() {
            view.put_uploaded(name.clone(), record.value.uploaded());
        }
        for (_, record) in self.groups.iter() {
            view.put_group(&record.value)?;
        }
        for (_, record) in self.individuals.iter() {
            view.put_individual(&record.value)?;
        }
        Ok(view)
    }

    /// What changed, and the resource if it was written.
    fn changes(&self, resource: Option<&str>) -> Result<Changes, StateError> {
        let mut changes = Changes::new();
        self.authorities.changes(AUTHORITY, &mut changes)?;
        self.individuals.changes(INDIVIDUAL, &mut changes)?;
        self.groups.changes(GROUP, &mut changes)?;
        self.registrations.changes(REGISTRATION, &mut changes)?;
        for (hub, registry) in &self.hubs {
            let space = format!("{HUB}{hub}");
            registry.devices.changes(&space, &mut changes)?;
        }
        if let Some(resource) = resource {
            changes.insert(only(RESOURCE), Some(resource.to_owned()));
        }
        if !changes.is_empty() {
            changes.insert(only(MINT), Some(text(&self.mint)?));
        }
        Ok(changes)
    }

    fn settle(&mut self) {
        self.authorities.settle();
        self.individuals.settle();
        self.groups.settle();
        self.registrations.settle();
        for registry in self.hubs.values_mut() {
            registry.devices.settle();
        }
    }
}

/// The row of a space that has but one.
fn only(space: &str) -> RecordKey {
    RecordKey {
        space: space.to_owned(),
        key: String::new(),
    }
}

fn text(value: &impl Serialize) -> Result<String, StateError> {
    serde_json::to_string(value).map_err(StateError::Write)
}

fn read<T: serde::de::DeserializeOwned>(row: &Row) -> Result<T, StateError> {
    serde_json::from_str(&row.value).map_err(|source| StateError::Row {
        space: row.space.clone(),
        key: row.key.clone(),
        source,
    })
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

    /// Reads the value as hubs do: an empty word in quotes is no tag, so that a write creates.
    pub(crate) fn from_hub_header(value: Option<&str>) -> Self {
        Self::from_header(value.filter(|value| value.trim() != "\"\""))
    }

    /// The precondition of a write that replaces.
    pub(crate) fn replacing(self) -> Precondition {
        match self {
            Self::Absent | Self::Any => Precondition::Present,
            Self::Tag(etag) => Precondition::Matches(etag),
        }
    }
}
