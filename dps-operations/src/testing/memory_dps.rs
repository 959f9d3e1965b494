//! A DPS with its hubs in memory, behind the port: records with tags, and a service that fails when it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dps_client::management::Verification;
use dps_client::service::{BulkError, BulkMode, BulkResult};
use dps_client::{Expect, IfMatch};
use futures::stream::{self, StreamExt as _};
use futures::{FutureExt as _, TryFutureExt as _};
use pki_core::certificate::{Certificate, pem};
use pki_core::enrollment::{
    Attestation, EnrollmentGroup, ErrorCode, IndividualEnrollment, Mechanism, RegistrationState,
    X509Certificates,
};
use pki_core::hub::HubDevice;
use pki_core::ids::{
    CertificateName, DeviceId, EnrollmentGroupId, Etag, HubHostName, VerificationCode,
};
use pki_core::lifecycle::Found;
use pki_core::management::{CaCertificate, CaCertificateProperties};
use pki_core::wording::counted;

use crate::dps::{Answer, Dps, DpsError, Record, Records};

/// What a service does instead of answering as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It answers with this status, and does nothing.
    Status(u16),
    /// It does nothing, and its answer is lost.
    LostBefore,
    /// It does what was asked, and its answer is lost.
    LostAfter,
}

/// Watches the calls to a [`MemoryDps`], and tells which go wrong.
pub trait Calls: Send + Sync {
    /// A call is about to reach the service.
    fn before(&self, is_write: bool) -> Option<Fault>;

    /// An answer is about to arrive.
    fn after(&self);
}

/// Every call goes well.
#[derive(Debug, Clone, Copy, Default)]
pub struct Smooth;

impl Calls for Smooth {
    fn before(&self, _: bool) -> Option<Fault> {
        None
    }

    fn after(&self) {}
}

/// What an instance and its hubs hold.
#[derive(Clone)]
pub struct MemoryDps {
    records: Arc<Mutex<State>>,
    calls: Arc<dyn Calls>,
}

#[derive(Debug, Clone, Default)]
struct State {
    authorities: BTreeMap<String, (CaCertificate, Certificate)>,
    groups: BTreeMap<String, EnrollmentGroup>,
    individuals: BTreeMap<String, IndividualEnrollment>,
    registrations: BTreeMap<String, RegistrationState>,
    devices: BTreeMap<(String, String), HubDevice>,
    /// By device, the group that has registered it.
    members: BTreeMap<String, EnrollmentGroupId>,
    linked: Vec<HubHostName>,
    silent: Vec<HubHostName>,
    writes: u64,
}

impl MemoryDps {
    /// An empty instance whose calls are watched.
    pub fn new(calls: Arc<dyn Calls>) -> Self {
        Self {
            records: Arc::default(),
            calls,
        }
    }

    /// A device has registered: DPS has a record of it.
    pub fn put_registration(&self, record: RegistrationState) {
        let mut records = self.records();
        let etag = Some(records.tag());
        let key = record.registration_id.as_str().to_ascii_lowercase();
        let record = RegistrationState { etag, ..record };
        records.registrations.insert(key, record);
    }

    /// The same by a group, whose list it is on from now on.
    pub fn put_registration_by(&self, group: &EnrollmentGroupId, record: RegistrationState) {
        let key = record.registration_id.as_str().to_ascii_lowercase();
        self.put_registration(record);
        self.records().members.insert(key, group.clone());
    }

    /// The instance is linked to a hub.
    pub fn link(&self, hub: &HubHostName) {
        self.records().linked.push(hub.clone());
    }

    /// A hub answers nobody from now on, or again.
    pub fn set_silent(&self, hub: &HubHostName, is_silent: bool) {
        let mut records = self.records();
        records.silent.retain(|other| other != hub);
        if is_silent {
            records.silent.push(hub.clone());
        }
    }

    /// Somebody else writes a CA certificate's state: it is verified.
    pub fn put_verified(&self, name: &CertificateName, certificate: &Certificate) {
        let mut records = self.records();
        let held = CaCertificate {
            name: name.clone(),
            properties: CaCertificateProperties {
                thumbprint: Some(certificate.sha1_thumbprint()),
                certificate: Some(certificate.to_pem()),
                is_verified: true,
                ..CaCertificateProperties::default()
            },
            etag: Some(records.tag()),
            other: serde_json::Map::new(),
        };
        let key = name.as_str().to_ascii_lowercase();
        records.authorities.insert(key, (held, certificate.clone()));
    }

    /// A device has registered: a hub has its identity.
    pub fn put_identity(&self, hub: &HubHostName, device: HubDevice) {
        let mut records = self.records();
        let etag = Some(records.tag());
        let key = device_key(hub, &device.device_id);
        records.devices.insert(key, HubDevice { etag, ..device });
    }

    /// Somebody else writes a group.
    pub fn overwrite_group(&self, group: EnrollmentGroup) {
        let mut records = self.records();
        let etag = Some(records.tag());
        let key = group.enrollment_group_id.as_str().to_ascii_lowercase();
        records
            .groups
            .insert(key, EnrollmentGroup { etag, ..group });
    }

    /// Somebody else writes an individual enrollment.
    pub fn overwrite_individual(&self, entry: IndividualEnrollment) {
        let mut records = self.records();
        let etag = Some(records.tag());
        let key = entry.registration_id.as_str().to_ascii_lowercase();
        records
            .individuals
            .insert(key, IndividualEnrollment { etag, ..entry });
    }

    /// All of it without tags, to be compared.
    pub fn dump(&self) -> Vec<String> {
        let records = self.records();
        let mut dump = Vec::new();
        for (held, _) in records.authorities.values() {
            let verified = held.properties.is_verified;
            dump.push(format!("ca {} verified: {verified}", held.name));
        }
        for held in records.groups.values() {
            let status = &held.provisioning_status;
            let held_in_slots = slots(&held.attestation);
            dump.push(format!(
                "group {} {status:?} by {held_in_slots}",
                held.enrollment_group_id
            ));
        }
        for held in records.individuals.values() {
            let status = &held.provisioning_status;
            let held_in_slots = slots(&held.attestation);
            dump.push(format!(
                "individual {} {status:?} by {held_in_slots}",
                held.registration_id
            ));
        }
        for held in records.registrations.values() {
            dump.push(format!("registration {}", held.registration_id));
        }
        for ((hub, id), held) in &records.devices {
            dump.push(format!("device {id} on {hub} {:?}", held.status));
        }
        dump
    }

    fn records(&self) -> MutexGuard<'_, State> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call<'a, T: Send + 'a>(
        &'a self,
        is_write: bool,
        act: impl FnOnce(&mut State) -> Result<T, DpsError> + Send + 'a,
    ) -> Answer<'a, T> {
        async move {
            let answer = match self.calls.before(is_write) {
                None => act(&mut self.records()),
                Some(Fault::Status(status)) => Err(answered(status, "bad luck")),
                Some(Fault::LostBefore) => Err(DpsError::Lost),
                Some(Fault::LostAfter) => act(&mut self.records()).and(Err(DpsError::Lost)),
            };
            self.calls.after();
            answer
        }
        .boxed()
    }
}

impl State {
    /// Fails for a hub that answers nobody.
    fn hear(&self, hub: &HubHostName) -> Result<(), DpsError> {
        if self.silent.contains(hub) {
            Err(answered(503, "nobody answers"))
        } else {
            Ok(())
        }
    }

    /// The tag of what is written next.
    fn tag(&mut self) -> Etag {
        self.writes += 1;
        Etag::new(format!("\"{}\"", self.writes))
    }

    fn put_individual(
        &mut self,
        entry: &IndividualEnrollment,
        expect: &Expect,
    ) -> Result<Etag, DpsError> {
        let key = entry.registration_id.as_str().to_ascii_lowercase();
        let held = self.individuals.get(&key);
        check(held.map(|held| held.etag.as_ref()), expect)?;
        let etag = self.tag();
        let written = IndividualEnrollment {
            etag: Some(etag.clone()),
            ..entry.clone()
        };
        self.individuals.insert(key, written);
        Ok(etag)
    }

    fn ca(
        &mut self,
        name: &CertificateName,
        expect: &IfMatch,
    ) -> Result<&mut (CaCertificate, Certificate), DpsError> {
        let held = self
            .authorities
            .get_mut(&name.as_str().to_ascii_lowercase())
            .ok_or_else(|| answered(404, "there is no such CA certificate"))?;
        check(Some(held.0.etag.as_ref()), &Expect::from(expect.clone()))?;
        Ok(held)
    }
}

/// Whether a record is as a write expects it.
fn check(held: Option<Option<&Etag>>, expect: &Expect) -> Result<(), DpsError> {
    match (held, expect) {
        (None, Expect::Absent) | (Some(_), Expect::Any) => Ok(()),
        (Some(_), Expect::Absent) => Err(answered(409, "it exists already")),
        (Some(held), Expect::Etag(etag)) if held == Some(etag) => Ok(()),
        (Some(_), Expect::Etag(_)) => Err(answered(412, "its tag is another one")),
        (None, _) => Err(answered(404, "there is none")),
    }
}

fn answered(status: u16, message: &str) -> DpsError {
    DpsError::Answered {
        status,
        message: message.to_owned(),
    }
}

fn device_key(hub: &HubHostName, id: &DeviceId) -> (String, String) {
    (hub.to_string(), id.to_string())
}

impl MemoryDps {
    /// A list in one page.
    fn list<'a, T: Send + 'a>(
        &'a self,
        read: impl FnOnce(&mut State) -> Result<Vec<T>, DpsError> + Send + 'a,
    ) -> Records<'a, T> {
        let page = self.call(false, read);
        page.map_ok(|page| stream::iter(page.into_iter().map(Ok)))
            .try_flatten_stream()
            .boxed()
    }
}

impl Dps for MemoryDps {
    fn list_authorities(&self) -> Answer<'_, Vec<CaCertificate>> {
        self.call(false, |records| {
            let held = records.authorities.values();
            Ok(held.map(|(held, _)| held.clone()).collect())
        })
    }

    fn list_groups(&self) -> Records<'_, EnrollmentGroup> {
        self.list(|records| Ok(records.groups.values().cloned().collect()))
    }

    fn list_individuals(&self, _: u32) -> Records<'_, IndividualEnrollment> {
        self.list(|records| Ok(records.individuals.values().cloned().collect()))
    }

    fn list_registrations<'a>(
        &'a self,
        group: &'a EnrollmentGroupId,
    ) -> Records<'a, RegistrationState> {
        self.list(move |records| {
            let of_group = |key: &&String| records.members.get(*key) == Some(group);
            let keys = records.registrations.keys().filter(of_group);
            Ok(keys.map(|key| records.registrations[key].clone()).collect())
        })
    }

    fn linked_hubs(&self) -> Answer<'_, Vec<HubHostName>> {
        self.call(false, |records| Ok(records.linked.clone()))
    }

    fn list_hub_devices<'a>(&'a self, hub: &'a HubHostName) -> Records<'a, HubDevice> {
        self.list(move |records| {
            records.hear(hub)?;
            let devices = records.devices.iter();
            let here = devices.filter(|((on, _), _)| on == hub.as_str());
            Ok(here.map(|(_, device)| device.clone()).collect())
        })
    }

    fn find<'a>(&'a self, record: Record<'a>) -> Answer<'a, Found> {
        self.call(false, move |records| {
            Ok(match record {
                Record::Ca(name) => {
                    let held = records.authorities.get(&name.as_str().to_ascii_lowercase());
                    Found::Ca(held.map(|(held, _)| Box::new(held.clone())))
                }
                Record::Group(id) => {
                    let held = records.groups.get(&id.as_str().to_ascii_lowercase());
                    Found::Group(held.cloned().map(Box::new))
                }
                Record::Individual(id) => {
                    let held = records.individuals.get(&id.as_str().to_ascii_lowercase());
                    Found::Individual(held.cloned().map(Box::new))
                }
                Record::Registration(id) => {
                    let held = records.registrations.get(&id.as_str().to_ascii_lowercase());
                    Found::Registration(held.cloned().map(Box::new))
                }
                Record::HubDevice(hub, id) => {
                    records.hear(hub)?;
                    let held = records.devices.get(&device_key(hub, id));
                    Found::HubDevice(held.cloned().map(Box::new))
                }
            })
        })
    }

    fn hub_device<'a>(&'a self, hub: &'a HubHostName, id: &'a DeviceId) -> Answer<'a, HubDevice> {
        self.call(false, move |records| {
            records.hear(hub)?;
            let held = records.devices.get(&device_key(hub, id));
            held.cloned()
                .ok_or_else(|| answered(404, "there is no such device"))
        })
    }

    fn put_ca<'a>(
        &'a self,
        name: &'a CertificateName,
        der: &'a [u8],
        verification: Verification,
        _: &'a Expect,
    ) -> Answer<'a, CaCertificate> {
        self.call(true, move |records| {
            let certificate =
                pem::certificate(der).map_err(|_| answered(400, "it is no certificate"))?;
            let held = CaCertificate {
                name: name.clone(),
                properties: CaCertificateProperties {
                    thumbprint: Some(certificate.sha1_thumbprint()),
                    is_verified: verification == Verification::SelfAttestation,
                    ..CaCertificateProperties::default()
                },
                etag: Some(records.tag()),
                other: serde_json::Map::new(),
            };
            let key = name.as_str().to_ascii_lowercase();
            records.authorities.insert(key, (held.clone(), certificate));
            Ok(held)
        })
    }

    fn verification_code<'a>(
        &'a self,
        name: &'a CertificateName,
        expect: &'a IfMatch,
    ) -> Answer<'a, CaCertificate> {
        self.call(true, move |records| {
            let etag = records.tag();
            let code = format!("{:0>48}", records.writes);
            let (held, _) = records.ca(name, expect)?;
            held.etag = Some(etag);
            let code: VerificationCode = code.parse().map_err(|_| answered(500, "no code"))?;
            held.properties.verification_code = Some(code);
            Ok(held.clone())
        })
    }

    fn verify_ca<'a>(
        &'a self,
        name: &'a CertificateName,
        proof: &'a [u8],
        expect: &'a IfMatch,
    ) -> Answer<'a, CaCertificate> {
        self.call(true, move |records| {
            let proof = pem::certificate(proof).map_err(|_| answered(400, "it is no proof"))?;
            let etag = records.tag();
            let (held, certificate) = records.ca(name, expect)?;
            let code = held.properties.verification_code.take();
            let is_over_code =
                code.is_some_and(|code| proof.common_name().as_deref() == Some(code.as_str()));
            if !is_over_code || !proof.is_issued_by(certificate) {
                return Err(answered(400, "the proof does not prove it"));
            }
            held.etag = Some(etag);
            held.properties.is_verified = true;
            Ok(held.clone())
        })
    }

    fn put_group<'a>(
        &'a self,
        group: &'a EnrollmentGroup,
        expect: &'a Expect,
    ) -> Answer<'a, Option<Etag>> {
        self.call(true, move |records| {
            let key = group.enrollment_group_id.as_str().to_ascii_lowercase();
            let held = records.groups.get(&key);
            check(held.map(|held| held.etag.as_ref()), expect)?;
            let etag = Some(records.tag());
            let written = EnrollmentGroup {
                etag: etag.clone(),
                ..group.clone()
            };
            records.groups.insert(key, written);
            Ok(etag)
        })
    }

    fn put_individual<'a>(
        &'a self,
        enrollment: &'a IndividualEnrollment,
        expect: &'a Expect,
    ) -> Answer<'a, Option<Etag>> {
        self.call(true, move |records| {
            records.put_individual(enrollment, expect).map(Some)
        })
    }

    fn put_individuals<'a>(
        &'a self,
        mode: BulkMode,
        enrollments: &'a [IndividualEnrollment],
    ) -> Answer<'a, BulkResult> {
        self.call(true, move |records| {
            let mut errors = Vec::new();
            for entry in enrollments {
                let expect = match (mode, &entry.etag) {
                    (BulkMode::UpdateIfMatchEtag, Some(etag)) => Expect::Etag(etag.clone()),
                    _ => Expect::Absent,
                };
                if let Err(error) = records.put_individual(entry, &expect) {
                    let status = error.status().map_or(500, u32::from);
                    errors.push(BulkError {
                        id: entry.registration_id.to_string(),
                        error_code: Some(ErrorCode::Number(status * 1000 + 201)),
                        error_status: Some(error.to_string()),
                    });
                }
            }
            Ok(BulkResult {
                is_successful: errors.is_empty(),
                errors,
            })
        })
    }

    fn put_hub_device<'a>(
        &'a self,
        hub: &'a HubHostName,
        device: &'a HubDevice,
        expect: &'a IfMatch,
    ) -> Answer<'a, Option<Etag>> {
        self.call(true, move |records| {
            records.hear(hub)?;
            let key = device_key(hub, &device.device_id);
            let held = records.devices.get(&key);
            check(
                held.map(|held| held.etag.as_ref()),
                &Expect::from(expect.clone()),
            )?;
            let etag = Some(records.tag());
            let written = HubDevice {
                etag: etag.clone(),
                ..device.clone()
            };
            records.devices.insert(key, written);
            Ok(etag)
        })
    }

    fn delete<'a>(&'a self, record: Record<'a>, expect: &'a IfMatch) -> Answer<'a, ()> {
        self.call(true, move |records| {
            let expect = Expect::from(expect.clone());
            match record {
                Record::Ca(name) => {
                    let key = name.as_str().to_ascii_lowercase();
                    let tag = |held: &(CaCertificate, Certificate)| held.0.etag.clone();
                    remove(&mut records.authorities, &key, tag, &expect)
                }
                Record::Group(id) => {
                    let key = id.as_str().to_ascii_lowercase();
                    remove(&mut records.groups, &key, |held| held.etag.clone(), &expect)
                }
                Record::Individual(id) => {
                    let key = id.as_str().to_ascii_lowercase();
                    remove(
                        &mut records.individuals,
                        &key,
                        |held| held.etag.clone(),
                        &expect,
                    )
                }
                Record::Registration(id) => {
                    let key = id.as_str().to_ascii_lowercase();
                    remove(
                        &mut records.registrations,
                        &key,
                        |held| held.etag.clone(),
                        &expect,
                    )
                }
                Record::HubDevice(hub, id) => {
                    let key = device_key(hub, id);
                    remove(
                        &mut records.devices,
                        &key,
                        |held| held.etag.clone(),
                        &expect,
                    )
                }
            }
        })
    }
}

fn remove<K: Ord, T>(
    records: &mut BTreeMap<K, T>,
    key: &K,
    tag: impl Fn(&T) -> Option<Etag>,
    expect: &Expect,
) -> Result<(), DpsError> {
    let held = records.get(key).map(tag);
    check(held.as_ref().map(Option::as_ref), expect)?;
    records.remove(key);
    Ok(())
}

/// What an entry recognises devices by: the names of CAs, or how many certificates.
fn slots(attestation: &Attestation) -> String {
    match &attestation.without_copies().mechanism {
        Mechanism::X509(X509Certificates::CaReferences(slots)) => {
            let names: Vec<&str> = slots.iter().map(CertificateName::as_str).collect();
            names.join(" and ")
        }
        Mechanism::X509(X509Certificates::Client(slots) | X509Certificates::Signing(slots)) => {
            counted(slots.iter().count(), "certificate", "certificates")
        }
        _ => "keys".to_owned(),
    }
}
