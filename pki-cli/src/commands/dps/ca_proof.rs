//! A proof of possession in pieces, for a CA whose key is held offline: a request with DPS's code goes to
//! the machine with the key, the proof comes back and is handed in.
//!
//! Asking for a code changes nothing that decides about devices; handing in the proof is a plan.

use std::fmt;
use std::path::Path;

use dps_client::IfMatch;
use dps_operations::judge::Judge;
use pki_core::certificate::pem;
use pki_core::ids::{CertificateName, DpsName, Etag, Sha1Thumbprint, VerificationCode};
use pki_core::lifecycle::{CaAction, CaStep, Expectation, Plan, Promise, Step};
use pki_core::management::CaCertificate;
use pki_core::wording::command_in;
use serde::{Deserialize, Serialize};

use crate::commands::change::nothing_to_do;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::execute::Proposal;
use crate::files::Access;
use crate::inputs::Inputs;
use crate::planes::{self, Planes};
use crate::render::plan::PlanAndImpact;
use crate::runtime::Runtime;
use crate::snapshot::{DpsSnapshot, around};

/// What is carried to the machine with the key. Nothing in it is secret.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ProofRequest {
    /// The instance that gave the code.
    pub(crate) dps: DpsName,
    /// The certificate's name there.
    pub(crate) name: CertificateName,
    /// The certificate whose key is to be proven.
    pub(crate) sha1_thumbprint: Sha1Thumbprint,
    /// The code.
    pub(crate) code: VerificationCode,
}

impl ProofRequest {
    /// Reads a request that was carried here.
    pub(crate) fn read(inputs: &Inputs, path: &Path) -> Result<Self, CommandError> {
        let content = inputs.read(path)?;
        serde_json::from_slice(&content).map_err(|error| CommandError::in_file(path, &error))
    }
}

impl fmt::Display for ProofRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DPS {} asks to prove CA certificate {} ({}) by the code {}",
            self.dps, self.name, self.sha1_thumbprint, self.code
        )
    }
}

/// Asks DPS for a code and writes the request. A code that DPS gave before is void from then on.
pub(super) fn request(context: &Context, name: &CertificateName, path: &Path) -> CommandResult {
    let planes = planes::chosen(context)?;
    let held = existing(&context.runtime, &planes, name)?;
    if held.properties.is_verified {
        let state = format!("CA certificate {name} is verified already");
        return nothing_to_do(context, &planes, &goal(&planes, name), &state);
    }
    context.files.check_output(path)?;
    let question = format!(
        "DPS {}: make a code for CA certificate {name}, which voids any other?",
        planes.name()
    );
    if context.settings.dry_run {
        context.ui.note(format!("would ask: {question}"));
        return Ok(Outcome::Done);
    }
    context.dialog.confirm(&question)?;
    let (etag, sha1_thumbprint) = identity(&held)?;
    let certificates = planes.certificates()?;
    let answer = context.runtime.block_on(async {
        let expect = IfMatch::Etag(etag);
        Ok(certificates
            .generate_verification_code(name, &expect)
            .await?)
    })?;
    let code = answer
        .properties
        .verification_code
        .ok_or_else(|| lacks(name, "code"))?;
    let request = ProofRequest {
        dps: planes.name().clone(),
        name: name.clone(),
        sha1_thumbprint,
        code,
    };
    let text = serde_json::to_string_pretty(&request)
        .map_err(|error| CommandError::failed("the request has no JSON form").because(error))?;
    let content = format!("{text}\n");
    let content = content.as_bytes();
    context.files.write_output(path, content, Access::Public)?;
    context.ui.result(&request)?;
    Ok(Outcome::Done)
}

/// Hands in a proof that was made elsewhere.
pub(super) fn hand_in(context: &Context, name: &CertificateName, path: &Path) -> CommandResult {
    let proof = pem::certificate(&context.inputs.read(path)?)
        .map_err(|error| CommandError::in_file(path, &error))?;
    let planes = planes::chosen(context)?;
    let held = existing(&context.runtime, &planes, name)?;
    if held.properties.is_verified {
        let state = format!("CA certificate {name} is verified already");
        return nothing_to_do(context, &planes, &goal(&planes, name), &state);
    }
    let (etag, sha1_thumbprint) = identity(&held)?;
    let step = Step::Ca(CaStep {
        name: name.clone(),
        sha1_thumbprint,
        action: CaAction::Submit {
            proof: proof.to_pem(),
        },
        expect: Expectation::Etag(etag),
    });
    let plan = Plan {
        steps: vec![step],
        ..Plan::new(goal(&planes, name))
    };
    let mut inventory = context.home.inventory()?;
    let before = context
        .runtime
        .wait_for(DpsSnapshot::gather(planes.instance()))?
        .view()?;
    let promise = Promise::as_shown();
    let judged = Judge::of(around(&context.settings, &planes, &inventory), &before).plan(
        plan,
        &promise,
        planes.rate(),
    )?;
    let shown = PlanAndImpact::proposed(&judged);
    let proposal = Proposal::new(&judged.plan, &shown);
    let execution = proposal.carry_out(context, &planes, &mut inventory)?;
    context.ui.result(&PlanAndImpact {
        done: execution.done,
        ..shown
    })?;
    Ok(Outcome::Done)
}

/// What a proof is for, whoever makes it: [`super::declared`] says it in the same words.
pub(super) fn goal(planes: &Planes<'_>, name: &CertificateName) -> String {
    format!("prove CA certificate {name} to DPS {}", planes.name())
}

fn existing(
    runtime: &Runtime,
    planes: &Planes<'_>,
    name: &CertificateName,
) -> Result<CaCertificate, CommandError> {
    let certificates = planes.certificates()?;
    let found = runtime.block_on(async { Ok(certificates.find(name).await?) })?;
    found.ok_or_else(|| {
        let message = format!("DPS {} has no CA certificate {name}", planes.name());
        CommandError::not_found(message).hint(format!(
            "upload it with: {}",
            command_in(planes.name(), format_args!("dps ca upload {name}"))
        ))
    })
}

fn identity(held: &CaCertificate) -> Result<(Etag, Sha1Thumbprint), CommandError> {
    let etag = held.etag.clone().ok_or_else(|| lacks(&held.name, "ETag"))?;
    let thumbprint = held.properties.thumbprint;
    Ok((
        etag,
        thumbprint.ok_or_else(|| lacks(&held.name, "thumbprint"))?,
    ))
}

fn lacks(name: &CertificateName, what: &str) -> CommandError {
    let message = format!("DPS sent CA certificate {name} without its {what}");
    CommandError::new(ErrorKind::Service, message)
}
