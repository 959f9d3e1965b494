//! `audit checkpoint`: the trail's last entry in a file, signed or not; and reading it back.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pki_core::certificate::{Certificate, pem};
use pki_core::handout::checkpoint::{Checkpoint, CheckpointSigner};
use pki_core::ids::{AuthorityGeneration, AuthorityName};
use pki_core::inventory::audit::AuditHead;
use pki_core::inventory::{GenerationState, Inventory as _};
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::files::{Access, Files};
use crate::home::Home;
use crate::inputs::Inputs;
use crate::issuance::OpenAuthority;

/// Write the last entry to a small file, to be kept outside of the home
///
/// Whoever has it can check later, with "audit verify --checkpoint", that nothing up to it was changed
/// since. Signed by an authority, it also says who made it, and cannot be made up by whoever can write
/// where it is kept.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki audit checkpoint --out checkpoint.json
  dps-pki audit checkpoint --sign-with factory")]
pub(super) struct CheckpointArgs {
    /// The file [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// The authority that signs it
    #[arg(long, value_name = "AUTHORITY")]
    sign_with: Option<AuthorityName>,
}

impl CheckpointArgs {
    pub(super) fn run(&self, context: &Context) -> CommandResult {
        let inventory = context.home.inventory()?;
        let head = inventory
            .audit_head()?
            .ok_or_else(|| CommandError::not_found("the audit trail is empty"))?;
        let counts = inventory.stats()?.counts;
        let checkpoint = Checkpoint {
            checkpoint_version: Checkpoint::FORM,
            sequence: head.sequence,
            hash: head.hash,
            certificates: counts.iter().map(|count| count.certificates).sum(),
            made_at: context.now(),
            tool: concat!("dps-pki ", env!("CARGO_PKG_VERSION")).to_owned(),
            signed_by: None,
            signature: None,
        };
        let checkpoint = match &self.sign_with {
            Some(name) => signed(context, &inventory, name, checkpoint)?,
            None => checkpoint,
        };
        let json = serde_json::to_string_pretty(&checkpoint).map_err(|error| {
            CommandError::failed("the checkpoint has no JSON form").because(error)
        })?;
        let text = format!("{json}\n");
        let Some(path) = &self.out else {
            context.ui.raw(text.as_bytes())?;
            return Ok(Outcome::Done);
        };
        let text = text.as_bytes();
        context.files.write_output(path, text, Access::Public)?;
        context.ui.result(&Made {
            file: path.clone(),
            checkpoint: head,
            signed_by: self.sign_with.clone(),
        })?;
        Ok(Outcome::Done)
    }
}

fn signed(
    context: &Context,
    inventory: &dyn pki_core::inventory::Inventory,
    name: &AuthorityName,
    checkpoint: Checkpoint,
) -> Result<Checkpoint, CommandError> {
    let opened = OpenAuthority::open(context, inventory, name)?;
    let AuthorityGeneration { name, generation } = opened.generation();
    let by = CheckpointSigner {
        authority: name,
        generation,
        certificate: opened.certificate().sha256_thumbprint(),
    };
    checkpoint
        .sign(by, opened.certificate(), opened.signer())
        .map_err(|error| CommandError::failed(format!("the checkpoint: {error}")))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    file: PathBuf,
    checkpoint: AuditHead,
    signed_by: Option<AuthorityName>,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checkpoint in {}", self.file.display())?;
        if let Some(authority) = &self.signed_by {
            write!(f, ", signed by {authority}")?;
        }
        write!(f, "\n  {}", self.checkpoint)
    }
}

/// A checkpoint as it is named on the command line.
#[derive(Debug, Clone)]
pub(crate) enum KeptCheckpoint {
    /// In one word, as `audit head` prints it.
    Head(AuditHead),
    /// In a file, as `audit checkpoint` writes it.
    File(PathBuf),
}

impl FromStr for KeptCheckpoint {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.parse() {
            Ok(head) => Self::Head(head),
            Err(_) => Self::File(PathBuf::from(text)),
        })
    }
}

/// The entries that checkpoints name. The signature of a file that has one must hold; one that must be
/// signed, because a certificate is given, must have one.
pub(crate) fn heads(
    context: &Context,
    kept: &[KeptCheckpoint],
    certificate: Option<&Path>,
) -> Result<Vec<AuditHead>, CommandError> {
    let head = |kept: &KeptCheckpoint| match kept {
        KeptCheckpoint::Head(head) => Ok(*head),
        KeptCheckpoint::File(path) => in_file(context, path, certificate),
    };
    kept.iter().map(head).collect()
}

fn in_file(
    context: &Context,
    path: &Path,
    certificate: Option<&Path>,
) -> Result<AuditHead, CommandError> {
    let content = context.inputs.read(path).map_err(|error| {
        error.hint("a checkpoint is 1042: and 64 hexadecimal digits, or the name of a file")
    })?;
    let checkpoint =
        Checkpoint::from_json(&content).map_err(|error| CommandError::in_file(path, &error))?;
    let signer = match (certificate, &checkpoint.signed_by) {
        (Some(file), _) => Some(given(&context.inputs, file, &checkpoint)?),
        (None, Some(by)) => at_home(&context.home, &context.files, by)?,
        (None, None) => None,
    };
    match (signer, &checkpoint.signature) {
        (Some(signer), _) => checkpoint
            .verify_signature(&signer)
            .map_err(|error| CommandError::refused(format!("{}: {error}", path.display())))?,
        (None, Some(_)) => context.ui.warning(format!(
            "{}: its signature was not checked; give the authority's certificate with --authority-cert",
            path.display()
        )),
        (None, None) => {}
    }
    Ok(checkpoint.head())
}

/// The certificate in a file that a checkpoint names; if it names none of them, the first.
fn given(
    inputs: &Inputs,
    file: &Path,
    checkpoint: &Checkpoint,
) -> Result<Certificate, CommandError> {
    let found = pem::certificates(&inputs.read(file)?)
        .map_err(|error| CommandError::in_file(file, &error))?;
    let named = |certificate: &&Certificate| {
        let by = checkpoint.signed_by.as_ref();
        by.is_some_and(|by| by.certificate == certificate.sha256_thumbprint())
    };
    let chosen = found.iter().find(named).or_else(|| found.first());
    let nothing = || CommandError::invalid_input(format!("{}: it is empty", file.display()));
    chosen.cloned().ok_or_else(nothing)
}

/// The certificate that the home has of the signer, unless others can sign in its name.
fn at_home(
    home: &Home,
    files: &Files,
    by: &CheckpointSigner,
) -> Result<Option<Certificate>, CommandError> {
    if !files.exists(&home.layout.inventory_file()) {
        return Ok(None);
    }
    let record = home.inventory()?.authority(&by.authority)?;
    let generation = record.and_then(|record| record.generation(by.generation).cloned());
    let Some(generation) = generation else {
        return Ok(None);
    };
    if generation.state == GenerationState::Compromised {
        let name = &by.authority;
        let number = by.generation;
        let message = format!(
            "the checkpoint is signed by {name} {number}, which is compromised: others can sign in its name"
        );
        return Err(CommandError::refused(message));
    }
    let recorded = generation.certificate.as_ref();
    Ok(recorded.map(|recorded| recorded.certificate().clone()))
}
