//! Sends one step, or several in one call, and reads back what a step is about.

use std::collections::BTreeMap;

use dps_client::management::Verification;
use dps_client::service::{BulkError, BulkMode};
use dps_client::{Expect, IfMatch};
use pki_core::certificate::pem;
use pki_core::crl::RevocationReason;
use pki_core::delivery;
use pki_core::enrollment::IndividualEnrollment;
use pki_core::hub::{HubDevice, HubDeviceStatus};
use pki_core::ids::{
    AuthorityName, CertificateName, DeviceId, Etag, HubHostName, SerialNumber, Sha1Thumbprint,
    Sha256Thumbprint,
};
use pki_core::inventory::Status;
use pki_core::key::software::SoftwareKeyGenerator;
use pki_core::lifecycle::{
    AuthorityStep, CaAction, CaStep, Expectation, Found, GroupStep, HubDeviceAction, HubDeviceStep,
    IndividualStep, Step,
};
use pki_core::management::CaCertificate;

use super::{Engine, StepError};
use crate::dps::Record;
use crate::proof::{OpenGeneration, ProofError};

impl Engine<'_> {
    /// Sends a step with what it expects to find, and returns the tag that it left.
    pub(super) async fn send(
        &mut self,
        step: &Step,
        expect: &Expectation,
    ) -> Result<Option<Etag>, StepError> {
        match step {
            Step::Ca(step) => self.send_ca(step, expect).await,
            Step::Group(step) => self.send_group(step, expect).await,
            Step::Individual(step) => self.send_individual(step, expect).await,
            Step::Registration(step) => {
                let record = Record::Registration(&step.registration_id);
                self.delete(record, expect).await
            }
            Step::HubDevice(step) => self.send_to_hub(step, expect).await,
            Step::Leaf(step) => self.revoke(&step.sha256_thumbprint),
            Step::Authority(AuthorityStep {
                authority, changes, ..
            }) => {
                let now = self.clock.now();
                self.journal.settle_generations(authority, changes, now)?;
                Ok(None)
            }
        }
    }

    async fn send_ca(
        &mut self,
        step: &CaStep,
        expect: &Expectation,
    ) -> Result<Option<Etag>, StepError> {
        let name = &step.name;
        match &step.action {
            CaAction::Upload {
                certificate,
                self_attested,
                ..
            } => self.upload(name, certificate, *self_attested, expect).await,
            CaAction::Prove { authority } => {
                let proven = &step.sha1_thumbprint;
                self.prove(name, authority, proven, expect).await
            }
            CaAction::Submit { proof } => {
                let proof = pem::certificate(proof.as_bytes())?;
                let expect = if_match(expect)?;
                let verified = self.dps.verify_ca(name, proof.der(), &expect).await?;
                verified_tag(name, verified)
            }
            CaAction::Delete { .. } => self.delete(Record::Ca(name), expect).await,
        }
    }

    async fn send_group(
        &self,
        step: &GroupStep,
        expect: &Expectation,
    ) -> Result<Option<Etag>, StepError> {
        match step.document() {
            Some(group) => Ok(self.dps.put_group(group, &written(expect)?).await?),
            None => self.delete(Record::Group(step.id()), expect).await,
        }
    }

    async fn send_individual(
        &self,
        step: &IndividualStep,
        expect: &Expectation,
    ) -> Result<Option<Etag>, StepError> {
        match step.document() {
            Some(entry) => Ok(self.dps.put_individual(entry, &written(expect)?).await?),
            None => self.delete(Record::Individual(step.id()), expect).await,
        }
    }

    async fn send_to_hub(
        &self,
        step: &HubDeviceStep,
        expect: &Expectation,
    ) -> Result<Option<Etag>, StepError> {
        let HubDeviceStep { hub, device_id, .. } = step;
        match &step.action {
            HubDeviceAction::Disable { reason } => {
                let reason = Some(reason.clone()).filter(|reason| !reason.is_empty());
                let disabled = (HubDeviceStatus::Disabled, reason);
                self.set_on_hub(hub, device_id, disabled, expect).await
            }
            HubDeviceAction::Enable => {
                let enabled = (HubDeviceStatus::Enabled, None);
                self.set_on_hub(hub, device_id, enabled, expect).await
            }
            HubDeviceAction::Delete => {
                let record = Record::HubDevice(hub, device_id);
                self.delete(record, expect).await
            }
        }
    }

    async fn delete(
        &self,
        record: Record<'_>,
        expect: &Expectation,
    ) -> Result<Option<Etag>, StepError> {
        self.dps.delete(record, &if_match(expect)?).await?;
        Ok(None)
    }

    /// Sends several new or several changed entries in one call; each may fail by itself.
    pub(super) async fn send_together(
        &mut self,
        steps: &[(&Step, &Expectation)],
    ) -> Result<Vec<Result<Option<Etag>, StepError>>, StepError> {
        let mut entries = Vec::<IndividualEnrollment>::new();
        let mut mode = BulkMode::Create;
        for (step, expect) in steps {
            let document = match step {
                Step::Individual(step) => step.document(),
                _ => None,
            };
            let Some(document) = document else {
                let step = step.to_string();
                return Err(StepError::NotTogether { step });
            };
            let mut entry = document.clone();
            if let Expectation::Etag(etag) = expect {
                // The service takes one mode for a call: new and changed entries come in calls of their own.
                mode = BulkMode::UpdateIfMatchEtag;
                entry.etag = Some(etag.clone());
            }
            entries.push(entry);
        }
        let result = self.dps.put_individuals(mode, &entries).await?;
        let mut errors = BTreeMap::<String, BulkError>::new();
        for error in result.errors {
            // Of several about one entry the first counts.
            errors.entry(error.id.to_ascii_lowercase()).or_insert(error);
        }
        let mut outcomes = Vec::with_capacity(entries.len());
        for entry in entries {
            let id = entry.registration_id;
            let error = errors.remove(&id.as_str().to_ascii_lowercase());
            outcomes.push(match error {
                None => Ok(None),
                Some(error) => Err(StepError::Entry { id, error }),
            });
        }
        // A failure that names none of the entries leaves it open which of them are done.
        if !result.is_successful && outcomes.iter().all(Result::is_ok) {
            return Err(StepError::PartRefused);
        }
        Ok(outcomes)
    }

    /// Reads what a step is about.
    pub(super) async fn find(&self, step: &Step) -> Result<Found, StepError> {
        let record = match step {
            Step::Leaf(leaf) => {
                let entry = self.journal.by_sha256_thumbprint(&leaf.sha256_thumbprint)?;
                return Ok(Found::Certificate(entry.map(|entry| entry.state.status())));
            }
            Step::Authority(AuthorityStep { authority, .. }) => {
                let record = self.journal.authority(authority)?;
                let generations = record.map(|record| record.generations).unwrap_or_default();
                let states = generations
                    .iter()
                    .map(|one| (one.generation, one.state))
                    .collect();
                return Ok(Found::Generations(states));
            }
            Step::Ca(step) => Record::Ca(&step.name),
            Step::Group(step) => Record::Group(step.id()),
            Step::Individual(step) => Record::Individual(step.id()),
            Step::Registration(step) => Record::Registration(&step.registration_id),
            Step::HubDevice(step) => Record::HubDevice(&step.hub, &step.device_id),
        };
        Ok(self.dps.find(record).await?)
    }

    async fn upload(
        &self,
        name: &CertificateName,
        certificate: &str,
        self_attested: bool,
        expect: &Expectation,
    ) -> Result<Option<Etag>, StepError> {
        // ARM ignores a missing If-Match where the name is taken, so absence is looked for first.
        if *expect == Expectation::Absent
            && self.dps.find(Record::Ca(name)).await? != Found::Ca(None)
        {
            let name = name.clone();
            return Err(StepError::UploadedMeanwhile { name });
        }
        let verification = if self_attested {
            Verification::SelfAttestation
        } else {
            Verification::Possession
        };
        let certificate = pem::certificate(certificate.as_bytes())?;
        let expect = written(expect)?;
        let held = self
            .dps
            .put_ca(name, certificate.der(), verification, &expect)
            .await?;
        Ok(held.etag)
    }

    /// The code, a certificate over it, and its verification; each changes the tag.
    async fn prove(
        &mut self,
        name: &CertificateName,
        authority: &AuthorityName,
        proven: &Sha1Thumbprint,
        expect: &Expectation,
    ) -> Result<Option<Etag>, StepError> {
        let dps = self.dps;
        let answer = dps.verification_code(name, &if_match(expect)?).await?;
        let code = answer.properties.verification_code.as_ref();
        let (Some(code), Some(etag)) = (code, answer.etag.clone()) else {
            let name = name.clone();
            return Err(StepError::NoCode { name });
        };
        let open = OpenGeneration::with_certificate(&*self.journal, self.keys, authority, proven)?;
        let now = self.clock.now();
        let _proving = self
            .locks
            .prove(&mut || delivery::void_proofs(&mut *self.journal, now))
            .map_err(ProofError::Lock)?;
        let serial = SerialNumber::random(self.entropy).map_err(ProofError::from)?;
        let proof = open
            .signing(self.policy)?
            .prove_possession(code, &SoftwareKeyGenerator, &serial, now)
            .map_err(ProofError::from)?;
        let recorded = delivery::record(&mut *self.journal, proof, now)?;
        let der = recorded.certificate().der();
        let verified = dps.verify_ca(name, der, &IfMatch::Etag(etag)).await?;
        self.journal
            .mark_delivered(&[recorded.row()], self.clock.now())?;
        verified_tag(name, verified)
    }

    /// The registry knows no partial update, so the device is read and put back. Without a new reason the
    /// one that is there stays.
    async fn set_on_hub(
        &self,
        hub: &HubHostName,
        id: &DeviceId,
        (status, status_reason): (HubDeviceStatus, Option<String>),
        expect: &Expectation,
    ) -> Result<Option<Etag>, StepError> {
        let device = self.dps.hub_device(hub, id).await?;
        let changed = HubDevice {
            status,
            status_reason: status_reason.or_else(|| device.status_reason.clone()),
            ..device
        };
        let expect = if_match(expect)?;
        Ok(self.dps.put_hub_device(hub, &changed, &expect).await?)
    }

    fn revoke(&mut self, thumbprint: &Sha256Thumbprint) -> Result<Option<Etag>, StepError> {
        let entry = self.journal.by_sha256_thumbprint(thumbprint)?;
        if let Some(entry) = entry.filter(|entry| entry.state.status() == Status::Delivered) {
            let reason = RevocationReason::KeyCompromise;
            self.journal
                .revoke(&[entry.recorded.row()], reason, self.clock.now())?;
        }
        Ok(None)
    }
}

/// The tag of a CA certificate that DPS calls verified.
fn verified_tag(name: &CertificateName, held: CaCertificate) -> Result<Option<Etag>, StepError> {
    if held.properties.is_verified {
        return Ok(held.etag);
    }
    let name = name.clone();
    Err(StepError::NotVerified { name })
}

/// What a write that may create expects.
fn written(expect: &Expectation) -> Result<Expect, StepError> {
    match expect {
        Expectation::Absent => Ok(Expect::Absent),
        expect => if_match(expect).map(Expect::from),
    }
}

/// What a change of an existing record expects. A record that was read without a tag cannot be guarded
/// by one.
fn if_match(expect: &Expectation) -> Result<IfMatch, StepError> {
    match expect {
        Expectation::Etag(etag) => Ok(IfMatch::Etag(etag.clone())),
        Expectation::AsLeftByPlan(_) | Expectation::Absent => Err(StepError::Unguarded),
    }
}
