//! `possession`: the verification certificate that proves a CA's key to DPS.

use std::fmt;
use std::path::PathBuf;

use pki_core::certificate::Certificate;
use pki_core::delivery;
use pki_core::ids::{
    AuthorityGeneration, AuthorityName, Generation, SerialNumber, VerificationCode,
};
use pki_core::inventory::{GenerationRecord, Inventory as _, Recorded};
use pki_core::key::software::SoftwareKeyGenerator;
use pki_core::sqlite::SqliteInventory;
use pki_core::time::Time;
use serde::Serialize;

use super::authority::generation_number;
use crate::commands::dps::ProofRequest;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::files::{Access, Files};
use crate::issuance::{OpenAuthority, no_authority};
use crate::locks;
use crate::render::ui::Ui;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki possession root 7A69A4702DA903A41C3A5BC5575A8E3F49BEC5E5BA2D4CE1 --out proof.pem
  dps-pki possession root 7A69A4702DA903A41C3A5BC5575A8E3F49BEC5E5BA2D4CE1 --generation 1")]
pub(crate) struct Args {
    /// The authority whose certificate is to be verified
    name: AuthorityName,

    /// The verification code
    #[arg(required_unless_present = "request")]
    code: Option<String>,

    /// The request with the code, as "dps ca prove --request-out" writes it
    #[arg(long, value_name = "FILE", conflicts_with = "code")]
    request: Option<PathBuf>,

    /// Which generation of it, also one that no DPS knows yet [default: the one that the request names,
    /// else the one that issues]
    #[arg(long, value_name = "N", value_parser = generation_number)]
    generation: Option<Generation>,

    /// The file to write; standard output if not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let mut inventory = context.home.inventory()?;
        let (code, authority) = self.asked(context, &inventory)?;
        if let Some(path) = &self.out {
            context.files.check_output(path)?;
        }
        if context.settings.dry_run {
            context.ui.note(format!(
                "would prove possession of the key of {}",
                authority.generation()
            ));
            return Ok(Outcome::Done);
        }
        let mut alone = || delivery::void_proofs(&mut inventory, context.now());
        let _proving = locks::prove(&context.home, &mut alone)?;
        let serial = SerialNumber::random(context.entropy.as_ref())?;
        let signing = authority.signing()?;
        let proof =
            signing.prove_possession(&code, &SoftwareKeyGenerator, &serial, context.now())?;
        let recorded = delivery::record(&mut inventory, proof, context.now())?;
        self.hand_out(
            &context.files,
            &context.ui,
            &authority.generation(),
            recorded.certificate(),
        )?;
        inventory.mark_delivered(&[recorded.row()], context.now())?;
        Ok(Outcome::Done)
    }

    fn hand_out(
        &self,
        files: &Files,
        ui: &Ui,
        of: &AuthorityGeneration,
        proof: &Certificate,
    ) -> Result<(), CommandError> {
        let pem = proof.to_pem();
        if let Some(path) = &self.out {
            let pem = pem.as_bytes();
            files.write_output(path, pem, Access::Public)?;
        } else if !ui.is_json() {
            return ui.raw(pem.as_bytes());
        }
        ui.result(&Report {
            authority: &of.name,
            generation: of.generation,
            serial_number: proof.serial_number(),
            not_after: proof.validity().not_after(),
            file: self.out.as_ref().map(|path| path.display().to_string()),
            pem: self.out.is_none().then_some(pem),
        })
    }

    /// The code that was typed, for the generation that is meant; or that of a request, for the one whose
    /// certificate it names.
    fn asked(
        &self,
        context: &Context,
        inventory: &SqliteInventory,
    ) -> Result<(VerificationCode, OpenAuthority), CommandError> {
        let name = &self.name;
        let Some(path) = &self.request else {
            let code = self.code.as_deref().unwrap_or_default().parse()?;
            let authority = match self.generation {
                None => OpenAuthority::open(context, inventory, name)?,
                number => OpenAuthority::open_generation(&context.keys, inventory, name, number)?,
            };
            return Ok((code, authority));
        };
        let request = ProofRequest::read(&context.inputs, path)?;
        let Some(record) = inventory.authority(name)? else {
            return Err(no_authority(&context.home, name)?);
        };
        let is_named = |one: &&GenerationRecord| {
            let number = self.generation.unwrap_or(one.generation);
            let recorded = one.certificate.as_ref().map(Recorded::certificate);
            one.generation == number
                && recorded.is_some_and(|held| held.sha1_thumbprint() == request.sha1_thumbprint)
        };
        let Some(named) = record.generations.iter().find(is_named) else {
            let whose = match self.generation {
                Some(number) => format!("that of {name} generation {number}"),
                None => format!("that of a generation of authority {name}"),
            };
            let message = format!(
                "{} asks to prove CA certificate {} ({}), which is not {whose}",
                path.display(),
                request.name,
                request.sha1_thumbprint,
            );
            return Err(CommandError::refused(message));
        };
        let number = Some(named.generation);
        let authority = OpenAuthority::open_generation(&context.keys, inventory, name, number)?;
        Ok((request.code, authority))
    }
}

/// What was made: a file, or the certificate itself.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    authority: &'a AuthorityName,
    generation: Generation,
    serial_number: &'a SerialNumber,
    not_after: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pem: Option<String>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "proof that we hold the key of {} {}, valid until {}",
            self.authority, self.generation, self.not_after
        )?;
        match &self.file {
            Some(file) => write!(f, "; written to {file}"),
            None => Ok(()),
        }
    }
}
