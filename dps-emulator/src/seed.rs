//! What an instance holds, as a document: to start from, and to look at.
//!
//! Certificates, groups and enrollments are written as the planes write them, so that a document can
//! be made from answers of the real service or by hand. [`Seed::of`] gives one that makes the same
//! instance elsewhere; it holds keys. Registrations come with the entry that decided, which the service
//! does not tell.
//! What is there already is left as it is: sowing twice is sowing once.

use std::collections::BTreeMap;

use pki_core::certificate::pem;
use pki_core::enrollment::{EnrollmentGroup, IndividualEnrollment};
use pki_core::hub::HubDevice;
use pki_core::ids::{CertificateName, HubHostName, RegistrationId};
use serde::{Deserialize, Serialize};

use crate::domain::Dps;
use crate::domain::authority::Upload;
use crate::domain::enrollment::Document;
use crate::error::ServiceError;
use crate::store::hub::{Device, Twin};
use crate::store::registration::Registration;
use crate::store::{IfMatch, Precondition};

/// What an instance starts with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Seed {
    certificates: Vec<SeedCertificate>,
    enrollment_groups: Vec<EnrollmentGroup>,
    enrollments: Vec<IndividualEnrollment>,
    registrations: Vec<SeedRegistration>,
    /// By the names of hubs, which must be linked.
    hubs: BTreeMap<HubHostName, Vec<SeedDevice>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SeedCertificate {
    name: CertificateName,
    /// PEM, or base64 of DER or PEM.
    certificate: String,
    #[serde(default)]
    is_verified: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SeedRegistration {
    registration_id: RegistrationId,
    #[serde(flatten)]
    registration: Registration,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SeedDevice {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    twin: Option<Twin>,
    #[serde(flatten)]
    document: HubDevice,
}

/// How many records a seed brought that were not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sown {
    /// CA certificates.
    pub certificates: usize,
    /// Enrollment groups.
    pub enrollment_groups: usize,
    /// Individual enrollments.
    pub enrollments: usize,
    /// Registration records.
    pub registrations: usize,
    /// Devices of hubs.
    pub devices: usize,
}

/// Why a seed did not go in.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct SeedError {
    place: String,
    problem: String,
}

impl SeedError {
    fn new(kind: &str, name: impl ToString, problem: impl ToString) -> Self {
        Self {
            place: format!("{kind} {:?}", name.to_string()),
            problem: problem.to_string(),
        }
    }
}

impl Seed {
    /// Everything that an instance holds.
    pub(crate) fn of(dps: &Dps) -> Self {
        let resource = dps.resource();
        let mut store = dps.store();
        let certificates = store
            .authorities()
            .iter()
            .map(|(name, record)| SeedCertificate {
                name: name.clone(),
                certificate: record.value.certificate.to_pem(),
                is_verified: record.value.is_verified,
            });
        let certificates = certificates.collect();
        let enrollment_groups = store
            .groups()
            .iter()
            .map(|(_, record)| record.value.clone())
            .collect();
        let enrollments = store
            .individuals()
            .iter()
            .map(|(_, record)| record.value.clone())
            .collect();
        let registrations = store
            .registrations()
            .iter()
            .map(|(id, record)| SeedRegistration {
                registration_id: id.clone(),
                registration: record.value.clone(),
            });
        let registrations = registrations.collect();
        let hubs = resource.hubs.iter().map(|hub| {
            let devices = store
                .registry(&hub.host_name)
                .iter()
                .map(|record| SeedDevice {
                    document: record.value.document.clone(),
                    twin: Some(record.value.twin.clone()),
                });
            (hub.host_name.clone(), devices.collect())
        });
        Self {
            certificates,
            enrollment_groups,
            enrollments,
            registrations,
            hubs: hubs.collect(),
        }
    }

    /// Puts everything in that is not there yet, by the rules of the planes.
    pub(crate) fn sow(self, dps: &Dps) -> Result<Sown, SeedError> {
        let mut sown = Sown::default();
        for certificate in &self.certificates {
            let was_new = certificate
                .sow(dps)
                .map_err(|problem| SeedError::new("certificates", &certificate.name, problem))?;
            sown.certificates += usize::from(was_new);
        }
        sown.enrollment_groups = sow_all(dps, self.enrollment_groups)?;
        sown.enrollments = sow_all(dps, self.enrollments)?;
        for (hub, devices) in self.hubs {
            if !dps.is_linked(&hub) {
                return Err(SeedError::new("hubs", &hub, "this hub is not linked"));
            }
            for device in devices {
                sown.devices += usize::from(device.sow(dps, &hub)?);
            }
        }
        for one in self.registrations {
            let id = one.registration_id.clone();
            let was_new = dps.change(|store| {
                let is_new = store.registrations().get(&id).is_none();
                if is_new {
                    store.put_registration(&id, one.registration, dps.now());
                }
                Ok(is_new)
            });
            let was_new =
                was_new.map_err(|problem| SeedError::new("registrations", &id, problem))?;
            sown.registrations += usize::from(was_new);
        }
        Ok(sown)
    }
}

impl SeedCertificate {
    fn sow(&self, dps: &Dps) -> Result<bool, ServiceError> {
        if dps.store().authorities().get(&self.name).is_some() {
            return Ok(false);
        }
        let certificate = pem::certificate_in_json(&self.certificate).ok_or_else(|| {
            ServiceError::ArgumentInvalid("it holds no certificate that can be read".to_owned())
        })?;
        let upload = Upload {
            certificate,
            text: self.certificate.clone(),
            attested: self.is_verified,
        };
        dps.put_authority(&self.name, upload, IfMatch::Absent)?;
        Ok(true)
    }
}

impl SeedDevice {
    fn sow(self, dps: &Dps, hub: &HubHostName) -> Result<bool, SeedError> {
        let id = self.document.device_id.clone();
        match dps.put_device(hub, self.document, &Precondition::Absent) {
            Ok(_) => {}
            Err(ServiceError::DeviceAlreadyExists(_)) => return Ok(false),
            Err(problem) => return Err(SeedError::new("hubs", id, problem)),
        }
        let Some(twin) = self.twin else {
            return Ok(true);
        };
        let written = dps.change(|store| {
            let device = store.registry(hub).device_mut(&id);
            if let Some(Device { twin: present, .. }) = device {
                *present = twin;
            }
            Ok(true)
        });
        written.map_err(|problem| SeedError::new("hubs", &id, problem))
    }
}

fn sow_all<D: Document>(dps: &Dps, documents: Vec<D>) -> Result<usize, SeedError> {
    let mut count = 0;
    for document in documents {
        let id = document.id().clone();
        match dps.sow_enrollment(document) {
            Ok(_) => count += 1,
            Err(error) if error == D::conflict() => {}
            Err(problem) => return Err(SeedError::new(D::COLLECTION, id, problem)),
        }
    }
    Ok(count)
}
