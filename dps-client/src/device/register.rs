//! Registering a device, and looking up what became of it.

use http::Method;
use pki_core::enrollment::{RegistrationState, RegistrationStatus};
use pki_core::ids::{IdScope, RegistrationId};
use serde::Serialize;
use serde_json::Value;

use super::operation::{OperationStatus, Polling};
use crate::error::{ClientError, retry_after};
use crate::plane::{Answer, Operation, Plane};

/// Registers devices with one DPS instance.
#[derive(Debug, Clone)]
pub struct Registrar {
    plane: Plane,
    id_scope: IdScope,
}

/// How a registration ended. All three are answers of the service, not errors: a device that is not
/// admitted at all is a [`ClientError::Service`] with status 401.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The device has a hub.
    Assigned {
        /// With the hub and the device's name there.
        state: RegistrationState,
    },
    /// DPS admitted the device but found no hub for it.
    Failed {
        /// With the error's code and message.
        state: RegistrationState,
    },
    /// The entry that decides about the device is disabled.
    Disabled {
        /// Hardly more than the status.
        state: RegistrationState,
    },
}

impl Registrar {
    /// The instance with this ID scope behind this plane.
    pub fn new(plane: Plane, id_scope: IdScope) -> Self {
        Self { plane, id_scope }
    }

    /// Registers the device that the plane's transport or credential belongs to, and waits until the
    /// service has decided. `payload` is handed to a custom allocation.
    ///
    /// # Errors
    /// [`ClientError`]; status 401 if the device is not admitted, [`ClientError::Deadline`] if it takes
    /// too long. Whoever gives up may register again.
    pub async fn register(
        &self,
        id: &RegistrationId,
        payload: Option<&Value>,
        polling: &Polling,
    ) -> Result<Outcome, ClientError> {
        let deadline = polling.deadline;
        tokio::time::timeout(deadline, self.register_and_poll(id, payload, polling))
            .await
            .unwrap_or_else(|_| {
                Err(ClientError::Deadline {
                    registration_id: id.clone(),
                    deadline,
                })
            })
    }

    /// What became of the device's last registration. For throttling it counts as a registration.
    ///
    /// # Errors
    /// [`ClientError`]; status 401 if the device is not admitted.
    pub async fn lookup(&self, id: &RegistrationId) -> Result<RegistrationState, ClientError> {
        let body = Registration {
            registration_id: id,
            payload: None,
        };
        let operation = Operation::read_by_post(&self.path(id, &[])).json(&body)?;
        self.plane.send(operation).await?.json()
    }

    async fn register_and_poll(
        &self,
        id: &RegistrationId,
        payload: Option<&Value>,
        polling: &Polling,
    ) -> Result<Outcome, ClientError> {
        // Registering twice does no harm: the second time the service decides anew.
        let operation = Operation::write(Method::PUT, &self.path(id, &["register"]))
            .repeatable()
            .json(&Registration {
                registration_id: id,
                payload,
            })?;
        let mut answer = self.plane.send(operation).await?;
        loop {
            let status: OperationStatus = answer.json()?;
            let working = matches!(
                status.status,
                RegistrationStatus::Assigning | RegistrationStatus::Unassigned
            );
            if !working {
                return outcome(id, &answer, status);
            }
            let Some(operation_id) = status.operation_id.filter(|id| !id.is_empty()) else {
                return Err(incomplete(&answer, "operation ID"));
            };
            tokio::time::sleep(polling.wait(retry_after(&answer.response.headers))).await;
            tracing::debug!(registration_id = %id, operation_id, "polling");
            let path = self.path(id, &["operations", &operation_id]);
            answer = self.plane.send(Operation::get(&path)).await?;
        }
    }

    fn path<'a>(&'a self, id: &'a RegistrationId, below: &[&'a str]) -> Vec<&'a str> {
        [
            &[self.id_scope.as_str(), "registrations", id.as_str()],
            below,
        ]
        .concat()
    }
}

fn outcome(
    id: &RegistrationId,
    answer: &Answer,
    status: OperationStatus,
) -> Result<Outcome, ClientError> {
    let bare = || RegistrationState::new(id.clone(), status.status.clone());
    match status.status {
        RegistrationStatus::Assigned => {
            let state = status
                .registration_state
                .ok_or_else(|| incomplete(answer, "registration state"))?;
            if state.assigned_hub.is_none() || state.device_id.is_none() {
                return Err(incomplete(answer, "assigned hub and device ID"));
            }
            Ok(Outcome::Assigned { state })
        }
        RegistrationStatus::Failed => Ok(Outcome::Failed {
            state: status.registration_state.unwrap_or_else(bare),
        }),
        RegistrationStatus::Disabled => Ok(Outcome::Disabled {
            state: status.registration_state.unwrap_or_else(bare),
        }),
        _ => Err(incomplete(answer, "status that is known")),
    }
}

fn incomplete(answer: &Answer, what: &'static str) -> ClientError {
    ClientError::Incomplete {
        operation: answer.operation.clone(),
        what,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Registration<'a> {
    registration_id: &'a RegistrationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a Value>,
}
