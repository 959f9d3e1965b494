//! Registration records: what became of devices' last attempts to register.

use http::Method;
use pki_core::enrollment::RegistrationState;
use pki_core::ids::{EnrollmentGroupId, RegistrationId};

use super::query::sized;
use crate::error::{ClientError, found};
use crate::expect::{Expect, IfMatch, TagForm};
use crate::page::{Records, records};
use crate::plane::{Operation, Plane};

/// The registration records of a DPS instance.
#[derive(Debug, Clone)]
pub struct Registrations {
    plane: Plane,
}

impl Registrations {
    /// The records behind this plane.
    pub fn new(plane: Plane) -> Self {
        Self { plane }
    }

    /// The record of this device.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_not_found`] if it has none.
    pub async fn get(&self, id: &RegistrationId) -> Result<RegistrationState, ClientError> {
        self.plane
            .send(Operation::get(&["registrations", id.as_str()]))
            .await?
            .json()
    }

    /// The record of this device, or `None`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn find(
        &self,
        id: &RegistrationId,
    ) -> Result<Option<RegistrationState>, ClientError> {
        found(self.get(id).await)
    }

    /// Deletes a device's record. The device stays in its hub, and may register again.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_not_found`] if it has none,
    /// [`ClientError::is_precondition_failed`] if it was not as expected.
    pub async fn delete(&self, id: &RegistrationId, expect: &IfMatch) -> Result<(), ClientError> {
        let if_match = Expect::from(expect.clone()).header(TagForm::AsGiven);
        let operation = Operation::write(Method::DELETE, &["registrations", id.as_str()]);
        self.plane.send(operation.if_match(if_match)).await?;
        Ok(())
    }

    /// The records of a group's devices, `page_size` at a time, or as many as the service likes.
    pub fn of_group(
        &self,
        group: &EnrollmentGroupId,
        page_size: Option<u32>,
    ) -> Records<RegistrationState> {
        let query = Operation::read_by_post(&["registrations", group.as_str(), "query"]);
        records(self.plane.clone(), sized(query, page_size))
    }
}
