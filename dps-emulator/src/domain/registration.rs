//! Registering: from the door to a hub.
//!
//! Admission is decided anew at every registration. What follows from it (the hub, the identity
//! there, the record) is written at once, under the lock that admission was decided under; the device
//! learns of it by polling, after as many `assigning` rounds as the configuration says. So a device
//! that never polls is assigned all the same, as in Azure. Only a webhook is waited for without the
//! lock; if the device registers again meanwhile, its choice counts no more.
//! Invariant: a refusal at the door leaves no record; a disabled or failed attempt does.

mod terms;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pki_core::admission::Entry;
use pki_core::enrollment::{AllocationPolicy, RegistrationState, RegistrationStatus};
use pki_core::hub::{HubAuthentication, HubDevice, HubDeviceStatus};
use pki_core::ids::{DeviceId, RegistrationId};
use pki_core::time::Span;
use serde_json::{Map, Value, json};

use self::terms::Terms;
pub(crate) use self::view::service_view;
use self::view::{device_view, entry_document};
use super::admission::{Credential, Verdict};
use super::allocation::{AllocationError, allocate};
use super::connection::Event;
use super::reprovision::Move;
use super::webhook::{Allocated, Patience, Webhook};
use super::{Dps, reprovision};
use crate::error::ServiceError;
use crate::faults::Turn;
use crate::store::Store;
use crate::store::hub::{Device, Twin};
use crate::store::registration::{
    Assignment, DecidingEntry, Operation, Proven, Registration, RegistrationOutcome,
};

/// A device that asks for a hub.
pub(crate) struct Registering<'a> {
    pub(crate) id: &'a RegistrationId,
    pub(crate) credential: Option<Credential<'a>>,
    /// Whether the device speaks an API from before reprovisioning policies.
    pub(crate) is_legacy: bool,
    /// What it tells a webhook.
    pub(crate) payload: Option<Value>,
}

/// The answer to a device: an operation under way or over.
#[derive(Debug, Clone)]
pub(crate) struct OperationStatus {
    /// Empty if no operation was started.
    pub(crate) operation_id: String,
    pub(crate) state: RegistrationState,
}

impl OperationStatus {
    /// Whether the device has to ask again.
    pub(crate) fn is_pending(&self) -> bool {
        self.state.status == RegistrationStatus::Assigning
    }
}

/// A device that is to have a hub: everything that is known before the hub is chosen.
struct AssignmentRequest {
    id: RegistrationId,
    operation_id: String,
    verdict: Verdict,
    is_legacy: bool,
}

/// What is recorded of an attempt.
struct Attempt {
    outcome: RegistrationOutcome,
    assignment: Option<Assignment>,
    payload: Option<Value>,
}

impl Attempt {
    fn new(outcome: RegistrationOutcome) -> Self {
        Self {
            outcome,
            assignment: None,
            payload: None,
        }
    }
}

impl Dps {
    /// Registers a device: refused at the door, disabled at once, or an operation to poll.
    pub(crate) fn register(
        self: &Arc<Self>,
        registering: Registering<'_>,
    ) -> Result<OperationStatus, ServiceError> {
        self.faults.take(Turn::Registration)?;
        let presented = self.present(registering.credential)?;
        let operation_id = self.random().operation_id()?;
        self.change(|store| {
            let verdict = self.admit(store, registering.id, &presented)?;
            let id = spelling(store, registering.id);
            self.check_room(store, &id)?;
            if !verdict.is_enabled {
                let outcome = RegistrationOutcome::Disabled;
                self.record(store, &id, &verdict.entry, Attempt::new(outcome));
                return Ok(OperationStatus {
                    operation_id: String::new(),
                    state: device_view(store, &id)?,
                });
            }
            tracing::info!(registration_id = %id, %operation_id, entry = %verdict.entry, "registering");
            let assignment = AssignmentRequest {
                id: id.clone(),
                operation_id: operation_id.clone(),
                verdict,
                is_legacy: registering.is_legacy,
            };
            let operation = self.begin(store, assignment, registering.payload)?;
            store.operations.insert(id.clone(), operation);
            Ok(OperationStatus {
                operation_id,
                state: RegistrationState::new(id, RegistrationStatus::Assigning),
            })
        })
    }

    /// A record more has to fit into the instance.
    fn check_room(&self, store: &Store, id: &RegistrationId) -> Result<(), ServiceError> {
        if store.registrations().get(id).is_some() {
            return Ok(());
        }
        let present = store.registrations().len();
        self.check_quota("registrations", present, |quotas| quotas.registrations)
    }

    /// Chooses the hub, or has a webhook choose it.
    fn begin(
        self: &Arc<Self>,
        store: &mut Store,
        assignment: AssignmentRequest,
        payload: Option<Value>,
    ) -> Result<Operation, ServiceError> {
        let terms = self.terms(store, &assignment.verdict.entry)?;
        let wait = Span::from_seconds(self.faults.behavior().assignment_seconds.into());
        let is_undecided = terms.allocation == AllocationPolicy::Custom;
        let operation = Operation {
            id: assignment.operation_id.clone(),
            rounds_left: self
                .settings
                .assigning_rounds
                .max(self.choices().assigning_rounds),
            not_before: self.now() + wait,
            is_undecided,
            proven: assignment.verdict.proven.clone(),
        };
        if is_undecided {
            self.ask_webhook(store, assignment, payload)?;
        } else {
            let hub = allocate(&terms.allocation, &terms.candidates, &assignment.id);
            let allocated = hub.map(|hub| Allocated {
                hub,
                initial_twin: None,
                payload: None,
            });
            self.assign(store, &assignment, allocated)?;
        }
        Ok(operation)
    }

    /// Lets a webhook choose, and assigns the device to what it chose.
    fn ask_webhook(
        self: &Arc<Self>,
        store: &Store,
        assignment: AssignmentRequest,
        payload: Option<Value>,
    ) -> Result<(), ServiceError> {
        let (member, entry, mechanism) = entry_document(store, &assignment.verdict.entry)?;
        let webhook = Webhook::from_definition(entry.get("customAllocationDefinition"));
        let mut context = json!({"registrationId": assignment.id.as_str()});
        context[mechanism] = json!({});
        if let Some(payload) = payload {
            context["payload"] = payload;
        }
        let candidates = self.terms(store, &assignment.verdict.entry)?.candidates;
        let hubs: Vec<&str> = candidates
            .iter()
            .map(|hub| hub.host_name.as_str())
            .collect();
        let mut request = json!({"deviceRuntimeContext": context, "linkedHubs": hubs});
        request[member] = entry;
        let choices = self.choices();
        let patience = Patience {
            retries: choices.webhook_retries,
            wait: Duration::from_secs(choices.webhook_wait_seconds.into()),
        };
        let dps = Arc::clone(self);
        tokio::spawn(async move {
            let allocated = match webhook {
                Ok(webhook) => dps.webhooks.call(&webhook, &request, patience).await,
                Err(problem) => Err(AllocationError::Undefined(problem)),
            };
            if let Err(error) = dps.decided(&assignment, allocated) {
                tracing::error!(registration_id = %assignment.id, %error, "a webhook's choice was lost");
            }
        });
        Ok(())
    }

    fn decided(
        &self,
        assignment: &AssignmentRequest,
        allocated: Result<Allocated, AllocationError>,
    ) -> Result<(), ServiceError> {
        self.change(|store| {
            let operation = match store.operations.get_mut(&assignment.id) {
                Some(operation) if operation.id == assignment.operation_id => operation,
                _ => return Ok(()),
            };
            operation.is_undecided = false;
            let allocated = allocated.and_then(|allocated| {
                if self.is_linked(&allocated.hub) {
                    Ok(allocated)
                } else {
                    Err(AllocationError::HubNotLinked(allocated.hub))
                }
            });
            self.assign(store, assignment, allocated)
        })
    }

    /// One poll. Who asks must be who registered.
    pub(crate) fn operation(
        &self,
        id: &RegistrationId,
        operation_id: &str,
        credential: Option<Credential<'_>>,
    ) -> Result<OperationStatus, ServiceError> {
        let now = self.now();
        // A leaf that registered needs no path again: its session proved that it is the same one.
        let proven = match credential {
            Some(Credential::Chain([leaf, ..])) => Proven::Leaf(leaf.sha256_thumbprint()),
            credential => {
                let presented = self.present(credential)?;
                self.admit(&self.store(), id, &presented)?.proven
            }
        };
        let mut store = self.store();
        let operation = store
            .operations
            .get_mut(id)
            .filter(|operation| operation.id == operation_id && operation.proven == proven)
            .ok_or(ServiceError::OperationNotFound)?;
        let state = if operation.poll(now) {
            RegistrationState::new(id.clone(), RegistrationStatus::Assigning)
        } else {
            device_view(&store, id)?
        };
        Ok(OperationStatus {
            operation_id: operation_id.to_owned(),
            state,
        })
    }

    /// What became of a device's last attempt, asked by the device itself.
    pub(crate) fn lookup(
        &self,
        id: &RegistrationId,
        credential: Option<Credential<'_>>,
    ) -> Result<RegistrationState, ServiceError> {
        self.faults.take(Turn::Registration)?;
        let presented = self.present(credential)?;
        let store = self.store();
        self.admit(&store, id, &presented)?;
        device_view(&store, id)
    }

    /// Gives a device its hub, its identity there and its record.
    fn assign(
        &self,
        store: &mut Store,
        assignment: &AssignmentRequest,
        allocated: Result<Allocated, AllocationError>,
    ) -> Result<(), ServiceError> {
        let AssignmentRequest { id, verdict, .. } = assignment;
        let mut terms = self.terms(store, &verdict.entry)?;
        let current = self.current_assignment(store, id);
        let allocated = match allocated {
            Ok(allocated) => allocated,
            Err(error) => {
                let attempt = Attempt {
                    assignment: current,
                    ..Attempt::new(failure(&error))
                };
                self.record(store, id, &verdict.entry, attempt);
                return Ok(());
            }
        };
        terms.initial_twin = allocated.initial_twin.or(terms.initial_twin);
        let policy = reprovision::effective(terms.reprovision.as_ref(), assignment.is_legacy);
        let current_hub = current.as_ref().map(|assignment| &assignment.hub);
        let movement = reprovision::decide(&policy, current_hub, &allocated.hub);
        let device_id = match (&current, &terms.device_id) {
            // A changed device ID takes effect once the registration record is deleted.
            (Some(assignment), _) => assignment.device_id.clone(),
            (None, Some(device_id)) => device_id.clone(),
            (None, None) => DeviceId::from(id),
        };
        let hub = match (&movement, current) {
            (Move::Stay, Some(assignment)) => assignment.hub,
            _ => allocated.hub,
        };
        let assignment = Assignment { hub, device_id };
        let authentication = &verdict.authentication;
        self.write_identity(store, &assignment, &movement, authentication, &terms)?;
        let attempt = Attempt {
            outcome: RegistrationOutcome::Assigned(movement.substatus()),
            assignment: Some(assignment),
            payload: allocated.payload,
        };
        self.record(store, id, &verdict.entry, attempt);
        Ok(())
    }

    fn write_identity(
        &self,
        store: &mut Store,
        assignment: &Assignment,
        movement: &Move,
        authentication: &HubAuthentication,
        terms: &Terms,
    ) -> Result<(), ServiceError> {
        // Drawn first, so that nothing has changed if it fails.
        let generation_id = self.random().generation_id()?;
        let mut other = Map::new();
        let capabilities = match &terms.capabilities {
            Some(capabilities) => capabilities.clone(),
            None => json!({"iotEdge": false}),
        };
        other.insert("capabilities".to_owned(), capabilities);
        let mut device = Device {
            document: HubDevice {
                device_id: assignment.device_id.clone(),
                status: HubDeviceStatus::Enabled,
                status_reason: None,
                authentication: Some(authentication.clone()),
                etag: None,
                other,
            },
            generation_id,
            status_updated: None,
            twin: Twin::initial(terms.initial_twin.as_ref()),
            modules: BTreeMap::new(),
        };
        if let Move::Migrate { from } | Move::Reset { from } = movement
            && let Some(moved) = store.take_device(from, &assignment.device_id)
        {
            let moves = Event::IdentityChanged;
            self.connections.tell(from, &assignment.device_id, moves);
            device.document.status = moved.document.status;
            device.document.status_reason = moved.document.status_reason;
            device.status_updated = moved.status_updated;
            if matches!(movement, Move::Migrate { .. }) {
                device.twin = moved.twin;
            }
        }
        let (registry, mint) = store.registry_and_mint(&assignment.hub);
        let resets = matches!(movement, Move::Migrate { .. } | Move::Reset { .. });
        registry.assign(device, resets, mint.device(), self.now());
        Ok(())
    }

    /// Where a device belongs, as long as that hub is still linked.
    fn current_assignment(&self, store: &Store, id: &RegistrationId) -> Option<Assignment> {
        let assignment = store.registrations().get(id)?.value.assignment.clone();
        assignment.filter(|assignment| self.is_linked(&assignment.hub))
    }

    fn record(&self, store: &mut Store, id: &RegistrationId, entry: &Entry, attempt: Attempt) {
        let before = store
            .registrations()
            .get(id)
            .and_then(|record| record.value.assignment.clone());
        let registration = Registration {
            entry: match entry {
                Entry::Individual(id) => DecidingEntry::Individual(id.clone()),
                Entry::Group(id) => DecidingEntry::Group(id.clone()),
            },
            outcome: attempt.outcome,
            assignment: attempt.assignment.or(before),
            payload: attempt.payload,
        };
        store.put_registration(id, registration, self.now());
    }
}

/// A registration ID as it was first written: by the record, else by the enrollment, else now.
fn spelling(store: &Store, id: &RegistrationId) -> RegistrationId {
    store
        .registrations()
        .first_spelling(id)
        .or_else(|| store.individuals().first_spelling(id))
        .unwrap_or(id)
        .clone()
}

fn failure(error: &AllocationError) -> RegistrationOutcome {
    RegistrationOutcome::Failed {
        code: error.code(),
        message: error.to_string(),
    }
}
