//! What groups and individual enrollments have in common: get, put, delete, keys.
//!
//! Invariant: a put that changes an entry never changes its keys by leaving them out. The service does
//! not show keys in an answer to a get and makes new ones if a put lacks them, so the present ones
//! are fetched and put in.

use std::borrow::Cow;
use std::marker::PhantomData;

use http::Method;
use pki_core::enrollment::{
    Attestation, Enrollment, EnrollmentGroup, IndividualEnrollment, Mechanism, SymmetricKeys,
};

use crate::error::{ClientError, found};
use crate::expect::{Expect, IfMatch, TagForm};
use crate::plane::{Operation, Plane};

/// The entries of one kind in one DPS instance: [`super::Groups`] or [`super::Individuals`].
#[derive(Debug, Clone)]
pub struct Enrollments<E> {
    pub(super) plane: Plane,
    kind: PhantomData<fn() -> E>,
}

/// The enrollment groups of a DPS instance: `/enrollmentGroups`.
pub type Groups = Enrollments<EnrollmentGroup>;

/// The individual enrollments of a DPS instance: `/enrollments`.
pub type Individuals = Enrollments<IndividualEnrollment>;

impl<E: Enrollment> Enrollments<E> {
    /// The entries behind this plane.
    pub fn new(plane: Plane) -> Self {
        Self {
            plane,
            kind: PhantomData,
        }
    }

    /// The entry of this ID.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_not_found`] if there is none.
    pub async fn get(&self, id: &E::Id) -> Result<E, ClientError> {
        self.plane
            .send(Operation::get(&[E::COLLECTION, &id.to_string()]))
            .await?
            .json()
    }

    /// The entry of this ID, or `None`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn find(&self, id: &E::Id) -> Result<Option<E>, ClientError> {
        found(self.get(id).await)
    }

    /// Makes or replaces the entry, as a whole, and returns what the service made of it.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_conflict`] if one was there that was expected to be absent,
    /// [`ClientError::is_precondition_failed`] if it was not as expected.
    pub async fn put(&self, entry: &E, expect: &Expect) -> Result<E, ClientError> {
        let entry = match expect {
            Expect::Absent => Cow::Borrowed(entry),
            Expect::Etag(_) | Expect::Any => self.with_present_keys(entry).await?,
        };
        let operation = Operation::write(Method::PUT, &[E::COLLECTION, &entry.id().to_string()])
            .if_match(expect.header(TagForm::AsGiven))
            .json(entry.as_ref())?;
        self.plane.send(operation).await?.json()
    }

    /// Deletes the entry. Its registration records stay, and so do the devices in their hubs.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_not_found`] if there is none,
    /// [`ClientError::is_precondition_failed`] if it was not as expected.
    pub async fn delete(&self, id: &E::Id, expect: &IfMatch) -> Result<(), ClientError> {
        let if_match = Expect::from(expect.clone()).header(TagForm::AsGiven);
        let operation = Operation::write(Method::DELETE, &[E::COLLECTION, &id.to_string()]);
        self.plane.send(operation.if_match(if_match)).await?;
        Ok(())
    }

    /// The entry's attestation with its keys, which no other answer shows.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_not_found`] if there is no such entry.
    pub async fn attestation_mechanism(&self, id: &E::Id) -> Result<Attestation, ClientError> {
        let path = [E::COLLECTION, &id.to_string(), "attestationmechanism"];
        self.plane
            .send(Operation::read_by_post(&path))
            .await?
            .json()
    }

    /// The entry with the keys that the service holds, where the document leaves them out.
    pub(super) async fn with_present_keys<'a>(
        &self,
        entry: &'a E,
    ) -> Result<Cow<'a, E>, ClientError> {
        let Some(given) = incomplete_keys(entry.attestation()) else {
            return Ok(Cow::Borrowed(entry));
        };
        // Without an entry there is nothing to keep; the put itself then says so.
        let present = found(self.attestation_mechanism(entry.id()).await)?;
        let Some(Mechanism::SymmetricKey(Some(present))) = present.map(|found| found.mechanism)
        else {
            return Ok(Cow::Borrowed(entry));
        };
        let mut entry = entry.clone();
        entry.attestation_mut().mechanism = Mechanism::SymmetricKey(Some(SymmetricKeys {
            primary_key: given.primary_key.or(present.primary_key),
            secondary_key: given.secondary_key.or(present.secondary_key),
            ..given
        }));
        Ok(Cow::Owned(entry))
    }
}

/// The keys of a symmetric-key attestation that lacks at least one.
fn incomplete_keys(attestation: &Attestation) -> Option<SymmetricKeys> {
    match &attestation.mechanism {
        Mechanism::SymmetricKey(None) => Some(SymmetricKeys::default()),
        Mechanism::SymmetricKey(Some(keys))
            if keys.primary_key.is_none() || keys.secondary_key.is_none() =>
        {
            Some(keys.clone())
        }
        _ => None,
    }
}
