//! Carries a plan out: the only loop that changes DPS.
//!
//! Each step is sent with what the plan expects to find, and told in the audit trail when it is done.
//! A step that finds something else stops the plan with a conflict; what was done stays done, and
//! planning again goes on from there.

use dps_client::management::Verification;
use dps_client::{ClientError, Expect, IfMatch};
use pki_core::delivery;
use pki_core::enrollment::{EnrollmentGroup, IndividualEnrollment};
use pki_core::format::pem;
use pki_core::hub::{HubDevice, HubDeviceStatus};
use pki_core::ids::{
    AuthorityName, CertificateName, DeviceId, Etag, HubHostName, RegistrationId, SerialNumber,
    Sha1Thumbprint, Sha256Thumbprint,
};
use pki_core::inventory::audit::AuditEvent;
use pki_core::inventory::{Inventory, InventoryError, RevocationReason, Status, TextError};
use pki_core::key::software::SoftwareKeyGenerator;
use pki_core::lifecycle::{Expectation, Impact, Plan, Step};
use pki_core::management::CaCertificate;
use serde_json::json;

use crate::context::Context;
use crate::error::{CommandError, ErrorKind};
use crate::issuance::OpenAuthority;
use crate::planes::Planes;
use crate::render::plan::PlanAndImpact;

/// Shows a plan with its impact and asks; `--yes` has answered beforehand. Nothing is asked about an
/// empty plan. With `--dry-run` the answer is no, without an error.
pub(crate) fn confirm(
    context: &Context,
    plan: &Plan,
    impact: &Impact,
) -> Result<bool, CommandError> {
    if context.settings.dry_run || plan.is_empty() {
        return Ok(false);
    }
    if !context.settings.yes {
        context.ui.note(PlanAndImpact {
            plan,
            impact,
            done: false,
        });
    }
    context.confirm(&format!(
        "{}: carry out {} steps?",
        plan.goal,
        plan.steps.len()
    ))?;
    Ok(true)
}

/// Carries out every step of a plan, in order.
pub(crate) fn run(
    context: &Context,
    planes: &Planes<'_>,
    inventory: &mut dyn Inventory,
    plan: &Plan,
) -> Result<(), CommandError> {
    let mut executor = Executor {
        context,
        planes,
        inventory,
        uploaded: None,
    };
    for (index, step) in plan.steps.iter().enumerate() {
        let result = context.block_on(executor.step(step));
        result.map_err(|error| stopped(error, index, plan.steps.len(), step))?;
        executor.tell(step)?;
        context.ui.note(format!("done: {step}"));
    }
    Ok(())
}

/// Says how far the plan got, and what a conflict means.
fn stopped(error: CommandError, index: usize, count: usize, step: &Step) -> CommandError {
    let message = format!(
        "step {} of {count} failed ({step}): {}",
        index + 1,
        error.message
    );
    let hint = match error.kind {
        ErrorKind::Conflict => {
            "it changed since the plan was made; nothing was overwritten: run it again for a new plan"
        }
        _ => "what was done stays done; run it again to go on",
    };
    CommandError { message, ..error }.hint(hint)
}

struct Executor<'a> {
    context: &'a Context,
    planes: &'a Planes<'a>,
    inventory: &'a mut dyn Inventory,
    /// The tag that the last upload of this plan left.
    uploaded: Option<Etag>,
}

impl Executor<'_> {
    async fn step(&mut self, step: &Step) -> Result<(), CommandError> {
        match step {
            Step::UploadCa {
                name,
                certificate,
                self_attested,
                expect,
                ..
            } => self.upload(name, certificate, *self_attested, expect).await,
            Step::ProveCa {
                name,
                authority,
                sha1_thumbprint,
                expect,
            } => self.prove(name, authority, sha1_thumbprint, expect).await,
            Step::DeleteCa {
                name,
                sha1_thumbprint,
                expect,
            } => self.delete_ca(name, sha1_thumbprint, expect).await,
            Step::PutGroup { group, expect, .. } => self.put_group(group, expect).await,
            Step::DeleteGroup { id, expect } => {
                gone_is_done(self.planes.groups()?.delete(id, &if_match(expect)?).await)
            }
            Step::PutIndividual {
                enrollment, expect, ..
            } => self.put_individual(enrollment, expect).await,
            Step::DeleteIndividual {
                registration_id,
                expect,
            } => gone_is_done(
                self.planes
                    .individuals()?
                    .delete(registration_id, &if_match(expect)?)
                    .await,
            ),
            Step::DeleteRegistration {
                registration_id,
                expect,
            } => self.forget(registration_id, expect).await,
            Step::DisableHubDevice {
                hub,
                device_id,
                reason,
                expect,
            } => {
                let disabled = (HubDeviceStatus::Disabled, Some(reason.clone()));
                self.set_on_hub(hub, device_id, disabled, expect).await
            }
            Step::EnableHubDevice {
                hub,
                device_id,
                expect,
            } => {
                let enabled = (HubDeviceStatus::Enabled, None);
                self.set_on_hub(hub, device_id, enabled, expect).await
            }
            Step::DeleteHubDevice {
                hub,
                device_id,
                expect,
            } => gone_is_done(
                self.planes
                    .hub(hub)?
                    .delete(device_id, &if_match(expect)?)
                    .await,
            ),
            Step::Revoke {
                sha256_thumbprint, ..
            } => self.revoke(sha256_thumbprint),
            Step::SettleGenerations { authority, changes } => {
                let now = self.context.now();
                Ok(self.inventory.settle_generations(authority, changes, now)?)
            }
            step => Err(CommandError::failed(format!("this version cannot {step}"))),
        }
    }

    async fn upload(
        &mut self,
        name: &CertificateName,
        certificate: &str,
        self_attested: bool,
        expect: &Expectation,
    ) -> Result<(), CommandError> {
        let certificates = self.planes.certificates()?;
        // ARM ignores a missing If-Match where the name is taken, so absence is looked for first.
        if *expect == Expectation::Absent && certificates.find(name).await?.is_some() {
            let message = format!("CA certificate {name} was uploaded by somebody else meanwhile");
            return Err(CommandError::new(ErrorKind::Conflict, message));
        }
        let verification = match self_attested {
            true => Verification::SelfAttestation,
            false => Verification::Possession,
        };
        let der = pem::certificate(certificate.as_bytes())?;
        let expect = written(expect)?;
        let held = certificates
            .put(name, der.der(), verification, &expect)
            .await?;
        self.uploaded = held.etag;
        Ok(())
    }

    /// The code, a certificate over it, and its verification; each changes the tag.
    async fn prove(
        &mut self,
        name: &CertificateName,
        authority: &AuthorityName,
        thumbprint: &Sha1Thumbprint,
        expect: &Expectation,
    ) -> Result<(), CommandError> {
        let certificates = self.planes.certificates()?;
        let held = certificates.get(name).await?;
        check_same(&held, thumbprint)?;
        let etag = match expect {
            Expectation::Etag(etag) => etag.clone(),
            _ => self
                .uploaded
                .clone()
                .or(held.etag)
                .ok_or_else(|| no_tag(name))?,
        };
        let answer = certificates
            .generate_verification_code(name, &IfMatch::Etag(etag))
            .await?;
        let code = answer
            .properties
            .verification_code
            .as_ref()
            .ok_or_else(|| no_tag(name))?;
        let open = OpenAuthority::open(self.context, self.inventory, authority)?;
        let now = self.context.now();
        delivery::void_proofs(self.inventory, now)?;
        let serial = SerialNumber::random(self.context.entropy.as_ref())?;
        let proof = open
            .signing()?
            .prove_possession(code, &SoftwareKeyGenerator, &serial, now)?;
        let recorded = delivery::record(self.inventory, proof, now)?;
        let etag = answer.etag.clone().ok_or_else(|| no_tag(name))?;
        let der = recorded.certificate().der();
        let verified = certificates.verify(name, der, &IfMatch::Etag(etag)).await?;
        self.inventory
            .mark_delivered(&[recorded.row()], self.context.now())?;
        match verified.properties.is_verified {
            true => Ok(()),
            false => Err(CommandError::new(
                ErrorKind::Service,
                format!(
                    "DPS took the proof for CA certificate {name} and does not call it verified"
                ),
            )),
        }
    }

    /// The thumbprint is compared first: under the same name there may be another certificate by now.
    async fn delete_ca(
        &self,
        name: &CertificateName,
        thumbprint: &Sha1Thumbprint,
        expect: &Expectation,
    ) -> Result<(), CommandError> {
        let certificates = self.planes.certificates()?;
        let Some(held) = certificates.find(name).await? else {
            return Ok(());
        };
        check_same(&held, thumbprint)?;
        gone_is_done(certificates.delete(name, &if_match(expect)?).await)
    }

    async fn put_group(
        &self,
        group: &EnrollmentGroup,
        expect: &Expectation,
    ) -> Result<(), CommandError> {
        self.planes.groups()?.put(group, &written(expect)?).await?;
        Ok(())
    }

    async fn put_individual(
        &self,
        enrollment: &IndividualEnrollment,
        expect: &Expectation,
    ) -> Result<(), CommandError> {
        self.planes
            .individuals()?
            .put(enrollment, &written(expect)?)
            .await?;
        Ok(())
    }

    async fn forget(&self, id: &RegistrationId, expect: &Expectation) -> Result<(), CommandError> {
        gone_is_done(
            self.planes
                .registrations()?
                .delete(id, &if_match(expect)?)
                .await,
        )
    }

    async fn set_on_hub(
        &self,
        hub: &HubHostName,
        id: &DeviceId,
        (status, status_reason): (HubDeviceStatus, Option<String>),
        expect: &Expectation,
    ) -> Result<(), CommandError> {
        let devices = self.planes.hub(hub)?;
        let Some(device) = devices.find(id).await? else {
            return Ok(());
        };
        let changed = HubDevice {
            status,
            status_reason,
            ..device
        };
        devices
            .put(&changed, &Expect::from(if_match(expect)?))
            .await?;
        Ok(())
    }

    fn revoke(&mut self, thumbprint: &Sha256Thumbprint) -> Result<(), CommandError> {
        let entry = self.inventory.by_sha256_thumbprint(thumbprint)?;
        let live = entry.filter(|entry| entry.state.status() == Status::Delivered);
        if let Some(entry) = live {
            let reason = RevocationReason::KeyCompromise;
            self.inventory
                .revoke(&[entry.recorded.row()], reason, self.context.now())?;
        }
        Ok(())
    }

    fn tell(&mut self, step: &Step) -> Result<(), CommandError> {
        let Some((action, subject)) = audited(step) else {
            return Ok(());
        };
        let action = action
            .parse()
            .map_err(|error: TextError| InventoryError::Corrupt {
                what: error.to_string(),
            })?;
        let detail = json!({ "dps": self.planes.name(), "step": step.to_string() });
        self.inventory.append_audit(
            AuditEvent {
                action,
                subject,
                detail,
            },
            self.context.now(),
        )?;
        Ok(())
    }
}

/// What the audit trail says of a step; the inventory's own changes are in it already.
fn audited(step: &Step) -> Option<(&'static str, String)> {
    Some(match step {
        Step::UploadCa { name, .. } => ("ca-uploaded", name.to_string()),
        Step::ProveCa { name, .. } => ("ca-proven", name.to_string()),
        Step::DeleteCa { name, .. } => ("ca-deleted", name.to_string()),
        Step::DeleteGroup { id, .. } => ("group-deleted", id.to_string()),
        Step::DeleteIndividual {
            registration_id, ..
        } => ("enrollment-deleted", registration_id.to_string()),
        Step::PutGroup { group, .. } => ("group-written", group.enrollment_group_id.to_string()),
        Step::PutIndividual { enrollment, .. } => {
            ("enrollment-written", enrollment.registration_id.to_string())
        }
        Step::DeleteRegistration {
            registration_id, ..
        } => ("registration-deleted", registration_id.to_string()),
        Step::DisableHubDevice { device_id, .. } => ("hub-device-disabled", device_id.to_string()),
        Step::EnableHubDevice { device_id, .. } => ("hub-device-enabled", device_id.to_string()),
        Step::DeleteHubDevice { device_id, .. } => ("hub-device-deleted", device_id.to_string()),
        _ => return None,
    })
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
        Expectation::AsLeftByPlan => Ok(IfMatch::Any),
        Expectation::Absent => Err(CommandError::failed(
            "a step changes a record that it expects not to be there",
        )),
    }
}

/// A record that is not there any more needs no deleting.
fn gone_is_done(result: Result<(), ClientError>) -> Result<(), CommandError> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        result => Ok(result?),
    }
}

fn check_same(held: &CaCertificate, expected: &Sha1Thumbprint) -> Result<(), CommandError> {
    let certificate = held
        .properties
        .certificate
        .as_deref()
        .and_then(pem::certificate_in_json);
    let thumbprint = certificate
        .map(|read| read.sha1_thumbprint())
        .or(held.properties.thumbprint);
    match thumbprint == Some(*expected) {
        true => Ok(()),
        false => {
            let message = format!(
                "CA certificate {} was replaced by another one meanwhile",
                held.name
            );
            Err(CommandError::new(ErrorKind::Conflict, message))
        }
    }
}

fn no_tag(name: &CertificateName) -> CommandError {
    let message = format!("the service gave no code or no ETag for CA certificate {name}");
    CommandError::new(ErrorKind::Service, message)
}
