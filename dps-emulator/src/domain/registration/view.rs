//! A registration as others see it: the service, the device, a webhook.

use pki_core::admission::Entry;
use pki_core::enrollment::{
    EnrollmentGroup, IndividualEnrollment, Mechanism, RegistrationState, RegistrationStatus,
    Substatus,
};
use pki_core::ids::RegistrationId;
use serde_json::{Value, json};

use super::spelling;
use crate::domain::enrollment::Document;
use crate::error::ServiceError;
use crate::store::registration::{DecidingEntry, Registration, RegistrationOutcome};
use crate::store::{Record, Store};

/// A registration record as the service plane shows it.
pub(crate) fn service_view(
    id: &RegistrationId,
    record: &Record<Registration>,
) -> RegistrationState {
    let registration = &record.value;
    let status = match registration.outcome {
        RegistrationOutcome::Assigned(_) => RegistrationStatus::Assigned,
        RegistrationOutcome::Disabled => RegistrationStatus::Disabled,
        RegistrationOutcome::Failed { .. } => RegistrationStatus::Failed,
    };
    let mut state = RegistrationState::new(id.clone(), status);
    state.created_date_time_utc = Some(record.created());
    state.last_updated_date_time_utc = Some(record.updated());
    state.etag = Some(record.etag.clone());
    state.payload.clone_from(&registration.payload);
    match &registration.outcome {
        RegistrationOutcome::Assigned(substatus) => {
            state.substatus = Some(substatus.clone());
            if let Some(assignment) = &registration.assignment {
                state.assigned_hub = Some(assignment.hub.clone());
                state.device_id = Some(assignment.device_id.clone());
            }
        }
        RegistrationOutcome::Failed { code, message } => {
            state.error_code = Some((*code).into());
            state.error_message = Some(message.clone());
        }
        RegistrationOutcome::Disabled => {}
    }
    state
}

/// The same as the device sees it: with a member for its attestation, and `initialAssignment`
/// whenever it is assigned, which is what the live service shows to devices.
pub(super) fn device_view(
    store: &Store,
    id: &RegistrationId,
) -> Result<RegistrationState, ServiceError> {
    let record = store
        .registrations()
        .get(id)
        .ok_or_else(|| ServiceError::RegistrationNotFound(id.clone()))?;
    let mut state = service_view(&spelling(store, id), record);
    if state.substatus.is_some() {
        state.substatus = Some(Substatus::InitialAssignment);
    }
    if let Some((member, value)) = attestation_member(store, &record.value.entry) {
        state.other.insert(member.to_owned(), value);
    }
    Ok(state)
}

/// The deciding entry as a webhook sees it: the member that holds it, the document without keys, and
/// the member for the device's attestation.
pub(super) fn entry_document(
    store: &Store,
    entry: &Entry,
) -> Result<(&'static str, Value, &'static str), ServiceError> {
    match entry {
        Entry::Individual(id) => {
            let (document, mechanism) = without_keys::<IndividualEnrollment>(store, id)?;
            Ok(("individualEnrollment", document, mechanism))
        }
        Entry::Group(id) => {
            let (document, mechanism) = without_keys::<EnrollmentGroup>(store, id)?;
            Ok(("enrollmentGroup", document, mechanism))
        }
    }
}

fn without_keys<D: Document>(
    store: &Store,
    id: &D::Id,
) -> Result<(Value, &'static str), ServiceError> {
    let record = D::table(store).get(id).ok_or_else(|| D::not_found(id))?;
    let mut document = serde_json::to_value(&record.value)
        .map_err(|error| ServiceError::Server(error.to_string()))?;
    if let Some(Value::Object(attestation)) = document.get_mut("attestation") {
        attestation.shift_remove("symmetricKey");
    }
    let mechanism = match record.value.attestation().mechanism {
        Mechanism::SymmetricKey(_) => "symmetricKey",
        _ => "x509",
    };
    Ok((document, mechanism))
}

fn attestation_member(store: &Store, entry: &DecidingEntry) -> Option<(&'static str, Value)> {
    match entry {
        DecidingEntry::Individual(id) => {
            let mechanism = &store.individuals().get(id)?.value.attestation.mechanism;
            matches!(mechanism, Mechanism::X509(_)).then(|| ("x509", json!({})))
        }
        DecidingEntry::Group(id) => {
            let value = json!({"enrollmentGroupId": id.as_str()});
            match &store.groups().get(id)?.value.attestation.mechanism {
                Mechanism::X509(_) => Some(("x509", value)),
                Mechanism::SymmetricKey(_) => Some(("symmetricKey", value)),
                _ => None,
            }
        }
    }
}
