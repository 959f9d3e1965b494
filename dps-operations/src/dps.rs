//! The port to DPS and its hubs: records are listed and found, and written as they were found.
//!
//! [`crate::Planes`] is the adapter over the network; tests have one in memory. Whoever gathers, and the
//! executor, know no other way to a service.
//! Invariant: every write takes an [`Expect`] or [`IfMatch`]; an adapter that gets one keeps to it.

mod error;

use dps_client::management::Verification;
use dps_client::service::{BulkMode, BulkResult};
use dps_client::{Expect, IfMatch};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use pki_core::enrollment::{EnrollmentGroup, IndividualEnrollment, RegistrationState};
use pki_core::hub::HubDevice;
use pki_core::ids::{
    CertificateName, DeviceId, EnrollmentGroupId, Etag, HubHostName, RegistrationId,
};
use pki_core::lifecycle::Found;
use pki_core::management::CaCertificate;

pub use error::{DpsError, PlaneError};

/// What a call to a service ends with.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, DpsError>>;

/// Records, page by page. After an error the stream ends.
pub type Records<'a, T> = BoxStream<'a, Result<T, DpsError>>;

/// How many records a page is wished to have, since calls are limited; the service may give fewer.
pub const PAGE: u32 = 1000;

/// A record of DPS or of a hub, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record<'a> {
    /// A CA certificate.
    Ca(&'a CertificateName),
    /// An enrollment group.
    Group(&'a EnrollmentGroupId),
    /// An individual enrollment.
    Individual(&'a RegistrationId),
    /// A registration record.
    Registration(&'a RegistrationId),
    /// A device identity on a hub.
    HubDevice(&'a HubHostName, &'a DeviceId),
}

/// One DPS instance with its hubs.
pub trait Dps: Send + Sync {
    /// All CA certificates.
    fn list_authorities(&self) -> Answer<'_, Vec<CaCertificate>>;

    /// All enrollment groups.
    fn list_groups(&self) -> Records<'_, EnrollmentGroup>;

    /// All individual enrollments, so many a page.
    fn list_individuals(&self, page: u32) -> Records<'_, IndividualEnrollment>;

    /// The registration records of a group's devices.
    fn list_registrations<'a>(
        &'a self,
        group: &'a EnrollmentGroupId,
    ) -> Records<'a, RegistrationState>;

    /// The hubs that the instance is linked to; none if the plane that knows them is not declared.
    fn linked_hubs(&self) -> Answer<'_, Vec<HubHostName>>;

    /// All device identities of a hub.
    fn list_hub_devices<'a>(&'a self, hub: &'a HubHostName) -> Records<'a, HubDevice>;

    /// Reads a record; what is not there is found to be none.
    fn find<'a>(&'a self, record: Record<'a>) -> Answer<'a, Found>;

    /// Reads a device identity; one that is not there is an error with status 404.
    fn hub_device<'a>(&'a self, hub: &'a HubHostName, id: &'a DeviceId) -> Answer<'a, HubDevice>;

    /// Uploads a CA certificate, given as DER.
    fn put_ca<'a>(
        &'a self,
        name: &'a CertificateName,
        der: &'a [u8],
        verification: Verification,
        expect: &'a Expect,
    ) -> Answer<'a, CaCertificate>;

    /// Has a verification code made for a CA certificate.
    fn verification_code<'a>(
        &'a self,
        name: &'a CertificateName,
        expect: &'a IfMatch,
    ) -> Answer<'a, CaCertificate>;

    /// Has a CA certificate verified by a proof, given as DER.
    fn verify_ca<'a>(
        &'a self,
        name: &'a CertificateName,
        proof: &'a [u8],
        expect: &'a IfMatch,
    ) -> Answer<'a, CaCertificate>;

    /// Makes or replaces a group; returns its tag.
    fn put_group<'a>(
        &'a self,
        group: &'a EnrollmentGroup,
        expect: &'a Expect,
    ) -> Answer<'a, Option<Etag>>;

    /// Makes or replaces an individual enrollment; returns its tag.
    fn put_individual<'a>(
        &'a self,
        enrollment: &'a IndividualEnrollment,
        expect: &'a Expect,
    ) -> Answer<'a, Option<Etag>>;

    /// Makes or replaces several individual enrollments in one call; each may fail by itself.
    fn put_individuals<'a>(
        &'a self,
        mode: BulkMode,
        enrollments: &'a [IndividualEnrollment],
    ) -> Answer<'a, BulkResult>;

    /// Replaces a device identity; returns its tag.
    fn put_hub_device<'a>(
        &'a self,
        hub: &'a HubHostName,
        device: &'a HubDevice,
        expect: &'a IfMatch,
    ) -> Answer<'a, Option<Etag>>;

    /// Deletes a record.
    fn delete<'a>(&'a self, record: Record<'a>, expect: &'a IfMatch) -> Answer<'a, ()>;
}

impl dyn Dps + '_ {
    /// The individual enrollment of a device.
    ///
    /// # Errors
    /// [`DpsError`] if it cannot be read.
    pub async fn individual(
        &self,
        id: &RegistrationId,
    ) -> Result<Option<IndividualEnrollment>, DpsError> {
        Ok(match self.find(Record::Individual(id)).await? {
            Found::Individual(found) => found.map(|found| *found),
            _ => None,
        })
    }

    /// The registration record of a device.
    ///
    /// # Errors
    /// [`DpsError`] if it cannot be read.
    pub async fn registration(
        &self,
        id: &RegistrationId,
    ) -> Result<Option<RegistrationState>, DpsError> {
        Ok(match self.find(Record::Registration(id)).await? {
            Found::Registration(found) => found.map(|found| *found),
            _ => None,
        })
    }

    /// The identity of a device on a hub.
    ///
    /// # Errors
    /// [`DpsError`] if it cannot be read.
    pub async fn identity(
        &self,
        hub: &HubHostName,
        id: &DeviceId,
    ) -> Result<Option<HubDevice>, DpsError> {
        Ok(match self.find(Record::HubDevice(hub, id)).await? {
            Found::HubDevice(found) => found.map(|found| *found),
            _ => None,
        })
    }
}
