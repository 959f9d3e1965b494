//! `authority adopt`: the certificate that was signed elsewhere for a key of ours.

use std::path::PathBuf;

use pki_core::ids::{AuthorityGeneration, AuthorityName};
use pki_core::inventory::{AuthorityRecord, GenerationRecord, Inventory as _};

use super::{Authorities, AuthorityRow, takeover};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};

/// Take a certificate into use that was signed elsewhere for a request of: authority request
///
/// Key, name, CA:TRUE, keyCertSign, pathLen, validity and every signature up to the root are checked
/// first. If another generation of the authority issues, this one waits for: roll start.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki authority adopt factory --cert factory.cert.pem --chain root.cert.pem")]
pub(super) struct Args {
    /// The authority
    name: AuthorityName,

    /// The certificate, in PEM or DER; those above it may follow in the same file
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,

    /// The certificates above it, up to the root, in any order
    #[arg(long, value_name = "FILE")]
    chain: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(&self, context: &Context) -> CommandResult {
        let declared = takeover::declared(context, &self.name)?;
        let (certificate, pool) =
            takeover::read_certificates(&context.inputs, &self.cert, self.chain.as_deref())?;
        let mut inventory = context.home.inventory()?;
        let _lock = if context.settings.dry_run {
            None
        } else {
            Some(takeover::lock(&context.home, &context.ui, &self.name)?)
        };
        let record = inventory.authority(&self.name)?;
        let known = record
            .as_ref()
            .and_then(|record| holder_of(record, &certificate));
        if let Some(known) = known.filter(|known| !is_pending(record.as_ref(), known)) {
            let row = AuthorityRow::new(&self.name, known, "exists");
            context.ui.result(&Authorities(vec![row]))?;
            return Ok(Outcome::Done);
        }
        let pending = record
            .as_ref()
            .and_then(AuthorityRecord::pending)
            .ok_or_else(|| self.nothing_waits())?;
        let signer = context.keys.open(&pending.key_reference)?;
        let issuers = takeover::judge(
            context,
            &inventory,
            declared,
            &self.cert,
            (&certificate, pool),
            signer.as_ref(),
        )?;
        if context.settings.dry_run {
            context.ui.note("every check holds; nothing was changed");
            return Ok(Outcome::Done);
        }
        takeover::record_outside(context, &mut inventory, &issuers)?;
        if pending.certificate.is_none() {
            let itself = AuthorityGeneration {
                name: self.name.clone(),
                generation: pending.generation,
            };
            let new = takeover::to_record(&inventory, &itself, &certificate, &issuers)?;
            inventory.adopt(&itself, new, context.now())?;
        }
        let generation = pending.generation;
        takeover::bring_into_use(
            context,
            &mut inventory,
            &self.name,
            generation,
            &certificate,
        )?;
        let row = takeover::row(&inventory, &self.name, generation, "adopted")?;
        context.ui.result(&Authorities(vec![row]))?;
        Ok(Outcome::Done)
    }

    fn nothing_waits(&self) -> CommandError {
        let name = &self.name;
        CommandError::not_found(format!("no generation of authority {name} waits for a certificate"))
            .hint(format!("ask for one with: dps-pki authority request {name}; or take over key and certificate with: dps-pki authority import {name}"))
    }
}

/// The generation of an authority that has a certificate.
pub(super) fn holder_of<'a>(
    record: &'a AuthorityRecord,
    certificate: &pki_core::certificate::Certificate,
) -> Option<&'a GenerationRecord> {
    record.generations.iter().find(|generation| {
        let recorded = generation.certificate.as_ref();
        recorded.is_some_and(|recorded| recorded.certificate() == certificate)
    })
}

fn is_pending(record: Option<&AuthorityRecord>, generation: &GenerationRecord) -> bool {
    let pending = record.and_then(AuthorityRecord::pending);
    pending.is_some_and(|pending| pending.generation == generation.generation)
}
