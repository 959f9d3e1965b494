//! Individual enrollments and groups: written, read, listed, deleted, one by one or in bulk.
//!
//! Both kinds follow the same rules, so the rules are written once over [`Document`]:
//! a PUT without `If-Match` creates only, with it replaces only; the record is replaced as a whole.
//! Deleting touches neither registration records nor hubs.

use pki_core::enrollment::{
    AllocationPolicy, Enrollment, EnrollmentGroup, IndividualEnrollment, Mechanism,
};
use pki_core::ids::HubHostName;
use pki_core::time::Time;

use super::Dps;
use super::attestation::References;
use super::webhook::Webhook;
use crate::error::ServiceError;
use crate::store::{Conflict, IfMatch, Precondition, PutError, Record, Store, Table};

/// Members that the service sets; what a client sends in them is ignored.
const SET_BY_SERVICE: [&str; 3] = [
    "createdDateTimeUtc",
    "lastUpdatedDateTimeUtc",
    "registrationState",
];

/// The older way to name one hub.
pub(crate) const ONE_HUB: &str = "iotHubHostName";

/// An enrollment as this service keeps it: in a table of its own, with errors and a quota of its own.
pub(crate) trait Document: Enrollment {
    fn parse_id(text: &str) -> Result<Self::Id, ServiceError>;
    fn not_found(id: &Self::Id) -> ServiceError;
    fn conflict() -> ServiceError;

    /// Refuses one more record like this if there may be no more.
    fn check_quota(&self, dps: &Dps, store: &Store) -> Result<(), ServiceError>;

    fn table(store: &Store) -> &Table<Self::Id, Self>;
    fn write(
        self,
        store: &mut Store,
        precondition: &Precondition,
        now: Time,
    ) -> Result<(), PutError>;
    fn remove(
        store: &mut Store,
        id: &Self::Id,
        precondition: &Precondition,
    ) -> Result<(), Conflict>;
}

impl Document for IndividualEnrollment {
    fn parse_id(text: &str) -> Result<Self::Id, ServiceError> {
        text.parse().map_err(ServiceError::InvalidRegistrationId)
    }

    fn not_found(id: &Self::Id) -> ServiceError {
        ServiceError::EnrollmentNotFound(id.clone())
    }

    fn conflict() -> ServiceError {
        ServiceError::EnrollmentConflict
    }

    fn check_quota(&self, dps: &Dps, store: &Store) -> Result<(), ServiceError> {
        let present = store.individuals().len();
        dps.check_quota("individual enrollments", present, |quotas| {
            quotas.enrollments
        })
    }

    fn table(store: &Store) -> &Table<Self::Id, Self> {
        store.individuals()
    }

    fn write(
        self,
        store: &mut Store,
        precondition: &Precondition,
        now: Time,
    ) -> Result<(), PutError> {
        store.put_individual(self, precondition, now)
    }

    fn remove(
        store: &mut Store,
        id: &Self::Id,
        precondition: &Precondition,
    ) -> Result<(), Conflict> {
        store.remove_individual(id, precondition)
    }
}

impl Document for EnrollmentGroup {
    fn parse_id(text: &str) -> Result<Self::Id, ServiceError> {
        text.parse().map_err(ServiceError::InvalidEnrollmentGroupId)
    }

    fn not_found(id: &Self::Id) -> ServiceError {
        ServiceError::EnrollmentGroupNotFound(id.clone())
    }

    fn conflict() -> ServiceError {
        ServiceError::EnrollmentGroupConflict
    }

    fn check_quota(&self, dps: &Dps, store: &Store) -> Result<(), ServiceError> {
        let kind = self.attestation.kind();
        let alike = store
            .groups()
            .iter()
            .filter(|(_, record)| record.value.attestation.kind() == kind)
            .count();
        dps.check_quota("enrollment groups of this kind", alike, |quotas| match self
            .attestation
            .mechanism
        {
            Mechanism::SymmetricKey(_) => quotas.symmetric_key_groups,
            _ => quotas.x509_groups,
        })
    }

    fn table(store: &Store) -> &Table<Self::Id, Self> {
        store.groups()
    }

    fn write(
        self,
        store: &mut Store,
        precondition: &Precondition,
        now: Time,
    ) -> Result<(), PutError> {
        store.put_group(self, precondition, now)
    }

    fn remove(
        store: &mut Store,
        id: &Self::Id,
        precondition: &Precondition,
    ) -> Result<(), Conflict> {
        store.remove_group(id, precondition)
    }
}

/// What a bulk request does with each of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BulkMode {
    Create,
    Update,
    UpdateIfMatch,
    Delete,
}

impl Dps {
    /// The record of this name.
    pub(crate) fn enrollment<D: Document>(&self, id: &D::Id) -> Result<Record<D>, ServiceError> {
        let store = self.store();
        let record = D::table(&store).get(id);
        record.cloned().ok_or_else(|| D::not_found(id))
    }

    /// A PUT: creates without `If-Match`, replaces with it.
    pub(crate) fn put_enrollment<D: Document>(
        &self,
        document: D,
        if_match: IfMatch,
    ) -> Result<Record<D>, ServiceError> {
        let id = document.id().clone();
        self.change(|store| {
            let is_absent = D::table(store).get(&id).is_none();
            let precondition = match if_match {
                IfMatch::Absent => Precondition::Absent,
                _ if is_absent && self.choices().if_match_on_absent_is_stale => {
                    return Err(ServiceError::PreconditionFailed);
                }
                if_match => if_match.replacing(),
            };
            self.write_enrollment(store, document, &precondition, References::Held)?;
            let record = D::table(store).get(&id);
            record.cloned().ok_or_else(|| D::not_found(&id))
        })
    }

    /// A DELETE, with or without `If-Match`.
    pub(crate) fn delete_enrollment<D: Document>(
        &self,
        id: &D::Id,
        if_match: IfMatch,
    ) -> Result<(), ServiceError> {
        if self.choices().delete_needs_if_match && if_match == IfMatch::Absent {
            return Err(ServiceError::ArgumentInvalid(
                "The header If-Match is required.".to_owned(),
            ));
        }
        self.change(|store| {
            let removed = D::remove(store, id, &if_match.replacing());
            removed.map_err(|conflict| refusal::<D>(conflict, id))
        })
    }

    /// One record of a bulk request.
    pub(crate) fn bulk_item<D: Document>(
        &self,
        mode: BulkMode,
        mut document: D,
    ) -> Result<(), ServiceError> {
        let precondition = match (mode, document.etag_mut().take()) {
            (BulkMode::Create, _) => Precondition::Absent,
            (BulkMode::UpdateIfMatch, Some(etag)) => Precondition::Matches(etag),
            (BulkMode::UpdateIfMatch, None) => return Err(ServiceError::PreconditionFailed),
            // An item without a tag is written as a PUT without If-Match is: it only creates.
            (BulkMode::Update, None) => Precondition::Absent,
            (BulkMode::Update, Some(_)) | (BulkMode::Delete, _) => Precondition::Present,
        };
        self.change(|store| self.write_enrollment(store, document, &precondition, References::Held))
    }

    /// A record of an instance that is told of as it was: what it refers to may have been deleted since.
    pub(crate) fn sow_enrollment<D: Document>(&self, document: D) -> Result<(), ServiceError> {
        let absent = Precondition::Absent;
        self.change(|store| self.write_enrollment(store, document, &absent, References::MayBeGone))
    }

    fn write_enrollment<D: Document>(
        &self,
        store: &mut Store,
        document: D,
        precondition: &Precondition,
        references: References,
    ) -> Result<(), ServiceError> {
        let id = document.id().clone();
        let checked = D::table(store).check(&id, precondition);
        checked.map_err(|conflict| refusal::<D>(conflict, &id))?;
        if D::table(store).get(&id).is_none() {
            document.check_quota(self, store)?;
        }
        let document = self.accept(store, document, references)?;
        match document.write(store, precondition, self.now()) {
            Ok(()) => Ok(()),
            Err(PutError::Conflict(conflict)) => Err(refusal::<D>(conflict, &id)),
            Err(PutError::View(error)) => Err(ServiceError::ArgumentInvalid(error.to_string())),
        }
    }

    /// Turns a document as it was sent into what is stored.
    fn accept<D: Document>(
        &self,
        store: &Store,
        mut document: D,
        references: References,
    ) -> Result<D, ServiceError> {
        if !D::permits(&document.attestation().mechanism) {
            return Err(ServiceError::ArgumentInvalid(format!(
                "A record of {} cannot attest by {} in this way.",
                D::COLLECTION,
                document.attestation().kind()
            )));
        }
        self.check_hubs(&mut document)?;
        match document.allocation() {
            Some(AllocationPolicy::Custom) => {
                let definition = document.other_mut().get("customAllocationDefinition");
                Webhook::from_definition(definition).map_err(ServiceError::ArgumentInvalid)?;
            }
            Some(AllocationPolicy::Other(word)) => {
                let problem = format!("The allocationPolicy {word} is not known.");
                return Err(ServiceError::ArgumentInvalid(problem));
            }
            _ => {}
        }
        let table = D::table(store);
        let present = table.get(document.id()).map(|record| &record.value);
        let sent = document.attestation().clone();
        let attestation = self.accept_attestation(
            store,
            sent,
            present.map(Enrollment::attestation),
            references,
        )?;
        *document.attestation_mut() = attestation;
        if let Some(id) = table.first_spelling(document.id()) {
            document.set_id(id.clone());
        }
        *document.etag_mut() = None;
        for member in SET_BY_SERVICE {
            document.other_mut().shift_remove(member);
        }
        Ok(document)
    }

    /// Every hub that a record names must be linked.
    fn check_hubs<D: Document>(&self, document: &mut D) -> Result<(), ServiceError> {
        let one = document
            .other_mut()
            .get(ONE_HUB)
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned);
        let named = document
            .hubs()
            .unwrap_or_default()
            .iter()
            .map(HubHostName::as_str)
            .chain(one.as_deref());
        for name in named {
            let hub = name.parse::<HubHostName>();
            if !hub.is_ok_and(|hub| self.is_linked(&hub)) {
                return Err(ServiceError::ArgumentInvalid(format!(
                    "IoT hub {name} is not linked to this service."
                )));
            }
        }
        Ok(())
    }
}

fn refusal<D: Document>(conflict: Conflict, id: &D::Id) -> ServiceError {
    match conflict {
        Conflict::Exists => D::conflict(),
        Conflict::Missing => D::not_found(id),
        Conflict::Stale => ServiceError::PreconditionFailed,
    }
}
