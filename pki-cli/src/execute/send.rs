//! Sends one step, or several in one call, and reads back what a step is about.

use dps_client::management::Verification;
use dps_client::retry::Setback;
use dps_client::service::{BulkError, BulkMode};
use dps_client::{ClientError, Expect, IfMatch};
use pki_core::certificate::pem;
use pki_core::crl::RevocationReason;
use pki_core::delivery;
use pki_core::enrollment::{ErrorCode, IndividualEnrollment};
use pki_core::hub::{HubDevice, HubDeviceStatus};
use pki_core::ids::{
    AuthorityName, CertificateName, DeviceId, Etag, HubHostName, SerialNumber, Sha1Thumbprint,
    Sha256Thumbprint,
};
use pki_core::inventory::{InventoryError, Status};
use pki_core::journal::{Found, Journal};
use pki_core::key::software::SoftwareKeyGenerator;
use pki_core::lifecycle::{Expectation, Step};
use pki_core::management::CaCertificate;

use crate::context::Context;
use crate::error::{CommandError, ErrorKind};
use crate::issuance::OpenAuthority;
use crate::locks;
use crate::planes::Planes;

/// Why a step was not done.
#[derive(Debug)]
pub(super) enum SendError {
    /// The service said no, or nothing.
    Client(ClientError),
    /// One entry of several in a call was refused, with this code of the service.
    Entry { code: Option<u32>, message: String },
    /// Something of ours.
    Other(CommandError),
}

impl SendError {
    /// Whether the record was not as expected: looking at it tells more.
    pub(super) fn is_about_the_record(&self) -> bool {
        matches!(self.status(), Some(404 | 409 | 412))
    }

    /// Whether another record may fare better.
    pub(super) fn is_of_one_record(&self) -> bool {
        match self {
            Self::Other(error) => matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound),
            _ => matches!(self.status(), Some(400 | 404 | 409 | 412)),
        }
    }

    /// Whether it is certain that nothing was done, and sending it again as it is will not help.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Other(error) => {
                matches!(error.kind, ErrorKind::InvalidInput | ErrorKind::Refused)
            }
            _ => matches!(self.status(), Some(400..=407 | 410..=428)),
        }
    }

    /// Whether it is open if the service has done it: it failed, or its answer was lost.
    pub(super) fn may_be_done(&self) -> bool {
        match self {
            Self::Client(error) => Setback::in_error(error).is_some_and(Setback::may_have_acted),
            Self::Entry { .. } | Self::Other(_) => false,
        }
    }

    fn status(&self) -> Option<u32> {
        match self {
            Self::Client(error) => error.status().map(|status| status.as_u16().into()),
            Self::Entry { code, .. } => code.map(|code| code / 1000),
            Self::Other(_) => None,
        }
    }
}

impl From<ClientError> for SendError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<CommandError> for SendError {
    fn from(error: CommandError) -> Self {
        Self::Other(error)
    }
}

impl From<InventoryError> for SendError {
    fn from(error: InventoryError) -> Self {
        Self::Other(error.into())
    }
}

impl From<SendError> for CommandError {
    fn from(error: SendError) -> Self {
        let (code, message) = match error {
            SendError::Client(error) => return error.into(),
            SendError::Other(error) => return error,
            SendError::Entry { code, message } => (code, message),
        };
        let kind = match code.map(|code| code / 1000) {
            Some(409 | 412) => ErrorKind::Conflict,
            Some(404) => ErrorKind::NotFound,
            _ => ErrorKind::Service,
        };
        Self::new(kind, message)
    }
}

/// What sending takes.
pub(super) struct Sender<'a> {
    pub(super) context: &'a Context,
    pub(super) planes: &'a Planes<'a>,
    pub(super) journal: &'a mut dyn Journal,
}

impl Sender<'_> {
    /// Sends a step with what it expects to find, and returns the tag that it left.
    pub(super) async fn send(
        &mut self,
        step: &Step,
        expect: &Expectation,
    ) -> Result<Option<Etag>, SendError> {
        let planes = self.planes;
        Ok(match step {
            Step::UploadCa {
                name,
                certificate,
                self_attested,
                ..
            } => {
                self.upload(name, certificate, *self_attested, expect)
                    .await?
            }
            Step::ProveCa {
                name,
                authority,
                sha1_thumbprint,
                ..
            } => self.prove(name, authority, sha1_thumbprint, expect).await?,
            Step::SubmitProof { name, proof, .. } => {
                let proof = pem::certificate(proof.as_bytes()).map_err(CommandError::from)?;
                let certificates = planes.certificates()?;
                let verified = certificates
                    .verify(name, proof.der(), &if_match(expect)?)
                    .await?;
                verified_tag(name, verified)?
            }
            Step::DeleteCa { name, .. } => {
                planes
                    .certificates()?
                    .delete(name, &if_match(expect)?)
                    .await?;
                None
            }
            Step::PutGroup { group, .. } => {
                planes.groups()?.put(group, &written(expect)?).await?.etag
            }
            Step::PutIndividual { enrollment, .. } => {
                let individuals = planes.individuals()?;
                individuals.put(enrollment, &written(expect)?).await?.etag
            }
            Step::DeleteGroup { id, .. } => {
                planes.groups()?.delete(id, &if_match(expect)?).await?;
                None
            }
            Step::DeleteIndividual {
                registration_id, ..
            } => {
                let individuals = planes.individuals()?;
                individuals
                    .delete(registration_id, &if_match(expect)?)
                    .await?;
                None
            }
            Step::DeleteRegistration {
                registration_id, ..
            } => {
                let registrations = planes.registrations()?;
                registrations
                    .delete(registration_id, &if_match(expect)?)
                    .await?;
                None
            }
            Step::DisableHubDevice {
                hub,
                device_id,
                reason,
                ..
            } => {
                let reason = Some(reason.clone()).filter(|reason| !reason.is_empty());
                let disabled = (HubDeviceStatus::Disabled, reason);
                self.set_on_hub(hub, device_id, disabled, expect).await?
            }
            Step::EnableHubDevice { hub, device_id, .. } => {
                let enabled = (HubDeviceStatus::Enabled, None);
                self.set_on_hub(hub, device_id, enabled, expect).await?
            }
            Step::DeleteHubDevice { hub, device_id, .. } => {
                planes
                    .hub(hub)?
                    .delete(device_id, &if_match(expect)?)
                    .await?;
                None
            }
            Step::Revoke {
                sha256_thumbprint, ..
            } => self.revoke(sha256_thumbprint)?,
            Step::SettleGenerations { authority, changes } => {
                let now = self.context.now();
                self.journal.settle_generations(authority, changes, now)?;
                None
            }
            step => return Err(CommandError::failed(format!("this version cannot {step}")).into()),
        })
    }

    /// Sends several new or several changed entries in one call; each may fail by itself.
    pub(super) async fn send_together(
        &mut self,
        steps: &[(&Step, &Expectation)],
    ) -> Result<Vec<Result<Option<Etag>, SendError>>, SendError> {
        let mut entries = Vec::<IndividualEnrollment>::new();
        let mut mode = BulkMode::Create;
        for (step, expect) in steps {
            let Step::PutIndividual { enrollment, .. } = step else {
                let message = format!("there is no call for several steps such as: {step}");
                return Err(CommandError::failed(message).into());
            };
            let mut entry = IndividualEnrollment::clone(enrollment);
            if let Expectation::Etag(etag) = expect {
                mode = BulkMode::UpdateIfMatchEtag;
                entry.etag = Some(etag.clone());
            }
            entries.push(entry);
        }
        let result = self.planes.individuals()?.bulk(mode, &entries).await?;
        let outcome = |entry: &IndividualEnrollment| {
            let id = entry.registration_id.as_str();
            let mut errors = result.errors.iter();
            match errors.find(|error| error.id.eq_ignore_ascii_case(id)) {
                None => Ok(None),
                Some(error) => Err(SendError::Entry {
                    code: error.error_code.as_ref().and_then(ErrorCode::number),
                    message: refusal(id, error),
                }),
            }
        };
        let outcomes: Vec<_> = entries.iter().map(outcome).collect();
        // A failure that names none of the entries leaves it open which of them are done.
        if !result.is_successful && outcomes.iter().all(Result::is_ok) {
            let message = "DPS refused a part of a bulk operation and does not say which";
            return Err(CommandError::new(ErrorKind::Service, message).into());
        }
        Ok(outcomes)
    }

    /// Reads what a step is about.
    pub(super) async fn find(&self, step: &Step) -> Result<Found, SendError> {
        let planes = self.planes;
        Ok(match step {
            Step::UploadCa { name, .. }
            | Step::ProveCa { name, .. }
            | Step::SubmitProof { name, .. }
            | Step::DeleteCa { name, .. } => {
                Found::Ca(planes.certificates()?.find(name).await?.map(Box::new))
            }
            Step::PutGroup { group, .. } => {
                let found = planes.groups()?.find(&group.enrollment_group_id).await?;
                Found::Group(found.map(Box::new))
            }
            Step::DeleteGroup { id, .. } => {
                Found::Group(planes.groups()?.find(id).await?.map(Box::new))
            }
            Step::PutIndividual { enrollment, .. } => {
                let id = &enrollment.registration_id;
                Found::Individual(planes.individuals()?.find(id).await?.map(Box::new))
            }
            Step::DeleteIndividual {
                registration_id, ..
            } => {
                let found = planes.individuals()?.find(registration_id).await?;
                Found::Individual(found.map(Box::new))
            }
            Step::DeleteRegistration {
                registration_id, ..
            } => {
                let found = planes.registrations()?.find(registration_id).await?;
                Found::Registration(found.map(Box::new))
            }
            Step::DisableHubDevice { hub, device_id, .. }
            | Step::EnableHubDevice { hub, device_id, .. }
            | Step::DeleteHubDevice { hub, device_id, .. } => {
                Found::HubDevice(planes.hub(hub)?.find(device_id).await?.map(Box::new))
            }
            Step::Revoke {
                sha256_thumbprint, ..
            } => {
                let entry = self.journal.by_sha256_thumbprint(sha256_thumbprint)?;
                Found::Certificate(entry.map(|entry| entry.state.status()))
            }
            Step::SettleGenerations { authority, .. } => {
                let record = self.journal.authority(authority)?;
                let generations = record.map(|record| record.generations).unwrap_or_default();
                let states = generations.iter();
                Found::Generations(states.map(|one| (one.generation, one.state)).collect())
            }
            step => return Err(CommandError::failed(format!("this version cannot {step}")).into()),
        })
    }

    async fn upload(
        &self,
        name: &CertificateName,
        certificate: &str,
        self_attested: bool,
        expect: &Expectation,
    ) -> Result<Option<Etag>, SendError> {
        let certificates = self.planes.certificates()?;
        // ARM ignores a missing If-Match where the name is taken, so absence is looked for first.
        if *expect == Expectation::Absent && certificates.find(name).await?.is_some() {
            let message = format!("CA certificate {name} was uploaded by somebody else meanwhile");
            return Err(CommandError::new(ErrorKind::Conflict, message).into());
        }
        let verification = match self_attested {
            true => Verification::SelfAttestation,
            false => Verification::Possession,
        };
        let der = pem::certificate(certificate.as_bytes()).map_err(CommandError::from)?;
        let held = certificates
            .put(name, der.der(), verification, &written(expect)?)
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
    ) -> Result<Option<Etag>, SendError> {
        let certificates = self.planes.certificates()?;
        let answer = certificates
            .generate_verification_code(name, &if_match(expect)?)
            .await?;
        let code = answer.properties.verification_code.as_ref();
        let (Some(code), Some(etag)) = (code, answer.etag.clone()) else {
            let message = format!("the service gave no code or no ETag for CA certificate {name}");
            return Err(CommandError::new(ErrorKind::Service, message).into());
        };
        let open =
            OpenAuthority::open_with_certificate(self.context, self.journal, authority, proven)?;
        let now = self.context.now();
        let _proving = locks::prove(self.context, self.journal)?;
        let serial =
            SerialNumber::random(self.context.entropy.as_ref()).map_err(CommandError::from)?;
        let proof = open
            .signing()?
            .prove_possession(code, &SoftwareKeyGenerator, &serial, now)
            .map_err(CommandError::from)?;
        let recorded = delivery::record(self.journal, proof, now)?;
        let der = recorded.certificate().der();
        let verified = certificates.verify(name, der, &IfMatch::Etag(etag)).await?;
        self.journal
            .mark_delivered(&[recorded.row()], self.context.now())?;
        Ok(verified_tag(name, verified)?)
    }

    /// The registry knows no partial update, so the device is read and put back. Without a new reason the
    /// one that is there stays.
    async fn set_on_hub(
        &self,
        hub: &HubHostName,
        id: &DeviceId,
        (status, status_reason): (HubDeviceStatus, Option<String>),
        expect: &Expectation,
    ) -> Result<Option<Etag>, SendError> {
        let devices = self.planes.hub(hub)?;
        let device = devices.get(id).await?;
        let changed = HubDevice {
            status,
            status_reason: status_reason.or_else(|| device.status_reason.clone()),
            ..device
        };
        let put = devices
            .put(&changed, &Expect::from(if_match(expect)?))
            .await?;
        Ok(put.etag)
    }

    fn revoke(&mut self, thumbprint: &Sha256Thumbprint) -> Result<Option<Etag>, SendError> {
        let entry = self.journal.by_sha256_thumbprint(thumbprint)?;
        if let Some(entry) = entry.filter(|entry| entry.state.status() == Status::Delivered) {
            let reason = RevocationReason::KeyCompromise;
            self.journal
                .revoke(&[entry.recorded.row()], reason, self.context.now())?;
        }
        Ok(None)
    }
}

/// The tag of a CA certificate that DPS calls verified.
fn verified_tag(name: &CertificateName, held: CaCertificate) -> Result<Option<Etag>, CommandError> {
    match held.properties.is_verified {
        true => Ok(held.etag),
        false => {
            let message = format!(
                "DPS took the proof for CA certificate {name} and does not call it verified"
            );
            Err(CommandError::new(ErrorKind::Service, message))
        }
    }
}

fn refusal(id: &str, error: &BulkError) -> String {
    let code = error.error_code.as_ref().map(|code| format!(", {code}"));
    let status = error
        .error_status
        .as_deref()
        .unwrap_or("it does not say why");
    format!(
        "DPS refused the entry of {id}{}: {status}",
        code.unwrap_or_default()
    )
}

/// What a write that may create expects.
fn written(expect: &Expectation) -> Result<Expect, CommandError> {
    Ok(match expect {
        Expectation::Absent => Expect::Absent,
        expect => Expect::from(if_match(expect)?),
    })
}

/// What a change of an existing record expects. A record that was read without a tag cannot be guarded
/// by one.
fn if_match(expect: &Expectation) -> Result<IfMatch, CommandError> {
    match expect {
        Expectation::Etag(etag) => Ok(IfMatch::Etag(etag.clone())),
        Expectation::AsLeftByPlan | Expectation::Absent => Err(CommandError::new(
            ErrorKind::Conflict,
            "the record came without an ETag, so that nothing guards it against being overwritten: it is left alone",
        )
        .hint("run it again")),
    }
}
