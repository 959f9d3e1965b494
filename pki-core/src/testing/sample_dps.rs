//! What one DPS instance holds, as documents that plans are carried out on: the place of the service
//! in tests of planners.
#![expect(
    clippy::expect_used,
    reason = "a test whose plan does not fit what is there has failed"
)]

use crate::admission::DpsView;
use crate::certificate::Certificate;
use crate::enrollment::{EnrollmentGroup, IndividualEnrollment};
use crate::ids::{CertificateName, Etag};
use crate::lifecycle::{Expectation, Plan, Step};
use crate::management::{CaCertificate, CaCertificateProperties};

/// The documents of an instance.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SampleDps {
    /// Its CA certificates.
    pub authorities: Vec<CaCertificate>,
    /// Its groups.
    pub groups: Vec<EnrollmentGroup>,
    /// Its individual enrollments.
    pub individuals: Vec<IndividualEnrollment>,
    writes: u64,
}

impl SampleDps {
    /// Adds a CA certificate.
    pub fn put_ca(&mut self, name: &CertificateName, certificate: &Certificate, is_verified: bool) {
        let etag = self.etag();
        self.authorities.retain(|held| held.name != *name);
        self.authorities.push(CaCertificate {
            name: name.clone(),
            properties: CaCertificateProperties {
                thumbprint: Some(certificate.sha1_thumbprint()),
                certificate: Some(certificate.to_pem()),
                is_verified,
                ..CaCertificateProperties::default()
            },
            etag: Some(etag),
            other: serde_json::Map::new(),
        });
    }

    /// Adds or replaces a group.
    pub fn put_group(&mut self, group: &EnrollmentGroup) {
        let etag = self.etag();
        self.groups
            .retain(|held| held.enrollment_group_id != group.enrollment_group_id);
        self.groups.push(EnrollmentGroup {
            etag: Some(etag),
            ..group.clone()
        });
    }

    /// Adds or replaces an individual enrollment.
    pub fn put_individual(&mut self, entry: &IndividualEnrollment) {
        let etag = self.etag();
        self.individuals
            .retain(|held| held.registration_id != entry.registration_id);
        self.individuals.push(IndividualEnrollment {
            etag: Some(etag),
            ..entry.clone()
        });
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
        match step {
            Step::UploadCa {
                name,
                certificate,
                self_attested,
                expect,
                ..
            } => {
                check(step, expect, self.ca(name));
                let certificate = crate::format::pem::certificate(certificate.as_bytes());
                self.put_ca(name, &certificate.expect("PEM"), *self_attested);
            }
            Step::ProveCa { name, expect, .. } | Step::SubmitProof { name, expect, .. } => {
                check(step, expect, self.ca(name));
                let held = self.authorities.iter_mut().find(|held| held.name == *name);
                held.expect("uploaded").properties.is_verified = true;
            }
            Step::DeleteCa { name, expect, .. } => {
                check(step, expect, self.ca(name));
                self.authorities.retain(|held| held.name != *name);
            }
            Step::PutGroup { group, expect, .. } => {
                let id = &group.enrollment_group_id;
                let held = self
                    .groups
                    .iter()
                    .find(|held| held.enrollment_group_id == *id);
                check(step, expect, held.map(|held| held.etag.as_ref()));
                self.put_group(group);
            }
            Step::DeleteGroup { id, expect } => {
                let held = self
                    .groups
                    .iter()
                    .find(|held| held.enrollment_group_id == *id);
                check(step, expect, held.map(|held| held.etag.as_ref()));
                self.groups.retain(|held| held.enrollment_group_id != *id);
            }
            Step::PutIndividual {
                enrollment, expect, ..
            } => {
                let id = &enrollment.registration_id;
                let held = self
                    .individuals
                    .iter()
                    .find(|held| held.registration_id == *id);
                check(step, expect, held.map(|held| held.etag.as_ref()));
                self.put_individual(enrollment);
            }
            Step::DeleteIndividual {
                registration_id: id,
                expect,
            } => {
                let held = self
                    .individuals
                    .iter()
                    .find(|held| held.registration_id == *id);
                check(step, expect, held.map(|held| held.etag.as_ref()));
                self.individuals.retain(|held| held.registration_id != *id);
            }
            Step::DeleteRegistration { .. }
            | Step::DisableHubDevice { .. }
            | Step::EnableHubDevice { .. }
            | Step::DeleteHubDevice { .. }
            | Step::Revoke { .. }
            | Step::SettleGenerations { .. } => {}
        }
    }

    fn ca(&self, name: &CertificateName) -> Option<Option<&Etag>> {
        let held = self.authorities.iter().find(|held| held.name == *name);
        held.map(|held| held.etag.as_ref())
    }

    fn etag(&mut self) -> Etag {
        self.writes += 1;
        Etag::new(format!("\"{}\"", self.writes))
    }
}

fn check(step: &Step, expect: &Expectation, found: Option<Option<&Etag>>) {
    let fits = match expect {
        Expectation::Absent => found.is_none(),
        Expectation::Etag(etag) => found == Some(Some(etag)),
        Expectation::AsLeftByPlan => found.is_some(),
    };
    assert!(fits, "{step}: expects {expect:?}, found {found:?}");
}
