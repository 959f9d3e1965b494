//! `authority adopt`: the certificate that was signed elsewhere for a key of ours.

use std::path::PathBuf;

use pki_core::certificate::Certificate;
use pki_core::ids::{AuthorityGeneration, AuthorityName};
use pki_core::inventory::{
    AuthorityRecord, GenerationRecord, GenerationState, Inventory as _, NewCertificate, Recorded,
};
use pki_core::sqlite::SqliteInventory;

use super::{Authorities, AuthorityRow, takeover};
use crate::authority_key::NewKey;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};

/// Take a certificate into use that was signed elsewhere for a key of this home
///
/// It answers a request of "authority request", or renews a certificate of the authority for the key that
/// it has: that becomes a further generation. Key, name, CA:TRUE, keyCertSign, pathLen, validity and every
/// signature up to the root are checked first. If another generation of the authority issues, this one
/// waits for: roll start.
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
        let place = self.place(record.as_ref(), &certificate)?;
        let key = context.keys.kept(&place.of().key_reference)?;
        let issuers = takeover::judge(
            context,
            &inventory,
            declared,
            &self.cert,
            (&certificate, pool),
            key.signer.as_ref(),
        )?;
        if context.settings.dry_run {
            context.ui.note("every check holds; nothing was changed");
            return Ok(Outcome::Done);
        }
        takeover::record_outside(context, &mut inventory, &issuers)?;
        let itself = AuthorityGeneration {
            name: self.name.clone(),
            generation: match &place {
                Place::Waits(pending) => pending.generation,
                Place::Renewed(_) => takeover::next_generation(record.as_ref()),
            },
        };
        let new = takeover::to_record(&inventory, &itself, &certificate, &issuers)?;
        self.take_into_use(context, &mut inventory, &itself, (&place, &key), new)?;
        let row = takeover::row(&inventory, &self.name, itself.generation, "adopted")?;
        context.ui.result(&Authorities(vec![row]))?;
        takeover::tell_waiting(context, &inventory, &itself)?;
        Ok(Outcome::Done)
    }

    fn take_into_use(
        &self,
        context: &Context,
        inventory: &mut SqliteInventory,
        itself: &AuthorityGeneration,
        (place, key): (&Place<'_>, &NewKey),
        new: NewCertificate,
    ) -> Result<(), CommandError> {
        let generation = itself.generation;
        let Place::Waits(pending) = place else {
            return takeover::begin(context, inventory, &self.name, generation, key, new);
        };
        let certificate = new.certificate.clone();
        if pending.certificate.is_none() {
            inventory.adopt(itself, new, context.now())?;
        }
        takeover::bring_into_use(context, inventory, &self.name, generation, &certificate)
    }

    /// Which generation a certificate is for: the one that waits, or one that has its key.
    fn place<'a>(
        &self,
        record: Option<&'a AuthorityRecord>,
        certificate: &Certificate,
    ) -> Result<Place<'a>, CommandError> {
        if let Some(pending) = record.and_then(AuthorityRecord::pending) {
            let held = pending.certificate.as_ref().map(Recorded::certificate);
            if held.is_none_or(|held| held == certificate) {
                return Ok(Place::Waits(pending));
            }
            let name = &self.name;
            return Err(CommandError::refused(format!(
                "authority {name} has begun: its generation {} has another certificate, and waits for its roll",
                pending.generation
            ))
            .hint(format!("go on with: dps-pki roll start {name}; or give it up with: dps-pki roll abort {name}")));
        }
        let known = record.and_then(|record| generation_with_key(record, certificate));
        let Some(known) = known else {
            return Err(self.nothing_waits());
        };
        if known.state == GenerationState::Compromised {
            return Err(CommandError::refused(format!(
                "{}: its key is that of {} generation {}, which is compromised",
                self.cert.display(),
                self.name,
                known.generation
            ))
            .hint(format!(
                "ask for one with a new key: dps-pki authority request {}",
                self.name
            )));
        }
        Ok(Place::Renewed(known))
    }

    fn nothing_waits(&self) -> CommandError {
        let name = &self.name;
        let message = format!(
            "no generation of authority {name} waits for a certificate, and none has the key of {}",
            self.cert.display()
        );
        CommandError::not_found(message)
            .hint(format!("ask for one with: dps-pki authority request {name}"))
            .hint(format!(
                "or take over key and certificate with: dps-pki authority import {name} (--next beside one that issues)"
            ))
    }
}

/// The generation that a certificate is for.
enum Place<'a> {
    /// It waits for its certificate, or a run was cut short that brought it.
    Waits(&'a GenerationRecord),
    /// It has the same key, and another certificate.
    Renewed(&'a GenerationRecord),
}

impl Place<'_> {
    fn of(&self) -> &GenerationRecord {
        match self {
            Self::Waits(one) | Self::Renewed(one) => one,
        }
    }
}

/// The newest generation of an authority with the key of a certificate; a compromised one before all.
pub(super) fn generation_with_key<'a>(
    record: &'a AuthorityRecord,
    certificate: &Certificate,
) -> Option<&'a GenerationRecord> {
    let key = certificate.key_identity();
    let has_key = |one: &&GenerationRecord| {
        let recorded = one.certificate.as_ref();
        one.state != GenerationState::Voided
            && recorded.is_some_and(|held| held.certificate().key_identity() == key)
    };
    let with_key = record.generations.iter().filter(has_key);
    with_key.max_by_key(|one| (one.state == GenerationState::Compromised, one.generation))
}

/// The generation of an authority that has a certificate.
pub(super) fn holder_of<'a>(
    record: &'a AuthorityRecord,
    certificate: &Certificate,
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
