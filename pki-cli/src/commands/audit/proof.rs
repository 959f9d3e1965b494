//! `audit prove` and `audit verify --proof`: one certificate proven to somebody who sees nothing else.

use std::fmt;
use std::path::{Path, PathBuf};

use pki_core::certificate::pem;
use pki_core::ids::Sha256Thumbprint;
use pki_core::inventory::audit::{AuditHead, AuditProof};
use pki_core::inventory::{Inventory, InventoryEntry, InventoryError};
use pki_core::time::Time;
use serde::Serialize;

use crate::commands::inventory;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::files::Access;
use crate::inputs::Inputs;
use crate::render::ui::Ui;

/// Prove that a certificate is in the audit trail, in a small file
///
/// The proof names the certificate and shows nothing of the others. It leads to a checkpoint, the last
/// entry unless another is named: whoever has kept that elsewhere can check the proof without this
/// home, with "audit verify --proof". It does not say whether the certificate was revoked since.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki audit prove sensor-2
  dps-pki audit prove sensor-2 --out sensor-2.proof.json")]
pub(super) struct ProveArgs {
    /// Serial number or thumbprint; the registration ID if the device has one certificate only
    #[arg(value_name = "SERIAL|THUMBPRINT|ID")]
    certificate: String,

    /// The entry that the proof is to lead to, as "audit head" printed it [default: the last one]
    #[arg(long, value_name = "SEQUENCE:HASH")]
    checkpoint: Option<AuditHead>,

    /// The file to write; standard output if not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl ProveArgs {
    pub(super) fn run(&self, context: &Context) -> CommandResult {
        let inventory = context.home.inventory()?;
        let entry = only(&inventory, &self.certificate)?;
        let row = entry.recorded.row();
        let proof = match AuditProof::of(&inventory, row, self.checkpoint.as_ref()) {
            Ok(proof) => proof,
            Err(error @ InventoryError::CheckpointUnknown { .. }) => {
                return Err(CommandError::not_found(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        // Who makes a proof that nobody will accept has an inventory that was changed.
        proof
            .verify(entry.recorded.certificate().der(), None)
            .map_err(|error| {
                CommandError::refused(format!("the inventory does not bear a proof: {error}"))
                    .hint("see what was changed with: dps-pki audit verify")
            })?;
        let json = serde_json::to_string_pretty(&proof);
        let json = json
            .map_err(|error| CommandError::failed("the proof has no JSON form").because(error))?;
        let text = format!("{json}\n");
        let Some(path) = &self.out else {
            context.ui.raw(text.as_bytes())?;
            return Ok(Outcome::Done);
        };
        context
            .files
            .write_output(path, text.as_bytes(), Access::Public)?;
        context.ui.result(&Proven {
            proof: path.clone(),
            facts: ProofFacts::from(&proof),
        })?;
        Ok(Outcome::Done)
    }
}

/// The one certificate of a name; a proof is about one.
fn only(inventory: &dyn Inventory, name: &str) -> Result<InventoryEntry, CommandError> {
    let mut found = inventory::named(inventory, name)?;
    if found.len() > 1 {
        let thumbprint =
            |entry: &InventoryEntry| entry.recorded.certificate().sha256_thumbprint().to_string();
        let thumbprints: Vec<String> = found.iter().map(thumbprint).collect();
        let message = format!(
            "{} certificates fit {name}; name one by its thumbprint",
            found.len()
        );
        return Err(CommandError::new(ErrorKind::Usage, message).hint(format!(
            "these are, newest first: {}",
            thumbprints.join(", ")
        )));
    }
    found
        .pop()
        .ok_or_else(|| CommandError::not_found(format!("no certificate fits {name}")))
}

/// Checks a proof by itself, and against what else is given. The home is not asked.
pub(super) fn verify(
    inputs: &Inputs,
    ui: &Ui,
    path: &Path,
    certificate: Option<&Path>,
    checkpoints: &[AuditHead],
) -> CommandResult {
    let content = inputs.read(path)?;
    let proof: AuditProof = serde_json::from_slice(&content).map_err(|error| {
        CommandError::invalid_input(format!("{}: it is no audit proof", path.display()))
            .because(error)
    })?;
    let thumbprint = match certificate {
        Some(path) => thumbprint(inputs, path)?,
        None => proof.sha256_thumbprint(),
    };
    // Of several checkpoints a proof leads to one; if it leads to none, any of them tells so.
    let kept = checkpoints.iter().find(|kept| **kept == proof.checkpoint());
    let trusted = kept.or_else(|| checkpoints.first());
    proof
        .verify_thumbprint(&thumbprint, trusted)
        .map_err(|error| CommandError::refused(format!("{}: {error}", path.display())))?;
    if trusted.is_none() {
        ui.warning(
            "the proof is as good as its checkpoint; give one that was kept elsewhere with --checkpoint",
        );
    }
    ui.result(&Holds {
        holds: true,
        certificate_compared: certificate.is_some(),
        checkpoint_compared: trusted.is_some(),
        facts: ProofFacts::from(&proof),
    })?;
    Ok(Outcome::Done)
}

fn thumbprint(inputs: &Inputs, path: &Path) -> Result<Sha256Thumbprint, CommandError> {
    let found = pem::certificates(&inputs.read(path)?)
        .map_err(|error| CommandError::in_file(path, &error))?;
    found
        .first()
        .map(|certificate| certificate.sha256_thumbprint())
        .ok_or_else(|| {
            CommandError::invalid_input(format!("{}: it holds no certificate", path.display()))
        })
}

/// What a proof says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProofFacts {
    registration_id: Option<String>,
    sha256_thumbprint: Sha256Thumbprint,
    recorded_in: u64,
    recorded_at: Time,
    checkpoint: AuditHead,
}

impl From<&AuditProof> for ProofFacts {
    fn from(proof: &AuditProof) -> Self {
        Self {
            registration_id: proof.registration_id().map(ToOwned::to_owned),
            sha256_thumbprint: proof.sha256_thumbprint(),
            recorded_in: proof.recorded_in(),
            recorded_at: proof.recorded_at(),
            checkpoint: proof.checkpoint(),
        }
    }
}

impl fmt::Display for ProofFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  certificate  {}", self.sha256_thumbprint)?;
        if let Some(id) = &self.registration_id {
            writeln!(f, "  device       {id}")?;
        }
        writeln!(
            f,
            "  recorded     {} in entry {}",
            self.recorded_at, self.recorded_in
        )?;
        write!(f, "  checkpoint   {}", self.checkpoint)
    }
}

#[derive(Serialize)]
struct Proven {
    proof: PathBuf,
    #[serde(flatten)]
    facts: ProofFacts,
}

impl fmt::Display for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proof in {}\n{}", self.proof.display(), self.facts)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Holds {
    holds: bool,
    /// Whether there was a certificate to compare the proof's with.
    certificate_compared: bool,
    /// Whether there was a checkpoint from elsewhere.
    checkpoint_compared: bool,
    #[serde(flatten)]
    facts: ProofFacts,
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proof holds\n{}", self.facts)
    }
}
