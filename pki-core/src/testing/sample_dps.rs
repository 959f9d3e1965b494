//! What one DPS instance holds, as documents that plans are carried out on: the place of the service
//! in tests of planners.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test whose plan does not fit what is there has failed"
)]

use std::collections::HashMap;

use crate::admission::DpsView;
use crate::certificate::{Certificate, pem};
use crate::enrollment::{
    Attestation, CertificateInfo, CertificateSlot, EnrollmentGroup, IndividualEnrollment,
    Mechanism, Slots, X509Certificates,
};
use crate::ids::{CertificateName, Etag};
use crate::lifecycle::{CaAction, CaStep, Expectation, GroupStep, IndividualStep, Plan, Step};
use crate::management::{CaCertificate, CaCertificateProperties};

/// What a service does that nobody knows of the real one: a plan must hold with each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Service {
    /// What it answers in the secondary slot of a record that was given one certificate.
    pub copies: Copies,
    /// Whether it answers with `info` alone, and keeps the certificate of a slot that comes back so.
    pub hides_certificates: bool,
    /// Whether a CA certificate is answered with its thumbprint alone.
    pub hides_authorities: bool,
    /// Whether it takes no group that refers to a CA certificate that is not there.
    pub refuses_dangling: bool,
    /// Whether it deletes no CA certificate that a group refers to.
    pub keeps_referred: bool,
}

/// Where a single certificate is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Copies {
    /// In the slot that it was put into.
    #[default]
    None,
    /// In both; the secondary slot is free all the same.
    Shown,
    /// In both, since both hold it.
    Stored,
}

/// Why a service does not take a write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The record is not as it was expected.
    #[error("{step}: expects {expect:?}, found {found:?}")]
    Conflict {
        /// What was to be done.
        step: String,
        /// What it expects.
        expect: Expectation,
        /// What is there.
        found: Option<Option<Etag>>,
    },
    /// A slot comes with `info` alone and does not hold that certificate.
    #[error("400004: a slot of {0} names a certificate that it does not hold")]
    Slot(String),
    /// A group refers to a CA certificate that is not there.
    #[error("400: enrollment group {group} refers to CA certificate {name}, which is not there")]
    Dangling {
        /// The group.
        group: String,
        /// The name.
        name: CertificateName,
    },
    /// A group refers to the CA certificate that is to be deleted.
    #[error("400: CA certificate {name} is referred to by enrollment group {group}")]
    Referred {
        /// The group.
        group: String,
        /// The name.
        name: CertificateName,
    },
}

/// The documents of an instance.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SampleDps {
    /// Its CA certificates, as it answers them.
    pub authorities: Vec<CaCertificate>,
    /// Its groups, as it answers them.
    pub groups: Vec<EnrollmentGroup>,
    /// Its individual enrollments, as it answers them.
    pub individuals: Vec<IndividualEnrollment>,
    /// What it is like.
    service: Service,
    /// What the records hold, by record, where that is not what is answered.
    held: HashMap<String, Attestation>,
    writes: u64,
}

impl SampleDps {
    /// An empty instance of such a service.
    pub fn of(service: Service) -> Self {
        Self {
            service,
            ..Self::default()
        }
    }

    /// Has the service be like this from now on.
    pub fn becomes(&mut self, service: Service) {
        self.service = service;
    }

    /// What it is like.
    pub fn service(&self) -> Service {
        self.service
    }

    /// Adds a CA certificate.
    pub fn put_ca(&mut self, name: &CertificateName, certificate: &Certificate, is_verified: bool) {
        let etag = self.etag();
        let shown = (!self.service.hides_authorities).then(|| certificate.to_pem());
        self.authorities.retain(|held| held.name != *name);
        self.authorities.push(CaCertificate {
            name: name.clone(),
            properties: CaCertificateProperties {
                thumbprint: Some(certificate.sha1_thumbprint()),
                certificate: shown,
                is_verified,
                ..CaCertificateProperties::default()
            },
            etag: Some(etag),
            other: serde_json::Map::new(),
        });
    }

    /// Adds or replaces a group.
    ///
    /// # Panics
    /// If a slot names a certificate that it does not hold.
    pub fn put_group(&mut self, group: &EnrollmentGroup) {
        self.try_put_group(group).expect("slots that are held");
    }

    /// Adds or replaces an individual enrollment.
    ///
    /// # Panics
    /// If a slot names a certificate that it does not hold.
    pub fn put_individual(&mut self, entry: &IndividualEnrollment) {
        self.try_put_individual(entry).expect("slots that are held");
    }

    fn try_put_group(&mut self, group: &EnrollmentGroup) -> Result<(), Refused> {
        let record = group_key(group.enrollment_group_id.as_str());
        let attestation = self.accept(record, &group.attestation)?;
        let etag = Some(self.etag());
        self.groups
            .retain(|held| held.enrollment_group_id != group.enrollment_group_id);
        self.groups.push(EnrollmentGroup {
            etag,
            attestation,
            ..group.clone()
        });
        Ok(())
    }

    fn try_put_individual(&mut self, entry: &IndividualEnrollment) -> Result<(), Refused> {
        let record = individual_key(entry.registration_id.as_str());
        let attestation = self.accept(record, &entry.attestation)?;
        let etag = Some(self.etag());
        self.individuals
            .retain(|held| held.registration_id != entry.registration_id);
        self.individuals.push(IndividualEnrollment {
            etag,
            attestation,
            ..entry.clone()
        });
        Ok(())
    }

    /// Stores an attestation, and returns it as it is answered.
    fn accept(&mut self, record: String, sent: &Attestation) -> Result<Attestation, Refused> {
        let before = self.held.get(&record);
        let mut stored = sent.clone();
        if let Some(slots) = slots_of(&mut stored) {
            let held = before.cloned();
            let held = held.and_then(|mut held| slots_of(&mut held).cloned());
            let held_in = |choose: fn(&Slots<CertificateSlot>) -> &Option<CertificateSlot>| {
                held.as_ref().and_then(|held| choose(held).clone())
            };
            keep(&record, &mut slots.primary, held_in(|slots| &slots.primary))?;
            keep(
                &record,
                &mut slots.secondary,
                held_in(|slots| &slots.secondary),
            )?;
            if self.service.copies == Copies::Stored && slots.secondary.is_none() {
                slots.secondary.clone_from(&slots.primary);
            }
        }
        self.held.insert(record, stored.clone());
        let mut shown = stored;
        if let Some(slots) = slots_of(&mut shown) {
            if self.service.copies == Copies::Shown && slots.secondary.is_none() {
                slots.secondary.clone_from(&slots.primary);
            }
            if self.service.hides_certificates {
                for slot in slots.primary.iter_mut().chain(&mut slots.secondary) {
                    *slot = described(slot);
                }
            }
        }
        Ok(shown)
    }

    /// What of it decides about devices.
    ///
    /// # Panics
    /// If a document cannot be identified.
    pub fn view(&self) -> DpsView {
        DpsView::from_documents(&self.authorities, &self.groups, &self.individuals)
            .expect("documents that can be told")
    }

    /// Carries out every step of a plan.
    ///
    /// # Panics
    /// If a step expects something else than is there.
    pub fn carry_out(&mut self, plan: &Plan) {
        for step in &plan.steps {
            self.step(step);
        }
    }

    /// Carries out one step; those on hubs and the inventory change nothing here.
    ///
    /// # Panics
    /// If it expects something else than is there.
    pub fn step(&mut self, step: &Step) {
        if let Err(refused) = self.try_step(step) {
            panic!("{refused}");
        }
    }

    /// Carries out one step, or refuses it as the service would.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn try_step(&mut self, step: &Step) -> Result<(), Refused> {
        match step {
            Step::Ca(on) => {
                check(step, &on.expect, self.ca(&on.name))?;
                self.ca_step(on)
            }
            Step::Group(on) => {
                check(step, &on.expect, self.group(on.id().as_str()))?;
                self.group_step(on)
            }
            Step::Individual(on) => {
                check(step, &on.expect, self.individual(on.id().as_str()))?;
                self.individual_step(on)
            }
            Step::Registration(_) | Step::HubDevice(_) | Step::Leaf(_) | Step::Authority(_) => {
                Ok(())
            }
        }
    }

    fn ca_step(&mut self, step: &CaStep) -> Result<(), Refused> {
        let name = &step.name;
        match &step.action {
            CaAction::Upload {
                certificate,
                self_attested,
                ..
            } => {
                let certificate = pem::certificate(certificate.as_bytes()).expect("PEM");
                self.put_ca(name, &certificate, *self_attested);
            }
            CaAction::Prove { .. } | CaAction::Submit { .. } => {
                let etag = self.etag();
                let mut held = self.authorities.iter_mut();
                let held = held.find(|held| held.name == *name).expect("uploaded");
                held.properties.is_verified = true;
                held.etag = Some(etag);
            }
            CaAction::Delete { .. } => {
                self.check_not_referred(name)?;
                self.authorities.retain(|held| held.name != *name);
            }
        }
        Ok(())
    }

    fn group_step(&mut self, step: &GroupStep) -> Result<(), Refused> {
        if let Some(group) = step.document() {
            self.check_references(group)?;
            return self.try_put_group(group);
        }
        let id = step.id();
        self.groups.retain(|held| held.enrollment_group_id != *id);
        self.held.remove(&group_key(id.as_str()));
        Ok(())
    }

    fn individual_step(&mut self, step: &IndividualStep) -> Result<(), Refused> {
        if let Some(entry) = step.document() {
            return self.try_put_individual(entry);
        }
        let id = step.id();
        self.individuals.retain(|held| held.registration_id != *id);
        self.held.remove(&individual_key(id.as_str()));
        Ok(())
    }

    fn check_not_referred(&self, name: &CertificateName) -> Result<(), Refused> {
        let refers = |group: &&EnrollmentGroup| match &group.attestation.mechanism {
            Mechanism::X509(X509Certificates::CaReferences(slots)) => {
                slots.iter().any(|held| held == name)
            }
            _ => false,
        };
        match self.groups.iter().find(refers) {
            Some(group) if self.service.keeps_referred => Err(Refused::Referred {
                group: group.enrollment_group_id.to_string(),
                name: name.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn check_references(&self, group: &EnrollmentGroup) -> Result<(), Refused> {
        let Mechanism::X509(X509Certificates::CaReferences(slots)) = &group.attestation.mechanism
        else {
            return Ok(());
        };
        let mut names = slots.iter();
        match names.find(|name| self.service.refuses_dangling && self.ca(name).is_none()) {
            None => Ok(()),
            Some(name) => Err(Refused::Dangling {
                group: group.enrollment_group_id.to_string(),
                name: name.clone(),
            }),
        }
    }

    fn ca(&self, name: &CertificateName) -> Option<Option<&Etag>> {
        let held = self.authorities.iter().find(|held| held.name == *name);
        held.map(|held| held.etag.as_ref())
    }

    fn group(&self, id: &str) -> Option<Option<&Etag>> {
        let held = self
            .groups
            .iter()
            .find(|held| held.enrollment_group_id.as_str().eq_ignore_ascii_case(id));
        held.map(|held| held.etag.as_ref())
    }

    fn individual(&self, id: &str) -> Option<Option<&Etag>> {
        let held = self
            .individuals
            .iter()
            .find(|held| held.registration_id.as_str().eq_ignore_ascii_case(id));
        held.map(|held| held.etag.as_ref())
    }

    fn etag(&mut self) -> Etag {
        self.writes += 1;
        Etag::new(format!("\"{}\"", self.writes))
    }
}

fn group_key(id: &str) -> String {
    format!("group {}", id.to_ascii_lowercase())
}

fn individual_key(id: &str) -> String {
    format!("individual {}", id.to_ascii_lowercase())
}

fn slots_of(attestation: &mut Attestation) -> Option<&mut Slots<CertificateSlot>> {
    match &mut attestation.mechanism {
        Mechanism::X509(X509Certificates::Client(slots) | X509Certificates::Signing(slots)) => {
            Some(slots)
        }
        _ => None,
    }
}

/// A slot that comes with `info` alone keeps the certificate that it holds.
fn keep(
    record: &str,
    sent: &mut Option<CertificateSlot>,
    held: Option<CertificateSlot>,
) -> Result<(), Refused> {
    let Some(slot) = sent.as_ref().filter(|slot| slot.certificate.is_none()) else {
        return Ok(());
    };
    match held {
        Some(held) if held.sha256_thumbprint() == slot.sha256_thumbprint() => {
            *sent = Some(held);
            Ok(())
        }
        _ => Err(Refused::Slot(record.to_owned())),
    }
}

/// A slot as a service describes it that hides certificates.
fn described(slot: &CertificateSlot) -> CertificateSlot {
    let text = slot.certificate.as_deref();
    let read = text.and_then(pem::certificate_in_json);
    CertificateSlot {
        certificate: None,
        info: read.as_ref().map(CertificateInfo::of),
        ..slot.clone()
    }
}

fn check(step: &Step, expect: &Expectation, found: Option<Option<&Etag>>) -> Result<(), Refused> {
    let fits = match expect {
        Expectation::Absent => found.is_none(),
        Expectation::Etag(etag) => found == Some(Some(etag)),
        Expectation::AsLeftByPlan(_) => found.is_some(),
    };
    if fits {
        return Ok(());
    }
    Err(Refused::Conflict {
        step: step.to_string(),
        expect: expect.clone(),
        found: found.map(|tag| tag.cloned()),
    })
}
