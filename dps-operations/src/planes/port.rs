//! The port over the network: each call by the client of its plane.

use dps_client::management::{Instance, Verification};
use dps_client::service::{BulkMode, BulkResult};
use dps_client::{Expect, IfMatch};
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use futures::{FutureExt as _, future};
use pki_core::enrollment::{EnrollmentGroup, IndividualEnrollment, RegistrationState};
use pki_core::hub::HubDevice;
use pki_core::ids::{CertificateName, DeviceId, EnrollmentGroupId, Etag, HubHostName};
use pki_core::lifecycle::Found;
use pki_core::management::CaCertificate;

use super::Planes;
use crate::dps::{Answer, Dps, DpsError, PAGE, PlaneError, Record, Records};

impl Dps for Planes<'_> {
    fn list_authorities(&self) -> Answer<'_, Vec<CaCertificate>> {
        async move { Ok(self.certificates()?.list().await?) }.boxed()
    }

    fn list_groups(&self) -> Records<'_, EnrollmentGroup> {
        records(self.groups().map(|groups| groups.list(Some(PAGE))))
    }

    fn list_individuals(&self, page: u32) -> Records<'_, IndividualEnrollment> {
        records(self.individuals().map(|entries| entries.list(Some(page))))
    }

    fn list_registrations<'a>(
        &'a self,
        group: &'a EnrollmentGroupId,
    ) -> Records<'a, RegistrationState> {
        let registrations = self.registrations();
        records(registrations.map(|registrations| registrations.of_group(group, Some(PAGE))))
    }

    fn linked_hubs(&self) -> Answer<'_, Vec<HubHostName>> {
        async move {
            if self.declared.management.is_none() {
                return Ok(vec![]);
            }
            let (plane, id) = self.management()?;
            let instance = Instance::new(plane, id).get().await?;
            let names = instance
                .properties
                .iot_hubs
                .into_iter()
                .filter_map(|hub| hub.name);
            Ok(names.filter_map(|name| name.parse().ok()).collect())
        }
        .boxed()
    }

    fn list_hub_devices<'a>(&'a self, hub: &'a HubHostName) -> Records<'a, HubDevice> {
        records(self.hub(hub).map(|devices| devices.list(PAGE)))
    }

    fn find<'a>(&'a self, record: Record<'a>) -> Answer<'a, Found> {
        read(self, record).boxed()
    }

    fn hub_device<'a>(&'a self, hub: &'a HubHostName, id: &'a DeviceId) -> Answer<'a, HubDevice> {
        async move { Ok(self.hub(hub)?.get(id).await?) }.boxed()
    }

    fn put_ca<'a>(
        &'a self,
        name: &'a CertificateName,
        der: &'a [u8],
        verification: Verification,
        expect: &'a Expect,
    ) -> Answer<'a, CaCertificate> {
        async move {
            let certificates = self.certificates()?;
            Ok(certificates.put(name, der, verification, expect).await?)
        }
        .boxed()
    }

    fn verification_code<'a>(
        &'a self,
        name: &'a CertificateName,
        expect: &'a IfMatch,
    ) -> Answer<'a, CaCertificate> {
        async move {
            let certificates = self.certificates()?;
            Ok(certificates
                .generate_verification_code(name, expect)
                .await?)
        }
        .boxed()
    }

    fn verify_ca<'a>(
        &'a self,
        name: &'a CertificateName,
        proof: &'a [u8],
        expect: &'a IfMatch,
    ) -> Answer<'a, CaCertificate> {
        async move { Ok(self.certificates()?.verify(name, proof, expect).await?) }.boxed()
    }

    fn put_group<'a>(
        &'a self,
        group: &'a EnrollmentGroup,
        expect: &'a Expect,
    ) -> Answer<'a, Option<Etag>> {
        async move { Ok(self.groups()?.put(group, expect).await?.etag) }.boxed()
    }

    fn put_individual<'a>(
        &'a self,
        enrollment: &'a IndividualEnrollment,
        expect: &'a Expect,
    ) -> Answer<'a, Option<Etag>> {
        async move { Ok(self.individuals()?.put(enrollment, expect).await?.etag) }.boxed()
    }

    fn put_individuals<'a>(
        &'a self,
        mode: BulkMode,
        enrollments: &'a [IndividualEnrollment],
    ) -> Answer<'a, BulkResult> {
        async move { Ok(self.individuals()?.bulk(mode, enrollments).await?) }.boxed()
    }

    fn put_hub_device<'a>(
        &'a self,
        hub: &'a HubHostName,
        device: &'a HubDevice,
        expect: &'a IfMatch,
    ) -> Answer<'a, Option<Etag>> {
        async move {
            let expect = Expect::from(expect.clone());
            Ok(self.hub(hub)?.put(device, &expect).await?.etag)
        }
        .boxed()
    }

    fn delete<'a>(&'a self, record: Record<'a>, expect: &'a IfMatch) -> Answer<'a, ()> {
        delete(self, record, expect).boxed()
    }
}

/// The records of a plane that is set up; else why it is not, as their only one.
fn records<T: Send + 'static>(
    opened: Result<BoxStream<'static, Result<T, dps_client::ClientError>>, PlaneError>,
) -> Records<'static, T> {
    match opened {
        Ok(records) => records.map_err(DpsError::from).boxed(),
        Err(error) => stream::once(future::ready(Err(error.into()))).boxed(),
    }
}

async fn read(planes: &Planes<'_>, record: Record<'_>) -> Result<Found, DpsError> {
    Ok(match record {
        Record::Ca(name) => Found::Ca(planes.certificates()?.find(name).await?.map(Box::new)),
        Record::Group(id) => Found::Group(planes.groups()?.find(id).await?.map(Box::new)),
        Record::Individual(id) => {
            Found::Individual(planes.individuals()?.find(id).await?.map(Box::new))
        }
        Record::Registration(id) => {
            Found::Registration(planes.registrations()?.find(id).await?.map(Box::new))
        }
        Record::HubDevice(hub, id) => {
            Found::HubDevice(planes.hub(hub)?.find(id).await?.map(Box::new))
        }
    })
}

async fn delete(planes: &Planes<'_>, record: Record<'_>, expect: &IfMatch) -> Result<(), DpsError> {
    match record {
        Record::Ca(name) => planes.certificates()?.delete(name, expect).await?,
        Record::Group(id) => planes.groups()?.delete(id, expect).await?,
        Record::Individual(id) => planes.individuals()?.delete(id, expect).await?,
        Record::Registration(id) => planes.registrations()?.delete(id, expect).await?,
        Record::HubDevice(hub, id) => planes.hub(hub)?.delete(id, expect).await?,
    }
    Ok(())
}
