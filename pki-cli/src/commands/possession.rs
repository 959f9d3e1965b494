//! `possession`: the verification certificate that proves a CA's key to DPS.

use std::path::PathBuf;

use pki_core::delivery;
use pki_core::ids::{AuthorityName, SerialNumber, VerificationCode};
use pki_core::inventory::sqlite::SqliteInventory;
use pki_core::inventory::{AuthorityRecord, Inventory as _};
use pki_core::key::software::SoftwareKeyGenerator;

use crate::commands::dps::ProofRequest;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::files::{Access, Existing};
use crate::issuance::{OpenAuthority, certificate_of};

/// Make the verification certificate for a code that DPS gave; its own key is never written
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki possession root 7A69A4702DA903A41C3A5BC5575A8E3F49BEC5E5BA2D4CE1 --out proof.pem")]
pub(crate) struct Args {
    /// The authority whose certificate is to be verified
    name: AuthorityName,

    /// The verification code
    #[arg(required_unless_present = "request")]
    code: Option<String>,

    /// The request with the code, as "dps ca prove --request-out" writes it
    #[arg(long, value_name = "FILE", conflicts_with = "code")]
    request: Option<PathBuf>,

    /// The file to write; standard output if not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let mut inventory = context.inventory()?;
        let code = self.code(context, &inventory)?;
        let authority = OpenAuthority::open(context, &inventory, &self.name)?;
        if let Some(path) = self.out.as_ref().filter(|path| context.files.exists(path)) {
            return Err(CommandError::refused(format!(
                "{} exists already",
                path.display()
            )));
        }
        if context.settings.dry_run {
            context.ui.note(format!(
                "would prove possession of authority {}'s key",
                self.name
            ));
            return Ok(Outcome::Done);
        }
        delivery::void_proofs(&mut inventory, context.now())?;
        let serial = SerialNumber::random(context.entropy.as_ref())?;
        let signing = authority.signing()?;
        let proof =
            signing.prove_possession(&code, &SoftwareKeyGenerator, &serial, context.now())?;
        let recorded = delivery::record(&mut inventory, proof, context.now())?;
        let pem = recorded.certificate().to_pem();
        match &self.out {
            Some(path) => {
                context
                    .files
                    .write(path, pem.as_bytes(), Access::Public, Existing::Keep)?
            }
            None => context.ui.raw(pem.as_bytes())?,
        }
        inventory.mark_delivered(&[recorded.row()], context.now())?;
        Ok(Outcome::Done)
    }

    /// The code that was typed, or that of a request for this very authority.
    fn code(
        &self,
        context: &Context,
        inventory: &SqliteInventory,
    ) -> Result<VerificationCode, CommandError> {
        let Some(path) = &self.request else {
            return Ok(self.code.as_deref().unwrap_or_default().parse()?);
        };
        let request = ProofRequest::read(context, path)?;
        let record = inventory.authority(&self.name)?;
        let current = record.as_ref().and_then(AuthorityRecord::current);
        let ours = current
            .map(|current| certificate_of(&self.name, current))
            .transpose()?;
        match ours {
            Some(ours) if ours.sha1_thumbprint() != request.sha1_thumbprint => {
                let message = format!(
                    "{} asks to prove CA certificate {} ({}), which is not the current one of authority {}",
                    path.display(),
                    request.name,
                    request.sha1_thumbprint,
                    self.name
                );
                Err(CommandError::refused(message))
            }
            // Without a certificate of ours, opening the authority says so.
            _ => Ok(request.code),
        }
    }
}
