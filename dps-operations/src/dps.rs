//! The port to DPS and its hubs: records are found, and written as they were found.
//!
//! [`crate::Planes`] is the adapter over the network; tests have one in memory. The executor knows no other
//! way to a service.
//! Invariant: every write takes an [`Expect`] or [`IfMatch`]; an adapter that gets one keeps to it.

mod error;

use dps_client::management::Verification;
use dps_client::service::{BulkMode, BulkResult};
use dps_client::{Expect, IfMatch};
use futures::future::BoxFuture;
use pki_core::enrollment::{EnrollmentGroup, IndividualEnrollment};
use pki_core::hub::HubDevice;
use pki_core::ids::{
    CertificateName, DeviceId, EnrollmentGroupId, Etag, HubHostName, RegistrationId,
};
use pki_core::lifecycle::Found;
use pki_core::management::CaCertificate;

pub use error::{DpsError, PlaneError};

/// What a call to a service ends with.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, DpsError>>;

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
